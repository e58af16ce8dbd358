//! Which of the exchanges with one key has a leg, and what the others wait for.
//!
//! The order in which results are read is not that in which they stand in the log: an exchange may be found out by asking
//! before the result that it repeats is read. A relay that starts reads them in the log's order; one that runs comes to
//! the same in the end, unless it has written down something else, which then counts.

use super::Delivery;
use super::exchanges::{Decided, Exchange, ExchangeId, Leg, Phase, Step};
use super::keys::{Decision, Ruling, fingerprint};
use crate::planted::{Mistake, planted};
use wire::words::{Class, Mode, Single, System};

impl Delivery {
    /// Finds out whether a decided exchange has a leg.
    pub(super) fn rule(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let Some(decided) = exchange.decided.clone() else { return };
        if exchange.leg().is_some() {
            return;
        }
        let (ruling, again) = match (decided.class, exchange.key) {
            (Class::NotExecuted, key) => {
                let again = key.map(|key| self.keys.without_effect(key, id)).unwrap_or_default();
                self.skip(id, Single::NotExecuted);
                (None, again)
            }
            (_, None) => (Some(Ruling::Stands), Vec::new()),
            (_, Some(key)) => {
                let made = exchange.made().map(fingerprint);
                let applied = decided.class == Class::Applied;
                let decision = Decision { replayed: decided.replayed, resolved: decided.resolved, applied, made };
                let (ruling, again) = self.keys.rule(key, id, exchange.content, decision);
                (Some(ruling), again)
            }
        };
        let retried = self.retried(id, &decided);
        match ruling {
            Some(Ruling::Stands) => self.stands(id, decided.class),
            Some(Ruling::Repeats(first)) if retried.contains(&first) => self.overrule(id, Mode::Shadow),
            Some(Ruling::Repeats(first)) => match self.leg_before_its_result(first, &decided) {
                Some(mode) => self.overrule(id, mode),
                None => self.skip_behind(id, first),
            },
            Some(Ruling::Waits) => self.set_phase(id, Phase::Repeated),
            None => {}
        }
        for other in retried {
            self.withdraw_leg(other, id);
        }
        for other in again {
            self.rule(other);
        }
        self.let_start_what_waits_for(id);
    }

    /// Of two exchanges with one effect, the one that brought its result has the leg, in the place of that result: a
    /// relay that starts folds it first. `first` was asked for, and seemed to have had the effect, before the result was
    /// read; the mode of its leg, if that can still be given up.
    fn leg_before_its_result(&self, first: ExchangeId, result: &Decided) -> Option<Mode> {
        let first = self.exchanges.get(first)?;
        let leg = first.leg().filter(|leg| leg.step == Step::Waiting && !leg.is_announced())?;
        let found_out = first.decided.as_ref().is_some_and(|decided| decided.resolved);
        (found_out && !result.resolved && !result.replayed).then_some(leg.mode)
    }

    fn stands(&mut self, id: ExchangeId, class: Class) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        match (exchange.intent.authority, class) {
            // A legacy has no form of a refusal decided elsewhere.
            (System::Engine, Class::Refused) => self.skip(id, Single::Refused),
            (System::Legacy, Class::Refused) if planted(Mistake::RefusedLegExecuted) => self.plan_leg(id, Mode::Shadow),
            (System::Legacy, Class::Refused) => self.plan_leg(id, Mode::ShadowRefused),
            _ => self.plan_leg(id, Mode::Shadow),
        }
    }

    /// A client has sent its request again, and by then the other system was its authority: one that does not deduplicate
    /// has booked it, and is not sent the leg of the first one as well. The exchanges whose legs are not needed for that.
    fn retried(&self, id: ExchangeId, decided: &Decided) -> Vec<ExchangeId> {
        let Some(exchange) = self.exchanges.get(id).filter(|_| decided.class == Class::Applied) else {
            return Vec::new();
        };
        let authority = exchange.intent.authority;
        let Some(key) = exchange.key.filter(|_| !self.rules.deduplicates(authority)) else { return Vec::new() };
        let mut others = self.keys.others(key, id, exchange.content);
        others.retain(|other| {
            let leg = self.exchanges.get(*other).and_then(Exchange::leg);
            leg.is_some_and(|leg| leg.target == authority && !leg.is_announced())
        });
        others
    }

    /// Whether a leg to a system that does not deduplicate waits because its client has sent the request again, to that
    /// system, and nobody knows yet what became of it.
    pub(super) fn waits_for_a_retry(&self, exchange: &Exchange, leg: &Leg) -> bool {
        let Some(key) = exchange.key.filter(|_| !self.rules.deduplicates(leg.target)) else { return false };
        let at_target = |id| self.exchanges.get(id).is_some_and(|other| other.intent.authority == leg.target);
        self.keys.undecided(key, exchange.content).any(at_target)
    }

    /// What waited for a retry looks again whether it may start.
    fn let_start_what_waits_for(&mut self, retry: ExchangeId) {
        let Some(exchange) = self.exchanges.get(retry) else { return };
        let Some(key) = exchange.key.filter(|_| !self.rules.deduplicates(exchange.intent.authority)) else { return };
        self.todo.extend(self.keys.others(key, retry, exchange.content));
    }

    fn skip(&mut self, id: ExchangeId, reason: Single) {
        self.set_phase(id, Phase::Skipping { reason, requested: false, behind: None });
        self.todo.insert(id);
    }

    /// There is no leg, because `first` has one: said only when that is written down.
    fn skip_behind(&mut self, id: ExchangeId, first: ExchangeId) {
        let announced = self.exchanges.get(first).and_then(Exchange::leg).is_none_or(Leg::is_announced);
        if announced {
            self.skip(id, Single::Repeat);
        } else {
            let (reason, requested, behind) = (Single::Repeat, false, Some(first));
            self.set_phase(id, Phase::Skipping { reason, requested, behind });
            self.behind.entry(first).or_default().push(id);
        }
    }

    /// It is written down that an exchange has a leg, or that it is concluded.
    pub(super) fn let_pass(&mut self, first: ExchangeId) {
        for id in self.behind.remove(&first).unwrap_or_default() {
            if let Some(Phase::Skipping { behind, .. }) = self.exchanges.get_mut(id).map(|exchange| &mut exchange.phase)
            {
                *behind = None;
                self.todo.insert(id);
            }
        }
    }

    /// An exchange has a leg although it seemed to have none: it seemed to repeat others, which repeat it.
    pub(super) fn overrule(&mut self, id: ExchangeId, mode: Mode) {
        self.plan_leg(id, mode);
        let Some(exchange) = self.exchanges.get(id) else { return };
        let Some(key) = exchange.key else { return };
        let applied = exchange.decided.as_ref().is_some_and(|decided| decided.class == Class::Applied);
        let made = exchange.made().map(fingerprint);
        let (replaced, again) = self.keys.stands(key, id, exchange.content, made, applied);
        for other in replaced {
            self.withdraw_leg(other, id);
        }
        for other in again {
            self.rule(other);
        }
    }

    /// A leg that was not announced is none: its exchange repeats `first`.
    fn withdraw_leg(&mut self, id: ExchangeId, first: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let (Some(leg), Some(decided)) = (exchange.leg(), &exchange.decided) else { return };
        if leg.is_announced() {
            return;
        }
        self.undelivered.of_mut(leg.target).remove(&(decided.position.at, id));
        if leg.is_running() {
            *self.running.of_mut(leg.target) -= 1;
        }
        self.order.begun(leg.place);
        let released = self.lanes.leave(leg.target, leg.place, &leg.claims);
        self.release(released);
        let behind = self.behind.remove(&id).unwrap_or_default();
        self.skip_behind(id, first);
        for id in behind {
            // One of them may have a leg by now, `first` for one.
            if self.exchanges.get(id).is_some_and(|exchange| matches!(exchange.phase, Phase::Skipping { .. })) {
                self.skip_behind(id, first);
            }
        }
    }
}
