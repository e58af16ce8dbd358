//! JSON of part L of the contract, in the legacy's own types.

use crate::money::Money;
use crate::refusal::Code;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// Declares a closed vocabulary: an enum whose text form is the one in JSON and in queries.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $(#[doc = concat!("`", $text, "`.")] #[serde(rename = $text)] $variant,)+ }
        impl $name {
            /// Every word, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The word as it is written.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
            /// The word that is written so.
            pub fn of(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

words! {
    /// What kind of account it is.
    AccountType { User = "USER", External = "EXTERNAL", System = "SYSTEM", }
}

words! {
    /// Whether an account takes part in movements.
    AccountStatus { Active = "ACTIVE", Frozen = "FROZEN", Closed = "CLOSED", }
}

words! {
    /// What a transaction does.
    Kind { Topup = "topup", Withdraw = "withdraw", Transfer = "transfer", Refund = "refund", }
}

words! {
    /// What became of a transaction; the legacy knows these two only.
    Outcome { Completed = "completed", Failed = "failed", }
}

words! {
    /// A fault that the legacy can be told to make.
    FaultKind {
        WrongFee = "wrong-fee",
        Rounding = "rounding",
        LostWrite = "lost-write",
        DoubleApply = "double-apply",
        StaleBalance = "stale-balance",
        Reorder = "reorder",
        Slow = "slow",
        HangBefore = "hang-before",
        HangAfter = "hang-after",
        FailBefore = "5xx-before",
        FailAfter = "5xx-after",
        DropBefore = "drop-connection-before",
        DropAfter = "drop-connection-after",
    }
}

/// An account, as stored; the answer shows it through [`AccountView`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Its id.
    pub account_id: String,
    /// Who owns it.
    pub owner_id: String,
    /// What kind of owner that is.
    pub owner_type: String,
    /// What kind of account it is.
    pub account_type: AccountType,
    /// The currency of its balance.
    pub currency: String,
    /// Whether it takes part in movements.
    pub status: AccountStatus,
    /// The balance may not fall below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_balance: Option<Money>,
    /// The balance may not rise above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_balance: Option<Money>,
    /// The balance.
    pub balance: Money,
    /// Counts its changes.
    pub version: u64,
    /// Free data of the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// When it was made, in microseconds since 1970.
    pub created_at: i64,
}

impl Account {
    /// Whether any balance rule holds for it: every USER, others with a limit only.
    pub fn is_limited(&self) -> bool {
        self.account_type == AccountType::User || self.min_balance.is_some() || self.max_balance.is_some()
    }
}

/// An account, as answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountView<'a> {
    account_id: &'a str,
    owner_id: &'a str,
    owner_type: &'a str,
    account_type: AccountType,
    currency: &'a str,
    status: AccountStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_balance: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_balance: Option<Money>,
    balance: Money,
    reserved: Money,
    available: Money,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Map<String, Value>>,
    created_at: String,
}

impl<'a> AccountView<'a> {
    /// The answer that shows `account`. The legacy sets nothing aside: all of a balance is available.
    pub fn of(account: &'a Account) -> Self {
        Self {
            account_id: &account.account_id,
            owner_id: &account.owner_id,
            owner_type: &account.owner_type,
            account_type: account.account_type,
            currency: &account.currency,
            status: account.status,
            min_balance: account.min_balance,
            max_balance: account.max_balance,
            balance: account.balance,
            reserved: Money::ZERO,
            available: account.balance,
            version: account.version,
            metadata: account.metadata.as_ref(),
            created_at: rfc3339(account.created_at),
        }
    }
}

/// A page of accounts, in order of their ids.
#[derive(Debug, Serialize)]
pub struct AccountPage<'a> {
    /// The accounts.
    pub accounts: Vec<AccountView<'a>>,
    /// Pass it as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A balance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// The account.
    pub account_id: String,
    /// The ledger balance.
    pub balance: Money,
    /// The part of it that is set aside: nothing.
    pub reserved: Money,
    /// The part of it that can be spent.
    pub available: Money,
    /// Its currency.
    pub currency: String,
    /// Counts the account's changes.
    pub version: u64,
    /// The moment the balance belongs to.
    pub as_of: String,
}

/// One side of a transaction. EXTERNAL and SYSTEM sides show their movement only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// The account.
    pub account_id: String,
    /// The level before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance_before: Option<Money>,
    /// The level after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance_after: Option<Money>,
    /// The account's version after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// What moved: negative for a debit, `0` when refused.
    pub movement: Money,
}

impl Side {
    /// The side of an account on which nothing moved.
    pub fn unmoved(account_id: &str) -> Self {
        let account_id = account_id.to_owned();
        Self { account_id, balance_before: None, balance_after: None, version: None, movement: Money::ZERO }
    }
}

/// The result of a transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransactionResult {
    /// The legacy's id.
    pub transaction_id: String,
    /// The idempotency key.
    pub tracking_id: String,
    /// What it does.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What became of it.
    pub status: Outcome,
    /// The amount asked for.
    pub amount: Money,
    /// Its currency.
    pub currency: String,
    /// Where it comes from.
    pub source: Side,
    /// Where it goes.
    pub destination: Side,
    /// For a refund: the transaction it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_transaction_id: Option<String>,
    /// The client's reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The client's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<Code>,
    /// The same for people; of a completed refund the client's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Follows the request everywhere.
    pub correlation_id: String,
    /// When it was decided.
    pub created_at: String,
    /// When it was completed; here the same moment.
    pub completed_at: String,
}

/// A page of transactions.
#[derive(Debug, Serialize)]
pub struct TransactionPage {
    /// The transactions.
    pub transactions: Vec<TransactionResult>,
    /// The cursor of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One line of the fault ledger: which request was hit by what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultEntry {
    /// The idempotency key of the request.
    pub key: String,
    /// What was done to it.
    pub kind: FaultKind,
    /// The deciding account.
    pub account: String,
    /// The tenant that scopes the key, unless empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tenant: String,
    /// The transaction in the answer, if one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
}

/// How often keys were executed, whatever came of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Executions {
    /// The keys that were executed more than once.
    pub repeated: Vec<Repeated>,
    /// How many keys there are, each of a tenant and a deciding account.
    pub keys: u64,
    /// How many executions there were of all of them together.
    pub executions: u64,
}

/// A key that was executed more than once.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Repeated {
    /// The tenant that scopes the key; may be empty.
    pub tenant: String,
    /// The deciding account; of a refund of an unknown transaction, the id of that.
    pub account: String,
    /// The idempotency key.
    pub key: String,
    /// How often.
    pub times: u64,
}

/// A moment in RFC 3339, to the microsecond.
pub fn rfc3339(micros: i64) -> String {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(time) => format!("{time:.6}"),
        // Outside the years -9999 to 9999: a clock that is set so has no better form.
        Err(_) => format!("{micros}µs"),
    }
}
