//! `billing.dead-letter`: records that could not be processed, why, and what became of them.
//!
//! Nothing waits for a dead letter: whoever met it went on. A letter may be found more than once, by others or after a
//! restart; the first time counts.

use crate::scalar::{Body, Timestamp};
use crate::stored::{DecodeError, Stored, decode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The topic; one partition.
pub const TOPIC: &str = "billing.dead-letter";

/// Where a record came from; the id of its letter, written `topic/partition/offset`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The topic, without the prefix of the ledger; with `.balance` or `.history` behind it for what that projection leaves out.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let wrong = || format!("`{text}` is no dead letter: they are called topic/partition/offset");
        let [topic, partition, offset] = parts[..] else { return Err(wrong()) };
        let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) else { return Err(wrong()) };
        if topic.is_empty() { Err(wrong()) } else { Ok(Self { topic: topic.to_owned(), partition, offset }) }
    }
}

/// Something happened to a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Which one.
    pub origin: Origin,
    /// What.
    pub event: DeadLetterEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadLetterEvent {
    /// A record could not be processed.
    Found {
        /// Why.
        reason: String,
        /// Its bytes; none if they were gone when somebody wanted to keep them, or were too many.
        bytes: Option<Body>,
    },
    /// It was put into its topic once more.
    Redriven {
        /// By whom.
        actor: String,
        /// Why.
        reason: String,
        /// Where it stands now, in the same partition.
        offset: u64,
    },
    /// Nothing is to be done about it.
    Dropped {
        /// By whom.
        actor: String,
        /// Why.
        reason: String,
    },
}

/// Bytes that are kept of a record. A letter that is too large for its topic would hold up all letters after it; this one
/// also fits into a topic that somebody made with the defaults of a cluster, which are 1 MB.
pub const MAX_KEPT_BYTES: usize = 512 * 1024;
/// How the reason of a letter ends whose record had more.
const TOO_MANY: &str = " bytes: too many to be kept here)";

impl DeadLetter {
    /// A record could not be processed; with its bytes, if there are any left and not too many.
    pub fn found(origin: Origin, reason: &dyn fmt::Display, bytes: Option<Vec<u8>>) -> Self {
        let (bytes, reason) = match bytes {
            Some(bytes) if bytes.len() > MAX_KEPT_BYTES => (None, format!("{reason} ({}{TOO_MANY}", bytes.len())),
            bytes => (bytes, reason.to_string()),
        };
        Self { origin, event: DeadLetterEvent::Found { reason, bytes: bytes.map(Body) } }
    }
}

impl Stored for DeadLetter {
    const TYPE: u16 = 0x0106;
    const VERSION: u16 = 1;
}

/// A dead letter, with what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// When it was found.
    pub found_at: Timestamp,
    /// Why it could not be processed.
    pub reason: String,
    /// Its bytes, if they were still there and not too many.
    pub bytes: Option<Body>,
    /// What was done about it last, and when.
    pub settled: Option<(Timestamp, DeadLetterEvent)>,
}

impl Letter {
    /// Whether it has no bytes because they were too many; otherwise they were gone.
    pub fn was_too_large(&self) -> bool {
        self.bytes.is_none() && self.reason.ends_with(TOO_MANY)
    }
}

/// All letters: a fold of the topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Letters(BTreeMap<Origin, Letter>);

impl Letters {
    /// Takes the next record as it is stored, and says whether it is a letter. One that is none changes nothing.
    ///
    /// # Errors
    /// [`DecodeError`], when a newer program wrote it: it may be about any letter.
    pub fn take_stored(&mut self, at: Timestamp, bytes: &[u8]) -> Result<bool, DecodeError> {
        match decode(bytes) {
            Ok(letter) => {
                self.take(at, letter);
                Ok(true)
            }
            Err(error) if error.is_newer() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Takes the next record.
    pub fn take(&mut self, at: Timestamp, DeadLetter { origin, event }: DeadLetter) {
        match event {
            DeadLetterEvent::Found { reason, bytes } => {
                self.0.entry(origin).or_insert(Letter { found_at: at, reason, bytes, settled: None });
            }
            event => {
                if let Some(letter) = self.0.get_mut(&origin) {
                    letter.settled = Some((at, event));
                }
            }
        }
    }

    /// One of them.
    pub fn get(&self, origin: &Origin) -> Option<&Letter> {
        self.0.get(origin)
    }

    /// All of them, by origin.
    pub fn iter(&self) -> impl Iterator<Item = (&Origin, &Letter)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_and_read() {
        let origin = Origin { topic: "billing.commands".to_owned(), partition: 3, offset: 17 };
        assert_eq!(origin.to_string().parse(), Ok(origin));
        for wrong in ["", "billing.commands", "billing.commands/3", "billing.commands/3/x", "/3/17", "a/3/17/1"] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_letter_is_never_too_large_for_its_topic() {
        let origin = || Origin { topic: "t".to_owned(), partition: 0, offset: 1 };
        let kept = |length: usize| match DeadLetter::found(origin(), &"why", Some(vec![7; length])).event {
            DeadLetterEvent::Found { reason, bytes } => (reason, bytes.map(|bytes| bytes.0.len())),
            other => panic!("{other:?}"),
        };
        assert_eq!(kept(MAX_KEPT_BYTES), ("why".to_owned(), Some(MAX_KEPT_BYTES)));
        let (reason, bytes) = kept(MAX_KEPT_BYTES + 1);
        assert!(bytes.is_none() && reason.contains("524289 bytes"), "{reason}");
    }

    #[test]
    fn a_letter_without_bytes_tells_whether_they_were_too_many() {
        let origin = Origin { topic: "t".to_owned(), partition: 0, offset: 1 };
        for (bytes, too_large) in [(None, false), (Some(1), false), (Some(MAX_KEPT_BYTES + 1), true)] {
            let mut letters = Letters::default();
            let bytes = bytes.map(|length| vec![7; length]);
            letters.take(Timestamp(1), DeadLetter::found(origin.clone(), &"why", bytes));
            assert_eq!(letters.get(&origin).unwrap().was_too_large(), too_large);
        }
    }

    #[test]
    fn what_is_no_letter_is_passed_over_and_a_newer_one_is_not() {
        let origin = Origin { topic: "t".to_owned(), partition: 0, offset: 1 };
        let letter = crate::stored::encode(&DeadLetter::found(origin.clone(), &"why", None));
        let mut newer = letter.clone();
        newer[2..4].copy_from_slice(&(DeadLetter::VERSION + 1).to_le_bytes());
        let mut letters = Letters::default();
        for none in [&b""[..], b"abc", &letter[..letter.len() - 1]] {
            assert_eq!(letters.take_stored(Timestamp(1), none), Ok(false));
        }
        assert_eq!(letters, Letters::default());
        assert_eq!(letters.take_stored(Timestamp(1), &letter), Ok(true));
        assert!(matches!(letters.take_stored(Timestamp(1), &newer), Err(DecodeError::UnknownVersion { .. })));
        assert!(letters.get(&origin).is_some());
    }

    #[test]
    fn a_letter_is_found_once_and_settled_by_the_last_word() {
        let origin = Origin { topic: "t".to_owned(), partition: 0, offset: 1 };
        let event = |event| DeadLetter { origin: origin.clone(), event };
        let found = |reason: &str| event(DeadLetterEvent::Found { reason: reason.to_owned(), bytes: None });
        let dropped = DeadLetterEvent::Dropped { actor: "a".to_owned(), reason: "r".to_owned() };
        let mut letters = Letters::default();
        letters.take(Timestamp(1), event(dropped.clone()));
        assert_eq!(letters, Letters::default(), "nothing was found yet");
        letters.take(Timestamp(2), found("first"));
        letters.take(Timestamp(3), event(dropped.clone()));
        letters.take(Timestamp(4), found("second"));
        let letter = letters.get(&origin).unwrap();
        assert_eq!((letter.found_at, &*letter.reason), (Timestamp(2), "first"));
        assert_eq!(letter.settled, Some((Timestamp(3), dropped)));
    }
}
