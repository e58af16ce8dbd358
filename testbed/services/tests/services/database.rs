//! A database of a test's own, and an engine on it.

use engine::postgres::Config;
use host::http::{Answer, Client};
use host::secret::Secret;
use host::task::{JoinHandle, Shutdown};
use http::Method;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use testbed_services::variable;

const TOKEN: &str = "service-token";
const PATIENCE: Duration = Duration::from_secs(30);

/// A database; dropped by [`Database::drop_it`].
pub struct Database {
    server: PgConnectOptions,
    pub name: String,
}

impl Database {
    /// One that is not there yet.
    pub fn planned() -> Self {
        let server: PgConnectOptions = variable("CROSSFADE_DATABASE_URL").parse().unwrap();
        let name = format!("crossfade_test_{}", host::random::token().split_off(20));
        Self { server, name }
    }

    /// A new one.
    pub async fn new() -> Self {
        let database = Self::planned();
        database.create().await;
        database
    }

    pub async fn create(&self) {
        self.at_the_server(format!(r#"CREATE DATABASE "{}""#, self.name)).await;
    }

    /// A new one on another disk.
    pub async fn new_in(tablespace: &str) -> Self {
        let database = Self::planned();
        database.at_the_server(format!(r#"CREATE DATABASE "{}" TABLESPACE {tablespace}"#, database.name)).await;
        database
    }

    pub async fn drop_it(self) {
        self.at_the_server(format!(r#"DROP DATABASE IF EXISTS "{}" WITH (FORCE)"#, self.name)).await;
    }

    async fn at_the_server(&self, statement: String) {
        let mut connection = PgConnection::connect_with(&self.server).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.server.clone().database(&self.name)).await.unwrap()
    }

    pub fn config(&self) -> Config {
        Self::config_of(self.server.clone().database(&self.name).to_url_lossy().as_str())
    }

    pub fn config_of(url: &str) -> Config {
        Config { url: Secret::new(url), connections: 10, statement_timeout_ms: 5_000 }
    }
}

/// An engine with an embedded log and projections.
pub struct Engine {
    address: SocketAddr,
    control: SocketAddr,
    client: Client,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), engine::Error>>,
}

impl Engine {
    pub async fn start(folder: &Path, ledger: &str, database: &Database) -> Self {
        Self::start_on(folder, ledger, database.config()).await
    }

    pub async fn start_on(folder: &Path, ledger: &str, database: impl Into<Option<Config>>) -> Self {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let config = engine::Config {
            answer_wait_ms: 2_000,
            service_token: Some(Secret::new(TOKEN)),
            ..engine::Config::new(any, any, folder)
        };
        let bound = engine::bind(config, ledger, None, database.into()).await.unwrap();
        let (address, control) = (bound.address().unwrap(), bound.control_address().unwrap());
        let shutdown = Shutdown::new();
        let running = host::task::spawn(bound.run(shutdown.clone()));
        Self { address, control, client: Client::new(PATIENCE, 64 << 20), shutdown, running }
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.send_as(None, method, path, body).await
    }

    /// As another part of Crossfade would, in that mode.
    pub async fn leg(&self, mode: &'static str, path: &str, body: &Value) -> Answer {
        self.send_as(Some(mode), Method::POST, path, body).await
    }

    /// To the control listener.
    pub async fn control(&self, method: Method, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.control);
        let request = host::http::request(method, &url, Some(TOKEN), String::new().into()).unwrap();
        self.client.send(request, PATIENCE).await.unwrap()
    }

    /// A projection as `crossfade projection list` shows it.
    pub async fn projection(&self, name: &str) -> Value {
        let answer = self.control(Method::GET, "/internal/projections").await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let all: Value = answer.json().unwrap();
        all["projections"].as_array().unwrap().iter().find(|found| found["name"] == name).unwrap().clone()
    }

    /// Runs a job to its end.
    pub async fn job(&self, name: &str, job: &str) -> Value {
        let begun = self.control(Method::POST, &format!("/internal/projections/{name}/{job}")).await;
        assert_eq!(begun.status, 202, "{}", String::from_utf8_lossy(&begun.body));
        let ended = async {
            loop {
                let job = self.projection(name).await["job"].take();
                if job["state"] != "running" {
                    return job;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("it ends")
    }

    async fn send_as(&self, mode: Option<&'static str>, method: Method, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (url, token) = (format!("http://{}{path}", self.address), mode.is_some().then_some(TOKEN));
        let mut request = host::http::request(method, &url, token, body.into()).unwrap();
        if let Some(mode) = mode {
            request.headers_mut().insert(wire::leg::MODE, http::HeaderValue::from_static(mode));
        }
        self.client.send(request, PATIENCE).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &Value::Null).await
    }

    pub async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        answer.json().unwrap()
    }

    pub async fn account(&self, id: &str, account_type: &str) {
        let body = json!({
            "accountId": id, "ownerId": "o", "ownerType": "person", "accountType": account_type, "currency": "EUR",
        });
        let answer = self.send(Method::POST, "/accounts", &body).await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    }

    pub async fn transact(&self, kind: &str, key: &str, source: &str, destination: &str, amount: &str) -> Answer {
        let body = json!({
            "idempotencyKey": key, "sourceAccountId": source, "destinationAccountId": destination, "amount": amount,
            "currency": "EUR",
        });
        self.send(Method::POST, &format!("/transactions/{kind}"), &body).await
    }

    /// Waits until the journal is folded.
    pub async fn until_open(&self) {
        let open = async {
            while self.get("/readyz").await.status != 200 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, open).await.expect("the journal is folded");
    }

    /// How it ended; it has to have been stopped, or to stop by itself.
    pub async fn ended(self) -> Result<(), engine::Error> {
        tokio::time::timeout(PATIENCE, self.running).await.expect("it ends").unwrap()
    }

    pub async fn stop(self) {
        self.shutdown.stop();
        self.ended().await.unwrap();
    }
}

/// What is answered in the end: until then it may be refused.
pub async fn until_answered(engine: &Engine, path: &str) -> serde_json::Value {
    until_answered_within(engine, path, Duration::from_secs(60)).await
}

pub async fn until_answered_within(engine: &Engine, path: &str, patience: Duration) -> serde_json::Value {
    let answered = async {
        loop {
            let answer = engine.get(path).await;
            if answer.status == 200 {
                return answer.json().unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, answered).await.expect("it is answered again")
}
