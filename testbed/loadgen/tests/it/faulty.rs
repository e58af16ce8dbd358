//! Every fault that the legacy admits to is found, and nothing else.

use crate::legacy::{Legacy, observer, runner, verify};
use host::task::Shutdown;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use testbed_auditor::Expectations;
use testbed_legacy::Config;

const SEED: u64 = 4_711;

/// Runs a load with one fault. Gives what the auditor finds, and the fault ledger.
async fn run(kind: &str) -> (Vec<String>, Vec<Value>) {
    let legacy = Legacy::start(Config { hang_seconds: 0, slow_ms: 20, ..Config::default() }).await;
    legacy.put_faults(json!([{"kind": kind, "rate": 0.02, "seed": SEED}])).await;
    let observer = observer(Expectations::default());
    let runner = runner(&legacy, 2_000, SEED, &observer);
    runner.create_accounts().await.unwrap();
    runner.run(&Shutdown::new()).await;
    let violations = verify(&legacy, &observer).await;
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
async fn a_wrong_fee_is_found_in_the_answer() {
    let (violations, faults) = run("wrong-fee").await;
    let expected: BTreeSet<String> = faults.iter().map(named).collect();
    assert_eq!(effects(&violations, "the source shows"), expected, "seed {SEED}: {violations:#?}");
    let others: Vec<_> = violations.iter().filter(|text| !expected.iter().any(|name| text.starts_with(name))).collect();
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
async fn errors_hangs_and_slowness_change_nothing() {
    for kind in ["5xx", "hang", "slow"] {
        let (violations, faults) = run(kind).await;
        assert!(violations.is_empty(), "{kind}, seed {SEED}: {violations:#?}");
        let kinds: BTreeSet<&str> = faults.iter().map(|fault| fault["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds.len(), if kind == "slow" { 1 } else { 2 }, "{kinds:?}");
    }
}
