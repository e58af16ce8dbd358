//! Tails a shard's journal, folds what was accepted into the view, and answers whoever waits for it.

use super::{Progress, View};
use crate::ledger::Answered;
use crate::ledger::waiters::Waiters;
use crate::metrics;
use crate::shard::owner::Stopped;
use crate::shard::reader::{Read, Reader, Unreadable};
use engine_domain::{Event, Outcome, Position};
use eventlog::{Log, Record};
use host::task::Shutdown;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::journal::JOURNAL;

/// Journal records folded together at most: the view's lock is held for some hundred microseconds.
const BATCH: usize = 256;

/// Follows one shard's journal.
pub(crate) struct Follower {
    pub(crate) shard: u32,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) reader: Reader,
    pub(crate) view: View,
    pub(crate) waiters: Arc<Waiters>,
}

impl Follower {
    /// Follows until `shutdown`.
    ///
    /// # Errors
    /// When the journal cannot be read: then the view stands still, nothing is skipped.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), Stopped> {
        let mut journal = self.log.tail(JOURNAL, self.shard, self.reader.next());
        loop {
            let records = tokio::select! {
                biased;
                () = shutdown.stopped() => return Ok(()),
                records = journal.next(BATCH) => records?,
            };
            self.take(&records)?;
        }
    }

    /// Folds records, shows them, then answers.
    pub(crate) fn take(&mut self, records: &[Record]) -> Result<(), Unreadable> {
        let mut accepted = Vec::with_capacity(records.len());
        let mut unreadable = None;
        for record in records {
            match self.reader.take(record) {
                Ok(Read::Accepted(outcome)) => accepted.push((record.offset, outcome)),
                Ok(Read::Ignored) => {}
                Err(error) => {
                    // What was accepted before it counts all the same.
                    unreadable = Some(error);
                    break;
                }
            }
        }
        count(accepted.iter().map(|(_, outcome)| &**outcome));
        let answers: Vec<_> = self
            .waiters
            .settle(accepted.iter().map(|(_, outcome)| &**outcome))
            .into_iter()
            .map(|(index, told)| {
                let outcome = &accepted[index].1;
                let decided_at = Position { shard: self.shard, offset: outcome.source_offset };
                (outcome.answer.clone(), decided_at, outcome.at, told)
            })
            .collect();
        self.view.fold(self.shard, accepted);
        self.view.advance(self.shard, Progress::of(&self.reader));
        for (answer, decided_at, at, told) in answers {
            let answered = Answered::of(answer, decided_at, at, &self.view);
            for waiting in told {
                let answered = if waiting.repeats { answered.clone().repeated() } else { answered.clone() };
                waiting.tell(answered);
            }
        }
        unreadable.map_or(Ok(()), Err)
    }
}

/// Counts the transactions that became final.
fn count<'a>(outcomes: impl Iterator<Item = &'a Outcome>) {
    let mut counts: BTreeMap<(&str, &str, Option<engine_domain::Currency>), u64> = BTreeMap::new();
    for outcome in outcomes {
        let mut currency = None;
        for event in &outcome.events {
            match event {
                Event::TransactionRequested(requested) => currency = requested.currency,
                Event::TransactionCompleted(completed) => {
                    *counts.entry((completed.kind.as_str(), "completed", Some(completed.currency))).or_default() += 1;
                }
                Event::TransactionFailed(failed) if failed.kept => {
                    *counts.entry((failed.kind.as_str(), "failed", currency)).or_default() += 1;
                }
                _ => {}
            }
        }
    }
    for ((kind, status, currency), count) in counts {
        // A saga that fails tells its currency in an earlier outcome; a refund of nothing has none.
        let currency = currency.map_or_else(|| "unknown".to_owned(), |currency| currency.to_string());
        ::metrics::counter!(metrics::TRANSACTIONS_TOTAL, "type" => kind, "status" => status, "currency" => currency)
            .increment(count);
    }
}
