//! What a request brings, as handlers take it: correlation id, caller, path, query, body. And what goes out.

use crate::refusal::{Code, Finding, Problem};
use crate::request;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

/// The largest body taken (CONTRACT).
const MAX_BODY: usize = 1 << 20;
/// So many times the allowed size is read and thrown away before a body that is too large is answered: a client
/// that is still sending would else see a broken connection instead of the 413.
const DRAINED: usize = 8;
/// Rows in a page when nothing is said, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// What a client is told to wait that is answered 503: a database that comes back does so within seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
/// The largest tenant and correlation id.
const MAX_TENANT: usize = 255;
const MAX_CORRELATION: usize = 128;

/// Follows a request everywhere.
#[derive(Clone)]
pub(crate) struct Correlation(String);

/// Takes the correlation id of a request, or makes one, and returns it with the answer.
pub(crate) async fn correlate(mut request: Request, next: Next) -> Response {
    let given = request.headers().get("x-correlation-id").and_then(|value| value.to_str().ok());
    let usable = given.filter(|id| (1..=MAX_CORRELATION).contains(&id.len()) && printable(id));
    let id = usable.map_or_else(|| host::random::uuid().to_string(), str::to_owned);
    request.extensions_mut().insert(Correlation(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert("x-correlation-id", value);
    }
    response
}

impl Correlation {
    fn of(parts: &Parts) -> Self {
        // Every request passes through `correlate`.
        parts.extensions.get().cloned().unwrap_or_else(|| Self(String::new()))
    }

    /// A problem, as it goes out.
    pub(crate) fn refuse(&self, problem: Problem) -> Refused {
        Refused(problem.correlated(&self.0))
    }
}

impl<S: Sync> FromRequestParts<S> for Correlation {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        Ok(Self::of(parts))
    }
}

/// An answer that says what is wrong.
pub(crate) struct Refused(Problem);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        // Texts and numbers only, which always can be written.
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = json(self.0.status(), "application/problem+json", body.into());
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

/// Who asks: what the headers say.
pub(crate) struct Caller {
    /// Scopes keys; empty when none was named.
    pub(crate) tenant: String,
    /// The header `Idempotency-Key`; not looked at yet.
    pub(crate) key: Option<String>,
    /// Follows the request everywhere.
    pub(crate) correlation: Correlation,
}

impl Caller {
    /// The correlation id by itself.
    pub(crate) fn correlation_id(&self) -> &str {
        &self.correlation.0
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let correlation = Correlation::of(parts);
        let text = |name: &str| {
            let value = parts.headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let tenant = text("x-tenant").unwrap_or_default();
        if tenant.len() > MAX_TENANT || !printable(&tenant) {
            let finding = Finding::new("X-Tenant", "InvalidValue", "must be up to 255 printable ASCII characters");
            return Err(correlation.refuse(Problem::malformed(vec![finding])));
        }
        Ok(Self { tenant, key: text("idempotency-key"), correlation })
    }
}

/// The one variable part of a path, decoded.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Path::from_request_parts(parts, state).await.map(|Path(segment)| Self(segment)).map_err(|_| {
            let finding = Finding::new("{id}", "InvalidValue", "the path cannot be decoded");
            Correlation::of(parts).refuse(Problem::malformed(vec![finding]))
        })
    }
}

/// The account that a path names. What cannot be an id is no account, like any other name that nobody has.
pub(crate) struct AccountId(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for AccountId {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let Segment(id) = Segment::from_request_parts(parts, state).await?;
        if request::is_account_id(&id) {
            return Ok(Self(id));
        }
        Err(Correlation::of(parts).refuse(Problem::refused(Code::AccountNotFound)))
    }
}

/// The values of a query, and what is wrong with them. Names that mean nothing here are ignored.
pub(crate) struct Asking {
    correlation: Correlation,
    pairs: Vec<(String, String)>,
    wrong: Vec<Finding>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let correlation = Correlation::of(parts);
        match Query::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Self { correlation, pairs, wrong: Vec::new() }),
            Err(_) => {
                let finding = Finding::new("?", "InvalidValue", "the query cannot be decoded");
                Err(correlation.refuse(Problem::malformed(vec![finding])))
            }
        }
    }
}

impl Asking {
    /// A value that means something; one that is given twice means nothing.
    pub(crate) fn word<T>(&mut self, name: &str, of: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut given = self.pairs.iter().filter(|(given, _)| given == name);
        let (_, text) = given.next()?;
        let word = if given.next().is_none() { of(text) } else { None };
        if word.is_none() {
            self.wrong.push(Finding::new(format!("?{name}"), "InvalidValue", "not a value that it can have here"));
        }
        word
    }

    /// A place in a list.
    pub(crate) fn cursor(&mut self, name: &str) -> Option<u64> {
        self.word(name, |text| text.parse::<u64>().ok().filter(|cursor| cursor.to_string() == text))
    }

    /// Rows in a page.
    pub(crate) fn limit(&mut self) -> usize {
        self.word("limit", |text| text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit))).unwrap_or(PAGE)
    }

    /// The choice of a read that may be behind: reads are always of the newest state here, so there is nothing to
    /// choose, but it has to be said as the contract has it.
    pub(crate) fn stale(&mut self) {
        self.word("stale", |text| matches!(text, "true" | "false").then_some(()));
    }

    /// Refuses the request if any value was wrong.
    pub(crate) fn finish(self) -> Result<(), Refused> {
        if self.wrong.is_empty() { Ok(()) } else { Err(self.correlation.refuse(Problem::malformed(self.wrong))) }
    }
}

/// Reads a body, up to what is allowed.
pub(crate) async fn whole(mut body: Body) -> Result<Bytes, Problem> {
    let (mut whole, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let broken = || Problem::malformed(vec![Finding::new("", "MalformedJson", "the body broke off")]);
        let Ok(data) = frame.map_err(|_| broken())?.into_data() else { continue };
        seen += data.len();
        if seen <= MAX_BODY {
            whole.extend_from_slice(&data);
        } else if seen > MAX_BODY * DRAINED {
            break;
        }
    }
    let too_large = || Problem::new(413, "BodyTooLarge", format!("the body is larger than {MAX_BODY} bytes"));
    if seen > MAX_BODY { Err(too_large()) } else { Ok(whole.into()) }
}

/// An answer as it goes out.
pub(crate) fn json(status: u16, content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn printable(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}
