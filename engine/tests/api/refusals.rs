//! Refusals by a rule: status, code, what they show, and that they have no effect.

use crate::support::{Engine, movement, problem, text, with};
use serde_json::{Value, json};

/// Accounts of every kind and state.
async fn engine() -> Engine {
    let engine =
        Engine::start().await.with_users(&[("alice", "100"), ("bob", "10"), ("frozen", "10"), ("closed", "0")]).await;
    engine.account("house", "SYSTEM", json!({})).await;
    engine.account("capped", "USER", json!({"maxBalance": "5"})).await;
    engine.account("floored", "USER", json!({"minBalance": "3"})).await;
    engine.account("limited", "EXTERNAL", json!({"minBalance": "-20"})).await;
    engine.account("dollars", "USER", json!({"currency": "USD"})).await;
    for (id, status) in [("frozen", "FROZEN"), ("closed", "CLOSED")] {
        let answer = engine.send("PATCH", &format!("/accounts/{id}"), &[], json!({"status": status}).to_string()).await;
        assert_eq!(answer.status, 200, "{}", text(&answer));
    }
    engine
}

#[tokio::test]
async fn moves_are_refused_in_order_of_precedence() {
    let engine = engine().await;
    let table = [
        ("transfer", "alice", "alice", "1", "SameAccount"),
        ("transfer", "nobody", "nobody", "1", "SameAccount"),
        ("transfer", "nobody", "neither", "1", "AccountNotFound"),
        ("transfer", "alice", "nobody", "1", "AccountNotFound"),
        ("topup", "nobody", "alice", "1", "AccountNotFound"),
        ("topup", "bank", "nobody", "1", "AccountNotFound"),
        ("topup", "bob", "alice", "1", "AccountTypeNotAllowed"),
        ("topup", "bank", "house", "1", "AccountTypeNotAllowed"),
        ("withdraw", "bank", "house", "1", "AccountTypeNotAllowed"),
        ("withdraw", "alice", "bob", "1", "AccountTypeNotAllowed"),
        ("transfer", "bank", "alice", "1", "AccountTypeNotAllowed"),
        ("withdraw", "bank", "nobody", "1", "AccountTypeNotAllowed"),
        ("transfer", "frozen", "alice", "1", "AccountFrozen"),
        ("transfer", "alice", "frozen", "1", "AccountFrozen"),
        ("transfer", "closed", "alice", "1", "AccountClosed"),
        ("topup", "bank", "closed", "1", "AccountClosed"),
        ("transfer", "frozen", "closed", "1000", "AccountFrozen"),
        ("transfer", "dollars", "alice", "1", "CurrencyMismatch"),
        ("transfer", "alice", "dollars", "1", "CurrencyMismatch"),
        ("transfer", "alice", "bob", "100.00000001", "InsufficientBalance"),
        ("transfer", "alice", "dollars", "1000", "InsufficientBalance"),
        ("withdraw", "floored", "bank", "1", "InsufficientBalance"),
        ("topup", "limited", "alice", "20.01", "InsufficientBalance"),
        ("topup", "bank", "capped", "5.01", "BalanceLimitExceeded"),
        ("topup", "bank", "alice", "999999999999", "BalanceOverflow"),
    ];
    let before = engine.read("/accounts").await;
    for (index, (kind, source, destination, amount, code)) in table.into_iter().enumerate() {
        let key = format!("k-{index}");
        let body = movement(&key, source, destination, amount);
        let answer = engine.post(&format!("/transactions/{kind}"), &body).await;
        let status = if code == "AccountNotFound" { 404 } else { 422 };
        let problem = problem(&answer, status, code);
        let result = &problem["result"];
        assert!(result["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{problem}");
        assert_eq!(result["correlationId"], problem["correlationId"]);
        assert_eq!(
            with(
                result.clone(),
                json!({
                    "transactionId": null, "createdAt": null, "completedAt": null, "position": null, "reason": null,
                    "correlationId": null,
                })
            ),
            json!({
                "trackingId": key, "type": kind, "status": "failed", "amount": amount, "currency": "EUR",
                "source": {"accountId": source, "movement": "0"},
                "destination": {"accountId": destination, "movement": "0"},
                "errorCode": code,
            }),
            "{kind} {source} {destination} {amount}"
        );
        for part in [kind, source, destination] {
            assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
        }
        let id = result["transactionId"].as_str().unwrap();
        assert_eq!(engine.read(&format!("/transactions/{id}")).await, *result, "a refusal is a transaction");
        for account in [source, destination] {
            let history = engine.get(&format!("/accounts/{account}/transactions?limit=1")).await;
            if history.status == 200 {
                let newest = &history.json::<Value>().unwrap()["transactions"][0];
                assert_eq!(newest["transactionId"], id, "and in the history of {account}");
            }
        }
    }
    let balances = |page: &Value| {
        // A step that another shard refuses passes through an account in transit, which is made for it.
        let accounts = page["accounts"].as_array().unwrap().iter();
        let accounts = accounts.filter(|account| account["accountId"] != "in-transit:EUR" || account["balance"] != "0");
        accounts.map(|account| (account["accountId"].clone(), account["balance"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(balances(&engine.read("/accounts").await), balances(&before));
    engine.stop().await;
}

#[tokio::test]
async fn refunds_are_refused() {
    let engine = engine().await;
    let transfer: Value =
        engine.post("/transactions/transfer", &movement("t", "alice", "bob", "40")).await.json().unwrap();
    let refused: Value =
        engine.post("/transactions/transfer", &movement("f", "bob", "alice", "999")).await.json().unwrap();
    let spent: Value =
        engine.post("/transactions/transfer", &movement("s", "bob", "alice", "35")).await.json().unwrap();
    let refund = async |key: &str, original: &Value, amount: Option<&str>| {
        let mut body = json!({"idempotencyKey": key, "transactionId": original});
        if let Some(amount) = amount {
            body["amount"] = json!(amount);
        }
        engine.post("/transactions/refund", &body).await
    };
    let id = &transfer["transactionId"];
    problem(&refund("r-1", id, Some("40.01")).await, 422, "RefundExceedsOriginal");
    problem(&refund("r-2", id, Some("40")).await, 422, "InsufficientBalance");
    problem(&refund("r-3", &refused["result"]["transactionId"], None).await, 422, "NotRefundable");
    for (key, unknown) in [("r-4", json!("L-000001")), ("r-5", json!("cf00aabb-1234-8abc-8def-0123456789ab"))] {
        let problem = problem(&refund(key, &unknown, None).await, 404, "OriginalNotFound");
        assert_eq!(problem["result"]["originalTransactionId"], unknown);
        assert!(problem["detail"].as_str().unwrap().contains(unknown.as_str().unwrap()), "{problem}");
    }
    let done = refund("r-6", id, Some("15")).await;
    assert_eq!(done.status, 200, "{}", text(&done));
    let done: Value = done.json().unwrap();
    problem(&refund("r-7", &done["transactionId"], None).await, 422, "NotRefundable");
    problem(&refund("r-8", id, Some("25.01")).await, 422, "RefundExceedsOriginal");
    let back = refund("r-9", &spent["transactionId"], None).await;
    assert_eq!(back.status, 200, "{}", text(&back));
    let rest = refund("r-10", id, None).await;
    assert_eq!(rest.json::<Value>().unwrap()["amount"], "25");
    problem(&refund("r-11", id, None).await, 422, "RefundExceedsOriginal");
    engine.stop().await;
}

#[tokio::test]
async fn accounts_are_refused() {
    let engine = engine().await;
    let make = async |more: Value| {
        let body =
            json!({"accountId": "new", "ownerId": "o", "ownerType": "p", "accountType": "USER", "currency": "EUR"});
        engine.post("/accounts", &with(body, more)).await
    };
    problem(&make(json!({"accountId": "alice"})).await, 409, "AccountExists");
    problem(&make(json!({"accountId": "in-transit:EUR", "accountType": "SYSTEM"})).await, 409, "AccountExists");
    problem(&make(json!({"accountId": "in-transit:XYZ", "accountType": "SYSTEM"})).await, 409, "AccountExists");
    problem(&make(json!({"minBalance": "2", "maxBalance": "1"})).await, 422, "InvalidLimits");
    let refusal = problem(&make(json!({"minBalance": "-1"})).await, 422, "InvalidLimits");
    assert!(refusal["detail"].as_str().unwrap().contains("new"), "{refusal}");
    assert_eq!(refusal.get("result"), None);

    let change =
        async |id: &str, body: Value| engine.send("PATCH", &format!("/accounts/{id}"), &[], body.to_string()).await;
    problem(&change("nobody", json!({"status": "FROZEN"})).await, 404, "AccountNotFound");
    problem(&change("closed", json!({"status": "ACTIVE"})).await, 422, "AccountClosed");
    problem(&change("alice", json!({"minBalance": "-1"})).await, 422, "InvalidLimits");
    problem(&change("bank", json!({"minBalance": "-1"})).await, 422, "LimitsFixed");
    problem(&change("limited", json!({"minBalance": null})).await, 422, "LimitsFixed");
    problem(&change("alice", json!({"status": "CLOSED"})).await, 422, "AccountNotEmpty");
    problem(&engine.get("/accounts/nobody").await, 404, "AccountNotFound");
    for path in ["balance", "transactions", "events", "balance?at=2020-01-01T00:00:00Z"] {
        let problem = problem(&engine.get(&format!("/accounts/nobody/{path}")).await, 404, "AccountNotFound");
        assert!(problem["detail"].as_str().unwrap().contains("`nobody`"), "{problem}");
    }
    problem(&engine.get("/transactions/L-1").await, 404, "TransactionNotFound");
    problem(&engine.get("/transactions/cf00aabb-1234-8abc-8def-0123456789ab").await, 404, "TransactionNotFound");
    problem(&engine.get("/transactions/status/unused").await, 404, "TransactionNotFound");
    engine.stop().await;
}
