//! What is known of accounts: whether legs on them exclude each other.
//!
//! Learnt from the answers that pass by and from roles (the destination of a top-up is a USER), else by asking.
//! Whatever is not known is taken as limited: that costs time, never order. Limits of EXTERNAL and SYSTEM accounts
//! can neither be added to an unlimited one nor all be taken away (`LimitsFixed`), so what is known stays true.

use super::keys::{KeyId, key_of};
use super::reading::Reading;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::exchange::Intent;
use wire::scalar::Timestamp;
use wire::words::Operation;

/// What is known of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether any balance rule holds for it.
    pub limited: bool,
}

impl Facts {
    /// A USER account never goes below zero.
    pub const USER: Facts = Facts { limited: true };
}

/// All accounts seen. Names are kept once.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    known: BTreeMap<Arc<str>, Option<Facts>>,
    /// Accounts that somebody should be asked for, and not before when.
    wanted: BTreeMap<Arc<str>, Timestamp>,
    /// Accounts that somebody is being asked for.
    asked: BTreeSet<Arc<str>>,
    /// Accounts whose making was seen, with the key of the request that made them.
    made: BTreeMap<Arc<str>, Option<KeyId>>,
}

impl Accounts {
    /// The one copy of an account's name.
    pub fn name(&mut self, account: &str) -> Arc<str> {
        match self.known.get_key_value(account) {
            Some((name, _)) => Arc::clone(name),
            None => {
                let name: Arc<str> = account.into();
                self.known.insert(Arc::clone(&name), None);
                name
            }
        }
    }

    /// Whether legs on an account exclude each other.
    pub fn limited(&self, account: &str) -> bool {
        self.known.get(account).copied().flatten().is_none_or(|facts| facts.limited)
    }

    /// Takes note of what an account is; answers whether that is news.
    pub fn learn(&mut self, account: &Arc<str>, facts: Facts) -> bool {
        self.wanted.remove(account);
        self.asked.remove(account);
        self.known.insert(Arc::clone(account), Some(facts)) != Some(Some(facts))
    }

    /// A request was applied; if it made an account, that can only happen once.
    pub fn created_by(&mut self, intent: &Intent) {
        if let (Operation::CreateAccount, Some(account)) = (intent.operation, intent.account.as_deref()) {
            let account = self.name(account);
            self.made.entry(account).or_insert(key_of(intent));
        }
    }

    /// Whether a request for a new account asks for one that another request has made.
    pub fn made_by_another(&self, intent: &Intent) -> bool {
        let maker = intent.account.as_deref().and_then(|account| self.made.get(account));
        intent.operation == Operation::CreateAccount && maker.is_some_and(|maker| *maker != key_of(intent))
    }

    /// Somebody should be asked for an account, if nothing is known of it.
    pub fn want(&mut self, account: &Arc<str>, at: Timestamp) {
        if self.known.get(account).copied().flatten().is_none() && !self.asked.contains(account) {
            self.wanted.entry(Arc::clone(account)).or_insert(at);
        }
    }

    /// The accounts to be asked for now, at most `room` at a time; those nobody waits for are dropped.
    pub fn ask(&mut self, now: Timestamp, room: usize, needed: impl Fn(&Arc<str>) -> bool) -> Vec<Arc<str>> {
        self.wanted.retain(|account, _| needed(account));
        let free = room.saturating_sub(self.asked.len());
        let due: Vec<_> = self
            .wanted
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(account, _)| Arc::clone(account))
            .take(free)
            .collect();
        for account in &due {
            self.wanted.remove(account);
            self.asked.insert(Arc::clone(account));
        }
        due
    }

    /// Asking did not help; again at `next`.
    pub fn not_learnt(&mut self, account: &Arc<str>, next: Timestamp) {
        self.asked.remove(account);
        self.want(account, next);
    }
}

/// What an authority's answer to a request says of accounts.
pub(crate) fn facts_in(intent: &Intent, reading: &Reading) -> Vec<(String, Facts)> {
    let mut facts: Vec<_> = reading.users.iter().map(|account| (account.clone(), Facts::USER)).collect();
    facts.extend(reading.account.clone());
    // Which side is a USER by the rules of the operation; transactions that were refused keep to no rule.
    let by_role = match intent.operation {
        _ if reading.code.is_some() => None,
        Operation::Topup => reading.destination.clone(),
        Operation::Withdraw | Operation::Transfer => reading.source.clone(),
        Operation::Refund | Operation::CreateAccount | Operation::ChangeAccount => None,
    };
    facts.extend(by_role.map(|account| (account, Facts::USER)));
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_account_counts_as_limited_until_somebody_was_asked() {
        let mut accounts = Accounts::default();
        let bank = accounts.name("bank");
        assert!(accounts.limited("bank"));
        accounts.want(&bank, Timestamp(5));
        assert!(accounts.ask(Timestamp(4), 8, |_| true).is_empty(), "not yet");
        assert_eq!(accounts.ask(Timestamp(5), 8, |_| true), [Arc::clone(&bank)]);
        accounts.want(&bank, Timestamp(5));
        assert!(accounts.ask(Timestamp(6), 8, |_| true).is_empty(), "it is being asked for");
        accounts.not_learnt(&bank, Timestamp(9));
        assert!(accounts.ask(Timestamp(8), 8, |_| true).is_empty());
        assert_eq!(accounts.ask(Timestamp(9), 8, |_| true).len(), 1);
        assert!(accounts.learn(&bank, Facts { limited: false }));
        assert!(!accounts.learn(&bank, Facts { limited: false }), "no news");
        assert!(!accounts.limited("bank"));
        accounts.want(&bank, Timestamp(9));
        assert!(accounts.ask(Timestamp(9), 8, |_| true).is_empty(), "known");
    }

    #[test]
    fn nobody_asks_for_what_nobody_waits_for_and_only_so_many_at_a_time() {
        let mut accounts = Accounts::default();
        for index in 0..10 {
            let name = accounts.name(&format!("a{index}"));
            accounts.want(&name, Timestamp(0));
        }
        assert_eq!(accounts.ask(Timestamp(0), 3, |name| &**name > "a4").len(), 3);
        assert_eq!(accounts.ask(Timestamp(0), 3, |_| true).len(), 0);
        assert_eq!(accounts.ask(Timestamp(0), 9, |_| true).len(), 2, "a5 to a9 were wanted");
    }
}
