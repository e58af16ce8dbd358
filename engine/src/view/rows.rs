//! What the view keeps of accounts and transactions: about 400 bytes each, histories besides.

use engine_domain::command::Refusal;
use engine_domain::event::{AccountCreated, Side, TransactionCompleted, TransactionFailed, TransactionRequested};
use engine_domain::{
    Account, AccountId, Amount, Currency, Kind, Limits, Money, Position, Rejection, Text, Timestamp, TransactionId,
};

/// An account on its home shard, or a stripe of one.
#[derive(Debug, Clone)]
pub(crate) struct AccountRow {
    /// What the shard keeps of it too.
    pub(crate) state: Account,
    pub(crate) owner_id: Text,
    pub(crate) owner_type: Text,
    pub(crate) metadata: Option<Text>,
    /// The limits it was made with.
    pub(crate) first_limits: Limits,
    pub(crate) created_at: Timestamp,
    /// One entry per outcome that touched it, oldest first.
    pub(crate) changes: Vec<Change>,
}

/// An account after an outcome that touched it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    /// When.
    pub(crate) at: Timestamp,
    /// Where the outcome stands in the journal.
    pub(crate) offset: u64,
    /// The account's version after the outcome.
    pub(crate) version: u64,
    pub(crate) balance: Money,
    pub(crate) reserved: Money,
}

impl AccountRow {
    /// The row of a new account.
    pub(crate) fn of(created: &AccountCreated, at: Timestamp) -> Self {
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
    pub(crate) fn note(&mut self, at: Timestamp, offset: u64) {
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
    pub(crate) fn as_of(&self, at: Timestamp) -> Option<&Change> {
        let behind = self.changes.partition_point(|change| change.at <= at);
        self.changes[..behind].last()
    }
}

/// A transaction, on the home of its deciding account.
#[derive(Debug, Clone)]
pub(crate) struct TransactionRow {
    pub(crate) id: TransactionId,
    pub(crate) kind: Kind,
    pub(crate) tenant: Text,
    pub(crate) deciding_account: Text,
    pub(crate) key: Text,
    /// `None` for a refund of what nobody knows, as the next ones.
    pub(crate) source: Option<AccountId>,
    pub(crate) destination: Option<AccountId>,
    pub(crate) currency: Option<Currency>,
    /// What was asked for, then what moved; `None` for a refund of everything that is left, until that is known.
    pub(crate) amount: Option<Amount>,
    pub(crate) reference: Option<Text>,
    pub(crate) metadata: Option<Text>,
    pub(crate) original: Option<TransactionId>,
    pub(crate) original_named: Option<Text>,
    pub(crate) client_reason: Option<Text>,
    pub(crate) alias: Option<Text>,
    pub(crate) correlation_id: Text,
    pub(crate) created_at: Timestamp,
    pub(crate) requested_in: Position,
    /// Where the outcomes stand, in the journal of its home, that began its saga and went on with it.
    pub(crate) saga: Vec<u64>,
    /// The number of the refused transaction that it took the key from, and how that one stood.
    pub(crate) instead_of: Option<Box<(usize, State)>>,
    pub(crate) state: State,
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
    pub(crate) source: Side,
    pub(crate) destination: Side,
    pub(crate) would_refuse: Option<Rejection>,
    pub(crate) position: Vec<Position>,
    pub(crate) at: Timestamp,
}

/// A transaction that was refused.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) rejection: Rejection,
    pub(crate) elsewhere: Option<Refusal>,
    pub(crate) position: Vec<Position>,
    pub(crate) at: Timestamp,
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
            saga: Vec::new(),
            instead_of: None,
            state: State::Processing,
        }
    }

    /// Money moved.
    pub(crate) fn complete(&mut self, completed: TransactionCompleted) {
        self.amount = Some(completed.amount);
        self.state = State::Completed(Box::new(Completed::of(completed)));
    }

    /// It was refused.
    pub(crate) fn fail(&mut self, failed: TransactionFailed) {
        self.state = match failed.kept {
            false => State::Forgotten,
            true => State::Failed(Box::new(Failed::of(failed))),
        };
    }

    /// Its status as clients see it; `None` when they do not see it at all.
    pub(crate) fn status(&self) -> Option<super::Status> {
        match self.state {
            State::Processing => Some(super::Status::Processing),
            State::Completed(_) => Some(super::Status::Completed),
            State::Failed(_) => Some(super::Status::Failed),
            State::Forgotten => None,
        }
    }
}
