//! Faults in the legacy: the roots that the comparator finds are exactly those in the legacy's own fault ledger,
//! and everything else is a match, a matter of order, single, or carried to the right roots. Faults that falsify no answer
//! and no balance are no discrepancy.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::ensure;
use crossfade::demo::site::Changes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use testbed_auditor::Money;
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::system::{Layout, System, rate};
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::system::System as Read;
use testbed_loadgen::workload::{Config, Workload};
use wire::control::ExchangeView;
use wire::decision::Reconciliation;
use wire::words::{Single, System as Side, VerdictKind};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
/// As many requests as the acceptance of this part asks for.
const REQUESTS: u64 = 10_000;
/// The share of first executions that a fault hits.
const RATE: f64 = 0.01;
/// Requests a second: below what two cores carry, so that the run is about faults and not about load.
const REQUESTS_PER_SECOND: f64 = 400.0;
/// Requests at once at most: a machine that carries less is slower then, instead of answering ever later.
const IN_FLIGHT: usize = 32;

/// A system that has had its traffic with a fault on, and judged all of it.
struct Ran {
    system: System,
    auditor: Auditor,
    /// A fault on an account that nobody used afterwards comes to light when balances are compared.
    reconciliation: Reconciliation,
}

/// What is sent, and how much of it a fault hits.
struct Load {
    requests: u64,
    fault_rate: f64,
    workload: Config,
}

impl Load {
    fn of(requests: u64) -> Self {
        Self { requests, fault_rate: RATE, workload: Config::default() }
    }
}

/// Sends the traffic with one fault on, at one setting of the dial, and waits until all is judged and compared.
async fn run(fault: &str, percent: &str, load: Load, changes: &Changes) -> anyhow::Result<Ran> {
    let system = System::start(Path::new(BINARY), Layout::One, changes).await?;
    system.dial("shadow", false).await?;
    if percent != "0" {
        system.dial(percent, false).await?;
    }
    let auditor = checks::auditor(true);
    let options = Options {
        base_urls: vec![system.site.front()],
        pace: Pace::Open { per_second: rate(REQUESTS_PER_SECOND) },
        max_requests: load.requests,
        max_in_flight: IN_FLIGHT,
        ..Options::default()
    };
    let runner = Runner::new(options, Workload::new(load.workload), Auditor::clone(&auditor));
    runner.create_accounts().await?;
    system.faults(&[fault], load.fault_rate).await?;
    runner.run(&host::task::Shutdown::new()).await;
    system.faults(&[], 0.0).await?;
    let (summary, reconciliation) = system.until_judged(Duration::from_secs(300)).await?;
    ensure!(summary.gaps == 0, "{} exchanges were not captured: the disk was too slow for this test", summary.gaps);
    Ok(Ran { system, auditor, reconciliation })
}

/// Root discrepancies and the fault ledger are the same set of keys; everything else is accounted for.
async fn roots_are_the_fault_ledger(fault: &str, percent: &str) -> anyhow::Result<()> {
    let Ran { mut system, reconciliation, .. } = run(fault, percent, Load::of(REQUESTS), &Changes::default()).await?;
    let ledger = system.fault_log().await?;
    ensure!(ledger.len() >= 30, "only {} faults in {REQUESTS} requests: the test says nothing", ledger.len());
    let faulty: BTreeSet<String> = ledger.into_iter().map(|(key, _)| key).collect();
    let discrepancies = system.discrepancies().await?;
    let roots: BTreeSet<String> = discrepancies
        .iter()
        .map(|root| root.key.clone().unwrap_or_else(|| format!("without a key: {} {}", root.id, root.detail)))
        .collect();
    let missed: Vec<_> = faulty.difference(&roots).take(5).collect();
    let invented: Vec<_> = roots.difference(&faulty).take(5).collect();
    let exchanges = system.exchanges().await?;
    let counts = verdicts(&exchanges);
    println!(
        "{fault} at {percent} %: {} faults, {} roots, {} exchanges {counts:?}, {} balances compared, {} different, {} explained",
        faulty.len(),
        roots.len(),
        exchanges.len(),
        reconciliation.compared,
        reconciliation.different,
        reconciliation.explained
    );
    ensure!(missed.is_empty() && invented.is_empty(), "missed {missed:?}, invented {invented:?}, {counts:?}");
    ensure!(reconciliation.different == reconciliation.explained, "unexplained differences: {reconciliation:?}");
    let ids: BTreeSet<&str> = discrepancies.iter().map(|root| root.id.as_str()).collect();
    for exchange in &exchanges {
        let verdict = &exchange.verdict;
        let fine = match verdict.verdict {
            kind if is_fine(&kind) => true,
            VerdictKind::Mismatch => ids.contains(exchange.id.as_str()),
            VerdictKind::Carried => {
                !verdict.roots.is_empty() && verdict.roots.iter().all(|root| ids.contains(root.as_str()))
            }
            _ => false,
        };
        ensure!(fine, "{} is {verdict:?}", exchange.id);
    }
    system.stop().await
}

fn verdicts(exchanges: &[ExchangeView]) -> BTreeMap<VerdictKind, u64> {
    let mut counts = BTreeMap::new();
    for exchange in exchanges {
        *counts.entry(exchange.verdict.verdict).or_default() += 1;
    }
    counts
}

/// No roots; every exchange that the fault hit was unknown at first, and is resolved as the fault ledger says.
async fn faults_that_only_hide_the_answer(fault: &str, percent: &str) -> anyhow::Result<()> {
    let changes = Changes {
        // A request that hangs is given up after a second, and is certainly not running any more after two.
        front: "authority_timeout_ms = 1000\n".to_owned(),
        relay: "leg_timeout_ms = 1000\nlegacy_longest_request_ms = 2000\n".to_owned(),
        legacy: "hang_seconds = 3\n".to_owned(),
        ..Changes::default()
    };
    let Ran { mut system, auditor, reconciliation } = run(fault, percent, Load::of(4_000), &changes).await?;
    let ledger = system.fault_log().await?;
    ensure!(ledger.len() >= 10, "only {} faults: the test says nothing", ledger.len());
    let roots = system.discrepancies().await?;
    ensure!(roots.is_empty(), "{} roots, the first: {:?}", roots.len(), roots.first());
    ensure!(reconciliation.different == 0, "{reconciliation:?}");
    checks::all_balances_agree(&system, &auditor).await?;
    let exchanges = system.exchanges().await?;
    println!(
        "{fault} at {percent} %: {} faults, {} exchanges {:?}",
        ledger.len(),
        exchanges.len(),
        verdicts(&exchanges)
    );
    for (key, kind) in ledger {
        let hit: Vec<_> = exchanges.iter().filter(|exchange| exchange.key.as_deref() == Some(&key)).collect();
        ensure!(!hit.is_empty(), "no exchange has the key {key}");
        let ever_unknown = was_unknown(&system, &hit).await?;
        ensure!(ever_unknown, "{kind} on {key} was never unknown");
        resolved_as_executed(&key, &kind, &hit)?;
    }
    system.stop().await
}

/// What was executed has a shadow leg, under the number of one of the requests with its key; what was not has none.
fn resolved_as_executed(key: &str, kind: &str, hit: &[&ExchangeView]) -> anyhow::Result<()> {
    let verdicts = || hit.iter().map(|exchange| &exchange.verdict).collect::<Vec<_>>();
    let compared = hit.iter().any(|exchange| exchange.verdict.verdict != VerdictKind::Single);
    let by_legacy = hit.iter().all(|exchange| exchange.authority == Side::Legacy);
    if by_legacy && kind.ends_with("before") {
        // A client that asked again had it executed then.
        if let [only] = hit {
            ensure!(only.verdict.single == Some(Single::NotExecuted), "{kind} on {key}: {:?}", only.verdict);
        }
    } else {
        ensure!(compared, "{kind} on {key} was executed, but the verdicts are {:?}", verdicts());
    }
    Ok(())
}

/// Whether a leg of one of these exchanges stands in the log as unknown.
async fn was_unknown(system: &System, exchanges: &[&ExchangeView]) -> anyhow::Result<bool> {
    for exchange in exchanges {
        let whole: ExchangeView = system.control(&format!("/api/exchanges/{}", exchange.id)).await?;
        if whole.legs.iter().any(|leg| leg.was_unknown) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// No roots, the same balances everywhere, and nothing judged worse than a matter of order.
async fn faults_that_are_no_discrepancy(fault: &str, percent: &str, load: Load) -> anyhow::Result<()> {
    let Ran { mut system, auditor, .. } = run(fault, percent, load, &Changes::default()).await?;
    let ledger = system.fault_log().await?;
    let counts = verdicts(&system.exchanges().await?);
    println!("{fault} at {percent} %: {} faults, {counts:?}", ledger.len());
    ensure!(ledger.len() >= 10, "only {} faults: the test says nothing", ledger.len());
    ensure!(system.discrepancies().await?.is_empty(), "{fault} is no discrepancy");
    checks::all_balances_agree(&system, &auditor).await?;
    ensure!(counts.keys().all(is_fine), "{counts:?}");
    system.stop().await
}

/// Two requests are under way at once where one overtakes the other: either order is right.
async fn overtaken_requests_are_no_discrepancy(percent: &str) -> anyhow::Result<()> {
    // So few accounts that the next request of the same one comes at once, and so few topups that much is refused.
    let workload = Config { users: 16, limited_users: 8, mix: [20, 36, 32, 12], ..Config::default() };
    let load = Load { fault_rate: 0.1, workload, ..Load::of(3_000) };
    faults_that_are_no_discrepancy("reorder", percent, load).await
}

fn is_fine(kind: &VerdictKind) -> bool {
    matches!(kind, VerdictKind::Match | VerdictKind::Order | VerdictKind::Single)
}

/// All answers are right: what the legacy shows too late comes to light when balances are compared, of the accounts that
/// nobody changed since, each a discrepancy of its own.
async fn stale_balances_are_found(percent: &str) -> anyhow::Result<()> {
    // Most accounts change again and again: many changes have to be hit for some of the last ones to be.
    let load = Load { fault_rate: 0.2, ..Load::of(3_000) };
    let Ran { mut system, reconciliation, .. } = run("stale-balance", percent, load, &Changes::default()).await?;
    let keys: BTreeSet<String> = system.fault_log().await?.into_iter().map(|(key, _)| key).collect();
    let stale = shown_too_late(&system, &keys).await?;
    let discrepancies = system.discrepancies().await?;
    let found: BTreeSet<String> =
        discrepancies.iter().filter_map(|found| Some(found.id.rsplit_once('@')?.0.to_owned())).collect();
    let counts = verdicts(&system.exchanges().await?);
    println!(
        "stale-balance at {percent} %: {} faults, {} accounts shown too late, {} discrepancies, {counts:?}",
        keys.len(),
        stale.len(),
        discrepancies.len()
    );
    ensure!(stale.len() >= 10, "only {stale:?}: the test says nothing");
    ensure!(found == stale, "found {found:?}, shown too late are {stale:?}");
    ensure!(reconciliation.different == stale.len() as u64, "{reconciliation:?}");
    ensure!(discrepancies.iter().all(|found| found.key.is_none()), "an exchange is blamed: {discrepancies:?}");
    ensure!(counts.keys().all(is_fine), "{counts:?}");
    system.stop().await
}

/// Accounts of which the legacy shows another balance than its own list of transactions ends with: each of those ends with a
/// transaction that a fault hit.
async fn shown_too_late(system: &System, hit: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
    let legacy = Read::new(system.site.legacy());
    let mut last = BTreeMap::new();
    for row in legacy.transactions().await?.iter().filter(|row| row["status"] == "completed") {
        for side in [&row["source"], &row["destination"]] {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if let Some(after) = side["balanceAfter"].as_str().and_then(Money::level) {
                last.insert(text(&side["accountId"]), (after, text(&row["trackingId"])));
            }
        }
    }
    let shown = legacy.balances().await?;
    let is_late = |account: &String, after: &Money| shown.get(account) != Some(after);
    last.retain(|account, (after, _)| is_late(account, after));
    let without: Vec<_> = last.iter().filter(|(_, (_, key))| !hit.contains(key)).collect();
    ensure!(without.is_empty(), "shown too late without a fault: {without:?}");
    Ok(last.into_keys().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fees_are_found_in_shadow() -> anyhow::Result<()> {
    roots_are_the_fault_ledger("wrong-fee", "0").await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fees_are_found_at_37_percent() -> anyhow::Result<()> {
    roots_are_the_fault_ledger("wrong-fee", "37").await
}

#[tokio::test(flavor = "multi_thread")]
async fn rounded_amounts_are_found_in_shadow() -> anyhow::Result<()> {
    roots_are_the_fault_ledger("rounding", "0").await
}

#[tokio::test(flavor = "multi_thread")]
async fn rounded_amounts_are_found_at_37_percent() -> anyhow::Result<()> {
    roots_are_the_fault_ledger("rounding", "37").await
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_writes_are_found_in_shadow() -> anyhow::Result<()> {
    roots_are_the_fault_ledger("lost-write", "0").await
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_writes_are_found_at_37_percent() -> anyhow::Result<()> {
    roots_are_the_fault_ledger("lost-write", "37").await
}

#[tokio::test(flavor = "multi_thread")]
async fn double_effects_are_found_in_shadow() -> anyhow::Result<()> {
    roots_are_the_fault_ledger("double-apply", "0").await
}

#[tokio::test(flavor = "multi_thread")]
async fn double_effects_are_found_at_37_percent() -> anyhow::Result<()> {
    roots_are_the_fault_ledger("double-apply", "37").await
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_requests_are_unknown_and_then_resolved() -> anyhow::Result<()> {
    faults_that_only_hide_the_answer("hang", "0").await?;
    faults_that_only_hide_the_answer("hang", "37").await
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_requests_are_unknown_and_then_resolved() -> anyhow::Result<()> {
    faults_that_only_hide_the_answer("5xx", "0").await?;
    faults_that_only_hide_the_answer("5xx", "37").await
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_connections_are_unknown_and_then_resolved() -> anyhow::Result<()> {
    faults_that_only_hide_the_answer("drop-connection", "0").await?;
    faults_that_only_hide_the_answer("drop-connection", "37").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_legacy_is_a_match() -> anyhow::Result<()> {
    faults_that_are_no_discrepancy("slow", "0", Load::of(3_000)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn overtaken_requests_are_a_matter_of_order_in_shadow() -> anyhow::Result<()> {
    overtaken_requests_are_no_discrepancy("0").await
}

#[tokio::test(flavor = "multi_thread")]
async fn overtaken_requests_are_a_matter_of_order_at_37_percent() -> anyhow::Result<()> {
    overtaken_requests_are_no_discrepancy("37").await
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_balances_are_found_in_shadow() -> anyhow::Result<()> {
    stale_balances_are_found("0").await
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_balances_are_found_at_37_percent() -> anyhow::Result<()> {
    stale_balances_are_found("37").await
}
