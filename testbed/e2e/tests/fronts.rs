//! Two fronts under load while the dial goes up and down: nothing is lost, nothing is done twice, and no verdict says
//! that something differs.
//!
//! `CROSSFADE_FRONTS_SECONDS` sets for how long, `CROSSFADE_SEED` replays a run.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::{bail, ensure};
use crossfade::demo::site::Changes;
use host::task::Shutdown;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::fronts::TwoFronts;
use testbed_e2e::system::{FRONTS, rate};
use testbed_e2e::traces;
use testbed_interposer::Passing;
use testbed_loadgen::report::Report;
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};
use tokio::task::JoinHandle;
use wire::control::ExchangeView;
use wire::words::VerdictKind;

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
/// Clients, each of whom waits for an answer, and then thinks about it.
const CLIENTS: usize = 64;
/// Requests a second of all of them together, if answers took no time.
const REQUESTS_PER_SECOND: f64 = 250.0;
/// Where the dial goes, again and again.
const STOPS: [&str; 5] = ["37", "100", "0", "50", "0"];
/// How long it stays there.
const STAY: Duration = Duration::from_secs(3);
/// What a front ships arrives up to so much later.
const SHIPPING: Duration = Duration::from_millis(50);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seed() -> u64 {
    number("CROSSFADE_SEED").unwrap_or_else(host::random::u64)
}

fn lasting() -> Duration {
    Duration::from_secs(number("CROSSFADE_FRONTS_SECONDS").unwrap_or(45))
}

/// Accounts that are near zero most of the time, and hot ones among them.
fn near_zero(seed: u64) -> Workload {
    Workload::new(Config { seed, users: 120, mix: [14, 36, 38, 12], ..Config::default() })
}

fn options(base_urls: Vec<String>) -> Options {
    let think = Duration::from_secs_f64(CLIENTS as f64 / rate(REQUESTS_PER_SECOND));
    Options {
        base_urls,
        pace: Pace::Closed { connections: CLIENTS, think },
        max_requests: u64::MAX,
        ..Options::default()
    }
}

/// Requests on their way to both fronts, with the auditor who hears the answers.
struct Traffic {
    stop: Shutdown,
    sending: JoinHandle<Report>,
    auditor: Auditor,
}

impl Traffic {
    /// Makes the accounts and begins.
    async fn begin(fronts: &TwoFronts, seed: u64) -> anyhow::Result<Self> {
        let auditor = checks::auditor(true);
        let runner = Runner::new(options(fronts.urls()), near_zero(seed), Auditor::clone(&auditor));
        runner.create_accounts().await?;
        let stop = Shutdown::new();
        let stopped = stop.clone();
        let sending = tokio::spawn(async move { runner.run(&stopped).await });
        Ok(Self { stop, sending, auditor })
    }

    /// Sends no more, and waits for what is under way.
    async fn end(self) -> anyhow::Result<(Report, Auditor)> {
        self.stop.stop();
        Ok((self.sending.await?, self.auditor))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moving_dial_loses_nothing() -> anyhow::Result<()> {
    let seed = seed();
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test fronts moving");
    let fronts = TwoFronts::start(Path::new(BINARY), &Changes::default(), SHIPPING, seed).await?;
    fronts.system.dial("shadow", false).await?;
    let traffic = Traffic::begin(&fronts, seed).await?;
    let until = Instant::now() + lasting();
    let mut moves = 0;
    for stop in STOPS.iter().cycle() {
        if Instant::now() > until {
            break;
        }
        fronts.system.dial(stop, false).await?;
        moves += 1;
        host::clock::sleep(STAY).await;
    }
    let (sent, auditor) = traffic.end().await?;
    println!("{moves} moves; {sent:?}");
    ensure!(sent.counted.errors == 0, "{} client errors", sent.counted.errors);
    all_is_well(fronts, &auditor).await
}

/// How many moves of the dial are tried; `CROSSFADE_MOVES` says otherwise.
const MOVES: u64 = 40;
/// How long a handover may take here, in milliseconds: all parts, on two cores, in the test profile.
const HANDOVER_MS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_move_holds_nobody_for_longer_than_a_handover() -> anyhow::Result<()> {
    let seed = seed();
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test fronts handover");
    let handover_ms = number("CROSSFADE_HANDOVER_MS").unwrap_or(HANDOVER_MS);
    let changes = Changes { handover_ms: Some(handover_ms), ..Changes::default() };
    let fronts = TwoFronts::start(Path::new(BINARY), &changes, Duration::ZERO, seed).await?;
    // What a build has left to be written would hold up every write of the log.
    ensure!(std::process::Command::new("sync").status()?.success(), "the disk cannot be made quiet");
    fronts.system.dial("shadow", false).await?;
    let traffic = Traffic::begin(&fronts, seed).await?;
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut late, mut slowest) = (0, Duration::ZERO);
    for _ in 0..number("CROSSFADE_MOVES").unwrap_or(MOVES) / 2 {
        late += fronts.up(&random.u32(1..=100).to_string()).await?;
        host::clock::sleep(Duration::from_millis(random.u64(50..300))).await;
        let begun = Instant::now();
        let version = fronts.rollback().await?;
        fronts.until_heard(version).await?;
        slowest = slowest.max(begun.elapsed());
        host::clock::sleep(Duration::from_millis(random.u64(50..300))).await;
    }
    let (sent, auditor) = traffic.end().await?;
    let (held, within) = fronts.held(Duration::from_millis(handover_ms).as_secs_f64()).await?;
    println!("{late} moves up were called off; a rollback was in force after {slowest:?} at the latest");
    println!("{held} requests were held, {within} of them for {handover_ms} ms at most; {:?}", sent.latency);
    ensure!(sent.counted.errors == 0, "{} client errors", sent.counted.errors);
    ensure!(slowest <= Duration::from_secs(1), "a rollback took {slowest:?}");
    ensure!(held > 0.0 && within * 100.0 >= held * 99.0, "{within} of {held} were held for {handover_ms} ms at most");
    all_is_well(fronts, &auditor).await
}

/// The engine has decided on an account by a front that cannot ship it, and the dial goes down: whether the law holds that the
/// legacy does not decide on the account before that was applied to it.
async fn law_9_holds_with(mistake: Option<&str>) -> anyhow::Result<anyhow::Result<usize>> {
    let changes = Changes { handover_ms: Some(5_000), ..Changes::default() };
    let mut fronts = TwoFronts::start(Path::new(BINARY), &changes, Duration::ZERO, 1).await?;
    if let Some(mistake) = mistake {
        fronts.restart_with("relay", &[("CROSSFADE_PLANTED", mistake.to_owned())]).await?;
    }
    fronts.system.dial("shadow", false).await?;
    Traffic::begin(&fronts, 1).await?.end().await?;
    fronts.system.dial("100", true).await?;
    let client = host::http::Client::new(Duration::from_secs(2), 1 << 20);
    let topup = async |front: usize, key: &str| -> anyhow::Result<()> {
        let topup = json!({"idempotencyKey": key, "sourceAccountId": "w-external-000",
            "destinationAccountId": "w-user-00010", "amount": "7", "currency": "CZK"});
        let url = format!("{}/transactions/topup", fronts.fronts[front].url);
        let answer = client.post(&url, None, &topup, Duration::from_secs(10)).await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(())
    };
    topup(0, "k-1").await?;
    fronts.until_caught_up().await?;
    fronts.fronts[1].shipping.set(Passing::Silent);
    topup(1, "k-2").await?;
    let version = fronts.rollback().await?;
    fronts.until_heard_by(FRONTS[0], version).await?;
    let (held, ()) = tokio::join!(topup(0, "k-3"), async {
        host::clock::sleep(Duration::from_millis(500)).await;
        fronts.fronts[1].shipping.set(Passing::Open);
    });
    held?;
    fronts.system.until_judged(Duration::from_secs(60)).await?;
    let holds = traces::nobody_decides_too_early(&fronts.system).await;
    fronts.system.stop().await?;
    Ok(holds)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_waits_for_what_another_front_has_not_shipped() -> anyhow::Result<()> {
    let sides_changed = law_9_holds_with(None).await??;
    ensure!(sides_changed > 0, "the account has not moved");
    let found = law_9_holds_with(Some("NoBarrier")).await?;
    println!("without the barrier of other fronts: {found:?}");
    // On the way down, or before that on the way up.
    ensure!(found.is_err_and(|found| found.to_string().contains("was decided by the")), "it was not found");
    Ok(())
}

/// A request that was held and goes where it would have gone before: found as soon as moves have held some.
#[tokio::test(flavor = "multi_thread")]
async fn a_percent_that_is_read_twice_is_found() -> anyhow::Result<()> {
    let seed = seed();
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test fronts percent");
    let mut fronts = TwoFronts::start(Path::new(BINARY), &Changes::default(), SHIPPING, seed).await?;
    for process in FRONTS {
        fronts.restart_with(process, &[("CROSSFADE_PLANTED", "PercentReadTwice".to_owned())]).await?;
    }
    fronts.system.dial("shadow", false).await?;
    let traffic = Traffic::begin(&fronts, seed).await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    // Some moves hold nobody.
    let found = loop {
        for stop in ["100", "0"] {
            fronts.system.dial(stop, true).await?;
            host::clock::sleep(Duration::from_millis(200)).await;
        }
        if let Err(found) = checks::authorities_fit(&fronts.system).await {
            break found.to_string();
        }
        ensure!(Instant::now() < deadline, "it was not found");
    };
    println!("{found}");
    ensure!(found.contains(" belonged to "), "{found}");
    traffic.end().await?;
    fronts.system.stop_processes().await
}

/// After everything was judged: no account differs, every effect is there once, and no verdict says otherwise.
async fn all_is_well(mut fronts: TwoFronts, auditor: &Auditor) -> anyhow::Result<()> {
    let system = &mut fronts.system;
    let (summary, reconciliation) = system.until_judged(Duration::from_secs(300)).await?;
    println!("{:?}, overtaken {}, cross-cohort {}", summary.verdicts, summary.overtaken, summary.cross_cohort);
    let versions = checks::authorities_fit(system).await?;
    let exchanges = system.exchanges().await?;
    for exchange in &exchanges {
        let kind = exchange.verdict.verdict;
        if !matches!(kind, VerdictKind::Match | VerdictKind::Order | VerdictKind::Single | VerdictKind::Carried) {
            let whole: ExchangeView = system.control(&format!("/api/exchanges/{}", exchange.id)).await?;
            for other in exchanges.iter().filter(|other| other.key == whole.key) {
                let other: ExchangeView = system.control(&format!("/api/exchanges/{}", other.id)).await?;
                println!("same key: {other:#?}");
            }
            bail!("judged otherwise than the same: {whole:#?}");
        }
    }
    ensure!(reconciliation.different == 0, "{reconciliation:?}");
    checks::every_effect_once(system, auditor).await?;
    let accounts = checks::all_balances_agree(system, auditor).await?;
    checks::money_is_conserved(system).await?;
    let explained = traces::orders_are_explained(system).await?;
    let sides_changed = traces::nobody_decides_too_early(system).await?;
    println!("{explained:?}; accounts changed sides {sides_changed} times");
    ensure!(sides_changed > 0, "no account has moved");
    ensure!(summary.overtaken == 0, "{} exchanges were overtaken although nobody was made late", summary.overtaken);
    ensure!(explained.forced == 0, "nothing was lost, so every leg had to fit in the end");
    println!("{} exchanges by {versions} versions, {accounts} accounts equal", exchanges.len());
    system.stop().await
}
