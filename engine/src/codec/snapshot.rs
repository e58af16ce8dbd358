//! What a shard keeps, and what the view keeps of it, as snapshots store it.

use super::{Error, Mirror};
use crate::view::rows::{AccountRow, Change, Completed, Failed, State, TransactionRow};
use engine_domain::image::StepTaken;
use engine_domain::transaction::{Applied, Fate, Remembered};
use engine_domain::{Account, AccountId, SagaId, Timestamp, TransactionId};
use wire::snapshot;

/// One thing that a shard and its view keep.
#[derive(Debug)]
pub(crate) enum Entry {
    Account(AccountId, Box<AccountRow>),
    Transaction(Box<TransactionRow>),
    Key(TransactionId, Remembered),
    Saga(Box<engine_domain::saga::Saga>, Timestamp),
    Step(StepTaken),
}

/// As it is stored.
pub(crate) fn entry_to_wire(entry: &Entry) -> snapshot::Entry {
    match entry {
        Entry::Account(id, row) => snapshot::Entry::Account(Box::new(account_to_wire(id, row))),
        Entry::Transaction(row) => snapshot::Entry::Transaction(row.to_wire()),
        Entry::Key(id, remembered) => {
            snapshot::Entry::Key(snapshot::Key { transaction: id.to_wire(), remembered: remembered.to_wire() })
        }
        Entry::Saga(saga, since) => {
            snapshot::Entry::Saga(Box::new(snapshot::OpenSaga { saga: (**saga).to_wire(), since: since.to_wire() }))
        }
        Entry::Step(step) => snapshot::Entry::Step(snapshot::Step {
            saga: step.saga.to_wire(),
            stage: step.stage.to_wire(),
            done_at: step.done_at.to_wire(),
            answer: step.answer.to_wire(),
        }),
    }
}

/// Reads one back.
pub(crate) fn entry_from_wire(entry: snapshot::Entry) -> Result<Entry, Error> {
    Ok(match entry {
        snapshot::Entry::Account(account) => {
            let (id, row) = account_from_wire(*account)?;
            Entry::Account(id, Box::new(row))
        }
        snapshot::Entry::Transaction(row) => Entry::Transaction(Box::new(Mirror::from_wire(*row)?)),
        snapshot::Entry::Key(key) => {
            Entry::Key(Mirror::from_wire(key.transaction)?, Mirror::from_wire(key.remembered)?)
        }
        snapshot::Entry::Saga(open) => {
            Entry::Saga(Box::new(Mirror::from_wire(open.saga)?), Mirror::from_wire(open.since)?)
        }
        snapshot::Entry::Step(step) => Entry::Step(StepTaken {
            saga: SagaId::from_wire(step.saga)?,
            stage: Mirror::from_wire(step.stage)?,
            done_at: Mirror::from_wire(step.done_at)?,
            answer: Mirror::from_wire(step.answer)?,
        }),
    })
}

fn account_to_wire(id: &AccountId, row: &AccountRow) -> snapshot::Account {
    let AccountRow { state, owner_id, owner_type, metadata, first_limits, created_at, changes } = row;
    let Account { account_type, currency, status, limits, balance, reserved, open_steps, version } = state;
    snapshot::Account {
        id: id.to_wire(),
        account_type: account_type.to_wire(),
        currency: currency.to_wire(),
        status: status.to_wire(),
        limits: limits.to_wire(),
        balance: balance.to_wire(),
        reserved: reserved.to_wire(),
        open_steps: *open_steps,
        version: *version,
        owner_id: owner_id.to_wire(),
        owner_type: owner_type.to_wire(),
        metadata: metadata.to_wire(),
        first_limits: first_limits.to_wire(),
        created_at: created_at.to_wire(),
        changes: changes.to_wire(),
    }
}

fn account_from_wire(account: snapshot::Account) -> Result<(AccountId, AccountRow), Error> {
    let state = Account {
        account_type: Mirror::from_wire(account.account_type)?,
        currency: Mirror::from_wire(account.currency)?,
        status: Mirror::from_wire(account.status)?,
        limits: Mirror::from_wire(account.limits)?,
        balance: Mirror::from_wire(account.balance)?,
        reserved: Mirror::from_wire(account.reserved)?,
        open_steps: account.open_steps,
        version: account.version,
    };
    let row = AccountRow {
        state,
        owner_id: Mirror::from_wire(account.owner_id)?,
        owner_type: Mirror::from_wire(account.owner_type)?,
        metadata: Mirror::from_wire(account.metadata)?,
        first_limits: Mirror::from_wire(account.first_limits)?,
        created_at: Mirror::from_wire(account.created_at)?,
        changes: Mirror::from_wire(account.changes)?,
    };
    Ok((Mirror::from_wire(account.id)?, row))
}

/// A number in memory is one of 64 bits where it is stored.
impl Mirror for (usize, State) {
    type Wire = snapshot::Instead;

    fn to_wire(&self) -> snapshot::Instead {
        snapshot::Instead { number: self.0 as u64, state: self.1.to_wire() }
    }

    fn from_wire(wire: snapshot::Instead) -> Result<Self, Error> {
        let number =
            usize::try_from(wire.number).map_err(|_| super::impossible("number of a transaction", wire.number))?;
        Ok((number, Mirror::from_wire(wire.state)?))
    }
}

structs! {
    Change = snapshot { at, offset, version, balance, reserved }
    Completed = snapshot { source, destination, would_refuse, position, at }
    Failed = snapshot { rejection, elsewhere, position, at }
    Remembered = snapshot { content, version, alias, fate }
    Applied = snapshot { kind, amount, refunded }
    TransactionRow = snapshot {
        id, kind, tenant, deciding_account, key, source, destination, currency, amount, reference, metadata, original,
        original_named, client_reason, alias, correlation_id, created_at, requested_in, saga, instead_of, state,
    }
}

enums! {
    State = snapshot { Processing, Completed(it), Failed(it), Forgotten }
    Fate = snapshot {
        Running { instead_of }, Applied(it), Refused { rejection, elsewhere }, AccountCreated(account), Free,
    }
}
