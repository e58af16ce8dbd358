//! Takes the records of several topics together, in the one order that `cutover.order` says: live, and again whenever
//! the index is rebuilt.

use crate::chain::PARTITION;
use eventlog::{AppendError, Log, NewRecord, ReadError, Record, Tail};
use host::clock::Instant;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use wire::order::{self, OrderMark};
use wire::stored::{DecodeError, decode, encode};

/// The topics that are taken together, in the order of [`OrderMark`]'s fields and of [`Merge::folded`].
pub const TOPICS: [&str; 4] = [wire::exchange::TOPIC, wire::shadow::TOPIC, wire::rollout::TOPIC, wire::decision::TOPIC];
/// The place of `cutover.shadows` among the topics.
pub const SHADOWS: usize = 1;
/// The place of `cutover.decisions` among the topics, for whoever waits until one is folded.
pub const DECISIONS: usize = 3;

/// Records read of a topic at once.
const PAGE: usize = 2_000;

/// Why the order cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read now.
    #[error("cannot read the log: {0}")]
    Reading(#[from] ReadError),
    /// The log does not take a mark now.
    #[error("cannot write down the order of records: {0}")]
    Marking(#[from] AppendError),
    /// A mark cannot be read: behind it, the order is not known.
    #[error("{} cannot be read at offset {offset}: {reason}", order::TOPIC)]
    Unreadable {
        /// Of the mark.
        offset: u64,
        /// Why.
        reason: DecodeError,
    },
}

/// Where the merge is.
pub struct Merge {
    log: Arc<dyn Log>,
    /// Marks are written no more often than this.
    every: Duration,
    /// When the last one was written.
    marked_at: Option<Instant>,
    /// Where the topics, and behind them the marks, are read; none before the first read, and after a failed one.
    tails: Vec<Box<dyn Tail>>,
    /// Records read and not taken yet, per topic in order.
    waiting: [VecDeque<Record>; 4],
    /// Per topic the next offset to be read.
    next: [u64; 4],
    /// Per topic the next offset to be taken.
    folded: [u64; 4],
    /// Per topic how far records may be taken.
    marked: [u64; 4],
    /// Marks that were read and not reached yet.
    marks: VecDeque<[u64; 4]>,
    /// How far the furthest mark goes, reached or not.
    furthest: [u64; 4],
    /// The next offset of `cutover.order`.
    next_mark: u64,
    /// Marks before this offset were there at the start: before they are read, none is written.
    old_marks: Option<u64>,
}

impl Merge {
    /// Nothing is taken yet. Marks are written no more often than `every`, so that they stay few beside what they mark.
    pub fn new(log: Arc<dyn Log>, every: Duration) -> Self {
        let none = [0; 4];
        Self {
            log,
            every,
            marked_at: None,
            tails: Vec::new(),
            waiting: Default::default(),
            next: none,
            folded: none,
            marked: none,
            marks: VecDeque::new(),
            furthest: none,
            next_mark: 0,
            old_marks: None,
        }
    }

    /// Per topic the next offset to be taken.
    pub fn folded(&self) -> [u64; 4] {
        self.folded
    }

    /// Reads on until the next record can be taken; writes marks where a topic goes on behind them.
    ///
    /// # Errors
    /// When the log cannot be read or written, or a mark cannot be read. Calling again goes on. Dropping the future
    /// loses nothing.
    pub async fn ready(&mut self) -> Result<(), Error> {
        while !self.is_ready() {
            if self.folded == self.marked
                && let Some(mark) = self.marks.pop_front()
            {
                self.marked = mark;
            } else if self.wants_mark().await? {
                self.mark().await?;
            } else {
                let read = self.read_on().await;
                if read.is_err() {
                    self.tails.clear();
                }
                read?;
            }
        }
        Ok(())
    }

    /// Takes the next record that has been read. `None` before [`Merge::ready`] has to be called again.
    ///
    /// `may_follow` says of a record of `cutover.shadows` whether everything that it follows from was taken.
    pub fn take(&mut self, may_follow: impl Fn(&Record) -> bool) -> Option<(usize, Record)> {
        if !self.is_ready() {
            return None;
        }
        let head = |place: &usize| self.waiting[*place].front().map(|record| record.at_micros);
        let first = self.open().min_by_key(|place| (head(place), *place))?;
        let waits = first == SHADOWS
            && self.open().any(|place| place == 0)
            && self.waiting[SHADOWS].front().is_some_and(|record| !may_follow(record));
        let place = if waits { 0 } else { first };
        let record = self.waiting[place].pop_front()?;
        self.folded[place] = record.offset + 1;
        Some((place, record))
    }

    /// The topics that go on before the mark.
    fn open(&self) -> impl Iterator<Item = usize> {
        (0..4).filter(|&place| self.folded[place] < self.marked[place])
    }

    /// Whether the next record of each topic that goes on before the mark has been read, and there is one.
    fn is_ready(&self) -> bool {
        self.folded != self.marked && self.open().all(|place| !self.waiting[place].is_empty())
    }

    /// Whether everything is marked that was, and something was read that is not.
    async fn wants_mark(&mut self) -> Result<bool, Error> {
        let old = match self.old_marks {
            Some(old) => old,
            None => *self.old_marks.insert(self.log.end(order::TOPIC, PARTITION).await?),
        };
        let goes_on = self.next.iter().zip(self.furthest).any(|(next, marked)| *next > marked);
        Ok(self.folded == self.marked && self.next_mark >= old && goes_on)
    }

    /// Writes down how far the topics have been read. Of the exchanges, how far they go: they are what the others
    /// follow from.
    async fn mark(&mut self) -> Result<(), Error> {
        if let Some(marked_at) = self.marked_at {
            host::clock::sleep_until(marked_at + self.every).await;
        }
        let exchanges = self.log.end(TOPICS[0], PARTITION).await?;
        let [read, shadows, rollout, decisions] = self.next;
        let mark = OrderMark { exchanges: exchanges.max(read), shadows, rollout, decisions };
        let offset = self.log.append(order::TOPIC, PARTITION, vec![NewRecord::of(encode(&mark))]).await?;
        self.marked_at = Some(host::clock::now());
        // Read back before anything else is marked.
        self.old_marks = Some(offset + 1);
        Ok(())
    }

    /// Reads the next records of whichever topic has some.
    async fn read_on(&mut self) -> Result<(), Error> {
        if self.tails.is_empty() {
            let starts = TOPICS.into_iter().zip(self.next).chain([(order::TOPIC, self.next_mark)]);
            self.tails = starts.map(|(topic, from)| self.log.tail(topic, PARTITION, from)).collect();
        }
        let (waiting, marks) = (&self.waiting, self.marks.len());
        // A topic that is far ahead of the others, or of what is taken, waits in the log, not in memory.
        let has_room = |place: usize| waiting.get(place).map_or(marks, VecDeque::len) < PAGE;
        let reads = self.tails.iter_mut().enumerate().filter(|(place, _)| has_room(*place)).map(|(place, tail)| {
            let read = tail.next(PAGE);
            Box::pin(async move { (place, read.await) })
        });
        let ((place, read), _, _) = futures_util::future::select_all(reads).await;
        match read {
            Ok(records) => self.take_read(place, records),
            // Retention has taken the beginning; what is left begins here.
            Err(ReadError::Gone { begin, .. }) => self.begin_at(place, begin),
            Err(error) => Err(error.into()),
        }
    }

    fn take_read(&mut self, place: usize, records: Vec<Record>) -> Result<(), Error> {
        let Some(waiting) = self.waiting.get_mut(place) else { return self.take_marks(&records) };
        self.next[place] = records.last().map_or(self.next[place], |last| last.offset + 1);
        waiting.extend(records);
        Ok(())
    }

    fn take_marks(&mut self, records: &[Record]) -> Result<(), Error> {
        for record in records {
            let offset = record.offset;
            let mark: OrderMark = decode(&record.value).map_err(|reason| Error::Unreadable { offset, reason })?;
            let mark = [mark.exchanges, mark.shadows, mark.rollout, mark.decisions];
            for (furthest, mark) in self.furthest.iter_mut().zip(mark) {
                *furthest = mark.max(*furthest);
            }
            self.marks.push_back(self.furthest);
            self.next_mark = offset + 1;
        }
        Ok(())
    }

    fn begin_at(&mut self, place: usize, begin: u64) -> Result<(), Error> {
        let (topic, next) = match place {
            0..4 => (TOPICS[place], &mut self.next[place]),
            _ => (order::TOPIC, &mut self.next_mark),
        };
        if *next > 0 {
            let why = format!("{topic} begins at offset {begin}, {next} is gone");
            return Err(Error::Reading(ReadError::Failed(why)));
        }
        *next = begin;
        if let Some(folded) = self.folded.get_mut(place) {
            *folded = begin;
            // What was marked of it is gone.
            self.marked[place] = self.marked[place].max(begin);
            self.furthest[place] = self.furthest[place].max(begin);
            self.marks.iter_mut().for_each(|mark| mark[place] = mark[place].max(begin));
        }
        self.tails.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventlog::EmbeddedLog;

    /// A small generator, so that a failure names the seed that repeats it.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }
    }

    /// Takes until so many records are taken.
    async fn take_until(merge: &mut Merge, count: usize, taken: &mut Vec<(usize, u64)>) {
        while taken.len() < count {
            merge.ready().await.unwrap();
            while let Some((place, record)) = merge.take(|_| true) {
                taken.push((place, record.offset));
            }
        }
    }

    fn merge(log: &Arc<EmbeddedLog>) -> Merge {
        Merge::new(Arc::clone(log) as Arc<dyn Log>, Duration::ZERO)
    }

    async fn mark(log: &EmbeddedLog, mark: OrderMark) {
        log.append(order::TOPIC, 0, vec![NewRecord::of(encode(&mark))]).await.unwrap();
    }

    async fn append(log: &EmbeddedLog, place: usize, records: u64) {
        let batch: Vec<NewRecord> = (0..records).map(|_| NewRecord::of(vec![0])).collect();
        log.append(TOPICS[place], 0, batch).await.unwrap();
    }

    #[tokio::test]
    async fn live_or_rebuilt_records_are_taken_in_one_order() {
        let seed = u64::from(std::process::id());
        println!("seed {seed}");
        let mut dice = Dice(seed);
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(directory.path()).unwrap();
        let (mut live, mut seen) = (merge(&log), Vec::new());
        // A second one that looks at other moments, as a comparator that takes over would.
        let (mut other, mut seen_by_other) = (merge(&log), Vec::new());
        let mut written = 0;
        // More than a page in one topic.
        while written < 4 * PAGE {
            let topic = [0, 0, 0, 1, 2, 3][usize::try_from(dice.below(6)).unwrap()];
            let records = 1 + dice.below(300);
            append(&log, topic, records).await;
            written += usize::try_from(records).unwrap();
            match dice.below(5) {
                0 | 1 => take_until(&mut live, written, &mut seen).await,
                2 => take_until(&mut other, written, &mut seen_by_other).await,
                _ => {}
            }
        }
        take_until(&mut live, written, &mut seen).await;
        take_until(&mut other, written, &mut seen_by_other).await;
        let (mut rebuilt, mut again) = (merge(&log), Vec::new());
        take_until(&mut rebuilt, written, &mut again).await;
        assert_eq!(seen.len(), written, "seed {seed}");
        assert_eq!(seen, again, "seed {seed}");
        assert_eq!(seen, seen_by_other, "seed {seed}");
    }

    #[tokio::test]
    async fn a_mark_that_arrives_late_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(directory.path()).unwrap();
        let (mut live, mut seen) = (merge(&log), Vec::new());
        append(&log, 0, 3).await;
        append(&log, 3, 2).await;
        take_until(&mut live, 5, &mut seen).await;
        // Of another comparator that had seen less of one topic and more of another.
        append(&log, 1, 2).await;
        mark(&log, OrderMark { exchanges: 1, shadows: 1, rollout: 0, decisions: 0 }).await;
        take_until(&mut live, 7, &mut seen).await;
        let (mut rebuilt, mut again) = (merge(&log), Vec::new());
        take_until(&mut rebuilt, 7, &mut again).await;
        assert_eq!(seen, again);
    }

    #[tokio::test]
    async fn what_follows_from_an_exchange_comes_after_it_whatever_the_clocks_say() {
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(directory.path()).unwrap();
        append(&log, SHADOWS, 1).await;
        append(&log, 0, 3).await;
        mark(&log, OrderMark { exchanges: 3, shadows: 1, rollout: 0, decisions: 0 }).await;
        let mut merge = merge(&log);
        let mut taken = Vec::new();
        while taken.len() < 4 {
            merge.ready().await.unwrap();
            while let Some((place, record)) = merge.take(|_| taken.contains(&(0, 1))) {
                taken.push((place, record.offset));
            }
        }
        assert_eq!(taken, [(0, 0), (0, 1), (SHADOWS, 0), (0, 2)]);
        // What never comes is not waited for beyond the mark.
        append(&log, SHADOWS, 1).await;
        merge.ready().await.unwrap();
        assert_eq!(merge.take(|_| false).map(|(place, record)| (place, record.offset)), Some((SHADOWS, 1)));
    }

    #[tokio::test]
    async fn a_beginning_that_retention_took_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(directory.path()).unwrap();
        append(&log, 0, 10).await;
        append(&log, 1, 10).await;
        take_until(&mut merge(&log), 20, &mut Vec::new()).await;
        log.delete_before(TOPICS[0], 0, 7).await.unwrap();
        append(&log, 0, 1).await;
        let (mut rebuilt, mut taken) = (merge(&log), Vec::new());
        take_until(&mut rebuilt, 14, &mut taken).await;
        assert_eq!(
            taken.iter().filter(|(place, _)| *place == 0).map(|(_, offset)| *offset).collect::<Vec<_>>(),
            [7, 8, 9, 10]
        );
    }
}
