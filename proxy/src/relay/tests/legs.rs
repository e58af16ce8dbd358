//! Legs over HTTP.

use super::log::MemoryLog;
use super::rig::{
    Front, Relay, accepted, concluded, config, intent, last_results, log_in_shadow, systems, transfer, written,
};
use super::systems::{Down, Reply, Seen, SmallSystem, applied, refused};
use base64::Engine as _;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::control::KnownTransaction;
use wire::shadow::{LegResult, ShadowBody};
use wire::words::{Class, Mode, Operation, System};
use wire::{exchange, shadow};

const ENGINE_ID: &str = "cf00aabb-1234-8abc-8def-0123456789ab";

/// The legs among the requests.
fn legs(seen: &[Seen]) -> Vec<Seen> {
    seen.iter().filter(|seen| seen.header("x-crossfade-mode").is_some()).cloned().collect()
}

async fn rig() -> (MemoryLog, SmallSystem, SmallSystem, Relay, Front) {
    let log = log_in_shadow();
    let (legacy, engine) = systems().await;
    let relay = Relay::start(config(&legacy.url(), &engine.url()), &log).await;
    let front = Front::connect(&relay).await;
    (log, legacy, engine, relay, front)
}

#[tokio::test]
async fn a_leg_is_the_clients_request_with_the_headers_of_a_leg() {
    let (log, _legacy, engine, _relay, mut front) = rig().await;
    let sequence = front.applied(transfer(System::Legacy, 1), &applied("L-1", "from-1", "to-1")).await;
    let result = concluded(&log, sequence).await;
    assert_eq!((result.class, result.status, result.attempt), (Class::Applied, 200, 1));
    assert!(result.headers.contains(&("content-type".to_owned(), "application/json".to_owned())));
    let leg = legs(&engine.seen()).remove(0);
    assert_eq!(
        (leg.method.as_str(), leg.path.as_str(), leg.body.as_str()),
        ("POST", "/transactions/transfer", r#"{"key":"key-1"}"#)
    );
    for (name, value) in [
        ("x-crossfade-exchange", format!("front-a.1.{sequence}")),
        ("x-crossfade-mode", "shadow".to_owned()),
        ("x-crossfade-alias", "L-1".to_owned()),
        ("idempotency-key", "key-1".to_owned()),
        ("x-tenant", "shop".to_owned()),
        ("authorization", "Bearer the-service-token".to_owned()),
    ] {
        assert_eq!(leg.header(name), Some(value.as_str()), "{name}");
    }
    assert_eq!(leg.header("x-crossfade-refusal"), None);
}

#[tokio::test]
async fn a_refusal_goes_to_the_engine_and_not_to_the_legacy() {
    let (log, legacy, engine, _relay, mut front) = rig().await;
    let body = refused(422, "InsufficientBalance");
    for (index, authority) in [(1, System::Legacy), (2, System::Engine)] {
        let sequence = front.write_intent(transfer(authority, index));
        front.write_result(sequence, Class::Refused, 422, &body);
    }
    front.ship().await;
    assert_eq!(concluded(&log, 1).await.mode, Mode::ShadowRefused);
    written(&log, "a skipped one", 1, |body| matches!(body, ShadowBody::Skipped { .. })).await;
    let leg = legs(&engine.seen()).remove(0);
    let refusal = base64::engine::general_purpose::STANDARD.decode(leg.header("x-crossfade-refusal").unwrap()).unwrap();
    assert_eq!(String::from_utf8(refusal).unwrap(), format!("422{body}"));
    assert!(legs(&legacy.seen()).is_empty());
}

#[tokio::test]
async fn the_legacy_follows_the_engine_with_a_credential_of_its_own() {
    let (log, legacy, engine, _relay, mut front) = rig().await;
    legacy.now_says(|_| Reply::Status(200, applied("L-1", "from-1", "to-1")));
    let sequence = front.applied(transfer(System::Engine, 1), &applied(ENGINE_ID, "from-1", "to-1")).await;
    concluded(&log, sequence).await;
    let leg = legs(&legacy.seen()).remove(0);
    assert_eq!(leg.header("authorization"), Some("Bearer the-legacy-token"));
    // The engine is told the legacy's id.
    let told = |seen: &[Seen]| seen.iter().find(|seen| seen.path == "/internal/aliases").cloned();
    let told = engine.until("aliases", told).await;
    assert_eq!(told.body, format!(r#"{{"aliases":[{{"engine":"{ENGINE_ID}","legacy":"L-1"}}]}}"#));
    assert_eq!(told.header("authorization"), Some("Bearer the-service-token"));
}

#[tokio::test]
async fn legs_to_a_system_that_is_down_wait_and_none_is_lost() {
    const LEGS: u64 = 60;
    let log = log_in_shadow();
    let (legacy, _engine) = systems().await;
    let down = Down::new();
    let relay = Relay::start(config(&legacy.url(), &down.url()), &log).await;
    let mut front = Front::connect(&relay).await;
    for index in 1..=LEGS {
        let sequence = front.write_intent(transfer(System::Legacy, index));
        front.write_result(sequence, Class::Applied, 200, &applied(&format!("L-{index}"), "a", "b"));
    }
    front.ship().await;
    written(&log, "an announced leg", 1, |body| matches!(body, ShadowBody::Sending { .. })).await;
    assert!(last_results(&log.records(shadow::TOPIC)).is_empty());
    let engine = down.up(|_| Reply::Status(200, "{}".to_owned()));
    for index in 1..=LEGS {
        concluded(&log, 2 * index - 1).await;
    }
    let records = accepted(&log.records(shadow::TOPIC));
    let unknown = |body: &&ShadowBody| matches!(body, ShadowBody::Result(LegResult { last: false, .. }));
    assert_eq!(records.iter().filter(unknown).count(), 0, "what was never sent is not unknown");
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for leg in legs(&engine.seen()) {
        *times.entry(leg.header("x-crossfade-exchange").unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(times.len() as u64, LEGS);
    assert!(times.values().all(|times| *times == 1), "each was executed once: {times:?}");
}

#[tokio::test]
async fn bad_answers_are_repeated_until_there_is_a_good_one() {
    let busy = || Reply::Status(503, String::new());
    for (bad, unknown) in [
        (busy(), false),
        (Reply::Status(429, String::new()), false),
        (Reply::Status(500, String::new()), true),
        (Reply::Status(202, "{}".to_owned()), true),
        (Reply::Hang, true),
    ] {
        let (log, _legacy, engine, _relay, mut front) = rig().await;
        let mut answers = vec![bad.clone(), busy(), bad.clone()].into_iter();
        engine.now_says(move |seen| match seen.method.as_str() {
            "POST" => answers.next().unwrap_or_else(|| Reply::Replayed(200, "{}".to_owned())),
            _ => Reply::Status(404, refused(404, "AccountNotFound")),
        });
        let sequence = front.applied(transfer(System::Legacy, 1), &applied("L-1", "from-1", "to-1")).await;
        let result = concluded(&log, sequence).await;
        assert_eq!((result.class, result.attempt, result.replayed), (Class::Applied, 1, true), "{bad:?}");
        let results = accepted(&log.records(shadow::TOPIC)).into_iter().filter(|body| match body {
            ShadowBody::Result(result) => result.class == Class::Unknown && !result.last,
            _ => false,
        });
        assert_eq!(results.count(), usize::from(unknown), "{bad:?}");
        assert_eq!(legs(&engine.seen()).len(), 4, "{bad:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_answer() {
    let log = log_in_shadow();
    let (legacy, _engine) = systems().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let relay = Relay::start(config(&legacy.url(), &url), &log).await;
    let mut front = Front::connect(&relay).await;
    let breaking = tokio::spawn(async move {
        use tokio::io::AsyncReadExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        drop(stream);
        listener
    });
    front.applied(transfer(System::Legacy, 1), &applied("L-1", "from-1", "to-1")).await;
    written(&log, "an unanswered leg", 1, |body| {
        matches!(body, ShadowBody::Result(LegResult { class: Class::Unknown, status: 0, last: false, .. }))
    })
    .await;
    drop(breaking.await.unwrap());
}

#[tokio::test]
async fn a_refusal_for_a_reason_of_state_comes_back_and_is_forced_in_the_end() {
    let (log, _legacy, engine, _relay, mut front) = rig().await;
    engine.now_says(|seen| match seen.header("x-crossfade-mode") {
        Some("shadow") if seen.header("idempotency-key") == Some("key-1") => {
            Reply::Status(422, refused(422, "InsufficientBalance"))
        }
        _ => Reply::Status(200, "{}".to_owned()),
    });
    let shared = |index: u64| intent(Operation::Transfer, System::Legacy, &["alice", "bob"], &format!("key-{index}"));
    let first = front.applied(shared(1), &applied("L-1", "alice", "bob")).await;
    let refusals = |body: &ShadowBody| matches!(body, ShadowBody::Result(LegResult { class: Class::Refused, .. }));
    written(&log, "a refusal", 1, refusals).await;
    let second = front.applied(shared(2), &applied("L-2", "alice", "bob")).await;
    concluded(&log, second).await;
    written(&log, "a second refusal", 2, refusals).await;
    // Only when the front has shipped past it.
    let mut beats = tokio::time::interval(Duration::from_millis(20));
    let forced = async {
        loop {
            beats.tick().await;
            front.heartbeat().await;
        }
    };
    let result = tokio::select! {
        result = concluded(&log, first) => result,
        never = forced => never,
    };
    assert_eq!((result.mode, result.class, result.attempt), (Mode::Forced, Class::Applied, 3));
}

#[tokio::test]
async fn accounts_are_learnt_so_that_shared_ones_do_not_hold_up() {
    let (log, _legacy, engine, _relay, mut front) = rig().await;
    engine.now_says(|seen| match seen.path.as_str() {
        "/accounts/bank" => Reply::Status(200, r#"{"accountId":"bank","accountType":"EXTERNAL"}"#.to_owned()),
        _ if seen.header("idempotency-key") == Some("key-1") => Reply::Hang,
        _ => Reply::Status(200, "{}".to_owned()),
    });
    let topup = |account: &str, key: &str| intent(Operation::Topup, System::Legacy, &[account, "bank"], key);
    front.applied(topup("alice", "key-1"), &applied("L-1", "bank", "alice")).await;
    let second = front.applied(topup("bob", "key-2"), &applied("L-2", "bank", "bob")).await;
    concluded(&log, second).await;
}

#[tokio::test]
async fn a_relay_that_starts_anew_repeats_what_was_under_way_and_nothing_else() {
    let (log, legacy, engine, relay, mut front) = rig().await;
    engine.now_says(|seen| match seen.header("idempotency-key") {
        Some("key-2") => Reply::Hang,
        _ => Reply::Status(200, "{}".to_owned()),
    });
    let done = front.applied(transfer(System::Legacy, 1), &applied("L-1", "from-1", "to-1")).await;
    concluded(&log, done).await;
    let hanging = front.applied(transfer(System::Legacy, 2), &applied("L-2", "from-2", "to-2")).await;
    engine.until("the second leg", |seen| (legs(seen).len() >= 2).then_some(())).await;
    relay.stop().await.unwrap();
    engine.now_says(|_| Reply::Replayed(200, "{}".to_owned()));
    let relay = Relay::start(config(&legacy.url(), &engine.url()), &log).await;
    let result = concluded(&log, hanging).await;
    assert!(result.replayed);
    let mut front = Front::connect(&relay).await;
    front.sequence = 4;
    front.journal = vec![Vec::new(); 4];
    let next = front.write_intent(transfer(System::Legacy, 3));
    front.write_result(next, Class::Applied, 200, &applied("L-3", "from-3", "to-3"));
    front.ship_from(5).await;
    concluded(&log, next).await;
    let first = legs(&engine.seen()).iter().filter(|leg| leg.header("idempotency-key") == Some("key-1")).count();
    assert_eq!(first, 1, "what was concluded is not sent again");
    let cursor = |records: &[_]| {
        accepted(records).into_iter().find(|body| *body == ShadowBody::Cursor { offset: 6 }).map(|_| ())
    };
    log.until(shadow::TOPIC, "a cursor at the end", cursor).await;
    assert_eq!(log.records(exchange::TOPIC).len(), 6);
}

#[tokio::test]
async fn ids_are_told_to_whoever_has_the_token() {
    let (log, _legacy, engine, relay, mut front) = rig().await;
    engine.now_says(|_| Reply::Status(200, applied(ENGINE_ID, "from-1", "to-1")));
    let sequence = front.applied(transfer(System::Legacy, 1), &applied("L-1", "from-1", "to-1")).await;
    concluded(&log, sequence).await;
    let client = host::http::Client::new(Duration::from_secs(5), 1 << 20);
    let ask = async |id: &str, token: Option<&str>| {
        let url = format!("http://{}/internal/ids/{id}", relay.operators);
        client.get(&url, token, Duration::from_secs(5)).await.unwrap()
    };
    for id in ["L-1", ENGINE_ID] {
        // The last record is folded a moment after it can be read.
        let known = loop {
            let known: KnownTransaction = ask(id, Some(super::rig::TOKEN)).await.json().unwrap();
            if known.engine.is_some() {
                break known;
            }
        };
        assert_eq!((known.engine.as_deref(), known.legacy.as_deref()), (Some(ENGINE_ID), Some("L-1")));
        assert_eq!((known.operation, known.source.as_str()), (Operation::Transfer, "from-1"));
    }
    assert_eq!(ask("L-9", Some(super::rig::TOKEN)).await.status, 404);
    assert_eq!(ask("L-1", Some("wrong")).await.status, 401);
    assert_eq!(ask("L-1", None).await.status, 401);
    let ready = client.get(&format!("http://{}/readyz", relay.operators), None, Duration::from_secs(5)).await.unwrap();
    assert_eq!(ready.status, 200);
    let metrics =
        client.get(&format!("http://{}/metrics", relay.operators), None, Duration::from_secs(5)).await.unwrap();
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for name in ["crossfade_relay_lag_seconds", "crossfade_leg_results_total", "crossfade_leg_duration_seconds"] {
        assert!(text.contains(name), "{name} is missing");
    }
}
