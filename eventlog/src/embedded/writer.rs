//! The writer thread: drains what was asked for, commits it as one, and only then shows and answers it.

use super::Shared;
use super::partition::Partition;
use super::store::{self, Store};
use crate::metrics::{LOG_APPEND_SECONDS, LOG_COMMITS_TOTAL};
use crate::port::{NewRecord, Record};
use host::clock::Instant;
use host::moment;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};

/// Appends in one commit at most: beyond it the answer of the first would wait for nothing.
const COMMIT_REQUESTS: usize = 2048;
/// Payload in one commit after which no further append joins it.
const COMMIT_BYTES: usize = 8 << 20;

/// What the writer is asked for.
pub(super) enum Request {
    /// Append a batch that is not empty.
    Append {
        /// To here.
        partition: Arc<Partition>,
        /// These.
        batch: Vec<NewRecord>,
        /// Asked for then.
        since: Instant,
        /// The offset of the first record, once durable.
        answer: oneshot::Sender<u64>,
    },
    /// Delete the records below an offset.
    DeleteBefore {
        /// Here.
        partition: Arc<Partition>,
        /// The offset.
        before: u64,
        /// Once durable.
        answer: oneshot::Sender<()>,
    },
}

/// An append that is part of the commit at hand.
struct Joined {
    first: u64,
    since: Instant,
    answer: oneshot::Sender<u64>,
}

/// What one commit adds to one partition.
struct Addition {
    partition: Arc<Partition>,
    end: u64,
    records: Vec<Record>,
}

/// Aborts when the writer panics: a log whose writer is gone would leave every caller waiting.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Runs until the last sender is gone and everything asked for is done.
pub(super) fn run(shared: &Shared, store: &Store, mut queue: mpsc::Receiver<Request>) {
    let _guard = AbortOnPanic;
    let mut last_at = shared.visible();
    while let Some(first) = queue.blocking_recv() {
        let mut commit = Commit::default();
        let mut next = Some(first);
        while let Some(request) = next.take() {
            match request {
                Request::Append { partition, batch, since, answer } => {
                    commit.join(partition, batch, since, answer, &mut last_at);
                    if commit.joined.len() < COMMIT_REQUESTS && commit.bytes < COMMIT_BYTES {
                        next = queue.try_recv().ok();
                    }
                }
                Request::DeleteBefore { partition, before, answer } => {
                    // Appends asked for before it are in the file before it.
                    std::mem::take(&mut commit).finish(shared, store);
                    delete_before(shared, store, &partition, before);
                    let _ = answer.send(());
                    next = queue.try_recv().ok();
                }
            }
        }
        commit.finish(shared, store);
    }
}

#[derive(Default)]
struct Commit {
    additions: Vec<Addition>,
    joined: Vec<Joined>,
    bytes: usize,
}

impl Commit {
    /// Gives the batch its offsets and times.
    fn join(
        &mut self,
        partition: Arc<Partition>,
        batch: Vec<NewRecord>,
        since: Instant,
        answer: oneshot::Sender<u64>,
        last_at: &mut i64,
    ) {
        // A commit touches some dozens of partitions at most; looking through them is quicker than hashing.
        let slot = match self.additions.iter().position(|addition| Arc::ptr_eq(&addition.partition, &partition)) {
            Some(slot) => slot,
            None => {
                let end = partition.writer_end();
                self.additions.push(Addition { partition, end, records: Vec::new() });
                self.additions.len() - 1
            }
        };
        let addition = &mut self.additions[slot];
        let first = addition.end;
        for NewRecord { key, value } in batch {
            *last_at = host::clock::unix_micros().max(*last_at + 1);
            self.bytes += key.len() + value.len();
            addition.records.push(Record { offset: addition.end, at_micros: *last_at, key, value });
            addition.end += 1;
        }
        self.joined.push(Joined { first, since, answer });
    }

    /// Commits, then shows, then answers.
    fn finish(self, shared: &Shared, store: &Store) {
        if self.joined.is_empty() {
            return;
        }
        let rows = self.additions.iter().map(|addition| store::Addition {
            name: addition.partition.name(),
            id: addition.partition.id(),
            records: &addition.records,
        });
        moment::passes("log-commits");
        let ids = match store.append(rows) {
            Ok(ids) => {
                moment::passes("log-committed");
                ids
            }
            Err(error) => die("commit", &error),
        };
        let records: usize = self.additions.iter().map(|addition| addition.records.len()).sum();
        shared.commits.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(LOG_COMMITS_TOTAL).increment(1);
        shared.records.fetch_add(records as u64, Ordering::Relaxed);
        // All records into memory, then one store that shows them all, then the waking: see `Shared::visible`.
        let (mut newest, visible) = (i64::MIN, shared.visible());
        let mut touched = Vec::with_capacity(self.additions.len());
        for (addition, id) in self.additions.into_iter().zip(ids) {
            newest = newest.max(addition.records.last().map_or(i64::MIN, |record| record.at_micros));
            addition.partition.take(id, addition.records, visible);
            touched.push(addition.partition);
        }
        shared.visible.store(newest, Ordering::Release);
        touched.iter().for_each(|partition| partition.wake());
        let seconds = metrics::histogram!(LOG_APPEND_SECONDS);
        let now = host::clock::now();
        for joined in self.joined {
            seconds.record(now.saturating_duration_since(joined.since).as_secs_f64());
            // Nobody waits any more: the records are in the log all the same.
            let _ = joined.answer.send(joined.first);
        }
    }
}

fn delete_before(shared: &Shared, store: &Store, partition: &Partition, before: u64) {
    let (begin, end) = (partition.begin(), partition.writer_end());
    let before = before.min(end);
    // A partition without a number has nothing to delete.
    let Some(id) = partition.id() else { return };
    if before <= begin {
        return;
    }
    if let Err(error) = store.delete_before(id, before, shared.visible()) {
        die("delete", &error);
    }
    shared.commits.fetch_add(1, Ordering::Relaxed);
    partition.begin_at(before);
}

/// After a failed commit nobody knows what is on the disk: see the invariants of [`super`].
fn die(what: &str, error: &redb::Error) -> ! {
    tracing::error!(%error, "the log cannot {what}: aborting, because nobody knows what is on the disk");
    std::process::abort()
}
