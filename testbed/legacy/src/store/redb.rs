//! The store in one redb file.
//!
//! | table | key → value |
//! |---|---|
//! | `accounts` | account id → [`Account`] |
//! | `transactions` | sequence → [`Booked`]; the sequence is the number in the transaction's id |
//! | `history` | account id, sequence → kind, outcome: what filters need, so that a page reads only its own rows |
//! | `keys` | tenant, deciding account, key → [`Kept`] |
//! | `tracking` | tenant, key, deciding account → nothing: finds a transaction when the account is not known |
//! | `executions` | tenant, deciding account, key → how often it was executed |
//! | `faults` | number → [`FaultEntry`] |
//! | `counters` | name → last number given out |

use super::{Booked, Error, Filter, Kept, Reading, Row, Scope, Store, Writing};
use crate::money::Money;
use crate::shapes::{Account, Executions, FaultEntry, Kind, Outcome, Repeated, TransactionResult};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

/// Name of the file in the data directory.
const FILE: &str = "legacy.redb";
/// Pages kept in memory; redb's own default is a gigabyte.
const CACHE_BYTES: usize = 64 << 20;

type AccountTable = TableDefinition<'static, &'static str, &'static [u8]>;
type RowTable = TableDefinition<'static, u64, &'static [u8]>;
type ScopeTable<V> = TableDefinition<'static, (&'static str, &'static str, &'static str), V>;

// See the table above.
const ACCOUNTS: AccountTable = TableDefinition::new("accounts");
const TRANSACTIONS: RowTable = TableDefinition::new("transactions");
const HISTORY: TableDefinition<'static, (&'static str, u64), (u8, u8)> = TableDefinition::new("history");
const KEYS: ScopeTable<&'static [u8]> = TableDefinition::new("keys");
const TRACKING: ScopeTable<()> = TableDefinition::new("tracking");
const EXECUTIONS: ScopeTable<u64> = TableDefinition::new("executions");
const FAULTS: RowTable = TableDefinition::new("faults");
const COUNTERS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("counters");

/// redb has an error type per operation, all of which go into `redb::Error`.
macro_rules! from_redb {
    ($($name:ident),+) => {
        $(impl From<redb::$name> for Error {
            fn from(error: redb::$name) -> Self { Error::File(error.into()) }
        })+
    };
}
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// The open file.
struct File {
    database: Database,
    // Dropped after the database: the next process finds a closed file.
    _lock: host::disk::DirLock,
}

/// Opens the file in `data_dir`.
pub(super) fn open(data_dir: &Path) -> Result<(Box<dyn Store>, Arc<dyn Reading>), Error> {
    let lock = host::disk::lock_dir(data_dir)?;
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(data_dir.join(FILE))?;
    // Reading a table that was never written is an error in redb: make all of them first.
    let transaction = database.begin_write()?;
    transaction.open_table(ACCOUNTS)?;
    transaction.open_table(TRANSACTIONS)?;
    transaction.open_table(HISTORY)?;
    transaction.open_table(KEYS)?;
    transaction.open_table(TRACKING)?;
    transaction.open_table(EXECUTIONS)?;
    transaction.open_table(FAULTS)?;
    transaction.open_table(COUNTERS)?;
    transaction.commit()?;
    let file = Arc::new(File { database, _lock: lock });
    Ok((Box::new(file.clone()), file))
}

impl Store for Arc<File> {
    fn begin(&mut self) -> Result<Box<dyn Writing + '_>, Error> {
        Ok(Box::new(InFile { transaction: self.database.begin_write()? }))
    }
}

/// One request being executed. Its commit is one fsync.
struct InFile {
    transaction: WriteTransaction,
}

impl InFile {
    /// The first of the next `count` numbers.
    fn next(&self, counter: &str, count: u64) -> Result<u64, Error> {
        let mut table = self.transaction.open_table(COUNTERS)?;
        let last = table.get(counter)?.map_or(0, |last| last.value());
        table.insert(counter, last + count)?;
        Ok(last + 1)
    }

    fn put_booked(&self, sequence: u64, booked: &Booked) -> Result<(), Error> {
        let mut table = self.transaction.open_table(TRANSACTIONS)?;
        table.insert(sequence, serde_json::to_vec(booked)?.as_slice())?;
        Ok(())
    }
}

impl Writing for InFile {
    fn accounts(&mut self, ids: [&str; 2]) -> Result<[Option<Account>; 2], Error> {
        let table = self.transaction.open_table(ACCOUNTS)?;
        let account = |id: &str| table.get(id)?.map(|bytes| row(bytes.value())).transpose();
        Ok([account(ids[0])?, account(ids[1])?])
    }

    fn put_account(&mut self, account: &Account) -> Result<(), Error> {
        let mut table = self.transaction.open_table(ACCOUNTS)?;
        table.insert(account.account_id.as_str(), serde_json::to_vec(account)?.as_slice())?;
        Ok(())
    }

    fn transaction(&mut self, sequence: u64) -> Result<Option<Booked>, Error> {
        let table = self.transaction.open_table(TRANSACTIONS)?;
        table.get(sequence)?.map(|bytes| row(bytes.value())).transpose()
    }

    fn put_transaction(&mut self, sequence: u64, result: &TransactionResult, known: [bool; 2]) -> Result<(), Error> {
        self.put_booked(sequence, &Booked { result: result.clone(), refunded: Money::ZERO })?;
        let mut table = self.transaction.open_table(HISTORY)?;
        for (side, _) in [&result.source, &result.destination].into_iter().zip(known).filter(|(_, known)| *known) {
            table.insert((side.account_id.as_str(), sequence), history_tags(result.kind, result.status))?;
        }
        Ok(())
    }

    fn put_refunded(&mut self, sequence: u64, booked: &Booked) -> Result<(), Error> {
        self.put_booked(sequence, booked)
    }

    fn kept(&mut self, scope: Scope<'_>) -> Result<Option<Kept>, Error> {
        let table = self.transaction.open_table(KEYS)?;
        table.get((scope.tenant, scope.account, scope.key))?.map(|bytes| row(bytes.value())).transpose()
    }

    fn put_kept(&mut self, scope: Scope<'_>, kept: &Kept) -> Result<(), Error> {
        let mut keys = self.transaction.open_table(KEYS)?;
        keys.insert((scope.tenant, scope.account, scope.key), serde_json::to_vec(kept)?.as_slice())?;
        if kept.transaction_id.is_some() {
            let mut tracking = self.transaction.open_table(TRACKING)?;
            tracking.insert((scope.tenant, scope.key, scope.account), ())?;
        }
        Ok(())
    }

    fn count_execution(&mut self, scope: Scope<'_>) -> Result<(), Error> {
        let mut table = self.transaction.open_table(EXECUTIONS)?;
        let scope = (scope.tenant, scope.account, scope.key);
        let times = table.get(scope)?.map_or(0, |times| times.value());
        table.insert(scope, times + 1)?;
        Ok(())
    }

    fn put_fault(&mut self, entry: &FaultEntry) -> Result<(), Error> {
        let number = self.next("faults", 1)?;
        let mut table = self.transaction.open_table(FAULTS)?;
        table.insert(number, serde_json::to_vec(entry)?.as_slice())?;
        Ok(())
    }

    fn next_sequences(&mut self, count: u64) -> Result<u64, Error> {
        self.next("transactions", count)
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        Ok(self.transaction.commit()?)
    }
}

impl File {
    fn view(&self) -> Result<ReadTransaction, Error> {
        Ok(self.database.begin_read()?)
    }
}

impl Reading for File {
    fn account(&self, id: &str) -> Result<Option<Account>, Error> {
        self.view()?.open_table(ACCOUNTS)?.get(id)?.map(|bytes| row(bytes.value())).transpose()
    }

    fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Account>, Error> {
        let table = self.view()?.open_table(ACCOUNTS)?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = table.range::<&str>((from, Bound::Unbounded))?.take(limit);
        entries.map(|entry| row(entry?.1.value())).collect()
    }

    fn history(&self, account: &str, before: u64, filter: Filter, limit: usize) -> Result<Vec<Row>, Error> {
        let view = self.view()?;
        let (history, rows) = (view.open_table(HISTORY)?, view.open_table(TRANSACTIONS)?);
        let Filter { kind, outcome } = filter;
        let mut found = Vec::new();
        for entry in history.range((account, 0)..(account, before))?.rev() {
            let (key, tags) = entry?;
            let (sequence, tags) = (key.value().1, tags.value());
            let fits = kind.is_none_or(|kind| tags.0 == history_tags(kind, Outcome::Completed).0)
                && outcome.is_none_or(|outcome| tags.1 == history_tags(Kind::Topup, outcome).1);
            if let (true, Some(bytes)) = (fits, rows.get(sequence)?) {
                found.push((sequence, row::<Booked>(bytes.value())?.result));
                if found.len() == limit {
                    break;
                }
            }
        }
        Ok(found)
    }

    fn transactions(&self, first: u64, since: Option<i64>, limit: usize) -> Result<Vec<Row>, Error> {
        let rows = self.view()?.open_table(TRANSACTIONS)?;
        let first = match since {
            Some(since) => first_since(&rows, since)?.max(first),
            None => first,
        };
        let mut found = Vec::new();
        for entry in rows.range(first..)?.take(limit) {
            let (sequence, bytes) = entry?;
            found.push((sequence.value(), row::<Booked>(bytes.value())?.result));
        }
        Ok(found)
    }

    fn transaction(&self, sequence: u64) -> Result<Option<TransactionResult>, Error> {
        // What `get` gives keeps no transaction of the file open, whatever redb says of it: the table does.
        let rows = self.view()?.open_table(TRANSACTIONS)?;
        rows.get(sequence)?.map(|bytes| Ok(row::<Booked>(bytes.value())?.result)).transpose()
    }

    fn kept(&self, scope: Scope<'_>) -> Result<Option<Kept>, Error> {
        let keys = self.view()?.open_table(KEYS)?;
        keys.get((scope.tenant, scope.account, scope.key))?.map(|bytes| row(bytes.value())).transpose()
    }

    fn tracked(&self, tenant: &str, key: &str) -> Result<Vec<String>, Error> {
        let tracking = self.view()?.open_table(TRACKING)?;
        let mut accounts = Vec::new();
        for entry in tracking.range((tenant, key, "")..)?.take(2) {
            let scope = entry?.0;
            let (in_tenant, with_key, account) = scope.value();
            if (in_tenant, with_key) == (tenant, key) {
                accounts.push(account.to_owned());
            }
        }
        Ok(accounts)
    }

    fn faults(&self) -> Result<Vec<FaultEntry>, Error> {
        self.view()?.open_table(FAULTS)?.iter()?.map(|entry| row(entry?.1.value())).collect()
    }

    fn executions(&self) -> Result<Executions, Error> {
        let mut found = Executions { repeated: Vec::new(), keys: 0, executions: 0 };
        for entry in self.view()?.open_table(EXECUTIONS)?.iter()? {
            let (scope, times) = entry?;
            let ((tenant, account, key), times) = (scope.value(), times.value());
            found.keys += 1;
            found.executions += times;
            if times > 1 {
                let (tenant, account, key) = (tenant.to_owned(), account.to_owned(), key.to_owned());
                found.repeated.push(Repeated { tenant, account, key, times });
            }
        }
        Ok(found)
    }

    fn newest(&self) -> Result<Option<TransactionResult>, Error> {
        let table = self.view()?.open_table(TRANSACTIONS)?;
        let newest = table.last()?;
        newest.map(|(_, bytes)| Ok(row::<Booked>(bytes.value())?.result)).transpose()
    }
}

/// The first sequence decided at `since` or later: times never go back along the sequences, so halving finds it.
fn first_since(rows: &impl ReadableTable<u64, &'static [u8]>, since: i64) -> Result<u64, Error> {
    let mut low = 0;
    let mut high = rows.last()?.map_or(0, |(sequence, _)| sequence.value() + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match rows.range(middle..high)?.next().transpose()? {
            None => high = middle,
            Some((sequence, bytes)) => {
                if super::decided(&row::<Booked>(bytes.value())?.result) < since {
                    low = sequence.value() + 1;
                } else {
                    high = middle;
                }
            }
        }
    }
    Ok(low)
}

/// The form of a kind and an outcome in the history.
fn history_tags(kind: Kind, outcome: Outcome) -> (u8, u8) {
    (kind as u8, outcome as u8)
}

/// Reads a row.
fn row<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    Ok(serde_json::from_slice(bytes)?)
}
