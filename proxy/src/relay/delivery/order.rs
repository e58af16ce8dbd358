//! The order of legs.
//!
//! A leg's place is the place of its result in the log; of an exchange whose result was unknown, the place of its
//! resolution. Among exchanges that the engine decided, the engine's own order goes before the order in which
//! their results arrived: results of exchanges that overlap reach the journal in any order, and a legacy refuses
//! a debit for good that comes before the credit it draws on.
//!
//! The engine says which version of an account its answer left behind, and of each transaction at which offset it
//! touched which shard. Whatever draws on something else comes after it on every account and shard that both
//! touched, so any of these tells. Places are one total order over all legs to a system, so that legs which wait for
//! each other in several lanes never wait in a circle; where the steps of two transactions interleave so that each
//! comes first somewhere, either order will do.

use super::exchanges::ExchangeId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
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
    /// The place of the result, or another one that the engine's order demands.
    pub position: Position,
    /// Orders those that share a position because they were put there.
    rank: u128,
    /// Makes places differ.
    pub id: ExchangeId,
}

/// The rank of whoever stands where its result stands: half of the room before it, half behind.
const OWN: u128 = 1 << 127;

impl Place {
    /// The place of an exchange whose result stands at `position`.
    pub fn of(position: Position, id: ExchangeId) -> Self {
        Self { position, rank: OWN, id }
    }
}

/// What an answer of the engine says of its own order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The account that it made: whatever else touched it came after.
    pub makes: Option<Arc<str>>,
    /// Accounts with the versions that were left behind.
    pub versions: Vec<(String, u64)>,
    /// Shards with the offsets at which they were touched.
    pub positions: Vec<EnginePosition>,
}

/// A leg that has not begun, so that it can still be moved.
#[derive(Debug)]
struct Waiting {
    accounts: Vec<Arc<str>>,
    marks: Marks,
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
        marks: Marks,
    ) -> (Place, Vec<(Place, Place)>) {
        let own = Place::of(position, id);
        let entry = Waiting { accounts: accounts.to_vec(), marks };
        // One whose result was found out by asking may stand behind one that it comes before.
        let after = self.last_predecessor(&entry).filter(|after| *after > own);
        let Some(bound) = self.first_successor(&entry).filter(|bound| *bound < after.unwrap_or(own)) else {
            let place = after.and_then(|after| self.place_behind(after, id)).unwrap_or(own);
            self.insert(place, entry);
            return (place, Vec::new());
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
        self.neighbours(entry).filter(|(_, other)| entry.precedes(other)).map(|(place, _)| place).min()
    }

    /// The last leg that has to come before `entry`.
    fn last_predecessor(&self, entry: &Waiting) -> Option<Place> {
        self.neighbours(entry).filter(|(_, other)| other.precedes(entry)).map(|(place, _)| place).max()
    }

    /// The legs behind `bound` that have to come before `entry`, and those that have to come before these, in the
    /// order of their places.
    fn predecessors_behind(&self, bound: Place, entry: &Waiting) -> Vec<Place> {
        let mut found: BTreeSet<Place> = BTreeSet::new();
        let mut open: Vec<&Waiting> = vec![entry];
        while let Some(later) = open.pop() {
            for (place, earlier) in self.neighbours(later) {
                if place > bound && earlier.precedes(later) && found.insert(place) {
                    open.push(earlier);
                }
            }
        }
        found.into_iter().collect()
    }

    /// A place for `id` directly behind another one; `None` when there is no room.
    fn place_behind(&self, after: Place, id: ExchangeId) -> Option<Place> {
        let next = self.waiting.range((Bound::Excluded(after), Bound::Unbounded)).next().map(|(place, _)| *place);
        let to = next.filter(|next| next.position == after.position).map_or(u128::MAX, |next| next.rank);
        let step = (to - after.rank) / 2;
        (step > 0).then(|| Place { position: after.position, rank: after.rank + step, id })
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

impl Waiting {
    /// Whether the engine had this one behind it before the other.
    ///
    /// Of several accounts or shards in common it is the same one from whichever side one looks, so that of two only
    /// one precedes the other.
    fn precedes(&self, other: &Waiting) -> bool {
        let makes_for = |maker: &Waiting, user: &Waiting| {
            maker.marks.makes.as_ref().is_some_and(|account| user.accounts.contains(account))
        };
        if makes_for(self, other) || makes_for(other, self) {
            return makes_for(self, other);
        }
        earlier(&self.marks.versions, &other.marks.versions)
            .or_else(|| earlier(&self.marks.positions, &other.marks.positions))
            .unwrap_or(false)
    }
}

/// Whether the first list has the lower number for what both lists have; `None` when they have nothing in common.
fn earlier<T: Ord>(first: &[(T, u64)], second: &[(T, u64)]) -> Option<bool> {
    let in_second = |wanted: &T| second.iter().find(|(what, _)| what == wanted).map(|(_, number)| *number);
    let common = first.iter().filter_map(|(what, number)| Some((what, *number, in_second(what)?))).min();
    common.map(|(_, first, second)| first < second)
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

    /// `shard:offset`, `account@version` and `+account`, separated by commas.
    fn marks(text: &str) -> Marks {
        let mut marks = Marks::default();
        for word in text.split(',') {
            match (word.strip_prefix('+'), word.split_once('@')) {
                (Some(account), _) => marks.makes = Some(account.into()),
                (_, Some((account, version))) => {
                    marks.versions.push((account.to_owned(), version.parse().unwrap()));
                }
                (None, None) => marks.positions.push(engine_position(word).unwrap()),
            }
        }
        marks
    }

    /// Results in the order in which they arrive, as `number accounts marks [position]`, the position being their
    /// number of arrival if none is given; then the numbers in the order of their places.
    fn check(arrivals: &str, expected: &[u64]) {
        let mut order = EngineOrder::default();
        for (index, arrival) in arrivals.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
            let words: Vec<&str> = arrival.split_whitespace().collect();
            let id = ExchangeId(words[0].parse().unwrap());
            let accounts: Vec<Arc<str>> = words[1].split(',').map(Arc::from).collect();
            let position = words.get(3).map_or(index as u64, |word| word.parse().unwrap());
            let (place, moved) = order.enter(id, at(position), &accounts, marks(words[2]));
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
        // What changes an account has no position, but a version.
        check("1 a 0:7,a@2\n 2 a a@1", &[2, 1]);
        check("1 a 0:7,a@2\n 2 a +a", &[2, 1]);
        check("1 a,b 0:7,a@2,b@9\n 2 a a@3\n 3 b b@8", &[3, 1, 2]);
    }

    #[test]
    fn whatever_has_to_come_before_a_moved_leg_is_moved_along() {
        check("1 b 2:21\n 2 a 1:9\n 3 z 5:1\n 4 a,b 1:10,2:20", &[2, 4, 1, 3]);
        check("1 b 2:21\n 2 c 3:4\n 3 a,c 3:5,1:9\n 4 a,b 1:10,2:20", &[2, 3, 4, 1]);
    }

    #[test]
    fn a_result_that_is_read_late_comes_behind_what_it_draws_on() {
        check("1 a 0:7 50\n 2 a 0:8 40", &[1, 2]);
        check("1 a 0:7 50\n 2 a 0:9 45\n 3 a 0:8 40", &[1, 3, 2]);
        check("1 a 0:7 50\n 2 b 1:1 50\n 3 a,b 0:8,1:2 40", &[1, 2, 3]);
    }

    #[test]
    fn interleaved_steps_have_some_order() {
        check("1 a,b 1:10,2:20\n 2 b,a 2:15,1:12", &[1, 2]);
        check("2 b,a 2:15,1:12\n 1 a,b 1:10,2:20", &[1, 2]);
    }

    #[test]
    fn what_has_begun_is_not_moved() {
        let mut order = EngineOrder::default();
        let (first, _) = order.enter(ExchangeId(1), at(1), &["a".into()], marks("0:8"));
        order.begun(first);
        let (second, moved) = order.enter(ExchangeId(2), at(2), &["a".into()], marks("0:7"));
        assert!(second > first && moved.is_empty());
        order.begun(second);
        assert!(order.waiting.is_empty() && order.by_account.is_empty());
    }

    #[test]
    fn without_room_the_log_decides() {
        let mut order = EngineOrder::default();
        let mut last = None;
        for index in 0..300_u64 {
            let (place, _) =
                order.enter(ExchangeId(index), at(index), &["a".into()], marks(&format!("0:{}", 1_000 - index)));
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
