//! What an event does to a shard. No rule is asked here: what happened, happened.
//!
//! An event about something that is not there cannot come from [`decide`](crate::decide) on the same state, so the
//! history is broken, and the shard stops rather than go on with a guess.

use crate::account::{Account, Status};
use crate::event::{
    AccountCreated, AliasLearnt, Event, Guard, SagaEnded, SagaStepTaken, TransactionCompleted, TransactionFailed,
    TransactionRequested,
};
use crate::ids::{AccountId, SagaId, TransactionId};
use crate::money::Money;
use crate::saga::{Awaited, Saga, Taken};
use crate::shard::{Entry, Shard, TakenHere};
use crate::transaction::{Applied, Fate, Remembered};

/// Applies an event.
///
/// # Panics
/// When the event does not belong to this shard's history.
pub fn evolve(shard: &mut Shard, event: &Event) {
    match event {
        Event::AccountCreated(created) => shard.create_account(created),
        Event::AccountStatusChanged(_)
        | Event::AccountLimitsChanged(_)
        | Event::FundsReserved(_)
        | Event::ReservationReleased(_) => shard.change_account(event),
        Event::BalanceChanged(changed) => {
            let sum = shard.sum(changed.currency).plus(changed.balance_after.minus(changed.balance_before));
            shard.write(Entry::Sum(changed.currency, Some(sum)));
            shard.change_account(event);
        }
        Event::TransactionRequested(requested) => shard.request(requested),
        Event::TransactionCompleted(completed) => shard.complete(completed),
        Event::TransactionFailed(failed) => shard.fail(failed),
        Event::RefundHeld(held) => shard.hold(held.transaction, held.version, held.refunded_after),
        Event::RefundHoldReleased(released) => {
            shard.hold(released.transaction, released.version, released.refunded_after);
        }
        Event::AliasLearnt(learnt) => shard.learn_alias(learnt),
        Event::SagaStarted(saga) => {
            for account in &saga.guarded {
                shard.guard(account, true);
            }
            shard.write(Entry::Saga(saga.id.offset, Some(saga.clone())));
        }
        Event::SagaStepCompleted(step) => shard.progress(step.saga, step.version, &step.taken, step.awaited.as_ref()),
        Event::SagaStepFailed(step) => shard.progress(step.saga, step.version, &step.taken, step.awaited.as_ref()),
        Event::SagaCompensated(ended) | Event::SagaCompleted(ended) => shard.end_saga(ended),
        Event::SagaStepTaken(taken) => shard.take_step(taken),
    }
}

impl Account {
    /// A new account.
    pub(crate) fn created(event: &AccountCreated) -> Self {
        Self {
            account_type: event.account_type,
            currency: event.currency,
            status: Status::Active,
            limits: event.limits,
            balance: Money::ZERO,
            reserved: Money::ZERO,
            open_steps: 0,
            version: event.version,
        }
    }

    /// The account after an event of its own; events of other aggregates change nothing.
    pub(crate) fn apply(&mut self, event: &Event) {
        self.version = match event {
            Event::AccountStatusChanged(changed) => {
                self.status = changed.to;
                changed.version
            }
            Event::AccountLimitsChanged(changed) => {
                self.limits = changed.to;
                changed.version
            }
            Event::BalanceChanged(changed) => {
                self.balance = changed.balance_after;
                self.reserved = changed.reserved_after;
                changed.version
            }
            Event::FundsReserved(reserved) => {
                self.reserved = reserved.reserved_after;
                reserved.version
            }
            Event::ReservationReleased(released) => {
                self.reserved = released.reserved_after;
                released.version
            }
            _ => self.version,
        };
    }
}

impl Shard {
    fn create_account(&mut self, created: &AccountCreated) {
        self.write(Entry::Account(created.aggregate.id.clone(), Some(Account::created(created))));
        if let Some(key) = &created.key {
            let fate = Fate::AccountCreated(created.aggregate.id.clone());
            // The key may have stood for a refusal that the authority never heard of.
            let version = self.last_version(key.transaction).max(1);
            let remembered = Remembered { content: key.content, version, alias: None, fate };
            self.write(Entry::Transaction(key.transaction, Some(remembered)));
        }
    }

    fn change_account(&mut self, event: &Event) {
        let id = event.account().expect("only events of accounts come here");
        let mut account = *self.account(id).expect("the account of an event exists");
        account.apply(event);
        self.write(Entry::Account(id.clone(), Some(account)));
    }

    fn guard(&mut self, id: &AccountId, raised: bool) {
        let mut account = *self.account(id).expect("a guarded account exists");
        account.open_steps =
            if raised { account.open_steps + 1 } else { account.open_steps.checked_sub(1).expect("raised before") };
        self.write(Entry::Account(id.clone(), Some(account)));
    }

    fn request(&mut self, requested: &TransactionRequested) {
        let instead_of = self.transaction(requested.transaction).cloned().map(Box::new);
        let remembered = Remembered {
            content: requested.content,
            version: requested.version,
            alias: requested.alias.clone(),
            fate: Fate::Running { instead_of },
        };
        self.write(Entry::Transaction(requested.transaction, Some(remembered)));
    }

    fn complete(&mut self, completed: &TransactionCompleted) {
        let fate = Fate::Applied(Applied { kind: completed.kind, amount: completed.amount, refunded: Money::ZERO });
        let remembered = Remembered { version: completed.version, fate, ..self.known(completed.transaction).clone() };
        self.write(Entry::Transaction(completed.transaction, Some(remembered)));
    }

    fn fail(&mut self, failed: &TransactionFailed) {
        let known = self.known(failed.transaction).clone();
        let version = failed.version;
        let fate = Fate::Refused { rejection: failed.rejection, elsewhere: failed.elsewhere.is_some() };
        let remembered = match known.fate {
            _ if failed.kept => Remembered { version, fate, ..known },
            Fate::Running { instead_of: Some(earlier) } => Remembered { version, ..*earlier },
            _ => Remembered { version, alias: None, fate: Fate::Free, ..known },
        };
        self.write(Entry::Transaction(failed.transaction, Some(remembered)));
    }

    fn hold(&mut self, transaction: TransactionId, version: u64, refunded_after: Money) {
        let mut remembered = Remembered { version, ..self.known(transaction).clone() };
        match &mut remembered.fate {
            Fate::Applied(applied) => applied.refunded = refunded_after,
            other => panic!("only what was applied is held for a refund, not {other:?}"),
        }
        self.write(Entry::Transaction(transaction, Some(remembered)));
    }

    fn learn_alias(&mut self, learnt: &AliasLearnt) {
        let alias = Some(learnt.alias.clone());
        let remembered = Remembered { version: learnt.version, alias, ..self.known(learnt.transaction).clone() };
        self.write(Entry::Transaction(learnt.transaction, Some(remembered)));
    }

    fn known(&self, transaction: TransactionId) -> &Remembered {
        self.transaction(transaction).expect("the transaction of an event was asked for before")
    }

    fn progress(&mut self, id: SagaId, version: u64, taken: &Taken, awaited: Option<&Awaited>) {
        let mut saga = self.open_saga(id).clone();
        saga.version = version;
        saga.taken.push(taken.clone());
        if let Some(awaited) = awaited {
            saga.awaited = awaited.clone();
        }
        self.write(Entry::Saga(id.offset, Some(Box::new(saga))));
    }

    fn end_saga(&mut self, ended: &SagaEnded) {
        for account in self.open_saga(ended.saga).guarded.clone() {
            self.guard(&account, false);
        }
        self.write(Entry::Saga(ended.saga.offset, None));
    }

    fn open_saga(&self, id: SagaId) -> &Saga {
        self.saga(id).expect("the saga of an event is under way")
    }

    fn take_step(&mut self, taken: &SagaStepTaken) {
        match &taken.guard {
            Some(Guard::Raised(account)) => self.guard(account, true),
            Some(Guard::Lowered(account)) => self.guard(account, false),
            None => {}
        }
        let here = TakenHere { done_at: taken.done_at, answer: taken.answer.clone() };
        self.write(Entry::Step((taken.saga, taken.stage), Some(here)));
    }
}
