//! What takes more than one shard: sagas, their steps, and what became of them.

#![expect(missing_docs, reason = "mirrors the domain's types of the same names, which explain the fields")]

use super::Position;
use super::command::CreateAccount;
use super::event::{AccountKey, Kind, Rejection, Side, Status};
use crate::scalar::Money;
use crate::words::Mode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A saga that waits for another shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saga {
    pub id: Position,
    pub version: u64,
    pub request: Request,
    pub work: Work,
    pub guarded: Vec<String>,
    pub taken: Vec<Taken>,
    pub awaited: Awaited,
}

/// Who asked for a saga, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub command: Uuid,
    pub correlation_id: String,
    pub actor: String,
    pub mode: Mode,
    pub keeps_refusals: bool,
}

/// What a saga does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    Transaction(Movement),
    OpenStripes { account: CreateAccount, key: Option<AccountKey> },
    SetStripes { account: String, from: Status, to: Status, would_refuse: Option<Rejection> },
}

/// A transaction as its home carries it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    pub transaction: Uuid,
    pub kind: Kind,
    pub source: Place,
    pub destination: Place,
    pub amount: Option<Money>,
    pub currency: String,
    pub original: Option<OriginalPlace>,
}

/// The original of a refund, and the shard that remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalPlace {
    pub transaction: Uuid,
    pub shard: u32,
}

/// An account and the shard where a transaction meets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub account: String,
    pub shard: u32,
}

/// The step that a saga waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    pub shard: u32,
    pub action: Action,
}

/// A step that was done, or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub stage: Stage,
    pub done_at: Position,
    pub answer: StepAnswer,
}

/// What is done to one account or one original, on one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Hold { original: Uuid, refund: Uuid, amount: Option<Money> },
    Reserve(Posting),
    Debit { posting: Posting, reserved: bool },
    Credit(Posting),
    Release { transaction: Uuid, account: String, left: Option<Money> },
    GiveBack { posting: Posting, reserved: bool },
    Unhold { original: Uuid, refund: Uuid, amount: Money },
    OpenStripe(CreateAccount),
    BlockStripe(String),
    SetStripe { account: String, status: Status },
    UnblockStripe { account: String, status: Status },
    AskStripe(String),
}

/// What is posted to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    pub transaction: Uuid,
    pub kind: Kind,
    pub account: String,
    pub amount: Money,
    pub currency: String,
}

/// The name of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    Hold,
    Reserve,
    Debit,
    Credit,
    Release,
    GiveBack,
    Unhold,
    OpenStripe,
    BlockStripe,
    SetStripe,
    UnblockStripe,
    AskStripe,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepAnswer {
    Done,
    Refused(Rejection),
    Held { amount: Money, counted: bool, would_refuse: Option<Rejection> },
    Reserved { would_refuse: Option<Rejection> },
    Moved { side: Side, would_refuse: Option<Rejection> },
    Blocked { balance: Money, open: bool },
}
