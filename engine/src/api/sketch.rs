//! What an answer shows of a request when nothing of it is kept: refused legs, dry decisions, reused keys.
//!
//! Everything else is shown by the view. Nothing here decides anything.

use engine_domain::command::{ChangeAccount, LimitChange};
use engine_domain::{Body, Command, Rejection};
use wire::billing::{Account, Side, TransactionResult};
use wire::scalar::{Money, Timestamp};

/// A result of a command, as far as the command alone tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Sketch {
    /// Of a transaction: both sides unmoved.
    Transaction(Box<TransactionResult>),
    /// Of an account that is to be made: as it would be.
    NewAccount(Box<Account>),
    /// Of a change.
    Change(Box<Change>),
}

impl Sketch {
    /// What `command` asks for.
    ///
    /// Times and positions are those of the decision: fill them in with [`Sketch::refused`] or [`Sketch::dry`].
    pub fn of(command: &Command) -> Option<Self> {
        let mut result = TransactionResult {
            transaction_id: command.transaction_id().map(|id| id.to_string()).unwrap_or_default(),
            tracking_id: String::new(),
            kind: String::new(),
            status: String::new(),
            amount: Money::ZERO,
            currency: String::new(),
            source: unmoved(String::new()),
            destination: unmoved(String::new()),
            original_transaction_id: None,
            reference: None,
            metadata: None,
            error_code: None,
            reason: None,
            correlation_id: command.correlation_id.to_string(),
            created_at: Timestamp(0),
            completed_at: None,
            position: None,
        };
        match &command.body {
            Body::Move(asked) => {
                result.tracking_id = asked.key.to_string();
                result.kind = asked.kind.kind().as_str().to_owned();
                result.amount = Money(asked.amount.money().decimal());
                result.currency = asked.currency.to_string();
                result.source = unmoved(asked.source.to_string());
                result.destination = unmoved(asked.destination.to_string());
                result.reference = asked.reference.as_deref().map(str::to_owned);
                result.metadata = asked.metadata.as_deref().map(json);
            }
            Body::Refund(asked) => {
                result.tracking_id = asked.key.to_string();
                result.kind = engine_domain::Kind::Refund.as_str().to_owned();
                // Of a refund without an amount nothing is known, as nothing moved: a refusal that is kept shows 0 too.
                result.amount =
                    asked.amount.or(asked.taken).map(|amount| Money(amount.money().decimal())).unwrap_or_default();
                result.original_transaction_id = Some(asked.named.to_string());
                result.reason = asked.reason.as_deref().map(str::to_owned);
                if let Some(original) = &asked.original {
                    result.currency = original.currency.to_string();
                    result.source = unmoved(original.destination.to_string());
                    result.destination = unmoved(original.source.to_string());
                    result.original_transaction_id = Some(original.id.to_string());
                }
            }
            Body::CreateAccount(asked) => {
                return Some(Self::NewAccount(Box::new(Account {
                    account_id: asked.account.to_string(),
                    owner_id: asked.owner_id.to_string(),
                    owner_type: asked.owner_type.to_string(),
                    account_type: asked.account_type.as_str().to_owned(),
                    currency: asked.currency.to_string(),
                    status: engine_domain::Status::Active.as_str().to_owned(),
                    min_balance: asked.limits.min.map(|limit| Money(limit.decimal())),
                    max_balance: asked.limits.max.map(|limit| Money(limit.decimal())),
                    balance: Money::ZERO,
                    reserved: Money::ZERO,
                    available: Money::ZERO,
                    version: 1,
                    metadata: asked.metadata.as_deref().map(json),
                    created_at: Timestamp(0),
                })));
            }
            Body::ChangeAccount(asked) => return Some(Self::Change(Box::new(Change(asked.clone())))),
            Body::Step(_) | Body::StepDone(_) | Body::Aliases(_) | Body::Unreadable { .. } => return None,
        }
        Some(Self::Transaction(Box::new(result)))
    }

    /// The failed transaction that goes with a refusal; accounts have none.
    pub fn refused(self, rejection: Rejection, at: Timestamp) -> Option<TransactionResult> {
        match self {
            Self::Transaction(result) => Some(TransactionResult {
                status: "failed".to_owned(),
                error_code: Some(rejection.code().to_owned()),
                reason: Some(rejection.reason().to_owned()),
                created_at: at,
                completed_at: Some(at),
                ..*result
            }),
            Self::NewAccount(_) | Self::Change(_) => None,
        }
    }
}

/// A change of an account that would be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Change(ChangeAccount);

impl Change {
    /// The account's id.
    pub fn account(&self) -> &str {
        self.0.account.as_str()
    }

    /// The account as it would be.
    pub fn applied_to(&self, account: &Account) -> Account {
        let limit = |change: LimitChange, limit: Option<Money>| match change {
            LimitChange::Keep => limit,
            LimitChange::Remove => None,
            LimitChange::Set(limit) => Some(Money(limit.decimal())),
        };
        Account {
            status: self.0.status.map_or_else(|| account.status.clone(), |status| status.as_str().to_owned()),
            min_balance: limit(self.0.min, account.min_balance),
            max_balance: limit(self.0.max, account.max_balance),
            ..account.clone()
        }
    }
}

/// The result of a transaction that would have been applied: what would have moved, and no levels. `all` is what a
/// refund without an amount would have moved, as far as that is known: the amount of its original.
pub fn dry_transaction(result: TransactionResult, all: Option<Money>, at: Timestamp) -> TransactionResult {
    let amount = all.unwrap_or(result.amount);
    TransactionResult {
        status: "completed".to_owned(),
        amount,
        source: Side { movement: amount.negated(), ..result.source },
        destination: Side { movement: amount, ..result.destination },
        created_at: at,
        completed_at: Some(at),
        ..result
    }
}

/// A side that did not move.
fn unmoved(account_id: String) -> Side {
    Side { account_id, balance_before: None, balance_after: None, version: None, movement: Money::ZERO }
}

/// The client's data, which was checked to be JSON when it came in.
fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_default()
}
