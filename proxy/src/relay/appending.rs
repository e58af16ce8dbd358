//! Appends that end in certainty: a batch is repeated until it is durable, and what an append of unknown outcome
//! did is read back before anything is repeated.

use super::Error;
use bytes::Bytes;
use eventlog::{AppendError, Log, NewRecord, Record};
use host::clock;
use host::ops::Readiness;
use host::task::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// All topics of the cutover have one partition.
pub(super) const PARTITION: u32 = 0;
/// The first pause after a failure; it doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Records read back at once.
const PAGE: usize = 256;

/// A topic of which this relay is the only writer.
pub(super) struct Appending {
    log: Arc<dyn Log>,
    topic: &'static str,
    /// Where the next record of this relay will stand if nobody else appends.
    next: u64,
    readiness: Readiness,
    /// Given when there is no sense in trying for ever.
    stop: Shutdown,
}

impl Appending {
    /// Goes on at `next`.
    pub(super) fn new(log: Arc<dyn Log>, topic: &'static str, next: u64, readiness: Readiness, stop: Shutdown) -> Self {
        Self { log, topic, next, readiness, stop }
    }

    /// The offset behind the last record known.
    pub(super) fn end(&self) -> u64 {
        self.next
    }

    /// Appends a batch and returns once all of it is durable, in order; tries until then, or until it is to stop.
    ///
    /// `is_foreign` says of a record that stands where the batch was expected whether somebody else wrote it, in
    /// contrast to an earlier append of this relay that arrived late and is ignored by every reader.
    ///
    /// # Errors
    /// [`Error::AnotherRelay`] when somebody else did; [`Error::Append`] when the log does not take the batch and
    /// the relay is stopping.
    pub(super) async fn append(
        &mut self,
        batch: Vec<NewRecord>,
        is_foreign: impl Fn(&Record) -> bool,
    ) -> Result<(), Error> {
        let mut rest = batch;
        let mut pause = PAUSE_MIN;
        while !rest.is_empty() {
            let failure = match self.log.append(self.topic, PARTITION, rest.clone()).await {
                Ok(first) => {
                    let end = first + rest.len() as u64;
                    self.check(self.next, first, &is_foreign).await?;
                    self.next = end;
                    break;
                }
                Err(failure) => failure,
            };
            tracing::warn!(topic = self.topic, records = rest.len(), %failure, "cannot append");
            self.readiness.blocked(self.topic, failure.to_string());
            if self.stop.is_stopping() {
                return Err(Error::Append(failure));
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            if let AppendError::Unknown(_) = failure {
                self.drop_durable(&mut rest, &is_foreign).await?;
            }
        }
        self.readiness.cleared(self.topic);
        Ok(())
    }

    /// Takes out of `rest` what turns out to be durable.
    async fn drop_durable(
        &mut self,
        rest: &mut Vec<NewRecord>,
        is_foreign: &impl Fn(&Record) -> bool,
    ) -> Result<(), Error> {
        loop {
            let page = self.page(self.next).await?;
            let Some(last) = page.last() else { return Ok(()) };
            self.next = last.offset + 1;
            for record in &page {
                if rest.first().is_some_and(|expected| expected.value == record.value) {
                    rest.remove(0);
                } else if is_foreign(record) {
                    return Err(Error::AnotherRelay { topic: self.topic, offset: record.offset });
                }
            }
        }
    }

    /// Makes sure that nobody else's records stand from `from` up to `to`.
    async fn check(&self, from: u64, to: u64, is_foreign: &impl Fn(&Record) -> bool) -> Result<(), Error> {
        let mut at = from;
        while at < to {
            for record in self.page(at).await?.into_iter().filter(|record| record.offset < to) {
                at = record.offset + 1;
                if is_foreign(&record) {
                    return Err(Error::AnotherRelay { topic: self.topic, offset: record.offset });
                }
            }
        }
        Ok(())
    }

    /// The next records; tries until the log can be read, or until it is to stop.
    async fn page(&self, from: u64) -> Result<Vec<Record>, Error> {
        let mut pause = PAUSE_MIN;
        loop {
            match self.log.read(self.topic, PARTITION, from, PAGE).await {
                Ok(page) => return Ok(page),
                Err(error) if self.stop.is_stopping() => return Err(Error::Log(error)),
                Err(error) => tracing::warn!(topic = self.topic, %error, "cannot read back"),
            }
            clock::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// A record with a key.
pub(super) fn keyed(key: &str, value: Bytes) -> NewRecord {
    NewRecord { key: Bytes::copy_from_slice(key.as_bytes()), value }
}
