//! Events: what happened. Each names its aggregate and that aggregate's version; time, correlation, causation and
//! actor stand once in the outcome around them.

use crate::account::{AccountType, Limits, Status};
use crate::command::Refusal;
use crate::ids::{AccountAggregate, AccountId, Currency, Position, SagaId, Text, Timestamp, TransactionId};
use crate::money::{Amount, Money};
use crate::rejection::Rejection;
use crate::saga::{Awaited, Saga, Stage, StepAnswer, Taken};
use crate::transaction::{Content, Kind};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An account, or a stripe of one, is there.
    AccountCreated(AccountCreated),
    /// It has another status.
    AccountStatusChanged(AccountStatusChanged),
    /// It has other limits.
    AccountLimitsChanged(AccountLimitsChanged),
    /// Money came or went.
    BalanceChanged(BalanceChanged),
    /// Money was set aside.
    FundsReserved(FundsReserved),
    /// A reservation ended.
    ReservationReleased(ReservationReleased),
    /// Somebody asked for a transaction.
    TransactionRequested(Box<TransactionRequested>),
    /// It is done.
    TransactionCompleted(Box<TransactionCompleted>),
    /// It is refused, and whatever was done of it is undone.
    TransactionFailed(TransactionFailed),
    /// A part of a transaction is set aside for a refund.
    RefundHeld(RefundHeld),
    /// That part is free again.
    RefundHoldReleased(RefundHoldReleased),
    /// The id of a transaction at the other system is known.
    AliasLearnt(AliasLearnt),
    /// A transaction or a change of a shared account needs other shards.
    SagaStarted(Box<Saga>),
    /// A step of it is done.
    SagaStepCompleted(SagaStepCompleted),
    /// A step of it is refused.
    SagaStepFailed(SagaStepFailed),
    /// Everything done of it is undone.
    SagaCompensated(SagaEnded),
    /// All of it is done.
    SagaCompleted(SagaEnded),
    /// This shard did, or refused, a step for a saga of another shard.
    SagaStepTaken(SagaStepTaken),
}

/// See [`Event::AccountCreated`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountCreated {
    /// The account or stripe.
    pub aggregate: AccountAggregate,
    /// Its version with this event.
    pub version: u64,
    /// Who owns it.
    pub owner_id: Text,
    /// What kind of owner that is.
    pub owner_type: Text,
    /// Its type.
    pub account_type: AccountType,
    /// Its currency.
    pub currency: Currency,
    /// Its limits.
    pub limits: Limits,
    /// Free data of the owner: JSON.
    pub metadata: Option<Text>,
    /// The key it was made under, at its home.
    pub key: Option<AccountKey>,
}

/// The key that an account was made under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountKey {
    /// Scopes the key.
    pub tenant: Text,
    /// The key itself.
    pub key: Text,
    /// The id that it stands for.
    pub transaction: TransactionId,
    /// What it stands for.
    pub content: Content,
}

/// See [`Event::AccountStatusChanged`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountStatusChanged {
    /// The account or stripe.
    pub aggregate: AccountAggregate,
    /// Its version with this event.
    pub version: u64,
    /// The status before.
    pub from: Status,
    /// The status now.
    pub to: Status,
}

/// See [`Event::AccountLimitsChanged`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountLimitsChanged {
    /// The account.
    pub aggregate: AccountAggregate,
    /// Its version with this event.
    pub version: u64,
    /// The limits before.
    pub from: Limits,
    /// The limits now.
    pub to: Limits,
}

/// See [`Event::BalanceChanged`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceChanged {
    /// The account or stripe.
    pub aggregate: AccountAggregate,
    /// Its version with this event.
    pub version: u64,
    /// Its currency.
    pub currency: Currency,
    /// The balance before.
    pub balance_before: Money,
    /// The balance now.
    pub balance_after: Money,
    /// The part set aside, now: a debit may draw on a reservation.
    pub reserved_after: Money,
    /// Why.
    pub reason: Reason,
    /// The transaction.
    pub transaction: TransactionId,
}

/// Why a balance changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The account is the source.
    Debit,
    /// The account is the destination.
    Credit,
    /// A debit is undone.
    Compensation,
    /// The other side is, or was, on another shard.
    InTransit,
}

impl Reason {
    /// As it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Debit => "debit",
            Reason::Credit => "credit",
            Reason::Compensation => "compensation",
            Reason::InTransit => "in-transit",
        }
    }
}

/// See [`Event::FundsReserved`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FundsReserved {
    /// The account.
    pub aggregate: AccountAggregate,
    /// Its version with this event.
    pub version: u64,
    /// The transaction that the money is set aside for.
    pub transaction: TransactionId,
    /// How much.
    pub amount: Amount,
    /// The part set aside, now.
    pub reserved_after: Money,
}

/// See [`Event::ReservationReleased`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationReleased {
    /// The account.
    pub aggregate: AccountAggregate,
    /// Its version with this event.
    pub version: u64,
    /// The transaction that the money was set aside for.
    pub transaction: TransactionId,
    /// What was left of it: nothing, unless the transaction failed.
    pub amount: Money,
    /// The part set aside, now.
    pub reserved_after: Money,
}

/// See [`Event::TransactionRequested`]. Everything that the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRequested {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its version with this event.
    pub version: u64,
    /// Its kind.
    pub kind: Kind,
    /// Scopes the key.
    pub tenant: Text,
    /// The account in whose scope the key is; of a refund without a known original, the name of that original.
    pub deciding_account: Text,
    /// The idempotency key.
    pub key: Text,
    /// What the key stands for.
    pub content: Content,
    /// The account to be debited; `None` for a refund without a known original.
    pub source: Option<AccountId>,
    /// The account to be credited; `None` as above.
    pub destination: Option<AccountId>,
    /// The amount asked for; `None` for a refund of everything that is left.
    pub amount: Option<Amount>,
    /// Its currency; `None` for a refund without a known original.
    pub currency: Option<Currency>,
    /// The client's reference.
    pub reference: Option<Text>,
    /// The client's data: JSON.
    pub metadata: Option<Text>,
    /// For a refund: the original, by the name that the client used.
    pub original_named: Option<Text>,
    /// For a refund: the original, if known.
    pub original: Option<TransactionId>,
    /// For a refund: the client's reason.
    pub reason: Option<Text>,
    /// The transaction's id at the other system.
    pub alias: Option<Text>,
}

/// See [`Event::TransactionCompleted`]. Together with the request, all that a result shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionCompleted {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its version with this event.
    pub version: u64,
    /// Its kind.
    pub kind: Kind,
    /// How much moved.
    pub amount: Amount,
    /// Its currency.
    pub currency: Currency,
    /// The account debited.
    pub source: Side,
    /// The account credited.
    pub destination: Side,
    /// For a refund: the original.
    pub original: Option<TransactionId>,
    /// Under force: the rule that was overruled.
    pub would_refuse: Option<Rejection>,
    /// The outcomes that touched it, one per shard; first the one that moved the deciding account.
    pub position: Vec<Position>,
    /// When.
    pub completed_at: Timestamp,
}

/// One side of a completed transaction. For a shared account the levels are those of a stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The account.
    pub account: AccountId,
    /// Its type: only a USER's levels are shown to clients.
    pub account_type: AccountType,
    /// The balance before.
    pub balance_before: Money,
    /// The balance after.
    pub balance_after: Money,
    /// The account's version after.
    pub version: u64,
}

impl Side {
    /// What moved: negative for a debit.
    pub fn movement(&self) -> Money {
        self.balance_after.minus(self.balance_before)
    }
}

/// See [`Event::TransactionFailed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionFailed {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its version with this event.
    pub version: u64,
    /// Its kind.
    pub kind: Kind,
    /// The rule that refused it.
    pub rejection: Rejection,
    /// Whether it keeps its key and its place in the history; if not, it is as if it had never been asked for.
    pub kept: bool,
    /// The other system's answer, if that one refused it as authority.
    pub elsewhere: Option<Refusal>,
    /// The outcome that refused it.
    pub position: Vec<Position>,
    /// When.
    pub completed_at: Timestamp,
}

/// See [`Event::RefundHeld`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundHeld {
    /// The original.
    pub transaction: TransactionId,
    /// The original's version with this event.
    pub version: u64,
    /// The refund.
    pub refund: TransactionId,
    /// How much.
    pub amount: Amount,
    /// What is refunded or held of the original, now.
    pub refunded_after: Money,
}

/// See [`Event::RefundHoldReleased`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundHoldReleased {
    /// The original.
    pub transaction: TransactionId,
    /// The original's version with this event.
    pub version: u64,
    /// The refund.
    pub refund: TransactionId,
    /// How much.
    pub amount: Amount,
    /// What is refunded or held of the original, now.
    pub refunded_after: Money,
}

/// See [`Event::AliasLearnt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasLearnt {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its version with this event.
    pub version: u64,
    /// Its id at the other system.
    pub alias: Text,
}

/// See [`Event::SagaStepCompleted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaStepCompleted {
    /// The saga.
    pub saga: SagaId,
    /// Its version with this event.
    pub version: u64,
    /// The step.
    pub taken: Taken,
    /// What the saga waits for next, if this is the last step done at once.
    pub awaited: Option<Awaited>,
}

/// See [`Event::SagaStepFailed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaStepFailed {
    /// The saga.
    pub saga: SagaId,
    /// Its version with this event.
    pub version: u64,
    /// The step.
    pub taken: Taken,
    /// What the saga waits for next, if this is the last step done at once.
    pub awaited: Option<Awaited>,
}

/// See [`Event::SagaCompleted`] and [`Event::SagaCompensated`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaEnded {
    /// The saga.
    pub saga: SagaId,
    /// Its version with this event.
    pub version: u64,
    /// What the key of its request stands for, as [`Work::transaction`](crate::saga::Work::transaction) says; `None` also in
    /// events from before they said it.
    pub transaction: Option<TransactionId>,
}

/// See [`Event::SagaStepTaken`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaStepTaken {
    /// The saga, of another shard.
    pub saga: SagaId,
    /// The step.
    pub stage: Stage,
    /// This outcome.
    pub done_at: Position,
    /// What became of it; repeated whenever the same step is asked again.
    pub answer: StepAnswer,
    /// Whether an account is to be kept open for what may come back to it.
    pub guard: Option<Guard>,
}

/// Keeps an account from being closed while a saga of another shard may come back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// From now on.
    Raised(AccountId),
    /// No longer.
    Lowered(AccountId),
}

impl Event {
    /// Its public name, as the roadmap has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Event::AccountCreated(_) => "AccountCreated",
            Event::AccountStatusChanged(_) => "AccountStatusChanged",
            Event::AccountLimitsChanged(_) => "AccountLimitsChanged",
            Event::BalanceChanged(_) => "BalanceChanged",
            Event::FundsReserved(_) => "FundsReserved",
            Event::ReservationReleased(_) => "ReservationReleased",
            Event::TransactionRequested(requested) => match requested.kind {
                Kind::Topup => "TopupRequested",
                Kind::Withdraw => "WithdrawalRequested",
                Kind::Transfer => "TransferRequested",
                Kind::Refund => "RefundRequested",
            },
            Event::TransactionCompleted(completed) => match completed.kind {
                Kind::Topup => "TopupCompleted",
                Kind::Withdraw => "WithdrawalCompleted",
                Kind::Transfer => "TransferCompleted",
                Kind::Refund => "RefundCompleted",
            },
            Event::TransactionFailed(failed) => match failed.kind {
                Kind::Topup => "TopupFailed",
                Kind::Withdraw => "WithdrawalFailed",
                Kind::Transfer => "TransferFailed",
                Kind::Refund => "RefundFailed",
            },
            Event::RefundHeld(_) => "RefundHeld",
            Event::RefundHoldReleased(_) => "RefundHoldReleased",
            Event::AliasLearnt(_) => "AliasLearnt",
            Event::SagaStarted(_) => "SagaStarted",
            Event::SagaStepCompleted(_) => "SagaStepCompleted",
            Event::SagaStepFailed(_) => "SagaStepFailed",
            Event::SagaCompensated(_) => "SagaCompensated",
            Event::SagaCompleted(_) => "SagaCompleted",
            Event::SagaStepTaken(_) => "SagaStepTaken",
        }
    }

    /// The account it changes, if it belongs to one.
    pub fn account(&self) -> Option<&AccountId> {
        match self.aggregate().0 {
            Aggregate::Account(aggregate) => Some(&aggregate.id),
            Aggregate::Transaction(_) | Aggregate::Saga(_) | Aggregate::Step(..) => None,
        }
    }

    /// The aggregate it belongs to, and that aggregate's version with it.
    pub fn aggregate(&self) -> (Aggregate<'_>, u64) {
        match self {
            Event::AccountCreated(event) => (Aggregate::Account(&event.aggregate), event.version),
            Event::AccountStatusChanged(event) => (Aggregate::Account(&event.aggregate), event.version),
            Event::AccountLimitsChanged(event) => (Aggregate::Account(&event.aggregate), event.version),
            Event::BalanceChanged(event) => (Aggregate::Account(&event.aggregate), event.version),
            Event::FundsReserved(event) => (Aggregate::Account(&event.aggregate), event.version),
            Event::ReservationReleased(event) => (Aggregate::Account(&event.aggregate), event.version),
            Event::TransactionRequested(event) => (Aggregate::Transaction(event.transaction), event.version),
            Event::TransactionCompleted(event) => (Aggregate::Transaction(event.transaction), event.version),
            Event::TransactionFailed(event) => (Aggregate::Transaction(event.transaction), event.version),
            Event::RefundHeld(event) => (Aggregate::Transaction(event.transaction), event.version),
            Event::RefundHoldReleased(event) => (Aggregate::Transaction(event.transaction), event.version),
            Event::AliasLearnt(event) => (Aggregate::Transaction(event.transaction), event.version),
            Event::SagaStarted(saga) => (Aggregate::Saga(saga.id), saga.version),
            Event::SagaStepCompleted(event) => (Aggregate::Saga(event.saga), event.version),
            Event::SagaStepFailed(event) => (Aggregate::Saga(event.saga), event.version),
            Event::SagaCompensated(event) | Event::SagaCompleted(event) => (Aggregate::Saga(event.saga), event.version),
            Event::SagaStepTaken(event) => (Aggregate::Step(event.saga, event.stage, event.done_at.shard), 1),
        }
    }
}

/// What an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate<'a> {
    /// An account or stripe.
    Account(&'a AccountAggregate),
    /// A transaction.
    Transaction(TransactionId),
    /// A saga, at its home.
    Saga(SagaId),
    /// A step of another shard's saga.
    Step(SagaId, Stage, u32),
}

/// The aggregate's id as text, unique over all aggregates of the ledger.
impl std::fmt::Display for Aggregate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Aggregate::Account(aggregate) => write!(f, "{aggregate}"),
            Aggregate::Transaction(transaction) => write!(f, "{transaction}"),
            Aggregate::Saga(saga) => write!(f, "saga:{saga}"),
            Aggregate::Step(saga, stage, shard) => write!(f, "saga:{saga}/{stage:?}#{shard}"),
        }
    }
}
