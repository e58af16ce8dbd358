//! The projection `balance`: how accounts stand, and stood after every outcome that touched them.

use super::generations::{Generation, Shape};
use super::store::{Error, decode, number, offset};
use super::time::Micros;
use crate::view::read_model::Standing;
use engine_domain::{AccountId, Event, Money, Outcome, Timestamp};
use rust_decimal::Decimal;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::BTreeMap;

/// Its tables and views.
pub const SHAPE: Shape = Shape {
    projection: "balance",
    tables: &[("account_balance", "account_id, shard"), ("balance_history", "account_id, shard, version")],
    views: &[
        (
            // Of an account in stripes: their sum, and versions added up as in the engine's own answers.
            "account_balance",
            "SELECT account_id, sum(balance) AS balance, min(currency) AS currency,
                    (sum(version) - count(*) + 1)::bigint AS version, max(updated_at) AS updated_at,
                    sum(reserved) AS reserved
             FROM {schema}.account_balance GROUP BY account_id",
        ),
        // As it is kept, for looking up one row.
        ("balance_history_rows", "SELECT * FROM {schema}.balance_history"),
        (
            // The end of a row's time is the beginning of the next one's.
            "balance_history",
            "SELECT account_id, balance, version, valid_from,
                    lead(valid_from) OVER (PARTITION BY account_id, shard ORDER BY version) AS valid_to,
                    reserved, shard
             FROM {schema}.balance_history",
        ),
    ],
    rules: &[
        (
            "currencies whose balances on a shard do not sum to zero",
            "SELECT count(*) FROM (SELECT FROM {schema}.account_balance GROUP BY shard, currency HAVING sum(balance) <> 0) AS sums",
        ),
        (
            "accounts that do not stand as their history ends",
            "SELECT count(*) FROM {schema}.account_balance AS now WHERE NOT EXISTS (
                 SELECT FROM {schema}.balance_history AS last
                 WHERE (last.account_id, last.shard, last.version, last.balance, last.reserved)
                     = (now.account_id, now.shard, now.version, now.balance, now.reserved))",
        ),
    ],
};

/// A row of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    account: AccountId,
    standing: Standing,
    at: Timestamp,
}

/// What a batch of outcomes makes of accounts.
#[derive(Debug, Default)]
struct Changes {
    /// In order; one per outcome and account.
    history: Vec<Change>,
    /// The last standing of each, with its currency if that is known.
    last: BTreeMap<AccountId, (Standing, Option<String>, Timestamp)>,
}

/// Applies outcomes that follow on what was applied before; part of a transaction.
///
/// # Errors
/// When the database refuses.
pub(super) async fn apply(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    outcomes: &[Outcome],
) -> Result<(), Error> {
    let before = before(transaction, generation, shard, outcomes).await?;
    let changes = Changes::of(outcomes, before);
    write_balances(transaction, generation, shard, &changes).await?;
    write_history(transaction, generation, shard, &changes).await
}

/// How the accounts stand whose first event in these outcomes does not say it all.
async fn before(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    outcomes: &[Outcome],
) -> Result<BTreeMap<AccountId, Standing>, Error> {
    let mut first: BTreeMap<&AccountId, bool> = BTreeMap::new();
    for event in outcomes.iter().flat_map(|outcome| &outcome.events) {
        if let Some(account) = event.account() {
            let says_all = matches!(event, Event::AccountCreated(_) | Event::BalanceChanged(_));
            first.entry(account).or_insert(says_all);
        }
    }
    let wanted: Vec<&str> = first.iter().filter(|(_, says_all)| !**says_all).map(|(id, _)| id.as_str()).collect();
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let select = format!(
        "SELECT account_id, balance, reserved, version FROM {}.account_balance WHERE shard = $1 AND account_id = ANY($2)",
        generation.schema()
    );
    let rows =
        sqlx::query(AssertSqlSafe(select)).bind(number(shard)).bind(&wanted).fetch_all(&mut *transaction).await?;
    let mut before = BTreeMap::new();
    for row in rows {
        let id: String = row.try_get(0)?;
        let id = AccountId::new(&id).ok_or_else(|| decode(format!("`{id}` is no account id")))?;
        before.insert(id, standing(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)?);
    }
    // An account that is not there would be taken for one without money.
    match first.iter().find(|(id, says_all)| !**says_all && !before.contains_key(**id)) {
        Some((missing, _)) => Err(decode(format!("the account `{missing}` of shard {shard} is not there"))),
        None => Ok(before),
    }
}

impl Changes {
    fn of(outcomes: &[Outcome], before: BTreeMap<AccountId, Standing>) -> Self {
        let mut changes = Self::default();
        let mut standings = before;
        for outcome in outcomes {
            let mut touched: BTreeMap<AccountId, Option<String>> = BTreeMap::new();
            for event in &outcome.events {
                let Some(account) = event.account() else { continue };
                let (_, version) = event.aggregate();
                let standing = standings.entry(account.clone()).or_insert(Standing {
                    balance: Money::ZERO,
                    reserved: Money::ZERO,
                    version,
                });
                standing.version = version;
                let currency = touched.entry(account.clone()).or_default();
                match event {
                    Event::AccountCreated(created) => *currency = Some(created.currency.to_string()),
                    Event::BalanceChanged(changed) => {
                        (standing.balance, standing.reserved) = (changed.balance_after, changed.reserved_after);
                        *currency = Some(changed.currency.to_string());
                    }
                    Event::FundsReserved(reserved) => standing.reserved = reserved.reserved_after,
                    Event::ReservationReleased(released) => standing.reserved = released.reserved_after,
                    // Of the others, those that are an account's change its version only.
                    _ => {}
                }
            }
            for (account, currency) in touched {
                let standing = standings[&account];
                changes.history.push(Change { account: account.clone(), standing, at: outcome.at });
                let last = changes.last.entry(account).or_insert((standing, None, outcome.at));
                (last.0, last.2) = (standing, outcome.at);
                last.1 = currency.or(last.1.take());
            }
        }
        changes
    }
}

async fn write_balances(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    changes: &Changes,
) -> Result<(), Error> {
    let mut columns: (Vec<&str>, Vec<Decimal>, Vec<Decimal>, Vec<Option<&str>>, Vec<i64>, Vec<Micros>) =
        Default::default();
    for (account, (standing, currency, at)) in &changes.last {
        columns.0.push(account.as_str());
        columns.1.push(standing.balance.decimal());
        columns.2.push(standing.reserved.decimal());
        columns.3.push(currency.as_deref());
        columns.4.push(offset(standing.version));
        columns.5.push(Micros(at.0));
    }
    // One whose currency these outcomes do not say is there already.
    let statement = format!(
        "WITH changed AS (
             SELECT * FROM UNNEST($2::text[], $3::numeric[], $4::numeric[], $5::text[], $6::bigint[], $7::timestamptz[])
             AS changed (account_id, balance, reserved, currency, version, updated_at)
         ), known AS (
             UPDATE {schema}.account_balance AS kept
             SET balance = changed.balance, reserved = changed.reserved, version = changed.version,
                 updated_at = changed.updated_at
             FROM changed WHERE kept.account_id = changed.account_id AND kept.shard = $1
             RETURNING kept.account_id
         )
         INSERT INTO {schema}.account_balance (account_id, shard, balance, reserved, currency, version, updated_at)
         SELECT account_id, $1, balance, reserved, currency, version, updated_at FROM changed
         WHERE account_id NOT IN (SELECT account_id FROM known)",
        schema = generation.schema()
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(number(shard))
        .bind(&columns.0)
        .bind(&columns.1)
        .bind(&columns.2)
        .bind(&columns.3)
        .bind(&columns.4)
        .bind(&columns.5)
        .execute(&mut *transaction)
        .await?;
    Ok(())
}

async fn write_history(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    changes: &Changes,
) -> Result<(), Error> {
    let mut columns: (Vec<&str>, Vec<i64>, Vec<Decimal>, Vec<Decimal>, Vec<Micros>) = Default::default();
    for Change { account, standing, at } in &changes.history {
        columns.0.push(account.as_str());
        columns.1.push(offset(standing.version));
        columns.2.push(standing.balance.decimal());
        columns.3.push(standing.reserved.decimal());
        columns.4.push(Micros(at.0));
    }
    let statement = format!(
        "INSERT INTO {}.balance_history (account_id, shard, version, balance, reserved, valid_from)
         SELECT account_id, $1, version, balance, reserved, valid_from
         FROM UNNEST($2::text[], $3::bigint[], $4::numeric[], $5::numeric[], $6::timestamptz[])
         AS changed (account_id, version, balance, reserved, valid_from)",
        generation.schema()
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(number(shard))
        .bind(&columns.0)
        .bind(&columns.1)
        .bind(&columns.2)
        .bind(&columns.3)
        .bind(&columns.4)
        .execute(&mut *transaction)
        .await?;
    Ok(())
}

/// What the columns of a balance say.
pub(super) fn standing(balance: Decimal, reserved: Decimal, version: i64) -> Result<Standing, Error> {
    let money = |value: Decimal| Money::new(value).ok_or_else(|| decode(format!("{value} is no balance")));
    let version = u64::try_from(version).map_err(|_| decode(format!("{version} is no version")))?;
    Ok(Standing { balance: money(balance)?, reserved: money(reserved)?, version })
}
