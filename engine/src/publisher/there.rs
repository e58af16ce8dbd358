//! What is in the public topics already of what is still to be published.

use std::collections::BTreeSet;

/// Events of one shard that are there, by the offset of their command and their id.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct There(BTreeSet<(u64, String)>);

impl There {
    /// Takes an event out; whether it was there.
    pub(super) fn take(&mut self, source: u64, event_id: &str) -> bool {
        self.0.remove(&(source, event_id.to_owned()))
    }

    /// Forgets what commands before this offset led to: repeats that nobody will ask for.
    pub(super) fn passed(&mut self, source: u64) {
        self.0 = self.0.split_off(&(source, String::new()));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing that is still to be published is there.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(u64, String)> for There {
    fn from_iter<I: IntoIterator<Item = (u64, String)>>(events: I) -> Self {
        Self(events.into_iter().collect())
    }
}

/// The offset of the command that the headers of an event name, if that is a command of this shard.
pub(super) fn source_of(position: &str, shard: u32) -> Option<u64> {
    let (number, offset) = position.split_once(':')?;
    (number.parse() == Ok(shard)).then(|| offset.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(events: &[(u64, &str)]) -> There {
        events.iter().map(|(source, id)| (*source, (*id).to_owned())).collect()
    }

    #[test]
    fn what_is_there_is_found_once() {
        let mut there = there(&[(7, "a"), (7, "b"), (8, "c")]);
        assert!(there.take(7, "a"));
        assert!(!there.take(7, "a"));
        assert!(!there.take(7, "c"), "an event of another command");
        assert_eq!(there.len(), 2);
    }

    #[test]
    fn repeats_of_what_is_behind_us_do_not_stay_for_ever() {
        let mut events = there(&[(6, "repeat"), (7, "a"), (8, "b")]);
        events.passed(7);
        assert_eq!(events, there(&[(7, "a"), (8, "b")]));
        events.passed(9);
        assert!(events.is_empty());
    }

    #[test]
    fn a_position_is_of_one_shard() {
        for (position, source) in [("3:17", Some(17)), ("13:17", None), ("3", None), ("3:", None), ("", None)] {
            assert_eq!(source_of(position, 3), source, "{position}");
        }
    }
}
