//! Histories, lists and their cursors.

use crate::client::{Legacy, movement};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn keys(body: &Value) -> Vec<&str> {
    let rows = body["transactions"].as_array().unwrap();
    rows.iter().map(|row| row["trackingId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_history_is_newest_first_and_in_pages() {
    let legacy = Legacy::start().await.with_people().await;
    for (kind, key, source, destination, amount) in [
        ("transfer", "a", "alice", "bob", "10"),
        ("topup", "b", "bank", "alice", "1"),
        ("transfer", "c", "alice", "bob", "1000"),
        ("withdraw", "d", "alice", "bank", "2"),
        ("topup", "e", "bank", "bob", "3"),
    ] {
        legacy.transact(kind, key, source, destination, amount).await;
    }
    let get = async |query: &str| legacy.get(&format!("/accounts/alice/transactions{query}")).await.body;
    let all = get("").await;
    assert_eq!((keys(&all), all.get("next")), (vec!["d", "c", "b", "a", "first"], None));
    let mut seen = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = get(&query).await;
        assert!(keys(&page).len() <= 2);
        seen.extend(keys(&page).iter().map(|key| key.to_string()));
        match page["next"].as_str() {
            Some(next) => query = format!("?limit=2&before={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["d", "c", "b", "a", "first"]);
    for (query, expected) in [
        ("?type=transfer", vec!["c", "a"]),
        ("?status=failed", vec!["c"]),
        ("?type=topup&status=completed", vec!["b", "first"]),
        ("?type=refund", vec![]),
        ("?type=payment", vec![]),
        ("?status=processing", vec![]),
        ("?limit=1000&type=withdraw", vec!["d"]),
    ] {
        assert_eq!(keys(&get(query).await), expected, "{query}");
    }
    assert_eq!(keys(&get("?limit=1&type=transfer").await), ["c"]);
    assert_eq!(keys(&legacy.get("/accounts/bob/transactions").await.body), ["e", "c", "a"]);
    assert_eq!(keys(&legacy.get("/accounts/bank/transactions").await.body), ["e", "d", "b", "first"]);
}

#[tokio::test]
async fn a_history_begins_with_the_account() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.transact("transfer", "early", "alice", "carol", "1").await.expect_refused(404, "AccountNotFound");
    legacy.transact("transfer", "self", "alice", "alice", "1").await.expect_refused(422, "SameAccount");
    legacy.account("carol", "USER", json!({})).await;
    legacy.transact("transfer", "late", "alice", "carol", "1").await.expect_applied();
    assert_eq!(keys(&legacy.get("/accounts/carol/transactions").await.body), ["late"]);
    assert_eq!(keys(&legacy.get("/accounts/alice/transactions").await.body), ["late", "self", "early", "first"]);
}

#[tokio::test]
async fn all_transactions_are_listed_oldest_first() {
    let legacy = Legacy::start().await.with_people().await;
    for key in ["a", "b", "c", "d"] {
        legacy.transact("topup", key, "bank", "alice", "1").await.expect_applied();
    }
    let all = legacy.get("/transactions").await.body;
    assert_eq!((keys(&all), all.get("next")), (vec!["first", "a", "b", "c", "d"], None));
    let page = legacy.get("/transactions?limit=3").await.body;
    assert_eq!(keys(&page), ["first", "a", "b"]);
    let rest = legacy.get(&format!("/transactions?limit=3&after={}", page["next"].as_str().unwrap())).await.body;
    assert_eq!((keys(&rest), rest.get("next")), (vec!["c", "d"], None));
    let rows = all["transactions"].as_array().unwrap();
    for (index, row) in rows.iter().enumerate() {
        let since = row["createdAt"].as_str().unwrap();
        let found = legacy.get(&format!("/transactions?since={since}")).await.body;
        let first = rows.iter().position(|other| other["createdAt"] == row["createdAt"]).unwrap();
        assert_eq!(keys(&found), keys(&all)[first..], "since row {index}");
    }
    assert!(keys(&legacy.get("/transactions?since=2999-01-01T00:00:00Z").await.body).is_empty());
    for long_ago in ["1999-01-01T00:00:00Z", "-000100-01-01T00:00:00Z"] {
        assert_eq!(keys(&legacy.get(&format!("/transactions?since={long_ago}")).await.body).len(), 5, "{long_ago}");
    }
    assert!(keys(&legacy.get(&format!("/transactions?after={}", u64::MAX)).await.body).is_empty());
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let legacy = Legacy::start().await.with_people().await;
    for path in ["L-000000000009", "L-1", "1", "cf00aabb-1234-8abc-8def-0123456789ab", "status/nothing"] {
        legacy.get(&format!("/transactions/{path}")).await.expect_refused(404, "TransactionNotFound");
    }
    // The key of an account is no tracking id.
    let body = json!({"accountId": "x", "ownerId": "o", "ownerType": "t", "accountType": "USER", "currency": "CZK"});
    legacy.post_with("/accounts", &[("Idempotency-Key", "made")], body).await;
    legacy.get("/transactions/status/made").await.expect_refused(404, "TransactionNotFound");
    legacy.get("/transactions/status/made?account=x").await.expect_refused(404, "TransactionNotFound");
}

#[tokio::test]
async fn a_tracking_id_may_hold_any_printable_character() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.transact("topup", "a/b?c d%", "bank", "bob", "1").await.expect_applied();
    let found = legacy.get("/transactions/status/a%2Fb%3Fc%20d%25").await;
    assert_eq!(found.body["trackingId"], "a/b?c d%", "{}", found.text);
}

#[tokio::test]
async fn operators_have_their_routes() {
    let legacy = Legacy::start().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(legacy.get(path).await.status, 200, "{path}");
    }
}

/// A row may not be looked at when its transaction in the file is over: its page may be somebody else's by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_transaction_can_be_read_while_it_changes() {
    let legacy = Arc::new(Legacy::start().await.with_people().await);
    // Long enough that reading it takes a while.
    let mut topup = movement("long", "bank", "alice", "100");
    topup["metadata"] = json!({"items": vec![7; 50_000]});
    let booked = legacy.post("/transactions/topup", topup).await;
    let id = booked.expect_applied()["transactionId"].as_str().unwrap();
    let path = format!("/transactions/{id}");
    let (stop, readers) = (Arc::new(AtomicBool::new(false)), 4);
    let reading = (0..readers).map(|_| {
        let (legacy, stop, path) = (Arc::clone(&legacy), Arc::clone(&stop), path.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(legacy.get(&path).await.status, 200);
            }
        })
    });
    let reading: Vec<_> = reading.collect();
    for number in 0..100 {
        legacy.refund(&format!("r-{number}"), id, Some("0.01")).await.expect_applied();
    }
    stop.store(true, Ordering::Relaxed);
    for reader in reading {
        reader.await.unwrap();
    }
}
