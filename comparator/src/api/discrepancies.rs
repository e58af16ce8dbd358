//! `/api/discrepancies`: what somebody has to settle. Gaps are settled here too, by their ids.

use crate::api::auth::{Operator, Viewer};
use crate::api::problem::{Asked, Body, reason};
use crate::api::{Answer, Refused};
use crate::index::{DiscrepancyFilter, Index};
use crate::merge::DECISIONS;
use crate::service::Parts;
use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wire::billing::Problem;
use wire::control::{DiscrepancyChanged, DiscrepancyPage, Reason, Subject};
use wire::decision::DecisionBody;
use wire::ids::is_account_id;
use wire::words::Cause;

/// How long the index may take to show what was just decided.
const FOLDED_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn routes() -> OpenApiRouter<Arc<Parts>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(settle)).routes(routes!(reopen))
}

/// Which discrepancies.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// `open` or `settled`.
    status: Option<String>,
    /// Only those with this cause.
    cause: Option<String>,
    /// Only those with an offset on this account.
    account: Option<String>,
}

impl Which {
    fn filter(self) -> Result<DiscrepancyFilter, Refused> {
        let open = match self.status.as_deref() {
            None => None,
            Some("open") => Some(true),
            Some("settled") => Some(false),
            Some(_) => return Err(Refused::malformed("?status", "InvalidValue", "status is open or settled")),
        };
        let cause = self.cause.as_deref().map(str::parse::<Cause>).transpose();
        let cause = cause.map_err(|error| Refused::malformed("?cause", "InvalidValue", error.to_string()))?;
        if self.account.as_deref().is_some_and(|account| !is_account_id(account)) {
            return Err(Refused::malformed("?account", "InvalidValue", "this is no account id"));
        }
        Ok(DiscrepancyFilter { open, cause, account: self.account })
    }
}

/// Discrepancies, oldest first.
#[utoipa::path(get, path = "/api/discrepancies", tag = "discrepancies", security(("token" = [])), params(Which),
    responses(
        (status = 200, body = DiscrepancyPage),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "MalformedRequest"),
    ))]
async fn list(_: Viewer, State(parts): State<Arc<Parts>>, Asked(which): Asked<Which>) -> Answer<DiscrepancyPage> {
    let filter = which.filter()?;
    Ok(Json(parts.ingest.look(|index| index.discrepancies(&filter))))
}

/// One discrepancy, or gap.
#[utoipa::path(get, path = "/api/discrepancies/{id}", tag = "discrepancies", security(("token" = [])),
    params(("id" = String, Path, description = "The root exchange's number, account@mark, or gap:front.boot.sequence")),
    responses(
        (status = 200, body = Subject),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "DiscrepancyNotFound"),
    ))]
async fn show(_: Viewer, State(parts): State<Arc<Parts>>, Path(id): Path<String>) -> Answer<Subject> {
    parts.ingest.look(|index| subject(index, &id)).map(Json).ok_or_else(|| not_found(&id))
}

fn subject(index: &Index, id: &str) -> Option<Subject> {
    let discrepancy = index.discrepancy(id).map(|discrepancy| Subject::Discrepancy(Box::new(discrepancy)));
    discrepancy.or_else(|| index.gap_of(id).map(Subject::Gap))
}

fn not_found(id: &str) -> Refused {
    Refused::not_found("DiscrepancyNotFound", format!("there is no discrepancy or gap {id}"))
}

/// Accepts a discrepancy, or a gap, as it is: it no longer counts as open.
#[utoipa::path(post, path = "/api/discrepancies/{id}/settle", tag = "discrepancies", security(("token" = [])),
    params(("id" = String, Path, description = "The root exchange's number, account@mark, or gap:front.boot.sequence")),
    request_body = Reason, responses(
        (status = 200, body = DiscrepancyChanged),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "DiscrepancyNotFound"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "NothingToDo"),
    ))]
async fn settle(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Path(id): Path<String>,
    Body(given): Body<Reason>,
) -> Answer<DiscrepancyChanged> {
    change(&parts, &caller.name, &reason(&given.reason)?, id, false).await
}

/// Opens a settled discrepancy or gap again.
#[utoipa::path(post, path = "/api/discrepancies/{id}/reopen", tag = "discrepancies", security(("token" = [])),
    params(("id" = String, Path, description = "The root exchange's number, account@mark, or gap:front.boot.sequence")),
    request_body = Reason, responses(
        (status = 200, body = DiscrepancyChanged),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "DiscrepancyNotFound"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "NothingToDo"),
    ))]
async fn reopen(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Path(id): Path<String>,
    Body(given): Body<Reason>,
) -> Answer<DiscrepancyChanged> {
    change(&parts, &caller.name, &reason(&given.reason)?, id, true).await
}

/// Whether a discrepancy or gap is open; `None` when there is none of that id.
fn is_open(index: &Index, id: &str) -> Option<bool> {
    subject(index, id).map(|subject| match subject {
        Subject::Discrepancy(discrepancy) => discrepancy.settled.is_none(),
        Subject::Gap(gap) => gap.status == "open",
    })
}

async fn change(parts: &Parts, actor: &str, reason: &str, id: String, open: bool) -> Answer<DiscrepancyChanged> {
    // One after the other, each until the index shows it: who comes second has nothing to do.
    let _turn = parts.settling.lock().await;
    let stands = || parts.ingest.look(|index| is_open(index, &id));
    let wanted = |discrepancy: String| {
        if open { DecisionBody::Reopened { discrepancy } } else { DecisionBody::Settled { discrepancy } }
    };
    let Some(is_open) = stands() else { return Err(not_found(&id)) };
    let offset = if is_open == open {
        None
    } else {
        // Asked again before each attempt: of two who settle the same one, the second has nothing to do.
        let body = || (stands() != Some(open)).then(|| wanted(id.clone()));
        parts.decisions.append_if(actor, reason, body).await.map_err(Refused::unavailable)?
    };
    let Some(offset) = offset else {
        let detail = format!("{id} is {} already", if open { "open" } else { "settled" });
        return Err(Refused::new(axum::http::StatusCode::CONFLICT, "NothingToDo", detail));
    };
    tracing::info!(id, actor, offset, open, "a discrepancy changed");
    if !parts.ingest.folded(DECISIONS, offset, FOLDED_WITHIN).await {
        return Err(Refused::unavailable("it is written down, but the index does not show it yet"));
    }
    after(parts, &id, open).map(Json).ok_or_else(|| not_found(&id))
}

fn after(parts: &Parts, id: &str, open: bool) -> Option<DiscrepancyChanged> {
    let left = parts.ingest.look(Index::gates_inputs);
    let next_steps = match (open, left.discrepancies_open + left.gaps.len() as u64) {
        (true, _) => vec![format!("discrepancies settle {id} --reason …: accept it as it is")],
        (false, 0) => vec!["rollout gates: nothing is left to settle".to_owned()],
        (false, left) => vec![
            format!("discrepancies list: {left} discrepancies and gaps are left"),
            format!("discrepancies reopen {id} --reason …: take it back"),
        ],
    };
    let subject = parts.ingest.look(|index| subject(index, id))?;
    Some(DiscrepancyChanged { subject, next_steps })
}
