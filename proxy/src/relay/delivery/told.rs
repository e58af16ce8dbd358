//! What persons say of exchanges whose effect nobody could find out.
//!
//! It stands in `cutover.decisions`, written by the comparator. It counts for an exchange only while its effect is unknown,
//! and that it had none only when nobody can be working on it any more, and no question is on its way: what was found out by
//! asking goes before it. The record that follows from it, in `cutover.shadows`, is what counts from then on.

use super::Action;
use super::Delivery;
use super::exchanges::{Exchange, Phase, Step};
use super::resolve::question;
use wire::decision::{DecisionBody, DecisionRecord};
use wire::ids::ExchangeNumber;
use wire::scalar::{Body, Timestamp};
use wire::shadow::{LegResult, Resolution, ResolvedBy, ShadowBody};
use wire::words::{Class, System};

/// A person's word.
#[derive(Debug, Clone)]
pub(super) struct Word {
    system: System,
    applied: bool,
    actor: String,
    reason: String,
}

/// What is to become of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It settles what nobody knows.
    Now,
    /// The exchange was not read so far, or stands otherwise as yet.
    Later,
    /// The exchange is concluded.
    Never,
}

impl Delivery {
    /// Folds an accepted record of `cutover.decisions`.
    pub fn take_decision(&mut self, record: DecisionRecord) {
        if let DecisionBody::Told { exchange, system, applied } = record.body {
            let (actor, reason) = (record.actor, record.reason);
            self.words.insert(exchange, Word { system, applied, actor, reason });
        }
    }

    /// Takes up what was said, as soon as it can be.
    pub(super) fn take_up_words(&mut self, now: Timestamp) {
        if self.words.is_empty() {
            return;
        }
        let words: Vec<(ExchangeNumber, Word)> =
            self.words.iter().map(|(of, word)| (of.clone(), word.clone())).collect();
        for (number, word) in words {
            match self.use_of(&number, &word, now) {
                Use::Later => continue,
                Use::Never => {}
                Use::Now => self.take_up(&number, word),
            }
            self.words.remove(&number);
        }
    }

    fn use_of(&mut self, number: &ExchangeNumber, word: &Word, now: Timestamp) -> Use {
        let Word { system, applied, .. } = *word;
        let Some((id, exchange)) = self.exchanges.find(number).and_then(|id| Some((id, self.exchanges.get(id)?)))
        else {
            let read = self.fronts.has(&number.front, number.boot, number.sequence);
            return if read { Use::Never } else { Use::Later };
        };
        let is_unknown = match &exchange.phase {
            Phase::Unknown(inquiry) => {
                let may_run = now.since_micros(inquiry.since) <= *self.longest_request().of(system);
                let free = inquiry.begun && !inquiry.answered && !inquiry.asking;
                system == exchange.intent.authority && free && (applied || !may_run)
            }
            // One that is sent again is found out by that: what is on its way may still be executed.
            Phase::Leg(leg) => {
                let asked = question(id, &exchange.intent, system, &self.aliases).is_some();
                let waits = match leg.step {
                    Step::Due(_) | Step::Pausing(_) => true,
                    Step::Sent(_) => applied || !asked,
                    _ => false,
                };
                let in_doubt = system == leg.target && !self.rules.deduplicates(system) && leg.unanswered && waits;
                in_doubt && (applied || self.is_over_if_absent(id, now))
            }
            Phase::Open | Phase::Repeated | Phase::Skipping { .. } => false,
        };
        if is_unknown { Use::Now } else { Use::Later }
    }

    fn take_up(&mut self, number: &ExchangeNumber, word: Word) {
        let Some(exchange) = self.exchanges.find(number).and_then(|id| self.exchanges.get_mut(id)) else { return };
        match &mut exchange.phase {
            Phase::Unknown(inquiry) => inquiry.answered = true,
            Phase::Leg(leg) => leg.step = Step::Reported,
            Phase::Open | Phase::Repeated | Phase::Skipping { .. } => return,
        }
        let Word { system, applied, actor, reason } = word;
        self.outbox.push(Action::Append(ShadowBody::Resolved(Resolution {
            exchange: number.clone(),
            system,
            class: if applied { Class::Applied } else { Class::NotExecuted },
            status: 0,
            body: Body::default(),
            by: ResolvedBy::Person { actor, reason },
        })));
    }

    /// A leg ends as a person has said.
    pub(super) fn leg_resolved(&mut self, resolution: Resolution) {
        let Some(id) = self.exchanges.find(&resolution.exchange) else { return };
        let Some(leg) = self.exchanges.get(id).and_then(Exchange::leg) else { return };
        let result = LegResult {
            exchange: resolution.exchange,
            system: resolution.system,
            mode: leg.mode,
            attempt: leg.attempt,
            class: resolution.class,
            status: resolution.status,
            headers: Vec::new(),
            body: resolution.body,
            duration_micros: 0,
            replayed: false,
            last: true,
        };
        self.conclude(id, Some(&result));
    }
}
