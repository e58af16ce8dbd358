//! Stories of legs: when they go, what their answers mean, how they end.

use super::super::Facts;
use super::super::answer::Answer;
use super::super::resolve::Finding;
use super::given;
use super::story::{Story, whole};
use wire::exchange::ExchangeBody;
use wire::scalar::{Body, Timestamp};
use wire::words::System::{Engine, Legacy};
use wire::words::{Class, Mode, Operation};

const SHORT: &str = "InsufficientBalance";

/// `bank` is known to have no limits.
fn story() -> Story {
    let mut story = Story::new();
    story.delivery.learnt(&"bank".into(), Some(Facts { limited: false }), Timestamp(story.now));
    story
}

fn refuse(story: &mut Story, exchange: u64, code: &str) {
    story.answer_with(exchange, 422, &given::refused(code));
}

#[test]
fn a_leg_is_announced_sent_and_concluded() {
    let mut story = story();
    let topup = story.applied("k1", given::topup(Legacy, "alice"));
    story.settle();
    assert_eq!(story.written(), ["sending 1 shadow 1"]);
    assert_eq!(story.under_way(), [topup]);
    assert_eq!(story.cursor(), None);
    story.ok(topup);
    assert_eq!(story.written(), ["sending 1 shadow 1", "applied 1"]);
    assert_eq!(story.delivery.exchanges.len(), 0);
    assert!(story.delivery.lanes.is_empty());
    assert_eq!(story.cursor(), Some(2), "both records are behind it");
}

#[test]
fn what_follows_from_the_authoritys_class() {
    for (authority, class, status, body, expected) in [
        (Legacy, Class::Applied, 200, "{}", "sending 1 shadow 1"),
        (Legacy, Class::Refused, 422, &*given::refused(SHORT), "sending 1 shadow-refused 1"),
        (Legacy, Class::NotExecuted, 400, "{}", "skipped 1 not-executed"),
        (Engine, Class::Applied, 200, "{}", "sending 1 shadow 1"),
        (Engine, Class::Refused, 422, &*given::refused(SHORT), "skipped 1 refused"),
        (Engine, Class::NotExecuted, 0, "", "skipped 1 not-executed"),
        (Legacy, Class::Unknown, 500, "", "asking 1"),
        (Engine, Class::Unknown, 0, "", "asking 1"),
    ] {
        let mut story = story();
        let exchange = story.intent("k1", given::withdraw(authority, "alice"));
        story.result(exchange, class, status, body);
        story.settle();
        assert_eq!(story.written(), [expected], "{authority} {class}");
        assert_eq!(
            story.leg(exchange).map(|leg| leg.target),
            expected.starts_with("sending").then_some(authority.other())
        );
    }
}

#[test]
fn legs_of_one_account_go_one_by_one_in_the_order_of_results() {
    let mut story = story();
    let first = story.intent("k1", given::topup(Legacy, "alice"));
    let second = story.intent("k2", given::withdraw(Legacy, "alice"));
    let other = story.intent("k3", given::topup(Legacy, "bob"));
    story.result(second, Class::Applied, 200, &given::applied("L-2", "alice", "bank", None));
    story.result(first, Class::Applied, 200, &given::applied("L-1", "bank", "alice", None));
    story.result(other, Class::Applied, 200, &given::applied("L-3", "bank", "bob", None));
    story.settle();
    assert_eq!(story.under_way(), [second, other], "bob and the bank share nothing that excludes");
    story.ok(second);
    assert_eq!(story.under_way(), [other, first]);
}

#[test]
fn an_account_of_which_nothing_is_known_is_asked_for_and_excludes_until_then() {
    let mut story = Story::new();
    let first = story.applied("k1", given::topup(Legacy, "alice"));
    let second = story.applied("k2", given::topup(Legacy, "bob"));
    story.settle();
    assert_eq!(story.under_way(), [first]);
    assert!(story.learning.contains(&"bank".into()));
    let now = Timestamp(story.now);
    story.delivery.learnt(&"bank".into(), None, now);
    story.learning.clear();
    story.settle();
    assert!(story.learning.is_empty(), "not at once");
    story.wait(2_000_000);
    assert!(story.learning.contains(&"bank".into()));
    story.delivery.learnt(&"bank".into(), Some(Facts { limited: false }), now);
    story.settle();
    assert_eq!(story.under_way(), [first, second]);
}

#[test]
fn a_new_account_comes_before_whatever_uses_it() {
    let mut story = Story::new();
    let document = r#"{"accountId":"bank","accountType":"EXTERNAL"}"#;
    let create = story.intent("k0", given::intent(Operation::CreateAccount, Legacy, &["bank"], "{}"));
    story.result(create, Class::Applied, 201, document);
    let first = story.applied("k1", given::topup(Legacy, "alice"));
    let second = story.applied("k2", given::topup(Legacy, "bob"));
    story.settle();
    assert_eq!(story.under_way(), [create]);
    assert!(!story.learning.contains(&"bank".into()), "its own document said what it is");
    story.answer_with(create, 201, document);
    assert_eq!(story.under_way(), [first, second]);
}

#[test]
fn equal_keys_and_one_original_exclude() {
    let mut story = story();
    story.delivery.learnt(&"shop".into(), Some(Facts { limited: false }), Timestamp(1));
    let refund = |key: &str, story: &mut Story| {
        let mut intent = given::intent(Operation::Refund, Legacy, &["shop"], r#"{"transactionId":"L-9"}"#);
        intent.original = Some("L-9".to_owned());
        let exchange = story.intent(key, intent);
        story.result(exchange, Class::Applied, 200, &given::applied(&format!("L-{key}"), "bank", "shop", None));
        exchange
    };
    let first = refund("k1", &mut story);
    let second = refund("k2", &mut story);
    story.settle();
    assert_eq!(story.under_way(), [first]);
    story.ok(first);
    assert_eq!(story.under_way(), [second]);
    story.ok(second);
    // The same key with other content: a dry leg behind the executing one.
    let first = story.intent("k3", given::intent(Operation::Topup, Legacy, &["shop", "bank"], "{}"));
    let other = story.intent("k3", given::intent(Operation::Topup, Legacy, &["shop", "bank"], r#"{"amount":"7"}"#));
    story.result(first, Class::Applied, 200, &given::applied("L-11", "bank", "shop", None));
    story.result(other, Class::Refused, 422, &given::refused("DuplicateKey"));
    story.settle();
    assert!(story.under_way() == [first]);
    story.ok(first);
    assert_eq!(story.leg(other).map(|leg| leg.attempt), Some(1));
}

#[test]
fn only_so_many_legs_are_under_way_per_system() {
    let mut story = Story::with(super::super::Rules { concurrency: 2, ..given::rules() });
    story.delivery.learnt(&"bank".into(), Some(Facts { limited: false }), Timestamp(1));
    let accounts = ["a", "b", "c", "d"];
    let to_engine: Vec<u64> =
        accounts.iter().map(|account| story.applied(account, given::topup(Legacy, account))).collect();
    let to_legacy = story.applied("e", given::topup(Engine, "e"));
    story.settle();
    assert_eq!(story.under_way(), [to_engine[0], to_engine[1], to_legacy]);
    story.ok(to_engine[1]);
    assert_eq!(story.under_way(), [to_engine[0], to_legacy, to_engine[2]]);
}

#[test]
fn a_system_that_is_down_costs_nothing_but_time() {
    let mut story = story();
    let topup = story.applied("k1", given::topup(Legacy, "alice"));
    story.settle();
    for answer in [Answer::NotSent, whole(503, ""), whole(429, ""), whole(401, "")] {
        story.answer(topup, answer);
        assert!(story.sent.is_empty(), "not at once");
        let wake = story.delivery.wake_at().expect("it comes back");
        assert!(wake.0 - story.now <= story.rules.retry_max_micros);
        story.wait(wake.0 - story.now);
        assert_eq!(story.leg(topup).map(|leg| leg.attempt), Some(1), "the same offer");
    }
    assert_eq!(story.written(), ["sending 1 shadow 1"], "nothing was worth a record");
    story.ok(topup);
    assert_eq!(story.written().len(), 2);
}

#[test]
fn an_unanswered_leg_is_written_down_once_and_repeated() {
    let mut story = story();
    let topup = story.applied("k1", given::topup(Legacy, "alice"));
    story.settle();
    for answer in [Answer::Unanswered { duration_micros: 9 }, whole(500, ""), whole(202, ""), whole(404, "")] {
        story.answer(topup, answer);
        story.wait(2_000);
    }
    assert_eq!(story.written(), ["sending 1 shadow 1", "unknown 1 not-last"]);
    assert_eq!(story.results(topup)[0].duration_micros, 9);
    story.ok(topup);
    assert_eq!(story.written().last().map(String::as_str), Some("applied 1"));
}

#[test]
fn whatever_else_comes_back_ends_the_leg() {
    for (target, status, code, expected) in [
        (Engine, 422, "SameAccount", "refused 1"),
        (Engine, 400, "MalformedRequest", "not-executed 1"),
        (Legacy, 422, SHORT, "refused 1"),
        (Legacy, 404, "AccountNotFound", "refused 1"),
        (Legacy, 413, "BodyTooLarge", "not-executed 1"),
    ] {
        let mut story = story();
        let topup = story.applied("k1", given::topup(target.other(), "alice"));
        story.settle();
        story.answer_with(topup, status, &given::refused(code));
        assert_eq!(story.written().last().map(String::as_str), Some(expected), "{target} {status}");
        assert_eq!(story.delivery.exchanges.len(), 0);
    }
}

#[test]
fn an_answer_that_comes_too_late_changes_nothing() {
    let mut story = story();
    let topup = story.applied("k1", given::topup(Legacy, "alice"));
    story.settle();
    let leg = story.sent[0].clone();
    story.ok(topup);
    story.delivery.answered(leg.id, leg.attempt, whole(200, "{}"), Timestamp(story.now));
    story.delivery.answered(leg.id, leg.attempt + 1, whole(200, "{}"), Timestamp(story.now));
    story.settle();
    assert_eq!(story.written().len(), 2);
}

#[test]
fn a_refusal_for_a_reason_of_state_waits_for_what_explains_it() {
    let mut story = story();
    // The withdrawal's result came first, although the top-up came first in truth.
    let withdraw = story.applied("k1", given::withdraw(Legacy, "alice"));
    let topup = story.applied("k2", given::topup(Legacy, "alice"));
    story.settle();
    assert_eq!(story.under_way(), [withdraw]);
    refuse(&mut story, withdraw, SHORT);
    assert_eq!(story.under_way(), [topup], "it has left its lane");
    story.ok(topup);
    assert_eq!(story.leg(withdraw).map(|leg| leg.attempt), Some(2), "it is back");
    story.ok(withdraw);
    assert_eq!(
        story.written(),
        [
            "sending 1 shadow 1",
            "refused 1 not-last",
            "sending 3 shadow 1",
            "applied 3",
            "sending 1 shadow 2",
            "applied 1"
        ]
    );
}

#[test]
fn force_comes_after_every_front_has_shipped_past_the_refusal() {
    let mut story = story();
    story.delivery.front_connected(given::FRONT, 1);
    let withdraw = story.applied("k1", given::withdraw(Legacy, "alice"));
    story.settle();
    refuse(&mut story, withdraw, SHORT);
    let refused_at = story.shadows.iter().find(|(_, record)| record.at.0 > 0).map_or(0, |_| story.now);
    story.wait(1_500_000);
    assert!(story.sent.is_empty(), "the front has not said that it shipped");
    story.heartbeat(refused_at + 900_000);
    story.wait(20_000);
    assert!(story.sent.is_empty(), "not that far");
    story.heartbeat(refused_at + 1_100_000);
    story.wait(20_000);
    assert_eq!(story.leg(withdraw).map(|leg| leg.attempt), Some(2));
    assert_eq!(story.written().last().map(String::as_str), Some("sending 1 forced 2"));
    story.ok(withdraw);
    let result = *story.results(withdraw).last().expect("it has one");
    assert!(result.last && result.mode == Mode::Forced);
}

#[test]
fn force_waits_for_whatever_was_under_way_on_the_account() {
    let mut story = story();
    let open = story.intent("k1", given::topup(Legacy, "alice"));
    let withdraw = story.applied("k2", given::withdraw(Legacy, "alice"));
    story.settle();
    refuse(&mut story, withdraw, SHORT);
    story.wait(5_000_000);
    assert!(story.sent.is_empty(), "the top-up is still running at its authority");
    story.result(open, Class::Applied, 200, &given::applied("L-1", "bank", "alice", None));
    story.settle();
    assert_eq!(story.under_way(), [open]);
    story.wait(5_000_000);
    assert_eq!(story.under_way(), [open], "its leg is under way");
    story.ok(open);
    assert_eq!(story.written().last().map(String::as_str), Some("sending 2 shadow 2"));
}

#[test]
fn what_began_long_after_the_refusal_does_not_delay_force() {
    let mut story = story();
    let withdraw = story.applied("k1", given::withdraw(Legacy, "alice"));
    story.settle();
    refuse(&mut story, withdraw, SHORT);
    story.now += 1_100_000;
    let later = story.applied("k2", given::topup(Legacy, "alice"));
    let open = story.intent("k3", given::topup(Legacy, "alice"));
    story.settle();
    assert_eq!(story.written().last().map(String::as_str), Some("sending 1 forced 2"));
    story.ok(withdraw);
    assert_eq!(story.under_way(), [later]);
    assert!(story.delivery.exchanges.find(&given::number(open)).is_some());
}

#[test]
fn of_two_parked_legs_the_second_gets_another_chance_when_the_first_was_forced() {
    let mut story = story();
    let first = story.applied("k1", given::withdraw(Legacy, "alice"));
    let second = story.applied("k2", given::withdraw(Legacy, "alice"));
    story.settle();
    refuse(&mut story, first, SHORT);
    refuse(&mut story, second, SHORT);
    story.wait(2_000_000);
    assert_eq!(story.under_way(), [first]);
    story.ok(first);
    assert_eq!(story.written().last().map(String::as_str), Some("sending 3 shadow 2"));
    refuse(&mut story, second, SHORT);
    story.wait(2_000_000);
    assert_eq!(story.written().last().map(String::as_str), Some("sending 3 forced 3"));
}

#[test]
fn not_found_cannot_be_forced() {
    for code in ["AccountNotFound", "OriginalNotFound"] {
        let mut story = story();
        let withdraw = story.applied("k1", given::withdraw(Legacy, "alice"));
        story.settle();
        story.answer_with(withdraw, 404, &given::refused(code));
        story.wait(2_000_000);
        assert!(story.sent.is_empty());
        assert_eq!(story.written(), ["sending 1 shadow 1", "refused 1 not-last", "refused 1"]);
        let last = *story.results(withdraw).last().expect("it has one");
        assert_eq!((last.status, last.body.0.as_slice()), (404, given::refused(code).as_bytes()));
        assert_eq!(story.delivery.exchanges.len(), 0);
    }
}

#[test]
fn a_missing_account_is_made_before_the_leg_comes_back() {
    let mut story = story();
    let document = r#"{"accountId":"bank","accountType":"EXTERNAL"}"#;
    let topup = story.applied("k1", given::topup(Legacy, "alice"));
    let create = story.intent("k0", given::intent(Operation::CreateAccount, Legacy, &["bank"], "{}"));
    story.result(create, Class::Applied, 201, document);
    story.settle();
    story.answer_with(topup, 404, &given::refused("AccountNotFound"));
    assert_eq!(story.under_way(), [create]);
    story.answer_with(create, 201, document);
    assert_eq!(
        story.leg(topup).map(|leg| leg.attempt),
        Some(2),
        "it touches no limited account of it, but it was made"
    );
}

#[test]
fn repeats_have_no_leg() {
    let mut story = story();
    let applied = given::applied("L-1", "bank", "alice", None);
    let first = story.intent("k1", given::topup(Legacy, "alice"));
    let second = story.intent("k1", given::topup(Legacy, "alice"));
    story.replayed(second, Class::Applied, 200, &applied);
    story.settle();
    assert!(story.written().is_empty(), "which one repeats the other is open");
    story.result(first, Class::Applied, 200, &applied);
    story.settle();
    assert_eq!(story.under_way(), [first]);
    assert!(story.written().contains(&"skipped 2 repeat".to_owned()));
    story.ok(first);
    let third = story.intent("k1", given::topup(Legacy, "alice"));
    story.replayed(third, Class::Applied, 200, &applied);
    story.settle();
    assert_eq!(story.written().last(), Some(&format!("skipped {third} repeat")));
    // After the account has moved, the other system repeats the answer.
    let fourth = story.intent("k1", given::topup(Engine, "alice"));
    story.replayed(fourth, Class::Applied, 200, &applied);
    story.settle();
    assert_eq!(story.written().last(), Some(&format!("skipped {fourth} repeat")));
    // A repeat of something that was never seen has a leg.
    let fifth = story.intent("k9", given::topup(Legacy, "alice"));
    story.replayed(fifth, Class::Applied, 200, &given::applied("L-9", "bank", "alice", None));
    story.settle();
    assert_eq!(story.under_way(), [fifth]);
}

#[test]
fn a_record_goes_before_what_would_have_been_decided() {
    let mut story = story();
    let applied = given::applied("L-1", "bank", "alice", None);
    let first = story.intent("k1", given::topup(Legacy, "alice"));
    story.result(first, Class::Applied, 200, &applied);
    let second = story.intent("k1", given::topup(Legacy, "alice"));
    story.replayed(second, Class::Applied, 200, &applied);
    // An earlier relay had sent the second one.
    story.shadows.push((story.now + 1, given::shadow(story.now + 1, given::sending(second))));
    story.now += 1;
    story.restart();
    assert_eq!(story.under_way(), [second]);
    assert_eq!(story.written().last(), Some(&format!("skipped {first} repeat")), "now that one is the repeat");
    story.ok(second);
    assert_eq!(story.delivery.exchanges.len(), 0);
}

#[test]
fn a_repeat_is_said_to_be_one_only_when_the_other_is_announced() {
    let mut story = story();
    let applied = given::applied("L-1", "bank", "alice", None);
    let blocking = story.applied("k0", given::topup(Legacy, "alice"));
    let first = story.intent("k1", given::topup(Legacy, "alice"));
    story.result(first, Class::Applied, 200, &applied);
    let second = story.intent("k1", given::topup(Legacy, "alice"));
    story.replayed(second, Class::Applied, 200, &applied);
    story.settle();
    assert_eq!(story.written(), [format!("sending {blocking} shadow 1")]);
    story.ok(blocking);
    assert_eq!(story.written()[2..], [format!("sending {first} shadow 1"), format!("skipped {second} repeat")]);
}

#[test]
fn results_without_an_intent_are_nobodys() {
    let mut story = story();
    story.write(ExchangeBody::Result(given::result(77, Class::Applied, 200, "{}")));
    story.settle();
    assert!(story.written().is_empty() && story.sent.is_empty());
    assert_eq!(story.cursor(), Some(1));
}

#[test]
fn reading_stops_at_the_bound_unless_that_would_be_for_ever() {
    let mut story = Story::with(super::super::Rules { max_kept: 2, ..given::rules() });
    story.delivery.learnt(&"bank".into(), Some(Facts { limited: false }), Timestamp(1));
    let open = story.intent("k1", given::topup(Engine, "alice"));
    let waiting = story.applied("k2", given::withdraw(Engine, "alice"));
    story.settle();
    assert!(story.sent.is_empty(), "the second may depend on the first");
    assert!(!story.delivery.is_full(), "nothing is under way that could make room");
    let other = story.applied("k3", given::topup(Engine, "bob"));
    story.settle();
    assert!(story.delivery.is_full(), "bob's leg will make room");
    story.ok(other);
    assert!(!story.delivery.is_full());
    story.result(open, Class::NotExecuted, 0, "");
    story.settle();
    assert_eq!(story.under_way(), [waiting]);
}

/// A change of an account that the authority has applied, with its leg under way.
fn change(story: &mut Story) -> u64 {
    let intent = given::intent(Operation::ChangeAccount, Legacy, &["alice"], r#"{"status":"CLOSED"}"#);
    let exchange = story.intent("k1", intent);
    story.result(exchange, Class::Applied, 200, CLOSED);
    story.settle();
    assert_eq!((story.under_way(), story.looking.len()), (vec![exchange], 0), "the first time it is only sent");
    exchange
}

const CLOSED: &str = r#"{"accountId":"alice","status":"CLOSED"}"#;

#[test]
fn a_change_of_an_account_is_not_sent_again_when_it_was_made() {
    for restarts in [false, true] {
        let mut story = story();
        let exchange = change(&mut story);
        if restarts {
            story.restart();
        } else {
            story.answer(exchange, Answer::Unanswered { duration_micros: 1 });
            story.wait(story.rules.retry_max_micros);
        }
        assert!(story.sent.is_empty(), "it may have been made");
        assert_eq!((story.looking[0].1.system, &*story.looking[0].1.path), (Engine, "/accounts/alice"));
        story.look(Finding::NotYet);
        assert!(story.sent.is_empty() && story.looking.is_empty());
        story.wait(story.rules.retry_max_micros);
        story.look(Finding::Decided(Class::Applied, 200, Body(CLOSED.as_bytes().to_vec())));
        assert!(story.sent.is_empty());
        assert!(story.written().contains(&format!("applied {exchange}")));
        assert_eq!(story.delivery.exchanges.len(), 0);
    }
}

#[test]
fn a_change_of_an_account_that_was_not_made_is_sent_again() {
    let mut story = story();
    let exchange = change(&mut story);
    story.answer(exchange, Answer::Unanswered { duration_micros: 1 });
    let unanswered = story.now;
    let certain = unanswered + 10_000_000 + story.rules.engine_request_timeout_micros;
    // The request may still be on its way, or another relay's: it would undo what is decided after this one.
    let (mut absent, mut absent_when_certain) = (0, 0);
    while story.sent.is_empty() {
        story.wait(story.rules.retry_max_micros);
        if !story.looking.is_empty() {
            story.look(Finding::Absent);
            absent += 1;
            absent_when_certain += u32::from(story.now > certain);
        }
        assert!(absent < 100_000, "never sent again");
    }
    assert!(absent_when_certain > 1, "sent again after {} us", story.now - unanswered);
    assert!(story.written().contains(&format!("sending {exchange} shadow 1")), "{:?}", story.written());
    let by = story.sent[0].sent_by.expect("whoever sleeps over it announces it again");
    story.now = by.0 + 1;
    story.answer(exchange, Answer::TooLate);
    story.settle();
    assert!(story.written().contains(&format!("sending {exchange} shadow 2")), "{:?}", story.written());
    story.ok(exchange);
    assert_eq!(story.delivery.exchanges.len(), 0);
}

#[test]
fn what_another_front_wrote_before_and_shipped_late_explains_a_refusal() {
    let mut story = story();
    story.delivery.front_connected(given::FRONT, 1);
    story.delivery.front_connected("front-b", 1);
    let debit = story.applied("k1", given::withdraw(Legacy, "alice"));
    story.settle();
    refuse(&mut story, debit, SHORT);
    let refused = story.now;
    // Front b has written a credit before, and ships it seconds later; what became of it is not known yet.
    story.now += 5_000_000;
    let intent = wire::exchange::Intent { key: Some("k2".to_owned()), ..given::topup(Legacy, "alice") };
    let credit = story.write_as("front-b", ExchangeBody::Intent(intent));
    let last = story.exchanges.len() - 1;
    story.exchanges[last].1.at = Timestamp(refused - 10);
    story.heartbeat(story.now);
    story.delivery.heartbeat("front-b", Timestamp(story.now), story.exchanges.len() as u64);
    story.wait(1_000_000);
    assert_eq!(story.under_way(), [0; 0], "not forced beside its explanation");
    let body = given::applied("L-k2", "bank", "alice", None);
    story.write_as("front-b", ExchangeBody::Result(given::result(credit, Class::Applied, 200, &body)));
    story.settle();
    assert_eq!(story.under_way(), [credit]);
    story.ok(credit);
    assert!(story.written().contains(&format!("sending {debit} shadow 2")), "{:?}", story.written());
}

#[test]
fn what_is_not_found_waits_for_a_parked_leg_that_may_make_it() {
    let mut story = story();
    story.delivery.front_connected(given::FRONT, 1);
    let refund = story.applied("k1", given::withdraw(Legacy, "alice"));
    let original = story.applied("k2", given::topup(Legacy, "alice"));
    story.settle();
    refuse(&mut story, refund, "OriginalNotFound");
    story.wait(500);
    refuse(&mut story, original, "BalanceLimitExceeded");
    for _ in 0..200 {
        if story.leg(original).is_some() {
            break;
        }
        let now = story.now;
        story.heartbeat(now);
        story.wait(100_000);
        assert!(story.results(refund).iter().all(|result| !result.last), "given up beside what it refunds");
    }
    assert_eq!(story.leg(original).map(|leg| leg.attempt), Some(2), "forced");
    story.ok(original);
    assert!(story.written().contains(&format!("sending {refund} shadow 2")), "{:?}", story.written());
}
