//! A shard and its view, as a fold of the journal.

use super::load;
use crate::dead_letters::DeadLetters;
use crate::planted::{Mistake, planted};
use crate::shard::owner::Stopped;
use crate::shard::reader::{Read, Reader, Unreadable};
use crate::view::{Progress, View};
use engine_domain::{Answer, Event, Shard, evolve};
use eventlog::{Log, ReadError, Record};
use std::sync::Arc;
use wire::dead_letter::Origin;
use wire::journal::{COMMANDS, JOURNAL};
use wire::snapshot::Complete;

/// Journal records read together.
const TOGETHER: usize = 1024;

/// One fold for both: the state that decisions are taken on, and the view.
pub(crate) struct Fold {
    log: Arc<dyn Log>,
    pub(crate) shard: Shard,
    pub(crate) reader: Reader,
    view: View,
    /// The snapshot that it began from.
    pub(crate) from: Option<Complete>,
    /// Takes what cannot be processed; a fold for a snapshot leaves that to others.
    dead_letters: Option<DeadLetters>,
    /// What could not be processed since it began.
    pub(super) unprocessed: Vec<Origin>,
    /// For planted mistakes: outcomes that do not count behind those that do, and where the last of these was met.
    pub(super) drafts: Vec<engine_domain::Outcome>,
    pub(super) before_last: Option<Reader>,
}

/// How a fold went on.
#[derive(Debug)]
pub(crate) enum Went {
    /// It took some records.
    On,
    /// There are no more.
    ToTheEnd,
    /// The log cannot be read now.
    Nowhere(ReadError),
}

impl Went {
    /// The same, for whoever does not try again.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn or_failed(self) -> Result<Self, ReadError> {
        if let Self::Nowhere(error) = self { Err(error) } else { Ok(self) }
    }
}

impl Fold {
    /// Begins at the newest snapshot that can be trusted, or at the beginning.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn begin(
        log: &Arc<dyn Log>,
        ledger: &str,
        number: u32,
        view: View,
        dead_letters: Option<DeadLetters>,
    ) -> Result<Self, ReadError> {
        let (log, shards) = (Arc::clone(log), view.shards());
        let loaded = load::newest(&*log, ledger, number, &view).await?;
        let (shard, reader, from) = match loaded {
            Some((shard, complete)) => (shard, Reader::behind(&complete), Some(complete)),
            None => (Shard::new(number, shards), Reader::new(ledger, number, shards), None),
        };
        view.advance(number, Progress::of(&reader));
        Ok(Self {
            log,
            shard,
            reader,
            view,
            from,
            dead_letters,
            unprocessed: Vec::new(),
            drafts: Vec::new(),
            before_last: None,
        })
    }

    /// Takes the next records.
    ///
    /// # Errors
    /// [`Stopped`]: what was accepted before is included, and nothing may follow.
    pub(crate) async fn go_on(&mut self) -> Result<Went, Stopped> {
        let number = self.shard.number();
        let records = match self.log.read(JOURNAL, number, self.reader.next(), TOGETHER).await {
            Ok(records) => records,
            Err(error @ ReadError::Gone { .. }) => return Err(Stopped::Gone(error)),
            Err(error @ ReadError::Failed(_)) => return Ok(Went::Nowhere(error)),
        };
        let mut accepted = Vec::with_capacity(records.len());
        let mut unreadable = None;
        for record in &records {
            match self.take(record) {
                Ok(Some(outcome)) => accepted.push((record.offset, outcome)),
                Ok(None) => {}
                Err(error) => {
                    unreadable = Some(error);
                    break;
                }
            }
        }
        if let Some(dead_letters) = &self.dead_letters {
            dead_letters.among(accepted.iter().map(|(_, outcome)| &**outcome));
        }
        self.view.fold(number, accepted)?;
        self.view.advance(number, Progress::of(&self.reader));
        match unreadable {
            Some(error) => Err(error.into()),
            None if records.is_empty() => Ok(Went::ToTheEnd),
            None => Ok(Went::On),
        }
    }

    fn unprocessed(&mut self, topic: &str, offset: u64) {
        self.unprocessed.push(Origin { topic: topic.to_owned(), partition: self.shard.number(), offset });
    }

    /// A planted mistake takes what an owner has decided for what is accepted.
    fn drafts_by_mistake(&mut self, record: &Record) {
        if !planted(Mistake::SnapshotOfDrafts) {
            return;
        }
        let stored = wire::stored::decode::<wire::journal::Outcome>(&record.value);
        let draft = stored.ok().and_then(|stored| crate::codec::outcome_from_wire(stored).ok());
        self.drafts.extend(draft.filter(|draft| draft.source_offset >= self.reader.chain().next_source()));
    }

    fn take(&mut self, record: &Record) -> Result<Option<Box<engine_domain::Outcome>>, Unreadable> {
        let before = planted(Mistake::SnapshotOffByOne).then(|| self.reader.clone());
        match self.reader.take(record)? {
            Read::Accepted(outcome) => {
                self.drafts.clear();
                if outcome.answer == Answer::Unreadable {
                    self.unprocessed(COMMANDS, outcome.source_offset);
                }
                self.before_last = before;
                let known = |event: &&Event| {
                    !(matches!(event, Event::SagaStepTaken(_)) && planted(Mistake::StepsForgottenAtRestart))
                };
                outcome.events.iter().filter(known).for_each(|event| evolve(&mut self.shard, event));
                Ok(Some(outcome))
            }
            Read::Ignored => {
                self.drafts_by_mistake(record);
                Ok(None)
            }
            Read::NoOutcome(reason) => {
                self.unprocessed(JOURNAL, record.offset);
                if let Some(dead_letters) = &self.dead_letters {
                    dead_letters.outcome(self.shard.number(), record, &reason);
                }
                Ok(None)
            }
        }
    }
}
