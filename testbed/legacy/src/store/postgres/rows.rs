//! Rows of the tables: how they are written and read.
//!
//! Numbers, times and JSON travel as text: nothing of them is lost, and neither side has to know the other's types.

use super::super::{Kept, Row, Scope};
use crate::money::Money;
use crate::request::Content;
use crate::shapes::{Account, AccountStatus, AccountType, FaultEntry, FaultKind, Repeated, TransactionResult, rfc3339};
use serde::de::DeserializeOwned;
use sqlx::postgres::{PgConnection, PgExecutor, PgRow};
use sqlx::{Row as _, error::BoxDynError};
use std::borrow::Cow;

/// A query for accounts that [`account`] reads.
macro_rules! accounts {
    ($which:literal) => {
        concat!(
            "SELECT account_id, owner_id, owner_type, account_type, balance::text, currency, status, \
             min_balance::text, max_balance::text, version, metadata::text, \
             (extract(epoch FROM created_at) * 1000000)::bigint AS created_micros FROM legacy.accounts ",
            $which
        )
    };
}
pub(super) use accounts;

pub(super) fn account(row: &PgRow) -> sqlx::Result<Account> {
    let metadata: Option<String> = row.try_get("metadata")?;
    Ok(Account {
        account_id: row.try_get("account_id")?,
        owner_id: unescaped(row.try_get("owner_id")?),
        owner_type: unescaped(row.try_get("owner_type")?),
        account_type: word(row, "account_type", AccountType::of)?,
        currency: row.try_get("currency")?,
        status: word(row, "status", AccountStatus::of)?,
        min_balance: optional_money(row, "min_balance")?,
        max_balance: optional_money(row, "max_balance")?,
        balance: money(row, "balance")?,
        version: unsigned(row.try_get("version")?)?,
        metadata: metadata.map(|text| json(&text)).transpose()?,
        created_at: row.try_get("created_micros")?,
    })
}

pub(super) async fn put_account(
    connection: &mut PgConnection,
    account: &Account,
    metadata: Option<String>,
) -> sqlx::Result<()> {
    let put = "INSERT INTO legacy.accounts
        (account_id, owner_id, owner_type, account_type, balance, currency, status, min_balance, max_balance, version,
         metadata, created_at)
        VALUES ($1, $2, $3, $4, $5::numeric, $6, $7, $8::numeric, $9::numeric, $10, $11::json, $12::timestamptz)
        ON CONFLICT (account_id) DO UPDATE SET balance = excluded.balance, status = excluded.status,
            min_balance = excluded.min_balance, max_balance = excluded.max_balance, version = excluded.version,
            updated_at = now()";
    let put = sqlx::query(put)
        .bind(&account.account_id)
        .bind(escaped(&account.owner_id))
        .bind(escaped(&account.owner_type))
        .bind(account.account_type.as_str())
        .bind(account.balance.to_string())
        .bind(&account.currency)
        .bind(account.status.as_str())
        .bind(account.min_balance.map(|limit| limit.to_string()))
        .bind(account.max_balance.map(|limit| limit.to_string()))
        .bind(number(account.version))
        .bind(metadata)
        .bind(rfc3339(account.created_at));
    put.execute(connection).await.map(drop)
}

pub(super) fn transaction(row: &PgRow) -> sqlx::Result<Row> {
    let result: String = row.try_get("result")?;
    Ok((unsigned(row.try_get("sequence")?)?, json(&result)?))
}

pub(super) async fn put_transaction(
    connection: &mut PgConnection,
    sequence: u64,
    result: &TransactionResult,
    known: [bool; 2],
    document: String,
) -> sqlx::Result<()> {
    let put = "INSERT INTO legacy.transactions
        (transaction_id, sequence, idempotency_key, type, source_account_id, destination_account_id, amount, currency,
         status, error_code, created_at, completed_at, source_known, destination_known, result)
        VALUES ($1, $2, $3, $4, $5, $6, $7::numeric, $8, $9, $10, $11::timestamptz, $12::timestamptz, $13, $14,
                $15::json)";
    let put = sqlx::query(put)
        .bind(&result.transaction_id)
        .bind(number(sequence))
        .bind(&result.tracking_id)
        .bind(result.kind.as_str())
        .bind(&result.source.account_id)
        .bind(&result.destination.account_id)
        .bind(result.amount.to_string())
        .bind(&result.currency)
        .bind(result.status.as_str())
        .bind(result.error_code.map(|code| code.to_string()))
        .bind(&result.created_at)
        .bind(&result.completed_at)
        .bind(known[0])
        .bind(known[1])
        .bind(document);
    put.execute(connection).await.map(drop)
}

pub(super) async fn kept(executor: impl PgExecutor<'_>, scope: Scope<'_>) -> sqlx::Result<Option<Kept>> {
    let asked = "SELECT content::text, status, body, transaction_id FROM legacy.idempotency_keys
                 WHERE tenant = $1 AND idempotency_key = $2 AND account_id = $3";
    let (key, account) = (escaped(scope.key), escaped(scope.account));
    let row = sqlx::query(asked).bind(scope.tenant).bind(key).bind(account).fetch_optional(executor).await?;
    let Some(row) = row else { return Ok(None) };
    let (content, status): (String, i32) = (row.try_get("content")?, row.try_get("status")?);
    Ok(Some(Kept {
        content: json::<Content>(&content)?,
        status: u16::try_from(status).map_err(unreadable)?,
        body: row.try_get("body")?,
        transaction_id: row.try_get("transaction_id")?,
    }))
}

pub(super) async fn put_kept(
    connection: &mut PgConnection,
    scope: Scope<'_>,
    kept: &Kept,
    content: String,
) -> sqlx::Result<()> {
    let put = "INSERT INTO legacy.idempotency_keys
        (tenant, idempotency_key, account_id, content, status, body, transaction_id)
        VALUES ($1, $2, $3, $4::json, $5, $6, $7)
        ON CONFLICT (tenant, idempotency_key, account_id) DO UPDATE SET content = excluded.content,
            status = excluded.status, body = excluded.body, transaction_id = excluded.transaction_id";
    let put = sqlx::query(put)
        .bind(scope.tenant)
        .bind(escaped(scope.key))
        .bind(escaped(scope.account))
        .bind(content)
        .bind(i32::from(kept.status))
        .bind(&kept.body)
        .bind(&kept.transaction_id);
    put.execute(connection).await.map(drop)
}

pub(super) async fn count_execution(connection: &mut PgConnection, scope: Scope<'_>) -> sqlx::Result<()> {
    let count = "INSERT INTO legacy.executions AS known (tenant, idempotency_key, account_id, times)
        VALUES ($1, $2, $3, 1)
        ON CONFLICT (tenant, idempotency_key, account_id) DO UPDATE SET times = known.times + 1";
    let count = sqlx::query(count).bind(scope.tenant).bind(escaped(scope.key)).bind(escaped(scope.account));
    count.execute(connection).await.map(drop)
}

/// How many keys and executions there are, and a key that was executed more than once, if there is any.
pub(super) fn executions(row: &PgRow) -> sqlx::Result<((u64, u64), Option<Repeated>)> {
    let totals = (unsigned(row.try_get("keys")?)?, unsigned(row.try_get("total")?)?);
    let Some(times) = row.try_get::<Option<i64>, _>("times")? else { return Ok((totals, None)) };
    let repeated = Repeated {
        tenant: row.try_get("tenant")?,
        account: unescaped(row.try_get("account_id")?),
        key: unescaped(row.try_get("idempotency_key")?),
        times: unsigned(times)?,
    };
    Ok((totals, Some(repeated)))
}

pub(super) fn fault(row: &PgRow) -> sqlx::Result<FaultEntry> {
    Ok(FaultEntry {
        key: row.try_get("idempotency_key")?,
        kind: word(row, "kind", FaultKind::of)?,
        account: unescaped(row.try_get("account_id")?),
        tenant: row.try_get("tenant")?,
        transaction_id: row.try_get("transaction_id")?,
    })
}

pub(super) async fn put_fault(connection: &mut PgConnection, entry: &FaultEntry) -> sqlx::Result<()> {
    let put = "INSERT INTO legacy.faults (idempotency_key, kind, account_id, tenant, transaction_id)
               VALUES ($1, $2, $3, $4, $5)";
    let put = sqlx::query(put)
        .bind(&entry.key)
        .bind(entry.kind.as_str())
        .bind(escaped(&entry.account))
        .bind(&entry.tenant)
        .bind(&entry.transaction_id);
    put.execute(connection).await.map(drop)
}

/// A sequence, version or cursor as the database keeps it. There are none that large, but cursors that ask for one.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> sqlx::Result<u64> {
    u64::try_from(number).map_err(unreadable)
}

pub(super) fn money(row: &PgRow, column: &str) -> sqlx::Result<Money> {
    optional_money(row, column)?.ok_or_else(|| unreadable(format!("{column} is missing")))
}

/// Free text without NUL, which PostgreSQL cannot hold (`tables.sql` has the form). Account ids and keys stay as they
/// are, and sort as they did: they have no character that small.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    match text.contains(['\0', '\u{1}']) {
        true => text.replace('\u{1}', "\u{1}1").replace('\0', "\u{1}0").into(),
        false => text.into(),
    }
}

/// The text that was [`escaped`].
pub(super) fn unescaped(text: String) -> String {
    text.replace("\u{1}0", "\0").replace("\u{1}1", "\u{1}")
}

fn optional_money(row: &PgRow, column: &str) -> sqlx::Result<Option<Money>> {
    let text: Option<String> = row.try_get(column)?;
    let read = |text: String| Money::parse_stored(&text).ok_or_else(|| unreadable(format!("{column} is `{text}`")));
    text.map(read).transpose()
}

fn word<T>(row: &PgRow, column: &str, of: impl Fn(&str) -> Option<T>) -> sqlx::Result<T> {
    let text: String = row.try_get(column)?;
    of(&text).ok_or_else(|| unreadable(format!("{column} is `{text}`")))
}

fn json<T: DeserializeOwned>(text: &str) -> sqlx::Result<T> {
    serde_json::from_str(text).map_err(unreadable)
}

fn unreadable(why: impl Into<BoxDynError>) -> sqlx::Error {
    sqlx::Error::Decode(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_escaped_reads_back() {
        for text in ["", "plain", "\0", "\u{1}", "\u{1}0", "\u{1}1", "\0\u{1}\u{1}\0", "a\0b\u{1}1\0", "0\u{1}"] {
            let escaped = escaped(text);
            assert!(!escaped.contains('\0'), "{text:?}");
            assert_eq!(unescaped(escaped.into_owned()), text, "{text:?}");
        }
        assert!(matches!(escaped("plain"), Cow::Borrowed("plain")));
    }
}
