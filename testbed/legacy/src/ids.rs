//! How the ids of transactions look.

use serde::{Deserialize, Serialize};

/// `ids` in `[legacy]`: the form of the ids of transactions, which is one and the same for a whole store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ids {
    /// `L-000000000017`.
    #[default]
    Prefixed,
    /// `17`, in a string like every id: an integer of a legacy's database.
    Integer,
}

impl Ids {
    /// The id of the transaction with this sequence.
    pub(crate) fn id(self, sequence: u64) -> String {
        match self {
            Ids::Prefixed => format!("L-{sequence:012}"),
            Ids::Integer => sequence.to_string(),
        }
    }

    /// The sequence in an id, if it is one of ours: nothing but exactly what was told.
    pub(crate) fn sequence(self, id: &str) -> Option<u64> {
        let digits = match self {
            Ids::Prefixed => id.strip_prefix("L-")?,
            Ids::Integer => id,
        };
        digits.parse().ok().filter(|sequence| self.id(*sequence) == id)
    }

    /// The value in the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Ids::Prefixed => "prefixed",
            Ids::Integer => "integer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_only_as_it_is_written() {
        for sequence in [1, 17, 999_999_999_999, 1_000_000_000_000, u64::MAX] {
            for ids in [Ids::Prefixed, Ids::Integer] {
                assert_eq!(ids.sequence(&ids.id(sequence)), Some(sequence), "{ids:?}");
            }
        }
        assert_eq!((Ids::Prefixed.id(17), Ids::Integer.id(17)), ("L-000000000017".into(), "17".into()));
        for id in ["", "17", "L-17", "L-0000000000017", "L-+00000000017", "l-000000000017", " L-000000000017"] {
            assert_eq!(Ids::Prefixed.sequence(id), None, "{id}");
        }
        for id in ["", "L-000000000017", "017", "+17", "-17", "17 ", "17.0", "0x11", "18446744073709551616", "１７"] {
            assert_eq!(Ids::Integer.sequence(id), None, "{id}");
        }
    }

    #[test]
    fn the_words_are_those_of_the_configuration() {
        for ids in [Ids::Prefixed, Ids::Integer] {
            assert_eq!(serde_json::to_value(ids).unwrap(), ids.as_str());
        }
    }
}
