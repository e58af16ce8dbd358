//! A backup of the embedded data, and everything back from it.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use crossfade::demo::site::Changes;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::system::{Layout, System};
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
const EXCHANGES: u64 = 1_000;
const DIRECTORIES: [&str; 4] = ["cutover", "engine", "legacy", "front"];

fn run(system: &System, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(BINARY);
    let ended = command.args(arguments).args(["-o", "json", "--config"]).arg(&system.site.config).output().unwrap();
    (ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&ended.stderr).into_owned())
}

fn any_file(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| path.is_file()).unwrap()
}

async fn traffic(system: &System, auditor: &Auditor, prefix: &str) -> anyhow::Result<()> {
    let options = Options {
        base_url: system.site.front(),
        pace: Pace::Open { per_second: 200.0 },
        max_requests: EXCHANGES,
        ..Options::default()
    };
    let workload = Workload::new(Config { prefix: prefix.to_owned(), ..Config::default() });
    let runner = Runner::new(options, workload, Auditor::clone(auditor));
    runner.create_accounts().await?;
    runner.run(&host::task::Shutdown::new()).await;
    system.until_judged(Duration::from_secs(300)).await?;
    checks::every_effect_once(system, auditor).await?;
    checks::all_balances_agree(system, auditor).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_comes_back() -> anyhow::Result<()> {
    let mut system = System::start(Path::new(BINARY), Layout::Four, &Changes::default()).await?;
    system.dial("shadow", false).await?;
    system.dial("37", false).await?;
    let auditor = checks::auditor(true);
    traffic(&system, &auditor, "before").await?;
    let folder = system.site.folder.clone();
    let backup = folder.join("backup");
    let to = backup.to_str().unwrap();
    let (code, said) = run(&system, &["backup", to]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("another process uses the data directory"), "{said}");
    system.stop().await?;
    assert_eq!(run(&system, &["backup", to, "--dry-run"]), (0, String::new()));
    assert!(!backup.join("manifest.json").exists(), "it was a dry run");
    assert_eq!(run(&system, &["backup", to]).0, 0);
    let (code, said) = run(&system, &["backup", to]);
    assert!(code == 2 && said.contains("is not empty"), "{code} {said}");
    let (code, said) = run(&system, &["restore", to]);
    assert!(code == 3 && said.contains("holds data"), "{code} {said}");

    // The disk is gone, and the backup has a byte that is none of ours.
    DIRECTORIES.iter().for_each(|directory| std::fs::remove_dir_all(folder.join(directory)).unwrap());
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
    // One that was killed between two directories: no part begins on an empty one, and nothing is restored over it.
    let unfinished = folder.join("front.restoring");
    std::fs::create_dir(&unfinished)?;
    for arguments in [&["front"][..], &["restore", to], &["backup", folder.join("other").to_str().unwrap()]] {
        let (code, said) = run(&system, arguments);
        assert!(code == 1 && said.contains("was not finished"), "{arguments:?}: {code} {said}");
    }
    std::fs::remove_dir(&unfinished)?;
    let began = Instant::now();
    let (code, said) = run(&system, &["restore", to]);
    assert_eq!(code, 0, "{said}");
    for name in Layout::Four.processes() {
        system.start_process(name).await?;
    }
    println!("{EXCHANGES} exchanges are back, and all parts are ready, after {:.1?}", began.elapsed());
    checks::every_effect_once(&system, &auditor).await?;
    checks::all_balances_agree(&system, &auditor).await?;
    traffic(&system, &auditor, "after").await?;
    system.stop().await
}
