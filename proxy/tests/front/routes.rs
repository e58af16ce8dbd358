//! `route(head, body, routes, rollout)` by tables.

use crate::support::{LEDGER, account, chain::at};
use http::{HeaderMap, Method};
use proxy::routes::{
    DecidedBy, Deciding, Decision, Head, Key, Kind, Refusal, RouteConfig, Routes, Target, account_id, route, standard,
};
use wire::rollout::Rollout;
use wire::words::{Operation, Stage, System};

const ENGINE_ID: &str = "cf00aabb-1234-8abc-8def-0123456789ab";

fn rollout(percent: u16) -> Rollout {
    Rollout { setting: at(percent), ..Rollout::genesis(LEDGER) }
}

fn decide<'r>(
    routes: &'r Routes,
    line: &str,
    key: Option<&str>,
    body: Option<&str>,
    rollout: &Rollout,
) -> Decision<'r> {
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let method: Method = method.parse().unwrap();
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        headers.insert("idempotency-key", http::HeaderValue::from_bytes(key.as_bytes()).unwrap());
    }
    let head = Head { method: &method, path, query, headers: &headers };
    route(&head, body.map(str::as_bytes), routes, rollout)
}

#[test]
fn what_is_passed_on_goes_where_its_account_or_id_belongs() {
    use System::{Engine, Legacy};
    use Target::{Account, InTurn, System as To};
    let alice = || Account("alice".to_owned());
    let routes = Routes::standard();
    for (line, percent, expected) in [
        ("GET /accounts/alice", 37, alice()),
        ("HEAD /accounts/alice", 37, alice()),
        ("GET /accounts/al%69ce/balance?at=x", 37, alice()),
        ("GET /accounts/alice/transactions?limit=5", 37, alice()),
        ("GET /accounts/alice/events", 0, alice()),
        ("GET /accounts/not%20an%20id", 37, To(Legacy)),
        ("GET /accounts/not%20an%20id", 100, To(Engine)),
        ("GET /accounts?limit=3", 37, To(Legacy)),
        ("GET /accounts", 100, To(Engine)),
        ("GET /transactions?since=x", 37, To(Legacy)),
        ("GET /transactions", 100, To(Engine)),
        ("GET /transactions/L-1", 100, To(Legacy)),
        (&format!("GET /transactions/{ENGINE_ID}"), 0, To(Engine)),
        ("GET /transactions/status/k?account=alice", 37, alice()),
        ("GET /transactions/status/k?account=%20", 37, InTurn(Legacy, Engine)),
        ("GET /transactions/status/k", 37, InTurn(Legacy, Engine)),
        ("GET /transactions/status/k", 0, To(Legacy)),
        ("GET /transactions/status/k", 100, To(Engine)),
    ] {
        match decide(&routes, line, None, None, &rollout(percent)) {
            Decision::Passthrough(_, target) => assert_eq!(target, expected, "{line} at {percent} %"),
            other => panic!("{line}: {other:?}"),
        }
    }
    let mut pinned = rollout(100);
    pinned.pins.insert("alice".into(), Legacy);
    let Decision::Passthrough(_, target) = decide(&routes, "GET /transactions/status/k", None, None, &pinned) else {
        panic!("not passed on")
    };
    assert_eq!(target, InTurn(Engine, Legacy), "the legacy still decides about somebody");
    for (stage, expected) in [(Stage::Shadow, InTurn(Legacy, Engine)), (Stage::Capture, To(Legacy))] {
        let mut pinned = rollout(0);
        pinned.setting.stage = stage;
        pinned.pins.insert("alice".into(), Engine);
        let decision = decide(&routes, "GET /transactions/status/k", None, None, &pinned);
        let Decision::Passthrough(_, target) = decision else { panic!("not passed on") };
        assert_eq!(target, expected, "in {stage}: where the engine decides nothing it is not asked");
    }
}

#[test]
fn what_has_no_route_is_refused() {
    let routes = Routes::standard();
    for (line, refusal) in [
        ("GET /", Refusal::NoSuchRoute),
        ("GET /nothing", Refusal::NoSuchRoute),
        ("POST /transactions/topup/", Refusal::NoSuchRoute),
        ("GET /accounts/", Refusal::NoSuchRoute),
        ("GET /accounts/a/b/c", Refusal::NoSuchRoute),
        ("DELETE /accounts", Refusal::MethodNotAllowed),
        ("PUT /accounts/alice", Refusal::MethodNotAllowed),
        ("POST /transactions/payment", Refusal::NotYetMoved),
        ("POST /transactions/batch", Refusal::NotYetMoved),
        ("POST /transactions/x/capture", Refusal::NotYetMoved),
        ("POST /transactions/x/void", Refusal::NotYetMoved),
    ] {
        for percent in [0, 37, 100] {
            match decide(&routes, line, None, None, &rollout(percent)) {
                Decision::Refuse(this) => assert_eq!(this, refusal, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
    let mut complete = rollout(100);
    complete.setting.stage = wire::words::Stage::Complete;
    for line in ["POST /transactions/payment", "GET /transactions/L-1"] {
        let decision = decide(&routes, line, None, None, &complete);
        assert!(matches!(decision, Decision::Passthrough(_, Target::System(System::Engine))), "{line}: {decision:?}");
    }
}

/// Line, header key, body; then operation, deciding account, accounts named, key.
type Case = (&'static str, Option<&'static str>, &'static str, Operation, Deciding, &'static [&'static str], Key);

#[test]
fn a_dual_write_says_who_decides() {
    let by = |account: &str| Deciding::Account(account.to_owned());
    let given = |key: &str| Key::Given(key.to_owned());
    let cases: Vec<Case> = vec![
        (
            "POST /transactions/topup",
            None,
            r#"{"idempotencyKey":"k","sourceAccountId":"bank","destinationAccountId":"alice"}"#,
            Operation::Topup,
            by("alice"),
            &["alice", "bank"],
            given("k"),
        ),
        (
            "POST /transactions/withdraw",
            Some("h"),
            r#"{"sourceAccountId":"alice","destinationAccountId":"bank"}"#,
            Operation::Withdraw,
            by("alice"),
            &["alice", "bank"],
            given("h"),
        ),
        (
            "POST /transactions/transfer",
            Some("h"),
            r#"{"idempotencyKey":"other","sourceAccountId":"alice","destinationAccountId":"alice"}"#,
            Operation::Transfer,
            by("alice"),
            &["alice"],
            given("h"),
        ),
        (
            "POST /transactions/refund",
            None,
            r#"{"idempotencyKey":"k","transactionId":"L-1"}"#,
            Operation::Refund,
            Deciding::Original("L-1".into()),
            &[],
            given("k"),
        ),
        (
            "POST /transactions/refund",
            None,
            r#"{"transactionId":7}"#,
            Operation::Refund,
            Deciding::Unknown,
            &[],
            Key::Absent,
        ),
        (
            "POST /accounts",
            None,
            r#"{"accountId":"alice"}"#,
            Operation::CreateAccount,
            by("alice"),
            &["alice"],
            Key::Absent,
        ),
        ("POST /accounts", None, "{}", Operation::CreateAccount, Deciding::ToBeMade, &[], Key::Absent),
        (
            "POST /accounts",
            None,
            r#"{"accountId":null}"#,
            Operation::CreateAccount,
            Deciding::ToBeMade,
            &[],
            Key::Absent,
        ),
        ("POST /accounts", None, r#"{"accountId":""}"#, Operation::CreateAccount, Deciding::Unknown, &[], Key::Absent),
        ("POST /accounts", None, "[]", Operation::CreateAccount, Deciding::Unknown, &[], Key::Absent),
        (
            "PATCH /accounts/alice",
            Some("h"),
            r#"{"status":"FROZEN","idempotencyKey":"not here"}"#,
            Operation::ChangeAccount,
            by("alice"),
            &["alice"],
            given("h"),
        ),
        ("PATCH /accounts/a%20b", None, "{}", Operation::ChangeAccount, Deciding::Unknown, &[], Key::Absent),
        ("POST /transactions/topup", None, "", Operation::Topup, Deciding::Unknown, &[], Key::Absent),
        ("POST /transactions/topup", None, "no json", Operation::Topup, Deciding::Unknown, &[], Key::Absent),
        (
            "POST /transactions/topup",
            None,
            r#"{"destinationAccountId":"a","destinationAccountId":"b"}"#,
            Operation::Topup,
            Deciding::Unknown,
            &[],
            Key::Absent,
        ),
        (
            "POST /transactions/topup",
            None,
            r#"{"destinationAccountId":"a b","sourceAccountId":"bank","idempotencyKey":""}"#,
            Operation::Topup,
            Deciding::Unknown,
            &["bank"],
            Key::Unusable,
        ),
        (
            "POST /transactions/topup",
            Some("k\u{e4}"),
            r#"{"destinationAccountId":"alice","idempotencyKey":"k"}"#,
            Operation::Topup,
            by("alice"),
            &["alice"],
            Key::Unusable,
        ),
        (
            "POST /transactions/topup",
            None,
            r#"{"destinationAccountId":"alice","idempotencyKey":5}"#,
            Operation::Topup,
            by("alice"),
            &["alice"],
            Key::Unusable,
        ),
    ];
    let routes = Routes::standard();
    for (line, header, body, operation, deciding, accounts, key) in cases {
        assert!(matches!(decide(&routes, line, header, None, &rollout(0)), Decision::ReadBody(_)), "{line}");
        let Decision::DualWrite(write) = decide(&routes, line, header, Some(body), &rollout(0)) else {
            panic!("{line}: no dual write")
        };
        assert_eq!(write.operation, operation, "{line} {body}");
        assert_eq!(write.deciding, deciding, "{line} {body}");
        assert_eq!(write.accounts, accounts, "{line} {body}");
        assert_eq!(write.key, key, "{line} {body}");
    }
}

#[test]
fn what_a_client_left_out_is_added_once_and_the_same_for_every_retry() {
    let routes = Routes::standard();
    let complete = |line: &str, header: Option<&str>, body: &str| {
        let Decision::DualWrite(mut write) = decide(&routes, line, header, Some(body), &rollout(0)) else {
            panic!("no dual write")
        };
        let added = write.complete("tenant", body.as_bytes(), || "fresh".to_owned());
        (added.key, added.body.map(|body| String::from_utf8(body).unwrap()), write.deciding)
    };
    let made = |key: &str| account_id("tenant", key);
    let with = |id: &str, rest: &str| Some(format!(r#"{{"accountId":"{id}"{rest}}}"#));
    let by = |id: String| Deciding::Account(id);
    assert_eq!(
        complete("POST /accounts", Some("k"), r#"{"ownerId":"o"}"#),
        (None, with(&made("k"), r#","ownerId":"o""#), by(made("k")))
    );
    assert_eq!(complete("POST /accounts", Some("k"), r#"{"accountId":null}"#).1, with(&made("k"), ""));
    assert_eq!(
        complete("POST /accounts", None, "{}"),
        (Some("fresh".into()), with(&made("fresh"), ""), by(made("fresh")))
    );
    let unusable = "x".repeat(256);
    assert_eq!(complete("POST /accounts", Some(&unusable), "{}"), (None, None, Deciding::Unknown));
    assert_eq!(complete("POST /accounts", Some("k"), "nonsense"), (None, None, Deciding::Unknown));
    let topup = r#"{"destinationAccountId":"alice"}"#;
    assert_eq!(complete("POST /transactions/topup", None, topup), (Some("fresh".into()), None, by("alice".into())));
    assert_ne!(account_id("a", "bc"), account_id("ab", "c"));
    assert_eq!(account_id("", "k"), "402ef8c6-28a3-593f-ade5-32cbcb302853", "clients rely on it");
}

#[test]
fn configured_routes_are_checked() {
    let good = || standard::configs().into_iter().find(|config| config.name == "topup").unwrap();
    let with = |change: &dyn Fn(&mut RouteConfig)| {
        let mut config = good();
        change(&mut config);
        Routes::new(vec![config])
    };
    assert!(with(&|_| {}).is_ok());
    for (what, change) in [
        ("its name is not", (&|config: &mut RouteConfig| config.name = "Top Up".into()) as &dyn Fn(&mut RouteConfig)),
        ("no HTTP method", &|config| config.method = "PO ST".into()),
        ("does not begin with a slash", &|config| config.path = "transactions".into()),
        ("neither a plain segment", &|config| config.path = "/a/{b".into()),
        ("needs an operation", &|config| config.operation = None),
        ("needs a deciding account", &|config| config.account = None),
        ("needs a deciding account", &|config| config.account = Some(DecidedBy::Tracking("account".into()))),
        ("no JSON pointer", &|config| config.account = Some(DecidedBy::Body("account".into()))),
        ("no JSON pointer", &|config| config.key = Some("key".into())),
        ("no segment {id}", &|config| config.account = Some(DecidedBy::Path("id".into()))),
        ("no dual write", &|config| config.method = "GET".into()),
        ("is not read", &|config| config.kind = Kind::Passthrough),
        ("only at the top level", &|config| {
            config.add_account = true;
            config.account = Some(DecidedBy::Body("/a/b".into()));
        }),
    ] {
        let error = with(change).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
    let twice = Routes::new(vec![good(), good()]).unwrap_err();
    assert!(twice.to_string().contains("same name"), "{twice}");
}

#[test]
fn a_pattern_that_names_a_segment_goes_before_one_that_takes_any() {
    let mut configs = standard::configs();
    configs.reverse();
    configs.push(RouteConfig {
        name: "special".into(),
        path: "/accounts/special".into(),
        account: None,
        ..configs.iter().find(|config| config.name == "account").unwrap().clone()
    });
    let routes = Routes::new(configs).unwrap();
    let Decision::Passthrough(route, _) = decide(&routes, "GET /accounts/special", None, None, &rollout(0)) else {
        panic!("not passed on")
    };
    assert_eq!(route.config.name, "special");
}

#[test]
fn cohorts_grow_with_the_dial() {
    let early = account(0, 1);
    let late = account(99, 100);
    for percent in [1, 5, 50, 99] {
        assert_eq!(rollout(percent).authority(&early), System::Engine);
        assert_eq!(rollout(percent).authority(&late), System::Legacy);
    }
}
