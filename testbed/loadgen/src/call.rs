//! One request of a client, and how it is sent.

use bytes::Bytes;
use host::http::{Client, SendError};
use http::{HeaderValue, Method, header};
use http_body_util::Full;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use testbed_auditor::{Answer, Request, Unreadable};

/// The largest answer to a write; a page of a list is read by [`crate::system`] with more room.
const MAX_ANSWER: usize = 1 << 20;
/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One write, as a client sends it. Sent twice, it is a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The HTTP method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// The header `X-Tenant`, unless empty.
    pub tenant: String,
    /// The header `Idempotency-Key`, if the key is not in the body.
    pub header_key: Option<String>,
    /// Its JSON body.
    pub body: Bytes,
}

impl Call {
    /// The same request, as the auditor reads it.
    ///
    /// # Errors
    /// When it is one that must be turned away.
    pub fn read(&self) -> Result<Request, Unreadable> {
        Request::read(self.method.as_str(), &self.path, &self.tenant, self.header_key.as_deref(), &self.body)
    }
}

/// What came of sending a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    /// A whole answer.
    Answered(Answer),
    /// No answer, and the request may have had its effect.
    Lost(SendError),
    /// No answer, and the request certainly had no effect.
    NotSent(String),
}

/// Where calls are sent to: one address after the other, if there are several. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Target {
    base_urls: Arc<[String]>,
    calls: Arc<AtomicUsize>,
    client: Client,
    timeout: Duration,
}

impl Target {
    /// A target with addresses like `http://127.0.0.1:8080`, at least one, that is given `timeout` for each answer.
    pub fn new(base_urls: &[String], timeout: Duration) -> Self {
        let client = Client::new(CONNECT_TIMEOUT, MAX_ANSWER);
        Self { base_urls: base_urls.into(), calls: Arc::default(), client, timeout }
    }

    /// Sends a call once.
    pub async fn send(&self, call: &Call) -> Sent {
        let request = match self.request(call) {
            Ok(request) => request,
            Err(error) => return Sent::NotSent(error),
        };
        match self.client.send(request, self.timeout).await {
            Ok(answer) => {
                let replayed = answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true");
                Sent::Answered(Answer::read(answer.status.as_u16(), replayed, &answer.body))
            }
            Err(error) if error.had_no_effect() => Sent::NotSent(error.to_string()),
            Err(error) => Sent::Lost(error),
        }
    }

    fn request(&self, call: &Call) -> Result<http::Request<Full<Bytes>>, String> {
        let turn = self.calls.fetch_add(1, Ordering::Relaxed);
        let base_url = self.base_urls.get(turn % self.base_urls.len().max(1)).map_or("", String::as_str);
        let mut builder = http::Request::builder()
            .method(call.method.clone())
            .uri(format!("{base_url}{}", call.path))
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &call.header_key {
            builder = builder.header("idempotency-key", key);
        }
        if !call.tenant.is_empty() {
            builder = builder.header("x-tenant", &call.tenant);
        }
        builder.body(Full::new(call.body.clone())).map_err(|error| error.to_string())
    }
}
