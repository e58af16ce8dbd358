//! The section `[postgres]` of the configuration, and what every connection is set to.

use super::store::Error;
use host::secret::Secret;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;

/// More connections than any server has for one client.
const MOST_CONNECTIONS: u32 = 10_000;

/// The database lets go of what a machine holds that is gone without a word: 25 s after it was heard of last; and of what is
/// asked on a connection that was closed: nobody waits for the answer.
const NOTICES_WHO_IS_GONE: [(&str, &str); 5] = [
    ("client_connection_check_interval", "1000"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "25000"),
];
/// The same of one that stands still in the middle of a transaction: others are to go on.
const STANDS_STILL_FOR: (&str, &str) = ("idle_in_transaction_session_timeout", "60000");

/// Each statement sees what was there when it had its locks.
const ISOLATION: (&str, &str) = ("default_transaction_isolation", "read committed");

/// The section `[postgres]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`, with `?sslmode=verify-full&sslrootcert=…` for TLS.
    pub url: Secret,
    /// Connections at most, but for those of a build that somebody asks for.
    #[serde(default = "defaults::connections")]
    pub connections: u32,
    /// A statement that takes longer is given up.
    #[serde(default = "defaults::statement_timeout_ms")]
    pub statement_timeout_ms: u64,
}

mod defaults {
    /// Two per shard of a usual ledger would be idle most of the time; the database has 100 for everybody.
    pub(super) fn connections() -> u32 {
        10
    }

    /// As long as a client waits for an answer.
    pub(super) fn statement_timeout_ms() -> u64 {
        5_000
    }
}

impl Config {
    /// Finds what cannot work before anything is opened.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn check(&self) -> Result<(), Error> {
        self.options()?;
        let wrong = |key, problem| Err(Error::Config { key, problem });
        match self.statement_timeout_ms {
            0 => return wrong("statement_timeout_ms", "0 would be no limit: give milliseconds".to_owned()),
            // What the database can count.
            ms if i32::try_from(ms).is_err() => {
                return wrong("statement_timeout_ms", format!("{ms} is too many milliseconds: at most {}", i32::MAX));
            }
            _ => {}
        }
        match self.connections {
            few @ ..2 => wrong("connections", format!("{few} is too few: one to project with, and one to ask with")),
            2..=MOST_CONNECTIONS => Ok(()),
            many => wrong("connections", format!("{many} is too many: at most {MOST_CONNECTIONS}")),
        }
    }

    pub(super) fn options(&self) -> Result<PgConnectOptions, Error> {
        let wrong = |problem| Error::Config { key: "url", problem };
        host::postgres::check_address(self.url.reveal()).map_err(wrong)?;
        // What it says of a value may hold the value.
        let unread = |_| wrong("cannot be read: write it as postgres://user:password@host:5432/database".to_owned());
        let options = PgConnectOptions::from_str(self.url.reveal()).map_err(unread)?;
        let options = options.application_name("crossfade").options([("TimeZone", "UTC")]);
        Ok(options.options(NOTICES_WHO_IS_GONE).options([STANDS_STILL_FOR, ISOLATION]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_one_that_can_be_kept() {
        let config = |connections, statement_timeout_ms| {
            let url = Secret::new("postgres://user@127.0.0.1/database");
            Config { url, connections, statement_timeout_ms }.check().map_err(|error| error.to_string())
        };
        assert_eq!(config(10, 5_000), Ok(()));
        assert!(config(10, 0).unwrap_err().starts_with("postgres.statement_timeout_ms"));
        assert!(config(10, 1 << 31).unwrap_err().starts_with("postgres.statement_timeout_ms"));
        assert!(config(1, 5_000).unwrap_err().starts_with("postgres.connections"));
        assert!(config(u32::MAX, 5_000).unwrap_err().starts_with("postgres.connections"));
    }
}
