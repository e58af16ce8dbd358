//! A database of one's own in the PostgreSQL that the environment names, for trials: projections of the engine, and
//! everything of the reference legacy.

use crate::client::{Exit, Failure};
use anyhow::anyhow;
use host::secret::Secret;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use std::str::FromStr;

/// Any database of the server, `postgres://user:password@host:port/database`, by a user who may make databases.
pub const URL: &str = "CROSSFADE_DATABASE_URL";

/// A database that exists for one trial.
#[derive(Clone)]
pub struct Database {
    server: PgConnectOptions,
    name: String,
}

/// Makes a database.
///
/// # Errors
/// When no server is named, or what is named is none, or it does not make one.
pub async fn take() -> anyhow::Result<Database> {
    let unusable = |problem: &str| Failure::new(Exit::Usage, format!("{URL} {problem}"));
    let url = std::env::var(URL).unwrap_or_default();
    if url.trim().is_empty() {
        let missing = format!("--postgres needs {URL}: postgres://user:password@host/database");
        return Err(Failure::new(Exit::Usage, missing).into());
    }
    host::postgres::check_address(&url).map_err(|problem| unusable(&problem))?;
    let server = PgConnectOptions::from_str(&url).map_err(|_| unusable("is no address of a database"))?;
    let name = format!("trial_{}", host::random::token().split_off(20));
    let database = Database { server, name };
    database.at_the_server("CREATE DATABASE").await?;
    Ok(database)
}

impl Database {
    /// Where it is.
    pub fn url(&self) -> Secret {
        Secret::new(self.server.clone().database(&self.name).to_url_lossy().as_str())
    }

    /// Drops it with all that is in it.
    ///
    /// # Errors
    /// When the server does not do so.
    pub async fn give_back(&self) -> anyhow::Result<()> {
        self.at_the_server("DROP DATABASE IF EXISTS").await
    }

    async fn at_the_server(&self, what: &str) -> anyhow::Result<()> {
        let force = if what.starts_with("DROP") { " WITH (FORCE)" } else { "" };
        // What the library says has its cause in it already.
        let away = |error: sqlx::Error| anyhow!("PostgreSQL does not answer: {error}");
        let mut connection = PgConnection::connect_with(&self.server).await.map_err(away)?;
        // The name is made of letters and digits.
        let statement = AssertSqlSafe(format!("{what} {}{force}", self.name));
        let refused = |error: sqlx::Error| anyhow!("PostgreSQL does not {what}: {error}");
        sqlx::raw_sql(statement).execute(&mut connection).await.map_err(refused)?;
        connection.close().await?;
        Ok(())
    }
}
