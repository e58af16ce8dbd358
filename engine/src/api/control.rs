//! `/internal/*` on the control listener: for the relay and the command line, with the service token.

use super::Api;
use super::caller::{Caller, Trust};
use super::findings::{Findings, Flaw};
use super::incoming::Incoming;
use super::problem::Refusal;
use crate::dead_letters::{Refused, Settlement};
use crate::ledger::Submitted;
use crate::postgres::jobs::Jobs;
use crate::view::read_model::Projection;
use axum::Router;
use axum::extract::{Json, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::routing::{get, post};
use engine_domain::{Body, TransactionId, command};
use eventlog::serve::{Served, log_router};
use host::ops::Readiness;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::control::{PostAliases, SettleDeadLetter};
use wire::dead_letter::{Letter, Origin};
use wire::projection::{ProjectionJob, ProjectionJobView, ProjectionList};

/// The control listener's routes.
pub fn router(api: Arc<Api>, log: Served, readiness: Readiness) -> Router {
    let trust = api.trust.clone();
    let internal = Router::new()
        .route("/internal/aliases", post(take_aliases))
        .route("/internal/dead-letters/{settlement}", post(settle))
        .route("/internal/projections", get(list_projections))
        .route("/internal/projections/{name}/{job}", post(begin_job))
        .with_state(api)
        .merge(log_router(log))
        .route_layer(middleware::from_fn(move |request: Request, next: Next| {
            let trusted = is_service(&trust, &request);
            async move { if trusted { Ok(next.run(request).await) } else { Err(unauthorised()) } }
        }));
    super::with_layers(internal.merge(host::ops::router(readiness)))
}

fn is_service(trust: &Trust, request: &Request) -> bool {
    let token = host::http::bearer(request.headers());
    token.zip(trust.service_token.as_ref()).is_some_and(|(token, secret)| secret.matches(token))
}

fn unauthorised() -> Refusal {
    let detail = "this is for the parts of Crossfade: send the service token as Authorization: Bearer";
    Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized", detail)
}

/// Takes ids of the other system; 204 once all are in the log and decided. Taking them again changes nothing.
async fn take_aliases(State(api): State<Arc<Api>>, request: Incoming) -> Result<StatusCode, Refusal> {
    let mut findings = Findings::new();
    let caller = Caller::of(&request.head.headers, request.head.correlation_id, &api.trust, &mut findings);
    let asked = read_aliases(&request.body, &mut findings);
    let asked = findings.conclude(asked)?;
    let mut by_shard: BTreeMap<u32, Vec<command::Alias>> = BTreeMap::new();
    for alias in asked {
        by_shard.entry(alias.transaction.shard(api.ledger.shards())).or_default().push(alias);
    }
    let deadline = host::clock::now() + api.answer_wait;
    let submissions = by_shard.into_values().map(|aliases| {
        let command = api.command(caller.clone(), Body::Aliases(aliases));
        api.ledger.submit(command, deadline)
    });
    for submitted in futures_util::future::join_all(submissions).await {
        match submitted {
            Submitted::Answered(_) => (),
            Submitted::Pending => return Err(not_taken("not decided in time")),
            Submitted::NotAppended(why) => return Err(not_taken(&why)),
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Redrives or drops a dead letter; 200 with the letter as it is then.
async fn settle(
    State(api): State<Arc<Api>>,
    Path(settlement): Path<String>,
    request: Incoming,
) -> Result<Json<Letter>, Refusal> {
    let settlement = match settlement.as_str() {
        "redrive" => Settlement::Redrive,
        "drop" => Settlement::Drop,
        _ => return Err(Refusal::new(StatusCode::NOT_FOUND, "NotFound", "a dead letter can be redriven or dropped")),
    };
    let mut findings = Findings::new();
    let asked = read_settlement(&request.body, &mut findings);
    let (origin, actor, reason) = findings.conclude(asked)?;
    let settled = api.ledger.dead_letters().settle(&origin, settlement, actor, reason).await;
    settled.map(Json).map_err(|refused| match &refused {
        Refused::NotFound(_) => Refusal::new(StatusCode::NOT_FOUND, "DeadLetterNotFound", refused.to_string()),
        Refused::Settled(_) => Refusal::new(StatusCode::CONFLICT, "NothingToDo", refused.to_string()),
        Refused::NotRedrivable { .. } => Refusal::new(StatusCode::CONFLICT, "NotRedrivable", refused.to_string()),
        Refused::Newer { .. } => Refusal::new(StatusCode::CONFLICT, "NewerProgram", refused.to_string()),
        Refused::Log(_) => Refusal::unavailable("Unavailable", refused.to_string()),
    })
}

/// All projections as they are, and the jobs that run.
async fn list_projections(State(api): State<Arc<Api>>) -> Result<Json<ProjectionList>, Refusal> {
    // Whoever may ask this is to know why.
    let listed = jobs(&api)?.list().await;
    let projections = listed.map_err(|error| Refusal::unavailable("NotReadable", error.to_string()))?;
    Ok(Json(ProjectionList { projections }))
}

/// Begins to rebuild or verify a projection; 202 once it runs.
async fn begin_job(
    State(api): State<Arc<Api>>,
    Path((name, job)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Option<ProjectionJobView>>), Refusal> {
    let jobs = jobs(&api)?;
    let not_found = |detail: &str| Refusal::new(StatusCode::NOT_FOUND, "NotFound", detail);
    let projection: Projection =
        name.parse().map_err(|()| not_found("there are the projections `balance` and `history`"))?;
    let job = match job.as_str() {
        "rebuild" => ProjectionJob::Rebuild,
        "verify" => ProjectionJob::Verify,
        _ => return Err(not_found("a projection can be rebuilt or verified")),
    };
    let begun = jobs.begin(projection, job);
    begun.map_err(|error| Refusal::new(StatusCode::CONFLICT, "Busy", error.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(jobs.job(projection))))
}

fn jobs(api: &Api) -> Result<&Jobs, Refusal> {
    let detail = "this engine has no database: its configuration has no section [postgres]";
    api.jobs.as_ref().ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "NoProjections", detail))
}

/// Which letter, by whom, and why: all of it is recorded for ever.
fn read_settlement(body: &[u8], findings: &mut Findings) -> Option<(Origin, String, String)> {
    let SettleDeadLetter { origin, actor, reason } = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(error) => {
            findings.note(Flaw::MalformedJson, "", format!("the body does not say which letter, who and why: {error}"));
            return None;
        }
    };
    for (pointer, text) in [("/actor", &actor), ("/reason", &reason)] {
        if text.trim().is_empty() {
            findings.note(Flaw::InvalidValue, pointer, "this is recorded, and may not be empty");
        }
    }
    match origin.parse() {
        Ok(origin) => Some((origin, actor, reason)),
        Err(problem) => {
            findings.note(Flaw::InvalidValue, "/origin", problem);
            None
        }
    }
}

fn read_aliases(body: &[u8], findings: &mut Findings) -> Option<Vec<command::Alias>> {
    let posted: PostAliases = match serde_json::from_slice(body) {
        Ok(posted) => posted,
        Err(error) => {
            findings.note(Flaw::MalformedJson, "", format!("the body is no list of aliases: {error}"));
            return None;
        }
    };
    let mut aliases = Vec::with_capacity(posted.aliases.len());
    for (index, alias) in posted.aliases.into_iter().enumerate() {
        match TransactionId::parse(&alias.engine) {
            Some(transaction) => aliases.push(command::Alias { transaction, alias: alias.legacy.into() }),
            None => findings.note(
                Flaw::InvalidValue,
                format!("/aliases/{index}/engine"),
                "this is no id that the engine made",
            ),
        }
    }
    Some(aliases)
}

fn not_taken(why: &str) -> Refusal {
    tracing::warn!(why, "aliases were not taken");
    Refusal::unavailable("NotAppended", "not all aliases are taken: send them again, which is harmless")
}
