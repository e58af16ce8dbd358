//! Idempotency keys: one effect, one answer.

use crate::support::{Engine, header, movement, problem, text, with};
use host::http::Answer;
use serde_json::{Value, json};

const TRANSFER: &str = "/transactions/transfer";

/// That `again` is the first answer byte for byte, and says so.
#[track_caller]
fn assert_replayed(first: &Answer, again: &Answer) {
    assert_eq!(header(again, "idempotency-replayed"), Some("true"), "{}", text(again));
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(header(first, "content-type"), header(again, "content-type"));
}

#[tokio::test]
async fn a_repeat_is_answered_byte_for_byte() {
    let engine = Engine::start().await.with_users(&[("alice", "50"), ("bob", "0")]).await;
    let applied = movement("k-1", "alice", "bob", "10.00").to_string();
    let refused = movement("k-2", "alice", "bob", "1000").to_string();
    for (body, status) in [(applied, 200), (refused, 422)] {
        let first = engine.send("POST", TRANSFER, &[("x-correlation-id", "c-1")], body.clone()).await;
        assert_eq!((first.status.as_u16(), header(&first, "idempotency-replayed")), (status, None), "{}", text(&first));
        // Something else in between, so that the repeat is not answered from what is newest.
        engine.post("/transactions/topup", &movement(&format!("x-{status}"), "bank", "bob", "1")).await;
        let again = engine.send("POST", TRANSFER, &[("x-correlation-id", "c-2")], body).await;
        assert_replayed(&first, &again);
        assert!(text(&again).contains(r#""correlationId":"c-1""#), "{}", text(&again));
        assert_eq!(header(&again, "x-correlation-id"), Some("c-2"));
    }
    assert_eq!(engine.balance_of("bob").await, "12");
    engine.stop().await;
}

#[tokio::test]
async fn what_means_the_same_is_the_same_and_nothing_else() {
    let engine = Engine::start().await.with_users(&[("alice", "50"), ("bob", "0")]).await;
    let body = with(
        movement("k", "alice", "bob", "10"),
        json!({"reference": "r", "metadata": {"a": 1, "b": {"c": 1, "d": 2}}}),
    );
    let first = engine.post(TRANSFER, &body).await;
    assert_eq!(first.status, 200, "{}", text(&first));
    let id = first.json::<Value>().unwrap()["transactionId"].clone();
    for same in [
        with(body.clone(), json!({"amount": "10.000"})),
        with(with(body.clone(), json!({"metadata": null})), json!({"metadata": {"b": {"d": 2, "c": 1}, "a": 1}})),
    ] {
        assert_replayed(&first, &engine.post(TRANSFER, &same).await);
    }
    let keyless = with(body.clone(), json!({"idempotencyKey": null})).to_string();
    let by_header = engine.send("POST", TRANSFER, &[("idempotency-key", "k")], keyless).await;
    assert_replayed(&first, &by_header);
    for (other, path) in [
        (with(body.clone(), json!({"amount": "10.01"})), TRANSFER),
        (with(body.clone(), json!({"destinationAccountId": "bank"})), TRANSFER),
        (with(body.clone(), json!({"currency": "USD"})), TRANSFER),
        (with(body.clone(), json!({"reference": "s"})), TRANSFER),
        (with(body.clone(), json!({"reference": null})), TRANSFER),
        (with(body.clone(), json!({"metadata": {"a": 2}})), TRANSFER),
        (with(body.clone(), json!({"destinationAccountId": "bank"})), "/transactions/withdraw"),
        (with(movement("k", "bank", "alice", "10"), json!({})), "/transactions/topup"),
    ] {
        let problem = problem(&engine.post(path, &other).await, 422, "DuplicateKey");
        assert_eq!(problem["result"]["transactionId"], id, "the stored transaction's id: {problem}");
        assert_eq!(
            (&problem["result"]["status"], &problem["result"]["source"]["movement"]),
            (&json!("failed"), &json!("0"))
        );
    }
    let same_account = with(body.clone(), json!({"destinationAccountId": "alice"}));
    problem(&engine.post(TRANSFER, &same_account).await, 422, "SameAccount");
    assert_replayed(&first, &engine.post(TRANSFER, &body).await);
    assert_eq!(engine.balance_of("bob").await, "10");
    let history = engine.read("/accounts/alice/transactions").await;
    assert_eq!(history["transactions"].as_array().unwrap().len(), 2, "reused keys are in no history: {history}");
    engine.stop().await;
}

#[tokio::test]
async fn a_key_is_scoped_by_tenant_and_deciding_account() {
    let engine = Engine::start().await.with_users(&[("alice", "50"), ("bob", "50")]).await;
    let send = async |tenant: &str, source: &str, amount: &str| {
        let headers: &[(&str, &str)] = if tenant.is_empty() { &[] } else { &[("x-tenant", tenant)] };
        let answer = engine
            .send("POST", "/transactions/withdraw", headers, movement("k", source, "bank", amount).to_string())
            .await;
        assert_eq!((answer.status.as_u16(), header(&answer, "idempotency-replayed")), (200, None), "{}", text(&answer));
        answer.json::<Value>().unwrap()
    };
    let alice = send("", "alice", "1").await;
    let bob = send("", "bob", "2").await;
    let tenant = send("t", "alice", "3").await;
    problem(&engine.get("/transactions/status/k").await, 409, "AmbiguousKey");
    assert_eq!(engine.read("/transactions/status/k?account=alice").await, alice);
    assert_eq!(engine.read("/transactions/status/k?account=bob").await, bob);
    problem(&engine.get("/transactions/status/k?account=bank").await, 404, "TransactionNotFound");
    let found = engine.send("GET", "/transactions/status/k", &[("x-tenant", "t")], "").await;
    assert_eq!(found.json::<Value>().unwrap(), tenant);
    engine.stop().await;
}

#[tokio::test]
async fn equal_requests_at_once_have_one_effect_and_one_answer() {
    let engine = Engine::start().await.with_users(&[("alice", "100"), ("bob", "0"), ("carol", "0")]).await;
    // Two pairs, so that both a transfer within a shard and one across shards are likely.
    for (key, destination, amount, status) in
        [("k-1", "bob", "10", 200), ("k-2", "carol", "10", 200), ("k-3", "bob", "1000", 422)]
    {
        let body = movement(key, "alice", destination, amount);
        let answers = futures_util::future::join_all((0..24).map(|_| engine.post(TRANSFER, &body))).await;
        let fresh = answers.iter().filter(|answer| header(answer, "idempotency-replayed").is_none()).count();
        assert_eq!(fresh, 1, "one of them was first");
        for answer in &answers {
            assert_eq!((answer.status.as_u16(), &answer.body), (status, &answers[0].body), "{}", text(answer));
        }
    }
    assert_eq!(engine.balance_of("alice").await, "80");
    engine.stop().await;
}

#[tokio::test]
async fn different_requests_at_once_under_one_key_have_one_effect() {
    let engine = Engine::start().await.with_users(&[("alice", "100"), ("bob", "0")]).await;
    let amounts: Vec<String> = (1..=16).map(|amount| amount.to_string()).collect();
    let bodies: Vec<_> = amounts.iter().map(|amount| movement("k", "alice", "bob", amount)).collect();
    let answers = futures_util::future::join_all(bodies.iter().map(|body| engine.post(TRANSFER, body))).await;
    let applied: Vec<_> = answers.iter().zip(&amounts).filter(|(answer, _)| answer.status == 200).collect();
    assert_eq!(applied.len(), 1);
    assert_eq!(engine.balance_of("bob").await, *applied[0].1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        problem(answer, 422, "DuplicateKey");
    }
    engine.stop().await;
}

#[tokio::test]
async fn a_refusal_takes_its_key_or_not() {
    for keeps in [true, false] {
        let engine = Engine::start_with(|config| engine::Config { refusal_keeps_key: keeps, ..config }).await;
        let engine = engine.with_users(&[("alice", "5"), ("bob", "0")]).await;
        let body = movement("k", "alice", "bob", "10");
        let first = engine.post(TRANSFER, &body).await;
        let refusal = problem(&first, 422, "InsufficientBalance");
        assert_eq!(refusal["result"]["errorCode"], "InsufficientBalance");
        assert_eq!(engine.get("/transactions/status/k").await.status, if keeps { 200 } else { 404 });
        engine.post("/transactions/topup", &movement("more", "bank", "alice", "10")).await;
        let again = engine.post(TRANSFER, &body).await;
        if keeps {
            assert_replayed(&first, &again);
        } else {
            assert_eq!(
                (again.status.as_u16(), header(&again, "idempotency-replayed")),
                (200, None),
                "{}",
                text(&again)
            );
            assert_eq!(again.json::<Value>().unwrap()["transactionId"], refusal["result"]["transactionId"]);
        }
        engine.stop().await;
    }
}

#[tokio::test]
async fn accounts_are_made_once_per_key() {
    let engine = Engine::start().await;
    let body = json!({
        "accountId": "alice", "ownerId": "o", "ownerType": "p", "accountType": "USER", "currency": "EUR",
        "metadata": {"a": 1},
    });
    let make = async |key: Option<&str>, body: &Value| {
        let headers: Vec<_> = key.map(|key| ("idempotency-key", key)).into_iter().collect();
        engine.send("POST", "/accounts", &headers, body.to_string()).await
    };
    let first = make(Some("k"), &body).await;
    assert_eq!(first.status, 201, "{}", text(&first));
    engine.account("bank", "EXTERNAL", json!({})).await;
    engine.post("/transactions/topup", &movement("t", "bank", "alice", "1")).await;
    engine.send("PATCH", "/accounts/alice", &[], r#"{"maxBalance":"9"}"#).await;
    assert_replayed(&first, &make(Some("k"), &body).await);
    problem(&make(None, &body).await, 409, "AccountExists");
    let refusal = problem(&make(Some("other"), &body).await, 409, "AccountExists");
    assert!(refusal["detail"].as_str().unwrap().contains("`alice`"), "{refusal}");
    problem(&make(Some("k"), &with(body.clone(), json!({"ownerId": "p"}))).await, 422, "DuplicateKey");
    engine.stop().await;
}

#[tokio::test]
async fn a_restart_changes_no_answer() {
    let engine = Engine::start().await.with_users(&[("alice", "50"), ("bob", "0"), ("carol", "0")]).await;
    let bodies: Vec<_> = [("k-1", "bob", "10"), ("k-2", "carol", "10"), ("k-3", "bob", "1000"), ("k-4", "nobody", "1")]
        .map(|(key, destination, amount)| movement(key, "alice", destination, amount))
        .into();
    let mut first = Vec::new();
    for body in &bodies {
        first.push(engine.post(TRANSFER, body).await);
    }
    let paths =
        ["/accounts", "/transactions", "/accounts/alice/transactions", "/accounts/alice/events", "/accounts/bank"];
    let mut read = Vec::new();
    for path in paths {
        read.push(engine.read(path).await);
    }
    let engine = Engine::start_in(engine.stop().await, |config| config).await;
    for (body, first) in bodies.iter().zip(&first) {
        assert_replayed(first, &engine.post(TRANSFER, body).await);
    }
    for (path, before) in paths.iter().zip(read) {
        assert_eq!(engine.read(path).await, before, "{path}");
    }
    let new = engine.post(TRANSFER, &movement("k-5", "alice", "bob", "1")).await;
    assert_eq!(new.status, 200, "{}", text(&new));
    engine.stop().await;
}
