//! Between the domain and its stored form: both ways, exhaustively, one table per type.
//!
//! A field or a variant that one side has and the other lacks does not compile. Reading is strict: what the domain's
//! own types exclude (an amount of zero, an account id outside the grammar) is an error, so that nothing impossible
//! reaches a decision.

use engine_domain::account::{AccountType, Limits, Status};
use engine_domain::command::{
    Alias, Body, ChangeAccount, Command, CreateAccount, LimitChange, Mode, Move, MoveKind, Refund, Refusal, Step,
    StepDone,
};
use engine_domain::event::{
    AccountCreated, AccountKey, AccountLimitsChanged, AccountStatusChanged, AliasLearnt, BalanceChanged, Event,
    FundsReserved, Guard, Reason, RefundHeld, RefundHoldReleased, ReservationReleased, SagaEnded, SagaStepCompleted,
    SagaStepFailed, SagaStepTaken, Side, TransactionCompleted, TransactionFailed, TransactionRequested,
};
use engine_domain::ids::{AccountAggregate, AccountId, CommandId, Currency, Position, Text, Timestamp, TransactionId};
use engine_domain::money::{Amount, Money};
use engine_domain::outcome::{Answer, FollowUp, Outcome};
use engine_domain::rejection::Rejection;
use engine_domain::saga::{
    Action, Awaited, Movement, OriginalPlace, Place, Posting, Request, Saga, Stage, StepAnswer, Taken, Work,
};
use engine_domain::transaction::{Content, Kind, Original};
use uuid::Uuid;
use wire::journal;
use wire::journal::{command, event, saga};
use wire::scalar::Digest;
use wire::stored::DecodeError;

/// Stored bytes are no command or outcome that this program can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They cannot be decoded. An unknown version must stop the reader: a newer program wrote it.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// They decode, but to a value that the domain excludes.
    #[error("{what} `{value}` cannot be")]
    Impossible {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
}

/// The stored bytes of a command.
pub fn encode_command(command: &Command) -> Vec<u8> {
    wire::stored::encode(&command.to_wire())
}

/// Reads a command back.
///
/// # Errors
/// [`Error`]; unless it is an unknown version, the owner decides on [`unreadable`] instead.
pub fn decode_command(bytes: &[u8]) -> Result<Command, Error> {
    Command::from_wire(wire::stored::decode(bytes)?)
}

/// The command that stands for bytes which are none: the same whoever meets them.
pub fn unreadable(bytes: &[u8], shard: u32, source_offset: u64) -> Command {
    let digest = Digest::of(bytes);
    let name = format!("unreadable/{shard}:{source_offset}/{digest}");
    Command {
        id: CommandId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())),
        at: Timestamp::default(),
        correlation_id: "unreadable".into(),
        actor: "unreadable".into(),
        mode: Mode::Authority,
        tenant: "".into(),
        keeps_refusals: false,
        alias: None,
        refusal: None,
        body: Body::Unreadable { digest: digest.0 },
    }
}

/// The stored bytes of an outcome that extends `parent`.
pub fn encode_outcome(outcome: &Outcome, parent: Digest) -> Vec<u8> {
    wire::stored::encode(&outcome_to_wire(outcome, parent))
}

/// An outcome that extends `parent`, in its stored form.
pub fn outcome_to_wire(outcome: &Outcome, parent: Digest) -> journal::Outcome {
    journal::Outcome {
        parent,
        shard: outcome.shard,
        source_offset: outcome.source_offset,
        command: outcome.command.to_wire(),
        correlation_id: outcome.correlation_id.to_wire(),
        actor: outcome.actor.to_wire(),
        mode: outcome.mode.to_wire(),
        at: outcome.at.to_wire(),
        feature: outcome.feature,
        events: outcome.events.to_wire(),
        sends: outcome.sends.to_wire(),
        answer: outcome.answer.to_wire(),
    }
}

/// Reads an outcome back; its parent has been looked at before.
///
/// # Errors
/// [`Error::Impossible`], when it holds what the domain excludes: the reader has to stop.
pub fn outcome_from_wire(outcome: journal::Outcome) -> Result<Outcome, Error> {
    Ok(Outcome {
        shard: outcome.shard,
        source_offset: outcome.source_offset,
        command: Mirror::from_wire(outcome.command)?,
        correlation_id: Mirror::from_wire(outcome.correlation_id)?,
        actor: Mirror::from_wire(outcome.actor)?,
        mode: Mirror::from_wire(outcome.mode)?,
        at: Mirror::from_wire(outcome.at)?,
        feature: outcome.feature,
        events: Mirror::from_wire(outcome.events)?,
        sends: Mirror::from_wire(outcome.sends)?,
        answer: Mirror::from_wire(outcome.answer)?,
    })
}

/// A type of the domain that has a stored form.
trait Mirror: Sized {
    type Wire;
    fn to_wire(&self) -> Self::Wire;
    fn from_wire(wire: Self::Wire) -> Result<Self, Error>;
}

fn impossible(what: &'static str, value: impl ToString) -> Error {
    Error::Impossible { what, value: value.to_string() }
}

/// Types that are the same on both sides.
macro_rules! plain {
    ($($type:ty),+) => {$(
        impl Mirror for $type {
            type Wire = $type;
            fn to_wire(&self) -> $type { *self }
            fn from_wire(wire: $type) -> Result<Self, Error> { Ok(wire) }
        }
    )+};
}
plain!(bool, u16, u32, u64);

impl<T: Mirror> Mirror for Option<T> {
    type Wire = Option<T::Wire>;
    fn to_wire(&self) -> Self::Wire {
        self.as_ref().map(T::to_wire)
    }
    fn from_wire(wire: Self::Wire) -> Result<Self, Error> {
        wire.map(T::from_wire).transpose()
    }
}

impl<T: Mirror> Mirror for Vec<T> {
    type Wire = Vec<T::Wire>;
    fn to_wire(&self) -> Self::Wire {
        self.iter().map(T::to_wire).collect()
    }
    fn from_wire(wire: Self::Wire) -> Result<Self, Error> {
        wire.into_iter().map(T::from_wire).collect()
    }
}

impl<T: Mirror> Mirror for Box<T> {
    type Wire = Box<T::Wire>;
    fn to_wire(&self) -> Self::Wire {
        Box::new(T::to_wire(self))
    }
    fn from_wire(wire: Self::Wire) -> Result<Self, Error> {
        T::from_wire(*wire).map(Box::new)
    }
}

/// Values: a domain type, its stored type, how to write it, how to read it.
macro_rules! value {
    ($domain:ty => $wire:ty, |$value:ident| $to:expr, |$stored:ident| $from:expr) => {
        impl Mirror for $domain {
            type Wire = $wire;
            fn to_wire(&self) -> $wire {
                let $value = self;
                $to
            }
            fn from_wire($stored: $wire) -> Result<Self, Error> {
                $from
            }
        }
    };
}

value!(Text => String, |text| text.to_string(), |text| Ok(text.into()));
value!(Timestamp => wire::scalar::Timestamp, |at| wire::scalar::Timestamp(at.0), |at| Ok(Timestamp(at.0)));
value!(TransactionId => Uuid, |id| id.0, |id| Ok(TransactionId(id)));
value!(CommandId => Uuid, |id| id.0, |id| Ok(CommandId(id)));
value!([u8; 32] => Digest, |digest| Digest(*digest), |digest| Ok(digest.0));
value!(Content => journal::Content,
    |content| journal::Content(content.0.to_be_bytes()),
    |content| Ok(Content(u128::from_be_bytes(content.0))));
value!(AccountId => String,
    |id| id.as_str().to_owned(),
    |id| AccountId::new(&id).ok_or_else(|| impossible("account id", id)));
value!(Currency => String,
    |currency| currency.as_str().to_owned(),
    |currency| Currency::new(&currency).ok_or_else(|| impossible("currency", currency)));
value!(Money => wire::scalar::Money,
    |money| wire::scalar::Money(money.decimal()),
    |money| Money::new(money.0).ok_or_else(|| impossible("money", money)));
value!(Amount => wire::scalar::Money,
    |amount| amount.money().to_wire(),
    |amount| Money::new(amount.0).and_then(Amount::new).ok_or_else(|| impossible("amount", amount)));
value!(Mode => wire::words::Mode,
|mode| match mode {
    Mode::Authority => wire::words::Mode::Authority,
    Mode::Shadow => wire::words::Mode::Shadow,
    Mode::ShadowRefused => wire::words::Mode::ShadowRefused,
    Mode::Forced => wire::words::Mode::Forced,
},
|mode| match mode {
    wire::words::Mode::Authority => Ok(Mode::Authority),
    wire::words::Mode::Shadow => Ok(Mode::Shadow),
    wire::words::Mode::ShadowRefused => Ok(Mode::ShadowRefused),
    wire::words::Mode::Forced => Ok(Mode::Forced),
    // History is imported by commands of its own kind, which this feature does not have.
    wire::words::Mode::Import => Err(impossible("mode", mode)),
});

/// What the authority took stands beside the refund: version 1 of a command had no place for it.
impl Mirror for Body {
    type Wire = command::Body;

    fn to_wire(&self) -> command::Body {
        match self {
            Body::CreateAccount(it) => command::Body::CreateAccount(it.to_wire()),
            Body::ChangeAccount(it) => command::Body::ChangeAccount(it.to_wire()),
            Body::Move(it) => command::Body::Move(it.to_wire()),
            Body::Refund(it) => match it.taken {
                None => command::Body::Refund(refund_to_wire(it)),
                Some(taken) => command::Body::RefundTaken { refund: refund_to_wire(it), taken: taken.to_wire() },
            },
            Body::Step(it) => command::Body::Step(it.to_wire()),
            Body::StepDone(it) => command::Body::StepDone(it.to_wire()),
            Body::Aliases(it) => command::Body::Aliases(it.to_wire()),
            Body::Unreadable { digest } => command::Body::Unreadable { digest: digest.to_wire() },
        }
    }

    fn from_wire(wire: command::Body) -> Result<Self, Error> {
        Ok(match wire {
            command::Body::CreateAccount(it) => Body::CreateAccount(Mirror::from_wire(it)?),
            command::Body::ChangeAccount(it) => Body::ChangeAccount(Mirror::from_wire(it)?),
            command::Body::Move(it) => Body::Move(Mirror::from_wire(it)?),
            command::Body::Refund(it) => Body::Refund(refund_from_wire(it, None)?),
            command::Body::RefundTaken { refund, taken } => {
                Body::Refund(refund_from_wire(refund, Some(Mirror::from_wire(taken)?))?)
            }
            command::Body::Step(it) => Body::Step(Mirror::from_wire(it)?),
            command::Body::StepDone(it) => Body::StepDone(Mirror::from_wire(it)?),
            command::Body::Aliases(it) => Body::Aliases(Mirror::from_wire(it)?),
            command::Body::Unreadable { digest } => Body::Unreadable { digest: Mirror::from_wire(digest)? },
        })
    }
}

fn refund_to_wire(refund: &Refund) -> command::Refund {
    let Refund { key, named, original, deciding_account, amount, taken: _, reason } = refund;
    command::Refund {
        key: key.to_wire(),
        named: named.to_wire(),
        original: original.to_wire(),
        deciding_account: deciding_account.to_wire(),
        amount: amount.to_wire(),
        reason: reason.to_wire(),
    }
}

fn refund_from_wire(wire: command::Refund, taken: Option<Amount>) -> Result<Refund, Error> {
    let command::Refund { key, named, original, deciding_account, amount, reason } = wire;
    Ok(Refund {
        key: Mirror::from_wire(key)?,
        named: Mirror::from_wire(named)?,
        original: Mirror::from_wire(original)?,
        deciding_account: Mirror::from_wire(deciding_account)?,
        amount: Mirror::from_wire(amount)?,
        taken,
        reason: Mirror::from_wire(reason)?,
    })
}

/// Structs of the same fields on both sides.
macro_rules! structs {
    ($($domain:ident = $module:ident { $($field:ident),+ $(,)? })+) => {$(
        impl Mirror for $domain {
            type Wire = $module::$domain;
            fn to_wire(&self) -> Self::Wire {
                $module::$domain { $($field: self.$field.to_wire()),+ }
            }
            fn from_wire(wire: Self::Wire) -> Result<Self, Error> {
                Ok(Self { $($field: Mirror::from_wire(wire.$field)?),+ })
            }
        }
    )+};
}

structs! {
    Command = command { id, at, correlation_id, actor, mode, tenant, keeps_refusals, alias, refusal, body }
    Refusal = command { status, code, body }
    CreateAccount = command { key, account, owner_id, owner_type, account_type, currency, limits, metadata }
    ChangeAccount = command { account, status, min, max }
    Move = command { kind, key, source, destination, amount, currency, reference, metadata }
    Original = command { id, source, destination, currency }
    Step = command { saga, action }
    StepDone = command { saga, stage, done_at, answer }
    Alias = command { transaction, alias }

    Saga = saga { id, version, request, work, guarded, taken, awaited }
    Request = saga { command, correlation_id, actor, mode, keeps_refusals }
    Movement = saga { transaction, kind, source, destination, amount, currency, original }
    OriginalPlace = saga { transaction, shard }
    Place = saga { account, shard }
    Awaited = saga { shard, action }
    Taken = saga { stage, done_at, answer }
    Posting = saga { transaction, kind, account, amount, currency }

    Limits = event { min, max }
    AccountAggregate = event { id, stripe }
    AccountCreated = event {
        aggregate, version, owner_id, owner_type, account_type, currency, limits, metadata, key,
    }
    AccountKey = event { tenant, key, transaction, content }
    AccountStatusChanged = event { aggregate, version, from, to }
    AccountLimitsChanged = event { aggregate, version, from, to }
    BalanceChanged = event {
        aggregate, version, currency, balance_before, balance_after, reserved_after, reason, transaction,
    }
    FundsReserved = event { aggregate, version, transaction, amount, reserved_after }
    ReservationReleased = event { aggregate, version, transaction, amount, reserved_after }
    TransactionRequested = event {
        transaction, version, kind, tenant, deciding_account, key, content, source, destination, amount, currency,
        reference, metadata, original_named, original, reason, alias,
    }
    TransactionCompleted = event {
        transaction, version, kind, amount, currency, source, destination, original, would_refuse, position,
        completed_at,
    }
    Side = event { account, account_type, balance_before, balance_after, version }
    TransactionFailed = event {
        transaction, version, kind, rejection, kept, elsewhere, position, completed_at,
    }
    RefundHeld = event { transaction, version, refund, amount, refunded_after }
    RefundHoldReleased = event { transaction, version, refund, amount, refunded_after }
    AliasLearnt = event { transaction, version, alias }
    SagaStepCompleted = event { saga, version, taken, awaited }
    SagaStepFailed = event { saga, version, taken, awaited }
    SagaEnded = event { saga, version, transaction }
    SagaStepTaken = event { saga, stage, done_at, answer, guard }

    Position = journal { shard, offset }
    FollowUp = journal { shard, command }
}

/// Enums of the same variants on both sides: without fields, with one unnamed field `(x)`, or with named fields.
macro_rules! enums {
    ($($domain:ident = $module:ident {
        $($variant:ident $(($one:ident))? $({ $($field:ident),+ })?),+ $(,)?
    })+) => {$(
        impl Mirror for $domain {
            type Wire = $module::$domain;
            fn to_wire(&self) -> Self::Wire {
                match self {
                    $(Self::$variant $(($one))? $({ $($field),+ })? =>
                        $module::$domain::$variant $(($one.to_wire()))? $({ $($field: $field.to_wire()),+ })?,)+
                }
            }
            fn from_wire(wire: Self::Wire) -> Result<Self, Error> {
                Ok(match wire {
                    $($module::$domain::$variant $(($one))? $({ $($field),+ })? =>
                        Self::$variant $((Mirror::from_wire($one)?))? $({ $($field: Mirror::from_wire($field)?),+ })?,)+
                })
            }
        }
    )+};
}

enums! {
    AccountType = event { User, External, System }
    Status = event { Active, Frozen, Closed }
    Kind = event { Topup, Withdraw, Transfer, Refund }
    Reason = event { Debit, Credit, Compensation, InTransit }
    Guard = event { Raised(account), Lowered(account) }
    Rejection = event {
        SameAccount, DuplicateKey, OriginalNotFound, NotRefundable, RefundExceedsOriginal, AccountExists,
        AccountNotFound, AccountTypeNotAllowed, AccountFrozen, AccountClosed, CurrencyMismatch, InsufficientBalance,
        BalanceLimitExceeded, BalanceOverflow, InvalidLimits, LimitsFixed, AccountNotEmpty, OpenSteps,
    }
    Event = event {
        AccountCreated(it), AccountStatusChanged(it), AccountLimitsChanged(it), BalanceChanged(it), FundsReserved(it),
        ReservationReleased(it), TransactionRequested(it), TransactionCompleted(it), TransactionFailed(it),
        RefundHeld(it), RefundHoldReleased(it), AliasLearnt(it), SagaStarted(it), SagaStepCompleted(it),
        SagaStepFailed(it), SagaCompensated(it), SagaCompleted(it), SagaStepTaken(it),
    }

    MoveKind = command { Topup, Withdraw, Transfer }
    LimitChange = command { Keep, Remove, Set(limit) }

    Work = saga {
        Transaction(it), OpenStripes { account, key }, SetStripes { account, from, to, would_refuse },
    }
    Stage = saga {
        Hold, Reserve, Debit, Credit, Release, GiveBack, Unhold, OpenStripe, BlockStripe, SetStripe, UnblockStripe,
        AskStripe,
    }
    Action = saga {
        Hold { original, refund, amount }, Reserve(it), Debit { posting, reserved }, Credit(it),
        Release { transaction, account, left }, GiveBack { posting, reserved }, Unhold { original, refund, amount },
        OpenStripe(it), BlockStripe(it), SetStripe { account, status }, UnblockStripe { account, status },
        AskStripe(it),
    }
    StepAnswer = saga {
        Done, Refused(rejection), Held { amount, counted, would_refuse }, Reserved { would_refuse },
        Moved { side, would_refuse }, Blocked { balance, open },
    }

    Answer = journal {
        None, Final { to, transaction, replay }, Running { to, transaction },
        Refused { to, transaction, rejection }, Dry { to, transaction, would_refuse },
        Account { to, transaction, account, replay, would_refuse }, Noted { to }, Unreadable,
    }
}

pub(crate) mod snapshot;
#[cfg(test)]
mod tests;
