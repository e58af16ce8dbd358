//! `/api/reconciliations` and `/api/audit`: comparing balances, verifying what is in the log.

use crate::api::auth::{Operator, Viewer};
use crate::api::problem::{Body, reason};
use crate::api::{Answer, Refused};
use crate::audit::{self, Audit};
use crate::chain::Fold as _;
use crate::index::Index;
use crate::reconcile::Error;
use crate::rollout::Request;
use crate::service::Parts;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wire::billing::Problem;
use wire::control::{ReconciliationPage, RunReconciliation};
use wire::decision::{DecisionRecord, Reconciliation};
use wire::rollout::RolloutRecord;
use wire::shadow::ShadowRecord;

pub(super) fn routes() -> OpenApiRouter<Arc<Parts>> {
    OpenApiRouter::new().routes(routes!(list, run)).routes(routes!(show)).routes(routes!(verify))
}

/// All reconciliations, newest first.
#[utoipa::path(get, path = "/api/reconciliations", tag = "reconciliations", security(("token" = [])), responses(
    (status = 200, body = ReconciliationPage),
))]
async fn list(_: Viewer, State(parts): State<Arc<Parts>>) -> Answer<ReconciliationPage> {
    Ok(Json(ReconciliationPage { reconciliations: parts.ingest.look(Index::reconciliations) }))
}

/// One reconciliation.
#[utoipa::path(get, path = "/api/reconciliations/{id}", tag = "reconciliations", security(("token" = [])),
    params(("id" = String, Path, description = "Its id")), responses(
        (status = 200, body = Reconciliation),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "ReconciliationNotFound"),
    ))]
async fn show(_: Viewer, State(parts): State<Arc<Parts>>, Path(id): Path<String>) -> Answer<Reconciliation> {
    let found = parts.ingest.look(Index::reconciliations).into_iter().find(|one| one.id == id);
    found.map(Json).ok_or_else(|| {
        Refused::not_found("ReconciliationNotFound", format!("there is no reconciliation {id} that came to an end"))
    })
}

/// Compares the balances of all accounts, and answers with the result once it is in the log.
#[utoipa::path(post, path = "/api/reconciliations", tag = "reconciliations", security(("token" = [])),
    request_body = RunReconciliation, responses(
        (status = 200, body = Reconciliation),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "UnderWay"),
        (status = 502, body = Problem, content_type = "application/problem+json", description = "SystemUnreadable"),
        (status = 503, body = Problem, content_type = "application/problem+json",
            description = "Behind or LogUnavailable"),
        (status = 504, body = Problem, content_type = "application/problem+json", description = "TimedOut"),
    ))]
async fn run(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Body(given): Body<RunReconciliation>,
) -> Answer<Reconciliation> {
    let by = Request { actor: caller.name, reason: reason(&given.reason)? };
    parts.reconciler.run(by).await.map(Json).map_err(|error| {
        let (status, code) = match &error {
            Error::UnderWay => (StatusCode::CONFLICT, "UnderWay"),
            Error::Behind => (StatusCode::SERVICE_UNAVAILABLE, "Behind"),
            Error::TimedOut(_) => (StatusCode::GATEWAY_TIMEOUT, "TimedOut"),
            Error::Reading(_) => (StatusCode::BAD_GATEWAY, "SystemUnreadable"),
            Error::Writing(_) => (StatusCode::SERVICE_UNAVAILABLE, "LogUnavailable"),
        };
        Refused::new(status, code, error.to_string())
    })
}

/// Verifies the chains from their first record on, and the numbering of the exchanges.
#[utoipa::path(get, path = "/api/audit", tag = "audit", security(("token" = [])), responses(
    (status = 200, body = Audit),
    (status = 503, body = Problem, content_type = "application/problem+json", description = "LogUnavailable"),
))]
async fn verify(_: Viewer, State(parts): State<Arc<Parts>>) -> Answer<Audit> {
    let unavailable = |error: &dyn std::fmt::Display| Refused::unavailable(error.to_string());
    // One reader of the whole log at a time is enough.
    let _turn = parts.auditing.lock().await;
    let (log, ledger) = (parts.log.as_ref(), parts.ledger.as_str());
    // What this process has read before has to be found again; a chain it cannot read is found broken below.
    let _ = parts.dial.chain().catch_up().await;
    let _ = parts.decisions.chain().catch_up().await;
    let rollout = Some(parts.dial.chain().state().head());
    let decisions = Some(parts.decisions.chain().state().head());
    let chains = vec![
        audit::chain::<RolloutRecord>(log, ledger, wire::rollout::TOPIC, rollout).await,
        audit::chain::<DecisionRecord>(log, ledger, wire::decision::TOPIC, decisions).await,
        audit::chain::<ShadowRecord>(log, ledger, wire::shadow::TOPIC, None).await,
    ];
    let chains = chains.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| unavailable(&error))?;
    let exchanges = audit::numbering(log).await.map_err(|error| unavailable(&error))?;
    Ok(Json(audit::conclude(ledger, chains, exchanges)))
}
