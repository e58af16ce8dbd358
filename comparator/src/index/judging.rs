//! From concluded exchanges to verdicts.
//!
//! Exchanges are judged in the order in which they conclude, per account: one that waits for an inquiry holds up the
//! later ones of its own accounts and nobody else's.

use super::Index;
use super::exchange::{Exchange, Inquired};
use crate::judge::normalize::{self, Answer, Leg};
use crate::judge::overlap::{Overlap, View, overlap};
use crate::judge::verdict::{Case, Opinion, Standing, judge};
use wire::control::Verdict;
use wire::scalar::{Money, Timestamp};
use wire::words::{Mode, VerdictKind};

/// Other uses of a key are looked for among what began no longer than this before. An exchange takes seconds.
const KEYS_BESIDE_MICROS: i64 = 60_000_000;

impl Index {
    /// Both legs of an exchange have ended, or by rule there is only one.
    pub(super) fn conclude(&mut self, id: u64) {
        self.unconcluded.remove(&id);
        self.no_longer_undelivered(id);
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let leg = shadow_leg(exchange);
        let original = exchange.original.or_else(|| self.transactions.get(exchange.refers_to.as_ref()?).copied());
        if let Some(Ok(leg)) = &leg {
            self.remember_transaction(id, leg);
        }
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let names = exchange.accounts.iter();
        let ordered: Vec<String> = names.filter(|name| self.is_ordered(exchange, name)).cloned().collect();
        let skipped = exchange.skipped;
        self.update(id, |exchange| {
            exchange.concluded = true;
            exchange.missing = false;
            exchange.original = original;
            exchange.shadow.leg = leg;
        });
        if let Some(reason) = skipped {
            self.give(id, Verdict { single: Some(reason), ..Verdict::of(VerdictKind::Single) }, Vec::new());
            self.finish(id, &ordered);
            return;
        }
        for name in &ordered {
            self.accounts.entry(name.clone()).or_default().queue.push_back(id);
        }
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.queued = ordered;
        }
        self.judge_from(id);
    }

    /// Remembers which exchange made a transaction, by the id that one system gave it.
    pub(super) fn remember_transaction(&mut self, id: u64, leg: &Leg) {
        if let Some(Answer::Transaction(transaction)) = &leg.answer
            && !transaction.id.is_empty()
            && let Some(exchange) = self.exchanges.get_mut(&id)
            && !self.transactions.contains_key(&transaction.id)
        {
            self.transactions.insert(transaction.id.clone(), id);
            exchange.transactions.push(transaction.id.clone());
        }
    }

    fn is_ordered(&self, exchange: &Exchange, name: &str) -> bool {
        self.accounts.get(name).is_none_or(|account| account.is_ordered(exchange, name))
    }

    /// Judges an exchange if its turn has come on all its accounts, and then whatever waited behind it.
    pub(super) fn judge_from(&mut self, id: u64) {
        let mut work = vec![id];
        while let Some(id) = work.pop() {
            let Some(exchange) = self.exchanges.get(&id) else { continue };
            let first = |name: &String| self.accounts.get(name).and_then(|account| account.queue.front()) == Some(&id);
            let waits = exchange.judged || exchange.inquiry == Inquired::Asked;
            if waits || !exchange.queued.iter().all(first) {
                continue;
            }
            match self.case(exchange, id).map(|case| judge(&case)) {
                None => {}
                Some(Opinion::Inquire) => {
                    self.inquiries.insert(id);
                    self.update(id, |exchange| exchange.inquiry = Inquired::Asked);
                }
                Some(Opinion::Judged(judgement)) => {
                    let queued = exchange.queued.clone();
                    self.follow(id, judgement, &queued);
                    self.finish(id, &queued);
                    for name in &queued {
                        let Some(account) = self.accounts.get_mut(name) else { continue };
                        account.queue.pop_front();
                        work.extend(account.queue.front());
                    }
                }
            }
        }
    }

    /// All that bears on an exchange; `None` while a leg is missing.
    fn case(&self, exchange: &Exchange, id: u64) -> Option<Case<'_>> {
        let result = exchange.result.as_ref()?;
        let (authority, shadow) = (result.leg.clone()?, exchange.shadow.leg.clone()?);
        let [legacy, engine] = match exchange.authority {
            wire::words::System::Legacy => [authority, shadow],
            wire::words::System::Engine => [shadow, authority],
        };
        let repeat_of = self.repeats(exchange, id).map(|earlier| self.roots_of(earlier));
        // A system that answers the first offer with a repeated answer had executed it at another time.
        let repeated =
            exchange.shadow.attempts <= 1 && exchange.shadow.result.as_ref().is_some_and(|result| result.replayed);
        let original = |leg: &std::result::Result<Leg, String>| match leg.as_ref().ok()?.answer.as_ref()? {
            Answer::Transaction(transaction) => self.transactions.get(transaction.original.as_ref()?).copied(),
            Answer::Account(_) => None,
        };
        let originals = (original(&legacy), original(&engine));
        let originals_differ = matches!(originals, (Some(a), Some(b)) if self.original(a) != self.original(b));
        let inquired = exchange.inquiry == Inquired::Answered;
        let view = if inquired { View::Wide } else { View::Narrow };
        let accounts: Vec<_> = exchange.accounts.iter().map(|name| self.standing(exchange, id, name, view)).collect();
        let roots = accounts.iter().flat_map(|standing| standing.roots.iter().chain(&standing.state_roots));
        Some(Case {
            settled: roots.filter(|root| !self.roots.is_open(root)).cloned().collect(),
            operation: exchange.operation,
            authority: exchange.authority,
            mode: exchange.shadow.mode.unwrap_or(Mode::Shadow),
            state_refusals: exchange.shadow.state_refusals.clone(),
            accounts,
            family: exchange.original.map(|original| self.family(original)).unwrap_or_default(),
            found_by_key: result.resolved,
            levels_current: !result.replayed && !repeated && repeat_of.is_none(),
            key_used_beside: self.key_used_beside(exchange, id, [&legacy, &engine], view),
            repeat_of,
            requested: exchange.requested.clone(),
            originals_differ,
            inquired,
            rules: &self.rules,
            at: Timestamp(self.now),
            legacy,
            engine,
        })
    }

    /// With what other use of its key an exchange overlapped, if one of its legs alone was refused for that.
    fn key_used_beside(
        &self,
        exchange: &Exchange,
        id: u64,
        legs: [&std::result::Result<Leg, String>; 2],
        view: View,
    ) -> Overlap {
        let is_for_it = |leg: &&std::result::Result<Leg, String>| leg.as_ref().is_ok_and(Leg::is_for_a_used_key);
        let (Some(scope), 1) = (exchange.scope, legs.iter().filter(|leg| is_for_it(leg)).count()) else {
            return Overlap::default();
        };
        let span = exchange.span();
        let near =
            self.exchanges.iter().rev().take_while(|(_, other)| span.intent - other.intent <= KEYS_BESIDE_MICROS);
        let others = near.filter(|(other_id, other)| **other_id != id && other.scope == Some(scope));
        others.fold(Overlap::default(), |found, (_, other)| found.and(overlap(&span, &other.span(), view)))
    }

    /// The earlier exchange with the same key that had the effect.
    pub(super) fn repeats(&self, exchange: &Exchange, id: u64) -> Option<u64> {
        self.effects.get(&exchange.scope?).copied().filter(|earlier| *earlier != id)
    }

    /// Of exchanges with one key, the one that had the effect: any of them may have learnt the transaction's id first.
    pub(super) fn original(&self, id: u64) -> u64 {
        let scope = self.exchanges.get(&id).and_then(|exchange| exchange.scope);
        scope.and_then(|scope| self.effects.get(&scope)).copied().unwrap_or(id)
    }

    fn family(&self, original: u64) -> Vec<String> {
        self.families.get(&self.original(original)).cloned().unwrap_or_default()
    }

    fn standing(&self, exchange: &Exchange, id: u64, name: &str, view: View) -> Standing {
        let shared = !exchange.queued.iter().any(|queued| queued == name);
        let debited = exchange.takes_from(name);
        let Some(account) = self.accounts.get(name) else {
            return Standing { account: name.to_owned(), shared, debited, ..Standing::default() };
        };
        let forced = account.forced.and_then(|forced| self.exchanges.get(&forced));
        Standing {
            account: name.to_owned(),
            shared,
            debited,
            overlap: if shared {
                account.overlap_with_changes(id, &self.exchanges, view)
            } else {
                account.overlap(id, &self.exchanges, view, self.fronts.several())
            },
            limits: account.limits,
            totals: self.roots.offsets.totals(name, |_| true),
            roots: self.roots.offsets.roots(name),
            state_roots: account.state_roots.clone(),
            forced: forced.map(|forced| forced.number.to_string()),
        }
    }

    /// The discrepancies that an exchange belongs to: its own, or those it is carried by.
    pub(super) fn roots_of(&self, id: u64) -> Vec<String> {
        let Some(exchange) = self.exchanges.get(&id) else { return Vec::new() };
        match exchange.verdict.verdict {
            VerdictKind::Mismatch => vec![exchange.number.to_string()],
            VerdictKind::Carried => exchange.verdict.roots.clone(),
            _ => Vec::new(),
        }
    }

    /// Balance changes that an answer of a leg claims, source and destination.
    pub(super) fn claimed(
        leg: &Option<std::result::Result<Leg, String>>,
    ) -> Option<(&normalize::Transaction, [Money; 2])> {
        match leg.as_ref()?.as_ref().ok()?.answer.as_ref()? {
            Answer::Transaction(transaction) => {
                Some((transaction, [transaction.sides[0].movement, transaction.sides[1].movement]))
            }
            Answer::Account(_) => None,
        }
    }
}

/// What is compared of the shadow leg; `None` when there is none.
fn shadow_leg(exchange: &Exchange) -> Option<std::result::Result<Leg, String>> {
    let result = exchange.shadow.result.as_ref()?;
    let (operation, body) = (exchange.operation, &result.body.0);
    Some(match exchange.shadow.mode {
        Some(Mode::ShadowRefused) => normalize::read_dry(operation, result.class, result.status, body),
        _ => normalize::read(operation, result.class, result.status, body, result.replayed),
    })
}
