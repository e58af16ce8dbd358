//! A shard and its view as entries, and back.

use crate::codec::snapshot::Entry;
use crate::view::{Kept, View};
use engine_domain::{AccountType, Currency, Image, Money, Shard};
use std::collections::BTreeMap;
use wire::snapshot::{Complete, Sum};

/// Everything that a shard and its view keep, one after the other.
pub(super) fn of(shard: &Shard, view: &View) -> impl Iterator<Item = Entry> + Send + use<> {
    let Image { accounts, transactions, sagas, steps } = shard.image();
    let number = shard.number();
    let (of_accounts, of_transactions, of_sagas) = (view.clone(), view.clone(), view.clone());
    let accounts = accounts.into_iter().map(move |(id, account)| {
        // The view follows the same outcomes: it has every account, but for what only decisions need to know.
        let mut row = of_accounts.account_row(number, &id).expect("the view of a fold has its accounts");
        row.state = account;
        Entry::Account(id, Box::new(row))
    });
    let rows = (0..).map_while(move |index| of_transactions.transaction_row(number, index));
    let rows = rows.map(|row| Entry::Transaction(Box::new(row)));
    let keys = transactions.into_iter().map(|(id, remembered)| Entry::Key(id, remembered));
    let sagas = sagas.into_iter().map(move |saga| {
        let since = of_sagas.saga_since(saga.id).unwrap_or_default();
        Entry::Saga(Box::new(saga), since)
    });
    accounts.chain(rows).chain(keys).chain(sagas).chain(steps.into_iter().map(Entry::Step))
}

/// A shard and its part of the view that are being put together from entries.
pub(super) struct Gathered {
    shard: Shard,
    kept: Kept,
    sums: Sums,
}

impl Gathered {
    /// Nothing yet, of this shard.
    pub(super) fn of(number: u32, shards: u32) -> Self {
        Self { shard: Shard::new(number, shards), kept: Kept::default(), sums: Sums::default() }
    }

    /// One more.
    pub(super) fn take(&mut self, entry: Entry) {
        self.sums.take(&entry);
        match entry {
            Entry::Account(id, mut row) => {
                self.shard.keep_account(id.clone(), row.state);
                row.state.open_steps = 0;
                self.kept.account(id, *row);
            }
            Entry::Transaction(row) => self.kept.transaction(*row),
            Entry::Key(id, remembered) => self.shard.keep_transaction(id, remembered),
            Entry::Saga(saga, since) => {
                self.kept.saga((*saga).clone(), since);
                self.shard.keep_saga(*saga);
            }
            Entry::Step(step) => self.shard.keep_step(step),
        }
    }

    /// The sums of its accounts.
    pub(super) fn sums(&self) -> Vec<Sum> {
        self.sums.shown()
    }

    /// The shard of all entries; its part of the view goes into `view`.
    pub(super) fn restore(self, complete: &Complete, view: &View) -> Shard {
        view.restore(self.kept, complete);
        self.shard
    }
}

/// Per currency: what the USER accounts, and all, add up to.
#[derive(Debug, Default)]
pub(super) struct Sums(BTreeMap<Currency, (Money, Money)>);

impl Sums {
    /// One more entry; accounts count.
    pub(super) fn take(&mut self, entry: &Entry) {
        let Entry::Account(_, row) = entry else { return };
        let (users, all) = self.0.entry(row.state.currency).or_default();
        *all = all.plus(row.state.balance);
        if row.state.account_type == AccountType::User {
            *users = users.plus(row.state.balance);
        }
    }

    /// As they are stored.
    pub(super) fn shown(&self) -> Vec<Sum> {
        let money = |money: Money| wire::scalar::Money(money.decimal());
        let sum = |(currency, (users, all)): (&Currency, &(Money, Money))| Sum {
            currency: currency.to_string(),
            users: money(*users),
            all: money(*all),
        };
        self.0.iter().map(sum).collect()
    }
}
