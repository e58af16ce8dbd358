//! Everything that a shard keeps, in order: to be written down, and to begin from.

use crate::account::Account;
use crate::ids::{AccountId, Position, SagaId, TransactionId};
use crate::saga::{Saga, Stage, StepAnswer};
use crate::shard::{Entry, Shard, TakenHere};
use crate::transaction::Remembered;

/// What a shard keeps. What it could go back to is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Accounts and stripes, by their ids.
    pub accounts: Vec<(AccountId, Account)>,
    /// What is remembered of transactions and of keys that made an account, by their ids.
    pub transactions: Vec<(TransactionId, Remembered)>,
    /// Sagas that began here and are under way, oldest first.
    pub sagas: Vec<Saga>,
    /// Steps done for sagas of other shards.
    pub steps: Vec<StepTaken>,
}

/// A step done for a saga of another shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTaken {
    /// The saga.
    pub saga: SagaId,
    /// The step.
    pub stage: Stage,
    /// The outcome in which it was done.
    pub done_at: Position,
    /// What became of it: what a repeat is answered with.
    pub answer: StepAnswer,
}

impl Shard {
    /// What it keeps.
    pub fn image(&self) -> Image {
        let mut steps: Vec<StepTaken> = self
            .steps()
            .map(|(&(saga, stage), TakenHere { done_at, answer })| StepTaken {
                saga,
                stage,
                done_at: *done_at,
                answer: answer.clone(),
            })
            .collect();
        steps.sort_by_key(|step| (step.saga, step.stage));
        let mut accounts: Vec<_> = self.accounts().map(|(id, account)| (id.clone(), *account)).collect();
        accounts.sort_by(|one, two| one.0.cmp(&two.0));
        let mut transactions: Vec<_> = self.transactions().map(|(id, known)| (*id, known.clone())).collect();
        transactions.sort_by_key(|(id, _)| *id);
        Image { accounts, transactions, sagas: self.sagas().cloned().collect(), steps }
    }

    /// The shard that keeps this.
    pub fn of_image(number: u32, shards: u32, image: Image) -> Self {
        let mut shard = Self::new(number, shards);
        image.accounts.into_iter().for_each(|(id, account)| shard.keep_account(id, account));
        image.transactions.into_iter().for_each(|(id, remembered)| shard.keep_transaction(id, remembered));
        image.sagas.into_iter().for_each(|saga| shard.keep_saga(saga));
        image.steps.into_iter().for_each(|step| shard.keep_step(step));
        shard
    }

    /// An account of an image. Each comes once, to a shard that is being put together.
    pub fn keep_account(&mut self, id: AccountId, account: Account) {
        let sum = self.sum(account.currency).plus(account.balance);
        self.write(Entry::Sum(account.currency, Some(sum)));
        self.write(Entry::Account(id, Some(account)));
    }

    /// What is remembered of a transaction, likewise.
    pub fn keep_transaction(&mut self, id: TransactionId, remembered: Remembered) {
        self.write(Entry::Transaction(id, Some(remembered)));
    }

    /// A saga under way, likewise.
    pub fn keep_saga(&mut self, saga: Saga) {
        self.write(Entry::Saga(saga.id.offset, Some(Box::new(saga))));
    }

    /// A step that was done, likewise.
    pub fn keep_step(&mut self, step: StepTaken) {
        let StepTaken { saga, stage, done_at, answer } = step;
        self.write(Entry::Step((saga, stage), Some(TakenHere { done_at, answer })));
    }
}
