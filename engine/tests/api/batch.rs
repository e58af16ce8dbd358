//! Batches: many transactions in one request, each as if it had come alone.

use crate::support::{Engine, TOKEN, header, movement, problem, text, with};
use serde_json::{Value, json};

const BATCH: &str = "/transactions/batch";

fn item(kind: &str, body: Value) -> Value {
    with(json!({ "type": kind }), body)
}

/// Sends a batch that has to be answered, and gives the answers.
async fn results(engine: &Engine, items: &[Value]) -> Vec<Value> {
    let answer = engine.post(BATCH, &json!({ "transactions": items })).await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let answer: Value = answer.json().unwrap();
    let results = answer["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), items.len());
    results
}

fn statuses(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| result["status"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn each_is_answered_as_if_it_had_come_alone() {
    let engine = Engine::start().await.with_users(&[("alice", "50"), ("bob", "0")]).await;
    let first = engine.post("/transactions/transfer", &movement("early", "alice", "bob", "1")).await;
    let original = first.json::<Value>().unwrap()["transactionId"].clone();
    let items = [
        ("topup", movement("k-1", "bank", "alice", "5")),
        ("withdraw", movement("k-2", "alice", "bank", "10.50")),
        ("transfer", movement("k-3", "alice", "bob", "1000")),
        ("transfer", movement("k-4", "alice", "nobody", "1")),
        ("refund", json!({"idempotencyKey": "k-5", "transactionId": original, "amount": "0.25"})),
        ("refund", json!({"idempotencyKey": "k-6", "transactionId": "nothing"})),
        ("transfer", movement("early", "alice", "bob", "1")),
        ("transfer", movement("early", "alice", "bob", "2")),
        ("transfer", with(movement("k-7", "alice", "bob", "1"), json!({"amount": "1e3"}))),
        ("transfer", with(movement("k-8", "alice", "bob", "1"), json!({"currency": null}))),
    ];
    let batch: Vec<Value> = items.iter().map(|(kind, body)| item(kind, body.clone())).collect();
    let results = results(&engine, &batch).await;
    assert_eq!(statuses(&results), [200, 200, 422, 404, 200, 404, 200, 422, 422, 400], "{results:#?}");
    assert_eq!(results[6]["replayed"], true);
    assert_eq!(results[6]["body"], first.json::<Value>().unwrap());
    for ((kind, body), result) in items.iter().zip(&results) {
        let alone = engine.post(&format!("/transactions/{kind}"), body).await;
        assert_eq!(u64::from(alone.status.as_u16()), result["status"].as_u64().unwrap(), "{}", text(&alone));
        let mut alone_body: Value = alone.json().unwrap();
        if header(&alone, "idempotency-replayed").is_none() {
            // It was decided again, or not at all.
            for (name, value) in result["body"].as_object().unwrap() {
                if name == "correlationId" || name == "result" {
                    alone_body[name] = value.clone();
                }
            }
        }
        assert_eq!(alone_body, result["body"]);
    }
    assert_eq!(engine.balance_of("alice").await, "43.75");
    engine.stop().await;
}

#[tokio::test]
async fn those_of_one_account_keep_their_order() {
    let engine = Engine::start().await.with_users(&[("alice", "0"), ("bob", "0")]).await;
    let mut batch = Vec::new();
    for round in 0..50 {
        for user in ["alice", "bob"] {
            batch.push(item("topup", movement(&format!("in-{user}-{round}"), "bank", user, "1")));
            batch.push(item("withdraw", movement(&format!("out-{user}-{round}"), user, "bank", "1")));
            batch.push(item("withdraw", movement(&format!("more-{user}-{round}"), user, "bank", "0.01")));
        }
    }
    let results = results(&engine, &batch).await;
    for round in statuses(&results).chunks(3) {
        assert_eq!(round, [200, 200, 422]);
    }
    engine.stop().await;
}

#[tokio::test]
async fn the_largest_batch_is_executed_once_however_often_it_is_sent() {
    let engine = Engine::start().await.with_users(&[("alice", "0")]).await;
    let batch: Vec<Value> =
        (0..10_000).map(|number| item("topup", movement(&format!("k{number}"), "bank", "alice", "0.01"))).collect();
    for replayed in [false, true] {
        let results = results(&engine, &batch).await;
        assert!(results.iter().all(|result| result["status"] == 200 && result["replayed"] == replayed));
        assert_eq!(engine.balance_of("alice").await, "100");
    }
    engine.stop().await;
}

#[tokio::test]
async fn who_does_not_wait_is_told_where_to_ask() {
    let engine = Engine::start().await.with_users(&[("alice", "0")]).await;
    let batch = json!({ "transactions": [item("topup", movement("k", "bank", "alice", "1"))] }).to_string();
    let answer = engine.send("POST", BATCH, &[("prefer", "respond-async")], batch).await;
    let answer: Value = answer.json().unwrap();
    assert_eq!(answer["results"][0]["status"], 202, "{answer}");
    assert_eq!(answer["results"][0]["body"]["trackingId"], "k");
    let status = engine.read("/transactions/status/k?account=alice").await;
    assert_eq!(status["status"], "completed");
    engine.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_none_is_refused_whole() {
    let engine = Engine::start().await.with_users(&[("alice", "0")]).await;
    let one = item("topup", movement("k", "bank", "alice", "1"));
    for (body, pointer) in [
        (json!({}), "/transactions"),
        (json!({"transactions": []}), "/transactions"),
        (json!({"transactions": one}), "/transactions"),
        (json!({"transactions": vec![json!(0); 10_001]}), "/transactions"),
        (json!({"transactions": [one], "more": 1}), "/more"),
    ] {
        let refused = problem(&engine.post(BATCH, &body).await, 400, "MalformedRequest");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
    let twice = r#"{"transactions":[{"type":"topup","amount":"1","amount":"2"}]}"#;
    let refused = problem(&engine.send("POST", BATCH, &[], twice).await, 400, "MalformedRequest");
    assert_eq!(refused["errors"][0]["pointer"], "/transactions/0/amount", "{refused}");
    let (token, body) = (format!("Bearer {TOKEN}"), json!({ "transactions": [one] }).to_string());
    let leg = [("authorization", token.as_str()), ("x-crossfade-mode", "shadow")];
    problem(&engine.send("POST", BATCH, &leg, body).await, 400, "MalformedRequest");
    let huge = json!({ "transactions": [with(one, json!({"metadata": {"m": "x".repeat(9 << 20)}}))] });
    problem(&engine.post(BATCH, &huge).await, 413, "BodyTooLarge");
    assert_eq!(engine.balance_of("alice").await, "0");
    engine.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_one_is_said_of_that_one() {
    let engine = Engine::start().await.with_users(&[("alice", "0")]).await;
    let good = |key: &str| item("topup", movement(key, "bank", "alice", "1"));
    let large = with(good("large"), json!({"metadata": {"m": "x".repeat(1 << 20)}}));
    let batch = [
        good("k-1"),
        json!(7),
        with(good("k-2"), json!({"type": null})),
        with(good("k-2"), json!({"type": "payment"})),
        with(good("k-3"), json!({"idempotencyKey": null})),
        large,
        good("k-4"),
    ];
    let results = results(&engine, &batch).await;
    assert_eq!(statuses(&results), [200, 400, 400, 400, 400, 413, 200], "{results:#?}");
    let pointers: Vec<&Value> = results[1..5].iter().map(|result| &result["body"]["errors"][0]["pointer"]).collect();
    assert_eq!(pointers, ["", "/type", "/type", "/idempotencyKey"]);
    assert_eq!(results[2]["body"]["errors"].as_array().unwrap().len(), 1, "which fields there are is not known");
    assert_eq!(engine.balance_of("alice").await, "2");
    engine.stop().await;
}
