//! `/api/summary` and `/api/exchanges`: what the comparator says of the traffic.

use crate::api::auth::Viewer;
use crate::api::problem::Asked;
use crate::api::{Answer, Refused};
use crate::index::{ExchangeFilter, MAX_PAGE};
use crate::service::Parts;
use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use std::str::FromStr;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wire::billing::Problem;
use wire::control::{ExchangePage, ExchangeView, Summary};
use wire::ids::{ExchangeNumber, is_account_id};
use wire::scalar::Timestamp;

/// Exchanges on a page when nobody says how many.
const DEFAULT_LIMIT: usize = 100;

pub(super) fn routes() -> OpenApiRouter<Arc<Parts>> {
    OpenApiRouter::new().routes(routes!(summary)).routes(routes!(list)).routes(routes!(show))
}

/// Everything a migration team looks at, on one page.
#[utoipa::path(get, path = "/api/summary", tag = "exchanges", security(("token" = [])), responses(
    (status = 200, body = Summary),
))]
async fn summary(_: Viewer, State(parts): State<Arc<Parts>>) -> Answer<Summary> {
    let dial = parts.dial.state().await?;
    let now = Timestamp(host::clock::unix_micros());
    let summary = parts.ingest.look(|index| index.summary(now));
    let progress = parts.ingest.progress();
    let rollout = parts.dial.view(&dial);
    Ok(Json(Summary {
        caught_up: progress.caught_up && progress.failed.is_none(),
        fronts: rollout.fronts.clone(),
        rollout,
        ..summary
    }))
}

/// Which exchanges.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Only those with this verdict.
    verdict: Option<String>,
    /// Only those that name this account.
    account: Option<String>,
    /// Only those with this idempotency key.
    key: Option<String>,
    /// Only those since this time (RFC 3339).
    since: Option<String>,
    /// Where the last page ended: its `next`.
    before: Option<String>,
    /// At most so many, up to 1000; 100 when left out.
    limit: Option<String>,
}

impl Which {
    fn filter(self) -> Result<ExchangeFilter, Refused> {
        let limit = match self.limit {
            None => DEFAULT_LIMIT,
            Some(limit) => match limit.parse() {
                Ok(limit @ 1..=MAX_PAGE) => limit,
                _ => return Err(Refused::malformed("?limit", "InvalidValue", "limit is a number from 1 to 1000")),
            },
        };
        if self.account.as_deref().is_some_and(|account| !is_account_id(account)) {
            return Err(Refused::malformed("?account", "InvalidValue", "this is no account id"));
        }
        Ok(ExchangeFilter {
            verdict: word("?verdict", self.verdict.as_deref())?,
            account: self.account,
            key: self.key,
            since: word::<Timestamp>("?since", self.since.as_deref())?,
            before: word::<u64>("?before", self.before.as_deref())?,
            limit,
        })
    }
}

fn word<T>(pointer: &str, text: Option<&str>) -> Result<Option<T>, Refused>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|error: T::Err| Refused::malformed(pointer, "InvalidValue", error.to_string()))
}

fn number(pointer: &str, text: &str) -> Result<ExchangeNumber, Refused> {
    text.parse()
        .map_err(|error: wire::ids::NotAnExchangeNumber| Refused::malformed(pointer, "InvalidValue", error.to_string()))
}

/// Exchanges, newest first, without their legs.
#[utoipa::path(get, path = "/api/exchanges", tag = "exchanges", security(("token" = [])), params(Which), responses(
    (status = 200, body = ExchangePage),
    (status = 400, body = Problem, content_type = "application/problem+json", description = "MalformedRequest"),
))]
async fn list(_: Viewer, State(parts): State<Arc<Parts>>, Asked(which): Asked<Which>) -> Answer<ExchangePage> {
    let filter = which.filter()?;
    Ok(Json(parts.ingest.look(|index| index.exchanges(&filter))))
}

/// One exchange with its legs.
#[utoipa::path(get, path = "/api/exchanges/{id}", tag = "exchanges", security(("token" = [])),
    params(("id" = String, Path, description = "Its number: front.boot.sequence")), responses(
        (status = 200, body = ExchangeView),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "ExchangeNotFound: never recorded, or judged long ago without a discrepancy"),
    ))]
async fn show(_: Viewer, State(parts): State<Arc<Parts>>, Path(id): Path<String>) -> Answer<ExchangeView> {
    let number = number("/id", &id)?;
    let exchange = parts.ingest.look(|index| index.exchange(&number));
    exchange.map(Json).ok_or_else(|| {
        Refused::not_found("ExchangeNotFound", format!("there is no exchange {id}, or it was judged long ago as equal"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::words::VerdictKind;

    #[test]
    fn queries_are_checked() {
        let refused = |which: Which| which.filter().err().map(|refused| refused.0.errors[0].pointer.clone());
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(refused(Which { limit: text("0"), ..Which::default() }), text("?limit"));
        assert_eq!(refused(Which { limit: text("1001"), ..Which::default() }), text("?limit"));
        assert_eq!(refused(Which { limit: text("ten"), ..Which::default() }), text("?limit"));
        assert_eq!(refused(Which { verdict: text("fine"), ..Which::default() }), text("?verdict"));
        assert_eq!(refused(Which { since: text("yesterday"), ..Which::default() }), text("?since"));
        assert_eq!(refused(Which { account: text("a b"), ..Which::default() }), text("?account"));
        assert_eq!(refused(Which { before: text("front-1.1.7"), ..Which::default() }), text("?before"));
        let good = Which { verdict: text("mismatch"), since: text("2026-11-01T00:00:00Z"), ..Which::default() };
        let filter = good.filter().unwrap();
        assert_eq!((filter.verdict, filter.limit), (Some(VerdictKind::Mismatch), DEFAULT_LIMIT));
        let second_page = Which { before: text("7"), ..Which::default() };
        assert_eq!(second_page.filter().unwrap().before, Some(7));
    }
}
