//! Follows the journals and applies what was accepted: per projection and shard one task.

use super::store::{Error, Generation, Shape, Store, move_checkpoint};
use super::{balances, history};
use crate::analytics::{Daily, Day};
use crate::metrics;
use crate::shard::reader::{Read, Reader, Unreadable};
use crate::view::Cursor;
use crate::view::read_model::{Answer, HistoryQuery, Projection, ReadModel, Standing, Unanswered};
use engine_domain::{AccountId, Currency, Outcome, Timestamp};
use eventlog::{Log, ReadError, Record};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use host::clock;
use host::task::Shutdown;
use sqlx::PgConnection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wire::billing::TransactionPage;
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

/// Where each shard's journal goes on: `None` until it is certain that the database was made from this journal.
type Progress = watch::Sender<Option<u64>>;

/// Projects a ledger.
pub struct Projector {
    store: Store,
    log: Arc<dyn Log>,
    ledger: String,
    shards: u32,
    progress: BTreeMap<Projection, Vec<Progress>>,
}

/// The projections, for queries.
#[derive(Debug, Clone)]
pub struct Projections {
    store: Store,
    shards: u32,
    progress: BTreeMap<Projection, Vec<watch::Receiver<Option<u64>>>>,
}

impl Projections {
    fn progress(&self, projection: Projection, shard: u32) -> &watch::Receiver<Option<u64>> {
        &self.progress[&projection][shard as usize]
    }

    /// Answers from a projection, of these shards, if it was made from this journal.
    async fn answer<T>(
        &self,
        projection: Projection,
        mut shards: impl Iterator<Item = u32>,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Unanswered> {
        if let Some(shard) = shards.find(|shard| self.progress(projection, *shard).borrow().is_none()) {
            return Err(Unanswered(format!("the projection `{}` of shard {shard} has not begun", projection.as_str())));
        }
        answer.await.map_err(|error| Unanswered(error.to_string()))
    }
}

impl ReadModel for Projections {
    fn includes(&self, projection: Projection, shard: u32, journal_next: u64) -> BoxFuture<'_, ()> {
        async move {
            let mut progress = self.progress(projection, shard).clone();
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
    ) -> Answer<'a, Vec<Standing>> {
        let answer = self.store.standings_at(account, shards, at);
        self.answer(Projection::Balance, shards.iter().copied(), answer).boxed()
    }

    fn history<'a>(&'a self, query: &'a HistoryQuery<'a>) -> Answer<'a, TransactionPage> {
        self.answer(Projection::History, 0..self.shards, self.store.history(query, self.shards)).boxed()
    }

    fn transactions<'a>(
        &'a self,
        since: Option<Timestamp>,
        after: Option<&'a Cursor>,
        limit: usize,
    ) -> Answer<'a, TransactionPage> {
        let answer = self.store.transactions(since, after, limit, self.shards);
        self.answer(Projection::History, 0..self.shards, answer).boxed()
    }

    fn daily(&self, currency: Currency, first: Day, last: Day) -> Answer<'_, Daily> {
        self.answer(Projection::History, 0..self.shards, self.store.daily(currency, first, last)).boxed()
    }
}

/// What a projection consists of.
fn shape(projection: Projection) -> &'static Shape {
    match projection {
        Projection::Balance => &balances::SHAPE,
        Projection::History => &history::SHAPE,
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
        let none_yet = |projection| (projection, (0..shards).map(|_| Progress::new(None)).collect());
        let progress: BTreeMap<Projection, Vec<Progress>> = Projection::ALL.into_iter().map(none_yet).collect();
        let subscribe = |(projection, all): (&Projection, &Vec<Progress>)| {
            (*projection, all.iter().map(Progress::subscribe).collect())
        };
        let seen = progress.iter().map(subscribe).collect();
        let projections = Projections { store: store.clone(), shards, progress: seen };
        (Self { store, log, ledger, shards, progress }, projections)
    }

    /// Brings the database to what this program expects, and finds what is to be written; `None` while it does not answer.
    ///
    /// # Errors
    /// When it is not one for this program or this ledger.
    pub async fn open(&self) -> Result<Option<Vec<Generation>>, Error> {
        let opened = async {
            self.store.migrate().await?;
            let mut live = Vec::new();
            for projection in Projection::ALL {
                live.push(self.store.live(shape(projection), &self.ledger, self.shards).await?);
            }
            Ok(live)
        };
        match opened.await {
            Ok(live) => Ok(Some(live)),
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
    pub async fn run(self, mut opened: Option<Vec<Generation>>, shutdown: Shutdown) -> Result<(), Error> {
        let live = loop {
            if let Some(live) = opened {
                break live;
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
        let Self { store, log, ledger, shards, progress } = self;
        let subscribe = |(projection, all): (&Projection, &Vec<Progress>)| {
            (*projection, all.iter().map(Progress::subscribe).collect())
        };
        let seen = progress.iter().map(subscribe).collect();
        let all = progress.into_iter().zip(live).flat_map(|((projection, progress), generation)| {
            let parts = (0..shards).zip(progress).map(move |part| (projection, generation.clone(), part));
            Vec::from_iter(parts)
        });
        let all = all.map(|(projection, generation, (shard, progress))| {
            let (store, log, ledger) = (store.clone(), Arc::clone(&log), ledger.clone());
            let projecting = Projecting { store, log, ledger, projection, generation, shard, shards, progress };
            let running = host::task::spawn(projecting.run(shutdown.clone()));
            async move {
                if let Err(panic) = running.await {
                    tracing::error!(projection = projection.as_str(), shard, %panic, "a projection ended badly");
                }
            }
        });
        let all = Vec::from_iter(all);
        let measures = measure(Arc::clone(&log), seen, shutdown.clone());
        futures_util::future::join(join_all(all), measures).await;
        Ok(())
    }
}

/// Sets the gauges of how far the projections are behind, one look at a time: the log may take its time to answer.
async fn measure(log: Arc<dyn Log>, seen: BTreeMap<Projection, Vec<watch::Receiver<Option<u64>>>>, shutdown: Shutdown) {
    let mut ticks = clock::interval(MEASURED_EVERY);
    let shards = seen.values().next().map_or(0, Vec::len);
    loop {
        tokio::select! {
            () = shutdown.stopped() => return,
            _ = ticks.tick() => {}
        }
        for (shard, number) in (0..shards).zip(0_u32..) {
            let end = tokio::select! {
                () = shutdown.stopped() => return,
                end = log.end(JOURNAL, number) => end,
            };
            let Ok(end) = end else { continue };
            for (projection, seen) in &seen {
                let lag = end.saturating_sub(seen[shard].borrow().unwrap_or(0)) as f64;
                let name = projection.as_str();
                ::metrics::gauge!(
                    metrics::PROJECTION_LAG_RECORDS, "projection" => name, "partition" => number.to_string()
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
    projection: Projection,
    generation: Generation,
    shard: u32,
    shards: u32,
    progress: Progress,
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
                    tracing::warn!(projection = self.projection.as_str(), shard = self.shard, %trouble, "a projection waits");
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
        self.apply(&mut transaction, &outcomes).await?;
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

    async fn apply(&self, transaction: &mut PgConnection, outcomes: &[Outcome]) -> Result<(), Error> {
        match self.projection {
            Projection::Balance => balances::apply(transaction, &self.generation, self.shard, outcomes).await,
            Projection::History => history::apply(transaction, &self.generation, self.shard, outcomes).await,
        }
    }
}
