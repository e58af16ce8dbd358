//! Legs that may have been executed: sent, by this relay or another one, and not answered.
//!
//! To a system that deduplicates such a leg is sent again: it answers what it did the first time. To one that does not,
//! nothing is ever sent twice: it is asked, by the key or the account, until it says what it did. That it has nothing
//! counts only when whoever may have sent the leg has certainly done so, and the system has certainly let go of it, and
//! not the first time. Then the leg was not executed, which is a discrepancy for a person. What cannot be found out at
//! all waits for a person's word, and its accounts with it; other legs pass by.
//!
//! No system recognises a change of an account that it has made: it is asked likewise, and the change is sent again when
//! it was certainly not made. One that came late would undo what was decided after it.

use super::Action;
use super::Delivery;
use super::answer::Answer;
use super::exchanges::{Exchange, ExchangeId, Leg, Step};
use super::report::ABSENT_TIMES;
use super::resolve::{Finding, Question, question, was_changed};
use wire::scalar::Timestamp;
use wire::shadow::ShadowBody;
use wire::words::{Class, Mode, Operation, System};

/// So many legs may be in doubt at a system that says nothing: then nothing more is sent to it until it does. Whatever is
/// sent into an outage, and lost, is a task for a person.
pub(super) const MOST_UNHEARD: usize = 8;
/// How long after its announcement was handed over a leg may be sent to a system that does not deduplicate. Long for a log
/// that is well; a relay that was paused for longer has itself announced again, and learns whether another one has taken
/// over.
const SENT_WITHIN_MICROS: i64 = 5_000_000;

/// What is known of a leg that may have been executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Doubt {
    /// When its target had nothing for the first time, or a person said so.
    absent_since: Option<Timestamp>,
    /// How often in a row the target had nothing, at a time when that counts.
    absent: u32,
    /// Whether the target has said anything at all since.
    pub heard: bool,
}

/// What has to be done before a leg is sent.
pub(super) enum Before {
    /// Nothing.
    Nothing,
    /// Its target is to be asked what it did.
    Ask(Question),
    /// A person has to say what became of it: there is nothing to ask by.
    Wait,
}

impl Delivery {
    /// What has to be done before a leg is sent that may have been executed. Neither system recognises a change of an
    /// account that it has made, and a second one may be refused because of the first.
    pub(super) fn before_it_is_sent(&self, id: ExchangeId, exchange: &Exchange, leg: &Leg) -> Before {
        let intent = &exchange.intent;
        if leg.doubt.is_none() || leg.mode == Mode::ShadowRefused {
            Before::Nothing
        } else if !self.rules.deduplicates(leg.target) {
            question(id, intent, leg.target, &self.aliases).map_or(Before::Wait, Before::Ask)
        } else if intent.operation == Operation::ChangeAccount {
            was_changed(id, intent, leg.target).map_or(Before::Nothing, Before::Ask)
        } else {
            Before::Nothing
        }
    }

    /// By when a leg has to be sent, if its target does not recognise what it has done.
    pub(super) fn sent_by(&self, operation: Operation, leg: &Leg) -> Option<Timestamp> {
        let by = leg.announced.0.saturating_add(SENT_WITHIN_MICROS);
        let recognised = self.rules.deduplicates(leg.target) && operation != Operation::ChangeAccount;
        (!recognised).then_some(Timestamp(by))
    }

    /// Nothing was sent for so long that another relay may have taken over: the leg is announced once more, and sent if
    /// that is accepted.
    pub(super) fn announce_again(&mut self, id: ExchangeId, now: Timestamp) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let number = exchange.number.clone();
        let Some(leg) = exchange.leg_mut() else { return };
        leg.attempt += 1;
        (leg.step, leg.announced) = (Step::Announced, now);
        let (system, mode, attempt) = (leg.target, leg.mode, leg.attempt);
        self.outbox.push(Action::Append(ShadowBody::Sending { exchange: number, system, mode, attempt }));
    }

    /// A leg was sent, and nobody knows what it did.
    pub(super) fn begin_to_doubt(&mut self, id: ExchangeId, answer: Answer) {
        let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) else { return };
        leg.doubt.get_or_insert_default();
        self.note_unanswered(id, answer);
        self.set_aside(id);
    }

    /// A leg that another relay, or this one before it was started, may have sent to a system which is not sent anything
    /// twice: it is written down that nobody knows what it did.
    pub(super) fn note_doubt(&mut self, id: ExchangeId) {
        let Some(leg) = self.exchanges.get(id).and_then(Exchange::leg) else { return };
        if leg.doubt.is_some() && !self.rules.deduplicates(leg.target) {
            self.note_unanswered(id, Answer::nothing(0));
            self.set_aside(id);
        }
    }

    /// Writes down, once per offer, that nobody knows what it did.
    fn note_unanswered(&mut self, id: ExchangeId, answer: Answer) {
        let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) else { return };
        if !std::mem::replace(&mut leg.unanswered, true) {
            self.hand_over(id, answer, Class::Unknown, false);
        }
    }

    /// Whether a system that is not sent anything twice leaves so many questions open that nothing more is sent to it.
    pub(super) fn is_unheard(&self, system: System) -> bool {
        let leg = |id: &ExchangeId| self.exchanges.get(*id).and_then(Exchange::leg);
        let unheard = |leg: &&Leg| leg.doubt.as_ref().is_some_and(|doubt| !doubt.heard);
        self.set_aside.of(system).iter().filter_map(leg).filter(unheard).count() >= MOST_UNHEARD
    }

    fn set_aside(&mut self, id: ExchangeId) {
        let Some(leg) = self.exchanges.get(id).and_then(Exchange::leg) else { return };
        if !self.rules.deduplicates(leg.target) {
            self.set_aside.of_mut(leg.target).insert(id);
        }
    }

    /// What was found where a leg that may have been executed would be sent again.
    pub fn looked(&mut self, id: ExchangeId, attempt: u32, finding: Finding, now: Timestamp) {
        let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) else { return };
        let Step::Sent(tries) = leg.step else { return };
        if leg.attempt != attempt {
            return;
        }
        let once = !self.rules.deduplicates(leg.target);
        if let Some(doubt) = &mut leg.doubt {
            doubt.heard |= finding != Finding::NoAnswer;
        }
        match finding {
            Finding::Decided(class @ Class::Applied, status, body) => self.found_done(id, class, status, body),
            Finding::Decided(class @ Class::Refused, status, body) if once => self.found_done(id, class, status, body),
            Finding::NotYet | Finding::NoAnswer => {
                if let Some(doubt) = &mut leg.doubt {
                    doubt.absent = 0;
                }
                self.ask_later(id, tries, now);
            }
            Finding::Absent | Finding::Decided(..) => self.found_nothing(id, tries, now),
        }
    }

    fn found_done(&mut self, id: ExchangeId, class: Class, status: u16, body: wire::scalar::Body) {
        let (headers, replayed, duration_micros) = (Vec::new(), false, 0);
        self.report(id, Answer::Whole { status, headers, body, replayed, duration_micros }, class, true);
    }

    /// Its target has nothing of a leg in doubt, or a person says so: whether nobody can be sending or executing it any more.
    pub(super) fn is_over_if_absent(&mut self, id: ExchangeId, now: Timestamp) -> bool {
        let Some(leg) = self.exchanges.get(id).and_then(Exchange::leg) else { return false };
        // Once more for the connection, which may have to be opened first.
        let longest = (2 * SENT_WITHIN_MICROS).saturating_add(*self.longest_request().of(leg.target));
        let doubt = self.exchanges.get_mut(id).and_then(Exchange::leg_mut).and_then(|leg| leg.doubt.as_mut());
        doubt.is_some_and(|doubt| now.since_micros(*doubt.absent_since.get_or_insert(now)) > longest)
    }

    /// The target of a leg in doubt has nothing of it.
    fn found_nothing(&mut self, id: ExchangeId, tries: u32, now: Timestamp) {
        let counts = self.is_over_if_absent(id, now);
        let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) else { return };
        let Some(doubt) = &mut leg.doubt else { return };
        doubt.absent += u32::from(counts);
        if doubt.absent < ABSENT_TIMES {
            self.ask_later(id, tries, now);
        } else if self.rules.deduplicates(leg.target) {
            // Nothing is in doubt any more.
            (leg.doubt, leg.step) = (None, Step::Due(tries));
            self.todo.insert(id);
        } else {
            self.report(id, Answer::nothing(0), Class::NotExecuted, true);
        }
    }
}
