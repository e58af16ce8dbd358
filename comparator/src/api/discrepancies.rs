//! `/api/discrepancies`: what somebody has to settle. Gaps are settled here too, by their ids.

use crate::api::auth::{Operator, Viewer};
use crate::api::problem::{Asked, Body, reason};
use crate::api::{Answer, Refused};
use crate::index::{DiscrepancyFilter, Index};
use crate::ingest::DECISIONS;
use crate::service::Parts;
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wire::billing::Problem;
use wire::control::{Discrepancy, DiscrepancyPage, Reason};
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

/// One discrepancy.
#[utoipa::path(get, path = "/api/discrepancies/{id}", tag = "discrepancies", security(("token" = [])),
    params(("id" = String, Path, description = "The root exchange's number, or account@mark")), responses(
        (status = 200, body = Discrepancy),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "DiscrepancyNotFound"),
    ))]
async fn show(_: Viewer, State(parts): State<Arc<Parts>>, Path(id): Path<String>) -> Answer<Discrepancy> {
    parts.ingest.look(|index| index.discrepancy(&id)).map(Json).ok_or_else(|| not_found(&id))
}

fn not_found(id: &str) -> Refused {
    Refused::not_found("DiscrepancyNotFound", format!("there is no discrepancy or gap {id}"))
}

/// A discrepancy or gap after a change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    #[serde(flatten)]
    subject: Subject,
    /// What can be done next.
    next_steps: Vec<String>,
}

/// What was changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Subject {
    /// A discrepancy.
    Discrepancy(Box<Discrepancy>),
    /// A gap: it has no offsets, because nobody knows what is missing.
    Gap(Gap),
}

/// A gap after a change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Its id.
    id: String,
    /// `open` or `settled`.
    status: String,
}

/// Accepts a discrepancy, or a gap, as it is: it no longer counts as open.
#[utoipa::path(post, path = "/api/discrepancies/{id}/settle", tag = "discrepancies", security(("token" = [])),
    params(("id" = String, Path, description = "The root exchange's number, account@mark, or gap:front.boot.sequence")),
    request_body = Reason, responses(
        (status = 200, body = Changed),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "DiscrepancyNotFound"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "NothingToDo"),
    ))]
async fn settle(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Path(id): Path<String>,
    Body(given): Body<Reason>,
) -> Answer<Changed> {
    change(&parts, &caller.name, &reason(&given.reason)?, id, false).await
}

/// Opens a settled discrepancy or gap again.
#[utoipa::path(post, path = "/api/discrepancies/{id}/reopen", tag = "discrepancies", security(("token" = [])),
    params(("id" = String, Path, description = "The root exchange's number, account@mark, or gap:front.boot.sequence")),
    request_body = Reason, responses(
        (status = 200, body = Changed),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "DiscrepancyNotFound"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "NothingToDo"),
    ))]
async fn reopen(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Path(id): Path<String>,
    Body(given): Body<Reason>,
) -> Answer<Changed> {
    change(&parts, &caller.name, &reason(&given.reason)?, id, true).await
}

/// Whether a discrepancy or gap is open; `None` when there is none of that id.
fn is_open(index: &Index, id: &str) -> Option<bool> {
    match index.discrepancy(id) {
        Some(discrepancy) => Some(discrepancy.settled.is_none()),
        None if index.is_gap(id) => Some(index.gates_inputs().gaps.iter().any(|gap| gap.id == id)),
        None => None,
    }
}

async fn change(parts: &Parts, actor: &str, reason: &str, id: String, open: bool) -> Answer<Changed> {
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
    Ok(Json(after(parts, id, open)))
}

fn after(parts: &Parts, id: String, open: bool) -> Changed {
    let left = parts.ingest.look(Index::gates_inputs);
    let next_steps = match (open, left.discrepancies_open + left.gaps.len() as u64) {
        (true, _) => vec![format!("discrepancies settle {id}: accept it as it is")],
        (false, 0) => vec!["rollout gates: nothing is left to settle".to_owned()],
        (false, left) => vec![
            format!("discrepancies list: {left} discrepancies and gaps are left"),
            format!("discrepancies reopen {id}: take it back"),
        ],
    };
    let subject = match parts.ingest.look(|index| index.discrepancy(&id)) {
        Some(discrepancy) => Subject::Discrepancy(Box::new(discrepancy)),
        None => Subject::Gap(Gap { id, status: if open { "open" } else { "settled" }.to_owned() }),
    };
    Changed { subject, next_steps }
}
