//! The replay of a real bank's year through a whole system, and what has to come of it.

#![allow(clippy::print_stdout, reason = "a replay says how to repeat it")]

use crate::checks;
use crate::system::{Layout, System};
use anyhow::{Context, ensure};
use crossfade::demo::site::Changes;
use host::http::Client;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;
use testbed_auditor::Money;
use testbed_loadgen::bank::Bank;
use testbed_loadgen::replay::{Options, Replay, Report};
use wire::control::Summary;

/// What came of a replay.
#[derive(Debug)]
pub struct Outcome {
    /// The setting of the dial.
    pub percent: String,
    /// Rows of the file.
    pub rows: usize,
    /// Rows that the auditor refuses on its own.
    pub refused_by_auditor: Vec<String>,
    /// What the clients saw.
    pub report: Report,
    /// What the comparator saw.
    pub summary: Summary,
    /// Accounts whose balances are equal in both systems and at the auditor.
    pub accounts: usize,
    /// Moments of the year at which a balance was the auditor's; asked at 100 % only.
    pub moments: usize,
}

/// Replays the file at `percent` on fresh data, with `crossfade up`.
///
/// # Errors
/// When a part does not start or answer, or balances differ.
pub async fn run(binary: &Path, file: &Path, percent: &str) -> anyhow::Result<Outcome> {
    let bank = Bank::read(file)?;
    let expected = bank.audit();
    let mut system = System::start(binary, Layout::One, &Changes::default()).await?;
    system.dial("shadow", false).await?;
    if percent != "0" {
        system.dial(percent, false).await?;
    }
    let replay = Replay::new(Options { base_url: system.site.front(), ..Options::default() });
    let report = replay.run(&bank, &host::task::Shutdown::new()).await;
    let (summary, _) = system.until_judged(Duration::from_secs(400)).await?;
    let balances = checks::equal_balances(&system).await?;
    ensure!(balances == expected.balances, "the systems agree with each other, but not with the auditor");
    let moments = if percent == "100" { at_random_moments(&system, &bank).await? } else { 0 };
    system.stop().await?;
    Ok(Outcome {
        moments,
        percent: percent.to_owned(),
        rows: bank.entries().len(),
        refused_by_auditor: expected.refused,
        accounts: balances.len(),
        report,
        summary,
    })
}

/// Moments that are asked about.
const MOMENTS: usize = 1_000;

/// The engine's balance of an account at a random moment of the year is what the auditor adds up to that moment: after a random
/// row of the file.
async fn at_random_moments(system: &System, bank: &Bank) -> anyhow::Result<usize> {
    let rows = testbed_loadgen::system::System::new(system.site.engine()).transactions().await?;
    let times: HashMap<&str, &str> =
        rows.iter().filter_map(|row| Some((row["trackingId"].as_str()?, row["completedAt"].as_str()?))).collect();
    let standings = bank.standings();
    let lanes = bank.lanes();
    let seed = host::random::u64();
    println!("the moments' seed is {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let client = Client::new(Duration::from_secs(5), 1 << 20);
    for _ in 0..MOMENTS {
        let entry = random.choice(bank.entries()).context("the file is empty")?;
        let at = times.get(entry.transaction.as_str()).context("a row is not in the list")?;
        // The last row of the account at this very moment counts.
        let lane = &lanes[entry.account.as_str()];
        let last = lane.iter().rev().find(|other| times.get(other.transaction.as_str()) == Some(at)).unwrap_or(&entry);
        let url = format!("{}/accounts/{}/balance?at={at}", system.site.engine(), entry.account);
        let answer: serde_json::Value = client.get(&url, None, Duration::from_secs(10)).await?.json()?;
        let balance = answer["balance"].as_str().and_then(Money::level);
        let expected = standings[last.index];
        ensure!(balance == Some(expected), "{} at {at}: {answer}, and the auditor says {expected}", entry.account);
    }
    Ok(MOMENTS)
}

impl Outcome {
    fn match_rate(&self) -> Option<f64> {
        self.summary.rates.iter().find(|rate| rate.route == "total" && rate.window == "all").map(|rate| rate.adjusted)
    }

    /// Fails unless everything is as it has to be.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { report, summary, .. } = self;
        ensure!(report.unanswered == 0, "{} rows were not answered", report.unanswered);
        ensure!(report.differences.is_empty(), "not as predicted: {:?}", report.differences.iter().take(5));
        ensure!(self.refused_by_auditor.len() == 14, "the auditor refuses {}", self.refused_by_auditor.len());
        ensure!(report.refused == self.refused_by_auditor, "refused {:?}", report.refused);
        let expected = (self.rows + self.accounts) as u64 + report.resent;
        ensure!(summary.exchanges == expected, "{} exchanges captured of {expected}", summary.exchanges);
        let rate = self.match_rate().context("there is no match rate")?;
        ensure!((rate - 1.0).abs() < f64::EPSILON, "the adjusted match rate is {rate}: {:?}", summary.verdicts);
        ensure!(summary.discrepancies_open == 0 && summary.gaps == 0, "{summary:?}");
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "bank 1993 at {} %: {} rows in {:.1} s, {} refused (auditor: {}), {} exchanges captured, adjusted match rate {:?}, {} balances equal in legacy, engine and auditor, {} balances at random moments, p99 {:.1} ms",
            self.percent,
            self.rows,
            self.report.elapsed_millis as f64 / 1000.0,
            self.report.refused.len(),
            self.refused_by_auditor.len(),
            self.summary.exchanges,
            self.match_rate(),
            self.accounts,
            self.moments,
            self.report.latency.p99_micros as f64 / 1000.0,
        )
    }
}
