//! A position in a partition that moves on with the log.

use super::Reading;
use super::ring::{Ring, Slice};
use crate::port::{BoxFuture, ReadError, Record, Tail};
use std::sync::Arc;
use tokio::sync::watch;

/// The tail of a log in Kafka. Dropping the future of [`Tail::next`] loses no record.
pub(super) struct Kafka {
    reading: Arc<Reading>,
    ring: Arc<Ring>,
    changes: watch::Receiver<u64>,
    from: u64,
    /// A read that takes the network; kept, so that one who gives up again and again still comes forward.
    pending: Option<BoxFuture<'static, Result<Vec<Record>, ReadError>>>,
}

impl Kafka {
    /// Begins at `from`.
    pub(super) fn new(reading: Arc<Reading>, ring: Arc<Ring>, from: u64) -> Self {
        let changes = ring.changes();
        Self { reading, ring, changes, from, pending: None }
    }

    /// What is there from `from` on; nothing at the end.
    async fn read(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        if self.pending.is_none()
            && let Slice::Records(records) = self.ring.slice(self.from, max, super::READ_BYTES)
        {
            return Ok(records);
        }
        let (reading, ring, from) = (&self.reading, &self.ring, self.from);
        let pending = self.pending.get_or_insert_with(|| {
            let (reading, ring) = (Arc::clone(reading), Arc::clone(ring));
            Box::pin(async move { reading.read(&ring, from, max).await })
        });
        let read = pending.await;
        self.pending = None;
        read
    }
}

impl Tail for Kafka {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        Box::pin(async move {
            let max = max.max(1);
            loop {
                // Marked as seen before reading: what happens after this line wakes the wait below.
                self.changes.mark_unchanged();
                let mut records = self.read(max).await?;
                // A read that was begun for somebody who wanted more.
                records.truncate(max);
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
