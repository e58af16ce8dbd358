//! One shard of a projection in one generation: applies what was accepted.

use super::generations::{Generation, move_checkpoint};
use super::store::{Error, Store};
use super::{balances, history};
use crate::shard::reader::{Read, Reader};
use crate::view::read_model::Projection;
use engine_domain::{Outcome, Timestamp};
use eventlog::{Log, Record};
use sqlx::PgConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::journal::JOURNAL;
use wire::scalar::Digest;

/// Journal records looked at together for the one that a checkpoint follows.
const CHECKED_TOGETHER: u64 = 1_000;
/// Journal records applied together at most when a projection is built.
const BUILT_TOGETHER: u64 = 4_000;

/// One shard of a projection in one generation.
pub(super) struct Part {
    pub(super) store: Store,
    pub(super) log: Arc<dyn Log>,
    pub(super) ledger: String,
    pub(super) projection: Projection,
    pub(super) generation: Generation,
    pub(super) shard: u32,
    pub(super) shards: u32,
}

impl Part {
    /// Where the journal goes on, which is certain to be the one that the projection was made from.
    pub(super) async fn reader(&self) -> Result<Reader, Error> {
        let kept = self.store.checkpoint(&self.generation, self.shard).await?;
        let reader = kept.unwrap_or_else(|| Reader::new(&self.ledger, self.shard, self.shards));
        self.check(&reader).await?;
        Ok(reader)
    }

    /// Makes sure that what was applied came from this journal: the outcome that the next one has to follow is in it.
    async fn check(&self, reader: &Reader) -> Result<(), Error> {
        if reader.chain().next_source() == 0 {
            return Ok(());
        }
        let end = self.log.end(JOURNAL, self.shard).await?;
        let mut behind = reader.next();
        while behind > 0 && reader.next() <= end {
            // Nearly always the last one before: only what does not count can stand between.
            let from = behind.saturating_sub(CHECKED_TOGETHER);
            let count = usize::try_from(behind - from).unwrap_or(usize::MAX);
            let records = self.log.read(JOURNAL, self.shard, from, count).await?;
            if records.iter().rev().any(|record| Digest::of(&record.value) == reader.chain().parent()) {
                return Ok(());
            }
            behind = from;
        }
        Err(Error::OtherJournal { shard: self.shard, next: reader.next(), end })
    }

    /// Applies records in one transaction: the times of their outcomes, or `None` if somebody else was there before. What
    /// stands before a record that cannot be read is applied all the same.
    pub(super) async fn take(&self, reader: &mut Reader, records: &[Record]) -> Result<Option<Vec<Timestamp>>, Error> {
        let from = reader.next();
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
        if behind.next() == from {
            return unreadable.map(|()| Some(Vec::new())).map_err(Error::from);
        }
        let mut transaction = self.store.pool().begin().await?;
        if !move_checkpoint(&mut transaction, &self.generation, self.shard, from, &behind).await? {
            return Ok(None);
        }
        self.apply(&mut transaction, &outcomes).await?;
        transaction.commit().await?;
        *reader = behind;
        let times = outcomes.iter().map(|outcome| outcome.at).collect();
        unreadable.map(|()| Some(times)).map_err(Error::from)
    }

    /// Applies everything before an offset, and counts the records of each batch.
    pub(super) async fn up_to(&self, reader: &mut Reader, end: u64, applied: &AtomicU64) -> Result<(), Error> {
        while reader.next() < end {
            let from = reader.next();
            let count = usize::try_from(BUILT_TOGETHER.min(end - from)).unwrap_or(usize::MAX);
            let records = self.log.read(JOURNAL, self.shard, from, count).await?;
            if records.is_empty() || self.take(reader, &records).await?.is_none() {
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
