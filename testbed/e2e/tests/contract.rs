//! The contract against what is there: metrics as scraped, verbs of the command line, paths of both APIs.
//!
//! `docs/contract/missing.txt` lists what the contract names and nobody built yet; it can only get shorter.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use clap::CommandFactory;
use crossfade::demo::site::Changes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testbed_e2e::checks;
use testbed_e2e::system::{Layout, System, on_kafka, on_postgres};
use testbed_loadgen::runner::{Options, Runner};
use testbed_loadgen::workload::{Config, Workload};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");

fn document(name: &str) -> BTreeSet<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/contract").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// What is there and what is listed as missing must together be the contract, without overlap.
fn check(what: &str, contract: &BTreeSet<String>, there: &BTreeSet<String>) {
    let missing: BTreeSet<String> = document("missing.txt")
        .into_iter()
        .filter_map(|line| line.strip_prefix(&format!("{what} ")).map(str::to_owned))
        .collect();
    let unlisted: Vec<_> = contract.iter().filter(|name| !there.contains(*name) && !missing.contains(*name)).collect();
    assert!(unlisted.is_empty(), "{what}: in the contract, neither built nor listed as missing: {unlisted:#?}");
    let built: Vec<_> = missing.intersection(there).collect();
    assert!(built.is_empty(), "{what}: built, so take it off docs/contract/missing.txt: {built:#?}");
    let stray: Vec<_> = missing.difference(contract).collect();
    assert!(stray.is_empty(), "{what}: listed as missing, but not in the contract: {stray:#?}");
    let secret: Vec<_> = there.difference(contract).collect();
    assert!(secret.is_empty(), "{what}: built, but not in the contract: {secret:#?}");
}

#[test]
fn verbs() {
    let mut there = BTreeSet::new();
    for verb in crossfade::cli::Cli::command().get_subcommands() {
        let nested: Vec<_> =
            verb.get_subcommands().map(|inner| format!("{} {}", verb.get_name(), inner.get_name())).collect();
        if nested.is_empty() {
            there.insert(verb.get_name().to_owned());
        }
        there.extend(nested);
    }
    check("verb", &document("verbs.txt"), &there);
}

#[test]
fn paths() {
    let mut there = BTreeSet::new();
    for (part, file) in [("engine", "openapi.json"), ("comparator", "openapi-comparator.json")] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
        let document: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let operators = ["/healthz", "/readyz", "/metrics", "/openapi.json"].contains(&path.as_str());
            for method in methods.as_object().unwrap().keys() {
                if !operators && !path.starts_with("/internal/") {
                    there.insert(format!("{part} {} {path}", method.to_uppercase()));
                }
            }
        }
    }
    check("path", &document("paths.txt"), &there);
}

/// Whether a metric of the contract is exported, wherever log and projections are.
fn is_exported(name: &str) -> bool {
    match name {
        "crossfade_event_to_projection_seconds"
        | "crossfade_projection_lag_records"
        | "crossfade_projection_mismatched_rows" => on_postgres(),
        // Of the log in files.
        "crossfade_log_commits_total" => !on_kafka(),
        _ => true,
    }
}

/// Metric names as every part exports them after some traffic.
#[tokio::test(flavor = "multi_thread")]
async fn metrics() -> anyhow::Result<()> {
    let mut system = System::start(Path::new(BINARY), Layout::One, &Changes::default()).await?;
    system.dial("shadow", false).await?;
    system.dial("37", false).await?;
    // Money at variance has a currency only once there is some.
    system.faults(&["wrong-fee"], 0.5).await?;
    let options = Options { base_urls: vec![system.site.front()], max_requests: 500, ..Options::default() };
    let runner = Runner::new(options, Workload::new(Config { users: 30, ..Config::default() }), checks::auditor(true));
    runner.create_accounts().await?;
    runner.run(&host::task::Shutdown::new()).await;
    system.until_judged(Duration::from_secs(60)).await?;
    let lines = document("metrics.txt");
    let names = lines.iter().filter_map(|line| line.split('{').next());
    let contract: BTreeSet<String> = names.filter(|name| is_exported(name)).map(str::to_owned).collect();
    let missing = document("missing.txt").iter().filter(|line| line.starts_with("metric ")).count();
    // Some are taken once a second.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let there: BTreeSet<String> = system.metrics().await?.into_keys().collect();
        if there.len() + missing >= contract.len() || Instant::now() > deadline {
            check("metric", &contract, &there);
            return system.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
