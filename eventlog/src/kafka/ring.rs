//! What is kept in memory of a partition: its newest records, and who waits for more.

use crate::port::{ReadError, Record};
use host::clock::Instant;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Newest records kept in memory per partition: some seconds of a loaded shard.
pub(super) const RECENT_RECORDS: usize = 4096;
/// Their payload at most, so that 20 partitions stay below 100 MB.
const RECENT_BYTES: usize = 4 << 20;

/// A partition as this process knows it.
pub(super) struct Ring {
    /// As it is called in the cluster.
    pub(super) topic: Box<str>,
    pub(super) number: u32,
    memory: Mutex<Memory>,
    /// Counts what happened, for those who wait.
    changes: watch::Sender<u64>,
    /// Held while the feed begins here.
    pub(super) beginning: tokio::sync::Mutex<()>,
    /// Behind the last record that this process knows to be durable: of its own appends, or as the cluster said.
    known_end: AtomicU64,
    /// The last answer to where the partition ends, and when it was asked for.
    pub(super) end: tokio::sync::Mutex<Option<(Instant, Result<u64, ReadError>)>>,
}

struct Memory {
    /// Whether the feed follows this partition.
    fed: bool,
    /// The first offset that was not deleted, as far as known.
    begin: u64,
    /// The offset of the next record from the feed.
    next: u64,
    recent: VecDeque<Record>,
    recent_bytes: usize,
}

/// What memory says to a read.
pub(super) enum Slice {
    /// The records; none behind the newest one known.
    Records(Vec<Record>),
    /// They are in the cluster, up to this offset.
    Older { up_to: u64 },
    /// They were deleted.
    Gone { begin: u64 },
    /// Nobody follows this partition.
    NotFed,
}

fn payload(record: &Record) -> usize {
    record.key.len() + record.value.len()
}

impl Memory {
    fn first(&self) -> u64 {
        self.recent.front().map_or(self.next, |record| record.offset)
    }

    fn forget_front(&mut self) {
        if let Some(record) = self.recent.pop_front() {
            self.recent_bytes -= payload(&record);
        }
    }
}

impl Ring {
    /// A partition that nobody follows yet.
    pub(super) fn new(topic: Box<str>, number: u32) -> Self {
        let memory = Memory { fed: false, begin: 0, next: 0, recent: VecDeque::new(), recent_bytes: 0 };
        Self {
            topic,
            number,
            memory: Mutex::new(memory),
            changes: watch::Sender::new(0),
            beginning: tokio::sync::Mutex::new(()),
            known_end: AtomicU64::new(0),
            end: tokio::sync::Mutex::new(None),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition is known to reach up to here.
    pub(super) fn reaches(&self, end: u64) {
        self.known_end.fetch_max(end, Ordering::AcqRel);
    }

    /// How far the partition is known to reach.
    pub(super) fn known_end(&self) -> u64 {
        self.known_end.load(Ordering::Acquire)
    }

    /// Whether the feed follows this partition.
    pub(super) fn is_fed(&self) -> bool {
        self.memory().fed
    }

    /// The offset of the next record from the feed; nothing if the feed does not follow.
    pub(super) fn fed_up_to(&self) -> Option<u64> {
        let memory = self.memory();
        memory.fed.then_some(memory.next)
    }

    /// The feed follows from `next` on; the partition begins at `begin`.
    pub(super) fn fed_from(&self, begin: u64, next: u64) {
        let mut memory = self.memory();
        (memory.fed, memory.next) = (true, next);
        memory.begin = memory.begin.max(begin);
    }

    /// The feed has lost its place: what is in memory is no longer added to.
    pub(super) fn starve(&self) {
        {
            let mut memory = self.memory();
            memory.fed = false;
            memory.recent.clear();
            memory.recent_bytes = 0;
        }
        self.wake();
    }

    /// The error for a reader who wants what was deleted.
    pub(super) fn gone(&self, begin: u64, wanted: u64) -> ReadError {
        ReadError::Gone { topic: self.topic.to_string(), partition: self.number, begin, wanted }
    }

    /// Takes the next record of the feed. One that is there already is a repeat after a reconnection.
    pub(super) fn take(&self, record: Record) {
        let mut memory = self.memory();
        if !memory.fed || record.offset < memory.next {
            return;
        }
        // A hole is only what retention made of it: records before it are no longer next to those behind it.
        if record.offset > memory.next {
            memory.recent.clear();
            memory.recent_bytes = 0;
        }
        memory.next = record.offset + 1;
        memory.recent_bytes += payload(&record);
        memory.recent.push_back(record);
        while memory.recent.len() > RECENT_RECORDS || (memory.recent_bytes > RECENT_BYTES && memory.recent.len() > 1) {
            memory.forget_front();
        }
    }

    /// Records from `from` on: at most `max`, and no more than `max_bytes` of payload after the first.
    pub(super) fn slice(&self, from: u64, max: usize, max_bytes: usize) -> Slice {
        let memory = self.memory();
        if from < memory.begin {
            return Slice::Gone { begin: memory.begin };
        }
        if !memory.fed {
            return Slice::NotFed;
        }
        let first = memory.first();
        if from < first {
            return Slice::Older { up_to: first };
        }
        if from >= memory.next || max == 0 {
            return Slice::Records(Vec::new());
        }
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut records = Vec::new();
        for record in memory.recent.iter().skip(skip).take(max) {
            bytes += payload(record);
            if bytes > max_bytes && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        Slice::Records(records)
    }

    /// Forgets what was deleted.
    pub(super) fn begin_at(&self, begin: u64) {
        {
            let mut memory = self.memory();
            memory.begin = memory.begin.max(begin);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, bytes: usize) -> Record {
        Record { offset, at_micros: 0, key: Default::default(), value: vec![0; bytes].into() }
    }

    fn offsets(slice: Slice) -> Vec<u64> {
        match slice {
            Slice::Records(records) => records.iter().map(|record| record.offset).collect(),
            _ => panic!("no records"),
        }
    }

    #[test]
    fn it_says_where_a_record_is_to_be_read() {
        let ring = Ring::new("t".into(), 0);
        assert!(matches!(ring.slice(0, 1, 1), Slice::NotFed));
        ring.fed_from(2, 10);
        assert!(matches!(ring.slice(1, 1, 1), Slice::Gone { begin: 2 }));
        assert!(matches!(ring.slice(2, 1, 1), Slice::Older { up_to: 10 }));
        for offset in 10..14 {
            ring.take(record(offset, 4));
        }
        ring.take(record(12, 4));
        assert_eq!(offsets(ring.slice(11, 9, 100)), [11, 12, 13]);
        assert_eq!(offsets(ring.slice(11, 9, 8)), [11, 12]);
        assert_eq!(offsets(ring.slice(11, 9, 1)), [11], "never less than one");
        assert!(offsets(ring.slice(14, 9, 100)).is_empty());
        assert!(offsets(ring.slice(99, 9, 100)).is_empty());
        ring.begin_at(13);
        assert!(matches!(ring.slice(12, 1, 1), Slice::Gone { begin: 13 }));
        ring.starve();
        assert!(matches!(ring.slice(13, 1, 1), Slice::NotFed));
    }

    #[test]
    fn memory_is_bounded_and_a_hole_is_no_neighbour() {
        let ring = Ring::new("t".into(), 0);
        ring.fed_from(0, 0);
        for offset in 0..RECENT_RECORDS as u64 + 5 {
            ring.take(record(offset, 1));
        }
        assert!(matches!(ring.slice(4, 1, 1), Slice::Older { up_to: 5 }));
        ring.take(record(10_000, 1));
        assert!(matches!(ring.slice(9_999, 1, 1), Slice::Older { up_to: 10_000 }));
        ring.take(record(10_001, 2 * RECENT_BYTES));
        assert_eq!(offsets(ring.slice(10_001, 9, 1)), [10_001]);
        assert!(matches!(ring.slice(10_000, 1, 1), Slice::Older { up_to: 10_001 }));
    }
}
