//! A decision while it is made: the events so far, and the accounts as they stand after them.

use crate::account::{Account, AccountType, Limits, Status};
use crate::command::CreateAccount;
use crate::event::{
    AccountCreated, AccountKey, AccountLimitsChanged, AccountStatusChanged, BalanceChanged, Event, Reason, Side,
};
use crate::ids::{AccountAggregate, AccountId, Currency, Position, Timestamp, TransactionId};
use crate::money::Money;
use crate::outcome::{Answer, Decision, FollowUp};
use crate::shard::Shard;

/// A decision while it is made.
pub(super) struct Draft<'a> {
    /// The state that is decided on. Accounts are read through [`Draft::account`] instead.
    pub(super) shard: &'a Shard,
    /// The outcome that this will be.
    pub(super) position: Position,
    /// When it is decided.
    pub(super) at: Timestamp,
    events: Vec<Event>,
    sends: Vec<FollowUp>,
    /// Accounts that the events so far changed; a handful at most.
    changed: Vec<(AccountId, Account)>,
    /// What the movements so far add up to; a decision is about one transaction and so about one currency.
    unbalanced: Option<(Currency, TransactionId, Money)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(shard: &'a Shard, source_offset: u64, at: Timestamp) -> Self {
        Self {
            shard,
            position: Position { shard: shard.number(), offset: source_offset },
            at,
            events: Vec::with_capacity(4),
            sends: Vec::new(),
            changed: Vec::with_capacity(2),
            unbalanced: None,
        }
    }

    /// An account of this shard as it stands after the events so far.
    pub(super) fn account(&self, id: &AccountId) -> Option<Account> {
        let changed = self.changed.iter().find(|(changed, _)| changed == id).map(|(_, account)| account);
        changed.or_else(|| self.shard.account(id)).copied()
    }

    /// An account that a request may name. In-transit accounts are the engine's own.
    pub(super) fn find(&self, id: &AccountId) -> Option<Account> {
        self.account(id).filter(|_| !id.is_in_transit())
    }

    /// Something happened.
    pub(super) fn emit(&mut self, event: Event) {
        if let Event::AccountCreated(created) = &event {
            self.changed.push((created.aggregate.id.clone(), Account::created(created)));
        } else if let Some(id) = event.account() {
            let mut account = self.account(id).expect("decided on an account that is there");
            account.apply(&event);
            match self.changed.iter_mut().find(|(changed, _)| changed == id) {
                Some((_, changed)) => *changed = account,
                None => self.changed.push((id.clone(), account)),
            }
        }
        self.events.push(event);
    }

    /// Something is to be sent to another shard.
    pub(super) fn send(&mut self, follow_up: FollowUp) {
        self.sends.push(follow_up);
    }

    /// How many events there are so far.
    pub(super) fn events(&self) -> usize {
        self.events.len()
    }

    /// What came after the first `events` did not happen after all. Those that stay must not be about accounts.
    pub(super) fn rewind_to(&mut self, events: usize) {
        self.events.truncate(events);
        self.sends.clear();
        self.changed.clear();
        self.unbalanced = None;
    }

    /// How this shard names an account.
    pub(super) fn aggregate(&self, id: &AccountId, account: &Account) -> AccountAggregate {
        AccountAggregate { id: id.clone(), stripe: account.is_striped().then_some(self.shard.number()) }
    }

    /// An account, or this shard's stripe of it, is there from now on.
    pub(super) fn open_account(&mut self, create: &CreateAccount, key: Option<AccountKey>) {
        let striped = crate::account::is_striped(create.account_type, &create.limits);
        self.emit(Event::AccountCreated(AccountCreated {
            aggregate: AccountAggregate { id: create.account.clone(), stripe: striped.then_some(self.shard.number()) },
            version: 1,
            owner_id: create.owner_id.clone(),
            owner_type: create.owner_type.clone(),
            account_type: create.account_type,
            currency: create.currency,
            limits: create.limits,
            metadata: create.metadata.clone(),
            key,
        }));
    }

    /// The account has another status; nothing happens if it has it already.
    pub(super) fn set_status(&mut self, id: &AccountId, account: &Account, to: Status) {
        if account.status != to {
            let aggregate = self.aggregate(id, account);
            let (version, from) = (account.version + 1, account.status);
            self.emit(Event::AccountStatusChanged(AccountStatusChanged { aggregate, version, from, to }));
        }
    }

    /// The account has other limits; nothing happens if it has them already.
    pub(super) fn set_limits(&mut self, id: &AccountId, account: &Account, to: Limits) {
        if account.limits != to {
            let aggregate = self.aggregate(id, account);
            let (version, from) = (account.version + 1, account.limits);
            self.emit(Event::AccountLimitsChanged(AccountLimitsChanged { aggregate, version, from, to }));
        }
    }

    /// Money comes or goes. `reserving` is what the movement takes out of a reservation (negative) or gives back to it.
    pub(super) fn post(
        &mut self,
        id: &AccountId,
        account: &Account,
        movement: Money,
        reserving: Money,
        reason: Reason,
        transaction: TransactionId,
    ) -> Side {
        let side = Side {
            account: id.clone(),
            account_type: account.account_type,
            balance_before: account.balance,
            balance_after: account.balance.plus(movement),
            version: account.version + 1,
        };
        self.emit(Event::BalanceChanged(BalanceChanged {
            aggregate: self.aggregate(id, account),
            version: side.version,
            currency: account.currency,
            balance_before: side.balance_before,
            balance_after: side.balance_after,
            reserved_after: account.reserved.plus(reserving),
            reason,
            transaction,
        }));
        let so_far = self.unbalanced.map_or(Money::ZERO, |(_, _, sum)| sum);
        self.unbalanced = Some((account.currency, transaction, so_far.plus(movement)));
        side
    }

    /// Posts what the movements so far leave over against this shard's in-transit account, which is made on first use.
    pub(super) fn balance(&mut self) {
        let Some((currency, transaction, left)) = self.unbalanced else { return };
        if left.is_zero() {
            return;
        }
        let id = AccountId::in_transit(currency);
        if self.account(&id).is_none() {
            self.open_account(&in_transit_account(id.clone(), currency), None);
        }
        let account = self.account(&id).expect("made just now, if not before");
        self.post(&id, &account, left.negated(), Money::ZERO, Reason::InTransit, transaction);
    }

    pub(super) fn into_decision(self, answer: Answer) -> Decision {
        assert!(self.unbalanced.is_none_or(|(_, _, left)| left.is_zero()), "a decision moves money in balance");
        Decision { events: self.events, sends: self.sends, answer }
    }
}

/// What holds the money that has left one shard and not yet reached another.
fn in_transit_account(account: AccountId, currency: Currency) -> CreateAccount {
    CreateAccount {
        key: None,
        account,
        owner_id: "crossfade".into(),
        owner_type: "engine".into(),
        account_type: AccountType::System,
        currency,
        limits: Limits::default(),
        metadata: None,
    }
}
