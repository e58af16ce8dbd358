//! Ids: accounts, currencies, transactions, commands, sagas, positions; and which shard is whose home.

use crate::saga::Stage;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use uuid::{Builder, Uuid};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Text that is handed on unchanged: shared, so that handing it on costs nothing.
pub type Text = Arc<str>;

/// A point in time: microseconds since 1970-01-01T00:00:00Z. The domain is told the time and never asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// An account's id: `[A-Za-z0-9._:-]{1,64}`, unique in the ledger.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(Text);

/// What the ids of in-transit accounts begin with; the currency follows.
const IN_TRANSIT: &str = "in-transit:";

impl AccountId {
    /// An id in the grammar, or `None`.
    pub fn new(id: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        ((1..=64).contains(&id.len()) && id.bytes().all(allowed)).then(|| Self(id.into()))
    }

    /// The account that holds what has left one shard and not yet reached another.
    pub fn in_transit(currency: Currency) -> Self {
        Self(format!("{IN_TRANSIT}{currency}").into())
    }

    /// Whether only the engine itself may post to it: requests do not find it, and nobody can create it.
    pub fn is_in_transit(&self) -> bool {
        self.0.starts_with(IN_TRANSIT)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The home shard among `shards`.
    pub fn shard(&self, shards: u32) -> u32 {
        upper_hash(&self.0) % shards
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The upper 32 bits of `xxh3_64(account id)`: what shards are counted by.
fn upper_hash(account: &str) -> u32 {
    u32::try_from(xxh3_64(account.as_bytes()) >> 32).expect("32 bits are left after the shift")
}

/// A currency: `[A-Z]{3,10}`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    /// Padded with zero bytes.
    letters: [u8; 10],
}

impl Currency {
    /// A currency in the grammar, or `None`.
    pub fn new(code: &str) -> Option<Self> {
        let mut letters = [0; 10];
        if !(3..=10).contains(&code.len()) || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        letters[..code.len()].copy_from_slice(code.as_bytes());
        Some(Self { letters })
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        let length = self.letters.iter().position(|letter| *letter == 0).unwrap_or(self.letters.len());
        std::str::from_utf8(&self.letters[..length]).expect("made of ASCII letters only")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A transaction's id, derived from the scope of its key: retries meet under it, and every later call finds the
/// home shard in it, whatever the number of shards has become.
///
/// A UUID of version 8: byte 0 is `0xCF`, bytes 1 to 4 are the upper 32 bits of the deciding account's hash, the
/// rest is the beginning of SHA-256(tenant, deciding account, key), each preceded by its length as `u32` (little
/// endian), with the bits of version and variant put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub Uuid);

/// The first byte of every transaction id that the engine made.
const ENGINE_MARK: u8 = 0xCF;

impl TransactionId {
    /// The id of what `key` stands for, in the scope of a tenant and a deciding account.
    ///
    /// The account is text, because a refund of an unknown original has only the name of that original to go by.
    pub fn derive(tenant: &str, deciding_account: &str, key: &str) -> Self {
        let mut hasher = Sha256::new();
        for field in [tenant, deciding_account, key] {
            hasher.update(u32::try_from(field.len()).unwrap_or(u32::MAX).to_le_bytes());
            hasher.update(field.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes[0] = ENGINE_MARK;
        bytes[1..5].copy_from_slice(&upper_hash(deciding_account).to_be_bytes());
        bytes[5..].copy_from_slice(&hasher.finalize()[..11]);
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// An id of the engine's making, read back from text; `None` for any other system's.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok()?;
        (id.as_bytes()[0] == ENGINE_MARK && id.get_version_num() == 8).then_some(Self(id))
    }

    /// The home shard among `shards`.
    pub fn shard(self, shards: u32) -> u32 {
        let bytes = self.0.as_bytes();
        u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) % shards
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The shard that a refund of an original nobody knows is decided on: that of the name taken as an account id.
pub fn shard_of_text(text: &str, shards: u32) -> u32 {
    upper_hash(text) % shards
}

/// A command's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub Uuid);

impl CommandId {
    /// The id of a follow-up: the same however often it is sent.
    pub(crate) fn of_follow_up(what: &str, saga: SagaId, stage: Stage, shard: u32) -> Self {
        let name = format!("{what}/{saga}/{stage:?}/{shard}");
        Self(Builder::from_custom_bytes(xxh3_128(name.as_bytes()).to_be_bytes()).into_uuid())
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A place in a shard's commands, and so the outcome of that command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The shard.
    pub shard: u32,
    /// The command's offset there.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.shard, self.offset)
    }
}

/// A saga's id: the position of the command that began it. Unlike a transaction's id it is never used again, not
/// even when a refused shadow leg is offered again under the same key.
pub type SagaId = Position;

/// An account as one shard keeps it: the whole of it, or the stripe of a shared one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountAggregate {
    /// The account.
    pub id: AccountId,
    /// The shard whose stripe this is; `None` for an account that is kept in one piece.
    pub stripe: Option<u32>,
}

/// `id`, or `id#shard` for a stripe.
impl fmt::Display for AccountAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stripe {
            None => write!(f, "{}", self.id),
            Some(shard) => write!(f, "{}#{shard}", self.id),
        }
    }
}
