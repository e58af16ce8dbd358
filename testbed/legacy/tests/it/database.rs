//! A database of a test's own.

use host::secret::Secret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use testbed_legacy::store::postgres::Config;

/// A database, with nothing in it at first, and nothing left of it at the end.
pub struct Database {
    server: PgConnectOptions,
    name: String,
    /// The port at which a legacy is to look for it, unless that is the server's own.
    port: Option<u16>,
}

impl Database {
    /// A new one, if `CROSSFADE_TRIAL_LEGACY` says that all tests are to run on PostgreSQL.
    pub async fn if_wanted() -> Option<Self> {
        match std::env::var("CROSSFADE_TRIAL_LEGACY").as_deref() {
            Ok("postgres") => Some(Self::new().await),
            Ok(other) => panic!("CROSSFADE_TRIAL_LEGACY can be `postgres`, not `{other}`"),
            Err(_) => None,
        }
    }

    /// A new one.
    pub async fn new() -> Self {
        let server = std::env::var("CROSSFADE_DATABASE_URL").expect(
            "CROSSFADE_DATABASE_URL names a server: run `./dev services up`, then `. .services/env`, or the tests by \
             `./dev test --services`",
        );
        let name = format!("legacy_test_{}", host::random::token().split_off(20));
        let database = Self { server: server.parse().unwrap(), name, port: None };
        at_the_server(&database.server, format!(r#"CREATE DATABASE "{}""#, database.name)).await;
        database
    }

    /// The same, behind another port, where somebody reads what is said: without TLS.
    pub fn at(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Where the server is.
    pub fn address(&self) -> (String, u16) {
        (self.server.get_host().to_owned(), self.server.get_port())
    }

    /// Where a legacy finds it.
    pub fn config(&self) -> Config {
        self.config_with(|options| options)
    }

    /// The same, with something else in the address.
    pub fn config_with(&self, change: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> Config {
        let options = self.server.clone().database(&self.name);
        let options = match self.port {
            Some(port) => options.port(port).ssl_mode(PgSslMode::Disable),
            None => options,
        };
        Config { url: Secret::new(change(options).to_url_lossy().as_str()) }
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.server.clone().database(&self.name)).await.unwrap()
    }

    /// Runs statements.
    pub async fn run(&self, statements: &'static str) {
        sqlx::raw_sql(statements).execute(&mut self.connect().await).await.unwrap();
    }
}

async fn at_the_server(server: &PgConnectOptions, statement: String) {
    let mut connection = PgConnection::connect_with(server).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
}

impl Drop for Database {
    /// On a thread of its own: a test may end anywhere.
    fn drop(&mut self) {
        let server = self.server.clone();
        let drop_it = format!(r#"DROP DATABASE IF EXISTS "{}" WITH (FORCE)"#, self.name);
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(at_the_server(&server, drop_it));
        });
        let _ = dropping.join();
    }
}
