//! Follows the journals and applies what was accepted: per projection and shard one task.

use super::balances;
use super::store::{Error, Generation, Store, move_checkpoint};
use crate::metrics;
use crate::shard::reader::{Read, Reader, Unreadable};
use crate::view::read_model::{ReadModel, Standing, Unanswered};
use engine_domain::{AccountId, Outcome, Timestamp};
use eventlog::{Log, ReadError, Record};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use host::clock;
use host::task::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wire::journal::JOURNAL;
use wire::scalar::Digest;

/// Journal records applied together at most: a transaction of some ten milliseconds.
const BATCH: usize = 1_000;
/// After something that failed.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// After somebody else has moved a checkpoint: let him go on.
const LET_GO_ON: Duration = Duration::from_millis(100);
/// Journal records looked at together for the one that a checkpoint follows.
const CHECKED_TOGETHER: u64 = 1_000;
/// How often the gauges are set.
const MEASURED_EVERY: Duration = Duration::from_secs(1);

/// Projects a ledger.
pub struct Projector {
    store: Store,
    log: Arc<dyn Log>,
    ledger: String,
    progress: Vec<watch::Sender<Option<u64>>>,
}

/// The projections, for queries.
#[derive(Debug, Clone)]
pub struct Projections {
    store: Store,
    /// Per shard: the offset of the journal's next record, once it is certain that the database was made from this journal.
    progress: Vec<watch::Receiver<Option<u64>>>,
}

impl ReadModel for Projections {
    fn includes(&self, shard: u32, journal_next: u64) -> BoxFuture<'_, ()> {
        async move {
            let mut progress = self.progress[shard as usize].clone();
            if progress.wait_for(|applied| applied.is_some_and(|applied| applied >= journal_next)).await.is_err() {
                // Nobody projects any more: whoever waits has a deadline.
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }

    fn standings_at<'a>(
        &'a self,
        account: &'a AccountId,
        shards: &'a [u32],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Standing>, Unanswered>> {
        async move {
            if let Some(shard) = shards.iter().find(|shard| self.progress[**shard as usize].borrow().is_none()) {
                return Err(Unanswered(format!("the projections of shard {shard} have not begun")));
            }
            self.store.standings_at(account, shards, at).await.map_err(|error| Unanswered(error.to_string()))
        }
        .boxed()
    }
}

/// Applying cannot go on as it is.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] Error),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Projector {
    /// A projector of a ledger of so many shards, and what it makes.
    pub fn new(store: Store, log: Arc<dyn Log>, ledger: String, shards: u32) -> (Self, Projections) {
        let (progress, seen) = (0..shards).map(|_| watch::channel(None)).unzip();
        let projections = Projections { store: store.clone(), progress: seen };
        (Self { store, log, ledger, progress }, projections)
    }

    /// Brings the database to what this program expects, and finds what is to be written; `None` while it does not answer.
    ///
    /// # Errors
    /// When it is not one for this program or this ledger.
    pub async fn open(&self) -> Result<Option<Generation>, Error> {
        let shards = u32::try_from(self.progress.len()).unwrap_or(u32::MAX);
        let opened = async {
            self.store.migrate().await?;
            self.store.live(&balances::SHAPE, &self.ledger, shards).await
        };
        match opened.await {
            Ok(generation) => Ok(Some(generation)),
            Err(error @ (Error::Newer(_) | Error::OtherLedger { .. } | Error::Config { .. })) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "projections wait for the database");
                Ok(None)
            }
        }
    }

    /// Projects until `shutdown` into what [`Projector::open`] has found, if it has. While the database does not do as it is
    /// asked, this waits and says so; an engine that writes is ready all the same.
    ///
    /// # Errors
    /// As [`Projector::open`].
    pub async fn run(self, mut opened: Option<Generation>, shutdown: Shutdown) -> Result<(), Error> {
        let generation = loop {
            if let Some(generation) = opened {
                break generation;
            }
            tokio::select! {
                () = clock::sleep(TRY_AGAIN) => {}
                () = shutdown.stopped() => return Ok(()),
            }
            let again = tokio::select! {
                again = self.open() => again,
                () = shutdown.stopped() => return Ok(()),
            };
            opened = again.inspect_err(|error| tracing::error!(%error, "there will be no projections"))?;
        };
        let shards = u32::try_from(self.progress.len()).unwrap_or(u32::MAX);
        let seen = self.progress.iter().map(watch::Sender::subscribe).collect();
        let all = (0..shards).zip(self.progress).map(|(shard, progress)| {
            let projecting = Projecting {
                store: self.store.clone(),
                log: Arc::clone(&self.log),
                ledger: self.ledger.clone(),
                generation: generation.clone(),
                shard,
                shards,
                progress,
            };
            let running = host::task::spawn(projecting.run(shutdown.clone()));
            async move {
                if let Err(panic) = running.await {
                    tracing::error!(shard, %panic, "a projection ended badly");
                }
            }
        });
        let measures = measure(Arc::clone(&self.log), generation.projection, seen, shutdown.clone());
        futures_util::future::join(join_all(all), measures).await;
        Ok(())
    }
}

/// Sets the gauges of how far the projections are behind, one look at a time: the log may take its time to answer.
async fn measure(
    log: Arc<dyn Log>,
    projection: &'static str,
    seen: Vec<watch::Receiver<Option<u64>>>,
    shutdown: Shutdown,
) {
    let mut ticks = clock::interval(MEASURED_EVERY);
    loop {
        tokio::select! {
            () = shutdown.stopped() => return,
            _ = ticks.tick() => {}
        }
        for (shard, seen) in (0_u32..).zip(&seen) {
            let applied = seen.borrow().unwrap_or(0);
            let end = tokio::select! {
                () = shutdown.stopped() => return,
                end = log.end(JOURNAL, shard) => end,
            };
            if let Ok(end) = end {
                let lag = end.saturating_sub(applied) as f64;
                ::metrics::gauge!(
                    metrics::PROJECTION_LAG_RECORDS, "projection" => projection, "partition" => shard.to_string()
                )
                .set(lag);
            }
        }
    }
}

/// Projects one shard.
struct Projecting {
    store: Store,
    log: Arc<dyn Log>,
    ledger: String,
    generation: Generation,
    shard: u32,
    shards: u32,
    progress: watch::Sender<Option<u64>>,
}

impl Projecting {
    async fn run(self, shutdown: Shutdown) {
        loop {
            let trouble = tokio::select! {
                () = shutdown.stopped() => return,
                ended = self.project() => ended,
            };
            let pause = match trouble {
                Ok(()) => LET_GO_ON,
                Err(trouble) => {
                    tracing::warn!(shard = self.shard, %trouble, "a projection waits");
                    TRY_AGAIN
                }
            };
            tokio::select! {
                () = shutdown.stopped() => return,
                () = clock::sleep(pause) => {}
            }
        }
    }

    /// Applies from the checkpoint on, until something fails or somebody else has moved it.
    async fn project(&self) -> Result<(), Trouble> {
        let kept = self.store.checkpoint(&self.generation, self.shard).await?;
        let mut reader = kept.unwrap_or_else(|| Reader::new(&self.ledger, self.shard, self.shards));
        self.check(&reader).await?;
        self.progress.send_replace(Some(reader.next()));
        let mut journal = self.log.tail(JOURNAL, self.shard, reader.next());
        loop {
            let records = journal.next(BATCH).await?;
            if !self.take(&mut reader, &records).await? {
                return Ok(());
            }
        }
    }

    /// Makes sure that what was applied came from this journal: the outcome that the next one has to follow is in it.
    async fn check(&self, reader: &Reader) -> Result<(), Trouble> {
        if reader.chain().next_source() == 0 {
            return Ok(());
        }
        let end = self.log.end(JOURNAL, self.shard).await?;
        let mut behind = reader.next();
        while behind > 0 && reader.next() <= end {
            // Nearly always the last one before: only what does not count can stand between.
            let from = behind.saturating_sub(CHECKED_TOGETHER);
            let count = usize::try_from(behind - from).unwrap_or(usize::MAX);
            let records = self.log.read(JOURNAL, self.shard, from, count).await?;
            if records.iter().rev().any(|record| Digest::of(&record.value) == reader.chain().parent()) {
                return Ok(());
            }
            behind = from;
        }
        Err(Error::OtherJournal { shard: self.shard, next: reader.next(), end }.into())
    }

    /// Applies records in one transaction; `false` if somebody else was there before. What stands before a record that
    /// cannot be read is applied all the same.
    async fn take(&self, reader: &mut Reader, records: &[Record]) -> Result<bool, Trouble> {
        let from = reader.next();
        let mut behind = reader.clone();
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(records.len());
        let mut unreadable = Ok(());
        for record in records {
            match behind.take(record) {
                Ok(Read::Accepted(outcome)) => outcomes.push(*outcome),
                Ok(Read::Ignored | Read::NoOutcome(_)) => {}
                Err(error) => {
                    unreadable = Err(error);
                    break;
                }
            }
        }
        if behind.next() == from {
            return unreadable.map(|()| true).map_err(Trouble::from);
        }
        let mut transaction = self.store.pool().begin().await.map_err(Error::from)?;
        if !move_checkpoint(&mut transaction, &self.generation, self.shard, from, &behind).await? {
            return Ok(false);
        }
        balances::apply(&mut transaction, &self.generation, self.shard, &outcomes).await?;
        transaction.commit().await.map_err(Error::from)?;
        *reader = behind;
        let now = clock::unix_micros();
        for outcome in &outcomes {
            let seconds = Duration::from_micros(now.saturating_sub(outcome.at.0).try_into().unwrap_or(0)).as_secs_f64();
            ::metrics::histogram!(metrics::EVENT_TO_PROJECTION_SECONDS, "projection" => self.generation.projection)
                .record(seconds);
        }
        self.progress.send_replace(Some(reader.next()));
        unreadable.map(|()| true).map_err(Trouble::from)
    }
}
