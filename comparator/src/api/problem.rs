//! Errors of the control API (RFC 9457), and reading requests so that every error is one of them.

use crate::rollout::Refusal;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use wire::billing::{Problem, ProblemItem};

/// What is said instead of an answer.
#[derive(Debug)]
pub struct Refused(pub Box<Problem>);

impl Refused {
    /// A problem without items.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(status.as_u16(), code, detail)))
    }

    /// A request that cannot be understood, naming the place.
    pub fn malformed(pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(StatusCode::BAD_REQUEST, "MalformedRequest", detail.clone()).with(pointer, code, detail)
    }

    /// Something that is not there.
    pub fn not_found(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// The log, or what is read from it, is out of reach.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "LogUnavailable", detail)
    }

    fn with(mut self, pointer: &str, code: &str, detail: impl Into<String>) -> Self {
        let item = ProblemItem { pointer: pointer.to_owned(), code: code.to_owned(), detail: detail.into() };
        self.0.errors.push(item);
        self
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let conflict = |code| Refused::new(StatusCode::CONFLICT, code, detail.clone());
        match refusal {
            Refusal::GatesNotMet(gates) => gates.into_iter().fold(conflict("GatesNotMet"), |problem, gate| {
                problem.with(&format!("/gates/{}", gate.gate), &gate.gate, gate.seen)
            }),
            Refusal::HandoverLate(late) => {
                late.into_iter().fold(conflict("HandoverLate"), |problem, who| problem.with("/fronts", "Late", who))
            }
            Refusal::NothingToDo(_) => conflict("NothingToDo"),
            Refusal::LostRace(_) => conflict("LostRace"),
            Refusal::Frozen => conflict("Frozen"),
            Refusal::HeldBack { because, .. } => {
                let mut problem = Refused::from(*because);
                problem.0.detail = detail;
                problem
            }
            Refusal::NotPending(_) => conflict("NotPending"),
            Refusal::Unavailable(_) => Refused::unavailable(detail),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(status = self.0.status, code = self.0.code, detail = self.0.detail, "a request failed");
        }
        let mut response = (status, axum::Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A JSON body of a known shape.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.status();
            let code = if status == StatusCode::PAYLOAD_TOO_LARGE { "BodyTooLarge" } else { "MalformedRequest" };
            Refused::new(status, code, rejection.body_text())
        })?;
        serde_json::from_slice(&bytes).map(Body).map_err(|error| {
            let code = if error.is_data() { "InvalidValue" } else { "MalformedJson" };
            Refused::malformed("", code, error.to_string())
        })
    }
}

/// A query of a known shape.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let Query(query) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Refused::malformed("?", "InvalidValue", rejection.body_text()))?;
        Ok(Self(query))
    }
}

/// Longest reason that is taken, in characters.
const LONGEST_REASON: usize = 500;

/// A reason that says something.
///
/// # Errors
/// 400, when it is blank or too long.
pub fn reason(reason: &str) -> Result<String, Refused> {
    let given = reason.trim();
    if given.is_empty() || given.chars().count() > LONGEST_REASON {
        let detail = format!("every change takes a reason of 1 to {LONGEST_REASON} characters");
        return Err(Refused::malformed("/reason", "InvalidValue", detail));
    }
    Ok(given.to_owned())
}
