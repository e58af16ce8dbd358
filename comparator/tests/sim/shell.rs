//! The shell of the comparator, as far as it matters here: answers inquiries, and reconciles in the end.

use super::world::{Event, World};
use comparator::index::{Inquiry, findings};
use wire::billing::TransactionResult;
use wire::decision::{BalanceDifference, DecisionBody, Finding};
use wire::exchange::ExchangeBody;
use wire::scalar::Money;
use wire::words::System;

/// Rows on a page.
const PAGE: usize = 20;

/// An inquiry being answered.
pub struct Asked {
    inquiry: Inquiry,
    mark: String,
    legacy: Vec<TransactionResult>,
    engine: Vec<TransactionResult>,
}

impl World {
    pub fn take_inquiries(&mut self) {
        for inquiry in self.index.take_inquiries() {
            let mark = format!("inquiry-{}", self.inquiries.len());
            self.inquiries.push(Asked { inquiry, mark, legacy: Vec::new(), engine: Vec::new() });
            let delay = self.delay();
            self.later(delay, Event::Reads(self.inquiries.len() - 1));
        }
    }

    fn history(&self, inquiry: &Inquiry, system: System) -> Vec<TransactionResult> {
        let ledger = match system {
            System::Legacy => &self.legacy,
            System::Engine => &self.engine,
        };
        let mut rows = Vec::new();
        for account in &inquiry.accounts {
            let mut of_account: Vec<TransactionResult> = Vec::new();
            for row in ledger.history(account) {
                if of_account.len().is_multiple_of(PAGE) && inquiry.covered(&of_account) {
                    break;
                }
                of_account.push(row.clone());
            }
            rows.extend(of_account);
        }
        rows
    }

    /// The histories are read, then the fronts are asked for a mark.
    pub fn reads(&mut self, asked: usize) {
        let inquiry = self.inquiries[asked].inquiry.clone();
        self.inquiries[asked].legacy = self.history(&inquiry, System::Legacy);
        self.inquiries[asked].engine = self.history(&inquiry, System::Engine);
        let id = self.inquiries[asked].mark.clone();
        for front in 0..self.fronts.len() {
            self.journal(front, ExchangeBody::Mark { id: id.clone() });
        }
        self.later(1_000, Event::Marks(asked));
    }

    /// Waits for the marks; then the findings are written down.
    pub fn marks(&mut self, asked: usize) {
        let Asked { inquiry, mark, legacy, engine } = &self.inquiries[asked];
        if self.index.mark_seen(mark).len() < self.fronts.len() {
            self.later(1_000, Event::Marks(asked));
            return;
        }
        let findings = findings(inquiry, mark, mark, legacy, engine, &|row| self.index.is_known_key(row));
        let exchange = inquiry.exchange.clone();
        let accounts = inquiry.accounts.clone();
        self.append_decision(DecisionBody::Inquired { exchange, accounts, findings });
    }

    /// A mark of all fronts, there and then.
    fn mark(&mut self, id: &str) {
        for front in 0..self.fronts.len() {
            self.journal(front, ExchangeBody::Mark { id: id.to_owned() });
        }
        self.run();
        assert_eq!(self.index.mark_seen(id).len(), self.fronts.len());
    }

    /// Compares all balances once nothing happens any more; gives the accounts whose difference stays unexplained.
    pub fn reconcile(&mut self, id: &str) -> Vec<BalanceDifference> {
        let (first, second) = (format!("{id}-1"), format!("{id}-2"));
        self.mark(&first);
        self.mark(&second);
        let mut accounts: Vec<String> = self.legacy.accounts.keys().cloned().collect();
        accounts.sort_by_key(|account| self.legacy.accounts[account].account_type != "USER");
        let mut unexplained = Vec::new();
        for account in accounts {
            if let Some(difference) = self.difference(&account, &first, &second) {
                let inquiry = self.index.reconciliation_inquiry(&difference, &second);
                let (legacy, engine) = (self.history(&inquiry, System::Legacy), self.history(&inquiry, System::Engine));
                let findings: Vec<Finding> =
                    findings(&inquiry, &second, &second, &legacy, &engine, &|row| self.index.is_known_key(row));
                let accounts = inquiry.accounts.clone();
                self.append_decision(DecisionBody::Inquired { exchange: None, accounts, findings });
                unexplained.extend(self.difference(&account, &first, &second));
            }
        }
        unexplained
    }

    /// The balances of an account, when they differ by something else than what discrepancies explain.
    fn difference(&self, account: &str, first: &str, second: &str) -> Option<BalanceDifference> {
        let state = self.index.account_state(account, first, second);
        assert!(state.comparable, "{account} is comparable when nothing happens");
        let balance = |ledger: &super::ledger::Ledger| ledger.accounts.get(account).map(|account| account.balance);
        let (legacy, engine) = (balance(&self.legacy), balance(&self.engine));
        let explained = state.explained.iter().find(|offset| offset.currency == "EUR");
        let explained = explained.map_or(Money::ZERO, |offset| offset.amount);
        let apart = legacy.unwrap_or_default().0 - engine.unwrap_or_default().0;
        (apart != explained.0).then(|| BalanceDifference {
            account: account.to_owned(),
            currency: "EUR".into(),
            legacy,
            engine,
            explained,
        })
    }
}
