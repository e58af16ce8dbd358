//! The relay: records in, one thing to do at a time out. What it knows is a fold of the two topics, but for what it has
//! under way itself.

use super::exchanges::{
    ABSENT_TIMES, AGAIN_MS, Decided, Exchange, FRESH_MS, Inquiry, LONGEST_MS, Leg, Phase, REOFFER_MS, Request, Step,
    Todo,
};
use super::ledger::{Account, Answer, Id, Mode, Operation, Refusal, System};
use super::places::Place;
use super::records::{ExchangeBody, Number, ShadowBody, Stored, Topics};
use super::{Bug, Pairing};
use std::collections::BTreeMap;

/// A process of the relay.
#[derive(Debug)]
pub struct Relay {
    /// Which one.
    pub process: u32,
    pub(super) pairing: Pairing,
    pub(super) bug: Option<Bug>,
    /// How much of the topics it has read.
    pub read: (usize, usize),
    pub(super) exchanges: BTreeMap<Number, Exchange>,
    /// Authority's id → shadow's id.
    aliases: BTreeMap<Id, Id>,
    /// Up to when each front has shipped, by its clock.
    shipped: Vec<i64>,
    heartbeats: Vec<(usize, i64, usize)>,
    /// Somebody else has written where only one may.
    pub dead: bool,
    /// It stands still.
    pub paused: bool,
}

impl Relay {
    /// One that has read nothing.
    pub fn new(process: u32, pairing: Pairing, bug: Option<Bug>, fronts: usize) -> Self {
        let (exchanges, aliases) = Default::default();
        let (shipped, heartbeats) = (vec![i64::MIN; fronts], Vec::new());
        let (dead, paused, read) = (false, false, (0, 0));
        Self { process, pairing, bug, read, exchanges, aliases, shipped, heartbeats, dead, paused }
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn deduplicates(&self) -> bool {
        self.pairing != Pairing::ToPlainLegacy
    }

    /// All exchanges.
    pub fn exchanges(&self) -> impl Iterator<Item = (Number, &Exchange)> {
        self.exchanges.iter().map(|(number, exchange)| (*number, exchange))
    }

    /// The id at the authority of a transaction known by either id.
    pub fn at_authority(&self, id: Id) -> Option<Id> {
        let authority = if self.pairing == Pairing::ToEngine { System::Legacy } else { System::Engine };
        if id.maker == authority {
            return Some(id);
        }
        self.aliases.iter().find(|(_, shadow)| **shadow == id).map(|(own, _)| *own)
    }

    fn at_shadow(&self, id: Id) -> Option<Id> {
        let own = self.at_authority(id)?;
        if self.has(Bug::AliasOfTheAuthority) { Some(own) } else { self.aliases.get(&own).copied() }
    }

    /// A front has shipped everything it wrote before `at`, when the topic's end was `end`.
    pub fn heartbeat(&mut self, front: usize, at: i64, end: usize) {
        self.heartbeats.push((front, at, end));
        self.count_heartbeats();
    }

    fn count_heartbeats(&mut self) {
        let (read, shipped) = (self.read.0, &mut self.shipped);
        self.heartbeats.retain(|&(front, at, end)| {
            if end <= read {
                shipped[front] = shipped[front].max(at);
            }
            end > read
        });
    }

    /// "until every connected front has shipped past".
    pub(super) fn all_shipped_past(&self, point: i64) -> bool {
        self.shipped.iter().all(|at| *at > point)
    }

    /// Everything that could be done now.
    pub fn todo(&self, topics: &Topics, now: i64) -> Vec<Todo> {
        let mut todo = Vec::new();
        if self.read.0 < topics.exchanges.len() {
            todo.push(Todo::ReadExchange);
        }
        match topics.shadows.get(self.read.1) {
            Some(next) if self.may_follow(&next.body) => todo.push(Todo::ReadShadow),
            _ => {}
        }
        // A record that does not extend what it has read is none.
        let at_the_end = self.read.1 == topics.shadows.len();
        for (number, exchange) in &self.exchanges {
            self.todo_for(*number, exchange, now, &mut |next| {
                if at_the_end || !matches!(next, Todo::Append(_)) {
                    todo.push(next);
                }
            });
        }
        todo
    }

    /// Whether everything is read that a record of `cutover.shadows` follows from.
    fn may_follow(&self, body: &ShadowBody) -> bool {
        let Some(exchange) = self.exchanges.get(&body.number()) else { return false };
        match body {
            ShadowBody::Asking { .. } | ShadowBody::Resolved { .. } => true,
            _ => exchange.decided.is_some(),
        }
    }

    fn todo_for(&self, number: Number, exchange: &Exchange, now: i64, add: &mut impl FnMut(Todo)) {
        let key = exchange.intent.key;
        match &exchange.phase {
            Phase::Unknown(inquiry) => match inquiry.found {
                Some(answer) => add(Todo::Append(ShadowBody::Resolved { number, answer })),
                None if !inquiry.begun => add(Todo::Append(ShadowBody::Asking { number })),
                None if now >= inquiry.not_before => add(Todo::Ask(number, key)),
                None => {}
            },
            Phase::Skip(behind) => {
                if behind.is_none_or(|first| self.is_announced(first)) {
                    add(Todo::Append(ShadowBody::Skipped { number }));
                }
            }
            Phase::Leg(leg) => self.todo_for_leg(number, exchange, leg, now, add),
            Phase::Open | Phase::Waits | Phase::Done(_) | Phase::Person => {}
        }
    }

    fn todo_for_leg(&self, number: Number, exchange: &Exchange, leg: &Leg, now: i64, add: &mut impl FnMut(Todo)) {
        let &Leg { mode, attempt, step, .. } = leg;
        let send = |attempt| Todo::Send(number, self.request(exchange, mode, attempt));
        match step {
            Step::Waiting if self.may_start(number, exchange) => {
                if self.has(Bug::SendingNotRecorded) {
                    add(send(attempt + 1));
                } else {
                    add(Todo::Append(ShadowBody::Sending { number, mode, attempt: attempt + 1 }));
                }
            }
            Step::Sent { announced: false } => add(Todo::Append(ShadowBody::Sending { number, mode, attempt })),
            Step::Due => add(send(attempt)),
            Step::Pausing(until) if now >= until => add(send(attempt)),
            Step::InDoubt { not_before, .. } if now >= not_before => add(Todo::AskShadow(number, exchange.intent.key)),
            Step::Answered(answer) => {
                let last = answer.refused.is_none() || !self.is_offered_again(mode);
                add(Todo::Append(ShadowBody::Result { number, answer, last }));
            }
            Step::Lost => add(Todo::Append(ShadowBody::Person { number })),
            Step::Parked if self.nothing_explains(number, exchange, leg, now) => add(Todo::Settle(number)),
            _ => {}
        }
    }

    /// "a leg that the engine refuses for a reason of state … is offered again".
    fn is_offered_again(&self, mode: Mode) -> bool {
        self.pairing == Pairing::ToEngine && mode == Mode::Shadow
    }

    /// "… until every connected front has shipped past its completion + 1 s", and nothing under way could explain it.
    fn nothing_explains(&self, number: Number, exchange: &Exchange, leg: &Leg, now: i64) -> bool {
        let Some((first_at, _)) = leg.refusal else { return false };
        let until = first_at + REOFFER_MS;
        let past = match self.has(Bug::ForcedEarly) {
            true => self.shipped.iter().any(|at| *at > until),
            false => self.all_shipped_past(until),
        };
        let by_the_log = self.has(Bug::ExplainedByLogTime);
        let began_by = |other: &Exchange| if by_the_log { other.began_at } else { other.written } <= until;
        let shares = |other: &Exchange| exchange.limited().any(|account| other.accounts.contains(account));
        // Whoever waits for its original waits for one that is forced in the end, too.
        let cannot_be_forced = |leg: &Leg| leg.refusal.is_some_and(|(_, why)| why == Refusal::OriginalNotFound);
        let waits_for_parked = cannot_be_forced(leg) && !self.has(Bug::GivenUpBesideParked);
        let will_be_forced = |other: &Exchange| matches!(&other.phase, Phase::Leg(leg) if leg.step == Step::Parked && !cannot_be_forced(leg));
        let explains = |(id, other): (&Number, &Exchange)| {
            let under_way = other.decided.is_none() || other.in_lanes() || waits_for_parked && will_be_forced(other);
            *id != number && began_by(other) && shares(other) && under_way
        };
        now > until && past && !self.exchanges.iter().any(explains)
    }

    fn request(&self, exchange: &Exchange, mode: Mode, attempt: u32) -> Request {
        let operation = match exchange.intent.operation {
            Operation::Refund(id) => Operation::Refund(match self.pairing {
                // "every engine call accepts either".
                Pairing::ToEngine => id,
                // "A leg to a legacy has ids rewritten".
                Pairing::ToLegacy | Pairing::ToPlainLegacy => self.at_shadow(id).unwrap_or(id),
            }),
            other => other,
        };
        let alias = exchange.decided.and_then(|decided| decided.answer).and_then(|answer| answer.id);
        Request { key: exchange.intent.key, operation, mode, alias, attempt }
    }

    /// Reads the next record of `cutover.exchanges`.
    pub fn read_exchange(&mut self, topics: &Topics) {
        let offset = self.read.0;
        let Some(Stored { at, written, body, .. }) = topics.exchanges.get(offset) else { return };
        self.read.0 += 1;
        match body {
            ExchangeBody::Intent(number, intent) => {
                let exchange = Exchange {
                    accounts: intent.accounts.iter().copied().collect(),
                    intent: intent.clone(),
                    began: offset,
                    began_at: *at,
                    written: *written,
                    unknown_at: *at,
                    decided: None,
                    phase: Phase::Open,
                };
                self.exchanges.insert(*number, exchange);
            }
            ExchangeBody::Result(number, None) => self.become_unknown(*number, *at),
            ExchangeBody::Result(number, Some(answer)) => self.decide(*number, *at, (0, offset), Some(*answer), false),
            ExchangeBody::Ended { front } => {
                let open: Vec<Number> = self.exchanges.keys().copied().filter(|id| id.front == *front).collect();
                open.into_iter().for_each(|number| self.become_unknown(number, *at));
            }
        }
        self.count_heartbeats();
    }

    fn become_unknown(&mut self, number: Number, at: i64) {
        let counts_from_intent = self.has(Bug::AbsentFromIntent);
        let is_absent = self.has(Bug::UnknownIsAbsent);
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        if matches!(exchange.phase, Phase::Open) {
            exchange.unknown_at = if counts_from_intent { exchange.began_at } else { at };
            exchange.phase = Phase::Unknown(Inquiry { found: is_absent.then_some(None), ..Inquiry::default() });
        }
    }

    /// It is known what the authority did.
    fn decide(&mut self, number: Number, at: i64, stands: (u8, usize), answer: Option<Answer>, resolved: bool) {
        let place = Place::of(self, number, at, stands, answer);
        let Some(exchange) = self.exchanges.get_mut(&number).filter(|exchange| exchange.decided.is_none()) else {
            return;
        };
        exchange.decided = Some(Decided { at, place, offset: stands.1, answer, resolved });
        self.rule(number);
    }

    /// Reads the next record of `cutover.shadows`.
    pub fn read_shadow(&mut self, topics: &Topics) {
        let offset = self.read.1;
        let Some(Stored { at, by, body, .. }) = topics.shadows.get(offset) else { return };
        self.read.1 += 1;
        match *body {
            ShadowBody::Sending { number, mode, attempt } => self.sending(number, mode, attempt, *at, *by),
            ShadowBody::Result { number, answer, last } => self.result(number, answer, last, *at),
            ShadowBody::Skipped { number } => self.set_phase(number, Phase::Done(None)),
            ShadowBody::Person { number } => self.set_phase(number, Phase::Person),
            ShadowBody::Asking { number } => {
                self.become_unknown(number, *at);
                if let Some(Phase::Unknown(inquiry)) = self.phase_mut(number) {
                    inquiry.begun = true;
                }
            }
            ShadowBody::Resolved { number, answer } => self.decide(number, *at, (1, offset), answer, true),
        }
    }

    pub(super) fn phase_mut(&mut self, number: Number) -> Option<&mut Phase> {
        self.exchanges.get_mut(&number).map(|exchange| &mut exchange.phase)
    }

    pub(super) fn set_phase(&mut self, number: Number, phase: Phase) {
        if let Some(exchange) = self.exchanges.get_mut(&number) {
            exchange.phase = phase;
        }
    }

    pub(super) fn leg_mut(&mut self, number: Number) -> Option<&mut Leg> {
        match self.phase_mut(number) {
            Some(Phase::Leg(leg)) => Some(leg),
            _ => None,
        }
    }

    fn sending(&mut self, number: Number, mode: Mode, attempt: u32, at: i64, by: u32) {
        // The record stands, whatever would be decided now.
        if self.leg_mut(number).is_none() {
            self.overrule(number, mode);
        }
        let again = self.deduplicates() || self.has(Bug::BegunSentAgain);
        let (mine, unrecorded) = (by == self.process, self.has(Bug::SendingNotRecorded));
        let Some(leg) = self.leg_mut(number) else { return };
        let step = match leg.step {
            _ if mine && !unrecorded => Step::Due,
            Step::Sent { .. } => Step::Sent { announced: true },
            Step::Answered(answer) => Step::Answered(answer),
            // Somebody else has begun it.
            _ if again => Step::Due,
            _ => Step::InDoubt { absent: 0, not_before: at + FRESH_MS + LONGEST_MS },
        };
        (leg.mode, leg.attempt, leg.sending_at, leg.step) = (mode, attempt, at, step);
    }

    fn result(&mut self, number: Number, answer: Answer, last: bool, at: i64) {
        if !last {
            if let (Some(leg), Some(refusal)) = (self.leg_mut(number), answer.refused) {
                leg.refusal = Some((leg.refusal.map_or(at, |(first_at, _)| first_at), refusal));
                (leg.step, leg.mode) = (Step::Parked, Mode::Shadow);
            }
            return;
        }
        let Some(exchange) = self.exchanges.get(&number) else { return };
        let own = exchange.decided.and_then(|decided| decided.answer).and_then(|answer| answer.id);
        let limited: Vec<Account> = exchange.limited().copied().collect();
        if let (Some(own), Some(shadow)) = (own, answer.id) {
            self.aliases.insert(own, shadow);
        }
        self.set_phase(number, Phase::Done(Some(answer)));
        if answer.refused.is_none() {
            // "offered again after each later applied leg of its accounts".
            for other in self.exchanges.values_mut() {
                let shares = limited.iter().any(|account| other.accounts.contains(account));
                if let Phase::Leg(leg) = &mut other.phase
                    && shares
                    && leg.step == Step::Parked
                {
                    leg.step = Step::Waiting;
                }
            }
        }
    }

    /// A record of this process is in the topic.
    pub fn appended(&mut self, body: &ShadowBody) {
        if let ShadowBody::Sending { number, .. } = body
            && let Some(leg) = self.leg_mut(*number)
            && leg.step == Step::Waiting
        {
            leg.step = Step::Announced;
        }
    }

    /// The first byte of a leg is sent; not if that would be too late to be sure that nobody else has given it up.
    pub fn send(&mut self, number: Number, now: i64) -> bool {
        let fenced = !self.deduplicates() && !self.has(Bug::SentLongAfter) && !self.has(Bug::SendingNotRecorded);
        let Some(leg) = self.leg_mut(number) else { return false };
        if fenced && now > leg.sending_at + FRESH_MS {
            // It is announced once more; if somebody else has taken over meanwhile, that record is none.
            leg.step = Step::Waiting;
            return false;
        }
        let unannounced = leg.step == Step::Waiting;
        leg.attempt += u32::from(unannounced);
        leg.step = Step::Sent { announced: !unannounced };
        true
    }

    /// What came back from a leg; `None` when nothing did. Answers whether that was taken notice of: not before the leg is
    /// announced.
    pub fn answered(&mut self, number: Number, attempt: u32, answer: Option<Answer>, now: i64) -> bool {
        let again = self.deduplicates() || self.has(Bug::BegunSentAgain);
        let Some(leg) = self.leg_mut(number).filter(|leg| leg.attempt == attempt) else { return true };
        match leg.step {
            Step::Sent { announced: true } => {}
            Step::Sent { announced: false } => return false,
            _ => return true,
        }
        leg.step = match answer {
            Some(answer) => Step::Answered(answer),
            None if again => Step::Pausing(now + AGAIN_MS),
            None => Step::InDoubt { absent: 0, not_before: now + LONGEST_MS },
        };
        true
    }

    /// No byte was sent: "nothing happened there".
    pub fn not_sent(&mut self, number: Number, attempt: u32, now: i64) {
        let deduplicates = self.deduplicates();
        if let Some(leg) = self.leg_mut(number).filter(|leg| leg.attempt == attempt)
            && let Step::Sent { announced } = leg.step
        {
            leg.step = if deduplicates && announced { Step::Pausing(now + AGAIN_MS) } else { Step::Waiting };
        }
    }

    /// What the authority has under the key of an unknown exchange.
    pub fn found(&mut self, number: Number, answer: Option<Answer>, now: i64) {
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        let counts_from = exchange.unknown_at + LONGEST_MS;
        let Phase::Unknown(inquiry) = &mut exchange.phase else { return };
        match answer {
            Some(answer) => inquiry.found = Some(Some(answer)),
            None if now < counts_from => inquiry.not_before = counts_from,
            None => {
                inquiry.absent += 1;
                inquiry.not_before = now + AGAIN_MS;
                inquiry.found = (inquiry.absent >= ABSENT_TIMES).then_some(None);
            }
        }
    }

    /// The authority could not be asked.
    pub fn not_found_out(&mut self, number: Number, now: i64) {
        if let Some(Phase::Unknown(inquiry)) = self.phase_mut(number) {
            (inquiry.absent, inquiry.not_before) = (0, now + REOFFER_MS);
        }
    }

    /// What a shadow that does not deduplicate has under the key of a leg that was begun.
    pub fn looked(&mut self, number: Number, answer: Option<Answer>, now: i64) {
        let Some(leg) = self.leg_mut(number) else { return };
        let Step::InDoubt { absent, .. } = leg.step else { return };
        leg.step = match answer {
            Some(answer) => Step::Answered(answer),
            None if absent + 1 < ABSENT_TIMES => Step::InDoubt { absent: absent + 1, not_before: now + AGAIN_MS },
            None => Step::Lost,
        };
    }

    /// "then it is booked `forced` … 'Not found' cannot be forced".
    pub fn settle(&mut self, number: Number) {
        let Some(leg) = self.leg_mut(number) else { return };
        let Some((_, refusal)) = leg.refusal else { return };
        if refusal == Refusal::OriginalNotFound {
            leg.mode = Mode::Forced;
            leg.step = Step::Answered(Answer { refused: Some(refusal), id: None, replayed: false });
        } else {
            (leg.mode, leg.step) = (Mode::Forced, Step::Waiting);
        }
    }
}
