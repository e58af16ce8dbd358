//! The feed: one consumer and one thread that bring the new records of all followed partitions into memory, once,
//! whoever waits for them.

use super::connection::Connection;
use super::queries::{PATIENCE, Queries};
use super::ring::{RECENT_RECORDS, Ring};
use super::worker::{Consumer, Stopping, Worker};
use super::{partition_number, record_of};
use crate::port::ReadError;
use host::clock;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// How long the thread waits for a record before it looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);
/// Records taken before those who wait are told.
const DRAIN: usize = 1_000;

/// By topic and number.
type Rings = HashMap<Box<str>, HashMap<u32, Arc<Ring>>>;

/// The feed of a log.
pub(super) struct Feed {
    connection: Connection,
    rings: Arc<RwLock<Rings>>,
    /// Locked when a partition begins, and while one consumer takes the place of another.
    current: Mutex<Current>,
}

/// The consumer that feeds, and its thread.
struct Current {
    source: Arc<Source>,
    thread: Worker,
}

/// A consumer, and what it feeds.
struct Source {
    consumer: Consumer,
    rings: Arc<RwLock<Rings>>,
}

impl Feed {
    /// A feed that follows nothing yet.
    ///
    /// # Errors
    /// When the library refuses the configuration, or no thread can be started.
    pub(super) fn start(connection: &Connection) -> Result<Self, String> {
        let rings = Arc::default();
        let current = Mutex::new(Current::begin(connection, &rings)?);
        Ok(Self { connection: connection.clone(), rings, current })
    }

    /// The partition, followed or not.
    pub(super) fn ring(&self, topic: &str, number: u32) -> Arc<Ring> {
        let known = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = known.get(topic).and_then(|numbers| numbers.get(&number)) {
            return Arc::clone(ring);
        }
        drop(known);
        let mut known = self.rings.write().unwrap_or_else(PoisonError::into_inner);
        let numbers = known.entry(topic.into()).or_default();
        Arc::clone(numbers.entry(number).or_insert_with(|| Arc::new(Ring::new(topic.into(), number))))
    }

    /// Every partition that anybody asked for.
    pub(super) fn rings(&self) -> Vec<Arc<Ring>> {
        all(&self.rings)
    }

    /// Follows a partition from now on: from `wanted` on, if what lies behind it fits into memory, else from the end.
    ///
    /// # Errors
    /// When the cluster does not say where the partition begins and ends.
    pub(super) async fn follow(&self, ring: &Ring, wanted: u64, queries: &Queries) -> Result<(), ReadError> {
        let _beginning = ring.beginning.lock().await;
        if ring.is_fed() {
            return Ok(());
        }
        let failed = |why: &dyn std::fmt::Display| {
            ring.starve();
            ReadError::Failed(format!("cannot follow {}/{}: {why}", ring.topic, ring.number))
        };
        let (begin, end) = queries.span(ring).await?;
        let near = wanted >= begin && wanted <= end && end - wanted < RECENT_RECORDS as u64;
        let from = if near { wanted } else { end };
        let mut list = TopicPartitionList::new();
        let placed = list.add_partition_offset(&ring.topic, partition_number(ring.number), offset(from));
        placed.map_err(|error| failed(&error))?;
        // Nobody else's consumer may take this one's place between the two.
        let source = {
            let current = self.current();
            ring.fed_from(begin, from);
            Arc::clone(&current.source)
        };
        let assigning = host::task::spawn_blocking(move || source.consumer.incremental_assign(&list));
        match clock::timeout(PATIENCE, assigning).await {
            Ok(Ok(assigned)) => assigned.map_err(|error| failed(&error)),
            Ok(Err(panic)) => Err(failed(&panic)),
            Err(_) => {
                self.begin_anew();
                Err(failed(&"the consumer hangs"))
            }
        }
    }

    /// Gives the feed a new consumer; every partition begins again, from where its readers want it.
    pub(super) fn begin_anew(&self) {
        let old = {
            let mut current = self.current();
            match Current::begin(&self.connection, &self.rings) {
                Ok(new) => {
                    let old = std::mem::replace(&mut *current, new);
                    self.rings().iter().for_each(|ring| ring.starve());
                    old
                }
                Err(error) => return tracing::error!(error, "the feed cannot have a new consumer"),
            }
        };
        let Current { source, thread } = old;
        drop(thread);
        drop(source);
    }

    /// For trials: follows nothing any more without saying so.
    ///
    /// # Errors
    /// When the library refuses.
    pub(super) fn stall(&self) -> Result<(), KafkaError> {
        let source = Arc::clone(&self.current().source);
        source.consumer.pause(&source.consumer.assignment()?)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn begin(connection: &Connection, rings: &Arc<RwLock<Rings>>) -> Result<Self, String> {
        let consumer = Consumer::new(connection, &connection.consumer()).map_err(|error| error.to_string())?;
        let source = Arc::new(Source { consumer, rings: Arc::clone(rings) });
        let fed = Arc::clone(&source);
        let thread = Worker::start("log-feed", move |stopping| fed.run(stopping))?;
        Ok(Self { source, thread })
    }
}

fn all(rings: &RwLock<Rings>) -> Vec<Arc<Ring>> {
    let rings = rings.read().unwrap_or_else(PoisonError::into_inner);
    rings.values().flat_map(HashMap::values).cloned().collect()
}

fn offset(offset: u64) -> Offset {
    // An offset of Kafka is an i64 that is not negative.
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.rings().iter().for_each(|ring| ring.starve());
    }
}

impl Source {
    fn run(&self, stopping: &Stopping) {
        let mut touched: Vec<Arc<Ring>> = Vec::new();
        loop {
            let mut polled = self.consumer.poll(POLL);
            // Also after a wait in which another consumer took this one's place.
            if stopping.now() {
                return;
            }
            for _ in 0..DRAIN {
                match polled {
                    Some(Ok(message)) => self.take(&message, &mut touched),
                    Some(Err(error)) => self.trouble(&error),
                    None => break,
                }
                polled = self.consumer.poll(Duration::ZERO);
            }
            if let Some(Ok(message)) = polled {
                self.take(&message, &mut touched);
            }
            touched.drain(..).for_each(|ring| ring.wake());
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>, touched: &mut Vec<Arc<Ring>>) {
        let rings = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        let number = u32::try_from(message.partition()).unwrap_or(u32::MAX);
        let Some(ring) = rings.get(message.topic()).and_then(|numbers| numbers.get(&number)) else { return };
        ring.take(record_of(message));
        // Records come in runs of one partition.
        if touched.last().is_none_or(|last| !Arc::ptr_eq(last, ring)) {
            touched.push(Arc::clone(ring));
        }
    }

    /// The library mends connections by itself. A lost place it cannot mend, and it does not say whose: all begin
    /// again, from where their readers want them.
    fn trouble(&self, error: &KafkaError) {
        let lost = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
        );
        if !lost && !matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            tracing::debug!(%error, "the feed has trouble");
            return;
        }
        tracing::error!(%error, "the feed has lost its place; every partition begins again");
        if let Err(error) = self.consumer.unassign() {
            tracing::error!(%error, "the feed cannot let go of its partitions");
        }
        all(&self.rings).iter().for_each(|ring| ring.starve());
    }
}
