//! Outcomes on their way: decided, handed to the log, and not read back yet.

use super::reader::Reader;
use super::round::{Asked, Decides, Round};
use engine_domain::{Mark, Shard};
use eventlog::{BoxFuture, Log, NewRecord};
use futures_util::future::poll_immediate;
use futures_util::stream::FuturesUnordered;
use host::moment;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use wire::journal::JOURNAL;

/// Why an append failed, or nothing.
type Appended = Option<String>;

/// See the module.
#[derive(Default)]
pub(super) struct Pipeline {
    /// The drafts, each extending the one before it.
    pub(super) round: Round,
    /// Appends under way.
    pub(super) appends: FuturesUnordered<BoxFuture<'static, Appended>>,
    /// Of acknowledged appends: the offset behind their records, and the number of the draft behind theirs.
    acknowledged: Arc<Mutex<VecDeque<(u64, u64)>>>,
}

impl Pipeline {
    /// How many drafts have not been read back.
    pub(super) fn open(&self) -> usize {
        self.round.open()
    }

    /// Whether no append is under way.
    pub(super) fn is_landed(&self) -> bool {
        self.appends.is_empty()
    }

    /// The offset of the command to be decided next.
    pub(super) fn next_source(&self, reader: &Reader) -> u64 {
        self.round.next_source(reader)
    }

    /// The state before the first draft.
    pub(super) fn first_mark(&self) -> Option<Mark> {
        self.round.first_mark()
    }

    /// Decides on commands, on top of the drafts, and hands the outcomes to the log, behind those it was handed before.
    pub(super) async fn decide(
        &mut self,
        log: &Arc<dyn Log>,
        decides: Decides,
        shard: &mut Shard,
        reader: &Reader,
        asked: &[Asked],
    ) {
        let made = self.round.decide(decides, shard, reader, asked);
        if made.is_empty() {
            return;
        }
        let batch: Vec<NewRecord> = made.into_iter().map(NewRecord::of).collect();
        let (count, behind) = (batch.len() as u64, self.round.decided());
        let (log, number, acknowledged) = (Arc::clone(log), shard.number(), Arc::clone(&self.acknowledged));
        let mut append: BoxFuture<'static, Appended> = Box::pin(async move {
            moment::passes("outcome-decided");
            match log.append(JOURNAL, number, batch).await {
                Ok(first) => {
                    moment::passes("outcome-appended");
                    let mut acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                    acknowledged.push_back((first + count, behind));
                    None
                }
                Err(error) => Some(error.to_string()),
            }
        });
        // Polled here, so that batches reach the log in the order in which they were decided.
        match poll_immediate(&mut append).await {
            Some(appended) => self.appends.push(Box::pin(std::future::ready(appended))),
            None => self.appends.push(append),
        }
    }

    /// Whether drafts that are in the log were read and did not count; `next` is the offset to be read next.
    pub(super) fn passed_over(&mut self, next: u64) -> bool {
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let mut passed_over = false;
        acknowledged.retain(|(end, behind)| {
            let read = *end <= next;
            passed_over |= read && self.round.settled() < *behind;
            !read
        });
        passed_over
    }

    /// Whether drafts came to nothing since they were last dropped.
    pub(super) fn has_dropped(&self) -> bool {
        self.round.dropped() > 0
    }

    /// Takes the state back to what was accepted; how many drafts came to nothing.
    pub(super) fn drop_all(&mut self, shard: &mut Shard) -> usize {
        self.round.drop_drafts(shard);
        let dropped = self.round.dropped();
        *self = Self::default();
        dropped
    }
}
