//! Ids: their grammar, their hashes, and which system made them.
//!
//! Test vectors (xxh3_64, seed 0): ledger `demo`, account `alice` → bucket 2940; more in the tests below.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use xxhash_rust::xxh3::Xxh3Default;

/// Buckets of the dial; a hundredth of a percent each.
pub const BUCKETS: u16 = 10_000;

/// The first byte of every transaction id that the engine made.
const ENGINE_MARK: u8 = 0xCF;

/// Whether `id` follows the grammar of account ids, `[A-Za-z0-9._:-]{1,64}`.
pub fn is_account_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}

/// Whether `name` can name a front: `[a-z0-9-]{1,32}`.
pub fn is_front_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The bucket of a deciding account: `xxh3_64(salt ‖ account id) mod 10 000`.
pub fn bucket(salt: &str, account: &str) -> u16 {
    let mut hasher = Xxh3Default::new();
    hasher.update(salt.as_bytes());
    hasher.update(account.as_bytes());
    u16::try_from(hasher.digest() % u64::from(BUCKETS)).unwrap_or(0)
}

/// Whether a transaction id is of the engine's making: a UUID of version 8 whose first byte is `0xCF`.
pub fn is_engine_transaction_id(id: &str) -> bool {
    uuid::Uuid::try_parse(id).is_ok_and(|id| id.as_bytes()[0] == ENGINE_MARK && id.get_version_num() == 8)
}

/// The number of an exchange: the front's name, the front's boot, and the sequence of the intent in that boot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeNumber {
    /// The configured name of the front.
    pub front: String,
    /// The how-manieth start of that front.
    pub boot: u64,
    /// The sequence of the exchange's intent among the records of that boot, from 1.
    pub sequence: u64,
}

impl fmt::Display for ExchangeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.front, self.boot, self.sequence))
    }
}

/// The text is not `front.boot.sequence`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an exchange number of the form front.boot.sequence")]
pub struct NotAnExchangeNumber(pub String);

impl FromStr for ExchangeNumber {
    type Err = NotAnExchangeNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAnExchangeNumber(text.to_owned());
        let mut parts = text.split('.');
        let (Some(front), Some(boot), Some(sequence), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        if !is_front_name(front) {
            return Err(wrong());
        }
        Ok(Self {
            front: front.to_owned(),
            boot: boot.parse().map_err(|_| wrong())?,
            sequence: sequence.parse().map_err(|_| wrong())?,
        })
    }
}

/// In JSON the text form, in stored bytes the three parts.
impl Serialize for ExchangeNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (&self.front, self.boot, self.sequence).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ExchangeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            let (front, boot, sequence) = Deserialize::deserialize(deserializer)?;
            Ok(Self { front, boot, sequence })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with another implementation of xxh3_64 (python-xxhash), so that users can recompute theirs.
    #[test]
    fn bucket_test_vectors() {
        let vectors = [
            ("demo", "alice", 2940),
            ("demo", "bob", 3501),
            ("ledger-1", "0f8fad5b-d9cb-469f-a165-70867728950e", 1823),
        ];
        for (salt, account, expected) in vectors {
            assert_eq!(bucket(salt, account), expected, "{salt} {account}");
        }
    }

    #[test]
    fn an_exchange_number_reads_back() {
        let number = ExchangeNumber { front: "front-a".into(), boot: 3, sequence: 71 };
        assert_eq!(number.to_string(), "front-a.3.71");
        assert_eq!("front-a.3.71".parse(), Ok(number));
        for wrong in ["", "a", "a.1", "a.1.2.3", "A.1.2", "a.x.2", ".1.2"] {
            assert!(wrong.parse::<ExchangeNumber>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn engine_ids_are_recognised() {
        assert!(is_engine_transaction_id("cf00aabb-1234-8abc-8def-0123456789ab"));
        assert!(!is_engine_transaction_id("cf00aabb-1234-4abc-8def-0123456789ab"));
        assert!(!is_engine_transaction_id("0000aabb-1234-8abc-8def-0123456789ab"));
        assert!(!is_engine_transaction_id("L-000001"));
    }
}
