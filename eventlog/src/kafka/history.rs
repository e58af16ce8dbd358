//! Reads what is no longer in memory: a few consumers, each of which remembers where it stands, so that reading on
//! costs no new beginning.

use super::connection::Connection;
use super::queries::{PATIENCE, said};
use super::ring::Ring;
use super::worker::Consumer;
use super::{partition_number, record_of};
use crate::port::{ReadError, Record};
use host::clock;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Consumers at the same time: the shards of an engine that starts, and some to spare.
const READERS: usize = 12;
/// Of these kept while nobody reads.
const IDLE: usize = 4;

/// A read that takes longer than its own patience hangs: see [`super::worker`].
const GIVEN_UP: Duration = Duration::from_secs(2 * PATIENCE.as_secs());

/// The readers of a log.
#[derive(Clone)]
pub(super) struct History(Arc<Shared>);

struct Shared {
    connection: Connection,
    idle: Mutex<Vec<Reader>>,
    places: Semaphore,
}

/// A consumer that has read up to somewhere.
struct Reader {
    consumer: Consumer,
    topic: Box<str>,
    number: u32,
    next: u64,
}

impl History {
    /// No reader yet.
    pub(super) fn new(connection: &Connection) -> Self {
        let (idle, places) = (Mutex::default(), Semaphore::new(READERS));
        Self(Arc::new(Shared { connection: connection.clone(), idle, places }))
    }

    /// Records from `from` on, below `up_to`, which is at most the partition's end: at least one, at most `max`, and
    /// no more than `max_bytes` of payload after the first.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when they were deleted, else what the cluster said.
    pub(super) async fn read(
        &self,
        ring: &Arc<Ring>,
        from: u64,
        up_to: u64,
        max: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let failed = |error: &dyn std::fmt::Display| ReadError::Failed(error.to_string());
        let _place = self.0.places.acquire().await.map_err(|error| failed(&error))?;
        let (topic, number) = (ring.topic.clone(), ring.number);
        let (shared, ring) = (Arc::clone(&self.0), Arc::clone(ring));
        let reading = host::task::spawn_blocking(move || {
            let mut reader = shared.reader(&ring, from)?;
            let records = reader.read(&ring, up_to, max, max_bytes)?;
            shared.put_back(reader, up_to);
            Ok(records)
        });
        let hangs = || ReadError::Failed(format!("{topic}/{number}: the consumer hangs"));
        match clock::timeout(GIVEN_UP, reading).await {
            Ok(read) => read.map_err(|error| failed(&error))?,
            Err(_) => Err(hangs()),
        }
    }
}

impl Shared {
    /// A reader that stands at `from`.
    fn reader(&self, ring: &Ring, from: u64) -> Result<Reader, ReadError> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let stands =
            |reader: &Reader| reader.topic == ring.topic && reader.number == ring.number && reader.next == from;
        if let Some(index) = idle.iter().position(stands) {
            return Ok(idle.swap_remove(index));
        }
        let other = if idle.len() >= IDLE { idle.pop() } else { None };
        drop(idle);
        let failed = |error: KafkaError| ReadError::Failed(error.to_string());
        let consumer = match other {
            Some(reader) => reader.consumer,
            None => Consumer::new(&self.connection, &self.connection.consumer()).map_err(failed)?,
        };
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        list.add_partition_offset(&ring.topic, partition_number(ring.number), offset).map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        Ok(Reader { consumer, topic: ring.topic.clone(), number: ring.number, next: from })
    }

    /// Keeps a reader that will probably read on.
    fn put_back(&self, reader: Reader, up_to: u64) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if reader.next < up_to && idle.len() < READERS {
            idle.push(reader);
        }
    }
}

impl Reader {
    fn read(&mut self, ring: &Ring, up_to: u64, max: usize, max_bytes: usize) -> Result<Vec<Record>, ReadError> {
        let deadline = clock::now() + PATIENCE;
        let (mut records, mut bytes) = (Vec::new(), 0);
        while self.next < up_to && records.len() < max && bytes < max_bytes {
            let patience = deadline.saturating_duration_since(clock::now());
            match self.consumer.poll(patience) {
                Some(Ok(message)) => {
                    let record = record_of(&message);
                    // Records of an earlier place may still be on their way.
                    if record.offset < self.next || message_is_elsewhere(&message, ring) {
                        continue;
                    }
                    self.next = record.offset + 1;
                    if record.offset >= up_to {
                        break;
                    }
                    bytes += record.key.len() + record.value.len();
                    records.push(record);
                }
                Some(Err(error)) if is_out_of_range(&error) => return Err(self.gone(ring)?),
                Some(Err(error)) => tracing::debug!(%error, topic = %ring.topic, "reading back has trouble"),
                None if records.is_empty() => {
                    let place = format!("{}/{}", ring.topic, ring.number);
                    let trouble = self.consumer.client().context().trouble();
                    let error = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                    return Err(ReadError::Failed(said(&place, &error, trouble)));
                }
                None => break,
            }
        }
        Ok(records)
    }

    /// The error for what is no longer there.
    fn gone(&self, ring: &Ring) -> Result<ReadError, ReadError> {
        let span = self.consumer.fetch_watermarks(&ring.topic, partition_number(ring.number), PATIENCE);
        let (begin, _) = span.map_err(|error| ReadError::Failed(error.to_string()))?;
        Ok(ring.gone(u64::try_from(begin).unwrap_or(0), self.next))
    }
}

fn message_is_elsewhere(message: &rdkafka::message::BorrowedMessage<'_>, ring: &Ring) -> bool {
    use rdkafka::Message;
    message.topic() != &*ring.topic || message.partition() != partition_number(ring.number)
}

fn is_out_of_range(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange))
}
