//! A shard: the state that decisions are taken on, and how to go back to an earlier one.
//!
//! The maps are only ever looked up, and walked for an image that is put in order, so their order cannot reach a decision.

use crate::account::Account;
use crate::ids::{AccountId, Currency, Position, SagaId, Timestamp, TransactionId};
use crate::money::Money;
use crate::outcome::FollowUp;
use crate::planted::{Mistake, planted};
use crate::saga::{Saga, Stage, StepAnswer};
use crate::transaction::{Fate, Remembered};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// One of a ledger's shards.
#[derive(Debug, Clone)]
pub struct Shard {
    number: u32,
    shards: u32,
    state: State,
    undo: UndoLog,
}

/// Two shards are equal when they decide alike; what they could go back to does not matter, and the sums follow from the
/// accounts.
impl PartialEq for Shard {
    fn eq(&self, other: &Self) -> bool {
        let keeps = |shard: &Self| (shard.number, shard.shards);
        let State { accounts, transactions, sagas, steps, sums: _ } = &self.state;
        keeps(self) == keeps(other)
            && (accounts, transactions, sagas, steps)
                == (&other.state.accounts, &other.state.transactions, &other.state.sagas, &other.state.steps)
    }
}

#[derive(Debug, Clone, Default)]
struct State {
    accounts: HashMap<AccountId, Account>,
    transactions: HashMap<TransactionId, Remembered>,
    /// Sagas whose home this is, by the offset of their id.
    sagas: BTreeMap<u64, Box<Saga>>,
    /// Steps done here for sagas of other shards.
    steps: HashMap<(SagaId, Stage), TakenHere>,
    /// The sum of all balances, kept as they change; zero after every outcome.
    sums: BTreeMap<Currency, Money>,
}

/// A step done for a saga of another shard: what a repeat is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenHere {
    /// The outcome in which it was done.
    pub(crate) done_at: Position,
    /// What became of it.
    pub(crate) answer: StepAnswer,
}

/// An entry of the state as it is to be, or as it was; `None` is its absence.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Account(AccountId, Option<Account>),
    Transaction(TransactionId, Option<Remembered>),
    Saga(u64, Option<Box<Saga>>),
    Step((SagaId, Stage), Option<TakenHere>),
    Sum(Currency, Option<Money>),
}

/// A moment that a shard can go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// Replaced entries since the first mark, oldest first.
#[derive(Debug, Clone, Default)]
struct UndoLog {
    /// Nothing is kept before the first mark: a fold of the journal never goes back.
    recording: bool,
    /// How many entries were forgotten.
    forgotten: u64,
    replaced: VecDeque<Entry>,
}

impl Shard {
    /// Shard `number` of `shards`, empty.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn new(number: u32, shards: u32) -> Self {
        assert!(number < shards, "shard {number} of {shards} does not exist");
        Self { number, shards, state: State::default(), undo: UndoLog::default() }
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How many shards there are.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// An account that is kept here, or this shard's stripe of it.
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.state.accounts.get(id)
    }

    /// What is remembered of a transaction, or of a key that made an account.
    pub fn transaction(&self, id: TransactionId) -> Option<&Remembered> {
        self.state.transactions.get(&id).filter(|known| known.fate != Fate::Free)
    }

    /// How many events there were of a transaction, also of one that nothing else is remembered of.
    pub(crate) fn last_version(&self, id: TransactionId) -> u64 {
        self.state.transactions.get(&id).map_or(0, |known| known.version)
    }

    /// A saga that began here and is under way.
    pub fn saga(&self, id: SagaId) -> Option<&Saga> {
        self.state.sagas.get(&id.offset).map(|saga| &**saga).filter(|saga| saga.id == id)
    }

    /// The sagas that began here and are under way, oldest first.
    pub fn sagas(&self) -> impl Iterator<Item = &Saga> {
        self.state.sagas.values().map(|saga| &**saga)
    }

    /// The step that each saga under way waits for, to be sent again after a restart and from time to time: a step
    /// asked twice is done once.
    pub fn open_steps(&self, at: Timestamp) -> Vec<FollowUp> {
        self.sagas().map(|saga| saga.ask(at)).collect()
    }

    /// The sum of all balances kept here, per currency. Zero after every outcome: anything else is a broken shard.
    pub fn sums(&self) -> impl Iterator<Item = (Currency, Money)> {
        self.state.sums.iter().map(|(currency, sum)| (*currency, *sum))
    }

    /// What has left this shard and not yet reached another, less what came the other way. Over all shards it is zero
    /// when no saga is under way.
    pub fn in_transit(&self, currency: Currency) -> Money {
        self.account(&AccountId::in_transit(currency)).map_or(Money::ZERO, |account| account.balance)
    }

    /// The present moment, to go back to. From the first mark on, replaced entries are kept until
    /// [`Shard::forget_before`].
    pub fn mark(&mut self) -> Mark {
        self.undo.recording = true;
        self.undo.end()
    }

    /// Goes back to a mark: the state is exactly what it was.
    ///
    /// # Panics
    /// When the mark was forgotten, or lies ahead.
    pub fn rollback_to(&mut self, mark: Mark) {
        assert!(self.undo.forgotten <= mark.0 && mark <= self.undo.end(), "the mark is not within the undo log");
        while self.undo.end() > mark {
            let entry = self.undo.replaced.pop_back().expect("the log ends behind the mark");
            if matches!(entry, Entry::Transaction(..)) && planted(Mistake::ReplyCachedBeforeAcceptance) {
                continue;
            }
            self.state.replace(entry);
        }
    }

    /// Gives up going back to anything before a mark.
    pub fn forget_before(&mut self, mark: Mark) {
        let count = mark.0.saturating_sub(self.undo.forgotten).min(self.undo.end().0 - self.undo.forgotten);
        self.undo.forgotten += count;
        self.undo.replaced.drain(..usize::try_from(count).expect("entries in memory are counted by usize"));
    }

    #[expect(clippy::disallowed_methods, reason = "the image is put in order")]
    pub(crate) fn accounts(&self) -> impl Iterator<Item = (&AccountId, &Account)> {
        self.state.accounts.iter()
    }

    #[expect(clippy::disallowed_methods, reason = "the image is put in order")]
    pub(crate) fn transactions(&self) -> impl Iterator<Item = (&TransactionId, &Remembered)> {
        self.state.transactions.iter()
    }

    #[expect(clippy::disallowed_methods, reason = "the image is put in order")]
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&(SagaId, Stage), &TakenHere)> {
        self.state.steps.iter()
    }

    pub(crate) fn step(&self, saga: SagaId, stage: Stage) -> Option<&TakenHere> {
        self.state.steps.get(&(saga, stage))
    }

    pub(crate) fn sum(&self, currency: Currency) -> Money {
        self.state.sums.get(&currency).copied().unwrap_or_default()
    }

    /// Makes an entry what it is to be. The only way in which the state changes.
    pub(crate) fn write(&mut self, entry: Entry) {
        let replaced = self.state.replace(entry);
        if self.undo.recording {
            self.undo.replaced.push_back(replaced);
        }
    }
}

impl State {
    /// Puts an entry in place and returns what was there.
    fn replace(&mut self, entry: Entry) -> Entry {
        match entry {
            Entry::Account(id, Some(account)) => Entry::Account(id.clone(), self.accounts.insert(id, account)),
            Entry::Account(id, None) => Entry::Account(id.clone(), self.accounts.remove(&id)),
            Entry::Transaction(id, Some(remembered)) => {
                Entry::Transaction(id, self.transactions.insert(id, remembered))
            }
            Entry::Transaction(id, None) => Entry::Transaction(id, self.transactions.remove(&id)),
            Entry::Saga(offset, Some(saga)) => Entry::Saga(offset, self.sagas.insert(offset, saga)),
            Entry::Saga(offset, None) => Entry::Saga(offset, self.sagas.remove(&offset)),
            Entry::Step(key, Some(taken)) => Entry::Step(key, self.steps.insert(key, taken)),
            Entry::Step(key, None) => Entry::Step(key, self.steps.remove(&key)),
            Entry::Sum(currency, Some(sum)) => Entry::Sum(currency, self.sums.insert(currency, sum)),
            Entry::Sum(currency, None) => Entry::Sum(currency, self.sums.remove(&currency)),
        }
    }
}

impl UndoLog {
    fn end(&self) -> Mark {
        Mark(self.forgotten + self.replaced.len() as u64)
    }
}
