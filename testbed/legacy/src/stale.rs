//! Accounts that are shown as they were before their last change, until the next one: the fault `stale-balance`.
//!
//! In memory only: started again, the legacy shows what it keeps.

use crate::shapes::Account;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is shown in the place of accounts, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Stale(Mutex<HashMap<String, Account>>);

impl Stale {
    /// These accounts change, so that they are shown as they are; but for the one that is to be shown as it was `before`.
    ///
    /// Said before the change is committed: nobody is shown the new state in between. If nothing comes of the commit, the
    /// state before it is what there is.
    pub(crate) fn change<'a>(&self, changed: impl IntoIterator<Item = &'a str>, before: Option<&Account>) {
        let mut stale = self.lock();
        for id in changed {
            stale.remove(id);
        }
        if let Some(before) = before {
            stale.insert(before.account_id.clone(), before.clone());
        }
    }

    /// What is shown of an account that is kept like this.
    pub(crate) fn shown(&self, kept: Account) -> Account {
        self.lock().get(&kept.account_id).cloned().unwrap_or(kept)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
