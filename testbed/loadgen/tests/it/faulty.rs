//! Every fault that the legacy admits to is found, and nothing else.

use crate::legacy::{Legacy, observer, runner, verify};
use host::task::Shutdown;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use testbed_auditor::Expectations;
use testbed_legacy::Config;

const SEED: u64 = 4_711;

async fn start() -> Legacy {
    Legacy::start(Config { hang_seconds: 0, slow_ms: 20, ..Config::default() }).await
}

/// Runs a load with one fault. Gives what the auditor finds, and the fault ledger.
async fn run(kind: &str) -> (Vec<String>, Vec<Value>) {
    run_on(&start().await, kind, 0.02).await
}

/// The same on a legacy that is there still at the end, with a fault that hits more or less often.
async fn run_on(legacy: &Legacy, kind: &str, rate: f64) -> (Vec<String>, Vec<Value>) {
    legacy.put_faults(json!([{"kind": kind, "rate": rate, "seed": SEED}])).await;
    let observer = observer(Expectations::default());
    let runner = runner(legacy, 2_000, SEED, &observer);
    runner.create_accounts().await.unwrap();
    runner.run(&Shutdown::new()).await;
    let violations = verify(legacy, &observer).await;
    let faults = legacy.faults().await;
    assert!(faults.len() > 10, "{kind}: {} faults", faults.len());
    (violations, faults)
}

/// How the auditor names the effect that a fault hit.
fn named(fault: &Value) -> String {
    format!("account {}, key {}", fault["account"].as_str().unwrap(), fault["key"].as_str().unwrap())
}

/// The effects named by violations that contain `text`.
fn effects(violations: &[String], text: &str) -> BTreeSet<String> {
    let found = violations.iter().filter(|violation| violation.contains(text));
    found.map(|violation| violation.split(": ").next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_amount_is_found_in_the_answer() {
    for kind in ["wrong-fee", "rounding"] {
        let (violations, faults) = run(kind).await;
        let expected: BTreeSet<String> = faults.iter().map(named).collect();
        assert_eq!(effects(&violations, "the source shows"), expected, "{kind}, seed {SEED}: {violations:#?}");
        let is_other = |text: &&String| !expected.iter().any(|name| text.starts_with(name));
        let others: Vec<_> = violations.iter().filter(is_other).collect();
        assert!(others.is_empty(), "{kind}, seed {SEED}: {others:#?}");
    }
}

/// Answers are right, so that nothing is wrong but what is shown in the end, of accounts that nobody changed since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_balance_is_found_in_the_end() {
    let legacy = start().await;
    // Most accounts change again and again: half of the last changes has to be hit to see some.
    let (violations, faults) = run_on(&legacy, "stale-balance", 0.5).await;
    let mut last: BTreeMap<String, Value> = BTreeMap::new();
    for row in legacy.system.transactions().await.unwrap().iter().filter(|row| row["status"] == "completed") {
        for side in ["source", "destination"] {
            last.insert(row[side]["accountId"].as_str().unwrap().to_owned(), row["transactionId"].clone());
        }
    }
    let is_last = |fault: &&Value| last[fault["account"].as_str().unwrap()] == fault["transactionId"];
    let stale: BTreeSet<&str> = faults.iter().filter(is_last).map(|fault| fault["account"].as_str().unwrap()).collect();
    assert!(stale.len() > 5, "seed {SEED}: {stale:?}");
    let shown: BTreeSet<&str> =
        violations.iter().filter_map(|text| text.strip_prefix("the balance of ")?.split(' ').next()).collect();
    assert_eq!(shown, stale, "seed {SEED}: {violations:#?}");
    let is_other = |text: &&String| !text.starts_with("the balance of ") && !text.contains("do not chain");
    let others: Vec<_> = violations.iter().filter(is_other).collect();
    assert!(others.is_empty(), "seed {SEED}: {others:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_write_is_found_in_the_list() {
    let (violations, faults) = run("lost-write").await;
    let expected: BTreeSet<String> = faults.iter().map(named).collect();
    assert_eq!(effects(&violations, "legacy has no such transaction"), expected, "seed {SEED}: {violations:#?}");
    assert!(violations.iter().any(|text| text.starts_with("the balance of")), "{violations:#?}");
    assert!(violations.iter().any(|text| text.contains("do not chain")), "{violations:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_double_effect_is_found_in_the_list() {
    let (violations, faults) = run("double-apply").await;
    let doubled: BTreeSet<String> = violations
        .iter()
        .filter(|text| text.contains("one more than was asked for"))
        .map(|text| text.trim_start_matches("legacy: ").split(": ").next().unwrap().to_owned())
        .collect();
    assert_eq!(doubled, faults.iter().map(named).collect(), "seed {SEED}: {violations:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hides_answers_or_delays_them_changes_nothing() {
    for (kind, ways) in [("5xx", 2), ("hang", 2), ("drop-connection", 2), ("slow", 1), ("reorder", 1)] {
        let (violations, faults) = run(kind).await;
        assert!(violations.is_empty(), "{kind}, seed {SEED}: {violations:#?}");
        let kinds: BTreeSet<&str> = faults.iter().map(|fault| fault["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds.len(), ways, "{kinds:?}");
    }
}
