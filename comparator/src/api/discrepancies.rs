//! `/api/discrepancies`: what somebody has to settle. Gaps and unknown effects are settled here too, by their ids.

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
use wire::control::{DiscrepancyChanged, DiscrepancyPage, Reason, Settle, Subject, Told, UnknownEffect};
use wire::decision::DecisionBody;
use wire::ids::{ExchangeNumber, is_account_id};
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

/// One discrepancy, gap or unknown effect.
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
    let unknown = || index.unknown_effect(&id.parse().ok()?).map(Subject::Unknown);
    discrepancy.or_else(unknown).or_else(|| index.gap_of(id).map(Subject::Gap))
}

fn not_found(id: &str) -> Refused {
    Refused::not_found("DiscrepancyNotFound", format!("there is no discrepancy, gap or unknown effect {id}"))
}

/// Accepts a discrepancy, or a gap, as it is: it no longer counts as open. Or says what became of an exchange whose effect
/// nobody knows (`as`): the relay takes that up, and the exchange is judged by it.
#[utoipa::path(post, path = "/api/discrepancies/{id}/settle", tag = "discrepancies", security(("token" = [])),
    params(("id" = String, Path, description = "The root exchange's number, account@mark, gap:front.boot.sequence, or \
        the number of an exchange with an unknown effect")),
    request_body = Settle, responses(
        (status = 200, body = DiscrepancyChanged),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "MalformedRequest: `as` is missing for an unknown effect, or given for something else"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "DiscrepancyNotFound"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "NothingToDo"),
    ))]
async fn settle(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Path(id): Path<String>,
    Body(given): Body<Settle>,
) -> Answer<DiscrepancyChanged> {
    let reason = reason(&given.reason)?;
    let number: Option<ExchangeNumber> = id.parse().ok();
    let unknown = number.filter(|number| parts.ingest.look(|index| index.unknown_effect(number).is_some()));
    match (unknown, given.told) {
        (Some(number), Some(told)) => tell(&parts, &caller.name, &reason, number, told).await,
        (Some(_), None) => Err(Refused::malformed(
            "/as",
            "MissingField",
            "nobody knows what became of it: say `applied` or `not-executed`",
        )),
        (None, Some(_)) => {
            Err(Refused::malformed("/as", "InvalidValue", "only an unknown effect can be said to be something"))
        }
        (None, None) => change(&parts, &caller.name, &reason, id, false).await,
    }
}

/// Writes down what a person says of an unknown effect.
async fn tell(
    parts: &Parts,
    actor: &str,
    reason: &str,
    number: ExchangeNumber,
    told: Told,
) -> Answer<DiscrepancyChanged> {
    let _turn = parts.settling.lock().await;
    let stands = || parts.ingest.look(|index| index.unknown_effect(&number));
    let untold = || stands().filter(|unknown| unknown.told.is_none());
    let before = stands();
    let body = || {
        let UnknownEffect { system, .. } = untold()?;
        Some(DecisionBody::Told { exchange: number.clone(), system, applied: told == Told::Applied })
    };
    let offset = parts.decisions.append_if(actor, reason, body).await.map_err(Refused::unavailable)?;
    let Some(offset) = offset else {
        let detail = format!("what became of {number} is known, or was said, already");
        return Err(Refused::new(axum::http::StatusCode::CONFLICT, "NothingToDo", detail));
    };
    tracing::info!(exchange = %number, actor, offset, ?told, "a person says what became of an exchange");
    if !parts.ingest.folded(DECISIONS, offset, FOLDED_WITHIN).await {
        return Err(Refused::unavailable("it is written down, but the index does not show it yet"));
    }
    let next_steps = vec![format!("exchanges show {number}: judged once the relay has taken it up")];
    // The relay may have taken it up already: then it is unknown no more.
    let subject = stands().or(before).map(Subject::Unknown).ok_or_else(|| not_found(&number.to_string()))?;
    Ok(Json(DiscrepancyChanged { subject, next_steps }))
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
        Subject::Unknown(_) => true,
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
