//! The executor's connection, and the transactions on it.

use super::super::{self as store, Booked, Kept, Scope, Store, Writing};
use super::{ANSWER_WITHIN, CONNECT_WITHIN, Error, copy, rows};
use crate::shapes::{Account, FaultEntry, TransactionResult};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::time::Duration;
use tokio::runtime::Handle;

/// How long a commit is waited for: longer than anything else, because there is no way back from giving it up.
const COMMIT_WITHIN: Duration = Duration::from_secs(60);
/// The same for many rows at once.
const COPIED_WITHIN: Duration = Duration::from_secs(600);
/// The lock that a process holds for as long as it may write in a database.
const LOCK: &str = "SELECT pg_advisory_lock(hashtext('crossfade legacy'))";
/// What the database says when somebody else holds it for longer than is waited for.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The one connection that writes.
pub(super) struct Session {
    handle: Handle,
    options: PgConnectOptions,
    /// Absent while the database is away. Whoever uses it takes it out, and puts it back when all went well: nobody
    /// knows what one will say next that has failed, and dropping it undoes what was not committed.
    connection: Option<PgConnection>,
}

impl Session {
    /// One that is not connected.
    pub(super) fn new(handle: Handle, options: PgConnectOptions) -> Self {
        Self { handle, options, connection: None }
    }

    /// Connects, and makes the tables that are absent.
    pub(super) fn make_tables(&mut self) -> Result<(), Error> {
        self.connect()?;
        self.say(include_str!("tables.sql"), ANSWER_WITHIN)
    }

    /// Connects, and takes the lock, which ends with the connection. After a lost one the database may need a moment
    /// to notice.
    fn connect(&mut self) -> Result<(), Error> {
        self.connection = None;
        let mut connection = super::wait(&self.handle, CONNECT_WITHIN, PgConnection::connect_with(&self.options))?;
        let locked = sqlx::query(LOCK).execute(&mut connection);
        let locked = async {
            match locked.await {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => Ok(false),
                other => other.map(|_| true),
            }
        };
        if !super::wait(&self.handle, ANSWER_WITHIN, locked)? {
            return Err(Error::InUse);
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Asks something on the connection.
    fn ask<T>(
        &mut self,
        within: Duration,
        asked: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, Error> {
        let lost = || Error::Away("the connection was lost".to_owned());
        let mut connection = self.connection.take().ok_or_else(lost)?;
        let answer = super::wait(&self.handle, within, asked(&mut connection))?;
        self.connection = Some(connection);
        Ok(answer)
    }

    fn say(&mut self, statements: &'static str, within: Duration) -> Result<(), Error> {
        self.ask(within, async |connection| sqlx::raw_sql(statements).execute(connection).await).map(drop)
    }

    fn begin(&mut self) -> Result<(), Error> {
        const BEGIN: &str = "BEGIN";
        // One that was kept may have been lost since. Nothing was asked on it yet, so a new one is as good.
        if self.connection.is_some() && self.say(BEGIN, ANSWER_WITHIN).is_ok() {
            return Ok(());
        }
        self.connect()?;
        self.say(BEGIN, ANSWER_WITHIN)
    }
}

impl Store for Session {
    fn begin(&mut self) -> Result<Box<dyn Writing + '_>, store::Error> {
        Session::begin(self)?;
        Ok(Box::new(InDatabase { session: self, open: true }))
    }
}

/// One request being executed.
struct InDatabase<'a> {
    session: &'a mut Session,
    /// Whether it is neither committed nor given up.
    open: bool,
}

impl InDatabase<'_> {
    fn ask<T>(&mut self, asked: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> Result<T, store::Error> {
        Ok(self.session.ask(ANSWER_WITHIN, asked)?)
    }
}

impl Drop for InDatabase<'_> {
    /// Lets go of the rows that are locked.
    fn drop(&mut self) {
        if self.open && self.session.connection.is_some() {
            // If that fails the connection is dropped, which has the same effect.
            let _ = self.session.say("ROLLBACK", ANSWER_WITHIN);
        }
    }
}

impl Writing for InDatabase<'_> {
    fn accounts(&mut self, ids: [&str; 2]) -> Result<[Option<Account>; 2], store::Error> {
        let found = self.ask(async |connection| {
            // In order of their ids, as everybody should who locks several.
            let asked = rows::accounts!("WHERE account_id = ANY($1) ORDER BY account_id FOR UPDATE");
            let found = sqlx::query(asked).bind(&ids[..]).fetch_all(connection).await?;
            found.iter().map(rows::account).collect::<sqlx::Result<Vec<Account>>>()
        })?;
        Ok(ids.map(|id| found.iter().find(|account| account.account_id == id).cloned()))
    }

    fn put_account(&mut self, account: &Account) -> Result<(), store::Error> {
        let metadata = account.metadata.as_ref().map(serde_json::to_string).transpose()?;
        self.ask(async |connection| rows::put_account(connection, account, metadata).await)
    }

    fn transaction(&mut self, sequence: u64) -> Result<Option<Booked>, store::Error> {
        let asked = "SELECT sequence, result::text, refunded::text FROM legacy.transactions
                     WHERE sequence = $1 FOR UPDATE";
        self.ask(async |connection| {
            let row = sqlx::query(asked).bind(rows::number(sequence)).fetch_optional(connection).await?;
            row.map(|row| {
                let (_, result) = rows::transaction(&row)?;
                Ok(Booked { result, refunded: rows::money(&row, "refunded")? })
            })
            .transpose()
        })
    }

    fn put_transaction(
        &mut self,
        sequence: u64,
        result: &TransactionResult,
        known: [bool; 2],
    ) -> Result<(), store::Error> {
        let document = serde_json::to_string(result)?;
        self.ask(async |connection| rows::put_transaction(connection, sequence, result, known, document).await)
    }

    fn put_refunded(&mut self, sequence: u64, booked: &Booked) -> Result<(), store::Error> {
        let put = "UPDATE legacy.transactions SET refunded = $2::numeric WHERE sequence = $1";
        let refunded = booked.refunded.to_string();
        self.ask(async |connection| {
            sqlx::query(put).bind(rows::number(sequence)).bind(refunded).execute(connection).await.map(drop)
        })
    }

    fn kept(&mut self, scope: Scope<'_>) -> Result<Option<Kept>, store::Error> {
        self.ask(async |connection| rows::kept(connection, scope).await)
    }

    fn put_kept(&mut self, scope: Scope<'_>, kept: &Kept) -> Result<(), store::Error> {
        let content = serde_json::to_string(&kept.content)?;
        self.ask(async |connection| rows::put_kept(connection, scope, kept, content).await)
    }

    fn count_execution(&mut self, scope: Scope<'_>) -> Result<(), store::Error> {
        self.ask(async |connection| rows::count_execution(connection, scope).await)
    }

    fn put_fault(&mut self, entry: &FaultEntry) -> Result<(), store::Error> {
        self.ask(async |connection| rows::put_fault(connection, entry).await)
    }

    fn next_sequences(&mut self, count: u64) -> Result<u64, store::Error> {
        // Nobody else takes any: they are one behind the other.
        let next = "SELECT min(nextval('legacy.transaction_sequence')) FROM generate_series(1, $1)";
        let next = sqlx::query_scalar(next).bind(rows::number(count));
        self.ask(async |connection| rows::unsigned(next.fetch_one(connection).await?))
    }

    fn put_all(&mut self, rows: store::Rows) -> Result<(), store::Error> {
        for (table, lines) in copy::lines(&rows)? {
            self.session.ask(COPIED_WITHIN, async |connection| {
                sqlx::raw_sql("SET LOCAL statement_timeout = 0").execute(&mut *connection).await?;
                let mut copying = connection.copy_in_raw(table).await?;
                copying.send(lines).await?;
                copying.finish().await.map(drop)
            })?;
        }
        Ok(())
    }

    /// Whatever goes wrong here, even a refusal: the database may have done it before it failed.
    fn commit(mut self: Box<Self>) -> Result<(), store::Error> {
        self.open = false;
        let committed = self.session.say("COMMIT", COMMIT_WITHIN);
        Ok(committed.map_err(|error| Error::Unknown(Box::new(error)))?)
    }
}
