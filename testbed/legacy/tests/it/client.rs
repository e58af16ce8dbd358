//! A running legacy and the shortest way to talk to it.

use crate::database::Database;
use bytes::Bytes;
use host::http::{Answer, Client, SendError};
use host::task::{JoinHandle, Shutdown};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;
use testbed_legacy::{Config, Error, bind};

/// No answer takes that long, unless a test says otherwise.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A directory in memory, where the machine has such a place: these tests are about rules, not about disks.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A legacy in this process, on a directory or a database of its own.
pub struct Legacy {
    pub directory: TempDir,
    /// Dropped at the end, too.
    pub database: Option<Database>,
    pub config: Config,
    pub url: String,
    client: Client,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), Error>>,
}

/// A configuration for a test: a free port, and a slowness that a test can wait for.
pub fn config() -> Config {
    Config { listen: "127.0.0.1:0".parse().unwrap(), slow_ms: 300, ..Config::default() }
}

impl Legacy {
    pub async fn start() -> Self {
        Self::start_with(config()).await
    }

    pub async fn start_with(config: Config) -> Self {
        Self::start_in(directory(), Database::if_wanted().await, config).await
    }

    /// One that keeps everything in PostgreSQL, whatever the others do.
    pub async fn start_on(database: Database) -> Self {
        Self::start_in(directory(), Some(database), config()).await
    }

    async fn start_in(directory: TempDir, database: Option<Database>, config: Config) -> Self {
        Self::try_start_in(directory, database, config).await.unwrap()
    }

    async fn try_start_in(directory: TempDir, database: Option<Database>, config: Config) -> Result<Self, Error> {
        let postgres = database.as_ref().map(Database::config);
        let config = Config { data_dir: directory.path().join("legacy"), postgres, ..config };
        let bound = bind(config.clone()).await?;
        let url = format!("http://{}", bound.address());
        let shutdown = Shutdown::new();
        let running = host::task::spawn(bound.run(shutdown.clone()));
        Ok(Self { directory, database, config, url, client: Client::new(TIMEOUT, 8 << 20), shutdown, running })
    }

    /// Stops it in order, and starts it again where it was.
    pub async fn restart(self) -> Self {
        self.shutdown.stop();
        let (ended, legacy) = self.restart_ended().await;
        ended.unwrap();
        legacy
    }

    /// Stops it in order, and starts another one where it was.
    pub async fn restart_as(self, config: Config) -> Result<Self, Error> {
        self.shutdown.stop();
        self.running.await.unwrap().unwrap();
        Self::try_start_in(self.directory, self.database, config).await
    }

    /// Waits until it has ended by itself, and starts it again where it was.
    pub async fn restart_ended(self) -> (Result<(), Error>, Self) {
        let ended = self.running.await.unwrap();
        (ended, Self::start_in(self.directory, self.database, self.config).await)
    }

    /// Stops it in order.
    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.stop();
        self.running.await.unwrap()
    }

    pub async fn send_bytes(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body, TIMEOUT).await.unwrap()
    }

    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Answer, SendError> {
        let url = format!("{}{path}", self.url);
        let mut request = host::http::request(method, &url, None, Bytes::copy_from_slice(body)).unwrap();
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name).unwrap();
            request.headers_mut().append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        self.client.send(request, timeout).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        Reply::of(self.send_bytes(Method::GET, path, &[], b"").await)
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.post_with(path, &[], body).await
    }

    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Reply {
        Reply::of(self.send_bytes(Method::POST, path, headers, body.to_string().as_bytes()).await)
    }

    pub async fn patch(&self, id: &str, body: Value) -> Reply {
        let path = format!("/accounts/{id}");
        Reply::of(self.send_bytes(Method::PATCH, &path, &[], body.to_string().as_bytes()).await)
    }

    /// Makes an account in CZK; `limits` are added to its body.
    pub async fn account(&self, id: &str, account_type: &str, limits: Value) {
        let mut body =
            json!({"accountId": id, "ownerId": "o", "ownerType": "t", "accountType": account_type, "currency": "CZK"});
        body.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        let reply = self.post("/accounts", body).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
    }

    /// A USER `alice` with 100, an empty USER `bob`, and an EXTERNAL `bank`.
    pub async fn with_people(self) -> Self {
        self.account("bank", "EXTERNAL", json!({})).await;
        self.account("alice", "USER", json!({})).await;
        self.account("bob", "USER", json!({})).await;
        let reply = self.transact("topup", "first", "bank", "alice", "100").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        self
    }

    pub async fn transact(&self, kind: &str, key: &str, source: &str, destination: &str, amount: &str) -> Reply {
        self.post(&format!("/transactions/{kind}"), movement(key, source, destination, amount)).await
    }

    pub async fn refund(&self, key: &str, transaction: &str, amount: Option<&str>) -> Reply {
        let mut body = json!({"idempotencyKey": key, "transactionId": transaction});
        if let Some(amount) = amount {
            body["amount"] = json!(amount);
        }
        self.post("/transactions/refund", body).await
    }

    pub async fn balance(&self, id: &str) -> String {
        let reply = self.get(&format!("/accounts/{id}/balance")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.body["balance"].as_str().unwrap().to_owned()
    }

    /// The rows of an account's history, newest first.
    pub async fn history(&self, id: &str) -> Vec<Value> {
        self.get(&format!("/accounts/{id}/transactions")).await.body["transactions"].as_array().unwrap().clone()
    }

    /// Switches one fault on, for every request.
    pub async fn fault(&self, kind: &str) {
        let body = json!({"faults": [{"kind": kind, "rate": 1}]}).to_string();
        let answer = self.send_bytes(Method::PUT, "/faults", &[], body.as_bytes()).await;
        assert_eq!(answer.status, 200);
    }

    pub async fn no_faults(&self) {
        assert_eq!(self.send_bytes(Method::PUT, "/faults", &[], br#"{"faults":[]}"#).await.status, 200);
    }

    pub async fn fault_log(&self) -> Vec<Value> {
        self.get("/faults/log").await.body["faults"].as_array().unwrap().clone()
    }
}

/// The body of a topup, withdrawal or transfer.
pub fn movement(key: &str, source: &str, destination: &str, amount: &str) -> Value {
    json!({
        "idempotencyKey": key, "sourceAccountId": source, "destinationAccountId": destination,
        "amount": amount, "currency": "CZK",
    })
}

/// An answer, read as JSON.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub text: String,
    pub body: Value,
    pub replayed: bool,
    pub content_type: String,
    pub correlation_id: String,
    pub retry_after: Option<String>,
}

impl Reply {
    pub fn of(answer: Answer) -> Self {
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        Self {
            status: answer.status.as_u16(),
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
            replayed: header("idempotency-replayed").as_deref() == Some("true"),
            content_type: header("content-type").unwrap_or_default(),
            correlation_id: header("x-correlation-id").unwrap_or_default(),
            retry_after: header("retry-after"),
        }
    }

    /// The id of the transaction in the answer.
    pub fn id(&self) -> String {
        let result = if self.status == 200 { &self.body } else { &self.body["result"] };
        result["transactionId"].as_str().unwrap_or_else(|| panic!("no transaction in {}", self.text)).to_owned()
    }

    /// Status and code of a refusal.
    #[track_caller]
    pub fn expect_refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.content_type, "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:crossfade:problem:{code}"));
    }

    #[track_caller]
    pub fn expect_applied(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.text);
        assert_eq!((&self.body["status"], self.content_type.as_str()), (&json!("completed"), "application/json"));
        &self.body
    }
}
