//! The order of legs.
//!
//! A leg's place is the place of its result in the log; of an exchange whose result was unknown, the place of its
//! resolution. Among exchanges that the engine decided, the engine's own order goes before the order in which
//! their results arrived: results of exchanges that overlap reach the journal in any order, and a legacy refuses
//! a debit for good that comes before the credit it draws on.
//!
//! The engine says of each transaction at which offset it touched which shard. A transaction that draws on another
//! one comes after it on every shard that both touched, so any common shard tells. Places are one total order over
//! all legs to a system, so that legs which wait for each other in several lanes never wait in a circle; where the
//! steps of two transactions interleave so that each comes first somewhere, either order will do.

use super::exchanges::ExchangeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::scalar::Timestamp;

/// Which topic a position belongs to. Only breaks ties: the log's times differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// `cutover.exchanges`.
    Exchanges,
    /// `cutover.shadows`.
    Shadows,
}

/// The place of a record among the records of both topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// When the log took it.
    pub at: Timestamp,
    /// The topic.
    pub topic: Topic,
    /// The offset in the topic.
    pub offset: u64,
}

/// Where an engine outcome stands: shard, then offset.
pub(crate) type EnginePosition = (u32, u64);

/// The place of a leg among all legs to the same system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The place of the result, or an earlier one that the engine's order demands.
    pub position: Position,
    /// Orders those that share a position because they were moved there.
    rank: u128,
    /// Makes places differ.
    pub id: ExchangeId,
}

/// The rank of whoever was not moved: as much room before it as there can be.
const UNMOVED: u128 = u128::MAX;

impl Place {
    /// The place of an exchange whose result stands at `position`.
    pub fn of(position: Position, id: ExchangeId) -> Self {
        Self { position, rank: UNMOVED, id }
    }
}

/// A leg that has not begun, so that it can still be moved.
#[derive(Debug)]
struct Waiting {
    accounts: Vec<Arc<str>>,
    touched: Vec<EnginePosition>,
}

/// The legs of the engine's exchanges that have not begun.
#[derive(Debug, Default)]
pub(crate) struct EngineOrder {
    waiting: BTreeMap<Place, Waiting>,
    by_account: BTreeMap<Arc<str>, BTreeSet<Place>>,
}

impl EngineOrder {
    /// Adds the leg of an exchange whose result stands at `position`. Answers its place, and the legs that had to
    /// be moved to earlier places with it, each with its old place and its new one.
    pub fn enter(
        &mut self,
        id: ExchangeId,
        position: Position,
        accounts: &[Arc<str>],
        touched: &[EnginePosition],
    ) -> (Place, Vec<(Place, Place)>) {
        let own = Place::of(position, id);
        let entry = Waiting { accounts: accounts.to_vec(), touched: touched.to_vec() };
        let Some(bound) = self.first_successor(&entry).filter(|bound| *bound < own) else {
            self.insert(own, entry);
            return (own, Vec::new());
        };
        let before = self.predecessors_behind(bound, &entry);
        let Some(places) = self.places_before(bound, before.iter().map(|place| place.id).chain([id])) else {
            // No room left there, after more than a hundred moves to the same spot: the log's order has to do.
            self.insert(own, entry);
            return (own, Vec::new());
        };
        let mut moved = Vec::new();
        for (old, new) in before.into_iter().zip(&places) {
            if let Some(other) = self.leave(old) {
                self.insert(*new, other);
                moved.push((old, *new));
            }
        }
        let own = places.last().copied().unwrap_or(own);
        self.insert(own, entry);
        (own, moved)
    }

    /// A leg has begun, or will never begin.
    pub fn begun(&mut self, place: Place) {
        self.leave(place);
    }

    fn insert(&mut self, place: Place, entry: Waiting) {
        for account in &entry.accounts {
            self.by_account.entry(Arc::clone(account)).or_default().insert(place);
        }
        self.waiting.insert(place, entry);
    }

    fn leave(&mut self, place: Place) -> Option<Waiting> {
        let entry = self.waiting.remove(&place)?;
        for account in &entry.accounts {
            if let Some(places) = self.by_account.get_mut(account) {
                places.remove(&place);
                if places.is_empty() {
                    self.by_account.remove(account);
                }
            }
        }
        Some(entry)
    }

    /// Legs that share an account with `entry`, from a place on.
    fn neighbours<'a>(&'a self, entry: &'a Waiting) -> impl Iterator<Item = (Place, &'a Waiting)> {
        entry
            .accounts
            .iter()
            .filter_map(|account| self.by_account.get(account))
            .flatten()
            .filter_map(|place| Some((*place, self.waiting.get(place)?)))
    }

    /// The first leg that has to come after `entry`.
    fn first_successor(&self, entry: &Waiting) -> Option<Place> {
        self.neighbours(entry)
            .filter(|(_, other)| precedes(&entry.touched, &other.touched))
            .map(|(place, _)| place)
            .min()
    }

    /// The legs behind `bound` that have to come before `entry`, and those that have to come before these, in the
    /// order of their places.
    fn predecessors_behind(&self, bound: Place, entry: &Waiting) -> Vec<Place> {
        let mut found: BTreeSet<Place> = BTreeSet::new();
        let mut open: Vec<&Waiting> = vec![entry];
        while let Some(later) = open.pop() {
            for (place, earlier) in self.neighbours(later) {
                if place > bound && precedes(&earlier.touched, &later.touched) && found.insert(place) {
                    open.push(earlier);
                }
            }
        }
        found.into_iter().collect()
    }

    /// Places for `ids`, in this order, directly before `bound`; `None` when there is no room.
    fn places_before(&self, bound: Place, ids: impl Iterator<Item = ExchangeId>) -> Option<Vec<Place>> {
        let ids: Vec<ExchangeId> = ids.collect();
        let last = self.waiting.range(..bound).next_back().map(|(place, _)| *place);
        let from = last.filter(|last| last.position == bound.position).map_or(0, |last| last.rank);
        let step = (bound.rank - from) / (ids.len() as u128 + 1);
        let place = |(index, id)| Place { position: bound.position, rank: from + step * (index as u128 + 1), id };
        (step > 0).then(|| ids.into_iter().enumerate().map(place).collect())
    }
}

/// Whether the engine touched a common shard for the first one before it did for the second one.
fn precedes(first: &[EnginePosition], second: &[EnginePosition]) -> bool {
    // The same shard from whichever side one looks, so that of two only one precedes the other.
    let offset_on = |list: &[EnginePosition], shard| list.iter().find(|(other, _)| *other == shard).map(|(_, at)| *at);
    let common = first.iter().filter_map(|(shard, at)| Some((*shard, *at, offset_on(second, *shard)?))).min();
    common.is_some_and(|(_, first, second)| first < second)
}

/// Reads `shard:offset`.
pub(crate) fn engine_position(text: &str) -> Option<EnginePosition> {
    let (shard, offset) = text.split_once(':')?;
    Some((shard.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Position {
        Position { at: Timestamp(i64::try_from(micros).unwrap()), topic: Topic::Exchanges, offset: micros }
    }

    /// Results in the order in which they arrive, as `number accounts positions`; the numbers in the order of
    /// their places.
    fn check(arrivals: &str, expected: &[u64]) {
        let mut order = EngineOrder::default();
        for (index, arrival) in arrivals.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
            let words: Vec<&str> = arrival.split_whitespace().collect();
            let id = ExchangeId(words[0].parse().unwrap());
            let accounts: Vec<Arc<str>> = words[1].split(',').map(Arc::from).collect();
            let touched: Vec<_> = words[2].split(',').map(|text| engine_position(text).unwrap()).collect();
            let (place, moved) = order.enter(id, at(index as u64), &accounts, &touched);
            assert!(order.waiting.contains_key(&place));
            assert!(moved.iter().all(|(old, new)| new < old && order.waiting.contains_key(new)), "{arrivals}");
        }
        let ids: Vec<_> = order.waiting.keys().map(|place| place.id.0).collect();
        assert_eq!(ids, expected, "{arrivals}");
    }

    #[test]
    fn without_a_common_account_the_log_decides() {
        check("1 a 0:8\n 2 b 0:7", &[1, 2]);
        check("1 a 0:8\n 2 a 1:7", &[1, 2]);
    }

    #[test]
    fn with_a_common_account_the_engine_decides() {
        check("1 a 0:7\n 2 a 0:8", &[1, 2]);
        check("1 a 0:8\n 2 a 0:7", &[2, 1]);
        check("1 a 0:9\n 2 a 0:7\n 3 a 0:8", &[2, 3, 1]);
        check("1 a 0:9\n 2 a 0:8\n 3 a 0:7\n 4 a 0:6", &[4, 3, 2, 1]);
        // A credit from another shard, whose transfer was answered after the debit that draws on it.
        check("1 b 2:21\n 2 a,b 1:10,2:20", &[2, 1]);
        check("1 b 2:21\n 2 a 1:9\n 3 a,b 1:10,2:20", &[2, 3, 1]);
    }

    #[test]
    fn whatever_has_to_come_before_a_moved_leg_is_moved_along() {
        check("1 b 2:21\n 2 a 1:9\n 3 z 5:1\n 4 a,b 1:10,2:20", &[2, 4, 1, 3]);
        check("1 b 2:21\n 2 c 3:4\n 3 a,c 3:5,1:9\n 4 a,b 1:10,2:20", &[2, 3, 4, 1]);
    }

    #[test]
    fn interleaved_steps_have_some_order() {
        check("1 a,b 1:10,2:20\n 2 b,a 2:15,1:12", &[1, 2]);
        check("2 b,a 2:15,1:12\n 1 a,b 1:10,2:20", &[1, 2]);
    }

    #[test]
    fn what_has_begun_is_not_moved() {
        let mut order = EngineOrder::default();
        let (first, _) = order.enter(ExchangeId(1), at(1), &["a".into()], &[(0, 8)]);
        order.begun(first);
        let (second, moved) = order.enter(ExchangeId(2), at(2), &["a".into()], &[(0, 7)]);
        assert!(second > first && moved.is_empty());
        order.begun(second);
        assert!(order.waiting.is_empty() && order.by_account.is_empty());
    }

    #[test]
    fn without_room_the_log_decides() {
        let mut order = EngineOrder::default();
        let mut last = None;
        for index in 0..300_u64 {
            let (place, _) = order.enter(ExchangeId(index), at(index), &["a".into()], &[(0, 1_000 - index)]);
            last = last.max(Some(place));
        }
        assert_eq!(order.waiting.len(), 300);
        assert_eq!(last.map(|place| place.id), order.waiting.keys().next_back().map(|place| place.id));
    }

    #[test]
    fn engine_positions_are_read() {
        assert_eq!(engine_position("3:17"), Some((3, 17)));
        for wrong in ["", "3", "3:", ":1", "x:1", "1:2:3", "-1:2"] {
            assert_eq!(engine_position(wrong), None, "{wrong}");
        }
    }
}
