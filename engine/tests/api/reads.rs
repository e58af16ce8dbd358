//! Reads: linearizable, paged, back in time.

use crate::support::{Engine, movement, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn texts(page: &Value, list: &str, field: &str) -> Vec<String> {
    let rows = page[list].as_array().unwrap();
    rows.iter().map(|row| row[field].as_str().unwrap().to_owned()).collect()
}

/// All rows of a list, page by page.
async fn pages(engine: &Engine, path: &str, cursor: &str, list: &str, field: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut next = String::new();
    loop {
        let page = engine.read(&format!("{path}{next}")).await;
        rows.extend(texts(&page, list, field));
        match page.get("next") {
            Some(Value::String(place)) => next = format!("&{cursor}={place}"),
            Some(place) => next = format!("&{cursor}={place}"),
            None => return rows,
        }
        assert!(rows.len() < 1000, "the pages never end");
    }
}

/// An engine on which `alice` paid ten others, so that some of it went across shards.
async fn engine_with_payments() -> Engine {
    let users: Vec<String> = (0..10).map(|index| format!("user-{index}")).collect();
    let mut all: Vec<(&str, &str)> = users.iter().map(|user| (user.as_str(), "0")).collect();
    all.push(("alice", "100"));
    let engine = Engine::start().await.with_users(&all).await;
    for (index, user) in users.iter().enumerate() {
        let answer = engine.post("/transactions/transfer", &movement(&format!("p-{index}"), "alice", user, "1")).await;
        assert_eq!(answer.status, 200, "{}", text(&answer));
    }
    engine
}

#[tokio::test]
async fn every_write_is_read_as_soon_as_it_is_answered() {
    let engine = engine_with_payments().await;
    assert_eq!(engine.balance_of("alice").await, "90");
    for index in 0..20 {
        let body = movement(&format!("k-{index}"), "alice", &format!("user-{}", index % 10), "1");
        let result: Value = engine.post("/transactions/transfer", &body).await.json().unwrap();
        let (alice, user) = (&result["source"], &result["destination"]);
        let id = user["accountId"].as_str().unwrap();
        assert_eq!(alice["balanceAfter"], engine.balance_of("alice").await);
        assert_eq!(user["balanceAfter"], engine.balance_of(id).await);
        let newest = &engine.read(&format!("/accounts/{id}/transactions?limit=1")).await["transactions"][0];
        assert_eq!(*newest, result);
    }
    engine.stop().await;
}

#[tokio::test]
async fn accounts_are_listed_in_order_with_those_in_transit() {
    let engine = engine_with_payments().await;
    let all = pages(&engine, "/accounts?limit=4", "after", "accounts", "accountId").await;
    let mut sorted = all.clone();
    sorted.sort();
    assert_eq!(all, sorted);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "no account twice");
    assert_eq!(all.len(), 13, "bank, alice, ten others, in transit: {all:?}");
    let in_transit = engine.read("/accounts/in-transit:EUR").await;
    assert_eq!((&in_transit["ownerId"], &in_transit["accountType"]), (&json!("crossfade"), &json!("SYSTEM")));
    assert_eq!(in_transit["balance"], "0", "nothing is under way");
    assert_eq!(engine.balance_of("bank").await, "-100");
    assert_eq!(engine.read("/accounts?after=zzz").await, json!({"accounts": []}));
    engine.stop().await;
}

#[tokio::test]
async fn a_balance_says_what_it_includes() {
    let engine = engine_with_payments().await;
    let balance = engine.read("/accounts/alice/balance").await;
    assert_eq!(
        (&balance["balance"], &balance["reserved"], &balance["available"]),
        (&json!("90"), &json!("0"), &json!("90"))
    );
    let position = texts(&json!({"p": [{"x": balance["position"][0]}]}), "p", "x");
    let (shard, offset) = position[0].split_once(':').unwrap();
    assert!(shard.parse::<u32>().is_ok_and(|shard| shard < 10) && offset.parse::<u64>().is_ok(), "{balance}");
    assert_eq!(balance["position"].as_array().unwrap().len(), 1, "one shard keeps it: {balance}");
    let shared = engine.read("/accounts/bank/balance").await;
    assert!(shared["position"].as_array().unwrap().len() > 1, "several shards keep it: {shared}");
    let stale = engine.read("/accounts/alice/balance?stale=true").await;
    assert_eq!((stale.get("position"), &stale["currency"]), (None, &json!("EUR")));
    engine.stop().await;
}

#[tokio::test]
async fn a_balance_can_be_asked_for_as_it_was() {
    let engine = Engine::start().await.with_users(&[("alice", "0")]).await;
    let mut times = Vec::new();
    for index in 1..=3 {
        let body = movement(&format!("k-{index}"), "bank", "alice", "10");
        let result: Value = engine.post("/transactions/topup", &body).await.json().unwrap();
        times.push(result["completedAt"].as_str().unwrap().to_owned());
    }
    for (index, time) in times.iter().enumerate() {
        for (id, balance) in [("alice", (index + 1) * 10), ("bank", 0)] {
            let then = engine.read(&format!("/accounts/{id}/balance?at={time}")).await;
            let expected = if id == "bank" { format!("-{}", (index + 1) * 10) } else { balance.to_string() };
            assert_eq!(then["balance"], expected, "{then}");
            assert_eq!(then["asOf"], *time);
        }
    }
    assert_eq!(engine.read("/accounts/alice/balance?at=2999-01-01T00:00:00Z").await["balance"], "30");
    assert_eq!(engine.get("/accounts/alice/balance?at=1999-01-01T00:00:00Z").await.status, 404);
    engine.stop().await;
}

#[tokio::test]
async fn histories_are_paged_and_filtered() {
    let engine = engine_with_payments().await;
    engine.post("/transactions/withdraw", &movement("w", "alice", "bank", "5")).await;
    engine.post("/transactions/withdraw", &movement("x", "alice", "bank", "5000")).await;
    let all = pages(&engine, "/accounts/alice/transactions?limit=3", "before", "transactions", "trackingId").await;
    let mut expected: Vec<String> = (0..10).rev().map(|index| format!("p-{index}")).collect();
    expected.insert(0, "w".into());
    expected.insert(0, "x".into());
    expected.push("first-alice".into());
    assert_eq!(all, expected);
    for (filter, expected) in [
        ("type=withdraw", &["x", "w"][..]),
        ("type=withdraw&status=completed", &["w"]),
        ("status=failed", &["x"]),
        ("type=topup", &["first-alice"]),
        ("type=refund", &[]),
        ("status=processing", &[]),
        ("type=payment", &[]),
        ("status=authorized", &[]),
    ] {
        let page = engine.read(&format!("/accounts/alice/transactions?{filter}")).await;
        assert_eq!(texts(&page, "transactions", "trackingId"), expected, "{filter}");
    }
    let oldest_first = pages(&engine, "/transactions?limit=5", "after", "transactions", "trackingId").await;
    assert_eq!(oldest_first.iter().rev().cloned().collect::<Vec<_>>(), expected);
    let since = engine.read("/transactions/status/w").await["createdAt"].as_str().unwrap().to_owned();
    let page = engine.read(&format!("/transactions?since={since}")).await;
    assert_eq!(texts(&page, "transactions", "trackingId"), ["w", "x"]);
    engine.stop().await;
}

#[tokio::test]
async fn the_audit_trail_of_an_account_is_complete() {
    let engine = Engine::start().await;
    engine.account("bank", "EXTERNAL", json!({})).await;
    engine.account("alice", "USER", json!({})).await;
    let headers = [("x-correlation-id", "c-1"), ("x-actor", "joe")];
    engine.send("POST", "/transactions/topup", &headers, movement("k", "bank", "alice", "10").to_string()).await;
    engine.send("PATCH", "/accounts/alice", &[], r#"{"status":"FROZEN","maxBalance":"50"}"#).await;
    let page = engine.read("/accounts/alice/events").await;
    let events = page["events"].as_array().unwrap();
    assert_eq!(
        texts(&page, "events", "eventType").iter().collect::<BTreeSet<_>>(),
        ["AccountCreated", "BalanceChanged", "AccountStatusChanged", "AccountLimitsChanged"]
            .map(str::to_owned)
            .iter()
            .collect()
    );
    let versions: Vec<_> = events.iter().map(|event| event["aggregateVersion"].as_u64().unwrap()).collect();
    assert_eq!(versions, [1, 2, 3, 4]);
    let changed = &events[1];
    assert_eq!((&changed["correlationId"], &changed["actorId"]), (&json!("c-1"), &json!("joe")));
    assert_eq!(
        (&changed["aggregateId"], &changed["data"]["balanceAfter"]),
        (&json!("alice"), &json!("10")),
        "{changed}"
    );
    let ids: BTreeSet<_> = events.iter().map(|event| event["eventId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4);
    let tail = engine.read("/accounts/alice/events?fromVersion=3").await;
    assert_eq!(tail["events"].as_array().unwrap().len(), 2);
    let paged = pages(&engine, "/accounts/alice/events?limit=1", "fromVersion", "events", "eventId").await;
    assert_eq!(paged.len(), 4);
    engine.stop().await;
}
