//! `billing.snapshots`: what a shard's accepted outcomes add up to at one of them, so that a restart need not read all of them.
//!
//! A generation is a row of records with one id: parts, numbered from 0, then `Complete`. Only one with all its parts counts,
//! and only if the journal has the outcome that it names. Records of several generations may stand between each other.

#![expect(missing_docs, reason = "most mirrors what the engine keeps under the same names, which explains the fields")]

use crate::journal::command::Refusal;
use crate::journal::event::{AccountType, Kind, Limits, Rejection, Side, Status};
use crate::journal::saga::{Saga, Stage, StepAnswer};
use crate::journal::{Content, Position};
use crate::scalar::{Digest, Money, Timestamp};
use crate::stored::Stored;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The topic; partition = shard.
pub const TOPIC: &str = "billing.snapshots";

/// A record of the topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRecord {
    /// The generation it belongs to.
    pub generation: Uuid,
    /// Its number there, from 0.
    pub number: u32,
    pub body: SnapshotBody,
}

impl Stored for SnapshotRecord {
    const TYPE: u16 = 0x0003;
    const VERSION: u16 = 1;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotBody {
    Part(Vec<Entry>),
    Complete(Box<Complete>),
}

/// The end of a generation, and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Complete {
    pub ledger: String,
    pub shard: u32,
    pub shards: u32,
    /// The offset of its part 0 in this topic.
    pub begins_at: u64,
    /// The last outcome that is included: its offset in the journal, and its digest.
    pub outcome_offset: u64,
    pub outcome_hash: Digest,
    /// The offset of the first command whose outcome is not included.
    pub next_source: u64,
    /// The time of that last outcome.
    pub at: Timestamp,
    /// The behaviour of the program that wrote this.
    pub feature: u32,
    /// Entries in all parts.
    pub entries: u64,
    /// Over everything, this record included: see [`sealed`](Complete::sealed).
    pub digest: Digest,
    /// Per currency, in its order.
    pub sums: Vec<Sum>,
    /// Events, and those of them whose envelope is complete.
    pub events: u64,
    pub complete_events: u64,
}

impl Complete {
    /// The digest behind one more part: SHA-256 of the one before (zeros at first) and of the part's stored bytes.
    pub fn chained(before: Digest, part: &[u8]) -> Digest {
        Digest::of(&[&before.0, part].concat())
    }

    /// With the digest that it has to have behind those parts: of theirs and of its own bytes, written with zeros for it.
    #[must_use]
    pub fn sealed(self, parts: Digest) -> Self {
        let open = Self { digest: Digest([0; 32]), ..self };
        let number = u32::MAX;
        let body = SnapshotBody::Complete(Box::new(open.clone()));
        let bytes = crate::stored::encode(&SnapshotRecord { generation: Uuid::nil(), number, body });
        Self { digest: Self::chained(parts, &bytes), ..open }
    }
}

/// What the accounts of a shard in one currency add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub currency: String,
    /// The USER accounts.
    pub users: Money,
    /// All: zero (Law 3).
    pub all: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    Account(Box<Account>),
    /// In the order in which they were asked for.
    Transaction(Box<TransactionRow>),
    Key(Key),
    Saga(Box<OpenSaga>),
    Step(Step),
}

/// An account, or a stripe of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    pub id: String,
    pub account_type: AccountType,
    pub currency: String,
    pub status: Status,
    pub limits: Limits,
    pub balance: Money,
    pub reserved: Money,
    pub open_steps: u32,
    pub version: u64,
    pub owner_id: String,
    pub owner_type: String,
    pub metadata: Option<String>,
    pub first_limits: Limits,
    pub created_at: Timestamp,
    pub changes: Vec<Change>,
}

/// An account after an outcome that touched it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub at: Timestamp,
    pub offset: u64,
    pub version: u64,
    pub balance: Money,
    pub reserved: Money,
}

/// A transaction as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionRow {
    pub id: Uuid,
    pub kind: Kind,
    pub tenant: String,
    pub deciding_account: String,
    pub key: String,
    pub source: Option<String>,
    pub destination: Option<String>,
    pub currency: Option<String>,
    pub amount: Option<Money>,
    pub reference: Option<String>,
    pub metadata: Option<String>,
    pub original: Option<Uuid>,
    pub original_named: Option<String>,
    pub client_reason: Option<String>,
    pub alias: Option<String>,
    pub correlation_id: String,
    pub created_at: Timestamp,
    pub requested_in: Position,
    pub saga: Vec<u64>,
    pub instead_of: Option<Box<Instead>>,
    pub state: State,
}

/// The transaction that another one took the key from: its number among all of the shard, and how it stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instead {
    pub number: u64,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Processing,
    Completed(Box<Completed>),
    Failed(Box<Failed>),
    Forgotten,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Completed {
    pub source: Side,
    pub destination: Side,
    pub would_refuse: Option<Rejection>,
    pub position: Vec<Position>,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub rejection: Rejection,
    pub elsewhere: Option<Refusal>,
    pub position: Vec<Position>,
    pub at: Timestamp,
}

/// What decisions need to know of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub transaction: Uuid,
    pub remembered: Remembered,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    pub content: Content,
    pub version: u64,
    pub alias: Option<String>,
    pub fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    Running { instead_of: Option<Box<Remembered>> },
    Applied(Applied),
    Refused { rejection: Rejection, elsewhere: bool },
    AccountCreated(String),
    Free,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub kind: Kind,
    pub amount: Money,
    pub refunded: Money,
}

/// A saga that began on this shard and is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSaga {
    pub saga: Saga,
    pub since: Timestamp,
}

/// A step done for a saga of another shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub saga: Position,
    pub stage: Stage,
    pub done_at: Position,
    pub answer: StepAnswer,
}
