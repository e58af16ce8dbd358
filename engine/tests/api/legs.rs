//! Shadow legs: the modes that only the service token opens, and aliases.

use crate::support::{Engine, TOKEN, header, movement, problem, text, with};
use host::http::Answer;
use serde_json::{Value, json};
use wire::leg::{AMOUNT, AuthorityRefusal, MODE, REFUSAL, WOULD_REFUSE};
use wire::scalar::Body;

const TRANSFER: &str = "/transactions/transfer";

/// A leg of that mode, with more headers.
async fn leg(engine: &Engine, mode: &str, more: &[(&str, &str)], path: &str, body: &Value) -> Answer {
    let token = format!("Bearer {TOKEN}");
    let headers = [&[("authorization", token.as_str()), (MODE, mode)], more].concat();
    engine.send("POST", path, &headers, body.to_string()).await
}

fn refusal(status: u16, body: &str) -> String {
    AuthorityRefusal { status, body: Body(body.into()) }.to_string()
}

#[tokio::test]
async fn clients_cannot_make_a_leg() {
    let engine = Engine::start().await.with_users(&[("alice", "5"), ("bob", "0")]).await;
    for (key, token) in [("k-1", None), ("k-2", Some("Bearer wrong")), ("k-3", Some(TOKEN))] {
        let headers: Vec<_> =
            token.map(|token| ("authorization", token)).into_iter().chain([(MODE, "forced")]).collect();
        let answer = engine.send("POST", TRANSFER, &headers, movement(key, "alice", "bob", "10").to_string()).await;
        problem(&answer, 422, "InsufficientBalance");
    }
    assert_eq!(engine.balance_of("alice").await, "5");
    engine.stop().await;
}

#[tokio::test]
async fn a_shadow_refused_for_its_state_can_be_offered_again() {
    let engine = Engine::start().await.with_users(&[("alice", "5"), ("bob", "0")]).await;
    let body = movement("k", "alice", "bob", "10");
    let first = leg(&engine, "shadow", &[], TRANSFER, &body).await;
    let refused = problem(&first, 422, "InsufficientBalance");
    assert_eq!(
        (&refused["result"]["status"], &refused["result"]["source"]["movement"]),
        (&json!("failed"), &json!("0"))
    );
    assert_eq!(engine.get("/transactions/status/k").await.status, 404, "it left no trace");
    let history = engine.read("/accounts/alice/transactions").await;
    assert_eq!(history["transactions"].as_array().unwrap().len(), 1);
    engine.post("/transactions/topup", &movement("t", "bank", "alice", "10")).await;
    let second = leg(&engine, "shadow", &[("x-crossfade-alias", "L-7")], TRANSFER, &body).await;
    assert_eq!((second.status.as_u16(), header(&second, "idempotency-replayed")), (200, None), "{}", text(&second));
    let result: Value = second.json().unwrap();
    assert_eq!(engine.read("/transactions/L-7").await, result, "by the legacy's id");
    let refund = json!({"idempotencyKey": "r", "transactionId": "L-7"});
    let refund: Value = engine.post("/transactions/refund", &refund).await.json().unwrap();
    assert_eq!(refund["originalTransactionId"], result["transactionId"], "{refund}");
    engine.stop().await;
}

#[tokio::test]
async fn a_refund_of_the_rest_follows_what_the_authority_took() {
    let engine = Engine::start().await.with_users(&[("alice", "10"), ("bob", "0")]).await;
    let transfer: Value = engine.post(TRANSFER, &movement("k", "alice", "bob", "8")).await.json().unwrap();
    let path = "/transactions/refund";
    let rest = json!({"idempotencyKey": "rest", "transactionId": transfer["transactionId"]});
    let part = json!({"idempotencyKey": "part", "transactionId": transfer["transactionId"], "amount": "1.5"});
    // The authority refunded the part first.
    for (body, taken) in [(&rest, "6.5"), (&part, "1.5")] {
        let answer = leg(&engine, "shadow", &[(AMOUNT, taken)], path, body).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", text(&answer));
        assert_eq!(answer.json::<Value>().unwrap()["amount"], taken);
    }
    let again = engine.post(path, &rest).await;
    assert_eq!((again.status.as_u16(), header(&again, "idempotency-replayed")), (200, Some("true")));
    // What a client says of it counts for nothing.
    let transfer: Value = engine.post(TRANSFER, &movement("k-2", "alice", "bob", "8")).await.json().unwrap();
    let rest = json!({"idempotencyKey": "rest-2", "transactionId": transfer["transactionId"]});
    let answer = engine.send("POST", path, &[(AMOUNT, "1")], rest.to_string()).await;
    assert_eq!(answer.json::<Value>().unwrap()["amount"], "8");
    engine.stop().await;
}

#[tokio::test]
async fn a_refusal_of_the_authority_is_decided_dry_and_kept() {
    let engine = Engine::start().await.with_users(&[("alice", "5"), ("bob", "0")]).await;
    let said = r#"{"type":"urn:x","code":"AccountFrozen","detail":"as the legacy says it"}"#;
    let kept = refusal(422, said);
    for (key, amount, status) in [("k-1", "1", 200), ("k-2", "10", 422)] {
        let body = movement(key, "alice", "bob", amount);
        let dry = leg(&engine, "shadow-refused", &[(REFUSAL, &kept)], TRANSFER, &body).await;
        assert_eq!((dry.status.as_u16(), header(&dry, "idempotency-replayed")), (status, None), "{}", text(&dry));
        let shown: Value = dry.json().unwrap();
        if status == 200 {
            assert_eq!(shown["status"], "completed");
            assert_eq!(shown["source"], json!({"accountId": "alice", "movement": "-1"}), "no levels: {shown}");
            assert_eq!(shown["destination"], json!({"accountId": "bob", "movement": "1"}));
        } else {
            assert_eq!(
                (&shown["code"], &shown["result"]["errorCode"]),
                (&json!("InsufficientBalance"), &json!("InsufficientBalance"))
            );
        }
        let retried = engine.post(TRANSFER, &body).await;
        assert_eq!((retried.status.as_u16(), text(&retried).as_str()), (422, said), "the authority's answer stands");
        assert_eq!(header(&retried, "idempotency-replayed"), Some("true"));
        assert_eq!(header(&retried, "content-type"), Some("application/problem+json"));
        assert_eq!(engine.read(&format!("/transactions/status/{key}")).await["status"], "failed");
    }
    assert_eq!((engine.balance_of("alice").await, engine.balance_of("bob").await), ("5".into(), "0".into()));
    engine.stop().await;
}

/// Whether a refusal is kept must not show in it: of a refund without an amount, nothing moved and nothing is known.
#[tokio::test]
async fn a_refused_refund_of_everything_shows_no_amount() {
    let engine = Engine::start().await.with_users(&[("alice", "5")]).await;
    let original = engine.read("/transactions/status/first-alice").await["transactionId"].clone();
    let refund = |key: &str| json!({"idempotencyKey": key, "transactionId": original});
    let path = "/transactions/refund";
    // A code that no rule has: it is not kept, so that the key stays free.
    let nothing = refusal(422, r#"{"code":"InvalidAmount"}"#);
    let would = leg(&engine, "shadow-refused", &[(REFUSAL, &nothing)], path, &refund("dry")).await;
    assert_eq!(would.json::<Value>().unwrap()["amount"], "5", "what would have moved: {}", text(&would));
    engine.post("/transactions/withdraw", &movement("w", "alice", "bank", "5")).await;
    let kept = engine.post(path, &refund("kept")).await;
    let not_kept = leg(&engine, "shadow", &[], path, &refund("not kept")).await;
    let dry = leg(&engine, "shadow-refused", &[(REFUSAL, &nothing)], path, &refund("dry")).await;
    for answer in [kept, not_kept, dry] {
        let refused = problem(&answer, 422, "InsufficientBalance");
        assert_eq!(refused["result"]["amount"], "0", "{refused}");
    }
    engine.stop().await;
}

#[tokio::test]
async fn a_dry_leg_takes_no_key_where_refusals_take_none() {
    let engine = Engine::start_with(|config| engine::Config { refusal_keeps_key: false, ..config }).await;
    let engine = engine.with_users(&[("alice", "5"), ("bob", "0")]).await;
    let body = movement("k", "alice", "bob", "1");
    let kept = refusal(422, r#"{"code":"AccountFrozen"}"#);
    let dry = leg(&engine, "shadow-refused", &[(REFUSAL, &kept)], TRANSFER, &body).await;
    assert_eq!(dry.status, 200, "{}", text(&dry));
    assert_eq!(engine.balance_of("bob").await, "0");
    let real = engine.post(TRANSFER, &body).await;
    assert_eq!((real.status.as_u16(), header(&real, "idempotency-replayed")), (200, None), "{}", text(&real));
    engine.stop().await;
}

#[tokio::test]
async fn accounts_are_decided_dry_too() {
    let engine = Engine::start().await.with_users(&[("alice", "0")]).await;
    let kept = refusal(422, r#"{"code":"InvalidLimits"}"#);
    let new = json!({"accountId": "new", "ownerId": "o", "ownerType": "p", "accountType": "USER", "currency": "EUR", "maxBalance": "9"});
    let dry = leg(&engine, "shadow-refused", &[(REFUSAL, &kept)], "/accounts", &new).await;
    assert_eq!(dry.status, 201, "{}", text(&dry));
    assert_eq!(dry.json::<Value>().unwrap()["maxBalance"], "9");
    assert_eq!(engine.get("/accounts/new").await.status, 404);
    let there =
        leg(&engine, "shadow-refused", &[(REFUSAL, &kept)], "/accounts", &with(new, json!({"accountId": "alice"})))
            .await;
    problem(&there, 409, "AccountExists");
    let token = format!("Bearer {TOKEN}");
    let headers = [("authorization", token.as_str()), (MODE, "shadow-refused"), (REFUSAL, &kept)];
    let changed = engine.send("PATCH", "/accounts/alice", &headers, r#"{"status":"FROZEN","maxBalance":"3"}"#).await;
    assert_eq!(changed.status, 200, "{}", text(&changed));
    let changed: Value = changed.json().unwrap();
    assert_eq!((&changed["status"], &changed["maxBalance"]), (&json!("FROZEN"), &json!("3")));
    assert_eq!(engine.read("/accounts/alice").await["status"], "ACTIVE");
    engine.stop().await;
}

#[tokio::test]
async fn a_forced_leg_is_booked_and_says_what_it_overruled() {
    let engine = Engine::start().await.with_users(&[("alice", "5"), ("bob", "0")]).await;
    let body = movement("k-1", "alice", "bob", "10");
    let forced = leg(&engine, "forced", &[], TRANSFER, &body).await;
    assert_eq!(
        (forced.status.as_u16(), header(&forced, WOULD_REFUSE)),
        (200, Some("InsufficientBalance")),
        "{}",
        text(&forced)
    );
    assert_eq!((engine.balance_of("alice").await, engine.balance_of("bob").await), ("-5".into(), "10".into()));
    let again = leg(&engine, "forced", &[], TRANSFER, &body).await;
    assert_eq!((again.status, &again.body), (forced.status, &forced.body));
    assert_eq!(header(&again, "idempotency-replayed"), Some("true"));
    let fits = leg(&engine, "forced", &[], TRANSFER, &movement("k-2", "bob", "alice", "5")).await;
    assert_eq!((fits.status.as_u16(), header(&fits, WOULD_REFUSE)), (200, None));
    let nowhere = leg(&engine, "forced", &[], TRANSFER, &movement("k-3", "alice", "nobody", "1")).await;
    problem(&nowhere, 404, "AccountNotFound");
    engine.stop().await;
}

#[tokio::test]
async fn a_malformed_leg_is_turned_away() {
    let engine = Engine::start().await.with_users(&[("alice", "5"), ("bob", "0")]).await;
    let body = movement("k", "alice", "bob", "1");
    for (mode, more) in
        [("dry", &[][..]), ("import", &[]), ("shadow-refused", &[]), ("shadow-refused", &[(REFUSAL, "!")])]
    {
        problem(&leg(&engine, mode, more, TRANSFER, &body).await, 400, "MalformedRequest");
    }
    assert_eq!(engine.balance_of("bob").await, "0");
    engine.stop().await;
}

#[tokio::test]
async fn actors_are_believed_by_the_configured_header_only() {
    let engine = Engine::start().await;
    let body =
        json!({"accountId": "alice", "ownerId": "o", "ownerType": "p", "accountType": "USER", "currency": "EUR"});
    let made = engine.send("POST", "/accounts", &[("x-actor", "joe"), ("x-user", "ann")], body.to_string()).await;
    assert_eq!(made.status, 201);
    engine.send("PATCH", "/accounts/alice", &[("x-user", "ann")], r#"{"status":"FROZEN"}"#).await;
    let events = engine.read("/accounts/alice/events").await;
    let actors: Vec<_> = events["events"].as_array().unwrap().iter().map(|event| event["actorId"].clone()).collect();
    assert_eq!(actors, ["joe", "anonymous"]);
    engine.stop().await;
}
