//! What a reconciliation counts. Pure.

use std::collections::BTreeMap;
use wire::billing::Account;
use wire::decision::{BalanceDifference, Finding, Offset, Reconciliation, Variance};
use wire::scalar::{Money, Timestamp};
use wire::words::Cause;

/// Differences that are written down; all of them are counted.
const MOST_DIFFERENCES: usize = 1_000;

/// How an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Both systems have the same balance.
    Equal,
    /// They have different ones.
    Different,
    /// Only the legacy has the account.
    OnlyLegacy,
    /// Only the engine has it.
    OnlyEngine,
    /// An exchange on it was under way.
    NotComparable,
}

/// An account whose balances differ, absence counting as nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Different {
    /// The balances; `explained` leaves out what this run could not find.
    pub(super) difference: BalanceDifference,
    user: bool,
    /// Its place among all accounts.
    account: usize,
    /// What this run made a discrepancy of its own, because nothing explains it.
    left_over: Money,
}

impl Different {
    fn amount(&self) -> Money {
        let side = |balance: Option<Money>| balance.unwrap_or_default().0;
        Money(side(self.difference.legacy) - side(self.difference.engine))
    }

    /// Legacy less engine, less what discrepancies from elsewhere explain.
    pub(super) fn unexplained(&self) -> Money {
        Money(self.amount().0 - self.difference.explained.0)
    }
}

/// The accounts of a run: about 50 bytes for each, more for those that differ.
#[derive(Debug, Default)]
pub(super) struct Tally {
    accounts: Vec<(Box<str>, Kind)>,
    different: Vec<Different>,
}

impl Tally {
    /// Counts one account as both systems have it.
    pub(super) fn add(&mut self, legacy: Option<Account>, engine: Option<Account>) {
        let Some(kind) = Kind::of(legacy.as_ref(), engine.as_ref()) else { return };
        let Some(any) = legacy.as_ref().or(engine.as_ref()) else { return };
        // Of two currencies the legacy's counts, and the engine has nothing in it.
        let engine_balance =
            engine.as_ref().filter(|engine| engine.currency == any.currency).map(|engine| engine.balance);
        let different = Different {
            difference: BalanceDifference {
                account: any.account_id.clone(),
                currency: any.currency.clone(),
                legacy: legacy.as_ref().map(|legacy| legacy.balance),
                engine: engine_balance,
                explained: Money::ZERO,
            },
            user: any.account_type == "USER",
            account: self.accounts.len(),
            left_over: Money::ZERO,
        };
        self.accounts.push((any.account_id.clone().into_boxed_str(), kind));
        if kind == Kind::Different || !different.amount().is_zero() {
            self.different.push(different);
        }
    }

    /// Accounts counted so far.
    pub(super) fn seen(&self) -> usize {
        self.accounts.len()
    }

    /// No account counts.
    pub(super) fn set_aside_all(&mut self) {
        self.accounts.iter_mut().for_each(|(_, kind)| *kind = Kind::NotComparable);
        self.different.clear();
    }

    /// Asks for so many accounts at once whether they count.
    pub(super) fn for_chunks(&mut self, at_once: usize, comparable: impl Fn(&[&str]) -> Vec<bool>) {
        for chunk in self.accounts.chunks_mut(at_once) {
            let names: Vec<&str> = chunk.iter().map(|(account, _)| account.as_ref()).collect();
            let answers = comparable(&names);
            for ((_, kind), comparable) in chunk.iter_mut().zip(answers) {
                if !comparable {
                    *kind = Kind::NotComparable;
                }
            }
        }
        let accounts = &self.accounts;
        self.different.retain(|different| accounts[different.account].1 != Kind::NotComparable);
    }

    /// The places of the accounts that differ, USER accounts first, else in order of ids.
    pub(super) fn different_users_first(&self) -> Vec<usize> {
        let mut places: Vec<usize> =
            (0..self.different.len()).filter(|place| self.kind_of(*place) != Kind::NotComparable).collect();
        places.sort_by_key(|place| !self.different[*place].user);
        places
    }

    /// One of them.
    pub(super) fn different_at(&self, place: usize) -> &Different {
        &self.different[place]
    }

    fn kind_of(&self, place: usize) -> Kind {
        self.accounts[self.different[place].account].1
    }

    /// It does not count after all.
    pub(super) fn set_aside(&mut self, place: usize) {
        let account = self.different[place].account;
        self.accounts[account].1 = Kind::NotComparable;
    }

    /// What open discrepancies explain of it now.
    pub(super) fn explained_by(&mut self, place: usize, offsets: &[Offset]) {
        let different = &mut self.different[place];
        let currency = &different.difference.currency;
        let offset = offsets.iter().find(|offset| offset.currency == *currency);
        let explained = offset.map(|offset| offset.amount.0).unwrap_or_default() - different.left_over.0;
        different.difference.explained = Money(explained);
    }

    /// What an inquiry could not find: these discrepancies name a difference, they do not explain it.
    pub(super) fn left_over(&mut self, findings: &[Finding]) {
        for finding in findings {
            if !matches!(finding.cause, Cause::SourceBalance | Cause::DestinationBalance) || finding.exchange.is_some()
            {
                continue;
            }
            for offset in &finding.offsets {
                let of_this = |different: &&mut Different| {
                    different.difference.account == offset.account && different.difference.currency == offset.currency
                };
                if let Some(different) = self.different.iter_mut().find(of_this) {
                    different.left_over.0 += offset.amount.0;
                }
            }
        }
    }

    /// The result.
    pub(super) fn conclude(
        self,
        id: &str,
        started_at: Timestamp,
        ended_at: Timestamp,
        not_comparable_because: Option<String>,
    ) -> Reconciliation {
        let count = |wanted: Kind| self.accounts.iter().filter(|(_, kind)| *kind == wanted).count() as u64;
        let counted: Vec<&Different> =
            self.different.iter().filter(|one| self.accounts[one.account].1 != Kind::NotComparable).collect();
        let is_explained =
            |one: &&&Different| self.accounts[one.account].1 == Kind::Different && one.unexplained().is_zero();
        Reconciliation {
            id: id.to_owned(),
            started_at,
            ended_at,
            compared: count(Kind::Equal) + count(Kind::Different),
            equal: count(Kind::Equal),
            different: count(Kind::Different),
            explained: counted.iter().filter(is_explained).count() as u64,
            only_legacy: count(Kind::OnlyLegacy),
            only_engine: count(Kind::OnlyEngine),
            not_comparable: count(Kind::NotComparable),
            not_comparable_because,
            variance: variance(&counted),
            differences: counted.iter().take(MOST_DIFFERENCES).map(|one| one.difference.clone()).collect(),
        }
    }
}

/// Per currency, over USER accounts; an account that one system does not have is worth nothing there.
fn variance(counted: &[&Different]) -> Vec<Variance> {
    let mut sums: BTreeMap<&str, (Money, Money)> = BTreeMap::new();
    for one in counted.iter().filter(|one| one.user) {
        let (total, unexplained) = sums.entry(&one.difference.currency).or_default();
        total.0 += one.amount().0.abs();
        unexplained.0 += one.unexplained().0.abs();
    }
    let named = |(currency, (total, unexplained)): (&str, (Money, Money))| Variance {
        currency: currency.to_owned(),
        total,
        unexplained,
    };
    sums.into_iter().map(named).collect()
}
