//! The feed: one consumer and one thread that bring the new records of all followed partitions into memory, once,
//! whoever waits for them.

use super::client::Client;
use super::connection::Connection;
use super::queries::Queries;
use super::ring::{RECENT_RECORDS, Ring};
use super::{partition_number, record_of};
use crate::port::ReadError;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How long the thread waits for a record before it looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);
/// Records taken before those who wait are told.
const DRAIN: usize = 1_000;

/// By topic and number.
type Rings = HashMap<Box<str>, HashMap<u32, Arc<Ring>>>;

/// The feed of a log.
pub(super) struct Feed {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    consumer: BaseConsumer<Client>,
    rings: RwLock<Rings>,
    stop: AtomicBool,
}

impl Feed {
    /// A feed that follows nothing yet.
    ///
    /// # Errors
    /// When the library refuses the configuration, or no thread can be started.
    pub(super) fn start(connection: &Connection) -> Result<Self, String> {
        let consumer = connection.consumer().create_with_context(connection.client());
        let consumer: BaseConsumer<Client> = consumer.map_err(|error| error.to_string())?;
        let shared = Arc::new(Shared { consumer, rings: RwLock::default(), stop: AtomicBool::new(false) });
        let fed = Arc::clone(&shared);
        let thread = host::task::thread("log-feed", move || fed.run()).map_err(|error| error.to_string())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The partition, followed or not.
    pub(super) fn ring(&self, topic: &str, number: u32) -> Arc<Ring> {
        let known = self.shared.rings.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = known.get(topic).and_then(|numbers| numbers.get(&number)) {
            return Arc::clone(ring);
        }
        drop(known);
        let mut known = self.shared.rings.write().unwrap_or_else(PoisonError::into_inner);
        let numbers = known.entry(topic.into()).or_default();
        Arc::clone(numbers.entry(number).or_insert_with(|| Arc::new(Ring::new(topic.into(), number))))
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
        let (begin, end) = queries.span(ring).await?;
        let near = wanted >= begin && wanted <= end && end - wanted < RECENT_RECORDS as u64;
        let from = if near { wanted } else { end };
        let mut list = TopicPartitionList::new();
        let placed = list.add_partition_offset(&ring.topic, partition_number(ring.number), offset(from));
        ring.fed_from(begin, from);
        let begun = placed.and_then(|()| self.shared.consumer.incremental_assign(&list));
        begun.map_err(|error| {
            ring.starve();
            ReadError::Failed(format!("cannot follow {}/{}: {error}", ring.topic, ring.number))
        })
    }
}

fn offset(offset: u64) -> Offset {
    // An offset of Kafka is an i64 that is not negative.
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for ring in self.shared.all() {
            ring.starve();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut touched: Vec<Arc<Ring>> = Vec::new();
        while !self.stop.load(Ordering::Acquire) {
            let mut polled = self.consumer.poll(POLL);
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
        self.all().iter().for_each(|ring| ring.starve());
    }

    fn all(&self) -> Vec<Arc<Ring>> {
        let rings = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        rings.values().flat_map(HashMap::values).cloned().collect()
    }
}
