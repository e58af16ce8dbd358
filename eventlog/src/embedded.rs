//! A log in one file of one process: redb underneath, one writer thread, one durable commit per drained batch.
//!
//! | module | what |
//! |---|---|
//! | [`partition`] | what is kept in memory of a partition: its ends, its newest records, who waits for more |
//! | [`store`] | the tables in the file |
//! | [`writer`] | the thread that drains appends, commits them and only then shows and answers them |
//! | [`tail`] | a position that moves on with the log |
//!
//! Invariants:
//! - `Record::at_micros` is strictly increasing over the whole file, in the order in which appends arrived; and
//!   a reader who has seen a record sees, in every partition, all records with smaller times. So a merge of
//!   several topics by time is the same for everyone, live or from the file.
//! - A failed commit or fsync **aborts the process**: after one, nobody knows what is on the disk, and a second
//!   fsync may report success for pages that were lost. A restart reads what is really there.

mod partition;
mod store;
mod tail;
mod writer;

use crate::port::{AppendError, BoxFuture, Log, NewRecord, ReadError, Record, Tail};
use host::disk::DirLock;
use partition::{Partition, Slice};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use store::Store;
use tokio::sync::{mpsc, oneshot};
use writer::Request;

/// The file in the log's directory, unless another name is given.
const FILE: &str = "log.redb";
/// Appends that may wait for the writer; more of them wait in their callers, so memory stays bounded.
const QUEUE: usize = 4096;
/// A read ends after this much payload, whatever `max` allows: a page of a topic with large records stays small.
const READ_BYTES: usize = 4 << 20;

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or written, or another process holds it.
    #[error(transparent)]
    Directory(std::io::Error),
    /// The file is not a log that this program can read.
    #[error("cannot open the log {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// What a log has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Durable commits, which is the number of fsyncs.
    pub commits: u64,
    /// Records appended.
    pub records: u64,
}

/// A log in one file. Dropping it finishes the appends that it was handed and closes the file.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    /// `None` only while dropping: without senders the writer ends.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<std::thread::JoinHandle<()>>,
    _directory: Option<DirLock>,
}

/// By topic and number.
type Partitions = HashMap<Box<str>, HashMap<u32, Arc<Partition>>>;

/// What the writer, the readers and the tails share.
struct Shared {
    partitions: RwLock<Partitions>,
    /// `None` once closed. Readers hold the inner `Arc` for one read at most.
    store: Mutex<Option<Arc<Store>>>,
    /// The time of the newest record that readers may see: raised once per commit, after its records are in the
    /// memory of all their partitions.
    visible: AtomicI64,
    closed: AtomicBool,
    commits: AtomicU64,
    records: AtomicU64,
}

impl EmbeddedLog {
    /// Opens the log in a directory, making both if absent. The directory belongs to this process until the log
    /// is dropped.
    ///
    /// # Errors
    /// [`OpenError`] names the path and what is wrong with it: not writable, held by another process, no log.
    pub fn open(directory: impl AsRef<Path>) -> Result<Arc<Self>, OpenError> {
        Self::open_file(directory, FILE)
    }

    /// As [`EmbeddedLog::open`], with a name for the file.
    ///
    /// # Errors
    /// As [`EmbeddedLog::open`].
    pub fn open_file(directory: impl AsRef<Path>, file: &str) -> Result<Arc<Self>, OpenError> {
        let directory = directory.as_ref();
        let lock = host::disk::lock_dir(directory).map_err(OpenError::Directory)?;
        let path = directory.join(file);
        let unusable = |reason: String| OpenError::File { path: path.clone(), reason };
        let store = Store::at(&path, Store::open).map_err(|error| match error {
            redb::Error::DatabaseAlreadyOpen => {
                unusable("another process uses it: stop it, or choose another directory".to_owned())
            }
            other => unusable(other.to_string()),
        })?;
        // The name of the file has to survive a crash as well as its content.
        host::disk::sync_parent(&path).map_err(OpenError::Directory)?;
        Self::start(store, Some(lock)).map_err(unusable)
    }

    fn start(store: Store, directory: Option<DirLock>) -> Result<Arc<Self>, String> {
        let contents = store.contents().map_err(|error| error.to_string())?;
        let mut partitions = Partitions::new();
        for (key, span) in contents.partitions {
            let partition = Arc::new(Partition::stored(key.0.as_str().into(), key.1, span));
            partitions.entry(key.0.into()).or_default().insert(key.1, partition);
        }
        let store = Arc::new(store);
        let shared = Arc::new(Shared {
            partitions: RwLock::new(partitions),
            store: Mutex::new(Some(Arc::clone(&store))),
            visible: AtomicI64::new(contents.last_at_micros),
            closed: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            records: AtomicU64::new(0),
        });
        let (requests, queue) = mpsc::channel(QUEUE);
        let for_writer = Arc::clone(&shared);
        let writer = host::task::thread("log-writer", move || writer::run(&for_writer, &store, queue))
            .map_err(|error| format!("cannot start the writer: {error}"))?;
        Ok(Arc::new(Self { shared, requests: Some(requests), writer: Some(writer), _directory: directory }))
    }

    /// What the log has done since it was opened.
    pub fn counters(&self) -> Counters {
        Counters {
            commits: self.shared.commits.load(Ordering::Relaxed),
            records: self.shared.records.load(Ordering::Relaxed),
        }
    }

    async fn hand_over(&self, request: Request) -> Result<(), String> {
        let Some(requests) = &self.requests else { return Err("the log is closed".to_owned()) };
        requests.send(request).await.map_err(|_| "the log is closed".to_owned())
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            // A panicking writer has aborted the process, so there is no other way to end.
            let _ = writer.join();
        }
        self.shared.close();
    }
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl Shared {
    /// The partition of this name; made in memory if nobody named it before.
    fn partition(&self, topic: &str, number: u32) -> Arc<Partition> {
        let known = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(partition) = known.get(topic).and_then(|numbers| numbers.get(&number)) {
            return Arc::clone(partition);
        }
        drop(known);
        let mut known = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let numbers = known.entry(topic.into()).or_default();
        Arc::clone(numbers.entry(number).or_insert_with(|| Arc::new(Partition::empty(topic.into(), number))))
    }

    /// The time up to which records may be shown.
    fn visible(&self) -> i64 {
        self.visible.load(Ordering::Acquire)
    }

    /// Records of a partition from `from` on: from memory if they are there, else from the file.
    async fn read(&self, partition: &Arc<Partition>, from: u64, max: usize) -> Result<Vec<Record>, ReadError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ReadError::Failed("the log is closed".to_owned()));
        }
        match partition.slice(from, max, READ_BYTES, self.visible()) {
            Slice::Records(records) => Ok(records),
            Slice::Gone { begin } => Err(partition.gone(begin, from)),
            Slice::Older { id, end } => {
                let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let Some(store) = store else { return Err(ReadError::Failed("the log is closed".to_owned())) };
                let read = host::task::spawn_blocking(move || store.read(id, from, end, max, READ_BYTES)).await;
                let records = match read {
                    Ok(Ok(records)) => records,
                    Ok(Err(error)) => return Err(ReadError::Failed(error.to_string())),
                    Err(error) => return Err(ReadError::Failed(error.to_string())),
                };
                // Deleted while it was being read: the rows are gone, and so is the offset.
                match records.first() {
                    Some(first) if first.offset == from => Ok(records),
                    _ => Err(partition.gone(partition.begin(), from)),
                }
            }
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for partition in
            self.partitions.read().unwrap_or_else(PoisonError::into_inner).values().flat_map(HashMap::values)
        {
            partition.wake();
        }
    }
}

impl Log for EmbeddedLog {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        batch: Vec<NewRecord>,
    ) -> BoxFuture<'a, Result<u64, AppendError>> {
        Box::pin(async move {
            let partition = self.shared.partition(topic, partition);
            if batch.is_empty() {
                return Ok(partition.end(self.shared.visible()));
            }
            let (answer, answered) = oneshot::channel();
            let request = Request::Append { partition, batch, since: host::clock::now(), answer };
            self.hand_over(request).await.map_err(AppendError::NotAppended)?;
            answered.await.map_err(|_| AppendError::Unknown("the writer stopped before it answered".to_owned()))
        })
    }

    fn read<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        from: u64,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            let partition = self.shared.partition(topic, partition);
            self.shared.read(&partition, from, max).await
        })
    }

    fn tail(&self, topic: &str, partition: u32, from: u64) -> Box<dyn Tail> {
        let partition = self.shared.partition(topic, partition);
        Box::new(tail::Embedded::new(Arc::clone(&self.shared), partition, from))
    }

    fn end<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move {
            if self.shared.closed.load(Ordering::Acquire) {
                return Err(ReadError::Failed("the log is closed".to_owned()));
            }
            Ok(self.shared.partition(topic, partition).end(self.shared.visible()))
        })
    }

    fn delete_before<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        before: u64,
    ) -> BoxFuture<'a, Result<(), ReadError>> {
        Box::pin(async move {
            let partition = self.shared.partition(topic, partition);
            let (answer, answered) = oneshot::channel();
            let request = Request::DeleteBefore { partition, before, answer };
            self.hand_over(request).await.map_err(ReadError::Failed)?;
            answered.await.map_err(|_| ReadError::Failed("the writer stopped before it answered".to_owned()))
        })
    }
}

#[cfg(test)]
mod tests;
