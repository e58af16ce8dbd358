//! Speculative outcomes, and what became of them when the journal was read back.

use super::reader::{Read, Reader, Unreadable};
use crate::codec;
use crate::planted::{Mistake, planted};
use bytes::Bytes;
use engine_domain::outcome::FollowUp;
use engine_domain::{Answer, Body, Command, Decision, Kind, Mark, Outcome, Shard, Timestamp, decide, evolve};
use eventlog::Record;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use wire::scalar::Digest;

/// The rules, from state, command, its offset and time to a decision. It leaves the state as it is.
pub(crate) type Decides = fn(&mut Shard, &Command, u64, Timestamp) -> Decision;

/// The rules of this program.
pub(crate) fn by_the_rules(shard: &mut Shard, command: &Command, source_offset: u64, at: Timestamp) -> Decision {
    decide(shard, command, source_offset, at)
}

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
    /// Whether a command contradicts the drafts.
    contradicted: bool,
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
    ///
    /// A command may follow from outcomes that were accepted instead of these drafts, as when another build decided: then
    /// it may contradict them, and an invariant that breaks says nothing yet. It is left for when there is no draft.
    ///
    /// # Panics
    /// When an invariant breaks on what was accepted.
    pub(crate) fn decide(
        &mut self,
        decides: Decides,
        shard: &mut Shard,
        reader: &Reader,
        asked: &[Asked],
    ) -> Vec<Bytes> {
        let (mut parent, mut last_at) = match self.drafts.back() {
            Some(draft) => (draft.hash, draft.outcome.at),
            None => (reader.chain().parent(), reader.at()),
        };
        let mut made = Vec::with_capacity(asked.len());
        for Asked { source_offset, logged_at, command } in asked {
            // The log's clock may be set back; a shard's time never falls.
            let at = if planted(Mistake::TimeFalls) { *logged_at } else { last_at.max(*logged_at) };
            let mark = shard.mark();
            let decided = catch_unwind(AssertUnwindSafe(|| {
                let decision = decides(shard, command, *source_offset, at);
                decision.events.iter().for_each(|event| evolve(shard, event));
                decision
            }));
            let decision = match decided {
                Ok(decision) => decision,
                Err(broken) if self.drafts.is_empty() => resume_unwind(broken),
                Err(_) => {
                    shard.rollback_to(mark);
                    self.contradicted = true;
                    break;
                }
            };
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

    /// The drafts, oldest first.
    #[cfg(feature = "planted")]
    pub(crate) fn drafts(&self) -> impl DoubleEndedIterator<Item = &Outcome> {
        self.drafts.iter().map(|draft| &draft.outcome)
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
            reader.take_known(record, draft.hash, &draft.outcome);
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

    /// Whether a command contradicts the drafts: they came to nothing, and what did instead is to be read.
    pub(crate) fn is_contradicted(&self) -> bool {
        self.contradicted
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

#[cfg(test)]
mod tests {
    use super::*;
    use engine_domain::command::{CreateAccount, Step};
    use engine_domain::money::Amount;
    use engine_domain::saga::{Action, Posting};
    use engine_domain::{AccountId, AccountType, CommandId, Currency, Limits, Mode, Money, Position, TransactionId};
    use uuid::Uuid;

    fn asked(source_offset: u64, body: Body) -> Asked {
        let command = Command {
            id: CommandId(Uuid::from_u128(u128::from(source_offset))),
            at: Timestamp(0),
            correlation_id: "c".into(),
            actor: "tester".into(),
            mode: Mode::Authority,
            tenant: "".into(),
            keeps_refusals: true,
            alias: None,
            refusal: None,
            body,
        };
        Asked { source_offset, logged_at: Timestamp(0), command }
    }

    /// A bank with a home of its own is made, debited for a saga of another shard, and given back to.
    fn debited_and_given_back() -> [Asked; 3] {
        let (account, currency) = (AccountId::new("bank").unwrap(), Currency::new("EUR").unwrap());
        let hundred = Money::new(100.into()).unwrap();
        let posting = Posting {
            transaction: TransactionId::derive("", "alice", "key"),
            kind: Kind::Topup,
            account: account.clone(),
            amount: Amount::new(hundred).unwrap(),
            currency,
        };
        let step = |action| Body::Step(Step { saga: Position { shard: 1, offset: 7 }, action });
        let bank = CreateAccount {
            key: None,
            account,
            owner_id: "o".into(),
            owner_type: "t".into(),
            account_type: AccountType::External,
            currency,
            limits: Limits { min: Some(hundred.negated()), max: None },
            metadata: None,
        };
        [
            asked(0, Body::CreateAccount(bank)),
            asked(1, step(Action::Debit { posting: posting.clone(), reserved: false })),
            asked(2, step(Action::GiveBack { posting, reserved: false })),
        ]
    }

    /// Another build: it does not debit in that currency.
    fn refusing(shard: &mut Shard, command: &Command, source_offset: u64, at: Timestamp) -> Decision {
        let mut command = command.clone();
        if let Body::Step(Step { action: Action::Debit { posting, .. }, .. }) = &mut command.body {
            posting.currency = Currency::new("USD").unwrap();
        }
        decide(shard, &command, source_offset, at)
    }

    #[test]
    fn a_command_that_contradicts_drafts_waits_for_what_is_accepted() {
        let (mut shard, mut round) = (Shard::new(0, 2), Round::default());
        let reader = Reader::new("test", 0, 2);
        let asked = debited_and_given_back();
        // Others have debited, or nobody would ask to give back; these drafts have not.
        assert_eq!(round.decide(refusing, &mut shard, &reader, &asked).len(), 2);
        assert!(round.is_contradicted());
        round.drop_drafts(&mut shard);
        assert_eq!(shard, Shard::new(0, 2), "it left nothing behind");

        let mut again = Round::default();
        assert_eq!(again.decide(by_the_rules, &mut shard, &reader, &asked).len(), 3);
        assert!(!again.is_contradicted());
    }

    #[test]
    #[should_panic(expected = "raised before")]
    fn a_command_that_contradicts_what_is_accepted_stops_the_shard() {
        let (mut shard, reader) = (Shard::new(0, 2), Reader::new("test", 0, 2));
        let [create, debit, give_back] = debited_and_given_back();
        Round::default().decide(refusing, &mut shard, &reader, &[create, debit]);
        Round::default().decide(refusing, &mut shard, &reader, &[give_back]);
    }
}
