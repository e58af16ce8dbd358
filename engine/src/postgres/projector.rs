//! Follows the journals and applies what was accepted: per projection and shard one task.

use super::generations::{Generation, Shape, builds_alone, drop_others};
use super::part::{Part, TAKEN_WITHIN};
use super::store::{Error, Store};
use super::{balances, history};
use crate::analytics::{Daily, Day};
use crate::dead_letters::DeadLetters;
use crate::metrics;
use crate::shard::reader::Reader;
use crate::view::Cursor;
use crate::view::read_model::{Answer, HistoryQuery, Projection, ReadModel, Standing, Unanswered};
use engine_domain::{AccountId, Currency, Timestamp};
use eventlog::Log;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use host::clock;
use host::task::Shutdown;
use sqlx::Connection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use wire::billing::TransactionPage;
use wire::journal::JOURNAL;

/// Journal records applied together at most: a transaction of some ten milliseconds.
const BATCH: usize = 1_000;
/// After something that failed.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// A query that meets a change of builds is asked again.
const TRIES: usize = 5;
/// How often a checkpoint is looked at that somebody else moves,
const FOLLOWED_EVERY: Duration = Duration::from_millis(100);
/// and for how long it may stand still before this one stands in: as engines do for each other.
const STANDS_IN_AFTER: Duration = Duration::from_millis(500);
/// How often the gauges are set.
const MEASURED_EVERY: Duration = Duration::from_secs(1);

/// Where each shard's journal goes on: `None` until it is certain that the database was made from this journal.
type Progress = watch::Sender<Option<u64>>;

/// Projects a ledger.
pub struct Projector {
    store: Store,
    log: Arc<dyn Log>,
    dead_letters: DeadLetters,
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
    /// The build that was live when it was looked at last.
    live: Arc<BTreeMap<Projection, AtomicI32>>,
}

impl Projections {
    fn progress(&self, projection: Projection, shard: u32) -> &watch::Receiver<Option<u64>> {
        &self.progress[&projection][shard as usize]
    }

    /// Answers from a projection, of these shards, if it was made from this journal and is whole as to this account, or as
    /// to all.
    fn answer<'a, T: Send + 'a>(
        &'a self,
        projection: Projection,
        account: Option<&'a AccountId>,
        mut shards: impl Iterator<Item = u32> + Send + 'a,
        ask: impl Fn() -> BoxFuture<'a, Result<T, Error>> + Send + Sync + 'a,
    ) -> Answer<'a, T> {
        async move {
            let name = projection.as_str();
            if let Some(shard) = shards.find(|shard| self.progress(projection, *shard).borrow().is_none()) {
                return Err(Unanswered(format!("the projection `{name}` of shard {shard} has not begun")));
            }
            for _ in 0..TRIES {
                let asked = async { Ok((ask().await?, self.store.live_as_to(projection, account).await?)) };
                let asked: Result<_, Error> =
                    clock::timeout(self.store.answer_within(), asked).await.unwrap_or(Err(Error::Silent));
                let (answer, live) = asked.map_err(|error| Unanswered(error.to_string()))?;
                // What was left out of a build before the answer was read is known behind it, if it was the same build.
                if self.live[&projection].swap(live.number, Ordering::Relaxed) != live.number {
                    continue;
                }
                if live.is_unverified {
                    let left_out = format!("the projection `{name}` leaves something out: see `crossfade dlq list`");
                    return Err(Unanswered(left_out));
                }
                return Ok(answer);
            }
            Err(Unanswered(format!("the projection `{name}` is made anew again and again")))
        }
        .boxed()
    }

    /// How many rows of the live build of a projection are known to be wrong.
    pub(super) async fn known_wrong(&self, projection: Projection) -> Result<u64, Error> {
        let known = self.store.known_wrong(projection);
        clock::timeout(self.store.answer_within(), known).await.unwrap_or(Err(Error::Silent))
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
        let ask = move || self.store.standings_at(account, shards, at).boxed();
        self.answer(Projection::Balance, Some(account), shards.iter().copied(), ask)
    }

    fn history<'a>(&'a self, query: &'a HistoryQuery<'a>) -> Answer<'a, TransactionPage> {
        let ask = move || self.store.history(query, self.shards).boxed();
        self.answer(Projection::History, Some(query.account), 0..self.shards, ask)
    }

    fn transactions<'a>(
        &'a self,
        since: Option<Timestamp>,
        after: Option<&'a Cursor>,
        limit: usize,
    ) -> Answer<'a, TransactionPage> {
        let ask = move || self.store.transactions(since, after, limit, self.shards).boxed();
        self.answer(Projection::History, None, 0..self.shards, ask)
    }

    fn daily(&self, currency: Currency, first: Day, last: Day) -> Answer<'_, Daily> {
        let ask = move || self.store.daily(currency, first, last).boxed();
        self.answer(Projection::History, None, 0..self.shards, ask)
    }
}

/// What the database answers, unless it is silent.
async fn answered<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    clock::timeout(TAKEN_WITHIN, asked).await.unwrap_or(Err(Error::Silent))
}

/// Drops what is left of builds that were not finished, unless somebody builds.
async fn clean_up(store: &Store) {
    for projection in Projection::ALL {
        let cleaned = async {
            let mut connection = store.connect().await?;
            if builds_alone(&mut connection, shape(projection)).await? {
                drop_others(&mut connection, shape(projection)).await?;
            }
            connection.close().await?;
            Ok::<(), Error>(())
        };
        if let Err(error) = answered(cleaned).await {
            tracing::warn!(projection = projection.as_str(), %error, "what is left of an earlier build stays");
        }
    }
}

/// What a projection consists of.
pub(super) fn shape(projection: Projection) -> &'static Shape {
    match projection {
        Projection::Balance => &balances::SHAPE,
        Projection::History => &history::SHAPE,
    }
}

impl Projector {
    /// A projector of a ledger of so many shards, and what it makes.
    pub(crate) fn new(
        store: Store,
        log: Arc<dyn Log>,
        dead_letters: DeadLetters,
        ledger: String,
        shards: u32,
    ) -> (Self, Projections) {
        let none_yet = |projection| (projection, (0..shards).map(|_| Progress::new(None)).collect());
        let progress: BTreeMap<Projection, Vec<Progress>> = Projection::ALL.into_iter().map(none_yet).collect();
        let subscribe = |(projection, all): (&Projection, &Vec<Progress>)| {
            (*projection, all.iter().map(Progress::subscribe).collect())
        };
        let seen = progress.iter().map(subscribe).collect();
        let live = Arc::new(Projection::ALL.into_iter().map(|projection| (projection, AtomicI32::new(0))).collect());
        let projections = Projections { store: store.clone(), shards, progress: seen, live };
        (Self { store, log, dead_letters, ledger, shards, progress }, projections)
    }

    /// Brings the database to what this program expects, and makes what is not there; `false` while it does not answer.
    ///
    /// # Errors
    /// When it is not one for this program or this ledger.
    pub async fn open(&self) -> Result<bool, Error> {
        let opened = async {
            self.store.migrate().await?;
            for projection in Projection::ALL {
                self.store.live(shape(projection), &self.ledger, self.shards).await?;
            }
            Ok(())
        };
        match opened.await {
            Ok(()) => Ok(true),
            Err(error @ (Error::Newer(_) | Error::OtherLedger { .. } | Error::Config { .. })) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "projections wait for the database");
                Ok(false)
            }
        }
    }

    /// Projects until `shutdown`; first makes sure that the database is `opened`. While it does not do as it is asked, this
    /// waits and says so; an engine that writes is ready all the same.
    ///
    /// # Errors
    /// As [`Projector::open`].
    pub async fn run(self, mut opened: bool, shutdown: Shutdown) -> Result<(), Error> {
        while !opened {
            tokio::select! {
                () = clock::sleep(TRY_AGAIN) => {}
                () = shutdown.stopped() => return Ok(()),
            }
            let again = tokio::select! {
                again = self.open() => again,
                () = shutdown.stopped() => return Ok(()),
            };
            opened = again.inspect_err(|error| tracing::error!(%error, "there will be no projections"))?;
        }
        let Self { store, log, dead_letters, ledger, shards, progress } = self;
        let store = store.for_projecting();
        tokio::select! {
            () = clean_up(&store) => {}
            () = shutdown.stopped() => return Ok(()),
        }
        let subscribe = |(projection, all): (&Projection, &Vec<Progress>)| {
            (*projection, all.iter().map(Progress::subscribe).collect())
        };
        let seen = progress.iter().map(subscribe).collect();
        let all = progress.into_iter().flat_map(|(projection, progress)| {
            let parts = (0..shards).zip(progress).map(move |(shard, progress)| (projection, shard, progress));
            Vec::from_iter(parts)
        });
        let all = all.map(|(projection, shard, progress)| {
            let (store, log, ledger) = (store.clone(), Arc::clone(&log), ledger.clone());
            let dead_letters = dead_letters.clone();
            let projecting = Projecting { store, log, dead_letters, ledger, projection, shard, shards, progress };
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

/// Projects one shard into whatever generation is live.
struct Projecting {
    store: Store,
    log: Arc<dyn Log>,
    dead_letters: DeadLetters,
    ledger: String,
    projection: Projection,
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
            if let Err(trouble) = trouble {
                if matches!(trouble, Error::OtherLedger { .. } | Error::OtherJournal { .. } | Error::Checkpoint { .. })
                {
                    // Whatever the database says now is not what was applied.
                    self.progress.send_replace(None);
                }
                tracing::warn!(projection = self.projection.as_str(), shard = self.shard, %trouble, "a projection waits");
                tokio::select! {
                    () = shutdown.stopped() => return,
                    () = clock::sleep(TRY_AGAIN) => {}
                }
            }
        }
    }

    /// Applies from the checkpoint of the live generation on, until something fails. While somebody else moves the
    /// checkpoint, this one follows.
    async fn project(&self) -> Result<(), Error> {
        loop {
            let (part, mut reader) = answered(self.begin()).await?;
            self.progress.send_replace(Some(reader.next()));
            let mut journal = self.log.tail(JOURNAL, self.shard, reader.next());
            loop {
                let records = journal.next(BATCH).await?;
                let taken = part.take(&mut reader, &records).await;
                self.progress.send_replace(Some(reader.next()));
                match taken? {
                    Some(times) => self.took(&times),
                    // Also when another generation went live, which is looked for then.
                    None => break,
                }
            }
            self.follow(&part.generation, reader.next()).await?;
        }
    }

    /// The live generation, and where it goes on.
    async fn begin(&self) -> Result<(Part, Reader), Error> {
        let part = Part {
            store: self.store.clone(),
            log: Arc::clone(&self.log),
            dead_letters: self.dead_letters.clone(),
            ledger: self.ledger.clone(),
            projection: self.projection,
            generation: self.store.live(shape(self.projection), &self.ledger, self.shards).await?,
            shard: self.shard,
            shards: self.shards,
        };
        let reader = part.reader().await?;
        part.tell_what_is_left_out().await?;
        Ok((part, reader))
    }

    /// Looks at the checkpoint as long as somebody else moves it.
    async fn follow(&self, generation: &Generation, mut next: u64) -> Result<(), Error> {
        let mut moved = clock::now();
        let mut stands_in_after = Duration::ZERO;
        loop {
            clock::sleep(FOLLOWED_EVERY).await;
            // A generation that is gone has none.
            let kept = answered(self.store.checkpoint(generation, self.shard)).await?;
            let Some(reader) = kept else { return Ok(()) };
            if reader.next() > next {
                (next, moved, stands_in_after) = (reader.next(), clock::now(), STANDS_IN_AFTER);
                self.progress.send_replace(Some(next));
            } else if moved.elapsed() >= stands_in_after {
                // It does not move, or was only held for a moment.
                return Ok(());
            }
        }
    }

    fn took(&self, times: &[Timestamp]) {
        let now = clock::unix_micros();
        for at in times {
            let seconds = Duration::from_micros(now.saturating_sub(at.0).try_into().unwrap_or(0)).as_secs_f64();
            ::metrics::histogram!(metrics::EVENT_TO_PROJECTION_SECONDS, "projection" => self.projection.as_str())
                .record(seconds);
        }
    }
}
