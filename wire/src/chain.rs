//! Chains: records that carry the SHA-256 of the record before them.
//!
//! A reader takes a record only if its parent is the digest of the last record it took; anything else in the
//! topic is ignored by every reader alike. So the first of two records that extend the same one wins, and the
//! chain is a verifiable history.

use crate::scalar::Digest;
use crate::stored::{DecodeError, Stored, decode};

/// A stored record that names its parent.
pub trait Chained: Stored {
    /// The digest of the stored bytes of the record before it.
    fn parent(&self) -> Digest;
}

/// The parent of the first record: SHA-256 of ledger id, a zero byte, and the topic.
pub fn genesis(ledger: &str, topic: &str) -> Digest {
    Digest::of(&[ledger.as_bytes(), &[0], topic.as_bytes()].concat())
}

/// The end of a verified chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head(Digest);

impl Head {
    /// The head of a chain without records.
    pub fn genesis(ledger: &str, topic: &str) -> Self {
        Self(genesis(ledger, topic))
    }

    /// A head remembered from before.
    pub fn at(digest: Digest) -> Self {
        Self(digest)
    }

    /// What the next record has to name as its parent.
    pub fn digest(self) -> Digest {
        self.0
    }

    /// Takes the next stored bytes: the record if it extends this chain, `None` if it extends another one.
    ///
    /// # Errors
    /// When the bytes cannot be read at all.
    pub fn take<T: Chained>(&mut self, bytes: &[u8]) -> Result<Option<T>, DecodeError> {
        let record: T = decode(bytes)?;
        if record.parent() != self.0 {
            return Ok(None);
        }
        self.0 = Digest::of(bytes);
        Ok(Some(record))
    }
}
