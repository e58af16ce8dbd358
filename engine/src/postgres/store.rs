//! The database: connecting and migrating.

use super::config::Config;
use crate::shard::reader::Unreadable;
use eventlog::ReadError;
use futures_util::FutureExt;
use host::clock;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
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
/// Whether a database is there, while it works for long, is asked so often,
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// and has to be answered by then.
const THERE_WITHIN: Duration = Duration::from_secs(15);
/// So long a connection is taken for whole after it was tested.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// How long a connection is waited for: less than a client waits for its answer.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);

/// What is asked again and again is planned once, not each time: to plan it takes longer than to do it. It is not compiled, for
/// which the guess of the rows for whoever has the most would be reason enough.
const PLANNED_ONCE: [(&str, &str); 3] = [("plan_cache_mode", "force_generic_plan"), ("jit", "off"), BY_INDEX];
/// A plan is by indexes even if it was made when a table was empty.
const BY_INDEX: (&str, &str) = ("enable_seqscan", "off");
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
    Database(sqlx::Error),
    /// Nobody gets in. The pool tries on until then, and does not say why.
    #[error("no connection to the database could be had in time: it lets nobody in, or all connections are in use")]
    NoConnection,
    /// It does not let us in.
    #[error("postgres.url: cannot connect to {place}: {reason}")]
    Connect {
        /// Host and port.
        place: String,
        /// Why not.
        reason: sqlx::Error,
    },
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
    /// A build leaves out more than is wrong in the live one.
    #[error(
        "the new build of the projection `{projection}` leaves out something about {left_out} accounts, of the live one, which \
         stays, {wrong} rows are known to be wrong: mend what keeps it out (`crossfade dlq list`), then rebuild it"
    )]
    LeavesOutMore {
        /// The projection.
        projection: &'static str,
        /// About how many accounts the new one leaves something out that the live one includes.
        left_out: u64,
        /// How many rows of the live one are known to be wrong.
        wrong: u64,
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
    /// There is nothing of this ledger.
    #[error("the database has no live build of the projection `{projection}` of the ledger `{ledger}`")]
    NoBuild {
        /// The projection.
        projection: &'static str,
        /// Whose.
        ledger: String,
    },
    /// What was applied to it is not in it.
    #[error("the projection `{0}` knows less than was applied to it, as after a failover: it is brought up again")]
    KnowsLess(&'static str),
    /// What is asked for is not whole.
    #[error(
        "the projection `{0}` leaves something out (`crossfade dlq list`): mend what is wrong, then \
         `crossfade projection rebuild {0}`"
    )]
    LeavesOut(&'static str),
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
    /// Held by whoever finds out why there is no connection.
    asks_why: Arc<tokio::sync::Mutex<()>>,
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

/// Its message has all that the cause says, so it does not name it as its source again.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Error::Database(error)
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
            error => error.is_wrong_row(),
        }
    }

    /// Whether a row is not what a projector writes.
    pub(super) fn is_wrong_row(&self) -> bool {
        matches!(self, Error::Database(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }))
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
        let options = patient.clone().options([("statement_timeout", timeout.as_str())]).options(PLANNED_ONCE);
        let projecting = (config.connections * 2 / 5).clamp(1, PROJECTING_CONNECTIONS);
        let asking = config.connections.saturating_sub(projecting).max(1);
        let pool = PgPoolOptions::new().max_connections(asking).acquire_timeout(ACQUIRE_WITHIN);
        // A connection was tested when it was given back: that is believed for a while.
        let pool = pool.test_before_acquire(false).before_acquire(|connection, about| {
            async move {
                if about.idle_for > BELIEVED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            }
            .boxed()
        });
        let answer_within = Duration::from_millis(config.statement_timeout_ms).saturating_add(SILENT_FOR);
        Ok(Self { pool: pool.connect_lazy_with(options), patient, asks_why: Arc::default(), projecting, answer_within })
    }

    /// Brings the database to what this program expects; processes that do so at once wait for each other.
    ///
    /// # Errors
    /// [`Error::Newer`] if it is beyond that.
    pub async fn migrate(&self) -> Result<(), Error> {
        // One connection less for a database that lets in only a few.
        if self.pending().await?.is_empty() {
            return Ok(());
        }
        // A connection of its own, without a timeout: a migration takes as long as it takes, and its lock ends with the
        // connection, whatever comes of it. `run` is not for futures that move between threads; this is what it calls.
        let migrated = self.while_there(async {
            let mut connection = self.connect().await?;
            let migrated = migrations().run_direct(None, &mut connection, false).await;
            connection.close().await?;
            Ok(migrated)
        });
        match migrated.await? {
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
        let asked = async {
            let mut connection = self.connect().await?;
            let applied = applied(&mut connection).await?;
            connection.close().await?;
            Ok(applied)
        };
        let applied: BTreeMap<i64, Vec<u8>> = clock::timeout(PATIENTLY, asked).await.unwrap_or(Err(Error::Silent))?;
        let migrations = migrations();
        if let Some(newer) = applied.keys().find(|version| !migrations.version_exists(**version)) {
            return Err(Error::Newer(*newer));
        }
        let mut pending = Vec::new();
        for migration in migrations.iter() {
            match applied.get(&migration.version) {
                None => pending.push((migration.version, migration.description.to_string())),
                Some(checksum) if *checksum == *migration.checksum => {}
                Some(_) => return Err(Error::Migrate(MigrateError::VersionMismatch(migration.version))),
            }
        }
        Ok(pending)
    }

    /// A connection for one piece of work.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn lend(&self) -> Result<Lent, Error> {
        match self.pool.acquire().await {
            Ok(connection) => Ok(Lent { connection, answered: false }),
            Err(sqlx::Error::PoolTimedOut) => Err(Error::NoConnection),
            Err(reason) => Err(self.not_let_in(reason)),
        }
    }

    fn not_let_in(&self, reason: sqlx::Error) -> Error {
        Error::Connect { place: format!("{}:{}", self.patient.get_host(), self.patient.get_port()), reason }
    }

    /// A connection of its own that may take its time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        match clock::timeout(PATIENTLY, PgConnection::connect_with(&self.patient)).await {
            Ok(connected) => connected.map_err(|reason| self.not_let_in(reason)),
            Err(_) => Err(Error::Silent),
        }
    }

    /// Does something that takes as long as it takes, on connections that it makes, as long as the database is there: nobody
    /// is told when its machine is gone without a word.
    pub(super) async fn while_there<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        // Made first: it is never one to a successor of what the work waits for.
        let mut beside = self.connect().await?;
        let gone = async {
            loop {
                clock::sleep(ASKED_EVERY).await;
                match clock::timeout(THERE_WITHIN, beside.ping()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Error::from(error),
                    Err(_) => return Error::Silent,
                }
            }
        };
        tokio::select! {
            done = work => done,
            error = gone => Err(error),
        }
    }

    /// The reason of an error, as far as it is one of a pool, which has none: what comes of one more connection.
    pub(super) async fn reason_of(&self, error: Error) -> Error {
        match error {
            Error::NoConnection => {
                // One for all who want to know: there may be none left.
                let Ok(_alone) = self.asks_why.try_lock() else { return error };
                match clock::timeout(ACQUIRE_WITHIN, self.connect()).await {
                    Ok(connected) => connected.err().unwrap_or(error),
                    Err(_) => Error::Silent,
                }
            }
            error => error,
        }
    }

    /// The same database for building: commits need not be on the disk at once, because the one that makes a build live
    /// brings them there; and a plan that was made when a table was empty is not kept while it grows.
    pub(super) fn for_building(&self) -> Self {
        let settings = [("synchronous_commit", "off"), ("plan_cache_mode", "force_custom_plan")];
        self.beside(BUILDING_CONNECTIONS, &settings)
    }

    /// The same database for projecting: what was said to be included stays so, even if the database is killed. A standby that
    /// lacks it is another matter: every answer says whether it does.
    pub(super) fn for_projecting(&self) -> Self {
        self.beside(self.projecting, &[("synchronous_commit", "on"), BY_INDEX])
    }

    /// A few other connections, which may take their time.
    fn beside(&self, connections: u32, settings: &[(&str, &str)]) -> Self {
        let options = self.patient.clone().options(settings.iter().copied());
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENTLY);
        Self { pool: pool.connect_lazy_with(options), ..self.clone() }
    }

    /// How long an answer to a query is waited for.
    pub(super) fn answer_within(&self) -> Duration {
        self.answer_within
    }
}

/// The migrations that were applied, by version, and the checksum of each.
async fn applied(connection: &mut PgConnection) -> Result<BTreeMap<i64, Vec<u8>>, Error> {
    let known = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(MIGRATED);
    if !known.fetch_one(&mut *connection).await? {
        return Ok(BTreeMap::new());
    }
    let applied = format!("SELECT version, checksum FROM {MIGRATED} WHERE success");
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(applied)).fetch_all(connection).await?;
    Ok(applied.into_iter().collect())
}

/// A connection of a pool. One that is dropped without being given back is closed: what was asked on it was not answered, and
/// a pool would wait for that before it makes another one.
pub(super) struct Lent {
    connection: PoolConnection<Postgres>,
    answered: bool,
}

impl Lent {
    /// Everything that was asked was answered. The pool tests the connection, but has no patience of its own.
    pub(super) fn give_back(mut self) {
        self.answered = true;
        host::task::spawn(clock::timeout(PATIENTLY, self.connection.return_to_pool()));
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.close_on_drop();
        }
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
