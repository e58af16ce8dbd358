//! Accounts about which a projection cannot be asked, because an outcome that names them was left out.

use super::generations::Generation;
use super::store::{Error, Store, number, offset};
use crate::view::read_model::Projection;
use engine_domain::AccountId;
use sqlx::PgConnection;
use std::collections::BTreeSet;

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

impl Store {
    /// Whether the live build of a projection says too little about an account, or about any.
    pub(super) async fn is_unverified(
        &self,
        projection: Projection,
        account: Option<&AccountId>,
    ) -> Result<bool, Error> {
        let noted = "SELECT EXISTS (
                         SELECT FROM projections.unverified JOIN projections.generation
                             ON generation.projection = unverified.projection AND generation.number = unverified.generation
                         WHERE unverified.projection = $1 AND live AND ($2::text IS NULL OR account_id IN ($2, ''))
                     )";
        let noted = sqlx::query_scalar(noted).bind(projection.as_str()).bind(account.map(AccountId::as_str));
        Ok(noted.fetch_one(self.pool()).await?)
    }
}
