//! Names and meanings of the metrics (CONTRACT). Labels come from closed sets, never from accounts or keys.
//!
//! What fronts and relay count themselves (gaps, cross-cohort and overtaken exchanges, unknown legs) is not counted
//! here again: in one process both would write the same metric.

use crate::index::DiscrepancyFilter;
use crate::service::Parts;
use host::task::Shutdown;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use rust_decimal::prelude::ToPrimitive;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use wire::decision::Reconciliation;
use wire::scalar::Timestamp;
use wire::words::{Cause, Stage};

/// Exchanges with a verdict, by `route, stage, authority, verdict`. A counter never falls: an exchange that is judged
/// again counts under both verdicts.
pub const EXCHANGES: &str = "crossfade_exchanges_total";
/// Matches per exchange that counts, by `route, window, kind` (`raw`, `adjusted`).
pub const MATCH_RATIO: &str = "crossfade_match_ratio";
/// The share of buckets that the engine answers, in percent.
pub const ROLLOUT_PERCENT: &str = "crossfade_rollout_percent";
/// 1 for the stage in force, 0 for the others, by `stage`.
pub const ROLLOUT_STAGE: &str = "crossfade_rollout_stage";
/// Discrepancies that nobody has settled, by `cause`.
pub const DISCREPANCIES_OPEN: &str = "crossfade_discrepancies_open";
/// Sum of the absolute offsets of USER accounts that open discrepancies explain, by `currency`.
pub const MONEY_AT_VARIANCE: &str = "crossfade_money_at_variance";
/// Accounts that reconciliations looked at, by `result` (`equal, different, only-legacy, only-engine,
/// not-comparable`).
pub const RECONCILED_ACCOUNTS: &str = "crossfade_reconciled_accounts_total";
/// 1 while a gate is open, by `gate`.
pub const GATE_OK: &str = "crossfade_gate_ok";

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_counter!(EXCHANGES, "Exchanges with a verdict");
    describe_gauge!(MATCH_RATIO, "Matches per exchange that counts; 1 when there is none yet");
    describe_gauge!(ROLLOUT_PERCENT, "The share of buckets that the engine answers, in percent");
    describe_gauge!(ROLLOUT_STAGE, "1 for the stage in force, 0 for the others");
    describe_gauge!(DISCREPANCIES_OPEN, "Discrepancies that nobody has settled");
    describe_gauge!(MONEY_AT_VARIANCE, "Absolute offsets of USER accounts that open discrepancies explain");
    describe_counter!(RECONCILED_ACCOUNTS, "Accounts that reconciliations looked at");
    describe_gauge!(GATE_OK, "1 while the gate is open");
}

/// Adds the accounts that a reconciliation looked at.
pub fn count_reconciled(result: &Reconciliation) {
    let counts = [
        ("equal", result.equal),
        ("different", result.different),
        ("only-legacy", result.only_legacy),
        ("only-engine", result.only_engine),
        ("not-comparable", result.not_comparable),
    ];
    for (name, accounts) in counts {
        counter!(RECONCILED_ACCOUNTS, "result" => name).increment(accounts);
    }
}

/// How often the metrics are taken from the index.
const EVERY: Duration = Duration::from_secs(1);

/// Takes the metrics from the index and the dial, again and again.
pub struct Exporter {
    parts: Arc<Parts>,
    /// Currencies that have been shown: a sum that becomes nothing is shown as nothing.
    currencies: BTreeSet<String>,
}

impl Exporter {
    /// The metrics of these parts.
    pub fn new(parts: Arc<Parts>) -> Self {
        Self { parts, currencies: BTreeSet::new() }
    }

    /// Until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        describe();
        let mut ticks = host::clock::interval(EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.stopped() => return,
            }
            self.export_dial();
            self.export_verdicts();
            self.export_discrepancies();
        }
    }

    fn export_dial(&self) {
        let state = self.parts.dial.chain().state();
        let setting = state.rollout.setting;
        gauge!(ROLLOUT_PERCENT).set(f64::from(setting.percent.hundredths()) / 100.0);
        for stage in Stage::ALL {
            gauge!(ROLLOUT_STAGE, "stage" => stage.as_str()).set(if *stage == setting.stage { 1.0 } else { 0.0 });
        }
        for reading in self.parts.dial.gates(&state, None) {
            gauge!(GATE_OK, "gate" => reading.gate).set(if reading.open { 1.0 } else { 0.0 });
        }
    }

    fn export_verdicts(&self) {
        let now = Timestamp(host::clock::unix_micros());
        let (counts, rates) = self.parts.ingest.look(|index| (index.exchange_counts(), index.rates(now)));
        for count in counts {
            let labels = [
                ("route", count.route),
                ("stage", count.stage.to_string()),
                ("authority", count.authority.to_string()),
                ("verdict", count.verdict.to_string()),
            ];
            counter!(EXCHANGES, &labels).absolute(count.exchanges);
        }
        for rate in rates {
            for (kind, value) in [("raw", rate.raw), ("adjusted", rate.adjusted)] {
                let labels =
                    [("route", rate.route.clone()), ("window", rate.window.clone()), ("kind", kind.to_owned())];
                gauge!(MATCH_RATIO, &labels).set(value);
            }
        }
    }

    fn export_discrepancies(&mut self) {
        let open = DiscrepancyFilter { open: Some(true), ..DiscrepancyFilter::default() };
        let (open, variance) =
            self.parts.ingest.look(|index| (index.discrepancies(&open).discrepancies, index.discrepancy_totals()));
        for cause in Cause::ALL {
            let count = open.iter().filter(|discrepancy| discrepancy.cause == *cause).count() as u64;
            gauge!(DISCREPANCIES_OPEN, "cause" => cause.as_str()).set(figure(count));
        }
        self.currencies.extend(variance.iter().map(|variance| variance.currency.clone()));
        for currency in &self.currencies {
            let amount = variance.iter().find(|variance| variance.currency == *currency);
            let amount = amount.and_then(|variance| variance.amount.0.to_f64()).unwrap_or(0.0);
            gauge!(MONEY_AT_VARIANCE, "currency" => currency.clone()).set(amount);
        }
    }
}

/// A count as a gauge takes it; exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn figure(count: u64) -> f64 {
    count as f64
}
