//! What was asked: one write of the contract, read from method, path, headers and body.

use crate::money::Money;
use serde_json::{Map, Value};
use std::fmt;

/// A write, with the tenant and the key that make it unique.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The tenant that scopes the key; may be empty.
    pub tenant: String,
    /// The idempotency key. Transactions have one always, accounts perhaps.
    pub key: Option<String>,
    /// What is to be done.
    pub ask: Ask,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// A new account.
    Create(NewAccount),
    /// A change of an account.
    Change(Change),
    /// topup, withdraw, transfer.
    Move(Move),
    /// refund.
    Refund(Refund),
}

/// A new account.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAccount {
    /// Its id, unless the system is to make one.
    pub id: Option<String>,
    /// Its type.
    pub kind: AccountKind,
    /// Its currency.
    pub currency: String,
    /// Its lower limit.
    pub min: Option<Money>,
    /// Its upper limit.
    pub max: Option<Money>,
    /// All other fields, for the comparison of contents.
    pub fields: Map<String, Value>,
}

/// A change of an account. Of a limit: outer `None` leaves it, inner `None` removes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The account.
    pub account: String,
    /// The new status.
    pub status: Option<Status>,
    /// The new lower limit.
    pub min: Option<Option<Money>>,
    /// The new upper limit.
    pub max: Option<Option<Money>>,
}

/// A topup, withdrawal or transfer.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// Which of the three.
    pub kind: MoveKind,
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
#[derive(Debug, Clone, PartialEq)]
pub struct Refund {
    /// The transaction to refund, by the id the client knows.
    pub original: String,
    /// How much; everything left when absent.
    pub amount: Option<Money>,
    /// The client's reason.
    pub reason: Option<String>,
}

/// The type of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountKind {
    /// `USER`
    User,
    /// `EXTERNAL`
    External,
    /// `SYSTEM`
    System,
}

/// The status of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `ACTIVE`
    Active,
    /// `FROZEN`
    Frozen,
    /// `CLOSED`
    Closed,
}

/// A movement between two accounts that are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveKind {
    /// EXTERNAL or SYSTEM → USER.
    Topup,
    /// USER → EXTERNAL or SYSTEM.
    Withdraw,
    /// USER → any.
    Transfer,
}

impl MoveKind {
    /// The word in paths and results.
    pub fn as_str(self) -> &'static str {
        match self {
            MoveKind::Topup => "topup",
            MoveKind::Withdraw => "withdraw",
            MoveKind::Transfer => "transfer",
        }
    }
}

/// A request that the auditor has no opinion on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It is no write of the contract.
    NotAWrite,
    /// The contract answers 400: what is wrong.
    Malformed(String),
    /// The contract answers 422 `InvalidAmount`: which field.
    InvalidAmount(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::NotAWrite => f.write_str("not a write of the contract"),
            Unreadable::Malformed(what) => write!(f, "malformed: {what}"),
            Unreadable::InvalidAmount(field) => write!(f, "{field} is not in the grammar of amounts"),
        }
    }
}

impl std::error::Error for Unreadable {}

impl Request {
    /// Reads a write. `header_key` is the header `Idempotency-Key`, `tenant` the header `X-Tenant`.
    ///
    /// # Errors
    /// When the contract would answer 400, 404 or 422 `InvalidAmount` before deciding anything.
    pub fn read(
        method: &str,
        path: &str,
        tenant: &str,
        header_key: Option<&str>,
        body: &[u8],
    ) -> Result<Self, Unreadable> {
        let path = path.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let kind = match (method, segments.as_slice()) {
            ("POST", ["transactions", "topup"]) => Some(MoveKind::Topup),
            ("POST", ["transactions", "withdraw"]) => Some(MoveKind::Withdraw),
            ("POST", ["transactions", "transfer"]) => Some(MoveKind::Transfer),
            ("POST", ["transactions", "refund"] | ["accounts"]) | ("PATCH", ["accounts", _]) => None,
            _ => return Err(Unreadable::NotAWrite),
        };
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            return Err(Unreadable::Malformed("the body is no JSON object".into()));
        };
        let mut fields = Fields(members);
        let (key, ask) = match (kind, segments.as_slice()) {
            (Some(kind), _) => (Some(fields.key(header_key)?), Ask::Move(fields.movement(kind)?)),
            (None, ["transactions", _]) => (Some(fields.key(header_key)?), Ask::Refund(fields.refund()?)),
            (None, ["accounts", id]) => (None, Ask::Change(fields.change(id)?)),
            _ => (header_key.map(str::to_owned), Ask::Create(fields.new_account()?)),
        };
        match fields.0.keys().next() {
            Some(name) => Err(Unreadable::Malformed(format!("unknown field {name}"))),
            None => Ok(Self { tenant: tenant.to_owned(), key, ask }),
        }
    }
}

/// The members of a body that were not read yet.
struct Fields(Map<String, Value>);

impl Fields {
    fn movement(&mut self, kind: MoveKind) -> Result<Move, Unreadable> {
        let source = self.text("sourceAccountId")?;
        let destination = self.text("destinationAccountId")?;
        let currency = self.text("currency")?;
        let reference = self.optional_text("reference")?;
        let metadata = self.object("metadata")?;
        let amount = self.amount("amount")?.ok_or_else(|| Unreadable::Malformed("amount is missing".into()))?;
        Ok(Move { kind, source, destination, amount, currency, reference, metadata })
    }

    fn refund(&mut self) -> Result<Refund, Unreadable> {
        let original = self.text("transactionId")?;
        let reason = self.optional_text("reason")?;
        Ok(Refund { original, amount: self.amount("amount")?, reason })
    }

    fn change(&mut self, account: &str) -> Result<Change, Unreadable> {
        if self.0.is_empty() {
            return Err(Unreadable::Malformed("nothing to change".into()));
        }
        let status = match self.0.remove("status") {
            None => None,
            Some(status) => Some(match status.as_str() {
                Some("ACTIVE") => Status::Active,
                Some("FROZEN") => Status::Frozen,
                Some("CLOSED") => Status::Closed,
                _ => return Err(Unreadable::Malformed(format!("status {status}"))),
            }),
        };
        let (min, max) = (self.limit("minBalance")?, self.limit("maxBalance")?);
        Ok(Change { account: account.to_owned(), status, min, max })
    }

    fn new_account(&mut self) -> Result<NewAccount, Unreadable> {
        let mut fields = self.0.clone();
        fields.remove("minBalance");
        fields.remove("maxBalance");
        let id = self.optional_text("accountId")?;
        self.text("ownerId")?;
        self.text("ownerType")?;
        let kind = match self.text("accountType")?.as_str() {
            "USER" => AccountKind::User,
            "EXTERNAL" => AccountKind::External,
            "SYSTEM" => AccountKind::System,
            other => return Err(Unreadable::Malformed(format!("accountType {other}"))),
        };
        let currency = self.text("currency")?;
        self.object("metadata")?;
        let (min, max) = (self.limit("minBalance")?.flatten(), self.limit("maxBalance")?.flatten());
        Ok(NewAccount { id, kind, currency, min, max, fields })
    }

    fn key(&mut self, header: Option<&str>) -> Result<String, Unreadable> {
        let body = self.optional_text("idempotencyKey")?;
        let key = match (header, body) {
            (Some(header), Some(body)) if header != body => {
                return Err(Unreadable::Malformed("header and body name different keys".into()));
            }
            (Some(header), _) => header.to_owned(),
            (None, Some(body)) => body,
            (None, None) => return Err(Unreadable::Malformed("idempotencyKey is missing".into())),
        };
        let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if printable && (1..=255).contains(&key.len()) { Ok(key) } else { Err(Unreadable::Malformed("key".into())) }
    }

    fn text(&mut self, name: &str) -> Result<String, Unreadable> {
        self.optional_text(name)?.ok_or_else(|| Unreadable::Malformed(format!("{name} is missing")))
    }

    fn optional_text(&mut self, name: &str) -> Result<Option<String>, Unreadable> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Unreadable::Malformed(format!("{name} is no string"))),
        }
    }

    fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Unreadable> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(members)) => Ok(Some(members)),
            Some(_) => Err(Unreadable::Malformed(format!("{name} is no object"))),
        }
    }

    fn amount(&mut self, name: &str) -> Result<Option<Money>, Unreadable> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let amount = value.as_str().and_then(Money::amount);
        amount.map(Some).ok_or_else(|| Unreadable::InvalidAmount(name.to_owned()))
    }

    fn limit(&mut self, name: &str) -> Result<Option<Option<Money>>, Unreadable> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => {
                let limit = value.as_str().and_then(Money::level);
                limit.map(|limit| Some(Some(limit))).ok_or_else(|| Unreadable::InvalidAmount(name.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, path: &str, body: &str) -> Result<Request, Unreadable> {
        Request::read(method, path, "t", None, body.as_bytes())
    }

    #[test]
    fn every_write_of_the_contract_is_read() {
        let topup = r#"{"idempotencyKey":"k","sourceAccountId":"b","destinationAccountId":"a","amount":"1.50","currency":"CZK"}"#;
        let request = read("POST", "/transactions/topup", topup).unwrap();
        assert_eq!((request.tenant.as_str(), request.key.as_deref()), ("t", Some("k")));
        let Ask::Move(asked) = request.ask else { panic!("{:?}", request.ask) };
        assert_eq!((asked.kind, asked.amount), (MoveKind::Topup, Money::parts(150_000_000)));

        let refund = r#"{"idempotencyKey":"k","transactionId":"x"}"#;
        let Ask::Refund(asked) = read("POST", "/transactions/refund", refund).unwrap().ask else { panic!() };
        assert_eq!((asked.original.as_str(), asked.amount), ("x", None));

        let account = r#"{"ownerId":"o","ownerType":"t","accountType":"USER","currency":"CZK","maxBalance":"5"}"#;
        let Ask::Create(asked) = read("POST", "/accounts", account).unwrap().ask else { panic!() };
        assert_eq!((asked.kind, asked.max), (AccountKind::User, Some(Money::units(5))));

        let Ask::Change(asked) = read("PATCH", "/accounts/a", r#"{"minBalance":null}"#).unwrap().ask else { panic!() };
        assert_eq!((asked.account.as_str(), asked.min, asked.max), ("a", Some(None), None));
    }

    #[test]
    fn what_is_no_write_or_wrong_is_said_so() {
        assert_eq!(read("GET", "/accounts", ""), Err(Unreadable::NotAWrite));
        assert_eq!(read("POST", "/transactions/payment", "{}"), Err(Unreadable::NotAWrite));
        for body in ["", "[]", "{}", r#"{"transactionId":"x"}"#, r#"{"idempotencyKey":"k","transactionId":"x","y":1}"#]
        {
            let read = read("POST", "/transactions/refund", body);
            assert!(matches!(read, Err(Unreadable::Malformed(_))), "{body}");
        }
        let wrong = read("POST", "/transactions/refund", r#"{"idempotencyKey":"k","transactionId":"x","amount":1}"#);
        assert_eq!(wrong, Err(Unreadable::InvalidAmount("amount".into())));
    }
}
