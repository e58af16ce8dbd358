//! A shard and its view as entries, and back.

use crate::codec::snapshot::Entry;
use crate::view::{Kept, View};
use engine_domain::{AccountType, Currency, Image, Money, Shard, Timestamp};
use std::collections::BTreeMap;
use wire::snapshot::{Complete, Sum};

/// Calls `take` with everything that a shard and its view keep.
pub(super) fn of(shard: &Shard, view: &View, mut take: impl FnMut(Entry)) {
    let Image { accounts, transactions, sagas, steps } = shard.image();
    for (id, account) in accounts {
        // The view follows the same outcomes: it has every account, but for what only decisions need to know.
        let mut row = view.account_row(shard.number(), &id).expect("the view of a fold has its accounts");
        row.state = account;
        take(Entry::Account(id, Box::new(row)));
    }
    view.each_transaction(shard.number(), |row| take(Entry::Transaction(Box::new(row.clone()))));
    transactions.into_iter().for_each(|(id, remembered)| take(Entry::Key(id, remembered)));
    for saga in sagas {
        let since = view.saga_since(saga.id).unwrap_or_default();
        take(Entry::Saga(Box::new(saga), since));
    }
    steps.into_iter().for_each(|step| take(Entry::Step(step)));
}

/// Entries as they come, until there is a shard again.
#[derive(Default)]
pub(super) struct Gathered {
    image: Image,
    kept: Kept,
    /// How many came.
    pub(super) count: u64,
}

impl Gathered {
    /// One more.
    pub(super) fn take(&mut self, entry: Entry) {
        self.count += 1;
        match entry {
            Entry::Account(id, mut row) => {
                self.image.accounts.push((id.clone(), row.state));
                row.state.open_steps = 0;
                self.kept.accounts.push((id, *row));
            }
            Entry::Transaction(row) => self.kept.transactions.push(*row),
            Entry::Key(id, remembered) => self.image.transactions.push((id, remembered)),
            Entry::Saga(saga, since) => {
                self.kept.sagas.push((saga.id, (*saga).clone(), since));
                self.image.sagas.push(*saga);
            }
            Entry::Step(step) => self.image.steps.push(step),
        }
    }

    /// The sums of its accounts.
    pub(super) fn sums(&self) -> Vec<Sum> {
        sums(self.image.accounts.iter().map(|(_, account)| (account.currency, account.account_type, account.balance)))
    }

    /// The shard of these entries; its part of the view goes into `view`.
    pub(super) fn restore(self, complete: &Complete, view: &View) -> Shard {
        let Self { image, mut kept, .. } = self;
        kept.at = Timestamp(complete.at.0);
        kept.last_source = complete.next_source.checked_sub(1);
        kept.audited = (complete.events, complete.complete_events);
        view.restore(complete.shard, kept);
        Shard::of_image(complete.shard, complete.shards, image)
    }
}

/// What the accounts of a shard add up to.
pub(super) fn of_shard(shard: &Shard) -> Vec<Sum> {
    let accounts = shard.image().accounts;
    sums(accounts.iter().map(|(_, account)| (account.currency, account.account_type, account.balance)))
}

fn sums(accounts: impl Iterator<Item = (Currency, AccountType, Money)>) -> Vec<Sum> {
    let mut sums: BTreeMap<Currency, (Money, Money)> = BTreeMap::new();
    for (currency, account_type, balance) in accounts {
        let (users, all) = sums.entry(currency).or_default();
        *all = all.plus(balance);
        if account_type == AccountType::User {
            *users = users.plus(balance);
        }
    }
    let money = |money: Money| wire::scalar::Money(money.decimal());
    let sum = |(currency, (users, all)): (Currency, (Money, Money))| Sum {
        currency: currency.to_string(),
        users: money(users),
        all: money(all),
    };
    sums.into_iter().map(sum).collect()
}
