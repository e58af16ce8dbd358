//! A log that fails when told to, in front of a real one.

use eventlog::{AppendError, BoxFuture, Log, NewRecord, ReadError, Record, Tail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What happens to an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done.
    Pass,
    /// It is refused: nothing is appended, and the caller knows.
    Refuse,
    /// Nothing is appended, and the caller does not know.
    Lose,
    /// It is appended, and the caller does not know.
    Hide,
    /// The caller does not know, and it is appended later.
    Delay,
    /// It waits until the log is released, or cut.
    Hold,
}

type Rule = Box<dyn FnMut(&str, u32, &[NewRecord]) -> Fate + Send>;

/// See the module.
pub struct Faulty {
    inner: Arc<dyn Log>,
    rule: Mutex<Rule>,
    cut: Arc<AtomicBool>,
    held: watch::Sender<bool>,
    rotten: Option<Rotten>,
}

/// A record whose bytes are no longer those that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotten {
    pub topic: &'static str,
    pub partition: u32,
    pub offset: u64,
}

impl Rotten {
    fn spoil(&self, topic: &str, partition: u32, records: &mut [Record]) {
        if (topic, partition) == (self.topic, self.partition) {
            let spoilt = records.iter_mut().filter(|record| record.offset == self.offset);
            spoilt.for_each(|record| record.value = bytes::Bytes::from_static(b"rotten"));
        }
    }
}

impl Faulty {
    /// A log without faults, but for what is rotten.
    pub fn new(inner: Arc<dyn Log>, rotten: Option<Rotten>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            rotten,
            rule: Mutex::new(Box::new(|_, _, _| Fate::Pass)),
            cut: Arc::default(),
            held: watch::Sender::new(true),
        })
    }

    /// From now on appends go by this rule.
    pub fn rule(&self, rule: impl FnMut(&str, u32, &[NewRecord]) -> Fate + Send + 'static) {
        *self.rule.lock().expect("no rule panics") = Box::new(rule);
    }

    /// From now on nothing reaches the log, and nothing comes back: to the log, the process is dead.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        self.held.send_modify(|_| {});
    }

    /// What is held goes on.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }
}

impl Log for Faulty {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        batch: Vec<NewRecord>,
    ) -> BoxFuture<'a, Result<u64, AppendError>> {
        Box::pin(async move {
            let unknown = || AppendError::Unknown("injected".to_owned());
            if self.is_cut() {
                return Err(unknown());
            }
            let fate = (self.rule.lock().expect("no rule panics"))(topic, partition, &batch);
            match fate {
                Fate::Pass => {}
                Fate::Refuse => return Err(AppendError::NotAppended("injected".to_owned())),
                Fate::Lose => return Err(unknown()),
                Fate::Hide => {
                    self.inner.append(topic, partition, batch).await?;
                    return Err(unknown());
                }
                Fate::Delay => {
                    let (inner, topic) = (Arc::clone(&self.inner), topic.to_owned());
                    tokio::spawn(async move {
                        for _ in 0..20 {
                            tokio::task::yield_now().await;
                        }
                        inner.append(&topic, partition, batch).await
                    });
                    return Err(unknown());
                }
                Fate::Hold => {
                    let mut held = self.held.subscribe();
                    while *held.borrow_and_update() && !self.is_cut() {
                        held.changed().await.expect("the sender lives in this log");
                    }
                    if self.is_cut() {
                        return Err(unknown());
                    }
                }
            }
            let offset = self.inner.append(topic, partition, batch).await?;
            if self.is_cut() { Err(unknown()) } else { Ok(offset) }
        })
    }

    fn read<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        from: u64,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, ReadError>> {
        if self.is_cut() {
            return Box::pin(async { Err(ReadError::Failed("cut".to_owned())) });
        }
        Box::pin(async move {
            let mut records = self.inner.read(topic, partition, from, max).await?;
            self.rotten.iter().for_each(|rotten| rotten.spoil(topic, partition, &mut records));
            Ok(records)
        })
    }

    fn tail(&self, topic: &str, partition: u32, from: u64) -> Box<dyn Tail> {
        let rotten = self.rotten.clone().filter(|rotten| (rotten.topic, rotten.partition) == (topic, partition));
        Box::new(CutTail { inner: self.inner.tail(topic, partition, from), cut: Arc::clone(&self.cut), rotten })
    }

    fn end<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<u64, ReadError>> {
        if self.is_cut() {
            return Box::pin(async { Err(ReadError::Failed("cut".to_owned())) });
        }
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

struct CutTail {
    inner: Box<dyn Tail>,
    cut: Arc<AtomicBool>,
    /// One of this partition.
    rotten: Option<Rotten>,
}

impl Tail for CutTail {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            let mut records = self.inner.next(max).await?;
            self.rotten.iter().for_each(|rotten| rotten.spoil(rotten.topic, rotten.partition, &mut records));
            if self.cut.load(Ordering::SeqCst) { Err(ReadError::Failed("cut".to_owned())) } else { Ok(records) }
        })
    }
}
