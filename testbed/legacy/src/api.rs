//! HTTP: part L of the contract, the fault switch, what tests ask for, and the operators' routes.

use crate::connection;
use crate::execute::{Answer, Asked, Command, Reply};
use crate::faults::FaultSwitch;
use crate::ids::Ids;
use crate::incoming::{AccountId, Asking, Caller, Correlation, Refused, Segment, correlate, json, whole};
use crate::reads::{self, Found, Page};
use crate::refusal::{Finding, Problem};
use crate::request;
use crate::shapes::{Kind, Outcome};
use crate::stale::Stale;
use crate::store::{self, Filter, Reading};
use crate::writer::Writer;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use host::ops::Readiness;
use host::task::{self, Shutdown};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The outcomes of the contract that the legacy never has.
const OTHER_OUTCOMES: [&str; 5] = ["processing", "authorized", "captured", "voided", "expired"];

/// What every handler works with.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) writer: Writer,
    pub(crate) store: Arc<dyn Reading>,
    /// Accounts that are not shown as they are kept.
    pub(crate) stale: Arc<Stale>,
    pub(crate) faults: Arc<FaultSwitch>,
    pub(crate) ids: Ids,
    /// Whether executions are counted.
    pub(crate) counts: bool,
    pub(crate) slow: Duration,
    pub(crate) hang: Duration,
    /// Ends requests that hang on purpose.
    pub(crate) shutdown: Shutdown,
}

/// What a handler answers with.
type Answered = Result<Response, Refused>;

/// All routes of the legacy.
pub(crate) fn router(api: Api, readiness: Readiness) -> Router {
    Router::new()
        .route("/accounts", post(create_account).get(list_accounts))
        .route("/accounts/{id}", get(show_account).patch(change_account))
        .route("/accounts/{id}/balance", get(show_balance))
        .route("/accounts/{id}/transactions", get(show_history))
        .route("/transactions", get(list_transactions))
        .route("/transactions/{id}", get(show_transaction))
        .route("/transactions/status/{key}", get(show_status))
        .route("/transactions/topup", post(|api, caller, body| transact(Kind::Topup, api, caller, body)))
        .route("/transactions/withdraw", post(|api, caller, body| transact(Kind::Withdraw, api, caller, body)))
        .route("/transactions/transfer", post(|api, caller, body| transact(Kind::Transfer, api, caller, body)))
        .route("/transactions/refund", post(|api, caller, body| transact(Kind::Refund, api, caller, body)))
        .route("/faults", get(show_faults).put(put_faults))
        .route("/faults/log", get(show_fault_log))
        .route("/executions", get(show_executions))
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(api)
        .merge(host::ops::router(readiness))
        .layer(middleware::from_fn(correlate))
}

async fn transact(kind: Kind, State(api): State<Api>, caller: Caller, body: Body) -> Answered {
    let parsed = whole(body).await.and_then(|body| request::transaction(kind, caller.key.as_deref(), &body));
    let (key, transaction) = parsed.map_err(|problem| caller.correlation.refuse(problem))?;
    api.execute(caller, Command::Transaction { key, transaction }).await
}

async fn create_account(State(api): State<Api>, mut caller: Caller, body: Body) -> Answered {
    let key = caller.key.take();
    if key.as_deref().is_some_and(|key| !request::is_key(key)) {
        let detail = "must be 1 to 255 printable ASCII characters";
        let finding = Finding::new("Idempotency-Key", "InvalidValue", detail);
        return Err(caller.correlation.refuse(Problem::malformed(vec![finding])));
    }
    let default_id = || match &key {
        // By the key, so that a retry makes the same account.
        Some(key) => Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{}\0{key}", caller.tenant).as_bytes()).to_string(),
        None => host::random::uuid().to_string(),
    };
    let parsed = whole(body).await.and_then(|body| request::new_account(default_id, &body));
    let account = parsed.map_err(|problem| caller.correlation.refuse(problem))?;
    api.execute(caller, Command::Account { key, account }).await
}

async fn change_account(
    State(api): State<Api>,
    AccountId(account_id): AccountId,
    caller: Caller,
    body: Body,
) -> Answered {
    let parsed = whole(body).await.and_then(|body| request::account_change(&body));
    let change = parsed.map_err(|problem| caller.correlation.refuse(problem))?;
    api.execute(caller, Command::Change { account_id, change }).await
}

impl Api {
    /// Has a request executed, and answers as the faults want it.
    async fn execute(&self, caller: Caller, command: Command) -> Answered {
        let (tenant, correlation_id) = (caller.tenant.clone(), caller.correlation_id().to_owned());
        match self.writer.execute(Asked { tenant, correlation_id, command }).await {
            Some(Reply::Answer(answer)) => return Ok(answered(answer)),
            Some(Reply::Slow(answer)) => {
                host::clock::sleep(self.slow).await;
                return Ok(answered(answer));
            }
            Some(Reply::Hang) => {
                // A client that goes away ends this by dropping it.
                let _ = host::clock::timeout(self.hang, self.shutdown.stopped()).await;
            }
            Some(Reply::Drop) => return Ok(connection::dropped()),
            Some(Reply::Unavailable) => return Err(caller.correlation.refuse(Problem::not_appended())),
            Some(Reply::Fail) | None => {}
        }
        Err(caller.correlation.refuse(Problem::internal()))
    }

    /// Reads on a thread that may block.
    async fn read(
        &self,
        correlation: Correlation,
        read: impl FnOnce(&dyn Reading) -> Result<Found, store::Error> + Send + 'static,
    ) -> Answered {
        let store = self.store.clone();
        let problem = match task::spawn_blocking(move || read(&*store)).await {
            Ok(Ok(Ok(body))) => return Ok(json(200, "application/json", body.into())),
            Ok(Ok(Err(problem))) => problem,
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot read the store");
                if error.nothing_written() { Problem::not_readable() } else { Problem::internal() }
            }
            Err(error) => {
                tracing::error!(%error, "a read was given up");
                Problem::internal()
            }
        };
        Err(correlation.refuse(problem))
    }
}

async fn show_account(
    State(api): State<Api>,
    AccountId(id): AccountId,
    correlation: Correlation,
    mut query: Asking,
) -> Answered {
    query.stale();
    query.finish()?;
    let stale = api.stale.clone();
    api.read(correlation, move |store| reads::account(store, &stale, &id)).await
}

async fn show_balance(
    State(api): State<Api>,
    AccountId(id): AccountId,
    correlation: Correlation,
    mut query: Asking,
) -> Answered {
    query.stale();
    // There is no other state than the newest.
    query.word("at", |_| None::<()>);
    query.finish()?;
    let stale = api.stale.clone();
    api.read(correlation, move |store| reads::balance(store, &stale, &id)).await
}

async fn list_accounts(State(api): State<Api>, correlation: Correlation, mut query: Asking) -> Answered {
    let (after, limit) = (query.word("after", |text| Some(text.to_owned())), query.limit());
    query.stale();
    query.finish()?;
    let stale = api.stale.clone();
    api.read(correlation, move |store| reads::accounts(store, &stale, after.as_deref(), limit)).await
}

async fn show_history(
    State(api): State<Api>,
    AccountId(id): AccountId,
    correlation: Correlation,
    mut query: Asking,
) -> Answered {
    let page = Page { from: query.cursor("before"), limit: query.limit() };
    let kind = query.word("type", |text| if text == "payment" { Some(None) } else { Kind::of(text).map(Some) });
    let outcome = query.word("status", |text| match Outcome::of(text) {
        Some(outcome) => Some(Some(outcome)),
        None => OTHER_OUTCOMES.contains(&text).then_some(None),
    });
    query.stale();
    query.finish()?;
    let nothing_fits = kind == Some(None) || outcome == Some(None);
    let filter = (!nothing_fits).then_some(Filter { kind: kind.flatten(), outcome: outcome.flatten() });
    api.read(correlation, move |store| reads::history(store, &id, page, filter)).await
}

async fn list_transactions(State(api): State<Api>, correlation: Correlation, mut query: Asking) -> Answered {
    let page = Page { from: query.cursor("after"), limit: query.limit() };
    let since = query.word("since", |text| text.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_microsecond);
    query.stale();
    query.finish()?;
    api.read(correlation, move |store| reads::transactions(store, since, page)).await
}

async fn show_transaction(State(api): State<Api>, Segment(id): Segment, correlation: Correlation) -> Answered {
    let ids = api.ids;
    api.read(correlation, move |store| reads::transaction(store, ids, &id)).await
}

async fn show_status(State(api): State<Api>, Segment(key): Segment, caller: Caller, mut query: Asking) -> Answered {
    let account = query.word("account", |text| Some(text.to_owned()));
    query.finish()?;
    let Caller { tenant, correlation, .. } = caller;
    api.read(correlation, move |store| reads::status(store, &tenant, &key, account.as_deref())).await
}

async fn show_faults(State(api): State<Api>) -> Response {
    let body = serde_json::json!({ "faults": api.faults.shown() }).to_string();
    json(200, "application/json", body.into())
}

async fn put_faults(State(api): State<Api>, correlation: Correlation, body: Body) -> Answered {
    let put = whole(body).await.and_then(|body| api.faults.put(&body));
    put.map_err(|problem| correlation.refuse(problem))?;
    Ok(show_faults(State(api)).await)
}

async fn show_fault_log(State(api): State<Api>, correlation: Correlation) -> Answered {
    api.read(correlation, reads::fault_log).await
}

async fn show_executions(State(api): State<Api>, correlation: Correlation) -> Answered {
    if !api.counts {
        // Nothing at all would look like nothing sent twice.
        let detail = "executions are counted only by a legacy that does not deduplicate";
        return Err(correlation.refuse(Problem::new(404, "NotCounted", detail)));
    }
    api.read(correlation, reads::executions).await
}

async fn no_such_route(correlation: Correlation) -> Refused {
    correlation.refuse(Problem::new(404, "NoSuchRoute", "the legacy has no such route"))
}

async fn wrong_method(correlation: Correlation) -> Refused {
    correlation.refuse(Problem::new(405, "MethodNotAllowed", "the route does not take this method"))
}

fn answered(answer: Answer) -> Response {
    let content_type = if answer.status < 400 { "application/json" } else { "application/problem+json" };
    let mut response = json(answer.status, content_type, answer.body);
    if answer.replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}
