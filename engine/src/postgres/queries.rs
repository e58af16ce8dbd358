//! What is asked of the projections: of the views that show the live generation of each.

use super::balances::standing;
use super::history::shown_of;
use super::store::{Error, Store, decode, number};
use super::time::{DATE_EPOCH, Micros};
use crate::analytics::{Daily, Day, Total};
use crate::view::read_model::{HistoryQuery, Standing};
use crate::view::{Cursor, Status};
use engine_domain::{AccountId, Currency, Kind, Money, Timestamp};
use rust_decimal::Decimal;
use sqlx::Row;
use sqlx::postgres::PgRow;
use wire::billing::TransactionPage;

/// How an account stood at a point in time, one entry per stripe that was there.
const STANDINGS_AT: &str = "
    SELECT stood.balance, stood.reserved, stood.version
    FROM UNNEST($2::int[]) AS wanted (shard)
    CROSS JOIN LATERAL (
        SELECT balance, reserved, version FROM projections.balance_history_rows AS history
        WHERE history.account_id = $1 AND history.shard = wanted.shard AND history.valid_from <= $3
        ORDER BY valid_from DESC, version DESC LIMIT 1
    ) AS stood";

/// Where the numbers of each shard end.
const ENDS: &str = "
    SELECT coalesce((SELECT max(number) + 1 FROM projections.transaction_history_rows AS rows WHERE rows.shard = wanted.shard), 0)
    FROM UNNEST($1::int[]) WITH ORDINALITY AS wanted (shard, place) ORDER BY place";

/// The newest transactions that name an account, below a number on each shard. A request with the same account on both sides
/// is refused, and in its history once.
const HISTORY: &str = "
    SELECT found.shard, found.number, found.shown
    FROM UNNEST($2::int[], $3::bigint[]) AS below (shard, number)
    CROSS JOIN LATERAL (
        (SELECT * FROM projections.transaction_history_rows AS rows
         WHERE source_account_id = $1 AND rows.shard = below.shard AND rows.number < below.number
           AND NOT hidden AND created_at >= $4 AND ($5::text IS NULL OR type = $5) AND ($6::text IS NULL OR status = $6)
         ORDER BY rows.number DESC LIMIT $7)
        UNION ALL
        (SELECT * FROM projections.transaction_history_rows AS rows
         WHERE destination_account_id = $1 AND rows.shard = below.shard AND rows.number < below.number
           AND NOT hidden AND created_at >= $4 AND ($5::text IS NULL OR type = $5) AND ($6::text IS NULL OR status = $6)
           AND source_account_id <> $1
         ORDER BY rows.number DESC LIMIT $7)
    ) AS found
    ORDER BY found.created_at DESC, found.shard DESC, found.number DESC LIMIT $7";

/// The number of the first transaction on each shard that was asked for at a time or later.
const BEGINS: &str = "
    SELECT coalesce(
        (SELECT number FROM projections.transaction_history_rows AS rows
         WHERE rows.shard = wanted.shard AND created_at >= $2 ORDER BY created_at, number LIMIT 1),
        (SELECT max(number) + 1 FROM projections.transaction_history_rows AS rows WHERE rows.shard = wanted.shard),
        0)
    FROM UNNEST($1::int[]) WITH ORDINALITY AS wanted (shard, place) ORDER BY place";

/// The oldest transactions, from a number on each shard on.
const TRANSACTIONS: &str = "
    SELECT found.shard, found.number, found.shown
    FROM UNNEST($1::int[], $2::bigint[]) AS first (shard, number)
    CROSS JOIN LATERAL (
        SELECT * FROM projections.transaction_history_rows AS rows
        WHERE rows.shard = first.shard AND rows.number >= first.number AND NOT hidden
        ORDER BY rows.number LIMIT $3
    ) AS found
    ORDER BY found.created_at, found.shard, found.number LIMIT $3";

impl Store {
    /// How an account stood at a point in time, one entry per stripe that was there.
    ///
    /// # Errors
    /// When the database does not answer, or has what cannot be; as all that follow.
    pub(super) async fn standings_at(
        &self,
        account: &AccountId,
        shards: &[u32],
        at: Timestamp,
    ) -> Result<Vec<Standing>, Error> {
        let shards: Vec<i32> = shards.iter().map(|shard| number(*shard)).collect();
        let rows = sqlx::query(STANDINGS_AT).bind(account.as_str()).bind(&shards).bind(Micros(at.0));
        let rows = rows.fetch_all(self.pool()).await?;
        rows.iter().map(|row| standing(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)).collect()
    }

    /// The history of an account, newest first.
    pub(super) async fn history(&self, query: &HistoryQuery<'_>, shards: u32) -> Result<TransactionPage, Error> {
        let all = all(shards);
        // Taken before the page: what is written from now on does not get between the pages.
        let below = match query.before {
            Some(before) => places(before, shards),
            None => sqlx::query_scalar(ENDS).bind(&all).fetch_all(self.pool()).await?,
        };
        let found = sqlx::query(HISTORY)
            .bind(query.account.as_str())
            .bind(&all)
            .bind(&below)
            .bind(Micros(query.made_at.0))
            .bind(query.filter.kind.map(Kind::as_str))
            .bind(query.filter.status.map(Status::as_str))
            .bind(one_more(query.limit))
            .fetch_all(self.pool())
            .await?;
        // The next page is below the last of this one.
        page(&found, query.limit, below, |number| number)
    }

    /// All transactions, oldest first: from `since` on, behind `after`.
    pub(super) async fn transactions(
        &self,
        since: Option<Timestamp>,
        after: Option<&Cursor>,
        limit: usize,
        shards: u32,
    ) -> Result<TransactionPage, Error> {
        let all = all(shards);
        let mut first: Vec<i64> = match since {
            Some(since) => sqlx::query_scalar(BEGINS).bind(&all).bind(Micros(since.0)).fetch_all(self.pool()).await?,
            None => vec![0; all.len()],
        };
        if let Some(after) = after {
            first = first.into_iter().zip(places(after, shards)).map(|(begin, place)| begin.max(place)).collect();
        }
        let found = sqlx::query(TRANSACTIONS).bind(&all).bind(&first).bind(one_more(limit));
        let found = found.fetch_all(self.pool()).await?;
        page(&found, limit, first, |number| number + 1)
    }

    /// What became of transactions in a currency, per day from `first` to `last`.
    pub(super) async fn daily(&self, currency: Currency, first: Day, last: Day) -> Result<Daily, Error> {
        let select = format!(
            "SELECT day - {DATE_EPOCH}, type, status, count, sum FROM projections.daily_totals
             WHERE currency = $1 AND day BETWEEN {DATE_EPOCH} + $2 AND {DATE_EPOCH} + $3"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(select)).bind(currency.as_str()).bind(first).bind(last);
        let mut daily = Daily::new();
        for row in rows.fetch_all(self.pool()).await? {
            let (day, kind, status): (Day, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let (count, sum): (i64, Decimal) = (row.try_get(3)?, row.try_get(4)?);
            let total = u64::try_from(count).ok().zip(Money::new(sum)).map(|(count, sum)| Total { count, sum });
            let kind_read = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
            let series = kind_read.zip(status.parse::<Status>().ok());
            let read = series.zip(total).ok_or_else(|| decode(format!("{count} {kind} {status} of {sum}")))?;
            daily.insert((day, read.0), read.1);
        }
        Ok(daily)
    }
}

fn all(shards: u32) -> Vec<i32> {
    (0..shards).map(number).collect()
}

/// One more than fits says whether there is a next page.
fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

fn places(cursor: &Cursor, shards: u32) -> Vec<i64> {
    (0..shards as usize).map(|shard| i64::try_from(cursor.place(shard)).unwrap_or(i64::MAX)).collect()
}

/// A page of found rows (shard, number, shown), of which there may be one more than fit. `go_on` is where a shard goes on
/// behind a number.
fn page(
    found: &[PgRow],
    limit: usize,
    mut places: Vec<i64>,
    go_on: impl Fn(i64) -> i64,
) -> Result<TransactionPage, Error> {
    let mut transactions = Vec::with_capacity(found.len().min(limit));
    for row in found.iter().take(limit) {
        let (shard, number, shown): (i32, i64, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let place = usize::try_from(shard).ok().and_then(|shard| places.get_mut(shard));
        *place.ok_or_else(|| decode(format!("there is no shard {shard}")))? = go_on(number);
        transactions.push(shown_of(shown)?);
    }
    let places = places.into_iter().map(|place| usize::try_from(place).unwrap_or(0));
    let next = (found.len() > limit).then(|| Cursor::new(places.collect()).to_string());
    Ok(TransactionPage { transactions, next })
}
