//! Commands: what a shard is asked to do, by clients (through the API) or by other shards.

use crate::account::{AccountType, Limits, Status};
use crate::ids::{AccountId, CommandId, Currency, Position, SagaId, Text, Timestamp, TransactionId};
use crate::money::{Amount, Money};
use crate::saga::{Action, Stage, StepAnswer};
use crate::transaction::{Content, Kind, Original};
use xxhash_rust::xxh3::xxh3_128;

/// One command, with its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its id; who waits for the answer, waits for it.
    pub id: CommandId,
    /// When it was written, by the writer's clock; decisions go by the log's time instead.
    pub at: Timestamp,
    /// Follows the request everywhere.
    pub correlation_id: Text,
    /// Who asked.
    pub actor: Text,
    /// How it is to be executed.
    pub mode: Mode,
    /// Scopes the key; empty when none was named.
    pub tenant: Text,
    /// Whether a refusal takes the key (`refusal_keeps_key`).
    pub keeps_refusals: bool,
    /// The transaction's id at the other system.
    pub alias: Option<Text>,
    /// With [`Mode::ShadowRefused`]: what the authority answered.
    pub refusal: Option<Refusal>,
    /// What is asked.
    pub body: Body,
}

/// How a command is to be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Rules apply, side effects go out.
    Authority,
    /// Rules apply, no side effects; a refusal for a reason of state leaves no trace.
    Shadow,
    /// The authority refused: decided dry, nothing moves, the authority's refusal is kept under the key.
    ShadowRefused,
    /// Booked whatever the state says; the answer names the refusal it would have been.
    Forced,
}

/// A refusal by the other system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its HTTP status.
    pub status: u16,
    /// Its code.
    pub code: Text,
    /// Its body.
    pub body: Text,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A new account. Goes to the account's home.
    CreateAccount(CreateAccount),
    /// Another status, other limits. Goes to the account's home.
    ChangeAccount(ChangeAccount),
    /// Topup, withdraw, transfer. Goes to the home of the deciding account.
    Move(Move),
    /// Money back along an earlier transaction. Goes to the home of the deciding account.
    Refund(Refund),
    /// A step of a saga whose home is another shard.
    Step(Step),
    /// What became of a step that this shard's saga waits for.
    StepDone(StepDone),
    /// Ids at the other system. Goes to the home of the transactions.
    Aliases(Vec<Alias>),
    /// What cannot be read as a command: it still gets its outcome.
    Unreadable {
        /// The SHA-256 of the bytes.
        digest: [u8; 32],
    },
}

/// A new account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateAccount {
    /// The idempotency key, if the client gave one.
    pub key: Option<Text>,
    /// Its id.
    pub account: AccountId,
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
    /// Free data of the owner: JSON, opaque here.
    pub metadata: Option<Text>,
}

/// A change of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeAccount {
    /// The account.
    pub account: AccountId,
    /// The new status.
    pub status: Option<Status>,
    /// What happens to the lower limit.
    pub min: LimitChange,
    /// What happens to the upper limit.
    pub max: LimitChange,
}

/// What happens to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// It goes away.
    Remove,
    /// It becomes this.
    Set(Money),
}

impl LimitChange {
    /// The limit after the change.
    pub fn applied_to(self, limit: Option<Money>) -> Option<Money> {
        match self {
            LimitChange::Keep => limit,
            LimitChange::Remove => None,
            LimitChange::Set(limit) => Some(limit),
        }
    }
}

/// A topup, withdrawal or transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which of them; never a refund.
    pub kind: MoveKind,
    /// The idempotency key.
    pub key: Text,
    /// Where it comes from.
    pub source: AccountId,
    /// Where it goes.
    pub destination: AccountId,
    /// How much.
    pub amount: Amount,
    /// The currency of the amount.
    pub currency: Currency,
    /// The client's reference.
    pub reference: Option<Text>,
    /// The client's data: JSON, opaque here.
    pub metadata: Option<Text>,
}

/// Which move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MoveKind {
    /// EXTERNAL or SYSTEM → USER.
    Topup,
    /// USER → EXTERNAL or SYSTEM.
    Withdraw,
    /// USER → any.
    Transfer,
}

impl MoveKind {
    /// As a kind of transaction.
    pub const fn kind(self) -> Kind {
        match self {
            MoveKind::Topup => Kind::Topup,
            MoveKind::Withdraw => Kind::Withdraw,
            MoveKind::Transfer => Kind::Transfer,
        }
    }
}

impl Move {
    /// The account that decides where it is decided, and in whose scope the key is.
    pub fn deciding_account(&self) -> &AccountId {
        match self.kind {
            MoveKind::Topup => &self.destination,
            MoveKind::Withdraw | MoveKind::Transfer => &self.source,
        }
    }
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The idempotency key.
    pub key: Text,
    /// The original, by the name that the client used.
    pub named: Text,
    /// The original; `None` when no shard knows a transaction of that name.
    pub original: Option<Original>,
    /// The account that decides: the one debited if it is limited, else the one credited; for an unknown original
    /// its name.
    pub deciding_account: Text,
    /// How much; `None` is everything that is left.
    pub amount: Option<Amount>,
    /// Of a leg without an amount: what the authority took. What is left depends on the order of decisions, which may
    /// be another one here; no part of what the key stands for.
    pub taken: Option<Amount>,
    /// The client's reason.
    pub reason: Option<Text>,
}

/// A step of a saga, sent by its home. A shard is asked for each stage of a saga at most once; the same stage again
/// is a repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The saga: the position of the command that began it, so also the home to answer to.
    pub saga: SagaId,
    /// What is to be done.
    pub action: Action,
}

/// The answer to a [`Step`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepDone {
    /// The saga.
    pub saga: SagaId,
    /// The stage that was asked for.
    pub stage: Stage,
    /// The outcome in which it was done.
    pub done_at: Position,
    /// What became of it.
    pub answer: StepAnswer,
}

/// The ids of one transaction in the two systems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// This system's.
    pub transaction: TransactionId,
    /// The other system's.
    pub alias: Text,
}

impl Command {
    /// The transaction id that the command's key stands for; `None` for a command without a key.
    pub fn transaction_id(&self) -> Option<TransactionId> {
        let derive = |account: &str, key: &str| TransactionId::derive(&self.tenant, account, key);
        match &self.body {
            Body::CreateAccount(create) => create.key.as_deref().map(|key| derive(create.account.as_str(), key)),
            Body::Move(request) => Some(derive(request.deciding_account().as_str(), &request.key)),
            Body::Refund(refund) => Some(derive(&refund.deciding_account, &refund.key)),
            Body::ChangeAccount(_) | Body::Step(_) | Body::StepDone(_) | Body::Aliases(_) | Body::Unreadable { .. } => {
                None
            }
        }
    }
}

impl CreateAccount {
    /// What the key stands for.
    pub fn content(&self) -> Content {
        let mut writer = ContentWriter::of("create-account");
        writer.text(self.account.as_str()).text(&self.owner_id).text(&self.owner_type);
        writer.text(self.account_type.as_str()).text(self.currency.as_str());
        writer.money(self.limits.min).money(self.limits.max).option(self.metadata.as_deref());
        writer.finish()
    }
}

impl Move {
    /// What the key stands for.
    pub fn content(&self) -> Content {
        let mut writer = ContentWriter::of(self.kind.kind().as_str());
        writer.text(self.source.as_str()).text(self.destination.as_str());
        writer.money(Some(self.amount.money())).text(self.currency.as_str());
        writer.option(self.reference.as_deref()).option(self.metadata.as_deref());
        writer.finish()
    }
}

impl Refund {
    /// What the key stands for. An original is the same by either of its ids.
    pub fn content(&self) -> Content {
        let mut writer = ContentWriter::of(Kind::Refund.as_str());
        match &self.original {
            Some(original) => writer.text(&original.id.to_string()),
            None => writer.text(&self.named),
        };
        writer.money(self.amount.map(Amount::money)).option(self.reason.as_deref());
        writer.finish()
    }
}

/// Writes the parts of a content one after the other, so that no two different contents give the same bytes.
struct ContentWriter(Vec<u8>);

impl ContentWriter {
    fn of(operation: &str) -> Self {
        let mut writer = Self(Vec::with_capacity(256));
        writer.text(operation);
        writer
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn option(&mut self, text: Option<&str>) -> &mut Self {
        self.0.push(u8::from(text.is_some()));
        self.text(text.unwrap_or_default())
    }

    fn money(&mut self, money: Option<Money>) -> &mut Self {
        let value = money.unwrap_or_default().decimal().normalize();
        self.0.push(u8::from(money.is_some()));
        self.0.extend_from_slice(&value.mantissa().to_le_bytes());
        self.0.extend_from_slice(&value.scale().to_le_bytes());
        self
    }

    fn finish(self) -> Content {
        Content(xxh3_128(&self.0))
    }
}
