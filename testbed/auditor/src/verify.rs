//! The end: what the systems show must be what they told.

use crate::answer::Outcome;
use crate::chain;
use crate::effect::{EffectKey, Resolution, State};
use crate::money::Money;
use crate::observe::Observer;
use crate::request::MoveKind;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The effect it is about, if it is about one.
    pub effect: Option<EffectKey>,
    /// What is wrong, in words.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.effect {
            Some(effect) => write!(f, "{effect}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl Observer {
    /// Everything at the end: nothing is unknown, every balance is the sum of what was told, and, where one system
    /// answered all the time, every account's movements chain. Gives all violations, also the earlier ones.
    pub fn verify(&mut self, balances: &BTreeMap<String, Money>) -> &[Violation] {
        self.verify_known();
        self.verify_balances(balances);
        if !self.expectations.authority_moves {
            self.verify_chains(balances);
        }
        self.violations()
    }

    /// No effect is unknown any more.
    pub fn verify_known(&mut self) {
        for key in self.unknown() {
            self.violation(key, "nobody knows whether it had its effect".into());
        }
        if self.expectations.authority_moves {
            // A key may have been free at the other system.
            return;
        }
        let wrong = self.effects.iter().filter_map(|(key, effect)| Some((key.clone(), effect.wrong_duplicates()?)));
        for (key, text) in wrong.collect::<Vec<_>>() {
            self.violation(key, text.into());
        }
    }

    /// Every account stands at the sum of the movements told. Accounts of unknown effects are left out.
    pub fn verify_balances(&mut self, balances: &BTreeMap<String, Money>) {
        let open = self.open_accounts();
        let mut wrong = Vec::new();
        for id in self.accounts.keys().chain(self.sums.keys().filter(|id| !self.accounts.contains_key(*id))) {
            let expected = self.sums.get(id).copied().unwrap_or_default();
            match balances.get(id) {
                _ if open.contains(id) => {}
                Some(balance) if *balance == expected => {}
                Some(balance) => wrong.push(format!("the balance of {id} is {balance}, but {expected} was told")),
                None => wrong.push(format!("the account {id} is gone; {expected} was told")),
            }
        }
        let stray = balances.iter().filter(|(id, balance)| {
            !self.accounts.contains_key(*id) && !self.sums.contains_key(*id) && **balance != Money::ZERO
        });
        wrong.extend(stray.map(|(id, balance)| format!("the account {id}, of which nothing was told, has {balance}")));
        self.violations.extend(wrong.into_iter().map(|text| Violation { effect: None, text }));
    }

    /// The movements told of each USER account chain from nothing to its balance.
    pub fn verify_chains(&mut self, balances: &BTreeMap<String, Money>) {
        let open = self.open_accounts();
        let ordered = !self.expectations.authority_moves;
        let mut wrong = Vec::new();
        for (id, known) in &self.accounts {
            if !known.account.is_user() || open.contains(id) {
                continue;
            }
            let links = self.links.get(id).map_or(&[][..], Vec::as_slice);
            let loose = self.loose.get(id).map_or(&[][..], Vec::as_slice);
            let end = balances.get(id).copied().unwrap_or_default();
            if let Some(text) = chain::check(links, end, loose, ordered) {
                wrong.push(Violation { effect: None, text: format!("the movements of {id} do not chain: {text}") });
            }
        }
        self.violations.extend(wrong);
    }

    /// A whole list of transactions, as a system keeps it: every effect told stands in it once, and nothing that
    /// nobody asked for. What was unknown is known afterwards. `system` names the list in violations.
    pub fn verify_list(&mut self, system: &str, rows: &[Value]) {
        let mut found: BTreeMap<(String, String), Vec<Outcome>> = BTreeMap::new();
        for row in rows {
            match Outcome::read(row) {
                None => {
                    self.violations.push(Violation { effect: None, text: format!("{system}: no transaction: {row}") })
                }
                Some(row) if row.status != "completed" => {}
                Some(row) => found.entry((self.deciding(&row), row.tracking_id.clone())).or_default().push(row),
            }
        }
        let keys: Vec<EffectKey> = self.effects.keys().cloned().collect();
        for key in keys {
            let scope = (key.account.clone(), key.key.clone());
            // Rows do not name their tenant: each effect takes one row of its account and key.
            let row = found.get_mut(&scope).and_then(Vec::pop);
            let told = match (&self.effects[&key].state, &row) {
                (State::Applied(told), Some(row)) => told.outcome.as_ref().is_none_or(|told| same_money(told, row)),
                (State::Applied(_), None) => {
                    self.violation(key, format!("{system} has no such transaction, though it was told"));
                    continue;
                }
                (State::Maybe, Some(row)) => {
                    self.resolve(&key, Resolution::Applied(Some(Box::new(row.clone()))));
                    continue;
                }
                (State::Maybe, None) => {
                    self.resolve(&key, Resolution::Absent);
                    continue;
                }
                (State::Refused(_) | State::Absent | State::Untold, None) => true,
                (State::Refused(_) | State::Absent | State::Untold, Some(_)) => {
                    self.violation(key, format!("{system} has it as completed, though it had no effect"));
                    continue;
                }
            };
            if !told {
                self.violation(key, format!("{system} has other movements than were told"));
            }
        }
        for ((account, key), rows) in found {
            for row in rows {
                let id = row.transaction_id;
                let text = format!("{system}: account {account}, key {key}: {id} is one more than was asked for");
                self.violations.push(Violation { effect: None, text });
            }
        }
    }

    /// Accounts that an unknown effect may have moved.
    fn open_accounts(&self) -> Vec<String> {
        let mut open: Vec<String> = self.uncertain.iter().cloned().collect();
        for (key, effect) in &self.effects {
            if matches!(effect.state, State::Maybe) {
                open.push(key.account.clone());
                open.extend(effect.accounts());
            }
        }
        open
    }

    fn deciding(&self, row: &Outcome) -> String {
        let (source, destination) = (&row.source.account, &row.destination.account);
        match row.kind.as_str() {
            kind if kind == MoveKind::Topup.as_str() => destination.clone(),
            "refund" => self.deciding_of_refund(source, destination),
            _ => source.clone(),
        }
    }
}

fn same_money(one: &Outcome, two: &Outcome) -> bool {
    let money = |outcome: &Outcome| outcome.sides().map(|side| (side.account.clone(), side.movement));
    money(one) == money(two)
}
