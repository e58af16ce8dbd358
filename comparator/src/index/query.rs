//! What the index is asked for: pages, counts, rates, and what gates and reconciliations look at.

use super::Index;
use super::account::Kind;
use super::exchange::Exchange;
use super::fold::fingerprint;
use crate::judge::plus;
use std::collections::{BTreeMap, BTreeSet};
use wire::billing::TransactionResult;
use wire::control::{
    CrossCohort, Discrepancy, DiscrepancyPage, Effective, ExchangePage, ExchangeView, FrontOverride, Gap, MatchRate,
    MoneyAtVariance, RolloutChange, RolloutView, Settlement, Summary, VerdictCount,
};
use wire::decision::{Offset, Reconciliation};
use wire::ids::ExchangeNumber;
use wire::rollout::{FrontBoot, Rollout};
use wire::scalar::{Digest, Money, Timestamp};
use wire::words::{Cause, Stage, System, VerdictKind};

/// Exchanges on one page at most.
pub const MAX_PAGE: usize = 1_000;

/// Which exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExchangeFilter {
    /// Only those with this verdict.
    pub verdict: Option<VerdictKind>,
    /// Only those that name this account.
    pub account: Option<String>,
    /// Only those with this idempotency key.
    pub key: Option<String>,
    /// Only those whose intent the front wrote at or after this time.
    pub since: Option<Timestamp>,
    /// Only those before the one where the last page ended (`ExchangePage::next`).
    pub before: Option<u64>,
    /// At most so many; 0 and anything above [`MAX_PAGE`] is [`MAX_PAGE`].
    pub limit: usize,
}

/// Which discrepancies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscrepancyFilter {
    /// Only open ones, or only settled ones.
    pub open: Option<bool>,
    /// Only those with this cause.
    pub cause: Option<Cause>,
    /// Only those with an offset on this account.
    pub account: Option<String>,
}

/// Exchanges by what metrics tell apart; those with a verdict other than `open`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeCount {
    /// The route.
    pub route: String,
    /// The stage at the intent.
    pub stage: Stage,
    /// The system whose answer the client had.
    pub authority: System,
    /// The verdict.
    pub verdict: VerdictKind,
    /// How many.
    pub exchanges: u64,
}

/// Plain counts since the first record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Exchanges recorded.
    pub exchanges: u64,
    /// Not judged yet.
    pub open: u64,
    /// Refusals while a credit from the other cohort was on its way.
    pub cross_cohort_refusals: u64,
    /// Exchanges between accounts of different cohorts.
    pub cross_cohort: u64,
    /// Exchanges served before a handover was finished.
    pub overtaken: u64,
    /// Level comparisons put off to the account's next quiet point.
    pub levels_deferred: u64,
    /// Legs that fitted when they were offered again.
    pub reoffered_order: u64,
    /// Legs that had to be forced.
    pub reoffered_forced: u64,
    /// Exchanges without a record, records missing in holes, unreadable records and unclean boots, settled or not.
    pub gaps: u64,
    /// Levels of shared accounts that differ and are not compared (`shared-account`).
    pub shared_levels: u64,
}

/// What gates look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateInputs {
    /// Exchanges whose authority's effect is unknown.
    pub unknown_authority: u64,
    /// Exchanges whose shadow's effect is unknown.
    pub unknown_shadow: u64,
    /// Exchanges with an unknown leg, by system: legacy, engine.
    pub unknown_by_system: [u64; 2],
    /// Gaps that nobody has settled.
    pub gaps: Vec<Gap>,
    /// When the log took the oldest result whose shadow leg has not ended; `None` when all have. Those recorded in
    /// stage capture stand in `oldest_captured`.
    pub oldest_undelivered: Option<Timestamp>,
    /// The same for exchanges recorded in stage capture, whose legs are held on purpose until the dial leaves it.
    pub oldest_captured: Option<Timestamp>,
    /// Fronts whose newest boot has not ended, as the log has it.
    pub serving: Vec<FrontBoot>,
    /// Discrepancies nobody has settled.
    pub discrepancies_open: u64,
}

/// What is known of an account between two marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountState {
    /// Whether balances read between the marks can be compared: no exchange on the account was open at the first
    /// mark, none began before the second, and none of them waits to be judged.
    pub comparable: bool,
    /// Whether it is a USER account, where an exchange has shown its type.
    pub is_user: Option<bool>,
    /// Legacy less engine per currency, as discrepancies explain it, of exchanges that began before the second mark.
    pub explained: Vec<Offset>,
    /// The discrepancies that explain it.
    pub roots: Vec<String>,
}

/// A discrepancy or a gap that somebody settled or opened again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Its id.
    pub discrepancy: String,
    /// Whether it was settled; else opened again.
    pub settled: bool,
    /// By whom, why, when.
    pub by: Settlement,
}

impl Index {
    /// Everything on one page. `caught_up`, `fronts`, and the rollout's `gates` and `next_steps` are left empty: the
    /// shell knows them.
    pub fn summary(&self, now: Timestamp) -> Summary {
        let counters = self.counters();
        Summary {
            ledger: self.ledger.clone(),
            caught_up: false,
            exchanges: counters.exchanges,
            open: counters.open,
            verdicts: self.verdict_counts(),
            rates: self.rates(now),
            discrepancies_open: self.roots.open(),
            unknown: self.unknown.iter().map(|set| set.len() as u64).sum(),
            gaps: self.fronts.open_gaps().iter().map(|gap| gap.exchanges).sum(),
            overtaken: counters.overtaken,
            cross_cohort: counters.cross_cohort,
            levels_deferred: counters.levels_deferred,
            money_at_variance: self.discrepancy_totals(),
            rollout: RolloutView {
                effective: self.effective(),
                cross_cohort: self.cross_cohort(),
                ..RolloutView::of(&self.rollout)
            },
            fronts: Vec::new(),
            last_reconciliation: self.reconciliations.back().cloned(),
        }
    }

    /// A page of exchanges, newest first; without legs.
    pub fn exchanges(&self, filter: &ExchangeFilter) -> ExchangePage {
        let limit = if filter.limit == 0 { MAX_PAGE } else { filter.limit.min(MAX_PAGE) };
        let end = filter.before.unwrap_or(u64::MAX);
        let wanted = |exchange: &Exchange| {
            filter.verdict.is_none_or(|verdict| exchange.verdict.verdict == verdict)
                && filter.account.as_ref().is_none_or(|account| exchange.accounts.contains(account))
                && filter.key.as_ref().is_none_or(|key| exchange.key.as_ref() == Some(key))
                && filter.since.is_none_or(|since| exchange.intent_at >= since)
        };
        let mut found = self.exchanges.range(..end).rev().filter(|(_, exchange)| !exchange.cut && wanted(exchange));
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let next = found.next().and(page.last()).map(|(id, _)| id.to_string());
        ExchangePage { exchanges: page.into_iter().map(|(_, exchange)| exchange.view(false)).collect(), next }
    }

    /// One exchange with its legs, unless it was judged long ago and left no discrepancy.
    pub fn exchange(&self, number: &ExchangeNumber) -> Option<ExchangeView> {
        let exchange = self.exchanges.get(self.numbers.get(number)?)?;
        Some(exchange.view(true))
    }

    /// Discrepancies, oldest first.
    pub fn discrepancies(&self, filter: &DiscrepancyFilter) -> DiscrepancyPage {
        let wanted = |discrepancy: &Discrepancy| {
            filter.open.is_none_or(|open| discrepancy.settled.is_none() == open)
                && filter.cause.is_none_or(|cause| discrepancy.cause == cause)
                && filter
                    .account
                    .as_ref()
                    .is_none_or(|account| discrepancy.offsets.iter().any(|offset| offset.account == *account))
        };
        let all = self.roots.views();
        // Gaps have neither cause nor account.
        let with_gaps = filter.open != Some(false) && filter.cause.is_none() && filter.account.is_none();
        DiscrepancyPage {
            discrepancies: all.into_iter().filter(wanted).collect(),
            gaps: if with_gaps { self.fronts.open_gaps() } else { Vec::new() },
            unknowns: if with_gaps { self.unknowns() } else { Vec::new() },
        }
    }

    /// One discrepancy.
    pub fn discrepancy(&self, id: &str) -> Option<Discrepancy> {
        self.roots.view(id)
    }

    /// Match rates by route and window, `total` first.
    pub fn rates(&self, now: Timestamp) -> Vec<MatchRate> {
        self.tally.rates(now, self.step.first())
    }

    /// Exchanges by verdict and its detail.
    pub fn verdict_counts(&self) -> Vec<VerdictCount> {
        self.tally.verdicts()
    }

    /// Exchanges by what metrics tell apart. A count falls when an exchange is judged again.
    pub fn exchange_counts(&self) -> Vec<ExchangeCount> {
        let counts = self.tally.labels().map(|((route, stage, authority, verdict), exchanges)| ExchangeCount {
            route: route.to_string(),
            stage: *stage,
            authority: *authority,
            verdict: *verdict,
            exchanges,
        });
        counts.collect()
    }

    /// Open discrepancies by cause.
    pub fn discrepancies_by_cause(&self) -> BTreeMap<Cause, u64> {
        self.roots.open_by_cause()
    }

    /// Plain counts.
    pub fn counters(&self) -> Counters {
        let open = self.tally.of(VerdictKind::Open);
        Counters { open, gaps: self.fronts.missing, ..self.counters.clone() }
    }

    /// What gates look at.
    pub fn gates_inputs(&self) -> GateInputs {
        let mut unknown_by_system = [0; 2];
        for (set, of_authority) in self.unknown.iter().zip([true, false]) {
            for exchange in set.iter().filter_map(|id| self.exchanges.get(id)) {
                let system = if of_authority { exchange.authority } else { exchange.authority.other() };
                unknown_by_system[system as usize] += 1;
            }
        }
        let [oldest_undelivered, oldest_captured] =
            self.undelivered.each_ref().map(|set| set.first().map(|(log, _)| Timestamp(*log)));
        GateInputs {
            unknown_authority: self.unknown[0].len() as u64,
            unknown_shadow: self.unknown[1].len() as u64,
            unknown_by_system,
            gaps: self.fronts.open_gaps(),
            oldest_undelivered,
            oldest_captured,
            serving: self.fronts.serving(),
            discrepancies_open: self.roots.open(),
        }
    }

    /// How many discrepancies nobody has settled.
    pub fn discrepancies_open(&self) -> u64 {
        self.roots.open()
    }

    /// Whether an open gap or a settled one has this id (`gap:…`).
    pub fn gap_of(&self, id: &str) -> Option<Gap> {
        self.fronts.gap_view(id)
    }

    /// The rollout as the log has it.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// Every accepted record of the rollout, oldest first.
    pub fn rollout_history(&self) -> &[RolloutChange] {
        &self.rollout_history
    }

    /// Every change of an override at a front's own listener, oldest first.
    pub fn overrides(&self) -> &[RolloutChange] {
        &self.overrides
    }

    /// What was decided since the dial last moved, and how much of it by the engine.
    pub fn effective(&self) -> Effective {
        self.step.effective()
    }

    /// How much of that went between accounts of different cohorts.
    pub fn cross_cohort(&self) -> CrossCohort {
        self.step.cross_cohort()
    }

    /// The rollout version that the last exchange of a front's boot went by.
    pub fn front_version(&self, front: &FrontBoot) -> Option<u64> {
        self.fronts.version(front)
    }

    /// The override by which a front goes, as far as its records say.
    pub fn overridden(&self, front: &FrontBoot) -> Option<FrontOverride> {
        self.fronts.overridden(front).cloned()
    }

    /// The digest that the next decision has to name as its parent.
    pub fn decisions_head(&self) -> Digest {
        self.decisions.digest()
    }

    /// The offset of the next record of a topic.
    pub fn position(&self, topic: &str) -> u64 {
        self.positions.get(topic).copied().unwrap_or(0)
    }

    /// Fronts that have written a mark with this id, as far as the log has been folded.
    pub fn mark_seen(&self, id: &str) -> BTreeSet<String> {
        self.fronts.marked(id)
    }

    /// What is known of an account, for balances that were read after every front had written the mark `first` and
    /// before any front was asked for the mark `second`. Both have to have been seen from the same fronts.
    ///
    /// An account that goes on being used after the second mark may be called not comparable although it was: the
    /// index does not keep when every exchange was judged.
    pub fn account_state(&self, account: &str, first: &str, second: &str) -> AccountState {
        let known = self.accounts.get(account);
        let kind = known.and_then(|account| account.kind);
        AccountState {
            comparable: self.comparable(account, first, second),
            is_user: kind.map(|kind| kind == Kind::User),
            explained: self.explained(account, second),
            roots: self.roots.offsets.roots(account),
        }
    }

    fn comparable(&self, account: &str, first: &str, second: &str) -> bool {
        let (Some(began), ends) = (self.fronts.mark_log(first), self.fronts.mark_offsets(second)) else {
            return false;
        };
        if ends.is_empty() {
            return false;
        }
        let Some(account) = self.accounts.get(account) else { return true };
        let waits = |id: &u64| {
            let exchange = self.exchanges.get(id);
            exchange.is_none_or(|exchange| ends.get(&exchange.front).is_none_or(|end| id < end))
        };
        account.judged.is_none_or(|judged| judged <= began) && !account.open.iter().flatten().any(waits)
    }

    /// The offset of an account from exchanges that began before a mark.
    pub(super) fn explained(&self, account: &str, mark: &str) -> Vec<Offset> {
        let ends = self.fronts.mark_offsets(mark);
        let totals = self
            .roots
            .offsets
            .totals(account, |part| part.place.is_none_or(|(front, id)| ends.get(&front).is_none_or(|end| id < *end)));
        let offset = |(currency, amount)| Offset { account: account.to_owned(), currency, amount };
        totals.into_iter().map(offset).collect()
    }

    /// Whether an exchange with the key and an account of this row has been recorded.
    pub fn is_known_key(&self, row: &TransactionResult) -> bool {
        let accounts = [&row.source.account_id, &row.destination.account_id];
        accounts.into_iter().any(|account| self.known.contains(&fingerprint(&[&row.tracking_id, account])))
    }

    /// Money at variance: the absolute offsets of USER accounts that open discrepancies explain, per currency.
    pub fn discrepancy_totals(&self) -> Vec<MoneyAtVariance> {
        let mut totals: BTreeMap<String, Money> = BTreeMap::new();
        for name in self.roots.offsets.accounts() {
            if self.accounts.get(name).and_then(|account| account.kind) != Some(Kind::User) {
                continue;
            }
            for (currency, amount) in self.roots.offsets.totals(name, |part| self.roots.is_open(&part.root)) {
                let total = totals.entry(currency).or_default();
                *total = plus(*total, Money(amount.0.abs()));
            }
        }
        totals.into_iter().map(|(currency, amount)| MoneyAtVariance { currency, amount }).collect()
    }

    /// Reconciliations, newest first.
    pub fn reconciliations(&self) -> Vec<Reconciliation> {
        self.reconciliations.iter().rev().cloned().collect()
    }

    /// What was settled and opened again, oldest first.
    pub fn settlements(&self) -> &[Settled] {
        &self.settlements
    }
}
