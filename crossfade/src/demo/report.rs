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
use wire::control::{Discrepancy, DiscrepancyPage, Gap, RunReconciliation, Summary};
use wire::decision::Reconciliation;
use wire::scalar::Money;
use wire::words::VerdictKind;

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
    /// Exchanges of which there is no record.
    gaps: Vec<Gap>,
    reconciliation: Reconciliation,
    latencies: Vec<Percentiles>,
    /// Sum of all balances of the engine per currency; each has to be zero.
    conservation: BTreeMap<String, String>,
    /// What the auditor found wrong; without a fault it has to be empty.
    violations: Vec<String>,
}

impl Report {
    /// 0 when everything was compared and agrees, 3 when not.
    pub fn exit(&self) -> Exit {
        if self.reservations().is_empty() { Exit::Done } else { Exit::Unmet }
    }

    /// Everything that stands against "both systems agree", a line each; empty only if all was compared.
    fn reservations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut unless_none = |count: u64, what: &str| {
            if count > 0 {
                found.push(format!("{} {what}", render::count(count)));
            }
        };
        let verdicts = |wanted: VerdictKind| {
            let counts = self.summary.verdicts.iter().filter(|count| count.verdict == wanted);
            counts.map(|count| count.exchanges).sum::<u64>()
        };
        let reconciled = &self.reconciliation;
        unless_none(self.client_errors, "requests were not answered, or with an error of a server");
        unless_none(self.summary.discrepancies_open.max(self.discrepancies.len() as u64), "discrepancies are open");
        unless_none(self.summary.gaps.max(self.gaps.len() as u64), "gaps: exchanges went on without a record");
        unless_none(self.summary.open.max(verdicts(VerdictKind::Open)), "exchanges are not judged");
        unless_none(self.summary.unknown.max(verdicts(VerdictKind::Unknown)), "exchanges have a leg of unknown effect");
        unless_none(verdicts(VerdictKind::Missing), "exchanges lack the record of a leg");
        unless_none(verdicts(VerdictKind::Unreadable), "exchanges have a record that cannot be read");
        unless_none(reconciled.different, "balances differ");
        unless_none(reconciled.only_legacy, "accounts are only in the legacy");
        unless_none(reconciled.only_engine, "accounts are only in the engine");
        unless_none(reconciled.not_comparable, "accounts could not be compared");
        unless_none(self.violations.len() as u64, "statements of clients and balances disagree");
        if self.summary.exchanges == 0 {
            found.push("no exchange was recorded".to_owned());
        }
        if !self.summary.caught_up {
            found.push("the comparator has not read the whole log".to_owned());
        }
        if let Some(why) = &reconciled.not_comparable_because {
            found.push(format!("no balances were compared: {why}"));
        } else if reconciled.compared == 0 {
            found.push("no balances were compared".to_owned());
        }
        let conserved = !self.conservation.is_empty() && self.conservation.values().all(|sum| sum == "0");
        if !conserved {
            found.push("the engine's balances do not sum to zero".to_owned());
        }
        found
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
    let reconciliation = judged_and_compared(parts).await?;
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
        gaps: discrepancies.gaps,
        reconciliation,
        latencies,
        conservation: conservation(&engine),
        violations,
    })
}

/// Waits until every exchange is judged, and compares all balances; again while accounts are in motion, because what
/// the front has not shipped yet is in nobody's count before the marks of a comparison find it.
async fn judged_and_compared(parts: &Parts) -> anyhow::Result<Reconciliation> {
    let deadline = clock::now() + JUDGED_DEADLINE;
    loop {
        let summary: Summary = parts.get(Part::Comparator, "/api/summary").await?;
        let judged = summary.open == 0 && summary.unknown == 0 && summary.caught_up;
        if judged {
            let run = RunReconciliation { reason: "demo: the end of the journey".to_owned() };
            let compared: Reconciliation = parts.post(Part::Comparator, "/api/reconciliations", &run).await?;
            if compared.not_comparable == 0 || clock::now() >= deadline {
                return Ok(compared);
            }
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
    page.push_str(&conclusion(&report.reservations()));
    page.push_str(&found(&report.discrepancies));
    for gap in report.gaps.iter().take(10) {
        page.push_str(&format!("gap {}: {}\n", gap.id, gap.what));
    }
    for violation in report.violations.iter().take(10) {
        page.push_str(&format!("auditor: {violation}\n"));
    }
    page
}

fn conservation_line(sums: &BTreeMap<String, String>) -> String {
    let off: Vec<_> =
        sums.iter().filter(|(_, sum)| *sum != "0").map(|(currency, sum)| format!("{sum} {currency}")).collect();
    if sums.is_empty() {
        "unknown: the engine shows no account".to_owned()
    } else if off.is_empty() {
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

/// What may be said at the end: that both systems agree, or what stands against it.
fn conclusion(reservations: &[String]) -> String {
    if reservations.is_empty() {
        return "\nNo discrepancies: both systems agree on every exchange and every balance.\n".to_owned();
    }
    let lines: String = reservations.iter().map(|reservation| format!("  {reservation}\n")).collect();
    format!("\nThat both systems agree cannot be said:\n{lines}")
}

fn found(discrepancies: &[Discrepancy]) -> String {
    if discrepancies.is_empty() {
        return String::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use wire::control::{RolloutView, VerdictCount};
    use wire::rollout::{Rollout, Setting};
    use wire::scalar::{Percent, Timestamp};
    use wire::words::{Cause, Stage};

    fn reconciliation() -> Reconciliation {
        Reconciliation {
            id: "r".to_owned(),
            started_at: Timestamp(0),
            ended_at: Timestamp(1),
            compared: 3,
            equal: 3,
            different: 0,
            explained: 0,
            only_legacy: 0,
            only_engine: 0,
            not_comparable: 0,
            not_comparable_because: None,
            variance: Vec::new(),
            differences: Vec::new(),
        }
    }

    fn summary() -> Summary {
        let verdict = |verdict| VerdictCount { verdict, detail: None, exchanges: 5 };
        Summary {
            ledger: "demo".to_owned(),
            caught_up: true,
            exchanges: 20,
            open: 0,
            verdicts: [VerdictKind::Match, VerdictKind::Order, VerdictKind::Single].map(verdict).to_vec(),
            rates: Vec::new(),
            discrepancies_open: 0,
            unknown: 0,
            gaps: 0,
            overtaken: 0,
            cross_cohort: 0,
            levels_deferred: 0,
            money_at_variance: Vec::new(),
            rollout: RolloutView::of(&Rollout {
                version: 1,
                setting: Setting { stage: Stage::Engine, percent: Percent::ALL },
                ..Rollout::genesis("demo")
            }),
            fronts: Vec::new(),
            last_reconciliation: None,
        }
    }

    fn clean() -> Report {
        Report {
            seed: 1,
            requests: 20,
            client_errors: 0,
            summary: summary(),
            discrepancies: Vec::new(),
            gaps: Vec::new(),
            reconciliation: reconciliation(),
            latencies: Vec::new(),
            conservation: BTreeMap::from([("EUR".to_owned(), "0".to_owned())]),
            violations: Vec::new(),
        }
    }

    fn discrepancy() -> Discrepancy {
        Discrepancy {
            id: "front.1.7".to_owned(),
            cause: Cause::Amount,
            status: "open".to_owned(),
            found_at: Timestamp(0),
            key: None,
            system: None,
            offsets: Vec::new(),
            carried: 0,
            detail: String::new(),
            settled: None,
        }
    }

    fn gap() -> Gap {
        Gap {
            id: "gap:front.1.9".to_owned(),
            status: "open".to_owned(),
            exchanges: 1,
            what: "an unclean boot".to_owned(),
            at: Timestamp(0),
        }
    }

    fn one_more(report: &mut Report, verdict: VerdictKind) {
        report.summary.verdicts.push(VerdictCount { verdict, detail: None, exchanges: 1 });
    }

    #[test]
    fn it_is_clean_only_if_everything_was_compared_and_agrees() {
        assert_eq!((clean().exit(), clean().reservations()), (Exit::Done, Vec::new()));
        assert!(page(&clean()).contains("both systems agree"));
        type Change = fn(&mut Report);
        let cases: [(&str, Change); 21] = [
            ("1 requests were not answered", |report| report.client_errors = 1),
            ("1 discrepancies", |report| report.discrepancies.push(discrepancy())),
            ("1 gaps", |report| report.gaps.push(gap())),
            ("1 exchanges are not judged", |report| report.summary.open = 1),
            ("1 exchanges are not judged", |report| one_more(report, VerdictKind::Open)),
            ("1 exchanges have a leg of unknown", |report| report.summary.unknown = 1),
            ("1 exchanges have a leg of unknown", |report| one_more(report, VerdictKind::Unknown)),
            ("1 exchanges lack", |report| one_more(report, VerdictKind::Missing)),
            ("cannot be read", |report| one_more(report, VerdictKind::Unreadable)),
            ("no exchange was recorded", |report| report.summary.exchanges = 0),
            ("not read the whole log", |report| report.summary.caught_up = false),
            ("1 balances differ", |report| report.reconciliation.different = 1),
            ("only in the legacy", |report| report.reconciliation.only_legacy = 1),
            ("only in the engine", |report| report.reconciliation.only_engine = 1),
            ("1 accounts could not", |report| report.reconciliation.not_comparable = 1),
            ("no balances were compared", |report| report.reconciliation.compared = 0),
            ("no balances were compared: front-a is silent", |report| {
                report.reconciliation.not_comparable_because = Some("front-a is silent".to_owned());
            }),
            ("1 statements", |report| report.violations.push("alice".to_owned())),
            ("do not sum to zero", |report| {
                report.conservation.insert("EUR".to_owned(), "0.01".to_owned());
            }),
            ("do not sum to zero", |report| report.conservation.clear()),
            ("1,000 requests", |report| report.client_errors = 1_000),
        ];
        for (said, change) in cases {
            let mut report = clean();
            change(&mut report);
            assert_eq!(report.exit(), Exit::Unmet, "{said}");
            let page = page(&report);
            assert!(page.contains(said) && !page.contains("both systems agree on"), "{said}: {page}");
        }
    }
}
