//! Figures of all transactions: per day, and as trends.

use super::findings::Findings;
use super::incoming::Head;
use super::openapi::{ReadProblems, Stale};
use super::problem::Refusal;
use super::query::Query;
use super::submit::json;
use super::{Api, unreadable};
use crate::analytics::{self, Bucket, Range, Written};
use crate::view::read_model::Projection;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use engine_domain::Currency;
use jiff::ToSpan;
use jiff::civil::Date;
use std::sync::Arc;
use wire::billing::Analytics;

/// Days shown when the client does not say from when on,
const DEFAULT_DAYS: i64 = 30;
/// and days in the longest range: ten years, whose rows are rendered in some milliseconds.
const MOST_DAYS: i32 = 3_660;

/// What became of transactions, per day.
#[utoipa::path(
    get, path = "/analytics/daily", tag = "analytics", operation_id = "daily",
    params(
        ("currency" = String, Query, description = "the currency"),
        ("from" = Option<String>, Query, description = "the first day (2026-11-01, UTC); 30 days before `to` when absent"),
        ("to" = Option<String>, Query, description = "the last day; today when absent"),
        Stale,
    ),
    responses((status = 200, description = "days on which anything happened", body = Analytics), ReadProblems),
)]
pub async fn daily(State(api): State<Arc<Api>>, head: Head) -> Result<Response, Refusal> {
    let _timer = api.timer("analytics-daily");
    let mut findings = Findings::new();
    let mut query = Query::of(&head.uri, &mut findings);
    let asked = Asked::of(&mut query, Bucket::Day);
    let asked = findings.conclude(asked)?;
    api.figures(asked, false).await
}

/// How that develops: every day, week or month of the range, also those without any.
#[utoipa::path(
    get, path = "/analytics/trends", tag = "analytics", operation_id = "trends",
    params(
        ("currency" = String, Query, description = "the currency"),
        ("bucket" = Option<String>, Query, description = "`day` (when absent), `week` or `month`"),
        ("from" = Option<String>, Query, description = "the first day (2026-11-01, UTC); 30 days before `to` when absent"),
        ("to" = Option<String>, Query, description = "the last day; today when absent"),
        Stale,
    ),
    responses((status = 200, description = "every bucket that has a day of the range", body = Analytics), ReadProblems),
)]
pub async fn trends(State(api): State<Arc<Api>>, head: Head) -> Result<Response, Refusal> {
    let _timer = api.timer("analytics-trends");
    let mut findings = Findings::new();
    let mut query = Query::of(&head.uri, &mut findings);
    let bucket = query.word("bucket", &Bucket::WORDS).unwrap_or(Bucket::Day);
    let asked = Asked::of(&mut query, bucket);
    let asked = findings.conclude(asked)?;
    api.figures(asked, true).await
}

/// What is asked for.
struct Asked {
    currency: Currency,
    bucket: Bucket,
    range: Range,
    stale: bool,
}

impl Asked {
    /// Reads the query; what is wrong with it is noted.
    fn of(query: &mut Query<'_>, bucket: Bucket) -> Option<Self> {
        let text = query.text("currency");
        let currency = text.as_deref().and_then(Currency::new);
        if currency.is_none() {
            query.note("currency", text.as_deref().unwrap_or_default(), "is no currency: name one, such as EUR");
        }
        let wrong = "is no day: write it as 2026-11-01";
        let to = query.parsed::<Written>("to", wrong).map_or_else(today, |day| day.0);
        let from = query.parsed::<Written>("from", wrong).map(|day| day.0);
        let from = from.unwrap_or_else(|| to.saturating_sub(DEFAULT_DAYS.days()));
        let days = analytics::day_of(to) - analytics::day_of(from);
        if !(0..MOST_DAYS).contains(&days) {
            query.note("from", &from.to_string(), &format!("is not within {MOST_DAYS} days up to {to}"));
        }
        let stale = query.flag("stale");
        Some(Self { currency: currency?, bucket, range: Range { from, to }, stale })
    }
}

/// The day that it is, in UTC.
fn today() -> Date {
    let now = jiff::Timestamp::from_microsecond(host::clock::unix_micros()).unwrap_or_default();
    now.to_zoned(jiff::tz::TimeZone::UTC).date()
}

impl Api {
    async fn figures(&self, asked: Asked, every: bool) -> Result<Response, Refusal> {
        let Asked { currency, bucket, range, stale } = asked;
        if !stale {
            self.include(&self.all_shards()).await?;
            self.look_back_includes(Projection::History, &self.all_shards()).await?;
        }
        let (first, last) = range.needed(bucket);
        let daily = self.look_back.daily(currency, first, last).await.map_err(|error| unreadable(&error))?;
        let rows = analytics::rows(&daily, bucket, range, every);
        Ok(json(StatusCode::OK, &Analytics { currency: currency.to_string(), rows }))
    }
}
