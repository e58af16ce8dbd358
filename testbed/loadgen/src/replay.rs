//! Replays the bank's year: concurrent over accounts, in order per account, each answer against its prediction.

use crate::bank::{Bank, Entry};
use crate::call::{Call, Sent, Target};
use crate::report::{Counters, Latencies, Percentiles};
use crate::system::lock;
use host::clock;
use host::task::{self, Shutdown};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed_auditor::{Answer, Class, Ledger, Money};

/// How long to wait before a lost request is sent again.
const BACKOFF: Duration = Duration::from_millis(200);

/// How to replay.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where requests go, like `http://127.0.0.1:8080`.
    pub base_url: String,
    /// Requests at once, each of another account.
    pub connections: usize,
    /// How long an answer may take before the request is sent again.
    pub timeout: Duration,
    /// How long, from its first loss, a lost request is sent again.
    pub give_up_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            connections: 32,
            timeout: Duration::from_secs(30),
            give_up_after: Duration::from_secs(60),
        }
    }
}

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Rows that were answered.
    pub answered: usize,
    /// Rows that were not answered, or not sent since an earlier one of their account was not.
    pub unanswered: usize,
    /// The bank's ids of the transactions that were refused, in the order of the file.
    pub refused: Vec<String>,
    /// Every answer that is not as predicted, in words.
    pub differences: Vec<String>,
    /// Requests that had to be sent again.
    pub resent: u64,
    /// How long it took, in milliseconds.
    pub elapsed_millis: u64,
    /// Latencies of the answers.
    pub latency: Percentiles,
}

/// The one who replays. Counters are readable while it runs.
#[derive(Debug)]
pub struct Replay {
    options: Options,
    target: Target,
    ledger: Mutex<Ledger>,
    counters: Arc<Counters>,
    latencies: Latencies,
    found: Mutex<Found>,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    answered: usize,
    unanswered: usize,
    refused: Vec<(usize, String)>,
    differences: Vec<String>,
    resent: u64,
}

/// The rows of one account that are still to be sent.
type Lane = VecDeque<Entry>;

impl Replay {
    /// A replay onto fresh data.
    pub fn new(options: Options) -> Arc<Self> {
        Arc::new(Self {
            target: Target::new(std::slice::from_ref(&options.base_url), options.timeout),
            options,
            ledger: Mutex::new(Ledger::new(true)),
            counters: Arc::default(),
            latencies: Latencies::default(),
            found: Mutex::default(),
        })
    }

    /// What happened so far.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// The balances of all accounts as they must be now.
    pub fn expected_balances(&self) -> BTreeMap<String, Money> {
        lock(&self.ledger).balances()
    }

    /// Makes all accounts, then sends all rows, until done or told to stop.
    pub async fn run(self: &Arc<Self>, bank: &Bank, stop: &Shutdown) -> Report {
        let started = clock::now();
        let accounts: Vec<Lane> =
            bank.accounts().into_iter().map(|call| VecDeque::from([account_entry(call)])).collect();
        self.run_lanes(accounts, stop).await;
        // Answers to the accounts are no answers to rows.
        lock(&self.found).answered = 0;
        let lanes = bank.lanes().into_values().map(|lane| lane.into_iter().cloned().collect()).collect();
        self.run_lanes(lanes, stop).await;
        let mut found = std::mem::take(&mut *lock(&self.found));
        found.refused.sort_unstable();
        Report {
            answered: found.answered,
            unanswered: found.unanswered,
            refused: found.refused.into_iter().map(|(_, transaction)| transaction).collect(),
            differences: found.differences,
            resent: found.resent,
            elapsed_millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            latency: self.latencies.percentiles(),
        }
    }

    /// Works on all lanes at once, one request of each at a time; a lane goes to the end of the queue after each.
    async fn run_lanes(self: &Arc<Self>, lanes: Vec<Lane>, stop: &Shutdown) {
        let waiting = Arc::new(Mutex::new(VecDeque::from(lanes)));
        let workers = (0..self.options.connections.max(1)).map(|_| {
            let (replay, waiting, stop) = (self.clone(), waiting.clone(), stop.clone());
            task::spawn(async move {
                // A queue that is empty for a moment has its lanes in other hands: those finish them.
                while let Some(mut lane) = next(&waiting) {
                    let Some(entry) = lane.pop_front() else { continue };
                    if stop.is_stopping() || !replay.send(&entry, &stop).await {
                        lock(&replay.found).unanswered += lane.len() + 1;
                        continue;
                    }
                    lock(&waiting).push_back(lane);
                }
            })
        });
        futures_util::future::join_all(workers.collect::<Vec<_>>()).await;
    }

    /// Sends a row until it is answered; says whether it was.
    async fn send(&self, entry: &Entry, stop: &Shutdown) -> bool {
        let due = clock::now();
        let deadline = due + self.options.give_up_after;
        loop {
            let sent = self.target.send(&entry.call).await;
            self.counters.count(&sent);
            if let Sent::Answered(answer) = &sent
                && answer.class() != Class::Unknown
            {
                self.latencies.record(due.elapsed());
                self.compare(entry, answer);
                return true;
            }
            if clock::now() >= deadline || stop.is_stopping() {
                lock(&self.found).differences.push(format!("transaction {}: {sent:?}", entry.transaction));
                return false;
            }
            lock(&self.found).resent += 1;
            clock::sleep(BACKOFF).await;
        }
    }

    fn compare(&self, entry: &Entry, answer: &Answer) {
        let differences = match entry.call.read() {
            Ok(request) => lock(&self.ledger).predict(&request).differences(answer),
            Err(error) => vec![error.to_string()],
        };
        let mut found = lock(&self.found);
        found.answered += 1;
        if answer.class() == Class::Refused {
            found.refused.push((entry.index, entry.transaction.clone()));
        }
        let named =
            differences.into_iter().map(|difference| format!("transaction {}: {difference}", entry.transaction));
        found.differences.extend(named);
    }
}

fn next(waiting: &Mutex<VecDeque<Lane>>) -> Option<Lane> {
    lock(waiting).pop_front()
}

fn account_entry(call: Call) -> Entry {
    let name = call.header_key.clone().unwrap_or_default();
    Entry { index: 0, transaction: name.clone(), account: name, call }
}
