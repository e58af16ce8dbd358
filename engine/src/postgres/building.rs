//! Builds a projection anew from the journals, beside the live one: to take its place, or to be compared with it.
//!
//! The live one is written and asked all the while. At the end its checkpoints are held for a moment. A new build that is then
//! at least as far takes its place in the same transaction; one that is to be compared with it is brought exactly as far, and
//! both are compared in a snapshot that is taken before the checkpoints are let go.

use super::generations::{
    Generation, Shape, begin, builds_alone, drop_others, go_live, hold_live, live_checkpoints, run,
};
use super::part::Part;
use super::projector::shape;
use super::store::{BUILDING_CONNECTIONS, Error, Store};
use super::unverified;
use crate::dead_letters::DeadLetters;
use crate::shard::reader::Reader;
use crate::view::read_model::Projection;
use eventlog::Log;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use host::clock;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wire::journal::JOURNAL;
use wire::projection::{ProjectionDifference, ProjectionJob};

/// Catching up ends when no more than this is left: some tenths of a second.
const NEARLY_THERE: u64 = 2_000;
/// With more than this left, the checkpoints are not held until it is applied.
const HELD_FOR_AT_MOST: u64 = 4_000;
/// So often it is tried to catch up, and to hold the checkpoints.
const TRIES: usize = 10;
/// Between two of them, and each time as much longer.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
/// What is behind the log when it is to be verified has so long to catch up.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(30);
/// Differences that are shown; all are counted.
const SHOWN: usize = 100;
/// Queries that run when the views change are waited for, and hold up others no longer than this.
const SWITCH_WITHIN: &str = "2s";

/// How far a build is, in journal records.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) done: AtomicU64,
    pub(super) total: AtomicU64,
}

/// What comes of a build.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Rows that differ.
    pub differences: u64,
    /// The first of them.
    pub shown: Vec<ProjectionDifference>,
}

/// Builds projections.
pub(super) struct Builder {
    pub(super) store: Store,
    pub(super) log: Arc<dyn Log>,
    pub(super) dead_letters: DeadLetters,
    pub(super) ledger: String,
    pub(super) shards: u32,
}

impl Builder {
    /// Builds a projection from the beginning of the journals. A rebuild then goes live; of a verification only what it
    /// found is left.
    ///
    /// # Errors
    /// [`Error::Busy`] while somebody else does so; [`Error::Rule`] if the new build contradicts itself: then the live one
    /// stays.
    pub(super) async fn build(
        &self,
        projection: Projection,
        job: ProjectionJob,
        counted: &Counted,
    ) -> Result<Found, Error> {
        let mut begun = None;
        // What was begun on a connection that is silent is left: the next build, or start, drops it.
        match self.store.while_there(self.built(projection, job, counted, &mut begun)).await {
            Err(error) if job == ProjectionJob::Rebuild && self.is_live(begun.as_ref()).await => {
                tracing::warn!(projection = projection.as_str(), %error, "a build went live, and that was not answered");
                Ok(Found::default())
            }
            built => built,
        }
    }

    /// Tells which build was `begun`, as soon as it is.
    async fn built(
        &self,
        projection: Projection,
        job: ProjectionJob,
        counted: &Counted,
        begun: &mut Option<Generation>,
    ) -> Result<Found, Error> {
        let shape = shape(projection);
        let mut connection = self.store.connect().await?;
        let fresh = begun.insert(self.begin(&mut connection, shape).await?);
        let found = self.fill(&mut connection, projection, fresh, job, counted).await;
        if let Err(error) = drop_others(&mut connection, shape).await {
            tracing::warn!(projection = shape.projection, %error, "what is left of a build is dropped at the next start");
        }
        found
    }

    /// An empty build, when nobody else builds.
    async fn begin(&self, connection: &mut PgConnection, shape: &Shape) -> Result<Generation, Error> {
        if !builds_alone(connection, shape).await? {
            return Err(Error::Busy(shape.projection));
        }
        // What is left of a build that was not finished.
        drop_others(connection, shape).await?;
        let mut transaction = connection.begin().await?;
        let fresh = begin(&mut transaction, shape, &self.ledger, self.shards).await?;
        transaction.commit().await?;
        Ok(fresh)
    }

    async fn is_live(&self, fresh: Option<&Generation>) -> bool {
        let Some(fresh) = fresh else { return false };
        let live = async { live_generation(&mut self.store.connect().await?, fresh.projection).await };
        live.await.is_ok_and(|live| live == *fresh)
    }

    async fn fill(
        &self,
        connection: &mut PgConnection,
        projection: Projection,
        fresh: &Generation,
        job: ProjectionJob,
        counted: &Counted,
    ) -> Result<Found, Error> {
        if job == ProjectionJob::Verify {
            self.until_caught_up(connection, fresh.projection).await?;
        }
        let mut building = self.parts(projection, fresh);
        for _ in 0..TRIES {
            let ends = match job {
                ProjectionJob::Rebuild => self.ends().await?,
                ProjectionJob::Verify => live_checkpoints(connection, fresh.projection, self.shards).await?,
            };
            counted.total.store(ends.iter().sum(), Ordering::Relaxed);
            let left = left(&building, &ends);
            building = catch_up(building, &ends, counted).await?;
            if left <= NEARLY_THERE {
                break;
            }
        }
        // What is left out makes sums that are none.
        if unverified::count(connection, fresh).await? == 0 {
            check_rules(connection, projection, fresh).await?;
        }
        for (table, _) in shape(projection).tables {
            run(connection, format!("ANALYZE {}.{table}", fresh.schema())).await?;
        }
        match job {
            ProjectionJob::Rebuild => self.go_live(connection, projection, fresh, building, counted).await,
            ProjectionJob::Verify => self.compare(connection, projection, fresh, building, counted).await,
        }
    }

    /// Waits until the live build includes what the journals have now.
    async fn until_caught_up(&self, connection: &mut PgConnection, projection: &'static str) -> Result<(), Error> {
        let ends = self.ends().await?;
        let deadline = clock::now() + CATCHES_UP_WITHIN;
        loop {
            let nexts = live_checkpoints(connection, projection, self.shards).await?;
            let lag = nexts.iter().zip(&ends).map(|(next, end)| end.saturating_sub(*next)).sum();
            if lag == 0 {
                return Ok(());
            }
            if clock::now() > deadline {
                return Err(Error::Behind { projection, lag });
            }
            clock::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Puts the new build in the place of the live one, which it is at least as far as.
    async fn go_live(
        &self,
        connection: &mut PgConnection,
        projection: Projection,
        fresh: &Generation,
        mut building: Vec<(Part, Reader)>,
        counted: &Counted,
    ) -> Result<Found, Error> {
        for tries in 1..=TRIES {
            let mut held = connection.begin().await?;
            hold_live(&mut held, fresh.projection).await?;
            let nexts = live_checkpoints(&mut held, fresh.projection, self.shards).await?;
            // A live one that is ahead of the journals was made from another one.
            let ends = self.ends().await?;
            let is_ours = nexts.iter().zip(&ends).all(|(next, end)| next <= end);
            let nexts: Vec<u64> = nexts.into_iter().zip(ends).map(|(next, end)| next.min(end)).collect();
            if left(&building, &nexts) > HELD_FOR_AT_MOST {
                held.rollback().await?;
                building = catch_up(building, &nexts, counted).await?;
                continue;
            }
            building = catch_up(building, &nexts, counted).await?;
            if is_ours {
                let wrong = unverified::known_wrong(&mut held, fresh.projection).await?;
                is_no_worse(&mut held, fresh, &nexts, wrong).await?;
            }
            let differences = unverified::count(&mut held, fresh).await?;
            run(&mut held, format!("SET LOCAL lock_timeout = '{SWITCH_WITHIN}'")).await?;
            match go_live(&mut held, shape(projection), fresh).await {
                Ok(()) => {
                    held.commit().await?;
                    return Ok(Found { differences, shown: Vec::new() });
                }
                Err(error) if is_locked(&error) && tries == TRIES => return Err(Error::Read(fresh.projection)),
                Err(error) if is_locked(&error) => held.rollback().await?,
                Err(error) => return Err(error),
            }
            // Whoever waited behind this has its turn.
            clock::sleep(BETWEEN_TRIES * u32::try_from(tries).unwrap_or(1)).await;
        }
        Err(Error::NotCaughtUp(fresh.projection))
    }

    /// Compares the live build with the new one, which is exactly as far.
    async fn compare(
        &self,
        connection: &mut PgConnection,
        projection: Projection,
        fresh: &Generation,
        mut building: Vec<(Part, Reader)>,
        counted: &Counted,
    ) -> Result<Found, Error> {
        for _ in 0..TRIES {
            let mut held = connection.begin().await?;
            hold_live(&mut held, fresh.projection).await?;
            let nexts = live_checkpoints(&mut held, fresh.projection, self.shards).await?;
            if left(&building, &nexts) > HELD_FOR_AT_MOST {
                held.rollback().await?;
                building = catch_up(building, &nexts, counted).await?;
                continue;
            }
            catch_up(building, &nexts, counted).await?;
            let live = live_generation(&mut held, fresh.projection).await?;
            // What only the new one lacks would be called wrong in the live one.
            let left_out = unverified::count(&mut held, &live).await?;
            is_no_worse(&mut held, fresh, &nexts, left_out).await?;
            let mut compared = self.store.connect().await?;
            run(&mut compared, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned()).await?;
            // The snapshot is taken by the first query.
            live_generation(&mut compared, fresh.projection).await?;
            held.rollback().await?;
            let mut found = differences(&mut compared, projection, &live, fresh).await?;
            compared.close().await?;
            unverified::note_mismatched(connection, &live, found.differences).await?;
            // What is left out in both is wrong in both.
            let left_out = unverified::accounts(connection, &live).await?;
            found.differences += left_out.len() as u64;
            let room = SHOWN.saturating_sub(found.shown.len());
            found.shown.extend(left_out.into_iter().take(room));
            return Ok(found);
        }
        Err(Error::NotCaughtUp(fresh.projection))
    }

    fn parts(&self, projection: Projection, fresh: &Generation) -> Vec<(Part, Reader)> {
        let part = |shard| {
            let part = Part {
                store: self.store.clone(),
                log: Arc::clone(&self.log),
                dead_letters: self.dead_letters.clone(),
                ledger: self.ledger.clone(),
                projection,
                generation: fresh.clone(),
                shard,
                shards: self.shards,
            };
            (part, Reader::new(&self.ledger, shard, self.shards))
        };
        (0..self.shards).map(part).collect()
    }

    async fn ends(&self) -> Result<Vec<u64>, Error> {
        let mut ends = Vec::new();
        for shard in 0..self.shards {
            ends.push(self.log.end(JOURNAL, shard).await?);
        }
        Ok(ends)
    }
}

/// Whether a lock could not be had in time, or only by a deadlock.
fn is_locked(error: &Error) -> bool {
    let Error::Database(sqlx::Error::Database(error)) = error else { return false };
    matches!(error.code().as_deref(), Some("55P03" | "40P01"))
}

fn left(building: &[(Part, Reader)], ends: &[u64]) -> u64 {
    building.iter().zip(ends).map(|((_, reader), end)| end.saturating_sub(reader.next())).sum()
}

/// Brings every shard as far as that, some of them side by side.
async fn catch_up(
    building: Vec<(Part, Reader)>,
    ends: &[u64],
    counted: &Counted,
) -> Result<Vec<(Part, Reader)>, Error> {
    let mut all: Vec<BoxFuture<'_, Result<(Part, Reader), Error>>> = Vec::with_capacity(building.len());
    for ((part, mut reader), end) in building.into_iter().zip(ends) {
        let caught_up = async move {
            part.up_to(&mut reader, *end, &counted.done).await?;
            Ok((part, reader))
        };
        all.push(caught_up.boxed());
    }
    stream::iter(all).buffered(BUILDING_CONNECTIONS as usize).try_collect().await
}

/// Of what the live build includes, which stands at `nexts`, the new one leaves out no more than is `wrong` in the live one:
/// otherwise that one is better.
async fn is_no_worse(held: &mut PgConnection, fresh: &Generation, nexts: &[u64], wrong: u64) -> Result<(), Error> {
    let left_out = unverified::count_before(held, fresh, nexts).await?;
    let projection = fresh.projection;
    if left_out > wrong { Err(Error::LeavesOutMore { projection, left_out, wrong }) } else { Ok(()) }
}

async fn check_rules(connection: &mut PgConnection, projection: Projection, fresh: &Generation) -> Result<(), Error> {
    for (broken, count) in shape(projection).rules {
        let count = count.replace("{schema}", &fresh.schema());
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await?;
        if count > 0 {
            return Err(Error::Rule { projection: fresh.projection, count, broken });
        }
    }
    Ok(())
}

async fn live_generation(connection: &mut PgConnection, projection: &'static str) -> Result<Generation, Error> {
    let number = sqlx::query_scalar("SELECT number FROM projections.generation WHERE projection = $1 AND live");
    Ok(Generation { projection, number: number.bind(projection).fetch_one(connection).await? })
}

/// The rows in which the live build differs from the fresh one, which is exactly as far.
async fn differences(
    connection: &mut PgConnection,
    projection: Projection,
    live: &Generation,
    fresh: &Generation,
) -> Result<Found, Error> {
    let mut found = Found::default();
    for (table, key) in shape(projection).tables {
        let from = format!(
            "FROM {}.{table} AS live FULL JOIN {}.{table} AS fresh USING ({key}) WHERE live IS DISTINCT FROM fresh",
            live.schema(),
            fresh.schema()
        );
        let count: i64 =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) {from}"))).fetch_one(&mut *connection).await?;
        found.differences += u64::try_from(count).unwrap_or(0);
        let room = SHOWN.saturating_sub(found.shown.len());
        if count == 0 || room == 0 {
            continue;
        }
        let select = format!(
            "SELECT concat_ws(', ', {key}), to_jsonb(live)::text, to_jsonb(fresh)::text {from} ORDER BY {key} LIMIT {room}"
        );
        for row in sqlx::query(AssertSqlSafe(select)).fetch_all(&mut *connection).await? {
            let (row, live, fresh): (String, Option<String>, Option<String>) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            found.shown.push(difference(table, row, live, fresh));
        }
    }
    Ok(found)
}

/// Of two versions of a row only the columns that differ.
fn difference(table: &str, row: String, live: Option<String>, fresh: Option<String>) -> ProjectionDifference {
    let read =
        |text: Option<String>| text.and_then(|text| serde_json::from_str::<serde_json::Map<_, Value>>(&text).ok());
    let (mut live, mut fresh) = (read(live), read(fresh));
    if let (Some(live), Some(fresh)) = (&mut live, &mut fresh) {
        let same: Vec<String> = live
            .iter()
            .filter(|(column, value)| fresh.get(*column) == Some(*value))
            .map(|(column, _)| column.clone())
            .collect();
        for column in same {
            live.remove(&column);
            fresh.remove(&column);
        }
    }
    ProjectionDifference {
        table: table.to_owned(),
        row,
        projection: live.map(Value::Object),
        log: fresh.map(Value::Object),
    }
}
