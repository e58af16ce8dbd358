//! The numbers of a boot's records, as they come to a reader: what is new, what is a repeat, and what is missing.
//!
//! A log may lose some records of an append and take later ones (a Kafka producer that times out drops message by message).
//! The relay then appends what is missing once more, behind what was taken: a number in a hole is news.

use std::collections::BTreeMap;

/// Holes remembered; of more, the oldest count as repeats when they come after all.
const KEPT_HOLES: usize = 1_024;

/// The numbers seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    last: u64,
    /// What is missing before the last: the first and the last number of each hole.
    holes: BTreeMap<u64, u64>,
}

/// How a number follows those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// As it should.
    Next,
    /// After a hole of so many.
    After(u64),
    /// It was missing.
    Filled,
    /// It was seen before.
    Repeat,
}

impl Numbers {
    /// Those of a boot of which this number is the first that is still there.
    pub fn from(first: u64) -> Self {
        Self { last: first.saturating_sub(1), holes: BTreeMap::new() }
    }

    /// The greatest number seen.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether a number was seen.
    pub fn has(&self, number: u64) -> bool {
        number <= self.last && self.hole_with(number).is_none()
    }

    /// Takes the number of the next record.
    pub fn take(&mut self, number: u64) -> Follows {
        if number <= self.last {
            return if self.fill(number) { Follows::Filled } else { Follows::Repeat };
        }
        let first_missing = self.last + 1;
        self.last = number;
        if number == first_missing {
            return Follows::Next;
        }
        self.holes.insert(first_missing, number - 1);
        if self.holes.len() > KEPT_HOLES {
            self.holes.pop_first();
        }
        Follows::After(number - first_missing)
    }

    /// The first and the last number of the hole that a number is in.
    fn hole_with(&self, number: u64) -> Option<(u64, u64)> {
        let (&first, &last) = self.holes.range(..=number).next_back()?;
        (number <= last).then_some((first, last))
    }

    /// Whether a number is in a hole, which it no longer is.
    fn fill(&mut self, number: u64) -> bool {
        let Some((first, last)) = self.hole_with(number) else { return false };
        self.holes.remove(&first);
        if first < number {
            self.holes.insert(first, number - 1);
        }
        if number < last {
            self.holes.insert(number + 1, last);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_was_missing_is_news_once() {
        let mut numbers = Numbers::default();
        assert_eq!([1, 2].map(|number| numbers.take(number)), [Follows::Next; 2]);
        assert_eq!(numbers.take(6), Follows::After(3));
        assert_eq!(numbers.take(4), Follows::Filled);
        assert_eq!([2, 3, 4, 5, 6, 7].map(|number| numbers.has(number)), [true, false, true, false, true, false]);
        assert_eq!([4, 6, 2].map(|number| numbers.take(number)), [Follows::Repeat; 3]);
        assert_eq!([5, 3].map(|number| numbers.take(number)), [Follows::Filled; 2]);
        assert_eq!((numbers.take(7), numbers.last(), numbers.holes.len()), (Follows::Next, 7, 0));
    }

    #[test]
    fn what_is_before_the_beginning_is_not_missing() {
        let mut numbers = Numbers::from(5);
        assert_eq!(numbers.take(5), Follows::Next);
        assert_eq!(numbers.take(4), Follows::Repeat);
    }

    proptest! {
        #[test]
        fn every_number_is_news_once(order in proptest::collection::vec(1_u64..40, 0..200)) {
            let (mut numbers, mut seen) = (Numbers::default(), BTreeSet::new());
            for number in order {
                let is_news = numbers.take(number) != Follows::Repeat;
                prop_assert_eq!(is_news, seen.insert(number));
            }
        }
    }
}
