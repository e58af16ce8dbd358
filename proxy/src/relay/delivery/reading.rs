//! What the relay reads in an answer of either system: ids, accounts, code, position. It needs nothing else of it,
//! so an answer with unknown fields, or one that is no JSON at all, is no error here.

use super::accounts::Facts;
use super::levels::Level;
use super::order::{Marks, engine_position};
use serde::Deserialize;
use serde_json::Value;

/// What an answer says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The code of a problem.
    pub code: Option<String>,
    /// The transaction, by the answering system's id.
    pub transaction: Option<String>,
    /// How much it moved.
    pub amount: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// Where it went.
    pub destination: Option<String>,
    /// Sides that showed their level: only USER accounts do.
    pub users: Vec<String>,
    /// What it says of the engine's order.
    pub marks: Marks,
    /// The levels that it shows.
    pub levels: Vec<Level>,
    /// The account that the answer describes.
    pub account: Option<(String, Facts)>,
}

/// The fields of accounts, results and problems that count here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Shape {
    code: Option<Value>,
    transaction_id: Option<Value>,
    amount: Option<Value>,
    source: Option<SideShape>,
    destination: Option<SideShape>,
    position: Option<Vec<Value>>,
    result: Option<Box<Shape>>,
    account_id: Option<Value>,
    version: Option<Value>,
    account_type: Option<Value>,
    min_balance: Option<Value>,
    max_balance: Option<Value>,
    balance: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SideShape {
    account_id: Option<Value>,
    version: Option<Value>,
    balance_before: Option<Value>,
    balance_after: Option<Value>,
}

fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

impl Reading {
    /// Reads the body of an answer.
    pub fn of(body: &[u8]) -> Self {
        let Ok(shape) = serde_json::from_slice::<Shape>(body) else { return Self::default() };
        let code = text(shape.code);
        // The balance of any other has no order: it is the sum of its parts.
        let has_level = matches!(&shape.account_type, Some(Value::String(kind)) if kind == "USER");
        let own_version = shape.version.as_ref().and_then(Value::as_u64);
        let account = account_of(shape.account_id, shape.account_type, shape.min_balance, shape.max_balance);
        let shown = account.iter().filter(|_| has_level);
        let mut levels: Vec<Level> =
            shown.filter_map(|(account, _)| level(account, own_version, [&shape.balance; 2])).collect();
        // A refusal carries the failed transaction as `result`.
        let result = match shape.result {
            Some(result) => *result,
            None => Shape {
                transaction_id: shape.transaction_id,
                amount: shape.amount,
                source: shape.source,
                destination: shape.destination,
                position: shape.position,
                ..Shape::default()
            },
        };
        let mut users = Vec::new();
        let mut versions: Vec<(String, u64)> =
            account.iter().filter_map(|(account, _)| Some((account.clone(), own_version?))).collect();
        let mut side = |side: Option<SideShape>| {
            let side = side?;
            let account = text(side.account_id)?;
            if side.balance_before.as_ref().is_some_and(|level| !level.is_null()) {
                users.push(account.clone());
            }
            let version = side.version.as_ref().and_then(Value::as_u64);
            levels.extend(level(&account, version, [&side.balance_before, &side.balance_after]));
            versions.extend(side.version.and_then(|version| Some((account.clone(), version.as_u64()?))));
            Some(account)
        };
        let source = side(result.source);
        let destination = side(result.destination);
        let positions = result.position.unwrap_or_default();
        Self {
            code,
            transaction: text(result.transaction_id),
            amount: text(result.amount),
            source,
            destination,
            users,
            marks: Marks {
                makes: None,
                versions,
                positions: positions.iter().filter_map(|at| engine_position(at.as_str()?)).collect(),
            },
            levels,
            account,
        }
    }
}

/// A level before and after, if all of it is there.
fn level(account: &str, version: Option<u64>, [before, after]: [&Option<Value>; 2]) -> Option<Level> {
    let money = |value: &Option<Value>| value.as_ref()?.as_str()?.parse().ok();
    Some(Level { account: account.to_owned(), version: version?, before: money(before)?, after: money(after)? })
}

/// What an account's own document says of it.
fn account_of(
    id: Option<Value>,
    kind: Option<Value>,
    min: Option<Value>,
    max: Option<Value>,
) -> Option<(String, Facts)> {
    let (id, kind) = (text(id)?, text(kind)?);
    let bound = |value: Option<Value>| value.is_some_and(|value| !value.is_null());
    let limited = bound(min) | bound(max);
    match kind.as_str() {
        "USER" => Some((id, Facts::USER)),
        "EXTERNAL" | "SYSTEM" => Some((id, Facts { limited })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completed_transaction_is_read() {
        let reading = Reading::of(
            br#"{"transactionId":"t1","trackingId":"k","type":"topup","status":"completed","amount":"5","currency":"EUR",
                "source":{"accountId":"bank","movement":"-5"},
                "destination":{"accountId":"alice","balanceBefore":"0","balanceAfter":"5","version":2,"movement":"5"},
                "position":["4:19","7:2"],"news":{"in":"later versions"}}"#,
        );
        assert_eq!(reading.transaction.as_deref(), Some("t1"));
        assert_eq!(reading.amount.as_deref(), Some("5"));
        assert_eq!(reading.source.as_deref(), Some("bank"));
        assert_eq!(reading.destination.as_deref(), Some("alice"));
        assert_eq!(reading.users, ["alice"]);
        assert_eq!(reading.marks.positions, [(4, 19), (7, 2)]);
        assert_eq!(reading.marks.versions, [("alice".to_owned(), 2)]);
        assert_eq!((reading.code, reading.account), (None, None));
    }

    #[test]
    fn a_refusal_is_read_with_its_failed_transaction() {
        let reading = Reading::of(
            br#"{"type":"urn:x","status":422,"code":"InsufficientBalance","detail":"",
                "result":{"transactionId":"t2","status":"failed","source":{"accountId":"alice","movement":"0"},
                          "destination":{"accountId":"bank","movement":"0"}}}"#,
        );
        assert_eq!(reading.code.as_deref(), Some("InsufficientBalance"));
        assert_eq!(reading.transaction.as_deref(), Some("t2"));
        assert_eq!(reading.source.as_deref(), Some("alice"));
        assert!(reading.users.is_empty());
    }

    #[test]
    fn accounts_say_whether_they_are_limited() {
        for (body, limited) in [
            (r#"{"accountId":"a","accountType":"USER"}"#, true),
            (r#"{"accountId":"a","accountType":"EXTERNAL"}"#, false),
            (r#"{"accountId":"a","accountType":"SYSTEM","minBalance":null}"#, false),
            (r#"{"accountId":"a","accountType":"SYSTEM","minBalance":"-5"}"#, true),
            (r#"{"accountId":"a","accountType":"EXTERNAL","maxBalance":"5"}"#, true),
        ] {
            assert_eq!(Reading::of(body.as_bytes()).account, Some(("a".to_owned(), Facts { limited })), "{body}");
        }
        assert_eq!(Reading::of(br#"{"accountId":"a","accountType":"OTHER"}"#).account, None);
        let versioned = Reading::of(br#"{"accountId":"a","accountType":"USER","version":4}"#);
        assert_eq!(versioned.marks.versions, [("a".to_owned(), 4)]);
    }

    #[test]
    fn anything_else_says_nothing() {
        for body in [&b""[..], b"<html>", b"[1]", b"null", br#"{"transactionId":7}"#, br#"{"source":"x"}"#, b"\xff"] {
            assert_eq!(Reading::of(body), Reading::default(), "{body:?}");
        }
    }
}
