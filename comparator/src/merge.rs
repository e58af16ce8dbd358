//! Takes the records of several topics together, in the one order that `cutover.order` says: live, and again whenever
//! the index is rebuilt.

use eventlog::{AppendError, Log, NewRecord, ReadError, Record};
use host::clock::Instant;
use std::collections::VecDeque;
use std::time::Duration;
use wire::order::{self, OrderMark};
use wire::stored::{DecodeError, decode, encode};

/// The topics that are taken together, in the order of [`OrderMark`]'s fields and of [`Merge::folded`].
pub const TOPICS: [&str; 4] = [wire::exchange::TOPIC, wire::shadow::TOPIC, wire::rollout::TOPIC, wire::decision::TOPIC];
/// The place of `cutover.shadows` among the topics.
pub const SHADOWS: usize = 1;
/// The place of `cutover.decisions` among the topics.
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
#[derive(Debug)]
pub struct Merge {
    /// Marks are written no more often than this.
    every: Duration,
    /// When the last one was written.
    marked_at: Option<Instant>,
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
    /// The next offset of `cutover.order`.
    next_mark: u64,
}

impl Merge {
    /// Nothing is taken yet. Marks are written no more often than `every`, so that they stay few beside what they mark.
    pub fn new(every: Duration) -> Self {
        let none = [0; 4];
        Self {
            every,
            marked_at: None,
            waiting: Default::default(),
            next: none,
            folded: none,
            marked: none,
            marks: VecDeque::new(),
            next_mark: 0,
        }
    }

    /// Per topic the next offset to be taken.
    pub fn folded(&self) -> [u64; 4] {
        self.folded
    }

    /// Per topic where to wait for more, and behind them the same of the marks.
    pub fn ends(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TOPICS.into_iter().zip(self.marked).chain([(order::TOPIC, self.next_mark)])
    }

    /// Reads on as far as is needed to take the next record; whether there is one. If the marks that are there are
    /// reached, and a topic goes on behind them, appends a mark.
    ///
    /// # Errors
    /// When the log cannot be read or written, or a mark cannot be read. Calling again goes on.
    pub async fn ready(&mut self, log: &dyn Log) -> Result<bool, Error> {
        loop {
            if self.folded != self.marked {
                self.fill(log).await?;
                return Ok(true);
            }
            if let Some(mark) = self.marks.pop_front() {
                self.marked = mark;
                continue;
            }
            if !self.read_marks(log).await? {
                if self.look(log).await? == self.marked {
                    return Ok(false);
                }
                if let Some(marked_at) = self.marked_at {
                    host::clock::sleep_until(marked_at + self.every).await;
                }
                let seen = self.look(log).await?;
                self.mark(log, seen).await?;
                self.marked_at = Some(host::clock::now());
            }
        }
    }

    /// Takes the next record that has been read. `None` before [`Merge::ready`] has to be called again.
    ///
    /// `may_follow` says of a record of `cutover.shadows` whether everything that it follows from was taken.
    pub fn take(&mut self, may_follow: impl Fn(&Record) -> bool) -> Option<(usize, Record)> {
        let open: Vec<usize> = (0..4).filter(|&place| self.folded[place] < self.marked[place]).collect();
        if open.iter().any(|&place| self.waiting[place].is_empty()) {
            return None;
        }
        let head = |place: &usize| self.waiting[*place].front().map(|record| record.at_micros);
        let first = open.iter().copied().min_by_key(|place| (head(place), *place))?;
        let waits = first == SHADOWS
            && open.contains(&0)
            && self.waiting[SHADOWS].front().is_some_and(|record| !may_follow(record));
        let place = if waits { 0 } else { first };
        let record = self.waiting[place].pop_front()?;
        self.folded[place] = record.offset + 1;
        Some((place, record))
    }

    /// Makes sure that of every topic that goes on before the mark, the next record is there.
    async fn fill(&mut self, log: &dyn Log) -> Result<(), Error> {
        for (place, topic) in TOPICS.iter().enumerate() {
            if !self.waiting[place].is_empty() || self.folded[place] >= self.marked[place] {
                continue;
            }
            let most = usize::try_from(self.marked[place] - self.next[place]).unwrap_or(PAGE).min(PAGE);
            let records = match log.read(topic, crate::chain::PARTITION, self.next[place], most).await {
                Ok(records) => records,
                // Retention has taken the beginning; what is left begins here.
                Err(ReadError::Gone { begin, .. }) if self.next[place] == 0 => {
                    (self.next[place], self.folded[place]) = (begin, begin.min(self.marked[place]));
                    log.read(topic, crate::chain::PARTITION, begin, most).await?
                }
                Err(error) => return Err(error.into()),
            };
            let missing = || ReadError::Failed(format!("{topic} ends before offset {}", self.marked[place]));
            let last = records.last().ok_or_else(missing)?;
            self.next[place] = last.offset + 1;
            self.waiting[place].extend(records);
        }
        Ok(())
    }

    /// Reads marks; whether there were any.
    async fn read_marks(&mut self, log: &dyn Log) -> Result<bool, Error> {
        let records = match log.read(order::TOPIC, crate::chain::PARTITION, self.next_mark, PAGE).await {
            Err(ReadError::Gone { begin, .. }) if self.next_mark == 0 => {
                log.read(order::TOPIC, crate::chain::PARTITION, begin, PAGE).await
            }
            read => read,
        }?;
        let mut furthest = self.marked;
        for record in &records {
            let offset = record.offset;
            let mark: OrderMark = decode(&record.value).map_err(|reason| Error::Unreadable { offset, reason })?;
            let mark = [mark.exchanges, mark.shadows, mark.rollout, mark.decisions];
            for (furthest, mark) in furthest.iter_mut().zip(mark) {
                *furthest = mark.max(*furthest);
            }
            self.marks.push_back(furthest);
            self.next_mark = offset + 1;
        }
        Ok(!records.is_empty())
    }

    /// How far the topics go. What a record follows from is looked at after it, so that a mark includes causes.
    async fn look(&self, log: &dyn Log) -> Result<[u64; 4], Error> {
        let mut seen = self.marked;
        for place in [DECISIONS, SHADOWS, 0, 2] {
            let end = log.end(TOPICS[place], crate::chain::PARTITION).await?;
            seen[place] = end.max(self.marked[place]);
        }
        Ok(seen)
    }

    async fn mark(&self, log: &dyn Log, [exchanges, shadows, rollout, decisions]: [u64; 4]) -> Result<(), Error> {
        let mark = OrderMark { exchanges, shadows, rollout, decisions };
        log.append(order::TOPIC, crate::chain::PARTITION, vec![NewRecord::of(encode(&mark))]).await?;
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

    /// Takes everything that is there.
    async fn take_all(merge: &mut Merge, log: &dyn Log, taken: &mut Vec<(usize, u64)>) {
        while merge.ready(log).await.unwrap() {
            while let Some((place, record)) = merge.take(|_| true) {
                taken.push((place, record.offset));
            }
        }
    }

    async fn append(log: &dyn Log, place: usize, records: u64) {
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
        let (mut live, mut seen) = (Merge::new(Duration::ZERO), Vec::new());
        // A second one that looks at other moments, as a comparator that takes over would.
        let (mut other, mut seen_by_other) = (Merge::new(Duration::ZERO), Vec::new());
        let mut written = 0;
        // More than a page in one topic.
        while written < 4 * PAGE {
            let topic = [0, 0, 0, 1, 2, 3][usize::try_from(dice.below(6)).unwrap()];
            let records = 1 + dice.below(300);
            append(log.as_ref(), topic, records).await;
            written += usize::try_from(records).unwrap();
            match dice.below(5) {
                0 | 1 => take_all(&mut live, log.as_ref(), &mut seen).await,
                2 => take_all(&mut other, log.as_ref(), &mut seen_by_other).await,
                _ => {}
            }
        }
        take_all(&mut live, log.as_ref(), &mut seen).await;
        take_all(&mut other, log.as_ref(), &mut seen_by_other).await;
        let (mut rebuilt, mut again) = (Merge::new(Duration::ZERO), Vec::new());
        take_all(&mut rebuilt, log.as_ref(), &mut again).await;
        assert_eq!(seen.len(), written, "seed {seed}");
        assert_eq!(seen, again, "seed {seed}");
        assert_eq!(seen, seen_by_other, "seed {seed}");
    }

    #[tokio::test]
    async fn a_mark_that_arrives_late_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(directory.path()).unwrap();
        let (mut live, mut seen) = (Merge::new(Duration::ZERO), Vec::new());
        append(log.as_ref(), 0, 3).await;
        append(log.as_ref(), 3, 2).await;
        take_all(&mut live, log.as_ref(), &mut seen).await;
        // Of another comparator that had seen less of one topic and more of another.
        append(log.as_ref(), 1, 2).await;
        live.mark(log.as_ref(), [1, 1, 0, 0]).await.unwrap();
        take_all(&mut live, log.as_ref(), &mut seen).await;
        let (mut rebuilt, mut again) = (Merge::new(Duration::ZERO), Vec::new());
        take_all(&mut rebuilt, log.as_ref(), &mut again).await;
        assert_eq!(seen.len(), 7);
        assert_eq!(seen, again);
    }

    #[tokio::test]
    async fn what_follows_from_an_exchange_comes_after_it_whatever_the_clocks_say() {
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(directory.path()).unwrap();
        append(log.as_ref(), SHADOWS, 1).await;
        append(log.as_ref(), 0, 3).await;
        let mut merge = Merge::new(Duration::ZERO);
        assert!(merge.ready(log.as_ref()).await.unwrap());
        let mut taken = Vec::new();
        while let Some((place, record)) = merge.take(|_| taken.contains(&(0, 1))) {
            taken.push((place, record.offset));
        }
        assert_eq!(taken, [(0, 0), (0, 1), (SHADOWS, 0), (0, 2)]);
        // What never comes is not waited for beyond the mark.
        append(log.as_ref(), SHADOWS, 1).await;
        assert!(merge.ready(log.as_ref()).await.unwrap());
        assert_eq!(merge.take(|_| false).map(|(place, record)| (place, record.offset)), Some((SHADOWS, 1)));
    }
}
