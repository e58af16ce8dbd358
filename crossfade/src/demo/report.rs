//! What came of the demo: from what the comparator saw, and from what an independent auditor was told.

use super::latency::{self, Percentiles};
use super::site::Site;
use crate::cli::DemoArgs;
use crate::client::{Exit, Part, Parts};
use crate::commands::{reconcile, status};
use crate::render;
use anyhow::{Context, ensure};
use host::clock;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use testbed_auditor::Observer;
use testbed_loadgen::report::Report as Sent;
use testbed_loadgen::system::System;
use wire::billing::{Account, AccountPage};
use wire::control::{Discrepancy, DiscrepancyPage, RunReconciliation, Summary};
use wire::decision::Reconciliation;
use wire::scalar::Money;

/// Legs that were held up by a fault are repeated and resolved within so long.
const JUDGED_DEADLINE: Duration = Duration::from_secs(90);

/// The report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    seed: u64,
    requests: u64,
    client_errors: u64,
    summary: Summary,
    discrepancies: Vec<Discrepancy>,
    reconciliation: Reconciliation,
    latencies: Vec<Percentiles>,
    /// Sum of all balances of the engine per currency; each has to be zero.
    conservation: BTreeMap<String, String>,
    /// What the auditor found wrong; without a fault it has to be empty.
    violations: Vec<String>,
}

impl Report {
    /// 0 when everything agrees, 3 when something was found.
    pub fn exit(&self) -> Exit {
        let conserved = self.conservation.values().all(|sum| sum == "0");
        let clean = self.discrepancies.is_empty()
            && self.violations.is_empty()
            && self.reconciliation.different == 0
            && self.summary.open == 0
            && conserved;
        if clean { Exit::Done } else { Exit::Unmet }
    }
}

/// Waits until every exchange is judged, compares all balances, and asks everybody.
///
/// # Errors
/// When a part does not answer, or exchanges stay unjudged.
pub async fn make(
    args: &DemoArgs,
    site: &Site,
    parts: &Parts,
    sent: &Sent,
    auditor: &Mutex<Observer>,
) -> anyhow::Result<Report> {
    until_judged(parts).await?;
    let run = RunReconciliation { reason: "demo: the end of the journey".to_owned() };
    let reconciliation: Reconciliation = parts.post(Part::Comparator, "/api/reconciliations", &run).await?;
    let discrepancies: DiscrepancyPage = parts.get(Part::Comparator, "/api/discrepancies?status=open").await?;
    let engine = accounts(parts).await?;
    let violations = audited(site, auditor).await?;
    let mut latencies = latency::of_both_systems(parts).await?.to_vec();
    latencies.push(Percentiles::from(("front, as clients see it", sent.latency)));
    Ok(Report {
        seed: args.seed,
        requests: sent.counted.sent,
        client_errors: sent.counted.errors,
        summary: parts.get(Part::Comparator, "/api/summary").await?,
        discrepancies: discrepancies.discrepancies,
        reconciliation,
        latencies,
        conservation: conservation(&engine),
        violations,
    })
}

async fn until_judged(parts: &Parts) -> anyhow::Result<()> {
    let deadline = clock::now() + JUDGED_DEADLINE;
    loop {
        let summary: Summary = parts.get(Part::Comparator, "/api/summary").await?;
        if summary.open == 0 && summary.unknown == 0 && summary.caught_up {
            return Ok(());
        }
        ensure!(clock::now() < deadline, "{} exchanges are not judged in time", summary.open);
        clock::sleep(Duration::from_millis(100)).await;
    }
}

/// All accounts of the engine.
async fn accounts(parts: &Parts) -> anyhow::Result<Vec<Account>> {
    let mut accounts = Vec::new();
    let mut after = String::new();
    loop {
        let page: AccountPage = parts.get(Part::Engine, &format!("/accounts?limit=1000{after}")).await?;
        accounts.extend(page.accounts);
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(accounts),
        }
    }
}

fn conservation(accounts: &[Account]) -> BTreeMap<String, String> {
    let mut sums: BTreeMap<String, Money> = BTreeMap::new();
    for account in accounts {
        let sum = sums.entry(account.currency.clone()).or_default();
        *sum = Money(sum.0 + account.balance.0);
    }
    sums.into_iter().map(|(currency, sum)| (currency, sum.to_string())).collect()
}

/// Shows the auditor the engine's balances, after what clients never heard of was found out at the front.
async fn audited(site: &Site, auditor: &Mutex<Observer>) -> anyhow::Result<Vec<String>> {
    System::new(site.front())
        .resolve(auditor)
        .await
        .context("the front does not say what became of unanswered requests")?;
    let balances = System::new(site.engine()).balances().await?;
    let mut auditor = auditor.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(auditor.verify(&balances).iter().map(ToString::to_string).collect())
}

/// The report for people.
pub fn page(report: &Report) -> String {
    let mut page = String::from("\nThe journey is over.\n\n");
    page.push_str(&render::facts([
        ("requests sent", render::count(report.requests)),
        ("client errors", render::count(report.client_errors)),
        ("seed", report.seed.to_string()),
        ("conservation", conservation_line(&report.conservation)),
        ("auditor", auditor_line(&report.violations)),
    ]));
    page.push('\n');
    page.push_str(&status::page(&report.summary));
    page.push('\n');
    page.push_str(&reconcile::page(&report.reconciliation));
    page.push('\n');
    page.push_str(&latencies(&report.latencies));
    page.push('\n');
    page.push_str(&found(&report.discrepancies));
    for violation in report.violations.iter().take(10) {
        page.push_str(&format!("auditor: {violation}\n"));
    }
    page
}

fn conservation_line(sums: &BTreeMap<String, String>) -> String {
    let off: Vec<_> =
        sums.iter().filter(|(_, sum)| *sum != "0").map(|(currency, sum)| format!("{sum} {currency}")).collect();
    if off.is_empty() {
        "exact: the engine's balances sum to zero".to_owned()
    } else {
        format!("BROKEN: {}", off.join(", "))
    }
}

fn auditor_line(violations: &[String]) -> String {
    match violations.len() {
        0 => "every balance of the engine is the sum of what clients were told".to_owned(),
        count => format!("{count} statements of clients and balances disagree"),
    }
}

fn latencies(latencies: &[Percentiles]) -> String {
    let ms = |ms: f64| format!("{ms:.1} ms");
    let row = |timed: &Percentiles| {
        [
            timed.who.clone(),
            render::count(timed.requests),
            ms(timed.p50_ms),
            ms(timed.p90_ms),
            ms(timed.p99_ms),
            ms(timed.max_ms),
        ]
    };
    render::table(["latency", "requests", "p50", "p90", "p99", "max"], &[1, 2, 3, 4, 5], latencies.iter().map(row))
}

fn found(discrepancies: &[Discrepancy]) -> String {
    if discrepancies.is_empty() {
        return "\nNo discrepancies: both systems agree on every exchange and every balance.\n".to_owned();
    }
    let mut causes: BTreeMap<String, u64> = BTreeMap::new();
    for discrepancy in discrepancies {
        *causes.entry(discrepancy.cause.to_string()).or_default() += 1;
    }
    let causes: Vec<_> = causes.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
    let mut text = format!("\n{} discrepancies: {}\n", discrepancies.len(), causes.join(", "));
    let row = |discrepancy: &Discrepancy| {
        let offsets: Vec<_> = discrepancy
            .offsets
            .iter()
            .map(|offset| format!("{} {} {}", offset.account, offset.amount, offset.currency))
            .collect();
        [discrepancy.id.clone(), discrepancy.cause.to_string(), offsets.join(", "), discrepancy.carried.to_string()]
    };
    text.push_str(&render::table(
        ["discrepancy", "cause", "legacy less engine", "explains"],
        &[3],
        discrepancies.iter().take(20).map(row),
    ));
    if discrepancies.len() > 20 {
        text.push_str(&format!("\n… and {} more: crossfade discrepancies list\n", discrepancies.len() - 20));
    }
    text
}
