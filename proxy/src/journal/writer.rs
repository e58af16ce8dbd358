//! The thread that numbers and writes: it takes whatever has gathered and writes it with one call.

use super::append::{Barrier, Entry, FAILED, Overruled, Shared, Slot};
use super::{Error, Fsync, boot, record};
use host::clock;
use host::disk::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use wire::exchange::{AuthorityResult, ExchangeBody, ExchangeRecord, GapReason};
use wire::scalar::Timestamp;
use wire::stored::encode;

/// Entries taken at once: enough to make one call worth it, few enough for the first to be answered soon.
const MAX_BATCH: usize = 512;
/// After a failed write, before the next attempt.
const RETRY: Duration = Duration::from_millis(50);
/// What keeps the front from being ready when the journal cannot be written.
const WRITING: &str = "journal";
const REASONS: [GapReason; 3] = [GapReason::Slow, GapReason::Full, GapReason::Failed];

pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Entry>,
    file: Arc<File>,
    path: PathBuf,
    /// Bytes of whole records in the file.
    length: u64,
    /// Whether bytes of a failed write may stand behind them.
    dirty: bool,
    /// Whether the last write failed.
    failing: bool,
    /// The number of the next record.
    next: u64,
    /// No record carries an earlier time than the one before it.
    at: Timestamp,
    /// What a failed write did not record and has to be recorded.
    again: Vec<Entry>,
    buffer: Vec<u8>,
}

/// Whom to tell what became of the batch.
enum Waiting {
    Intent(Arc<Slot>, oneshot::Sender<bool>),
    Result(Arc<Slot>, Box<AuthorityResult>, oneshot::Sender<bool>),
    Mark(String),
    Override(Overruled),
    Barrier(Barrier, oneshot::Sender<Barrier>),
    Gap(GapReason, u64),
    End(oneshot::Sender<()>),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, queue: Receiver<Entry>) -> Result<Self, Error> {
        let path = boot::segment(&shared.dir, 1);
        let file = Arc::new(disk::append_to(&path)?);
        disk::sync_parent(&path)?;
        lock_files(&shared).push(1);
        let at = Timestamp(clock::unix_micros());
        let (again, buffer) = (Vec::new(), Vec::new());
        Ok(Self { shared, queue, file, path, length: 0, dirty: false, failing: false, next: 1, at, again, buffer })
    }

    /// Writes until the end is recorded or nobody can ask for anything any more.
    pub(super) fn run(mut self) {
        loop {
            // Gaps may wait for room, and a failed write for another attempt: neither comes with an entry.
            let batch = match self.queue.recv_timeout(RETRY) {
                Ok(first) => self.gather(first),
                Err(RecvTimeoutError::Timeout) if self.again.is_empty() && self.must_make_room() => {
                    self.make_room();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) if self.again.is_empty() && !self.gaps_can_be_told() => continue,
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if self.write(batch) {
                break;
            }
        }
        self.shared.syncer.end();
        if self.shared.fsync == Fsync::Each {
            self.shared.syncer.sync();
        }
    }

    fn gather(&mut self, first: Entry) -> Vec<Entry> {
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH
            && let Ok(entry) = self.queue.try_recv()
        {
            batch.push(entry);
        }
        self.shared.queued.fetch_sub(batch.len() as u64, Ordering::Relaxed);
        batch
    }

    /// Records a batch; answers whether it was the last one.
    fn write(&mut self, batch: Vec<Entry>) -> bool {
        self.buffer.clear();
        self.at = self.at.max(Timestamp(clock::unix_micros()));
        let first = self.next;
        let ends = batch.iter().any(|entry| matches!(entry, Entry::End { .. }));
        let mut waiting = self.tell_gaps(ends);
        for entry in std::mem::take(&mut self.again).into_iter().chain(batch) {
            waiting.extend(self.put(entry));
        }
        let written = if self.buffer.is_empty() { Ok(()) } else { self.append() };
        match written {
            Ok(()) => self.written(waiting),
            Err(error) => {
                self.next = first;
                self.not_written(waiting, &error)
            }
        }
    }

    /// Numbers what an entry stands for and puts it into the buffer.
    fn put(&mut self, entry: Entry) -> Option<Waiting> {
        match entry {
            Entry::Intent(slot, done) => {
                let intent = slot.take()?;
                slot.sequence.store(self.next, Ordering::Release);
                self.encode(ExchangeBody::Intent(*intent));
                Some(Waiting::Intent(slot, done))
            }
            Entry::Result(slot, mut result, done) => {
                let intent = slot.sequence.load(Ordering::Acquire);
                // Its intent could not be written after all, and was counted as a gap then.
                if intent == FAILED {
                    return None;
                }
                result.intent = intent;
                match self.encode(ExchangeBody::Result(*result)) {
                    ExchangeBody::Result(result) => Some(Waiting::Result(slot, Box::new(result), done)),
                    _ => None,
                }
            }
            Entry::Mark(id) => {
                self.encode(ExchangeBody::Mark { id: id.clone() });
                Some(Waiting::Mark(id))
            }
            Entry::Override(change) => {
                let Overruled { on, reason, since } = change.clone();
                self.encode(ExchangeBody::Override { on, reason, since });
                Some(Waiting::Override(change))
            }
            Entry::Barrier(done) => Some(Waiting::Barrier(Barrier { sequence: self.next - 1, at: self.at }, done)),
            Entry::Nudge => None,
            Entry::End { clean, done } => {
                self.encode(ExchangeBody::Ended { clean });
                Some(Waiting::End(done))
            }
        }
    }

    fn encode(&mut self, body: ExchangeBody) -> ExchangeBody {
        let record = ExchangeRecord {
            front: self.shared.boot.front.clone(),
            boot: self.shared.boot.boot,
            sequence: self.next,
            at: self.at,
            body,
        };
        record::append(&mut self.buffer, &encode(&record), self.shared.boot.seed);
        self.next += 1;
        record.body
    }

    fn append(&mut self) -> io::Result<()> {
        if self.length >= self.shared.file_bytes {
            self.next_file()?;
        }
        if self.dirty {
            self.file.set_len(self.length)?;
            self.dirty = false;
        }
        self.dirty = true;
        (&*self.file).write_all(&self.buffer)?;
        self.dirty = false;
        self.length += self.buffer.len() as u64;
        self.shared.bytes.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn next_file(&mut self) -> io::Result<()> {
        // The first number of this batch, which is the first of the new file.
        let first = self.shared.written.load(Ordering::Acquire) + 1;
        if self.dirty {
            self.file.set_len(self.length)?;
        }
        let path = boot::segment(&self.shared.dir, first);
        self.file = Arc::new(disk::append_to(&path)?);
        self.shared.syncer.created(path.clone());
        self.path = path;
        (self.length, self.dirty) = (0, false);
        lock_files(&self.shared).push(first);
        Ok(())
    }

    /// Whether the journal stands at its bound with nothing but the file being written, all of which is in the log: a
    /// file ends only with a further record, and none is taken any more.
    fn must_make_room(&self) -> bool {
        let all_shipped = self.shared.shipped.load(Ordering::Acquire) >= self.next - 1;
        self.length > 0 && all_shipped && self.shared.is_full()
    }

    fn make_room(&mut self) {
        match self.next_file() {
            Ok(()) => self.shared.give_back(self.next - 1),
            Err(error) => tracing::warn!(%error, "cannot begin another file of the journal to give this one back"),
        }
    }

    /// Everybody is told that it is recorded; answers whether that was the end.
    fn written(&mut self, waiting: Vec<Waiting>) -> bool {
        let last = self.next - 1;
        self.shared.written.store(last, Ordering::Release);
        if !self.buffer.is_empty() {
            if std::mem::take(&mut self.failing) {
                tracing::info!("the journal can be written again");
                self.shared.readiness.cleared(WRITING);
            }
            self.shared.syncer.written(&self.file, last);
            if self.shared.fsync == Fsync::Each {
                self.shared.syncer.sync();
            }
        }
        let mut over = false;
        for one in waiting {
            match one {
                Waiting::Intent(_, done) | Waiting::Result(_, _, done) => drop(done.send(true)),
                Waiting::Barrier(barrier, done) => drop(done.send(barrier)),
                Waiting::Mark(_) | Waiting::Override(_) | Waiting::Gap(..) => {}
                Waiting::End(done) => {
                    self.shared.syncer.sync();
                    let _ = done.send(());
                    over = true;
                }
            }
        }
        over
    }

    /// Intents go on as gaps; everything else is tried again. Answers whether that was the end.
    fn not_written(&mut self, waiting: Vec<Waiting>, error: &io::Error) -> bool {
        if !std::mem::replace(&mut self.failing, true) {
            let path = self.path.display();
            tracing::error!(%path, %error, "cannot write the journal: exchanges go on without a record");
            self.shared.readiness.blocked(WRITING, format!("cannot write {path}: {error}"));
        }
        let mut over = false;
        for one in waiting {
            match one {
                Waiting::Intent(slot, done) => {
                    slot.sequence.store(FAILED, Ordering::Release);
                    self.shared.count_gap(GapReason::Failed);
                    let _ = done.send(false);
                }
                Waiting::Result(slot, result, done) => self.again.push(Entry::Result(slot, result, done)),
                Waiting::Mark(id) => self.again.push(Entry::Mark(id)),
                Waiting::Override(change) => self.again.push(Entry::Override(change)),
                Waiting::Barrier(_, done) => self.again.push(Entry::Barrier(done)),
                Waiting::Gap(reason, exchanges) => {
                    self.shared.gaps[reason as usize].fetch_add(exchanges, Ordering::Relaxed);
                }
                // The next start records the end, and that it was not a clean one.
                Waiting::End(done) => {
                    let _ = done.send(());
                    over = true;
                }
            }
        }
        over
    }

    /// Puts a record for each kind of gap into the buffer; at the bound only those that were not for want of room,
    /// unless nothing follows: whoever reads a clean end must not believe that nothing is missing.
    fn tell_gaps(&mut self, ends: bool) -> Vec<Waiting> {
        let mut told = Vec::new();
        for reason in REASONS {
            if !ends && reason == GapReason::Full && self.shared.is_full() {
                continue;
            }
            let exchanges = self.shared.gaps[reason as usize].swap(0, Ordering::Relaxed);
            if exchanges > 0 {
                self.encode(ExchangeBody::Gap { exchanges, reason });
                told.push(Waiting::Gap(reason, exchanges));
            }
        }
        told
    }

    fn gaps_can_be_told(&self) -> bool {
        REASONS.into_iter().any(|reason| {
            self.shared.gaps[reason as usize].load(Ordering::Relaxed) > 0
                && (reason != GapReason::Full || !self.shared.is_full())
        })
    }
}

fn lock_files(shared: &Shared) -> std::sync::MutexGuard<'_, Vec<u64>> {
    shared.files.lock().unwrap_or_else(PoisonError::into_inner)
}
