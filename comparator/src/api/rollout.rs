//! `/api/rollout`: where the dial stands, and moving it.

use crate::api::auth::{Operator, Viewer};
use crate::api::problem::{Asked, Body, reason};
use crate::api::{Answer, Refused};
use crate::rollout::pins::Pin;
use crate::rollout::{Request, moves};
use crate::service::Parts;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wire::billing::Problem;
use wire::control::{PinAccount, Reason, RolloutHistory, RolloutView, SetRollout};
use wire::ids::is_account_id;
use wire::rollout::GateReading;
use wire::words::Permission;

pub(super) fn routes() -> OpenApiRouter<Arc<Parts>> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(history))
        .routes(routes!(gates))
        .routes(routes!(set))
        .routes(routes!(rollback))
        .routes(routes!(freeze))
        .routes(routes!(unfreeze))
        .routes(routes!(pin))
}

/// Where the dial stands, with its gates.
#[utoipa::path(get, path = "/api/rollout", tag = "rollout", security(("token" = [])), responses(
    (status = 200, body = RolloutView),
    (status = 503, body = Problem, content_type = "application/problem+json", description = "LogUnavailable"),
))]
async fn show(_: Viewer, State(parts): State<Arc<Parts>>) -> Answer<RolloutView> {
    let state = parts.dial.state().await?;
    Ok(Json(parts.dial.view(&state)))
}

/// Every change of the dial, oldest first, with the overrides that fronts have said of themselves.
#[utoipa::path(get, path = "/api/rollout/history", tag = "rollout", security(("token" = [])), responses(
    (status = 200, body = RolloutHistory),
))]
async fn history(_: Viewer, State(parts): State<Arc<Parts>>) -> Answer<RolloutHistory> {
    let state = parts.dial.state().await?;
    Ok(Json(parts.dial.history(&state)))
}

/// Which move.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Towards {
    /// What the dial would be set to: `passthrough`, `capture`, `shadow`, or a percentage.
    to: Option<String>,
}

/// The gates as they stand: for the next move up or, with `to`, for that move, which is not made. A move down meets
/// none. A move that would be refused for another reason than its gates is refused here alike.
#[utoipa::path(get, path = "/api/rollout/gates", tag = "rollout", security(("token" = [])), params(Towards),
    responses(
        (status = 200, body = Vec<GateReading>),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "MalformedRequest"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "NothingToDo, LostRace or Frozen"),
    ))]
async fn gates(_: Viewer, State(parts): State<Arc<Parts>>, Asked(towards): Asked<Towards>) -> Answer<Vec<GateReading>> {
    let state = parts.dial.state().await?;
    let Some(to) = towards.to else {
        return Ok(Json(parts.dial.gates(&state, None)));
    };
    let to = moves::parse_target(&to).map_err(|why| Refused::malformed("?to", "InvalidValue", why))?;
    Ok(Json(parts.dial.gates_met(&state, to)?))
}

/// Sets the dial to `passthrough`, `capture`, `shadow`, or a percentage. Up only through open gates, unless an
/// approver forces them; a move that takes accounts along is handed over in two phases and answered at the end.
#[utoipa::path(post, path = "/api/rollout/set", tag = "rollout", security(("token" = [])), request_body = SetRollout,
    responses(
        (status = 200, body = RolloutView),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "MalformedRequest"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "NotAuthorised"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "GatesNotMet, HandoverLate, NothingToDo, LostRace or Frozen"),
    ))]
async fn set(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Body(wanted): Body<SetRollout>,
) -> Answer<RolloutView> {
    let by = Request { actor: caller.name.clone(), reason: reason(&wanted.reason)? };
    let to = moves::parse_target(&wanted.to).map_err(|why| Refused::malformed("/to", "InvalidValue", why))?;
    if wanted.force {
        caller.needs(Permission::Approver, "overruling gates")?;
    }
    let state = parts.dial.set(by, to, wanted.force).await?;
    Ok(Json(parts.dial.view(&state)))
}

/// Back to shadow at 0 %, at once, also while frozen.
#[utoipa::path(post, path = "/api/rollout/rollback", tag = "rollout", security(("token" = [])), request_body = Reason,
    responses(
        (status = 200, body = RolloutView),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "NothingToDo"),
    ))]
async fn rollback(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Body(given): Body<Reason>,
) -> Answer<RolloutView> {
    let by = Request { actor: caller.name, reason: reason(&given.reason)? };
    let state = parts.dial.rollback(&by).await?;
    Ok(Json(parts.dial.view(&state)))
}

/// Forbids moves up.
#[utoipa::path(post, path = "/api/rollout/freeze", tag = "rollout", security(("token" = [])), request_body = Reason,
    responses(
        (status = 200, body = RolloutView),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "NothingToDo or LostRace"),
    ))]
async fn freeze(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Body(given): Body<Reason>,
) -> Answer<RolloutView> {
    let by = Request { actor: caller.name, reason: reason(&given.reason)? };
    let state = parts.dial.freeze(&by, true).await?;
    Ok(Json(parts.dial.view(&state)))
}

/// Allows moves up again.
#[utoipa::path(post, path = "/api/rollout/unfreeze", tag = "rollout", security(("token" = [])), request_body = Reason,
    responses(
        (status = 200, body = RolloutView),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "NothingToDo or LostRace"),
    ))]
async fn unfreeze(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Body(given): Body<Reason>,
) -> Answer<RolloutView> {
    let by = Request { actor: caller.name, reason: reason(&given.reason)? };
    let state = parts.dial.freeze(&by, false).await?;
    Ok(Json(parts.dial.view(&state)))
}

/// Pins an account to a system, whatever the dial says, or lets it go (`null`). A pin to the engine holds from shadow
/// on, and goes through open gates like a move up; one to the legacy holds until complete. The account is handed over
/// as in a move of the dial. If somebody is late, the pin stays recorded and the account where it was, held back, until
/// the dial is set to where it stands once more.
#[utoipa::path(post, path = "/api/rollout/pin", tag = "rollout", security(("token" = [])), request_body = PinAccount,
    responses(
        (status = 200, body = RolloutView),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "MalformedRequest"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "NotAuthorised"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "GatesNotMet, HandoverLate, NothingToDo, LostRace or Frozen"),
    ))]
async fn pin(
    Operator(caller): Operator,
    State(parts): State<Arc<Parts>>,
    Body(wanted): Body<PinAccount>,
) -> Answer<RolloutView> {
    let by = Request { actor: caller.name.clone(), reason: reason(&wanted.reason)? };
    if !is_account_id(&wanted.account) {
        return Err(Refused::malformed("/account", "InvalidValue", "this is no account id"));
    }
    if wanted.force {
        caller.needs(Permission::Approver, "overruling gates")?;
    }
    let pin = Pin { account: wanted.account, system: wanted.system };
    let state = parts.dial.pin(by, pin, wanted.force).await?;
    Ok(Json(parts.dial.view(&state)))
}
