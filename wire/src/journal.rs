//! `billing.commands` and `billing.journal`: the engine's inputs and outcomes.
//!
//! Every type mirrors the one of the same name in `engine-domain`, where its fields are explained; the engine's
//! `codec` maps both ways. What stands here is only how it is written down.
//!
//! | module | what |
//! |---|---|
//! | [`command`] | what a shard is asked to do |
//! | [`event`] | what happened |
//! | [`saga`] | what takes more than one shard |
//! | `v1` | outcomes of version 1 |

pub mod command;
pub mod event;
pub mod saga;
mod v1;

pub use command::Command;
pub use event::Event;

use crate::chain::Chained;
use crate::scalar::{Digest, Timestamp};
use crate::stored::{self, DecodeError, Stored};
use crate::words::Mode;
use event::Rejection;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The topic of commands; partition = shard.
pub const COMMANDS: &str = "billing.commands";
/// The topic of outcomes; partition = shard.
pub const JOURNAL: &str = "billing.journal";

/// What a shard made of a command. Exactly one for each; accepted only if it extends the shard's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The digest of the outcome accepted before it.
    pub parent: Digest,
    /// The shard.
    pub shard: u32,
    /// The command's offset in the shard's commands: one more than the parent's.
    pub source_offset: u64,
    /// The command's id.
    pub command: Uuid,
    /// Follows the request everywhere.
    pub correlation_id: String,
    /// Who asked.
    pub actor: String,
    /// How it was executed.
    pub mode: Mode,
    /// When it was decided, by the log's clock; never falls within a shard.
    pub at: Timestamp,
    /// The behaviour that decided.
    pub feature: u32,
    /// What happened.
    pub events: Vec<Event>,
    /// What is to be sent to other shards.
    pub sends: Vec<FollowUp>,
    /// What whoever waits is to be told.
    pub answer: Answer,
}

impl Stored for Outcome {
    const TYPE: u16 = 0x0002;
    /// 2: the end of a saga says its transaction.
    const VERSION: u16 = 2;
    const OLDEST: u16 = 1;

    fn upcast(version: u16, body: &[u8]) -> Result<Self, DecodeError> {
        match version {
            1 => stored::whole::<v1::OutcomeV1>(body).map(Self::from),
            _ => stored::whole(body),
        }
    }
}

impl Chained for Outcome {
    fn parent(&self) -> Digest {
        self.parent
    }
}

/// The parent of a shard's first outcome: SHA-256 of ledger id, a zero byte, shard and number of shards (`u32`, little
/// endian).
pub fn genesis(ledger: &str, shard: u32, shards: u32) -> Digest {
    Digest::of(&[ledger.as_bytes(), &[0], &shard.to_le_bytes(), &shards.to_le_bytes()].concat())
}

/// A follow-up for another shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowUp {
    /// The shard.
    pub shard: u32,
    /// The command.
    pub command: Command,
}

/// What whoever waits is to be told.
#[expect(missing_docs, reason = "mirrors the domain's type of the same name, which explains the fields")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    None,
    Final { to: Uuid, transaction: Uuid, replay: bool },
    Running { to: Uuid, transaction: Option<Uuid> },
    Refused { to: Uuid, transaction: Option<Uuid>, rejection: Rejection },
    Dry { to: Uuid, transaction: Option<Uuid>, would_refuse: Option<Rejection> },
    Account { to: Uuid, transaction: Option<Uuid>, account: String, replay: bool, would_refuse: Option<Rejection> },
    Noted { to: Uuid },
    Unreadable,
}

/// A place in a shard's commands, and so the outcome of that command. `shard:offset` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The shard.
    pub shard: u32,
    /// The command's offset there.
    pub offset: u64,
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&format_args!("{}:{}", self.shard, self.offset))
        } else {
            (self.shard, self.offset).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <(u32, u64)>::deserialize(deserializer).map(|(shard, offset)| Self { shard, offset });
        }
        let text = String::deserialize(deserializer)?;
        let parts = text.split_once(':').and_then(|(shard, offset)| Some((shard.parse().ok()?, offset.parse().ok()?)));
        let (shard, offset) = parts.ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no shard:offset")))?;
        Ok(Self { shard, offset })
    }
}

/// The hash of what a key stands for, 16 bytes big endian. Hexadecimal in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content(pub [u8; 16]);

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&format_args!("{:032x}", u128::from_be_bytes(self.0)))
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 16]>::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(|hash| Self(hash.to_be_bytes())).map_err(serde::de::Error::custom)
    }
}
