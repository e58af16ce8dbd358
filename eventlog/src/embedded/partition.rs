//! What is kept in memory of a partition: where it begins and ends, its newest records, and who waits for more.

use crate::port::{ReadError, Record};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Newest records kept in memory per partition: some seconds of a loaded shard.
const RECENT_RECORDS: usize = 4096;
/// Their payload at most, so that 20 partitions stay below 100 MB.
const RECENT_BYTES: usize = 4 << 20;

/// What the file holds of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The partition's number in the file.
    pub(super) id: u32,
    /// The first offset that was not deleted.
    pub(super) begin: u64,
    /// The offset of the next record.
    pub(super) end: u64,
}

/// A partition.
pub(super) struct Partition {
    topic: Box<str>,
    number: u32,
    memory: Mutex<Memory>,
    /// Counts what happened, for those who wait: commits, deletions, the end of the log.
    changes: watch::Sender<u64>,
}

struct Memory {
    /// `None` until the first commit gave it one.
    id: Option<u32>,
    begin: u64,
    /// Behind the newest record in memory, visible or not.
    end: u64,
    recent: VecDeque<Record>,
    recent_bytes: usize,
}

/// What memory says to a read.
pub(super) enum Slice {
    /// The records; none at the end.
    Records(Vec<Record>),
    /// They are in the file, up to `end`.
    Older { id: u32, end: u64 },
    /// They were deleted.
    Gone { begin: u64 },
}

fn payload(record: &Record) -> usize {
    record.key.len() + record.value.len()
}

impl Memory {
    /// The offset of the oldest record in memory; the end, if there is none.
    fn first_recent(&self) -> u64 {
        self.recent.front().map_or(self.end, |record| record.offset)
    }

    /// Behind the newest record that may be shown.
    fn visible_end(&self, visible: i64) -> u64 {
        let hidden = self.recent.iter().rev().take_while(|record| record.at_micros > visible).count();
        self.end - hidden as u64
    }

    fn forget_front(&mut self) {
        if let Some(record) = self.recent.pop_front() {
            self.recent_bytes -= payload(&record);
        }
    }

    /// Keeps the bounds. Hidden records stay whatever the bounds say: only here a reader learns that they exist.
    fn trim(&mut self, visible: i64) {
        while (self.recent.len() > RECENT_RECORDS || self.recent_bytes > RECENT_BYTES)
            && self.recent.front().is_some_and(|record| record.at_micros <= visible)
        {
            self.forget_front();
        }
    }
}

impl Partition {
    /// A partition that the file does not know yet.
    pub(super) fn empty(topic: Box<str>, number: u32) -> Self {
        let memory = Memory { id: None, begin: 0, end: 0, recent: VecDeque::new(), recent_bytes: 0 };
        Self { topic, number, memory: Mutex::new(memory), changes: watch::Sender::new(0) }
    }

    /// A partition as the file holds it.
    pub(super) fn stored(topic: Box<str>, number: u32, span: Span) -> Self {
        let partition = Self::empty(topic, number);
        {
            let mut memory = partition.memory();
            (memory.id, memory.begin, memory.end) = (Some(span.id), span.begin, span.end);
        }
        partition
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name in the file.
    pub(super) fn name(&self) -> (&str, u32) {
        (&self.topic, self.number)
    }

    /// Its number in the file, if it has one.
    pub(super) fn id(&self) -> Option<u32> {
        self.memory().id
    }

    /// The first offset that was not deleted.
    pub(super) fn begin(&self) -> u64 {
        self.memory().begin
    }

    /// The offset that the next record will have, as far as readers know.
    pub(super) fn end(&self, visible: i64) -> u64 {
        self.memory().visible_end(visible)
    }

    /// The offset that the next record will have, for the writer.
    pub(super) fn writer_end(&self) -> u64 {
        self.memory().end
    }

    /// The error for a reader who wants what was deleted.
    pub(super) fn gone(&self, begin: u64, wanted: u64) -> ReadError {
        ReadError::Gone { topic: self.topic.to_string(), partition: self.number, begin, wanted }
    }

    /// Visible records from `from` on: at most `max`, and no more than `max_bytes` of payload after the first.
    pub(super) fn slice(&self, from: u64, max: usize, max_bytes: usize, visible: i64) -> Slice {
        let memory = self.memory();
        if from < memory.begin {
            return Slice::Gone { begin: memory.begin };
        }
        let end = memory.visible_end(visible);
        if from >= end || max == 0 {
            return Slice::Records(Vec::new());
        }
        let first = memory.first_recent();
        if from < first {
            // A record can only leave memory once it has been committed, which gives the partition its number.
            let id = memory.id.expect("a partition with records in the file has a number");
            return Slice::Older { id, end };
        }
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        let count = usize::try_from(end - from).unwrap_or(usize::MAX).min(max);
        let mut bytes = 0;
        let mut records = Vec::with_capacity(count);
        for record in memory.recent.iter().skip(skip).take(count) {
            bytes += payload(record);
            if bytes > max_bytes && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        Slice::Records(records)
    }

    /// Takes committed records that readers may not see yet.
    pub(super) fn take(&self, id: u32, records: impl IntoIterator<Item = Record>, visible: i64) {
        let mut memory = self.memory();
        memory.id = Some(id);
        memory.trim(visible);
        for record in records {
            memory.end = record.offset + 1;
            memory.recent_bytes += payload(&record);
            memory.recent.push_back(record);
        }
    }

    /// Forgets what was deleted.
    pub(super) fn begin_at(&self, begin: u64) {
        {
            let mut memory = self.memory();
            memory.begin = begin;
            while memory.recent.front().is_some_and(|record| record.offset < begin) {
                memory.forget_front();
            }
        }
        self.wake();
    }

    /// Tells those who wait that something happened.
    pub(super) fn wake(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// For waiting until something happens.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
