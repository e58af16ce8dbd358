//! The view of one shard: a fold of its accepted outcomes.

use super::Status;
use super::rows::{AccountRow, State, TransactionRow};
use crate::analytics::{self, Daily, Day, Series, Total};
use engine_domain::event::{SagaStepCompleted, SagaStepFailed};
use engine_domain::ids::AccountAggregate;
use engine_domain::saga::{Awaited, Movement, Saga, Taken, Work};
use engine_domain::{AccountId, Currency, Event, Money, Outcome, Position, SagaId, Text, Timestamp, TransactionId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

/// What one shard's outcomes add up to.
#[derive(Debug, Default)]
pub(super) struct ShardView {
    pub(super) accounts: HashMap<AccountId, AccountRow>,
    /// The ids of `accounts`, in order.
    pub(super) ids: BTreeSet<Text>,
    /// In the order in which they were asked for; a number is an index here.
    pub(super) transactions: Vec<TransactionRow>,
    by_id: HashMap<TransactionId, usize>,
    by_alias: HashMap<Text, usize>,
    by_key: HashMap<u64, Numbers>,
    key_hasher: RandomState,
    /// Transactions decided on this shard that name an account, whatever shard that one is on.
    histories: HashMap<AccountId, Vec<usize>>,
    /// Sum of all balances; zero after every outcome.
    pub(super) sums: BTreeMap<Currency, Money>,
    /// What became of transactions, per day.
    pub(super) daily: BTreeMap<Currency, Daily>,
    pub(super) sagas: BTreeMap<SagaId, OpenedSaga>,
    /// The newest outcome: its time, and the command it decided.
    pub(super) at: Timestamp,
    pub(super) last_source: Option<u64>,
    /// Events, and those of them whose envelope is complete.
    pub(super) audited: (u64, u64),
}

/// Where a final transaction is counted, and as what; one that names no currency moved nothing and is not.
fn counted(row: &TransactionRow) -> Option<(Currency, (Day, Series), Total)> {
    let (status, at) = match &row.state {
        State::Completed(completed) => (Status::Completed, completed.at),
        State::Failed(failed) => (Status::Failed, failed.at),
        State::Processing | State::Forgotten => return None,
    };
    let sum = row.amount.map_or(Money::ZERO, |amount| amount.money());
    Some((row.currency?, (analytics::day_at(at.0), (row.kind, status)), Total { count: 1, sum }))
}

/// A saga that is under way.
#[derive(Debug)]
pub(super) struct OpenedSaga {
    pub(super) saga: Saga,
    pub(super) since: Timestamp,
}

impl OpenedSaga {
    /// What it does, as metrics name it.
    pub(super) fn kind(&self) -> &'static str {
        match &self.saga.work {
            Work::Transaction(movement) => movement.kind.as_str(),
            Work::OpenStripes { .. } => "open-stripes",
            Work::SetStripes { .. } => "set-stripes",
        }
    }
}

/// Transactions under one key: nearly always one.
#[derive(Debug)]
enum Numbers {
    One(usize),
    Several(Vec<usize>),
}

impl Numbers {
    fn as_slice(&self) -> &[usize] {
        match self {
            Numbers::One(number) => std::slice::from_ref(number),
            Numbers::Several(numbers) => numbers,
        }
    }

    fn push(&mut self, number: usize) {
        match self {
            Numbers::One(first) => *self = Numbers::Several(vec![*first, number]),
            Numbers::Several(numbers) => numbers.push(number),
        }
    }
}

impl ShardView {
    /// Takes the accepted outcome that stands at `offset` in the journal.
    pub(super) fn fold(&mut self, outcome: Outcome, offset: u64) {
        let at = outcome.at;
        let position = Position { shard: outcome.shard, offset: outcome.source_offset };
        let complete = !outcome.correlation_id.is_empty() && !outcome.actor.is_empty() && !outcome.command.0.is_nil();
        let events = outcome.events.len() as u64;
        self.audited.0 += events;
        self.audited.1 += if complete { events } else { 0 };
        for event in outcome.events {
            match event {
                Event::AccountCreated(created) => {
                    if let Some(key) = &created.key {
                        self.forget(key.transaction);
                    }
                    let id = created.aggregate.id.clone();
                    let mut row = AccountRow::of(&created, at);
                    row.note(at, offset);
                    self.ids.insert(id.as_str().into());
                    self.accounts.insert(id, row);
                }
                Event::AccountStatusChanged(event) => {
                    self.touch(&event.aggregate, event.version, at, offset, |row| row.state.status = event.to);
                }
                Event::AccountLimitsChanged(event) => {
                    self.touch(&event.aggregate, event.version, at, offset, |row| row.state.limits = event.to);
                }
                Event::BalanceChanged(event) => {
                    let mut moved = Money::ZERO;
                    self.touch(&event.aggregate, event.version, at, offset, |row| {
                        // Against what this view holds, not against what the event says was there before.
                        moved = event.balance_after.minus(row.state.balance);
                        row.state.balance = event.balance_after;
                        row.state.reserved = event.reserved_after;
                    });
                    let sum = self.sums.entry(event.currency).or_default();
                    *sum = sum.plus(moved);
                }
                Event::FundsReserved(event) => {
                    let reserved = event.reserved_after;
                    self.touch(&event.aggregate, event.version, at, offset, |row| row.state.reserved = reserved);
                }
                Event::ReservationReleased(event) => {
                    let reserved = event.reserved_after;
                    self.touch(&event.aggregate, event.version, at, offset, |row| row.state.reserved = reserved);
                }
                Event::TransactionRequested(requested) => {
                    self.request(TransactionRow::of(*requested, outcome.correlation_id.clone(), at, position));
                }
                Event::TransactionCompleted(completed) => {
                    let id = completed.transaction;
                    if let Some(row) = self.transaction_mut(id) {
                        row.complete(*completed);
                    }
                    self.count(id);
                }
                Event::TransactionFailed(failed) => {
                    let (id, kept) = (failed.transaction, failed.kept);
                    if let Some(row) = self.transaction_mut(id) {
                        row.fail(failed);
                    }
                    self.count(id);
                    if !kept {
                        self.undo_request(id);
                    }
                }
                Event::AliasLearnt(learnt) => {
                    if let Some(&number) = self.by_id.get(&learnt.transaction) {
                        self.transactions[number].alias = Some(learnt.alias.clone());
                        self.by_alias.insert(learnt.alias, number);
                    }
                }
                Event::SagaStarted(saga) => {
                    let id = saga.id;
                    self.sagas.insert(id, OpenedSaga { saga: *saga, since: at });
                    self.note_saga(id, offset);
                }
                Event::SagaStepCompleted(SagaStepCompleted { saga, version, taken, awaited })
                | Event::SagaStepFailed(SagaStepFailed { saga, version, taken, awaited }) => {
                    self.step(saga, version, taken, awaited);
                    self.note_saga(saga, offset);
                }
                Event::SagaCompleted(ended) | Event::SagaCompensated(ended) => {
                    self.note_saga(ended.saga, offset);
                    self.sagas.remove(&ended.saga);
                }
                // What is held of an original for a refund decides; nobody asks the view for it. Steps for sagas of
                // other shards show in the accounts that they touched.
                Event::RefundHeld(_) | Event::RefundHoldReleased(_) | Event::SagaStepTaken(_) => {}
            }
        }
        self.at = at;
        self.last_source = Some(outcome.source_offset);
    }

    /// Changes an account's row and notes how it stands now.
    fn touch(
        &mut self,
        aggregate: &AccountAggregate,
        version: u64,
        at: Timestamp,
        offset: u64,
        change: impl FnOnce(&mut AccountRow),
    ) {
        if let Some(row) = self.accounts.get_mut(&aggregate.id) {
            change(row);
            row.state.version = version;
            row.note(at, offset);
        }
    }

    fn request(&mut self, mut row: TransactionRow) {
        row.instead_of = self.forget(row.id).map(Box::new);
        self.enter(row);
    }

    /// A transaction as it stood when it was written down.
    pub(super) fn put_back(&mut self, row: TransactionRow) {
        let id = row.id;
        let stands = !matches!(row.state, State::Forgotten);
        self.enter(row);
        if stands {
            self.count(id);
        }
    }

    fn enter(&mut self, mut row: TransactionRow) {
        let number = self.transactions.len();
        if !matches!(row.state, State::Forgotten) {
            self.by_id.insert(row.id, number);
            if let Some(alias) = &row.alias {
                self.by_alias.insert(alias.clone(), number);
            }
        }
        let key = self.key_hasher.hash_one((&*row.tenant, &*row.key));
        self.by_key.entry(key).and_modify(|numbers| numbers.push(number)).or_insert(Numbers::One(number));
        for side in [&mut row.source, &mut row.destination] {
            let Some(account) = side else { continue };
            // The row shares the id's text with the index instead of keeping its own.
            if let Some((known, _)) = self.histories.get_key_value(account) {
                *account = known.clone();
            }
        }
        for (index, account) in [&row.source, &row.destination].into_iter().enumerate() {
            let Some(account) = account else { continue };
            // A request with one account on both sides is refused, and in its history once.
            if index == 0 || row.source.as_ref() != Some(account) {
                self.histories.entry(account.clone()).or_default().push(number);
            }
        }
        self.transactions.push(row);
    }

    /// Counts a transaction that is final now.
    fn count(&mut self, id: TransactionId) {
        if let Some((currency, place, counted)) = self.by_id(id).and_then(counted) {
            let total = self.daily.entry(currency).or_default().entry(place).or_default();
            *total = total.plus(counted);
        }
    }

    /// The key stands for something else now; the refusal that it stood for remains in the journal.
    fn forget(&mut self, id: TransactionId) -> Option<(usize, State)> {
        if let Some((currency, place, counted)) = self.by_id(id).and_then(counted)
            && let Some(total) = self.daily.entry(currency).or_default().get_mut(&place)
        {
            *total = total.minus(counted);
        }
        let refused = self.by_id.remove(&id)?;
        Some((refused, std::mem::replace(&mut self.transactions[refused].state, State::Forgotten)))
    }

    /// Nothing is kept of the last request under this id: the key stands for what it stood for before.
    fn undo_request(&mut self, id: TransactionId) {
        let Some(number) = self.by_id.remove(&id) else { return };
        if let Some(earlier) = self.transactions[number].instead_of.take() {
            let (refused, state) = *earlier;
            self.transactions[refused].state = state;
            self.by_id.insert(id, refused);
            self.count(id);
        }
    }

    fn step(&mut self, saga: SagaId, version: u64, taken: Taken, awaited: Option<Awaited>) {
        if let Some(opened) = self.sagas.get_mut(&saga) {
            opened.saga.version = version;
            opened.saga.taken.push(taken);
            if let Some(awaited) = awaited {
                opened.saga.awaited = awaited;
            }
        }
    }

    /// Notes with its transaction that a saga began, or went on, by the outcome at `offset`.
    fn note_saga(&mut self, saga: SagaId, offset: u64) {
        let Some(opened) = self.sagas.get(&saga) else { return };
        let Work::Transaction(Movement { transaction, .. }) = opened.saga.work else { return };
        // A trial run has a saga too; its transaction was never asked for, or by another command.
        let row = self.transaction_mut(transaction).filter(|row| row.requested_in == saga);
        if let Some(row) = row.filter(|row| row.saga.last() != Some(&offset)) {
            row.saga.push(offset);
        }
    }

    fn transaction_mut(&mut self, id: TransactionId) -> Option<&mut TransactionRow> {
        self.by_id.get(&id).map(|&number| &mut self.transactions[number])
    }

    /// The transaction of this id.
    pub(super) fn by_id(&self, id: TransactionId) -> Option<&TransactionRow> {
        self.by_id.get(&id).map(|&number| &self.transactions[number])
    }

    /// The transaction that the other system knows by this id.
    pub(super) fn by_alias(&self, alias: &str) -> Option<&TransactionRow> {
        let row = &self.transactions[*self.by_alias.get(alias)?];
        (!matches!(row.state, State::Forgotten)).then_some(row)
    }

    /// The transactions under this key, each of another deciding account.
    pub(super) fn by_key<'a>(&'a self, tenant: &'a str, key: &'a str) -> impl Iterator<Item = &'a TransactionRow> {
        let numbers = self.by_key.get(&self.key_hasher.hash_one((tenant, key))).map_or(&[][..], Numbers::as_slice);
        numbers
            .iter()
            .map(|&number| &self.transactions[number])
            .filter(move |row| *row.tenant == *tenant && *row.key == *key && !matches!(row.state, State::Forgotten))
    }

    /// The numbers of the transactions decided here that name an account, oldest first.
    pub(super) fn history(&self, account: &AccountId) -> &[usize] {
        self.histories.get(account).map_or(&[], Vec::as_slice)
    }
}
