//! Operators' commands of two steps, with the process dead between them: what was done is seen, and can be finished. And a
//! front that dies with its disk.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::ensure;
use crossfade::demo::site::Changes;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::fronts::TwoFronts;
use testbed_e2e::system::{FRONTS, Layout, System};
use testbed_loadgen::runner::{Options, Runner};
use testbed_loadgen::workload::{Config, Workload};
use wire::control::{OverrideView, RolloutHistory, RolloutView};
use wire::words::System as Side;

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");

/// A verb of the command line.
async fn crossfade(system: &System, verb: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(BINARY);
    command.args(verb).args(["-o", "json", "--config"]).arg(&system.site.config);
    Ok(host::task::spawn_blocking(move || command.output()).await??)
}

/// The verb whose process dies, which is said; and that process, started again.
async fn dies_of(system: &mut System, verb: &[&str], process: &'static str, next: Option<&str>) -> anyhow::Result<()> {
    let ended = crossfade(system, verb).await?;
    ensure!(!ended.status.success(), "{verb:?} was answered: {}", String::from_utf8_lossy(&ended.stdout));
    let said = system.until_ended(process).await?;
    ensure!(said.contains("dies, as it was told to"), "it ended for another reason: {said}");
    system.dies_at(process, next);
    system.start_process(process).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !system.summary().await?.fronts.iter().any(|front| front.connected) {
        ensure!(Instant::now() < deadline, "the front does not listen to the dial");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// All parts, with the engine as everybody's authority after some traffic, and one that dies at a moment.
async fn at_100_percent(process: &'static str, moment: &str) -> anyhow::Result<(System, Auditor)> {
    let mut system = System::prepare(Path::new(BINARY), Layout::Four, &Changes::default()).await?;
    system.dies_at(process, Some(moment));
    for process in Layout::Four.processes() {
        system.start_process(process).await?;
    }
    let auditor = checks::auditor(true);
    system.dial("shadow", false).await?;
    system.exchange(&auditor, "w", 200).await?;
    system.dial("100", false).await?;
    Ok((system, auditor))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_was_recorded_is_handed_over_later() -> anyhow::Result<()> {
    let (mut system, auditor) = at_100_percent("relay", "pin-recorded").await?;
    let pin = ["rollout", "pin", "w-user-00010", "legacy", "--reason", "a customer of the bank's own"];
    dies_of(&mut system, &pin, "relay", None).await?;

    let view: RolloutView = system.control("/api/rollout").await?;
    ensure!(view.pinned_accounts.get("w-user-00010") == Some(&Side::Legacy), "{view:?}");
    ensure!(view.held_back_accounts.get("w-user-00010") == Some(&Side::Engine), "{view:?}");
    ensure!(view.next_steps.iter().any(|step| step.contains("rollout set 100")), "{:?}", view.next_steps);
    let again = crossfade(&system, &["rollout", "set", "100", "--reason", "the pin was not handed over"]).await?;
    ensure!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let view: RolloutView = system.control("/api/rollout").await?;
    ensure!((view.pins, view.held_back) == (1, 0), "{view:?}");
    system.exchange(&auditor, "v", 200).await?;
    checks::authorities_fit(&system).await?;
    system.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_is_in_force_after_a_death_if_it_was_kept() -> anyhow::Result<()> {
    let front = FRONTS[0];
    let (mut system, auditor) = at_100_percent(front, "override-in-force").await?;
    let overrule = ["override", "0", "--reason", "the engine burns"];
    dies_of(&mut system, &overrule, front, Some("override-kept")).await?;
    let shown: OverrideView = serde_json::from_slice(&crossfade(&system, &["override", "show"]).await?.stdout)?;
    ensure!(shown.current.is_none(), "nobody was told that it is in force, and it was not on disk: {shown:?}");

    dies_of(&mut system, &overrule, front, None).await?;
    let shown: OverrideView = serde_json::from_slice(&crossfade(&system, &["override", "show"]).await?.stdout)?;
    ensure!(shown.current.is_some_and(|current| current.reason == "the engine burns"), "it is no longer in force");
    // As soon as its record has come by.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let view: RolloutView = system.control("/api/rollout").await?;
        if view.fronts.iter().any(|front| front.overridden.is_some()) {
            break;
        }
        ensure!(Instant::now() < deadline, "nobody is told of it: {:?}", view.fronts);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lifted = crossfade(&system, &["override", "off", "--reason", "it is out"]).await?;
    ensure!(lifted.status.success(), "{}", String::from_utf8_lossy(&lifted.stderr));
    // What the dead boots have said is a gap, for they have not ended in order.
    let page: wire::control::DiscrepancyPage = system.control("/api/discrepancies?status=open").await?;
    for gap in page.gaps {
        system.settle(&gap.id).await?;
    }
    system.exchange(&auditor, "v", 200).await?;
    let history: RolloutHistory = system.control("/api/rollout/history").await?;
    let overrides = history.changes.iter().filter(|change| change.change == "override").count();
    println!("{overrides} records of overrides");
    ensure!(overrides >= 2, "set and lifted, but recorded: {:?}", history.changes);
    system.stop().await
}

/// Requests by way of both fronts, until everything is judged.
async fn exchange_by_both(fronts: &TwoFronts, auditor: &Auditor, prefix: &str) -> anyhow::Result<()> {
    let options = Options { base_urls: fronts.urls(), max_requests: 300, ..Options::default() };
    let workload = Workload::new(Config { prefix: prefix.to_owned(), users: 40, ..Config::default() });
    let runner = Runner::new(options, workload, Auditor::clone(auditor));
    runner.create_accounts().await?;
    runner.run(&host::task::Shutdown::new()).await;
    fronts.system.until_judged(Duration::from_secs(60)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_is_lost_with_its_disk_is_replaced_or_taken_away() -> anyhow::Result<()> {
    let lost = FRONTS[1];
    let seed = host::random::u64();
    let mut fronts = TwoFronts::start(Path::new(BINARY), &Changes::default(), Duration::ZERO, seed).await?;
    let auditor = checks::auditor(true);
    fronts.system.dial("shadow", false).await?;
    exchange_by_both(&fronts, &auditor, "w").await?;
    fronts.system.kill(lost)?;
    std::fs::remove_dir_all(fronts.system.site.folder.join(lost))?;
    fronts.until_lost(lost).await?;
    let (status, said) = fronts.system.set_dial("100", false).await?;
    ensure!((status, said["errors"].to_string().contains("front-b (boot 1)")) == (409, true), "{status} {said}");

    fronts.system.more_settings(lost, &[("CROSSFADE_FRONT_LOST_BOOT", "1".to_owned())]);
    fronts.system.start_process(lost).await?;
    fronts.until_connected().await?;
    exchange_by_both(&fronts, &auditor, "v").await?;
    fronts.settle_gaps().await?;
    fronts.up("100").await?;
    // One fewer from now on.
    fronts.system.stop_process(lost).await?;
    fronts.until_lost(lost).await?;
    let version = fronts.rollback().await?;
    fronts.until_drained(version).await?;
    fronts.up("50").await?;
    let (summary, _) = fronts.system.until_judged(Duration::from_secs(60)).await?;
    ensure!(summary.overtaken == 0, "{summary:?}");
    checks::every_effect_once(&fronts.system, &auditor).await?;
    checks::all_balances_agree(&fronts.system, &auditor).await?;
    fronts.system.stop().await
}
