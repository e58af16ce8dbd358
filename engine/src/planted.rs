//! Mistakes that simulations plant, one at a time and in their own thread, to see that they are found; and an owner that
//! decides otherwise than all others.
//!
//! Without the feature `planted`, which no package has, [`planted`] is `false` and costs nothing.

/// A mistake that this crate could have made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Whoever waits is answered when an outcome is handed to the log.
    AnsweredBeforeReadBack,
    /// An outcome counts if its source offset is greater than the last one's, whatever its parent is.
    AcceptedByOffset,
    /// Follow-ups are sent when the log has acknowledged their outcome.
    SentOnAcknowledgement,
    /// After a lost append the next command is decided on, not the one whose outcome was lost.
    NotRewound,
    /// A restart does not know which steps were taken for other shards.
    StepsForgottenAtRestart,
    /// A snapshot includes drafts that are in the journal and do not count.
    SnapshotOfDrafts,
    /// A snapshot names the outcome before the last one that it includes.
    SnapshotOffByOne,
    /// A snapshot goes beyond what waits for its dead letter.
    SnapshotBeforeLetters,
    /// An outcome has the time of its command, also when that is before the one of the last outcome.
    TimeFalls,
}

#[cfg(feature = "planted")]
mod thread {
    use super::Mistake;
    use crate::ledger::Answered;
    use crate::ledger::waiters::Waiters;
    use crate::view::View;
    use engine_domain::event::AccountStatusChanged;
    use engine_domain::ids::AccountAggregate;
    use engine_domain::saga::Action;
    use engine_domain::{AccountId, Body, Command, Decision, Event, Outcome, Position, Shard, Status, Timestamp};
    use std::cell::Cell;
    use std::sync::Arc;

    thread_local! {
        static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// Plants a mistake in this thread, or none.
    pub fn plant(mistake: Option<Mistake>) {
        PLANTED.set(mistake);
    }

    /// Whether a mistake is planted.
    pub(crate) fn planted(mistake: Mistake) -> bool {
        PLANTED.get() == Some(mistake)
    }

    /// What an owner needs for [`Mistake::AnsweredBeforeReadBack`].
    pub(crate) struct Early {
        pub(crate) waiters: Arc<Waiters>,
    }

    impl Early {
        /// Answers drafts, as far as one of them says all that is to be answered.
        pub(crate) fn answer(&self, drafts: Vec<Outcome>, shards: u32) {
            if !planted(Mistake::AnsweredBeforeReadBack) {
                return;
            }
            for draft in drafts {
                let position = Position { shard: draft.shard, offset: draft.source_offset };
                let view = View::new(shards);
                let _ = view.fold(draft.shard, [(0, Box::new(draft.clone()))]);
                let answered = Answered::of(draft.answer.clone(), position, draft.at, &view);
                if answered.transaction.is_none() && answered.account.is_none() {
                    continue;
                }
                for waiting in self.waiters.settle(std::iter::once(&draft)).into_iter().flat_map(|(_, told)| told) {
                    waiting.tell(answered.clone());
                }
            }
        }
    }

    /// Decides as a program would that takes the account of the command for frozen; every third command, so that it and
    /// others go on from each other's outcomes.
    pub fn decide_otherwise(shard: &mut Shard, command: &Command, offset: u64, at: Timestamp) -> Decision {
        let taken_for_frozen = named(command).filter(|_| command.id.0.as_u128().is_multiple_of(3));
        let frozen = taken_for_frozen.and_then(|id| {
            let account = shard.account(id).filter(|account| account.status == Status::Active)?;
            let aggregate = AccountAggregate { id: id.clone(), stripe: account.is_striped().then_some(shard.number()) };
            let (version, from, to) = (account.version, Status::Active, Status::Frozen);
            Some(Event::AccountStatusChanged(AccountStatusChanged { aggregate, version, from, to }))
        });
        let mark = shard.mark();
        if let Some(frozen) = frozen {
            engine_domain::evolve(shard, &frozen);
        }
        let decision = engine_domain::decide(shard, command, offset, at);
        shard.rollback_to(mark);
        decision
    }

    fn named(command: &Command) -> Option<&AccountId> {
        match &command.body {
            Body::Move(request) => Some(&request.source),
            Body::Step(step) => match &step.action {
                Action::Credit(posting) | Action::Debit { posting, reserved: false } => Some(&posting.account),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(feature = "planted")]
pub(crate) use thread::{Early, planted};
#[cfg(feature = "planted")]
pub use thread::{decide_otherwise, plant};

/// Whether a mistake is planted: there is none.
#[cfg(not(feature = "planted"))]
pub(crate) const fn planted(_: Mistake) -> bool {
    false
}
