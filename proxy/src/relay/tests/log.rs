//! A log in memory whose appends fail on demand.

use eventlog::{AppendError, BoxFuture, Log, NewRecord, ReadError, Record, Tail};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// How long a test waits for what has to happen.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// What becomes of the next append.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// Nothing is appended, and that is said.
    NotAppended,
    /// So many records are appended, and nobody knows.
    Unknown(usize),
    /// All but the first so many records are appended, and nobody knows.
    Hole(usize),
    /// Nothing is appended now, but all of it before the next append, and nobody knows.
    Late,
}

#[derive(Debug, Default)]
struct Inner {
    topics: BTreeMap<String, Vec<Record>>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    late: BTreeMap<String, Vec<NewRecord>>,
    /// What is appended right after the end of a topic was told.
    behind_the_end: BTreeMap<String, Vec<(&'static str, Vec<NewRecord>)>>,
    clock: i64,
}

/// See the module. Clones are the same log.
#[derive(Debug, Clone)]
pub(super) struct MemoryLog {
    inner: Arc<Mutex<Inner>>,
    changes: watch::Sender<u64>,
    /// Appends wait while this is true.
    closed: watch::Sender<bool>,
}

impl MemoryLog {
    pub fn new() -> Self {
        Self { inner: Arc::default(), changes: watch::Sender::new(0), closed: watch::Sender::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The next appends to a topic go wrong.
    pub fn fail(&self, topic: &str, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.entry(topic.to_owned()).or_default().extend(faults);
    }

    /// Whether every fault has happened.
    pub fn has_failed(&self) -> bool {
        self.lock().faults.values().all(VecDeque::is_empty)
    }

    /// Appends wait, or go on.
    pub fn close(&self, closed: bool) {
        self.closed.send_replace(closed);
    }

    /// Right after the end of `topic` was told, others append to these topics.
    pub fn put_behind_the_end(&self, topic: &str, batches: Vec<(&'static str, Vec<NewRecord>)>) {
        self.lock().behind_the_end.insert(topic.to_owned(), batches);
    }

    pub fn records(&self, topic: &str) -> Vec<Record> {
        self.lock().topics.get(topic).cloned().unwrap_or_default()
    }

    /// Appends whatever happens.
    pub fn put(&self, topic: &str, batch: Vec<NewRecord>) -> u64 {
        let mut inner = self.lock();
        let first = inner.put(topic, batch);
        drop(inner);
        self.changes.send_modify(|changes| *changes += 1);
        first
    }

    /// Waits until the records of a topic say something.
    pub async fn until<T>(&self, topic: &str, what: &str, seen: impl Fn(&[Record]) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if let Some(found) = seen(&self.records(topic)) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{topic} never holds {what}"))
    }
}

impl Inner {
    fn put(&mut self, topic: &str, batch: Vec<NewRecord>) -> u64 {
        let records = self.topics.entry(topic.to_owned()).or_default();
        let first = records.len() as u64;
        for (index, record) in batch.into_iter().enumerate() {
            self.clock = (self.clock + 1).max(host::clock::unix_micros());
            let (offset, at_micros) = (first + index as u64, self.clock);
            records.push(Record { offset, at_micros, key: record.key, value: record.value });
        }
        first
    }
}

impl Log for MemoryLog {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        _partition: u32,
        batch: Vec<NewRecord>,
    ) -> BoxFuture<'a, Result<u64, AppendError>> {
        Box::pin(async move {
            let mut closed = self.closed.subscribe();
            closed.wait_for(|closed| !closed).await.unwrap();
            let mut inner = self.lock();
            let late = inner.late.remove(topic).unwrap_or_default();
            inner.put(topic, late);
            let unknown = Err(AppendError::Unknown("as the test wants it".to_owned()));
            let fault = if batch.is_empty() { None } else { inner.faults.get_mut(topic).and_then(VecDeque::pop_front) };
            let outcome = match fault {
                None => Ok(inner.put(topic, batch)),
                Some(Fault::NotAppended) => Err(AppendError::NotAppended("as the test wants it".to_owned())),
                Some(Fault::Unknown(records)) => {
                    inner.put(topic, batch.into_iter().take(records).collect());
                    unknown
                }
                Some(Fault::Hole(records)) => {
                    inner.put(topic, batch.into_iter().skip(records).collect());
                    unknown
                }
                Some(Fault::Late) => {
                    inner.late.insert(topic.to_owned(), batch);
                    unknown
                }
            };
            drop(inner);
            self.changes.send_modify(|changes| *changes += 1);
            outcome
        })
    }

    fn read<'a>(
        &'a self,
        topic: &'a str,
        _partition: u32,
        from: u64,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            let records = self.records(topic);
            Ok(records.into_iter().skip(usize::try_from(from).unwrap()).take(max).collect())
        })
    }

    fn tail(&self, topic: &str, _partition: u32, from: u64) -> Box<dyn Tail> {
        Box::new(MemoryTail { topic: topic.to_owned(), from, log: self.clone() })
    }

    fn end<'a>(&'a self, topic: &'a str, _partition: u32) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move {
            let end = self.records(topic).len() as u64;
            let behind = self.lock().behind_the_end.remove(topic);
            for (topic, batch) in behind.unwrap_or_default() {
                self.put(topic, batch);
            }
            Ok(end)
        })
    }

    fn delete_before<'a>(
        &'a self,
        _topic: &'a str,
        _partition: u32,
        _before: u64,
    ) -> BoxFuture<'a, Result<(), ReadError>> {
        Box::pin(async { Err(ReadError::Failed("nothing is deleted here".to_owned())) })
    }
}

struct MemoryTail {
    topic: String,
    from: u64,
    log: MemoryLog,
}

impl Tail for MemoryTail {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            let mut changes = self.log.changes.subscribe();
            loop {
                changes.mark_unchanged();
                let records = self.log.read(&self.topic, 0, self.from, max).await?;
                if let Some(last) = records.last() {
                    self.from = last.offset + 1;
                    return Ok(records);
                }
                changes.changed().await.map_err(|_| ReadError::Failed("closed".to_owned()))?;
            }
        })
    }
}
