//! A relay whose topics are vectors and whose clock is a number: records go in, what it wants done comes out.

use super::super::answer::Answer;
use super::super::request::LegRequest;
use super::super::resolve::{Finding, Question};
use super::super::{Action, Delivery, Rules};
use super::given;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::control::Alias;
use wire::exchange::{AuthorityResult, ExchangeBody, ExchangeRecord, Intent};
use wire::ids::ExchangeNumber;
use wire::rollout::{RolloutBody, RolloutRecord};
use wire::scalar::{Body, Digest, Timestamp};
use wire::shadow::{LegResult, ShadowBody, ShadowRecord};
use wire::stored::encode;
use wire::words::{Class, Operation};

pub(crate) const LEDGER: &str = "test";

pub(crate) struct Story {
    pub delivery: Delivery,
    pub rules: Rules,
    /// Microseconds; every record is one later than the one before.
    pub now: i64,
    /// The topics, with the log's times.
    pub exchanges: Vec<(i64, ExchangeRecord)>,
    pub shadows: Vec<(i64, ShadowRecord)>,
    pub rollout: Vec<Vec<u8>>,
    /// How much of `exchanges` was folded.
    folded: usize,
    sequence: u64,
    /// The last numbers of other fronts.
    others: BTreeMap<String, u64>,
    pub boot: u64,
    /// Another relay writes whatever this one wants to write, a moment before.
    pub beside_another: bool,
    /// What is to be done, until a test does it.
    pub sent: Vec<LegRequest>,
    pub asked: Vec<Question>,
    pub learning: Vec<Arc<str>>,
    pub posted: Vec<Alias>,
    pub drained: Vec<RolloutRecord>,
    /// Questions before a leg is sent again, with the number of its offer.
    pub looking: Vec<(u32, Question)>,
}

impl Story {
    pub fn new() -> Self {
        Self::with(given::rules())
    }

    pub fn with(rules: Rules) -> Self {
        Self {
            delivery: Delivery::new(LEDGER, rules.clone()),
            rules,
            now: 1_000,
            exchanges: Vec::new(),
            shadows: Vec::new(),
            rollout: Vec::new(),
            folded: 0,
            sequence: 0,
            others: BTreeMap::new(),
            boot: 1,
            beside_another: false,
            sent: Vec::new(),
            asked: Vec::new(),
            learning: Vec::new(),
            posted: Vec::new(),
            drained: Vec::new(),
            looking: Vec::new(),
        }
        .in_shadow()
    }

    /// The stage is `shadow`, so that nothing is held.
    fn in_shadow(mut self) -> Self {
        self.change(given::moved(1, "shadow", 0));
        self.settle();
        self
    }

    pub fn tick(&mut self) -> i64 {
        self.now += 1;
        self.now
    }

    // What fronts write.

    pub fn write(&mut self, body: ExchangeBody) -> u64 {
        self.sequence += 1;
        let at = self.tick();
        let record = ExchangeRecord { boot: self.boot, ..given::record(self.sequence, Timestamp(at), body) };
        self.exchanges.push((at, record));
        self.sequence
    }

    /// Another front writes, in its first boot.
    pub fn write_as(&mut self, front: &str, body: ExchangeBody) -> u64 {
        let sequence = self.others.entry(front.to_owned()).or_default();
        *sequence += 1;
        let sequence = *sequence;
        let at = self.tick();
        let record = given::record(sequence, Timestamp(at), body);
        self.exchanges.push((at, ExchangeRecord { front: front.to_owned(), ..record }));
        sequence
    }

    /// The front starts anew.
    pub fn next_boot(&mut self) {
        self.boot += 1;
        self.sequence = 0;
    }

    pub fn intent(&mut self, key: &str, intent: Intent) -> u64 {
        self.write(ExchangeBody::Intent(Intent { key: Some(key.to_owned()), ..intent }))
    }

    pub fn result(&mut self, intent: u64, class: Class, status: u16, body: &str) -> u64 {
        self.write(ExchangeBody::Result(given::result(intent, class, status, body)))
    }

    pub fn replayed(&mut self, intent: u64, class: Class, status: u16, body: &str) -> u64 {
        let result = AuthorityResult { replayed: true, ..given::result(intent, class, status, body) };
        self.write(ExchangeBody::Result(result))
    }

    /// An intent and, at once, its applied result.
    pub fn applied(&mut self, key: &str, intent: Intent) -> u64 {
        let (own, other) = (intent.accounts[0].clone(), intent.accounts.get(1).cloned().unwrap_or("bank".into()));
        let (from, to) = if intent.operation == Operation::Topup { (other, own) } else { (own, other) };
        let sequence = self.intent(key, intent);
        self.result(sequence, Class::Applied, 200, &given::applied(&format!("L-{key}"), &from, &to, None));
        sequence
    }

    pub fn heartbeat(&mut self, at: i64) {
        self.delivery.heartbeat(given::FRONT, Timestamp(at), self.exchanges.len() as u64);
    }

    // What the comparator writes.

    pub fn change(&mut self, body: RolloutBody) {
        let parent = self
            .rollout
            .last()
            .map_or_else(|| wire::chain::genesis(LEDGER, wire::rollout::TOPIC), |bytes| Digest::of(bytes));
        let at = Timestamp(self.tick());
        let record = RolloutRecord { parent, at, actor: "test".into(), reason: "test".into(), body };
        self.append_change(encode(&record));
    }

    pub fn append_change(&mut self, bytes: Vec<u8>) {
        let offset = self.rollout.len() as u64;
        self.delivery.take_rollout(offset, &bytes).expect("it can be read");
        self.rollout.push(bytes);
    }

    // What the relay does.

    /// Folds the next record of the exchanges.
    pub fn fold_one(&mut self) -> bool {
        let Some((at, record)) = self.exchanges.get(self.folded) else { return false };
        self.delivery.take_exchange(self.folded as u64, Timestamp(*at), Some(record.clone()));
        self.folded += 1;
        true
    }

    /// Folds everything and does everything that needs nobody else.
    pub fn settle(&mut self) {
        while self.fold_one() {}
        self.act();
    }

    /// Does everything that needs nobody else.
    pub fn act(&mut self) {
        loop {
            let actions = self.delivery.poll(Timestamp(self.now));
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.execute(action);
            }
        }
    }

    pub fn execute(&mut self, action: Action) {
        match action {
            Action::Append(body) => self.append(body),
            Action::Send(leg) => self.sent.push(*leg),
            Action::Ask(question) => self.asked.push(question),
            Action::Learn(account) => self.learning.push(account),
            Action::Post(aliases) => self.posted.extend(aliases),
            Action::Drained(record) => self.drained.push(record),
            Action::Look { attempt, question } => self.looking.push((attempt, question)),
        }
    }

    fn append(&mut self, body: ShadowBody) {
        self.append_by(body, !self.beside_another);
    }

    /// Appends a record and folds it: this relay's, or one that another relay wrote in its place.
    fn append_by(&mut self, body: ShadowBody, own: bool) {
        let at = self.tick();
        let record = ShadowRecord { parent: Digest::default(), at: Timestamp(at), body };
        self.shadows.push((at, record.clone()));
        self.delivery.take_shadow(self.shadows.len() as u64 - 1, Timestamp(at), record, own);
    }

    /// Time goes by.
    pub fn wait(&mut self, micros: i64) {
        self.now += micros;
        self.settle();
    }

    /// The leg of an exchange that was sent and is not answered.
    pub fn leg(&self, exchange: u64) -> Option<&LegRequest> {
        self.sent.iter().find(|leg| leg.number.sequence == exchange)
    }

    /// The numbers of the exchanges whose legs were sent and are not answered, in the order of sending.
    pub fn under_way(&self) -> Vec<u64> {
        self.sent.iter().map(|leg| leg.number.sequence).collect()
    }

    pub fn answer(&mut self, exchange: u64, answer: Answer) {
        let index = self.sent.iter().position(|leg| leg.number.sequence == exchange).expect("its leg is under way");
        let leg = self.sent.remove(index);
        self.delivery.answered(leg.id, leg.attempt, answer, Timestamp(self.now));
        self.settle();
    }

    pub fn answer_with(&mut self, exchange: u64, status: u16, body: &str) {
        self.answer(exchange, whole(status, body));
    }

    pub fn ok(&mut self, exchange: u64) {
        self.answer_with(exchange, 200, "{}");
    }

    pub fn find(&mut self, finding: Finding) {
        let question = self.asked.remove(0);
        self.delivery.found(question.id, finding, Timestamp(self.now));
        self.settle();
    }

    /// The target of a leg says what it did with it.
    pub fn look(&mut self, finding: Finding) {
        let (attempt, question) = self.looking.remove(0);
        self.delivery.looked(question.id, attempt, finding, Timestamp(self.now));
        self.settle();
    }

    /// A new process: everything that was under way is forgotten, the topics are folded again.
    pub fn restart(&mut self) {
        self.delivery = Delivery::new(LEDGER, self.rules.clone());
        for (offset, bytes) in self.rollout.iter().enumerate() {
            self.delivery.take_rollout(offset as u64, bytes).expect("it can be read");
        }
        let (mut exchange, mut shadow) = (0, 0);
        loop {
            let next_shadow = self.shadows.get(shadow);
            match self.exchanges.get(exchange) {
                Some((at, record)) if next_shadow.is_none_or(|(shadow, _)| at < shadow) => {
                    self.delivery.take_exchange(exchange as u64, Timestamp(*at), Some(record.clone()));
                    exchange += 1;
                }
                _ => {
                    let Some((at, record)) = next_shadow else { break };
                    self.delivery.take_shadow(shadow as u64, Timestamp(*at), record.clone(), false);
                    shadow += 1;
                }
            }
        }
        self.folded = exchange;
        self.delivery.begin_present(Timestamp(self.now));
        self.sent.clear();
        self.asked.clear();
        self.looking.clear();
        self.learning.clear();
        self.posted.clear();
        self.drained.clear();
        self.act();
    }

    // What stands in the log.

    /// What the relay wrote, in short: `sending 1`, `applied 1`, `skipped 2 refused`, …
    pub fn written(&self) -> Vec<String> {
        self.shadows.iter().filter_map(|(_, record)| short(&record.body)).collect()
    }

    /// Both topics in the order of time, for people.
    pub fn history(&self) -> String {
        let exchange = |record: &ExchangeRecord| match &record.body {
            ExchangeBody::Intent(intent) => format!(
                "intent {} {} {} {:?} {}",
                intent.authority,
                intent.operation,
                intent.key.as_deref().unwrap_or_default(),
                intent.accounts,
                String::from_utf8_lossy(&intent.body.0)
            ),
            ExchangeBody::Result(result) => format!(
                "result of {}: {} {} replayed {} {}",
                result.intent,
                result.class,
                result.status,
                result.replayed,
                String::from_utf8_lossy(&result.body.0)
            ),
            other => format!("{other:?}"),
        };
        let numbered = |record: &ExchangeRecord| format!("{}.{} {}", record.boot, record.sequence, exchange(record));
        let mut lines: Vec<(i64, String)> = self.exchanges.iter().map(|(at, record)| (*at, numbered(record))).collect();
        let shadow = |record: &ShadowRecord| short(&record.body).map(|text| format!("        {text}"));
        lines.extend(self.shadows.iter().filter_map(|(at, record)| Some((*at, shadow(record)?))));
        lines.sort();
        lines.iter().map(|(at, line)| format!("{at:>9} {line}\n")).collect()
    }

    /// The results of a leg.
    pub fn results(&self, exchange: u64) -> Vec<&LegResult> {
        self.shadows
            .iter()
            .filter_map(|(_, record)| match &record.body {
                ShadowBody::Result(result) if result.exchange.sequence == exchange => Some(result),
                _ => None,
            })
            .collect()
    }

    pub fn cursor(&self) -> Option<u64> {
        self.shadows.iter().rev().find_map(|(_, record)| match record.body {
            ShadowBody::Cursor { offset } => Some(offset),
            _ => None,
        })
    }
}

fn short(body: &ShadowBody) -> Option<String> {
    Some(match body {
        ShadowBody::Sending { exchange, mode, attempt, .. } => format!("sending {} {mode} {attempt}", name(exchange)),
        ShadowBody::Result(result) => {
            let last = if result.last { "" } else { " not-last" };
            format!("{} {}{last}", result.class, name(&result.exchange))
        }
        ShadowBody::Skipped { exchange, reason } => format!("skipped {} {reason}", name(exchange)),
        ShadowBody::Asking { exchange } => format!("asking {}", name(exchange)),
        ShadowBody::Resolved(resolution) => format!("resolved {} {}", name(&resolution.exchange), resolution.class),
        ShadowBody::Cursor { .. } => return None,
    })
}

/// Most stories have one boot.
fn name(exchange: &ExchangeNumber) -> String {
    match exchange.boot {
        1 => exchange.sequence.to_string(),
        boot => format!("{boot}.{}", exchange.sequence),
    }
}

pub(crate) fn whole(status: u16, body: &str) -> Answer {
    Answer::Whole {
        status,
        headers: Vec::new(),
        body: Body(body.as_bytes().to_vec()),
        replayed: false,
        duration_micros: 5,
    }
}
