//! Transactions: their kinds, and what a shard remembers of each.

use crate::account::AccountType;
use crate::ids::{AccountId, Currency, Text};
use crate::money::{Amount, Money};
use crate::rejection::Rejection;

/// What a transaction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// EXTERNAL or SYSTEM → USER.
    Topup,
    /// USER → EXTERNAL or SYSTEM.
    Withdraw,
    /// USER → any.
    Transfer,
    /// Back along an earlier transaction.
    Refund,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Topup, Kind::Withdraw, Kind::Transfer, Kind::Refund];

    /// As clients see it: `topup`, `withdraw`, `transfer`, `refund`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Topup => "topup",
            Kind::Withdraw => "withdraw",
            Kind::Transfer => "transfer",
            Kind::Refund => "refund",
        }
    }

    /// Whether it may take from an account of that type. (A refund goes wherever its original went.)
    pub(crate) const fn may_debit(self, account_type: AccountType) -> bool {
        match self {
            Kind::Topup => !matches!(account_type, AccountType::User),
            Kind::Withdraw | Kind::Transfer => matches!(account_type, AccountType::User),
            Kind::Refund => true,
        }
    }

    /// Whether it may give to an account of that type.
    pub(crate) const fn may_credit(self, account_type: AccountType) -> bool {
        match self {
            Kind::Topup => matches!(account_type, AccountType::User),
            Kind::Withdraw => !matches!(account_type, AccountType::User),
            Kind::Transfer | Kind::Refund => true,
        }
    }
}

/// The hash of what a key stands for; equal content under one key is a repeat, other content a `DuplicateKey`.
///
/// xxh3_128 over the decoded request, each part length-prefixed, amounts normalised. A collision would need a client
/// to work against its own key, so no cryptographic hash is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content(pub u128);

/// What a shard remembers of a transaction, or of a keyed account creation: enough to decide, about 150 bytes. What
/// an answer needs beyond that is in the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// What its key stands for.
    pub content: Content,
    /// Counts its events.
    pub version: u64,
    /// Its id at the other system, once known.
    pub alias: Option<Text>,
    /// What became of it.
    pub fate: Fate,
}

impl Remembered {
    /// Whether only this system ever heard of the key: as authority it refused the request, and a refusal is not told
    /// to the other system. There the key is free, and may come to stand for something.
    pub(crate) fn is_unheard_of_elsewhere(&self) -> bool {
        self.alias.is_none() && matches!(self.fate, Fate::Refused { elsewhere: false, .. })
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Its saga waits for another shard.
    Running {
        /// The refusal that it takes the place of, and that stands again if nothing of it is kept.
        instead_of: Option<Box<Remembered>>,
    },
    /// It moved money.
    Applied(Applied),
    /// A rule refused it.
    Refused {
        /// The rule.
        rejection: Rejection,
        /// Whether the other system refused it, as authority, and this one only keeps the answer.
        elsewhere: bool,
    },
    /// The key made an account.
    AccountCreated(AccountId),
    /// It was refused, and nothing is kept of it but how many events it had: the key is free.
    Free,
}

/// What a refund needs to know of a completed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What it did.
    pub kind: Kind,
    /// How much it moved.
    pub amount: Amount,
    /// How much of that is refunded, or held for a refund under way.
    pub refunded: Money,
}

/// What a refund refers to, as whoever reads all shards found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Its id.
    pub id: crate::ids::TransactionId,
    /// Where it came from: the refund credits it.
    pub source: AccountId,
    /// Where it went: the refund debits it.
    pub destination: AccountId,
    /// Its currency.
    pub currency: Currency,
}
