//! What came of actions.

use super::accounts::Facts;
use super::answer::{Answer, Consequence, consequence};
use super::exchanges::{Exchange, ExchangeId, Phase, Step};
use super::reading::Reading;
use super::resolve::{Finding, account_exists, asked_by};
use super::{Action, Delivery, Each, Rules};
use crate::planted::{Mistake, planted};
use std::sync::Arc;
use wire::scalar::{Body, Timestamp};
use wire::shadow::{LegResult, Resolution, ShadowBody};
use wire::words::Class;

/// How often in a row an authority must have nothing of an exchange before that is believed.
pub(super) const ABSENT_TIMES: u32 = 2;
/// Between two attempts to learn what an account is.
const LEARN_AGAIN_MICROS: i64 = 1_000_000;
/// Between two attempts to tell the engine aliases.
const POST_AGAIN_MICROS: i64 = 200_000;

impl Delivery {
    /// What came back from a leg that was sent.
    pub fn answered(&mut self, id: ExchangeId, attempt: u32, answer: Answer, now: Timestamp) {
        let Some(leg) = self.exchanges.get(id).and_then(Exchange::leg) else { return };
        let Step::Sent(tries) = leg.step else { return };
        if leg.attempt != attempt {
            return;
        }
        match answer {
            Answer::NotSent => self.pause(id, tries, now),
            Answer::TooLate => self.announce_again(id, now),
            Answer::Unanswered { duration_micros } => {
                self.begin_to_doubt(id, Answer::nothing(duration_micros));
                self.pause(id, tries, now);
            }
            Answer::Whole { status, ref body, .. } => {
                let code = Reading::of(&body.0).code;
                match consequence(leg.target, leg.mode, self.rules.deduplicates(leg.target), status, code.as_deref()) {
                    Consequence::Again => self.pause(id, tries, now),
                    Consequence::Unknown => {
                        self.begin_to_doubt(id, answer);
                        self.pause(id, tries, now);
                    }
                    Consequence::OutOfOrder => self.report(id, answer, Class::Refused, false),
                    Consequence::Final(class) => self.report(id, answer, class, true),
                }
            }
        }
    }

    /// Asks for the leg again after a while, ever more seldom.
    pub(super) fn ask_later(&mut self, id: ExchangeId, tries: u32, now: Timestamp) {
        let Rules { ask_again_micros: shortest, ask_again_max_micros: most, .. } = self.rules;
        self.pause_for(id, tries, now, shortest.saturating_mul(1_i64 << tries.min(20)).min(most));
    }

    /// Sends the leg again after a while.
    pub(super) fn pause(&mut self, id: ExchangeId, tries: u32, now: Timestamp) {
        let pause = self.rules.retry_min_micros.saturating_mul(1_i64 << tries.min(20)).min(self.rules.retry_max_micros);
        self.pause_for(id, tries, now, pause);
    }

    fn pause_for(&mut self, id: ExchangeId, tries: u32, now: Timestamp, pause: i64) {
        self.timers.insert((Timestamp(now.0.saturating_add(pause)), id));
        if let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) {
            leg.step = Step::Pausing(tries.saturating_add(1));
        }
    }

    /// Hands over the leg's result, or its refusal for the time being.
    pub(super) fn report(&mut self, id: ExchangeId, answer: Answer, class: Class, last: bool) {
        if let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) {
            leg.step = Step::Reported;
        }
        self.hand_over(id, answer, class, last);
    }

    pub(super) fn hand_over(&mut self, id: ExchangeId, answer: Answer, class: Class, last: bool) {
        let Answer::Whole { status, headers, body, replayed, duration_micros } = answer else { return };
        let Some(exchange) = self.exchanges.get(id) else { return };
        let Some(leg) = exchange.leg() else { return };
        self.outbox.push(Action::Append(ShadowBody::Result(LegResult {
            exchange: exchange.number.clone(),
            system: leg.target,
            mode: leg.mode,
            attempt: leg.attempt,
            class,
            status,
            headers,
            body,
            duration_micros,
            replayed,
            last,
        })));
    }

    /// What an authority said of an unknown exchange.
    pub fn found(&mut self, id: ExchangeId, finding: Finding, now: Timestamp) {
        self.asking = self.asking.saturating_sub(1);
        let longest = self.longest_request();
        let Rules { ask_again_micros: shortest, ask_again_max_micros: most, .. } = self.rules;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let finding = match finding {
            // It is there because another request has made it.
            Finding::Decided(Class::Applied, ..) if self.accounts.made_by_another(&exchange.intent) => {
                account_exists(&exchange.intent)
            }
            Finding::NotYet | Finding::NoAnswer | Finding::Absent if planted(Mistake::UnknownTakenForAbsent) => {
                return self.resolve(id, Class::NotExecuted, 0, Body::default());
            }
            finding => finding,
        };
        let system = exchange.intent.authority;
        let Phase::Unknown(inquiry) = &mut exchange.phase else { return };
        if inquiry.answered {
            return;
        }
        let counts_from = Timestamp(inquiry.since.0.saturating_add(*longest.of(system)));
        inquiry.asking = false;
        let ask_again_micros = shortest.saturating_mul(1_i64 << inquiry.tries.min(20)).min(most);
        inquiry.tries = inquiry.tries.saturating_add(1);
        let again = Timestamp(now.0.saturating_add(ask_again_micros));
        let (class, status, body) = match finding {
            Finding::Decided(class, status, body) => (class, status, body),
            Finding::NotYet | Finding::NoAnswer => {
                inquiry.absent = 0;
                self.timers.insert((again, id));
                return;
            }
            // It may still be running there.
            Finding::Absent if now < counts_from => {
                self.timers.insert((again.min(counts_from), id));
                return;
            }
            Finding::Absent => {
                inquiry.absent += 1;
                if inquiry.absent < ABSENT_TIMES {
                    self.timers.insert((again, id));
                    return;
                }
                (Class::NotExecuted, 0, Body::default())
            }
        };
        self.resolve(id, class, status, body);
    }

    /// After which a system certainly no longer works on a request.
    pub(super) fn longest_request(&self) -> Each<i64> {
        let Rules { legacy_longest_request_micros: legacy, engine_request_timeout_micros: engine, .. } = self.rules;
        Each { legacy, engine }
    }

    /// There is nothing to ask about an unknown exchange by: it was not executed, once its authority has certainly
    /// let go of it.
    pub(super) fn nothing_to_ask(&mut self, id: ExchangeId, now: Timestamp) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let longest = *self.longest_request().of(exchange.intent.authority);
        let Phase::Unknown(inquiry) = &exchange.phase else { return };
        let counts_from = Timestamp(inquiry.since.0.saturating_add(longest));
        if now < counts_from {
            self.timers.insert((counts_from, id));
        } else {
            self.resolve(id, Class::NotExecuted, 0, Body::default());
        }
    }

    /// Hands over what became of an unknown exchange.
    fn resolve(&mut self, id: ExchangeId, class: Class, status: u16, body: Body) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let Phase::Unknown(inquiry) = &mut exchange.phase else { return };
        inquiry.answered = true;
        self.outbox.push(Action::Append(ShadowBody::Resolved(Resolution {
            exchange: exchange.number.clone(),
            system: exchange.intent.authority,
            class,
            status,
            body,
            by: asked_by(exchange.intent.operation),
        })));
    }

    /// What an account turned out to be; `None` when nobody could say.
    pub fn learnt(&mut self, account: &Arc<str>, facts: Option<Facts>, now: Timestamp) {
        match facts {
            None => self.accounts.not_learnt(account, Timestamp(now.0.saturating_add(LEARN_AGAIN_MICROS))),
            Some(facts) => {
                if self.accounts.learn(account, facts) {
                    let released = self.lanes.learnt(account, facts.limited);
                    self.release(released);
                }
            }
        }
    }

    /// Whether the engine took the aliases.
    pub fn posted(&mut self, taken: bool, now: Timestamp) {
        let ids = self.posting.take().unwrap_or_default();
        if taken {
            ids.iter().for_each(|id| {
                self.unposted.remove(id);
            });
        } else {
            self.post_after = Timestamp(now.0.saturating_add(POST_AGAIN_MICROS));
        }
    }

    /// A front has connected, in this boot.
    pub fn front_connected(&mut self, front: &str, boot: u64) {
        self.fronts.connected(front, boot);
    }

    /// A front's connection is gone.
    pub fn front_lost(&mut self, front: &str, now: Timestamp) {
        self.fronts.lost(front, now);
    }

    /// A front has shipped everything it wrote before `at`; the end of `cutover.exchanges` was `end` then.
    pub fn heartbeat(&mut self, front: &str, at: Timestamp, end: u64) {
        self.fronts.heartbeat(front, at, end, self.folded);
    }

    /// Old records end here: from now on the state follows the present.
    pub fn begin_present(&mut self, now: Timestamp) {
        self.fronts.begin(now);
        self.present_since = now;
    }
}
