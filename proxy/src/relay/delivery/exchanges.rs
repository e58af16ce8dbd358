//! The exchanges that are not concluded: what their fronts wrote of them, and where they stand with the relay.

use super::aliases;
use super::doubt::Doubt;
use super::keys::{Fingerprint, KeyId};
use super::lanes::{Claim, Resource};
use super::order::{Marks, Place, Position};
use super::reading::Reading;
use crate::planted::{Mistake, planted};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::exchange::{Header, Intent};
use wire::ids::ExchangeNumber;
use wire::scalar::{Body, Timestamp};
use wire::words::{Class, Mode, Operation, Single, System};

/// An exchange by the offset of its intent: as unique as its number, smaller, and in the order of intents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ExchangeId(pub u64);

/// An exchange that is not concluded.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Its number.
    pub number: ExchangeNumber,
    /// What was sent to the authority.
    pub intent: Arc<Intent>,
    /// Where the intent stands.
    pub began: Position,
    /// When the front wrote the intent, by the front's clock.
    pub written: Timestamp,
    /// The deciding account.
    pub account: Option<Arc<str>>,
    /// Every account known to be touched: those the intent names, later those of the result.
    pub accounts: Vec<Arc<str>>,
    /// Its key in its scope.
    pub key: Option<KeyId>,
    /// What a repeat has to have in common with it.
    pub content: Fingerprint,
    /// The id of the transaction, if an answer that says nothing else named it.
    pub named: Option<String>,
    /// What the authority made of it, once that is known.
    pub decided: Option<Arc<Decided>>,
    /// Where it stands.
    pub phase: Phase,
}

/// What the authority made of a request.
#[derive(Debug)]
pub(crate) struct Decided {
    /// Where that stands in the log.
    pub position: Position,
    /// What it means.
    pub class: Class,
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Body,
    /// What the relay reads in it.
    pub reading: Reading,
    /// The authority said that it repeated an earlier answer.
    pub replayed: bool,
    /// It was found out by asking.
    pub resolved: bool,
}

/// Where an exchange stands with the relay.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The authority has not answered yet.
    Open,
    /// What the authority made of it is not known: it is asked.
    Unknown(Inquiry),
    /// A repeated answer that waits for the one it repeats.
    Repeated,
    /// There is no leg; the record that says so is on its way.
    Skipping {
        /// Why.
        reason: Single,
        /// Whether the record was handed over.
        requested: bool,
        /// Of a repeat: the exchange whose leg has to be announced first, so that a relay which starts anew does not
        /// take that one for a repeat of this one.
        behind: Option<ExchangeId>,
    },
    /// There is a leg.
    Leg(Box<Leg>),
}

/// How far an unknown result was inquired into.
#[derive(Debug, Default)]
pub(crate) struct Inquiry {
    /// From when on the front certainly sends nothing of it any more.
    pub since: Timestamp,
    /// Whether the record that says so was handed over, or read.
    pub announced: bool,
    /// Whether it was read back, so that the authority may be asked.
    pub begun: bool,
    /// Whether a question is under way.
    pub asking: bool,
    /// How often the authority was asked in vain.
    pub tries: u32,
    /// How often in a row it had nothing, at a time when that counts.
    pub absent: u32,
    /// Whether the record of the answer was handed over.
    pub answered: bool,
}

/// A shadow leg.
#[derive(Debug)]
pub(crate) struct Leg {
    /// The system it goes to.
    pub target: System,
    /// How it is executed with the current or the next offer.
    pub mode: Mode,
    /// The current or the last offer; 0 before the first.
    pub attempt: u32,
    /// Where it stands.
    pub step: Step,
    /// Its place among the legs to the same system.
    pub place: Place,
    /// What it touches.
    pub claims: Vec<Claim>,
    /// Whether everything before it is known to be here (of a leg to the legacy): once it is, it stays so.
    pub complete: bool,
    /// When the record that announces the current offer was handed over by this relay.
    pub announced: Timestamp,
    /// Whether it is written down that this offer was not answered.
    pub unanswered: bool,
    /// Whether this offer may have been executed: it was sent, by this process or another one, and not answered.
    pub doubt: Option<Doubt>,
    /// The last refusal for a reason of state, and when the first one was.
    pub refusal: Option<Box<StateRefusal>>,
}

/// Where a leg stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It waits in its lanes.
    Waiting,
    /// The record that it is about to be sent was handed over.
    Announced,
    /// That record was read back: it may be sent, as the so-manieth try.
    Due(u32),
    /// It was sent, as the so-manieth try.
    Sent(u32),
    /// It will be sent again after a while, as the so-manieth try.
    Pausing(u32),
    /// Its last result was handed over.
    Reported,
    /// It was refused for a reason of state, and is outside its lanes.
    Parked,
    /// As parked, but its last result was handed over.
    GivenUp,
}

/// A refusal that may be a matter of order.
#[derive(Debug, Clone)]
pub(crate) struct StateRefusal {
    /// When the first one of this leg stood in the log.
    pub first_at: Timestamp,
    /// The code of the last one.
    pub code: String,
    /// The status of the last one.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<Header>,
    /// Its body.
    pub body: Body,
    /// How long it took.
    pub duration_micros: u64,
    /// Whether it was a repeated answer.
    pub replayed: bool,
}

impl Leg {
    /// Whether it is written down that it is sent.
    pub fn is_announced(&self) -> bool {
        match self.step {
            // One that was refused waits again for its next offer.
            Step::Waiting => self.attempt > 0,
            Step::Announced => self.attempt > 1,
            Step::Due(_) | Step::Sent(_) | Step::Pausing(_) | Step::Reported | Step::Parked | Step::GivenUp => true,
        }
    }

    /// Whether it holds its lanes and one of the places in which legs are executed.
    pub fn is_running(&self) -> bool {
        match self.step {
            Step::Announced | Step::Due(_) | Step::Sent(_) | Step::Pausing(_) | Step::Reported => true,
            Step::Waiting | Step::Parked | Step::GivenUp => false,
        }
    }

    /// The accounts it claims, and whether firmly.
    pub fn accounts(&self) -> impl Iterator<Item = (&Arc<str>, bool)> {
        self.claims.iter().filter_map(|claim| match &claim.resource {
            Resource::Account(account) => Some((account, claim.firm)),
            Resource::Transaction(_) | Resource::Key(_) => None,
        })
    }
}

impl Exchange {
    /// The leg, if there is one.
    pub fn leg(&self) -> Option<&Leg> {
        match &self.phase {
            Phase::Leg(leg) => Some(leg),
            Phase::Open | Phase::Unknown(_) | Phase::Repeated | Phase::Skipping { .. } => None,
        }
    }

    /// The leg, if there is one.
    pub fn leg_mut(&mut self) -> Option<&mut Leg> {
        match &mut self.phase {
            Phase::Leg(leg) => Some(leg),
            Phase::Open | Phase::Unknown(_) | Phase::Repeated | Phase::Skipping { .. } => None,
        }
    }

    /// What the authority made of it and can make once only: a transaction, or a new account.
    pub fn made(&self) -> Option<&str> {
        let reading = &self.decided.as_ref()?.reading;
        match (self.intent.operation, &reading.account) {
            (Operation::CreateAccount, Some((account, _))) => Some(account),
            _ => reading.transaction.as_deref(),
        }
    }

    /// The system that a leg goes to.
    pub fn shadow(&self) -> System {
        self.intent.authority.other()
    }

    /// Whether it began by a time: the log may have got its intent long after the front wrote it.
    pub fn began_by(&self, time: Timestamp) -> bool {
        self.began.at.min(self.written) <= time
    }

    /// Adds accounts that the answer names.
    pub fn touches(&mut self, account: Arc<str>) {
        if !self.accounts.contains(&account) {
            self.accounts.push(account);
        }
    }

    /// Whether it makes or changes an account, so that legs which only use it go before or after it.
    pub fn changes_account(&self) -> bool {
        matches!(self.intent.operation, Operation::CreateAccount | Operation::ChangeAccount)
    }

    /// What its result says of the engine's order.
    pub fn marks(&self) -> Marks {
        let Some(decided) = &self.decided else { return Marks::default() };
        let mut marks = decided.reading.marks.clone();
        if self.intent.operation == Operation::CreateAccount {
            marks.makes = self.account.clone();
        }
        // A document that was read afterwards shows the account as it was then.
        if self.changes_account() && decided.resolved {
            marks.versions.clear();
        }
        marks
    }

    /// What a leg of this exchange claims.
    pub fn claims(&self, other_id: impl Fn(&str) -> Option<String>) -> Vec<Claim> {
        let changes_account = self.changes_account();
        let lanes = if planted(Mistake::SecondLaneIgnored) { 1 } else { usize::MAX };
        let mut claims: Vec<Claim> = self
            .accounts
            .iter()
            .take(lanes)
            .map(|account| Claim { resource: Resource::Account(Arc::clone(account)), firm: changes_account })
            .collect();
        // A transaction and everything that refers to it, by whichever id, meet in one lane.
        let made = self.decided.as_ref().and_then(|decided| decided.reading.transaction.clone());
        let original = self.intent.original.clone();
        let aliased = original.as_deref().and_then(other_id);
        let mut transactions: Vec<String> = [made, original, aliased].into_iter().flatten().collect();
        transactions.sort();
        transactions.dedup();
        claims.extend(
            transactions
                .into_iter()
                .map(|id| Claim { resource: Resource::Transaction(id.as_str().into()), firm: true }),
        );
        claims.extend(self.key.map(|key| Claim { resource: Resource::Key(key), firm: true }));
        claims
    }
}

impl Decided {
    /// The authority's id of the transaction, if it made one.
    pub fn transaction_by(&self, authority: System) -> Option<&str> {
        self.reading.transaction.as_deref().filter(|id| aliases::maker(id) == authority)
    }
}

/// The exchanges that are not concluded, by id and by number.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    live: BTreeMap<ExchangeId, Exchange>,
    by_number: BTreeMap<ExchangeNumber, ExchangeId>,
}

impl Exchanges {
    /// Adds one.
    pub fn insert(&mut self, id: ExchangeId, exchange: Exchange) {
        self.by_number.insert(exchange.number.clone(), id);
        self.live.insert(id, exchange);
    }

    /// Takes one out: it is concluded.
    pub fn remove(&mut self, id: ExchangeId) -> Option<Exchange> {
        let exchange = self.live.remove(&id)?;
        self.by_number.remove(&exchange.number);
        Some(exchange)
    }

    /// One of them.
    pub fn get(&self, id: ExchangeId) -> Option<&Exchange> {
        self.live.get(&id)
    }

    /// One of them.
    pub fn get_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.live.get_mut(&id)
    }

    /// The one with this number.
    pub fn find(&self, number: &ExchangeNumber) -> Option<ExchangeId> {
        self.by_number.get(number).copied()
    }

    /// Those of a front's boots `first..=last`.
    pub fn of_boots(&self, front: &str, first: u64, last: u64) -> Vec<ExchangeId> {
        let number = |boot, sequence| ExchangeNumber { front: front.to_owned(), boot, sequence };
        self.by_number.range(number(first, 0)..=number(last, u64::MAX)).map(|(_, id)| *id).collect()
    }

    /// All of them, in the order of their intents.
    pub fn iter(&self) -> impl Iterator<Item = (ExchangeId, &Exchange)> {
        self.live.iter().map(|(id, exchange)| (*id, exchange))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// The oldest of them.
    pub fn first(&self) -> Option<ExchangeId> {
        self.live.first_key_value().map(|(id, _)| *id)
    }
}

/// Exchanges that are not decided, by authority and account: what later legs may have to wait for.
#[derive(Debug, Default)]
pub(crate) struct Undecided {
    /// Authority and account → where the intents stand.
    intents: BTreeMap<(System, Arc<str>), BTreeMap<Position, One>>,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
struct One {
    /// When the front wrote the intent, by its clock.
    written: Timestamp,
    /// Whether what became of it is not known.
    unknown: bool,
}

impl Undecided {
    /// An exchange began.
    pub fn begin(&mut self, authority: System, accounts: &[Arc<str>], began: Position, written: Timestamp) {
        for account in accounts {
            let one = One { written, unknown: false };
            self.intents.entry((authority, Arc::clone(account))).or_default().insert(began, one);
        }
    }

    /// What became of it is not known.
    pub fn unknown(&mut self, authority: System, accounts: &[Arc<str>], began: Position) {
        for account in accounts {
            if let Some(one) = self.of_mut(authority, account).and_then(|intents| intents.get_mut(&began)) {
                one.unknown = true;
            }
        }
    }

    /// It is decided.
    pub fn end(&mut self, authority: System, accounts: &[Arc<str>], began: Position) {
        for account in accounts {
            let key = (authority, Arc::clone(account));
            if let Some(intents) = self.intents.get_mut(&key) {
                intents.remove(&began);
                if intents.is_empty() {
                    self.intents.remove(&key);
                }
            }
        }
    }

    /// Whether an exchange on an account that began before a position is not decided.
    pub fn any_before(&self, authority: System, account: &Arc<str>, position: Position) -> bool {
        self.of(authority, account).is_some_and(|intents| intents.range(..position).next().is_some())
    }

    /// Whether an exchange on an account that began before a position is unknown.
    pub fn unknown_before(&self, authority: System, account: &Arc<str>, position: Position) -> bool {
        self.of(authority, account).is_some_and(|intents| intents.range(..position).any(|(_, one)| one.unknown))
    }

    /// Whether an exchange on an account that began by a time is not decided.
    pub fn any_by(&self, authority: System, account: &Arc<str>, time: Timestamp) -> bool {
        // The log may have got an intent long after the front wrote it.
        let began_by = |(began, one): (&Position, &One)| began.at.min(one.written) <= time;
        self.of(authority, account).is_some_and(|intents| intents.iter().any(began_by))
    }

    fn of(&self, authority: System, account: &Arc<str>) -> Option<&BTreeMap<Position, One>> {
        self.intents.get(&(authority, Arc::clone(account)))
    }

    fn of_mut(&mut self, authority: System, account: &Arc<str>) -> Option<&mut BTreeMap<Position, One>> {
        self.intents.get_mut(&(authority, Arc::clone(account)))
    }
}
