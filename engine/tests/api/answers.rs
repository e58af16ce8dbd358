//! What good requests are answered with.

use crate::support::{Engine, eventually, header, movement, text, with};
use engine::config::DefaultAnswer;
use serde_json::{Value, json};

#[tokio::test]
async fn an_account_is_answered_as_it_was_made() {
    let engine = Engine::start().await;
    let body = json!({
        "accountId": "alice", "ownerId": "o-1", "ownerType": "person", "accountType": "USER", "currency": "EUR",
        "minBalance": "10.00", "maxBalance": "1000.5", "metadata": {"b": [1, {"z": null}], "a": "ü"},
    });
    let answer = engine.post("/accounts", &body).await;
    assert_eq!(answer.status, 201, "{}", text(&answer));
    assert_eq!(header(&answer, "location"), Some("/accounts/alice"));
    assert_eq!(header(&answer, "content-type"), Some("application/json"));
    let made: Value = answer.json().unwrap();
    let created_at = made["createdAt"].as_str().unwrap();
    assert!(created_at.parse::<wire::scalar::Timestamp>().is_ok(), "{created_at}");
    let expected = json!({
        "accountId": "alice", "ownerId": "o-1", "ownerType": "person", "accountType": "USER", "currency": "EUR",
        "status": "ACTIVE", "minBalance": "10", "maxBalance": "1000.5", "balance": "0", "reserved": "0",
        "available": "0", "version": 1, "metadata": {"b": [1, {"z": null}], "a": "ü"}, "createdAt": created_at,
    });
    assert_eq!(made, expected);
    assert_eq!(engine.read("/accounts/alice").await, expected);
    engine.stop().await;
}

#[tokio::test]
async fn an_account_without_an_id_is_given_one() {
    let engine = Engine::start().await;
    let body = json!({"ownerId": "o", "ownerType": "person", "accountType": "USER", "currency": "EUR"}).to_string();
    let made = async |headers: &[(&str, &str)]| -> String {
        let answer = engine.send("POST", "/accounts", headers, body.clone()).await;
        assert_eq!(answer.status, 201, "{}", text(&answer));
        answer.json::<Value>().unwrap()["accountId"].as_str().unwrap().to_owned()
    };
    let (one, other) = (made(&[]).await, made(&[]).await);
    assert_ne!(one, other);
    let keyed = made(&[("idempotency-key", "k")]).await;
    assert_eq!(made(&[("idempotency-key", "k")]).await, keyed, "a repeat makes no second account");
    assert_ne!(made(&[("idempotency-key", "k"), ("x-tenant", "t")]).await, keyed);
    engine.stop().await;
}

#[tokio::test]
async fn a_change_is_answered_with_the_account_after_it() {
    let engine = Engine::start().await;
    engine.account("alice", "USER", json!({"maxBalance": "5"})).await;
    let patch = async |body: Value| -> Value {
        let answer = engine.send("PATCH", "/accounts/alice", &[], body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", text(&answer));
        answer.json().unwrap()
    };
    let frozen = patch(json!({"status": "FROZEN", "minBalance": "1", "maxBalance": null})).await;
    assert_eq!((&frozen["status"], &frozen["minBalance"]), (&json!("FROZEN"), &json!("1")));
    assert_eq!(frozen.get("maxBalance"), None);
    let active = patch(json!({"status": "ACTIVE", "minBalance": null})).await;
    assert_eq!((&active["status"], active.get("minBalance")), (&json!("ACTIVE"), None));
    assert_eq!(engine.read("/accounts/alice").await, active);
    engine.stop().await;
}

#[tokio::test]
async fn results_show_both_sides() {
    let engine = Engine::start().await.with_users(&[("alice", "0"), ("bob", "7")]).await;
    let body = with(movement("k-1", "bank", "alice", "100.50"), json!({"reference": "r", "metadata": {"order": 7}}));
    let answer = engine.send("POST", "/transactions/topup", &[("x-correlation-id", "c-1")], body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    assert_eq!(header(&answer, "x-correlation-id"), Some("c-1"));
    assert_eq!(header(&answer, "idempotency-replayed"), None);
    let result: Value = answer.json().unwrap();
    let id = result["transactionId"].as_str().unwrap();
    assert!(wire::ids::is_engine_transaction_id(id), "{id}");
    assert!(!result["position"].as_array().unwrap().is_empty());
    assert_eq!(
        with(result.clone(), json!({"transactionId": null, "createdAt": null, "completedAt": null, "position": null})),
        json!({
            "trackingId": "k-1", "type": "topup", "status": "completed", "amount": "100.5", "currency": "EUR",
            "source": {"accountId": "bank", "movement": "-100.5"},
            "destination": {
                "accountId": "alice", "balanceBefore": "0", "balanceAfter": "100.5", "version": 2,
                "movement": "100.5",
            },
            "reference": "r", "metadata": {"order": 7}, "correlationId": "c-1",
        })
    );
    assert_eq!(engine.read(&format!("/transactions/{id}")).await, result);
    assert_eq!(engine.read("/transactions/status/k-1").await, result);

    let answer = engine.post("/transactions/withdraw", &movement("k-2", "alice", "bank", "0.5")).await;
    let withdrawn: Value = answer.json().unwrap();
    assert_eq!(withdrawn["source"]["balanceAfter"], "100");
    assert_eq!(withdrawn["destination"], json!({"accountId": "bank", "movement": "0.5"}));

    let answer = engine.post("/transactions/transfer", &movement("k-3", "alice", "bob", "30")).await;
    let transfer: Value = answer.json().unwrap();
    assert_eq!(transfer["status"], "completed", "{transfer}");
    assert_eq!(
        (&transfer["source"]["balanceBefore"], &transfer["source"]["balanceAfter"]),
        (&json!("100"), &json!("70"))
    );
    assert_eq!(
        (&transfer["destination"]["balanceBefore"], &transfer["destination"]["balanceAfter"]),
        (&json!("7"), &json!("37"))
    );

    let refund = json!({"idempotencyKey": "k-4", "transactionId": transfer["transactionId"], "amount": "10", "reason": "broken"});
    let answer = engine.post("/transactions/refund", &refund).await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let refund: Value = answer.json().unwrap();
    assert_eq!((&refund["type"], &refund["source"]["accountId"]), (&json!("refund"), &json!("bob")));
    assert_eq!((&refund["destination"]["accountId"], &refund["reason"]), (&json!("alice"), &json!("broken")));
    assert_eq!(refund["originalTransactionId"], transfer["transactionId"]);
    let rest = json!({"idempotencyKey": "k-5", "transactionId": transfer["transactionId"]});
    let rest: Value = engine.post("/transactions/refund", &rest).await.json().unwrap();
    assert_eq!(rest["amount"], "20", "without an amount, all that is left: {rest}");
    assert_eq!((engine.balance_of("alice").await, engine.balance_of("bob").await), ("100".into(), "7".into()));
    engine.stop().await;
}

#[tokio::test]
async fn a_correlation_id_is_taken_or_made() {
    let engine = Engine::start().await.with_users(&[("alice", "1")]).await;
    let long = "c".repeat(129);
    for (given, taken) in [("c 1", true), (&long, false), ("ü", false), ("a\tb", false)] {
        let answer = engine.send("GET", "/accounts/alice", &[("x-correlation-id", given)], "").await;
        assert_eq!(header(&answer, "x-correlation-id") == Some(given), taken, "{given}");
        assert!(header(&answer, "x-correlation-id").is_some_and(|id| (1..=128).contains(&id.len())));
    }
    let one = engine.get("/healthz").await;
    let other = engine.get("/healthz").await;
    assert_ne!(header(&one, "x-correlation-id"), header(&other, "x-correlation-id"));
    engine.stop().await;
}

/// Asks for the result that a 202 promises.
async fn promised(engine: &Engine, answer: &host::http::Answer) -> Value {
    let location = header(answer, "location").unwrap().to_owned();
    eventually("the result", async || {
        let found = engine.get(&location).await;
        match found.status.as_u16() {
            200 => found.json::<Value>().ok().filter(|result| result["status"] != "processing"),
            other => panic!("{location}: {other} {}", text(&found)),
        }
    })
    .await
}

#[tokio::test]
async fn who_prefers_not_to_wait_is_told_where_to_ask() {
    let engine = Engine::start().await.with_users(&[("alice", "50"), ("bob", "0")]).await;
    for key in ["k-1", "a b/c?d=%"] {
        let body = movement(key, "alice", "bob", "10").to_string();
        let answer = engine.send("POST", "/transactions/transfer", &[("prefer", "respond-async")], body.clone()).await;
        assert_eq!(answer.status, 202, "{}", text(&answer));
        assert_eq!(header(&answer, "preference-applied"), Some("respond-async"));
        let processing: Value = answer.json().unwrap();
        assert_eq!((&processing["status"], &processing["trackingId"]), (&json!("processing"), &json!(key)));
        assert_eq!(processing["correlationId"].as_str(), header(&answer, "x-correlation-id"));
        // It is in the log already, so that it is never absent.
        let result = promised(&engine, &answer).await;
        assert_eq!((&result["status"], &result["trackingId"]), (&json!("completed"), &json!(key)));
        let again = engine.send("POST", "/transactions/transfer", &[], body).await;
        assert_eq!((again.status.as_u16(), header(&again, "idempotency-replayed")), (200, Some("true")));
        assert_eq!(again.json::<Value>().unwrap(), result);
    }
    assert_eq!(engine.balance_of("bob").await, "20");
    let body = json!({"accountId": "c", "ownerId": "o", "ownerType": "p", "accountType": "USER", "currency": "EUR"});
    let answer = engine.send("POST", "/accounts", &[("prefer", "respond-async")], body.to_string()).await;
    assert_eq!((answer.status.as_u16(), header(&answer, "location")), (202, Some("/accounts/c")));
    eventually("the account", async || (engine.get("/accounts/c").await.status == 200).then_some(())).await;
    engine.stop().await;
}

#[tokio::test]
async fn answers_can_be_asynchronous_by_default() {
    let engine = Engine::start_with(|config| engine::Config { default_answer: DefaultAnswer::Async, ..config }).await;
    let create = |id: &str, account_type: &str| {
        json!({"accountId": id, "ownerId": "o", "ownerType": "p", "accountType": account_type, "currency": "EUR"})
            .to_string()
    };
    let wait = [("prefer", "wait=20")];
    let made = engine.send("POST", "/accounts", &wait, create("bank", "EXTERNAL")).await;
    assert_eq!(made.status, 201, "who wants to wait may: {}", text(&made));
    assert_eq!(engine.send("POST", "/accounts", &wait, create("alice", "USER")).await.status, 201);
    let answer = engine.post("/transactions/topup", &movement("k", "bank", "alice", "1")).await;
    assert_eq!((answer.status.as_u16(), header(&answer, "preference-applied")), (202, None));
    assert_eq!(promised(&engine, &answer).await["status"], "completed");
    engine.stop().await;
}

#[tokio::test]
async fn the_document_and_the_operators_routes_are_served() {
    let engine = Engine::start().await;
    let answer = engine.get("/openapi.json").await;
    assert_eq!((answer.status.as_u16(), header(&answer, "content-type")), (200, Some("application/json")));
    assert_eq!(text(&answer), engine::api::document());
    assert_eq!(text(&engine.get("/healthz").await), "ok\n");
    eventually("ready", async || (engine.get("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(engine.get("/accounts").await.status, 200);
    let metrics = text(&engine.get("/metrics").await);
    assert!(metrics.contains("crossfade_query_duration_seconds"), "{metrics}");
    engine.stop().await;
}
