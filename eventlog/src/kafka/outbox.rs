//! What is published for others: records with headers, in topics of their own, and how far that has come.
//!
//! At least once: a checkpoint lies behind everything that was acknowledged before it. Whoever takes over finds out
//! which records behind the checkpoint are there already, by their headers, and leaves those out. It sees what all
//! replicas in sync have: not what only a leader has of a predecessor, nor what a predecessor that stood still sends
//! later.

use super::client::Client;
use super::connection::Connection;
use super::partition_number;
use super::polled::Polled;
use super::queries::{PATIENCE, said};
use super::worker::Consumer;
use host::clock;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer, PurgeConfig};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Publishes to topics of a cluster.
pub struct Outbox {
    connection: Connection,
    producer: Mutex<FutureProducer<Client>>,
    /// Reads and writes checkpoints, and asks where topics end; follows nothing.
    checkpoints: Arc<Polled>,
}

/// A record to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The topic.
    pub topic: &'static str,
    /// Decides the partition, as the clients of Kafka for Java do it.
    pub key: String,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes.
    pub value: Vec<u8>,
}

/// On its way; when it is over, the record is with all replicas in sync, or it failed for good.
pub struct Delivery {
    topic: &'static str,
    pending: DeliveryFuture,
}

/// How far publishing from a partition has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The offset from which publishing goes on.
    pub next: u64,
    /// What else the publisher has to know to go on there.
    pub note: String,
    /// Where the public topics ended when nothing from `next` on had been published yet.
    pub ends: Ends,
}

/// Where topics end, by name and partition.
pub type Ends = BTreeMap<String, Vec<u64>>;

/// What stands beside the offset of a checkpoint.
#[derive(Serialize, Deserialize)]
struct Beside {
    note: String,
    ends: Ends,
}

/// Between two looks at a stretch of which nothing comes; a leader that dies is replaced in less.
const STRETCH_PATIENCE: Duration = Duration::from_secs(20);

/// The cluster did not do as asked: what it said, and of which topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub String);

impl Delivery {
    /// Waits until it is over.
    ///
    /// # Errors
    /// When the record is not in the topic, and will not be.
    pub async fn over(self) -> Result<(), Failed> {
        match self.pending.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(Failed(said(self.topic, &error, None))),
            Err(_) => Err(Failed(format!("{}: the producer is gone", self.topic))),
        }
    }
}

impl Outbox {
    /// Nothing is connected before it is needed. Checkpoints are kept under the name `group`.
    ///
    /// # Errors
    /// When the library refuses the configuration.
    pub fn open(connection: &Connection, group: &str) -> Result<Self, Failed> {
        let refused = |error: KafkaError| Failed(error.to_string());
        let mut consumer = connection.consumer();
        consumer.set("group.id", connection.topic(group));
        let producer = producer(connection).map_err(refused)?;
        let checkpoints = Arc::new(Polled::with(connection, &consumer).map_err(Failed)?);
        Ok(Self { connection: connection.clone(), producer: Mutex::new(producer), checkpoints })
    }

    /// Hands a record over. Records of one key arrive in the order in which they are handed over.
    ///
    /// # Errors
    /// When it was not handed over.
    pub fn send(&self, letter: &Letter) -> Result<Delivery, Failed> {
        let topic = self.connection.topic(letter.topic);
        let headers = letter.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_str()) })
        });
        let record = FutureRecord::to(&topic).key(&letter.key).payload(&letter.value).headers(headers);
        let mut producer = self.producer();
        match producer.send_result(record) {
            Ok(pending) => Ok(Delivery { topic: letter.topic, pending }),
            Err((error, _)) => {
                // One that met an impossible sequence never sends again; a new one does.
                if producer.client().fatal_error().is_some() {
                    *producer = self::producer(&self.connection).map_err(|error| Failed(error.to_string()))?;
                }
                Err(Failed(said(&topic, &error, None)))
            }
        }
    }

    /// Gives up everything on its way, of all partitions that are published from: its deliveries are over at once, and
    /// nobody knows of them whether they arrived. For one who has to leave: the group takes all of them away at once.
    pub fn give_up(&self) {
        self.producer().purge(PurgeConfig::default().queue().inflight());
    }

    fn producer(&self) -> MutexGuard<'_, FutureProducer<Client>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The checkpoint of a partition, if there is one.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn checkpoint(&self, topic: &str, partition: u32) -> Result<Option<Checkpoint>, Failed> {
        let topic = self.connection.topic(topic);
        self.with_consumer(move |consumer| {
            let mut list = TopicPartitionList::new();
            list.add_partition(&topic, partition_number(partition));
            let committed = consumer.committed_offsets(list, PATIENCE)?;
            let Some(element) = committed.find_partition(&topic, partition_number(partition)) else {
                return Ok(None);
            };
            element.error()?;
            let Offset::Offset(next) = element.offset() else { return Ok(None) };
            let beside: Option<Beside> = serde_json::from_str(element.metadata()).ok();
            let next = u64::try_from(next).ok();
            Ok(next.zip(beside).map(|(next, Beside { note, ends })| Checkpoint { next, note, ends }))
        })
        .await
    }

    /// Writes a checkpoint: everything before it is published.
    ///
    /// # Errors
    /// When the cluster does not take it: then publishing goes on from an earlier one.
    pub async fn commit(&self, topic: &str, partition: u32, checkpoint: Checkpoint) -> Result<(), Failed> {
        let topic = self.connection.topic(topic);
        self.with_consumer(move |consumer| {
            let Checkpoint { next, note, ends } = checkpoint;
            let mut list = TopicPartitionList::new();
            let offset = Offset::Offset(i64::try_from(next).unwrap_or(i64::MAX));
            list.add_partition_offset(&topic, partition_number(partition), offset)?;
            let beside = serde_json::to_string(&Beside { note, ends }).unwrap_or_default();
            if let Some(mut element) = list.find_partition(&topic, partition_number(partition)) {
                element.set_metadata(beside);
            }
            consumer.commit(&list, CommitMode::Sync)
        })
        .await
    }

    /// Where the partitions of topics end now.
    ///
    /// # Errors
    /// When the cluster does not say it of each.
    pub async fn ends(&self, topics: &'static [(&'static str, u32)]) -> Result<Ends, Failed> {
        let connection = self.connection.clone();
        self.with_consumer(move |consumer| {
            let mut list = TopicPartitionList::new();
            for (topic, partitions) in topics {
                for number in 0..*partitions {
                    list.add_partition_offset(&connection.topic(topic), partition_number(number), Offset::End)?;
                }
            }
            let found = consumer.offsets_for_times(list, PATIENCE)?;
            let unknown = || KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition);
            let end = |topic: &str, number: u32| {
                let element = found.find_partition(&connection.topic(topic), partition_number(number));
                let element = element.ok_or_else(unknown)?;
                element.error()?;
                let Offset::Offset(end) = element.offset() else { return Err(unknown()) };
                u64::try_from(end).map_err(|_| unknown())
            };
            let of = |(topic, partitions): &(&str, u32)| {
                let ends: Result<Vec<u64>, KafkaError> = (0..*partitions).map(|number| end(topic, number)).collect();
                Ok(((*topic).to_owned(), ends?))
            };
            topics.iter().map(of).collect()
        })
        .await
    }

    /// What `take` makes of the headers of all records between two ends. What was deleted of them is left out.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn between<T: Send + 'static>(
        &self,
        from: &Ends,
        to: &Ends,
        take: impl Fn(&dyn Fn(&str) -> Option<String>) -> Option<T> + Send + 'static,
    ) -> Result<Vec<T>, Failed> {
        let mut stretches = Vec::new();
        for (topic, ends) in to {
            let begins = from.get(topic);
            for (number, end) in (0_u32..).zip(ends) {
                let begin = begins.and_then(|begins| begins.get(number as usize)).copied().unwrap_or(0);
                if begin < *end {
                    let topic = self.connection.topic(topic);
                    stretches.push(Stretch { topic, partition: partition_number(number), begin, end: *end });
                }
            }
        }
        if stretches.is_empty() {
            return Ok(Vec::new());
        }
        let (connection, bootstrap) = (self.connection.clone(), self.connection.bootstrap.clone());
        // A consumer of its own: one that follows partitions may hang, and is left behind then.
        let reading = host::task::spawn_blocking(move || {
            let consumer = Consumer::new(&connection, &connection.consumer())?;
            read(&consumer, stretches, |message| take(&|name| header(message, name)))
        });
        let read = reading.await.map_err(|error| Failed(error.to_string()))?;
        read.map_err(|error| Failed(said(&format!("Kafka at {bootstrap}"), &error, None)))
    }

    async fn with_consumer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Polled) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, Failed> {
        let (consumer, bootstrap) = (Arc::clone(&self.checkpoints), self.connection.bootstrap.clone());
        let working = host::task::spawn_blocking(move || {
            work(&consumer).map_err(|error| Failed(said(&format!("Kafka at {bootstrap}"), &error, consumer.trouble())))
        });
        working.await.map_err(|error| Failed(error.to_string()))?
    }
}

fn producer(connection: &Connection) -> Result<FutureProducer<Client>, KafkaError> {
    let mut config = connection.producer();
    // Nobody waits for them, and each request costs the brokers as much as one for records of the ledger.
    config.set("linger.ms", "100").set("partitioner", "murmur2_random");
    // A record is never given up, so that none is published before one that it follows: it waits for the cluster. A time
    // limit would keep a process that stood still from sending what others have sent since; but when the cluster takes
    // nothing for that long, the oldest record would go and the next one be sent.
    config.set("message.timeout.ms", "0");
    config.create_with_context(connection.client())
}

/// Records of a partition, from `begin` on and before `end`.
struct Stretch {
    topic: String,
    partition: i32,
    begin: u64,
    end: u64,
}

/// Reads stretches side by side.
fn read<T>(
    consumer: &Consumer,
    mut stretches: Vec<Stretch>,
    take: impl Fn(&BorrowedMessage<'_>) -> Option<T>,
) -> Result<Vec<T>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for stretch in &mut stretches {
        let (first, _) = consumer.fetch_watermarks(&stretch.topic, stretch.partition, PATIENCE)?;
        stretch.begin = stretch.begin.max(u64::try_from(first).unwrap_or(0));
        let offset = Offset::Offset(i64::try_from(stretch.begin).unwrap_or(i64::MAX));
        list.add_partition_offset(&stretch.topic, stretch.partition, offset)?;
    }
    stretches.retain(|stretch| stretch.begin < stretch.end);
    consumer.assign(&list)?;
    let mut taken = Vec::new();
    let mut deadline = clock::now() + STRETCH_PATIENCE;
    while !stretches.is_empty() {
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
        }
        match consumer.poll(left) {
            Some(Ok(message)) => {
                let next = u64::try_from(message.offset()).unwrap_or(0) + 1;
                let of =
                    |stretch: &Stretch| stretch.topic == message.topic() && stretch.partition == message.partition();
                // What goes on behind the end of a stretch says nothing of one of which nothing comes.
                let Some(index) = stretches.iter().position(of) else { continue };
                deadline = clock::now() + STRETCH_PATIENCE;
                if next <= stretches[index].end {
                    taken.extend(take(&message));
                }
                if next >= stretches[index].end {
                    stretches.swap_remove(index);
                }
            }
            Some(Err(error)) => tracing::debug!(%error, "looking for what is published has trouble"),
            None => {}
        }
    }
    Ok(taken)
}

/// The value of a header, if it is there and text.
fn header(message: &BorrowedMessage<'_>, name: &str) -> Option<String> {
    let found = message.headers()?.iter().find(|header| header.key == name)?;
    String::from_utf8(found.value?.to_vec()).ok()
}
