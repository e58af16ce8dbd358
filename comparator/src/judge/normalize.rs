//! Normalising: from the bytes of an answer to what is compared of it.
//!
//! The shapes are those of `wire::billing`, read leniently: unknown fields are ignored, absent and `null` are the
//! same, amounts are compared by value. What may differ between the systems (ids of transactions, versions, times,
//! positions, correlation ids, words for people) is left out.

use serde_json::Value;
use wire::scalar::Money;
use wire::words::{Class, Operation};

/// What a leg brought back, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// What it means.
    pub class: Class,
    /// Of a refusal: its code.
    pub code: Option<String>,
    /// Of an applied leg: what was done.
    pub answer: Option<Answer>,
    /// Whether the system said that it repeated an earlier answer.
    pub replayed: bool,
}

impl Leg {
    /// Whether it was refused because its key had been used for something else.
    pub fn is_for_a_used_key(&self) -> bool {
        self.code.as_deref() == Some(USED_KEY)
    }
}

/// The code of a refusal because the key had been used for something else.
pub(super) const USED_KEY: &str = "DuplicateKey";

/// What an applied leg did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Money moved.
    Transaction(Box<Transaction>),
    /// An account was made or changed.
    Account(Box<Account>),
}

/// A transaction as one system shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The id given by this system.
    pub id: String,
    /// The type.
    pub kind: String,
    /// The status.
    pub status: String,
    /// The amount asked for.
    pub amount: Money,
    /// Its currency.
    pub currency: String,
    /// Where it comes from, and where it goes.
    pub sides: [Side; 2],
    /// Of a refund: the transaction it refers to, by this system's id.
    pub original: Option<String>,
    /// Key, reference and metadata: pointer and text.
    pub fields: Vec<(&'static str, String)>,
}

/// One side of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The account.
    pub account: String,
    /// The level before, where it is shown.
    pub before: Option<Money>,
    /// The level after, where it is shown.
    pub after: Option<Money>,
    /// What moved.
    pub movement: Money,
}

/// An account as one system shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// `USER`, `EXTERNAL` or `SYSTEM`.
    pub kind: String,
    /// Its currency.
    pub currency: String,
    /// Its least and its greatest balance, where it has them.
    pub limits: [Option<Money>; 2],
    /// Its level, where it is shown.
    pub balance: Option<Money>,
    /// Owner, status, limits, metadata: pointer and text.
    pub fields: Vec<(&'static str, String)>,
}

/// Pointers of what is compared of a transaction beside amount, currency, accounts, type and status.
const TRANSACTION_FIELDS: [&str; 3] = ["/trackingId", "/reference", "/metadata"];
/// Pointers of what is compared of an account beside its id, type and currency.
const ACCOUNT_FIELDS: [&str; 6] = ["/ownerId", "/ownerType", "/status", "/minBalance", "/maxBalance", "/metadata"];

/// Reads a leg.
///
/// # Errors
/// What is wrong with the body, when it is not what its class and operation ask for.
pub fn read(operation: Operation, class: Class, status: u16, body: &[u8], replayed: bool) -> Result<Leg, String> {
    let mut leg = Leg { class, code: None, answer: None, replayed };
    match class {
        Class::Applied => {
            let body = json(status, body)?;
            leg.answer = Some(match operation {
                Operation::CreateAccount | Operation::ChangeAccount => Answer::Account(Box::new(account(&body)?)),
                Operation::Topup | Operation::Withdraw | Operation::Transfer | Operation::Refund => {
                    Answer::Transaction(Box::new(transaction(&body)?))
                }
            });
        }
        Class::Refused => {
            let body = json(status, body)?;
            let code = text(&body, "/code").or_else(|| text(&body, "/result/errorCode"));
            leg.code = Some(code.ok_or("a refusal without a code")?);
        }
        Class::NotExecuted | Class::Unknown => {}
    }
    Ok(leg)
}

/// Reads a dry leg: only what would have been decided counts, not what an applied one would look like.
///
/// # Errors
/// As [`read`].
pub fn read_dry(operation: Operation, class: Class, status: u16, body: &[u8]) -> Result<Leg, String> {
    match class {
        Class::Refused => read(operation, class, status, body, false),
        _ => Ok(Leg { class, code: None, answer: None, replayed: false }),
    }
}

/// The code of a refusal, if the body has one.
pub fn refusal_code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    text(&body, "/code").or_else(|| text(&body, "/result/errorCode"))
}

/// The members that the body of a change of an account names, as pointers.
pub fn members(body: &[u8]) -> Vec<String> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => members.keys().map(|name| format!("/{name}")).collect(),
        _ => Vec::new(),
    }
}

fn json(status: u16, body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|error| format!("status {status} with a body that is no JSON: {error}"))
}

fn transaction(body: &Value) -> Result<Transaction, String> {
    Ok(Transaction {
        id: text(body, "/transactionId").unwrap_or_default(),
        kind: required(body, "/type")?,
        status: required(body, "/status")?,
        amount: money(body, "/amount")?.ok_or("/amount is missing")?,
        currency: required(body, "/currency")?,
        sides: [side(body, "/source")?, side(body, "/destination")?],
        original: text(body, "/originalTransactionId"),
        fields: fields(body, &TRANSACTION_FIELDS)?,
    })
}

fn side(body: &Value, pointer: &str) -> Result<Side, String> {
    let side = body.pointer(pointer).ok_or_else(|| format!("{pointer} is missing"))?;
    let within = |error: String| format!("{pointer}{error}");
    Ok(Side {
        account: required(side, "/accountId").map_err(within)?,
        before: money(side, "/balanceBefore").map_err(within)?,
        after: money(side, "/balanceAfter").map_err(within)?,
        movement: money(side, "/movement").map_err(within)?.ok_or_else(|| within("/movement is missing".to_owned()))?,
    })
}

fn account(body: &Value) -> Result<Account, String> {
    Ok(Account {
        id: required(body, "/accountId")?,
        kind: required(body, "/accountType")?,
        currency: required(body, "/currency")?,
        limits: [money(body, "/minBalance")?, money(body, "/maxBalance")?],
        balance: money(body, "/balance")?,
        fields: fields(body, &ACCOUNT_FIELDS)?,
    })
}

/// The compared fields that are there, as text; limits by value.
fn fields(body: &Value, pointers: &[&'static str]) -> Result<Vec<(&'static str, String)>, String> {
    let mut fields = Vec::with_capacity(pointers.len());
    for pointer in pointers {
        let text = match body.pointer(pointer) {
            None | Some(Value::Null) => continue,
            Some(Value::String(_)) if pointer.ends_with("Balance") => {
                money(body, pointer)?.unwrap_or_default().to_string()
            }
            Some(Value::String(text)) => text.clone(),
            Some(other) => canonical(other),
        };
        fields.push((*pointer, text));
    }
    Ok(fields)
}

/// JSON with the members of objects in order of their names, so that equal values have equal texts.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            let members: Vec<_> = members
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::String(name.clone()), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn text(body: &Value, pointer: &str) -> Option<String> {
    body.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn required(body: &Value, pointer: &str) -> Result<String, String> {
    text(body, pointer).ok_or_else(|| format!("{pointer} is missing"))
}

/// An amount or a balance: a string, or a whole number; anything with a fraction outside a string is not exact.
fn money(body: &Value, pointer: &str) -> Result<Option<Money>, String> {
    match body.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|error| format!("{pointer}: {error}")),
        Some(Value::Number(number)) if number.is_i64() || number.is_u64() => {
            number.to_string().parse().map(Some).map_err(|error| format!("{pointer}: {error}"))
        }
        Some(_) => Err(format!("{pointer} is no exact amount")),
    }
}

impl Leg {
    /// What moved: account, currency, movement; empty unless money moved.
    pub fn movements(&self) -> impl Iterator<Item = (&str, &str, Money)> {
        let transaction = match &self.answer {
            Some(Answer::Transaction(transaction)) => Some(transaction),
            _ => None,
        };
        transaction.into_iter().flat_map(|transaction| {
            transaction.sides.iter().map(|side| (side.account.as_str(), transaction.currency.as_str(), side.movement))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = r#"{"transactionId":"t","trackingId":"k","type":"topup","status":"completed",
        "amount":"10.00","currency":"EUR","extra":[1],
        "source":{"accountId":"ext","movement":"-10"},
        "destination":{"accountId":"u","balanceBefore":"0","balanceAfter":"10","version":3,"movement":"10.0"},
        "metadata":{"b":1,"a":[true,null]},"correlationId":"c","createdAt":"2026-01-01T00:00:00Z"}"#;

    #[test]
    fn a_result_is_read_leniently_and_by_value() {
        let leg = read(Operation::Topup, Class::Applied, 200, RESULT.as_bytes(), false).unwrap();
        let Some(Answer::Transaction(transaction)) = leg.answer else { panic!("no transaction") };
        assert_eq!(transaction.amount.to_string(), "10");
        assert_eq!(transaction.sides[1].before, Some(Money::ZERO));
        assert_eq!(transaction.sides[0].before, None);
        assert_eq!(
            transaction.fields,
            [("/trackingId", "k".to_owned()), ("/metadata", r#"{"a":[true,null],"b":1}"#.to_owned())]
        );
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let missing = RESULT.replace(r#""movement":"-10""#, r#""moved":"-10""#);
        let inexact = RESULT.replace(r#""10.00""#, "10.25");
        for (body, says) in [
            ("", "no JSON"),
            ("{}", "/type is missing"),
            (missing.as_str(), "/source/movement is missing"),
            (inexact.as_str(), "/amount is no exact amount"),
        ] {
            let error = read(Operation::Topup, Class::Applied, 200, body.as_bytes(), false).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(read(Operation::Topup, Class::Refused, 422, b"{}", false).is_err());
    }

    #[test]
    fn a_refusal_has_its_code_wherever_it_stands() {
        for body in [r#"{"code":"SameAccount"}"#, r#"{"result":{"errorCode":"SameAccount"}}"#] {
            let leg = read(Operation::Transfer, Class::Refused, 422, body.as_bytes(), false).unwrap();
            assert_eq!(leg.code.as_deref(), Some("SameAccount"));
        }
    }

    #[test]
    fn limits_are_compared_by_value_and_whole_numbers_are_exact() {
        let account = |max: &str| {
            let body = format!(
                r#"{{"accountId":"a","accountType":"USER","currency":"EUR","status":"ACTIVE","maxBalance":{max},"balance":0}}"#
            );
            match read(Operation::ChangeAccount, Class::Applied, 200, body.as_bytes(), false).unwrap().answer {
                Some(Answer::Account(account)) => account,
                _ => panic!("no account"),
            }
        };
        assert_eq!(account(r#""50.00""#).fields, account(r#""50""#).fields);
        assert_eq!(account(r#""50""#).limits, [None, Some("50".parse().unwrap())]);
        assert_eq!(account("null").limits, [None, None]);
    }
}
