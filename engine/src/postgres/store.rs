//! The database: connecting and migrating.

use crate::shard::reader::Unreadable;
use eventlog::ReadError;
use host::secret::Secret;
use serde::{Deserialize, Serialize};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::str::FromStr;
use std::time::Duration;

/// The table in which is noted which migrations were applied: not sqlx's own name, which another program in the same database
/// may use.
const MIGRATED: &str = "migrations_of_crossfade";

/// What the program expects of the database, and how it comes there.
fn migrations() -> Migrator {
    let mut migrations = sqlx::migrate!("../migrations");
    migrations.dangerous_set_table_name(MIGRATED);
    migrations
}

/// Connections with which a projection is built: as many shards are built side by side;
pub(super) const BUILDING_CONNECTIONS: u32 = 3;
/// with which the live ones are written, of all shards, at most: two of five, so that queries have the others;
const PROJECTING_CONNECTIONS: u32 = 4;
/// and how long one of either is waited for.
const PATIENTLY: Duration = Duration::from_secs(30);
/// A database that has not said by then that it gives a statement up is not there.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// How long a connection is waited for: less than a client waits for its answer.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);

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

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error("postgres.{key}: {problem}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong with its value; never the value, which holds a password.
        problem: String,
    },
    /// It was migrated by a newer program.
    #[error(
        "the database has the migration {0}, which this program does not know: a newer one has been here; use that one, or \
         restore what was before it"
    )]
    Newer(i64),
    /// It cannot be migrated.
    #[error("the database cannot be migrated: {0}")]
    Migrate(MigrateError),
    /// It does not answer, or says no.
    #[error("the database does not do as it is asked: {0}")]
    Database(#[from] sqlx::Error),
    /// What it was made from is not the journal that is here.
    #[error(
        "the projection of shard {shard} was made from another journal than this one, which ends at offset {end}, or has lost \
         what is at {next}: it has to be made anew (docs/operations.md, PostgreSQL)"
    )]
    OtherJournal {
        /// The shard.
        shard: u32,
        /// Up to where it was applied.
        next: u64,
        /// Where the journal ends.
        end: u64,
    },
    /// Somebody else builds or verifies this projection.
    #[error("the projection `{0}` is being built or verified already: wait for it")]
    Busy(&'static str),
    /// A build of a projection contradicts itself.
    #[error("the new build of the projection `{projection}` has {count} {broken}: the one that is live stays")]
    Rule {
        /// The projection.
        projection: &'static str,
        /// How many.
        count: i64,
        /// What is wrong.
        broken: &'static str,
    },
    /// It is behind the log, so there is nothing to compare with.
    #[error(
        "the projection `{projection}` is {lag} records behind the log and does not catch up: see why, then verify it"
    )]
    Behind {
        /// The projection.
        projection: &'static str,
        /// By how much.
        lag: u64,
    },
    /// Views cannot be replaced while somebody reads them.
    #[error(
        "the projection `{0}` was built and does not go live: somebody reads its views for long; end that, and try again"
    )]
    Read(&'static str),
    /// A database that is there would have answered.
    #[error("the database is silent")]
    Silent,
    /// It changes faster than it can be caught up with.
    #[error("the projection `{0}` changes faster than it can be caught up with: try again when there is less load")]
    NotCaughtUp(&'static str),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A record of the journal cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A checkpoint cannot be read.
    #[error("the checkpoint of shard {shard} cannot be read: `{note}`")]
    Checkpoint {
        /// The shard.
        shard: u32,
        /// What is noted there.
        note: String,
    },
    /// Its projections were made from another ledger.
    #[error(
        "the projection {projection} was made from the ledger `{ledger}` with {shards} shards: use another database, or \
         empty this one (docs/operations.md, PostgreSQL)"
    )]
    OtherLedger {
        /// The projection.
        projection: &'static str,
        /// Whose it is.
        ledger: String,
        /// How many shards that one has.
        shards: i32,
    },
}

/// A database with projections. Clones share it.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    /// For a connection that may take its time.
    patient: PgConnectOptions,
    /// How many connections are for projecting.
    projecting: u32,
    /// By then a database that is there has answered a query, or given it up.
    answer_within: Duration,
}

/// Without the address, which has a password in it.
impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Error {
    /// Whether the same outcomes will fail in the same way whenever they are applied: a value that the database does not
    /// take (SQLSTATE classes 22 and 23), or a row that is not what a projector writes.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Error::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
            }
            Error::Database(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) => true,
            _ => false,
        }
    }
}

impl Config {
    /// Finds what cannot work before anything is opened.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn check(&self) -> Result<(), Error> {
        self.options()?;
        if self.connections < 2 {
            let problem = format!("{} is too few: one to project with, and one to ask with", self.connections);
            return Err(Error::Config { key: "connections", problem });
        }
        Ok(())
    }

    fn options(&self) -> Result<PgConnectOptions, Error> {
        let wrong = |_| {
            let problem = "is no address of a database: write it as postgres://user:password@host:5432/database";
            Error::Config { key: "url", problem: problem.to_owned() }
        };
        let options = PgConnectOptions::from_str(self.url.reveal()).map_err(wrong)?;
        Ok(options.application_name("crossfade").options([("TimeZone", "UTC")]))
    }
}

impl Store {
    /// A store; it connects when it is first asked.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: &Config) -> Result<Self, Error> {
        let patient = config.options()?;
        let timeout = config.statement_timeout_ms.to_string();
        let options = patient.clone().options([("statement_timeout", timeout.as_str())]);
        let projecting = (config.connections * 2 / 5).clamp(1, PROJECTING_CONNECTIONS);
        let asking = config.connections.saturating_sub(projecting).max(1);
        let pool = PgPoolOptions::new().max_connections(asking).acquire_timeout(ACQUIRE_WITHIN);
        let answer_within = Duration::from_millis(config.statement_timeout_ms).saturating_add(SILENT_FOR);
        Ok(Self { pool: pool.connect_lazy_with(options), patient, projecting, answer_within })
    }

    /// Brings the database to what this program expects; processes that do so at once wait for each other.
    ///
    /// # Errors
    /// [`Error::Newer`] if it is beyond that.
    pub async fn migrate(&self) -> Result<(), Error> {
        // A connection of its own, without a timeout: a migration takes as long as it takes, and its lock ends with the
        // connection, whatever comes of it. `run` is not for futures that move between threads; this is what it calls.
        let mut connection = self.connect().await?;
        let migrated = migrations().run_direct(None, &mut connection, false).await;
        connection.close().await?;
        match migrated {
            Ok(()) => Ok(()),
            Err(MigrateError::VersionMissing(version)) => Err(Error::Newer(version)),
            Err(error) => Err(Error::Migrate(error)),
        }
    }

    /// The migrations that are still to come.
    ///
    /// # Errors
    /// When the database does not answer; [`Error::Newer`] if there is one that this program does not know.
    pub async fn pending(&self) -> Result<Vec<(i64, String)>, Error> {
        let known: bool =
            sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(MIGRATED).fetch_one(&self.pool).await?;
        let applied: Vec<i64> = match known {
            false => Vec::new(),
            true => {
                let applied = format!("SELECT version FROM {MIGRATED} WHERE success");
                sqlx::query_scalar(AssertSqlSafe(applied)).fetch_all(&self.pool).await?
            }
        };
        let migrations = migrations();
        if let Some(newer) = applied.iter().find(|version| !migrations.version_exists(**version)) {
            return Err(Error::Newer(*newer));
        }
        let pending = migrations.iter().filter(|migration| !applied.contains(&migration.version));
        Ok(pending.map(|migration| (migration.version, migration.description.to_string())).collect())
    }

    /// The pool.
    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection of its own that may take its time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        Ok(PgConnection::connect_with(&self.patient).await?)
    }

    /// The same database for building: commits need not be on the disk at once, because the one that makes a build live
    /// brings them there.
    pub(super) fn for_building(&self) -> Self {
        self.beside(BUILDING_CONNECTIONS, "off")
    }

    /// The same database for projecting: what was said to be included stays so, whatever happens to the database.
    pub(super) fn for_projecting(&self) -> Self {
        self.beside(self.projecting, "on")
    }

    /// A few other connections, which may take their time.
    fn beside(&self, connections: u32, synchronous_commit: &str) -> Self {
        let options = self.patient.clone().options([("synchronous_commit", synchronous_commit)]);
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENTLY);
        Self { pool: pool.connect_lazy_with(options), ..self.clone() }
    }

    /// How long an answer to a query is waited for.
    pub(super) fn answer_within(&self) -> Duration {
        self.answer_within
    }
}

/// A shard as the database keeps it.
pub(super) fn number(shard: u32) -> i32 {
    i32::try_from(shard).expect("a ledger has at most 1,024 shards")
}

/// An offset or version as the database keeps it.
pub(super) fn offset(offset: u64) -> i64 {
    i64::try_from(offset).expect("no journal is that long")
}

/// The database has what no projector writes.
pub(super) fn decode(what: String) -> Error {
    Error::Database(sqlx::Error::Decode(what.into()))
}
