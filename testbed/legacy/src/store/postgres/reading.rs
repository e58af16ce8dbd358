//! Reads, on connections of their own. Each is one statement, so it sees one state of the database.

use super::super::{self as store, Filter, Kept, Reading, Row, Scope};
use super::{ANSWER_WITHIN, CONNECT_WITHIN, rows};
use crate::shapes::{Account, Executions, FaultEntry, TransactionResult, rfc3339};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _, postgres::PgArguments, postgres::PgRow};
use tokio::runtime::Handle;

/// Connections at most: the database has 100 for everybody.
const CONNECTIONS: u32 = 4;

/// A few connections that read.
pub(super) struct Readers {
    handle: Handle,
    pool: PgPool,
}

impl Readers {
    /// They connect when they are first asked.
    pub(super) fn new(handle: Handle, options: PgConnectOptions) -> Self {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(CONNECT_WITHIN);
        let _inside = handle.enter();
        Self { pool: pool.connect_lazy_with(options), handle: handle.clone() }
    }

    fn ask<T>(&self, asked: impl Future<Output = sqlx::Result<T>>) -> Result<T, store::Error> {
        Ok(super::wait(&self.handle, ANSWER_WITHIN, asked)?)
    }

    fn one<T>(
        &self,
        query: Query<'_, Postgres, PgArguments>,
        read: fn(&PgRow) -> sqlx::Result<T>,
    ) -> Result<Option<T>, store::Error> {
        self.ask(async { query.fetch_optional(&self.pool).await?.as_ref().map(read).transpose() })
    }

    fn all<T>(
        &self,
        query: Query<'_, Postgres, PgArguments>,
        read: fn(&PgRow) -> sqlx::Result<T>,
    ) -> Result<Vec<T>, store::Error> {
        self.ask(async { query.fetch_all(&self.pool).await?.iter().map(read).collect() })
    }
}

impl Reading for Readers {
    fn account(&self, id: &str) -> Result<Option<Account>, store::Error> {
        self.one(sqlx::query(rows::accounts!("WHERE account_id = $1")).bind(rows::escaped(id)), rows::account)
    }

    fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<Account>, store::Error> {
        let asked = rows::accounts!("WHERE account_id > $1 ORDER BY account_id LIMIT $2");
        // Every id is behind the empty text.
        let after = rows::escaped(after.unwrap_or_default());
        self.all(sqlx::query(asked).bind(after).bind(number(limit)), rows::account)
    }

    fn history(&self, account: &str, before: u64, filter: Filter, limit: usize) -> Result<Vec<Row>, store::Error> {
        // Two halves, each along its index. A refused transaction may name one account twice, but stands there once.
        let asked = "
            (SELECT sequence, result::text FROM legacy.transactions
             WHERE source_account_id = $1 AND source_known AND sequence < $2
               AND ($3::text IS NULL OR type = $3) AND ($4::text IS NULL OR status = $4)
             ORDER BY sequence DESC LIMIT $5)
            UNION ALL
            (SELECT sequence, result::text FROM legacy.transactions
             WHERE destination_account_id = $1 AND destination_known AND sequence < $2
               AND ($3::text IS NULL OR type = $3) AND ($4::text IS NULL OR status = $4)
               AND source_account_id <> $1
             ORDER BY sequence DESC LIMIT $5)
            ORDER BY sequence DESC LIMIT $5";
        let asked = sqlx::query(asked)
            .bind(account)
            .bind(rows::number(before))
            .bind(filter.kind.map(|kind| kind.as_str()))
            .bind(filter.outcome.map(|outcome| outcome.as_str()))
            .bind(number(limit));
        self.all(asked, rows::transaction)
    }

    fn transactions(&self, first: u64, since: Option<i64>, limit: usize) -> Result<Vec<Row>, store::Error> {
        // Times never go back along the sequences, so the first one in time is the first one of the list. None is
        // older than 1970.
        let asked = "
            SELECT sequence, result::text FROM legacy.transactions
            WHERE sequence >= $1 AND ($2::timestamptz IS NULL OR sequence >= (
                SELECT sequence FROM legacy.transactions WHERE created_at >= $2::timestamptz
                ORDER BY created_at, sequence LIMIT 1))
            ORDER BY sequence LIMIT $3";
        let since = since.map(|since| rfc3339(since.max(0)));
        self.all(sqlx::query(asked).bind(rows::number(first)).bind(since).bind(number(limit)), rows::transaction)
    }

    fn transaction(&self, sequence: u64) -> Result<Option<TransactionResult>, store::Error> {
        let asked = "SELECT sequence, result::text FROM legacy.transactions WHERE sequence = $1";
        let asked = sqlx::query(asked).bind(rows::number(sequence));
        Ok(self.one(asked, rows::transaction)?.map(|(_, result)| result))
    }

    fn kept(&self, scope: Scope<'_>) -> Result<Option<Kept>, store::Error> {
        self.ask(rows::kept(&self.pool, scope))
    }

    fn tracked(&self, tenant: &str, key: &str) -> Result<Vec<String>, store::Error> {
        let asked = "SELECT account_id FROM legacy.idempotency_keys
                     WHERE tenant = $1 AND idempotency_key = $2 AND transaction_id IS NOT NULL
                     ORDER BY account_id LIMIT 2";
        let read = |row: &PgRow| row.try_get(0).map(rows::unescaped);
        self.all(sqlx::query(asked).bind(tenant).bind(rows::escaped(key)), read)
    }

    fn faults(&self) -> Result<Vec<FaultEntry>, store::Error> {
        let asked =
            "SELECT idempotency_key, kind, account_id, tenant, transaction_id FROM legacy.faults ORDER BY number";
        self.all(sqlx::query(asked), rows::fault)
    }

    fn executions(&self) -> Result<Executions, store::Error> {
        // One row at the least: of no repeated key, if there is none.
        let asked = r#"
            SELECT keys, total, tenant, account_id, idempotency_key, times
            FROM (SELECT count(*) AS keys, coalesce(sum(times), 0)::bigint AS total FROM legacy.executions) AS all_keys
            LEFT JOIN legacy.executions ON times > 1
            ORDER BY tenant COLLATE "C", account_id COLLATE "C", idempotency_key COLLATE "C""#;
        let found = self.all(sqlx::query(asked), rows::executions)?;
        let (keys, executions) = found.first().map_or((0, 0), |(totals, _)| *totals);
        Ok(Executions { repeated: found.into_iter().filter_map(|(_, repeated)| repeated).collect(), keys, executions })
    }

    fn newest(&self) -> Result<Option<TransactionResult>, store::Error> {
        let asked = "SELECT sequence, result::text FROM legacy.transactions ORDER BY sequence DESC LIMIT 1";
        Ok(self.one(sqlx::query(asked), rows::transaction)?.map(|(_, result)| result))
    }
}

/// A limit as the database takes it: clients may ask for a thousand at most.
fn number(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
