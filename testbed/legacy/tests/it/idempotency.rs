//! One key, one effect, one answer.

use crate::client::{Legacy, Reply, config, movement};
use http::Method;
use serde_json::{Value, json};
use testbed_legacy::Config;

#[tokio::test]
async fn a_retry_gets_the_first_answer_byte_for_byte() {
    let legacy = Legacy::start().await.with_people().await;
    for (key, amount, status) in [("ok", "10", 200), ("refused", "1000", 422)] {
        let first = legacy.transact("transfer", key, "alice", "bob", amount).await;
        assert_eq!((first.status, first.replayed), (status, false), "{}", first.text);
        // By value: 10 and 10.00 are one amount. The key may come as a header.
        let mut body = movement(key, "alice", "bob", &format!("{amount}.00"));
        body.as_object_mut().unwrap().shift_remove("idempotencyKey");
        let headers = [("Idempotency-Key", key), ("X-Correlation-Id", "another")];
        let again = legacy.post_with("/transactions/transfer", &headers, body).await;
        assert_eq!((again.status, again.replayed, &again.text), (status, true, &first.text));
        assert_eq!(again.content_type, first.content_type);
        assert_eq!(again.correlation_id, "another", "the header is the retry's, the body the first one's");
    }
    assert_eq!(legacy.balance("alice").await, "90");
    assert_eq!(legacy.history("alice").await.len(), 3);
}

#[tokio::test]
async fn another_content_under_a_known_key_is_refused_and_not_kept() {
    let legacy = Legacy::start().await.with_people().await;
    let first = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    let with = |name: &str, value: Value| {
        let mut body = movement("k", "alice", "bob", "10");
        body[name] = value;
        body
    };
    for body in [
        with("amount", json!("10.01")),
        with("currency", json!("EUR")),
        with("destinationAccountId", json!("bank")),
        with("reference", json!("r")),
        with("metadata", json!({"a": 1})),
    ] {
        let reply = legacy.post("/transactions/transfer", body).await;
        reply.expect_refused(422, "DuplicateKey");
        assert_eq!(reply.id(), first.id(), "names the transaction that has the key");
        assert!(!reply.replayed);
    }
    let reply = legacy.transact("withdraw", "k", "alice", "bank", "10").await;
    reply.expect_refused(422, "DuplicateKey");
    legacy.transact("transfer", "k", "alice", "alice", "10").await.expect_refused(422, "SameAccount");
    legacy.refund("k", &first.id(), None).await.expect_applied();
    assert_eq!(legacy.history("alice").await.len(), 3, "topup, transfer, and the refund, which bob decides");
    let again = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    assert_eq!((again.replayed, again.text), (true, first.text));
}

#[tokio::test]
async fn a_key_is_unique_in_tenant_and_deciding_account() {
    let legacy = Legacy::start().await.with_people().await;
    let send = async |tenant: Option<&str>, destination: &str| {
        let headers = tenant.map(|tenant| ("X-Tenant", tenant));
        legacy.post_with("/transactions/topup", headers.as_slice(), movement("k", "bank", destination, "1")).await
    };
    for (tenant, destination) in [(None, "alice"), (None, "bob"), (Some("t1"), "alice"), (Some("t2"), "alice")] {
        let reply = send(tenant, destination).await;
        reply.expect_applied();
        assert!(!reply.replayed);
        assert!(send(tenant, destination).await.replayed);
    }
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["103", "1"]);
    let status = async |tenant: &str, query: &str| {
        let path = format!("/transactions/status/k{query}");
        Reply::of(legacy.send_bytes(Method::GET, &path, &[("X-Tenant", tenant)], b"").await)
    };
    assert_eq!(status("t1", "").await.body["destination"]["accountId"], "alice");
    status("", "").await.expect_refused(409, "AmbiguousKey");
    assert_eq!(status("", "?account=bob").await.body["destination"]["accountId"], "bob");
    status("t1", "?account=bob").await.expect_refused(404, "TransactionNotFound");
    status("t3", "").await.expect_refused(404, "TransactionNotFound");
}

#[tokio::test]
async fn parallel_requests_with_one_key_have_one_effect() {
    let legacy = Legacy::start().await.with_people().await;
    let requests = (0..20).map(|_| legacy.transact("transfer", "k", "alice", "bob", "7"));
    let replies = futures_util::future::join_all(requests).await;
    assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1);
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.text == replies[0].text));
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["93", "7"]);
}

#[tokio::test]
async fn refusals_may_leave_their_key_alone() {
    let legacy = Legacy::start_with(Config { refusal_keeps_key: false, ..config() }).await.with_people().await;
    let refused = legacy.transact("transfer", "k", "bob", "alice", "5").await;
    refused.expect_refused(422, "InsufficientBalance");
    let again = legacy.transact("transfer", "k", "bob", "alice", "5").await;
    again.expect_refused(422, "InsufficientBalance");
    assert!(!again.replayed);
    assert_ne!(refused.id(), again.id());
    legacy.get("/transactions/status/k").await.expect_refused(404, "TransactionNotFound");
    assert!(legacy.history("bob").await.is_empty());
    legacy.transact("topup", "t", "bank", "bob", "5").await.expect_applied();
    let applied = legacy.transact("transfer", "k", "bob", "alice", "5").await;
    applied.expect_applied();
    assert!(legacy.transact("transfer", "k", "bob", "alice", "5").await.replayed);
    // An id that was told is never told again for another transaction, also after a restart.
    let told = legacy.transact("transfer", "k2", "bob", "alice", "5").await.id();
    let legacy = legacy.restart().await;
    assert_ne!(legacy.transact("transfer", "k3", "bob", "alice", "5").await.id(), told);
}

/// What a key stands for is kept as JSON: a number has to come back from there as it went in.
#[tokio::test]
async fn a_repeat_with_floats_in_its_metadata_is_a_repeat() {
    let legacy = Legacy::start().await.with_people().await;
    let mut body = movement("floats", "bank", "alice", "1");
    body["metadata"] = json!({ "x": "NUMBER" });
    let body = body.to_string();
    for number in ["95.79860960575667033", "0.1", "1e-320", "123456789.123456789"] {
        let body = body.replace("\"NUMBER\"", number).replace("floats", number);
        let send = async || legacy.send_bytes(Method::POST, "/transactions/topup", &[], body.as_bytes()).await;
        let (first, again) = (send().await, send().await);
        assert_eq!((first.status.as_u16(), again.status.as_u16()), (200, 200), "{number}: {:?}", again.body);
        assert_eq!(first.body, again.body, "{number}");
        assert!(Reply::of(again).replayed, "{number}");
    }
}
