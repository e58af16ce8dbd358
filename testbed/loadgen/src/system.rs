//! What a system shows afterwards: all balances, all transactions, what became of a key.

use host::http::{Answer, Client, SendError};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use testbed_auditor::answer::Outcome;
use testbed_auditor::{EffectKey, Money, Observer, Resolution};

/// Room for a page of a thousand rows.
const MAX_ANSWER: usize = 64 << 20;
/// No read takes longer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Rows in a page: the most that the contract allows.
const PAGE: usize = 1000;

/// Why a system could not be read, or filled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached.
    #[error("{url}: {error}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why there was no answer.
        error: SendError,
    },
    /// It answers something else than the contract says.
    #[error("{url}: unexpected answer {status}: {body}")]
    Unexpected {
        /// What was asked.
        url: String,
        /// The status of the answer.
        status: u16,
        /// The beginning of its body.
        body: String,
    },
}

/// A system that can be read, like `http://127.0.0.1:8090`.
#[derive(Debug, Clone)]
pub struct System {
    base_url: String,
    client: Client,
}

impl System {
    /// The system behind a base URL.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), client: Client::new(TIMEOUT, MAX_ANSWER) }
    }

    /// The balances of all accounts.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn balances(&self) -> Result<BTreeMap<String, Money>, Error> {
        let mut balances = BTreeMap::new();
        for account in self.pages("/accounts", "accounts").await? {
            let id = account["accountId"].as_str().map(str::to_owned);
            let balance = account["balance"].as_str().and_then(Money::level);
            let (Some(id), Some(balance)) = (id, balance) else {
                return Err(Error::Unexpected { url: self.url("/accounts"), status: 200, body: account.to_string() });
            };
            balances.insert(id, balance);
        }
        Ok(balances)
    }

    /// All transactions, oldest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn transactions(&self) -> Result<Vec<Value>, Error> {
        self.pages("/transactions", "transactions").await
    }

    /// What became of a key; `None` when that is not settled yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn status(&self, key: &EffectKey) -> Result<Option<Resolution>, Error> {
        let path = format!("/transactions/status/{}?account={}", escape(&key.key), escape(&key.account));
        let url = self.url(&path);
        let mut request = host::http::request(http::Method::GET, &url, None, bytes::Bytes::new())
            .map_err(|error| Error::Unreachable { url: url.clone(), error })?;
        if let (false, Ok(tenant)) = (key.tenant.is_empty(), http::HeaderValue::from_str(&key.tenant)) {
            request.headers_mut().insert("x-tenant", tenant);
        }
        let sent = self.client.send(request, TIMEOUT).await;
        let answer = sent.map_err(|error| Error::Unreachable { url: url.clone(), error })?;
        match (answer.status.as_u16(), answer.json::<Value>()) {
            (200, Ok(body)) => Ok(match body["status"].as_str() {
                Some("completed") => Some(Resolution::Applied(Outcome::read(&body).map(Box::new))),
                Some("failed") => Some(Resolution::Refused),
                _ => None,
            }),
            (404, Ok(body)) if body["code"] == "TransactionNotFound" => Ok(Some(Resolution::Absent)),
            _ => Err(unexpected(url, &answer)),
        }
    }

    /// Asks for every key of which the auditor does not know. Says how many are still unknown.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn resolve(&self, observer: &std::sync::Mutex<Observer>) -> Result<usize, Error> {
        let unknown = lock(observer).unknown();
        for key in unknown {
            if let Some(resolution) = self.status(&key).await? {
                lock(observer).resolve(&key, resolution);
            }
        }
        Ok(lock(observer).unknown().len())
    }

    async fn pages(&self, path: &str, rows: &str) -> Result<Vec<Value>, Error> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let cursor = after.map(|after: String| format!("&after={}", escape(&after))).unwrap_or_default();
            let url = self.url(&format!("{path}?limit={PAGE}{cursor}"));
            let sent = self.client.get(&url, None, TIMEOUT).await;
            let answer = sent.map_err(|error| Error::Unreachable { url: url.clone(), error })?;
            let mut page: Value = match (answer.status.as_u16(), answer.json()) {
                (200, Ok(page)) => page,
                _ => return Err(unexpected(url, &answer)),
            };
            match page[rows].take() {
                Value::Array(rows) => all.extend(rows),
                _ => return Err(unexpected(url, &answer)),
            }
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }
}

/// The auditor, also after a panic of somebody who held it.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn unexpected(url: String, answer: &Answer) -> Error {
    let body = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
    Error::Unexpected { url, status: answer.status.as_u16(), body }
}

/// Percent-encodes all but unreserved characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
