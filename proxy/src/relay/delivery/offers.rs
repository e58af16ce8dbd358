//! Re-offers: a leg that the engine refused for a reason of state leaves its lanes and comes back.
//!
//! It comes back after each later applied leg that touches one of its accounts. When every front has shipped past
//! the first refusal by a second, and nothing that could explain it is under way on its accounts, it is booked by
//! force; where there is nothing to book on, the last refusal is its result.

use super::answer::CANNOT_BE_FORCED;
use super::exchanges::{Exchange, ExchangeId, Leg, StateRefusal, Step};
use super::order::Place;
use super::{Action, Delivery};
use crate::planted::{Mistake, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::scalar::Timestamp;
use wire::shadow::{LegResult, ShadowBody};
use wire::words::{Class, Mode, System};

/// How often parked legs are looked through: a small part of the second that they have.
const SETTLE_MICROS: i64 = 10_000;

/// The legs that are outside their lanes.
#[derive(Debug, Default)]
pub(super) struct ParkingLot {
    places: BTreeSet<Place>,
    by_account: BTreeMap<Arc<str>, BTreeSet<ExchangeId>>,
}

impl ParkingLot {
    fn insert(&mut self, leg: &Leg) {
        self.places.insert(leg.place);
        for (account, _) in leg.accounts() {
            self.by_account.entry(Arc::clone(account)).or_default().insert(leg.place.id);
        }
    }

    /// A leg is no longer outside its lanes.
    pub(super) fn remove(&mut self, leg: &Leg) {
        self.places.remove(&leg.place);
        for (account, _) in leg.accounts() {
            if let Some(ids) = self.by_account.get_mut(account) {
                ids.remove(&leg.place.id);
                if ids.is_empty() {
                    self.by_account.remove(account);
                }
            }
        }
    }
}

impl Delivery {
    /// A leg that was refused leaves its lanes.
    pub(super) fn park(&mut self, id: ExchangeId) {
        let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) else { return };
        if leg.is_running() {
            *self.running.of_mut(leg.target) -= 1;
        }
        leg.step = Step::Parked;
        leg.mode = Mode::Shadow;
        self.parked.insert(leg);
        let released = self.lanes.leave(leg.target, leg.place, &leg.claims);
        self.release(released);
    }

    /// Something was applied on these accounts: what was refused on them may fit now.
    pub(super) fn offer_again(&mut self, accounts: &[Arc<str>]) {
        let again: BTreeSet<ExchangeId> =
            accounts.iter().filter_map(|account| self.parked.by_account.get(account)).flatten().copied().collect();
        for id in again {
            self.offer(id, Mode::Shadow);
        }
    }

    /// A leg waits in its lanes again.
    fn offer(&mut self, id: ExchangeId, mode: Mode) {
        let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) else { return };
        self.parked.remove(leg);
        (leg.mode, leg.step) = (mode, Step::Waiting);
        self.lanes.enter(leg.target, leg.place, &leg.claims, |account| self.accounts.limited(account));
        self.todo.insert(id);
    }

    /// Forces, or gives up, what nothing can explain any more; looks again at legs that were too early.
    pub(super) fn settle_parked(&mut self, now: Timestamp) {
        if now < self.settle_after {
            return;
        }
        self.settle_after = Timestamp(now.0.saturating_add(SETTLE_MICROS));
        self.todo.append(&mut self.early);
        let places: Vec<Place> = self.parked.places.iter().copied().collect();
        for place in places {
            let Some(leg) = self.exchanges.get(place.id).and_then(Exchange::leg) else { continue };
            let Some(refusal) = &leg.refusal else { continue };
            let until = Timestamp(refusal.first_at.0.saturating_add(self.rules.reoffer_micros));
            let given_up = planted(Mistake::ReofferGivenUpEarly);
            if !given_up
                && (now <= until
                    || !self.fronts.shipped_past(until, now, self.rules.front_grace_micros)
                    || self.may_be_explained(leg, until))
            {
                continue;
            }
            if CANNOT_BE_FORCED.contains(&refusal.code.as_str()) {
                if self.is_beside_one_to_be_forced(place.id, leg) {
                    continue;
                }
                let refusal = StateRefusal::clone(refusal);
                self.give_up(place.id, refusal);
            } else {
                self.offer(place.id, Mode::Forced);
            }
        }
    }

    /// Whether something is under way on the leg's accounts that the authority may have decided before it:
    /// whatever began by then and is neither delivered nor parked itself.
    fn may_be_explained(&self, leg: &Leg, until: Timestamp) -> bool {
        let authority = leg.target.other();
        let began_by = |place: Place| self.exchanges.get(place.id).is_some_and(|exchange| exchange.began_by(until));
        leg.accounts().filter(|(account, firm)| *firm || self.accounts.limited(account)).any(|(account, _)| {
            self.lanes.on(leg.target, account).any(began_by) || self.undecided.any_by(authority, account, until)
        })
    }

    /// Whether another leg on its accounts is outside its lanes that will be forced if nothing else helps: it may be what
    /// this one does not find.
    fn is_beside_one_to_be_forced(&self, id: ExchangeId, leg: &Leg) -> bool {
        let beside = leg.accounts().filter_map(|(account, _)| self.parked.by_account.get(account)).flatten();
        beside.filter(|other| **other != id).filter_map(|other| self.exchanges.get(*other)?.leg()).any(|other| {
            other.refusal.as_ref().is_some_and(|refusal| !CANNOT_BE_FORCED.contains(&refusal.code.as_str()))
        })
    }

    /// The last refusal is the leg's result.
    fn give_up(&mut self, id: ExchangeId, refusal: StateRefusal) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let number = exchange.number.clone();
        let Some(leg) = exchange.leg_mut() else { return };
        self.parked.remove(leg);
        leg.step = Step::GivenUp;
        self.outbox.push(Action::Append(ShadowBody::Result(LegResult {
            exchange: number,
            system: System::Engine,
            mode: leg.mode,
            attempt: leg.attempt,
            class: Class::Refused,
            status: refusal.status,
            headers: refusal.headers,
            body: refusal.body,
            duration_micros: refusal.duration_micros,
            replayed: refusal.replayed,
            last: true,
        })));
    }
}
