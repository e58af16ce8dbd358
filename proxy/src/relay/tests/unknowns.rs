//! Unknown results, asked for over HTTP.

use super::log::MemoryLog;
use super::rig::{Front, Relay, concluded, config, intent, log_in_shadow, systems, transfer, written};
use super::systems::{Reply, Seen, SmallSystem, applied, refused};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use wire::exchange::{ExchangeBody, Intent};
use wire::shadow;
use wire::shadow::{Resolution, ResolvedBy, ShadowBody};
use wire::words::{Class, Mode, Operation, System};

async fn rig() -> (MemoryLog, SmallSystem, SmallSystem, Relay, Front) {
    let log = log_in_shadow();
    let (legacy, engine) = systems().await;
    let relay = Relay::start(config(&legacy.url(), &engine.url()), &log).await;
    let front = Front::connect(&relay).await;
    (log, legacy, engine, relay, front)
}

async fn unknown(front: &mut Front, intent: Intent) -> u64 {
    let sequence = front.write_intent(intent);
    front.write_result(sequence, Class::Unknown, 0, "");
    front.ship().await;
    sequence
}

async fn resolution(log: &MemoryLog) -> Resolution {
    let found = |records: &[_]| {
        super::rig::accepted(records).into_iter().find_map(|body| match body {
            ShadowBody::Resolved(resolution) => Some(resolution),
            _ => None,
        })
    };
    log.until(shadow::TOPIC, "a resolution", found).await
}

fn failed(code: &str) -> String {
    format!(
        r#"{{"transactionId":"L-1","trackingId":"key-1","type":"transfer","status":"failed","amount":"5","currency":"EUR","source":{{"accountId":"from-1","movement":"0"}},"destination":{{"accountId":"to-1","movement":"0"}},"errorCode":"{code}","correlationId":"c-1","createdAt":"2026-11-01T00:00:00Z"}}"#
    )
}

#[tokio::test]
async fn completed_is_delivered() {
    let (log, legacy, engine, _relay, mut front) = rig().await;
    legacy.now_says(|_| Reply::Status(200, applied("L-1", "from-1", "to-1")));
    let sequence = unknown(&mut front, transfer(System::Legacy, 1)).await;
    let result = concluded(&log, sequence).await;
    assert_eq!((result.mode, result.class), (Mode::Shadow, Class::Applied));
    let resolution = resolution(&log).await;
    assert_eq!((resolution.class, resolution.status, resolution.by), (Class::Applied, 200, ResolvedBy::Key));
    assert_eq!(resolution.body.0, applied("L-1", "from-1", "to-1").as_bytes());
    let asked = &legacy.seen()[0];
    assert_eq!(asked.path, "/transactions/status/key-1?account=from-1");
    assert_eq!((asked.method.as_str(), asked.header("x-tenant")), ("GET", Some("shop")));
    assert_eq!(asked.header("authorization"), Some("Bearer the-legacy-token"));
    let alias = engine.seen().iter().find_map(|seen| seen.header("x-crossfade-alias").map(str::to_owned));
    assert_eq!(alias.as_deref(), Some("L-1"));
}

#[tokio::test]
async fn failed_is_told_to_the_engine_as_the_client_would_have_been_told() {
    let (log, legacy, _engine, _relay, mut front) = rig().await;
    legacy.now_says(|_| Reply::Status(200, failed("InsufficientBalance")));
    let sequence = unknown(&mut front, transfer(System::Legacy, 1)).await;
    assert_eq!(concluded(&log, sequence).await.mode, Mode::ShadowRefused);
    let resolution = resolution(&log).await;
    assert_eq!((resolution.class, resolution.status), (Class::Refused, 422));
    let problem: wire::billing::Problem = serde_json::from_slice(&resolution.body.0).unwrap();
    assert_eq!((problem.code.as_str(), problem.correlation_id.as_deref()), ("InsufficientBalance", Some("c-1")));
}

#[tokio::test]
async fn absent_is_believed_the_second_time_after_the_longest_request() {
    for system in [System::Legacy, System::Engine] {
        let (log, legacy, engine, _relay, mut front) = rig().await;
        for asked in [&legacy, &engine] {
            asked.now_says(|_| Reply::Status(404, refused(404, "TransactionNotFound")));
        }
        let began = Instant::now();
        unknown(&mut front, transfer(system, 1)).await;
        assert_eq!(resolution(&log).await.class, Class::NotExecuted);
        assert!(began.elapsed() >= Duration::from_millis(200), "it might still have been running");
        written(&log, "a skipped one", 1, |body| matches!(body, ShadowBody::Skipped { .. })).await;
        let asked = if system == System::Legacy { legacy } else { engine };
        assert!(asked.seen().len() >= 2);
    }
}

#[tokio::test]
async fn processing_and_silence_are_asked_again() {
    let (log, legacy, _engine, _relay, mut front) = rig().await;
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    legacy.now_says(move |_| match counter.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Status(500, String::new()),
        1 => Reply::Status(200, r#"{"status":"processing"}"#.to_owned()),
        2 => Reply::Status(404, refused(404, "TransactionNotFound")),
        3 => Reply::Hang,
        _ => Reply::Status(200, applied("L-1", "from-1", "to-1")),
    });
    let sequence = unknown(&mut front, transfer(System::Legacy, 1)).await;
    assert_eq!(concluded(&log, sequence).await.class, Class::Applied);
    assert_eq!(asked.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn accounts_are_asked_for_by_id() {
    let (log, legacy, _engine, _relay, mut front) = rig().await;
    legacy
        .now_says(|_| Reply::Status(200, r#"{"accountId":"alice","accountType":"USER","status":"FROZEN"}"#.to_owned()));
    let mut change = intent(Operation::ChangeAccount, System::Legacy, &["alice"], "key-1");
    change.body = wire::scalar::Body(br#"{"status":"FROZEN"}"#.to_vec());
    let sequence = unknown(&mut front, change).await;
    concluded(&log, sequence).await;
    let resolution = resolution(&log).await;
    assert_eq!((resolution.class, resolution.status, resolution.by), (Class::Applied, 200, ResolvedBy::Account));
    assert_eq!(legacy.seen()[0].path, "/accounts/alice");
}

#[tokio::test]
async fn what_was_running_when_a_front_died_is_asked_for() {
    let (log, legacy, _engine, _relay, mut front) = rig().await;
    legacy.now_says(|_| Reply::Status(200, applied("L-1", "from-1", "to-1")));
    let sequence = front.write_intent(transfer(System::Legacy, 1));
    front.write(ExchangeBody::Ended { clean: false });
    front.ship().await;
    assert_eq!(concluded(&log, sequence).await.class, Class::Applied);
}

#[tokio::test]
async fn what_comes_behind_an_unknown_waits_for_it() {
    let (log, legacy, engine, _relay, mut front) = rig().await;
    legacy.now_says(|_| Reply::Status(200, r#"{"status":"processing"}"#.to_owned()));
    let lost = unknown(&mut front, transfer(System::Legacy, 1)).await;
    written(&log, "that it asks", 1, |body| matches!(body, ShadowBody::Asking { .. })).await;
    let behind = intent(Operation::Transfer, System::Legacy, &["to-1", "from-9"], "key-9");
    let behind = front.applied(behind, &applied("L-9", "to-1", "from-9")).await;
    let other = front.applied(transfer(System::Legacy, 2), &applied("L-2", "from-2", "to-2")).await;
    concluded(&log, other).await;
    let keys = |seen: &[Seen]| -> Vec<String> {
        seen.iter().filter_map(|seen| seen.header("idempotency-key").map(str::to_owned)).collect()
    };
    assert_eq!(keys(&engine.seen()), ["key-2"]);
    legacy.now_says(|_| Reply::Status(200, applied("L-1", "from-1", "to-1")));
    concluded(&log, behind).await;
    concluded(&log, lost).await;
    assert_eq!(keys(&engine.seen()), ["key-2", "key-9", "key-1"]);
}
