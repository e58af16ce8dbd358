//! Refunds: full, partial, too much, and of what cannot be refunded.

use crate::client::Legacy;
use serde_json::json;

#[tokio::test]
async fn a_refund_goes_back_along_the_original() {
    let legacy = Legacy::start().await.with_people().await;
    let transfer = legacy.transact("transfer", "t", "alice", "bob", "30").await.id();
    let body = json!({"idempotencyKey": "r", "transactionId": transfer, "amount": "10", "reason": "broken"});
    let refund = legacy.post("/transactions/refund", body).await;
    let result = refund.expect_applied();
    let expected = json!({
        "transactionId": "L-000000000003", "trackingId": "r", "type": "refund", "status": "completed",
        "amount": "10", "currency": "CZK",
        "source": {"accountId": "bob", "balanceBefore": "30", "balanceAfter": "20", "version": 3, "movement": "-10"},
        "destination": {
            "accountId": "alice", "balanceBefore": "70", "balanceAfter": "80", "version": 4, "movement": "10",
        },
        "originalTransactionId": transfer, "reason": "broken", "correlationId": refund.correlation_id,
        "createdAt": result["createdAt"], "completedAt": result["createdAt"],
    });
    assert_eq!(result, &expected);
    // Everything left, when no amount is given; then nothing is left.
    assert_eq!(legacy.refund("r2", &transfer, None).await.expect_applied()["amount"], "20");
    legacy.refund("r3", &transfer, None).await.expect_refused(422, "RefundExceedsOriginal");
    legacy.refund("r4", &transfer, Some("0.00000001")).await.expect_refused(422, "RefundExceedsOriginal");
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["100", "0"]);
}

#[tokio::test]
async fn more_than_the_original_is_refused() {
    let legacy = Legacy::start().await.with_people().await;
    let topup = legacy.transact("topup", "t", "bank", "bob", "5").await.id();
    legacy.transact("topup", "t2", "bank", "bob", "50").await.expect_applied();
    legacy.refund("r1", &topup, Some("5.01")).await.expect_refused(422, "RefundExceedsOriginal");
    legacy.refund("r2", &topup, Some("3")).await.expect_applied();
    legacy.refund("r3", &topup, Some("2.01")).await.expect_refused(422, "RefundExceedsOriginal");
    legacy.refund("r4", &topup, Some("2")).await.expect_applied();
    assert_eq!([legacy.balance("bob").await, legacy.balance("bank").await], ["50", "-150"]);
}

#[tokio::test]
async fn only_a_completed_original_is_refunded() {
    let legacy = Legacy::start().await.with_people().await;
    let unknown = ["L-000000000099", "L-99", "99", "", "cf00aabb-1234-8abc-8def-0123456789ab", "L-000000000000"];
    for (index, unknown) in unknown.into_iter().enumerate() {
        let reply = legacy.refund(&format!("u-{index}"), unknown, None).await;
        reply.expect_refused(404, "OriginalNotFound");
        assert_eq!(reply.body["result"]["originalTransactionId"], unknown);
        assert_eq!(reply.body["result"]["source"], json!({"accountId": "", "movement": "0"}));
        // Nor is there anything to refund of a refund of nothing. One key for two originals is two keys.
        legacy.refund(&format!("v-{index}"), &reply.id(), None).await.expect_refused(404, "OriginalNotFound");
        let other = legacy.refund(&format!("u-{index}"), "L-000000009999", None).await;
        other.expect_refused(404, "OriginalNotFound");
        assert!(!other.replayed, "{}", other.text);
    }
    let failed = legacy.transact("transfer", "f", "alice", "bob", "101").await.id();
    legacy.refund("r1", &failed, None).await.expect_refused(422, "NotRefundable");
    let transfer = legacy.transact("transfer", "t", "alice", "bob", "10").await.id();
    let refund = legacy.refund("r2", &transfer, Some("1")).await.id();
    legacy.refund("r3", &refund, None).await.expect_refused(422, "NotRefundable");
}

#[tokio::test]
async fn the_accounts_of_a_refund_are_looked_at() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.account("modest", "USER", json!({"maxBalance": "50"})).await;
    let topup = legacy.transact("topup", "t1", "bank", "bob", "10").await.id();
    legacy.transact("withdraw", "w1", "bob", "bank", "5").await.expect_applied();
    legacy.refund("r1", &topup, None).await.expect_refused(422, "InsufficientBalance");
    legacy.patch("bob", json!({"status": "FROZEN"})).await;
    legacy.refund("r2", &topup, Some("1")).await.expect_refused(422, "AccountFrozen");
    legacy.patch("bob", json!({"status": "ACTIVE"})).await;

    legacy.transact("topup", "t2", "bank", "modest", "50").await.expect_applied();
    let withdrawal = legacy.transact("withdraw", "w2", "modest", "bank", "20").await.id();
    legacy.transact("topup", "t3", "bank", "modest", "15").await.expect_applied();
    legacy.refund("r3", &withdrawal, None).await.expect_refused(422, "BalanceLimitExceeded");
    legacy.refund("r4", &withdrawal, Some("5")).await.expect_applied();
    let withdrawal = legacy.transact("withdraw", "w3", "modest", "bank", "50").await.id();
    legacy.patch("modest", json!({"status": "CLOSED"})).await;
    legacy.refund("r5", &withdrawal, None).await.expect_refused(422, "AccountClosed");
}

#[tokio::test]
async fn a_refund_is_decided_by_the_limited_account() {
    let legacy = Legacy::start().await.with_people().await;
    let topup = legacy.transact("topup", "t", "bank", "bob", "10").await.id();
    let withdrawal = legacy.transact("withdraw", "w", "bob", "bank", "5").await.id();
    // One key for two deciding accounts is two keys.
    let transfer = legacy.transact("transfer", "x", "alice", "bank", "5").await.id();
    legacy.refund("same", &topup, Some("1")).await.expect_applied();
    legacy.refund("same", &transfer, Some("1")).await.expect_applied();
    legacy.refund("same", &withdrawal, Some("1")).await.expect_refused(422, "DuplicateKey");
    for account in ["bob", "alice"] {
        let found = legacy.get(&format!("/transactions/status/same?account={account}")).await;
        assert_eq!(found.status, 200, "{account}: {}", found.text);
    }
    legacy.get("/transactions/status/same").await.expect_refused(409, "AmbiguousKey");
    assert_eq!(legacy.get("/transactions/status/same?account=bank").await.status, 404);
}
