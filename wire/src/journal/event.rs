//! What happened, as outcomes keep it.

#![expect(missing_docs, reason = "mirrors the domain's types of the same names, which explain the fields")]

use super::command::Refusal;
use super::saga::{Awaited, Saga, Stage, StepAnswer, Taken};
use super::{Content, Position};
use crate::scalar::{Money, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    AccountCreated(AccountCreated),
    AccountStatusChanged(AccountStatusChanged),
    AccountLimitsChanged(AccountLimitsChanged),
    BalanceChanged(BalanceChanged),
    FundsReserved(FundsReserved),
    ReservationReleased(ReservationReleased),
    TransactionRequested(Box<TransactionRequested>),
    TransactionCompleted(Box<TransactionCompleted>),
    TransactionFailed(TransactionFailed),
    RefundHeld(RefundHeld),
    RefundHoldReleased(RefundHoldReleased),
    AliasLearnt(AliasLearnt),
    SagaStarted(Box<Saga>),
    SagaStepCompleted(SagaStepCompleted),
    SagaStepFailed(SagaStepFailed),
    SagaCompensated(SagaEnded),
    SagaCompleted(SagaEnded),
    SagaStepTaken(SagaStepTaken),
}

/// `USER`, `EXTERNAL`, `SYSTEM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AccountType {
    User,
    External,
    System,
}

/// `ACTIVE`, `FROZEN`, `CLOSED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    Active,
    Frozen,
    Closed,
}

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Topup,
    Withdraw,
    Transfer,
    Refund,
}

/// A rule that refuses; named in JSON as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    SameAccount,
    DuplicateKey,
    OriginalNotFound,
    NotRefundable,
    RefundExceedsOriginal,
    AccountExists,
    AccountNotFound,
    AccountTypeNotAllowed,
    AccountFrozen,
    AccountClosed,
    CurrencyMismatch,
    InsufficientBalance,
    BalanceLimitExceeded,
    BalanceOverflow,
    InvalidLimits,
    LimitsFixed,
    AccountNotEmpty,
    OpenSteps,
}

/// Between what a balance has to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub min: Option<Money>,
    pub max: Option<Money>,
}

/// An account as one shard keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountAggregate {
    pub id: String,
    pub stripe: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountCreated {
    pub aggregate: AccountAggregate,
    pub version: u64,
    pub owner_id: String,
    pub owner_type: String,
    pub account_type: AccountType,
    pub currency: String,
    pub limits: Limits,
    pub metadata: Option<String>,
    pub key: Option<AccountKey>,
}

/// The key that an account was made under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountKey {
    pub tenant: String,
    pub key: String,
    pub transaction: Uuid,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountStatusChanged {
    pub aggregate: AccountAggregate,
    pub version: u64,
    pub from: Status,
    pub to: Status,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLimitsChanged {
    pub aggregate: AccountAggregate,
    pub version: u64,
    pub from: Limits,
    pub to: Limits,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceChanged {
    pub aggregate: AccountAggregate,
    pub version: u64,
    pub currency: String,
    pub balance_before: Money,
    pub balance_after: Money,
    pub reserved_after: Money,
    pub reason: Reason,
    pub transaction: Uuid,
}

/// Why a balance changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    Debit,
    Credit,
    Compensation,
    InTransit,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FundsReserved {
    pub aggregate: AccountAggregate,
    pub version: u64,
    pub transaction: Uuid,
    pub amount: Money,
    pub reserved_after: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationReleased {
    pub aggregate: AccountAggregate,
    pub version: u64,
    pub transaction: Uuid,
    pub amount: Money,
    pub reserved_after: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionRequested {
    pub transaction: Uuid,
    pub version: u64,
    pub kind: Kind,
    pub tenant: String,
    pub deciding_account: String,
    pub key: String,
    pub content: Content,
    pub source: Option<String>,
    pub destination: Option<String>,
    pub amount: Option<Money>,
    pub currency: Option<String>,
    pub reference: Option<String>,
    pub metadata: Option<String>,
    pub original_named: Option<String>,
    pub original: Option<Uuid>,
    pub reason: Option<String>,
    pub alias: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionCompleted {
    pub transaction: Uuid,
    pub version: u64,
    pub kind: Kind,
    pub amount: Money,
    pub currency: String,
    pub source: Side,
    pub destination: Side,
    pub original: Option<Uuid>,
    pub would_refuse: Option<Rejection>,
    pub position: Vec<Position>,
    pub completed_at: Timestamp,
}

/// One side of a completed transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    pub account: String,
    pub account_type: AccountType,
    pub balance_before: Money,
    pub balance_after: Money,
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionFailed {
    pub transaction: Uuid,
    pub version: u64,
    pub kind: Kind,
    pub rejection: Rejection,
    pub kept: bool,
    pub elsewhere: Option<Refusal>,
    pub position: Vec<Position>,
    pub completed_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundHeld {
    pub transaction: Uuid,
    pub version: u64,
    pub refund: Uuid,
    pub amount: Money,
    pub refunded_after: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundHoldReleased {
    pub transaction: Uuid,
    pub version: u64,
    pub refund: Uuid,
    pub amount: Money,
    pub refunded_after: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasLearnt {
    pub transaction: Uuid,
    pub version: u64,
    pub alias: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaStepCompleted {
    pub saga: Position,
    pub version: u64,
    pub taken: Taken,
    pub awaited: Option<Awaited>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaStepFailed {
    pub saga: Position,
    pub version: u64,
    pub taken: Taken,
    pub awaited: Option<Awaited>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaEnded {
    pub saga: Position,
    pub version: u64,
    pub transaction: Option<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaStepTaken {
    pub saga: Position,
    pub stage: Stage,
    pub done_at: Position,
    pub answer: StepAnswer,
    pub guard: Option<Guard>,
}

/// Keeps an account from being closed while a saga of another shard may come back to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    Raised(String),
    Lowered(String),
}
