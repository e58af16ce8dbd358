//! Figures of all transactions.

use crate::support::{Engine, movement, problem};
use serde_json::{Value, json};

/// The rows of an answer, each in one line.
async fn rows(engine: &Engine, path: &str) -> Vec<String> {
    let answer = engine.read(path).await;
    assert_eq!(answer["currency"], "EUR");
    let line = |row: &Value| {
        let texts = ["type", "status", "sum", "average", "movingAverage7"].map(|name| row[name].as_str().unwrap());
        format!("{} {}", row["count"], texts.join(" "))
    };
    answer["rows"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn days_count_what_is_final_by_type_and_status() {
    let engine = Engine::start().await.with_users(&[("alice", "50"), ("bob", "20.5")]).await;
    for (path, key, amount) in [("transfer", "t-1", "10"), ("transfer", "t-2", "1000"), ("withdraw", "w-1", "3")] {
        let (source, destination) = ("alice", if path == "transfer" { "bob" } else { "bank" });
        engine.post(&format!("/transactions/{path}"), &movement(key, source, destination, amount)).await;
    }
    let expected = [
        "2 topup completed 70.5 35.25 10.07142857",
        "1 withdraw completed 3 3 0.42857143",
        "1 transfer completed 10 10 1.42857143",
        "1 transfer failed 1000 1000 142.85714286",
    ];
    assert_eq!(rows(&engine, "/analytics/daily?currency=EUR").await, expected);
    let months = rows(&engine, "/analytics/trends?currency=EUR&bucket=month").await;
    assert_eq!(months[months.len() - 4..], expected, "the last one is this month's");
    let weeks = engine.read("/analytics/trends?currency=EUR&bucket=week").await;
    assert!(weeks["rows"].as_array().unwrap().len() >= 16, "empty ones are shown too: {weeks}");
    assert_eq!(engine.read("/analytics/daily?currency=USD").await["rows"], json!([]));
    assert_eq!(engine.read("/analytics/daily?currency=EUR&to=2020-01-31").await["rows"], json!([]));
    // A repeat is not counted again, and after a restart all is the same.
    engine.post("/transactions/transfer", &movement("t-1", "alice", "bob", "10")).await;
    let engine = Engine::start_in(engine.stop().await, |config| config).await;
    assert_eq!(rows(&engine, "/analytics/daily?currency=EUR").await, expected);
    engine.stop().await;
}

#[tokio::test]
async fn a_refusal_whose_key_stands_for_something_else_now_is_not_counted() {
    let engine = Engine::start_with(|config| engine::Config { refusal_keeps_key: false, ..config }).await;
    let engine = engine.with_users(&[("alice", "5"), ("bob", "0")]).await;
    let transfer = movement("t", "alice", "bob", "7");
    assert_eq!(engine.post("/transactions/transfer", &transfer).await.status, 422);
    engine.post("/transactions/topup", &movement("more", "bank", "alice", "5")).await;
    assert_eq!(engine.post("/transactions/transfer", &transfer).await.status, 200);
    let shown = rows(&engine, "/analytics/daily?currency=EUR").await;
    assert_eq!(shown, ["2 topup completed 10 5 1.42857143", "1 transfer completed 7 7 1"]);
    engine.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_said() {
    let engine = Engine::start().await;
    for (query, pointer) in [
        ("", "?currency"),
        ("currency=eur", "?currency"),
        ("currency=EUR&from=yesterday", "?from"),
        ("currency=EUR&to=2026-11-31", "?to"),
        ("currency=EUR&from=2026-11-02&to=2026-11-01", "?from"),
        ("currency=EUR&from=2016-01-01&to=2026-11-01", "?from"),
        ("currency=EUR&bucket=year", "?bucket"),
        ("currency=EUR&stale=perhaps", "?stale"),
    ] {
        let answer = engine.get(&format!("/analytics/trends?{query}")).await;
        let refused = problem(&answer, 400, "MalformedRequest");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{query}: {refused}");
    }
    engine.stop().await;
}
