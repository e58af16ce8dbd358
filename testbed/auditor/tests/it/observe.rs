//! What answers may not say about one request, and about one key.

use crate::said::{account, applied, failed, made, movement, refund, refused, replayed, result, side};
use serde_json::json;
use testbed_auditor::{Answer, Expectations, Observer, Request, Resolution};

fn observer() -> Observer {
    with(Expectations::default())
}

fn with(expectations: Expectations) -> Observer {
    let mut observer = Observer::new(expectations);
    for (id, kind, limits) in
        [("bank", "EXTERNAL", json!({})), ("alice", "USER", json!({"maxBalance": "500"})), ("bob", "USER", json!({}))]
    {
        observer.observe(&account(id, kind, limits), &made());
    }
    observer
}

#[track_caller]
fn expect_clean(observer: &Observer) {
    assert!(observer.violations().is_empty(), "{:?}", observer.violations());
}

#[track_caller]
fn expect_wrong(observer: &Observer, text: &str) {
    let found = observer.violations().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(found.iter().any(|violation| violation.contains(text)), "`{text}` expected in {found:?}");
}

/// A topup of alice, and its answer.
fn topup(key: &str, amount: i64, before: i64, version: u64) -> (Request, Answer) {
    let request = movement("topup", key, "bank", "alice", &amount.to_string());
    let who = ["topup", &format!("id-{key}"), key];
    (
        request,
        applied(&result(who, amount, side("bank", -amount, None), side("alice", amount, Some((before, version))))),
    )
}

#[test]
fn good_answers_are_good() {
    let mut observer = observer();
    let (request, answer) = topup("k", 10, 0, 2);
    observer.observe(&request, &answer);
    observer.observe(&request, &replayed(answer));
    let transfer = movement("transfer", "t", "alice", "bob", "11");
    let no = refused(422, &failed(["transfer", "id-t", "t"], 11, "alice", "bob", "InsufficientBalance"));
    observer.observe(&transfer, &no);
    observer.observe(&transfer, &replayed(no));
    let counts = observer.counts();
    assert_eq!((counts.applied, counts.refused, counts.replayed, counts.unknown), (1, 1, 2, 0));
    expect_clean(&observer);
}

#[test]
fn each_inconsistency_of_one_answer_is_found() {
    let request = movement("transfer", "k", "alice", "bob", "10");
    let who = ["transfer", "x", "k"];
    let (alice, bob) = (side("alice", -10, Some((50, 2))), side("bob", 10, Some((0, 2))));
    let good = result(who, 10, alice.clone(), bob.clone());
    let edit = |name: &str, value: serde_json::Value| {
        let mut result = good.clone();
        result[name] = value;
        result
    };
    for (result, text) in [
        (edit("trackingId", json!("other")), "trackingId"),
        (edit("type", json!("topup")), "is the answer to"),
        (edit("amount", json!("11")), "is the answer to"),
        (edit("currency", json!("EUR")), "is the answer to"),
        (edit("status", json!("processing")), "applied with status"),
        (edit("source", side("alice", -11, Some((50, 2)))), "the source shows -11"),
        (edit("destination", side("bob", 9, Some((0, 2)))), "the destination 9"),
        (edit("source", side("carol", -10, None)), "the answer names"),
        (edit("source", side("alice", -10, None)), "alice shows the levels"),
        (edit("source", side("alice", -10, Some((5, 2)))), "outside its limits"),
        (
            edit(
                "source",
                json!({"accountId": "alice", "movement": "-10", "balanceBefore": "50", "balanceAfter": "41"}),
            ),
            "goes from 50",
        ),
        (json!({}), "without its transaction"),
    ] {
        let mut observer = observer();
        observer.observe(&request, &applied(&result));
        expect_wrong(&observer, text);
    }
    let mut clean = observer();
    clean.observe(&request, &applied(&good));
    expect_clean(&clean);
}

#[test]
fn each_inconsistency_of_a_refusal_is_found() {
    let request = movement("transfer", "k", "alice", "bob", "10");
    let who = ["transfer", "x", "k"];
    let good = failed(who, 10, "alice", "bob", "InsufficientBalance");
    let mut moved = good.clone();
    moved["source"] = side("alice", -10, Some((50, 2)));
    let mut completed = good.clone();
    completed["status"] = json!("completed");
    for (answer, text) in [
        (refused(422, &moved), "a refusal shows movements"),
        (refused(422, &completed), "a refusal with status"),
        (refused(404, &good), "an answer that the contract does not have: 404 InsufficientBalance"),
        (Answer::read(404, false, br#"{"code":"NoSuchRoute"}"#), "an answer that the contract does not have"),
    ] {
        let mut observer = observer();
        observer.observe(&request, &answer);
        expect_wrong(&observer, text);
    }
}

#[test]
fn what_no_rule_allows_is_found() {
    for (kind, source, destination, text) in [
        ("topup", "bob", "alice", "applied although bob is User"),
        ("withdraw", "alice", "bob", "applied although bob is User"),
        ("transfer", "bank", "alice", "applied although bank is External"),
        ("transfer", "alice", "alice", "between an account and itself"),
    ] {
        let mut observer = observer();
        let user = |id: &str, movement: i64| side(id, movement, (id != "bank").then_some((10, 2)));
        let result = result([kind, "x", "k"], 10, user(source, -10), user(destination, 10));
        observer.observe(&movement(kind, "k", source, destination, "10"), &applied(&result));
        expect_wrong(&observer, text);
    }
    let mut observer = observer();
    let (request, answer) = topup("k", 501, 0, 2);
    observer.observe(&request, &answer);
    expect_wrong(&observer, "alice stands at 501, outside its limits");
}

#[test]
fn answers_about_one_key_must_agree() {
    let (request, first) = topup("k", 10, 0, 2);
    let no = refused(422, &failed(["topup", "id-k", "k"], 10, "bank", "alice", "BalanceLimitExceeded"));
    for (second, text) in [
        (topup("k", 10, 5, 3).1, "first the levels"),
        (no.clone(), "first applied, then refused (BalanceLimitExceeded)"),
    ] {
        let mut observer = observer();
        observer.observe(&request, &first);
        observer.observe(&request, &replayed(second));
        expect_wrong(&observer, text);
    }
    let mut applied_after_refusal = observer();
    applied_after_refusal.observe(&request, &no);
    applied_after_refusal.observe(&request, &replayed(first.clone()));
    expect_wrong(&applied_after_refusal, "first refused (BalanceLimitExceeded), then applied");

    let mut twice = observer();
    twice.observe(&request, &first);
    twice.observe(&request, &first);
    expect_wrong(&twice, "neither of which says that it repeats the other");

    let mut one_id = observer();
    one_id.observe(&request, &first);
    let (other, mut answer) = topup("l", 10, 10, 3);
    answer.result.as_mut().unwrap().transaction_id = "id-k".into();
    one_id.observe(&other, &answer);
    expect_wrong(&one_id, "was told for account alice, key k as well");
}

#[test]
fn what_may_differ_when_the_authority_moves() {
    let mut observer = with(Expectations { authority_moves: true, ..Expectations::default() });
    let (request, first) = topup("k", 10, 0, 2);
    let no = refused(422, &failed(["topup", "id-0", "k"], 10, "bank", "alice", "BalanceLimitExceeded"));
    observer.observe(&request, &no);
    observer.observe(&request, &first);
    observer.observe(&request, &replayed(topup("k", 10, 5, 9).1));
    expect_clean(&observer);
    observer.observe(&request, &no);
    expect_wrong(&observer, "first applied, then refused");
}

#[test]
fn refusals_that_leave_their_key_may_be_followed_by_an_effect() {
    let mut observer = with(Expectations { refusal_keeps_key: false, ..Expectations::default() });
    let (request, first) = topup("k", 10, 0, 2);
    let no = refused(422, &failed(["topup", "id-0", "k"], 10, "bank", "alice", "BalanceLimitExceeded"));
    observer.observe(&request, &no);
    observer.observe(&request, &no);
    observer.observe(&request, &first);
    expect_clean(&observer);
    observer.observe(&request, &first);
    expect_wrong(&observer, "neither of which says that it repeats the other");
}

#[test]
fn one_key_has_one_content() {
    let (request, first) = topup("k", 10, 0, 2);
    let (other, second) = topup("k", 11, 10, 3);
    let duplicate = refused(422, &failed(["topup", "id-k", "k"], 11, "bank", "alice", "DuplicateKey"));
    // In either order of observation, which need not be the order of decision.
    for reverse in [false, true] {
        let mut observer = observer();
        let mut seen = [(&request, &first), (&other, &duplicate)];
        if reverse {
            seen.reverse();
        }
        for (request, answer) in seen {
            observer.observe(request, answer);
        }
        observer.verify_known();
        expect_clean(&observer);
    }
    let mut both = observer();
    both.observe(&request, &first);
    both.observe(&other, &replayed(second));
    expect_wrong(&both, "two contents were decided under one key");

    let mut lonely = observer();
    lonely.observe(&other, &duplicate);
    lonely.verify_known();
    expect_wrong(&lonely, "nothing else has the key");

    let mut itself = observer();
    itself.observe(&request, &first);
    let duplicate = refused(422, &failed(["topup", "id-k", "k"], 10, "bank", "alice", "DuplicateKey"));
    itself.observe(&request, &duplicate);
    itself.verify_known();
    expect_wrong(&itself, "refused as a duplicate of itself");
}

#[test]
fn same_account_says_nothing_about_who_has_the_key() {
    let (request, first) = topup("k", 10, 0, 2);
    let same = movement("topup", "k", "alice", "alice", "10");
    let refusal = refused(422, &failed(["topup", "id-k", "k"], 10, "alice", "alice", "SameAccount"));
    for reverse in [false, true] {
        let mut observer = observer();
        let mut seen = [(&request, &first), (&same, &refusal)];
        if reverse {
            seen.reverse();
        }
        // Either may have been decided first, so the answers may not say that they repeat anything.
        observer.observe(seen[0].0, seen[0].1);
        observer.observe(seen[1].0, &replayed(seen[1].1.clone()));
        observer.verify_known();
        let found = observer.violations().iter().filter(|violation| !violation.text.contains("told for")).count();
        assert_eq!(found, 0, "{:?}", observer.violations());
    }
}

#[test]
fn refunds_are_held_against_their_original() {
    let mut observer = observer();
    let (request, answer) = topup("k", 10, 0, 2);
    observer.observe(&request, &answer);
    let back = |key: &str, amount: i64, before: i64, version: u64| {
        let who = ["refund", &format!("id-{key}"), key];
        applied(&result(who, amount, side("alice", -amount, Some((before, version))), side("bank", amount, None)))
    };
    let one = refund("r1", "id-k", Some("6"));
    assert_eq!(observer.effect_key(&one).account, "alice", "alice is debited, and limited");
    observer.observe(&one, &back("r1", 6, 10, 3));
    expect_clean(&observer);
    observer.observe(&refund("r2", "id-k", Some("5")), &back("r2", 5, 5, 4));
    expect_wrong(&observer, "11 of 10 are refunded now");

    let mut elsewhere = crate::observe::observer();
    elsewhere.observe(&request, &answer);
    let who = ["refund", "x", "r"];
    let answer = applied(&result(who, 6, side("bob", -6, Some((10, 3))), side("bank", 6, None)));
    elsewhere.observe(&refund("r", "id-k", Some("6")), &answer);
    expect_wrong(&elsewhere, "a refund of id-k, bank → alice, goes bob → bank");

    let mut unknown = crate::observe::observer();
    let request = refund("r", "nothing", Some("6"));
    assert_eq!(unknown.effect_key(&request).account, "nothing", "nobody decides on it");
    unknown.observe(&request, &back("r", 6, 10, 3));
    expect_wrong(&unknown, "which was never told");
}

#[test]
fn unknowns_are_remembered_until_resolved() {
    let mut observer = observer();
    let (request, answer) = topup("k", 10, 0, 2);
    let key = observer.effect_key(&request);
    observer.observe_unknown(&request);
    observer.observe(&request, &Answer::read(504, false, b""));
    assert_eq!(observer.unknown(), std::slice::from_ref(&key));
    observer.resolve(&key, Resolution::Absent);
    assert!(observer.unknown().is_empty());
    // A retry may time out again, and then be answered.
    observer.observe_unknown(&request);
    assert_eq!(observer.unknown().len(), 1);
    observer.observe(&request, &replayed(answer.clone()));
    assert!(observer.unknown().is_empty());
    // A late time-out of something known changes nothing.
    observer.observe_unknown(&request);
    observer.resolve(&key, Resolution::Absent);
    assert_eq!((observer.unknown().len(), observer.counts().applied), (0, 1));
    expect_clean(&observer);
    // What a resolution says is held against later answers.
    for (resolution, text) in [
        (Resolution::Applied(None), "first applied, then refused"),
        (Resolution::Refused, "first refused, then applied"),
    ] {
        let mut observer = crate::observe::observer();
        observer.observe_unknown(&request);
        observer.resolve(&key, resolution.clone());
        let no = refused(422, &failed(["topup", "id-k", "k"], 10, "bank", "alice", "BalanceLimitExceeded"));
        let later = if resolution == Resolution::Refused { answer.clone() } else { no };
        observer.observe(&request, &replayed(later));
        expect_wrong(&observer, text);
    }
}

#[test]
fn what_cannot_be_read_must_be_turned_away() {
    let why = |body: &str| Request::read("POST", "/transactions/refund", "", None, body.as_bytes()).unwrap_err();
    let malformed = why("{");
    let amount = why(r#"{"idempotencyKey":"k","transactionId":"x","amount":1}"#);
    let answer = |status: u16, code: &str| Answer::read(status, false, json!({"code": code}).to_string().as_bytes());
    let mut observer = observer();
    observer.observe_unreadable(&malformed, &answer(400, "MalformedRequest"));
    observer.observe_unreadable(&amount, &answer(422, "InvalidAmount"));
    observer.observe_unreadable(&amount, &answer(503, "Busy"));
    expect_clean(&observer);
    observer.observe_unreadable(&malformed, &answer(422, "InvalidAmount"));
    observer.observe_unreadable(&amount, &answer(200, ""));
    assert_eq!(observer.violations().len(), 2);
}
