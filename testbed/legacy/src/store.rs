//! What the legacy keeps on disk: one redb file, one durable transaction per executed request.
//!
//! | table | key → value |
//! |---|---|
//! | `accounts` | account id → [`Account`] |
//! | `transactions` | sequence → [`Booked`]; the sequence is the number in the transaction's id |
//! | `history` | account id, sequence → kind, outcome: what filters need, so that a page reads only its own rows |
//! | `keys` | tenant, deciding account, key → [`Kept`] |
//! | `tracking` | tenant, key, deciding account → nothing: finds a transaction when the account is not known |
//! | `faults` | number → [`FaultEntry`] |
//! | `counters` | name → last number given out |

use crate::money::Money;
use crate::request::Content;
use crate::shapes::{Account, FaultEntry, Kind, Outcome, TransactionResult};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// Name of the file in the data directory.
const FILE: &str = "legacy.redb";
/// Pages kept in memory; redb's own default is a gigabyte.
const CACHE_BYTES: usize = 64 << 20;

pub(crate) type AccountTable = TableDefinition<'static, &'static str, &'static [u8]>;
pub(crate) type RowTable = TableDefinition<'static, u64, &'static [u8]>;
pub(crate) type ScopeTable<V> = TableDefinition<'static, (&'static str, &'static str, &'static str), V>;

/// See the table above.
pub(crate) const ACCOUNTS: AccountTable = TableDefinition::new("accounts");
/// See the table above.
pub(crate) const TRANSACTIONS: RowTable = TableDefinition::new("transactions");
/// See the table above.
pub(crate) const HISTORY: TableDefinition<'static, (&'static str, u64), (u8, u8)> = TableDefinition::new("history");
/// See the table above.
pub(crate) const KEYS: ScopeTable<&'static [u8]> = TableDefinition::new("keys");
/// See the table above.
pub(crate) const TRACKING: ScopeTable<()> = TableDefinition::new("tracking");
/// See the table above.
pub(crate) const FAULTS: RowTable = TableDefinition::new("faults");
/// See the table above.
const COUNTERS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("counters");

/// Why the store could not do its work. After one of these on a write nothing more is written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("the legacy's store: {0}")]
    Database(#[from] redb::Error),
    /// A row is not what this build writes.
    #[error("the legacy's store holds a row that cannot be read: {0}")]
    Row(#[from] serde_json::Error),
}

/// redb has an error type per operation, all of which go into `redb::Error`.
macro_rules! from_redb {
    ($($name:ident),+) => {
        $(impl From<redb::$name> for Error {
            fn from(error: redb::$name) -> Self { Error::Database(error.into()) }
        })+
    };
}
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// A transaction as booked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Booked {
    /// What the client was told, or would have been.
    pub result: TransactionResult,
    /// How much of it was refunded.
    #[serde(default)]
    pub refunded: Money,
}

/// What is kept under an idempotency key: enough to repeat the answer byte for byte.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// What was asked for.
    pub content: Content,
    /// The status of the answer.
    pub status: u16,
    /// The body of the answer.
    pub body: String,
    /// The transaction in the answer; `None` for an account.
    #[serde(default)]
    pub transaction_id: Option<String>,
}

/// What a key is unique in.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The tenant; may be empty.
    pub tenant: &'a str,
    /// The deciding account; of a refund of an unknown transaction, the id of that.
    pub account: &'a str,
    /// The idempotency key.
    pub key: &'a str,
}

/// Opens the store, making it if absent.
///
/// # Errors
/// When the file cannot be opened, made or repaired.
pub fn open(data_dir: &Path) -> Result<Arc<Database>, Error> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(data_dir.join(FILE))?;
    // Reading a table that was never written is an error in redb: make all of them first.
    let writing = Writing::begin(&database)?;
    writing.transaction.open_table(ACCOUNTS)?;
    writing.transaction.open_table(TRANSACTIONS)?;
    writing.transaction.open_table(HISTORY)?;
    writing.transaction.open_table(KEYS)?;
    writing.transaction.open_table(TRACKING)?;
    writing.transaction.open_table(FAULTS)?;
    writing.transaction.open_table(COUNTERS)?;
    writing.commit()?;
    Ok(Arc::new(database))
}

/// A consistent view of everything committed so far.
pub(crate) fn read(database: &Database) -> Result<ReadTransaction, Error> {
    Ok(database.begin_read()?)
}

/// Reads a row.
pub(crate) fn row<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    Ok(serde_json::from_slice(bytes)?)
}

/// The id of the transaction with this sequence.
pub fn transaction_id(sequence: u64) -> String {
    format!("L-{sequence:012}")
}

/// The sequence in a transaction id, if it is one of ours.
pub fn sequence_of(id: &str) -> Option<u64> {
    let sequence = id.strip_prefix("L-")?.parse().ok()?;
    (transaction_id(sequence) == id).then_some(sequence)
}

/// The form of a kind and an outcome in the history.
pub(crate) fn history_tags(kind: Kind, outcome: Outcome) -> (u8, u8) {
    (kind as u8, outcome as u8)
}

/// One request being executed: reads see what was written before in it; nothing counts before the commit.
pub(crate) struct Writing {
    transaction: WriteTransaction,
}

impl Writing {
    pub(crate) fn begin(database: &Database) -> Result<Self, Error> {
        Ok(Self { transaction: database.begin_write()? })
    }

    /// Makes everything written durable: one fsync.
    pub(crate) fn commit(self) -> Result<(), Error> {
        Ok(self.transaction.commit()?)
    }

    pub(crate) fn account(&self, id: &str) -> Result<Option<Account>, Error> {
        let table = self.transaction.open_table(ACCOUNTS)?;
        table.get(id)?.map(|bytes| row(bytes.value())).transpose()
    }

    pub(crate) fn put_account(&self, account: &Account) -> Result<(), Error> {
        let mut table = self.transaction.open_table(ACCOUNTS)?;
        table.insert(account.account_id.as_str(), serde_json::to_vec(account)?.as_slice())?;
        Ok(())
    }

    pub(crate) fn transaction(&self, id: &str) -> Result<Option<(u64, Booked)>, Error> {
        let Some(sequence) = sequence_of(id) else { return Ok(None) };
        let table = self.transaction.open_table(TRANSACTIONS)?;
        let booked = table.get(sequence)?.map(|bytes| row(bytes.value())).transpose()?;
        Ok(booked.map(|booked| (sequence, booked)))
    }

    pub(crate) fn put_transaction(&self, sequence: u64, booked: &Booked) -> Result<(), Error> {
        let mut table = self.transaction.open_table(TRANSACTIONS)?;
        table.insert(sequence, serde_json::to_vec(booked)?.as_slice())?;
        Ok(())
    }

    /// Enters a transaction into the history of an account.
    pub(crate) fn put_history(&self, account: &str, sequence: u64, result: &TransactionResult) -> Result<(), Error> {
        let mut table = self.transaction.open_table(HISTORY)?;
        table.insert((account, sequence), history_tags(result.kind, result.status))?;
        Ok(())
    }

    pub(crate) fn kept(&self, scope: Scope<'_>) -> Result<Option<Kept>, Error> {
        let table = self.transaction.open_table(KEYS)?;
        table.get((scope.tenant, scope.account, scope.key))?.map(|bytes| row(bytes.value())).transpose()
    }

    pub(crate) fn put_kept(&self, scope: Scope<'_>, kept: &Kept) -> Result<(), Error> {
        let mut keys = self.transaction.open_table(KEYS)?;
        keys.insert((scope.tenant, scope.account, scope.key), serde_json::to_vec(kept)?.as_slice())?;
        if kept.transaction_id.is_some() {
            let mut tracking = self.transaction.open_table(TRACKING)?;
            tracking.insert((scope.tenant, scope.key, scope.account), ())?;
        }
        Ok(())
    }

    pub(crate) fn put_fault(&self, entry: &FaultEntry) -> Result<(), Error> {
        let number = self.next("faults")?;
        let mut table = self.transaction.open_table(FAULTS)?;
        table.insert(number, serde_json::to_vec(entry)?.as_slice())?;
        Ok(())
    }

    /// The sequence of the next transaction. Given out once, also when the transaction is not kept.
    pub(crate) fn next_sequence(&self) -> Result<u64, Error> {
        self.next("transactions")
    }

    fn next(&self, counter: &str) -> Result<u64, Error> {
        let mut table = self.transaction.open_table(COUNTERS)?;
        let next = table.get(counter)?.map_or(0, |last| last.value()) + 1;
        table.insert(counter, next)?;
        Ok(next)
    }
}

/// When the newest transaction was decided, in microseconds since 1970; 0 when there is none.
pub(crate) fn last_decided(database: &Database) -> Result<i64, Error> {
    let table = read(database)?.open_table(TRANSACTIONS)?;
    let Some((_, bytes)) = table.last()? else { return Ok(0) };
    let booked: Booked = row(bytes.value())?;
    Ok(decided(&booked.result))
}

/// When a transaction was decided, in microseconds since 1970.
pub(crate) fn decided(result: &TransactionResult) -> i64 {
    result.created_at.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_microsecond)
}
