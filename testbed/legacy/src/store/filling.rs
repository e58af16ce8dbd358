//! An empty store while it is filled: what the executor reads is in memory, what it writes goes to the store many rows at
//! a time, and all of it counts at once.

use super::{Booked, Kept};
use super::{Error, NewTransaction, OwnedScope, Rows, Scope, Store, Writing};
use crate::shapes::{Account, FaultEntry, TransactionResult};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Transactions that are given to the store together, and sequences that are taken together.
const TOGETHER: u64 = 10_000;

/// The one transaction of the store in which everything is written, and what was written so far.
pub(crate) struct Filling<'a> {
    writing: Box<dyn Writing + 'a>,
    accounts: HashMap<String, Account>,
    keys: HashSet<OwnedScope>,
    /// What the store was not given yet; accounts come at the end.
    rows: Rows,
    sequences: Range<u64>,
}

impl<'a> Filling<'a> {
    /// Begins to fill a store in which there is nothing.
    pub(crate) fn of(writing: Box<dyn Writing + 'a>) -> Self {
        let (accounts, keys) = (HashMap::new(), HashSet::new());
        Self { writing, accounts, keys, rows: Rows::default(), sequences: 0..0 }
    }

    /// Gives the store what it has not got yet, and makes everything durable.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.rows.accounts = self.accounts.into_values().collect();
        self.writing.put_all(self.rows)?;
        self.writing.commit()
    }
}

impl Store for &mut Filling<'_> {
    fn begin(&mut self) -> Result<Box<dyn Writing + '_>, Error> {
        Ok(Box::new(Request(self)))
    }
}

/// One request being executed. It has no way back: the executor writes nothing before it is certain of everything.
struct Request<'f, 'a>(&'f mut Filling<'a>);

impl Writing for Request<'_, '_> {
    fn accounts(&mut self, ids: [&str; 2]) -> Result<[Option<Account>; 2], Error> {
        Ok(ids.map(|id| self.0.accounts.get(id).cloned()))
    }

    fn put_account(&mut self, account: &Account) -> Result<(), Error> {
        self.0.accounts.insert(account.account_id.clone(), account.clone());
        Ok(())
    }

    /// None is looked for: nothing is refunded while a store is filled.
    fn transaction(&mut self, _: u64) -> Result<Option<Booked>, Error> {
        Ok(None)
    }

    fn put_transaction(&mut self, sequence: u64, result: &TransactionResult, known: [bool; 2]) -> Result<(), Error> {
        self.0.rows.transactions.push(NewTransaction { sequence, result: result.clone(), known });
        Ok(())
    }

    fn put_refunded(&mut self, _: u64, booked: &Booked) -> Result<(), Error> {
        Err(Error::CannotFill(format!("{} would be refunded", booked.result.transaction_id)))
    }

    fn kept(&mut self, scope: Scope<'_>) -> Result<Option<Kept>, Error> {
        match self.0.keys.contains(&OwnedScope::of(scope)) {
            true => Err(Error::CannotFill(format!("the key `{}` comes twice", scope.key))),
            false => Ok(None),
        }
    }

    fn put_kept(&mut self, scope: Scope<'_>, kept: &Kept) -> Result<(), Error> {
        let scope = OwnedScope::of(scope);
        self.0.keys.insert(scope.clone());
        self.0.rows.kept.push((scope, kept.clone()));
        Ok(())
    }

    /// Not counted: what a store is filled with was sent by nobody.
    fn count_execution(&mut self, _: Scope<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn put_fault(&mut self, entry: &FaultEntry) -> Result<(), Error> {
        self.0.writing.put_fault(entry)
    }

    fn next_sequences(&mut self, count: u64) -> Result<u64, Error> {
        let free = &mut self.0.sequences;
        if free.end - free.start < count {
            let first = self.0.writing.next_sequences(count.max(TOGETHER))?;
            *free = first..first + count.max(TOGETHER);
        }
        let first = free.start;
        free.start += count;
        Ok(first)
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        let Filling { writing, rows, .. } = self.0;
        if rows.transactions.len() as u64 >= TOGETHER {
            writing.put_all(std::mem::take(rows))?;
        }
        Ok(())
    }
}
