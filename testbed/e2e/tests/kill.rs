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
use testbed_e2e::system::{Layout, System, rate};
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

/// Kills `victim` again and again under load, and checks everything at the end.
async fn survives(layout: Layout, victim: &'static str) -> anyhow::Result<()> {
    let seed = seed();
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test kill {victim}");
    let mut random = fastrand::Rng::with_seed(seed);
    let changes = Changes {
        front: "authority_timeout_ms = 5000\n".to_owned(),
        relay: "legacy_longest_request_ms = 1000\n".to_owned(),
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
    for round in 1..=rounds() {
        host::clock::sleep(Duration::from_millis(random.u64(300..2_000))).await;
        system.kill(victim)?;
        host::clock::sleep(Duration::from_millis(random.u64(0..500))).await;
        system.start_process(victim).await?;
        println!("killed {victim} {round} times, {} requests sent", runner.counters().read().sent);
    }
    traffic.stop();
    sending.await?;

    let (summary, _) = system.until_judged(Duration::from_secs(300)).await?;
    checks::every_effect_once(&system, &auditor).await?;
    let accounts = checks::all_balances_agree(&system, &auditor).await?;
    checks::money_is_conserved(&system).await?;
    let exchanges = system.exchanges().await?;
    for exchange in &exchanges {
        let kind = exchange.verdict.verdict;
        if !matches!(kind, VerdictKind::Match | VerdictKind::Order | VerdictKind::Single) {
            let whole: ExchangeView = system.control(&format!("/api/exchanges/{}", exchange.id)).await?;
            bail!("judged otherwise than the same: {whole:#?}");
        }
    }
    println!("{victim}: {} exchanges, {accounts} accounts equal, {:?}", exchanges.len(), summary.verdicts);
    system.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn up_survives_kill_9() -> anyhow::Result<()> {
    survives(Layout::One, "up").await
}

#[tokio::test(flavor = "multi_thread")]
async fn front_survives_kill_9() -> anyhow::Result<()> {
    survives(Layout::Four, "front").await
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_survives_kill_9() -> anyhow::Result<()> {
    survives(Layout::Four, "relay").await
}

#[tokio::test(flavor = "multi_thread")]
async fn engine_survives_kill_9() -> anyhow::Result<()> {
    survives(Layout::Four, "engine").await
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_survives_kill_9() -> anyhow::Result<()> {
    survives(Layout::Four, "legacy").await
}
