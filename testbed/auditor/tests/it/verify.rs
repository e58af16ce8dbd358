//! The end of a run: balances, chains and lists.

use crate::said::{account, applied, made, movement, replayed, result, side};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testbed_auditor::{Expectations, Money, Observer, Request, Resolution};

fn topup(key: &str, amount: i64, before: i64, version: u64) -> (Request, Value) {
    let request = movement("topup", key, "bank", "alice", &amount.to_string());
    let who = ["topup", &format!("id-{key}"), key];
    (request, result(who, amount, side("bank", -amount, None), side("alice", amount, Some((before, version)))))
}

/// alice was credited 10 and 5.
fn observer(expectations: Expectations) -> (Observer, Vec<Value>) {
    let mut observer = Observer::new(expectations);
    observer.observe(&account("bank", "EXTERNAL", json!({})), &made());
    observer.observe(&account("alice", "USER", json!({})), &made());
    let mut rows = Vec::new();
    for (key, amount, before, version) in [("a", 10, 0, 2), ("b", 5, 10, 3)] {
        let (request, result) = topup(key, amount, before, version);
        observer.observe(&request, &applied(&result));
        rows.push(result);
    }
    (observer, rows)
}

fn balances(alice: i128, bank: i128) -> BTreeMap<String, Money> {
    [("alice", alice), ("bank", bank)].map(|(id, units)| (id.to_owned(), Money::units(units))).into()
}

#[track_caller]
fn expect(observer: &mut Observer, balances: &BTreeMap<String, Money>, texts: &[&str]) {
    let found = observer.verify(balances).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(found.len(), texts.len(), "{found:?}");
    for text in texts {
        assert!(found.iter().any(|violation| violation.contains(text)), "`{text}` expected in {found:?}");
    }
}

#[test]
fn balances_are_the_sums_told() {
    let plain = Expectations::default();
    expect(&mut observer(plain).0, &balances(15, -15), &[]);
    let chain = "the movements of alice do not chain: the last movement ends at 15, the balance is 16";
    expect(&mut observer(plain).0, &balances(16, -15), &["the balance of alice is 16, but 15 was told", chain]);
    let moves = Expectations { authority_moves: true, ..plain };
    expect(&mut observer(moves).0, &balances(15, -14), &["the balance of bank is -14, but -15 was told"]);
    let mut gone = balances(15, -15);
    gone.remove("bank");
    expect(&mut observer(plain).0, &gone, &["the account bank is gone; -15 was told"]);
    let mut stray = balances(15, -15);
    stray.insert("in-transit:CZK".into(), Money::ZERO);
    stray.insert("mallory".into(), Money::units(1));
    expect(&mut observer(plain).0, &stray, &["the account mallory, of which nothing was told, has 1"]);
}

#[test]
fn an_effect_nobody_knows_of_is_said_so_and_leaves_its_accounts_open() {
    let (mut observer, _) = observer(Expectations::default());
    let (request, _) = topup("c", 7, 15, 4);
    observer.observe_unknown(&request);
    expect(&mut observer, &balances(22, -22), &["account alice, key c: nobody knows whether it had its effect"]);
}

#[test]
fn a_resolved_effect_counts() {
    for (resolution, alice) in [(Resolution::Applied(None), 22), (Resolution::Absent, 15), (Resolution::Refused, 15)] {
        let (mut observer, _) = observer(Expectations::default());
        let (request, _) = topup("c", 7, 15, 4);
        observer.observe_unknown(&request);
        observer.resolve(&observer.effect_key(&request), resolution);
        expect(&mut observer, &balances(alice, -alice), &[]);
    }
}

#[test]
fn movements_chain() {
    let (mut observer, _) = observer(Expectations::default());
    let (request, result) = topup("c", 7, 14, 4);
    observer.observe(&request, &applied(&result));
    expect(&mut observer, &balances(22, -22), &["c begins at 14 instead of 15; the last movement ends at 21"]);
}

#[test]
fn a_list_holds_every_effect_once() {
    let check = |edit: &dyn Fn(&mut Vec<Value>), text: &str| {
        let (mut observer, mut rows) = observer(Expectations::default());
        edit(&mut rows);
        observer.verify_list("legacy", &rows);
        let found = observer.violations().iter().map(ToString::to_string).collect::<Vec<_>>();
        match text {
            "" => assert!(found.is_empty(), "{found:?}"),
            text => assert!(found.len() == 1 && found[0].contains(text), "`{text}` expected in {found:?}"),
        }
    };
    check(&|_| {}, "");
    check(&|rows| rows.truncate(1), "account alice, key b: legacy has no such transaction, though it was told");
    check(&|rows| rows.push(rows[0].clone()), "legacy: account alice, key a: id-a is one more than was asked for");
    check(&|rows| rows.push(topup("z", 1, 15, 4).1), "key z: id-z is one more than was asked for");
    check(&|rows| rows[1] = topup("b", 6, 10, 3).1, "legacy has other movements than were told");
    check(&|rows| rows.push(json!({"transactionId": 1})), "legacy: no transaction");
    check(
        &|rows| {
            let mut failed = topup("z", 1, 15, 4).1;
            failed["status"] = json!("failed");
            rows.push(failed);
        },
        "",
    );
}

#[test]
fn a_list_resolves_what_is_unknown() {
    for applied in [true, false] {
        let (mut observer, mut rows) = observer(Expectations::default());
        let (request, result) = topup("c", 7, 15, 4);
        observer.observe_unknown(&request);
        if applied {
            rows.push(result.clone());
        }
        observer.verify_list("legacy", &rows);
        let alice = if applied { 22 } else { 15 };
        expect(&mut observer, &balances(alice, -alice), &[]);
        if applied {
            observer.observe(&request, &replayed(crate::said::applied(&result)));
            assert!(observer.violations().is_empty());
        }
    }
}
