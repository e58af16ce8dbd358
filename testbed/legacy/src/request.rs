//! Requests: from the bytes of a body to a command, or to everything that is wrong with it.

use crate::money::Money;
use crate::refusal::{Finding, Problem};
use crate::shapes::{AccountStatus, AccountType, Kind};
use crate::strict;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest free text (ownerId, ownerType, reference), in characters.
const MAX_TEXT: usize = 255;
/// The longest idempotency key.
const MAX_KEY: usize = 255;

/// What an idempotency key stands for: two requests with equal content are one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// A transaction.
    Transaction(Transaction),
    /// A new account.
    Account(NewAccount),
}

/// A request that moves money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transaction {
    /// topup, withdraw, transfer.
    Move(Move),
    /// refund.
    Refund(Refund),
}

/// A topup, withdrawal or transfer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// Which of the three.
    pub kind: Kind,
    /// Where it comes from.
    pub source: String,
    /// Where it goes.
    pub destination: String,
    /// How much.
    pub amount: Money,
    /// In which currency.
    pub currency: String,
    /// The client's reference.
    pub reference: Option<String>,
    /// The client's data.
    pub metadata: Option<Map<String, Value>>,
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refund {
    /// The transaction to refund.
    pub original: String,
    /// How much; everything left when absent.
    pub amount: Option<Money>,
    /// The client's reason.
    pub reason: Option<String>,
}

/// A new account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewAccount {
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
    /// The balance may not fall below it.
    pub min_balance: Option<Money>,
    /// The balance may not rise above it.
    pub max_balance: Option<Money>,
    /// Free data of the owner.
    pub metadata: Option<Map<String, Value>>,
}

/// A change of an account. Of a limit: outer `None` leaves it, inner `None` removes it.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountChange {
    /// The new status.
    pub status: Option<AccountStatus>,
    /// The new lower limit.
    pub min_balance: Option<Option<Money>>,
    /// The new upper limit.
    pub max_balance: Option<Option<Money>>,
}

/// Reads a topup, withdrawal, transfer or refund, and its key.
///
/// # Errors
/// The problem to answer.
pub fn transaction(kind: Kind, header_key: Option<&str>, body: &[u8]) -> Result<(String, Transaction), Problem> {
    let mut fields = Fields::of(body)?;
    let key = fields.key(header_key);
    let transaction = if kind == Kind::Refund {
        let original = fields.text("transactionId", MAX_TEXT);
        let amount = fields.amount_if_present("amount");
        let reason = fields.optional_text("reason", usize::MAX);
        original.map(|original| Transaction::Refund(Refund { original, amount, reason }))
    } else {
        let source = fields.account_id("sourceAccountId");
        let destination = fields.account_id("destinationAccountId");
        let amount = fields.amount("amount");
        let currency = fields.currency("currency");
        let reference = fields.optional_text("reference", MAX_TEXT);
        let metadata = fields.metadata("metadata");
        (|| {
            let (source, destination, amount, currency) = (source?, destination?, amount?, currency?);
            Some(Transaction::Move(Move { kind, source, destination, amount, currency, reference, metadata }))
        })()
    };
    fields.finish(key.zip(transaction))
}

/// Reads a new account; `default_id` gives the id of one that the client gave none.
///
/// # Errors
/// The problem to answer.
pub fn new_account(default_id: impl FnOnce() -> String, body: &[u8]) -> Result<NewAccount, Problem> {
    let mut fields = Fields::of(body)?;
    let account_id = fields.optional_account_id("accountId");
    let owner_id = fields.text("ownerId", MAX_TEXT);
    let owner_type = fields.text("ownerType", MAX_TEXT);
    let account_type = fields.word("accountType", "must be USER, EXTERNAL or SYSTEM", AccountType::of);
    let currency = fields.currency("currency");
    let min_balance = fields.limit("minBalance").flatten();
    let max_balance = fields.limit("maxBalance").flatten();
    let metadata = fields.metadata("metadata");
    let account = (|| {
        let account_id = account_id.unwrap_or_else(default_id);
        let (owner_id, owner_type, account_type, currency) = (owner_id?, owner_type?, account_type?, currency?);
        Some(NewAccount {
            account_id,
            owner_id,
            owner_type,
            account_type,
            currency,
            min_balance,
            max_balance,
            metadata,
        })
    })();
    fields.finish(account)
}

/// Reads a change of an account.
///
/// # Errors
/// The problem to answer.
pub fn account_change(body: &[u8]) -> Result<AccountChange, Problem> {
    let mut fields = Fields::of(body)?;
    let nothing = fields.members.is_empty();
    let status = match fields.members.contains_key("status") {
        true => fields.word("status", "must be ACTIVE, FROZEN or CLOSED", AccountStatus::of),
        false => None,
    };
    let min_balance = fields.limit("minBalance");
    let max_balance = fields.limit("maxBalance");
    if nothing {
        fields.wrong("", "MissingField", "at least one of status, minBalance, maxBalance is needed");
    }
    fields.finish(Some(AccountChange { status, min_balance, max_balance }))
}

/// Whether `id` follows the grammar of account ids, `[A-Za-z0-9._:-]{1,64}`.
pub fn is_account_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
    (1..=64).contains(&id.len()) && id.bytes().all(allowed)
}

/// Whether `key` can be an idempotency key: 1–255 printable ASCII characters.
pub fn is_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// The members of a body that were not read yet, and what is wrong so far.
struct Fields {
    members: Map<String, Value>,
    malformed: Vec<Finding>,
    amounts: Vec<Finding>,
}

impl Fields {
    fn of(body: &[u8]) -> Result<Self, Problem> {
        match strict::parse(body) {
            Ok(Value::Object(members)) => Ok(Self { members, malformed: Vec::new(), amounts: Vec::new() }),
            Ok(_) => Err(Problem::malformed(vec![Finding::new("", "WrongType", "the body must be an object")])),
            Err(finding) => Err(Problem::malformed(vec![finding])),
        }
    }

    /// What was read, if nothing is wrong. What makes a request malformed outranks a wrong amount.
    fn finish<T>(mut self, read: Option<T>) -> Result<T, Problem> {
        for name in std::mem::take(&mut self.members).keys() {
            self.wrong(name, "UnknownField", "no such field in this request");
        }
        if !self.malformed.is_empty() {
            return Err(Problem::malformed(self.malformed));
        }
        match read {
            Some(read) if self.amounts.is_empty() => Ok(read),
            _ => Err(Problem::invalid_amount(self.amounts)),
        }
    }

    fn wrong(&mut self, name: &str, code: &'static str, detail: &str) {
        let pointer = match name {
            "" => String::new(),
            name => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
        };
        self.malformed.push(Finding::new(pointer, code, detail));
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.shift_remove(name)
    }

    /// A text that may be absent or null.
    fn optional_text(&mut self, name: &str, max_length: usize) -> Option<String> {
        match self.take(name)? {
            Value::Null => None,
            Value::String(text) if text.chars().count() <= max_length => Some(text),
            Value::String(_) => {
                self.wrong(name, "InvalidValue", &format!("longer than {max_length} characters"));
                None
            }
            _ => {
                self.wrong(name, "WrongType", "must be a string");
                None
            }
        }
    }

    /// A text that must be there.
    fn text(&mut self, name: &str, max_length: usize) -> Option<String> {
        match self.members.get(name) {
            None => self.wrong(name, "MissingField", "is needed"),
            Some(Value::Null) => {
                self.take(name);
                self.wrong(name, "WrongType", "must be a string");
            }
            Some(_) => return self.optional_text(name, max_length),
        }
        None
    }

    /// A text that must be there and mean something; `needs` says in words what it can be.
    fn word<T>(&mut self, name: &str, needs: &str, of: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(name, usize::MAX)?;
        let word = of(&text);
        if word.is_none() {
            self.wrong(name, "InvalidValue", needs);
        }
        word
    }

    fn account_id(&mut self, name: &str) -> Option<String> {
        let needs = "must be 1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `:`, `-`";
        self.word(name, needs, |id| is_account_id(id).then(|| id.to_owned()))
    }

    fn optional_account_id(&mut self, name: &str) -> Option<String> {
        match self.members.get(name) {
            None => None,
            Some(Value::Null) => {
                self.take(name);
                None
            }
            Some(_) => self.account_id(name),
        }
    }

    fn currency(&mut self, name: &str) -> Option<String> {
        let is_currency = |text: &str| (3..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase());
        self.word(name, "must be 3 to 10 capital letters", |text| is_currency(text).then(|| text.to_owned()))
    }

    fn metadata(&mut self, name: &str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(members) => Some(members),
            Value::Null => None,
            _ => {
                self.wrong(name, "InvalidValue", "must be an object");
                None
            }
        }
    }

    fn amount(&mut self, name: &str) -> Option<Money> {
        if !self.members.contains_key(name) {
            self.wrong(name, "MissingField", "is needed");
        }
        self.amount_if_present(name)
    }

    fn amount_if_present(&mut self, name: &str) -> Option<Money> {
        let value = self.take(name)?;
        let amount = value.as_str().and_then(Money::parse_amount);
        if amount.is_none() {
            let detail = "must be a string: up to 12 digits, up to 8 decimals, above zero";
            self.amounts.push(Finding::new(format!("/{name}"), "InvalidAmount", detail));
        }
        amount
    }

    /// A limit: `None` when absent, `Some(None)` when null.
    fn limit(&mut self, name: &str) -> Option<Option<Money>> {
        let value = self.take(name)?;
        if value.is_null() {
            return Some(None);
        }
        let limit = value.as_str().and_then(Money::parse_balance);
        if limit.is_none() {
            let detail = "must be a string: up to 19 digits, up to 8 decimals";
            self.amounts.push(Finding::new(format!("/{name}"), "InvalidAmount", detail));
        }
        limit.map(Some)
    }

    /// The idempotency key, from the header or the body; both must agree.
    fn key(&mut self, header: Option<&str>) -> Option<String> {
        const NAME: &str = "idempotencyKey";
        let in_body = match self.members.contains_key(NAME) {
            true => Some(self.text(NAME, usize::MAX)?),
            false => None,
        };
        let detail = match (header, in_body) {
            (Some(header), Some(body)) if header != body => "header and body name different keys",
            (None, None) => {
                self.wrong(NAME, "MissingField", "is needed, here or as the header Idempotency-Key");
                return None;
            }
            (Some(key), _) if is_key(key) => return Some(key.to_owned()),
            (None, Some(key)) if is_key(&key) => return Some(key),
            _ => "must be 1 to 255 printable ASCII characters",
        };
        self.wrong(NAME, "InvalidValue", detail);
        None
    }
}
