//! Lanes: which legs may be under way at the same time.
//!
//! A leg claims what it touches: accounts, the transaction it refers to, its key. Per target system each of these
//! has a lane in which legs wait in the order of their places. A claim on a limited account, a transaction or a
//! key excludes; claims on an account without limits share it, unless the leg changes the account itself.
//!
//! A leg that is under way (`running`) excludes those it conflicts with whatever their places: after a restart the
//! legs that were under way are sent again before anything else is begun.

use super::keys::KeyId;
use super::order::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::words::System;

/// What a leg can claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    /// An account.
    Account(Arc<str>),
    /// A transaction, by one of its ids.
    Transaction(Arc<str>),
    /// An idempotency key in its scope.
    Key(KeyId),
}

/// A claim of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// On what.
    pub resource: Resource,
    /// Whether it excludes even if the account has no limits.
    pub firm: bool,
}

/// All lanes towards both systems.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: BTreeMap<(System, Resource), Lane>,
}

#[derive(Debug)]
struct Lane {
    /// Whether every claim excludes.
    limited: bool,
    /// Legs that wait, and whether their claim is firm.
    waiting: BTreeMap<Place, bool>,
    /// The firm ones of them.
    waiting_firm: BTreeSet<Place>,
    /// Legs under way, and whether their claim is firm.
    running: BTreeMap<Place, bool>,
}

impl Lane {
    fn new(limited: bool) -> Self {
        Self { limited, waiting: BTreeMap::new(), waiting_firm: BTreeSet::new(), running: BTreeMap::new() }
    }

    fn may_start(&self, place: Place, firm: bool) -> bool {
        if self.limited || firm {
            self.running.is_empty() && self.waiting.first_key_value().is_none_or(|(first, _)| *first >= place)
        } else {
            !self.running.values().any(|&firm| firm) && self.waiting_firm.first().is_none_or(|first| *first > place)
        }
    }

    /// The legs that this lane does not hold back as far as waiting goes: the first one, or all that share before
    /// the first that excludes.
    fn heads(&self) -> Vec<Place> {
        match self.waiting.first_key_value() {
            None => Vec::new(),
            Some((first, &firm)) if self.limited || firm => vec![*first],
            Some(_) => self.waiting.iter().take_while(|&(_, &firm)| !firm).map(|(place, _)| *place).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }
}

impl Lanes {
    /// A leg begins to wait. `limited` says of an account whether every claim on it excludes.
    pub fn enter(&mut self, target: System, place: Place, claims: &[Claim], limited: impl Fn(&str) -> bool) {
        for claim in claims {
            let lane = self.lanes.entry((target, claim.resource.clone())).or_insert_with(|| {
                Lane::new(match &claim.resource {
                    Resource::Account(account) => limited(account),
                    Resource::Transaction(_) | Resource::Key(_) => true,
                })
            });
            lane.waiting.insert(place, claim.firm);
            if claim.firm {
                lane.waiting_firm.insert(place);
            }
        }
    }

    /// Whether nothing that a waiting leg has to wait for stands before it.
    pub fn may_start(&self, target: System, place: Place, claims: &[Claim]) -> bool {
        claims.iter().all(|claim| {
            self.lanes.get(&(target, claim.resource.clone())).is_none_or(|lane| lane.may_start(place, claim.firm))
        })
    }

    /// A waiting leg is under way.
    pub fn start(&mut self, target: System, place: Place, claims: &[Claim]) {
        for claim in claims {
            if let Some(lane) = self.lanes.get_mut(&(target, claim.resource.clone())) {
                lane.waiting.remove(&place);
                lane.waiting_firm.remove(&place);
                lane.running.insert(place, claim.firm);
            }
        }
    }

    /// A leg leaves its lanes, from wherever it was. Answers the legs that may be able to start now.
    pub fn leave(&mut self, target: System, place: Place, claims: &[Claim]) -> Vec<Place> {
        let mut released = Vec::new();
        for claim in claims {
            let key = (target, claim.resource.clone());
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            lane.waiting.remove(&place);
            lane.waiting_firm.remove(&place);
            lane.running.remove(&place);
            if lane.is_empty() {
                self.lanes.remove(&key);
            } else if lane.limited || claim.firm {
                released.extend(lane.heads());
            } else {
                // One that shared held back only those that exclude.
                released.extend(lane.waiting.first_key_value().filter(|&(_, &firm)| firm).map(|(place, _)| *place));
            }
        }
        released
    }

    /// Whether an account is limited is known, or known better. Answers the legs that may be able to start now.
    pub fn learnt(&mut self, account: &Arc<str>, limited: bool) -> Vec<Place> {
        let mut released = Vec::new();
        for system in System::ALL {
            if let Some(lane) = self.lanes.get_mut(&(*system, Resource::Account(Arc::clone(account)))) {
                lane.limited = limited;
                released.extend(lane.heads());
            }
        }
        released
    }

    /// The legs at the head of an account's lane.
    pub fn heads(&self, target: System, account: &Arc<str>) -> Vec<Place> {
        self.lanes.get(&(target, Resource::Account(Arc::clone(account)))).map(Lane::heads).unwrap_or_default()
    }

    /// The legs that wait or are under way on an account.
    pub fn on(&self, target: System, account: &Arc<str>) -> impl Iterator<Item = Place> {
        self.lanes
            .get(&(target, Resource::Account(Arc::clone(account))))
            .into_iter()
            .flat_map(|lane| lane.running.keys().chain(lane.waiting.keys()))
            .copied()
    }

    /// Whether any leg waits or is under way on an account.
    pub fn in_use(&self, account: &Arc<str>) -> bool {
        System::ALL.iter().any(|system| self.lanes.contains_key(&(*system, Resource::Account(Arc::clone(account)))))
    }

    /// Whether there is no leg in any lane.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchanges::ExchangeId;
    use super::super::order::{Position, Topic};
    use super::*;
    use wire::scalar::Timestamp;

    const TO: System = System::Engine;

    fn place(number: u64) -> Place {
        let micros = i64::try_from(number).unwrap();
        let position = Position { at: Timestamp(micros), topic: Topic::Exchanges, offset: number };
        Place::of(position, ExchangeId(number))
    }

    /// `a` to `m` are limited accounts, `n` to `z` are not, a capital letter is a firm claim, `#k` a key.
    fn claims(text: &str) -> Vec<Claim> {
        text.split_whitespace()
            .map(|word| match word.strip_prefix('#') {
                Some(key) => Claim { resource: Resource::Key([key.as_bytes()[0]; 16]), firm: true },
                None => Claim {
                    resource: Resource::Account(word.to_lowercase().into()),
                    firm: word.chars().all(char::is_uppercase),
                },
            })
            .collect()
    }

    fn limited(account: &str) -> bool {
        account < "n"
    }

    /// Legs with what they claim, the ones under way, and the ones that may start beside those.
    fn check(legs: &[(u64, &str)], running: &[u64], expected: &[u64]) {
        let mut lanes = Lanes::default();
        for (number, text) in legs {
            lanes.enter(TO, place(*number), &claims(text), limited);
        }
        for (number, text) in legs.iter().filter(|(number, _)| running.contains(number)) {
            lanes.start(TO, place(*number), &claims(text));
        }
        let startable: Vec<u64> = legs
            .iter()
            .filter(|(number, _)| !running.contains(number))
            .filter(|(number, text)| lanes.may_start(TO, place(*number), &claims(text)))
            .map(|(number, _)| *number)
            .collect();
        assert_eq!(startable, expected, "{legs:?} with {running:?} under way");
    }

    #[test]
    fn legs_wait_for_what_they_conflict_with() {
        check(&[(1, "a"), (2, "a"), (3, "b")], &[], &[1, 3]);
        check(&[(1, "a"), (2, "a"), (3, "b")], &[1], &[3]);
        check(&[(1, "a b"), (2, "b c"), (3, "c d"), (4, "d")], &[], &[1]);
        check(&[(1, "a b"), (2, "b c"), (3, "d")], &[1], &[3]);
        // Accounts without limits are shared …
        check(&[(1, "a x"), (2, "b x"), (3, "c x")], &[], &[1, 2, 3]);
        check(&[(1, "a x"), (2, "b x"), (3, "a x")], &[1], &[2]);
        // … but not with a leg that changes the account.
        check(&[(1, "a x"), (2, "X"), (3, "b x")], &[], &[1]);
        check(&[(1, "X"), (2, "a x"), (3, "b x")], &[], &[1]);
        check(&[(1, "X"), (2, "a x"), (3, "b x")], &[1], &[]);
        // Equal keys exclude even on accounts that share.
        check(&[(1, "x #k"), (2, "x #k"), (3, "x #l")], &[], &[1, 3]);
        check(&[(1, "x #k"), (2, "x #k")], &[1], &[]);
        // One that is under way excludes whatever its place.
        check(&[(1, "a"), (2, "a"), (3, "a")], &[2], &[]);
        check(&[(1, "X"), (2, "a x")], &[2], &[]);
    }

    #[test]
    fn leaving_names_whoever_may_follow() {
        let legs = [(1, "X"), (2, "a x"), (3, "b x"), (4, "X"), (5, "c x")];
        let mut lanes = Lanes::default();
        for (number, text) in legs {
            lanes.enter(TO, place(number), &claims(text), limited);
        }
        let numbers = |places: Vec<Place>| places.iter().map(|place| place.id.0).collect::<BTreeSet<_>>();
        assert_eq!(numbers(lanes.leave(TO, place(1), &claims("X"))), BTreeSet::from([2, 3]));
        lanes.start(TO, place(2), &claims("a x"));
        lanes.start(TO, place(3), &claims("b x"));
        assert_eq!(numbers(lanes.leave(TO, place(2), &claims("a x"))), BTreeSet::from([4]));
        assert!(!lanes.may_start(TO, place(4), &claims("X")), "3 is still under way");
        assert_eq!(numbers(lanes.leave(TO, place(3), &claims("b x"))), BTreeSet::from([4]));
        assert!(lanes.may_start(TO, place(4), &claims("X")));
        assert_eq!(numbers(lanes.leave(TO, place(4), &claims("X"))), BTreeSet::from([5]));
        lanes.leave(TO, place(5), &claims("c x"));
        assert!(lanes.is_empty());
    }

    #[test]
    fn an_account_that_turns_out_to_have_no_limits_is_shared_from_then_on() {
        let mut lanes = Lanes::default();
        for number in 1..=3 {
            lanes.enter(TO, place(number), &claims("x"), |_| true);
        }
        assert!(!lanes.may_start(TO, place(2), &claims("x")));
        assert_eq!(lanes.learnt(&"x".into(), false).len(), 3);
        assert!(lanes.may_start(TO, place(3), &claims("x")));
    }

    #[test]
    fn the_systems_have_lanes_of_their_own() {
        let mut lanes = Lanes::default();
        lanes.enter(System::Engine, place(1), &claims("a"), limited);
        lanes.enter(System::Legacy, place(2), &claims("a"), limited);
        assert!(lanes.may_start(System::Legacy, place(2), &claims("a")));
        assert_eq!(lanes.on(System::Legacy, &"a".into()).collect::<Vec<_>>(), [place(2)]);
    }
}
