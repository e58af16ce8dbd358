//! Sequential predictions: every rule of the contract.

use crate::said::{account, applied, change, failed, movement, refund, refused, result, side};
use serde_json::json;
use testbed_auditor::{Ledger, Money, Prediction, Request};

/// `bank`, `alice` with 100, `bob` with nothing.
fn ledger() -> Ledger {
    let mut ledger = Ledger::new(true);
    for (id, kind) in [("bank", "EXTERNAL"), ("alice", "USER"), ("bob", "USER")] {
        assert_eq!(ledger.predict(&account(id, kind, json!({}))).status, 201);
    }
    expect(&mut ledger, &movement("topup", "first", "bank", "alice", "100"), None);
    ledger
}

#[track_caller]
fn expect(ledger: &mut Ledger, request: &Request, code: Option<&str>) -> Prediction {
    let prediction = ledger.predict(request);
    assert_eq!(prediction.code, code, "{request:?}");
    prediction
}

#[test]
fn money_moves() {
    let mut ledger = ledger();
    let prediction = expect(&mut ledger, &movement("transfer", "t", "alice", "bob", "30.5"), None);
    let sides = prediction.sides.unwrap();
    assert_eq!(sides[0].levels, Some((Money::units(100), Money::level("69.5").unwrap())));
    assert_eq!(
        (sides[1].movement, sides[1].levels.unwrap().1),
        (Money::level("30.5").unwrap(), Money::level("30.5").unwrap())
    );
    let prediction = expect(&mut ledger, &movement("withdraw", "w", "bob", "bank", "0.5"), None);
    assert_eq!(prediction.sides.unwrap()[1].levels, None, "shared accounts show no levels");
    assert_eq!(ledger.balance("bob"), Some(Money::units(30)));
    assert_eq!(ledger.balances().into_values().sum::<Money>(), Money::ZERO);
}

#[test]
fn each_rule_refuses() {
    let mut ledger = ledger();
    for (id, kind, limits) in [
        ("frozen", "USER", json!({})),
        ("closed", "USER", json!({})),
        ("modest", "USER", json!({"maxBalance": "50"})),
        ("thrifty", "USER", json!({"minBalance": "20"})),
        ("till", "SYSTEM", json!({"minBalance": "-10"})),
        ("cap", "EXTERNAL", json!({"maxBalance": "30"})),
    ] {
        assert_eq!(ledger.predict(&account(id, kind, limits)).status, 201);
    }
    assert_eq!(ledger.predict(&account("euro", "USER", json!({"currency": "EUR"}))).status, 201);
    expect(&mut ledger, &change("frozen", json!({"status": "FROZEN"})), None);
    expect(&mut ledger, &change("closed", json!({"status": "CLOSED"})), None);
    expect(&mut ledger, &movement("topup", "k", "bank", "thrifty", "30"), None);
    let before = ledger.balances();
    for (index, (kind, source, destination, amount, code)) in [
        ("topup", "alice", "alice", "1", "SameAccount"),
        ("topup", "nobody", "frozen", "1", "AccountNotFound"),
        ("topup", "bank", "nobody", "1", "AccountNotFound"),
        ("topup", "alice", "bob", "1", "AccountTypeNotAllowed"),
        ("topup", "bank", "till", "1", "AccountTypeNotAllowed"),
        ("withdraw", "bank", "alice", "1", "AccountTypeNotAllowed"),
        ("withdraw", "alice", "bob", "1", "AccountTypeNotAllowed"),
        ("transfer", "bank", "alice", "1", "AccountTypeNotAllowed"),
        ("transfer", "frozen", "bob", "1", "AccountFrozen"),
        ("topup", "bank", "closed", "1", "AccountClosed"),
        ("transfer", "euro", "bob", "1", "CurrencyMismatch"),
        ("transfer", "alice", "euro", "1", "CurrencyMismatch"),
        ("transfer", "alice", "bob", "100.00000001", "InsufficientBalance"),
        ("transfer", "thrifty", "bob", "10.01", "InsufficientBalance"),
        ("topup", "till", "alice", "10.01", "InsufficientBalance"),
        ("topup", "bank", "modest", "50.01", "BalanceLimitExceeded"),
        ("withdraw", "alice", "cap", "30.01", "BalanceLimitExceeded"),
        ("topup", "bank", "alice", "999999999900", "BalanceOverflow"),
    ]
    .into_iter()
    .enumerate()
    {
        let prediction =
            expect(&mut ledger, &movement(kind, &format!("k{index}"), source, destination, amount), Some(code));
        assert_eq!(prediction.status, if code == "AccountNotFound" { 404 } else { 422 });
    }
    assert_eq!(ledger.balances(), before);
}

#[test]
fn accounts_have_rules_too() {
    let mut ledger = ledger();
    expect(&mut ledger, &account("alice", "USER", json!({})), Some("AccountExists"));
    expect(&mut ledger, &account("x", "USER", json!({"minBalance": "-1"})), Some("InvalidLimits"));
    expect(&mut ledger, &account("x", "SYSTEM", json!({"minBalance": "2", "maxBalance": "1"})), Some("InvalidLimits"));
    expect(&mut ledger, &change("nobody", json!({"status": "FROZEN"})), Some("AccountNotFound"));
    expect(&mut ledger, &change("alice", json!({"status": "CLOSED"})), Some("AccountNotEmpty"));
    expect(&mut ledger, &change("bank", json!({"maxBalance": "5"})), Some("LimitsFixed"));
    expect(&mut ledger, &change("bob", json!({"status": "CLOSED"})), None);
    expect(&mut ledger, &change("bob", json!({"minBalance": "-1"})), Some("AccountClosed"));
}

#[test]
fn a_key_is_used_once() {
    let mut ledger = ledger();
    let request = movement("transfer", "k", "alice", "bob", "10");
    let first = expect(&mut ledger, &request, None);
    let again = expect(&mut ledger, &movement("transfer", "k", "alice", "bob", "10.00"), None);
    assert_eq!(again, Prediction { replayed: true, ..first });
    expect(&mut ledger, &movement("transfer", "k", "alice", "bob", "11"), Some("DuplicateKey"));
    expect(&mut ledger, &movement("transfer", "k", "alice", "alice", "11"), Some("SameAccount"));
    let refused = movement("transfer", "r", "alice", "bob", "1000");
    expect(&mut ledger, &refused, Some("InsufficientBalance"));
    expect(&mut ledger, &movement("topup", "t", "bank", "alice", "1000"), None);
    assert!(expect(&mut ledger, &refused, Some("InsufficientBalance")).replayed);
    assert_eq!(ledger.balance("bob"), Some(Money::units(10)));

    let mut forgetful = Ledger::new(false);
    for (id, kind) in [("bank", "EXTERNAL"), ("alice", "USER")] {
        forgetful.predict(&account(id, kind, json!({})));
    }
    let withdrawal = movement("withdraw", "w", "alice", "bank", "5");
    expect(&mut forgetful, &withdrawal, Some("InsufficientBalance"));
    expect(&mut forgetful, &movement("topup", "t", "bank", "alice", "5"), None);
    expect(&mut forgetful, &withdrawal, None);
}

#[test]
fn refunds_go_back() {
    let mut ledger = ledger();
    let transfer = expect(&mut ledger, &movement("transfer", "t", "alice", "bob", "30"), None);
    ledger.name(transfer.transaction.unwrap(), "L-7");
    expect(&mut ledger, &refund("r0", "L-8", None), Some("OriginalNotFound"));
    expect(&mut ledger, &refund("r1", "L-7", Some("31")), Some("RefundExceedsOriginal"));
    let first = expect(&mut ledger, &refund("r2", "L-7", Some("10")), None);
    ledger.name(first.transaction.unwrap(), "L-9");
    expect(&mut ledger, &refund("r3", "L-9", None), Some("NotRefundable"));
    let rest = expect(&mut ledger, &refund("r4", "L-7", None), None);
    assert_eq!(rest.sides.unwrap()[0].movement, Money::units(-20));
    expect(&mut ledger, &refund("r5", "L-7", None), Some("RefundExceedsOriginal"));
    assert_eq!(ledger.balance("alice"), Some(Money::units(100)));
    let failed = expect(&mut ledger, &movement("transfer", "f", "bob", "alice", "1"), Some("InsufficientBalance"));
    ledger.name(failed.transaction.unwrap(), "L-10");
    expect(&mut ledger, &refund("r6", "L-10", None), Some("NotRefundable"));
}

#[test]
fn answers_are_compared_with_predictions() {
    let mut ledger = ledger();
    let prediction = ledger.predict(&movement("transfer", "t", "alice", "bob", "30"));
    let who = ["transfer", "L-1", "t"];
    let good = result(who, 30, side("alice", -30, Some((100, 3))), side("bob", 30, Some((0, 2))));
    assert_eq!(prediction.differences(&applied(&good)), Vec::<String>::new());
    for wrong in [
        applied(&result(who, 30, side("alice", -31, Some((100, 3))), side("bob", 30, Some((0, 2))))),
        applied(&result(who, 30, side("alice", -30, Some((100, 3))), side("bob", 30, Some((1, 2))))),
        applied(&result(who, 30, side("alice", -30, None), side("bob", 30, Some((0, 2))))),
        applied(&result(who, 30, side("carol", -30, Some((100, 3))), side("bob", 30, Some((0, 2))))),
        refused(422, &failed(who, 30, "alice", "bob", "InsufficientBalance")),
        applied(&json!({})),
    ] {
        assert!(!prediction.differences(&wrong).is_empty(), "{wrong:?}");
    }
    let prediction = ledger.predict(&movement("transfer", "u", "alice", "bob", "300"));
    let good = refused(422, &failed(["transfer", "L-2", "u"], 300, "alice", "bob", "InsufficientBalance"));
    assert_eq!(prediction.differences(&good), Vec::<String>::new());
    let other = refused(422, &failed(["transfer", "L-2", "u"], 300, "alice", "bob", "AccountFrozen"));
    assert_eq!(prediction.differences(&other).len(), 1);
}
