//! Accounts about which a projection cannot be asked, because an outcome that names them was left out.

use super::generations::Generation;
use super::store::{Error, Store, number, offset};
use crate::view::read_model::Projection;
use engine_domain::AccountId;
use serde_json::json;
use sqlx::PgConnection;
use std::collections::BTreeSet;
use wire::projection::ProjectionDifference;

/// Notes the accounts that an outcome names, in the transaction that goes past it; says whether any of them was not noted
/// before.
pub(super) async fn note(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    journal_offset: u64,
    accounts: &BTreeSet<AccountId>,
    reason: &Error,
) -> Result<bool, Error> {
    let mut ids: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
    if ids.is_empty() {
        ids.push("");
    }
    let note = "INSERT INTO projections.unverified (projection, generation, shard, account_id, journal_offset, reason)
                SELECT $1, $2, $3, account_id, $4, $5 FROM UNNEST($6::text[]) AS named (account_id)
                ON CONFLICT DO NOTHING";
    let noted = sqlx::query(note)
        .bind(generation.projection)
        .bind(generation.number)
        .bind(number(shard))
        .bind(offset(journal_offset))
        .bind(reason.to_string().replace('\0', "?"))
        .bind(&ids)
        .execute(&mut *transaction)
        .await?;
    Ok(noted.rows_affected() > 0)
}

/// How many accounts are noted in a build.
pub(super) async fn count(connection: &mut PgConnection, generation: &Generation) -> Result<u64, Error> {
    let count = "SELECT count(*) FROM projections.unverified WHERE projection = $1 AND generation = $2";
    let count: i64 = sqlx::query_scalar(count)
        .bind(generation.projection)
        .bind(generation.number)
        .fetch_one(&mut *connection)
        .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// How many accounts are noted in a build because of what stands before these offsets of the shards' journals.
pub(super) async fn count_before(
    connection: &mut PgConnection,
    generation: &Generation,
    nexts: &[u64],
) -> Result<u64, Error> {
    let count = "SELECT count(*) FROM projections.unverified
                 JOIN UNNEST($3::bigint[]) WITH ORDINALITY AS ends (next, number) ON shard = number - 1
                 WHERE projection = $1 AND generation = $2 AND journal_offset < next";
    let nexts: Vec<i64> = nexts.iter().copied().map(offset).collect();
    let count = sqlx::query_scalar(count).bind(generation.projection).bind(generation.number).bind(nexts);
    let count: i64 = count.fetch_one(&mut *connection).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The accounts that are noted in a build, and why, as a verification shows them: in a whole build there would be none.
pub(super) async fn accounts(
    connection: &mut PgConnection,
    generation: &Generation,
) -> Result<Vec<ProjectionDifference>, Error> {
    let select = "SELECT concat_ws(', ', account_id, shard), journal_offset, reason FROM projections.unverified
                  WHERE projection = $1 AND generation = $2 ORDER BY shard, account_id";
    let noted = sqlx::query_as(select).bind(generation.projection).bind(generation.number);
    let noted: Vec<(String, i64, String)> = noted.fetch_all(&mut *connection).await?;
    let shown = |(row, journal_offset, reason): (String, i64, String)| ProjectionDifference {
        table: "unverified".to_owned(),
        row,
        projection: Some(json!({ "journal_offset": journal_offset, "reason": reason })),
        log: None,
    };
    Ok(noted.into_iter().map(shown).collect())
}

/// The outcomes of a shard that are left out of a build: where they stand in the journal, and why.
pub(super) async fn left_out(store: &Store, generation: &Generation, shard: u32) -> Result<Vec<(u64, String)>, Error> {
    let select = "SELECT DISTINCT journal_offset, reason FROM projections.unverified
                  WHERE projection = $1 AND generation = $2 AND shard = $3";
    let rows = sqlx::query_as(select).bind(generation.projection).bind(generation.number).bind(number(shard));
    let mut connection = store.lend().await?;
    let rows: Vec<(i64, String)> = rows.fetch_all(&mut *connection).await?;
    connection.give_back();
    Ok(rows.into_iter().map(|(offset, reason)| (u64::try_from(offset).unwrap_or(0), reason)).collect())
}

/// How many rows of the live build of a projection are known to be wrong, by the last verification and by what was left out.
pub(super) async fn known_wrong(connection: &mut PgConnection, projection: &str) -> Result<u64, Error> {
    let wrong = "SELECT mismatched_rows + (
                     SELECT count(*) FROM projections.unverified
                     WHERE unverified.projection = generation.projection AND unverified.generation = generation.number
                 ) FROM projections.generation WHERE projection = $1 AND live";
    let wrong: i64 = sqlx::query_scalar(wrong).bind(projection).fetch_one(connection).await?;
    Ok(u64::try_from(wrong).unwrap_or(0))
}

impl Store {
    /// See [`known_wrong`].
    pub(super) async fn known_wrong(&self, projection: Projection) -> Result<u64, Error> {
        let mut connection = self.lend().await?;
        let wrong = known_wrong(&mut connection, projection.as_str()).await?;
        connection.give_back();
        Ok(wrong)
    }
}

/// Notes what a verification has found of a build, for every engine to show.
pub(super) async fn note_mismatched(
    connection: &mut PgConnection,
    generation: &Generation,
    rows: u64,
) -> Result<(), Error> {
    sqlx::query("UPDATE projections.generation SET mismatched_rows = $3 WHERE projection = $1 AND number = $2")
        .bind(generation.projection)
        .bind(generation.number)
        .bind(offset(rows))
        .execute(&mut *connection)
        .await?;
    Ok(())
}
