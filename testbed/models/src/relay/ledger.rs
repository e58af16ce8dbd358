//! A billing system: balances, keys, transactions, modes of a leg. Enough to see whether legs in a wrong order, twice or not
//! at all would have done harm.

use std::collections::BTreeMap;

/// An account by its number; 0 is the outside world, which has no limits.
pub type Account = u8;
/// An idempotency key.
pub type Key = u32;

/// The outside world.
pub const BANK: Account = 0;
/// Users, who never go below zero.
pub const USERS: u8 = 4;

/// One of the two systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// The one that is to be replaced.
    Legacy,
    /// The one that replaces it.
    Engine,
}

/// The id of a transaction: whoever sees it, sees who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Who made it.
    pub maker: System,
    /// Its number there; also its place in the order in which that system decided.
    pub number: u32,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Money moves. From the bank it is a topup, to the bank a withdrawal, else a transfer.
    Move {
        /// Whom it is taken from.
        from: Account,
        /// Who gets it.
        to: Account,
        /// How much.
        amount: i64,
    },
    /// A transaction is taken back.
    Refund(Id),
}

/// How a leg is to be executed (DESIGN 3.2, "Mode of a leg").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// "rules apply".
    Authority,
    /// "rules apply …; a refusal for a reason of state does not consume the key".
    Shadow,
    /// "the authority refused it: decided *dry*, nothing moves".
    ShadowRefused,
    /// "booked, limits may be exceeded".
    Forced,
}

/// Why something is refused. All of them are reasons of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The source would go below zero.
    InsufficientBalance,
    /// The destination would exceed its maximum.
    BalanceLimitExceeded,
    /// There is no such transaction.
    OriginalNotFound,
    /// It was taken back already.
    RefundExceedsOriginal,
    /// It was not applied.
    NotRefundable,
}

/// A whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub refused: Option<Refusal>,
    /// The transaction, if one was made.
    pub id: Option<Id>,
    /// It repeats an earlier answer.
    pub replayed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Transaction {
    from: Account,
    to: Account,
    amount: i64,
    applied: bool,
    refunded: bool,
}

/// The system.
#[derive(Debug, Clone)]
pub struct Ledger {
    system: System,
    deduplicates: bool,
    /// Balances, with the highest one allowed.
    pub accounts: BTreeMap<Account, (i64, i64)>,
    /// The first answer under each key.
    keys: BTreeMap<Key, Answer>,
    transactions: Vec<Transaction>,
    /// The other system's ids of its transactions (engine: told with each leg).
    aliases: BTreeMap<Id, Id>,
    /// How often something was applied under a key.
    pub applied: BTreeMap<Key, u32>,
}

impl Ledger {
    /// One with these balances.
    pub fn new(system: System, deduplicates: bool, accounts: &BTreeMap<Account, (i64, i64)>) -> Self {
        let (keys, transactions, aliases, applied) = Default::default();
        Self { system, deduplicates, accounts: accounts.clone(), keys, transactions, aliases, applied }
    }

    /// What is known under a key.
    pub fn known(&self, key: Key) -> Option<Answer> {
        self.keys.get(&key).copied()
    }

    /// From where to where a transaction went, by either id.
    pub fn accounts_of(&self, id: Id) -> Option<(Account, Account)> {
        self.transaction(id).map(|(_, transaction)| (transaction.from, transaction.to))
    }

    /// Executes a request; `alias` is what the other system calls the transaction.
    pub fn execute(&mut self, key: Key, operation: Operation, mode: Mode, alias: Option<Id>) -> Answer {
        if self.deduplicates
            && let Some(first) = self.keys.get(&key)
        {
            return Answer { replayed: true, ..*first };
        }
        let (what, refused) = self.decide(operation);
        let forced = mode == Mode::Forced && what.is_some();
        let applies = (refused.is_none() || forced) && mode != Mode::ShadowRefused;
        let keeps = match mode {
            Mode::Authority | Mode::ShadowRefused => true,
            Mode::Shadow => applies || self.system == System::Legacy,
            Mode::Forced => applies,
        };
        let id = keeps.then(|| self.record(what.unwrap_or_default(), applies, alias));
        if applies && let Some((from, to, amount)) = what {
            self.book(from, to, amount);
            *self.applied.entry(key).or_default() += 1;
            if let Operation::Refund(original) = operation
                && let Some((index, _)) = self.transaction(original)
            {
                self.transactions[index].refunded = true;
            }
        }
        let refused = if applies { None } else { refused };
        let answer = Answer { refused, id, replayed: false };
        if keeps {
            self.keys.insert(key, answer);
        }
        answer
    }

    /// What would move, and what speaks against it.
    fn decide(&self, operation: Operation) -> (Option<(Account, Account, i64)>, Option<Refusal>) {
        let (from, to, amount) = match operation {
            Operation::Move { from, to, amount } => (from, to, amount),
            Operation::Refund(original) => {
                let Some((_, original)) = self.transaction(original) else {
                    return (None, Some(Refusal::OriginalNotFound));
                };
                let back = (original.to, original.from, original.amount);
                if !original.applied {
                    return (Some(back), Some(Refusal::NotRefundable));
                }
                if original.refunded {
                    return (Some(back), Some(Refusal::RefundExceedsOriginal));
                }
                back
            }
        };
        let (source, destination) = (self.accounts[&from], self.accounts[&to]);
        let refused = if from != BANK && source.0 < amount {
            Some(Refusal::InsufficientBalance)
        } else if destination.0 + amount > destination.1 {
            Some(Refusal::BalanceLimitExceeded)
        } else {
            None
        };
        (Some((from, to, amount)), refused)
    }

    fn record(&mut self, (from, to, amount): (Account, Account, i64), applied: bool, alias: Option<Id>) -> Id {
        let id = Id { maker: self.system, number: self.transactions.len() as u32 };
        self.transactions.push(Transaction { from, to, amount, applied, refunded: false });
        if let Some(alias) = alias.filter(|_| self.system == System::Engine) {
            self.aliases.insert(alias, id);
        }
        id
    }

    /// Money that reaches an account past the front: no exchange tells of it.
    pub fn bypass(&mut self, to: Account, amount: i64) {
        self.book(BANK, to, amount);
    }

    fn book(&mut self, from: Account, to: Account, amount: i64) {
        self.accounts.entry(from).and_modify(|(balance, _)| *balance -= amount);
        self.accounts.entry(to).and_modify(|(balance, _)| *balance += amount);
    }

    fn transaction(&self, id: Id) -> Option<(usize, Transaction)> {
        let own = if id.maker == self.system { id } else { *self.aliases.get(&id)? };
        let index = own.number as usize;
        Some((index, *self.transactions.get(index)?))
    }
}
