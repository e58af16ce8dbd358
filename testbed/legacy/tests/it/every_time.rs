//! A legacy that does not deduplicate: every request is executed, every time, and counted; and ids that are numbers.

use crate::client::{Legacy, Reply, config, movement};
use http::Method;
use serde_json::{Value, json};
use testbed_legacy::Config;
use testbed_legacy::ids::Ids;

fn every_time() -> Config {
    Config { deduplicates: false, ids: Ids::Integer, ..config() }
}

async fn start() -> Legacy {
    Legacy::start_with(every_time()).await.with_people().await
}

async fn executions(legacy: &Legacy) -> Value {
    let reply = legacy.get("/executions").await;
    assert_eq!((reply.status, reply.content_type.as_str()), (200, "application/json"), "{}", reply.text);
    reply.body
}

#[tokio::test]
async fn one_key_twice_is_two_transactions() {
    let legacy = start().await;
    let first = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    let again = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    let other = legacy.transact("transfer", "k", "alice", "bob", "0.5").await;
    for reply in [&first, &again, &other] {
        reply.expect_applied();
        assert!(!reply.replayed);
    }
    assert_eq!([first.id(), again.id(), other.id()], ["2", "3", "4"]);
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["79.5", "20.5"]);
    assert_eq!(legacy.history("bob").await, [other.body.clone(), again.body.clone(), first.body.clone()]);
    for reply in [&first, &again, &other] {
        assert_eq!(legacy.get(&format!("/transactions/{}", reply.id())).await.body, reply.body);
    }
    for path in ["k", "k?account=alice"] {
        let status = legacy.get(&format!("/transactions/status/{path}")).await;
        assert_eq!((status.status, &status.body), (200, &first.body), "the first one has the key");
    }
    let legacy = legacy.restart().await;
    assert_eq!(legacy.get("/transactions/status/k").await.body, first.body);
    let after = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    assert_eq!((after.id(), after.replayed), ("5".to_owned(), false));
    assert_eq!(legacy.get("/transactions/status/k").await.body, first.body);
}

#[tokio::test]
async fn a_refusal_leaves_nothing_behind() {
    // `refusal_keeps_key`, which is the default, says nothing here.
    let legacy = start().await;
    assert!(legacy.config.refusal_keeps_key);
    let refused = legacy.transact("transfer", "k", "bob", "alice", "5").await;
    refused.expect_refused(422, "InsufficientBalance");
    legacy.get("/transactions/status/k").await.expect_refused(404, "TransactionNotFound");
    legacy.get(&format!("/transactions/{}", refused.id())).await.expect_refused(404, "TransactionNotFound");
    assert!(legacy.history("bob").await.is_empty());
    legacy.transact("topup", "t", "bank", "bob", "5").await.expect_applied();
    let applied = legacy.transact("transfer", "k", "bob", "alice", "5").await;
    applied.expect_applied();
    assert_ne!(applied.id(), refused.id());
    let again = legacy.transact("transfer", "k", "bob", "alice", "5").await;
    again.expect_refused(422, "InsufficientBalance");
    assert!(!again.replayed);
    assert_eq!(legacy.get("/transactions/status/k").await.body, applied.body, "the refusal has not taken its place");
    let expected = json!([{"tenant": "", "account": "bob", "key": "k", "times": 3}]);
    assert_eq!(executions(&legacy).await["repeated"], expected, "refusals count");
}

#[tokio::test]
async fn a_refund_names_its_original_by_number() {
    let legacy = start().await;
    let transfer = legacy.transact("transfer", "t", "alice", "bob", "30").await;
    assert_eq!(transfer.body["transactionId"], "2", "a string, like every id");
    let refund = legacy.refund("r", "2", Some("10")).await;
    assert_eq!(refund.expect_applied()["originalTransactionId"], "2");
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["80", "20"]);
    // Once more with its key: it is another refund.
    legacy.refund("r", "2", Some("10")).await.expect_applied();
    legacy.refund("r", "2", None).await.expect_applied();
    legacy.refund("r", "2", None).await.expect_refused(422, "RefundExceedsOriginal");
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["100", "0"]);
    let unknown =
        ["99", "02", "+2", "2.0", " 2", "L-000000000002", "0", "-1", "18446744073709551615", "99999999999999999999"];
    for id in unknown {
        legacy.refund("u", id, None).await.expect_refused(404, "OriginalNotFound");
        let path = format!("/transactions/{}", id.replace(' ', "%20"));
        legacy.get(&path).await.expect_refused(404, "TransactionNotFound");
    }
    let number = legacy.post("/transactions/refund", json!({"idempotencyKey": "n", "transactionId": 2})).await;
    number.expect_refused(400, "MalformedRequest");
}

#[tokio::test]
async fn an_account_is_made_once_all_the_same() {
    let legacy = Legacy::start_with(every_time()).await;
    let body = |id: Option<&str>| {
        let mut body = json!({"ownerId": "o", "ownerType": "t", "accountType": "USER", "currency": "CZK"});
        if let Some(id) = id {
            body["accountId"] = json!(id);
        }
        body
    };
    let key = [("Idempotency-Key", "k")];
    for id in [Some("alice"), None] {
        assert_eq!(legacy.post_with("/accounts", &key, body(id)).await.status, 201);
        for headers in [&key[..], &[("Idempotency-Key", "k")]] {
            let again = legacy.post_with("/accounts", headers, body(id)).await;
            again.expect_refused(409, "AccountExists");
            assert!(!again.replayed);
        }
    }
    legacy.post("/accounts", body(Some("alice"))).await.expect_refused(409, "AccountExists");
    // A transaction may have that key, and is found by it.
    legacy.account("bank", "EXTERNAL", json!({})).await;
    let topup = legacy.transact("topup", "k", "bank", "alice", "1").await;
    topup.expect_applied();
    assert_eq!(legacy.get("/transactions/status/k").await.body, topup.body);
    assert_eq!(executions(&legacy).await, json!({"repeated": [], "keys": 1, "executions": 1}), "accounts do not count");
}

#[tokio::test]
async fn a_key_of_several_accounts_and_tenants_is_told_apart() {
    let legacy = start().await;
    let send = async |tenant: &str, destination: &str| {
        let body = movement("k", "bank", destination, "1");
        let reply = legacy.post_with("/transactions/topup", &[("X-Tenant", tenant)], body).await;
        reply.expect_applied();
        reply
    };
    let status = async |tenant: &str, query: &str| {
        let path = format!("/transactions/status/k{query}");
        Reply::of(legacy.send_bytes(Method::GET, &path, &[("X-Tenant", tenant)], b"").await)
    };
    let first = send("t1", "alice").await;
    send("t1", "alice").await;
    assert_eq!(status("t1", "").await.body, first.body);
    let second = send("t1", "bob").await;
    status("t1", "").await.expect_refused(409, "AmbiguousKey");
    assert_eq!(status("t1", "?account=alice").await.body, first.body);
    assert_eq!(status("t1", "?account=bob").await.body, second.body);
    status("t2", "?account=bob").await.expect_refused(404, "TransactionNotFound");
    send("t2", "bob").await;
    send("t2", "bob").await;
    send("t2", "bob").await;
    let expected = json!({
        "repeated": [
            {"tenant": "t1", "account": "alice", "key": "k", "times": 2},
            {"tenant": "t2", "account": "bob", "key": "k", "times": 3},
        ],
        // The first topup, and three of the key.
        "keys": 4,
        "executions": 7,
    });
    assert_eq!(executions(&legacy).await, expected);
}

#[tokio::test]
async fn executions_count_whatever_comes_of_them() {
    // A hang ends at once, so that the execution is over when there is an answer.
    let legacy = Legacy::start_with(Config { hang_seconds: 0, ..every_time() }).await.with_people().await;
    let in_vain = async |key: &str| {
        legacy.transact("topup", key, "bank", "bob", "1").await.expect_refused(500, "InternalError");
    };
    assert_eq!(executions(&legacy).await, json!({"repeated": [], "keys": 1, "executions": 1}));
    // Not executed: wrong, malformed, not there.
    legacy.transact("topup", "k", "bank", "bob", "0").await.expect_refused(422, "InvalidAmount");
    legacy.post("/transactions/topup", json!({"idempotencyKey": "k"})).await.expect_refused(400, "MalformedRequest");
    legacy.get("/transactions/status/k").await.expect_refused(404, "TransactionNotFound");
    assert_eq!(executions(&legacy).await["executions"], 1);
    legacy.fault("hang-before").await;
    in_vain("before").await;
    assert_eq!(executions(&legacy).await, json!({"repeated": [], "keys": 2, "executions": 2}), "it was begun");
    legacy.get("/transactions/status/before").await.expect_refused(404, "TransactionNotFound");
    assert_eq!(legacy.balance("bob").await, "0");
    legacy.fault("hang-after").await;
    in_vain("after").await;
    in_vain("after").await;
    assert_eq!(legacy.balance("bob").await, "2", "both were executed, and both were hit");
    legacy.fault("5xx").await;
    in_vain("5xx").await;
    in_vain("5xx").await;
    assert_eq!(legacy.balance("bob").await, "3", "the second one was executed");
    legacy.no_faults().await;
    legacy.refund("r", "no such original", None).await.expect_refused(404, "OriginalNotFound");
    legacy.refund("r", "no such original", None).await.expect_refused(404, "OriginalNotFound");
    let log: Vec<Value> = legacy.fault_log().await.into_iter().map(|entry| entry["kind"].clone()).collect();
    assert_eq!(log, ["hang-before", "hang-after", "hang-after", "5xx-before", "5xx-after"]);
    let mut expected = json!({
        "repeated": [
            {"tenant": "", "account": "bob", "key": "5xx", "times": 2},
            {"tenant": "", "account": "bob", "key": "after", "times": 2},
            {"tenant": "", "account": "no such original", "key": "r", "times": 2},
        ],
        "keys": 5,
        "executions": 8,
    });
    assert_eq!(executions(&legacy).await, expected);
    // They survive a restart, and go on from there.
    let legacy = legacy.restart().await;
    assert_eq!(executions(&legacy).await, expected);
    legacy.transact("topup", "before", "bank", "bob", "1").await.expect_applied();
    expected["executions"] = json!(9);
    let before = json!({"tenant": "", "account": "bob", "key": "before", "times": 2});
    expected["repeated"].as_array_mut().unwrap().insert(2, before);
    assert_eq!(executions(&legacy).await, expected);
}

/// To be put off is not to be executed yet.
#[tokio::test]
async fn what_is_put_off_is_counted_once() {
    let legacy = Legacy::start_with(Config { reorder_ms: 3_600_000, ..every_time() }).await.with_people().await;
    legacy.fault("reorder").await;
    let send = || legacy.transact("topup", "k", "bank", "bob", "1");
    let (one, other) = tokio::join!(send(), send());
    assert!(!one.replayed && !other.replayed);
    assert_eq!(legacy.balance("bob").await, "2");
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(log[0]["transactionId"], json!(one.id().max(other.id())), "the later one was put off");
    let expected = json!({
        "repeated": [{"tenant": "", "account": "bob", "key": "k", "times": 2}],
        // The first topup is counted, too.
        "keys": 2,
        "executions": 3,
    });
    assert_eq!(executions(&legacy).await, expected);
}

#[tokio::test]
async fn parallel_requests_with_one_key_are_all_executed() {
    let legacy = start().await;
    let requests = (0..10).map(|_| legacy.transact("transfer", "k", "alice", "bob", "7"));
    let replies = futures_util::future::join_all(requests).await;
    let mut ids: Vec<u64> = replies.iter().map(|reply| reply.id().parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (2..=11).collect::<Vec<_>>());
    assert!(replies.iter().all(|reply| reply.status == 200 && !reply.replayed));
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["30", "70"]);
    let status = legacy.get("/transactions/status/k").await;
    assert_eq!(status.body["transactionId"], "2", "the first one");
}

#[tokio::test]
async fn a_legacy_that_deduplicates_counts_nothing_and_says_so() {
    let legacy = Legacy::start().await;
    legacy.get("/executions").await.expect_refused(404, "NotCounted");
}

/// Each setting by itself: ids that are numbers mean nothing for keys.
#[tokio::test]
async fn deduplication_and_the_form_of_ids_are_two_things() {
    let legacy = Legacy::start_with(Config { ids: Ids::Integer, ..config() }).await.with_people().await;
    let first = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    assert_eq!(first.id(), "2");
    assert!(legacy.transact("transfer", "k", "alice", "bob", "10").await.replayed);
    let other = legacy.transact("transfer", "k", "alice", "bob", "11").await;
    other.expect_refused(422, "DuplicateKey");
    assert_eq!(other.id(), "2");
    legacy.refund("r", "2", None).await.expect_applied();
    let legacy = Legacy::start_with(Config { deduplicates: false, ..config() }).await.with_people().await;
    assert_eq!(legacy.transact("transfer", "k", "alice", "bob", "10").await.id(), "L-000000000002");
    assert_eq!(legacy.transact("transfer", "k", "alice", "bob", "10").await.id(), "L-000000000003");
}

#[tokio::test]
async fn a_store_keeps_its_form_of_ids() {
    // Nothing is in it yet: it can be either.
    let legacy = Legacy::start().await.restart_as(every_time()).await.unwrap().with_people().await;
    // Keys mean nothing to ids, nor ids to keys.
    let legacy = legacy.restart_as(Config { ids: Ids::Integer, ..config() }).await.unwrap();
    assert_eq!(legacy.get("/transactions/1").await.body["trackingId"], "first");
    let error = legacy.restart_as(config()).await.err().expect("ids have another form").to_string();
    let expected =
        "the legacy's store holds transactions with ids like 1: legacy.ids = \"prefixed\" needs another store";
    assert_eq!(error, expected);
    let legacy = Legacy::start().await.with_people().await;
    let error = legacy.restart_as(every_time()).await.err().expect("ids have another form").to_string();
    assert!(error.contains("L-000000000001: legacy.ids = \"integer\" needs another store"), "{error}");
}

/// What was kept under a key before stays as it is, or makes way for what is applied now.
#[tokio::test]
async fn a_store_may_begin_or_cease_to_deduplicate() {
    let legacy = Legacy::start().await.with_people().await;
    let kept = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    legacy.transact("transfer", "r", "bob", "alice", "11").await.expect_refused(422, "InsufficientBalance");
    let legacy = legacy.restart_as(Config { deduplicates: false, ..config() }).await.unwrap();
    legacy.transact("transfer", "k", "alice", "bob", "10").await.expect_applied();
    assert_eq!(legacy.get("/transactions/status/k").await.body, kept.body);
    let applied = legacy.transact("transfer", "r", "bob", "alice", "11").await;
    applied.expect_applied();
    assert_eq!(legacy.get("/transactions/status/r").await.body, applied.body);
    let legacy = legacy.restart_as(config()).await.unwrap();
    let again = legacy.transact("transfer", "r", "bob", "alice", "11").await;
    assert_eq!((again.replayed, &again.body), (true, &applied.body));
    assert_eq!(legacy.transact("transfer", "k", "alice", "bob", "10").await.body, kept.body);
}

#[test]
fn the_settings_are_read() {
    let read = |value| serde_json::from_value::<Config>(value);
    let config = read(json!({"deduplicates": false, "ids": "integer"})).unwrap();
    assert_eq!((config.deduplicates, config.ids, config.refusal_keeps_key), (false, Ids::Integer, true));
    assert!(config.check().is_ok());
    let config = read(json!({"deduplicates": true, "ids": "prefixed"})).unwrap();
    assert_eq!((config.deduplicates, config.ids), (Config::default().deduplicates, Config::default().ids));
    assert!(read(json!({"ids": "number"})).is_err());
    assert!(read(json!({"deduplicates": "no"})).is_err());
}
