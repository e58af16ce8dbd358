//! Stories of two fronts, whose records arrive in another order than the engine decided in.

use super::super::Facts;
use super::given;
use super::story::Story;
use wire::exchange::{ExchangeBody, Intent};
use wire::scalar::Timestamp;
use wire::words::System::Engine;
use wire::words::{Class, Operation, Stage};

const OTHER: &str = "front-b";

fn story() -> Story {
    let mut story = Story::new();
    story.delivery.learnt(&"bank".into(), Some(Facts { limited: false }), Timestamp(story.now));
    story.delivery.front_connected(given::FRONT, 1);
    story.delivery.front_connected(OTHER, 1);
    story
}

fn at_the_engine(key: &str, intent: Intent) -> ExchangeBody {
    ExchangeBody::Intent(Intent { key: Some(key.to_owned()), stage: Stage::Engine, ..intent })
}

/// The body of what the engine applied on alice: her version, her level before and after.
fn levels(id: &str, version: u64, before: u32, after: u32) -> String {
    let (user, bank) = (
        format!(r#"{{"accountId":"alice","balanceBefore":"{before}","balanceAfter":"{after}","version":{version}}}"#),
        r#"{"accountId":"bank"}"#,
    );
    let (source, destination) = if after > before { (bank, user.as_str()) } else { (user.as_str(), bank) };
    format!(
        r#"{{"transactionId":"{id}","status":"completed","source":{source},"destination":{destination},
           "position":["3:{version}"]}}"#
    )
}

fn result(intent: u64, body: &str) -> ExchangeBody {
    ExchangeBody::Result(given::result(intent, Class::Applied, 200, body))
}

/// Alice has 10 from the front's own first exchange, delivered.
fn with_ten() -> Story {
    let mut story = story();
    let first = story.write(at_the_engine("k1", given::topup(Engine, "alice")));
    story.write(result(first, &levels("t1", 2, 0, 10)));
    story.settle();
    // Nothing is known of what was before the first one: every front has to have shipped past it.
    assert!(story.sent.is_empty());
    let until = story.now + 2 * story.rules.reoffer_micros;
    story.now = until;
    story.heartbeat(until);
    story.delivery.heartbeat(OTHER, Timestamp(until), story.exchanges.len() as u64);
    story.wait(100_000);
    story.ok(first);
    story
}

#[test]
fn a_debit_waits_for_the_credit_that_another_front_has_not_shipped_yet() {
    let mut story = with_ten();
    // Front b passed on a credit of 5, then this front a debit of 12, whose records arrive first.
    let debit = story.write(at_the_engine("k2", given::withdraw(Engine, "alice")));
    story.write(result(debit, &levels("t3", 4, 15, 3)));
    story.settle();
    assert!(story.sent.is_empty(), "15 is not what the first exchange left behind");
    story.restart();
    story.delivery.front_connected(given::FRONT, 1);
    story.delivery.front_connected(OTHER, 1);
    story.act();
    assert!(story.sent.is_empty(), "a relay that starts knows no better");
    let credit = story.write_as(OTHER, at_the_engine("k3", given::topup(Engine, "alice")));
    story.write_as(OTHER, result(credit, &levels("t2", 3, 10, 15)));
    story.wait(100_000);
    assert_eq!(story.sent.len(), 1);
    assert_eq!(story.sent[0].number.front, OTHER, "the credit first");
    story.ok(credit);
    assert_eq!(story.under_way(), [debit]);
}

#[test]
fn what_follows_on_a_known_level_goes_at_once() {
    let mut story = with_ten();
    let debit = story.write(at_the_engine("k2", given::withdraw(Engine, "alice")));
    story.write(result(debit, &levels("t3", 3, 10, 3)));
    story.settle();
    assert_eq!(story.under_way(), [debit]);
}

#[test]
fn however_many_wait_behind_it_what_was_complete_stays_so() {
    let mut story = with_ten();
    let first = story.write(at_the_engine("k-0", given::topup(Engine, "alice")));
    story.write(result(first, &levels("t-0", 3, 10, 11)));
    for index in 1..40 {
        let next = story.write(at_the_engine(&format!("k-{index}"), given::topup(Engine, "alice")));
        story.write(result(next, &levels(&format!("t-{index}"), 3 + u64::from(index), 10 + index, 11 + index)));
    }
    story.settle();
    for index in 0..40 {
        assert_eq!(story.sent.len(), 1, "after {index}");
        let next = story.sent[0].number.sequence;
        story.ok(next);
    }
}

#[test]
fn what_is_missing_for_ever_is_waited_for_until_every_front_has_shipped_past_it() {
    let mut story = with_ten();
    let debit = story.write(at_the_engine("k2", given::withdraw(Engine, "alice")));
    story.write(result(debit, &levels("t3", 4, 15, 3)));
    story.settle();
    let until = story.now + story.rules.reoffer_micros;
    story.now = until + 100_000;
    story.heartbeat(until + 100_000);
    story.act();
    assert!(story.sent.is_empty(), "the other front has not said that it shipped past it");
    story.delivery.heartbeat(OTHER, Timestamp(until + 100_000), story.exchanges.len() as u64);
    story.wait(20_000);
    assert_eq!(story.under_way(), [debit], "something bypassed the fronts: the legacy will say so");
}

#[test]
fn an_account_is_closed_after_what_emptied_it() {
    let mut story = with_ten();
    let intent = given::intent(Operation::ChangeAccount, Engine, &["alice"], r#"{"status":"CLOSED"}"#);
    let close = story.write(at_the_engine("k2", intent));
    story.write(result(close, r#"{"accountId":"alice","accountType":"USER","version":4,"balance":"0"}"#));
    story.settle();
    assert!(story.sent.is_empty(), "the legacy knows of 10 on it");
    let debit = story.write_as(OTHER, at_the_engine("k3", given::withdraw(Engine, "alice")));
    story.write_as(OTHER, result(debit, &levels("t2", 3, 10, 0)));
    story.wait(100_000);
    assert_eq!(story.sent.iter().map(|leg| leg.number.front.as_str()).collect::<Vec<_>>(), [OTHER]);
    story.ok(debit);
    assert_eq!(story.under_way(), [close]);
}

#[test]
fn a_bank_is_changed_whatever_its_balance_was() {
    let mut story = with_ten();
    let intent = given::intent(Operation::ChangeAccount, Engine, &["bank"], r#"{"status":"FROZEN"}"#);
    let bank = |version, balance| {
        format!(r#"{{"accountId":"bank","accountType":"EXTERNAL","version":{version},"balance":"{balance}"}}"#)
    };
    for (key, version, balance) in [("k2", 2, "-10"), ("k3", 7, "-90")] {
        let change = story.write(at_the_engine(key, intent.clone()));
        story.write(result(change, &bank(version, balance)));
        story.settle();
        assert_eq!(story.under_way(), [change], "its balance has no order");
        story.ok(change);
    }
}

#[test]
fn a_single_front_writes_everything_in_order() {
    let mut story = Story::new();
    story.delivery.front_connected(given::FRONT, 1);
    let debit = story.write(at_the_engine("k2", given::withdraw(Engine, "alice")));
    story.write(result(debit, &levels("t3", 4, 15, 3)));
    story.settle();
    assert_eq!(story.under_way(), [debit]);
}

#[test]
pub(super) fn a_refund_waits_for_the_legacys_id_of_what_it_refunds() {
    const ORIGINAL: &str = "cf00aabb-1234-8abc-8def-0123456789ab";
    let mut story = with_ten();
    // Its answer shows no level, so that tells nothing.
    let refund = Intent { original: Some(ORIGINAL.to_owned()), ..given::withdraw(Engine, "alice") };
    let body = scalar_body(&format!(r#"{{"transactionId":"{ORIGINAL}"}}"#));
    let refund = story.write(at_the_engine("k2", Intent { body, ..refund }));
    let made = "cf00aabb-1234-8abc-8def-0123456789ac";
    story.write(result(refund, &given::applied(made, "alice", "bank", Some("3:9"))));
    story.settle();
    assert!(story.sent.is_empty(), "the legacy would not find it");
    let original = story.write_as(OTHER, at_the_engine("k3", given::topup(Engine, "alice")));
    story.write_as(OTHER, result(original, &levels(ORIGINAL, 3, 10, 15)));
    story.wait(100_000);
    assert_eq!(story.sent.iter().map(|leg| leg.number.front.as_str()).collect::<Vec<_>>(), [OTHER]);
    story.answer_with(original, 200, r#"{"transactionId":"L-7"}"#);
    story.wait(100_000);
    let leg = story.leg(refund).expect("it is known by now");
    assert_eq!(String::from_utf8_lossy(&leg.body), r#"{"transactionId":"L-7"}"#);
}

fn scalar_body(text: &str) -> wire::scalar::Body {
    wire::scalar::Body(text.as_bytes().to_vec())
}
