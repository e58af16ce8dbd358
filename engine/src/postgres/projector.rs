//! Follows the journals and applies what was accepted: per projection and shard one task.

use super::generations::{Generation, Shape, builds_alone, drop_others};
use super::part::{Part, TAKEN_WITHIN};
use super::projections::Projections;
use super::store::{Error, Store};
use super::{balances, history};
use crate::dead_letters::DeadLetters;
use crate::metrics;
use crate::shard::reader::Reader;
use crate::view::read_model::Projection;
use engine_domain::Timestamp;
use eventlog::{Log, ReadError, Record};
use futures_util::future::join_all;
use host::clock::{self, Instant};
use host::task::Shutdown;
use sqlx::Connection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wire::journal::JOURNAL;

/// Journal records applied together at most: a transaction of some ten milliseconds.
const BATCH: usize = 1_000;
/// After something that failed.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Trouble that lasts is said so often.
const SAID_EVERY: Duration = Duration::from_secs(30);
/// A journal that a checkpoint is not of is read to its beginning so often.
const READ_WHOLLY_EVERY: Duration = Duration::from_secs(60);
/// How often a checkpoint is looked at that somebody else moves,
const FOLLOWED_EVERY: Duration = Duration::from_millis(100);
/// also one where nothing comes: the database may be another one than it was,
const LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
/// and for how long it may stand still before this one stands in: as engines do for each other.
const STANDS_IN_AFTER: Duration = Duration::from_millis(500);
/// How often the gauges are set.
const MEASURED_EVERY: Duration = Duration::from_secs(1);

/// How far a shard of a projection is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Applied {
    /// Where the journal goes on, by the database.
    pub(super) next: u64,
    /// What every answer has to include. `None` until it is certain that the database was made from this journal, and includes
    /// what the journal had when that was found out: what a database happens to have while it is made anew is no answer, not
    /// even a stale one. While it is that journal it never falls: a database that knows less than it did is not believed.
    pub(super) known: Option<u64>,
}

type Progress = watch::Sender<Applied>;

/// The same for those who only look.
pub(super) type Seen = BTreeMap<Projection, Vec<watch::Receiver<Applied>>>;

fn seen(progress: &BTreeMap<Projection, Vec<Progress>>) -> Seen {
    progress.iter().map(|(projection, all)| (*projection, all.iter().map(Progress::subscribe).collect())).collect()
}

/// Projects a ledger.
pub struct Projector {
    store: Store,
    log: Arc<dyn Log>,
    dead_letters: DeadLetters,
    ledger: String,
    shards: u32,
    progress: BTreeMap<Projection, Vec<Progress>>,
}

/// What was said last of what does not work, and when: the same is not said twice a second.
#[derive(Debug, Default)]
struct Said(Option<(String, Instant)>);

impl Said {
    /// Whether this is new, or was said long ago; then it counts as said now.
    fn is_to_be_said(&mut self, trouble: &Error) -> bool {
        let trouble = trouble.to_string();
        let is_known = self.0.as_ref().is_some_and(|(said, at)| *said == trouble && at.elapsed() < SAID_EVERY);
        if !is_known {
            self.0 = Some((trouble, clock::now()));
        }
        !is_known
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
        let none_yet = |projection| (projection, (0..shards).map(|_| Progress::new(Applied::default())).collect());
        let progress: BTreeMap<Projection, Vec<Progress>> = Projection::ALL.into_iter().map(none_yet).collect();
        let seen = seen(&progress);
        let projections = Projections { store: store.clone(), ledger: ledger.clone(), shards, progress: seen };
        (Self { store, log, dead_letters, ledger, shards, progress }, projections)
    }

    /// Brings the database to what this program expects, and makes what is not there; `false` while it does not answer.
    ///
    /// # Errors
    /// When it is not one for this program or this ledger.
    pub async fn open(&self) -> Result<bool, Error> {
        self.open_and_say(&mut Said::default()).await
    }

    async fn open_and_say(&self, said: &mut Said) -> Result<bool, Error> {
        let opened = async {
            self.store.migrate().await?;
            for projection in Projection::ALL {
                answered(self.store.live(shape(projection), &self.ledger, self.shards)).await?;
            }
            Ok(())
        };
        match opened.await {
            Ok(()) => Ok(true),
            Err(error @ (Error::Newer(_) | Error::OtherLedger { .. } | Error::Config { .. })) => Err(error),
            Err(error) => {
                if said.is_to_be_said(&error) {
                    let error = self.store.reason_of(error).await;
                    tracing::warn!(%error, "projections wait for the database");
                }
                Ok(false)
            }
        }
    }

    /// Projects until `shutdown`; first makes sure that the database is `opened`. While it does not do as it is asked, this
    /// waits and says so, and the gauges show how far behind it is; an engine that writes is ready all the same.
    ///
    /// # Errors
    /// As [`Projector::open`], at the end.
    pub async fn run(self, opened: bool, shutdown: Shutdown) -> Result<(), Error> {
        let measures = measure(Arc::clone(&self.log), seen(&self.progress), shutdown.clone());
        futures_util::future::join(self.project(opened, shutdown), measures).await.0
    }

    async fn project(self, mut opened: bool, shutdown: Shutdown) -> Result<(), Error> {
        let mut said = Said::default();
        while !opened {
            tokio::select! {
                () = clock::sleep(TRY_AGAIN) => {}
                () = shutdown.stopped() => return Ok(()),
            }
            let again = tokio::select! {
                again = self.open_and_say(&mut said) => again,
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
        let all = progress.into_iter().flat_map(|(projection, progress)| {
            let parts = (0..shards).zip(progress).map(move |(shard, progress)| (projection, shard, progress));
            Vec::from_iter(parts)
        });
        let all = all.map(|(projection, shard, progress)| {
            let (store, log, ledger) = (store.clone(), Arc::clone(&log), ledger.clone());
            let dead_letters = dead_letters.clone();
            let projecting =
                Projecting { store, log, dead_letters, ledger, projection, shard, shards, progress, foreign: None };
            let running = host::task::spawn(projecting.run(shutdown.clone()));
            async move {
                if let Err(panic) = running.await {
                    tracing::error!(projection = projection.as_str(), shard, %panic, "a projection ended badly");
                }
            }
        });
        join_all(Vec::from_iter(all)).await;
        Ok(())
    }
}

/// Sets the gauges of how far the projections are behind, one look at a time: the log may take its time to answer.
async fn measure(log: Arc<dyn Log>, seen: Seen, shutdown: Shutdown) {
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
                let lag = end.saturating_sub(seen[shard].borrow().next) as f64;
                let name = projection.as_str();
                ::metrics::gauge!(
                    metrics::PROJECTION_LAG_RECORDS, "projection" => name, "partition" => number.to_string()
                )
                .set(lag);
            }
        }
    }
}

/// A checkpoint that was found to be of another journal, in a generation, when ours ended there.
struct Foreign {
    generation: Generation,
    reader: Reader,
    end: u64,
    found: Instant,
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
    foreign: Option<Foreign>,
}

impl Projecting {
    async fn run(mut self, shutdown: Shutdown) {
        let mut said = Said::default();
        loop {
            let trouble = tokio::select! {
                () = shutdown.stopped() => return,
                ended = self.project() => ended,
            };
            if let Err(trouble) = trouble {
                if matches!(trouble, Error::OtherLedger { .. } | Error::OtherJournal { .. } | Error::Checkpoint { .. })
                {
                    // Whatever the database says now is not what was applied.
                    self.progress.send_replace(Applied::default());
                }
                if said.is_to_be_said(&trouble) {
                    let trouble = tokio::select! {
                        () = shutdown.stopped() => return,
                        trouble = self.store.reason_of(trouble) => trouble,
                    };
                    tracing::warn!(projection = self.projection.as_str(), shard = self.shard, %trouble, "a projection waits");
                }
                tokio::select! {
                    () = shutdown.stopped() => return,
                    () = clock::sleep(TRY_AGAIN) => {}
                }
            }
        }
    }

    /// Applies from the checkpoint of the live generation on, until something fails. While somebody else moves the
    /// checkpoint, this one follows.
    async fn project(&mut self) -> Result<(), Error> {
        loop {
            let (part, mut reader) = answered(self.begin()).await?;
            self.check(&part, &reader).await?;
            part.tell_what_is_left_out().await?;
            let end = self.log.end(JOURNAL, self.shard).await?;
            self.applied(reader.next(), end);
            let mut journal = self.log.tail(JOURNAL, self.shard, reader.next());
            loop {
                let Some(records) = self.next(&part, &reader, journal.next(BATCH)).await? else { break };
                let taken = part.take(&mut reader, &records).await;
                self.applied(reader.next(), end);
                match taken? {
                    Some(times) => self.took(&times),
                    // Also when another generation went live, which is looked for then.
                    None => break,
                }
            }
            self.follow(&part, reader.next(), end).await?;
        }
    }

    /// Says how far the database is; it is believed once it includes what stands before `end`.
    fn applied(&self, next: u64, end: u64) {
        self.progress.send_modify(|applied| {
            applied.next = next;
            applied.known = applied.known.or((next >= end).then_some(next)).map(|known| known.max(next));
        });
    }

    /// Makes sure that the database was made from this journal; is not believed any more as soon as that is in doubt. For a
    /// checkpoint that is not of it the whole journal is read once, and again now and then.
    async fn check(&mut self, part: &Part, reader: &Reader) -> Result<(), Error> {
        let is_here = |foreign: &&Foreign| {
            let is_same = foreign.reader.next() == reader.next() && foreign.reader.note() == reader.note();
            is_same && foreign.generation == part.generation && foreign.found.elapsed() < READ_WHOLLY_EVERY
        };
        if let Some(Foreign { end, .. }) = self.foreign.as_ref().filter(is_here) {
            return Err(Error::OtherJournal { shard: self.shard, next: reader.next(), end: *end });
        }
        let doubted = || {
            self.progress.send_replace(Applied::default());
        };
        let checked = part.check(reader, doubted).await;
        // Of one that ends before the checkpoint nothing was read.
        if let Err(Error::OtherJournal { next, end, .. }) = checked
            && next <= end
        {
            let (generation, reader) = (part.generation.clone(), reader.clone());
            self.foreign = Some(Foreign { generation, reader, end, found: clock::now() });
        }
        checked
    }

    /// The next records; `None` when the checkpoint is not where this one left it while nothing comes: somebody else has
    /// gone on, or the database was replaced by one that knows less than it was believed to include, or by a foreign one.
    async fn next(
        &self,
        part: &Part,
        reader: &Reader,
        records: impl Future<Output = Result<Vec<Record>, ReadError>>,
    ) -> Result<Option<Vec<Record>>, Error> {
        let mut records = std::pin::pin!(records);
        loop {
            match clock::timeout(LOOKED_AT_EVERY, &mut records).await {
                Ok(records) => return Ok(Some(records?)),
                Err(_) => {
                    let kept = answered(self.store.checkpoint(&part.generation, self.shard)).await?;
                    let is_here = match kept {
                        Some(kept) => kept.next() == reader.next() && kept.note() == reader.note(),
                        None => reader.next() == 0,
                    };
                    if !is_here {
                        return Ok(None);
                    }
                }
            }
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
        Ok((part, reader))
    }

    /// Looks at the checkpoint as long as somebody else moves it, who may do so from another journal.
    async fn follow(&mut self, part: &Part, mut next: u64, end: u64) -> Result<(), Error> {
        let mut checked = None;
        let mut moved = clock::now();
        let mut stands_in_after = Duration::ZERO;
        loop {
            clock::sleep(FOLLOWED_EVERY).await;
            // A generation that is gone has none.
            let kept = answered(self.store.checkpoint(&part.generation, self.shard)).await?;
            let Some(reader) = kept else { return Ok(()) };
            if reader.next() > next {
                if checked.is_none_or(|at: Instant| at.elapsed() >= LOOKED_AT_EVERY) {
                    self.check(part, &reader).await?;
                    checked = Some(clock::now());
                }
                (next, moved, stands_in_after) = (reader.next(), clock::now(), STANDS_IN_AFTER);
                self.applied(next, end);
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
