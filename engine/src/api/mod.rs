//! The billing API (CONTRACT): parse, make a command of it, submit, render.
//!
//! | module | what |
//! |---|---|
//! | [`accounts`], [`transactions`], [`batch`], [`analytics`] | the routes |
//! | [`control`] | `/internal/*`, for the other parts |
//! | [`incoming`], [`caller`] | a request's head and body; who asks, and in what role |
//! | [`strict`], [`fields`], [`requests`], [`query`] | reading bodies and queries, strictly |
//! | [`findings`], [`problem`], [`refusals`] | what is wrong, and how it is said |
//! | [`submit`], [`sketch`] | from a command to the answer |
//! | [`openapi`] | the API document, made from the routes |
//!
//! Invariants: everything wrong with a request is named at once, before anything is appended. A repeat is answered
//! byte for byte like the first request, its correlation id included; the header carries the repeat's. 503 only
//! when nothing was appended. Nothing here decides about money.

pub mod accounts;
pub mod analytics;
pub mod batch;
pub mod caller;
pub mod control;
pub mod fields;
pub mod findings;
pub mod incoming;
pub mod openapi;
pub mod problem;
pub mod query;
pub mod refusals;
pub mod requests;
pub mod sketch;
pub mod strict;
pub mod submit;
pub mod transactions;

use crate::config::DefaultAnswer;
use crate::ledger::{BarrierError, Ledger};
use crate::metrics::QUERY_DURATION_SECONDS;
use crate::postgres::jobs::Jobs;
use crate::view::Cursor;
use crate::view::read_model::{Projection, ReadModel};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use caller::{CORRELATION, Caller, Trust};
use engine_domain::{AccountId, Body, Command, CommandId, Position, Text, Timestamp};
use host::clock::Instant;
use host::ops::Readiness;
use incoming::{Correlation, Head};
use problem::Refusal;
use query::Query;
use std::sync::Arc;
use std::time::Duration;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What every handler works with.
pub struct Api {
    /// Where commands go and answers come from.
    pub ledger: Ledger,
    /// What queries that look back are answered from.
    pub look_back: Arc<dyn ReadModel>,
    /// What can be done with the projections, if there is a database.
    pub jobs: Option<Jobs>,
    /// Which headers are believed.
    pub trust: Trust,
    /// How long a request waits for its final answer, and a read for the view.
    pub answer_wait: Duration,
    /// What a write is answered with when the client does not say.
    pub default_answer: DefaultAnswer,
    /// Whether a refusal takes its key.
    pub refusal_keeps_key: bool,
    /// The largest body.
    pub max_body_bytes: usize,
}

/// The billing API with the operators' routes and the API document.
pub fn router(api: Arc<Api>, readiness: Readiness) -> Router {
    let (routes, document) = billing_routes().split_for_parts();
    let document: Arc<str> = rendered(&document).into();
    let routes = routes
        .with_state(api)
        .route("/openapi.json", get(move || async move { problem::json_text(&document) }))
        .merge(host::ops::router(readiness));
    with_layers(routes)
}

/// What is served until the ledger is open: the operators' routes; all else is to be asked again.
pub fn starting(readiness: Readiness) -> Router {
    host::ops::router(readiness)
        .fallback(|| async {
            Refusal::unavailable("Starting", "the engine reads its journal: ask again, with the same key")
        })
        .layer(middleware::from_fn(correlate))
}

/// The API document, as it is served and as it stands in `docs/openapi.json`.
pub fn document() -> String {
    rendered(&billing_routes().into_openapi())
}

fn rendered(document: &utoipa::openapi::OpenApi) -> String {
    document.to_pretty_json().expect("an API document is plain data with text keys") + "\n"
}

fn billing_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(accounts::create, accounts::list))
        .routes(routes!(accounts::get, accounts::change))
        .routes(routes!(accounts::balance))
        .routes(routes!(accounts::transactions))
        .routes(routes!(accounts::events))
        .routes(routes!(transactions::topup))
        .routes(routes!(transactions::withdraw))
        .routes(routes!(transactions::transfer))
        .routes(routes!(transactions::refund))
        .routes(routes!(batch::batch))
        .routes(routes!(transactions::list))
        .routes(routes!(transactions::status))
        .routes(routes!(transactions::get))
        .routes(routes!(transactions::saga))
        .routes(routes!(analytics::daily))
        .routes(routes!(analytics::trends))
}

/// The layers around the routes of a listener, from the inside out:
/// 1. what no route has is a problem like any other, by path (404) or by method (405);
/// 2. outermost, the correlation id is taken or made, so that every answer carries it, and problems are written
///    down with it.
pub(crate) fn with_layers(routes: Router) -> Router {
    routes
        .method_not_allowed_fallback(|request: Request| async move {
            let detail = format!("{} is not for {}: see the header Allow", request.uri().path(), request.method());
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", detail)
        })
        .fallback(|head: Head| async move {
            let detail = format!("there is nothing at {}: GET /openapi.json lists the routes", head.uri.path());
            Refusal::new(StatusCode::NOT_FOUND, "NoSuchRoute", detail)
        })
        .layer(middleware::from_fn(correlate))
}

/// See [`with_layers`].
async fn correlate(mut request: Request, next: Next) -> Response {
    let id = caller::correlation_id(request.headers()).map_or_else(|| host::random::uuid().to_string(), str::to_owned);
    let text: Text = id.as_str().into();
    request.extensions_mut().insert(Correlation(Text::clone(&text)));
    let mut response = next.run(request).await;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        response = refusal.written_over(response, &text);
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(CORRELATION, id);
    }
    response
}

impl Api {
    /// A command in its envelope.
    fn command(&self, caller: Caller, body: Body) -> Command {
        Command {
            id: CommandId(host::random::uuid()),
            at: Timestamp(host::clock::unix_micros()),
            correlation_id: caller.correlation_id,
            actor: caller.actor,
            mode: caller.mode,
            tenant: caller.tenant,
            keeps_refusals: self.refusal_keeps_key,
            alias: caller.alias,
            refusal: caller.refusal,
            body,
        }
    }

    fn all_shards(&self) -> Vec<u32> {
        (0..self.ledger.shards()).collect()
    }

    /// Waits until the view includes everything that was answered before about these shards; where it then stands.
    async fn include(&self, shards: &[u32]) -> Result<Vec<String>, Refusal> {
        shown(self.ledger.read_barrier(shards, self.read_deadline()).await)
    }

    /// As [`Api::include`], for all shards that an account is kept on. What is in the log and not decided yet counts
    /// too for whoever acts on what is not seen: for other parts, and for everybody before a 404.
    async fn include_account(&self, account: &AccountId, head: &Head) -> Result<Vec<String>, Refusal> {
        let home = [self.ledger.shard_of(account.as_str())];
        let settles = self.trust.is_service(&head.headers);
        let mut included = if settles { self.settle(&home).await? } else { self.include(&home).await? };
        let view = self.ledger.view();
        if !settles && view.is_limited(account).is_none() {
            included = self.settle(&home).await?;
        }
        let home = included;
        let in_one_piece = view.is_limited(account).unwrap_or(true) && !account.is_in_transit();
        if in_one_piece { Ok(home) } else { self.include(&self.all_shards()).await }
    }

    /// Waits until the view includes the outcomes of all commands that were in the log of these shards before; where it
    /// then stands.
    async fn settle(&self, shards: &[u32]) -> Result<Vec<String>, Refusal> {
        shown(self.ledger.settled_barrier(shards, self.read_deadline()).await)
    }

    /// Waits until queries that look back are answered with all that the view includes of these shards.
    async fn look_back_includes(&self, projection: Projection, shards: &[u32]) -> Result<(), Refusal> {
        let deadline = self.read_deadline();
        for &shard in shards {
            let included = self.ledger.view().progress(shard).get().journal_next;
            tokio::select! {
                biased;
                () = self.look_back.includes(projection, shard, included) => {}
                () = host::clock::sleep_until(deadline) => {
                    return Err(unreadable(&format!("the projection `{}` of shard {shard} does not catch up", projection.as_str())));
                }
            }
        }
        Ok(())
    }

    fn read_deadline(&self) -> Instant {
        host::clock::now() + self.answer_wait
    }

    /// A cursor in a query.
    fn cursor(&self, query: &mut Query<'_>, name: &'static str) -> Option<Cursor> {
        let text = query.text(name)?;
        let cursor = self.ledger.view().cursor(&text);
        match cursor {
            Ok(cursor) => Some(cursor),
            Err(_) => {
                query.note(name, &text, "is no cursor: pass `next` of the page before as it is");
                None
            }
        }
    }

    /// Measures a read until dropped.
    fn timer(&self, query: &'static str) -> Timer {
        Timer { query, started: host::clock::now() }
    }
}

/// See [`Api::timer`].
struct Timer {
    query: &'static str,
    started: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        let took = host::clock::now().duration_since(self.started);
        metrics::histogram!(QUERY_DURATION_SECONDS, "query" => self.query).record(took);
    }
}

/// Where the view stands behind a barrier, as clients see it.
fn shown(behind: Result<Vec<Position>, BarrierError>) -> Result<Vec<String>, Refusal> {
    let positions = behind.map_err(|error| unreadable(&error))?;
    Ok(positions.iter().map(ToString::to_string).collect())
}

/// The view cannot be read as it has to be.
fn unreadable(error: &dyn std::fmt::Display) -> Refusal {
    tracing::warn!(%error, "a read was turned away");
    Refusal::unavailable("NotReadable", "this cannot be read now: ask again")
}
