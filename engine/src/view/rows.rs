//! What the view keeps of accounts and transactions: about 400 bytes each, histories besides.

use engine_domain::command::Refusal;
use engine_domain::event::{AccountCreated, Side, TransactionCompleted, TransactionFailed, TransactionRequested};
use engine_domain::{
    Account, AccountId, Amount, Currency, Kind, Limits, Money, Position, Rejection, Text, Timestamp, TransactionId,
};

/// An account on its home shard, or a stripe of one.
#[derive(Debug, Clone)]
pub(super) struct AccountRow {
    /// What the shard keeps of it too.
    pub(super) state: Account,
    pub(super) owner_id: Text,
    pub(super) owner_type: Text,
    pub(super) metadata: Option<Text>,
    /// The limits it was made with.
    pub(super) first_limits: Limits,
    pub(super) created_at: Timestamp,
    /// One entry per outcome that touched it, oldest first.
    pub(super) changes: Vec<Change>,
}

/// An account after an outcome that touched it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// When.
    pub(super) at: Timestamp,
    /// Where the outcome stands in the journal.
    pub(super) offset: u64,
    /// The account's version after the outcome.
    pub(super) version: u64,
    pub(super) balance: Money,
    pub(super) reserved: Money,
}

impl AccountRow {
    /// The row of a new account.
    pub(super) fn of(created: &AccountCreated, at: Timestamp) -> Self {
        Self {
            state: Account {
                account_type: created.account_type,
                currency: created.currency,
                status: engine_domain::Status::Active,
                limits: created.limits,
                balance: Money::ZERO,
                reserved: Money::ZERO,
                open_steps: 0,
                version: created.version,
            },
            owner_id: created.owner_id.clone(),
            owner_type: created.owner_type.clone(),
            metadata: created.metadata.clone(),
            first_limits: created.limits,
            created_at: at,
            changes: Vec::new(),
        }
    }

    /// Notes how the account stands after (a part of) the outcome at `offset`.
    pub(super) fn note(&mut self, at: Timestamp, offset: u64) {
        let change = Change {
            at,
            offset,
            version: self.state.version,
            balance: self.state.balance,
            reserved: self.state.reserved,
        };
        match self.changes.last_mut() {
            Some(last) if last.offset == offset => *last = change,
            _ => self.changes.push(change),
        }
    }

    /// How the account stood at `at`; `None` if it was not there yet.
    pub(super) fn as_of(&self, at: Timestamp) -> Option<&Change> {
        let behind = self.changes.partition_point(|change| change.at <= at);
        self.changes[..behind].last()
    }
}

/// A transaction, on the home of its deciding account.
#[derive(Debug, Clone)]
pub(crate) struct TransactionRow {
    pub(super) id: TransactionId,
    pub(super) kind: Kind,
    pub(super) tenant: Text,
    pub(super) deciding_account: Text,
    pub(super) key: Text,
    /// `None` for a refund of what nobody knows, as the next ones.
    pub(super) source: Option<AccountId>,
    pub(super) destination: Option<AccountId>,
    pub(super) currency: Option<Currency>,
    /// What was asked for, then what moved; `None` for a refund of everything that is left, until that is known.
    pub(super) amount: Option<Amount>,
    pub(super) reference: Option<Text>,
    pub(super) metadata: Option<Text>,
    pub(super) original: Option<TransactionId>,
    pub(super) original_named: Option<Text>,
    pub(super) client_reason: Option<Text>,
    pub(super) alias: Option<Text>,
    pub(super) correlation_id: Text,
    pub(super) created_at: Timestamp,
    pub(super) requested_in: Position,
    /// The number of the refused transaction that it took the key from, and how that one stood.
    pub(super) instead_of: Option<Box<(usize, State)>>,
    pub(super) state: State,
}

/// What became of a transaction.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Processing,
    Completed(Box<Completed>),
    Failed(Box<Failed>),
    /// It failed and is as if it had never been asked for; or its key stands for something else now.
    Forgotten,
}

/// A transaction that moved money.
#[derive(Debug, Clone)]
pub(crate) struct Completed {
    pub(super) source: Side,
    pub(super) destination: Side,
    pub(super) would_refuse: Option<Rejection>,
    pub(super) position: Vec<Position>,
    pub(super) at: Timestamp,
}

/// A transaction that was refused.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(super) rejection: Rejection,
    pub(super) elsewhere: Option<Refusal>,
    pub(super) position: Vec<Position>,
    pub(super) at: Timestamp,
}

impl Completed {
    /// As the event says.
    pub(crate) fn of(completed: TransactionCompleted) -> Self {
        Self {
            source: completed.source,
            destination: completed.destination,
            would_refuse: completed.would_refuse,
            position: completed.position,
            at: completed.completed_at,
        }
    }
}

impl Failed {
    /// As the event says.
    pub(crate) fn of(failed: TransactionFailed) -> Self {
        Self {
            rejection: failed.rejection,
            elsewhere: failed.elsewhere,
            position: failed.position,
            at: failed.completed_at,
        }
    }
}

impl TransactionRow {
    /// The row of a request.
    pub(crate) fn of(
        requested: TransactionRequested,
        correlation_id: Text,
        at: Timestamp,
        requested_in: Position,
    ) -> Self {
        Self {
            id: requested.transaction,
            kind: requested.kind,
            tenant: requested.tenant,
            deciding_account: requested.deciding_account,
            key: requested.key,
            source: requested.source,
            destination: requested.destination,
            currency: requested.currency,
            amount: requested.amount,
            reference: requested.reference,
            metadata: requested.metadata,
            original: requested.original,
            original_named: requested.original_named,
            client_reason: requested.reason,
            alias: requested.alias,
            correlation_id,
            created_at: at,
            requested_in,
            instead_of: None,
            state: State::Processing,
        }
    }

    /// Money moved.
    pub(super) fn complete(&mut self, completed: TransactionCompleted) {
        self.amount = Some(completed.amount);
        self.state = State::Completed(Box::new(Completed::of(completed)));
    }

    /// It was refused.
    pub(super) fn fail(&mut self, failed: TransactionFailed) {
        self.state = match failed.kept {
            false => State::Forgotten,
            true => State::Failed(Box::new(Failed::of(failed))),
        };
    }

    /// Its status as clients see it; `None` when they do not see it at all.
    pub(super) fn status(&self) -> Option<super::Status> {
        match self.state {
            State::Processing => Some(super::Status::Processing),
            State::Completed(_) => Some(super::Status::Completed),
            State::Failed(_) => Some(super::Status::Failed),
            State::Forgotten => None,
        }
    }
}
