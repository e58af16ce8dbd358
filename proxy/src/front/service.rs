//! What happens to a request from a client, from its first byte on.

use super::answer::{self, Body, Fault, Unanswered};
use super::{Front, exchange, headers};
use crate::routes::{self, Decision, Head, Target};
use bytes::{Bytes, BytesMut};
use host::clock;
use host::http::SendError;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use wire::words::System;

/// Of a body that is too long, so much is read and thrown away before the connection is closed …
const DISCARD_BYTES: usize = 8 * 1024 * 1024;
/// … or for so long.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// The front as a hyper service. Clones share it.
#[derive(Clone)]
pub(super) struct Service(pub(super) Arc<Front>);

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let front = self.0.clone();
        Box::pin(async move { Ok(handle(front, request).await) })
    }
}

async fn handle(front: Arc<Front>, request: Request<Incoming>) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let version = head.version;
    let filtered = headers::from_client(&mut head.headers, version);
    let correlation = headers::correlate(&mut head.headers, || host::random::uuid().to_string());
    if let Err(headers::Ambiguous(why)) = filtered {
        return answer::fault(&Fault::Ambiguous(why), &correlation);
    }
    let decision = {
        let view = &front.dial.stand().view;
        let (path, query) = (head.uri.path(), head.uri.query());
        let head = Head { method: &head.method, path, query, headers: &head.headers };
        routes::route(&head, None, &front.routes, &view.rollout)
    };
    let fault = match decision {
        Decision::Refuse(refusal) => return refused(&front, head.uri.path(), refusal, &correlation),
        Decision::Passthrough(_, target) => match pass(&front, head, body, target, &correlation).await {
            Ok(response) => return response,
            Err(fault) => fault,
        },
        Decision::ReadBody(_) | Decision::DualWrite(_) => match dual_write(&front, head, body, &correlation).await {
            Ok(response) => return response,
            Err(fault) => fault,
        },
    };
    answer::fault(&fault, &correlation)
}

fn refused(front: &Front, path: &str, refusal: routes::Refusal, correlation: &HeaderValue) -> Response<Body> {
    let mut response = answer::fault(&Fault::Refused(refusal), correlation);
    if refusal == routes::Refusal::MethodNotAllowed
        && let Ok(methods) = HeaderValue::from_str(&front.routes.methods(path))
    {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}

/// Reads the body, then lets the exchange run by itself: the client may hang up.
async fn dual_write(
    front: &Arc<Front>,
    head: Parts,
    body: Incoming,
    correlation: &HeaderValue,
) -> Result<Response<Body>, Fault> {
    let body = read(front, &head, body).await?;
    let request = exchange::Whole { head, body, correlation: correlation.clone() };
    let running = front.exchanges.begin().ok_or(Fault::Stopping)?;
    let front = front.clone();
    let task = host::task::spawn(async move {
        let response = exchange::run(front, request).await;
        drop(running);
        response
    });
    task.await.map_err(|error| {
        tracing::error!(%error, "an exchange broke down");
        Fault::Failed
    })
}

/// Reads the whole body.
async fn read(front: &Front, head: &Parts, mut body: Incoming) -> Result<Bytes, Fault> {
    let too_large = Fault::BodyTooLarge { max_bytes: front.max_body_bytes };
    let reading = async {
        if says_too_large(front, head) {
            Err(too_large.clone())
        } else {
            collect(&mut body, front.max_body_bytes).await
        }
    };
    let read = clock::timeout(front.body_timeout, reading).await.unwrap_or(Err(Fault::BodyTimeout));
    if read.as_ref() == Err(&too_large) {
        discard(body).await;
    }
    read
}

async fn collect(body: &mut Incoming, max_bytes: usize) -> Result<Bytes, Fault> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are not passed on.
        let Ok(data) = frame.map_err(|error| Fault::BodyBroken(error.to_string()))?.into_data() else { continue };
        if whole.len() + data.len() > max_bytes {
            return Err(Fault::BodyTooLarge { max_bytes });
        }
        // Most bodies come in one piece, which is then not copied.
        if whole.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Whether a body says that it is too long before a byte of it is read.
fn says_too_large(front: &Front, head: &Parts) -> bool {
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > front.max_body_bytes as u64)
}

/// Reads on for a moment: a client that is still sending when the connection is closed may never see the answer.
async fn discard(mut body: Incoming) {
    let discarding = async {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    let _ = clock::timeout(DISCARD_TIME, discarding).await;
}

/// Passes on a request that is not recorded.
async fn pass(
    front: &Front,
    head: Parts,
    body: Incoming,
    target: Target,
    correlation: &HeaderValue,
) -> Result<Response<Body>, Fault> {
    if says_too_large(front, &head) {
        discard(body).await;
        return Err(Fault::BodyTooLarge { max_bytes: front.max_body_bytes });
    }
    let account = match &target {
        Target::Account(account) => Some(account.as_str()),
        Target::System(_) | Target::InTurn(..) => None,
    };
    let (authority, _) = front.dial.admit(account).await.map_err(|_| Fault::RolloutUnknown)?;
    match target {
        Target::Account(_) => Ok(pass_to(front, authority, head, body, correlation).await),
        Target::System(system) => Ok(pass_to(front, system, head, body, correlation).await),
        Target::InTurn(first, other) => Ok(pass_in_turn(front, first, other, head, body, correlation).await),
    }
}

async fn pass_to(
    front: &Front,
    system: System,
    head: Parts,
    body: Incoming,
    correlation: &HeaderValue,
) -> Response<Body> {
    match front.systems.of(system).pass(head, body).await {
        Ok(response) => answer::streaming(response),
        Err(error) => unanswered(front, system, &error, correlation),
    }
}

/// Asks the first system, and the other one if the first does not have it or cannot say.
async fn pass_in_turn(
    front: &Front,
    first: System,
    other: System,
    head: Parts,
    body: Incoming,
    correlation: &HeaderValue,
) -> Response<Body> {
    let mut again = Request::new(()).into_parts().0;
    (again.method, again.uri, again.headers) = (head.method.clone(), head.uri.clone(), head.headers.clone());
    again.headers.remove(header::CONTENT_LENGTH);
    let answered = match front.systems.of(first).pass(head, body).await {
        Ok(response) if response.status() != StatusCode::NOT_FOUND => return answer::streaming(response),
        Ok(response) => answer::streaming(response),
        Err(error) => unanswered(front, first, &error, correlation),
    };
    // Without a body: what is asked in turn is asked by its path.
    match front.systems.of(other).send(again, Bytes::new()).await {
        Ok(found) if found.status != StatusCode::NOT_FOUND => answer::of_system(found),
        Ok(_) => answered,
        // The other one may have it: that nobody has it is not known.
        Err(error) if answered.status() == StatusCode::NOT_FOUND => unanswered(front, other, &error, correlation),
        Err(_) => answered,
    }
}

fn unanswered(front: &Front, system: System, error: &SendError, correlation: &HeaderValue) -> Response<Body> {
    if matches!(error, SendError::Broken(why) if why.contains("length limit exceeded")) {
        return answer::fault(&Fault::BodyTooLarge { max_bytes: front.max_body_bytes }, correlation);
    }
    tracing::warn!(%system, %error, "a request that is passed on has no answer");
    Unanswered::new(system, error).response(correlation)
}
