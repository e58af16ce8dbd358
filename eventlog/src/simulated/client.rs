//! A simulated process, as far as the log is concerned.

use super::faults::Fault;
use super::{Broker, Extent, Name};
use crate::port::{AppendError, BoxFuture, Log, NewRecord, ReadError, Record, Tail};
use host::clock::{self, Instant};
use host::task;
use host::watched::Watched;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What is left of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    Paused,
    Dead,
}

/// Reaches the [`Broker`] for one process. What it appends to one partition arrives in the order in which it was appended,
/// unless a fault comes between, and arrives also when nobody waits for it any more.
#[derive(Debug)]
pub struct Client {
    broker: Arc<Broker>,
    life: Arc<Watched<Life>>,
    /// What is on its way to each partition.
    on_the_way: Mutex<BTreeMap<Name, mpsc::UnboundedSender<Sent>>>,
}

/// A batch on its way.
#[derive(Debug)]
struct Sent {
    batch: Vec<NewRecord>,
    fault: Option<Fault>,
    takes: Duration,
    answer: oneshot::Sender<Result<u64, AppendError>>,
}

impl Client {
    pub(super) fn new(broker: Arc<Broker>) -> Arc<Self> {
        Arc::new(Self { broker, life: Arc::new(Watched::new(Life::Running)), on_the_way: Mutex::default() })
    }

    /// Nothing reaches the process and nothing leaves it, until it is resumed.
    pub fn pause(&self) {
        self.set(Life::Paused);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.set(Life::Running);
    }

    /// It is gone. What it has on its way arrives, or does not.
    pub fn kill(&self) {
        self.life.set(Life::Dead);
    }

    /// Waits while it is paused; whether it runs then.
    pub async fn runs(&self) -> bool {
        runs(&self.life).await
    }

    /// Waits until it is killed.
    pub async fn died(&self) {
        self.life.wait_for(|life| life == Life::Dead).await;
    }

    fn set(&self, life: Life) {
        self.life.change(|now| *now = if *now == Life::Dead { Life::Dead } else { life });
    }

    fn send(&self, name: Name, sent: Sent) {
        let mut on_the_way = self.on_the_way.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = on_the_way.entry(name.clone()).or_insert_with(|| {
            let (queue, arriving) = mpsc::unbounded_channel();
            task::spawn(deliver(Arc::clone(&self.broker), Arc::clone(&self.life), name, arriving));
            queue
        });
        self.broker.state().on_the_way += 1;
        // Delivery ends after its last sender.
        let _ = queue.send(sent);
    }
}

/// Waits while a process is paused; whether it runs then.
async fn runs(life: &Watched<Life>) -> bool {
    life.wait_for(|life| life != Life::Paused).await == Life::Running
}

/// Brings batches to a partition, one after the other.
async fn deliver(
    broker: Arc<Broker>,
    life: Arc<Watched<Life>>,
    name: Name,
    mut arriving: mpsc::UnboundedReceiver<Sent>,
) {
    while let Some(sent) = arriving.recv().await {
        clock::sleep(sent.takes).await;
        if !runs(&life).await {
            let lands = broker.state().dice.below(2) == 0;
            if lands {
                broker.land(&name, &sent.batch);
            }
            let mut state = broker.state();
            state.dice.note(if lands { Fault::LandedAtCrash } else { Fault::LostAtCrash });
            state.on_the_way -= 1;
            continue;
        }
        let more = !arriving.is_empty();
        let arrived = arrive(&broker, &name, sent.batch, sent.fault, more);
        broker.state().on_the_way -= 1;
        // Nobody may be waiting any more.
        let _ = sent.answer.send(arrived);
    }
}

/// A batch is at the broker, with its fault; `more` follows on it.
fn arrive(
    broker: &Arc<Broker>,
    name: &Name,
    batch: Vec<NewRecord>,
    fault: Option<Fault>,
    more: bool,
) -> Result<u64, AppendError> {
    let unknown = || Err(AppendError::Unknown("not acknowledged".to_owned()));
    match fault {
        Some(Fault::Refused) => return Err(AppendError::NotAppended("refused".to_owned())),
        Some(Fault::Lost) => {
            if more {
                broker.state().dice.note(Fault::LostOneOfSeveral);
            }
            return unknown();
        }
        Some(Fault::Hidden) => {
            broker.land(name, &batch);
            return unknown();
        }
        Some(Fault::Late) => {
            let late = {
                let mut state = broker.state();
                state.on_the_way += 1;
                state.dice.long()
            };
            let (broker, name) = (Arc::clone(broker), name.clone());
            task::spawn(async move {
                clock::sleep(late).await;
                broker.land(&name, &batch);
                broker.state().on_the_way -= 1;
            });
            return unknown();
        }
        Some(Fault::Torn) => {
            let whole = broker.state().dice.below(batch.len());
            if whole > 0 {
                broker.land(name, &batch[..whole]);
            }
            return unknown();
        }
        _ => {}
    }
    let first = broker.land(name, &batch);
    if fault == Some(Fault::Duplicated) {
        broker.land(name, &batch);
    }
    Ok(first)
}

impl Log for Client {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        batch: Vec<NewRecord>,
    ) -> BoxFuture<'a, Result<u64, AppendError>> {
        Box::pin(async move {
            let name = (topic.to_owned(), partition);
            if batch.is_empty() {
                return Ok(self.broker.end(&name));
            }
            let (fault, takes) = {
                let dice = &mut self.broker.state().dice;
                let fault = dice.of_append();
                (fault, if fault == Some(Fault::Slow) { dice.long() } else { dice.latency() })
            };
            let (answer, answered) = oneshot::channel();
            self.send(name, Sent { batch, fault, takes, answer });
            let dead = |_| Err(AppendError::Unknown("the process was killed".to_owned()));
            answered.await.unwrap_or_else(dead)
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
            if !runs(&self.life).await || self.broker.state().dice.read_fails() {
                return Err(ReadError::Failed("not answered".to_owned()));
            }
            self.broker.read(&(topic.to_owned(), partition), from, max)
        })
    }

    fn tail(&self, topic: &str, partition: u32, from: u64) -> Box<dyn Tail> {
        let name = (topic.to_owned(), partition);
        let (broker, life, extent) = (Arc::clone(&self.broker), Arc::clone(&self.life), self.broker.extent(&name));
        Box::new(Following { broker, life, name, from, extent, drawn: None, stalled_until: None })
    }

    fn end<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move {
            if !runs(&self.life).await || self.broker.state().dice.read_fails() {
                return Err(ReadError::Failed("not answered".to_owned()));
            }
            Ok(self.broker.end(&(topic.to_owned(), partition)))
        })
    }

    fn delete_before<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        before: u64,
    ) -> BoxFuture<'a, Result<(), ReadError>> {
        Box::pin(async move {
            if !runs(&self.life).await {
                return Err(ReadError::Failed("not answered".to_owned()));
            }
            self.broker.delete_before(&(topic.to_owned(), partition), before);
            Ok(())
        })
    }
}

/// A position that moves on. A fault of it stays until it is over, however often its future is dropped.
struct Following {
    broker: Arc<Broker>,
    life: Arc<Watched<Life>>,
    name: Name,
    from: u64,
    extent: Arc<Watched<Extent>>,
    /// For which offset a fault was drawn.
    drawn: Option<u64>,
    stalled_until: Option<Instant>,
}

impl Tail for Following {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            loop {
                if !runs(&self.life).await {
                    return Err(ReadError::Failed("the process was killed".to_owned()));
                }
                if self.broker.end(&self.name) > self.from && self.drawn != Some(self.from) {
                    self.drawn = Some(self.from);
                    let mut state = self.broker.state();
                    match state.dice.of_tail() {
                        Some(Fault::StalledReader) => self.stalled_until = Some(clock::now() + state.dice.long()),
                        Some(_) => return Err(ReadError::Failed("not answered".to_owned())),
                        None => {}
                    }
                }
                if let Some(until) = self.stalled_until {
                    clock::sleep_until(until).await;
                    self.stalled_until = None;
                }
                let records = self.broker.read(&self.name, self.from, max.max(1))?;
                if let Some(last) = records.last() {
                    self.from = last.offset + 1;
                    return Ok(records);
                }
                let from = self.from;
                self.extent.wait_for(|extent| extent.end > from || extent.begin > from).await;
            }
        })
    }
}
