//! The port: what the engine, the relay and the comparator ask of a log, whatever keeps it.

use bytes::Bytes;
use host::clock::{self, Instant};
use std::future::Future;
use std::pin::Pin;

/// A future behind a pointer, so that the port can be used as `dyn Log`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A record to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Groups records of one aggregate; the embedded log keeps it and gives it no meaning.
    pub key: Bytes,
    /// The stored bytes.
    pub value: Bytes,
}

impl NewRecord {
    /// A record without a key.
    pub fn of(value: impl Into<Bytes>) -> Self {
        Self { key: Bytes::new(), value: value.into() }
    }
}

/// A durable record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: u64,
    /// When the log took it, by the log's clock: microseconds since 1970. It never falls within a partition, but in Kafka
    /// when another broker leads whose clock is behind: whoever needs that takes the latest so far.
    pub at_micros: i64,
    /// Its key.
    pub key: Bytes,
    /// Its bytes.
    pub value: Bytes,
}

/// An append did not end in the certainty of being durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Nothing of the batch is or will be in the log.
    #[error("not appended: {0}")]
    NotAppended(String),
    /// Some or all of the batch may be in the log: read back before deciding anything.
    #[error("unknown whether appended: {0}")]
    Unknown(String),
}

/// A read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Records at this offset were deleted.
    #[error("{topic}/{partition} begins at offset {begin}, {wanted} is gone")]
    Gone {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The first offset there is.
        begin: u64,
        /// The offset asked for.
        wanted: u64,
    },
    /// The log cannot be read now.
    #[error("cannot read the log: {0}")]
    Failed(String),
}

/// A position in a partition that moves on with the log.
pub trait Tail: Send {
    /// The next records, at least one and at most `max`, waiting for them if there are none yet. Dropping the
    /// future loses no record.
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Record>, ReadError>>;
}

/// A log.
pub trait Log: Send + Sync {
    /// Appends a batch to one partition, in order and without others between, and answers once it is durable:
    /// the offset of its first record. An empty batch answers the end.
    fn append<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        batch: Vec<NewRecord>,
    ) -> BoxFuture<'a, Result<u64, AppendError>>;

    /// As [`Log::append`], but says by `deadline` how it stands: of what is on its way by then it is unknown, and where a log
    /// can tell what is not, that is not appended.
    fn append_by<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        batch: Vec<NewRecord>,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<u64, AppendError>> {
        Box::pin(async move { by(deadline, self.append(topic, partition, batch)).await })
    }

    /// Durable records from `from` on, at most `max` and perhaps fewer; none only at the end.
    fn read<'a>(
        &'a self,
        topic: &'a str,
        partition: u32,
        from: u64,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, ReadError>>;

    /// Follows a partition from `from` on.
    fn tail(&self, topic: &str, partition: u32, from: u64) -> Box<dyn Tail>;

    /// The offset that the next record will have.
    fn end<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<u64, ReadError>>;

    /// Deletes all records below `before`; used by retention and snapshots.
    fn delete_before<'a>(&'a self, topic: &'a str, partition: u32, before: u64)
    -> BoxFuture<'a, Result<(), ReadError>>;
}

/// What an append comes to by a deadline.
pub(crate) async fn by<T>(
    deadline: Instant,
    append: impl Future<Output = Result<T, AppendError>>,
) -> Result<T, AppendError> {
    let left = deadline.saturating_duration_since(clock::now());
    let late = |_| Err(AppendError::Unknown("not acknowledged in time".to_owned()));
    clock::timeout(left, append).await.unwrap_or_else(late)
}
