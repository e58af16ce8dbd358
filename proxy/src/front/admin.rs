//! The operators' listener: metrics, health, and the emergency override.

use super::Front;
use super::follow::Order;
use super::overrule::{Change, Override};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use host::clock;
use host::http::bearer;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use wire::billing::Problem;
use wire::control::{OverrideView, Reason};
use wire::scalar::Timestamp;

/// Longer reasons are refused.
const MAX_REASON: usize = 500;
/// Recorded when none was given.
const NO_REASON: &str = "(none given)";

/// What the routes share.
#[derive(Clone)]
struct Admin {
    front: Arc<Front>,
    orders: mpsc::Sender<Order>,
}

/// The routes of the operators' listener.
pub(super) fn router(front: Arc<Front>, orders: mpsc::Sender<Order>) -> Router {
    let readiness = front.readiness.clone();
    Router::new()
        .route("/override", get(show).post(set).delete(clear))
        .with_state(Admin { front, orders })
        .merge(host::ops::router(readiness))
}

async fn show(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if !is_operator(&admin, &headers) {
        return unauthorised();
    }
    view(&admin)
}

async fn set(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Response {
    if !is_operator(&admin, &headers) {
        return unauthorised();
    }
    match reason(&body) {
        Ok(reason) => order(&admin, Change::Set(now(reason))).await,
        Err(why) => problem(400, "MalformedRequest", why),
    }
}

async fn clear(State(admin): State<Admin>, headers: HeaderMap, body: Bytes) -> Response {
    if !is_operator(&admin, &headers) {
        return unauthorised();
    }
    // Whoever takes it back without a body says nothing of why, as before there was one.
    if body.is_empty() {
        return order(&admin, Change::Lift(now(NO_REASON.to_owned()))).await;
    }
    match reason(&body) {
        Ok(reason) => order(&admin, Change::Lift(now(reason))).await,
        Err(why) => problem(400, "MalformedRequest", why),
    }
}

fn now(reason: String) -> Override {
    Override { reason, since: Timestamp(clock::unix_micros()) }
}

/// The reason in a body, or what is wrong with it.
fn reason(body: &[u8]) -> Result<String, String> {
    match serde_json::from_slice::<Reason>(body) {
        Ok(Reason { reason }) if (1..=MAX_REASON).contains(&reason.chars().count()) => Ok(reason),
        Ok(_) => Err(format!("a reason of 1 to {MAX_REASON} characters is needed")),
        Err(error) => Err(format!("the body is not {{\"reason\": …}}: {error}")),
    }
}

async fn order(admin: &Admin, change: Change) -> Response {
    let (done, kept) = oneshot::channel();
    let sent = admin.orders.send(Order::Override(change, done)).await;
    match (sent, kept.await) {
        (Ok(()), Ok(Ok(()))) => view(admin),
        (Ok(()), Ok(Err(error))) => {
            problem(500, "NotKept", format!("it is in force, but will not survive a restart of this front: {error}"))
        }
        (_, Err(_)) | (Err(_), _) => problem(503, "Stopping", "the front is stopping".to_owned()),
    }
}

fn is_operator(admin: &Admin, headers: &HeaderMap) -> bool {
    bearer(headers).is_some_and(|token| admin.front.admin_token.matches(token))
}

fn unauthorised() -> Response {
    problem(401, "Unauthorized", "a valid bearer token is needed".to_owned())
}

fn view(admin: &Admin) -> Response {
    let current = admin.front.overrule();
    let stand = admin.front.dial.stand();
    let (rollout, preparing) = (&stand.view.rollout, stand.view.preparing());
    let next_steps: &[&str] = match current {
        Some(_) => &[
            "roll the dial back at the comparator, so that every front and the record agree",
            "then take the override back: crossfade override off --reason …, or DELETE /override",
        ],
        None => &["override to 0 % in an emergency: crossfade override 0 --reason …, or POST /override"],
    };
    let next_steps = next_steps.iter().map(|step| (*step).to_owned()).collect();
    let (version, setting) = (rollout.version, rollout.setting);
    axum::Json(OverrideView { current, version, setting, preparing, next_steps }).into_response()
}

fn problem(status: u16, code: &str, detail: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = axum::Json(Problem::new(status.as_u16(), code, detail));
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}
