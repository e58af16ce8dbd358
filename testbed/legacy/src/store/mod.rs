//! What the legacy keeps: one durable transaction per executed request, in a file or in a database.
//!
//! | module | what |
//! |---|---|
//! | `redb` | one redb file, held by one process |
//! | [`postgres`] | a schema in a PostgreSQL database, as the service has it that the legacy stands for |
//! | `filling` | a store in memory in front of an empty one, which it fills many rows at a time |

pub(crate) mod filling;
pub mod postgres;
mod redb;

use crate::Config;
use crate::ids::Ids;
use crate::money::Money;
use crate::request::Content;
use crate::shapes::{Account, Executions, FaultEntry, Kind, Outcome, TransactionResult};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Why the store could not do its work. After one of these on a write nothing more is written, unless it says that
/// [nothing was written](Error::nothing_written).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be had; the message names it.
    #[error(transparent)]
    Directory(#[from] std::io::Error),
    /// The file cannot be read or written.
    #[error("the legacy's store: {0}")]
    File(#[from] ::redb::Error),
    /// The database cannot be read or written.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    /// A row is not what this build writes.
    #[error("the legacy's store holds a row that cannot be read: {0}")]
    Row(#[from] serde_json::Error),
    /// Only an empty store can be filled.
    #[error("the legacy's store holds data already: only an empty one can be filled")]
    NotEmpty,
    /// Ids of one form are not found in the other one.
    #[error(
        "the legacy's store holds transactions with ids like {found}: legacy.ids = \"{}\" needs another store",
        .wanted.as_str()
    )]
    OtherIds {
        /// The id of the newest transaction.
        found: String,
        /// The form that the configuration asks for.
        wanted: Ids,
    },
    /// What it was to be filled with cannot be.
    #[error("the legacy's store cannot be filled: {0}")]
    CannotFill(String),
}

impl Error {
    /// Whether it is certain that nothing was written, and another attempt may go well.
    pub fn nothing_written(&self) -> bool {
        matches!(self, Error::Postgres(error) if error.nothing_written())
    }
}

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

impl Kept {
    /// Whether it is a transaction that was applied.
    pub(crate) fn is_applied(&self) -> bool {
        self.status == 200
    }
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

/// The same, kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OwnedScope {
    pub(crate) tenant: String,
    pub(crate) account: String,
    pub(crate) key: String,
}

impl OwnedScope {
    pub(crate) fn of(scope: Scope<'_>) -> Self {
        Self { tenant: scope.tenant.to_owned(), account: scope.account.to_owned(), key: scope.key.to_owned() }
    }

    pub(crate) fn borrowed(&self) -> Scope<'_> {
        Scope { tenant: &self.tenant, account: &self.account, key: &self.key }
    }
}

/// A new transaction, as [`Writing::put_transaction`] has it.
#[derive(Debug)]
pub(crate) struct NewTransaction {
    pub(crate) sequence: u64,
    pub(crate) result: TransactionResult,
    pub(crate) known: [bool; 2],
}

/// Rows to keep together.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) accounts: Vec<Account>,
    pub(crate) transactions: Vec<NewTransaction>,
    pub(crate) kept: Vec<(OwnedScope, Kept)>,
}

/// Which transactions of an account are asked for; `None` is any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    pub(crate) kind: Option<Kind>,
    pub(crate) outcome: Option<Outcome>,
}

/// The store as the executor has it: there is one, on a thread that may block.
pub(crate) trait Store: Send {
    /// Begins to execute a request.
    fn begin(&mut self) -> Result<Box<dyn Writing + '_>, Error>;
}

/// One request being executed: reads see what was written before in it; nothing counts before the commit, and nothing
/// is left of one that is dropped without.
pub(crate) trait Writing: Send {
    /// Two accounts; they change by nobody else's hand until the end. Twice the same is allowed.
    fn accounts(&mut self, ids: [&str; 2]) -> Result<[Option<Account>; 2], Error>;

    fn account(&mut self, id: &str) -> Result<Option<Account>, Error> {
        self.accounts([id, id]).map(|[account, _]| account)
    }

    fn put_account(&mut self, account: &Account) -> Result<(), Error>;

    /// A transaction by its sequence; it changes by nobody else's hand until the end.
    fn transaction(&mut self, sequence: u64) -> Result<Option<Booked>, Error>;

    /// Keeps a new transaction. `known` says of its source and its destination whether there is such an account: it
    /// stands in the history of those.
    fn put_transaction(&mut self, sequence: u64, result: &TransactionResult, known: [bool; 2]) -> Result<(), Error>;

    /// Keeps how much of a transaction was refunded.
    fn put_refunded(&mut self, sequence: u64, booked: &Booked) -> Result<(), Error>;

    fn kept(&mut self, scope: Scope<'_>) -> Result<Option<Kept>, Error>;

    /// Keeps this under a key, in place of what was kept there.
    fn put_kept(&mut self, scope: Scope<'_>, kept: &Kept) -> Result<(), Error>;

    /// Counts one more execution of a key.
    fn count_execution(&mut self, scope: Scope<'_>) -> Result<(), Error>;

    fn put_fault(&mut self, entry: &FaultEntry) -> Result<(), Error>;

    /// The first of the next `count` sequences of transactions. Given out once, also when a transaction is not kept.
    fn next_sequences(&mut self, count: u64) -> Result<u64, Error>;

    /// Keeps many rows that are all new, but for accounts.
    fn put_all(&mut self, rows: Rows) -> Result<(), Error> {
        for account in &rows.accounts {
            self.put_account(account)?;
        }
        for transaction in &rows.transactions {
            self.put_transaction(transaction.sequence, &transaction.result, transaction.known)?;
        }
        for (scope, kept) in &rows.kept {
            self.put_kept(scope.borrowed(), kept)?;
        }
        Ok(())
    }

    /// Makes everything written durable.
    fn commit(self: Box<Self>) -> Result<(), Error>;
}

/// Reads of what is committed, on threads that may block. Each is one consistent view.
pub(crate) trait Reading: Send + Sync {
    fn account(&self, id: &str) -> Result<Option<Account>, Error>;

    /// Accounts in order of their ids, from behind `after`.
    fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Account>, Error>;

    /// Transactions of an account with their sequences, newest first, from before `before`.
    fn history(&self, account: &str, before: u64, filter: Filter, limit: usize) -> Result<Vec<Row>, Error>;

    /// All transactions with their sequences, oldest first, from `first` on and not decided before `since`
    /// (microseconds since 1970).
    fn transactions(&self, first: u64, since: Option<i64>, limit: usize) -> Result<Vec<Row>, Error>;

    fn transaction(&self, sequence: u64) -> Result<Option<TransactionResult>, Error>;

    fn kept(&self, scope: Scope<'_>) -> Result<Option<Kept>, Error>;

    /// The deciding accounts for which a key was used for a transaction: two of them if there are several.
    fn tracked(&self, tenant: &str, key: &str) -> Result<Vec<String>, Error>;

    /// The whole fault ledger, oldest first.
    fn faults(&self) -> Result<Vec<FaultEntry>, Error>;

    /// How often keys were executed; in order of tenant, account and key.
    fn executions(&self) -> Result<Executions, Error>;

    /// The newest transaction.
    fn newest(&self) -> Result<Option<TransactionResult>, Error>;
}

/// A transaction in a list, with its sequence.
pub(crate) type Row = (u64, TransactionResult);

/// A store, as the two who need it have it.
pub(crate) struct Opened {
    pub(crate) store: Box<dyn Store>,
    pub(crate) reading: Arc<dyn Reading>,
    /// When the newest transaction was decided, in microseconds since 1970; 0 when there is none.
    pub(crate) last_decided: i64,
}

impl fmt::Debug for Opened {
    /// Without what is in it: a store may know a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

/// Opens the store, making it if absent. Blocks.
///
/// # Errors
/// When it cannot be opened or made, belongs to another process, or has ids of another form.
pub(crate) fn open(config: &Config) -> Result<Opened, Error> {
    let (store, reading) = match &config.postgres {
        Some(postgres) => postgres::open(postgres)?,
        None => redb::open(&config.data_dir)?,
    };
    let newest = reading.newest()?;
    if let Some(newest) = newest.as_ref().filter(|newest| config.ids.sequence(&newest.transaction_id).is_none()) {
        return Err(Error::OtherIds { found: newest.transaction_id.clone(), wanted: config.ids });
    }
    let last_decided = newest.as_ref().map_or(0, decided);
    Ok(Opened { store, reading, last_decided })
}

/// When a transaction was decided, in microseconds since 1970.
fn decided(result: &TransactionResult) -> i64 {
    result.created_at.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_microsecond)
}
