//! The two systems as the front reaches them: a pool of connections each, and what went wrong if no answer came.

use super::config::Config;
use bytes::Bytes;
use host::clock;
use host::http::{Answer, SendError, connector};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, Method, Request, Response, Version, header};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;
use wire::words::System;

/// Idle connections are dropped before the usual 60–75 s of servers, so that a request rarely meets one that the
/// other side is closing.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// A request's body: whole, or as it comes in from the client.
pub type RequestBody = Either<Full<Bytes>, Limited<Incoming>>;

/// Both systems.
#[derive(Debug)]
pub struct Systems {
    legacy: Upstream,
    engine: Upstream,
}

impl Systems {
    /// The systems of a checked configuration.
    pub fn new(config: &Config) -> Self {
        Self { legacy: Upstream::new(&config.legacy, config), engine: Upstream::new(&config.engine, config) }
    }

    /// One of them.
    pub fn of(&self, system: System) -> &Upstream {
        match system {
            System::Legacy => &self.legacy,
            System::Engine => &self.engine,
        }
    }
}

/// One system.
#[derive(Debug)]
pub struct Upstream {
    pool: Pool<HttpConnector, RequestBody>,
    authority: Authority,
    timeout: Duration,
    max_body_bytes: usize,
    max_answer_bytes: usize,
}

impl Upstream {
    fn new(base: &str, config: &Config) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector(Duration::from_millis(config.connect_timeout_ms)));
        let uri: Uri = base.parse().expect("checked with the configuration");
        Self {
            pool,
            authority: uri.authority().cloned().expect("checked with the configuration"),
            timeout: Duration::from_millis(config.authority_timeout_ms),
            max_body_bytes: config.max_body_bytes,
            max_answer_bytes: config.max_answer_bytes,
        }
    }

    /// Sends a request once and reads the whole answer.
    ///
    /// # Errors
    /// [`SendError`] says whether the request may have had its effect.
    pub async fn send(&self, head: Parts, body: Bytes) -> Result<Answer, SendError> {
        let exchange = async {
            let (head, body) = self.request(head, Either::Left(Full::new(body))).await?.into_parts();
            let body = Limited::new(body, self.max_answer_bytes).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() { SendError::TooLarge } else { SendError::Broken(error.to_string()) }
            })?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        clock::timeout(self.timeout, exchange).await.unwrap_or(Err(SendError::TimedOut))
    }

    /// Passes a request on; the answer streams once its head is there.
    ///
    /// # Errors
    /// As [`Upstream::send`].
    pub async fn pass(&self, head: Parts, body: Incoming) -> Result<Response<Incoming>, SendError> {
        let body = if body.is_end_stream() {
            Either::Left(Full::default())
        } else {
            Either::Right(Limited::new(body, self.max_body_bytes))
        };
        clock::timeout(self.timeout, self.request(head, body)).await.unwrap_or(Err(SendError::TimedOut))
    }

    /// Asks for something beside a client's request, with the headers that say who asks.
    ///
    /// # Errors
    /// As [`Upstream::send`].
    pub async fn get(&self, path: &str, who: &HeaderMap) -> Result<Answer, SendError> {
        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse().map_err(|error| SendError::NotSent(format!("{path}: {error}")))?;
        for name in [&header::HOST, &header::AUTHORIZATION, &header::COOKIE, &TENANT, &CORRELATION] {
            if let Some(value) = who.get(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        self.send(request.into_parts().0, Bytes::new()).await
    }

    async fn request(&self, mut head: Parts, body: RequestBody) -> Result<Response<Incoming>, SendError> {
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut target = http::uri::Parts::default();
        target.scheme = Some(Scheme::HTTP);
        target.authority = Some(self.authority.clone());
        target.path_and_query = Some(path);
        head.uri = Uri::from_parts(target).map_err(|error| SendError::NotSent(error.to_string()))?;
        head.version = Version::HTTP_11;
        // A whole body has its own length; one that streams keeps what the client said.
        if matches!(body, Either::Left(_)) {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        self.pool.request(Request::from_parts(head, body)).await.map_err(|error| {
            let text = describe(&error);
            if error.is_connect() { SendError::NotSent(text) } else { SendError::Broken(text) }
        })
    }
}

static TENANT: http::HeaderName = http::HeaderName::from_static(crate::routes::TENANT_HEADER);
static CORRELATION: http::HeaderName = http::HeaderName::from_static(super::headers::CORRELATION_HEADER);

/// A segment of a path, percent-encoded.
pub fn segment(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// An error with its causes, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
