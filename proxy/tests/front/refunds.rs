//! Refunds: which account decides, and under which id the authority knows the original.

use crate::support::chain::{at, moved};
use crate::support::system::{Reply, applied};
use crate::support::{Front, World, account, code, eventually, intent, topup};
use http::StatusCode;
use proxy::front::Config;
use serde_json::{Value, json};
use wire::rollout::RolloutBody;
use wire::words::{Operation, System};

const ENGINE_ID: &str = "cf00aabb-1234-8abc-8def-0123456789ab";

fn refund(id: &str, key: &str) -> Value {
    json!({ "idempotencyKey": key, "transactionId": id, "amount": "1" })
}

/// A world at 50 %, and a front in it.
async fn at_half(change: impl FnOnce(Config) -> Config) -> (World, Front) {
    let world = World::new().await;
    world.comparator.append(moved(1, at(50)));
    world.comparator.append(RolloutBody::Drained { version: 1 });
    let front = Front::start(change(world.config())).await;
    (world, front)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_account_that_is_debited_decides_if_it_is_limited() {
    let (world, front) = at_half(|config| config).await;
    let (engine, legacy) = (account(0, 50), account(50, 100));
    // Passed by here: a topup's destination shows a balance, so it is a USER account.
    front.post("/transactions/topup", &topup(&legacy, "a")).await;
    assert_eq!(front.post("/transactions/refund", &refund("legacy-a", "r1")).await.status, StatusCode::OK);
    assert_eq!(world.relay.asked(), Vec::<String>::new(), "it was remembered");

    // The relay knows a withdraw; its destination has to be asked for.
    world.legacy.answers(|asked| match asked.path.as_str() {
        "/accounts/shop" => Reply::json(200, &json!({ "accountType": "EXTERNAL" })),
        "/accounts/vault" => Reply::json(200, &json!({ "accountType": "SYSTEM", "maxBalance": "5" })),
        _ => applied("legacy", asked),
    });
    world.engine.answers(|asked| match asked.path.as_str() {
        "/accounts/shop" => Reply::json(200, &json!({ "accountType": "EXTERNAL" })),
        "/accounts/vault" => Reply::json(200, &json!({ "accountType": "SYSTEM", "maxBalance": "5" })),
        _ => applied("engine", asked),
    });
    world.relay.knows(Some(ENGINE_ID), Some("L-7"), Operation::Withdraw, (&engine, "shop"));
    world.relay.knows(None, Some("L-8"), Operation::Withdraw, (&legacy, "vault"));
    for (id, key) in [(ENGINE_ID, "r2"), ("L-8", "r3"), (ENGINE_ID, "r4")] {
        front.post("/transactions/refund", &refund(id, key)).await;
    }
    eventually("all is recorded", || world.ingest.count() >= 10).await;
    let records = world.ingest.records();
    let of = |key: &str| {
        records.iter().filter_map(intent).find(|intent| intent.key.as_deref() == Some(key)).unwrap().clone()
    };
    let first = of("r1");
    assert_eq!((first.account.as_deref(), first.original.as_deref()), (Some(legacy.as_str()), Some("legacy-a")));
    assert_eq!(first.accounts, [legacy.clone(), "bank".to_owned()]);
    let second = of("r2");
    assert_eq!((second.account.as_deref(), second.authority), (Some(engine.as_str()), System::Engine));
    assert_eq!(of("r3").account.as_deref(), Some("vault"), "it has a limit");
    let asked = |path: &str| {
        world.legacy.asked().iter().chain(&world.engine.asked()).filter(|asked| asked.path == path).count()
    };
    assert_eq!(asked("/accounts/shop"), 1, "what an account is does not change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_the_other_system_is_rewritten_for_the_authority_and_recorded_as_it_came() {
    let (world, front) = at_half(|config| config).await;
    let (engine, legacy) = (account(0, 50), account(50, 100));
    world.relay.knows(Some(ENGINE_ID), Some("L-7"), Operation::Topup, ("bank", &legacy));
    let other = "cf11aabb-1234-8abc-8def-0123456789ab";
    world.relay.knows(Some(other), Some("L-9"), Operation::Topup, ("bank", &engine));
    for (id, sent_as, system) in [
        (ENGINE_ID, "L-7", &world.legacy),
        ("L-7", "L-7", &world.legacy),
        ("L-9", other, &world.engine),
        (other, other, &world.engine),
    ] {
        let answer = front.post("/transactions/refund", &refund(id, id)).await;
        assert_eq!(answer.status, StatusCode::OK, "{id}");
        let sent = system.writes().last().unwrap().json();
        assert_eq!(sent, refund(sent_as, id), "{id}: nothing else is changed");
    }
    eventually("all is recorded", || world.ingest.count() == 8).await;
    for recorded in world.ingest.records().iter().filter_map(intent) {
        let id = recorded.key.as_deref().unwrap();
        assert_eq!(recorded.original.as_deref(), Some(id));
        assert_eq!(recorded.body.0, refund(id, id).to_string().as_bytes(), "as the client sent it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_alias_it_waits_for_the_handovers_time_and_then_says_so() {
    let (world, front) = at_half(|config| Config { handover_ms: 300, ..config }).await;
    let legacy = account(50, 100);
    world.relay.knows(Some(ENGINE_ID), None, Operation::Topup, ("bank", &legacy));
    let begun = std::time::Instant::now();
    let answer = front.post("/transactions/refund", &refund(ENGINE_ID, "k")).await;
    assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (503, "AliasUnknown"));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(begun.elapsed() >= std::time::Duration::from_millis(280), "it did not wait");
    assert_eq!(world.legacy.writes().len() + world.engine.writes().len(), 0);
    // It comes while the next one waits.
    let waiting = tokio::spawn(async move {
        let answer = front.post("/transactions/refund", &refund(ENGINE_ID, "k")).await;
        (front, answer)
    });
    let asked = world.relay.asked().len();
    eventually("it asks", || world.relay.asked().len() > asked).await;
    world.relay.knows(Some(ENGINE_ID), Some("L-7"), Operation::Topup, ("bank", &legacy));
    let (_front, answer) = waiting.await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    eventually("only that is recorded", || world.ingest.count() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_maker_of_the_id_is_asked_when_the_relay_does_not_say() {
    let (world, front) = at_half(|config| config).await;
    let legacy = account(50, 100);
    world.relay.breaks();
    let original = json!({
        "transactionId": "L-1", "source": { "accountId": "bank" },
        "destination": { "accountId": legacy, "balanceAfter": "1" },
    });
    world.legacy.answers(move |asked| match asked.path.as_str() {
        "/transactions/L-1" => Reply::json(200, &original),
        "/transactions/L-2" => Reply::code(404, "TransactionNotFound"),
        "/transactions/refund" if asked.json()["transactionId"] == "L-2" => Reply::code(404, "OriginalNotFound"),
        "/transactions/L-3" => Reply::Break,
        _ => applied("legacy", asked),
    });
    assert_eq!(front.post("/transactions/refund", &refund("L-1", "a")).await.status, StatusCode::OK);
    let unknown = front.post("/transactions/refund", &refund("L-2", "b")).await;
    assert_eq!((unknown.status.as_u16(), code(&unknown).as_str()), (404, "OriginalNotFound"));
    let unavailable = front.post("/transactions/refund", &refund("L-3", "c")).await;
    assert_eq!((unavailable.status.as_u16(), code(&unavailable).as_str()), (503, "OriginalUnavailable"));
    assert_eq!(world.relay.asked().len(), 1, "a relay that is broken is left alone for a while");
    eventually("two are recorded", || world.ingest.count() == 4).await;
    let records = world.ingest.records();
    let intents: Vec<_> = records.iter().filter_map(intent).collect();
    assert_eq!(intents[0].account.as_deref(), Some(legacy.as_str()));
    assert_eq!((intents[1].account.as_deref(), intents[1].original.as_deref()), (None, Some("L-2")));
    assert_eq!(world.engine.count(), 0);
}
