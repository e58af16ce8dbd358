//! A seeded random world: clients, fronts that die, authorities that lose requests, shadows that time out, relays
//! that restart, and the checks that must hold whatever happens.

use super::super::Facts;
use super::super::answer::Answer;
use super::super::resolve::Finding;
use super::given;
use super::story::Story;
use super::world::{Bank, Dice, Reply, Request};
use std::collections::{BTreeMap, BTreeSet};
use wire::exchange::{AuthorityResult, ExchangeBody, Intent};
use wire::scalar::{Body, Timestamp};
use wire::shadow::ShadowBody;
use wire::words::{Class, Mode, Operation, System};

/// Seeds per test; more with `CROSSFADE_SEEDS`.
const SEEDS: u64 = 60;
/// Things that happen before the world comes to rest.
const STEPS: u64 = 500;

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cohort {
    Legacy,
    Engine,
    /// Every second account.
    Mixed,
}

/// An exchange as the front knows it.
#[derive(Debug, Clone)]
struct Running {
    sequence: u64,
    request: Request,
    authority: System,
    /// What the authority said; `None` while it was not executed.
    reply: Option<Reply>,
    /// It will never be executed: the request was lost on its way.
    lost: bool,
}

pub(super) struct World {
    seed: u64,
    dice: Dice,
    cohort: Cohort,
    story: Story,
    banks: BTreeMap<System, Bank>,
    /// Every request made so far.
    requests: Vec<Request>,
    running: Vec<Running>,
    /// Request and authority of every exchange, by number.
    exchanges: BTreeMap<(u64, u64), (Request, System)>,
    /// Up to where the front has said that it shipped.
    shipped: i64,
    checked: usize,
}

/// Says which seed it was when a check fails.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with: CROSSFADE_SEED={} ({:?})", self.seed, self.cohort);
            if std::env::var_os("CROSSFADE_SEED").is_some() {
                eprintln!("{}", self.story.history());
                for (id, exchange) in self.story.delivery.exchanges.iter() {
                    eprintln!("{id:?} {} {:?} {:?}", exchange.number, exchange.accounts, exchange.phase);
                }
            }
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, cohort: Cohort) -> Self {
        let mut dice = Dice(seed);
        let mut accounts: BTreeMap<String, (i64, i64)> = BTreeMap::from([("bank".to_owned(), (0, i64::MAX))]);
        for index in 0..5 {
            // Limits above are decided by both systems when cohorts mix, so only pure worlds have them.
            let highest = if cohort != Cohort::Mixed && index % 2 == 0 { 60 } else { i64::MAX };
            accounts.insert(format!("u{index}"), (20, highest));
        }
        let concurrency = if dice.chance(30) { 2 } else { 64 };
        let mut story = Story::with(super::super::Rules { concurrency, ..given::rules() });
        story.delivery.front_connected(given::FRONT, 1);
        let banks =
            [System::Legacy, System::Engine].into_iter().map(|system| (system, Bank::new(system, &accounts))).collect();
        let (requests, running, exchanges) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { seed, dice, cohort, story, banks, requests, running, exchanges, shipped: 0, checked: 0 }
    }

    pub(super) fn run(mut self) {
        for _ in 0..STEPS {
            self.step();
            self.check_what_is_under_way();
        }
        self.come_to_rest();
        self.check_the_end();
    }

    fn step(&mut self) {
        match self.dice.roll(100) {
            0..22 => self.ask_for_something(),
            22..42 => self.execute(),
            42..60 => self.answer_a_client(),
            60..78 => {
                for _ in 0..=self.dice.roll(3) {
                    self.story.fold_one();
                }
                self.story.act();
            }
            78..92 => self.do_what_the_relay_wants(),
            92..95 => {
                let micros = i64::try_from(self.dice.roll(400_000)).unwrap();
                self.story.now += micros;
                self.heartbeat();
                self.story.act();
            }
            95..97 => self.restart_relay(),
            97..98 => self.restart_front(),
            _ => self.learn(),
        }
    }

    // Clients, front, authorities.

    fn authority(&self, account: &str) -> System {
        match self.cohort {
            Cohort::Legacy => System::Legacy,
            Cohort::Engine => System::Engine,
            Cohort::Mixed if account.bytes().last().is_some_and(|byte| byte % 2 == 0) => System::Legacy,
            Cohort::Mixed => System::Engine,
        }
    }

    fn ask_for_something(&mut self) {
        if self.running.len() >= 8 {
            return;
        }
        let request = match self.requests.last() {
            Some(_) if self.dice.chance(15) => self.dice.pick(&self.requests).clone(),
            _ => self.new_request(),
        };
        self.begin(request);
        // A parallel duplicate.
        if self.dice.chance(5) {
            let again = self.requests.last().expect("one was made").clone();
            self.begin(again);
        }
    }

    fn new_request(&mut self) -> Request {
        let key = format!("k{}", self.requests.len());
        let user = |dice: &mut Dice| format!("u{}", dice.roll(6));
        let amount = i64::try_from(self.dice.roll(25)).unwrap() + 1;
        let (operation, source, destination) = match self.dice.roll(10) {
            0..4 => (Operation::Topup, "bank".to_owned(), user(&mut self.dice)),
            4..7 => (Operation::Withdraw, user(&mut self.dice), "bank".to_owned()),
            // `u5` is made on the way.
            7 if self.requests.iter().all(|request| request.operation != Operation::CreateAccount) => {
                (Operation::CreateAccount, String::new(), "u5".to_owned())
            }
            _ => {
                let (source, destination) = (user(&mut self.dice), user(&mut self.dice));
                match source == destination {
                    true => (Operation::Topup, "bank".to_owned(), destination),
                    false => (Operation::Transfer, source, destination),
                }
            }
        };
        let request = Request { key, operation, source, destination, amount };
        self.requests.push(request.clone());
        request
    }

    fn begin(&mut self, request: Request) {
        let authority = self.authority(request.decider());
        let body = format!(r#"{{"of":"{}","amount":{}}}"#, request.key, request.amount);
        let intent = given::intent(request.operation, authority, &request.accounts(), &body);
        let sequence = self.story.intent(&request.key, Intent { version: 1, ..intent });
        self.exchanges.insert((self.story.boot, sequence), (request.clone(), authority));
        let lost = self.dice.chance(3);
        self.running.push(Running { sequence, request, authority, reply: None, lost });
    }

    /// An authority executes a request.
    fn execute(&mut self) {
        let open: Vec<usize> = self.indices(|running| running.reply.is_none() && !running.lost);
        if !open.is_empty() {
            let running = &mut self.running[*self.dice.pick(&open)];
            let bank = self.banks.get_mut(&running.authority).expect("there are two");
            running.reply = Some(bank.execute(&running.request, Mode::Authority));
        }
    }

    fn indices(&self, which: impl Fn(&Running) -> bool) -> Vec<usize> {
        (0..self.running.len()).filter(|index| which(&self.running[*index])).collect()
    }

    /// The front writes down what it got.
    fn answer_a_client(&mut self) {
        let done = self.indices(|running| running.reply.is_some() || running.lost);
        if done.is_empty() {
            return;
        }
        let index = *self.dice.pick(&done);
        let running = self.running.swap_remove(index);
        let result = match running.reply {
            Some(reply) if !self.dice.chance(8) => {
                let class = Class::of(reply.status, Some(code_of(&reply.body)));
                let result = given::result(running.sequence, class, reply.status, &reply.body);
                AuthorityResult { replayed: reply.replayed, ..result }
            }
            _ => given::result(running.sequence, Class::Unknown, 0, ""),
        };
        self.story.write(ExchangeBody::Result(result));
    }

    /// Everything that was running ends without a result.
    fn restart_front(&mut self) {
        for running in std::mem::take(&mut self.running) {
            if running.reply.is_none() && !running.lost && self.dice.chance(50) {
                let bank = self.banks.get_mut(&running.authority).expect("there are two");
                bank.execute(&running.request, Mode::Authority);
            }
        }
        if self.dice.chance(80) {
            self.story.write(ExchangeBody::Ended { clean: false });
        }
        self.story.next_boot();
        self.story.write(ExchangeBody::Mark { id: "begin".to_owned() });
    }

    fn heartbeat(&mut self) {
        self.shipped = self.story.now;
        self.story.heartbeat(self.story.now);
    }

    // The relay's surroundings.

    fn do_what_the_relay_wants(&mut self) {
        if !self.story.sent.is_empty() && self.dice.chance(80) {
            let index = usize::try_from(self.dice.roll(self.story.sent.len() as u64)).unwrap();
            let answer = self.execute_leg(index);
            let leg = self.story.sent.remove(index);
            self.story.delivery.answered(leg.id, leg.attempt, answer, Timestamp(self.story.now));
        } else if !self.story.asked.is_empty() {
            let question = self.story.asked.remove(0);
            let finding = if self.dice.chance(20) { Finding::NotYet } else { self.find(&question) };
            self.story.delivery.found(question.id, finding, Timestamp(self.story.now));
        }
        self.story.delivery.posted(true, Timestamp(self.story.now));
        self.story.act();
    }

    fn execute_leg(&mut self, index: usize) -> Answer {
        let chance = self.dice.roll(100);
        let leg = &self.story.sent[index];
        let (request, _) = self.exchanges[&(leg.number.boot, leg.number.sequence)].clone();
        let target = leg.target;
        let mode: Mode = header(&leg.headers, "x-crossfade-mode").parse().expect("it is a mode");
        if (72..80).contains(&chance) {
            return Answer::Unanswered { duration_micros: 1 };
        } else if chance >= 90 {
            return if self.dice.chance(50) { Answer::NotSent } else { super::story::whole(503, "") };
        }
        let bank = self.banks.get_mut(&target).expect("there are two");
        // A legacy knows of no modes.
        let mode = if target == System::Legacy { Mode::Authority } else { mode };
        let reply = bank.execute(&request, mode);
        if chance >= 80 {
            return Answer::Unanswered { duration_micros: 1 };
        }
        assert!(
            target == System::Engine || reply.status < 300,
            "the legacy refused {request:?}, which the engine had applied: {:?} in {:?}",
            reply.body,
            self.banks
        );
        let (status, replayed, body) = (reply.status, reply.replayed, Body(reply.body.into_bytes()));
        Answer::Whole { status, headers: Vec::new(), body, replayed, duration_micros: 1 }
    }

    fn find(&self, question: &super::super::resolve::Question) -> Finding {
        let numbers = |exchange: &super::super::exchanges::Exchange| (exchange.number.boot, exchange.number.sequence);
        let exchange = self.story.delivery.exchanges.get(question.id).map(numbers).expect("it is not concluded");
        let (request, authority) = &self.exchanges[&exchange];
        let bank = &self.banks[authority];
        if request.operation == Operation::CreateAccount {
            return match bank.accounts.contains_key(&request.destination) {
                true => {
                    Finding::Decided(Class::Applied, 201, Body(br#"{"accountId":"u5","accountType":"USER"}"#.to_vec()))
                }
                false => Finding::Absent,
            };
        }
        match bank.known(request) {
            None => Finding::Absent,
            Some(reply) => {
                let class = Class::of(reply.status, Some(code_of(&reply.body)));
                Finding::Decided(class, reply.status, Body(reply.body.clone().into_bytes()))
            }
        }
    }

    fn learn(&mut self) {
        for account in std::mem::take(&mut self.story.learning) {
            let facts = if self.dice.chance(70) { Some(Facts { limited: &*account != "bank" }) } else { None };
            self.story.delivery.learnt(&account, facts, Timestamp(self.story.now));
        }
        self.story.act();
    }

    /// The relay dies; what it had sent may be executed or not.
    fn restart_relay(&mut self) {
        for index in 0..self.story.sent.len() {
            if self.dice.chance(50) {
                self.execute_leg(index);
            }
        }
        // It reads everything again, so everything that was written is folded.
        self.story.restart();
        self.story.delivery.front_connected(given::FRONT, 1);
    }

    fn come_to_rest(&mut self) {
        while !self.running.is_empty() {
            self.execute();
            self.answer_a_client();
        }
        for _ in 0..5_000 {
            self.story.wait(20_000);
            self.heartbeat();
            self.learn();
            while !self.story.sent.is_empty() || !self.story.asked.is_empty() {
                self.do_what_the_relay_wants();
                self.check_what_is_under_way();
                self.story.now += 1_000;
            }
            if self.story.delivery.exchanges.len() == 0 {
                return;
            }
        }
        let stuck: Vec<_> = self.story.delivery.exchanges.iter().collect();
        panic!("these are never concluded: {stuck:#?}");
    }

    // The checks.

    fn check_what_is_under_way(&mut self) {
        for (index, leg) in self.story.sent.iter().enumerate() {
            let (request, _) = &self.exchanges[&(leg.number.boot, leg.number.sequence)];
            for other in &self.story.sent[..index] {
                let (other_request, _) = &self.exchanges[&(other.number.boot, other.number.sequence)];
                let shared = request
                    .accounts()
                    .iter()
                    .any(|account| account.starts_with('u') && other_request.accounts().contains(account));
                assert!(
                    other.target != leg.target || !shared && request.key != other_request.key,
                    "{request:?} and {other_request:?} are under way together"
                );
            }
        }
        let mut refused: BTreeMap<_, i64> = BTreeMap::new();
        let mut over = BTreeSet::new();
        for (index, (at, record)) in self.story.shadows.iter().enumerate() {
            match &record.body {
                ShadowBody::Result(result) if result.last => {
                    over.insert(result.exchange.clone());
                }
                ShadowBody::Result(result) if result.class == Class::Refused => {
                    refused.entry(result.exchange.clone()).or_insert(*at);
                }
                ShadowBody::Sending { exchange, mode, .. } if index >= self.checked => {
                    assert!(!over.contains(exchange), "{exchange} was concluded and is sent again");
                    if *mode == Mode::Forced {
                        let until =
                            refused.get(exchange).expect("it was refused first") + self.story.rules.reoffer_micros;
                        assert!(*at > until && self.shipped > until, "{exchange} was forced too early");
                    }
                }
                _ => {}
            }
        }
        self.checked = self.story.shadows.len();
    }

    fn check_the_end(&self) {
        self.check_conclusions();
        self.check_order();
        let [legacy, engine] = [System::Legacy, System::Engine].map(|system| &self.banks[&system]);
        let balances = |bank: &Bank| -> BTreeMap<String, i64> {
            bank.accounts.iter().map(|(account, (balance, _))| (account.clone(), *balance)).collect()
        };
        assert_eq!(balances(legacy), balances(engine));
        for bank in [legacy, engine] {
            assert!(bank.applied.values().all(|times| *times == 1));
        }
    }

    /// Every exchange is concluded once, and of every key at most one by a leg.
    fn check_conclusions(&self) {
        let mut conclusions: BTreeMap<_, u32> = BTreeMap::new();
        let mut legs: BTreeMap<(String, String), u32> = BTreeMap::new();
        for (_, record) in &self.story.shadows {
            match &record.body {
                ShadowBody::Result(result) if result.last => {
                    *conclusions.entry((result.exchange.boot, result.exchange.sequence)).or_default() += 1;
                    let (request, _) = &self.exchanges[&(result.exchange.boot, result.exchange.sequence)];
                    *legs.entry((request.decider().to_owned(), request.key.clone())).or_default() += 1;
                }
                ShadowBody::Skipped { exchange, .. } => {
                    *conclusions.entry((exchange.boot, exchange.sequence)).or_default() += 1;
                }
                _ => {}
            }
        }
        for (exchange, (request, _)) in &self.exchanges {
            assert_eq!(conclusions.get(exchange), Some(&1), "{exchange:?} {request:?}");
        }
        assert!(legs.values().all(|times| *times == 1), "{legs:?}");
    }

    /// First offers of one account follow the results; what the engine decided follows its positions.
    fn check_order(&self) {
        let mut results: BTreeMap<(u64, u64), (i64, Vec<(u32, u64)>)> = BTreeMap::new();
        for (at, record) in &self.story.exchanges {
            if let ExchangeBody::Result(result) = &record.body
                && result.class != Class::Unknown
            {
                let positions = super::super::Reading::of(&result.body.0).marks.positions;
                results.insert((record.boot, result.intent), (*at, positions));
            }
        }
        let mut last: BTreeMap<(System, String), i64> = BTreeMap::new();
        let mut furthest: BTreeMap<(String, u32), u64> = BTreeMap::new();
        for (_, record) in &self.story.shadows {
            let ShadowBody::Sending { exchange, system, attempt: 1, .. } = &record.body else { continue };
            let number = (exchange.boot, exchange.sequence);
            let Some((at, positions)) = results.get(&number) else { continue };
            for account in self.exchanges[&number].0.accounts().iter().filter(|account| account.starts_with('u')) {
                match system {
                    System::Engine => {
                        let before = last.insert((*system, (*account).to_owned()), *at);
                        assert!(before < Some(*at), "{exchange} on {account} is out of order");
                    }
                    System::Legacy => {
                        for (shard, offset) in positions {
                            let before = furthest.insert(((*account).to_owned(), *shard), *offset);
                            assert!(before < Some(*offset), "{exchange} on {account} is out of the engine's order");
                        }
                    }
                }
            }
        }
    }
}

fn code_of(body: &str) -> &str {
    body.split_once(r#""code":""#).and_then(|(_, rest)| rest.split_once('"')).map_or("", |(code, _)| code)
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

fn check(cohort: Cohort) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("CROSSFADE_SEED") {
        Some(seed) => World::new(seed, cohort).run(),
        None => (0..number("CROSSFADE_SEEDS").unwrap_or(SEEDS)).for_each(|seed| World::new(seed, cohort).run()),
    }
}

#[test]
fn any_world_in_which_the_legacy_decides() {
    check(Cohort::Legacy);
}

#[test]
fn any_world_in_which_the_engine_decides() {
    check(Cohort::Engine);
}

#[test]
pub(super) fn any_world_in_which_both_decide() {
    check(Cohort::Mixed);
}
