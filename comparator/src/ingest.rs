//! Follows the four cutover topics, merges them by log time, and keeps the index.
//!
//! The log's times rise strictly over all topics, and whoever has seen a record can read every record with a
//! smaller time. So each round takes the newest time seen in any topic, reads every topic up to it, and folds in
//! the order of times: an index that is rebuilt later folds in the same order and says the same.

use crate::index::{self, Index, Inquiry};
use crate::rollout::gates::Figures;
use eventlog::{Log, ReadError, Record, Tail};
use host::clock;
use host::task::Shutdown;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use wire::rollout::FrontBoot;
use wire::scalar::Timestamp;

/// The topics, in the order of [`Progress::next`].
pub const TOPICS: [&str; 4] = [wire::exchange::TOPIC, wire::shadow::TOPIC, wire::rollout::TOPIC, wire::decision::TOPIC];
/// The place of `cutover.decisions` among the topics.
pub const DECISIONS: usize = 3;

/// Records read of a topic at once.
const PAGE: usize = 2_000;
/// Records folded while nobody else may look at the index: a few milliseconds.
const HOLD: usize = 500;
/// After a failed read of the log.
const PAUSE: Duration = Duration::from_millis(500);

/// How far the index is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Per topic the next offset to be folded.
    pub next: [u64; 4],
    /// Whether everything that was in the log at the start is folded.
    pub caught_up: bool,
    /// Why the index stands still, if it does.
    pub failed: Option<String>,
}

/// Why a round did not end well.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    /// The log could not be read; it is tried again.
    #[error("cannot read the log: {0}")]
    Reading(#[from] ReadError),
    /// A record must not be skipped and cannot be folded: the index stands still until the program is mended.
    #[error(transparent)]
    Folding(#[from] index::Error),
}

/// The index and how it is kept.
pub struct Ingest {
    log: Arc<dyn Log>,
    index: RwLock<Index>,
    progress: watch::Sender<Progress>,
    inquiries: mpsc::UnboundedSender<Inquiry>,
}

impl Ingest {
    /// An index that has folded nothing; what it wants to know is sent to `inquiries` once it has caught up.
    pub fn new(log: Arc<dyn Log>, index: Index, inquiries: mpsc::UnboundedSender<Inquiry>) -> Self {
        let progress = Progress { next: [0; 4], caught_up: false, failed: None };
        Self { log, index: RwLock::new(index), progress: watch::Sender::new(progress), inquiries }
    }

    /// Looks at the index; nothing is folded meanwhile, so be quick.
    pub fn look<T>(&self, at: impl FnOnce(&Index) -> T) -> T {
        at(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How far the index is.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Is told whenever the index has moved on.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Waits until the record at `offset` of a topic is folded; whether it was in time.
    pub async fn folded(&self, topic: usize, offset: u64, within: Duration) -> bool {
        self.reached(|progress| progress.next[topic] > offset, within).await
    }

    /// Waits until everything is folded that is in the log now; whether it was in time.
    pub async fn settle(&self, within: Duration) -> bool {
        let Ok(ends) = ends(self.log.as_ref()).await else { return false };
        self.reached(|progress| covers(&progress.next, &ends), within).await
    }

    async fn reached(&self, there: impl Fn(&Progress) -> bool, within: Duration) -> bool {
        let mut progress = self.progress.subscribe();
        // An index that stands still will not get there.
        let wait = progress.wait_for(|progress| there(progress) || progress.failed.is_some());
        matches!(clock::timeout(within, wait).await, Ok(Ok(progress)) if there(&progress))
    }

    /// Keeps the index until `shutdown`. At a record that it can neither fold nor skip it stands still, says so,
    /// and every gate stays closed.
    pub async fn run(&self, shutdown: &Shutdown) {
        let Some(start) = self.first_ends(shutdown).await else { return };
        let mut merge = Merge::default();
        self.publish(&merge, &start);
        while !shutdown.is_stopping() {
            let round = tokio::select! {
                round = self.round(&mut merge, &start) => round,
                () = shutdown.stopped() => return,
            };
            let Err(interrupted) = round else { continue };
            tracing::error!(error = %interrupted, "the index stands still");
            self.progress.send_modify(|progress| progress.failed = Some(interrupted.to_string()));
            match interrupted {
                Interrupted::Reading(_) => tokio::select! {
                    () = clock::sleep(PAUSE) => {}
                    () = shutdown.stopped() => return,
                },
                Interrupted::Folding(_) => return,
            }
        }
    }

    async fn first_ends(&self, shutdown: &Shutdown) -> Option<[u64; 4]> {
        while !shutdown.is_stopping() {
            match ends(self.log.as_ref()).await {
                Ok(ends) => return Some(ends),
                Err(error) => {
                    tracing::error!(%error, "cannot read the log");
                    clock::sleep(PAUSE).await;
                }
            }
        }
        None
    }

    /// Reads what is new, up to one time, and folds it; waits when nothing is new.
    async fn round(&self, merge: &mut Merge, start: &[u64; 4]) -> Result<(), Interrupted> {
        merge.read(self.log.as_ref()).await?;
        let Some(newest) = merge.newest() else {
            return Ok(self.wait(merge).await?);
        };
        // Now that a record of this time has been seen, every record before it can be read.
        let complete = merge.read(self.log.as_ref()).await?;
        let until = newest.min(complete);
        loop {
            let batch = merge.take(until, HOLD);
            if batch.is_empty() {
                return Ok(());
            }
            self.fold(merge, &batch)?;
            self.publish(merge, start);
            // A rebuild of a long log does not keep other tasks from running.
            host::task::yield_now().await;
        }
    }

    fn fold(&self, merge: &mut Merge, batch: &[(usize, Record)]) -> Result<(), index::Error> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for (topic, record) in batch {
            index.fold(TOPICS[*topic], record.offset, record.at_micros, &record.value)?;
            merge.folded[*topic] = record.offset + 1;
        }
        Ok(())
    }

    fn publish(&self, merge: &Merge, start: &[u64; 4]) {
        let caught_up = covers(&merge.folded, start);
        if caught_up && !self.progress.borrow().caught_up {
            tracing::info!(offsets = ?merge.folded, "the index has caught up with the log");
        }
        // Before that, an inquiry may have its answer further on in the log.
        if caught_up {
            let inquiries = self.index.write().unwrap_or_else(PoisonError::into_inner).take_inquiries();
            for inquiry in inquiries {
                // Nobody is left to answer only while shutting down.
                let _ = self.inquiries.send(inquiry);
            }
        }
        self.progress.send_modify(|progress| {
            *progress = Progress { next: merge.folded, caught_up, failed: None };
        });
    }

    /// Waits until some topic has more.
    async fn wait(&self, merge: &Merge) -> Result<(), ReadError> {
        let mut tails: Vec<Box<dyn Tail>> = Vec::with_capacity(TOPICS.len());
        for (topic, next) in TOPICS.iter().zip(merge.next) {
            tails.push(self.log.tail(topic, crate::chain::PARTITION, next));
        }
        let more = tails.iter_mut().map(|tail| tail.next(1));
        let (first, _, _) = futures_util::future::select_all(more).await;
        first.map(|_| ())
    }

    /// What the gates look at.
    pub fn figures(&self, now: Timestamp, connected: Vec<FrontBoot>, drained_within_ms: u64) -> Figures {
        let progress = self.progress();
        let behind = match (&progress.failed, progress.caught_up) {
            (Some(why), _) => Some(format!("the index stands still: {why}")),
            (None, false) => Some("the comparator has not caught up with the log since it started".to_owned()),
            (None, true) => None,
        };
        let inputs = self.look(Index::gates_inputs);
        let oldest = [inputs.oldest_undelivered, inputs.oldest_captured].into_iter().flatten().min();
        Figures {
            behind,
            unknown: inputs.unknown_authority + inputs.unknown_shadow,
            gaps: inputs.gaps.into_iter().map(|gap| gap.id).collect(),
            connected,
            serving: inputs.serving,
            oldest_undelivered_micros: oldest.map(|since| now.since_micros(since)),
            drained_within_ms,
        }
    }
}

async fn ends(log: &dyn Log) -> Result<[u64; 4], ReadError> {
    let mut ends = [0; 4];
    for (topic, end) in TOPICS.iter().zip(&mut ends) {
        *end = log.end(topic, crate::chain::PARTITION).await?;
    }
    Ok(ends)
}

fn covers(next: &[u64; 4], ends: &[u64; 4]) -> bool {
    next.iter().zip(ends).all(|(next, end)| next >= end)
}

/// Records read and not folded yet, per topic in order.
#[derive(Default)]
struct Merge {
    waiting: [VecDeque<Record>; 4],
    /// Per topic the next offset to be read.
    next: [u64; 4],
    /// Per topic the next offset to be folded.
    folded: [u64; 4],
}

impl Merge {
    /// Reads on in every topic; answers the time up to which all of them have been read.
    async fn read(&mut self, log: &dyn Log) -> Result<i64, ReadError> {
        let mut complete = i64::MAX;
        for (place, topic) in TOPICS.iter().enumerate() {
            let (waiting, next) = (&mut self.waiting[place], &mut self.next[place]);
            loop {
                // A topic that is far ahead of the others waits for them in the log, not in memory.
                if waiting.len() >= PAGE {
                    complete = complete.min(waiting.back().map_or(i64::MAX, |record| record.at_micros));
                    break;
                }
                let records = log.read(topic, crate::chain::PARTITION, *next, PAGE).await?;
                let Some(last) = records.last() else { break };
                *next = last.offset + 1;
                waiting.extend(records);
            }
        }
        Ok(complete)
    }

    fn newest(&self) -> Option<i64> {
        self.waiting.iter().filter_map(|records| records.back()).map(|record| record.at_micros).max()
    }

    /// The next records up to a time, in order of time, at most `max`.
    fn take(&mut self, until: i64, max: usize) -> Vec<(usize, Record)> {
        let mut batch = Vec::new();
        while batch.len() < max {
            let first = self.waiting.iter().enumerate().filter_map(|(place, records)| {
                let record = records.front().filter(|record| record.at_micros <= until)?;
                Some((record.at_micros, place))
            });
            let Some((_, place)) = first.min() else { break };
            batch.extend(self.waiting[place].pop_front().map(|record| (place, record)));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventlog::{EmbeddedLog, NewRecord};

    /// A small generator, so that a failure names the seed that repeats it.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }
    }

    /// One round as [`Ingest::round`] makes it; the folded records by topic and offset.
    async fn round(merge: &mut Merge, log: &dyn Log, folded: &mut Vec<(i64, usize, u64)>) {
        merge.read(log).await.unwrap();
        let Some(newest) = merge.newest() else { return };
        let complete = merge.read(log).await.unwrap();
        loop {
            let batch = merge.take(newest.min(complete), HOLD);
            if batch.is_empty() {
                return;
            }
            folded.extend(batch.iter().map(|(topic, record)| (record.at_micros, *topic, record.offset)));
        }
    }

    #[tokio::test]
    async fn live_or_rebuilt_records_are_folded_in_one_order() {
        let seed = u64::from(std::process::id());
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(directory.path()).unwrap();
        let (mut live, mut seen) = (Merge::default(), Vec::new());
        let mut written = 0;
        // More than a page in one topic, so that a rebuild has to wait for the others in the log.
        while written < 4 * PAGE {
            let topic = [0, 0, 0, 1, 2, 3][usize::try_from(dice.below(6)).unwrap()];
            let batch: Vec<NewRecord> = (0..=dice.below(300)).map(|_| NewRecord::of(vec![0])).collect();
            written += batch.len();
            log.append(TOPICS[topic], 0, batch).await.unwrap();
            if dice.below(3) == 0 {
                round(&mut live, log.as_ref(), &mut seen).await;
            }
        }
        while seen.len() < written {
            round(&mut live, log.as_ref(), &mut seen).await;
        }
        let (mut rebuilt, mut again) = (Merge::default(), Vec::new());
        while again.len() < written {
            round(&mut rebuilt, log.as_ref(), &mut again).await;
        }
        assert!(seen.is_sorted(), "seed {seed}: times rise");
        assert_eq!(seen, again, "seed {seed}");
    }
}
