//! Errors as clients see them: `application/problem+json` (RFC 9457).

use super::findings::Findings;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use wire::billing::{Problem, ProblemItem, TransactionResult};

/// The media type of a problem.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// What a client that was turned away before anything happened waits: long enough for a restart's worst moment
/// to pass, short enough that nobody notices.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Says that the answer was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Why a request is not answered with what it asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    problem: Box<Problem>,
    retry: bool,
    replay: bool,
}

impl Refusal {
    /// A problem of this status and code; `detail` says what, where, and what to do.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(status.as_u16(), code, detail)), retry: false, replay: false }
    }

    /// What is wrong with a request: 400 when anything is malformed, else 422 for its amounts.
    pub fn of(findings: &Findings) -> Self {
        let (status, code, items) = match (findings.malformed(), findings.amounts()) {
            ([], amounts) => (StatusCode::UNPROCESSABLE_ENTITY, "InvalidAmount", amounts),
            (malformed, _) => (StatusCode::BAD_REQUEST, "MalformedRequest", malformed),
        };
        let mut refusal = Self::new(status, code, summary(items));
        refusal.problem.errors = items.to_vec();
        refusal
    }

    /// Nothing was appended, or nothing can be read now: the client may send the same again.
    pub fn unavailable(code: &str, detail: impl Into<String>) -> Self {
        Self { retry: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail) }
    }

    /// Carries the failed transaction; its correlation id becomes that of the problem, so that a repeat is
    /// answered byte for byte like the first request.
    pub fn with_result(mut self, result: TransactionResult) -> Self {
        self.problem.correlation_id = Some(result.correlation_id.clone());
        self.problem.result = Some(result);
        self
    }

    /// Was given before, byte for byte.
    pub fn replayed(self) -> Self {
        Self { replay: true, ..self }
    }

    /// The answer as it goes out, in place of the empty one that carried it, whose headers stay (`Allow`).
    pub(super) fn written_over(self, carrier: Response, correlation_id: &str) -> Response {
        let mut response = self.render(correlation_id);
        for (name, value) in carrier.headers() {
            if name != header::CONTENT_LENGTH {
                response.headers_mut().entry(name).or_insert_with(|| value.clone());
            }
        }
        response
    }

    /// The answer as it goes out.
    pub(super) fn render(mut self, correlation_id: &str) -> Response {
        self.problem.correlation_id.get_or_insert_with(|| correlation_id.to_owned());
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).expect("a problem is plain data with text keys");
        let mut response = (status, body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if self.replay {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if self.retry {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

/// The problem travels as an extension; the layer that knows the correlation id writes it down.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.extensions_mut().insert(self);
        response
    }
}

impl Findings {
    /// What was read, if nothing is wrong.
    pub fn conclude<T>(&self, read: Option<T>) -> Result<T, Refusal> {
        match read {
            Some(read) if self.is_empty() => Ok(read),
            _ => Err(Refusal::of(self)),
        }
    }
}

/// JSON that is text already.
pub fn json_text(text: &str) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.to_owned()).into_response()
}

/// The first thing that is wrong, and how many more there are.
fn summary(items: &[ProblemItem]) -> String {
    let Some(first) = items.first() else { return String::new() };
    let place = if first.pointer.is_empty() { String::new() } else { format!("{}: ", first.pointer) };
    match items.len() {
        1 => format!("{place}{}", first.detail),
        count => format!("{place}{} (and {} more, see errors)", first.detail, count - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::findings::Flaw;
    use super::*;

    #[test]
    fn malformed_wins_over_amounts() {
        let mut findings = Findings::new();
        findings.note(Flaw::InvalidAmount, "/amount", "a");
        assert_eq!(Refusal::of(&findings).problem.status, 422);
        findings.note(Flaw::WrongType, "/x", "b");
        let refusal = Refusal::of(&findings);
        assert_eq!((refusal.problem.status, refusal.problem.code.as_str()), (400, "MalformedRequest"));
        assert_eq!(refusal.problem.errors.len(), 1);
        assert_eq!(refusal.problem.detail, "/x: b");
    }

    #[test]
    fn a_problem_keeps_the_correlation_id_of_its_result() {
        let own = Refusal::new(StatusCode::NOT_FOUND, "NoSuchRoute", "x").render("mine");
        assert_eq!(own.headers()[header::CONTENT_TYPE], "application/problem+json");
        let mut kept = Refusal::new(StatusCode::NOT_FOUND, "NoSuchRoute", "x");
        kept.problem.correlation_id = Some("first".into());
        let mut response = kept.into_response();
        let refusal: Refusal = response.extensions_mut().remove().unwrap();
        assert_eq!(refusal.problem.correlation_id.as_deref(), Some("first"));
    }
}
