//! Clients, fronts, calls under way, faults, time.

use super::audit::{self, Seen, Violation};
use super::delivery::Relay;
use super::exchanges::{LONGEST_MS, Phase, Request};
use super::ledger::{Account, Answer, BANK, Id, Key, Ledger, Mode, Operation, System, USERS};
use super::records::{ExchangeBody, Intent, Number, Stored, Topics};
use super::{Bug, Pairing, Run};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Things that happen before the world comes to rest.
const STEPS: u32 = 400;
/// Things that happen at most until it rests.
const REST: u32 = 20_000;
/// Exchanges that run at one time.
const RUNNING: usize = 6;
/// Two fronts, with their clocks' errors in milliseconds: "across fronts also within 1 s of clock error".
pub(super) const FRONTS: [i64; 2] = [-400, 400];
/// The highest balance of every second user.
const HIGHEST: i64 = 60;

/// A record of a journal that is not shipped.
type Written = (i64, ExchangeBody);

/// A request at the authority.
#[derive(Debug, Clone)]
pub(super) struct Running {
    number: Number,
    intent: Intent,
    /// When its first byte goes out at the soonest: a connection may have to be made.
    send_from: i64,
    /// When its first byte went out.
    sent_at: Option<i64>,
    /// How long it takes there at least, and how long its answer does after that.
    takes: i64,
    answer_takes: i64,
    answer: Option<Answer>,
    /// It will never arrive.
    lost: bool,
    /// Its front has given up waiting, or died.
    left: bool,
}

/// A leg at the shadow.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) process: u32,
    pub(super) number: Number,
    pub(super) request: Request,
    pub(super) sent_at: i64,
    pub(super) answer: Option<Answer>,
    pub(super) lost: bool,
    pub(super) left: bool,
}

/// Everything.
pub struct World {
    pub(super) dice: Rng,
    pub(super) pairing: Pairing,
    pub(super) bug: Option<Bug>,
    pub(super) now: i64,
    pub(super) authority: Ledger,
    pub(super) shadow: Ledger,
    pub(super) topics: Topics,
    pub(super) journals: [Vec<Written>; 2],
    /// Nothing of a front's journal is shipped until then.
    pub(super) stalled: [i64; 2],
    pub(super) sequences: [u32; 2],
    pub(super) running: Vec<Running>,
    pub(super) calls: Vec<Call>,
    pub(super) relays: Vec<Relay>,
    pub(super) processes: u32,
    /// Requests so far.
    pub(super) requests: Vec<(Key, Operation)>,
    pub(super) accounts_of: BTreeMap<Number, BTreeSet<Account>>,
    /// What reached the authority's accounts past the fronts.
    pub(super) bypassed: BTreeMap<Account, i64>,
    pub(super) first_bytes: BTreeMap<Number, u32>,
    pub(super) seen: Seen,
    pub(super) story: Vec<String>,
}

impl World {
    /// A world before anything has happened.
    pub fn new(seed: u64, pairing: Pairing, bug: Option<Bug>) -> Self {
        let mut accounts: BTreeMap<Account, (i64, i64)> =
            (1..=USERS).map(|user| (user, (20, if user % 2 == 1 { HIGHEST } else { i64::MAX / 2 }))).collect();
        accounts.insert(BANK, (-20 * i64::from(USERS), i64::MAX / 2));
        let (decides, follows) = match pairing {
            Pairing::ToEngine => (System::Legacy, System::Engine),
            Pairing::ToLegacy | Pairing::ToPlainLegacy => (System::Engine, System::Legacy),
        };
        let deduplicates = pairing != Pairing::ToPlainLegacy;
        Self {
            dice: Rng::with_seed(seed),
            pairing,
            bug,
            now: 0,
            authority: Ledger::new(decides, true, &accounts),
            shadow: Ledger::new(follows, deduplicates, &accounts),
            topics: Topics::default(),
            journals: Default::default(),
            stalled: [0; 2],
            sequences: [0; 2],
            running: Vec::new(),
            calls: Vec::new(),
            relays: vec![Relay::new(0, pairing, bug, FRONTS.len())],
            processes: 1,
            requests: Vec::new(),
            accounts_of: BTreeMap::new(),
            bypassed: BTreeMap::new(),
            first_bytes: BTreeMap::new(),
            seen: Seen::default(),
            story: Vec::new(),
        }
    }

    /// From the beginning until it rests.
    pub fn run(mut self) -> Run {
        let violation = self.live().err();
        Run { violation, story: self.story, seen: self.seen }
    }

    fn live(&mut self) -> Result<(), Violation> {
        for _ in 0..STEPS {
            self.step()?;
        }
        self.come_to_rest()?;
        audit::at_rest(&self.authority, &self.shadow, &self.topics, &self.accounts_of, &self.bypassed)
    }

    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        self.story.push(format!("{now:6} {}", line()));
    }

    fn step(&mut self) -> Result<(), Violation> {
        match self.dice.u32(0..100) {
            0..14 => self.client(),
            14..22 => self.send_to_authority(),
            22..32 => self.execute_at_authority(),
            32..42 => self.end_at_authority(),
            42..52 => self.ship(),
            52..76 => self.relay(false)?,
            76..88 => self.shadow()?,
            88..92 => self.heartbeats(),
            92..96 => self.now += self.dice.i64(0..700),
            96 => match self.dice.u32(0..3) {
                0 => self.restart_front(),
                1 => self.bypass(),
                _ => {}
            },
            97 => self.restart_relay(),
            98 => self.pause_or_resume()?,
            _ => self.stalled[self.dice.usize(0..2)] = self.now + self.dice.i64(0..4_000),
        }
        self.now += self.dice.i64(0..8);
        self.lose_what_is_too_late();
        Ok(())
    }

    // Clients, fronts, the authority.

    fn client(&mut self) {
        if self.running.iter().filter(|running| !running.left).count() >= RUNNING {
            return;
        }
        let again = !self.requests.is_empty() && self.dice.u32(0..100) < 18;
        let (key, operation) = match again {
            true => self.requests[self.dice.usize(0..self.requests.len())],
            false => (self.requests.len() as Key, self.operation()),
        };
        if !again {
            self.requests.push((key, operation));
        }
        let accounts: Vec<Account> = match operation {
            Operation::Move { from, to, .. } => vec![from, to],
            // "the relay, then only the maker of the id": an id without alias waits, then 503.
            Operation::Refund(id) => match self.known_to_authority(id).and_then(|id| self.authority.accounts_of(id)) {
                Some((from, to)) => vec![from, to],
                None => return,
            },
        };
        let front = self.dice.usize(0..FRONTS.len());
        self.sequences[front] += 1;
        let number = Number { front, sequence: self.sequences[front] };
        self.accounts_of.insert(number, accounts.iter().copied().collect());
        let intent = Intent { key, operation, accounts };
        self.seen.exchanges += 1;
        self.tell(|| format!("client: {number:?} {intent:?}"));
        self.write(front, ExchangeBody::Intent(number, intent.clone()));
        let send_from = self.now + self.sometimes(12, LONGEST_MS);
        let takes = self.sometimes(12, LONGEST_MS);
        let answer_takes = self.sometimes(12, 2 * LONGEST_MS);
        let (sent_at, answer, lost, left) = (None, None, false, false);
        self.running.push(Running { number, intent, send_from, sent_at, takes, answer_takes, answer, lost, left });
    }

    /// Up to so much, in so many of a hundred cases.
    fn sometimes(&mut self, percent: u32, most: i64) -> i64 {
        if self.dice.u32(0..100) < percent { self.dice.i64(0..most) } else { 0 }
    }

    fn operation(&mut self) -> Operation {
        let user = |dice: &mut Rng| dice.u8(1..=USERS);
        let amount = self.dice.i64(1..30);
        let (one, other) = (user(&mut self.dice), user(&mut self.dice));
        match self.dice.u32(0..100) {
            0..25 => Operation::Move { from: BANK, to: one, amount },
            25..45 => Operation::Move { from: one, to: BANK, amount },
            45..80 if one != other => Operation::Move { from: one, to: other, amount },
            _ => match self.some_transaction() {
                Some(id) => Operation::Refund(id),
                None => Operation::Move { from: BANK, to: one, amount },
            },
        }
    }

    /// A transaction by the id that either system gave it.
    fn some_transaction(&mut self) -> Option<Id> {
        let ledger = if self.dice.bool() { &self.authority } else { &self.shadow };
        let keys: Vec<Key> = ledger.applied.keys().copied().collect();
        let key = *keys.get(self.dice.usize(0..keys.len().max(1)))?;
        ledger.known(key)?.id
    }

    /// The id at the authority, if the relay knows it.
    fn known_to_authority(&self, id: Id) -> Option<Id> {
        self.relays.last()?.at_authority(id)
    }

    /// Somebody writes past the fronts: what is spent of that has to be forced at the engine. A legacy would refuse it for
    /// good, which says nothing about the relay.
    fn bypass(&mut self) {
        if self.pairing == Pairing::ToEngine {
            let (to, amount) = (self.dice.u8(1..=USERS), self.dice.i64(1..20));
            self.tell(|| format!("past the fronts: {amount} to {to}"));
            self.authority.bypass(to, amount);
            *self.bypassed.entry(to).or_default() += amount;
            *self.bypassed.entry(BANK).or_default() -= amount;
        }
    }

    fn clock(&self, front: usize) -> i64 {
        self.now + FRONTS[front]
    }

    fn write(&mut self, front: usize, body: ExchangeBody) {
        let at = self.clock(front);
        self.journals[front].push((at, body));
    }

    fn pick_running(&mut self, wanted: impl Fn(&Running) -> bool) -> Option<usize> {
        let found: Vec<usize> = (0..self.running.len()).filter(|index| wanted(&self.running[*index])).collect();
        (!found.is_empty()).then(|| found[self.dice.usize(0..found.len())])
    }

    fn send_to_authority(&mut self) {
        let now = self.now;
        let wanted = |running: &Running| running.sent_at.is_none() && !running.left && running.send_from <= now;
        let Some(index) = self.pick_running(wanted) else { return };
        self.running[index].sent_at = Some(self.now);
        self.running[index].lost = self.dice.u32(0..100) < 4;
    }

    fn execute_at_authority(&mut self) {
        let now = self.now;
        let is_due = |running: &Running| running.sent_at.is_some_and(|at| at + running.takes <= now);
        let wanted = |running: &Running| is_due(running) && running.answer.is_none() && !running.lost;
        let Some(index) = self.pick_running(wanted) else { return };
        let Running { number, intent, .. } = self.running[index].clone();
        let operation = match intent.operation {
            Operation::Refund(id) => Operation::Refund(self.known_to_authority(id).unwrap_or(id)),
            other => other,
        };
        let answer = self.authority.execute(intent.key, operation, Mode::Authority, None);
        self.seen.refused += u32::from(answer.refused.is_some());
        self.tell(|| format!("authority: {number:?} {answer:?}"));
        self.running[index].answer = Some(answer);
        if self.running[index].left {
            self.running.swap_remove(index);
        }
    }

    /// The front has an answer, or gives up.
    fn end_at_authority(&mut self) {
        let Some(index) = self.pick_running(|running| running.sent_at.is_some() && !running.left) else { return };
        let gives_up = self.dice.u32(0..100) < 6;
        let Running { number, sent_at, takes, answer_takes, mut answer, .. } = self.running[index].clone();
        answer = answer.filter(|_| sent_at.is_some_and(|at| at + takes + answer_takes <= self.now));
        if gives_up || self.running[index].lost {
            self.seen.unknown += 1;
            self.tell(|| format!("front: {number:?} has no answer"));
            self.write(number.front, ExchangeBody::Result(number, None));
            self.running[index].left = true;
            self.forget_what_is_over();
        } else if answer.is_some() {
            self.write(number.front, ExchangeBody::Result(number, answer));
            self.running.swap_remove(index);
        }
    }

    fn forget_what_is_over(&mut self) {
        self.running.retain(|running| {
            !(running.left && (running.lost || running.answer.is_some() || running.sent_at.is_none()))
        });
    }

    fn ship(&mut self) {
        let front = self.dice.usize(0..FRONTS.len());
        if self.now < self.stalled[front] {
            return;
        }
        let count = self.dice.usize(0..=self.journals[front].len().min(5));
        for (written, body) in self.journals[front].drain(..count) {
            self.topics.exchanges.push(Stored { at: self.now, written, by: front as u32, body });
        }
    }

    fn heartbeats(&mut self) {
        for front in 0..FRONTS.len() {
            let at = self.journals[front].first().map_or(self.clock(front), |(written, _)| *written);
            let end = self.topics.exchanges.len();
            self.relays.iter_mut().filter(|relay| !relay.paused).for_each(|relay| relay.heartbeat(front, at, end));
        }
    }

    fn restart_front(&mut self) {
        let front = self.dice.usize(0..FRONTS.len());
        self.tell(|| format!("front {front} dies"));
        for running in self.running.iter_mut().filter(|running| running.number.front == front && !running.left) {
            running.left = true;
            self.seen.unknown += 1;
        }
        self.forget_what_is_over();
        self.write(front, ExchangeBody::Ended { front });
    }

    /// Nothing runs for longer than it may.
    pub(super) fn lose_what_is_too_late(&mut self) {
        let too_late = self.now - LONGEST_MS;
        for running in &mut self.running {
            running.lost |= running.answer.is_none() && running.sent_at.is_some_and(|at| at < too_late);
        }
        for call in &mut self.calls {
            call.lost |= call.answer.is_none() && call.sent_at < too_late;
        }
        self.forget_what_is_over();
    }

    // The end.

    fn come_to_rest(&mut self) -> Result<(), Violation> {
        if self.relays.len() > 1 {
            self.pause_or_resume()?;
        }
        for _ in 0..REST {
            self.send_to_authority();
            self.execute_at_authority();
            self.end_at_authority();
            self.ship();
            self.heartbeats();
            self.relay(true)?;
            self.shadow()?;
            self.now += 5;
            self.lose_what_is_too_late();
            if self.rests() {
                return Ok(());
            }
        }
        let concluded = |phase: &Phase| matches!(phase, Phase::Done(_) | Phase::Person);
        let open = self.relays[0].exchanges().filter(|(_, exchange)| !concluded(&exchange.phase));
        let lines: Vec<String> = open.map(|(number, exchange)| format!("open: {number:?} {exchange:?}")).collect();
        let open = lines.len();
        self.story.extend(lines);
        Err(Violation::NeverRests { open })
    }

    fn rests(&self) -> bool {
        let concluded = |phase: &Phase| matches!(phase, Phase::Done(_) | Phase::Person);
        let relay = &self.relays[0];
        self.running.is_empty()
            && self.calls.is_empty()
            && self.journals.iter().all(Vec::is_empty)
            && relay.read == (self.topics.exchanges.len(), self.topics.shadows.len())
            && relay.exchanges().all(|(_, exchange)| concluded(&exchange.phase))
    }
}
