//! A legacy that does not deduplicate: asked once for everything it is found clean, and asked twice for something it is
//! not.

use crate::legacy::{Legacy, observer, verify, workload};
use host::task::Shutdown;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed_auditor::{Expectations, Observer};
use testbed_legacy::Config;
use testbed_legacy::ids::Ids;
use testbed_loadgen::report::Report;
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{self, Workload};

const SEED: u64 = 20_261_130;

async fn start() -> (Legacy, Arc<Mutex<Observer>>) {
    let config = Config { deduplicates: false, ids: Ids::Integer, hang_seconds: 0, ..Config::default() };
    (Legacy::start(config).await, observer(Expectations { refusal_keeps_key: false, ..Expectations::default() }))
}

/// Runs a load in which nothing is sent again because its answer was lost.
async fn run(legacy: &Legacy, config: workload::Config, observer: &Arc<Mutex<Observer>>) -> Report {
    let options = Options {
        base_urls: vec![legacy.url.clone()],
        pace: Pace::Closed { connections: 16, think: Duration::ZERO },
        max_requests: 2_000,
        timeout: Duration::from_secs(10),
        retry_unknown: false,
        ..Options::default()
    };
    let runner = Runner::new(options, Workload::new(config), observer.clone());
    runner.create_accounts().await.unwrap();
    runner.run(&Shutdown::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_once_is_done_once() {
    let (legacy, observer) = start().await;
    let report = run(&legacy, workload(SEED).asking_once(), &observer).await;
    assert_eq!(verify(&legacy, &observer).await, Vec::<String>::new(), "seed {SEED}");
    let counted = report.counted;
    assert_eq!((counted.sent, counted.replayed, counted.unknown), (2_000, 0, 0), "{report:?}");
    assert!(counted.ok > 1_000 && counted.refused > 100 && counted.rejected > 3, "{report:?}");
    // Ids are numbers, also those that refunds name.
    let rows = legacy.system.transactions().await.unwrap();
    assert!(rows.iter().all(|row| row["transactionId"].as_str().unwrap().parse::<u64>().is_ok()));
    assert!(rows.iter().filter(|row| row["type"] == "refund").count() > 20, "seed {SEED}");
    let executed = counted.ok + counted.refused;
    assert_eq!(
        legacy.get("/executions").await,
        json!({"repeated": [], "keys": executed, "executions": executed}),
        "what was rejected was not executed; seed {SEED}"
    );
}

/// An answer that was lost is asked for by the key: what was not executed is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_are_found_out_by_the_key() {
    for kind in ["5xx", "hang", "drop-connection"] {
        let (legacy, observer) = start().await;
        legacy.put_faults(json!([{"kind": kind, "rate": 0.05, "seed": SEED}])).await;
        let report = run(&legacy, workload(SEED).asking_once(), &observer).await;
        let faults = legacy.faults().await;
        assert_eq!(report.unknown_keys, faults.len(), "{kind}, seed {SEED}: {report:?}");
        assert!(faults.len() > 40, "{kind}, seed {SEED}: {report:?}");
        assert_eq!(verify(&legacy, &observer).await, Vec::<String>::new(), "{kind}, seed {SEED}");
        let executions = legacy.get("/executions").await;
        assert_eq!(executions["repeated"], json!([]), "{kind}, seed {SEED}");
        let executed = report.counted.ok + report.counted.refused + faults.len() as u64;
        assert_eq!(executions["executions"], executed, "{kind}, seed {SEED}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_twice_is_found() {
    let (legacy, observer) = start().await;
    let config = workload::Config { retry_permille: 100, ..workload(SEED).asking_once() };
    let report = run(&legacy, config, &observer).await;
    assert_eq!(report.counted.replayed, 0, "{report:?}");
    let violations = verify(&legacy, &observer).await;
    for text in ["neither of which says that it repeats the other", "one more than was asked for", "the balance of"] {
        assert!(violations.iter().any(|violation| violation.contains(text)), "{text}, seed {SEED}: {violations:#?}");
    }
    let executions = legacy.get("/executions").await;
    let repeated = executions["repeated"].as_array().unwrap();
    assert!(repeated.len() > 50, "seed {SEED}: {executions}");
    let more: u64 = repeated.iter().map(|key| key["times"].as_u64().unwrap() - 1).sum();
    let number = |name: &str| executions.get(name).and_then(Value::as_u64).unwrap();
    assert_eq!(number("executions"), number("keys") + more, "seed {SEED}");
}
