//! An engine of a test's own, and a client for it.

use bytes::Bytes;
use engine::Config;
use host::http::{Answer, Client};
use host::secret::Secret;
use host::task::{JoinHandle, Shutdown};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The service token of every test's engine.
pub const TOKEN: &str = "service-token";
/// The header that names the actor.
pub const ACTOR: &str = "x-actor";
/// Every answer comes within this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running engine; its data directory is removed with it.
pub struct Engine {
    address: SocketAddr,
    control_address: SocketAddr,
    client: Client,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), engine::Error>>,
    dir: Option<TempDir>,
}

/// A configuration for `dir`.
pub fn config(dir: &Path) -> Config {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    Config {
        service_token: Some(Secret::new(TOKEN)),
        actor_header: Some(ACTOR.to_owned()),
        ..Config::new(any, any, dir)
    }
}

impl Engine {
    /// An engine with the defaults.
    pub async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    /// An engine with changes to the defaults.
    pub async fn start_with(change: impl FnOnce(Config) -> Config) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    /// An engine on a directory that may have been used before.
    pub async fn start_in(dir: TempDir, change: impl FnOnce(Config) -> Config) -> Self {
        let bound = engine::bind(change(config(dir.path())), "test", None, None).await.unwrap();
        let shutdown = Shutdown::new();
        let engine = Self {
            address: bound.address().unwrap(),
            control_address: bound.control_address().unwrap(),
            client: Client::new(PATIENCE, 64 << 20),
            running: host::task::spawn(bound.run(shutdown.clone())),
            shutdown,
            dir: Some(dir),
        };
        engine.until_open().await;
        engine
    }

    /// Waits until the journal is folded, whatever else keeps it from being ready.
    async fn until_open(&self) {
        let open = async {
            while text(&self.get("/readyz").await).contains("log: ") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, open).await.expect("the journal is folded");
    }

    /// Stops it in order, and gives the directory back.
    pub async fn stop(mut self) -> TempDir {
        // Idle connections would be waited for.
        self.client = Client::new(PATIENCE, 1);
        self.shutdown.stop();
        let stopped = tokio::time::timeout(PATIENCE, &mut self.running).await;
        stopped.expect("the engine stops").unwrap().unwrap();
        self.dir.take().unwrap()
    }

    pub fn control_address(&self) -> SocketAddr {
        self.control_address
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Any request to the billing API.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send_to(self.address, method, path, headers, body.into()).await
    }

    /// Any request to the control listener, without a token.
    pub async fn control(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send_to(self.control_address, method, path, headers, body.into()).await
    }

    async fn send_to(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let method: Method = method.parse().unwrap();
        let mut request = host::http::request(method, &format!("http://{address}{path}"), None, body).unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        self.client.send(request, PATIENCE).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// `GET` of what has to be there.
    pub async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", text(&answer));
        answer.json().unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], body.to_string()).await
    }

    /// Makes an account that has to be new.
    pub async fn account(&self, id: &str, account_type: &str, more: Value) -> Value {
        let mut body = json!({
            "accountId": id, "ownerId": "o", "ownerType": "person", "accountType": account_type, "currency": "EUR",
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.post("/accounts", &body).await;
        assert_eq!(answer.status, 201, "{}", text(&answer));
        answer.json().unwrap()
    }

    /// `bank` (EXTERNAL, unlimited), and USER accounts with so much each.
    pub async fn with_users(self, users: &[(&str, &str)]) -> Self {
        self.account("bank", "EXTERNAL", json!({})).await;
        for (id, balance) in users {
            self.account(id, "USER", json!({})).await;
            if *balance != "0" {
                let topup = movement(&format!("first-{id}"), "bank", id, balance);
                let answer = self.post("/transactions/topup", &topup).await;
                assert_eq!(answer.status, 200, "{}", text(&answer));
            }
        }
        self
    }

    pub async fn balance_of(&self, id: &str) -> String {
        let balance = self.read(&format!("/accounts/{id}/balance")).await;
        balance["balance"].as_str().unwrap().to_owned()
    }
}

/// The body of a topup, withdrawal or transfer in EUR.
pub fn movement(key: &str, source: &str, destination: &str, amount: &str) -> Value {
    json!({
        "idempotencyKey": key, "sourceAccountId": source, "destinationAccountId": destination, "amount": amount,
        "currency": "EUR",
    })
}

/// `value` with the fields of `more` put in; a `null` there takes the field away.
pub fn with(mut value: Value, more: Value) -> Value {
    let fields = value.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            fields.shift_remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    value
}

pub fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

pub fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

/// The problem that an answer has to be, complete in its form.
pub fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", text(answer));
    assert_eq!(header(answer, "content-type"), Some("application/problem+json"));
    let problem: Value = answer.json().unwrap();
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["type"], format!("urn:crossfade:problem:{code}"), "{problem}");
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    assert!(problem["correlationId"].as_str().is_some_and(|id| !id.is_empty()), "{problem}");
    problem
}

/// Asks until the answer is as wanted.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come about");
        tokio::task::yield_now().await;
    }
}
