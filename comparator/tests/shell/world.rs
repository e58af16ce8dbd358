//! Everything a test needs: a log in a directory, two systems, a comparator.

use crate::meddler::Meddler;
use crate::system::System;
use comparator::Config;
use comparator::config::Token;
use eventlog::{EmbeddedLog, Log, Place};
use host::http::{Answer, Client, request};
use host::secret::Secret;
use host::task::Shutdown;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use wire::rollout::{Rollout, RolloutBody, RolloutRecord};
use wire::scalar::Timestamp;
use wire::words::Permission;

pub const LEDGER: &str = "test";
pub const VIEWER: &str = "viewer-secret";
pub const OPERATOR: &str = "operator-secret";
pub const APPROVER: &str = "approver-secret";
pub const SERVICE: &str = "service-secret";
/// Nothing in a test takes longer unless it is broken.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A comparator that runs.
pub struct Running {
    pub address: SocketAddr,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<Result<(), comparator::Error>>,
}

impl Running {
    /// Waits until the chains are read.
    async fn until_open(&self) {
        let client = Client::new(DEADLINE, 1 << 20);
        let url = format!("http://{}/api/summary", self.address);
        let open = async {
            while client.get(&url, None, DEADLINE).await.unwrap().status == StatusCode::SERVICE_UNAVAILABLE {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, open).await.expect("the chains are read");
    }

    pub async fn stop(self) {
        self.shutdown.stop();
        self.task.await.unwrap().unwrap();
    }
}

pub struct World {
    pub log: Arc<Meddler>,
    pub legacy: System,
    pub engine: System,
    pub config: Config,
    pub comparator: Option<Running>,
    pub client: Client,
    pub shutdown: Shutdown,
    _directory: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.stop();
        if let Some(running) = &self.comparator {
            running.shutdown.stop();
        }
    }
}

impl World {
    /// With a comparator that runs.
    pub async fn new() -> Self {
        let mut world = Self::without_comparator(|_| {}).await;
        world.start().await;
        world
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut world = Self::without_comparator(change).await;
        world.start().await;
        world
    }

    pub async fn without_comparator(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = Meddler::new(EmbeddedLog::open(directory.path()).unwrap());
        let shutdown = Shutdown::new();
        let (legacy, engine) = (System::start(shutdown.clone()).await, System::start(shutdown.clone()).await);
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            legacy: legacy.url(),
            engine: engine.url(),
            // The machine may be busy with other tests; those about lateness set it down.
            handover_ms: 5_000,
            mark_wait_ms: 10_000,
            tokens: tokens(),
            ..Config::default()
        };
        change(&mut config);
        let client = Client::new(Duration::from_secs(2), 64 * 1024 * 1024);
        Self { log, legacy, engine, config, comparator: None, client, shutdown, _directory: directory }
    }

    /// Starts a comparator on the world's log.
    pub async fn another(&self) -> Running {
        let bound = comparator::bind(LEDGER, self.config.clone(), self.place()).await.unwrap();
        let (address, shutdown) = (bound.address(), Shutdown::new());
        let task = tokio::spawn(bound.run(shutdown.clone()));
        let running = Running { address, shutdown, task };
        running.until_open().await;
        running
    }

    /// Where the world's log is.
    pub fn place(&self) -> Place {
        Place::here(self.log.clone())
    }

    pub async fn start(&mut self) {
        self.comparator = Some(self.another().await);
    }

    /// Stops the comparator and starts another one in its place.
    pub async fn restart(&mut self) {
        if let Some(running) = self.comparator.take() {
            running.stop().await;
        }
        self.start().await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.comparator.as_ref().expect("a comparator runs").address)
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, Some(VIEWER), None).await
    }

    pub async fn post(&self, token: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(Method::POST, path, Some(token), Some(body)).await
    }

    pub async fn set(&self, to: &str) -> (StatusCode, Value) {
        self.post(OPERATOR, "/api/rollout/set", json!({ "to": to, "reason": "test" })).await
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let answer = ask(&self.client, method, &self.url(path), token, body).await;
        let body = if answer.body.is_empty() { Value::Null } else { answer.json().unwrap_or(Value::Null) };
        (answer.status, body)
    }

    /// The dial as the log has it.
    pub async fn rollout(&self) -> Rollout {
        let mut rollout = Rollout::genesis(LEDGER);
        for record in self.log.read(wire::rollout::TOPIC, 0, 0, usize::MAX).await.unwrap() {
            rollout.take(&record.value).unwrap();
        }
        rollout
    }

    /// What the accepted records of the dial say, in order.
    pub async fn bodies(&self) -> Vec<RolloutBody> {
        self.changes().await.into_iter().map(|record| record.body).collect()
    }

    /// The same with who wrote them when.
    pub async fn changes(&self) -> Vec<RolloutRecord> {
        let mut rollout = Rollout::genesis(LEDGER);
        let records = self.log.read(wire::rollout::TOPIC, 0, 0, usize::MAX).await.unwrap();
        records.iter().filter_map(|record| rollout.take(&record.value).unwrap()).collect()
    }

    /// The bytes of a record that extends the dial's chain as it stands.
    pub async fn next_record(&self, body: RolloutBody) -> Vec<u8> {
        let parent = self.rollout().await.head;
        let at = Timestamp(host::clock::unix_micros());
        wire::stored::encode(&RolloutRecord { parent, at, actor: "rival".into(), reason: "test".into(), body })
    }

    /// Puts a record into the dial's chain, as somebody else.
    pub async fn append(&self, body: RolloutBody) {
        let bytes = self.next_record(body).await;
        self.log.append(wire::rollout::TOPIC, 0, vec![eventlog::NewRecord::of(bytes)]).await.unwrap();
    }

    /// Waits until the comparator says so.
    pub async fn until(&self, path: &str, what: &str, there: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let wait = async {
            loop {
                let (status, body) = self.get(path).await;
                last = body;
                if status == StatusCode::OK && there(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = tokio::time::timeout(DEADLINE, wait).await.is_ok();
        assert!(reached, "{path} never said: {what}; last: {last}");
        last
    }

    /// Waits until the index knows everything.
    pub async fn caught_up(&self) {
        self.until("/api/summary", "caught up", |summary| summary["caughtUp"] == true).await;
    }

    /// Waits until every gate is open.
    pub async fn gates_open(&self) {
        let open = |body: &Value| body.as_array().unwrap().iter().all(|gate| gate["open"] == true);
        self.until("/api/rollout/gates", "all open", open).await;
    }
}

pub async fn ask(client: &Client, method: Method, url: &str, token: Option<&str>, body: Option<Value>) -> Answer {
    let body = body.map(|body| serde_json::to_vec(&body).unwrap()).unwrap_or_default();
    client.send(request(method, url, token, body.into()).unwrap(), DEADLINE).await.unwrap()
}

/// Waits for a condition; fails with its name when it does not come.
pub async fn eventually(what: &str, there: impl AsyncFn() -> bool) {
    let wait = async {
        while !there().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "never: {what}");
}

fn tokens() -> Vec<Token> {
    let token =
        |name: &str, permission, secret: &str| Token { name: name.into(), permission, secret: Secret::new(secret) };
    vec![
        token("vera", Permission::Viewer, VIEWER),
        token("otto", Permission::Operator, OPERATOR),
        token("anna", Permission::Approver, APPROVER),
        token("parts", Permission::Service, SERVICE),
    ]
}

/// The code of a problem.
pub fn code(body: &Value) -> &str {
    body["code"].as_str().unwrap_or_default()
}
