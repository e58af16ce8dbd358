//! A world around one front: everything it talks to, played by small servers on real sockets.

pub mod chain;
pub mod comparator;
pub mod ingest;
pub mod relay;
pub mod system;

use bytes::Bytes;
use comparator::Comparator;
use host::http::{Answer, Client};
use host::secret::Secret;
use host::task::Shutdown;
use http::{Method, Request};
use http_body_util::Full;
use ingest::Ingest;
use proxy::front::{self, Config};
use relay::Relay;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use system::Stub;
use wire::exchange::{AuthorityResult, ExchangeBody, ExchangeRecord, Intent};

/// The ledger of every test.
pub const LEDGER: &str = "ledger";
/// The token between parts.
pub const TOKEN: &str = "service-token";
/// Far above what anything here takes, so that only what never comes fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Everything a front talks to, and its data directory.
pub struct World {
    pub legacy: Stub,
    pub engine: Stub,
    pub relay: Relay,
    pub ingest: Ingest,
    pub comparator: Comparator,
    pub dir: tempfile::TempDir,
}

impl World {
    /// Every part of it running.
    pub async fn new() -> Self {
        Self {
            legacy: Stub::start("legacy").await,
            engine: Stub::start("engine").await,
            relay: Relay::start().await,
            ingest: Ingest::start().await,
            comparator: Comparator::start().await,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A configuration that points to all of it.
    pub fn config(&self) -> Config {
        Config {
            name: "front-a".into(),
            legacy: self.legacy.url(),
            engine: self.engine.url(),
            comparator: self.comparator.url(),
            relay: self.relay.url(),
            ingest: self.ingest.address().to_string(),
            // Tests share two cores: nobody waits for so long, and nothing becomes a gap by accident.
            journal_wait_ms: 10_000,
            relay_wait_ms: 2_000,
            ..Config::local(self.dir.path().join("front"), Secret::new(TOKEN))
        }
    }

    /// A front in it.
    pub async fn front(&self) -> Front {
        Front::start(self.config()).await
    }
}

/// A front in a runtime of its own, so that it can be stopped without warning.
pub struct Front {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub boot: u64,
    shutdown: Shutdown,
    runtime: Option<tokio::runtime::Runtime>,
    running: Option<tokio::task::JoinHandle<Result<(), front::Error>>>,
    client: Client,
}

impl Front {
    pub async fn start(config: Config) -> Self {
        Self::try_start(config).await.unwrap()
    }

    /// Starts it; a directory that a front of this process has not let go of yet is waited for.
    pub async fn try_start(config: Config) -> Result<Self, front::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let bound = loop {
            let config = config.clone();
            match runtime.spawn(async move { front::bind(config, LEDGER).await }).await.unwrap() {
                Ok(bound) => break bound,
                Err(front::Error::Journal(proxy::journal::Error::Disk(error)))
                    if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => {
                    runtime.shutdown_background();
                    return Err(error);
                }
            }
        };
        let shutdown = Shutdown::new();
        let (address, admin, boot) = (bound.address(), bound.admin_address(), bound.boot());
        let running = runtime.spawn(bound.run(shutdown.clone()));
        let client = Client::new(PATIENCE, 64 * 1024 * 1024);
        Ok(Self { address, admin, boot, shutdown, runtime: Some(runtime), running: Some(running), client })
    }

    /// Stops it in order.
    pub async fn stop(mut self) {
        self.shutdown.stop();
        self.running.take().unwrap().await.unwrap().unwrap();
    }

    /// Ends it where it stands.
    pub fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.client.send(request, PATIENCE).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path, &[], body.to_string())).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path, &[], "")).await
    }

    /// What the operators' listener answers.
    pub async fn admin(&self, method: Method, path: &str, token: Option<&str>, body: &str) -> Answer {
        let url = format!("http://{}{path}", self.admin);
        let request = host::http::request(method, &url, token, Bytes::from(body.to_owned())).unwrap();
        self.send(request).await
    }

    /// Waits until the front shows that it has heard something of the dial.
    pub async fn hears(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let view = self.admin(Method::GET, "/override", Some(TOKEN), "").await;
            if holds(&view.json().unwrap()) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} was never heard: {view:?}");
        }
    }

    /// Waits until the front has heard of a version in force.
    pub async fn hears_version(&self, version: u64) {
        self.hears(&format!("version {version}"), |view| view["version"] == version).await;
    }

    /// Waits until the front has heard of a move that is prepared.
    pub async fn hears_prepare(&self) {
        self.hears("a prepare", |view| !view["preparing"].is_null()).await;
    }

    pub fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).unwrap()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A topup to a USER account.
pub fn topup(account: &str, key: &str) -> Value {
    serde_json::json!({
        "idempotencyKey": key, "sourceAccountId": "bank", "destinationAccountId": account,
        "amount": "1.50", "currency": "EUR"
    })
}

/// A problem's code.
pub fn code(answer: &Answer) -> String {
    let problem: Value = answer.json().unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    problem["code"].as_str().unwrap_or_else(|| panic!("no code: {problem}")).to_owned()
}

/// The intent of a record.
pub fn intent(record: &ExchangeRecord) -> Option<&Intent> {
    match &record.body {
        ExchangeBody::Intent(intent) => Some(intent),
        _ => None,
    }
}

/// The result of a record.
pub fn result(record: &ExchangeRecord) -> Option<&AuthorityResult> {
    match &record.body {
        ExchangeBody::Result(result) => Some(result),
        _ => None,
    }
}

/// Accounts whose bucket lies below one percentage and not below another: those that move between the two.
pub fn accounts(from: u16, to: u16) -> impl Iterator<Item = String> {
    (0..).map(|number| format!("user-{number}")).filter(move |account| {
        let bucket = wire::ids::bucket(LEDGER, account);
        (from * 100..to * 100).contains(&bucket)
    })
}

/// The first of [`accounts`].
pub fn account(from: u16, to: u16) -> String {
    accounts(from, to).next().unwrap()
}
