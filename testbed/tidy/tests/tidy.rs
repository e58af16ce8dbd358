//! Rules of this repository that no compiler checks. Each test names the rule and the place that breaks it.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Longer files hide more than one noun (docs: CONTRIBUTING, "A folder tells its story").
const MAX_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every tracked-looking file below the root with this ending, with its path relative to the root.
fn files(ending: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | ".services" | "data") {
                    walk(&path, ending, found);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, ending, &mut found);
    found.sort();
    assert!(!found.is_empty(), "there are no *{ending} files: the walk is broken");
    let relative = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (relative(path), std::fs::read_to_string(path).unwrap())).collect()
}

/// The part of a source file before its unit tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or(text)
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("testbed/e2e/")
}

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}\n  {}", broken.join("\n  "));
}

#[test]
fn files_are_short() {
    let long: Vec<_> = files(".rs")
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert_none(&format!("a file has at most {MAX_LINES} lines: split it by its nouns"), &long);
}

#[test]
fn every_file_says_what_it_is_for() {
    let mute: Vec<_> =
        files(".rs").into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert_none("a file opens with `//!` and its purpose in one sentence", &mute);
}

/// Network, disk, clock, tasks and randomness are reached through `host` alone, so that a simulated world can
/// take its place.
#[test]
fn the_outside_world_is_behind_host() {
    let banned = [
        "tokio::net",
        "tokio::spawn",
        "tokio::task",
        "tokio::time",
        "tokio::fs",
        "std::fs",
        "std::net::Tcp",
        "std::thread::spawn",
        "SystemTime::now",
        "Instant::now",
        "Uuid::new_v4",
        "fastrand::",
    ];
    // The command line reads its own configuration; the auditor, the generator and the simulated log are seeded by their
    // caller.
    let allowed = |path: &str, word: &str| match word {
        "std::fs" => path.starts_with("crossfade/src/config.rs") || path == "testbed/loadgen/src/bank.rs",
        "fastrand::" => path.starts_with("testbed/") || path.starts_with("eventlog/src/simulated/"),
        _ => false,
    };
    let mut broken = Vec::new();
    for (path, text) in files(".rs") {
        if path.starts_with("host/") || is_test(&path) || path.starts_with("testbed/tidy") {
            continue;
        }
        for (number, line) in product(&text).lines().enumerate() {
            for word in banned {
                if line.contains(word) && !line.trim_start().starts_with("//") && !allowed(&path, word) {
                    broken.push(format!("{path}:{}: {word}", number + 1));
                }
            }
        }
    }
    assert_none("the outside world is reached through the crate `host`", &broken);
}

/// Modules that decide: no clock, no randomness, no I/O, no async, no float, no order that differs between runs.
#[test]
fn what_decides_is_pure() {
    let pure = |path: &str| {
        path.starts_with("engine/domain/src/")
            || path.starts_with("comparator/src/judge/")
            || path.starts_with("comparator/src/index/")
            || path == "proxy/src/routes.rs"
            || path.starts_with("wire/src/")
    };
    let banned = [
        "host::",
        "async ",
        ".await;",
        ".await?",
        ".await)",
        "tokio",
        "f32",
        "SystemTime",
        "Instant",
        "std::io",
        "std::env",
    ];
    // Rates are shown, never booked: the control API carries them as floats.
    let allowed = |path: &str, word: &str| word == "f64" && (path.ends_with("control.rs") || path.contains("/index/"));
    let mut broken = Vec::new();
    for (path, text) in files(".rs").into_iter().filter(|(path, _)| pure(path) && !is_test(path)) {
        for (number, line) in product(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in banned.iter().chain(&["f64"]) {
                if code.contains(word) && !allowed(&path, word) {
                    broken.push(format!("{path}:{}: {word}", number + 1));
                }
            }
        }
    }
    assert_none("a pure module has no clock, randomness, I/O, async or float", &broken);
}

/// The faults of the reference legacy are found from what the systems say, never from their names.
#[test]
fn nobody_knows_the_faults_by_name() {
    let names = [
        "wrong-fee",
        "lost-write",
        "double-apply",
        "wrong_fee",
        "lost_write",
        "double_apply",
        "WrongFee",
        "LostWrite",
        "DoubleApply",
        "hang-before",
        "hang-after",
        "5xx-before",
        "5xx-after",
        "drop-connection",
        "stale-balance",
        "stale_balance",
        "StaleBalance",
    ];
    let mut broken = Vec::new();
    for (path, text) in files(".rs").into_iter().filter(|(path, _)| !path.starts_with("testbed/")) {
        for name in names.iter().filter(|name| text.contains(**name)) {
            broken.push(format!("{path}: {name}"));
        }
    }
    assert_none("the names of the legacy's faults stand in testbed/ alone", &broken);
}

/// Dependencies point one way.
#[test]
fn crates_know_only_what_they_may() {
    let ours = [
        "wire",
        "host",
        "eventlog",
        "kafka-acls",
        "engine-domain",
        "engine",
        "proxy",
        "comparator",
        "crossfade",
        "testbed-legacy",
        "testbed-loadgen",
        "testbed-auditor",
        "testbed-interposer",
        "testbed-models",
        "testbed-simulation",
    ];
    let may_know: &[(&str, &[&str])] = &[
        ("wire", &[]),
        ("host", &[]),
        ("eventlog", &["host", "kafka-acls", "wire"]),
        ("eventlog/acls", &[]),
        ("engine/domain", &[]),
        ("engine", &["engine-domain", "eventlog", "host", "wire"]),
        ("proxy", &["eventlog", "host", "wire"]),
        ("comparator", &["eventlog", "host", "wire"]),
        ("testbed/legacy", &["host"]),
        ("testbed/auditor", &[]),
        ("testbed/interposer", &["host"]),
        ("testbed/models", &[]),
        ("testbed/loadgen", &["host", "testbed-auditor"]),
    ];
    let mut broken = Vec::new();
    for (folder, may) in may_know {
        let text = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = toml::from_str(&text).unwrap();
        let known: BTreeSet<&str> = manifest["dependencies"].as_table().unwrap().keys().map(String::as_str).collect();
        for name in ours.iter().filter(|name| known.contains(**name) && !may.contains(name)) {
            broken.push(format!("{folder} knows {name}"));
        }
    }
    assert_none("dependencies point one way (ARCHITECTURE, \"Who may know whom\")", &broken);
}

#[test]
fn metric_names_stand_in_one_place_per_crate() {
    let mut broken = Vec::new();
    for (path, text) in files(".rs") {
        if is_test(&path) || path.ends_with("/metrics.rs") || path.starts_with("testbed/") {
            continue;
        }
        for (number, line) in product(&text).lines().enumerate() {
            if line.contains("\"crossfade_") && !line.contains("crossfade_sim") {
                broken.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert_none("metric names are constants in `metrics.rs`", &broken);
}

#[test]
fn metrics_are_those_of_the_contract() {
    let contract = std::fs::read_to_string(root().join("docs/contract/metrics.txt")).unwrap();
    let contract: BTreeSet<&str> =
        contract.lines().filter_map(|line| line.split('{').next()).filter(|name| !name.is_empty()).collect();
    let mut broken = Vec::new();
    for (path, text) in files(".rs").into_iter().filter(|(path, _)| path.ends_with("/metrics.rs")) {
        for word in text.split('"').filter(|word| word.starts_with("crossfade_") && !word.contains(' ')) {
            if !contract.contains(word) {
                broken.push(format!("{path}: {word}"));
            }
        }
    }
    assert_none("a metric that is not in docs/contract/metrics.txt is a secret", &broken);
}

#[test]
fn boards_and_alerts_name_metrics_that_are_there() {
    let mut there = BTreeSet::new();
    for (_, text) in files(".rs").into_iter().filter(|(path, _)| path.ends_with("/metrics.rs")) {
        let names = text.split('"').filter(|word| word.starts_with("crossfade_") && !word.contains(' '));
        there.extend(names.map(str::to_owned));
    }
    let used = |text: &str| -> BTreeSet<String> {
        let words = text.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
        words.filter(|word| word.starts_with("crossfade_")).map(str::to_owned).collect()
    };
    let (mut broken, mut named) = (Vec::new(), 0);
    for (path, text) in [files(".json"), files(".yml")].concat() {
        for name in used(&text).into_iter().filter(|_| path.starts_with("dashboards/")) {
            named += 1;
            let series = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            if !there.contains(series.unwrap_or(&name)) && !there.contains(&name) {
                broken.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(named > 30, "only {named} metrics are named: the search is broken");
    assert_none("a board or an alert names a metric that nobody exports", &broken);
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let hidden = ["/work/", "bash_jobs", "the helper wrote", "as an AI", "language model"];
    let mut broken = Vec::new();
    for ending in [".rs", ".md", ".toml", ".py", ".yml", ".yaml", ".sh", "dev", "run"] {
        for (path, text) in files(ending) {
            if path.starts_with("testbed/tidy") {
                continue;
            }
            for word in hidden.iter().filter(|word| text.contains(**word)) {
                broken.push(format!("{path}: {word}"));
            }
        }
    }
    assert_none("no machine path, and no word about how the project was made", &broken);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in files(".md") {
        let folder = root().join(&path).parent().unwrap().to_path_buf();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") && !folder.join(file).exists() {
                broken.push(format!("{path}: {target}"));
            }
        }
    }
    assert_none("a link leads to a file that is there", &broken);
}
