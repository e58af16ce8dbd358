//! A backup of the embedded data, and everything back from it.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use crossfade::demo::site::Changes;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use testbed_e2e::checks;
use testbed_e2e::system::{Layout, System};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
const EXCHANGES: u64 = 1_000;
const DIRECTORIES: [&str; 4] = ["cutover", "engine", "legacy", "front"];

fn run(system: &System, arguments: &[&str]) -> (i32, String) {
    // A part that starts where it should not would never end.
    let mut command = Command::new("timeout");
    let ended = command
        .args(["60", BINARY])
        .args(arguments)
        .args(["-o", "json", "--config"])
        .arg(&system.site.config)
        .output()
        .unwrap();
    (ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&ended.stderr).into_owned())
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
    std::fs::remove_dir_all(&linked)?;
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
