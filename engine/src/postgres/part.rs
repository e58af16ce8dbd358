//! One shard of a projection in one generation: applies what was accepted.

use super::generations::{Generation, move_checkpoint};
use super::store::{Error, Store};
use super::{balances, history, unverified};
use crate::dead_letters::DeadLetters;
use crate::shard::reader::{Read, Reader};
use crate::view::read_model::Projection;
use engine_domain::{AccountId, Event, Outcome, Timestamp};
use eventlog::{Log, ReadError, Record};
use futures_util::future::BoxFuture;
use host::clock;
use sqlx::{Connection, PgConnection};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wire::journal::JOURNAL;
use wire::scalar::Digest;

/// Journal records looked at together for the one that a checkpoint follows;
const CHECKED_TOGETHER: u64 = 1_000;
/// and so many before the checkpoint is doubted.
const LOOKED_AT_FIRST: u64 = 1_111;
/// A batch that takes longer is given up: the database is silent, or not up to it.
pub(super) const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// Journal records applied together at most when a projection is built.
const BUILT_TOGETHER: u64 = 4_000;

/// Whether a record with this digest stands in a stretch of a journal, most probably at its end. `read` gives records from an
/// offset on, so many at most, and may give fewer before the end.
async fn is_within<'a>(
    digest: Digest,
    stretch: Range<u64>,
    read: impl Fn(u64, usize) -> BoxFuture<'a, Result<Vec<Record>, ReadError>>,
) -> Result<bool, ReadError> {
    let mut behind = stretch.end;
    let mut together = 1;
    while behind > stretch.start {
        let first = behind.saturating_sub(together).max(stretch.start);
        together = (together * 10).min(CHECKED_TOGETHER);
        let mut from = first;
        while from < behind {
            let records = read(from, usize::try_from(behind - from).unwrap_or(usize::MAX)).await?;
            if records.iter().any(|record| Digest::of(&record.value) == digest) {
                return Ok(true);
            }
            let Some(last) = records.last() else { break };
            from = last.offset + 1;
        }
        behind = first;
    }
    Ok(false)
}

/// One shard of a projection in one generation.
pub(super) struct Part {
    pub(super) store: Store,
    pub(super) log: Arc<dyn Log>,
    pub(super) dead_letters: DeadLetters,
    pub(super) ledger: String,
    pub(super) projection: Projection,
    pub(super) generation: Generation,
    pub(super) shard: u32,
    pub(super) shards: u32,
}

impl Part {
    /// Says once more what was left out: whoever left it out may have ended before the letter was written.
    pub(super) async fn tell_what_is_left_out(&self) -> Result<(), Error> {
        let left_out = unverified::left_out(&self.store, &self.generation, self.shard);
        for (offset, reason) in clock::timeout(TAKEN_WITHIN, left_out).await.unwrap_or(Err(Error::Silent))? {
            if let Some(record) = self.log.read(JOURNAL, self.shard, offset, 1).await?.first() {
                self.letter(record, &reason);
            }
        }
        Ok(())
    }

    fn letter(&self, record: &Record, reason: &str) {
        self.dead_letters.unprojected(self.projection, self.shard, record, &reason);
    }

    /// Where the journal goes on. Whether it is the one that the projection was made from is to be checked.
    pub(super) async fn reader(&self) -> Result<Reader, Error> {
        let kept = self.store.checkpoint(&self.generation, self.shard).await?;
        Ok(kept.unwrap_or_else(|| Reader::new(&self.ledger, self.shard, self.shards)))
    }

    /// Makes sure that what was applied came from this journal: the outcome that the next one has to follow is in it. When it
    /// is not among the last records, `looks_further` is told before all others are read, which may take long.
    pub(super) async fn check(&self, reader: &Reader, looks_further: impl FnOnce()) -> Result<(), Error> {
        if reader.chain().next_source() == 0 {
            return Ok(());
        }
        let (parent, next) = (reader.chain().parent(), reader.next());
        let end = self.log.end(JOURNAL, self.shard).await?;
        let read = |from, count| self.log.read(JOURNAL, self.shard, from, count);
        if next <= end {
            // Nearly always it is the last one: only what does not count can stand behind it.
            let last = next.saturating_sub(LOOKED_AT_FIRST);
            if is_within(parent, last..next, read).await? {
                return Ok(());
            }
            looks_further();
            if is_within(parent, 0..last, read).await? {
                return Ok(());
            }
        }
        Err(Error::OtherJournal { shard: self.shard, next, end })
    }

    /// Applies records in one transaction: the times of their outcomes, or `None` if somebody else was there before. What
    /// stands before a record that cannot be read is applied all the same. When the database does not take the outcomes,
    /// and will not later, they are applied one by one, without the one that it does not take.
    pub(super) async fn take(&self, reader: &mut Reader, records: &[Record]) -> Result<Option<Vec<Timestamp>>, Error> {
        let all = clock::timeout(TAKEN_WITHIN, self.take_all(reader, records)).await;
        match all.unwrap_or(Err(Error::Silent)) {
            Err(error) if error.is_lasting() => {}
            taken => return taken,
        }
        let mut times = Vec::with_capacity(records.len());
        for record in records {
            let alone = std::slice::from_ref(record);
            let taken = clock::timeout(TAKEN_WITHIN, async {
                match self.take_all(reader, alone).await {
                    Err(error) if error.is_lasting() => self.leave_out(reader, record, &error).await,
                    taken => taken,
                }
            });
            let taken = taken.await.unwrap_or(Err(Error::Silent))?;
            let Some(taken) = taken else { return Ok(None) };
            times.extend(taken);
        }
        Ok(Some(times))
    }

    async fn take_all(&self, reader: &mut Reader, records: &[Record]) -> Result<Option<Vec<Timestamp>>, Error> {
        let mut behind = reader.clone();
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(records.len());
        let mut unreadable = Ok(());
        for record in records {
            match behind.take(record) {
                Ok(Read::Accepted(outcome)) => outcomes.push(*outcome),
                Ok(Read::Ignored | Read::NoOutcome(_)) => {}
                Err(error) => {
                    unreadable = Err(error);
                    break;
                }
            }
        }
        if behind.next() == reader.next() {
            return unreadable.map(|()| Some(Vec::new())).map_err(Error::from);
        }
        let mut connection = self.store.lend().await?;
        let mut transaction = connection.begin().await?;
        if !move_checkpoint(&mut transaction, &self.generation, self.shard, reader, &behind).await? {
            transaction.rollback().await?;
            connection.give_back();
            return Ok(None);
        }
        self.apply(&mut transaction, &outcomes).await?;
        transaction.commit().await?;
        connection.give_back();
        *reader = behind;
        let times = outcomes.iter().map(|outcome| outcome.at).collect();
        unreadable.map(|()| Some(times)).map_err(Error::from)
    }

    /// Goes past an outcome that the database does not take. The accounts that it names are unverified from now on; the
    /// outcome is a dead letter, unless all of them were unverified before.
    async fn leave_out(
        &self,
        reader: &mut Reader,
        record: &Record,
        error: &Error,
    ) -> Result<Option<Vec<Timestamp>>, Error> {
        let mut behind = reader.clone();
        let Read::Accepted(outcome) = behind.take(record)? else { return Ok(Some(Vec::new())) };
        let mut connection = self.store.lend().await?;
        let mut transaction = connection.begin().await?;
        if !move_checkpoint(&mut transaction, &self.generation, self.shard, reader, &behind).await? {
            transaction.rollback().await?;
            connection.give_back();
            return Ok(None);
        }
        let named = self.named(&outcome);
        let new =
            unverified::note(&mut transaction, &self.generation, self.shard, record.offset, &named, error).await?;
        transaction.commit().await?;
        connection.give_back();
        *reader = behind;
        if new {
            let projection = self.projection.as_str();
            tracing::error!(projection, shard = self.shard, offset = record.offset, %error, "an outcome is left out");
            self.letter(record, &error.to_string());
        }
        Ok(Some(vec![outcome.at]))
    }

    /// The accounts about which the projection says too little without this outcome.
    fn named(&self, outcome: &Outcome) -> BTreeSet<AccountId> {
        let accounts = outcome.events.iter().filter_map(|event| event.account().cloned());
        let sides = outcome.events.iter().flat_map(|event| match event {
            Event::TransactionRequested(requested) => [requested.source.clone(), requested.destination.clone()],
            Event::TransactionCompleted(completed) => {
                [Some(completed.source.account.clone()), Some(completed.destination.account.clone())]
            }
            _ => [None, None],
        });
        match self.projection {
            Projection::Balance => accounts.collect(),
            Projection::History => sides.flatten().collect(),
        }
    }

    /// Applies everything before an offset, and counts the records of each batch.
    pub(super) async fn up_to(&self, reader: &mut Reader, end: u64, applied: &AtomicU64) -> Result<(), Error> {
        while reader.next() < end {
            let from = reader.next();
            let count = usize::try_from(BUILT_TOGETHER.min(end - from)).unwrap_or(usize::MAX);
            let records = self.log.read(JOURNAL, self.shard, from, count).await?;
            if records.is_empty() {
                return Err(Error::OtherJournal { shard: self.shard, next: end, end: from });
            }
            if self.take(reader, &records).await?.is_none() {
                return Err(Error::Busy(self.projection.as_str()));
            }
            applied.fetch_add(reader.next() - from, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn apply(&self, transaction: &mut PgConnection, outcomes: &[Outcome]) -> Result<(), Error> {
        match self.projection {
            Projection::Balance => balances::apply(transaction, &self.generation, self.shard, outcomes).await,
            Projection::History => history::apply(transaction, &self.generation, self.shard, outcomes).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn what_a_checkpoint_follows_is_found_however_few_records_are_read_at_once() {
        let records: Vec<Record> = (0..5_000_u64)
            .map(|offset| Record {
                offset,
                at_micros: 0,
                key: Default::default(),
                value: offset.to_be_bytes().to_vec().into(),
            })
            .collect();
        for at_once in [1, 3, 700, 5_000] {
            let read = |from: u64, count: usize| {
                let from = usize::try_from(from).unwrap();
                let records = records[from..].iter().take(count.min(at_once)).cloned().collect();
                std::future::ready(Ok(records)).boxed()
            };
            for (offset, stretch, found) in [
                (4_999_u64, 0..5_000, true),
                (4_600, 0..5_000, true),
                (0, 0..5_000, true),
                (0, 0..1, true),
                (9, 0..9, false),
                (10, 0..0, false),
                (700, 700..2_000, true),
                (699, 700..2_000, false),
            ] {
                let digest = Digest::of(&offset.to_be_bytes());
                let is_within = is_within(digest, stretch.clone(), read).now_or_never().unwrap().unwrap();
                assert_eq!(is_within, found, "{offset} in {stretch:?}, {at_once} at once");
            }
        }
    }
}
