//! The demo as a person starts it: clean it ends with 0, with a fault it ends with 3 and says what is wrong.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use serde_json::Value;
use std::process::{Command, Output};
use testbed_e2e::system::{on_kafka, on_postgres};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");

/// Less on a database, where they take longer.
fn exchanges() -> u64 {
    if on_postgres() { 12_000 } else { 20_000 }
}

fn demo(arguments: &[&str]) -> Output {
    let kafka = on_kafka().then_some("--kafka");
    let postgres = on_postgres().then_some("--postgres");
    Command::new(BINARY)
        .args(["demo", "--once", "-o", "json", "--exchanges", &exchanges().to_string()])
        .args(kafka)
        .args(postgres)
        .args(arguments)
        .output()
        .unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_clean_demo_ends_with_0() {
    let output = demo(&[]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert!(report["requests"].as_u64() >= Some(exchanges()), "{report:#}");
    assert_eq!(report["discrepancies"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["summary"]["stage"], Value::Null, "the stage stands in the rollout");
    assert_eq!(report["summary"]["rollout"]["percent"], "100");
    assert_eq!(report["reconciliation"]["different"], 0);
}

#[test]
fn a_demo_with_a_fault_ends_with_3_and_names_it() {
    let output = demo(&["--fault", "wrong-fee"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(3), "{report:#}");
    let discrepancies = report["discrepancies"].as_array().unwrap();
    assert!(discrepancies.iter().all(|found| found["cause"] == "amount"), "{report:#}");
    assert!(!discrepancies.is_empty());
    assert!(discrepancies.iter().all(|found| found["offsets"][0]["amount"] == "-0.01"), "{report:#}");
}

#[test]
fn an_unknown_fault_is_an_error_that_names_it() {
    let output = demo(&["--fault", "nonsense"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("nonsense"), "{said}");
}

#[test]
fn a_database_that_cannot_be_used_is_said_once_and_clearly() {
    const URL: &str = "CROSSFADE_DATABASE_URL";
    // Nobody listens at port 1.
    let refused = "postgres://user:hunter2@127.0.0.1:1/database";
    let missing = "--postgres needs CROSSFADE_DATABASE_URL: postgres://";
    for (url, exit, expected) in [
        (None, 2, missing),
        (Some(""), 2, missing),
        (Some(" "), 2, missing),
        (Some("hunter2"), 2, "CROSSFADE_DATABASE_URL is no address"),
        (Some("postgres://user:hunter2@host:port/database"), 2, "CROSSFADE_DATABASE_URL is no address"),
        (Some(refused), 1, "PostgreSQL does not answer"),
    ] {
        let mut command = Command::new(BINARY);
        let command = command.args(["demo", "--once", "--postgres"]).env_remove(URL);
        let output = command.envs(url.map(|url| (URL, url))).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{url:?}: {said}");
        assert!(said.contains(expected) && !said.contains("hunter2"), "{url:?}: {said}");
        assert!(said.matches("refused").count() <= 1 && said.lines().count() == 1, "{url:?}: {said}");
    }
}
