//! Levels of accounts at the engine, as its answers have shown them: whether something is missing before an exchange.
//!
//! What one front has recorded of an account may be read before what another front has recorded of it earlier: the
//! intent, too, so that nothing here knows of it. A legacy refuses for good a debit that comes before the credit it draws
//! on. But each answer of the engine shows the level of an account before and after, and a version that grows: if the last
//! level known before an exchange is not the one that its own answer begins with, something is missing in between. Of
//! movements that come to nothing together nothing is seen; without them the level is the same, and so is what a legacy
//! decides. Nor is anything seen of a change of the account's status or limits before a movement.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use wire::scalar::Money;

/// Versions kept of an account: more than exchanges on it are under way at the same time, mostly. A forgotten one makes
/// a leg wait, not go astray.
const KEPT: usize = 16;
/// Levels kept of all accounts together, beside the newest of each.
const RECENT: usize = 65_536;

/// What an answer of the engine shows of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Level {
    /// The account.
    pub account: String,
    /// Its version afterwards.
    pub version: u64,
    /// Its level before.
    pub before: Money,
    /// Its level afterwards.
    pub after: Money,
}

/// The levels that are known.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    /// Versions with the levels they left, in order.
    known: BTreeMap<Arc<str>, VecDeque<(u64, Money)>>,
    /// The account of each level taken note of, oldest first: of one that has been quiet for long only the newest is kept.
    recent: VecDeque<Arc<str>>,
}

impl Levels {
    /// Takes note of a level.
    pub fn note(&mut self, account: Arc<str>, version: u64, after: Money) {
        let known = self.known.entry(Arc::clone(&account)).or_default();
        let place = known.partition_point(|(other, _)| *other < version);
        if known.get(place).is_some_and(|(other, _)| *other == version) {
            return;
        }
        known.insert(place, (version, after));
        if known.len() > KEPT {
            known.pop_front();
        }
        self.recent.push_back(account);
        if self.recent.len() > RECENT {
            self.forget_one();
        }
    }

    /// The level noted longest ago, unless it is the only one of its account.
    fn forget_one(&mut self) {
        let known = self.recent.pop_front().and_then(|account| self.known.get_mut(&account));
        if let Some(known) = known.filter(|known| known.len() > 1) {
            known.pop_front();
        }
    }

    /// Whether everything before an exchange with this level is known; not, if nothing is.
    pub fn follows(&self, level: &Level) -> bool {
        let Some(known) = self.known.get(level.account.as_str()) else { return false };
        let place = known.partition_point(|(version, _)| *version < level.version);
        place.checked_sub(1).is_some_and(|before| known[before].1 == level.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    fn level(version: u64, before: &str, after: &str) -> Level {
        Level { account: "a".to_owned(), version, before: money(before), after: money(after) }
    }

    /// Notes the levels of `known` (version and level after), and says whether `asked` follows.
    fn follows(known: &[(u64, &str)], asked: &Level) -> bool {
        let mut levels = Levels::default();
        for (version, after) in known {
            levels.note("a".into(), *version, money(after));
        }
        levels.follows(asked)
    }

    #[test]
    fn a_level_follows_the_last_one_before_it() {
        assert!(!follows(&[], &level(2, "0", "5")), "nothing is known");
        assert!(follows(&[(1, "0")], &level(2, "0", "5")));
        assert!(!follows(&[(1, "0")], &level(3, "5", "2")), "a credit is missing");
        assert!(follows(&[(1, "0"), (2, "5")], &level(3, "5", "2")));
        assert!(follows(&[(2, "5"), (1, "0"), (9, "7")], &level(3, "5", "2")), "later ones do not matter");
        assert!(follows(&[(3, "2"), (2, "5")], &level(3, "5.0", "2")), "it may be known itself");
        assert!(!follows(&[(4, "7")], &level(3, "5", "2")), "nothing before is known");
        assert!(follows(&[(1, "5"), (6, "5")], &level(9, "5", "2")), "what comes to nothing is not seen");
    }

    #[test]
    fn of_an_account_that_is_quiet_only_the_newest_is_kept() {
        let mut levels = Levels::default();
        for version in 1..=10 {
            levels.note("a".into(), version, money("5"));
        }
        for version in 1..=RECENT as u64 {
            levels.note(format!("b-{}", version % 100_000).into(), version, money("1"));
        }
        assert_eq!(levels.known["a"].len(), 1);
        assert!(levels.follows(&level(11, "5", "6")));
        assert_eq!(levels.recent.len(), RECENT);
    }

    #[test]
    fn only_the_newest_are_kept() {
        let known: Vec<(u64, &str)> = (1..=20).map(|version| (version, if version == 3 { "5" } else { "1" })).collect();
        assert!(!follows(&known, &level(4, "5", "1")), "forgotten");
        assert!(follows(&known, &level(21, "1", "2")));
    }
}
