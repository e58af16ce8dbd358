//! Where a page of a list ended: one place per shard, so that no page misses what another shard wrote meanwhile.

use std::fmt;

/// The end of a page, opaque to clients: per shard a transaction's number, counted in the order of requests. Lists going
/// forward go on with it, histories going back with the one before it. It means the same to every read model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Vec<usize>);

/// The text is no cursor of this ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor that a page of this list ended with")]
pub struct NotACursor;

impl Cursor {
    /// One place per shard.
    pub(crate) fn new(places: Vec<usize>) -> Self {
        Self(places)
    }

    /// Reads the text form, for a ledger of that many shards.
    pub(super) fn parse(text: &str, shards: usize) -> Result<Self, NotACursor> {
        // As it is written: no signs, no leading zeros, so that equal cursors are equal texts.
        let place = |text: &str| match text.parse::<usize>() {
            Ok(place) if place.to_string() == text => Ok(place),
            _ => Err(NotACursor),
        };
        let places = text.split('-').map(place).collect::<Result<Vec<_>, _>>()?;
        if places.len() == shards { Ok(Self(places)) } else { Err(NotACursor) }
    }

    /// The place in a shard.
    pub(crate) fn place(&self, shard: usize) -> usize {
        self.0.get(shard).copied().unwrap_or(0)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().enumerate() {
            let dash = if index == 0 { "" } else { "-" };
            write!(f, "{dash}{place}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        let cursor = Cursor::new(vec![0, 17, 3]);
        assert_eq!(Cursor::parse(&cursor.to_string(), 3), Ok(cursor));
    }

    #[test]
    fn other_text_is_no_cursor() {
        for text in
            ["", "1", "1-2", "1-2-3-4", "a-b-c", "1--2", "-1-2-3", "+1-2-3", "01-2-3", "1-2-99999999999999999999"]
        {
            assert_eq!(Cursor::parse(text, 3), Err(NotACursor), "{text}");
        }
    }
}
