//! Builds of projections: generations, which of them is shown, and their checkpoints.

use super::store::{Error, Store, number, offset};
use super::time::Micros;
use crate::shard::reader::Reader;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

/// What is noted with a schema that was made here, also by the migration 4: others may have names like it.
const MADE_HERE: &str = "a build of a projection of crossfade";

/// A build of a projection, all shards of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The projection.
    pub projection: &'static str,
    /// Its number.
    pub number: i32,
}

impl Generation {
    /// The schema with its tables.
    pub fn schema(&self) -> String {
        format!("{}_{}", self.projection, self.number)
    }
}

impl Store {
    /// The live generation of a projection; makes the first one, with the tables that it is to have and the views that show
    /// it, in `shape`.
    ///
    /// # Errors
    /// [`Error::OtherLedger`] if there is one of another ledger.
    pub async fn live(&self, shape: &Shape, ledger: &str, shards: u32) -> Result<Generation, Error> {
        let projection = shape.projection;
        let mut connection = self.lend().await?;
        let mut transaction = connection.begin().await?;
        let mut found = find_live(&mut transaction, projection).await?;
        if found.is_none() {
            // One process makes it, the others find it.
            let lock = "SELECT pg_advisory_xact_lock(hashtext('crossfade projections'))";
            sqlx::query(lock).execute(&mut *transaction).await?;
            found = find_live(&mut transaction, projection).await?;
        }
        let generation = match found {
            Some((generation, made_from, its_shards)) => {
                if made_from != ledger || u32::try_from(its_shards) != Ok(shards) {
                    return Err(Error::OtherLedger { projection, ledger: made_from, shards: its_shards });
                }
                generation
            }
            None => {
                let generation = begin(&mut transaction, shape, ledger, shards).await?;
                go_live(&mut transaction, shape, &generation).await?;
                generation
            }
        };
        transaction.commit().await?;
        connection.give_back();
        Ok(generation)
    }

    /// The live generation of a projection: its number, when it was begun (microseconds since 1970), and how far each shard is.
    ///
    /// # Errors
    /// When the database does not answer, or there is none.
    pub(super) async fn live_one(&self, projection: &'static str, shards: u32) -> Result<(i32, i64, Vec<u64>), Error> {
        let mut connection = self.lend().await?;
        let live = "SELECT number, begun_at FROM projections.generation WHERE projection = $1 AND live";
        let row = sqlx::query(live).bind(projection).fetch_one(&mut *connection).await?;
        let (number, begun_at): (i32, Micros) = (row.try_get(0)?, row.try_get(1)?);
        let nexts = live_checkpoints(&mut connection, projection, shards).await?;
        connection.give_back();
        Ok((number, begun_at.0, nexts))
    }

    /// Where the journal of a shard goes on in a generation; `None` if nothing of it was applied.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn checkpoint(&self, generation: &Generation, shard: u32) -> Result<Option<Reader>, Error> {
        let kept = "SELECT journal_next, note FROM projections.checkpoint
                    WHERE projection = $1 AND generation = $2 AND shard = $3";
        let mut connection = self.lend().await?;
        let row = sqlx::query(kept)
            .bind(generation.projection)
            .bind(generation.number)
            .bind(number(shard))
            .fetch_optional(&mut *connection)
            .await?;
        connection.give_back();
        let Some(row) = row else { return Ok(None) };
        let (next, note): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        match u64::try_from(next).ok().and_then(|next| Reader::resume(shard, next, &note)) {
            Some(reader) => Ok(Some(reader)),
            None => Err(Error::Checkpoint { shard, note }),
        }
    }
}

/// The live generation, if there is one, and which ledger of how many shards it was made from.
async fn find_live(
    connection: &mut PgConnection,
    projection: &'static str,
) -> Result<Option<(Generation, String, i32)>, Error> {
    let live = "SELECT number, ledger, shards FROM projections.generation WHERE projection = $1 AND live";
    let Some(row) = sqlx::query(live).bind(projection).fetch_optional(connection).await? else { return Ok(None) };
    let generation = Generation { projection, number: row.try_get(0)? };
    Ok(Some((generation, row.try_get(1)?, row.try_get(2)?)))
}

/// What a projection consists of.
#[derive(Debug)]
pub struct Shape {
    /// Its name.
    pub projection: &'static str,
    /// Its tables, as in the schema `projections_shape`, and the key of each.
    pub tables: &'static [(&'static str, &'static str)],
    /// The views that show it in the schema `projections`: name, and what it selects, where `{schema}` is its schema.
    pub views: &'static [(&'static str, &'static str)],
    /// What has to hold within a whole build: what it is that does not, and a query for how often.
    pub rules: &'static [(&'static str, &'static str)],
}

/// A new generation with empty tables.
pub(super) async fn begin(
    transaction: &mut PgConnection,
    shape: &Shape,
    ledger: &str,
    shards: u32,
) -> Result<Generation, Error> {
    // A schema that has such a name is somebody else's, or was left of a build that was given up: it is not touched here.
    let next = "INSERT INTO projections.generation (projection, number, ledger, shards)
                SELECT $1, coalesce(max(number), 0) + 1, $2, $3 FROM (
                    SELECT number FROM projections.generation WHERE projection = $1
                    UNION ALL
                    SELECT substr(nspname, length($1) + 2)::integer FROM pg_namespace
                    WHERE nspname ~ ('^' || $1 || '_[0-9]{1,9}$')
                ) AS taken
                RETURNING number";
    let made = sqlx::query_scalar(next).bind(shape.projection).bind(ledger).bind(number(shards));
    let generation = Generation { projection: shape.projection, number: made.fetch_one(&mut *transaction).await? };
    let schema = generation.schema();
    run(transaction, format!("CREATE SCHEMA {schema}; COMMENT ON SCHEMA {schema} IS '{MADE_HERE}'")).await?;
    for (table, _) in shape.tables {
        let like = format!("CREATE TABLE {schema}.{table} (LIKE projections_shape.{table} INCLUDING ALL)");
        run(transaction, like).await?;
    }
    Ok(generation)
}

/// From now on the views show this generation, and no other one is known: who still holds an older one finds no checkpoint
/// to move any more. What is left of those is for [`drop_others`].
pub(super) async fn go_live(
    transaction: &mut PgConnection,
    shape: &Shape,
    generation: &Generation,
) -> Result<(), Error> {
    for (view, selects) in shape.views {
        let selects = selects.replace("{schema}", &generation.schema());
        run(transaction, format!("CREATE OR REPLACE VIEW projections.{view} AS {selects}")).await?;
    }
    for statement in [
        "DELETE FROM projections.generation WHERE projection = $1 AND number <> $2",
        "UPDATE projections.generation SET live = true WHERE projection = $1 AND number = $2",
    ] {
        let statement = sqlx::query(statement).bind(generation.projection).bind(generation.number);
        statement.execute(&mut *transaction).await?;
    }
    Ok(())
}

/// Drops all builds of a projection but its live one. Whoever does so holds the lock of those who build.
pub(super) async fn drop_others(connection: &mut PgConnection, shape: &Shape) -> Result<(), Error> {
    // In one statement: the first build is made by those who do not hold the lock.
    let others = "SELECT nspname::text FROM pg_namespace
                  WHERE nspname ~ ('^' || $1 || '_[0-9]+$') AND obj_description(oid, 'pg_namespace') = $2
                      AND NOT EXISTS (
                          SELECT FROM projections.generation
                          WHERE projection = $1 AND live AND nspname = projection || '_' || number
                      )";
    let others = sqlx::query_scalar(others).bind(shape.projection).bind(MADE_HERE);
    let others: Vec<String> = others.fetch_all(&mut *connection).await?;
    for schema in others {
        run(connection, format!("DROP SCHEMA {schema} CASCADE")).await?;
    }
    sqlx::query("DELETE FROM projections.generation WHERE projection = $1 AND NOT live")
        .bind(shape.projection)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Takes the lock of those who build this projection, which ends with the connection; `false` if somebody else has it.
pub(super) async fn builds_alone(connection: &mut PgConnection, shape: &Shape) -> Result<bool, Error> {
    let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtext($1))");
    Ok(lock.bind(format!("crossfade builds {}", shape.projection)).fetch_one(connection).await?)
}

/// Sees to it that nobody brings the live generation of a projection further as long as this transaction lasts. A shard
/// without a checkpoint cannot get one either: that would need the generation's row.
pub(super) async fn hold_live(transaction: &mut PgConnection, projection: &'static str) -> Result<(), Error> {
    let checkpoints = "SELECT FROM projections.checkpoint WHERE projection = $1 AND generation IN (
                           SELECT number FROM projections.generation WHERE projection = $1 AND live
                       ) ORDER BY shard FOR UPDATE";
    let generation = "SELECT FROM projections.generation WHERE projection = $1 AND live FOR UPDATE";
    // A projector locks its checkpoint first. Those that came in between are locked in the end.
    for held in [checkpoints, generation, checkpoints] {
        sqlx::query(held).bind(projection).execute(&mut *transaction).await?;
    }
    Ok(())
}

/// How far each shard is in the live generation of a projection.
pub(super) async fn live_checkpoints(
    connection: &mut PgConnection,
    projection: &'static str,
    shards: u32,
) -> Result<Vec<u64>, Error> {
    let select = "SELECT shard, journal_next FROM projections.checkpoint JOIN projections.generation
                      ON generation.projection = checkpoint.projection AND generation.number = checkpoint.generation
                  WHERE checkpoint.projection = $1 AND live";
    let mut nexts = vec![0; shards as usize];
    for row in sqlx::query(select).bind(projection).fetch_all(&mut *connection).await? {
        let (shard, next): (i32, i64) = (row.try_get(0)?, row.try_get(1)?);
        if let (Some(place), Ok(next)) =
            (usize::try_from(shard).ok().and_then(|shard| nexts.get_mut(shard)), next.try_into())
        {
            *place = next;
        }
    }
    Ok(nexts)
}

/// Runs a statement that is made of names of this program's own.
pub(super) async fn run(connection: &mut PgConnection, statement: String) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    Ok(())
}

/// Moves the checkpoint of a shard from where it is believed to be; `false` if it is not there, because somebody else has
/// moved it or is about to, or because the database is one of another journal, whose outcomes have other digests. Only at the
/// beginning of a journal is another one's transaction waited for.
pub(crate) async fn move_checkpoint(
    transaction: &mut PgConnection,
    generation: &Generation,
    shard: u32,
    from: &Reader,
    to: &Reader,
) -> Result<bool, Error> {
    let begins = from.next() == 0;
    let statement = if begins {
        "INSERT INTO projections.checkpoint AS kept (projection, generation, shard, journal_next, note)
         SELECT $1, $2, $3, $4, $5 WHERE EXISTS (
             SELECT FROM projections.generation WHERE projection = $1 AND number = $2
         )
         ON CONFLICT (projection, generation, shard) DO NOTHING"
    } else {
        "UPDATE projections.checkpoint SET journal_next = $4, note = $5, updated_at = now()
         WHERE (projection, generation, shard) IN (
             SELECT projection, generation, shard FROM projections.checkpoint
             WHERE projection = $1 AND generation = $2 AND shard = $3 AND journal_next = $6 AND note = $7
             FOR UPDATE SKIP LOCKED
         )"
    };
    let moving = sqlx::query(statement)
        .bind(generation.projection)
        .bind(generation.number)
        .bind(number(shard))
        .bind(offset(to.next()))
        .bind(to.note());
    let moving = if begins { moving } else { moving.bind(offset(from.next())).bind(from.note()) };
    let moved = moving.execute(&mut *transaction).await?;
    Ok(moved.rows_affected() == 1)
}
