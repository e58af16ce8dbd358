//! What was answered: status, code, and the result with both its sides.

use crate::money::Money;
use serde_json::Value;

/// What an answer means for the ledger (FORMATS, "Classification of a result").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It had its effect.
    Applied,
    /// It was decided, and refused by a rule.
    Refused,
    /// It had no effect, and its key is free.
    NotExecuted,
    /// Nobody knows yet.
    Unknown,
    /// No answer that the contract gives to such a request.
    Unexpected,
}

/// A whole answer to a write.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Whether it says that it repeats an earlier answer.
    pub replayed: bool,
    /// The code of the problem, if it is one.
    pub code: Option<String>,
    /// The transaction, applied or refused.
    pub result: Option<Box<Outcome>>,
    /// Whether the body could be read at all.
    pub readable: bool,
}

/// A transaction as told by a system.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The system's id.
    pub transaction_id: String,
    /// The idempotency key.
    pub tracking_id: String,
    /// What it does.
    pub kind: String,
    /// What became of it.
    pub status: String,
    /// The amount.
    pub amount: Money,
    /// Its currency.
    pub currency: String,
    /// Where it comes from.
    pub source: Side,
    /// Where it goes.
    pub destination: Side,
    /// Why it was refused.
    pub error_code: Option<String>,
}

/// One side of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The account.
    pub account: String,
    /// The levels before and after, if shown.
    pub levels: Option<(Money, Money)>,
    /// The account's version after, if shown.
    pub version: Option<u64>,
    /// What moved.
    pub movement: Money,
}

/// The refusals of the contract and their status.
const REFUSALS: [(&str, u16); 19] = [
    ("AccountNotFound", 404),
    ("OriginalNotFound", 404),
    ("AccountExists", 409),
    ("SameAccount", 422),
    ("DuplicateKey", 422),
    ("AccountTypeNotAllowed", 422),
    ("AccountFrozen", 422),
    ("AccountClosed", 422),
    ("CurrencyMismatch", 422),
    ("InsufficientBalance", 422),
    ("BalanceLimitExceeded", 422),
    ("BalanceOverflow", 422),
    ("NotRefundable", 422),
    ("RefundExceedsOriginal", 422),
    ("InvalidLimits", 422),
    ("LimitsFixed", 422),
    ("AccountNotEmpty", 422),
    ("OpenSteps", 422),
    ("InvalidAmount", 422),
];

impl Answer {
    /// Reads an answer. `replayed` is whether the header `Idempotency-Replayed: true` is there.
    pub fn read(status: u16, replayed: bool, body: &[u8]) -> Self {
        let body: Option<Value> = serde_json::from_slice(body).ok();
        let readable = body.is_some();
        let body = body.unwrap_or_default();
        let code = if status >= 400 { body["code"].as_str().map(str::to_owned) } else { None };
        let result = if status < 400 { &body } else { &body["result"] };
        Self { status, replayed, code, result: Outcome::read(result).map(Box::new), readable }
    }

    /// What it means for the ledger.
    pub fn class(&self) -> Class {
        match self.status {
            202 | 300..=399 | 500..=599 => Class::Unknown,
            200..=299 if !self.readable => Class::Unknown,
            200..=299 => Class::Applied,
            400 | 401 | 403 | 405 | 413 | 415 | 429 | 431 => Class::NotExecuted,
            status => match self.code.as_deref() {
                Some("InvalidAmount") => Class::NotExecuted,
                Some(code) if REFUSALS.contains(&(code, status)) => Class::Refused,
                _ => Class::Unexpected,
            },
        }
    }
}

impl Outcome {
    /// Reads a result as it stands in answers, histories and lists; `None` when it is none.
    pub fn read(value: &Value) -> Option<Self> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Self {
            transaction_id: text("transactionId")?,
            tracking_id: text("trackingId")?,
            kind: text("type")?,
            status: text("status")?,
            amount: Money::level(value["amount"].as_str()?)?,
            currency: text("currency")?,
            source: Side::read(&value["source"])?,
            destination: Side::read(&value["destination"])?,
            error_code: text("errorCode"),
        })
    }

    /// Both sides.
    pub fn sides(&self) -> [&Side; 2] {
        [&self.source, &self.destination]
    }
}

impl Side {
    fn read(value: &Value) -> Option<Self> {
        let level = |name: &str| value[name].as_str().and_then(Money::level);
        let levels = match (value.get("balanceBefore"), value.get("balanceAfter")) {
            (None, None) => None,
            _ => Some((level("balanceBefore")?, level("balanceAfter")?)),
        };
        Some(Self {
            account: value["accountId"].as_str()?.to_owned(),
            levels,
            version: value["version"].as_u64(),
            movement: level("movement")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let class = |status: u16, body: &str| Answer::read(status, false, body.as_bytes()).class();
        for (status, body, expected) in [
            (200, "{}", Class::Applied),
            (201, "{}", Class::Applied),
            (200, "{", Class::Unknown),
            (202, "{}", Class::Unknown),
            (302, "{}", Class::Unknown),
            (500, "", Class::Unknown),
            (504, "{}", Class::Unknown),
            (400, "{}", Class::NotExecuted),
            (413, "", Class::NotExecuted),
            (422, r#"{"code":"InvalidAmount"}"#, Class::NotExecuted),
            (422, r#"{"code":"InsufficientBalance"}"#, Class::Refused),
            (404, r#"{"code":"AccountNotFound"}"#, Class::Refused),
            (404, r#"{"code":"InsufficientBalance"}"#, Class::Unexpected),
            (404, r#"{"code":"NoSuchRoute"}"#, Class::Unexpected),
            (422, "", Class::Unexpected),
        ] {
            assert_eq!(class(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_side_shows_both_levels_or_none() {
        let side = |text: &str| Side::read(&serde_json::from_str(text).unwrap());
        assert!(side(r#"{"accountId":"a","movement":"1"}"#).unwrap().levels.is_none());
        assert!(side(r#"{"accountId":"a","movement":"1","balanceBefore":"0"}"#).is_none());
        assert!(side(r#"{"accountId":"a","movement":"1","balanceBefore":"0","balanceAfter":"one"}"#).is_none());
    }
}
