//! Which leg goes when, and which of several exchanges with one key has one.

use super::delivery::Relay;
use super::exchanges::{Exchange, Leg, Phase, REOFFER_MS};
use super::ledger::{Account, Answer, Id, Key, Mode, Operation};
use super::records::Number;
use super::{Bug, Pairing};

/// The place of a leg among all legs.
///
/// "The order of legs is the position of the *result* in `cutover.exchanges`; of an unknown, of its `resolved` record";
/// towards a legacy it is the engine's own order (decision 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(i64, u8, usize, Number);

impl Place {
    /// The place of an exchange whose result stands in a topic at an offset.
    pub fn of(relay: &Relay, number: Number, at: i64, (topic, offset): (u8, usize), answer: Option<Answer>) -> Self {
        let engines = relay.pairing != Pairing::ToEngine && !relay.has(Bug::ResultsOrder);
        match answer.and_then(|answer| answer.id).filter(|_| engines) {
            Some(id) => Place(i64::from(id.number), 0, 0, number),
            None => Place(at, topic, offset, number),
        }
    }
}

/// What a leg can claim: "a leg waits for all earlier legs of every limited account it names; … refund … exclude on the
/// original; equal keys exclude".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Account(Account),
    Transaction(Id),
    Key(Key),
}

impl Relay {
    fn claims(&self, exchange: &Exchange) -> Vec<Claim> {
        let accounts = if self.has(Bug::SecondLaneIgnored) { 1 } else { usize::MAX };
        let mut claims: Vec<Claim> =
            exchange.limited().take(accounts).map(|account| Claim::Account(*account)).collect();
        let made = exchange.decided.and_then(|decided| decided.answer).and_then(|answer| answer.id);
        let original = match exchange.intent.operation {
            Operation::Refund(id) => self.at_authority(id),
            Operation::Move { .. } => None,
        };
        claims.extend(made.into_iter().chain(original).map(Claim::Transaction));
        claims.push(Claim::Key(exchange.intent.key));
        claims
    }

    /// Whether nothing that a waiting leg has to wait for stands before it.
    pub(super) fn may_start(&self, number: Number, exchange: &Exchange) -> bool {
        let Some(decided) = exchange.decided else { return false };
        let claims = self.claims(exchange);
        let before = |(id, other): (&Number, &Exchange)| {
            let Phase::Leg(theirs) = &other.phase else { return false };
            let earlier = other.decided.is_some_and(|theirs| theirs.place < decided.place);
            *id != number
                && other.in_lanes()
                && (theirs.is_running() || earlier)
                && self.claims(other).iter().any(|claim| claims.contains(claim))
        };
        !self.exchanges.iter().any(before) && !self.waits_for_undecided(number, exchange) && !self.is_early(exchange)
    }

    /// An unknown one: "until then its intent blocks the accounts it names". Towards a legacy whatever the engine may have
    /// decided before (decision 7).
    fn waits_for_undecided(&self, number: Number, exchange: &Exchange) -> bool {
        let Some(decided) = exchange.decided else { return true };
        let blocks = |(id, other): (&Number, &Exchange)| {
            let kind = match other.phase {
                Phase::Unknown(_) => !self.has(Bug::UnknownNotAwaited),
                _ => self.pairing != Pairing::ToEngine && !self.has(Bug::UndecidedNotAwaited),
            };
            // The log has the intents of another front in any order.
            let elsewhere = id.front != number.front && !self.has(Bug::OtherFrontsNotAwaited);
            // A resolution stands in the other topic: its time tells.
            let in_the_log = if decided.resolved { other.began_at <= decided.at } else { other.began < decided.offset };
            let before = in_the_log || elsewhere && other.written <= decided.at + REOFFER_MS;
            *id != number
                && kind
                && other.decided.is_none()
                && before
                && exchange.limited().any(|account| other.accounts.contains(account))
        };
        self.exchanges.iter().any(blocks)
    }

    /// A legacy refuses for good what comes too early. The intent of what the engine decided before may still be in another
    /// front's journal; so a leg waits until every front has shipped what it wrote before this one's result.
    fn is_early(&self, exchange: &Exchange) -> bool {
        let Some(decided) = exchange.decided else { return true };
        let waits = decided.resolved || !self.has(Bug::OtherFrontsNotAwaited);
        let to_legacy = self.pairing != Pairing::ToEngine;
        to_legacy && waits && !self.all_shipped_past(decided.at + REOFFER_MS)
    }

    /// Whether it is written down that an exchange has a leg, or that it is concluded.
    pub(super) fn is_announced(&self, number: Number) -> bool {
        self.exchanges.get(&number).is_none_or(|exchange| match &exchange.phase {
            Phase::Leg(leg) => leg.attempt > 0,
            Phase::Done(_) | Phase::Person => true,
            Phase::Open | Phase::Unknown(_) | Phase::Waits | Phase::Skip(_) => false,
        })
    }

    /// Finds out whether a decided exchange has a leg, and looks again at those that waited for it.
    pub(super) fn rule(&mut self, number: Number) {
        let Some(exchange) = self.exchanges.get(&number) else { return };
        let Some(decided) = exchange.decided else { return };
        if matches!(exchange.phase, Phase::Leg(_) | Phase::Done(_) | Phase::Person) {
            return;
        }
        let key = exchange.intent.key;
        let phase = match decided.answer {
            None => Phase::Skip(None),
            Some(answer) => self.ruled(number, key, answer, decided.resolved),
        };
        let waits = matches!(phase, Phase::Waits);
        self.set_phase(number, phase);
        if !waits {
            let waiting: Vec<Number> =
                self.with_key(key).filter(|(_, other)| matches!(other.phase, Phase::Waits)).map(|(id, _)| id).collect();
            waiting.into_iter().for_each(|other| self.rule(other));
        }
    }

    fn with_key(&self, key: Key) -> impl Iterator<Item = (Number, &Exchange)> {
        self.exchanges().filter(move |(_, exchange)| exchange.intent.key == key)
    }

    /// "An exchange is a repeat when its authority said that it repeated an earlier answer", or when it turns out to be the
    /// same transaction as one that has a leg.
    fn ruled(&self, number: Number, key: Key, answer: Answer, resolved: bool) -> Phase {
        let stands = |other: &Exchange| match &other.phase {
            Phase::Leg(_) | Phase::Person => true,
            Phase::Done(said) => said.is_some() || other.decided.is_some_and(|decided| decided.answer.is_some()),
            Phase::Skip(behind) => behind.is_none() && other.decided.is_some_and(|decided| decided.answer.is_some()),
            Phase::Open | Phase::Unknown(_) | Phase::Waits => false,
        };
        let others = || self.with_key(key).filter(|(id, _)| *id != number);
        let first = others().find(|(_, other)| stands(other)).map(|(id, _)| id);
        if let Some(first) = first.filter(|_| !self.has(Bug::RepeatHasALeg)) {
            return Phase::Skip(Some(first));
        }
        let undecided = |other: &Exchange| other.decided.is_none();
        if answer.replayed && !resolved && others().any(|(_, other)| undecided(other)) && !self.has(Bug::RepeatHasALeg)
        {
            return Phase::Waits;
        }
        match (self.pairing, answer.refused) {
            (_, None) => Phase::Leg(Leg::new(Mode::Shadow)),
            (Pairing::ToEngine, Some(_)) if self.has(Bug::RefusedExecuted) => Phase::Leg(Leg::new(Mode::Shadow)),
            (Pairing::ToEngine, Some(_)) => Phase::Leg(Leg::new(Mode::ShadowRefused)),
            // "no leg to a legacy".
            (_, Some(_)) => Phase::Skip(None),
        }
    }

    /// An exchange has a leg although it seemed to have none: it seemed to repeat another one, which repeats it.
    pub(super) fn overrule(&mut self, number: Number, mode: Mode) {
        let Some(key) = self.exchanges.get(&number).map(|exchange| exchange.intent.key) else { return };
        self.set_phase(number, Phase::Leg(Leg::new(mode)));
        let replaced: Vec<Number> = self
            .with_key(key)
            .filter(|(id, other)| *id != number && matches!(&other.phase, Phase::Leg(leg) if leg.attempt == 0))
            .map(|(id, _)| id)
            .collect();
        replaced.into_iter().for_each(|other| self.set_phase(other, Phase::Skip(Some(number))));
    }
}
