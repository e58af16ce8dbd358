//! Speculative outcomes, and what became of them when the journal was read back.

use super::reader::{Read, Reader, Unreadable};
use crate::codec;
use bytes::Bytes;
use engine_domain::outcome::FollowUp;
use engine_domain::{Answer, Body, Command, Kind, Mark, Outcome, Shard, Timestamp, decide, evolve};
use eventlog::Record;
use std::collections::VecDeque;
use wire::scalar::Digest;

/// One command, as a shard reads it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Its place among the shard's commands.
    pub(crate) source_offset: u64,
    /// When the log took it.
    pub(crate) logged_at: Timestamp,
    /// The command.
    pub(crate) command: Command,
}

/// An outcome that this owner appended, or is about to, and that has not been read back yet.
#[derive(Debug)]
struct Draft {
    /// The state before it.
    mark: Mark,
    operation: &'static str,
    bytes: Bytes,
    hash: Digest,
    outcome: Outcome,
}

/// Drafts, each extending the one before it.
#[derive(Debug, Default)]
pub(crate) struct Round {
    drafts: VecDeque<Draft>,
    /// How many were ever made, and how many of them are no longer open.
    decided: u64,
    settled: u64,
    dropped: usize,
}

/// What a record of the journal was.
#[derive(Debug)]
pub(crate) enum ReadBack {
    /// The next draft: what was speculative counts.
    Own {
        /// What is to be sent now.
        sends: Vec<FollowUp>,
        /// What was asked for.
        operation: &'static str,
        /// What whoever waits is told.
        answer: Answer,
    },
    /// An outcome of another owner: it counts, and no draft does any more.
    Foreign {
        /// What is to be sent now, should the other owner not come to it.
        sends: Vec<FollowUp>,
        /// Its place among the commands.
        source_offset: u64,
        /// Whether this owner had decided otherwise on the same command, at the same feature.
        differs: bool,
    },
    /// Nothing that counts.
    Ignored,
}

impl Round {
    /// Decides on commands that follow on the drafts; what is to be appended.
    pub(crate) fn decide(&mut self, shard: &mut Shard, reader: &Reader, asked: &[Asked]) -> Vec<Bytes> {
        let (mut parent, mut last_at) = match self.drafts.back() {
            Some(draft) => (draft.hash, draft.outcome.at),
            None => (reader.chain().parent(), reader.at()),
        };
        let mut made = Vec::with_capacity(asked.len());
        for Asked { source_offset, logged_at, command } in asked {
            // The log's clock may be set back; a shard's time never falls.
            let at = last_at.max(*logged_at);
            let mark = shard.mark();
            let decision = decide(shard, command, *source_offset, at);
            for event in &decision.events {
                evolve(shard, event);
            }
            let outcome = Outcome::new(shard.number(), *source_offset, command, at, decision);
            let bytes = Bytes::from(codec::encode_outcome(&outcome, parent));
            let hash = Digest::of(&bytes);
            made.push(bytes.clone());
            self.drafts.push_back(Draft { mark, operation: operation(command), bytes, hash, outcome });
            self.decided += 1;
            (parent, last_at) = (hash, at);
        }
        made
    }

    /// The offset of the command that follows on the drafts, or on what was accepted.
    pub(crate) fn next_source(&self, reader: &Reader) -> u64 {
        self.drafts.back().map_or(reader.chain().next_source(), |draft| draft.outcome.source_offset + 1)
    }

    /// The state before the first draft.
    pub(crate) fn first_mark(&self) -> Option<Mark> {
        self.drafts.front().map(|draft| draft.mark)
    }

    /// How many drafts were ever made.
    pub(crate) fn decided(&self) -> u64 {
        self.decided
    }

    /// How many of them were read back, or came to nothing.
    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    /// How many drafts have not been read back.
    pub(crate) fn open(&self) -> usize {
        self.drafts.len()
    }

    /// Takes the next record of the journal; `shard` follows what counts.
    ///
    /// # Errors
    /// [`Unreadable`], after which the shard must not go on.
    pub(crate) fn read_back(
        &mut self,
        shard: &mut Shard,
        reader: &mut Reader,
        record: &Record,
    ) -> Result<ReadBack, Unreadable> {
        // Drafts extend the chain in order, so the bytes of the first one are the next outcome, whoever wrote them.
        let own = self.drafts.front().is_some_and(|draft| draft.bytes == record.value);
        if let Some(draft) = own.then(|| self.drafts.pop_front()).flatten() {
            reader.take_known(record, draft.hash, draft.outcome.at);
            self.settled += 1;
            let Outcome { sends, answer, .. } = draft.outcome;
            return Ok(ReadBack::Own { sends, operation: draft.operation, answer });
        }
        match reader.take(record)? {
            // The follower of the shard keeps what is no outcome.
            Read::Ignored | Read::NoOutcome(_) => Ok(ReadBack::Ignored),
            Read::Accepted(outcome) => {
                let own = self.drafts.front().map(|draft| &draft.outcome);
                let own = own.filter(|own| own.source_offset == outcome.source_offset);
                let differs = own.is_some_and(|own| own.feature == outcome.feature);
                self.drop_drafts(shard);
                for event in &outcome.events {
                    evolve(shard, event);
                }
                Ok(ReadBack::Foreign { sends: outcome.sends, source_offset: outcome.source_offset, differs })
            }
        }
    }

    /// Takes the state back to what was accepted.
    pub(crate) fn drop_drafts(&mut self, shard: &mut Shard) {
        if let Some(first) = self.drafts.front() {
            shard.rollback_to(first.mark);
        }
        self.dropped += self.drafts.len();
        self.settled += self.drafts.len() as u64;
        self.drafts.clear();
    }

    /// How many drafts came to nothing.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped
    }
}

/// What a command asks for, as metrics name it.
pub(crate) fn operation(command: &Command) -> &'static str {
    match &command.body {
        Body::CreateAccount(_) => "create-account",
        Body::ChangeAccount(_) => "change-account",
        Body::Move(request) => request.kind.kind().as_str(),
        Body::Refund(_) => Kind::Refund.as_str(),
        Body::Step(_) => "step",
        Body::StepDone(_) => "step-done",
        Body::Aliases(_) => "aliases",
        Body::Unreadable { .. } => "unreadable",
    }
}
