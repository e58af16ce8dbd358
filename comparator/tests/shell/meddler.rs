//! A log that does what real ones do on bad days: loses races, loses answers, stalls, and shows changed bytes.

use bytes::Bytes;
use eventlog::{AppendError, BoxFuture, EmbeddedLog, Log, NewRecord, ReadError, Record, Tail};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What happens to an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mishap {
    /// These bytes are appended by somebody else just before it.
    Rival(Vec<u8>),
    /// It is appended, and its answer is lost.
    AnswerLost,
    /// It is lost, and nobody knows.
    Lost,
    /// It is refused.
    Refused,
}

/// What some records read as.
type Changed = Arc<Mutex<BTreeMap<(String, u64), Bytes>>>;

/// The embedded log, with mishaps.
pub struct Meddler {
    inner: Arc<EmbeddedLog>,
    mishaps: Mutex<BTreeMap<String, VecDeque<Mishap>>>,
    changed: Changed,
    /// Topics whose reads wait.
    stalled: watch::Sender<BTreeSet<String>>,
}

impl Meddler {
    pub fn new(inner: Arc<EmbeddedLog>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            mishaps: Mutex::default(),
            changed: Changed::default(),
            stalled: watch::Sender::new(BTreeSet::new()),
        })
    }

    /// The next appends to `topic` go wrong, one after the other.
    pub fn plan(&self, topic: &str, mishaps: impl IntoIterator<Item = Mishap>) {
        self.mishaps.lock().unwrap().entry(topic.to_owned()).or_default().extend(mishaps);
    }

    /// Mishaps that have not happened.
    pub fn planned(&self, topic: &str) -> usize {
        self.mishaps.lock().unwrap().get(topic).map_or(0, VecDeque::len)
    }

    /// From now on a record reads as something else.
    pub fn change(&self, topic: &str, offset: u64, bytes: Vec<u8>) {
        self.changed.lock().unwrap().insert((topic.to_owned(), offset), Bytes::from(bytes));
    }

    /// Reads of `topic` wait until released.
    pub fn stall(&self, topic: &str) {
        self.stalled.send_modify(|stalled| {
            stalled.insert(topic.to_owned());
        });
    }

    /// Lets all reads go on.
    pub fn release(&self) {
        self.stalled.send_modify(BTreeSet::clear);
    }
}

async fn flowing(mut stalled: watch::Receiver<BTreeSet<String>>, topic: &str) {
    stalled.wait_for(|stalled| !stalled.contains(topic)).await.unwrap();
}

fn meddle(changed: &Changed, topic: &str, records: &mut [Record]) {
    let changed = changed.lock().unwrap();
    for record in records {
        if let Some(bytes) = changed.get(&(topic.to_owned(), record.offset)) {
            record.value = bytes.clone();
        }
    }
}

struct MeddledTail {
    inner: Box<dyn Tail>,
    topic: String,
    changed: Changed,
    stalled: watch::Receiver<BTreeSet<String>>,
}

impl Tail for MeddledTail {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            // Once stalled, a tail that had been waiting does not hand over what comes.
            loop {
                flowing(self.stalled.clone(), &self.topic).await;
                tokio::select! {
                    biased;
                    _ = self.stalled.changed() => {}
                    records = self.inner.next(max) => {
                        let mut records = records?;
                        meddle(&self.changed, &self.topic, &mut records);
                        return Ok(records);
                    }
                }
            }
        })
    }
}

impl Log for Meddler {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        batch: Vec<NewRecord>,
    ) -> BoxFuture<'a, Result<u64, AppendError>> {
        let mishap = self.mishaps.lock().unwrap().get_mut(topic).and_then(VecDeque::pop_front);
        Box::pin(async move {
            match mishap {
                None => self.inner.append(topic, partition, batch).await,
                Some(Mishap::Rival(bytes)) => {
                    self.inner.append(topic, partition, vec![NewRecord::of(bytes)]).await.unwrap();
                    self.inner.append(topic, partition, batch).await
                }
                Some(Mishap::AnswerLost) => {
                    self.inner.append(topic, partition, batch).await.unwrap();
                    Err(AppendError::Unknown("the answer was lost".into()))
                }
                Some(Mishap::Lost) => Err(AppendError::Unknown("lost".into())),
                Some(Mishap::Refused) => Err(AppendError::NotAppended("refused".into())),
            }
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
            flowing(self.stalled.subscribe(), topic).await;
            let mut records = self.inner.read(topic, partition, from, max).await?;
            meddle(&self.changed, topic, &mut records);
            Ok(records)
        })
    }

    fn tail(&self, topic: &str, partition: u32, from: u64) -> Box<dyn Tail> {
        Box::new(MeddledTail {
            inner: self.inner.tail(topic, partition, from),
            topic: topic.to_owned(),
            changed: Arc::clone(&self.changed),
            stalled: self.stalled.subscribe(),
        })
    }

    fn end<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<u64, ReadError>> {
        self.inner.end(topic, partition)
    }

    fn delete_before<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        before: u64,
    ) -> BoxFuture<'a, Result<(), ReadError>> {
        self.inner.delete_before(topic, partition, before)
    }
}
