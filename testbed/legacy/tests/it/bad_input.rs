//! Everything that cannot be understood: a clear answer, and nothing stored.

use crate::client::{Legacy, Reply, movement};
use http::Method;
use serde_json::{Value, json};

#[track_caller]
fn expect_item(reply: &Reply, status: u16, code: &str, pointer: &str, item: &str) {
    reply.expect_refused(status, code);
    let items = reply.body["errors"].as_array().unwrap();
    let found = items.iter().any(|error| error["pointer"] == pointer && error["code"] == item);
    assert!(found, "{item} at {pointer} expected in {}", reply.text);
    assert_eq!(reply.body.get("result"), None);
    assert_eq!(reply.body["correlationId"], reply.correlation_id);
}

#[tokio::test]
async fn malformed_transactions() {
    let legacy = Legacy::start().await.with_people().await;
    let edit = |edit: &dyn Fn(&mut Value)| {
        let mut body = movement("k", "bank", "alice", "1");
        edit(&mut body);
        body.to_string()
    };
    let set = |name: &'static str, value: Value| edit(&|body| body[name] = value.clone());
    let without = |name: &'static str| {
        edit(&|body| {
            body.as_object_mut().unwrap().shift_remove(name);
        })
    };
    let deep = format!("{}1{}", "{\"a\":".repeat(33), "}".repeat(33));
    let cases = [
        (String::new(), "", "MalformedJson"),
        ("{".into(), "", "MalformedJson"),
        ("nonsense".into(), "", "MalformedJson"),
        (format!("{} x", set("reference", json!("r"))), "", "MalformedJson"),
        ("[]".into(), "", "WrongType"),
        ("\"text\"".into(), "", "WrongType"),
        (set("amount", json!("1")).replacen('{', "{\"amount\":\"2\",", 1), "/amount", "DuplicateJsonKey"),
        (set("metadata", json!({"a": 1})).replace("\"a\":1", "\"a\":1,\"a\":1"), "/metadata/a", "DuplicateJsonKey"),
        (
            set("metadata", serde_json::from_str(&deep).unwrap()),
            &format!("/metadata{}", "/a".repeat(31)),
            "MalformedJson",
        ),
        (set("memo", json!("x")), "/memo", "UnknownField"),
        (set("a/b~c", json!("x")), "/a~1b~0c", "UnknownField"),
        (set("transactionId", json!("x")), "/transactionId", "UnknownField"),
        (set("sourceAccountId", json!(7)), "/sourceAccountId", "WrongType"),
        (set("sourceAccountId", json!(null)), "/sourceAccountId", "WrongType"),
        (set("currency", json!(["CZK"])), "/currency", "WrongType"),
        (set("reference", json!(1)), "/reference", "WrongType"),
        (set("idempotencyKey", json!(1)), "/idempotencyKey", "WrongType"),
        (without("sourceAccountId"), "/sourceAccountId", "MissingField"),
        (without("destinationAccountId"), "/destinationAccountId", "MissingField"),
        (without("amount"), "/amount", "MissingField"),
        (without("currency"), "/currency", "MissingField"),
        (without("idempotencyKey"), "/idempotencyKey", "MissingField"),
        (set("sourceAccountId", json!("")), "/sourceAccountId", "InvalidValue"),
        (set("sourceAccountId", json!("a b")), "/sourceAccountId", "InvalidValue"),
        (set("sourceAccountId", json!("é")), "/sourceAccountId", "InvalidValue"),
        (set("destinationAccountId", json!("x".repeat(65))), "/destinationAccountId", "InvalidValue"),
        (set("currency", json!("CZ")), "/currency", "InvalidValue"),
        (set("currency", json!("czk")), "/currency", "InvalidValue"),
        (set("currency", json!("ABCDEFGHIJK")), "/currency", "InvalidValue"),
        (set("idempotencyKey", json!("")), "/idempotencyKey", "InvalidValue"),
        (set("idempotencyKey", json!("ключ")), "/idempotencyKey", "InvalidValue"),
        (set("idempotencyKey", json!("a\u{7f}")), "/idempotencyKey", "InvalidValue"),
        (set("idempotencyKey", json!("k".repeat(256))), "/idempotencyKey", "InvalidValue"),
        (set("reference", json!("r".repeat(256))), "/reference", "InvalidValue"),
        (set("metadata", json!([1])), "/metadata", "InvalidValue"),
        (set("metadata", json!("x")), "/metadata", "InvalidValue"),
        // What makes it malformed outranks the wrong amount.
        (edit(&|body| (body["amount"], body["memo"]) = (json!(1), json!(1))), "/memo", "UnknownField"),
    ];
    for (body, pointer, item) in cases {
        let reply = Reply::of(legacy.send_bytes(Method::POST, "/transactions/topup", &[], body.as_bytes()).await);
        expect_item(&reply, 400, "MalformedRequest", pointer, item);
    }
    let latin = Reply::of(legacy.send_bytes(Method::POST, "/transactions/topup", &[], b"{\"a\":\"\xff\"}").await);
    expect_item(&latin, 400, "MalformedRequest", "", "MalformedJson");
    assert_eq!(legacy.history("alice").await.len(), 1);
    assert_eq!(legacy.transact("topup", "k", "bank", "alice", "1").await.status, 200, "the key was not consumed");
    // 255 characters are characters, not bytes.
    let body = serde_json::from_str(&set("reference", json!("é".repeat(255)))).unwrap();
    legacy.post_with("/transactions/topup", &[("X-Tenant", "t")], body).await.expect_applied();
}

#[tokio::test]
async fn amounts_outside_the_grammar() {
    let legacy = Legacy::start().await.with_people().await;
    for amount in [
        json!(1),
        json!(1.5),
        json!(null),
        json!(true),
        json!({}),
        json!(""),
        json!("0"),
        json!("0.00"),
        json!("-1"),
        json!("+1"),
        json!("1e5"),
        json!("1_000"),
        json!("01"),
        json!(".5"),
        json!("1."),
        json!("NaN"),
        json!("-0"),
        json!("0.000000001"),
        json!("1000000000000"),
        json!(" 1"),
    ] {
        let mut body = movement("k", "bank", "alice", "1");
        body["amount"] = amount.clone();
        let reply = legacy.post("/transactions/topup", body).await;
        expect_item(&reply, 422, "InvalidAmount", "/amount", "InvalidAmount");
        let body = json!({"idempotencyKey": "k", "transactionId": "L-000000000001", "amount": amount});
        expect_item(&legacy.post("/transactions/refund", body).await, 422, "InvalidAmount", "/amount", "InvalidAmount");
    }
    for (name, limit) in [("minBalance", json!(5)), ("maxBalance", json!("1e3")), ("minBalance", json!("-0"))] {
        let mut body = json!({"ownerId": "o", "ownerType": "t", "accountType": "USER", "currency": "CZK"});
        body[name] = limit.clone();
        let pointer = format!("/{name}");
        expect_item(&legacy.post("/accounts", body).await, 422, "InvalidAmount", &pointer, "InvalidAmount");
        let change = legacy.patch("alice", json!({ name: limit })).await;
        expect_item(&change, 422, "InvalidAmount", &pointer, "InvalidAmount");
    }
    assert_eq!(legacy.history("alice").await.len(), 1);
    assert!(!legacy.transact("topup", "k", "bank", "alice", "1").await.replayed, "the key was not consumed");
}

#[tokio::test]
async fn malformed_accounts_and_changes() {
    let legacy = Legacy::start().await.with_people().await;
    let set = |name: &str, value: Value| {
        let mut body = json!({"ownerId": "o", "ownerType": "t", "accountType": "USER", "currency": "CZK"});
        body[name] = value;
        body
    };
    for (body, pointer, item) in [
        (json!({}), "/ownerId", "MissingField"),
        (json!({}), "/ownerType", "MissingField"),
        (json!({}), "/accountType", "MissingField"),
        (json!({}), "/currency", "MissingField"),
        (set("accountId", json!("a b")), "/accountId", "InvalidValue"),
        (set("accountId", json!("a#0")), "/accountId", "InvalidValue"),
        (set("accountId", json!(1)), "/accountId", "WrongType"),
        (set("ownerId", json!("o".repeat(256))), "/ownerId", "InvalidValue"),
        (set("ownerType", json!("o".repeat(256))), "/ownerType", "InvalidValue"),
        (set("accountType", json!("user")), "/accountType", "InvalidValue"),
        (set("status", json!("ACTIVE")), "/status", "UnknownField"),
        (set("idempotencyKey", json!("k")), "/idempotencyKey", "UnknownField"),
        (set("metadata", json!(1)), "/metadata", "InvalidValue"),
    ] {
        expect_item(&legacy.post("/accounts", body).await, 400, "MalformedRequest", pointer, item);
    }
    for (body, pointer, item) in [
        (json!({}), "", "MissingField"),
        (json!({"status": "OPEN"}), "/status", "InvalidValue"),
        (json!({"status": null}), "/status", "WrongType"),
        (json!({"currency": "EUR"}), "/currency", "UnknownField"),
    ] {
        expect_item(&legacy.patch("alice", body).await, 400, "MalformedRequest", pointer, item);
    }
    let reply =
        legacy.post_with("/accounts", &[("Idempotency-Key", &"k".repeat(256))], set("accountId", json!("x"))).await;
    expect_item(&reply, 400, "MalformedRequest", "Idempotency-Key", "InvalidValue");
}

#[tokio::test]
async fn headers_that_cannot_be() {
    let legacy = Legacy::start().await.with_people().await;
    let send = async |name: &str, value: &str| {
        legacy.post_with("/transactions/topup", &[(name, value)], movement("k", "bank", "bob", "1")).await
    };
    let reply = send("Idempotency-Key", "other").await;
    expect_item(&reply, 400, "MalformedRequest", "/idempotencyKey", "InvalidValue");
    let reply = send("X-Tenant", &"t".repeat(256)).await;
    expect_item(&reply, 400, "MalformedRequest", "X-Tenant", "InvalidValue");
    send("Idempotency-Key", "k").await.expect_applied();
    // A correlation id that cannot be taken is replaced.
    let reply = send("X-Correlation-Id", &"c".repeat(129)).await;
    assert!(reply.correlation_id.len() == 36, "{}", reply.correlation_id);
    assert_eq!(send("X-Correlation-Id", &"c".repeat(128)).await.correlation_id, "c".repeat(128));
}

#[tokio::test]
async fn too_large_unknown_or_wrong() {
    let legacy = Legacy::start().await.with_people().await;
    let padded = |length: usize| {
        let body = movement("k", "bank", "bob", "1").to_string();
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    let post = async |body: String| {
        Reply::of(legacy.send_bytes(Method::POST, "/transactions/topup", &[], body.as_bytes()).await)
    };
    for length in [(1 << 20) + 1, 6 << 20] {
        post(padded(length)).await.expect_refused(413, "BodyTooLarge");
    }
    post(padded(1 << 20)).await.expect_applied();
    legacy.get("/nowhere").await.expect_refused(404, "NoSuchRoute");
    legacy.get("/accounts/a/b/c").await.expect_refused(404, "NoSuchRoute");
    legacy.post("/transactions/payment", json!({})).await.expect_refused(405, "MethodNotAllowed");
    legacy.get("/transactions/topup").await.expect_refused(405, "MethodNotAllowed");
    let reply = Reply::of(legacy.send_bytes(Method::DELETE, "/accounts/alice", &[], b"").await);
    reply.expect_refused(405, "MethodNotAllowed");
    assert!(!reply.correlation_id.is_empty());
}

#[tokio::test]
async fn bad_query_values() {
    let legacy = Legacy::start().await.with_people().await;
    for (path, pointer) in [
        ("/accounts?limit=0", "?limit"),
        ("/accounts?limit=1001", "?limit"),
        ("/accounts?limit=x", "?limit"),
        ("/accounts/alice/transactions?limit=-1", "?limit"),
        ("/accounts/alice/transactions?before=x", "?before"),
        ("/accounts/alice/transactions?before=01", "?before"),
        ("/accounts/alice/transactions?type=loan", "?type"),
        ("/accounts/alice/transactions?status=done", "?status"),
        ("/accounts/alice/balance?stale=perhaps", "?stale"),
        ("/accounts/alice/balance?at=2026-01-01T00:00:00Z", "?at"),
        ("/transactions?since=yesterday", "?since"),
        ("/transactions?after=x", "?after"),
        ("/accounts?limit=1&limit=2", "?limit"),
        ("/accounts/%FF/transactions", "{id}"),
        ("/transactions/%FF", "{id}"),
    ] {
        expect_item(&legacy.get(path).await, 400, "MalformedRequest", pointer, "InvalidValue");
    }
}

/// What is wrong with a path or a query, and how it is answered: a cutover must not change it. The same table stands in
/// `engine/tests/api/bad_input.rs`: change both.
const ALIKE: [(&str, &str, &str, u16, &str); 19] = [
    ("GET", "/accounts/a%20b", "", 404, "AccountNotFound"),
    ("GET", "/accounts/a%2Fb/balance", "", 404, "AccountNotFound"),
    ("GET", "/accounts/a%23b/transactions", "", 404, "AccountNotFound"),
    ("GET", "/accounts/a%20b?stale=maybe", "", 404, "AccountNotFound"),
    ("GET", "/accounts/%FF", "", 400, "MalformedRequest"),
    ("GET", "/accounts/nobody", "", 404, "AccountNotFound"),
    ("PATCH", "/accounts/a%20b", r#"{"status":"FROZEN"}"#, 404, "AccountNotFound"),
    ("PATCH", "/accounts/a%20b", "no JSON", 404, "AccountNotFound"),
    ("PATCH", "/accounts/nobody", "no JSON", 400, "MalformedRequest"),
    ("PATCH", "/accounts/nobody", r#"{"minBalance":"-0.0"}"#, 422, "InvalidAmount"),
    ("GET", "/accounts/alice?stale=maybe", "", 400, "MalformedRequest"),
    ("GET", "/accounts/alice?stale=true&stale=true", "", 400, "MalformedRequest"),
    ("GET", "/accounts/alice?stale=%FF", "", 400, "MalformedRequest"),
    ("GET", "/accounts/alice/balance?stale=1", "", 400, "MalformedRequest"),
    ("GET", "/accounts?stale=maybe", "", 400, "MalformedRequest"),
    ("GET", "/accounts?limit=%FF", "", 400, "MalformedRequest"),
    ("GET", "/accounts/alice/transactions?stale=maybe", "", 400, "MalformedRequest"),
    ("GET", "/transactions?stale=maybe", "", 400, "MalformedRequest"),
    ("POST", "/accounts", RESERVED, 409, "AccountExists"),
];

/// An account that the engine would make for itself.
const RESERVED: &str =
    r#"{"accountId":"in-transit:1","ownerId":"o","ownerType":"t","accountType":"USER","currency":"CZK"}"#;

#[tokio::test]
async fn bad_paths_and_queries_are_answered_as_by_the_engine() {
    let legacy = Legacy::start().await.with_people().await;
    for (method, path, body, status, code) in ALIKE {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let reply = Reply::of(legacy.send_bytes(method, path, &[], body.as_bytes()).await);
        assert_eq!((reply.status, &reply.body["code"]), (status, &json!(code)), "{path} {body}: {}", reply.text);
    }
    legacy.get("/accounts/in-transit:1").await.expect_refused(404, "AccountNotFound");
}

/// What a store cannot hold as it is has to come back from there all the same.
#[tokio::test]
async fn free_text_may_hold_every_character() {
    let legacy = Legacy::start().await.with_people().await;
    let text = "a\0b\u{1}0\u{1}1\u{7f}\u{e000}\u{10ffff}'\"\\%";
    let account = json!({
        "accountId": "odd", "ownerId": text, "ownerType": text, "accountType": "USER", "currency": "CZK",
        "metadata": { text: text },
    });
    let made = legacy.post_with("/accounts", &[("Idempotency-Key", "odd")], account.clone()).await;
    assert_eq!((made.status, &made.body["ownerId"]), (201, &json!(text)), "{}", made.text);
    assert!(legacy.post_with("/accounts", &[("Idempotency-Key", "odd")], account).await.replayed);
    assert_eq!(legacy.get("/accounts/odd").await.body, made.body);
    let mut body = movement("k", "bank", "odd", "1");
    body["reference"] = json!(text);
    body["metadata"] = json!({ text: text });
    let booked = legacy.post("/transactions/topup", body.clone()).await;
    assert_eq!(booked.expect_applied()["reference"], text);
    assert!(legacy.post("/transactions/topup", body).await.replayed);
    assert_eq!(legacy.history("odd").await, [booked.body]);
    // The key of a refund of what is not there is unique for what it names.
    legacy.fault("slow").await;
    let refund = || legacy.refund("r", text, None);
    refund().await.expect_refused(404, "OriginalNotFound");
    assert!(refund().await.replayed);
    assert_eq!(legacy.fault_log().await[0]["account"], text);
    assert_eq!(legacy.get("/transactions/status/r").await.body["originalTransactionId"], text);
    for (path, status) in [
        ("/transactions/status/r%00", 404),
        ("/transactions/status/r?account=%00", 404),
        ("/transactions/%00", 404),
        ("/accounts/%00", 404),
        ("/accounts?after=o%00", 200),
    ] {
        assert_eq!(legacy.get(path).await.status, status, "{path}");
    }
    assert_eq!(legacy.get("/accounts?after=o%00").await.body["accounts"][0]["accountId"], "odd");
}
