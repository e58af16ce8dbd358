//! A request as the handlers take it: its head, its correlation id, its body within bounds.

use super::Api;
use super::fields::shortened;
use super::findings::{Findings, Flaw};
use super::problem::Refusal;
use super::refusals;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use engine_domain::{AccountId, Rejection, Text};
use futures_util::StreamExt;
use std::sync::Arc;

/// So many times the allowed size is read and thrown away before a body that is too large is answered: a client
/// that is still sending would else see a broken connection instead of the 413.
const DRAINED: usize = 8;

/// The largest batch: 10,000 transactions of 800 bytes each, which is three times what one usually has.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// The correlation id of a request, put there by the outermost layer.
#[derive(Debug, Clone)]
pub struct Correlation(pub Text);

/// The head of a request.
pub struct Head {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its path and query.
    pub uri: Uri,
    /// Its correlation id.
    pub correlation_id: Text,
}

impl Head {
    fn of(parts: &Parts) -> Self {
        let correlation_id = parts.extensions.get::<Correlation>().map(|id| Text::clone(&id.0)).unwrap_or_default();
        Self { headers: parts.headers.clone(), uri: parts.uri.clone(), correlation_id }
    }
}

impl<S: Sync> FromRequestParts<S> for Head {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Ok(Self::of(parts))
    }
}

/// A request with its body.
pub struct Incoming {
    /// Its head.
    pub head: Head,
    /// Its whole body.
    pub body: Bytes,
}

impl FromRequest<Arc<Api>> for Incoming {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let head = Head::of(&parts);
        let body = bounded(&head.headers, body, api.max_body_bytes).await?;
        Ok(Self { head, body })
    }
}

/// A request with a body of many requests.
pub struct Many(pub Incoming);

impl FromRequest<Arc<Api>> for Many {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let head = Head::of(&parts);
        let body = bounded(&head.headers, body, MAX_BATCH_BYTES.max(api.max_body_bytes)).await?;
        Ok(Self(Incoming { head, body }))
    }
}

/// The whole body, if it is no larger than `limit`.
async fn bounded(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // A client that waits for `100 Continue` has sent nothing yet, and need not.
    let sends_later = headers.contains_key(header::EXPECT);
    if declared.is_some_and(|length| length > limit && (sends_later || length > limit.saturating_mul(DRAINED))) {
        return Err(too_large(limit));
    }
    let mut chunks = body.into_data_stream();
    let mut whole = Vec::with_capacity(declared.unwrap_or_default().min(limit));
    let mut seen = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            let mut findings = Findings::new();
            findings.note(Flaw::MalformedJson, "", format!("the body broke off: {error}"));
            Refusal::of(&findings)
        })?;
        seen += chunk.len();
        if seen <= limit {
            whole.extend_from_slice(&chunk);
        } else if seen > limit.saturating_mul(DRAINED) {
            break;
        }
    }
    if seen > limit { Err(too_large(limit)) } else { Ok(Bytes::from(whole)) }
}

/// Why what is larger than `limit` is not taken.
pub(super) fn too_large(limit: usize) -> Refusal {
    let detail = format!("the body is larger than {limit} bytes: send less, in several requests if need be");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", detail)
}

/// The one variable part of a path, decoded.
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(rejection) => {
                let mut findings = Findings::new();
                findings.note(Flaw::InvalidValue, "{id}", format!("the path cannot be read: {rejection}"));
                Err(Refusal::of(&findings))
            }
        }
    }
}

/// The account that a path names, looked at before the query, the headers and the body: what cannot be an id is no
/// account, like any other name that nobody has, whatever else is wrong with the request.
pub struct AccountSegment(pub AccountId);

impl<S: Send + Sync> FromRequestParts<S> for AccountSegment {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Segment(id) = Segment::from_request_parts(parts, state).await?;
        let not_found = || refusals::of(Rejection::AccountNotFound, &shortened(&id), None);
        AccountId::new(&id).map(Self).ok_or_else(not_found)
    }
}
