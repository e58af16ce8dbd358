//! What must be true: at once, and when everything has come to rest. It looks at the systems and at the topics, never at
//! what a relay thinks.

use super::exchanges::REOFFER_MS;
use super::ledger::{Account, BANK, Key, Ledger, Mode};
use super::records::{ExchangeBody, Number, ShadowBody, Stored, Topics};
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// At rest: the systems differ by something else than what went past the fronts, and no open task of a person explains it.
    BalancesDiffer {
        /// In which account.
        account: Account,
        /// By how much the shadow has more.
        by: i64,
    },
    /// Law 4: "One (tenant, deciding account, key) has one effect per system".
    AppliedTwice {
        /// Under which key.
        key: Key,
    },
    /// Law 4: "the product never sends one request twice to a system that does not deduplicate".
    SentTwice {
        /// Which one.
        number: Number,
    },
    /// DESIGN 4: "a begun leg is never sent again: resolved, or a person": a leg whose end is written was executed after it.
    ExecutedAfterItsEnd {
        /// Which one.
        number: Number,
    },
    /// DESIGN 4: "Authority refused it by a rule → … no leg to a legacy", and to the engine one that moves nothing.
    RefusedWasExecuted {
        /// Under which key.
        key: Key,
    },
    /// DESIGN 4: "until every connected front has shipped past its completion + 1 s; then it is booked `forced`".
    ForcedEarly {
        /// Which one.
        number: Number,
    },
    /// DESIGN 4: "is offered again after each later applied leg of its accounts, until …": it was forced, or given up, beside a
    /// leg of its account that the authority may have decided before it.
    ForcedBesideItsReason {
        /// Which one.
        number: Number,
        /// Beside which other one.
        reason: Number,
    },
    /// Law 3: "the movements of every outcome sum to zero".
    MoneyMade {
        /// How much.
        sum: i64,
    },
    /// Something waits for ever.
    NeverRests {
        /// So many exchanges are not concluded.
        open: usize,
    },
}

/// How often what the model is for has happened: a world in which it never does proves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Exchanges.
    pub exchanges: u32,
    /// Results that the front did not get.
    pub unknown: u32,
    /// What the authority refused.
    pub refused: u32,
    /// Legs that were refused for a reason of state and offered again.
    pub reoffered: u32,
    /// Legs that were forced.
    pub forced: u32,
    /// Tasks for a person.
    pub persons: u32,
    /// Repeats and other exchanges without a leg.
    pub skipped: u32,
    /// Refunds that were applied by the shadow.
    pub refunds: u32,
    /// Relays that died, or were taken over from.
    pub restarts: u32,
    /// Legs that were not answered.
    pub unanswered: u32,
}

impl Seen {
    /// Adds what another world has seen.
    pub fn add(&mut self, other: &Seen) {
        self.exchanges += other.exchanges;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.reoffered += other.reoffered;
        self.forced += other.forced;
        self.persons += other.persons;
        self.skipped += other.skipped;
        self.refunds += other.refunds;
        self.restarts += other.restarts;
        self.unanswered += other.unanswered;
    }

    /// Everything that it counts.
    pub fn all(&self) -> [(&'static str, u32); 10] {
        [
            ("exchanges", self.exchanges),
            ("unknown results", self.unknown),
            ("refusals", self.refused),
            ("legs offered again", self.reoffered),
            ("forced legs", self.forced),
            ("tasks for a person", self.persons),
            ("exchanges without a leg", self.skipped),
            ("refunds", self.refunds),
            ("relays that died", self.restarts),
            ("legs without an answer", self.unanswered),
        ]
    }
}

/// What of a front's journal is not read by a relay yet, by the time the front wrote it.
pub type Unread = Vec<i64>;

/// A leg is about to be forced: whatever any front wrote up to a second after its first refusal has to be read.
pub fn may_be_forced(topics: &Topics, number: Number, unread: &Unread) -> Result<(), Violation> {
    let first = topics
        .shadows
        .iter()
        .find(|stored| matches!(&stored.body, ShadowBody::Result { number: of, last: false, .. } if *of == number));
    let Some(first) = first else { return Err(Violation::ForcedEarly { number }) };
    match unread.iter().any(|written| *written <= first.at + REOFFER_MS) {
        true => Err(Violation::ForcedEarly { number }),
        false => Ok(()),
    }
}

/// A leg that was refused for a reason of state comes to its end: whatever the authority applied on its accounts, and a front
/// wrote in time, the shadow has applied or refused as well.
pub fn has_no_reason_left(
    (authority, shadow): (&Ledger, &Ledger),
    topics: &Topics,
    number: Number,
    accounts_of: &BTreeMap<Number, BTreeSet<Account>>,
) -> Result<(), Violation> {
    let is_refusal = |stored: &&Stored<ShadowBody>| matches!(stored.body, ShadowBody::Result { last: false, .. });
    let refused = || topics.shadows.iter().filter(is_refusal);
    let Some(first) = refused().find(|stored| stored.body.number() == number) else { return Ok(()) };
    let none = BTreeSet::new();
    let limited = |number: &Number| -> BTreeSet<Account> {
        accounts_of.get(number).unwrap_or(&none).iter().copied().filter(|account| *account != BANK).collect()
    };
    let own = limited(&number);
    let intents = || {
        topics.exchanges.iter().filter_map(|stored| match &stored.body {
            ExchangeBody::Intent(number, intent) => Some((stored.written, *number, intent.key)),
            _ => None,
        })
    };
    let keys: BTreeMap<Number, Key> = intents().map(|(_, number, key)| (number, key)).collect();
    let refused_keys: BTreeSet<Option<&Key>> = refused().map(|stored| keys.get(&stored.body.number())).collect();
    // Of a key that was used again nobody can see here which use of it had the effect: the last one may have.
    let mut last_use: BTreeMap<Key, i64> = BTreeMap::new();
    for (written, _, key) in intents() {
        last_use.entry(key).and_modify(|last| *last = written.max(*last)).or_insert(written);
    }
    for (_, other, key) in intents() {
        let missing = authority.applied.contains_key(&key) && !shadow.applied.contains_key(&key);
        let in_time = last_use.get(&key).is_some_and(|written| *written <= first.at + REOFFER_MS);
        let is_refused = refused_keys.contains(&Some(&key));
        if other != number && missing && in_time && !is_refused && !limited(&other).is_disjoint(&own) {
            return Err(Violation::ForcedBesideItsReason { number, reason: other });
        }
    }
    Ok(())
}

/// What the systems must agree on when nothing is under way any more.
pub fn at_rest(
    authority: &Ledger,
    shadow: &Ledger,
    topics: &Topics,
    accounts_of: &BTreeMap<Number, BTreeSet<Account>>,
    bypassed: &BTreeMap<Account, i64>,
) -> Result<(), Violation> {
    for ledger in [authority, shadow] {
        let sum: i64 = ledger.accounts.values().map(|(balance, _)| balance).sum();
        if sum != 0 {
            return Err(Violation::MoneyMade { sum });
        }
    }
    let explained = explained(topics, accounts_of);
    for (account, (balance, _)) in &authority.accounts {
        let by = shadow.accounts[account].0 - balance + bypassed.get(account).copied().unwrap_or(0);
        if by != 0 && !explained.contains(account) {
            return Err(Violation::BalancesDiffer { account: *account, by });
        }
    }
    Ok(())
}

/// Accounts whose difference a person's task explains: those of the task, and those of legs that were refused because of it
/// ("its own one-sided movements join the roots' offsets, also on the other account").
fn explained(topics: &Topics, accounts_of: &BTreeMap<Number, BTreeSet<Account>>) -> BTreeSet<Account> {
    let mut explained = BTreeSet::new();
    let none = BTreeSet::new();
    loop {
        let before = explained.len();
        for stored in &topics.shadows {
            let accounts = accounts_of.get(&stored.body.number()).unwrap_or(&none);
            let joins = match &stored.body {
                ShadowBody::Person { .. } => true,
                ShadowBody::Result { answer, last: true, .. } => {
                    answer.refused.is_some() && accounts.iter().any(|account| explained.contains(account))
                }
                _ => false,
            };
            if joins {
                explained.extend(accounts.iter().copied());
            }
        }
        if explained.len() == before {
            return explained;
        }
    }
}

/// Law 4, for both systems.
pub fn nothing_twice(ledger: &Ledger) -> Result<(), Violation> {
    match ledger.applied.iter().find(|(_, times)| **times > 1) {
        Some((key, _)) => Err(Violation::AppliedTwice { key: *key }),
        None => Ok(()),
    }
}

/// Something was booked at the shadow: nobody may have said already what came of it.
pub fn has_no_end(topics: &Topics, number: Number) -> Result<(), Violation> {
    let ended = topics.shadows.iter().any(|stored| match stored.body {
        ShadowBody::Person { number: of } | ShadowBody::Result { number: of, last: true, .. } => of == number,
        _ => false,
    });
    if ended { Err(Violation::ExecutedAfterItsEnd { number }) } else { Ok(()) }
}

/// Something was booked at the shadow: the authority must have booked it.
pub fn was_applied(authority: &Ledger, key: Key, mode: Mode) -> Result<(), Violation> {
    let applied = authority.applied.contains_key(&key);
    if applied && mode != Mode::ShadowRefused { Ok(()) } else { Err(Violation::RefusedWasExecuted { key }) }
}
