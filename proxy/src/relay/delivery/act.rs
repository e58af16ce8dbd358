//! What is to be done now.

use super::aliases::maker;
use super::doubt::Before;
use super::exchanges::{Decided, Exchange, ExchangeId, Leg, Phase, Step};
use super::handover::CONNECTED_WITHIN_MICROS;
use super::request::leg_request;
use super::resolve::question;
use super::{Action, Delivery};
use crate::planted::{Mistake, planted};
use wire::scalar::Timestamp;
use wire::shadow::ShadowBody;
use wire::words::{Operation, Stage, System};

/// Accounts that are asked for at the same time.
const LEARNING: usize = 16;
/// Aliases that the engine is told in one request.
const ALIASES: usize = 500;
/// How often exchanges without result are looked through.
const LOOK_THROUGH_MICROS: i64 = 1_000_000;

impl Delivery {
    /// Everything that is to be done at `now`, in this order. To be called after whatever else was called.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Action> {
        self.ring(now);
        self.find_abandoned(now);
        self.settle_parked(now);
        self.take_up_words(now);
        while let Some(id) = self.todo.pop_first() {
            self.advance(id);
        }
        self.ask(now);
        self.start_legs(now);
        self.learn_accounts(now);
        self.answer_handover(now);
        self.post_aliases(now);
        self.write_cursor(now);
        std::mem::take(&mut self.outbox)
    }

    /// Looks again at whatever was put off until now.
    fn ring(&mut self, now: Timestamp) {
        while let Some(&(at, id)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match self.exchanges.get_mut(id).map(|exchange| &mut exchange.phase) {
                Some(Phase::Leg(leg)) => {
                    if let Step::Pausing(tries) = leg.step {
                        leg.step = Step::Due(tries);
                        self.todo.insert(id);
                    }
                }
                Some(Phase::Unknown(inquiry)) if inquiry.begun && !inquiry.asking && !inquiry.answered => {
                    self.to_ask.insert(id);
                }
                _ => {}
            }
        }
    }

    /// Intents whose fronts have shipped long past them without a result: the record of it was lost.
    fn find_abandoned(&mut self, now: Timestamp) {
        if now < self.look_through_after {
            return;
        }
        self.look_through_after = Timestamp(now.0.saturating_add(LOOK_THROUGH_MICROS));
        let limit = self.rules.abandoned_micros;
        let old = |exchange: &Exchange| now.since_micros(exchange.began.at) > limit;
        let abandoned: Vec<ExchangeId> = self
            .open
            .iter()
            .map_while(|id| self.exchanges.get(*id).filter(|exchange| old(exchange)).map(|exchange| (*id, exchange)))
            .filter(|(_, exchange)| self.fronts.shipped(&exchange.number.front).since_micros(exchange.written) > limit)
            .map(|(id, _)| id)
            .collect();
        for id in abandoned {
            self.become_unknown(id, now);
        }
    }

    /// Does the next thing for an exchange, if there is one.
    fn advance(&mut self, id: ExchangeId) {
        let pointers = &self.rules.transaction_pointers;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let number = exchange.number.clone();
        match &mut exchange.phase {
            Phase::Skipping { reason, requested: requested @ false, behind: None } => {
                *requested = true;
                self.outbox.push(Action::Append(ShadowBody::Skipped { exchange: number, reason: *reason }));
            }
            Phase::Unknown(inquiry) if !inquiry.announced => {
                inquiry.announced = true;
                self.outbox.push(Action::Append(ShadowBody::Asking { exchange: number }));
            }
            Phase::Unknown(inquiry) if inquiry.begun && !inquiry.asking && !inquiry.answered => {
                self.to_ask.insert(id);
            }
            Phase::Leg(leg) => match leg.step {
                Step::Waiting => {
                    self.ready.of_mut(leg.target).insert(leg.place);
                }
                Step::Due(tries) => {
                    leg.step = Step::Sent(tries);
                    let Some((exchange, leg)) =
                        self.exchanges.get(id).and_then(|exchange| Some((exchange, exchange.leg()?)))
                    else {
                        return;
                    };
                    match self.before_it_is_sent(id, exchange, leg) {
                        Before::Ask(question) => self.outbox.push(Action::Look { attempt: leg.attempt, question }),
                        Before::Wait => {}
                        Before::Nothing => {
                            let sent_by = self.sent_by(exchange.intent.operation, leg);
                            let request = leg_request(id, exchange, leg, &self.aliases, pointers, sent_by);
                            self.outbox.push(Action::Send(Box::new(request)));
                        }
                    }
                    self.note_doubt(id);
                }
                _ => {}
            },
            Phase::Open | Phase::Repeated | Phase::Skipping { .. } | Phase::Unknown(_) => {}
        }
    }

    /// Asks authorities about unknown results, only so many at a time.
    fn ask(&mut self, now: Timestamp) {
        while self.asking < self.rules.questions
            && let Some(id) = self.to_ask.pop_first()
        {
            let Some(exchange) = self.exchanges.get_mut(id) else { continue };
            let Phase::Unknown(inquiry) = &mut exchange.phase else { continue };
            let asked = question(id, &exchange.intent, exchange.intent.authority, &self.aliases);
            // By key first; one that cannot say anything by key may by the id.
            let by_id = exchange.named.as_deref().filter(|_| inquiry.tries % 2 == 1);
            match asked.map(|question| question.by(by_id)) {
                Some(question) => {
                    inquiry.asking = true;
                    self.asking += 1;
                    self.outbox.push(Action::Ask(question));
                }
                // No system can have taken it; it may still be refusing it.
                None => self.nothing_to_ask(id, now),
            }
        }
    }

    /// Begins the legs that nothing holds back, as many as may be under way.
    fn start_legs(&mut self, now: Timestamp) {
        if self.stopping {
            return;
        }
        for system in System::ALL.iter().copied() {
            while self.active(system) < self.rules.concurrency
                && !self.is_unheard(system)
                && let Some(place) = self.ready.of_mut(system).pop_first()
            {
                self.start(place.id, now);
            }
        }
    }

    fn start(&mut self, id: ExchangeId, now: Timestamp) {
        if self.is_early(id, now) {
            self.early.insert(id);
            return;
        }
        let may_start = self.exchanges.get(id).is_some_and(|exchange| {
            exchange.leg().is_some_and(|leg| leg.step == Step::Waiting && self.may_start(exchange, leg))
        });
        let Some(exchange) = self.exchanges.get_mut(id).filter(|_| may_start) else { return };
        let number = exchange.number.clone();
        let Some(leg) = exchange.leg_mut() else { return };
        self.order.begun(leg.place);
        self.lanes.start(leg.target, leg.place, &leg.claims);
        *self.running.of_mut(leg.target) += 1;
        leg.attempt += 1;
        (leg.unanswered, leg.doubt) = (false, None);
        (leg.step, leg.announced) = (Step::Announced, now);
        if planted(Mistake::SendingNotRecorded) {
            leg.step = Step::Due(0);
            self.todo.insert(id);
            return;
        }
        self.outbox.push(Action::Append(ShadowBody::Sending {
            exchange: number,
            system: leg.target,
            mode: leg.mode,
            attempt: leg.attempt,
        }));
    }

    /// Whether nothing holds a waiting leg back: neither the stage, nor an undecided exchange, nor its lanes.
    /// Whoever takes one of these obstacles away puts the leg among those that have something to be done.
    fn may_start(&self, exchange: &Exchange, leg: &Leg) -> bool {
        let held = leg.target == System::Engine && self.holds_engine();
        !held
            && !self.waits_for_undecided(exchange, leg)
            && !self.waits_for_a_retry(exchange, leg)
            && self.lanes.may_start(leg.target, leg.place, &leg.claims)
    }

    /// Whether something that the engine decided before may not have been read yet: the result was found out by asking,
    /// or another front may have recorded something that is missing here, and not every front has said that what came
    /// before it is here. A legacy refuses for good what comes too early. The fronts' word is waited for as long as for a
    /// result that was never shipped.
    fn is_early(&mut self, id: ExchangeId, now: Timestamp) -> bool {
        self.note_complete(id);
        let Some(exchange) = self.exchanges.get(id) else { return false };
        let (Some(leg), Some(decided)) = (exchange.leg(), &exchange.decided) else { return false };
        // Whether there are other fronts is asked now: while the past is folded none has connected.
        let complete = leg.complete || !self.fronts.any_but(&exchange.number.front);
        let just_begun = now.since_micros(self.present_since) <= CONNECTED_WITHIN_MICROS;
        if leg.target == System::Engine {
            return false;
        } else if !leg.complete && just_begun {
            return true;
        } else if complete && !decided.resolved {
            return false;
        }
        let until = Timestamp(decided.position.at.0.saturating_add(self.rules.reoffer_micros));
        let waits = now.since_micros(decided.position.at) <= self.rules.abandoned_micros;
        waits && !self.fronts.shipped_past(until, now, self.rules.front_grace_micros)
    }

    /// Takes note if nothing is missing before a leg to the legacy: later there may be too much to say it by.
    pub(super) fn note_complete(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let (Some(leg), Some(decided)) = (exchange.leg(), &exchange.decided) else { return };
        if leg.complete || leg.target == System::Engine || self.misses_something(exchange, decided) {
            return;
        }
        if let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) {
            leg.complete = true;
        }
    }

    /// Whether something is missing that came before an exchange which the engine decided: an account did not stand where
    /// what is known had left it, or what is to be refunded is not known by the legacy's id.
    fn misses_something(&self, exchange: &Exchange, decided: &Decided) -> bool {
        let levels = &decided.reading.levels;
        let follows = match exchange.intent.operation {
            // Nothing came before it.
            Operation::CreateAccount => true,
            _ => levels.iter().all(|level| self.levels.follows(level)),
        };
        let original = exchange.intent.original.as_deref().filter(|id| maker(id) == System::Engine);
        !follows || original.is_some_and(|id| self.aliases.at(System::Legacy, id).is_none())
    }

    /// Whether legs to the engine stay in the log.
    pub(super) fn holds_engine(&self) -> bool {
        self.rollout.setting.stage == Stage::Capture
    }

    /// Whether an exchange that is not decided blocks the leg.
    ///
    /// Towards the engine only unknown ones do: the legacy's own order is that of its results. Towards the legacy
    /// everything that the engine may have decided before: its positions say in which order.
    fn waits_for_undecided(&self, exchange: &Exchange, leg: &Leg) -> bool {
        let Some(decided) = &exchange.decided else { return true };
        leg.accounts().filter(|(account, firm)| *firm || self.accounts.limited(account)).any(|(account, _)| {
            match leg.target {
                System::Engine => self.undecided.unknown_before(System::Legacy, account, decided.position),
                System::Legacy => self.undecided.any_before(System::Engine, account, decided.position),
            }
        })
    }

    /// Asks what accounts are that legs wait for.
    fn learn_accounts(&mut self, now: Timestamp) {
        let lanes = &self.lanes;
        let due = self.accounts.ask(now, LEARNING, |account| lanes.in_use(account));
        self.outbox.extend(due.into_iter().map(Action::Learn));
    }

    /// Tells the engine the legacy's ids of transactions that the engine decided.
    fn post_aliases(&mut self, now: Timestamp) {
        if self.posting.is_some() || self.unposted.is_empty() || now < self.post_after {
            return;
        }
        let batch: Vec<_> = self.unposted.iter().take(ALIASES).map(|(id, alias)| (*id, alias.clone())).collect();
        let (ids, aliases) = batch.into_iter().unzip();
        self.posting = Some(ids);
        self.outbox.push(Action::Post(aliases));
    }

    /// Writes down up to where everything is concluded, if that has moved.
    fn write_cursor(&mut self, now: Timestamp) {
        if self.cursor_requested || now < self.cursor_after {
            return;
        }
        let unconcluded = [self.exchanges.first(), self.unposted.first_key_value().map(|(id, _)| *id)];
        let offset = unconcluded.into_iter().flatten().map(|id| id.0).min().unwrap_or(self.folded);
        if offset > self.cursor {
            self.cursor_requested = true;
            self.cursor_after = Timestamp(now.0.saturating_add(self.rules.cursor_every_micros));
            self.outbox.push(Action::Append(ShadowBody::Cursor { offset }));
        }
    }
}
