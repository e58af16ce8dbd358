//! Topups, withdrawals, transfers: what is booked, and what each rule refuses.

use crate::client::{Legacy, movement};
use serde_json::json;

#[tokio::test]
async fn a_topup_is_booked_and_answered() {
    let legacy = Legacy::start().await.with_people().await;
    let mut body = movement("k", "bank", "alice", "10.50000000");
    body["reference"] = json!("invoice 7");
    body["metadata"] = json!({"a": [1, 2.5]});
    let reply = legacy.post_with("/transactions/topup", &[("X-Correlation-Id", "c-1")], body).await;
    let result = reply.expect_applied();
    let expected = json!({
        "transactionId": "L-000000000002", "trackingId": "k", "type": "topup", "status": "completed",
        "amount": "10.5", "currency": "CZK",
        "source": {"accountId": "bank", "movement": "-10.5"},
        "destination": {
            "accountId": "alice", "balanceBefore": "100", "balanceAfter": "110.5", "version": 3, "movement": "10.5",
        },
        "reference": "invoice 7", "metadata": {"a": [1, 2.5]}, "correlationId": "c-1",
        "createdAt": result["createdAt"], "completedAt": result["createdAt"],
    });
    assert_eq!(result, &expected);
    assert_eq!(legacy.balance("alice").await, "110.5");
    assert_eq!(legacy.balance("bank").await, "-110.5");
    assert_eq!(legacy.get("/transactions/L-000000000002").await.body, expected);
    assert_eq!(legacy.get("/transactions/status/k").await.body, expected);
}

#[tokio::test]
async fn money_moves_both_ways_and_across() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.transact("withdraw", "w", "alice", "bank", "0.00000001").await.expect_applied();
    let transfer = legacy.transact("transfer", "t", "alice", "bob", "99.99999999").await;
    let result = transfer.expect_applied();
    assert_eq!(
        (&result["source"]["balanceAfter"], &result["source"]["movement"]),
        (&json!("0"), &json!("-99.99999999"))
    );
    assert_eq!(result["destination"]["balanceAfter"], "99.99999999");
    legacy.transact("transfer", "u", "bob", "bank", "9.99999999").await.expect_applied();
    let balances = [legacy.balance("alice").await, legacy.balance("bob").await, legacy.balance("bank").await];
    assert_eq!(balances, ["0", "90", "-90"]);
}

#[tokio::test]
async fn each_rule_refuses() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.account("frozen", "USER", json!({})).await;
    legacy.patch("frozen", json!({"status": "FROZEN"})).await;
    legacy.account("closed", "USER", json!({})).await;
    legacy.patch("closed", json!({"status": "CLOSED"})).await;
    legacy.account("modest", "USER", json!({"maxBalance": "50"})).await;
    legacy.account("thrifty", "USER", json!({"minBalance": "20"})).await;
    legacy.account("till", "SYSTEM", json!({"minBalance": "-10"})).await;
    legacy.account("cap", "EXTERNAL", json!({"maxBalance": "30"})).await;
    legacy.transact("topup", "k0", "bank", "thrifty", "30").await.expect_applied();
    let in_euro =
        json!({"accountId": "euro", "ownerId": "o", "ownerType": "t", "accountType": "USER", "currency": "EUR"});
    assert_eq!(legacy.post("/accounts", in_euro).await.status, 201);

    let cases = [
        ("topup", "alice", "alice", "1", 422, "SameAccount"),
        ("transfer", "nobody", "nobody", "1", 422, "SameAccount"),
        ("topup", "nobody", "frozen", "1", 404, "AccountNotFound"),
        ("topup", "bank", "nobody", "1", 404, "AccountNotFound"),
        ("topup", "alice", "bob", "1", 422, "AccountTypeNotAllowed"),
        ("topup", "bank", "till", "1", 422, "AccountTypeNotAllowed"),
        ("withdraw", "bank", "alice", "1", 422, "AccountTypeNotAllowed"),
        ("withdraw", "alice", "bob", "1", 422, "AccountTypeNotAllowed"),
        ("transfer", "bank", "alice", "1", 422, "AccountTypeNotAllowed"),
        ("transfer", "frozen", "bob", "1", 422, "AccountFrozen"),
        ("topup", "bank", "frozen", "1", 422, "AccountFrozen"),
        ("transfer", "closed", "bob", "1", 422, "AccountClosed"),
        ("topup", "bank", "closed", "1", 422, "AccountClosed"),
        ("transfer", "euro", "bob", "1", 422, "CurrencyMismatch"),
        ("transfer", "alice", "euro", "1", 422, "CurrencyMismatch"),
        ("transfer", "alice", "bob", "100.00000001", 422, "InsufficientBalance"),
        ("transfer", "thrifty", "bob", "10.01", 422, "InsufficientBalance"),
        ("topup", "till", "alice", "10.00000001", 422, "InsufficientBalance"),
        ("topup", "bank", "modest", "50.01", 422, "BalanceLimitExceeded"),
        ("withdraw", "alice", "cap", "30.01", 422, "BalanceLimitExceeded"),
        ("topup", "bank", "alice", "999999999900", 422, "BalanceOverflow"),
        // The source is looked at before the destination.
        ("transfer", "bob", "frozen", "1", 422, "InsufficientBalance"),
        ("transfer", "euro", "nobody", "1", 422, "CurrencyMismatch"),
    ];
    for (index, (kind, source, destination, amount, status, code)) in cases.into_iter().enumerate() {
        let key = format!("k-{index}");
        let reply = legacy.transact(kind, &key, source, destination, amount).await;
        reply.expect_refused(status, code);
        let result = &reply.body["result"];
        assert_eq!((&result["status"], &result["errorCode"]), (&json!("failed"), &json!(code)), "{}", reply.text);
        assert_eq!(result["source"], json!({"accountId": source, "movement": "0"}));
        assert_eq!(result["destination"], json!({"accountId": destination, "movement": "0"}));
        let account = if kind == "topup" { destination } else { source };
        let found = legacy.get(&format!("/transactions/status/{key}?account={account}")).await;
        assert_eq!(&found.body, result, "{kind} {source} {destination}");
        for account in [source, destination] {
            if legacy.get(&format!("/accounts/{account}")).await.status == 200 {
                assert_eq!(&legacy.history(account).await[0], result, "in the history of {account}");
            }
        }
    }
    let balances = [legacy.balance("alice").await, legacy.balance("bob").await, legacy.balance("bank").await];
    assert_eq!(balances, ["100", "0", "-130"], "nothing moved");

    // The limits themselves are allowed.
    legacy.transact("transfer", "l1", "thrifty", "bob", "10").await.expect_applied();
    legacy.transact("topup", "l2", "till", "alice", "10").await.expect_applied();
    legacy.transact("topup", "l3", "bank", "modest", "50").await.expect_applied();
    legacy.transact("withdraw", "l4", "alice", "cap", "30").await.expect_applied();
    legacy.transact("topup", "l5", "bank", "alice", "999999999919.99999999").await.expect_applied();
    assert_eq!(legacy.balance("alice").await, "999999999999.99999999");
}
