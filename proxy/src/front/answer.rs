//! What clients get: a system's answer as it came, or a problem of the front's own.

use super::headers::{self, CORRELATION_HEADER};
use crate::routes::Refusal;
use bytes::Bytes;
use host::http::{Answer, SendError};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use wire::billing::Problem;
use wire::words::{Class, System};

/// The body of an answer: whole, or as it comes from a system.
pub type Body = Either<Full<Bytes>, Incoming>;

/// A client that is told to come back waits this long, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What a system answered to a dual write.
pub fn of_system(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(answer.body)));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    headers::from_system(response.headers_mut());
    response
}

/// What a system answers to a request that is passed on.
pub fn streaming(response: Response<Incoming>) -> Response<Body> {
    let mut response = response.map(Either::Right);
    headers::from_system(response.headers_mut());
    response
}

/// Why the front itself answers, and nothing was sent to a system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Two readers could understand the request differently. The connection is closed.
    Ambiguous(String),
    /// The body did not come to its end. The connection is closed.
    BodyBroken(String),
    /// The body did not come in time. The connection is closed.
    BodyTimeout,
    /// The body is longer than allowed. The connection is closed.
    BodyTooLarge {
        /// The most that is allowed.
        max_bytes: usize,
    },
    /// By the routes.
    Refused(Refusal),
    /// The journal stands at its bound, and the configuration says to refuse then.
    JournalFull,
    /// The front does not know where the dial stands.
    RolloutUnknown,
    /// The transaction that the request refers to has no id at its authority yet.
    AliasUnknown,
    /// What the transaction was cannot be asked now.
    OriginalUnavailable(System),
    /// The front is stopping: what it began now could not be recorded any more.
    Stopping,
    /// The front broke down; whether the authority executed the request is being found out.
    Failed,
}

/// A problem of the front's own.
pub fn fault(fault: &Fault, correlation: &HeaderValue) -> Response<Body> {
    let retry = "nothing was executed: try again with the same key";
    let (status, code, detail) = match fault {
        Fault::Ambiguous(why) => (400, "AmbiguousRequest", why.clone()),
        Fault::BodyBroken(why) => (400, "MalformedRequest", format!("the body did not come to its end: {why}")),
        Fault::BodyTimeout => (408, "RequestTimeout", "the body did not come in time".to_owned()),
        Fault::BodyTooLarge { max_bytes } => (413, "BodyTooLarge", format!("a body may have up to {max_bytes} bytes")),
        Fault::Refused(refusal) => (refusal.status(), refusal.code(), detail_of(*refusal).to_owned()),
        Fault::JournalFull => (503, "JournalFull", format!("the front's journal is full; {retry}")),
        Fault::RolloutUnknown => {
            (503, "RolloutUnknown", format!("it is not known yet which system answers for what; {retry}"))
        }
        Fault::AliasUnknown => {
            let detail = "the transaction referred to has no id yet in the system that decides about it";
            (503, "AliasUnknown", format!("{detail}; {retry}"))
        }
        Fault::OriginalUnavailable(system) => {
            (503, "OriginalUnavailable", format!("the {system} cannot say what the transaction was; {retry}"))
        }
        Fault::Stopping => (503, "Stopping", format!("this front is stopping; {retry}")),
        Fault::Failed => {
            (500, "FrontFailed", "ask for the result at /transactions/status, or retry with the same key".to_owned())
        }
    };
    let mut response = problem(status, code, detail, correlation);
    if status == 503 {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    if matches!(fault, Fault::Ambiguous(_) | Fault::BodyBroken(_) | Fault::BodyTimeout | Fault::BodyTooLarge { .. }) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn detail_of(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoSuchRoute => "there is nothing under this path",
        Refusal::MethodNotAllowed => "this path does not have this method",
        Refusal::NotYetMoved => "this can be used once the move to the engine is complete",
    }
}

/// What no whole answer means, for the client and for the record.
pub struct Unanswered {
    /// What it means for the ledger.
    pub class: Class,
    /// In words, for the record.
    pub failure: String,
    status: u16,
    code: &'static str,
    detail: String,
}

impl Unanswered {
    /// Judges why `system` did not answer.
    pub fn new(system: System, error: &SendError) -> Self {
        let class = if error.had_no_effect() { Class::NotExecuted } else { Class::Unknown };
        let unknown = "whether it was executed is not known: ask for it by its key, or retry with the same key";
        let (status, code, detail) = match error {
            SendError::NotSent(_) => {
                (502, "AuthorityUnreachable", format!("the {system} cannot be reached; nothing was executed"))
            }
            SendError::TimedOut => (504, "AuthorityTimeout", format!("the {system} did not answer in time; {unknown}")),
            SendError::Broken(_) | SendError::TooLarge => {
                (502, "AuthorityBroken", format!("the {system} broke off its answer; {unknown}"))
            }
        };
        Self { class, failure: error.to_string(), status, code, detail }
    }

    /// What the client gets.
    pub fn response(&self, correlation: &HeaderValue) -> Response<Body> {
        problem(self.status, self.code, self.detail.clone(), correlation)
    }
}

fn problem(status: u16, code: &str, detail: String, correlation: &HeaderValue) -> Response<Body> {
    let mut problem = Problem::new(status, code, detail);
    problem.correlation_id = correlation.to_str().ok().map(str::to_owned);
    // Strings and numbers always have a JSON form.
    let body = serde_json::to_vec(&problem).expect("a problem has a JSON form");
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
    response.headers_mut().insert(HeaderName::from_static(CORRELATION_HEADER), correlation.clone());
    response
}
