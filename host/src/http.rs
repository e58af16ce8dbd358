//! HTTP/1.1 over [`crate::net`]: one accept loop for every part, and one client.

use crate::clock;
use crate::net::TcpListener;
use crate::task::{self, Shutdown};
use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tower::ServiceExt;

/// A client that has not sent a whole head by then is cut off.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// How long requests in flight may go on after the signal to stop.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Idle upstream connections are dropped before the usual 60–75 s of servers, so that a request rarely meets
/// a connection that the other side is closing.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// Serves an axum router on `listener` until `shutdown`; then finishes what is in flight.
pub async fn serve_router(listener: TcpListener, router: Router, shutdown: Shutdown) {
    serve(listener, TowerToHyperService::new(router), shutdown).await;
}

/// Serves any hyper service on `listener` until `shutdown`; then finishes what is in flight.
pub async fn serve<S, B>(listener: TcpListener, service: S, shutdown: Shutdown)
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.stopped() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: others will be closed, so wait instead of spinning.
                tracing::warn!(%error, "cannot accept a connection");
                clock::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let connection = connections.watch(builder.serve_connection(TokioIo::new(stream), service.clone()));
        task::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
        });
    }
    if clock::timeout(DRAIN_DEADLINE, connections.shutdown()).await.is_err() {
        tracing::warn!("stopping with requests still in flight");
    }
}

/// Why no whole answer came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No byte of the request left this process: it certainly had no effect.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The deadline passed; the request may have had its effect.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke, or the answer could not be read; the request may have had its effect.
    #[error("connection broken: {0}")]
    Broken(String),
    /// The answer was larger than allowed; the request may have had its effect.
    #[error("answer too large")]
    TooLarge,
}

impl SendError {
    /// Whether it is certain that the request had no effect.
    pub fn had_no_effect(&self) -> bool {
        matches!(self, SendError::NotSent(_))
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, complete.
    pub body: Bytes,
}

impl Answer {
    /// Parses the body as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// A pooling HTTP/1.1 client. Clones share the pool. It never sends a request twice once a byte was written.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    max_answer_bytes: usize,
}

/// The connector under every client: where a simulated network takes the place of the real one.
pub fn connector(connect_timeout: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect_timeout));
    connector
}

impl Client {
    /// A client that opens connections within `connect_timeout` and takes answers of up to `max_answer_bytes`.
    pub fn new(connect_timeout: Duration, max_answer_bytes: usize) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector(connect_timeout));
        Self { pool, max_answer_bytes }
    }

    /// Sends a request and reads the whole answer, all within `timeout`.
    ///
    /// # Errors
    /// [`SendError`] says whether the request may have had its effect.
    pub async fn send(&self, request: Request<Full<Bytes>>, timeout: Duration) -> Result<Answer, SendError> {
        let exchange = async {
            let response = self.open(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, self.max_answer_bytes).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() { SendError::TooLarge } else { SendError::Broken(error.to_string()) }
            })?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        clock::timeout(timeout, exchange).await.unwrap_or(Err(SendError::TimedOut))
    }

    /// Sends a request and returns as soon as the head of the answer is there; the body streams.
    ///
    /// # Errors
    /// As [`Client::send`], but without a deadline of its own.
    pub async fn open(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        self.pool.request(request).await.map_err(|error| {
            let text = describe(&error);
            if error.is_connect() { SendError::NotSent(text) } else { SendError::Broken(text) }
        })
    }

    /// `GET url` with a bearer token, if any.
    pub async fn get(&self, url: &str, token: Option<&str>, timeout: Duration) -> Result<Answer, SendError> {
        self.send(request(Method::GET, url, token, Bytes::new())?, timeout).await
    }

    /// `POST url` with a JSON body and a bearer token, if any.
    pub async fn post(
        &self,
        url: &str,
        token: Option<&str>,
        body: &impl serde::Serialize,
        timeout: Duration,
    ) -> Result<Answer, SendError> {
        let body = serde_json::to_vec(body).map_err(|error| SendError::NotSent(error.to_string()))?;
        self.send(request(Method::POST, url, token, Bytes::from(body))?, timeout).await
    }
}

/// A router that is not there yet, while its listener is: whoever asks meanwhile is served by another one.
#[derive(Clone, Default)]
pub struct Later(Arc<OnceLock<Router>>);

impl Later {
    /// From now on this one serves; a second call changes nothing.
    pub fn set(&self, router: Router) {
        let _ = self.0.set(router);
    }

    /// What the listener is given: `until_then`, until the router is there.
    pub fn or(&self, until_then: Router) -> Router {
        let later = self.clone();
        Router::new().fallback(move |request: axum::extract::Request| {
            let serving = later.0.get().unwrap_or(&until_then).clone();
            async move {
                match serving.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        })
    }
}

/// A request with the headers that calls between parts carry.
///
/// # Errors
/// [`SendError::NotSent`] when `url` or `token` cannot be sent at all.
pub fn request(method: Method, url: &str, token: Option<&str>, body: Bytes) -> Result<Request<Full<Bytes>>, SendError> {
    let unusable = |error: &dyn std::fmt::Display| SendError::NotSent(format!("{url}: {error}"));
    let mut builder = Request::builder().method(method).uri(url);
    if !body.is_empty() {
        builder = builder.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| unusable(&error))?;
        builder = builder.header(header::AUTHORIZATION, value);
    }
    builder.body(Full::new(body)).map_err(|error| unusable(&error))
}

/// The bearer token of a request, if it carries one.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
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
