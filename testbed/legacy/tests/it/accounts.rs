//! Making, changing, freezing and closing accounts.

use crate::client::Legacy;
use serde_json::{Value, json};

fn new(id: &str, account_type: &str) -> Value {
    json!({"accountId": id, "ownerId": "o-1", "ownerType": "person", "accountType": account_type, "currency": "CZK"})
}

#[tokio::test]
async fn an_account_is_made_and_shown() {
    let legacy = Legacy::start().await;
    let mut body = new("alice", "USER");
    body["minBalance"] = json!("5.00");
    body["maxBalance"] = json!("1000");
    body["metadata"] = json!({"tier": "gold", "nested": {"n": 1}});
    let made = legacy.post("/accounts", body).await;
    assert_eq!((made.status, made.content_type.as_str()), (201, "application/json"), "{}", made.text);
    let created_at = made.body["createdAt"].clone();
    assert!(created_at.as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    let expected = json!({
        "accountId": "alice", "ownerId": "o-1", "ownerType": "person", "accountType": "USER", "currency": "CZK",
        "status": "ACTIVE", "minBalance": "5", "maxBalance": "1000", "balance": "0", "reserved": "0",
        "available": "0", "version": 1, "metadata": {"tier": "gold", "nested": {"n": 1}}, "createdAt": created_at,
    });
    assert_eq!(made.body, expected);
    assert_eq!(legacy.get("/accounts/alice").await.body, expected);
    let balance = legacy.get("/accounts/alice/balance?stale=true").await;
    let as_of = balance.body["asOf"].clone();
    let expected = json!({
        "accountId": "alice", "balance": "0", "reserved": "0", "available": "0", "currency": "CZK", "version": 1,
        "asOf": as_of,
    });
    assert_eq!(balance.body, expected);
    legacy.get("/accounts/nobody").await.expect_refused(404, "AccountNotFound");
    legacy.get("/accounts/nobody/balance").await.expect_refused(404, "AccountNotFound");
    legacy.get("/accounts/nobody/transactions").await.expect_refused(404, "AccountNotFound");
}

#[tokio::test]
async fn an_account_is_made_once() {
    let legacy = Legacy::start().await;
    let key = [("Idempotency-Key", "k-1")];
    let made = legacy.post_with("/accounts", &key, new("alice", "USER")).await;
    assert_eq!((made.status, made.replayed), (201, false));
    let again = legacy.post_with("/accounts", &key, new("alice", "USER")).await;
    assert_eq!((again.status, again.replayed, &again.text), (201, true, &made.text));
    legacy.post_with("/accounts", &key, new("alice", "EXTERNAL")).await.expect_refused(422, "DuplicateKey");
    legacy.post("/accounts", new("alice", "USER")).await.expect_refused(409, "AccountExists");
    let other_key = [("Idempotency-Key", "k-2")];
    legacy.post_with("/accounts", &other_key, new("alice", "USER")).await.expect_refused(409, "AccountExists");
    // Keys are unique per deciding account: another account may have the same one.
    assert_eq!(legacy.post_with("/accounts", &key, new("bob", "USER")).await.status, 201);
}

#[tokio::test]
async fn an_id_is_made_when_none_is_given() {
    let legacy = Legacy::start().await;
    let nameless = || {
        let mut body = new("", "USER");
        body.as_object_mut().unwrap().shift_remove("accountId");
        body
    };
    let id = |reply: crate::client::Reply| reply.body["accountId"].as_str().unwrap().to_owned();
    let one = id(legacy.post("/accounts", nameless()).await);
    let two = id(legacy.post("/accounts", nameless()).await);
    assert_ne!(one, two);
    let key = [("Idempotency-Key", "k-1")];
    let first = legacy.post_with("/accounts", &key, nameless()).await;
    let again = legacy.post_with("/accounts", &key, nameless()).await;
    assert_eq!((again.status, again.replayed, &again.text), (201, true, &first.text));
}

#[tokio::test]
async fn limits_must_make_sense() {
    let legacy = Legacy::start().await;
    for (account_type, min, max, allowed) in [
        ("USER", json!("10"), json!("9.99"), false),
        ("USER", json!("-1"), json!(null), false),
        ("USER", json!("0"), json!("-1"), false),
        ("USER", json!("10"), json!("10"), true),
        ("EXTERNAL", json!("-5"), json!("-6"), false),
        ("EXTERNAL", json!("-5"), json!("-5"), true),
        ("SYSTEM", json!("-1000000000000000000"), json!(null), true),
    ] {
        let mut body = new(&format!("{account_type}{min}{max}").replace('"', "."), account_type);
        body["minBalance"] = min;
        body["maxBalance"] = max;
        let reply = legacy.post("/accounts", body).await;
        match allowed {
            true => assert_eq!(reply.status, 201, "{}", reply.text),
            false => reply.expect_refused(422, "InvalidLimits"),
        }
    }
}

#[tokio::test]
async fn limits_and_status_change() {
    let legacy = Legacy::start().await.with_people().await;
    let changed = legacy.patch("alice", json!({"minBalance": "1.50", "maxBalance": "200"})).await;
    assert_eq!(
        (changed.status, &changed.body["minBalance"], &changed.body["maxBalance"]),
        (200, &json!("1.5"), &json!("200"))
    );
    assert_eq!(changed.body["version"], 3, "made, credited, changed");
    let changed = legacy.patch("alice", json!({"maxBalance": null, "status": "FROZEN"})).await;
    assert_eq!(changed.body.get("maxBalance"), None);
    assert_eq!((&changed.body["minBalance"], &changed.body["status"]), (&json!("1.5"), &json!("FROZEN")));
    legacy.patch("nobody", json!({"status": "FROZEN"})).await.expect_refused(404, "AccountNotFound");
    legacy.patch("alice", json!({"minBalance": "-1"})).await.expect_refused(422, "InvalidLimits");
    legacy.patch("alice", json!({"maxBalance": "1"})).await.expect_refused(422, "InvalidLimits");
    legacy.patch("alice", json!({"status": "CLOSED"})).await.expect_refused(422, "AccountNotEmpty");
    assert_eq!(legacy.patch("alice", json!({"status": "ACTIVE"})).await.body["status"], "ACTIVE");
    assert_eq!(legacy.patch("bob", json!({"status": "CLOSED"})).await.body["status"], "CLOSED");
    // Nothing changes a closed account any more, whatever else is wrong with the change.
    legacy.patch("bob", json!({"status": "ACTIVE"})).await.expect_refused(422, "AccountClosed");
    legacy.patch("bob", json!({"minBalance": "-1"})).await.expect_refused(422, "AccountClosed");
}

#[tokio::test]
async fn a_shared_account_stays_limited_or_unlimited() {
    let legacy = Legacy::start().await;
    legacy.account("free", "EXTERNAL", json!({})).await;
    legacy.account("bound", "SYSTEM", json!({"minBalance": "0"})).await;
    legacy.patch("free", json!({"maxBalance": "10"})).await.expect_refused(422, "LimitsFixed");
    legacy.patch("bound", json!({"minBalance": null})).await.expect_refused(422, "LimitsFixed");
    assert_eq!(legacy.patch("free", json!({"maxBalance": null})).await.status, 200);
    assert_eq!(legacy.patch("bound", json!({"minBalance": null, "maxBalance": "10"})).await.status, 200);
    // A USER is limited with and without limits of its own.
    legacy.account("alice", "USER", json!({"maxBalance": "10"})).await;
    assert_eq!(legacy.patch("alice", json!({"maxBalance": null})).await.status, 200);
}

#[tokio::test]
async fn accounts_are_listed_in_pages() {
    let legacy = Legacy::start().await;
    for id in ["b", "a", "C", "e.1", "d"] {
        legacy.account(id, "USER", json!({})).await;
    }
    let ids = |body: &Value| -> Vec<String> {
        let accounts = body["accounts"].as_array().unwrap();
        accounts.iter().map(|account| account["accountId"].as_str().unwrap().to_owned()).collect()
    };
    let all = legacy.get("/accounts").await.body;
    assert_eq!((ids(&all), all.get("next")), (["C", "a", "b", "d", "e.1"].map(str::to_owned).to_vec(), None));
    let first = legacy.get("/accounts?limit=2").await.body;
    assert_eq!((ids(&first), &first["next"]), (["C", "a"].map(str::to_owned).to_vec(), &json!("a")));
    let last = legacy.get("/accounts?limit=3&after=a").await.body;
    assert_eq!((ids(&last), last.get("next")), (["b", "d", "e.1"].map(str::to_owned).to_vec(), None));
}
