//! Tails a shard's journal, folds what was accepted into the view, and answers whoever waits for it.

use super::{NotConserved, Progress, View};
use crate::dead_letters::DeadLetters;
use crate::ledger::Answered;
use crate::ledger::waiters::{Told, Waiters};
use crate::metrics;
use crate::shard::owner::Stopped;
use crate::shard::reader::{Read, Reader};
use engine_domain::{Event, Outcome, Position};
use eventlog::{Log, ReadError, Record};
use host::task::Shutdown;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wire::journal::JOURNAL;

/// Journal records folded together at most: the view's lock is held for some hundred microseconds.
const BATCH: usize = 256;

/// After a log that could not be read.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// Follows one shard's journal.
pub(crate) struct Follower {
    pub(crate) shard: u32,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) reader: Reader,
    pub(crate) view: View,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) dead_letters: DeadLetters,
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
                read = journal.next(BATCH) => read,
            };
            match records {
                Ok(records) => self.take(&records)?,
                Err(error @ ReadError::Gone { .. }) => return Err(Stopped::Gone(error)),
                // The owner of the shard says so.
                Err(ReadError::Failed(_)) => {
                    host::clock::sleep(READ_AGAIN).await;
                    journal = self.log.tail(JOURNAL, self.shard, self.reader.next());
                }
            }
        }
    }

    /// Folds records, shows them, then answers: nobody is answered before the view says that it includes the outcome.
    pub(crate) fn take(&mut self, records: &[Record]) -> Result<(), Stopped> {
        let mut accepted = Vec::with_capacity(records.len());
        let mut unreadable = None;
        for record in records {
            match self.reader.take(record) {
                Ok(Read::Accepted(outcome)) => accepted.push((record.offset, outcome)),
                Ok(Read::Ignored) => {}
                Ok(Read::NoOutcome(reason)) => self.dead_letters.outcome(self.shard, record, &reason),
                Err(error) => {
                    // What was accepted before it counts all the same.
                    unreadable = Some(error);
                    break;
                }
            }
        }
        self.dead_letters.among(accepted.iter().map(|(_, outcome)| &**outcome));
        count(accepted.iter().map(|(_, outcome)| &**outcome));
        let waited_for = self.waiters.settle(accepted.iter().map(|(_, outcome)| &**outcome));
        // Behind an outcome that makes or loses money the view stands still, and nobody is answered.
        let answers = self.fold_and_answer(accepted, waited_for)?;
        self.view.advance(self.shard, Progress::of(&self.reader));
        if !answers.is_empty() {
            host::moment::passes("answer-shown");
        }
        for (answered, told) in answers {
            for waiting in told {
                let answered = if waiting.repeats { answered.clone().repeated() } else { answered.clone() };
                waiting.tell(answered);
            }
        }
        unreadable.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Folds outcomes and makes the answers of those that somebody waits for, by their index. Each is made as soon as
    /// its outcome is folded: it shows what that one led to, not what came after it.
    fn fold_and_answer(
        &self,
        accepted: Vec<(u64, Box<Outcome>)>,
        waited_for: Vec<(usize, Vec<Told>)>,
    ) -> Result<Vec<(Answered, Vec<Told>)>, NotConserved> {
        let mut answers = Vec::with_capacity(waited_for.len());
        let mut left = accepted.into_iter();
        let mut folded = 0;
        for (index, told) in waited_for {
            self.view.fold(self.shard, left.by_ref().take(index - folded))?;
            folded = index;
            let Some((offset, outcome)) = left.next() else { break };
            folded += 1;
            let decided_at = Position { shard: self.shard, offset: outcome.source_offset };
            let (answer, at) = (outcome.answer.clone(), outcome.at);
            self.view.fold(self.shard, [(offset, outcome)])?;
            answers.push((Answered::of(answer, decided_at, at, &self.view), told));
        }
        self.view.fold(self.shard, left)?;
        Ok(answers)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use engine_domain::account::{AccountType, Limits, Status};
    use engine_domain::command::{ChangeAccount, CreateAccount, LimitChange};
    use engine_domain::{AccountId, Body, Command, CommandId, Currency, Mode, Shard, Timestamp, decide, evolve};
    use eventlog::EmbeddedLog;
    use uuid::Uuid;
    use wire::scalar::Digest;

    fn command(number: u128, body: Body) -> Command {
        Command {
            id: CommandId(Uuid::from_u128(number)),
            at: Timestamp(0),
            correlation_id: "c".into(),
            actor: "tester".into(),
            mode: Mode::Authority,
            tenant: "".into(),
            keeps_refusals: true,
            alias: None,
            refusal: None,
            body,
        }
    }

    fn create(account: &AccountId) -> Body {
        Body::CreateAccount(CreateAccount {
            key: None,
            account: account.clone(),
            owner_id: "o".into(),
            owner_type: "t".into(),
            account_type: AccountType::User,
            currency: Currency::new("EUR").unwrap(),
            limits: Limits::default(),
            metadata: None,
        })
    }

    fn set_status(account: &AccountId, status: Status) -> Body {
        let (min, max) = (LimitChange::Keep, LimitChange::Keep);
        Body::ChangeAccount(ChangeAccount { account: account.clone(), status: Some(status), min, max })
    }

    /// The journal of a shard that decides on these commands.
    fn journal(commands: &[Command]) -> Vec<Record> {
        let mut shard = Shard::new(0, 1);
        let mut parent = wire::journal::genesis("test", 0, 1);
        let decided = commands.iter().enumerate().map(|(index, command)| {
            let offset = index as u64;
            let decision = decide(&shard, command, offset, Timestamp(0));
            decision.events.iter().for_each(|event| evolve(&mut shard, event));
            let outcome = Outcome::new(0, offset, command, Timestamp(0), decision);
            let value = codec::encode_outcome(&outcome, parent);
            parent = Digest::of(&value);
            Record { offset, at_micros: 0, key: Default::default(), value: value.into() }
        });
        decided.collect()
    }

    #[tokio::test]
    async fn an_answer_shows_what_its_own_outcome_led_to() {
        let account = AccountId::new("alice").unwrap();
        let bodies = [create(&account), set_status(&account, Status::Frozen), set_status(&account, Status::Active)];
        let commands: Vec<Command> = (1..).zip(bodies).map(|(number, body)| command(number, body)).collect();
        let directory = tempfile::tempdir().unwrap();
        let waiters = Arc::new(Waiters::default());
        let log = EmbeddedLog::open(directory.path()).unwrap();
        let mut follower = Follower {
            shard: 0,
            dead_letters: DeadLetters::of(log.clone()),
            log,
            reader: Reader::new("test", 0, 1),
            view: View::new(1),
            waiters: Arc::clone(&waiters),
        };
        let mut waits: Vec<_> = commands.iter().map(|command| waiters.wait_for(command.id)).collect();
        follower.take(&journal(&commands)).unwrap();
        let mut statuses = Vec::new();
        for wait in &mut waits {
            statuses.push(wait.answer().await.unwrap().account.unwrap().status);
        }
        assert_eq!(statuses, ["ACTIVE", "FROZEN", "ACTIVE"]);
        assert_eq!(follower.view.account("alice").unwrap().status, "ACTIVE");
    }
}
