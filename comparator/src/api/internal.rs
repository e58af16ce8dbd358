//! What only parts of Crossfade call: the fronts' stream, their answers in a handover; and the log.

use crate::api::Refused;
use crate::api::auth::Service;
use crate::api::problem::{Asked, Body};
use crate::service::Parts;
use crate::stream;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wire::billing::Problem;
use wire::control::{LogLine, Prepared, StreamEvent};
use wire::ids::is_front_name;
use wire::rollout::FrontBoot;
use wire::scalar::Timestamp;

pub(super) fn routes() -> OpenApiRouter<Arc<Parts>> {
    OpenApiRouter::new().routes(routes!(follow)).routes(routes!(hears)).routes(routes!(prepared))
}

/// Who listens, and from where on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Listen {
    /// The front's name.
    front: String,
    /// Its boot.
    boot: u64,
    /// The first offset of `cutover.rollout` that it has not seen.
    #[serde(default)]
    from: u64,
}

/// The records of `cutover.rollout` as they come, and requests for marks. Whoever listens counts as connected.
#[utoipa::path(get, path = "/api/rollout/stream", tag = "internal", security(("token" = [])), params(Listen), responses(
    (status = 200, body = StreamEvent, content_type = "text/event-stream"),
    (status = 409, body = Problem, content_type = "application/problem+json",
        description = "StaleBoot: a newer boot listens already; LogShorter: the log ends before `from`"),
))]
async fn follow(
    _: Service,
    State(parts): State<Arc<Parts>>,
    Asked(listen): Asked<Listen>,
) -> Result<Response, Refused> {
    if !is_front_name(&listen.front) {
        return Err(Refused::malformed("?front", "InvalidValue", format!("`{}` cannot name a front", listen.front)));
    }
    let end = parts.log.end(wire::rollout::TOPIC, crate::chain::PARTITION).await;
    let end = end.map_err(|error| Refused::unavailable(error.to_string()))?;
    if listen.from > end {
        let detail = format!("offset {} was asked for, the log ends at {end}: another log, or a lost one", listen.from);
        return Err(Refused::new(StatusCode::CONFLICT, "LogShorter", detail));
    }
    let seat = parts
        .fronts
        .enter(FrontBoot { front: listen.front, boot: listen.boot })
        .map_err(|stale| Refused::new(StatusCode::CONFLICT, "StaleBoot", stale.to_string()))?;
    Ok(stream::events(parts.log.clone(), listen.from, seat, parts.shutdown.clone()).into_response())
}

/// A front hears its stream. It is cut off if it does not say so for five to six seconds.
#[utoipa::path(post, path = "/internal/rollout/hears", tag = "internal", security(("token" = [])),
    request_body = FrontBoot, responses(
        (status = 204, description = "Noted"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "NotListening: this boot of this front has no stream"),
    ))]
async fn hears(
    _: Service,
    State(parts): State<Arc<Parts>>,
    Body(front): Body<FrontBoot>,
) -> Result<StatusCode, Refused> {
    if parts.fronts.hears(&front) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let detail = format!("boot {} of front {} has no stream", front.boot, front.front);
    Err(Refused::new(StatusCode::CONFLICT, "NotListening", detail))
}

/// A front holds the accounts that move.
#[utoipa::path(post, path = "/internal/rollout/prepared", tag = "internal", security(("token" = [])),
    request_body = Prepared, responses(
        (status = 204, description = "Recorded"),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "NotPending: no move waits for this boot of this front"),
    ))]
async fn prepared(
    _: Service,
    State(parts): State<Arc<Parts>>,
    Body(answer): Body<Prepared>,
) -> Result<StatusCode, Refused> {
    parts.dial.prepared(&answer).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The topics that are served, each of one partition.
const TOPICS: [&str; 6] = [
    wire::exchange::TOPIC,
    wire::shadow::TOPIC,
    wire::rollout::TOPIC,
    wire::decision::TOPIC,
    wire::order::TOPIC,
    wire::dead_letter::TOPIC,
];

/// `GET /internal/log/{topic}/{partition}`.
pub(super) fn log_routes(parts: &Parts) -> axum::Router<Arc<Parts>> {
    eventlog::serve::log_router(eventlog::serve::Served {
        log: parts.log.clone(),
        topics: TOPICS.iter().map(|topic| ((*topic).to_owned(), 1)).collect(),
        line,
        shutdown: parts.shutdown.clone(),
    })
}

fn line(record: &eventlog::Record) -> Vec<u8> {
    use base64::Engine as _;
    let line = LogLine {
        offset: record.offset,
        at: Timestamp(record.at_micros),
        bytes: base64::engine::general_purpose::STANDARD.encode(&record.value),
    };
    // The type is plain data, for which JSON has no way to fail.
    serde_json::to_vec(&line).expect("a log line is plain data")
}
