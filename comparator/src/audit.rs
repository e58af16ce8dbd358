//! Verification of what is in the log: the chains from their first record on, the numbering of the exchanges.
//!
//! A record that does not extend the chain is ignored by every reader, and that is in order when it lost a race:
//! then it names a record that once was the chain's end. A record that names none of them says that something
//! before it was changed or taken out; and the end that this process had read before has to be found again.

use eventlog::{Log, ReadError, Record};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use utoipa::ToSchema;
use wire::chain::{Chained, Head};
use wire::exchange::ExchangeRecord;
use wire::scalar::Digest;
use wire::stored::decode;

/// Records read at once.
const PAGE: usize = 1_000;
/// Ends of the chain that a late record may still name: a writer knows of its loss after one read, so a record
/// that lost by more than this did not lose, it belongs to something else.
const RECENT: usize = 10_000;

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// The ledger.
    pub ledger: String,
    /// Whether every chain is intact and no exchange's number is missing.
    pub intact: bool,
    /// The chained topics.
    pub chains: Vec<ChainAudit>,
    /// `cutover.exchanges`.
    pub exchanges: NumberingAudit,
}

/// A chained topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainAudit {
    /// The topic.
    pub topic: String,
    /// Records in it.
    pub records: u64,
    /// Of these, those in the chain.
    pub accepted: u64,
    /// Of these, those that lost to another record.
    pub lost: u64,
    /// SHA-256 of the last record in the chain; of ledger and topic when there is none.
    pub head: String,
    /// Where the chain is broken, and how; absent when it is intact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// The numbering of the exchanges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NumberingAudit {
    /// Records in the topic.
    pub records: u64,
    /// Boots of fronts that wrote them.
    pub boots: u64,
    /// Numbers that are missing.
    pub missing: u64,
    /// Records that cannot be read.
    pub unreadable: u64,
    /// The first thing that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_problem: Option<String>,
}

/// Verifies a chained topic up to its present end. `known` is an end of the chain that was read before, if any.
///
/// # Errors
/// When the log cannot be read; what is wrong with the chain is part of the answer.
pub async fn chain<T: Chained>(
    log: &dyn Log,
    ledger: &str,
    topic: &str,
    known: Option<Digest>,
) -> Result<ChainAudit, ReadError> {
    let mut verifier = Verifier::<T>::new(ledger, topic, known);
    let end = log.end(topic, crate::chain::PARTITION).await?;
    while verifier.next < end && verifier.broken.is_none() {
        match log.read(topic, crate::chain::PARTITION, verifier.next, PAGE).await {
            Ok(records) if records.is_empty() => {
                verifier.broken = Some(format!("records from offset {} on are gone", verifier.next));
            }
            Ok(records) => records.iter().filter(|record| record.offset < end).for_each(|record| verifier.take(record)),
            Err(error @ ReadError::Gone { .. }) => verifier.broken = Some(error.to_string()),
            Err(error @ ReadError::Failed(_)) => return Err(error),
        }
    }
    Ok(verifier.finish(topic))
}

struct Verifier<T> {
    head: Head,
    next: u64,
    accepted: u64,
    lost: u64,
    /// The last ends of the chain, oldest first, and the same for looking up.
    recent: VecDeque<Digest>,
    looked_up: BTreeSet<[u8; 32]>,
    known: Option<Digest>,
    broken: Option<String>,
    record: std::marker::PhantomData<T>,
}

impl<T: Chained> Verifier<T> {
    fn new(ledger: &str, topic: &str, known: Option<Digest>) -> Self {
        let head = Head::genesis(ledger, topic);
        let mut verifier = Self {
            head,
            next: 0,
            accepted: 0,
            lost: 0,
            recent: VecDeque::new(),
            looked_up: BTreeSet::new(),
            known,
            broken: None,
            record: std::marker::PhantomData,
        };
        verifier.remember(head.digest());
        verifier
    }

    fn remember(&mut self, end: Digest) {
        if self.known == Some(end) {
            self.known = None;
        }
        self.recent.push_back(end);
        self.looked_up.insert(end.0);
        if self.recent.len() > RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.looked_up.remove(&oldest.0);
        }
    }

    fn take(&mut self, record: &Record) {
        if self.broken.is_some() {
            return;
        }
        if record.offset != self.next {
            self.broken = Some(format!("offset {} follows where {} was expected", record.offset, self.next));
            return;
        }
        match self.head.take::<T>(&record.value) {
            Ok(Some(_)) => {
                self.accepted += 1;
                self.next += 1;
                self.remember(self.head.digest());
            }
            Ok(None) => match decode::<T>(&record.value) {
                Ok(late) if self.looked_up.contains(&late.parent().0) => {
                    self.lost += 1;
                    self.next += 1;
                }
                _ => self.broken = Some(format!("offset {} extends a record that is not in the chain", record.offset)),
            },
            Err(error) => self.broken = Some(format!("offset {} cannot be read: {error}", record.offset)),
        }
    }

    fn finish(self, topic: &str) -> ChainAudit {
        let vanished =
            self.known.map(|known| format!("the record with SHA-256 {known} was in the chain and is not now"));
        ChainAudit {
            topic: topic.to_owned(),
            records: self.accepted + self.lost,
            accepted: self.accepted,
            lost: self.lost,
            head: self.head.digest().to_string(),
            broken: self.broken.or(vanished),
        }
    }
}

/// Verifies the numbering of `cutover.exchanges` up to its present end.
///
/// # Errors
/// When the log cannot be read.
pub async fn numbering(log: &dyn Log) -> Result<NumberingAudit, ReadError> {
    let topic = wire::exchange::TOPIC;
    let end = log.end(topic, crate::chain::PARTITION).await?;
    let mut numbering = Numbering::default();
    let mut next = 0;
    while next < end {
        match log.read(topic, crate::chain::PARTITION, next, PAGE).await {
            Ok(records) => {
                let Some(last) = records.last() else { break };
                next = last.offset + 1;
                records.iter().filter(|record| record.offset < end).for_each(|record| numbering.take(record));
            }
            // Old exchanges are deleted after their retention; what is left is numbered all the same.
            Err(ReadError::Gone { begin, .. }) if begin > next => next = begin,
            Err(error) => return Err(error),
        }
    }
    Ok(numbering.finish())
}

#[derive(Default)]
struct Numbering {
    records: u64,
    missing: u64,
    unreadable: u64,
    first_problem: Option<String>,
    /// The last number of each boot.
    last: BTreeMap<(String, u64), u64>,
}

impl Numbering {
    fn take(&mut self, record: &Record) {
        self.records += 1;
        let written = match decode::<ExchangeRecord>(&record.value) {
            Ok(written) => written,
            Err(error) => {
                self.unreadable += 1;
                self.problem(|| format!("offset {} cannot be read: {error}", record.offset));
                return;
            }
        };
        let boot = (written.front, written.boot);
        // Without a record before it, a boot begins where the retention left it.
        let expected = match self.last.get(&boot) {
            Some(last) => last + 1,
            None if record.offset < self.records => 1,
            None => written.sequence,
        };
        if written.sequence > expected {
            self.missing += written.sequence - expected;
            let (front, number) = &boot;
            self.problem(|| format!("{front}.{number}: {expected} to {} are missing", written.sequence - 1));
        }
        let last = self.last.entry(boot).or_default();
        *last = written.sequence.max(*last);
    }

    fn problem(&mut self, what: impl FnOnce() -> String) {
        self.first_problem.get_or_insert_with(what);
    }

    fn finish(self) -> NumberingAudit {
        NumberingAudit {
            records: self.records,
            boots: self.last.len() as u64,
            missing: self.missing,
            unreadable: self.unreadable,
            first_problem: self.first_problem,
        }
    }
}

/// Puts the parts together.
pub fn conclude(ledger: &str, chains: Vec<ChainAudit>, exchanges: NumberingAudit) -> Audit {
    let intact = chains.iter().all(|chain| chain.broken.is_none()) && exchanges.first_problem.is_none();
    Audit { ledger: ledger.to_owned(), intact, chains, exchanges }
}
