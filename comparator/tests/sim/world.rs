//! The world: two ledgers, fronts, a relay, a log, and the index that is fed from it; one event after the other in
//! virtual time, all of it from one seed.

use super::ledger::{Fault, Ledger, Reply, Request};
use super::relay::{Leg, Relay, State};
use comparator::index::Index;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use wire::decision::{DecisionBody, DecisionRecord};
use wire::exchange::{ExchangeBody, ExchangeRecord};
use wire::ids::ExchangeNumber;
use wire::rollout::{Rollout, RolloutBody, RolloutRecord, Setting};
use wire::scalar::{Digest, Percent, Timestamp};
use wire::shadow::{ShadowBody, ShadowRecord};
use wire::stored::encode;
use wire::words::{Class, Operation, Stage, System};

/// What a run is like.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub requests: usize,
    pub users: usize,
    pub clients: usize,
    pub percent: u16,
    pub fault: Option<(Fault, f64)>,
    /// How often an answer is lost on its way.
    pub lost_answers: f64,
    pub refusal_keeps_key: bool,
    /// Records that are written twice.
    pub duplicates: bool,
    pub fronts: usize,
    pub keep: usize,
}

impl Options {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            requests: 250,
            users: 8,
            clients: 8,
            percent: 0,
            fault: None,
            lost_answers: 0.0,
            refusal_keeps_key: true,
            duplicates: false,
            fronts: 1,
            keep: 100_000,
        }
    }
}

/// A request on its way through the front.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub number: ExchangeNumber,
    pub front: usize,
    pub key: String,
    pub operation: Operation,
    /// As the authority is asked.
    pub request: Request,
    pub deciding: String,
    pub accounts: Vec<String>,
    pub authority: System,
    /// The exchange that made the transaction it refers to.
    pub original: Option<usize>,
    pub original_id: Option<String>,
    pub client: Option<usize>,
    /// Where the engine decided it.
    pub position: Option<u64>,
    pub intent_offset: Option<u64>,
    pub outcome: Option<Outcome>,
    /// Where its result stands.
    pub result_offset: u64,
    pub result_at: i64,
}

/// What the authority did.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub class: Class,
    pub status: u16,
    pub body: Vec<u8>,
    pub replayed: bool,
}

#[derive(Debug, Clone)]
pub enum Event {
    Client(usize),
    Executes(usize),
    Answers(usize, Option<Reply>),
    Ships(usize),
    LegArrives(usize),
    LegAnswers(usize, Option<Reply>),
    Resolves(usize),
    Pump,
    Reads(usize),
    Marks(usize),
}

pub struct Front {
    pub name: String,
    pub sequence: u64,
    pub journal: VecDeque<ExchangeRecord>,
    pub shipped: i64,
    /// How wrong its clock is.
    pub skew: i64,
}

/// A record as the log has it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub topic: &'static str,
    pub offset: u64,
    pub time: i64,
    pub bytes: Vec<u8>,
}

pub struct World {
    pub options: Options,
    pub random: fastrand::Rng,
    pub now: i64,
    heap: BinaryHeap<Reverse<(i64, u64)>>,
    events: BTreeMap<u64, Event>,
    scheduled: u64,
    pub legacy: Ledger,
    pub engine: Ledger,
    pub rollout: Rollout,
    pub log: Vec<Entry>,
    offsets: BTreeMap<&'static str, u64>,
    shadows: Digest,
    pub index: Index,
    pub exchanges: Vec<Exchange>,
    pub numbers: BTreeMap<ExchangeNumber, usize>,
    pub fronts: Vec<Front>,
    pub relay: Relay,
    pub unready: Vec<usize>,
    pub asking: BTreeSet<usize>,
    /// Where the engine decided, by deciding account and key.
    pub positions: BTreeMap<(String, String), u64>,
    pub aliases: BTreeMap<String, String>,
    pub inquiries: Vec<super::shell::Asked>,
    pub issued: usize,
}

/// A point in time to begin at.
const BEGIN: i64 = 1_700_000_000_000_000;

impl World {
    pub fn new(options: Options) -> Self {
        let mut random = fastrand::Rng::with_seed(options.seed);
        let fronts = (0..options.fronts).map(|index| Front {
            name: format!("front-{index}"),
            sequence: 0,
            journal: VecDeque::new(),
            shipped: BEGIN,
            skew: if index == 0 { 0 } else { random.i64(-400_000..400_000) },
        });
        let fronts = fronts.collect();
        let keeps = options.refusal_keeps_key;
        let mut world = Self {
            legacy: Ledger::new(System::Legacy, keeps),
            engine: Ledger::new(System::Engine, keeps),
            index: Index::new("sim").keep_exchanges(options.keep),
            random,
            now: BEGIN,
            heap: BinaryHeap::new(),
            events: BTreeMap::new(),
            scheduled: 0,
            rollout: Rollout::genesis("sim"),
            log: Vec::new(),
            offsets: BTreeMap::new(),
            shadows: wire::chain::genesis("sim", wire::shadow::TOPIC),
            exchanges: Vec::new(),
            numbers: BTreeMap::new(),
            fronts,
            relay: Relay::default(),
            unready: Vec::new(),
            asking: BTreeSet::new(),
            positions: BTreeMap::new(),
            aliases: BTreeMap::new(),
            inquiries: Vec::new(),
            issued: 0,
            options,
        };
        world.turn(world.options.percent);
        world
    }

    /// Turns the dial, in one step: nothing may be under way.
    pub fn turn(&mut self, percent: u16) {
        let stage = match percent {
            0 => Stage::Shadow,
            100 => Stage::Engine,
            _ => Stage::Ramp,
        };
        let record = RolloutRecord {
            parent: self.rollout.head,
            at: Timestamp(self.now),
            actor: "sim".into(),
            reason: "sim".into(),
            body: RolloutBody::Moved {
                version: self.rollout.last_version + 1,
                to: Setting { stage, percent: Percent::whole(percent) },
                forced: false,
                evidence: Vec::new(),
            },
        };
        let bytes = encode(&record);
        self.rollout.take(&bytes).unwrap();
        self.append(wire::rollout::TOPIC, bytes);
    }

    /// Runs until nothing is left to happen.
    pub fn run(&mut self) {
        while let Some(Reverse((at, number))) = self.heap.pop() {
            self.now = self.now.max(at);
            assert!(self.now < BEGIN + 600_000_000, "the world comes to rest");
            let event = self.events.remove(&number).unwrap();
            self.happen(event);
        }
        assert!(self.relay.is_idle() && self.unready.is_empty() && self.asking.is_empty(), "the relay is done");
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Client(client) => self.client(client),
            Event::Executes(exchange) => self.executes(exchange),
            Event::Answers(exchange, reply) => self.answers(exchange, reply),
            Event::Ships(front) => self.ships(front),
            Event::LegArrives(exchange) => self.leg_arrives(exchange),
            Event::LegAnswers(exchange, reply) => self.leg_answers(exchange, reply),
            Event::Resolves(exchange) => self.resolves(exchange),
            Event::Pump => self.pump(),
            Event::Reads(inquiry) => self.reads(inquiry),
            Event::Marks(inquiry) => self.marks(inquiry),
        }
    }

    /// Lets something happen later: after so many microseconds.
    pub fn later(&mut self, micros: i64, event: Event) {
        self.scheduled += 1;
        self.heap.push(Reverse((self.now + micros, self.scheduled)));
        self.events.insert(self.scheduled, event);
    }

    /// A delay: short as a rule, now and then long.
    pub fn delay(&mut self) -> i64 {
        let longest = if self.random.f64() < 0.02 { 60_000 } else { 3_000 };
        self.random.i64(50..longest)
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.random.f64() < share
    }

    pub fn ledger(&mut self, system: System) -> &mut Ledger {
        match system {
            System::Legacy => &mut self.legacy,
            System::Engine => &mut self.engine,
        }
    }

    /// Appends a record and feeds the index.
    pub fn append(&mut self, topic: &'static str, bytes: Vec<u8>) -> u64 {
        let offset = self.offsets.entry(topic).or_default();
        let entry = Entry {
            topic,
            offset: *offset,
            time: self.now.max(self.log.last().map_or(0, |entry| entry.time + 1)),
            bytes,
        };
        *offset += 1;
        self.index.fold(entry.topic, entry.offset, entry.time, &entry.bytes).unwrap();
        let offset = entry.offset;
        let again = self.options.duplicates && self.random.f64() < 0.05;
        let bytes = again.then(|| entry.bytes.clone());
        self.log.push(entry);
        if let Some(bytes) = bytes {
            let at = self.offsets.entry(topic).or_default();
            let entry = Entry { topic, offset: *at, time: self.log.last().map_or(0, |last| last.time + 1), bytes };
            *at += 1;
            self.index.fold(entry.topic, entry.offset, entry.time, &entry.bytes).unwrap();
            self.log.push(entry);
        }
        self.take_inquiries();
        offset
    }

    pub fn append_shadow(&mut self, body: ShadowBody) {
        let bytes = encode(&ShadowRecord { parent: self.shadows, at: Timestamp(self.now), body });
        self.shadows = Digest::of(&bytes);
        self.append(wire::shadow::TOPIC, bytes);
    }

    pub fn append_decision(&mut self, body: DecisionBody) {
        let record = DecisionRecord {
            parent: self.index.decisions_head(),
            at: Timestamp(self.now),
            actor: "comparator".into(),
            reason: "sim".into(),
            body,
        };
        self.append(wire::decision::TOPIC, encode(&record));
    }

    /// Writes into a front's journal; it is shipped a little later. Gives the number.
    pub fn journal(&mut self, front: usize, body: ExchangeBody) -> u64 {
        let at = self.now;
        let front_state = &mut self.fronts[front];
        front_state.sequence += 1;
        let sequence = front_state.sequence;
        let at = Timestamp(at + front_state.skew);
        let record = ExchangeRecord { front: front_state.name.clone(), boot: 1, sequence, at, body };
        front_state.journal.push_back(record);
        let linger = if self.chance(0.01) { 300_000 } else { self.random.i64(100..8_000) };
        self.later(linger, Event::Ships(front));
        sequence
    }

    fn ships(&mut self, front: usize) {
        while let Some(record) = self.fronts[front].journal.pop_front() {
            let offset = self.append(wire::exchange::TOPIC, encode(&record));
            self.recorded(offset, record);
        }
        self.fronts[front].shipped = self.now;
        self.release();
        self.pump();
    }

    /// The relay reads a record of a front.
    fn recorded(&mut self, offset: u64, record: ExchangeRecord) {
        let Some(exchange) = record.exchange().and_then(|number| self.numbers.get(&number).copied()) else { return };
        match record.body {
            ExchangeBody::Intent(_) => self.exchanges[exchange].intent_offset = Some(offset),
            ExchangeBody::Result(result) => {
                self.exchanges[exchange].result_offset = offset;
                if result.class == Class::Unknown {
                    self.asking.insert(exchange);
                    self.append_shadow(ShadowBody::Asking { exchange: self.exchanges[exchange].number.clone() });
                    let wait = self.random.i64(20_000..200_000);
                    self.later(wait, Event::Resolves(exchange));
                } else {
                    let (class, status, body) = (result.class, result.status, result.body.0);
                    self.concluded(exchange, Outcome { class, status, body, replayed: result.replayed });
                }
            }
            _ => {}
        }
    }

    /// The legs that are under way, for whoever looks.
    pub fn leg(&mut self, exchange: usize) -> &mut Leg {
        let index = self.relay.of(exchange).unwrap();
        &mut self.relay.legs[index]
    }

    pub fn pump(&mut self) {
        let blocked: BTreeSet<String> = self
            .asking
            .iter()
            .flat_map(|exchange| self.exchanges[*exchange].accounts.clone())
            .filter(|account| self.is_limited(account))
            .collect();
        let shipped = self.fronts.iter().map(|front| if front.journal.is_empty() { self.now } else { front.shipped });
        let shipped = shipped.min().unwrap();
        for index in self.relay.ready(&blocked, self.now, shipped) {
            let leg = &self.relay.legs[index];
            let exchange = leg.exchange;
            let sending = ShadowBody::Sending {
                exchange: self.exchanges[exchange].number.clone(),
                system: leg.to,
                mode: leg.mode,
                attempt: leg.attempt,
            };
            self.append_shadow(sending);
            let delay = self.delay();
            self.later(delay, Event::LegArrives(exchange));
        }
        if self.relay.legs.iter().any(|leg| leg.state == State::Waiting) {
            let pending = self.events.values().filter(|event| matches!(event, Event::Pump)).count();
            if pending == 0 {
                self.later(100_000, Event::Pump);
            }
        }
    }

    /// Whether a leg on this account excludes others.
    pub fn is_limited(&self, account: &str) -> bool {
        let known = self.legacy.accounts.get(account).or(self.engine.accounts.get(account));
        known.is_none_or(|account| {
            account.account_type == "USER" || account.min_balance.is_some() || account.max_balance.is_some()
        })
    }
}
