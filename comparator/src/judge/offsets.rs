//! Offsets: legacy less engine, per account, as discrepancies explain it.
//!
//! Every root discrepancy adds to the offsets of the accounts it touched; what it carries along adds to them too,
//! also on other accounts. Settling a discrepancy says that somebody accepts it; the systems still differ, so its
//! offsets go on explaining differences until a repair takes them away.

use super::plus;
use std::collections::{BTreeMap, BTreeSet};
use wire::scalar::Money;

/// Where an exchange stands in the log: its front, and the offset of its intent.
pub type Place = (u32, u64);

/// One part of the offset of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The discrepancy.
    pub root: String,
    /// The currency.
    pub currency: String,
    /// Legacy less engine.
    pub amount: Money,
    /// The exchange that moved it; `None` when no exchange is known.
    pub place: Option<Place>,
}

/// What is explained, per account.
#[derive(Debug, Clone, Default)]
pub struct Offsets {
    parts: BTreeMap<String, Vec<Part>>,
}

impl Offsets {
    /// Adds to the offset of an account.
    pub fn add(&mut self, account: &str, part: Part) {
        if !part.amount.is_zero() {
            self.parts.entry(account.to_owned()).or_default().push(part);
        }
    }

    /// The offset of an account.
    pub fn total(&self, account: &str, currency: &str) -> Money {
        sum(self.of(account).iter().filter(|part| part.currency == currency))
    }

    /// The offset of an account per currency, counting only parts that `counts`; what comes to nothing is left out.
    pub fn totals(&self, account: &str, counts: impl Fn(&Part) -> bool) -> Vec<(String, Money)> {
        let parts = || self.of(account).iter().filter(|part| counts(part));
        let currencies: BTreeSet<&str> = parts().map(|part| part.currency.as_str()).collect();
        let totals = currencies
            .into_iter()
            .map(|currency| (currency.to_owned(), sum(parts().filter(|part| part.currency == currency))));
        totals.filter(|(_, amount)| !amount.is_zero()).collect()
    }

    /// The discrepancies that have an offset on an account, the oldest first.
    pub fn roots(&self, account: &str) -> Vec<String> {
        let mut roots: Vec<(&str, &str, Money)> = Vec::new();
        for part in self.of(account) {
            match roots.iter_mut().find(|(root, currency, _)| *root == part.root && *currency == part.currency) {
                Some((_, _, amount)) => *amount = plus(*amount, part.amount),
                None => roots.push((&part.root, &part.currency, part.amount)),
            }
        }
        let mut names: Vec<String> = Vec::new();
        for (root, _, amount) in roots {
            if !amount.is_zero() && !names.iter().any(|name| name == root) {
                names.push(root.to_owned());
            }
        }
        names
    }

    /// All parts of an account.
    pub fn of(&self, account: &str) -> &[Part] {
        self.parts.get(account).map_or(&[], Vec::as_slice)
    }

    /// All accounts that ever had an offset, in order.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }
}

fn sum<'a>(parts: impl Iterator<Item = &'a Part>) -> Money {
    parts.fold(Money::ZERO, |sum, part| plus(sum, part.amount))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(root: &str, amount: &str) -> Part {
        Part { root: root.into(), currency: "EUR".into(), amount: amount.parse().unwrap(), place: None }
    }

    #[test]
    fn offsets_add_up_exactly_and_name_their_roots() {
        let mut offsets = Offsets::default();
        for added in [part("r1", "0.1"), part("r1", "0.2"), part("r2", "-5"), part("r2", "5"), part("r3", "0")] {
            offsets.add("a", added);
        }
        assert_eq!(offsets.total("a", "EUR").to_string(), "0.3");
        assert_eq!(offsets.total("a", "USD"), Money::ZERO);
        assert_eq!(offsets.total("b", "EUR"), Money::ZERO);
        assert_eq!(offsets.roots("a"), ["r1"], "r2 comes to nothing, r3 never was anything");
        assert_eq!(offsets.totals("a", |part| part.root == "r2"), []);
    }

    #[test]
    fn roots_that_outweigh_each_other_are_still_named() {
        let mut offsets = Offsets::default();
        offsets.add("a", part("r1", "1"));
        offsets.add("a", part("r2", "-1"));
        assert_eq!(offsets.total("a", "EUR"), Money::ZERO);
        assert_eq!(offsets.roots("a"), ["r1", "r2"]);
    }
}
