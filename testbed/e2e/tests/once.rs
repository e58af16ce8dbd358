//! A legacy that does not deduplicate: nothing is ever sent to it twice, and whatever it has not answered is found out, or
//! stands on a person's list.
//!
//! `CROSSFADE_SEED` replays a run, `CROSSFADE_ONCE_REQUESTS` sets how many requests it has.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::{Context, bail, ensure};
use crossfade::demo::site::Changes;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed_auditor::{Expectations, Observer};
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::system::{Layout, Own, System, rate};
use testbed_interposer::{Line, Passing};
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};
use wire::control::{DiscrepancyPage, ExchangeView, LegView};
use wire::words::{Class, System as Side, VerdictKind};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
/// Requests a second: each time-out holds up its account for seconds.
const REQUESTS_PER_SECOND: f64 = 150.0;
/// How many of them, unless told.
const REQUESTS: u64 = 4_000;
/// How often the relay is killed.
const KILLS: usize = 10;
/// Requests that time out, half of them before they are booked.
const TIMED_OUT: f64 = 0.02;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A legacy that makes a new transaction of every request, and forgets what it refused.
fn changes() -> Changes {
    Changes {
        legacy: "deduplicates = false\nids = \"integer\"\nslow_ms = 300\n".to_owned(),
        front: "authority_timeout_ms = 1000\n".to_owned(),
        relay: "legacy_deduplicates = false\nlegacy_longest_request_ms = 2000\nleg_timeout_ms = 1000\n".to_owned(),
        ..Changes::default()
    }
}

/// Clients that ask once, and an auditor who knows that a refused key is forgotten.
fn clients(base_url: String, requests: u64, seed: u64) -> (Arc<Runner>, Auditor) {
    let expectations = Expectations { refusal_keeps_key: false, authority_moves: true };
    let auditor = Arc::new(std::sync::Mutex::new(Observer::new(expectations)));
    let options = Options {
        base_urls: vec![base_url],
        pace: Pace::Open { per_second: rate(REQUESTS_PER_SECOND) },
        max_requests: requests,
        retry_unknown: false,
        ..Options::default()
    };
    let workload = Workload::new(Config { seed, ..Config::default() }.asking_once());
    (Runner::new(options, workload, Auditor::clone(&auditor)), auditor)
}

/// Where the relay dies for the so-manieth time, once there is such a file: before the first byte of a leg that it has
/// announced, with the answer of one that it has not recorded, or wherever it is.
fn death(kill: usize, armed: &Path) -> Option<String> {
    let moment = match kill % 3 {
        0 => return None,
        1 => "unrepeatable-leg-announced",
        _ => "unrepeatable-leg-answered",
    };
    Some(format!("{moment}:{}", armed.display()))
}

/// Keys that the legacy was asked to execute more than once.
async fn repeated(system: &System) -> anyhow::Result<Vec<Value>> {
    let url = format!("{}/executions", system.site.legacy());
    let answer =
        host::http::Client::new(Duration::from_secs(2), 64 << 20).get(&url, None, Duration::from_secs(30)).await?;
    let counted: Value = answer.json()?;
    println!("the legacy executed {} requests with {} keys", counted["executions"], counted["keys"]);
    Ok(counted["repeated"].as_array().context("no list of repeated keys")?.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_twice() -> anyhow::Result<()> {
    let seed = number("CROSSFADE_SEED").unwrap_or_else(host::random::u64);
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test once twice");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut system = System::prepare(Path::new(BINARY), Layout::Four, &changes()).await?;
    let armed = system.site.folder.join("relay-dies");
    system.dies_at("relay", death(1, &armed).as_deref());
    for process in Layout::Four.processes() {
        system.start_process(process).await?;
    }
    system.dial("shadow", false).await?;
    let requests = number("CROSSFADE_ONCE_REQUESTS").unwrap_or(REQUESTS);
    let (runner, auditor) = clients(system.site.front(), requests, seed);
    runner.create_accounts().await?;
    system.dial("50", false).await?;
    system.some_faults(&[("hang", TIMED_OUT), ("slow", 0.05)]).await?;
    let traffic = host::task::Shutdown::new();
    let sending = {
        let (runner, traffic) = (Arc::clone(&runner), traffic.clone());
        tokio::spawn(async move { runner.run(&traffic).await })
    };
    for kill in 1..=KILLS {
        let due = requests * kill as u64 / (KILLS as u64 + 1) + random.u64(0..requests / 50);
        while runner.counters().read().sent < due {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if death(kill, &armed).is_some() {
            std::fs::write(&armed, "")?;
            system.until_ended("relay").await?;
            std::fs::remove_file(&armed)?;
        } else {
            system.kill("relay")?;
        }
        system.dies_at("relay", death(kill + 1, &armed).as_deref());
        system.start_process("relay").await?;
    }
    let sent = sending.await?;
    println!("{:?}", sent.counted);
    let (summary, reconciliation) = system.until_judged(Duration::from_secs(600)).await?;
    println!("{:?}", summary.verdicts);
    ensure!(repeated(&system).await? == Vec::<Value>::new(), "sent twice: {:?}", repeated(&system).await?);
    ensure!(summary.exchanges >= requests, "only {} exchanges", summary.exchanges);
    ensure!(reconciliation.different == reconciliation.explained, "{reconciliation:?}");
    if let Err(found) = checks::every_effect_once_in(&system, &auditor, &[("engine", system.site.engine())]).await {
        let said = found.to_string();
        let keys = said.split(", key ").skip(1).filter_map(|rest| rest.split(':').next());
        for key in keys.collect::<BTreeSet<_>>() {
            print_exchanges(&system, key).await?;
        }
        return Err(found);
    }
    checks::money_is_conserved(&system).await?;
    only_lost_legs_are_on_the_list(&system).await?;
    system.stop().await
}

/// A leg that is sent without an announcement is sent again by the relay's successor: the legacy counts it.
#[tokio::test(flavor = "multi_thread")]
async fn a_leg_that_is_not_announced_is_found() -> anyhow::Result<()> {
    let mut system = System::prepare(Path::new(BINARY), Layout::Four, &changes()).await?;
    system.more_settings("relay", &[("CROSSFADE_PLANTED", "SendingNotRecorded".to_owned())]);
    for process in Layout::Four.processes() {
        system.start_process(process).await?;
    }
    system.dial("shadow", false).await?;
    let (runner, _) = clients(system.site.front(), 800, 1);
    runner.create_accounts().await?;
    system.dial("100", false).await?;
    system.some_faults(&[("slow", 0.3)]).await?;
    let sending = {
        let runner = Arc::clone(&runner);
        tokio::spawn(async move { runner.run(&host::task::Shutdown::new()).await })
    };
    for kill in 1..=4 {
        while runner.counters().read().sent < 160 * kill {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        system.kill("relay")?;
        system.start_process("relay").await?;
    }
    sending.await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while repeated(&system).await?.is_empty() {
        ensure!(Instant::now() < deadline, "it was not found");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    system.stop_processes().await
}

/// What somebody has to settle is exactly what the legacy did not book although the engine had decided it: it has lost the
/// request, or refused it without an answer, or the relay was killed between announcing it and sending it. And the relay
/// had to ask for some that are booked.
async fn only_lost_legs_are_on_the_list(system: &System) -> anyhow::Result<()> {
    let exchanges = system.exchanges().await?;
    let at_the_engine: BTreeSet<&str> = exchanges
        .iter()
        .filter(|exchange| exchange.authority == Side::Engine)
        .filter_map(|exchange| exchange.key.as_deref())
        .collect();
    let faults = system.fault_log().await?;
    let of_kind = |wanted: &str| -> BTreeSet<&str> {
        let legs = faults.iter().filter(|(key, kind)| kind == wanted && at_the_engine.contains(key.as_str()));
        legs.map(|(key, _)| key.as_str()).collect()
    };
    let (lost, unanswered) = (of_kind("hang-before"), of_kind("hang-after"));
    let discrepancies = system.discrepancies().await?;
    let listed: BTreeSet<&str> = discrepancies.iter().filter_map(|found| found.key.as_deref()).collect();
    println!(
        "{} legs lost, {} executed without an answer, {} discrepancies",
        lost.len(),
        unanswered.len(),
        listed.len()
    );
    ensure!(lost.is_subset(&listed), "on the list {listed:?}, lost {lost:?}");
    let refused = refused_without_an_answer(system, &unanswered, &listed).await?;
    ensure!(refused.len() < unanswered.len(), "nothing that was booked had to be asked for");
    let explained: BTreeSet<&str> = lost.union(&refused).copied().collect();
    let never_sent: Vec<&str> = listed.difference(&explained).copied().collect();
    ensure!(!never_sent.is_empty(), "the relay was never killed between announcing a leg and sending it");
    for key in never_sent {
        let of_key =
            exchanges.iter().find(|exchange| exchange.key.as_deref() == Some(key)).context("of no exchange")?;
        let whole: ExchangeView = system.control(&format!("/api/exchanges/{}", of_key.id)).await?;
        let in_doubt = |leg: &LegView| leg.system == Side::Legacy && leg.was_unknown && leg.class == Class::NotExecuted;
        println!("{key} was announced, and not sent");
        ensure!(
            whole.legs.iter().any(in_doubt) && !is_booked(system, &whole).await?,
            "{whole:#?}\nis on the list, but neither lost nor killed"
        );
    }
    // Legs that the relay had to ask for although the legacy answered them: it was killed in between.
    let mut killed = 0;
    for exchange in exchanges.iter().filter(|exchange| exchange.authority == Side::Engine) {
        let key = exchange.key.as_deref().unwrap_or_default();
        if !lost.contains(key) && !unanswered.contains(key) {
            let whole: ExchangeView = system.control(&format!("/api/exchanges/{}", exchange.id)).await?;
            killed += usize::from(whole.legs.iter().any(|leg| leg.system == Side::Legacy && leg.was_unknown));
        }
    }
    println!("{killed} legs under way when the relay was killed");
    ensure!(killed > 0, "the relay was never killed between the announcement of a leg and its result");
    ensure!(!lost.is_empty() && !unanswered.is_empty(), "the legacy answered everything");
    Ok(())
}

/// Of the keys that the legacy executed without an answer those that it refused, as it may where it has lost what went before:
/// they are on the list. Whatever it booked is settled.
async fn refused_without_an_answer<'a>(
    system: &System,
    unanswered: &BTreeSet<&'a str>,
    listed: &BTreeSet<&str>,
) -> anyhow::Result<BTreeSet<&'a str>> {
    let mut refused = BTreeSet::new();
    for exchange in system.exchanges().await? {
        let Some(key) = exchange.key.as_deref().and_then(|key| unanswered.get(key)) else { continue };
        let whole: ExchangeView = system.control(&format!("/api/exchanges/{}", exchange.id)).await?;
        if is_booked(system, &whole).await? {
            let settled =
                [VerdictKind::Match, VerdictKind::Order, VerdictKind::Carried].contains(&whole.verdict.verdict);
            ensure!(settled, "{whole:#?}\nis booked and found, but not settled");
        } else {
            println!("{key} was refused without an answer");
            ensure!(listed.contains(key), "{whole:#?}\nis neither booked nor on the list");
            refused.insert(*key);
        }
    }
    Ok(refused)
}

/// Everything that is known of a key.
async fn print_exchanges(system: &System, key: &str) -> anyhow::Result<()> {
    for exchange in system.exchanges().await?.iter().filter(|exchange| exchange.key.as_deref() == Some(key)) {
        let whole: ExchangeView = system.control(&format!("/api/exchanges/{}", exchange.id)).await?;
        println!("{whole:#?}");
    }
    for base in [system.site.legacy(), system.site.engine()] {
        let url = format!("{base}/transactions/status/{key}");
        let client = host::http::Client::new(Duration::from_secs(2), 1 << 20);
        let answer = client.get(&url, None, Duration::from_secs(5)).await?;
        println!("{url}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    }
    Ok(())
}

/// Whether the legacy has a transaction of this exchange.
async fn is_booked(system: &System, exchange: &ExchangeView) -> anyhow::Result<bool> {
    let (key, account) = (exchange.key.as_deref().unwrap_or_default(), exchange.account.as_deref().unwrap_or_default());
    let url = format!("{}/transactions/status/{key}?account={account}", system.site.legacy());
    let answer =
        host::http::Client::new(Duration::from_secs(2), 1 << 20).get(&url, None, Duration::from_secs(5)).await?;
    match answer.status.as_u16() {
        200 => Ok(true),
        404 => Ok(false),
        other => bail!("{url}: {other}"),
    }
}

/// A verb of the command line.
async fn crossfade(system: &System, verb: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(BINARY);
    command.args(verb).args(["-o", "json", "--config"]).arg(&system.site.config);
    Ok(host::task::spawn_blocking(move || command.output()).await??)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_found_out_is_a_task_for_a_person() -> anyhow::Result<()> {
    let mut system = System::prepare(Path::new(BINARY), Layout::Four, &changes()).await?;
    let line = Line::to(format!("127.0.0.1:{}", system.site.ports.legacy), Duration::ZERO, 1).await?;
    let settings = vec![("CROSSFADE_RELAY_LEGACY", format!("http://{}", line.address()))];
    system.set_own("relay", Own { settings, ready: None });
    system.dies_at("relay", Some("decision-read"));
    for process in Layout::Four.processes() {
        system.start_process(process).await?;
    }
    system.dial("shadow", false).await?;
    let (runner, _) = clients(system.site.front(), 1, 1);
    runner.create_accounts().await?;
    system.dial("100", false).await?;
    line.set(Passing::Silent);
    let front = host::http::Client::new(Duration::from_secs(2), 1 << 20);
    let topup = json!({"idempotencyKey": "k-1", "sourceAccountId": "w-external-000", "destinationAccountId": "w-user-00010",
        "amount": "7", "currency": "CZK"});
    let url = format!("{}/transactions/topup", system.site.front());
    let answer = front.post(&url, None, &topup, Duration::from_secs(5)).await?;
    ensure!(answer.status.as_u16() == 200, "{}", String::from_utf8_lossy(&answer.body));

    let deadline = Instant::now() + Duration::from_secs(30);
    let unknown = loop {
        let page: DiscrepancyPage = system.control("/api/discrepancies?status=open").await?;
        if let [unknown] = &page.unknowns[..] {
            break unknown.clone();
        }
        ensure!(Instant::now() < deadline, "no unknown effect is listed: {page:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    ensure!((unknown.system, unknown.is_authority) == (Side::Legacy, false), "{unknown:?}");
    let listed = crossfade(&system, &["discrepancies", "list"]).await?;
    ensure!(listed.status.code() == Some(3), "{}", String::from_utf8_lossy(&listed.stdout));
    let shown = crossfade(&system, &["exchanges", "show", &unknown.id]).await?;
    ensure!(String::from_utf8_lossy(&shown.stdout).contains("unknown"), "{}", String::from_utf8_lossy(&shown.stdout));
    let silent = ["discrepancies", "settle", &unknown.id, "--reason", "seen in the books"];
    let refused = crossfade(&system, &silent).await?;
    ensure!(refused.status.code() == Some(2), "without saying what became of it: {refused:?}");
    // The relay dies with the word in the log and nothing done about it; whether it was answered before is a race.
    let said = crossfade(&system, &[&silent[..], &["--as", "not-executed"]].concat()).await?;
    println!("said: {}", said.status);
    system.until_ended("relay").await?;
    system.dies_at("relay", None);
    system.start_process("relay").await?;

    // What was on its way is lost, and the legacy cannot be asked: only the person's word can settle it.
    line.set(Passing::Broken);
    let (summary, _) = system.until_judged(Duration::from_secs(60)).await?;
    ensure!(summary.unknown == 0, "{summary:?}");
    let discrepancies = system.discrepancies().await?;
    ensure!(discrepancies.len() == 1 && discrepancies[0].id == unknown.id, "{discrepancies:?}");
    ensure!(repeated(&system).await? == Vec::<Value>::new());
    system.stop().await
}
