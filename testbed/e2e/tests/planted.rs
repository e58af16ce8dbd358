//! Mistakes planted in the relay, one at a time, are found by what the other trials check. Not part of every run: the relay's
//! own stories find each of them in milliseconds (`proxy/src/relay/delivery/tests/planted.rs`); `./dev nightly` runs these.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::ensure;
use crossfade::demo::site::Changes;
use std::path::Path;
use std::time::Duration;
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::fronts::TwoFronts;
use testbed_e2e::system::{Layout, System, rate};
use testbed_e2e::traces;
use testbed_interposer::{Line, Passing};
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};
use wire::words::VerdictKind;

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
/// What a front ships arrives up to so much later, and how long a handover may take then, in milliseconds.
const SHIPPING: Duration = Duration::from_millis(400);
const HANDOVER_MS: u64 = 3_000;
/// Where the dial goes.
const STOPS: [&str; 8] = ["100", "0", "50", "0", "100", "0", "37", "0"];

/// The name of no mistake.
const NONE: &str = "None";

fn seed() -> u64 {
    std::env::var("CROSSFADE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(host::random::u64)
}

/// Requests of accounts near zero to these base URLs until `stop`; again, if they are not answered and `retry` says so.
async fn traffic(
    base_urls: Vec<String>,
    retry: bool,
    seed: u64,
    auditor: &Auditor,
    stop: &host::task::Shutdown,
) -> anyhow::Result<tokio::task::JoinHandle<testbed_loadgen::report::Report>> {
    let think = Duration::from_secs_f64(64.0 / rate(250.0));
    let options = Options {
        base_urls,
        pace: Pace::Closed { connections: 64, think },
        max_requests: u64::MAX,
        retry_unknown: retry,
        ..Options::default()
    };
    let workload = Workload::new(Config { seed, users: 120, mix: [14, 36, 38, 12], ..Config::default() });
    let runner = Runner::new(options, workload, Auditor::clone(auditor));
    runner.create_accounts().await?;
    let stop = stop.clone();
    Ok(tokio::spawn(async move { runner.run(&stop).await }))
}

/// What is wrong in the end, in words.
async fn wrong(system: &System, auditor: &Auditor) -> anyhow::Result<String> {
    let (summary, reconciliation) = system.until_judged(Duration::from_secs(90)).await?;
    let fits = |kind| matches!(kind, VerdictKind::Match | VerdictKind::Order | VerdictKind::Single);
    let mut wrong = Vec::new();
    for count in summary.verdicts.iter().filter(|count| !fits(count.verdict)) {
        wrong.push(format!("{:?} {:?}: {}", count.verdict, count.detail, count.exchanges));
    }
    if reconciliation.different > 0 {
        wrong.push(format!("{} accounts differ", reconciliation.different));
    }
    let explained = traces::orders_are_explained(system).await;
    if let Some(explained) = explained.as_ref().ok().filter(|explained| explained.forced > 0) {
        // With both fronts there and nothing lost every leg fits sooner or later.
        wrong.push(format!("{} legs were forced", explained.forced));
    }
    let checked = [
        explained.map(drop),
        traces::nobody_decides_too_early(system).await.map(drop),
        checks::nothing_twice(system).await,
        checks::every_effect_once(system, auditor).await,
        checks::all_balances_agree(system, auditor).await.map(drop),
    ];
    wrong.extend(checked.into_iter().filter_map(Result::err).map(|error| error.to_string()));
    Ok(wrong.join("; "))
}

/// Something is wrong in the end if a mistake was made, and only then.
async fn judged(system: &mut System, auditor: &Auditor, mistake: &str) -> anyhow::Result<()> {
    let wrong = wrong(system, auditor).await?;
    println!("{mistake}: {wrong}");
    ensure!(wrong.is_empty() == (mistake == NONE), "{mistake} was not found, or something without one");
    system.stop_processes().await
}

/// The relay makes a mistake while the dial of two fronts moves.
async fn found_while_the_dial_moves(mistake: &str) -> anyhow::Result<()> {
    let seed = seed();
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test planted {mistake}");
    let changes = Changes { handover_ms: Some(HANDOVER_MS), ..Changes::default() };
    let mut fronts = TwoFronts::start(Path::new(BINARY), &changes, SHIPPING, seed).await?;
    fronts.restart_with("relay", &[("CROSSFADE_PLANTED", mistake.to_owned())]).await?;
    fronts.system.dial("shadow", false).await?;
    let (auditor, stop) = (checks::auditor(true), host::task::Shutdown::new());
    let sending = traffic(fronts.urls(), true, seed, &auditor, &stop).await?;
    for to in STOPS {
        fronts.system.dial(to, true).await?;
        host::clock::sleep(Duration::from_secs(2)).await;
    }
    stop.stop();
    sending.await?;
    judged(&mut fronts.system, &auditor, mistake).await
}

/// Without a mistake the same scene is green.
#[tokio::test(flavor = "multi_thread")]
async fn none() -> anyhow::Result<()> {
    found_while_the_dial_moves(NONE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_leg_executed() -> anyhow::Result<()> {
    found_while_the_dial_moves("RefusedLegExecuted").await
}

#[tokio::test(flavor = "multi_thread")]
async fn reoffer_given_up_early() -> anyhow::Result<()> {
    found_while_the_dial_moves("ReofferGivenUpEarly").await
}

#[tokio::test(flavor = "multi_thread")]
async fn second_lane_ignored() -> anyhow::Result<()> {
    found_while_the_dial_moves("SecondLaneIgnored").await
}

#[tokio::test(flavor = "multi_thread")]
async fn alias_of_the_other_system() -> anyhow::Result<()> {
    found_while_the_dial_moves("AliasOfTheOtherSystem").await
}

/// The legacy books requests and never answers them, and nobody can ask it what it has done, until later.
async fn found_while_nobody_can_be_asked(mistake: &str) -> anyhow::Result<()> {
    let seed = seed();
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test planted {mistake}");
    let changes = Changes { front: "authority_timeout_ms = 1000\n".to_owned(), ..Changes::default() };
    let mut system = System::prepare(Path::new(BINARY), Layout::Four, &changes).await?;
    let line = Line::to(format!("127.0.0.1:{}", system.site.ports.legacy), Duration::ZERO, seed).await?;
    let legacy = ("CROSSFADE_RELAY_LEGACY", format!("http://{}", line.address()));
    system.more_settings("relay", &[legacy, ("CROSSFADE_PLANTED", mistake.to_owned())]);
    for process in Layout::Four.processes() {
        system.start_process(process).await?;
    }
    system.dial("shadow", false).await?;
    let (auditor, stop) = (checks::auditor(true), host::task::Shutdown::new());
    let sending = traffic(vec![system.site.front()], false, seed, &auditor, &stop).await?;
    system.some_faults(&[("hang", 0.05)]).await?;
    line.set(Passing::Broken);
    host::clock::sleep(Duration::from_secs(4)).await;
    line.set(Passing::Open);
    stop.stop();
    sending.await?;
    judged(&mut system, &auditor, mistake).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_taken_for_absent() -> anyhow::Result<()> {
    found_while_nobody_can_be_asked(NONE).await?;
    found_while_nobody_can_be_asked("UnknownTakenForAbsent").await
}
