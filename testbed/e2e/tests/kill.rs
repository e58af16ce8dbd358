//! `kill -9` at random moments of a loaded run: nothing acknowledged is missing, nothing is applied twice, every
//! exchange is accounted for, money is conserved.
//!
//! `CROSSFADE_TORTURE_ROUNDS` sets how often, `CROSSFADE_SEED` replays a run.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::bail;
use crossfade::demo::site::Changes;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::system::{Layout, System, on_kafka, rate};
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};
use wire::control::ExchangeView;
use wire::words::VerdictKind;

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
/// Requests a second while processes die.
const REQUESTS_PER_SECOND: f64 = 300.0;

fn rounds() -> usize {
    std::env::var("CROSSFADE_TORTURE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

fn seed() -> u64 {
    std::env::var("CROSSFADE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(host::random::u64)
}

/// Strikes a process under load, and checks everything at the end.
async fn survives(
    layout: Layout,
    victim: &'static str,
    strike: impl AsyncFnOnce(&mut System, &mut fastrand::Rng, &Runner) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let seed = seed();
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test kill {victim}");
    let mut random = fastrand::Rng::with_seed(seed);
    let changes = Changes {
        front: "authority_timeout_ms = 5000\n".to_owned(),
        relay: "legacy_longest_request_ms = 1000\n".to_owned(),
        // Often, so that it is killed while it writes one, and starts from one.
        engine: "snapshot_after_outcomes = 20\n".to_owned(),
        ..Changes::default()
    };
    let mut system = System::start(Path::new(BINARY), layout, &changes).await?;
    system.dial("shadow", false).await?;
    system.dial("37", false).await?;
    let auditor = checks::auditor(true);
    let options = Options {
        base_urls: vec![system.site.front()],
        pace: Pace::Open { per_second: rate(REQUESTS_PER_SECOND) },
        max_requests: u64::MAX,
        timeout: Duration::from_secs(10),
        ..Options::default()
    };
    let workload = Workload::new(Config { seed, ..Config::default() });
    let runner = Runner::new(options, workload, Auditor::clone(&auditor));
    runner.create_accounts().await?;

    let traffic = host::task::Shutdown::new();
    let sending = {
        let (runner, traffic) = (Arc::clone(&runner), traffic.clone());
        tokio::spawn(async move { runner.run(&traffic).await })
    };
    strike(&mut system, &mut random, &runner).await?;
    traffic.stop();
    sending.await?;
    is_whole(&system, &auditor, victim).await?;
    system.stop().await
}

/// Nothing is missing, nothing came twice, and both systems agree.
async fn is_whole(system: &System, auditor: &Auditor, victim: &str) -> anyhow::Result<()> {
    let (summary, _) = system.until_judged(Duration::from_secs(300)).await?;
    checks::every_effect_once(system, auditor).await?;
    let accounts = checks::all_balances_agree(system, auditor).await?;
    checks::money_is_conserved(system).await?;
    let exchanges = system.exchanges().await?;
    for exchange in &exchanges {
        let kind = exchange.verdict.verdict;
        if !matches!(kind, VerdictKind::Match | VerdictKind::Order | VerdictKind::Single) {
            let whole: ExchangeView = system.control(&format!("/api/exchanges/{}", exchange.id)).await?;
            bail!("judged otherwise than the same: {whole:#?}");
        }
    }
    println!("{victim}: {} exchanges, {accounts} accounts equal, {:?}", exchanges.len(), summary.verdicts);
    Ok(())
}

/// Kills a process at random moments, again and again.
async fn survives_kill_9(layout: Layout, victim: &'static str) -> anyhow::Result<()> {
    survives(layout, victim, async |system, random, runner| {
        for round in 1..=rounds() {
            host::clock::sleep(Duration::from_millis(random.u64(300..2_000))).await;
            system.kill(victim)?;
            host::clock::sleep(Duration::from_millis(random.u64(0..500))).await;
            system.start_process(victim).await?;
            println!("killed {victim} {round} times, {} requests sent", runner.counters().read().sent);
        }
        Ok(())
    })
    .await
}

/// Where the engine dies: between any two steps that leave something behind.
const MOMENTS: [&str; 12] = [
    "log-commits",
    "log-committed",
    "command-appended",
    "outcome-decided",
    "outcome-appended",
    "outcome-read-back",
    "follow-ups-sent",
    "answer-shown",
    "snapshot-part-written",
    "snapshot-written",
    "snapshot-read-back",
    "old-snapshot-deleted",
];

/// All of them; on three brokers, where each takes several seconds, some in the short form, and none of the embedded log's own.
fn moments(random: &mut fastrand::Rng) -> Vec<&'static str> {
    let mut moments = MOMENTS.to_vec();
    if on_kafka() {
        moments.retain(|moment| !moment.starts_with("log-"));
        random.shuffle(&mut moments);
        moments.truncate(if rounds() > 5 { moments.len() } else { 3 });
    }
    moments
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_survives_its_death_at_every_moment() -> anyhow::Result<()> {
    survives(Layout::Four, "engine", async |system, random, runner| {
        for moment in moments(random) {
            system.kill("engine")?;
            let armed = system.site.folder.join(format!("armed-{moment}"));
            system.dies_at("engine", Some(&format!("{moment}:{}", armed.display())));
            system.start_process("engine").await?;
            host::clock::sleep(Duration::from_millis(random.u64(100..600))).await;
            std::fs::write(&armed, "now")?;
            let said = system.until_ended("engine").await?;
            anyhow::ensure!(said.contains("dies, as it was told to"), "it ended for another reason: {said}");
            system.dies_at("engine", None);
            system.start_process("engine").await?;
            println!("dead at {moment}, {} requests sent", runner.counters().read().sent);
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn up_survives_kill_9() -> anyhow::Result<()> {
    survives_kill_9(Layout::One, "up").await
}

#[tokio::test(flavor = "multi_thread")]
async fn front_survives_kill_9() -> anyhow::Result<()> {
    survives_kill_9(Layout::Four, "front").await
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_survives_kill_9() -> anyhow::Result<()> {
    survives_kill_9(Layout::Four, "relay").await
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_survives_kill_9() -> anyhow::Result<()> {
    survives_kill_9(Layout::Four, "engine").await
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_survives_kill_9() -> anyhow::Result<()> {
    survives_kill_9(Layout::Four, "legacy").await
}
