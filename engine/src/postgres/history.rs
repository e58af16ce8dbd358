//! The projection `history`: transactions as clients are shown them, and what became of them per day. Writing it; what is
//! asked of it is in [`super::queries`].

use super::generations::{Generation, Shape};
use super::store::{Error, decode, number};
use super::time::{DATE_EPOCH, Micros};
use crate::analytics::{Day, day_at};
use crate::view::render;
use crate::view::rows::{Completed, Failed, TransactionRow};
use engine_domain::event::TransactionRequested;
use engine_domain::{Event, Money, Outcome, Position, TransactionId};
use rust_decimal::Decimal;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;
use wire::billing::TransactionResult;

/// Its tables and views.
pub const SHAPE: Shape = Shape {
    projection: "history",
    tables: &[("transaction_history", "shard, number"), ("daily_totals", "currency, day, type, status, shard")],
    views: &[
        (
            "transaction_history",
            "SELECT transaction_id, idempotency_key, type, source_account_id, destination_account_id, amount, currency, status,
                    created_at, completed_at, tenant, deciding_account, shard, number
             FROM {schema}.transaction_history WHERE NOT hidden",
        ),
        ("transaction_history_rows", "SELECT * FROM {schema}.transaction_history"),
        (
            "daily_totals",
            "SELECT currency, day, type, status, sum(count)::bigint AS count, sum(sum) AS sum
             FROM {schema}.daily_totals GROUP BY currency, day, type, status HAVING sum(count) > 0",
        ),
    ],
    rules: &[(
        "days whose totals are not those of their transactions",
        "SELECT count(*) FROM (
             SELECT currency, (completed_at AT TIME ZONE 'UTC')::date AS day, type, status, shard, count(*) AS count,
                    sum(amount) AS sum
             FROM {schema}.transaction_history WHERE NOT hidden AND completed_at IS NOT NULL AND currency <> ''
             GROUP BY 1, 2, 3, 4, 5
         ) AS counted FULL JOIN (SELECT * FROM {schema}.daily_totals WHERE count > 0) AS kept
             USING (currency, day, type, status, shard)
         WHERE (counted.count, counted.sum) IS DISTINCT FROM (kept.count, kept.sum)",
    )],
};

/// A transaction as the table has it. What other columns say is taken from what is shown.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    tenant: String,
    deciding_account: String,
    shown: TransactionResult,
    hidden: bool,
    instead_of: Option<i64>,
}

/// What is counted apart: currency, day, type and status.
type Place = (String, Day, String, String);

/// What a batch of outcomes makes of transactions. It does what [`crate::view`] does with them, on rows that may be in the
/// database.
#[derive(Debug, Default)]
struct Changes {
    /// By number: those that were there when needed, and all that are new.
    rows: BTreeMap<i64, Row>,
    touched: BTreeSet<i64>,
    /// The one that each id stands for.
    by_id: BTreeMap<Uuid, i64>,
    /// The number of the next request.
    next: i64,
    /// How many more or fewer, and what they add up to.
    counted: BTreeMap<Place, (i64, Money)>,
}

/// Applies outcomes that follow on what was applied before; part of a transaction.
///
/// # Errors
/// When the database refuses, or has what no projector writes.
pub(super) async fn apply(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    outcomes: &[Outcome],
) -> Result<(), Error> {
    let mut changes = before(transaction, generation, shard, outcomes).await?;
    for outcome in outcomes {
        changes.take(outcome)?;
    }
    hide(transaction, generation, shard, &changes).await?;
    write(transaction, generation, shard, &changes).await?;
    count(transaction, generation, shard, &changes).await
}

/// The transactions that an event is about.
fn touched_by(event: &Event) -> Option<TransactionId> {
    match event {
        Event::AccountCreated(created) => created.key.as_ref().map(|key| key.transaction),
        Event::TransactionRequested(requested) => Some(requested.transaction),
        Event::TransactionCompleted(completed) => Some(completed.transaction),
        Event::TransactionFailed(failed) => Some(failed.transaction),
        _ => None,
    }
}

/// The rows that outcomes are about, and those that they took the key from.
async fn before(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    outcomes: &[Outcome],
) -> Result<Changes, Error> {
    let events = outcomes.iter().flat_map(|outcome| &outcome.events);
    let ids: BTreeSet<Uuid> = events.filter_map(|event| Some(touched_by(event)?.0)).collect();
    let ids = Vec::from_iter(ids);
    let mut changes = Changes::default();
    let table = format!("{}.transaction_history", generation.schema());
    let next = format!("SELECT coalesce(max(number) + 1, 0) FROM {table} WHERE shard = $1");
    changes.next = sqlx::query_scalar(AssertSqlSafe(next)).bind(number(shard)).fetch_one(&mut *transaction).await?;
    let columns = format!("SELECT number, tenant, deciding_account, hidden, instead_of, shown FROM {table}");
    let by_id = format!("{columns} WHERE transaction_id = ANY($2) AND NOT hidden AND shard = $1");
    let rows = sqlx::query(AssertSqlSafe(by_id)).bind(number(shard)).bind(&ids).fetch_all(&mut *transaction).await?;
    for row in &rows {
        let (number, row) = (row.try_get(0)?, read(row)?);
        changes.by_id.insert(id_of(&row.shown)?, number);
        changes.rows.insert(number, row);
    }
    let taken_from: Vec<i64> = changes.rows.values().filter_map(|row| row.instead_of).collect();
    if !taken_from.is_empty() {
        let by_number = format!("{columns} WHERE shard = $1 AND number = ANY($2)");
        let rows = sqlx::query(AssertSqlSafe(by_number)).bind(number(shard)).bind(&taken_from);
        for row in rows.fetch_all(&mut *transaction).await? {
            changes.rows.insert(row.try_get(0)?, read(&row)?);
        }
    }
    Ok(changes)
}

fn read(row: &sqlx::postgres::PgRow) -> Result<Row, Error> {
    let shown: &str = row.try_get(5)?;
    Ok(Row {
        tenant: restored(row.try_get(1)?),
        deciding_account: restored(row.try_get(2)?),
        hidden: row.try_get(3)?,
        instead_of: row.try_get(4)?,
        shown: shown_of(shown)?,
    })
}

/// What clients are shown, as it is kept.
pub(super) fn shown_of(text: &str) -> Result<TransactionResult, Error> {
    serde_json::from_str(text).map_err(|error| decode(format!("`{text}` is no transaction: {error}")))
}

fn id_of(shown: &TransactionResult) -> Result<Uuid, Error> {
    Uuid::try_parse(&shown.transaction_id).map_err(|_| decode(format!("`{}` is no id", shown.transaction_id)))
}

impl Changes {
    fn take(&mut self, outcome: &Outcome) -> Result<(), Error> {
        let position = Position { shard: outcome.shard, offset: outcome.source_offset };
        for event in &outcome.events {
            match event {
                Event::AccountCreated(created) => {
                    if let Some(key) = &created.key {
                        self.forget(key.transaction)?;
                    }
                }
                Event::TransactionRequested(requested) => {
                    let correlation_id = outcome.correlation_id.clone();
                    let row = TransactionRow::of((**requested).clone(), correlation_id, outcome.at, position);
                    self.request(requested, render::requested(&row))?;
                }
                Event::TransactionCompleted(completed) => {
                    let amount = completed.amount.money();
                    let number = self.change(completed.transaction, |row| {
                        row.shown.amount = render::money(amount);
                        render::complete(&mut row.shown, &Completed::of((**completed).clone()));
                    })?;
                    self.count(number, 1)?;
                }
                Event::TransactionFailed(failed) if failed.kept => {
                    let number = self.change(failed.transaction, |row| {
                        render::fail(&mut row.shown, &Failed::of(failed.clone()));
                    })?;
                    self.count(number, 1)?;
                }
                Event::TransactionFailed(failed) => self.undo_request(failed.transaction)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn request(&mut self, requested: &TransactionRequested, shown: TransactionResult) -> Result<(), Error> {
        let instead_of = self.forget(requested.transaction)?;
        let number = self.next;
        self.next += 1;
        self.by_id.insert(requested.transaction.0, number);
        let (tenant, deciding_account) = (requested.tenant.to_string(), requested.deciding_account.to_string());
        self.rows.insert(number, Row { tenant, deciding_account, shown, hidden: false, instead_of });
        self.touched.insert(number);
        Ok(())
    }

    /// The key stands for something else now.
    fn forget(&mut self, id: TransactionId) -> Result<Option<i64>, Error> {
        let Some(number) = self.by_id.remove(&id.0) else { return Ok(None) };
        self.count(number, -1)?;
        self.show(number, false)?;
        Ok(Some(number))
    }

    /// Nothing is kept of the last request under this id: the key stands for what it stood for before.
    fn undo_request(&mut self, id: TransactionId) -> Result<(), Error> {
        let number = self.by_id.remove(&id.0).ok_or_else(|| missing(id))?;
        self.show(number, false)?;
        if let Some(earlier) = self.row(number)?.instead_of.take() {
            self.by_id.insert(id.0, earlier);
            self.show(earlier, true)?;
            self.count(earlier, 1)?;
        }
        Ok(())
    }

    fn change(&mut self, id: TransactionId, change: impl FnOnce(&mut Row)) -> Result<i64, Error> {
        let number = *self.by_id.get(&id.0).ok_or_else(|| missing(id))?;
        change(self.row(number)?);
        Ok(number)
    }

    fn show(&mut self, number: i64, shown: bool) -> Result<(), Error> {
        self.row(number)?.hidden = !shown;
        Ok(())
    }

    fn row(&mut self, number: i64) -> Result<&mut Row, Error> {
        self.touched.insert(number);
        self.rows.get_mut(&number).ok_or_else(|| decode(format!("the transaction number {number} is not there")))
    }

    /// Counts a transaction, if it is final and names a currency.
    fn count(&mut self, number: i64, times: i64) -> Result<(), Error> {
        let shown = &self.row(number)?.shown;
        let (Some(at), false) = (shown.completed_at, shown.currency.is_empty()) else { return Ok(()) };
        let place = (shown.currency.clone(), day_at(at.0), shown.kind.clone(), shown.status.clone());
        let amount = Money::new(shown.amount.0).ok_or_else(|| decode(format!("{} is no amount", shown.amount.0)))?;
        let (count, sum) = self.counted.entry(place).or_default();
        *count += times;
        *sum = if times < 0 { sum.minus(amount) } else { sum.plus(amount) };
        Ok(())
    }
}

fn missing(id: TransactionId) -> Error {
    decode(format!("the transaction {id} is not there"))
}

/// First of all, what is hidden now: one id must not stand for two rows.
async fn hide(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    changes: &Changes,
) -> Result<(), Error> {
    let hidden: Vec<i64> = changes.touched.iter().copied().filter(|number| changes.rows[number].hidden).collect();
    if hidden.is_empty() {
        return Ok(());
    }
    let schema = generation.schema();
    let hide = format!("UPDATE {schema}.transaction_history SET hidden = true WHERE shard = $1 AND number = ANY($2)");
    sqlx::query(AssertSqlSafe(hide)).bind(number(shard)).bind(&hidden).execute(&mut *transaction).await?;
    Ok(())
}

async fn write(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    changes: &Changes,
) -> Result<(), Error> {
    let rows: Vec<(i64, &Row)> = changes.touched.iter().map(|number| (*number, &changes.rows[number])).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let statement = format!(
        "INSERT INTO {}.transaction_history AS kept
             (shard, number, transaction_id, tenant, deciding_account, idempotency_key, type, source_account_id,
              destination_account_id, amount, currency, status, created_at, completed_at, hidden, instead_of, shown)
         SELECT $1, * FROM UNNEST($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
             $9::text[], $10::numeric[], $11::text[], $12::text[], $13::timestamptz[], $14::timestamptz[], $15::bool[],
             $16::bigint[], $17::text[])
         ON CONFLICT (shard, number) DO UPDATE
         SET amount = excluded.amount, status = excluded.status, completed_at = excluded.completed_at,
             hidden = excluded.hidden, instead_of = excluded.instead_of, shown = excluded.shown",
        generation.schema()
    );
    let ids = rows.iter().map(|(_, row)| id_of(&row.shown)).collect::<Result<Vec<Uuid>, Error>>()?;
    let shown = rows.iter().map(|(_, row)| serde_json::to_string(&row.shown));
    let shown = shown.collect::<Result<Vec<String>, _>>().map_err(|error| decode(error.to_string()))?;
    let texts = |text: fn(&Row) -> &str| rows.iter().map(|(_, row)| text(row)).collect::<Vec<&str>>();
    sqlx::query(AssertSqlSafe(statement))
        .bind(number(shard))
        .bind(Vec::from_iter(rows.iter().map(|(number, _)| *number)))
        .bind(ids)
        .bind(Vec::from_iter(rows.iter().map(|(_, row)| storable(&row.tenant))))
        .bind(Vec::from_iter(rows.iter().map(|(_, row)| storable(&row.deciding_account))))
        .bind(texts(|row| &row.shown.tracking_id))
        .bind(texts(|row| &row.shown.kind))
        .bind(texts(|row| &row.shown.source.account_id))
        .bind(texts(|row| &row.shown.destination.account_id))
        .bind(Vec::<Decimal>::from_iter(rows.iter().map(|(_, row)| row.shown.amount.0)))
        .bind(texts(|row| &row.shown.currency))
        .bind(texts(|row| &row.shown.status))
        .bind(Vec::from_iter(rows.iter().map(|(_, row)| Micros(row.shown.created_at.0))))
        .bind(Vec::from_iter(rows.iter().map(|(_, row)| row.shown.completed_at.map(|at| Micros(at.0)))))
        .bind(Vec::from_iter(rows.iter().map(|(_, row)| row.hidden)))
        .bind(Vec::from_iter(rows.iter().map(|(_, row)| row.instead_of)))
        .bind(shown)
        .execute(&mut *transaction)
        .await?;
    Ok(())
}

async fn count(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    changes: &Changes,
) -> Result<(), Error> {
    if changes.counted.is_empty() {
        return Ok(());
    }
    let mut columns: (Vec<&str>, Vec<Day>, Vec<&str>, Vec<&str>, Vec<i64>, Vec<Decimal>) = Default::default();
    for ((currency, day, kind, status), (count, sum)) in &changes.counted {
        columns.0.push(currency);
        columns.1.push(*day);
        columns.2.push(kind);
        columns.3.push(status);
        columns.4.push(*count);
        columns.5.push(sum.decimal());
    }
    // What is taken off again was counted before, so that it is there.
    let statement = format!(
        "WITH counted AS (
             SELECT currency, {DATE_EPOCH} + day AS day, type, status, count, sum
             FROM UNNEST($2::text[], $3::int[], $4::text[], $5::text[], $6::bigint[], $7::numeric[])
             AS counted (currency, day, type, status, count, sum)
         ), known AS (
             UPDATE {schema}.daily_totals AS kept
             SET count = kept.count + counted.count, sum = kept.sum + counted.sum FROM counted
             WHERE (kept.currency, kept.day, kept.type, kept.status, kept.shard)
                 = (counted.currency, counted.day, counted.type, counted.status, $1)
             RETURNING kept.currency, kept.day, kept.type, kept.status
         )
         INSERT INTO {schema}.daily_totals (currency, day, type, status, shard, count, sum)
         SELECT currency, day, type, status, $1, count, sum FROM counted
         WHERE (currency, day, type, status) NOT IN (SELECT currency, day, type, status FROM known)",
        schema = generation.schema()
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(number(shard))
        .bind(columns.0)
        .bind(columns.1)
        .bind(columns.2)
        .bind(columns.3)
        .bind(columns.4)
        .bind(columns.5)
        .execute(&mut *transaction)
        .await?;
    Ok(())
}

/// Text as the database takes it: it knows no zero bytes.
fn storable(text: &str) -> String {
    text.replace('\\', r"\\").replace('\0', r"\0")
}

/// The text that was made storable.
fn restored(text: &str) -> String {
    let mut restored = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        restored.push(match character {
            '\\' => {
                if characters.next() == Some('0') {
                    '\0'
                } else {
                    '\\'
                }
            }
            other => other,
        });
    }
    restored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_can_be_stored_and_comes_back() {
        for text in ["", "plain", "\0", "\\0", "a\\\0\\", "\\\\0", "ä\u{1}"] {
            assert!(!storable(text).contains('\0'));
            assert_eq!(restored(&storable(text)), text);
        }
        assert_ne!(storable("\0"), storable("\\0"));
    }
}
