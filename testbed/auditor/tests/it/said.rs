//! Requests and answers, shortly written.

use serde_json::{Value, json};
use testbed_auditor::{Answer, Request};

pub fn account(id: &str, kind: &str, limits: Value) -> Request {
    let mut body = json!({"accountId": id, "ownerId": "o", "ownerType": "t", "accountType": kind, "currency": "CZK"});
    body.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    Request::read("POST", "/accounts", "", None, body.to_string().as_bytes()).unwrap()
}

pub fn change(id: &str, body: Value) -> Request {
    Request::read("PATCH", &format!("/accounts/{id}"), "", None, body.to_string().as_bytes()).unwrap()
}

pub fn movement(kind: &str, key: &str, source: &str, destination: &str, amount: &str) -> Request {
    let body = json!({
        "idempotencyKey": key, "sourceAccountId": source, "destinationAccountId": destination, "amount": amount,
        "currency": "CZK",
    });
    Request::read("POST", &format!("/transactions/{kind}"), "", None, body.to_string().as_bytes()).unwrap()
}

pub fn refund(key: &str, transaction: &str, amount: Option<&str>) -> Request {
    let mut body = json!({"idempotencyKey": key, "transactionId": transaction});
    if let Some(amount) = amount {
        body["amount"] = json!(amount);
    }
    Request::read("POST", "/transactions/refund", "", None, body.to_string().as_bytes()).unwrap()
}

/// A side: account, movement, and for a USER its level before and its version after.
pub fn side(account: &str, movement: i64, user: Option<(i64, u64)>) -> Value {
    let mut side = json!({"accountId": account, "movement": movement.to_string()});
    if let Some((before, version)) = user {
        side["balanceBefore"] = json!(before.to_string());
        side["balanceAfter"] = json!((before + movement).to_string());
        side["version"] = json!(version);
    }
    side
}

/// A result: `who` is type, id and key.
pub fn result(who: [&str; 3], amount: i64, source: Value, destination: Value) -> Value {
    let [kind, id, key] = who;
    json!({
        "transactionId": id, "trackingId": key, "type": kind, "status": "completed", "amount": amount.to_string(),
        "currency": "CZK", "source": source, "destination": destination, "correlationId": "c",
        "createdAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:00:00Z",
    })
}

/// The result of a refusal between two accounts.
pub fn failed(who: [&str; 3], amount: i64, source: &str, destination: &str, code: &str) -> Value {
    let mut result = result(who, amount, side(source, 0, None), side(destination, 0, None));
    result["status"] = json!("failed");
    result["errorCode"] = json!(code);
    result
}

pub fn applied(result: &Value) -> Answer {
    Answer::read(200, false, result.to_string().as_bytes())
}

pub fn replayed(mut answer: Answer) -> Answer {
    answer.replayed = true;
    answer
}

pub fn refused(status: u16, result: &Value) -> Answer {
    let body = json!({"status": status, "code": result["errorCode"], "result": result});
    Answer::read(status, false, body.to_string().as_bytes())
}

pub fn made() -> Answer {
    Answer::read(201, false, b"{}")
}
