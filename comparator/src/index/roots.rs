//! Root discrepancies: what somebody has to settle.

use crate::judge::offsets::{Offsets, Part, Place};
use std::collections::{BTreeMap, BTreeSet};
use wire::control::{Discrepancy, Settlement};
use wire::decision::Offset;
use wire::scalar::{Money, Timestamp};
use wire::words::{Cause, System};

/// A root.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) cause: Cause,
    pub(super) found_at: Timestamp,
    pub(super) key: Option<String>,
    pub(super) system: Option<System>,
    pub(super) detail: String,
    pub(super) carried: u64,
    pub(super) settled: Option<Settlement>,
}

/// All roots with their offsets.
#[derive(Debug, Default)]
pub(super) struct Roots {
    roots: BTreeMap<String, Root>,
    /// Ids in the order in which they came to light.
    order: Vec<String>,
    /// What they explain.
    pub(super) offsets: Offsets,
}

impl Roots {
    /// Adds a root, or says more about one that is known.
    pub(super) fn add(&mut self, id: &str, root: Root) {
        match self.roots.get_mut(id) {
            None => {
                self.order.push(id.to_owned());
                self.roots.insert(id.to_owned(), root);
            }
            Some(known) => {
                known.detail = format!("{}; {}", known.detail, root.detail);
                known.system = known.system.or(root.system);
            }
        }
    }

    /// Whether there is such a root.
    pub(super) fn has(&self, id: &str) -> bool {
        self.roots.contains_key(id)
    }

    /// Adds to the offsets of a root. Whoever settled it accepted what was known then: with more it is open again.
    pub(super) fn explain(&mut self, id: &str, account: &str, currency: &str, amount: Money, place: Option<Place>) {
        let settled = self.roots.get_mut(id).filter(|root| root.settled.is_some() && !amount.is_zero());
        if let Some(root) = settled {
            root.settled = None;
            root.detail.push_str("; more came of it after it was settled");
        }
        let part = Part { root: id.to_owned(), currency: currency.to_owned(), amount, place };
        self.offsets.add(account, part);
    }

    /// Counts an exchange among those that a root explains, or no longer.
    pub(super) fn carry(&mut self, id: &str, more: bool) {
        if let Some(root) = self.roots.get_mut(id) {
            root.carried = if more { root.carried + 1 } else { root.carried.saturating_sub(1) };
        }
    }

    /// Settles a root or opens it again; `false` when there is none.
    pub(super) fn settle(&mut self, id: &str, settlement: Option<Settlement>) -> bool {
        self.roots.get_mut(id).map(|root| root.settled = settlement).is_some()
    }

    /// Whether nobody has settled it.
    pub(super) fn is_open(&self, id: &str) -> bool {
        self.roots.get(id).is_some_and(|root| root.settled.is_none())
    }

    /// How many nobody has settled.
    pub(super) fn open(&self) -> u64 {
        self.roots.values().filter(|root| root.settled.is_none()).count() as u64
    }

    /// One root, for people.
    pub(super) fn view(&self, id: &str) -> Option<Discrepancy> {
        let mut offsets = Vec::new();
        for account in self.offsets.accounts() {
            let totals = self.offsets.totals(account, |part| part.root == id);
            offsets.extend(totals.into_iter().map(|(currency, amount)| offset(account, currency, amount)));
        }
        self.roots.get(id).map(|root| root.view(id, offsets))
    }

    /// All roots for people, the oldest first.
    pub(super) fn views(&self) -> Vec<Discrepancy> {
        let mut offsets: BTreeMap<&str, Vec<Offset>> = BTreeMap::new();
        for account in self.offsets.accounts() {
            let roots: BTreeSet<&str> = self.offsets.of(account).iter().map(|part| part.root.as_str()).collect();
            for root in roots {
                let totals = self.offsets.totals(account, |part| part.root == root);
                let totals = totals.into_iter().map(|(currency, amount)| offset(account, currency, amount));
                offsets.entry(root).or_default().extend(totals);
            }
        }
        let mut view =
            |id: &String| Some(self.roots.get(id)?.view(id, offsets.remove(id.as_str()).unwrap_or_default()));
        self.order.iter().filter_map(&mut view).collect()
    }

    /// Open roots by cause.
    pub(super) fn open_by_cause(&self) -> BTreeMap<Cause, u64> {
        let mut counts = BTreeMap::new();
        for root in self.roots.values().filter(|root| root.settled.is_none()) {
            *counts.entry(root.cause).or_default() += 1;
        }
        counts
    }
}

impl Root {
    fn view(&self, id: &str, offsets: Vec<Offset>) -> Discrepancy {
        Discrepancy {
            id: id.to_owned(),
            cause: self.cause,
            status: if self.settled.is_none() { "open" } else { "settled" }.to_owned(),
            found_at: self.found_at,
            key: self.key.clone(),
            system: self.system,
            offsets,
            carried: self.carried,
            detail: self.detail.clone(),
            settled: self.settled.clone(),
        }
    }
}

fn offset(account: &str, currency: String, amount: Money) -> Offset {
    Offset { account: account.to_owned(), currency, amount }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settled_root_that_grows_is_open_again() {
        let mut roots = Roots::default();
        let (cause, found_at) = (Cause::Amount, Timestamp(1));
        let root = Root { cause, found_at, key: None, system: None, detail: "fee".into(), carried: 0, settled: None };
        roots.add("r", root);
        let settlement = Settlement { actor: "anna".into(), reason: "known".into(), at: Timestamp(2) };
        assert!(roots.settle("r", Some(settlement)));
        roots.explain("r", "alice", "EUR", Money::ZERO, None);
        assert!(!roots.is_open("r"), "nothing came of it");
        roots.explain("r", "alice", "EUR", "0.01".parse().unwrap(), None);
        assert!(roots.is_open("r"));
    }
}
