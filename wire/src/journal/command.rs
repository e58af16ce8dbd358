//! `billing.commands`: what a shard is asked to do.

#![expect(missing_docs, reason = "mirrors the domain's types of the same names, which explain the fields")]

use super::Position;
use super::event::{AccountType, Limits, Status};
use super::saga::{Action, Stage, StepAnswer};
use crate::scalar::{Digest, Money, Timestamp};
use crate::stored::Stored;
use crate::words::Mode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One command, with its envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub id: Uuid,
    pub at: Timestamp,
    pub correlation_id: String,
    pub actor: String,
    pub mode: Mode,
    pub tenant: String,
    pub keeps_refusals: bool,
    pub alias: Option<String>,
    pub refusal: Option<Refusal>,
    pub body: Body,
}

impl Stored for Command {
    const TYPE: u16 = 0x0001;
    /// 2 has `refund-taken`.
    const VERSION: u16 = 2;
    const OLDEST: u16 = 1;
}

/// A refusal by the other system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub status: u16,
    pub code: String,
    pub body: String,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    CreateAccount(CreateAccount),
    ChangeAccount(ChangeAccount),
    Move(Move),
    Refund(Refund),
    Step(Step),
    StepDone(StepDone),
    Aliases(Vec<Alias>),
    Unreadable {
        digest: Digest,
    },
    /// A refund without an amount, of which the other system took so much.
    RefundTaken {
        refund: Refund,
        taken: Money,
    },
}

/// A new account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateAccount {
    pub key: Option<String>,
    pub account: String,
    pub owner_id: String,
    pub owner_type: String,
    pub account_type: AccountType,
    pub currency: String,
    pub limits: Limits,
    pub metadata: Option<String>,
}

/// A change of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeAccount {
    pub account: String,
    pub status: Option<Status>,
    pub min: LimitChange,
    pub max: LimitChange,
}

/// What happens to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitChange {
    Keep,
    Remove,
    Set(Money),
}

/// A topup, withdrawal or transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    pub kind: MoveKind,
    pub key: String,
    pub source: String,
    pub destination: String,
    pub amount: Money,
    pub currency: String,
    pub reference: Option<String>,
    pub metadata: Option<String>,
}

/// Which move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveKind {
    Topup,
    Withdraw,
    Transfer,
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    pub key: String,
    pub named: String,
    pub original: Option<Original>,
    pub deciding_account: String,
    pub amount: Option<Money>,
    pub reason: Option<String>,
}

/// What a refund refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original {
    pub id: Uuid,
    pub source: String,
    pub destination: String,
    pub currency: String,
}

/// A step of a saga, sent by its home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub saga: Position,
    pub action: Action,
}

/// The answer to a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepDone {
    pub saga: Position,
    pub stage: Stage,
    pub done_at: Position,
    pub answer: StepAnswer,
}

/// The ids of one transaction in the two systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    pub transaction: Uuid,
    pub alias: String,
}
