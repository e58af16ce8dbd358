//! The index: a pure fold of the four cutover topics into exchanges, verdicts, discrepancies and accounts.
//!
//! | module | what |
//! |---|---|
//! | [`fold`] | what each record of fronts and relay changes |
//! | [`exchange`], [`account`] | what is known of one exchange, of one account |
//! | [`judging`] | which exchange is judged when, with what in view |
//! | [`consequences`] | what follows from a verdict, an inquiry, a settlement |
//! | [`inquiry`] | what the histories of both systems are asked, and what they say |
//! | [`roots`] | discrepancies |
//! | [`fronts`] | numbers without holes, boots, marks, gaps |
//! | [`unknowns`] | effects that nobody knows, and what a person says of them |
//! | [`tally`] | counts and match rates |
//! | [`step`] | what was decided since the dial last moved, by whom and between whom |
//! | [`rollout`] | the dial's history, for people |
//! | [`query`] | what the rest of the comparator asks for |
//!
//! Invariants: no clock, no I/O, no randomness: the same records with the same times in the same order give the same
//! index, whenever and how often it is built. Only [`Index::take_inquiries`] depends on who asked before.

mod account;
#[cfg(test)]
mod cases;
mod consequences;
mod exchange;
mod fold;
mod fronts;
mod inquiry;
mod judging;
mod query;
mod rollout;
mod roots;
mod step;
mod tally;
mod unknowns;

pub use inquiry::{Candidate, Inquiry, Searched, findings};
pub use query::{
    AccountState, Counters, DiscrepancyFilter, ExchangeCount, ExchangeFilter, GateInputs, MAX_PAGE, Settled,
};

use crate::judge::rules::Rule;
use account::Account;
use exchange::Exchange;
use fronts::Fronts;
use roots::Roots;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use step::Step;
use tally::Tally;
use wire::chain::Head;
use wire::control::{RolloutChange, Settlement};
use wire::decision::{DecisionRecord, Reconciliation};
use wire::ids::ExchangeNumber;
use wire::rollout::{Rollout, RolloutBody};
use wire::scalar::Timestamp;
use wire::shadow::{ShadowBody, ShadowRecord};
use wire::stored::DecodeError;
use wire::words::System;

/// Judged exchanges kept whole: at a few kilobytes each, some hundred megabytes.
const KEEP_EXCHANGES: usize = 200_000;

/// Why the fold cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A record of a topic that this program must understand cannot be read: it must stop, not skip.
    #[error("{topic} at offset {offset}: {source}")]
    Unreadable {
        /// The topic.
        topic: String,
        /// The offset of the record.
        offset: u64,
        /// Why it cannot be read.
        source: DecodeError,
    },
    /// A topic that the index does not fold.
    #[error("the index does not fold the topic `{0}`")]
    OtherTopic(String),
    /// Records were given twice by the caller.
    #[error("{topic}: offset {found} where {next} or a later one was expected")]
    OutOfOrder {
        /// The topic.
        topic: String,
        /// The offset of the record.
        found: u64,
        /// The offset that was expected.
        next: u64,
    },
}

/// The index.
#[derive(Debug)]
pub struct Index {
    ledger: String,
    keep: usize,
    /// The offset of the next record, by topic.
    positions: BTreeMap<&'static str, u64>,
    /// Whether `cutover.exchanges` was read from its first record on.
    from_start: bool,
    /// The time of the record being folded, by the log's clock.
    now: i64,
    shadows: Head,
    decisions: Head,
    rollout: Rollout,
    /// When accounts last went to the engine.
    committed: Option<Timestamp>,
    rollout_history: Vec<RolloutChange>,
    /// What fronts said of their overrides, in the history's form, oldest first.
    overrides: Vec<RolloutChange>,
    fronts: Fronts,
    routes: BTreeSet<Arc<str>>,
    exchanges: BTreeMap<u64, Exchange>,
    numbers: BTreeMap<ExchangeNumber, u64>,
    accounts: BTreeMap<String, Account>,
    /// Exchanges by the ids that the systems gave their transactions.
    transactions: BTreeMap<String, u64>,
    /// Exchanges that had an effect, by tenant, deciding account and key.
    effects: BTreeMap<u64, u64>,
    /// Keys on accounts.
    known: BTreeSet<u64>,
    /// Discrepancies that touch a transaction or a refund of it, by the exchange that made the transaction.
    families: BTreeMap<u64, Vec<String>>,
    unconcluded: BTreeSet<u64>,
    /// Results whose shadow leg has not ended, by the time of the result; those of stage `capture` apart.
    undelivered: [BTreeSet<(i64, u64)>; 2],
    /// Exchanges with an unknown leg: the authority's, the shadow's.
    unknown: [BTreeSet<u64>; 2],
    /// Judged exchanges, the oldest first.
    judged: VecDeque<u64>,
    /// Exchanges that wait for an inquiry, and those whose inquiry was handed out.
    inquiries: BTreeSet<u64>,
    taken: BTreeSet<u64>,
    roots: Roots,
    rules: Vec<Rule>,
    tally: Tally,
    step: Step,
    counters: Counters,
    reconciliations: VecDeque<Reconciliation>,
    settlements: Vec<Settled>,
    /// What persons have said of unknown effects, by exchange and system, until the relay has taken it up.
    told: BTreeMap<(u64, System), Settlement>,
}

impl Index {
    /// An index before any record.
    pub fn new(ledger: &str) -> Self {
        Self {
            ledger: ledger.to_owned(),
            keep: KEEP_EXCHANGES,
            positions: BTreeMap::new(),
            from_start: true,
            now: 0,
            shadows: Head::genesis(ledger, wire::shadow::TOPIC),
            decisions: Head::genesis(ledger, wire::decision::TOPIC),
            rollout: Rollout::genesis(ledger),
            committed: None,
            rollout_history: Vec::new(),
            overrides: Vec::new(),
            fronts: Fronts::default(),
            routes: BTreeSet::new(),
            exchanges: BTreeMap::new(),
            numbers: BTreeMap::new(),
            accounts: BTreeMap::new(),
            transactions: BTreeMap::new(),
            effects: BTreeMap::new(),
            known: BTreeSet::new(),
            families: BTreeMap::new(),
            unconcluded: BTreeSet::new(),
            undelivered: [BTreeSet::new(), BTreeSet::new()],
            unknown: [BTreeSet::new(), BTreeSet::new()],
            judged: VecDeque::new(),
            inquiries: BTreeSet::new(),
            taken: BTreeSet::new(),
            roots: Roots::default(),
            rules: Vec::new(),
            tally: Tally::default(),
            step: Step::default(),
            counters: Counters::default(),
            reconciliations: VecDeque::new(),
            settlements: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// Bounds how many judged exchanges are kept whole (200,000 unless told). Beyond it, discrepancies and what they
    /// carry are kept, and of others what a later inquiry may have to ask for.
    #[must_use]
    pub fn keep_exchanges(mut self, exchanges: usize) -> Self {
        self.keep = exchanges;
        self
    }

    /// Rules that hide differences.
    #[must_use]
    pub fn rules(mut self, rules: Vec<Rule>) -> Self {
        self.rules = rules;
        self
    }

    /// Folds the next record of a topic.
    ///
    /// The caller takes the topics together as `cutover.order` says, so a rebuilt index says the same.
    ///
    /// # Errors
    /// [`Error`]: the caller must stop. An unreadable record of `cutover.exchanges` is none: it is counted.
    pub fn fold(&mut self, topic: &str, offset: u64, log_time_micros: i64, bytes: &[u8]) -> Result<(), Error> {
        let topics = [wire::exchange::TOPIC, wire::shadow::TOPIC, wire::rollout::TOPIC, wire::decision::TOPIC];
        let Some(topic) = topics.into_iter().find(|known| *known == topic) else {
            return Err(Error::OtherTopic(topic.to_owned()));
        };
        match self.positions.get(topic) {
            Some(next) if offset < *next => {
                return Err(Error::OutOfOrder { topic: topic.to_owned(), found: offset, next: *next });
            }
            None if topic == wire::exchange::TOPIC => self.from_start = offset == 0,
            _ => {}
        }
        self.positions.insert(topic, offset + 1);
        self.now = self.now.max(log_time_micros);
        let unreadable = |source| Error::Unreadable { topic: topic.to_owned(), offset, source };
        match topic {
            wire::exchange::TOPIC => self.exchange_record(offset, bytes),
            wire::shadow::TOPIC => {
                if let Some(record) = self.shadows.take::<ShadowRecord>(bytes).map_err(unreadable)? {
                    self.shadow_record(record.at, record.body);
                }
            }
            wire::rollout::TOPIC => {
                let stood = self.rollout.setting;
                if let Some(record) = self.rollout.take(bytes).map_err(unreadable)? {
                    if matches!(record.body, RolloutBody::Commit { .. }) {
                        self.committed = Some(record.at);
                    }
                    if self.rollout.setting != stood {
                        self.step.begin(self.rollout.version, record.at);
                    }
                    self.rollout_history.push(rollout::change(offset, record));
                }
            }
            _ => {
                if let Some(record) = self.decisions.take::<DecisionRecord>(bytes).map_err(unreadable)? {
                    self.decision(record);
                }
            }
        }
        Ok(())
    }

    /// Whether everything is folded that a record of `cutover.shadows` may follow from. What cannot be read, and what
    /// is about no exchange, follows from nothing.
    pub fn may_follow(&self, shadow_record: &[u8]) -> bool {
        let Ok(record) = wire::stored::decode::<ShadowRecord>(shadow_record) else { return true };
        match &record.body {
            ShadowBody::Sending { exchange, .. }
            | ShadowBody::Skipped { exchange, .. }
            | ShadowBody::Asking { exchange, .. } => self.has_result(exchange),
            ShadowBody::Result(result) => self.has_result(&result.exchange),
            ShadowBody::Resolved(resolution) => self.has_result(&resolution.exchange),
            ShadowBody::Cursor { .. } => true,
        }
    }

    /// Inquiries that wait for an answer, each once (until the program restarts). To be called once caught up: what
    /// was answered already is not asked again.
    pub fn take_inquiries(&mut self) -> Vec<Inquiry> {
        let waiting: Vec<u64> = self.inquiries.difference(&self.taken).copied().collect();
        self.taken.extend(&waiting);
        waiting.into_iter().filter_map(|id| self.inquiry(id)).collect()
    }

    /// Hands an inquiry out again that could not be answered.
    pub fn put_back(&mut self, inquiry: &Inquiry) {
        if let Some(id) = inquiry.exchange.as_ref().and_then(|number| self.numbers.get(number)) {
            self.taken.remove(id);
        }
    }
}
