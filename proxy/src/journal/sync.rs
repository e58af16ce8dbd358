//! The thread that makes durable what was written, so that no caller waits for the disk's own time.

use host::disk::File;
use host::ops::Readiness;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What keeps the front from being ready when the disk does not take what was written.
const DISK: &str = "journal-disk";

/// What the writer hands over.
#[derive(Debug)]
pub(super) struct Syncer {
    work: Mutex<Work>,
    /// Held while files are made durable: who comes second must not report what the first has not finished.
    busy: Mutex<()>,
    wake: Condvar,
    /// The last number that is durable.
    durable: watch::Sender<u64>,
    readiness: Readiness,
}

#[derive(Debug, Default)]
struct Work {
    /// Files with bytes that are not durable.
    files: Vec<Arc<File>>,
    /// New files whose entry in their directory is not durable.
    entries: Vec<PathBuf>,
    /// The last number in them.
    written: u64,
    /// Somebody waits: the interval does not count.
    urgent: bool,
    /// Nothing more comes.
    over: bool,
}

impl Syncer {
    pub(super) fn new(readiness: Readiness) -> Self {
        let durable = watch::Sender::new(0);
        Self { work: Mutex::default(), busy: Mutex::default(), wake: Condvar::new(), durable, readiness }
    }

    /// The last number that is durable.
    pub(super) fn durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    /// Bytes up to record `written` went into `file`.
    pub(super) fn written(&self, file: &Arc<File>, written: u64) {
        let mut work = self.lock();
        work.written = written;
        if !work.files.iter().any(|known| Arc::ptr_eq(known, file)) {
            work.files.push(file.clone());
            self.wake.notify_one();
        }
    }

    /// A file was made.
    pub(super) fn created(&self, path: PathBuf) {
        self.lock().entries.push(path);
    }

    /// Makes durable now what was written.
    pub(super) fn hurry(&self) {
        self.lock().urgent = true;
        self.wake.notify_one();
    }

    /// Nothing more comes: makes the rest durable, then [`Syncer::run`] returns.
    pub(super) fn end(&self) {
        self.lock().over = true;
        self.wake.notify_one();
    }

    /// Works until [`Syncer::end`], at most once per `interval`.
    pub(super) fn run(&self, interval: Duration) {
        loop {
            let mut work = self.lock();
            while work.files.is_empty() && !work.over {
                work = self.wake.wait(work).unwrap_or_else(PoisonError::into_inner);
            }
            let over = work.over;
            drop(work);
            self.sync();
            if over {
                return;
            }
            let idle = |work: &mut Work| !work.urgent && !work.over;
            let paced = self.wake.wait_timeout_while(self.lock(), interval, idle);
            paced.unwrap_or_else(PoisonError::into_inner).0.urgent = false;
        }
    }

    /// Makes durable what was written so far.
    pub(super) fn sync(&self) {
        let _busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, entries, written) = {
            let mut work = self.lock();
            (std::mem::take(&mut work.files), std::mem::take(&mut work.entries), work.written)
        };
        let synced = files
            .iter()
            .try_for_each(|file| file.sync_data())
            .and_then(|()| entries.iter().try_for_each(|path| host::disk::sync_parent(path)));
        if let Err(error) = synced {
            // Asking again would be answered "fine" without being true. Clients must not suffer for it, and the
            // records are still read from memory and shipped, so it goes on and says so until somebody acts.
            tracing::error!(%error, written, "the disk did not take the journal: a power cut now could lose records");
            self.readiness.blocked(DISK, format!("the disk did not take the journal: {error}"));
        }
        self.durable.send_if_modified(|durable| {
            let more = *durable < written;
            *durable = written.max(*durable);
            more
        });
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
