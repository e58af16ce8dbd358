//! The store in a PostgreSQL database: the schema `legacy`, whose tables are described in `tables.sql`.
//!
//! The executor has one connection and, with it, the lock that keeps every other process from writing. Reads have a few
//! of their own. A connection that is lost is made anew; only a commit of which nobody can say whether it was done is
//! the end.

mod copy;
mod reading;
mod rows;
mod writing;

use super::{Reading, Store};
use host::secret::Secret;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long a connection is waited for: less than a client waits for its answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A statement that takes longer is given up by the database.
const STATEMENT_TIMEOUT_MS: &str = "5000";
/// The same for what others hold, such as the lock of a process that has only just ended.
const LOCK_TIMEOUT_MS: &str = "2000";
/// A statement that is not answered by then never will be: the database would have given it up before.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The section `[legacy.postgres]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`, with `?sslmode=verify-full&sslrootcert=…` for TLS.
    pub url: Secret,
}

/// Why the database did not do its work. No message holds the password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("legacy.postgres.url {0}")]
    Address(String),
    /// It cannot be reached, or not any more.
    #[error("legacy.postgres.url: the database does not answer: {0}")]
    Away(String),
    /// It says no.
    #[error("legacy.postgres.url: the database refuses: {0}")]
    Refused(String),
    /// Another process writes.
    #[error("legacy.postgres.url: another process uses the schema `legacy` of this database")]
    InUse,
    /// A row is not what this build writes.
    #[error("the legacy's store holds a row that cannot be read: {0}")]
    Row(sqlx::Error),
    /// Nobody knows whether a transaction was committed.
    #[error("whether the last transaction was committed is not known: {0}")]
    Unknown(Box<Error>),
}

impl Error {
    /// Whether it is certain that nothing was written, and another attempt may go well.
    pub fn nothing_written(&self) -> bool {
        matches!(self, Error::Away(_) | Error::Refused(_) | Error::InUse)
    }

    fn of(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Error::Refused(error.message().to_owned()),
            sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_) => Error::Row(error),
            error => Error::Away(error.to_string()),
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.options().map(drop)
    }

    fn options(&self) -> Result<PgConnectOptions, Error> {
        host::postgres::check_address(self.url.reveal()).map_err(Error::Address)?;
        // What it says of a value may hold the value.
        let unread =
            |_| Error::Address("cannot be read: write it as postgres://user:password@host/database".to_owned());
        let options = PgConnectOptions::from_str(self.url.reveal()).map_err(unread)?;
        Ok(options.application_name("crossfade legacy").options([
            ("TimeZone", "UTC"),
            ("client_min_messages", "warning"),
            // What is answered is on disk, however the database is set up for others.
            ("synchronous_commit", "on"),
            ("statement_timeout", STATEMENT_TIMEOUT_MS),
            ("lock_timeout", LOCK_TIMEOUT_MS),
            // A machine that is gone without a word does not keep the lock.
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "25000"),
        ]))
    }
}

/// Connects, and makes what is absent.
pub(super) fn open(config: &Config) -> Result<(Box<dyn Store>, Arc<dyn Reading>), Error> {
    let (handle, options) = (Handle::current(), config.options()?);
    let mut session = writing::Session::new(handle.clone(), options.clone());
    session.make_tables()?;
    Ok((Box::new(session), Arc::new(reading::Readers::new(handle, options))))
}

/// Waits for an answer of the database, on a thread that may block.
fn wait<T>(handle: &Handle, within: Duration, asked: impl Future<Output = sqlx::Result<T>>) -> Result<T, Error> {
    // Inside of the runtime, where the timer is.
    match handle.block_on(async { host::clock::timeout(within, asked).await }) {
        Ok(answered) => answered.map_err(Error::of),
        Err(_) => Err(Error::Away(format!("it was silent for {} s", within.as_secs()))),
    }
}
