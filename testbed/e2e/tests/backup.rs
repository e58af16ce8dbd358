//! A backup of the embedded data, and everything back from it.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use crossfade::demo::site::Changes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use testbed_e2e::checks;
use testbed_e2e::system::{Layout, System};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
const EXCHANGES: u64 = 1_000;
const DIRECTORIES: [&str; 4] = ["cutover", "engine", "legacy", "front"];

/// Runs a command: its exit code, standard output, standard error.
fn outcome(config: &Path, arguments: &[&str]) -> (i32, String, String) {
    // A part that starts where it should not would never end.
    let mut command = Command::new("timeout");
    let command = command.args(["60", BINARY]).args(arguments).args(["-o", "json", "--config"]).arg(config);
    let ended = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code().unwrap_or(-1), text(&ended.stdout), text(&ended.stderr))
}

fn run(system: &System, arguments: &[&str]) -> (i32, String) {
    let (code, _, said) = outcome(&system.site.config, arguments);
    (code, said)
}

fn any_file(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| path.is_file()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_comes_back() -> anyhow::Result<()> {
    let mut system = System::start(Path::new(BINARY), Layout::Four, &Changes::default()).await?;
    system.dial("shadow", false).await?;
    system.dial("37", false).await?;
    let auditor = checks::auditor(true);
    system.exchange(&auditor, "before", EXCHANGES).await?;
    let folder = system.site.folder.clone();
    let backup = folder.join("backup");
    let to = backup.to_str().unwrap();
    let (code, said) = run(&system, &["backup", to]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("another process uses the data directory"), "{said}");
    system.stop().await?;
    // Copying takes a while.
    std::fs::File::create(folder.join("legacy/large"))?.set_len(256 << 20)?;
    let inside = folder.join("engine/backup");
    let (code, said) = run(&system, &["backup", inside.to_str().unwrap()]);
    assert!(code == 2 && said.contains("is inside of engine.data_dir"), "{code} {said}");
    assert_eq!(run(&system, &["backup", to, "--dry-run"]), (0, String::new()));
    assert!(!backup.join("manifest.json").exists(), "it was a dry run");
    assert_eq!(run(&system, &["backup", to]).0, 0);
    let (code, said) = run(&system, &["backup", to]);
    assert!(code == 2 && said.contains("is not empty"), "{code} {said}");
    let (code, said) = run(&system, &["restore", to]);
    assert!(code == 3 && said.contains("holds data"), "{code} {said}");

    // The disk is gone, and the backup has a byte that is none of ours.
    DIRECTORIES.iter().for_each(|directory| std::fs::remove_dir_all(folder.join(directory)).unwrap());
    let (code, said) = run(&system, &["backup", folder.join("other").to_str().unwrap()]);
    assert!(code == 3 && said.contains("is not there"), "{code} {said}");
    let in_the_way = folder.join("legacy/of-somebody-else");
    std::fs::create_dir_all(&in_the_way)?;
    let (code, said) = run(&system, &["restore", to]);
    assert!(code == 3 && said.contains("legacy.data_dir") && said.contains("holds data"), "{code} {said}");
    std::fs::remove_dir(&in_the_way)?;
    // A data directory that is a link to another place.
    let (linked, elsewhere) = (folder.join("front"), folder.join("elsewhere"));
    std::fs::create_dir(&elsewhere)?;
    std::os::unix::fs::symlink(&elsewhere, &linked)?;
    let (code, said) = run(&system, &["restore", to]);
    assert!(code == 3 && said.contains("front.data_dir") && said.contains("is a link"), "{code} {said}");
    std::fs::remove_file(&linked)?;
    let hurt = any_file(&backup.join("engine.data_dir"));
    let whole = std::fs::read(&hurt)?;
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    std::fs::write(&hurt, bytes)?;
    let (code, said) = run(&system, &["restore", to]);
    assert!(code == 3 && said.contains("is not what was written there"), "{code} {said}");
    std::fs::write(&hurt, whole)?;
    let (code, said) = run(&system, &["restore", to, "--dry-run"]);
    assert_eq!(code, 0, "{said}");
    // One that is killed in its first copy: no part begins on an empty directory, and nothing is restored over what is left.
    let drafts = DIRECTORIES.map(|directory| folder.join(format!("{directory}.restoring")));
    let mut restore = Command::new(BINARY);
    let mut restoring = restore.args(["restore", to, "--config"]).arg(&system.site.config).spawn()?;
    while !drafts.iter().all(|draft| draft.exists()) {
        assert_eq!(restoring.try_wait()?, None, "it is over before it was killed");
        tokio::task::yield_now().await;
    }
    restoring.kill()?;
    assert!(!restoring.wait()?.success(), "it is over before it was killed");
    let other = folder.join("other");
    let commands: [&[&str]; 6] = [
        &["legacy"],
        &["engine"],
        &["relay", "--with", "comparator"],
        &["front"],
        &["restore", to],
        &["backup", other.to_str().unwrap()],
    ];
    for arguments in commands {
        let (code, said) = run(&system, arguments);
        assert!(code == 1 && said.contains("was not finished"), "{arguments:?}: {code} {said}");
    }
    drafts.iter().for_each(|draft| std::fs::remove_dir_all(draft).unwrap());
    let began = Instant::now();
    let (code, said) = run(&system, &["restore", to]);
    assert_eq!(code, 0, "{said}");
    for name in Layout::Four.processes() {
        system.start_process(name).await?;
    }
    println!("{EXCHANGES} exchanges are back, and all parts are ready, after {:.1?}", began.elapsed());
    checks::every_effect_once(&system, &auditor).await?;
    checks::all_balances_agree(&system, &auditor).await?;
    system.exchange(&auditor, "after", EXCHANGES).await?;
    system.stop().await
}

/// An installation that nobody runs.
struct Still {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Still {
    /// With these lines of TOML at the end of its configuration; `{folder}` is where it is.
    fn with(lines: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("crossfade-e2e-").tempdir().unwrap();
        let config = folder.path().join("crossfade.toml");
        let lines = lines.replace("{folder}", folder.path().to_str().unwrap());
        std::fs::write(&config, format!("ledger = \"still\"\n{lines}")).unwrap();
        Self { folder, config }
    }

    /// With a log and a legacy, whose directories are in one that is not there either once they are gone.
    fn new() -> Self {
        Self::with("[log]\ndata_dir = \"{folder}/data/log\"\n[legacy]\ndata_dir = \"{folder}/data/legacy\"\n")
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, below: &str, text: &str) {
        std::fs::create_dir_all(self.path(below).parent().unwrap()).unwrap();
        std::fs::write(self.path(below), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let (code, _, said) = outcome(&self.config, arguments);
        (code, said)
    }

    /// Everything in it, with what is in it.
    fn all(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.folder.path().to_owned()];
        while let Some(path) = left.pop() {
            if path.is_dir() && !path.is_symlink() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            found.insert(path, bytes);
        }
        found
    }
}

#[test]
fn a_backup_that_was_changed_is_refused_and_nothing_with_it() {
    let still = Still::new();
    still.write("data/log/0/segment", "records");
    still.write("data/legacy/store", "rows");
    let backup = still.path("backup");
    let to = backup.to_str().unwrap();
    assert_eq!(still.run(&["backup", to]), (0, String::new()));
    std::fs::remove_dir_all(still.path("data")).unwrap();
    let manifest: Value = serde_json::from_slice(&std::fs::read(backup.join("manifest.json")).unwrap()).unwrap();
    let outside = still.path("evil");
    let with = |pointer: &str, value: Value| {
        let mut manifest = manifest.clone();
        *manifest.pointer_mut(pointer).unwrap() = value;
        manifest.to_string()
    };
    let mut nameless = manifest.clone();
    nameless["files"].as_array_mut().unwrap().remove(0);
    let mut more = manifest.clone();
    more["files"]
        .as_array_mut()
        .unwrap()
        .push(json!({"directory": "log.data_dir", "path": "0/more", "bytes": 0, "sha256": "00".repeat(32)}));
    let cases = [
        (with("/files/0/path", json!("../evil")), 3, "names `../evil`, which is no file of log.data_dir"),
        (with("/files/0/path", json!("0/../../../evil")), 3, "which is no file of log.data_dir"),
        (with("/files/0/path", json!(outside)), 3, "which is no file of log.data_dir"),
        (with("/files/0/path", json!("")), 3, "names ``, which is no file of log.data_dir"),
        (with("/files/0/path", json!(".")), 3, "names `.`, which is no file of log.data_dir"),
        (with("/files/0/directory", json!("../evil")), 2, "which the configuration does not name"),
        (with("/files/0/sha256", json!(null)), 3, "log.data_dir/0/segment is not what was written there"),
        (with("/files/0/bytes", json!(u64::MAX)), 3, "log.data_dir/0/segment is not what was written there"),
        (nameless.to_string(), 3, "the backup has log.data_dir/0/segment, which its manifest does not name"),
        (more.to_string(), 3, "the backup lacks log.data_dir/0/more, which its manifest names"),
        (manifest.to_string()[..100].to_owned(), 3, "manifest.json cannot be read"),
    ];
    for (changed, exit, expected) in cases {
        std::fs::write(backup.join("manifest.json"), &changed).unwrap();
        let before = still.all();
        for arguments in [&["restore", to, "--dry-run"][..], &["restore", to]] {
            let (code, said) = still.run(arguments);
            assert!(code == exit && said.contains(expected), "{arguments:?} {changed}: {code} {said}");
            assert_eq!(still.all(), before, "{arguments:?} {changed}");
        }
    }
    std::fs::write(backup.join("manifest.json"), manifest.to_string()).unwrap();
    assert_eq!(still.run(&["restore", to]), (0, String::new()));
    assert_eq!(std::fs::read_to_string(still.path("data/log/0/segment")).unwrap(), "records");
}

#[test]
fn a_dry_run_refuses_what_a_run_refuses_and_changes_nothing() {
    let still = Still::new();
    still.write("data/log/0/segment", "records");
    still.write("data/legacy/store", "rows");
    let backup = still.path("backup");
    let to = backup.to_str().unwrap();
    let before = still.all();
    let (code, shown, said) = outcome(&still.config, &["backup", to, "--dry-run"]);
    assert_eq!((code, said.as_str()), (0, ""));
    assert_eq!(still.all(), before);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["files"][0], json!({"directory": "log.data_dir", "path": "0/segment", "bytes": 7}));
    assert_eq!(still.run(&["backup", to]), (0, String::new()));

    let (data, log, legacy) = (still.path("data"), still.path("data/log"), still.path("data/legacy"));
    let anew = || {
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::create_dir_all(&log).unwrap();
    };
    let refused = |what: &str, exit: i32, expected: &str| {
        let before = still.all();
        for arguments in [&["restore", to, "--dry-run"][..], &["restore", to]] {
            let (code, said) = still.run(arguments);
            assert!(code == exit && said.contains(expected), "{what}: {arguments:?}: {code} {said}");
            assert_eq!(still.all(), before, "{what}: {arguments:?}");
        }
    };
    refused("it is full", 3, "holds data");
    anew();
    std::fs::create_dir(still.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(still.path("elsewhere"), &legacy).unwrap();
    refused("it is a link", 3, "is a link");
    anew();
    std::fs::write(&legacy, "in the way").unwrap();
    refused("it is a file", 1, "cannot create the directory");
    anew();
    std::fs::create_dir(host::disk::restoring(&legacy)).unwrap();
    refused("it was not finished", 1, "was not finished");
    anew();
    let part = host::disk::lock_dir(&legacy).unwrap();
    refused("a part has it", 1, "another process uses the data directory");
    drop(part);
    for missing in ["data/legacy", "data/log", "data"] {
        anew();
        let _ = std::fs::remove_dir_all(still.path(missing));
        let before = still.all();
        assert_eq!(still.run(&["restore", to, "--dry-run"]), (0, String::new()), "without {missing}");
        assert_eq!(still.all(), before, "without {missing}");
    }
    assert_eq!(still.run(&["restore", to]), (0, String::new()));
    assert_eq!(std::fs::read_to_string(legacy.join("store")).unwrap(), "rows");
}

#[test]
fn directories_without_files_are_backed_up_and_come_back() {
    let still = Still::new();
    let backup = still.path("backup");
    let to = backup.to_str().unwrap();
    let directories = [still.path("data/log"), still.path("data/legacy")];
    directories.iter().for_each(|directory| std::fs::create_dir_all(directory).unwrap());
    assert_eq!(still.run(&["backup", to]), (0, String::new()));
    std::fs::remove_dir_all(still.path("data")).unwrap();
    assert_eq!(still.run(&["restore", to]), (0, String::new()));
    for directory in directories {
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "{}", directory.display());
    }
}

#[test]
fn what_is_in_no_directory_is_said_to_be_missing() {
    let kafka = "[kafka]\nbootstrap = \"127.0.0.1:1\"\n[postgres]\nurl = { file = \"{folder}/url\" }\n\
                 [legacy]\ndata_dir = \"{folder}/data\"\n";
    let legacy = "[log]\ndata_dir = \"{folder}/data\"\n[legacy.postgres]\nurl = { file = \"{folder}/url\" }\n";
    for (lines, expected) in [
        (kafka, "the log in Kafka ([kafka]), the projections in PostgreSQL ([postgres]). docs/operations.md"),
        (legacy, "not in the backup: the legacy's data in PostgreSQL ([legacy.postgres]). docs/operations.md"),
    ] {
        let still = Still::with(lines);
        still.write("url", "postgres://nobody@127.0.0.1:1/nothing");
        still.write("data/file", "text");
        let backup = still.path("backup");
        for arguments in [&["backup", backup.to_str().unwrap(), "--dry-run"][..], &["backup", backup.to_str().unwrap()]]
        {
            let (code, said) = still.run(arguments);
            assert!(code == 0 && said.contains(expected), "{arguments:?}: {code} {said}");
        }
    }
    let help = Command::new(BINARY).args(["backup", "--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(
        ["[kafka]", "[postgres]", "[legacy.postgres]", "docs/operations.md"].iter().all(|word| help.contains(word)),
        "{help}"
    );
}
