//! What is asked of the projections: of the views that show the live generation of each.

use super::balances::standing;
use super::history::shown_of;
use super::store::{Error, Store, decode, number};
use super::time::{FIRST_DAY, Micros};
use crate::analytics::{Daily, Day, Total};
use crate::view::read_model::{HistoryQuery, Projection, Standing};
use crate::view::{Cursor, Status};
use engine_domain::{AccountId, Currency, Kind, Money, Timestamp};
use rust_decimal::Decimal;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row, ValueRef};
use wire::billing::TransactionPage;

/// Where the columns of what is found begin.
const FOUND: usize = 2;

/// A query whose every row says first what the answer is worth: whether the live build includes what it has to, and whether it
/// leaves something out. `found` has its columns, and is joined to that so that there is a row even if nothing is found.
///
/// All of it is one statement, so of one snapshot, which is taken when the views are held already: a build that goes live in
/// between waits, and what is said of the live build is said of the one that was read.
/// That holds as long as each statement has a snapshot of its own: the isolation is READ COMMITTED.
macro_rules! answer {
    ($($query:literal),*) => {
        concat!(
            "WITH state AS MATERIALIZED (
                 SELECT NOT EXISTS (
                            SELECT FROM UNNEST($3::int[], $4::bigint[]) AS wanted (shard, next)
                            WHERE wanted.next > coalesce((
                                SELECT journal_next FROM projections.checkpoint
                                WHERE checkpoint.projection = generation.projection
                                  AND checkpoint.generation = generation.number AND checkpoint.shard = wanted.shard
                            ), 0)
                        ) AS includes,
                        EXISTS (
                            SELECT FROM projections.unverified
                            WHERE unverified.projection = generation.projection
                              AND unverified.generation = generation.number
                              AND ($2::text IS NULL OR account_id IN ($2, ''))
                        ) AS leaves_out
                 FROM projections.generation WHERE projection = $1 AND live AND ledger = $5
             )",
            $($query),*
        )
    };
}

/// How an account stood at a point in time, one entry per stripe that was there.
const STANDINGS_AT: &str = answer!(
    "SELECT includes, leaves_out, found.balance, found.reserved, found.version
     FROM state LEFT JOIN (
         UNNEST($3::int[]) AS wanted (shard)
         CROSS JOIN LATERAL (
             SELECT balance, reserved, version FROM projections.balance_history_rows AS history
             WHERE history.account_id = $2 AND history.shard = wanted.shard AND history.valid_from <= $6
             ORDER BY valid_from DESC, version DESC LIMIT 1
         ) AS found
     ) ON true"
);

/// Whether any account stands otherwise than after its newest version on each of its shards. `OFFSET 0` keeps the planner from
/// joining with the sums of all accounts, which it would make first.
const NOT_CURRENT: &str = "
    SELECT EXISTS (
        SELECT FROM (
            SELECT account_id, sum(balance) AS balance, sum(reserved) AS reserved, sum(version) - count(*) + 1 AS version
            FROM UNNEST($1::text[], $2::int[]) AS wanted (account_id, shard)
            CROSS JOIN LATERAL (
                SELECT balance, reserved, version FROM projections.balance_history_rows AS history
                WHERE history.account_id = wanted.account_id AND history.shard = wanted.shard
                ORDER BY version DESC LIMIT 1
            ) AS newest
            GROUP BY account_id
        ) AS last
        LEFT JOIN LATERAL (
            SELECT * FROM projections.account_balance AS now WHERE now.account_id = last.account_id OFFSET 0
        ) AS now ON true
        WHERE (last.balance, last.reserved, last.version) IS DISTINCT FROM (now.balance, now.reserved, now.version)
    )";

/// The newest transactions that name an account, below a number on each shard; with a row too many also where the numbers of
/// each shard end. A request with the same account on both sides is refused, and in its history once.
const HISTORY: &str = answer!(
    ", found AS (
         SELECT found.shard, found.number, found.created_at, found.shown
         FROM UNNEST($3::int[], $6::bigint[]) AS below (shard, number)
         CROSS JOIN LATERAL (
             (SELECT * FROM projections.transaction_history_rows AS rows
              WHERE source_account_id = $2 AND rows.shard = below.shard AND rows.number < below.number
                AND NOT hidden AND created_at >= $7 AND ($8::text IS NULL OR type = $8) AND ($9::text IS NULL OR status = $9)
              ORDER BY rows.number DESC LIMIT $10)
             UNION ALL
             (SELECT * FROM projections.transaction_history_rows AS rows
              WHERE destination_account_id = $2 AND rows.shard = below.shard AND rows.number < below.number
                AND NOT hidden AND created_at >= $7 AND ($8::text IS NULL OR type = $8) AND ($9::text IS NULL OR status = $9)
                AND source_account_id <> $2
              ORDER BY rows.number DESC LIMIT $10)
         ) AS found
         ORDER BY found.created_at DESC, found.shard DESC, found.number DESC LIMIT $10
     )
     SELECT includes, leaves_out, found.shard, found.number, found.shown,
            CASE WHEN (SELECT count(*) FROM found) = $10 THEN (
                SELECT array_agg(coalesce((
                    SELECT max(number) + 1 FROM projections.transaction_history_rows AS rows WHERE rows.shard = wanted.shard
                ), 0) ORDER BY place)
                FROM UNNEST($3::int[]) WITH ORDINALITY AS wanted (shard, place)
            ) END
     FROM state LEFT JOIN found ON true
     ORDER BY found.created_at DESC, found.shard DESC, found.number DESC"
);

/// The oldest transactions, from a number on each shard on, and from a time on; and the number at which that is on each shard.
const TRANSACTIONS: &str = answer!(
    ", first AS MATERIALIZED (
         SELECT place, shard, greatest(after, CASE WHEN $7::timestamptz IS NULL THEN 0 ELSE coalesce(
             (SELECT number FROM projections.transaction_history_rows AS rows
              WHERE rows.shard = wanted.shard AND created_at >= $7 ORDER BY created_at, number LIMIT 1),
             (SELECT max(number) + 1 FROM projections.transaction_history_rows AS rows WHERE rows.shard = wanted.shard),
             0) END) AS number
         FROM UNNEST($3::int[], $6::bigint[]) WITH ORDINALITY AS wanted (shard, after, place)
     ), found AS (
         SELECT found.shard, found.number, found.created_at, found.shown
         FROM first CROSS JOIN LATERAL (
             SELECT * FROM projections.transaction_history_rows AS rows
             WHERE rows.shard = first.shard AND rows.number >= first.number AND NOT hidden
             ORDER BY rows.number LIMIT $8
         ) AS found
         ORDER BY found.created_at, found.shard, found.number LIMIT $8
     )
     SELECT includes, leaves_out, found.shard, found.number, found.shown,
            (SELECT array_agg(number ORDER BY place) FROM first)
     FROM state LEFT JOIN found ON true
     ORDER BY found.created_at, found.shard, found.number"
);

/// What became of transactions in a currency, per day; days are counted as by [`crate::analytics::Day`].
const DAILY: &str = answer!(
    "SELECT includes, leaves_out, day - date '1970-01-01', type, status, count, sum
     FROM state LEFT JOIN projections.daily_totals
     ON currency = $6 AND day BETWEEN date '1970-01-01' + $7 AND date '1970-01-01' + $8"
);

/// What a question is about, and what has to be included in the answer.
pub(super) struct About<'a> {
    pub(super) projection: Projection,
    /// What the projection has to be made from, whatever database answers.
    pub(super) ledger: &'a str,
    /// The account; of all if there is none.
    pub(super) account: Option<&'a AccountId>,
    pub(super) shards: Vec<i32>,
    /// Up to where the journal of each of these shards is known to have been applied.
    pub(super) applied: Vec<i64>,
}

impl<'a> About<'a> {
    /// A question as `answer!` makes it; its own values follow.
    fn ask(&'a self, question: &'static str) -> Query<'a, Postgres, PgArguments> {
        let account = self.account.map(AccountId::as_str);
        let asked = sqlx::query(question).bind(self.projection.as_str()).bind(account);
        asked.bind(&self.shards).bind(&self.applied).bind(self.ledger)
    }
}

impl Store {
    /// The rows that are found, if the answer is worth something.
    async fn answer(&self, about: &About<'_>, asked: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, Error> {
        let mut connection = self.lend().await?;
        let rows = asked.fetch_all(&mut *connection).await;
        // A refusal, such as for lack of time, is an answer too.
        if matches!(rows, Ok(_) | Err(sqlx::Error::Database(_))) {
            connection.give_back();
        }
        let mut rows = rows?;
        let no_build = || Error::NoBuild { projection: about.projection.as_str(), ledger: about.ledger.to_owned() };
        let state = rows.first().ok_or_else(no_build)?;
        if !state.try_get::<bool, _>("includes")? {
            return Err(Error::KnowsLess(about.projection.as_str()));
        }
        if state.try_get::<bool, _>("leaves_out")? {
            return Err(Error::LeavesOut(about.projection.as_str()));
        }
        let is_found = |row: &PgRow| Ok::<bool, Error>(!row.try_get_raw(FOUND)?.is_null());
        if !is_found(state)? {
            rows.clear();
        }
        Ok(rows)
    }

    /// How an account stood at a point in time, one entry per stripe that was there.
    ///
    /// # Errors
    /// When the database does not answer, includes too little, or has what cannot be; as all that follow.
    pub(super) async fn standings_at(&self, about: &About<'_>, at: Timestamp) -> Result<Vec<Standing>, Error> {
        let rows = self.answer(about, about.ask(STANDINGS_AT).bind(Micros(at.0))).await?;
        let read = |row: &PgRow| standing(row.try_get(FOUND)?, row.try_get(FOUND + 1)?, row.try_get(FOUND + 2)?);
        rows.iter().map(read).collect()
    }

    /// Whether each of these accounts, with a shard that it is on, has the balance that it had last.
    pub(super) async fn is_current(&self, accounts: &[(AccountId, u32)]) -> Result<bool, Error> {
        let (ids, shards): (Vec<&str>, Vec<i32>) =
            accounts.iter().map(|(account, shard)| (account.as_str(), number(*shard))).unzip();
        let mut connection = self.lend().await?;
        let asked = sqlx::query_scalar::<_, bool>(NOT_CURRENT).bind(&ids).bind(&shards);
        let not_current = asked.fetch_one(&mut *connection).await?;
        connection.give_back();
        Ok(!not_current)
    }

    /// The history of an account, newest first.
    pub(super) async fn history(&self, about: &About<'_>, query: &HistoryQuery<'_>) -> Result<TransactionPage, Error> {
        let before = query.before.map(|before| places(before, about.shards.len()));
        // All of them: what is written later does not get between the pages, because the next one begins where they end now.
        let below = before.clone().unwrap_or_else(|| vec![i64::MAX; about.shards.len()]);
        let asked = about
            .ask(HISTORY)
            .bind(&below)
            .bind(Micros(query.made_at.0))
            .bind(query.filter.kind.map(Kind::as_str))
            .bind(query.filter.status.map(Status::as_str))
            .bind(one_more(query.limit));
        let found = self.answer(about, asked).await?;
        // The next page is below the last of this one.
        page(&found, query.limit, before, |number| number)
    }

    /// All transactions, oldest first: from `since` on, behind `after`.
    pub(super) async fn transactions(
        &self,
        about: &About<'_>,
        since: Option<Timestamp>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<TransactionPage, Error> {
        let behind = after.map_or_else(|| vec![0; about.shards.len()], |after| places(after, about.shards.len()));
        let since = since.map(|since| Micros(since.0));
        let asked = about.ask(TRANSACTIONS).bind(&behind).bind(since).bind(one_more(limit));
        let found = self.answer(about, asked).await?;
        page(&found, limit, None, |number| number + 1)
    }

    /// What became of transactions in a currency, per day from `first` to `last`.
    pub(super) async fn daily(
        &self,
        about: &About<'_>,
        currency: Currency,
        first: Day,
        last: Day,
    ) -> Result<Daily, Error> {
        let asked = about.ask(DAILY).bind(currency.as_str()).bind(first.max(FIRST_DAY)).bind(last.max(FIRST_DAY));
        let mut daily = Daily::new();
        for row in self.answer(about, asked).await? {
            let (day, kind, status): (Day, &str, &str) =
                (row.try_get(FOUND)?, row.try_get(FOUND + 1)?, row.try_get(FOUND + 2)?);
            let (count, sum): (i64, Decimal) = (row.try_get(FOUND + 3)?, row.try_get(FOUND + 4)?);
            let total = u64::try_from(count).ok().zip(Money::new(sum)).map(|(count, sum)| Total { count, sum });
            let kind_read = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
            let series = kind_read.zip(status.parse::<Status>().ok());
            let read = series.zip(total).ok_or_else(|| decode(format!("{count} {kind} {status} of {sum}")))?;
            daily.insert((day, read.0), read.1);
        }
        Ok(daily)
    }
}

/// One more than fits says whether there is a next page.
fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

fn places(cursor: &Cursor, shards: usize) -> Vec<i64> {
    (0..shards).map(|shard| i64::try_from(cursor.place(shard)).unwrap_or(i64::MAX)).collect()
}

/// A page of found rows (shard, number, shown, places), of which there may be one more than fit. The next one begins at the
/// places where this one did, those that are given or found; `go_on` is where a shard goes on behind a number.
fn page(
    found: &[PgRow],
    limit: usize,
    given: Option<Vec<i64>>,
    go_on: impl Fn(i64) -> i64,
) -> Result<TransactionPage, Error> {
    let has_next = found.len() > limit;
    let mut places = match (given, found.first()) {
        (None, Some(row)) if has_next => row.try_get(FOUND + 3)?,
        (given, _) => given.unwrap_or_default(),
    };
    let mut transactions = Vec::with_capacity(found.len().min(limit));
    for row in found.iter().take(limit) {
        if has_next {
            let (shard, number): (i32, i64) = (row.try_get(FOUND)?, row.try_get(FOUND + 1)?);
            let place = usize::try_from(shard).ok().and_then(|shard| places.get_mut(shard));
            *place.ok_or_else(|| decode(format!("there is no shard {shard}")))? = go_on(number);
        }
        transactions.push(shown_of(row.try_get(FOUND + 2)?)?);
    }
    let places = places.into_iter().map(|place| usize::try_from(place).unwrap_or(0));
    let next = has_next.then(|| Cursor::new(places.collect()).to_string());
    Ok(TransactionPage { transactions, next })
}
