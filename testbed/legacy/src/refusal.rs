//! Why a request is refused, as data; and the problem document (RFC 9457) that says so.

use crate::shapes::TransactionResult;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A refusal by a rule (FORMATS, "Refusals and their status"), as far as the legacy has that rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the documented codes, and `detail` explains each")]
pub enum Code {
    AccountNotFound,
    OriginalNotFound,
    AccountExists,
    SameAccount,
    DuplicateKey,
    AccountTypeNotAllowed,
    AccountFrozen,
    AccountClosed,
    CurrencyMismatch,
    InsufficientBalance,
    BalanceLimitExceeded,
    BalanceOverflow,
    NotRefundable,
    RefundExceedsOriginal,
    InvalidLimits,
    LimitsFixed,
    AccountNotEmpty,
}

impl Code {
    /// The status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Code::AccountNotFound | Code::OriginalNotFound => 404,
            Code::AccountExists => 409,
            _ => 422,
        }
    }

    /// What it means, for people.
    pub fn detail(self) -> &'static str {
        match self {
            Code::AccountNotFound => "an account named does not exist",
            Code::OriginalNotFound => "the transaction to refund does not exist",
            Code::AccountExists => "an account with this id exists already",
            Code::SameAccount => "source and destination are the same account",
            Code::DuplicateKey => "the idempotency key was used for another request",
            Code::AccountTypeNotAllowed => "an account of this type cannot stand on this side of the operation",
            Code::AccountFrozen => "an account named is frozen",
            Code::AccountClosed => "an account named is closed",
            Code::CurrencyMismatch => "an account named has another currency",
            Code::InsufficientBalance => "the source does not have that much available",
            Code::BalanceLimitExceeded => "the destination may not hold that much",
            Code::BalanceOverflow => "a balance would have more digits than a balance can have",
            Code::NotRefundable => "the transaction was not completed, or is a refund itself",
            Code::RefundExceedsOriginal => "the amount is more than is left to refund",
            Code::InvalidLimits => "minBalance is above maxBalance, or below zero for a USER account",
            Code::LimitsFixed => "an EXTERNAL or SYSTEM account keeps being limited or unlimited",
            Code::AccountNotEmpty => "an account with a balance cannot be closed",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What is wrong at one place of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// JSON pointer to it, `?name` for a query value, or the name of a header.
    pub pointer: String,
    /// Its code.
    pub code: &'static str,
    /// What is wrong there, for people.
    pub detail: String,
}

impl Finding {
    /// A finding at `pointer`.
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }
}

/// An error as answered, `application/problem+json`. Boxed: it is the rare end of every parse.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<Document>);

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    code: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<TransactionResult>,
}

impl Problem {
    /// A problem that is no refusal by a rule.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Document {
            kind: format!("urn:crossfade:problem:{code}"),
            title: title_of(code),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            correlation_id: None,
            errors: Vec::new(),
            result: None,
        }))
    }

    /// A refusal by a rule.
    pub fn refused(code: Code) -> Self {
        Self::new(code.status(), &code.to_string(), code.detail())
    }

    /// 400: the request cannot be understood.
    pub fn malformed(errors: Vec<Finding>) -> Self {
        Self::new(400, "MalformedRequest", "the request is not as the contract describes it").with_errors(errors)
    }

    /// 422: an amount outside the grammar.
    pub fn invalid_amount(errors: Vec<Finding>) -> Self {
        Self::new(422, "InvalidAmount", "an amount is not written as the contract describes it").with_errors(errors)
    }

    /// 500: the legacy itself failed.
    pub fn internal() -> Self {
        Self::new(500, "InternalError", "the legacy service failed; ask for the result by the key")
    }

    /// 503: a request that changes something cannot be executed now.
    pub fn not_appended() -> Self {
        Self::new(503, "NotAppended", "nothing was written: send the same again, with the same key")
    }

    /// 503: a read cannot be answered now.
    pub fn not_readable() -> Self {
        Self::new(503, "NotReadable", "this cannot be read now: ask again")
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// With the correlation id of the request.
    pub fn correlated(mut self, correlation_id: &str) -> Self {
        self.0.correlation_id = Some(correlation_id.to_owned());
        self
    }

    /// With the failed transaction.
    pub fn with_result(mut self, result: TransactionResult) -> Self {
        self.0.result = Some(result);
        self
    }

    fn with_errors(mut self, errors: Vec<Finding>) -> Self {
        self.0.errors = errors;
        self
    }
}

/// `InsufficientBalance` → `Insufficient balance`.
fn title_of(code: &str) -> String {
    let mut title = String::with_capacity(code.len() + 4);
    for (index, letter) in code.chars().enumerate() {
        if index > 0 && letter.is_ascii_uppercase() {
            title.push(' ');
        }
        title.push(if index > 0 { letter.to_ascii_lowercase() } else { letter });
    }
    title
}
