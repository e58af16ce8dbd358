//! The listener for operators and fronts: `/internal/ids/{id}`, and what every part serves.

use super::shell::Event;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use host::http::bearer;
use host::ops::{self, Readiness};
use host::secret::Secret;
use tokio::sync::{mpsc, oneshot};
use wire::billing::Problem;

#[derive(Clone)]
struct Desk {
    token: Secret,
    questions: mpsc::UnboundedSender<Event>,
}

/// All routes of the listener.
pub(super) fn router(token: Secret, questions: mpsc::UnboundedSender<Event>, readiness: Readiness) -> Router {
    Router::new()
        .route("/internal/ids/{id}", get(known_transaction))
        .with_state(Desk { token, questions })
        .merge(ops::router(readiness))
}

async fn known_transaction(State(desk): State<Desk>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if !bearer(&headers).is_some_and(|token| desk.token.matches(token)) {
        return problem(StatusCode::UNAUTHORIZED, "Unauthorized", "the service token is missing or wrong");
    }
    let (reply, answer) = oneshot::channel();
    let asked = desk.questions.send(Event::Asked { id: id.clone(), reply }).is_ok();
    match answer.await {
        Ok(Some(known)) => axum::Json(known).into_response(),
        Ok(None) => {
            problem(StatusCode::NOT_FOUND, "TransactionNotFound", &format!("no transaction {id} has passed here"))
        }
        Err(_) => {
            debug_assert!(asked || desk.questions.is_closed());
            problem(StatusCode::SERVICE_UNAVAILABLE, "Stopping", "the relay is stopping")
        }
    }
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let problem = Problem::new(status.as_u16(), code, detail);
    let json = HeaderValue::from_static("application/problem+json");
    (status, [(header::CONTENT_TYPE, json)], axum::Json(problem)).into_response()
}
