//! A position in a partition that moves on with the log.

use super::Shared;
use super::partition::Partition;
use crate::port::{BoxFuture, ReadError, Record, Tail};
use std::sync::Arc;
use tokio::sync::watch;

/// The tail of an embedded log. Dropping the future of [`Tail::next`] loses no record.
pub(super) struct Embedded {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    changes: watch::Receiver<u64>,
    from: u64,
}

impl Embedded {
    /// Begins at `from`.
    pub(super) fn new(shared: Arc<Shared>, partition: Arc<Partition>, from: u64) -> Self {
        let changes = partition.changes();
        Self { shared, partition, changes, from }
    }
}

impl Tail for Embedded {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            loop {
                // Marked as seen before reading: what happens after this line wakes the wait below.
                self.changes.mark_unchanged();
                let records = self.shared.read(&self.partition, self.from, max.max(1)).await?;
                if let Some(last) = records.last() {
                    self.from = last.offset + 1;
                    return Ok(records);
                }
                if self.changes.changed().await.is_err() {
                    return Err(ReadError::Failed("the log is closed".to_owned()));
                }
            }
        })
    }
}
