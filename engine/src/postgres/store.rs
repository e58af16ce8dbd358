//! The database: connecting, migrating, generations and checkpoints.

use crate::shard::reader::Reader;
use host::secret::Secret;
use serde::{Deserialize, Serialize};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
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

/// How long a connection is waited for: less than a client waits for its answer.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);

/// The section `[postgres]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`, with `?sslmode=verify-full&sslrootcert=…` for TLS.
    pub url: Secret,
    /// Connections at most.
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
         what is at {next}: it has to be made anew (drop the database's schema `projections`)"
    )]
    OtherJournal {
        /// The shard.
        shard: u32,
        /// Up to where it was applied.
        next: u64,
        /// Where the journal ends.
        end: u64,
    },
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
        "the projection {projection} was made from the ledger `{ledger}` with {shards} shards: use another database, or drop \
         its schema `projections`"
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
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    /// For a connection that may take its time.
    patient: PgConnectOptions,
}

/// A build of a projection, all shards of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The projection.
    pub projection: &'static str,
    /// Its number.
    pub number: i32,
}

impl Generation {
    /// The schema with its tables.
    pub fn schema(&self) -> String {
        format!("{}_{}", self.projection, self.number)
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
        let pool = PgPoolOptions::new().max_connections(config.connections).acquire_timeout(ACQUIRE_WITHIN);
        Ok(Self { pool: pool.connect_lazy_with(options), patient })
    }

    /// Brings the database to what this program expects; processes that do so at once wait for each other.
    ///
    /// # Errors
    /// [`Error::Newer`] if it is beyond that.
    pub async fn migrate(&self) -> Result<(), Error> {
        // A connection of its own, without a timeout: a migration takes as long as it takes, and its lock ends with the
        // connection, whatever comes of it. `run` is not for futures that move between threads; this is what it calls.
        let mut connection = PgConnection::connect_with(&self.patient).await?;
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

    /// The live generation of a projection; makes the first one, with the tables that it is to have and the views that show
    /// it, in `shape`.
    ///
    /// # Errors
    /// [`Error::OtherLedger`] if there is one of another ledger.
    pub async fn live(&self, shape: &Shape, ledger: &str, shards: u32) -> Result<Generation, Error> {
        let projection = shape.projection;
        let mut transaction = self.pool.begin().await?;
        // One process makes it, the others find it.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('crossfade projections'))")
            .execute(&mut *transaction)
            .await?;
        let live = "SELECT number, ledger, shards FROM projections.generation WHERE projection = $1 AND live";
        if let Some(row) = sqlx::query(live).bind(projection).fetch_optional(&mut *transaction).await? {
            let (made_from, its_shards): (String, i32) = (row.try_get(1)?, row.try_get(2)?);
            if made_from != ledger || u32::try_from(its_shards) != Ok(shards) {
                return Err(Error::OtherLedger { projection, ledger: made_from, shards: its_shards });
            }
            return Ok(Generation { projection, number: row.try_get(0)? });
        }
        let generation = begin_generation(&mut transaction, shape, ledger, shards).await?;
        go_live(&mut transaction, shape, &generation).await?;
        transaction.commit().await?;
        Ok(generation)
    }

    /// Where the journal of a shard goes on in a generation; `None` if nothing of it was applied.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn checkpoint(&self, generation: &Generation, shard: u32) -> Result<Option<Reader>, Error> {
        let kept = "SELECT journal_next, note FROM projections.checkpoint
                    WHERE projection = $1 AND generation = $2 AND shard = $3";
        let row = sqlx::query(kept)
            .bind(generation.projection)
            .bind(generation.number)
            .bind(number(shard))
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (next, note): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        match u64::try_from(next).ok().and_then(|next| Reader::resume(shard, next, &note)) {
            Some(reader) => Ok(Some(reader)),
            None => Err(Error::Checkpoint { shard, note }),
        }
    }
}

/// What a projection consists of.
#[derive(Debug)]
pub struct Shape {
    /// Its name.
    pub projection: &'static str,
    /// Its tables, as in the schema `projections_shape`.
    pub tables: &'static [&'static str],
    /// The views that show it in the schema `projections`: name, and what it selects, where `{schema}` is its schema.
    pub views: &'static [(&'static str, &'static str)],
}

/// A new generation with empty tables.
async fn begin_generation(
    transaction: &mut PgConnection,
    shape: &Shape,
    ledger: &str,
    shards: u32,
) -> Result<Generation, Error> {
    let next = "INSERT INTO projections.generation (projection, number, ledger, shards)
                SELECT $1, coalesce(max(number), 0) + 1, $2, $3 FROM projections.generation WHERE projection = $1
                RETURNING number";
    let made = sqlx::query_scalar(next).bind(shape.projection).bind(ledger).bind(number(shards));
    let generation = Generation { projection: shape.projection, number: made.fetch_one(&mut *transaction).await? };
    let schema = generation.schema();
    run(transaction, format!("CREATE SCHEMA {schema}")).await?;
    for table in shape.tables {
        let like = format!("CREATE TABLE {schema}.{table} (LIKE projections_shape.{table} INCLUDING ALL)");
        run(transaction, like).await?;
    }
    Ok(generation)
}

/// From now on the views show this generation.
async fn go_live(transaction: &mut PgConnection, shape: &Shape, generation: &Generation) -> Result<(), Error> {
    for (view, selects) in shape.views {
        let selects = selects.replace("{schema}", &generation.schema());
        run(transaction, format!("CREATE OR REPLACE VIEW projections.{view} AS {selects}")).await?;
    }
    sqlx::query("UPDATE projections.generation SET live = (number = $2) WHERE projection = $1")
        .bind(generation.projection)
        .bind(generation.number)
        .execute(&mut *transaction)
        .await?;
    Ok(())
}

/// Runs a statement that is made of names of this program's own.
async fn run(transaction: &mut PgConnection, statement: String) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
    Ok(())
}

/// Moves the checkpoint of a shard from where it is believed to be; `false` if it is not there, because somebody else has
/// moved it.
pub(crate) async fn move_checkpoint(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    from: u64,
    to: &Reader,
) -> Result<bool, Error> {
    let statement = if from == 0 {
        "INSERT INTO projections.checkpoint AS kept (projection, generation, shard, journal_next, note)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (projection, generation, shard) DO UPDATE
         SET journal_next = excluded.journal_next, note = excluded.note, updated_at = now() WHERE kept.journal_next = $6"
    } else {
        "UPDATE projections.checkpoint SET journal_next = $4, note = $5, updated_at = now()
         WHERE projection = $1 AND generation = $2 AND shard = $3 AND journal_next = $6"
    };
    let moved = sqlx::query(statement)
        .bind(generation.projection)
        .bind(generation.number)
        .bind(number(shard))
        .bind(offset(to.next()))
        .bind(to.note())
        .bind(offset(from))
        .execute(&mut *transaction)
        .await?;
    Ok(moved.rows_affected() == 1)
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
