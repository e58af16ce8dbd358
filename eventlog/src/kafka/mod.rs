//! A log in a Kafka cluster, by rdkafka: idempotent, without transactions.
//!
//! | module | what |
//! |---|---|
//! | [`connection`] | how the cluster is reached, and how the library is set |
//! | [`client`] | what the library calls back |
//! | [`appends`] | producers |
//! | [`feed`] | one consumer that brings new records into memory |
//! | [`ring`] | what is in memory of a partition |
//! | [`history`] | reads what is not |
//! | [`outbox`] | publishes for others, and keeps how far that has come |
//! | [`polled`] | a client that only asks |
//! | [`queries`] | where partitions begin and end |
//! | [`membership`] | who of several processes is given which partitions |
//! | [`tail`] | a position that moves on with the log |
//! | [`watch`] | gives the feed a new consumer when it stands still |
//! | [`worker`] | a thread and a consumer whose end is waited for only so long |
//! | [`topics`] | makes topics and checks them |
//! | [`acls`] | gives rights and checks them |
//!
//! Invariants: an append is acknowledged by all replicas in sync, or of unknown outcome; batches of one process stay
//! whole; offsets are contiguous, because there are no transactions and no compaction. What `acks=all` means: the
//! record is in the page caches of at least `min.insync.replicas` machines, not on their disks.

pub mod acls;
mod appends;
mod client;
mod connection;
mod feed;
mod history;
pub mod membership;
pub mod outbox;
mod polled;
mod queries;
mod ring;
mod tail;
pub mod topics;
mod watch;
mod worker;

pub use connection::{Connection, READER_GROUP, Sasl};
pub use topics::TopicSpec;

use crate::port::{AppendError, BoxFuture, Log, NewRecord, ReadError, Record, Tail};
use appends::Appends;
use bytes::Bytes;
use client::Client;
use feed::Feed;
use history::History;
use host::clock::{self, Instant};
use queries::{PATIENCE, Queries};
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use ring::{Ring, Slice};
use std::sync::Arc;
use worker::Worker;

/// Asks the cluster for changes.
type Admin = AdminClient<Client>;

/// A read ends after this much payload, whatever `max` allows.
const READ_BYTES: usize = 4 << 20;

/// The cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// The library refuses.
    #[error("cannot use the Kafka cluster {bootstrap}: {reason}")]
    Library {
        /// Some of its brokers.
        bootstrap: String,
        /// Why not.
        reason: String,
    },
}

/// A log in a Kafka cluster. Clones of the `Arc` share its connections.
pub struct KafkaLog {
    connection: Connection,
    appends: Appends,
    reading: Arc<Reading>,
    _watch: Worker,
}

/// What reads and tails share.
struct Reading {
    feed: Feed,
    history: History,
    queries: Queries,
}

impl KafkaLog {
    /// A log in this cluster. Nothing is connected before it is needed, so a cluster that is not there is an error of
    /// the first read or append, not of this.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration cannot work.
    pub fn open(connection: Connection) -> Result<Arc<Self>, OpenError> {
        connection.check().map_err(OpenError::Config)?;
        let refused = |reason| OpenError::Library { bootstrap: connection.bootstrap.clone(), reason };
        let feed = Feed::start(&connection).map_err(refused)?;
        let queries = Queries::new(&connection).map_err(refused)?;
        let reading = Arc::new(Reading { feed, history: History::new(&connection), queries });
        let watch = watch::watch(Arc::clone(&reading)).map_err(refused)?;
        Ok(Arc::new(Self { appends: Appends::new(&connection), connection, reading, _watch: watch }))
    }

    /// For trials: what the feed follows is paused behind its back, as if the library hung.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn stall(&self) -> Result<(), String> {
        self.reading.feed.stall().map_err(|error| error.to_string())
    }

    async fn append_until(
        &self,
        topic: &str,
        partition: u32,
        batch: Vec<NewRecord>,
        deadline: Option<Instant>,
    ) -> Result<u64, AppendError> {
        if batch.is_empty() {
            return self.end(topic, partition).await.map_err(|error| AppendError::NotAppended(error.to_string()));
        }
        let first = self.appends.append(&self.connection.topic(topic), partition, &batch, deadline).await?;
        // Whoever appended and reads next need not ask the cluster whether it is there.
        self.ring(topic, partition).reaches(first + batch.len() as u64);
        Ok(first)
    }

    fn ring(&self, topic: &str, partition: u32) -> Arc<Ring> {
        self.reading.feed.ring(&self.connection.topic(topic), partition)
    }
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaLog").field("bootstrap", &self.connection.bootstrap).finish_non_exhaustive()
    }
}

impl Reading {
    /// Records from `from` on that are in memory or, if older, in the cluster; none behind the newest one known.
    async fn read(&self, ring: &Arc<Ring>, from: u64, max: usize) -> Result<Vec<Record>, ReadError> {
        loop {
            match ring.slice(from, max, READ_BYTES) {
                Slice::Records(records) => return Ok(records),
                Slice::Older { up_to } => return self.history.read(ring, from, up_to, max, READ_BYTES).await,
                Slice::Gone { begin } => return Err(ring.gone(begin, from)),
                Slice::NotFed => self.feed.follow(ring, from, &self.queries).await?,
            }
        }
    }

    /// As [`Reading::read`], waiting for the record at `from`, which is in the cluster.
    async fn read_certain(&self, ring: &Arc<Ring>, from: u64, max: usize) -> Result<Vec<Record>, ReadError> {
        let mut changes = ring.changes();
        let waiting = async {
            loop {
                changes.mark_unchanged();
                let records = self.read(ring, from, max).await?;
                if !records.is_empty() {
                    return Ok(records);
                }
                if changes.changed().await.is_err() {
                    return Err(ReadError::Failed("the log is closed".to_owned()));
                }
            }
        };
        let late = || ReadError::Failed(format!("{}/{}: offset {from} does not come", ring.topic, ring.number));
        clock::timeout(PATIENCE, waiting).await.map_err(|_| late())?
    }
}

impl Log for KafkaLog {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        batch: Vec<NewRecord>,
    ) -> BoxFuture<'a, Result<u64, AppendError>> {
        Box::pin(self.append_until(topic, partition, batch, None))
    }

    fn append_by<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        batch: Vec<NewRecord>,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<u64, AppendError>> {
        Box::pin(self.append_until(topic, partition, batch, Some(deadline)))
    }

    fn read<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        from: u64,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            let ring = self.ring(topic, partition);
            let records = self.reading.read(&ring, from, max).await?;
            if !records.is_empty() || max == 0 {
                return Ok(records);
            }
            // Nothing there, as far as this process has read: perhaps it knows better, else the cluster does.
            if ring.known_end() <= from && self.reading.queries.end(&ring).await? <= from {
                return Ok(Vec::new());
            }
            self.reading.read_certain(&ring, from, max).await
        })
    }

    fn tail(&self, topic: &str, partition: u32, from: u64) -> Box<dyn Tail> {
        Box::new(tail::Kafka::new(Arc::clone(&self.reading), self.ring(topic, partition), from))
    }

    fn end<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(async move { self.reading.queries.end(&self.ring(topic, partition)).await })
    }

    fn delete_before<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        before: u64,
    ) -> BoxFuture<'a, Result<(), ReadError>> {
        Box::pin(async move {
            let ring = self.ring(topic, partition);
            let (begin, end) = self.reading.queries.span(&ring).await?;
            let before = before.min(end);
            if before <= begin {
                return Ok(());
            }
            let failed = |error: rdkafka::error::KafkaError| ReadError::Failed(error.to_string());
            let admin: Admin =
                self.connection.common().create_with_context(self.connection.client()).map_err(failed)?;
            let mut list = TopicPartitionList::new();
            let offset = Offset::Offset(i64::try_from(before).unwrap_or(i64::MAX));
            list.add_partition_offset(&ring.topic, partition_number(partition), offset).map_err(failed)?;
            let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
            let deleted = admin.delete_records(&list, &options).await.map_err(failed)?;
            for element in deleted.elements() {
                element.error().map_err(failed)?;
            }
            ring.begin_at(before);
            Ok(())
        })
    }
}

/// A partition's number as the library wants it: the cluster has no more than an i32 can count.
fn partition_number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A record as the port tells it. Kafka's times are milliseconds.
fn record_of(message: &BorrowedMessage<'_>) -> Record {
    let own = |bytes: Option<&[u8]>| bytes.map_or_else(Bytes::new, Bytes::copy_from_slice);
    Record {
        offset: u64::try_from(message.offset()).unwrap_or(0),
        at_micros: message.timestamp().to_millis().unwrap_or(0).saturating_mul(1_000),
        key: own(message.key()),
        value: own(message.payload()),
    }
}
