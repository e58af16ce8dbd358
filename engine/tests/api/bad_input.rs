//! Everything that is malformed: named at once, answered before anything is appended.

use crate::support::{Engine, header, movement, problem, text, with};
use serde_json::{Value, json};

/// A request that is turned away.
struct Case {
    name: &'static str,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    /// Codes and pointers of the items, in order.
    items: Vec<(&'static str, &'static str)>,
    /// What the detail of the problem or of an item has to name.
    names: &'static str,
}

fn case(name: &'static str, path: &str, body: impl Into<Vec<u8>>) -> Case {
    Case {
        name,
        method: "POST",
        path: path.to_owned(),
        headers: Vec::new(),
        body: body.into(),
        status: 400,
        code: "MalformedRequest",
        items: Vec::new(),
        names: "",
    }
}

impl Case {
    fn item(mut self, code: &'static str, pointer: &'static str) -> Self {
        self.items.push((code, pointer));
        self
    }

    fn naming(self, names: &'static str) -> Self {
        Self { names, ..self }
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn answered(self, status: u16, code: &'static str) -> Self {
        Self { status, code, ..self }
    }

    fn by(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    async fn check(self, engine: &Engine) {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = engine.send(self.method, &self.path, &headers, self.body).await;
        assert_eq!(answer.status, self.status, "{}: {}", self.name, text(&answer));
        let problem = problem(&answer, self.status, self.code);
        let items: Vec<(&str, &str)> = problem["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| (item["code"].as_str().unwrap(), item["pointer"].as_str().unwrap()))
            .collect();
        assert_eq!(items, self.items, "{}: {problem}", self.name);
        assert!(problem.to_string().contains(self.names), "{}: {problem}", self.name);
        assert_eq!(problem.get("result"), None, "{}: {problem}", self.name);
        assert_eq!(header(&answer, "x-correlation-id"), problem["correlationId"].as_str(), "{}", self.name);
    }
}

const TOPUP: &str = "/transactions/topup";

fn topup(more: Value) -> Vec<u8> {
    with(movement("k", "bank", "alice", "10"), more).to_string().into()
}

fn new_account(more: Value) -> Vec<u8> {
    let account = json!({
        "accountId": "new", "ownerId": "o", "ownerType": "person", "accountType": "USER", "currency": "EUR",
    });
    with(account, more).to_string().into()
}

fn malformed_documents() -> Vec<Case> {
    let deep = format!(r#"{{"metadata":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    vec![
        case("no body", TOPUP, "").item("MalformedJson", "").naming("empty"),
        case("no JSON", TOPUP, "amount=10").item("MalformedJson", "").naming("line 1 column 1"),
        case("cut off", TOPUP, r#"{"idempotencyKey":"k""#).item("MalformedJson", "").naming("EOF"),
        case("trailing garbage", TOPUP, [&topup(json!({}))[..], b"}"].concat())
            .item("MalformedJson", "")
            .naming("trailing"),
        case("trailing comma", TOPUP, r#"{"idempotencyKey":"k",}"#).item("MalformedJson", ""),
        case("no UTF-8", TOPUP, b"{\"reference\":\"\xff\"}".to_vec()).item("MalformedJson", ""),
        case("a list", TOPUP, "[]").item("WrongType", "").naming("a list"),
        case("a text", TOPUP, "\"x\"").item("WrongType", "").naming("a string"),
        case("null", TOPUP, "null").item("WrongType", "").naming("null"),
        case("too deep", TOPUP, deep).item("MalformedJson", &DEEP).naming("deeper than 32"),
        case(
            "the amount twice",
            TOPUP,
            String::from_utf8(topup(json!({}))).unwrap().replace('}', r#","amount":"20"}"#),
        )
        .item("DuplicateJsonKey", "/amount")
        .naming("more than once"),
        case(
            "twice below",
            TOPUP,
            String::from_utf8(topup(json!({"metadata": {"a": {}}})))
                .unwrap()
                .replace(r#"{"a":{}}"#, r#"{"a":{"b":1,"b":1}}"#),
        )
        .item("DuplicateJsonKey", "/metadata/a/b"),
    ]
}

/// Where nesting becomes too deep: the object, then 31 lists.
static DEEP: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| format!("/metadata{}", "/0".repeat(31)));

fn wrong_fields() -> Vec<Case> {
    let id = |id: &str| topup(json!({ "destinationAccountId": id }));
    vec![
        case("nothing there", TOPUP, "{}")
            .item("MissingField", "/sourceAccountId")
            .item("MissingField", "/destinationAccountId")
            .item("MissingField", "/amount")
            .item("MissingField", "/currency")
            .item("MissingField", "/idempotencyKey"),
        case("no key", TOPUP, topup(json!({"idempotencyKey": null})))
            .item("MissingField", "/idempotencyKey")
            .naming("Idempotency-Key"),
        case("unknown field", TOPUP, topup(json!({"ammount": "10"})))
            .item("UnknownField", "/ammount")
            .naming("sourceAccountId"),
        case("key of a number", TOPUP, topup(json!({"idempotencyKey": 7}))).item("WrongType", "/idempotencyKey"),
        case("empty key", TOPUP, topup(json!({"idempotencyKey": ""})))
            .item("InvalidValue", "/idempotencyKey")
            .naming("1 to 255"),
        case("key of 256", TOPUP, topup(json!({"idempotencyKey": "k".repeat(256)})))
            .item("InvalidValue", "/idempotencyKey"),
        case("key with a control character", TOPUP, topup(json!({"idempotencyKey": "a\nb"})))
            .item("InvalidValue", "/idempotencyKey"),
        case("key beyond ASCII", TOPUP, topup(json!({"idempotencyKey": "schlüssel"})))
            .item("InvalidValue", "/idempotencyKey"),
        case("header key of 256", TOPUP, topup(json!({"idempotencyKey": null})))
            .header("idempotency-key", &"k".repeat(256))
            .item("InvalidValue", "idempotency-key"),
        case("two keys", TOPUP, topup(json!({})))
            .header("idempotency-key", "other")
            .item("InvalidValue", "/idempotencyKey")
            .naming("different keys"),
        case("two header keys", TOPUP, topup(json!({"idempotencyKey": null})))
            .header("idempotency-key", "a")
            .header("idempotency-key", "b")
            .item("InvalidValue", "idempotency-key"),
        case("two tenants", TOPUP, topup(json!({})))
            .header("x-tenant", "a")
            .header("x-tenant", "b")
            .item("InvalidValue", "x-tenant"),
        case("account id with a space", TOPUP, id("a b")).item("InvalidValue", "/destinationAccountId").naming("`a b`"),
        case("account id with a slash", TOPUP, id("a/b")).item("InvalidValue", "/destinationAccountId"),
        case("stripe of an account", TOPUP, id("bank#1")).item("InvalidValue", "/destinationAccountId"),
        case("account id of 65", TOPUP, id(&"a".repeat(65))).item("InvalidValue", "/destinationAccountId"),
        case("empty account id", TOPUP, id("")).item("InvalidValue", "/destinationAccountId"),
        case("account id of a number", TOPUP, topup(json!({"sourceAccountId": 1})))
            .item("WrongType", "/sourceAccountId")
            .naming("a number"),
        case("currency in small letters", TOPUP, topup(json!({"currency": "eur"})))
            .item("InvalidValue", "/currency")
            .naming("`eur`"),
        case("currency of 2", TOPUP, topup(json!({"currency": "EU"}))).item("InvalidValue", "/currency"),
        case("currency of 11", TOPUP, topup(json!({"currency": "EEEEEEEEEEE"}))).item("InvalidValue", "/currency"),
        case("reference of 256", TOPUP, topup(json!({"reference": "ü".repeat(256)})))
            .item("InvalidValue", "/reference")
            .naming("256"),
        case("metadata of a list", TOPUP, topup(json!({"metadata": []}))).item("InvalidValue", "/metadata"),
        case("several", TOPUP, topup(json!({"currency": 1, "x": 1, "y": 1, "amount": 1})))
            .item("WrongType", "/currency")
            .item("UnknownField", "/x")
            .item("UnknownField", "/y")
            .naming("2 more"),
        case("refund of nothing", "/transactions/refund", r#"{"idempotencyKey":"k"}"#)
            .item("MissingField", "/transactionId"),
        case(
            "refund with a currency",
            "/transactions/refund",
            r#"{"idempotencyKey":"k","transactionId":"t","currency":"EUR"}"#,
        )
        .item("UnknownField", "/currency"),
        case("key in a new account", "/accounts", new_account(json!({"idempotencyKey": "k"})))
            .item("UnknownField", "/idempotencyKey"),
        case("unknown type", "/accounts", new_account(json!({"accountType": "user"})))
            .item("InvalidValue", "/accountType")
            .naming("USER, EXTERNAL, SYSTEM"),
        case("no owner", "/accounts", new_account(json!({"ownerId": null, "ownerType": null})))
            .item("MissingField", "/ownerId")
            .item("MissingField", "/ownerType"),
        case("owner of 256", "/accounts", new_account(json!({"ownerId": "o".repeat(256)})))
            .item("InvalidValue", "/ownerId"),
        case("bad id", "/accounts", new_account(json!({"accountId": "ä"}))).item("InvalidValue", "/accountId"),
        case("nothing to change", "/accounts/alice", "{}")
            .by("PATCH")
            .item("MissingField", "")
            .naming("status, minBalance or maxBalance"),
        case("unknown status", "/accounts/alice", r#"{"status":"OPEN"}"#)
            .by("PATCH")
            .item("InvalidValue", "/status")
            .naming("FROZEN"),
        case("status of null", "/accounts/alice", r#"{"status":null}"#).by("PATCH").item("WrongType", "/status"),
        case("currency cannot change", "/accounts/alice", r#"{"currency":"USD"}"#)
            .by("PATCH")
            .item("UnknownField", "/currency"),
    ]
}

fn wrong_amounts() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        json!(10),
        json!(10.5),
        json!(true),
        json!([]),
        json!({}),
        json!(""),
        json!("0"),
        json!("0.0"),
        json!("-1"),
        json!("-0"),
        json!("+1"),
        json!("1e5"),
        json!("1E5"),
        json!("1,5"),
        json!(".5"),
        json!("5."),
        json!("01"),
        json!(" 1"),
        json!("1 "),
        json!("1_000"),
        json!("NaN"),
        json!("Infinity"),
        json!("0x10"),
        json!("0.000000001"),
        json!("1000000000000"),
    ]
    .into_iter()
    .map(|amount| case("amount", TOPUP, topup(json!({ "amount": amount }))).item("InvalidAmount", "/amount"))
    .collect();
    let null = String::from_utf8(topup(json!({}))).unwrap().replace(r#""amount":"10""#, r#""amount":null"#);
    cases.push(case("amount of null", TOPUP, null).item("InvalidAmount", "/amount").naming("null"));
    cases.push(
        case("refund", "/transactions/refund", r#"{"idempotencyKey":"k","transactionId":"t","amount":1}"#)
            .item("InvalidAmount", "/amount"),
    );
    cases.push(
        case("limits", "/accounts", new_account(json!({"minBalance": 0, "maxBalance": "1e3"})))
            .item("InvalidAmount", "/minBalance")
            .item("InvalidAmount", "/maxBalance"),
    );
    cases.push(
        case("limit of 20 digits", "/accounts/alice", r#"{"maxBalance":"12345678901234567890"}"#)
            .by("PATCH")
            .item("InvalidAmount", "/maxBalance"),
    );
    cases.into_iter().map(|case| case.answered(422, "InvalidAmount")).collect()
}

fn wrong_queries() -> Vec<Case> {
    let get = |name, path: &str, pointer| case(name, path, "").by("GET").item("InvalidValue", pointer);
    vec![
        get("limit of 0", "/accounts?limit=0", "?limit").naming("1 to 1000"),
        get("limit of 1001", "/accounts/alice/transactions?limit=1001", "?limit"),
        get("limit in words", "/transactions?limit=ten", "?limit").naming("`ten`"),
        get("two limits", "/transactions?limit=1&limit=2", "?limit"),
        get("no cursor", "/transactions?after=x", "?after"),
        get("no cursor of a history", "/accounts/alice/transactions?before=1-2", "?before"),
        get("unknown type", "/accounts/alice/transactions?type=payout", "?type").naming("topup"),
        get("unknown status", "/accounts/alice/transactions?status=open", "?status").naming("completed"),
        get("no time", "/transactions?since=yesterday", "?since").naming("2026"),
        get("no time travel", "/accounts/alice/balance?at=1", "?at"),
        get("stale or not", "/accounts/alice?stale=maybe", "?stale").naming("true nor false"),
        get("no version", "/accounts/alice/events?fromVersion=-1", "?fromVersion"),
        get("undecodable", "/accounts?limit=%ff", "?limit"),
        get("no UTF-8 in the path", "/accounts/%FF", "{id}"),
        get("two accounts", "/transactions/status/k?account=a&account=b", "?account"),
    ]
}

fn nothing_there() -> Vec<Case> {
    let no_account = |method, path: &str, body: &str, names| {
        case("no id of an account", path, body).by(method).answered(404, "AccountNotFound").naming(names)
    };
    let none = |path: &str| case("no route", path, "").by("GET").answered(404, "NoSuchRoute").naming("openapi.json");
    let method =
        |method, path: &str| case("method", path, "").by(method).answered(405, "MethodNotAllowed").naming("Allow");
    vec![
        no_account("PATCH", "/accounts/a%20b", r#"{"status":"FROZEN"}"#, "`a b`"),
        no_account("GET", "/accounts/a%2Fb", "", "`a/b`"),
        no_account("GET", "/accounts/%C3%BC/balance", "", "`ü`"),
        no_account("GET", "/accounts/bank%231", "", "`bank#1`"),
        none("/"),
        none("/account"),
        none("/accounts/"),
        none("/accounts/alice/"),
        none("/accounts/alice/balances"),
        none("/internal/aliases"),
        none("/transactions/t/capture"),
        none("/accounts/alice/webhooks/x"),
        method("DELETE", "/accounts/alice"),
        method("PUT", "/accounts"),
        method("POST", "/accounts/alice/balance"),
        method("OPTIONS", "/accounts"),
        method("PATCH", TOPUP),
        method("POST", "/healthz"),
    ]
}

#[tokio::test]
async fn bad_input_is_named_and_has_no_effect() {
    let engine = Engine::start().await.with_users(&[("alice", "5")]).await;
    let tables = [malformed_documents(), wrong_fields(), wrong_amounts(), wrong_queries(), nothing_there()];
    for case in tables.into_iter().flatten() {
        case.check(&engine).await;
    }
    let listed = engine.read("/transactions").await;
    assert_eq!(listed["transactions"].as_array().unwrap().len(), 1, "only the first topup: {listed}");
    assert_eq!(engine.balance_of("alice").await, "5");
    assert_eq!(engine.get("/accounts/new").await.status, 404);
    let answer = engine.post(TOPUP, &movement("k", "bank", "alice", "10")).await;
    assert_eq!(answer.status, 200, "none of it took the key: {}", text(&answer));
    engine.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413_however_it_is_sent() {
    let engine = Engine::start().await.with_users(&[("alice", "0")]).await;
    let fits = |size: usize| {
        let body = movement("k", "bank", "alice", "1").to_string();
        let padding = " ".repeat(size - body.len());
        body + &padding
    };
    for size in [(1 << 20) + 1, 3 << 20, 20 << 20] {
        let answer = engine.send("POST", TOPUP, &[], fits(size)).await;
        problem(&answer, 413, "BodyTooLarge");
        assert!(text(&answer).contains("1048576 bytes"), "{}", text(&answer));
    }
    assert_eq!(engine.balance_of("alice").await, "0");
    let answer = engine.send("POST", TOPUP, &[], fits(1 << 20)).await;
    assert_eq!(answer.status, 200, "exactly 1 MiB fits: {}", text(&answer));
    engine.stop().await;
}

#[tokio::test]
async fn head_is_get_without_a_body_and_405_names_what_is_allowed() {
    let engine = Engine::start().await.with_users(&[("alice", "1")]).await;
    let answer = engine.send("HEAD", "/accounts/alice", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    let answer = engine.send("HEAD", "/accounts/nobody", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (404, 0));
    let answer = engine.send("DELETE", "/accounts/alice", &[], "").await;
    let allowed = header(&answer, "allow").unwrap();
    assert!(allowed.contains("GET") && allowed.contains("PATCH"), "{allowed}");
    engine.stop().await;
}

#[tokio::test]
async fn a_flood_of_flaws_is_answered_by_a_page_of_them() {
    let engine = Engine::start().await;
    let fields: String = (0..50_000).map(|index| format!(r#""x{index}":1,"#)).collect();
    let answer = engine.send("POST", TOPUP, &[], format!(r#"{{{fields}"amount":"1"}}"#)).await;
    let problem = problem(&answer, 400, "MalformedRequest");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 100);
    engine.stop().await;
}

/// What is wrong with a path or a query, and how it is answered: a cutover must not change it. The same table stands in
/// `testbed/legacy/tests/it/bad_input.rs`: change both.
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
async fn bad_paths_and_queries_are_answered_as_by_the_legacy() {
    let engine = Engine::start().await.with_users(&[("alice", "0")]).await;
    for (method, path, body, status, code) in ALIKE {
        let answer = engine.send(method, path, &[], body).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", text(&answer));
        problem(&answer, status, code);
    }
    engine.stop().await;
}
