//! What callers ask of the journal: append, wait at most so long, go on.

use super::sync::Syncer;
use super::writer::Writer;
use super::{Boot, Error, Fsync, OldBoot, Opened, Options, boot, recover};
use crate::metrics::CAPTURE_GAPS;
use host::clock;
use host::disk::{self, DirLock};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use wire::exchange::{AuthorityResult, GapReason, Intent};
use wire::scalar::Timestamp;
use wire::words::Class;

/// Callers that are waiting for a record, beyond which more would only wait in vain.
const MAX_QUEUED: u64 = 65_536;
/// A file is full at this share of the bound, so that most of the journal can be given back piece by piece.
const FILES: u64 = 8;
/// … and at this size whatever the bound is.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The journal of this boot. Clones share it; with the last one it ends, unless [`Journal::end`] was called as if
/// the process had died.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Entry>,
}

/// What callers and the two threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) boot: Boot,
    pub(super) dir: PathBuf,
    pub(super) file_bytes: u64,
    pub(super) fsync: Fsync,
    pub(super) readiness: host::ops::Readiness,
    pub(super) syncer: Syncer,
    /// Bytes of all files, earlier boots included.
    pub(super) bytes: AtomicU64,
    /// The last number written.
    pub(super) written: AtomicU64,
    /// The last number known to be in the log.
    pub(super) shipped: AtomicU64,
    /// Entries not yet taken by the writer.
    pub(super) queued: AtomicU64,
    /// Exchanges without record that no `Gap` record tells of yet, by reason.
    pub(super) gaps: [AtomicU64; 3],
    /// The first number of each file, in order; the last one is being written.
    pub(super) files: Mutex<Vec<u64>>,
    max_bytes: u64,
    wait: Duration,
    _lock: DirLock,
}

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Entry {
    /// Record an intent, unless its caller has taken it back.
    Intent(Arc<Slot>, oneshot::Sender<bool>),
    /// Record the result of an intent.
    Result(Arc<Slot>, Box<AuthorityResult>, oneshot::Sender<bool>),
    /// Record a mark.
    Mark(String),
    /// Record a change of the override.
    Override(Overruled),
    /// Tell what is written when this is reached.
    Barrier(oneshot::Sender<Barrier>),
    /// Gaps have been counted.
    Nudge,
    /// Record the end; nothing follows.
    End { clean: bool, done: oneshot::Sender<()> },
}

/// Whether an operator of this front has overruled the dial, why, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overruled {
    /// Whether it is so.
    pub on: bool,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// An intent on its way into the journal.
#[derive(Debug)]
pub(super) struct Slot {
    /// Taken by the writer, or taken back by the caller who waited long enough.
    pub(super) intent: Mutex<Option<Box<Intent>>>,
    /// Its number once written; 0 before, [`FAILED`] when it could not be.
    pub(super) sequence: AtomicU64,
}

/// In place of a number: the record could not be written.
pub(super) const FAILED: u64 = u64::MAX;

/// What became of an intent.
#[derive(Debug)]
pub enum Recorded {
    /// It is in the journal, or on its way there: the result has to follow.
    Yes(Ticket),
    /// It is not, and was counted as a gap.
    Gap(GapReason),
}

/// An intent in the journal whose result is still to come. Dropped without one, the result is *unknown*.
#[derive(Debug)]
pub struct Ticket {
    journal: Journal,
    slot: Option<Arc<Slot>>,
}

/// A moment in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// The last number before it.
    pub sequence: u64,
    /// Every record before it carries this time or an earlier one, every record after it this one or a later.
    pub at: Timestamp,
}

impl Journal {
    /// Claims the directory, completes what earlier boots left there, and begins a new boot.
    ///
    /// # Errors
    /// When the directory cannot be used, another process uses it, or it is damaged.
    pub fn open(options: Options) -> Result<Opened, Error> {
        let lock = disk::lock_dir(&options.dir)?;
        let old = recover::all(&options.dir, Timestamp(clock::unix_micros()), options.salvage)?;
        let (boot, dir) = boot::begin(&options.dir, &options.front, host::random::u64(), options.lost_boot)?;
        let (queue, entries) = mpsc::channel();
        let shared = Arc::new(Shared {
            boot,
            dir,
            file_bytes: (options.max_bytes / FILES).clamp(1, MAX_FILE),
            fsync: options.fsync,
            syncer: Syncer::new(options.readiness.clone()),
            readiness: options.readiness,
            bytes: AtomicU64::new(old.iter().map(|boot| boot.bytes).sum()),
            written: AtomicU64::new(0),
            shipped: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            gaps: Default::default(),
            files: Mutex::default(),
            max_bytes: options.max_bytes,
            wait: options.wait,
            _lock: lock,
        });
        let writer = Writer::new(shared.clone(), entries)?;
        host::task::thread("journal-writer", move || writer.run())?;
        if let Fsync::Interval(interval) = options.fsync {
            let syncing = shared.clone();
            host::task::thread("journal-sync", move || syncing.syncer.run(interval))?;
        }
        Ok(Opened { journal: Self { shared, queue }, old })
    }

    /// The boot that this journal belongs to.
    pub fn boot(&self) -> &Boot {
        &self.shared.boot
    }

    /// The directory of this boot.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Whether it stands at its bound.
    pub fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// Bytes on disk, earlier boots included.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// The last number written.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Acquire)
    }

    /// The last number that is durable, and every change of it.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.shared.syncer.durable()
    }

    /// Makes durable now what was written.
    pub fn hurry(&self) {
        self.shared.syncer.hurry();
    }

    /// Records an intent, waiting for at most the configured time.
    pub async fn intent(&self, intent: Intent) -> Recorded {
        if self.is_full() {
            return self.gap(GapReason::Full);
        }
        if self.shared.queued.load(Ordering::Relaxed) >= MAX_QUEUED {
            return self.gap(GapReason::Slow);
        }
        let slot = Arc::new(Slot { intent: Mutex::new(Some(Box::new(intent))), sequence: AtomicU64::new(0) });
        let (done, written) = oneshot::channel();
        if !self.send(Entry::Intent(slot.clone(), done)) {
            return self.gap(GapReason::Failed);
        }
        match clock::timeout(self.shared.wait, written).await {
            Ok(Ok(true)) => {}
            // The writer has counted it.
            Ok(_) => return Recorded::Gap(GapReason::Failed),
            Err(clock::TimedOut) => {
                if slot.take().is_some() {
                    return self.gap(GapReason::Slow);
                }
                // It is being written at this moment: it will be there, only later.
            }
        }
        Recorded::Yes(Ticket { journal: self.clone(), slot: Some(slot) })
    }

    /// Records a mark; it is there before whatever is recorded afterwards.
    pub fn mark(&self, id: String) {
        self.send(Entry::Mark(id));
    }

    /// Records a change of the override; nobody waits for it.
    pub fn overruled(&self, change: Overruled) {
        self.send(Entry::Override(change));
    }

    /// What is written once everything asked for so far is; `None` when the journal has ended.
    pub async fn barrier(&self) -> Option<Barrier> {
        let (done, reached) = oneshot::channel();
        self.send(Entry::Barrier(done));
        reached.await.ok()
    }

    /// Records the end of this boot and makes it durable. Nothing is recorded afterwards.
    pub async fn end(&self, clean: bool) {
        let (done, ended) = oneshot::channel();
        self.send(Entry::End { clean, done });
        // Without an answer the writer has gone already, and the next start records the end.
        let _ = ended.await;
    }

    /// Notes that everything up to `sequence` is in the log; whether [`Journal::shipped`] would give something back.
    pub fn can_give_back(&self, sequence: u64) -> bool {
        self.shared.shipped.fetch_max(sequence, Ordering::AcqRel);
        let files = self.shared.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(1).is_some_and(|next| *next <= sequence + 1)
    }

    /// Gives back the files that hold nothing above `sequence`: it is all in the log. Blocks.
    pub fn shipped(&self, sequence: u64) {
        self.shared.shipped.fetch_max(sequence, Ordering::AcqRel);
        self.shared.give_back(sequence);
    }

    /// Forgets an earlier boot: it is all in the log. Blocks.
    ///
    /// # Errors
    /// When something cannot be removed; what is left is removed at the next start.
    pub fn forget(&self, old: &OldBoot) -> Result<(), Error> {
        old.remove()?;
        self.shared.bytes.fetch_sub(old.bytes, Ordering::Relaxed);
        Ok(())
    }

    fn gap(&self, reason: GapReason) -> Recorded {
        self.shared.count_gap(reason);
        self.send(Entry::Nudge);
        Recorded::Gap(reason)
    }

    /// Whether the writer is there to take it.
    fn send(&self, entry: Entry) -> bool {
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        self.queue.send(entry).is_ok()
    }
}

impl Shared {
    /// Gives back the files that hold nothing above `sequence`; never the one being written. Blocks.
    pub(super) fn give_back(&self, sequence: u64) {
        loop {
            let first = {
                let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
                match files[..] {
                    [first, next, ..] if next <= sequence + 1 => {
                        files.remove(0);
                        first
                    }
                    _ => return,
                }
            };
            let path = boot::segment(&self.dir, first);
            let length = disk::length(&path).ok().flatten().unwrap_or(0);
            match disk::remove(&path) {
                Ok(()) => {
                    self.bytes.fetch_sub(length, Ordering::Relaxed);
                }
                Err(error) => tracing::warn!(%error, "cannot give back a part of the journal"),
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.max_bytes
    }

    pub(super) fn count_gap(&self, reason: GapReason) {
        metrics::counter!(CAPTURE_GAPS).increment(1);
        self.gaps[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Slot {
    pub(super) fn take(&self) -> Option<Box<Intent>> {
        self.intent.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Ticket {
    /// Records the result (its `intent` is filled in), waiting for at most the configured time; later than that it
    /// is recorded all the same.
    pub async fn finish(mut self, result: AuthorityResult) {
        if let Some(written) = self.send(result) {
            let _ = clock::timeout(self.journal.shared.wait, written).await;
        }
    }

    fn send(&mut self, result: AuthorityResult) -> Option<oneshot::Receiver<bool>> {
        let (done, written) = oneshot::channel();
        let slot = self.slot.take()?;
        self.journal.send(Entry::Result(slot, Box::new(result), done));
        Some(written)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.slot.is_some() {
            self.send(AuthorityResult {
                intent: 0,
                class: Class::Unknown,
                status: 0,
                headers: Vec::new(),
                body: wire::scalar::Body::default(),
                duration_micros: 0,
                replayed: false,
                failure: Some("the front failed".to_owned()),
            });
        }
    }
}
