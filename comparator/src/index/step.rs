//! What was decided since the dial last moved: how much of it by the engine, how much between the cohorts.

use super::Index;
use crate::judge::normalize::{Answer, Leg};
use crate::judge::plus;
use std::collections::BTreeMap;
use wire::control::{CrossCohort, CrossCohortMoney, Effective, EffectiveMoney};
use wire::scalar::{Money, Percent, Timestamp};
use wire::words::{Class, System};

/// The step: the versions of the rollout since the setting last changed.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// The first one.
    first: u64,
    since: Timestamp,
    /// By version: a front may go by one whose record is not folded yet.
    versions: BTreeMap<u64, Decided>,
}

/// An exchange whose authority has said what it did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange<'a> {
    pub(super) version: u64,
    /// When its front began it, by that front's clock.
    pub(super) at: Timestamp,
    pub(super) authority: System,
    pub(super) cross_cohort: bool,
    pub(super) overtaken: bool,
    /// Currency and amount, if money was moved.
    pub(super) moved: Option<(&'a str, Money)>,
}

/// What was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Decided {
    exchanges: u64,
    engine: u64,
    cross_cohort: u64,
    overtaken: u64,
    money: BTreeMap<String, Moved>,
}

/// Money in one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Moved {
    total: Money,
    engine: Money,
    cross_cohort: Money,
}

impl Step {
    /// The dial stands elsewhere since this version.
    pub(super) fn begin(&mut self, version: u64, at: Timestamp) {
        (self.first, self.since) = (version, at);
        self.versions = self.versions.split_off(&version);
    }

    /// The first version of the step.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Counts an exchange, if it was begun in this step: also one that an earlier version decided, by a front that has not
    /// heard of this one.
    pub(super) fn count(&mut self, exchange: Exchange<'_>) {
        if exchange.version < self.first && exchange.at < self.since {
            return;
        }
        let decided = self.versions.entry(exchange.version.max(self.first)).or_default();
        let by_engine = exchange.authority == System::Engine;
        decided.exchanges += 1;
        decided.engine += u64::from(by_engine);
        decided.cross_cohort += u64::from(exchange.cross_cohort);
        decided.overtaken += u64::from(exchange.overtaken);
        let Some((currency, amount)) = exchange.moved else { return };
        let moved = decided.money.entry(currency.to_owned()).or_default();
        moved.add(Moved {
            total: amount,
            engine: if by_engine { amount } else { Money::ZERO },
            cross_cohort: if exchange.cross_cohort { amount } else { Money::ZERO },
        });
    }

    fn sum(&self) -> Decided {
        let mut sum = Decided::default();
        for decided in self.versions.values() {
            sum.exchanges += decided.exchanges;
            sum.engine += decided.engine;
            sum.cross_cohort += decided.cross_cohort;
            sum.overtaken += decided.overtaken;
            for (currency, moved) in &decided.money {
                sum.money.entry(currency.clone()).or_default().add(*moved);
            }
        }
        sum
    }

    /// How much of it the engine decided.
    pub(super) fn effective(&self) -> Effective {
        let sum = self.sum();
        let money = sum.money.into_iter().map(|(currency, moved)| EffectiveMoney {
            currency,
            total: moved.total,
            engine: moved.engine,
            engine_percent: moved.engine.share_of(moved.total),
        });
        Effective {
            since: self.since,
            exchanges: sum.exchanges,
            engine: sum.engine,
            engine_percent: Percent::share(sum.engine, sum.exchanges),
            money: money.collect(),
        }
    }

    /// How much of it went from cohort to cohort.
    pub(super) fn cross_cohort(&self) -> CrossCohort {
        let sum = self.sum();
        let money = sum.money.into_iter().map(|(currency, moved)| CrossCohortMoney {
            currency,
            amount: moved.cross_cohort,
            percent: moved.cross_cohort.share_of(moved.total),
        });
        CrossCohort {
            exchanges: sum.cross_cohort,
            percent: Percent::share(sum.cross_cohort, sum.exchanges),
            money: money.filter(|money| !money.amount.is_zero()).collect(),
            overtaken: sum.overtaken,
        }
    }
}

impl Index {
    /// Counts what the authority did; what it repeats it has done before.
    pub(super) fn count_for_the_step(&mut self, id: u64, result: &super::exchange::Result) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        if result.replayed || !matches!(result.class, Class::Applied | Class::Refused) {
            return;
        }
        let moved = match &result.leg {
            Some(Ok(Leg { answer: Some(Answer::Transaction(transaction)), .. })) => {
                Some((transaction.currency.as_str(), transaction.amount))
            }
            _ => None,
        };
        self.step.count(Exchange {
            version: exchange.version,
            at: exchange.intent_at,
            authority: exchange.authority,
            cross_cohort: exchange.cross_cohort,
            overtaken: exchange.overtaken,
            moved,
        });
    }
}

impl Moved {
    fn add(&mut self, other: Self) {
        self.total = plus(self.total, other.total);
        self.engine = plus(self.engine, other.engine);
        self.cross_cohort = plus(self.cross_cohort, other.cross_cohort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use System::{Engine, Legacy};

    /// Version, authority, whether between cohorts, whether overtaken, currency and amount.
    type Row<'a> = (u64, System, bool, bool, Option<(&'a str, &'a str)>);

    fn counted(step: &mut Step, rows: &[Row<'_>]) {
        for (version, authority, cross_cohort, overtaken, moved) in rows {
            let moved = moved.map(|(currency, amount)| (currency, amount.parse().unwrap()));
            let (version, authority, at) = (*version, *authority, Timestamp(5));
            step.count(Exchange { version, at, authority, cross_cohort: *cross_cohort, overtaken: *overtaken, moved });
        }
    }

    fn texts(step: &Step) -> (Vec<String>, Vec<String>) {
        let effective = step.effective().money.into_iter();
        let effective =
            effective.map(|one| format!("{} {} of {} = {} %", one.currency, one.engine, one.total, one.engine_percent));
        let cross = step.cross_cohort().money.into_iter();
        let cross = cross.map(|one| format!("{} {} = {} %", one.currency, one.amount, one.percent));
        (effective.collect(), cross.collect())
    }

    #[test]
    fn what_was_decided_is_counted_by_who_and_between_whom() {
        let mut step = Step::default();
        counted(
            &mut step,
            &[
                (1, Engine, false, false, Some(("EUR", "10"))),
                (1, Legacy, true, false, Some(("EUR", "20.50"))),
                (2, Engine, true, true, Some(("USD", "0.00000001"))),
                // Refused, or about an account.
                (2, Legacy, false, false, None),
            ],
        );
        let (effective, cross) = (step.effective(), step.cross_cohort());
        assert_eq!((effective.exchanges, effective.engine, effective.engine_percent), (4, 2, Percent::whole(50)));
        assert_eq!((cross.exchanges, cross.percent, cross.overtaken), (2, Percent::whole(50), 1));
        let (effective, cross) = texts(&step);
        assert_eq!(effective, ["EUR 10 of 30.5 = 32.78 %", "USD 0.00000001 of 0.00000001 = 100 %"]);
        assert_eq!(cross, ["EUR 20.5 = 67.21 %", "USD 0.00000001 = 100 %"]);
    }

    #[test]
    fn a_step_begins_anew_when_the_dial_moves_and_counts_what_came_before_its_record() {
        let mut step = Step::default();
        // A front went by version 3 before the comparator had folded it.
        let rows = [(2, Legacy, false, false, Some(("EUR", "1"))), (3, Engine, false, false, Some(("EUR", "2")))];
        counted(&mut step, &rows);
        step.begin(3, Timestamp(7));
        assert_eq!((step.effective().exchanges, step.effective().since, step.first()), (1, Timestamp(7), 3));
        // Late for its step, and a version of a pin, which moves the dial nowhere.
        let rows = [(2, Legacy, false, false, Some(("EUR", "1"))), (4, Legacy, false, false, Some(("EUR", "6")))];
        counted(&mut step, &rows);
        assert_eq!(texts(&step).0, ["EUR 2 of 8 = 25 %"]);
        step.begin(5, Timestamp(9));
        assert_eq!(step.effective(), Effective { since: Timestamp(9), ..Effective::default() });
    }

    #[test]
    fn a_front_that_has_not_heard_of_the_step_decides_in_it() {
        let mut step = Step::default();
        step.begin(3, Timestamp(7));
        let of_version_2 = |at| Exchange {
            version: 2,
            at: Timestamp(at),
            authority: Engine,
            cross_cohort: false,
            overtaken: false,
            moved: None,
        };
        step.count(of_version_2(6));
        assert_eq!(step.effective().exchanges, 0, "it was begun before");
        step.count(of_version_2(7));
        assert_eq!((step.effective().exchanges, step.effective().engine), (1, 1));
    }
}
