//! The command line as a person meets it: what goes wrong is said in one clear line, with the right exit code.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use crossfade::demo::site::{Changes, Site};
use std::path::{Path, PathBuf};
use std::process::Command;
use testbed_e2e::system::{Layout, System};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");

/// Runs a command: its exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(BINARY)
        .args(arguments)
        .env_remove("CROSSFADE_CONFIG")
        .env_remove("CROSSFADE_TOKEN")
        .env_remove("CROSSFADE_TOKEN_FILE")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn written(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("crossfade.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn usage_errors_exit_with_2_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = written(folder.path(), "ledger = \"x\"\n[front]\nlisten = \"127.0.0.1:1\"\nspeed = 3\n");
    let unknown = unknown.to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["--nonsense"], "--nonsense"),
        (&["nonsense"], "nonsense"),
        (&["rollout", "set", "37"], "--reason"),
        (&["front"], "--config"),
        (&["front", "--config", "/nowhere/crossfade.toml"], "/nowhere/crossfade.toml"),
        (&["front", "--config", unknown], "4:1: unknown field `speed`"),
        (&["status"], "--comparator"),
        (&["status", "--timeout", "0"], "--timeout"),
        (&["rollout", "set", "banana", "--reason", "test"], "banana"),
        (&["rollout", "set", "banana", "--dry-run"], "banana"),
        (&["rollout", "set", "9999999999999999999999999999", "--reason", "test"], "from 0 to 100"),
        (&["dlq", "show", "nonsense"], "topic/partition/offset"),
        (&["dlq", "drop", "billing.commands/0/1"], "--reason"),
        (&["dlq", "list"], "--engine-control"),
        (&["log", "tail", "nonsense.topic", "--comparator", "http://127.0.0.1:1"], "nonsense.topic"),
    ];
    for (arguments, said) in cases {
        let (code, _, stderr) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?} does not say {said}: {stderr}");
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_start_is_not_usable() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::create(folder.path(), &Changes::default()).await.unwrap();
    let whole = std::fs::read_to_string(&site.config).unwrap();
    let without = |section: &str| {
        let from = whole.find(&format!("[{section}]")).unwrap();
        let to = whole[from + 1..].find("\n[").map_or(whole.len(), |next| from + 1 + next + 1);
        format!("{}{}", &whole[..from], &whole[to..])
    };
    let with = |section: &str, line: &str| whole.replace(&format!("[{section}]\n"), &format!("[{section}]\n{line}\n"));
    let cases = [
        (with("front", "max_body_bytes = 0"), "max_body_bytes"),
        (with("front", "recorded_headers = [\"Authorization\"]"), "Authorization"),
        (with("relay", "concurrency = 0"), "relay.concurrency"),
        (with("comparator", "drained_within_ms = 0"), "comparator.drained_within_ms"),
        (with("engine", "shards = 0"), "engine.shards"),
        (with("engine", "actor_header = \"no header\""), "engine.actor_header"),
        (without("relay"), "[relay] and [comparator]"),
        (without("log"), "[log]"),
    ];
    assert_eq!(run(&["config", "check", "--config", site.config.to_str().unwrap()]).0, 0);
    for (text, said) in cases {
        let config = written(folder.path(), &text);
        for verb in [&["config", "check"][..], &["up"]] {
            let arguments: Vec<_> = verb.iter().copied().chain(["--config", config.to_str().unwrap()]).collect();
            let (code, _, stderr) = run(&arguments);
            assert_eq!(code, 2, "{verb:?} {said}: {stderr}");
            assert!(stderr.contains(said), "{verb:?} does not say {said}: {stderr}");
        }
    }
    assert!(!folder.path().join("engine").exists(), "nothing is opened before the configuration is checked");
}

#[test]
fn a_part_that_takes_too_long_is_a_time_out() {
    // It takes connections, as its operating system does, and answers nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for verb in [&["status"][..], &["log", "tail", "cutover.rollout"]] {
        let arguments: Vec<_> = verb.iter().copied().chain(["--timeout", "1", "--comparator", &url]).collect();
        let (code, _, stderr) = run(&arguments);
        assert_eq!(code, 5, "{verb:?}: {stderr}");
    }
}

#[test]
fn help_and_version_exit_with_0() {
    for arguments in [&["--help"][..], &["--version"], &["rollout", "--help"], &["completions", "bash"]] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        assert!(!stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_part_that_does_not_answer_is_an_error_that_names_it() {
    let (code, _, stderr) = run(&["status", "--comparator", "http://127.0.0.1:1"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("127.0.0.1:1"), "{stderr}");
}

#[test]
fn relay_and_comparator_share_the_embedded_log() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path(), "ledger = \"x\"\n");
    for arguments in [["relay", "--config"], ["comparator", "--config"]] {
        let (code, _, stderr) = run(&[arguments[0], arguments[1], config.to_str().unwrap()]);
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains("relay --with comparator"), "{stderr}");
    }
}

#[tokio::test]
async fn an_unwritable_data_directory_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::create(folder.path(), &Changes::default()).await.unwrap();
    // A file where the directory should be cannot be written by anybody, root included.
    std::fs::write(folder.path().join("engine"), "in the way").unwrap();
    std::fs::write(folder.path().join("legacy"), "in the way").unwrap();
    std::fs::write(folder.path().join("front"), "in the way").unwrap();
    std::fs::write(folder.path().join("cutover"), "in the way").unwrap();
    let config = site.config.to_str().unwrap();
    let parts: [&[&str]; 4] = [&["engine"], &["legacy"], &["front"], &["relay", "--with", "comparator"]];
    for part in parts {
        let arguments: Vec<_> = part.iter().copied().chain(["--config", config]).collect();
        let (code, _, stderr) = run(&arguments);
        let named = folder.path().join(if part[0] == "relay" { "cutover" } else { part[0] });
        assert_eq!(code, 1, "{part:?}: {stderr}");
        assert!(stderr.contains(named.to_str().unwrap()), "{part:?} does not name its directory: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_system_answers_every_verb_and_keeps_its_directories_to_itself() {
    let mut system = System::start(Path::new(BINARY), Layout::Four, &Changes::default()).await.unwrap();
    let config = system.site.config.to_str().unwrap().to_owned();
    let with_config =
        |arguments: &[&str]| run(&arguments.iter().copied().chain(["--config", &config]).collect::<Vec<_>>());
    let parts: [&[&str]; 4] = [&["engine"], &["legacy"], &["front"], &["relay", "--with", "comparator"]];
    for part in parts {
        let (code, _, stderr) = with_config(part);
        assert_eq!(code, 1, "{part:?}: {stderr}");
        assert!(stderr.contains("another process uses the data directory"), "{part:?}: {stderr}");
    }
    let fine: &[&[&str]] = &[
        &["status"],
        &["rollout", "show"],
        &["rollout", "gates"],
        &["rollout", "set", "passthrough", "--dry-run"],
        &["rollout", "set", "shadow", "--reason", "test"],
        &["rollout", "freeze", "--reason", "test"],
        &["rollout", "unfreeze", "--reason", "test"],
        &["rollout", "history"],
        &["exchanges", "list"],
        &["discrepancies", "list"],
        &["reconcile", "run", "--reason", "test"],
        &["reconcile", "show"],
        &["dlq", "list"],
        &["dlq", "list", "--all"],
        &["log", "tail", "cutover.rollout"],
        &["log", "tail", "billing.journal"],
        &["audit", "verify", "--ledger"],
        &["config", "check"],
        &["config", "print"],
    ];
    for arguments in fine {
        for output in ["table", "json"] {
            let (code, stdout, stderr) =
                with_config(&arguments.iter().copied().chain(["-o", output]).collect::<Vec<_>>());
            // Moving to where the dial stands already is refused the second time.
            let repeated = arguments[0] == "rollout" && arguments.contains(&"--reason") && output == "json";
            assert!(code == 0 || repeated && code == 3, "{arguments:?} {output}: {code} {stderr}");
            if output == "json" && code == 0 && arguments[0] != "log" {
                serde_json::from_str::<serde_json::Value>(&stdout)
                    .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {stdout}"));
            }
        }
    }
    let (_, printed, _) = with_config(&["config", "print"]);
    let token = system.site.token("service").unwrap();
    assert!(!printed.contains(&token), "a secret was printed");
    for arguments in [&["account", "show", "nobody"][..], &["transaction", "show", "nothing"]] {
        let (code, _, stderr) = with_config(arguments);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("NotFound"), "{stderr}");
    }
    let (code, _, stderr) = with_config(&["log", "tail", "cutover.rollout", "--partition", "99"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("has no partition 99: it has 0 to 0"), "{stderr}");
    let (code, _, stderr) = with_config(&["dlq", "show", "billing.commands/0/99"]);
    assert!(code == 1 && stderr.contains("no dead letter billing.commands/0/99"), "{code} {stderr}");
    let (code, _, stderr) = with_config(&["dlq", "drop", "billing.commands/0/99", "--reason", "test"]);
    assert!(code == 1 && stderr.contains("DeadLetterNotFound"), "{code} {stderr}");
    let (code, _, stderr) = with_config(&["dlq", "drop", "cutover.exchanges/0/1", "--reason", "test"]);
    assert!(code == 2 && stderr.contains("discrepancies"), "{code} {stderr}");
    let (code, stdout, _) = with_config(&["audit", "verify", "-o", "json"]);
    let chains: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(code == 0 && chains[0]["knownEnd"] == chains[0]["head"], "the comparator's ends are looked for: {chains}");
    let (code, _, stderr) = with_config(&["rollout", "set", "shadow", "--dry-run"]);
    assert!(code == 3 && stderr.contains("NothingToDo"), "what `set` would say: {code} {stderr}");
    let (code, _, stderr) = with_config(&["exchanges", "list", "--verdict", "banana"]);
    assert_eq!(code, 2, "what makes no sense to a part is a usage error: {stderr}");
    let viewer = system.site.folder.join("tokens/viewer");
    let (code, _, stderr) =
        with_config(&["rollout", "set", "1", "--reason", "test", "--token-file", viewer.to_str().unwrap()]);
    assert_eq!(code, 4, "a viewer must not move the dial: {stderr}");
    system.stop().await.unwrap();
}
