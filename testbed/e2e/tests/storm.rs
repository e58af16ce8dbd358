//! Two fronts and a moving dial while every part is killed or paused, a front is cut off, and parts are down for long.
//!
//! `CROSSFADE_STORM_ROUNDS`, `CROSSFADE_STORM_PAUSE` and `CROSSFADE_STORM_DOWN` (seconds) make it longer, `CROSSFADE_SEED`
//! replays a run.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::{bail, ensure};
use crossfade::demo::site::Changes;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::fronts::{Mover, TwoFronts};
use testbed_e2e::system::{FRONTS, rate};
use testbed_e2e::traces;
use testbed_interposer::Passing;
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};
use wire::control::{ExchangeView, FrontView, RolloutView};
use wire::words::VerdictKind;

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
/// Requests a second.
const REQUESTS_PER_SECOND: f64 = 200.0;
/// What can be killed or paused.
const VICTIMS: [&str; 5] = [FRONTS[0], FRONTS[1], "relay", "engine", "legacy"];
/// What a front ships arrives up to so much later.
const SHIPPING: Duration = Duration::from_millis(50);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn seconds(name: &str, otherwise: u64) -> Duration {
    Duration::from_secs(number(name, otherwise))
}

/// Clients who do not give up, and accounts that are near zero.
fn clients(fronts: &TwoFronts, seed: u64) -> (Arc<Runner>, Auditor) {
    let auditor = checks::auditor(true);
    let options = Options {
        base_urls: fronts.urls(),
        pace: Pace::Open { per_second: rate(REQUESTS_PER_SECOND) },
        max_requests: u64::MAX,
        max_in_flight: 64,
        timeout: Duration::from_secs(20),
        give_up_after: Duration::from_secs(180),
        // While a system is away for a minute, thousands try again: they have to leave room for what gets through.
        longest_backoff: Duration::from_secs(10),
        ..Options::default()
    };
    let workload = Workload::new(Config { seed, users: 120, mix: [14, 36, 38, 12], ..Config::default() });
    (Runner::new(options, workload, Auditor::clone(&auditor)), auditor)
}

/// The dial goes up while parts are killed and paused, and down when nobody is away: no account differs.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_or_paused_nothing_is_lost() -> anyhow::Result<()> {
    let seed = number("CROSSFADE_SEED", host::random::u64());
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test storm nothing_is_lost");
    let pause = seconds("CROSSFADE_STORM_PAUSE", 3);
    let Storm { mut fronts, runner, auditor, traffic, sending } = Storm::begin(seed, pause).await?;
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut moves, mut refused) = (0, 0);
    for round in 0..number("CROSSFADE_STORM_ROUNDS", VICTIMS.len() as u64) {
        fronts.settle_gaps().await?;
        let roaming = host::task::Shutdown::new();
        let mover = Mover::of(&fronts, random.u64(..))?;
        let moving = tokio::spawn(mover.climb(roaming.clone()));
        let victim = VICTIMS[round as usize % VICTIMS.len()];
        strike(&mut fronts, victim, random.bool(), pause).await?;
        host::clock::sleep(Duration::from_millis(random.u64(500..2_500))).await;
        roaming.stop();
        let (moved, not_moved) = moving.await?;
        (moves, refused) = (moves + moved, refused + not_moved);
        fronts.until_caught_up().await?;
        fronts.rollback_if_up().await?;
    }
    println!("{moves} moves up, {refused} refused or called off; {} requests", runner.counters().read().sent);
    ensure!(moves > 0, "the dial did not move");
    cut_off(&fronts).await?;
    // Both systems decide, and both follow, while one of them is away.
    fronts.up("50").await?;
    for part in ["engine", "legacy", "relay"] {
        println!("{part} is down");
        fronts.system.kill(part)?;
        host::clock::sleep(seconds("CROSSFADE_STORM_DOWN", 5)).await;
        fronts.system.start_process(part).await?;
        fronts.until_connected().await?;
    }
    traffic.stop();
    let sent = sending.await?;
    println!("{:?}", sent.counted);
    all_is_well(fronts, &auditor).await
}

/// The dial goes down while parts are away for longer than a handover: what clients then do at both systems is counted, and
/// what differs is explained.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_goes_down_without_everybody_is_told_what_differs() -> anyhow::Result<()> {
    let seed = number("CROSSFADE_SEED", host::random::u64());
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test storm told_what");
    let pause = seconds("CROSSFADE_STORM_PAUSE", 3);
    let Storm { mut fronts, traffic, sending, .. } = Storm::begin(seed, pause).await?;
    let mut random = fastrand::Rng::with_seed(seed);
    let roaming = host::task::Shutdown::new();
    let moving = tokio::spawn(Mover::of(&fronts, seed)?.roam(roaming.clone()));
    for round in 0..number("CROSSFADE_STORM_ROUNDS", VICTIMS.len() as u64) {
        strike(&mut fronts, VICTIMS[round as usize % VICTIMS.len()], random.bool(), pause).await?;
        host::clock::sleep(Duration::from_millis(random.u64(500..2_500))).await;
    }
    roaming.stop();
    println!("moves and refused ones: {:?}", moving.await?);
    traffic.stop();
    println!("{:?}", sending.await?.counted);
    let system = &mut fronts.system;
    let (summary, reconciliation) = system.until_judged(Duration::from_secs(600)).await?;
    println!("{:?}, overtaken {}", summary.verdicts, summary.overtaken);
    println!("{} accounts differ", reconciliation.different);
    ensure!(reconciliation.different == reconciliation.explained, "{reconciliation:?}");
    println!("{} discrepancies, all of overtaken ones", traces::only_overtaken_ones_left_discrepancies(system).await?);
    checks::nothing_twice(system).await?;
    checks::money_is_conserved(system).await?;
    system.stop().await
}

/// A front that does not hear of a move down goes on as before: it is named, nothing goes up meanwhile, what it decides
/// beside the others is counted and explained, and it follows as soon as it hears.
#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_is_cut_off_when_the_dial_goes_down_is_named_and_counted() -> anyhow::Result<()> {
    let seed = number("CROSSFADE_SEED", host::random::u64());
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test storm cut_off");
    let Storm { mut fronts, traffic, sending, .. } = Storm::begin(seed, Duration::ZERO).await?;
    fronts.up("100").await?;
    fronts.until_heard(fronts.system.control::<RolloutView>("/api/rollout").await?.version).await?;
    fronts.front(FRONTS[1])?.dial.set(Passing::Silent);
    fronts.until_lost(FRONTS[1]).await?;
    let version = fronts.rollback().await?;
    fronts.until_heard_by(FRONTS[0], version).await?;
    host::clock::sleep(seconds("CROSSFADE_STORM_DOWN", 5)).await;

    let view: RolloutView = fronts.system.control("/api/rollout").await?;
    println!("set {}, effective {:?}", view.setting.percent, view.effective);
    let behind = |front: &FrontView| !front.connected && front.version.is_some_and(|at| at < version);
    ensure!(
        view.effective.engine * 4 > view.effective.exchanges,
        "it still sends requests to the engine, and the effective percentage hides it"
    );
    ensure!(view.fronts.iter().filter(|front| behind(front)).count() == 1, "nobody is behind: {:?}", view.fronts);
    let (status, said) = fronts.system.set_dial("100", false).await?;
    let gates = said["errors"].to_string();
    ensure!((status, gates.contains(FRONTS[1])) == (409, true), "it is not named: {status} {said}");
    fronts.front(FRONTS[1])?.dial.set(Passing::Open);
    fronts.until_connected().await?;
    println!("followed within {:?} of being heard of", fronts.until_heard(version).await?);

    traffic.stop();
    println!("{:?}", sending.await?.counted);
    let system = &mut fronts.system;
    let (summary, reconciliation) = system.until_judged(Duration::from_secs(600)).await?;
    println!("{:?}, overtaken {}, {} accounts differ", summary.verdicts, summary.overtaken, reconciliation.different);
    ensure!(
        summary.overtaken > 0,
        "both fronts decided on the same accounts at two systems, and nobody has counted it"
    );
    ensure!(reconciliation.different == reconciliation.explained, "{reconciliation:?}");
    println!("{} discrepancies, all of overtaken ones", traces::only_overtaken_ones_left_discrepancies(system).await?);
    checks::nothing_twice(system).await?;
    checks::money_is_conserved(system).await?;
    system.stop().await
}

/// Two fronts under load, at stage shadow.
struct Storm {
    fronts: TwoFronts,
    runner: Arc<Runner>,
    auditor: Auditor,
    traffic: host::task::Shutdown,
    sending: tokio::task::JoinHandle<testbed_loadgen::report::Report>,
}

impl Storm {
    async fn begin(seed: u64, pause: Duration) -> anyhow::Result<Self> {
        // A system that was paused may still execute what it was sent before.
        let longest = (pause + Duration::from_secs(5)).as_millis();
        let changes = Changes {
            front: "authority_timeout_ms = 5000\n".to_owned(),
            relay: format!("legacy_longest_request_ms = {longest}\nengine_request_timeout_ms = {longest}\n"),
            ..Changes::default()
        };
        let fronts = TwoFronts::start(Path::new(BINARY), &changes, SHIPPING, seed).await?;
        fronts.system.dial("shadow", false).await?;
        let (runner, auditor) = clients(&fronts, seed);
        runner.create_accounts().await?;
        let traffic = host::task::Shutdown::new();
        let sending = {
            let (runner, traffic) = (Arc::clone(&runner), traffic.clone());
            tokio::spawn(async move { runner.run(&traffic).await })
        };
        Ok(Self { fronts, runner, auditor, traffic, sending })
    }
}

/// Kills a part and starts it anew, or pauses it.
async fn strike(fronts: &mut TwoFronts, victim: &'static str, kill: bool, pause: Duration) -> anyhow::Result<()> {
    println!("{victim} is {}", if kill { "killed" } else { "paused" });
    if kill {
        fronts.system.kill(victim)?;
        fronts.system.start_process(victim).await?;
    } else {
        fronts.system.process(victim)?.pause()?;
        host::clock::sleep(pause).await;
        fronts.system.process(victim)?.wake()?;
    }
    fronts.until_connected().await
}

/// A front that does not hear of the dial is named, and nothing goes up meanwhile.
async fn cut_off(fronts: &TwoFronts) -> anyhow::Result<()> {
    println!("{} is cut off", FRONTS[1]);
    fronts.settle_gaps().await?;
    // There has to be a way up.
    let (status, said) = fronts.system.set_dial("0", false).await?;
    ensure!(status == 200 || said["code"] == "NothingToDo", "{status} {said}");
    fronts.front(FRONTS[1])?.dial.set(Passing::Silent);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (status, said) = fronts.system.set_dial("100", false).await?;
        let gates = said["errors"].to_string();
        if status == 409 && said["code"] == "GatesNotMet" && gates.contains(FRONTS[1]) {
            println!("named: {gates}");
            break;
        }
        ensure!(Instant::now() < deadline, "it is not named: {status} {said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What the alert CrossfadeFrontCutOff reads (dashboards/rules): soon, and as long as it lasts.
    while !is_alarmed(fronts).await? {
        ensure!(Instant::now() < deadline, "the alert sees nothing of it");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let cut_off_until = Instant::now() + seconds("CROSSFADE_STORM_DOWN", 5) / 2;
    while Instant::now() < cut_off_until {
        ensure!(is_alarmed(fronts).await?, "the alert sees nothing of it any more");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    fronts.front(FRONTS[1])?.dial.set(Passing::Open);
    fronts.until_connected().await
}

async fn is_alarmed(fronts: &TwoFronts) -> anyhow::Result<bool> {
    let measured = fronts.system.scrape(&fronts.system.site.comparator()).await?;
    Ok(measured.value("crossfade_gate_ok{gate=\"fronts\"}")? == 0.0)
}

/// After everything was judged: no account differs, and every effect is there once.
async fn all_is_well(mut fronts: TwoFronts, auditor: &Auditor) -> anyhow::Result<()> {
    let system = &mut fronts.system;
    let (summary, reconciliation) = system.until_judged(Duration::from_secs(600)).await?;
    println!("{:?}, overtaken {}, cross-cohort {}", summary.verdicts, summary.overtaken, summary.cross_cohort);
    let fits = |kind| matches!(kind, VerdictKind::Match | VerdictKind::Order | VerdictKind::Single);
    let mut others = system.exchanges().await?;
    others.retain(|exchange| !fits(exchange.verdict.verdict));
    // A root says more than what it carries.
    others.sort_by_key(|exchange| exchange.verdict.verdict == VerdictKind::Carried);
    if let Some(exchange) = others.first() {
        let whole: ExchangeView = system.control(&format!("/api/exchanges/{}", exchange.id)).await?;
        bail!("{} judged otherwise than the same: {whole:#?}", others.len());
    }
    ensure!(reconciliation.different == 0, "{reconciliation:?}");
    ensure!(summary.overtaken == 0, "{} exchanges were overtaken although nobody went down", summary.overtaken);
    checks::every_effect_once(system, auditor).await?;
    let accounts = checks::all_balances_agree(system, auditor).await?;
    checks::money_is_conserved(system).await?;
    println!("accounts changed sides {} times", traces::nobody_decides_too_early(system).await?);
    println!("{:?}, {accounts} accounts equal", traces::orders_are_explained(system).await?);
    system.stop().await
}
