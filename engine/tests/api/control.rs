//! The control listener: aliases and the log, for the holders of the service token.

use crate::support::{Engine, TOKEN, eventually, movement, problem, text};
use axum::body::Body;
use futures_util::StreamExt;
use host::http::Answer;
use serde_json::{Value, json};
use wire::control::LogLine;

async fn call(engine: &Engine, method: &str, path: &str, body: String) -> Answer {
    let token = format!("Bearer {TOKEN}");
    engine.control(method, path, &[("authorization", &token)], body).await
}

fn lines(answer: &Answer) -> Vec<LogLine> {
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    text(answer).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn decoded(line: &LogLine) -> Value {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(&line.bytes).unwrap();
    wire::stored::to_json(&bytes).unwrap()
}

#[tokio::test]
async fn only_the_service_token_opens_it() {
    let engine = Engine::start().await;
    for headers in [&[][..], &[("authorization", "Bearer x")], &[("authorization", TOKEN)]] {
        for (method, path) in [("POST", "/internal/aliases"), ("GET", "/internal/log/billing.journal/0")] {
            problem(&engine.control(method, path, headers, r#"{"aliases":[]}"#).await, 401, "Unauthorized");
        }
    }
    for path in ["/healthz", "/metrics"] {
        assert_eq!(engine.control("GET", path, &[], "").await.status, 200);
    }
    problem(&engine.control("GET", "/accounts", &[], "").await, 404, "NoSuchRoute");
    problem(&call(&engine, "GET", "/internal/aliases", String::new()).await, 405, "MethodNotAllowed");
    engine.stop().await;
}

#[tokio::test]
async fn without_a_token_configured_it_stays_closed() {
    let engine = Engine::start_with(|config| engine::Config { service_token: None, ..config }).await;
    for token in ["", "Bearer ", "Bearer None"] {
        let answer = engine.control("GET", "/internal/log/billing.journal/0", &[("authorization", token)], "").await;
        problem(&answer, 401, "Unauthorized");
    }
    engine.stop().await;
}

#[tokio::test]
async fn posted_aliases_are_known_everywhere() {
    let engine = Engine::start().await.with_users(&[("alice", "100"), ("bob", "0"), ("carol", "0")]).await;
    let mut aliases = Vec::new();
    for (index, (source, destination)) in
        [("alice", "bob"), ("alice", "carol"), ("bob", "carol")].into_iter().enumerate()
    {
        let body = movement(&format!("k-{index}"), source, destination, "5");
        let result: Value = engine.post("/transactions/transfer", &body).await.json().unwrap();
        assert_eq!(result["status"], "completed", "{result}");
        aliases.push(json!({"engine": result["transactionId"], "legacy": format!("L-{index}")}));
    }
    for _ in 0..2 {
        let answer = call(&engine, "POST", "/internal/aliases", json!({ "aliases": aliases }).to_string()).await;
        assert_eq!(answer.status, 204, "{}", text(&answer));
    }
    let engine = Engine::start_in(engine.stop().await, |config| config).await;
    for alias in &aliases {
        let found = engine.read(&format!("/transactions/{}", alias["legacy"].as_str().unwrap())).await;
        assert_eq!(found["transactionId"], alias["engine"]);
    }
    for wrong in [
        json!({"aliases": [{"engine": "L-1", "legacy": "L-2"}]}),
        json!({"aliases": [{"engine": "L-1"}]}),
        json!({"aliases": [], "more": 1}),
        json!([]),
    ] {
        problem(&call(&engine, "POST", "/internal/aliases", wrong.to_string()).await, 400, "MalformedRequest");
    }
    assert_eq!(call(&engine, "POST", "/internal/aliases", json!({"aliases": []}).to_string()).await.status, 204);
    engine.stop().await;
}

#[tokio::test]
async fn a_dead_letter_is_settled_by_somebody_for_a_reason() {
    let engine = Engine::start().await;
    let settle =
        async |verb: &str, body: String| call(&engine, "POST", &format!("/internal/dead-letters/{verb}"), body).await;
    let asked = |origin: &str, actor: &str, reason: &str| {
        json!({"origin": origin, "actor": actor, "reason": reason}).to_string()
    };
    for wrong in [
        "{}".to_owned(),
        "no json".to_owned(),
        asked("billing.commands", "ops", "why"),
        asked("billing.commands/0/1", "ops", " "),
        asked("billing.commands/0/1", "", "why"),
    ] {
        problem(&settle("drop", wrong).await, 400, "MalformedRequest");
    }
    let nowhere = asked("billing.commands/0/1", "ops", "why");
    problem(&settle("drop", nowhere.clone()).await, 404, "DeadLetterNotFound");
    problem(&settle("burn", nowhere).await, 404, "NotFound");
    engine.stop().await;
}

#[tokio::test]
async fn the_log_is_served_as_it_is_stored() {
    let engine = Engine::start_with(|config| engine::Config { shards: 1, ..config }).await;
    let engine = engine.with_users(&[("alice", "10")]).await;
    let journal = lines(&call(&engine, "GET", "/internal/log/billing.journal/0", String::new()).await);
    let commands = lines(&call(&engine, "GET", "/internal/log/billing.commands/0", String::new()).await);
    assert_eq!((journal.len(), commands.len()), (3, 3), "two accounts and a topup");
    assert_eq!(journal.iter().map(|line| line.offset).collect::<Vec<_>>(), [0, 1, 2]);
    for line in journal.iter().chain(&commands) {
        assert!(decoded(line).is_object());
    }
    let rest = lines(&call(&engine, "GET", "/internal/log/billing.journal/0?from=2&follow=false", String::new()).await);
    assert_eq!(rest, journal[2..]);
    assert!(lines(&call(&engine, "GET", "/internal/log/billing.journal/0?from=9", String::new()).await).is_empty());
    for (path, status, names) in [
        ("/internal/log/billing.jurnal/0", 404, "billing.journal"),
        ("/internal/log/billing.journal/1", 404, "0 to 0"),
        ("/internal/log/billing.journal/x", 404, "no partition"),
        ("/internal/log/billing.journal/0?from=-1", 400, "whole number"),
        ("/internal/log/billing.journal/0?follow=yes", 400, "true nor false"),
        ("/internal/log/billing.journal/0?form=1", 400, "from and follow"),
    ] {
        let answer = call(&engine, "GET", path, String::new()).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(text(&answer).contains(names), "{path}: {}", text(&answer));
    }
    engine.stop().await;
}

#[tokio::test]
async fn the_log_can_be_followed() {
    let engine = Engine::start_with(|config| engine::Config { shards: 1, ..config }).await;
    let engine = engine.with_users(&[("alice", "10")]).await;
    let url = format!("http://{}/internal/log/billing.journal/0?from=2&follow=true", engine.control_address());
    let request = host::http::request(http::Method::GET, &url, Some(TOKEN), bytes::Bytes::new()).unwrap();
    let client = host::http::Client::new(std::time::Duration::from_secs(30), 1 << 20);
    let response = client.open(request).await.unwrap();
    let mut chunks = Body::new(response.into_body()).into_data_stream();
    let mut seen = Vec::new();
    let mut next = async |wanted: usize| {
        while seen.iter().filter(|byte| **byte == b'\n').count() < wanted {
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(30), chunks.next()).await;
            seen.extend_from_slice(&chunk.expect("more lines come").expect("the stream goes on").unwrap());
        }
    };
    next(1).await;
    engine.post("/transactions/topup", &movement("k", "bank", "alice", "1")).await;
    next(2).await;
    let lines: Vec<LogLine> =
        String::from_utf8(seen).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line.offset).collect::<Vec<_>>(), [2, 3]);
    eventually("ready", async || (engine.get("/readyz").await.status == 200).then_some(())).await;
    // A stop ends the stream instead of waiting for its reader.
    engine.stop().await;
    let end = tokio::time::timeout(std::time::Duration::from_secs(30), chunks.next()).await.expect("the stream ends");
    assert!(end.is_none_or(|chunk| chunk.is_err()));
}
