//! The emergency override at the operators' listener.

use crate::support::chain::{at, moved};
use crate::support::{Front, TOKEN, World, account, eventually, intent, topup};
use http::{Method, StatusCode};
use proxy::front::Config;
use serde_json::Value;
use wire::exchange::{ExchangeBody, ExchangeRecord};
use wire::rollout::RolloutBody;
use wire::words::{Stage, System};

async fn topup_system(front: &Front, account: &str, key: &str) -> String {
    let answer = front.post("/transactions/topup", &topup(account, key)).await;
    answer.json::<Value>().unwrap()["system"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_sends_everything_to_the_legacy_until_it_is_taken_back() {
    let world = World::new().await;
    world.comparator.append(moved(1, at(50)));
    world.comparator.append(RolloutBody::Drained { version: 1 });
    let config = Config { handover_ms: 100, ..world.config() };
    let front = Front::start(config.clone()).await;
    let engine = account(0, 50);
    assert_eq!(topup_system(&front, &engine, "before").await, "engine");
    // The comparator is away: that is what it is for.
    world.comparator.up(false);
    let body = r#"{"reason":"the engine burns"}"#;
    let answer = front.admin(Method::POST, "/override", Some(TOKEN), body).await;
    assert_eq!(answer.status, StatusCode::OK);
    let view: Value = answer.json().unwrap();
    assert_eq!((&view["override"]["reason"], &view["percent"]), (&"the engine burns".into(), &"0".into()));
    assert_eq!(topup_system(&front, &engine, "during").await, "legacy");
    eventually("it is recorded", || world.ingest.count() == 5).await;
    let records = world.ingest.records();
    let during = records.iter().filter_map(intent).find(|intent| intent.key.as_deref() == Some("during")).unwrap();
    assert_eq!((during.authority, during.stage, during.version), (System::Legacy, Stage::Shadow, 1));
    assert!(during.overtaken, "nobody says that what the engine decided has been delivered");
    front.stop().await;

    let front = Front::start(Config { start_wait_ms: 50, ..config }).await;
    assert_eq!(topup_system(&front, &engine, "after a restart").await, "legacy");
    world.comparator.up(true);
    let answer = front.admin(Method::DELETE, "/override", Some(TOKEN), "").await;
    assert_eq!(answer.json::<Value>().unwrap()["override"], Value::Null);
    assert_eq!(topup_system(&front, &engine, "afterwards").await, "engine");
    front.stop().await;
    let front = world.front().await;
    assert_eq!(topup_system(&front, &engine, "and after another restart").await, "engine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_needs_neither_the_comparator_nor_what_was_last_heard() {
    let world = World::new().await;
    world.comparator.up(false);
    let config = Config { start_wait_ms: 50, ..world.config() };
    std::fs::create_dir_all(&config.data_dir).unwrap();
    std::fs::write(config.data_dir.join("rollout.state"), "damaged").unwrap();
    let front = Front::start(config.clone()).await;
    let burns = r#"{"reason":"the engine burns"}"#;
    assert_eq!(front.admin(Method::POST, "/override", Some(TOKEN), burns).await.status, StatusCode::OK);
    let account = account(0, 50);
    assert_eq!(topup_system(&front, &account, "during").await, "legacy");
    front.stop().await;
    let front = Front::start(config).await;
    assert_eq!(topup_system(&front, &account, "after a restart").await, "legacy");
    eventually("both are recorded", || world.ingest.records().iter().filter_map(intent).count() == 2).await;
    let unknown = |intent: &wire::exchange::Intent| intent.overtaken;
    assert!(world.ingest.records().iter().filter_map(intent).all(unknown), "nobody knows where the dial stands");
    front.stop().await;
}

/// What the front's records say of overrides, with the boot and the number of each.
fn recorded(world: &World) -> Vec<(u64, u64, bool, String)> {
    let said = |record: &ExchangeRecord| match &record.body {
        ExchangeBody::Override { on, reason, .. } => Some((record.boot, record.sequence, *on, reason.clone())),
        _ => None,
    };
    world.ingest.records().iter().filter_map(said).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_in_the_journal_and_by_every_boot_that_begins_with_it() {
    let world = World::new().await;
    world.comparator.up(false);
    let config = Config { start_wait_ms: 50, ..world.config() };
    let front = Front::start(config.clone()).await;
    assert_eq!(front.admin(Method::DELETE, "/override", Some(TOKEN), "").await.status, StatusCode::OK);
    for reason in ["the engine burns", "it still does"] {
        let body = format!(r#"{{"reason":"{reason}"}}"#);
        assert_eq!(front.admin(Method::POST, "/override", Some(TOKEN), &body).await.status, StatusCode::OK);
    }
    eventually("both are shipped", || recorded(&world).len() == 2).await;
    front.stop().await;
    let front = Front::start(config.clone()).await;
    let out = r#"{"reason":"it was put out"}"#;
    assert_eq!(front.admin(Method::DELETE, "/override", Some(TOKEN), out).await.status, StatusCode::OK);
    for body in ["{}", r#"{"reason":""}"#, "x"] {
        let answer = front.admin(Method::DELETE, "/override", Some(TOKEN), body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let again = r#"{"reason":"again"}"#;
    assert_eq!(front.admin(Method::POST, "/override", Some(TOKEN), again).await.status, StatusCode::OK);
    assert_eq!(front.admin(Method::DELETE, "/override", Some(TOKEN), "").await.status, StatusCode::OK);
    eventually("all are shipped", || recorded(&world).len() == 6).await;
    front.stop().await;
    let front = Front::start(config).await;
    topup_system(&front, &account(0, 50), "by the dial").await;
    eventually("it is shipped", || world.ingest.records().iter().any(|record| record.boot == 3)).await;
    let said = |boot, number, on, reason: &str| (boot, number, on, reason.to_owned());
    assert_eq!(
        recorded(&world),
        [
            said(1, 1, true, "the engine burns"),
            said(1, 2, true, "it still does"),
            said(2, 1, true, "it still does"),
            said(2, 2, false, "it was put out"),
            said(2, 3, true, "again"),
            said(2, 4, false, "(none given)"),
        ],
        "what lifts nothing is not told, nor by a boot without one"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_needs_a_token_and_a_reason() {
    let world = World::new().await;
    let admin_token = Some(host::secret::Secret::new("admin"));
    let front = Front::start(Config { admin_token, ..world.config() }).await;
    let good = r#"{"reason":"x"}"#;
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(501));
    for (method, token, body, status) in [
        (Method::POST, None, good, 401),
        (Method::POST, Some(TOKEN), good, 401),
        (Method::DELETE, Some("wrong"), "", 401),
        (Method::GET, None, "", 401),
        (Method::POST, Some("admin"), "", 400),
        (Method::POST, Some("admin"), "{}", 400),
        (Method::POST, Some("admin"), r#"{"reason":""}"#, 400),
        (Method::POST, Some("admin"), r#"{"reason":"x","percent":5}"#, 400),
        (Method::POST, Some("admin"), &long, 400),
        (Method::GET, Some("admin"), "", 200),
    ] {
        let answer = front.admin(method.clone(), "/override", token, body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {token:?} {body}");
    }
    let answer = front.admin(Method::GET, "/override", Some("admin"), "").await;
    assert_eq!(answer.json::<Value>().unwrap()["override"], Value::Null, "none of them set it");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(front.admin(Method::GET, path, None, "").await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(front.get("/override").await.status, StatusCode::NOT_FOUND, "clients do not see it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_holds_nobody_for_as_long_as_the_disk_takes() {
    let world = World::new().await;
    world.comparator.append(moved(1, at(50)));
    world.comparator.append(RolloutBody::Drained { version: 1 });
    let config = Config { handover_ms: 100, ..world.config() };
    let front = std::sync::Arc::new(Front::start(config.clone()).await);
    let engine = account(0, 50);
    assert_eq!(topup_system(&front, &engine, "before").await, "engine");
    // The draft of the file is a pipe: writing it takes until somebody reads.
    let pipe = config.data_dir.join("override.draft");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let asking = front.clone();
    let order = tokio::spawn(async move {
        asking.admin(Method::POST, "/override", Some(TOKEN), r#"{"reason":"the engine burns"}"#).await.status
    });
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while topup_system(&front, &engine, "during").await != "legacy" {
        assert!(std::time::Instant::now() < deadline, "it is not in force");
    }
    assert!(!order.is_finished(), "it is not on disk");
    // A pipe cannot be made durable: the operator learns that the override would not survive a restart.
    let _reader = tokio::task::spawn_blocking(move || std::fs::File::open(pipe).unwrap()).await.unwrap();
    assert_eq!(order.await.unwrap(), StatusCode::INTERNAL_SERVER_ERROR);
}
