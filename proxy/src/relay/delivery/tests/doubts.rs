//! Stories of legs that may have been executed at a legacy which does not deduplicate.

use super::super::answer::Answer;
use super::super::resolve::Finding;
use super::super::{Facts, Rules};
use super::given;
use super::story::{Story, whole};
use wire::exchange::{AuthorityResult, ExchangeBody, Intent};
use wire::scalar::{Body, Timestamp};
use wire::shadow::ShadowBody;
use wire::words::System::{Engine, Legacy};
use wire::words::{Class, Stage};

/// After which the legacy has certainly let go of a leg, and nobody sends it any more.
const CERTAIN: i64 = 10_000_000;

fn story(change: impl FnOnce(Rules) -> Rules) -> Story {
    let rules = change(Rules { legacy_deduplicates: false, ..given::rules() });
    let mut story = Story::with(rules);
    story.delivery.learnt(&"bank".into(), Some(Facts { limited: false }), Timestamp(story.now));
    story
}

fn at_the_engine(intent: Intent) -> Intent {
    Intent { stage: Stage::Engine, ..intent }
}

/// An exchange that the engine decided, with its leg under way to the legacy.
fn under_way(story: &mut Story, key: &str, account: &str) -> u64 {
    let exchange = story.applied(key, at_the_engine(given::topup(Engine, account)));
    story.settle();
    assert!(story.leg(exchange).is_some(), "{:?}", story.written());
    exchange
}

fn unanswered() -> Answer {
    Answer::Unanswered { duration_micros: 1 }
}

/// Time goes by until the legacy is asked once more.
fn until_asked(story: &mut Story) {
    for _ in 0..1_000 {
        if !story.looking.is_empty() {
            return;
        }
        story.wait(100_000);
    }
    panic!("nobody asks: {:?}", story.written());
}

fn applied() -> Finding {
    Finding::Decided(Class::Applied, 200, Body(given::applied("L-1", "bank", "alice", None).into_bytes()))
}

#[test]
fn an_unanswered_leg_is_asked_for_and_never_sent_again() {
    let mut story = story(|rules| rules);
    let exchange = under_way(&mut story, "k1", "alice");
    story.answer(exchange, unanswered());
    until_asked(&mut story);
    assert_eq!(story.looking[0].1.system, Legacy);
    assert!(story.looking[0].1.path.contains("/transactions/status/k1"), "{}", story.looking[0].1.path);
    story.look(Finding::NotYet);
    until_asked(&mut story);
    story.look(applied());
    assert!(story.sent.is_empty());
    let results = story.results(exchange);
    let told: Vec<_> = results.iter().map(|result| (result.class, result.last)).collect();
    assert_eq!(told, [(Class::Unknown, false), (Class::Applied, true)]);
    assert_eq!(story.delivery.known_transaction("L-1").and_then(|known| known.engine), None, "no id of the engine's");
}

#[test]
fn that_it_is_not_there_counts_when_nobody_can_be_sending_it_any_more_and_the_second_time() {
    let mut story = story(|rules| rules);
    let exchange = under_way(&mut story, "k1", "alice");
    let behind = story.applied("k2", at_the_engine(given::withdraw(Engine, "alice")));
    story.answer(exchange, unanswered());
    until_asked(&mut story);
    story.look(Finding::Absent);
    let first = story.now;
    let certain = first + CERTAIN + story.rules.legacy_longest_request_micros;
    while story.results(exchange).iter().all(|result| !result.last) {
        until_asked(&mut story);
        assert!(story.under_way().is_empty(), "its account waits with it");
        story.look(Finding::Absent);
    }
    assert!(story.now > certain, "{} is before {certain}", story.now);
    let last = story.results(exchange).last().map(|result| (result.class, result.last));
    assert_eq!(last, Some((Class::NotExecuted, true)));
    assert_eq!(story.under_way(), [behind], "a person settles the discrepancy; the account goes on");
}

#[test]
pub(super) fn a_relay_that_starts_asks_for_what_another_one_may_have_sent() {
    let mut story = story(|rules| rules);
    let exchange = under_way(&mut story, "k1", "alice");
    story.restart();
    assert!(story.sent.is_empty(), "it was announced, and perhaps sent");
    assert_eq!(story.looking.len(), 1);
    let unknown = story.results(exchange).last().map(|result| (result.class, result.last));
    assert_eq!(unknown, Some((Class::Unknown, false)), "it stands on the list");
    story.restart();
    assert_eq!(story.looking.len(), 1);
    assert_eq!(story.results(exchange).len(), 1, "it is said once");
    story.look(applied());
    assert_eq!(story.results(exchange).last().map(|result| result.class), Some(Class::Applied));
}

#[test]
fn what_another_relay_announces_at_the_same_time_is_not_sent_here() {
    let mut story = story(|rules| rules);
    story.beside_another = true;
    let exchange = story.applied("k1", at_the_engine(given::topup(Engine, "alice")));
    story.settle();
    assert_eq!(story.written()[0], format!("sending {exchange} shadow 1"));
    assert!(story.sent.is_empty(), "the other relay sends it");
    assert_eq!(story.looking.len(), 1, "and this one asks");
}

#[test]
fn one_that_was_to_be_sent_too_long_ago_is_announced_again_before_it_is_sent() {
    let mut story = story(|rules| rules);
    let exchange = under_way(&mut story, "k1", "alice");
    let sent_by = story.leg(exchange).and_then(|leg| leg.sent_by).expect("it has to be sent in time");
    assert!(sent_by.0 - story.now <= CERTAIN);
    story.now = sent_by.0 + 1;
    story.answer(exchange, Answer::TooLate);
    let leg = story.leg(exchange).expect("it is sent on the ground of the new record");
    assert!((leg.attempt, leg.sent_by > Some(sent_by)) == (2, true), "{leg:?}");
    assert_eq!(story.written(), [format!("sending {exchange} shadow 1"), format!("sending {exchange} shadow 2")]);
    assert!(story.looking.is_empty(), "nobody has sent it");
}

#[test]
fn what_waits_for_an_answer_takes_nobodys_place() {
    let mut story = story(|rules| Rules { concurrency: 1, ..rules });
    let exchange = under_way(&mut story, "k1", "alice");
    story.answer(exchange, unanswered());
    let other = story.applied("k2", at_the_engine(given::topup(Engine, "bob")));
    story.settle();
    assert_eq!(story.under_way(), [other]);
    story.ok(other);
    until_asked(&mut story);
    story.look(applied());
    let third = story.applied("k3", at_the_engine(given::topup(Engine, "alice")));
    let fourth = story.applied("k4", at_the_engine(given::topup(Engine, "bob")));
    story.settle();
    assert_eq!(story.under_way(), [third], "one at a time, as before: {fourth} waits");
}

#[test]
fn nothing_more_is_sent_into_an_outage() {
    let mut story = story(|rules| rules);
    let mut legs: Vec<u64> = Vec::new();
    for index in 0..100 {
        legs.push(story.applied(&format!("k{index}"), at_the_engine(given::topup(Engine, &format!("user-{index}")))));
        story.settle();
        if let Some(leg) = story.leg(legs[index]).map(|leg| leg.number.sequence) {
            story.answer(leg, whole(503, ""));
        }
    }
    let doubts = legs.iter().filter(|leg| !story.results(**leg).is_empty()).count();
    assert_eq!(doubts, super::super::doubt::MOST_UNHEARD);
    // It answers again: what is in doubt is found out, and the others go.
    for _ in 0..1_000 {
        if story.looking.is_empty() {
            story.wait(100_000);
        } else {
            story.look(applied());
        }
        while let Some(leg) = story.sent.first().map(|leg| leg.number.sequence) {
            story.ok(leg);
        }
    }
    let concluded = legs.iter().filter(|leg| story.results(**leg).iter().any(|result| result.last)).count();
    assert_eq!(concluded, 100);
}

#[test]
fn whoever_says_that_it_is_not_ready_may_have_begun() {
    let mut story = story(|rules| rules);
    let exchange = under_way(&mut story, "k1", "alice");
    story.answer(exchange, whole(503, ""));
    until_asked(&mut story);
    assert!(story.sent.is_empty());
    let mut told = story.results(exchange).into_iter().map(|result| (result.class, result.status));
    assert_eq!(told.next(), Some((Class::Unknown, 503)));
}

#[test]
fn a_leg_of_which_no_byte_was_sent_is_sent() {
    let mut story = story(|rules| rules);
    let exchange = under_way(&mut story, "k1", "alice");
    story.answer(exchange, Answer::NotSent);
    story.wait(100_000);
    assert_eq!(story.under_way(), [exchange]);
    story.answer(exchange, whole(429, ""));
    story.wait(100_000);
    assert_eq!(story.under_way(), [exchange], "turned away before anything was begun");
    assert!(story.looking.is_empty());
}

#[test]
fn what_cannot_be_asked_for_waits_for_a_person() {
    let mut story = story(|rules| rules);
    let topup = at_the_engine(given::topup(Engine, "alice"));
    let exchange = story.write(wire::exchange::ExchangeBody::Intent(Intent { key: None, ..topup }));
    story.result(exchange, Class::Applied, 200, &given::applied("t1", "bank", "alice", None));
    story.settle();
    story.answer(exchange, unanswered());
    story.wait(60_000_000);
    assert!(story.sent.is_empty() && story.looking.is_empty());
    assert!(story.shadows.iter().all(|(_, record)| !matches!(&record.body, ShadowBody::Result(result) if result.last)));
}

#[test]
fn the_engine_is_sent_everything_again() {
    let mut story = story(|rules| rules);
    let exchange = story.applied("k1", given::topup(Legacy, "alice"));
    story.settle();
    assert_eq!(story.leg(exchange).and_then(|leg| leg.sent_by), None);
    story.answer(exchange, unanswered());
    story.wait(100_000);
    assert_eq!(story.under_way(), [exchange]);
    assert!(story.looking.is_empty());
}

/// A body that means the same as that of a withdrawal, in other bytes.
fn in_other_bytes(intent: Intent) -> Intent {
    Intent { body: Body(br#"{ "amount": "10.00" }"#.to_vec()), ..intent }
}

#[test]
fn a_retry_in_other_bytes_is_sent_nothing() {
    for retry_is_read_first in [false, true] {
        let mut story = story(|rules| rules);
        let intent = at_the_engine(given::topup(Engine, "alice"));
        let body = given::applied("cf-1", "bank", "alice", Some("3:9"));
        let first = story.write(ExchangeBody::Intent(intent.clone()));
        let retry = story.write(ExchangeBody::Intent(in_other_bytes(intent)));
        let replayed = AuthorityResult { replayed: true, ..given::result(retry, Class::Applied, 200, &body) };
        let applied = given::result(first, Class::Applied, 200, &body);
        let results = if retry_is_read_first { [replayed, applied] } else { [applied, replayed] };
        for result in results {
            story.write(ExchangeBody::Result(result));
        }
        story.settle();
        assert_eq!(story.under_way(), [first]);
        story.ok(first);
        story.settle();
        assert!(story.sent.is_empty(), "the legacy would book it a second time");
        assert!(story.written().contains(&format!("skipped {retry} repeat")), "{:?}", story.written());
    }
}

/// A request that the engine has applied.
fn first_at_the_engine(story: &mut Story) -> u64 {
    let intent = Intent { key: Some("k2".to_owned()), ..at_the_engine(given::topup(Engine, "alice")) };
    let first = story.write(ExchangeBody::Intent(intent));
    let body = given::applied("cf-1", "bank", "alice", Some("3:9"));
    story.write(ExchangeBody::Result(given::result(first, Class::Applied, 200, &body)));
    first
}

/// The dial has gone down, and the client sends it again, to the legacy; with the result that it has there.
fn again_at_the_legacy(story: &mut Story, class: Class) -> u64 {
    let intent = Intent { key: Some("k2".to_owned()), ..given::topup(Legacy, "alice") };
    let again = story.write(ExchangeBody::Intent(Intent { stage: Stage::Ramp, overtaken: true, ..intent }));
    let (status, body) = match class {
        Class::Unknown => (0, String::new()),
        _ => (200, given::applied("L-7", "bank", "alice", None)),
    };
    story.write(ExchangeBody::Result(given::result(again, class, status, &body)));
    again
}

#[test]
fn what_a_client_sent_again_to_the_legacy_is_not_sent_there_once_more() {
    for class in [Class::Applied, Class::Unknown] {
        let mut story = story(|rules| rules);
        // The leg of the first one waits in the lane of its account.
        let busy = under_way(&mut story, "k1", "alice");
        let first = first_at_the_engine(&mut story);
        story.settle();
        let again = again_at_the_legacy(&mut story, class);
        story.settle();
        story.ok(busy);
        story.settle();
        if class == Class::Unknown {
            assert_eq!(story.under_way(), [0; 0], "nobody knows whether the legacy has booked it");
            while story.asked.is_empty() {
                story.wait(100_000);
            }
            let body = given::applied("L-7", "bank", "alice", None).into_bytes();
            story.find(Finding::Decided(Class::Applied, 200, Body(body)));
        }
        let to_the_legacy = story.sent.iter().filter(|leg| leg.target == Legacy).count();
        assert_eq!(to_the_legacy, 0, "the legacy would book it a second time");
        assert_eq!(story.under_way(), [again], "the engine knows the key");
        story.ok(again);
        story.settle();
        assert!(story.written().contains(&format!("skipped {first} repeat")), "{:?}", story.written());
        assert_eq!(story.delivery.exchanges.len(), 0);
    }
}

#[test]
fn a_leg_waits_for_what_its_client_has_sent_again() {
    let mut story = story(|rules| rules);
    let busy = under_way(&mut story, "k1", "alice");
    let first = first_at_the_engine(&mut story);
    story.settle();
    let again = again_at_the_legacy(&mut story, Class::Unknown);
    story.settle();
    story.ok(busy);
    while !story.written().contains(&format!("resolved {again} not-executed")) {
        if story.asked.is_empty() {
            story.wait(100_000);
        } else {
            story.find(Finding::Absent);
        }
        assert!(story.under_way().is_empty() || story.written().iter().any(|record| record.starts_with("resolved")));
    }
    story.settle();
    assert_eq!(story.under_way(), [first], "the legacy has nothing of it");
}

#[test]
fn a_leg_that_was_sent_is_asked_for_although_its_client_sent_it_again_meanwhile() {
    let mut story = story(|rules| rules);
    let first = first_at_the_engine(&mut story);
    while story.fold_one() {}
    // The relay has not read yet what stands in the log before its own announcement.
    again_at_the_legacy(&mut story, Class::Applied);
    story.act();
    assert_eq!(story.under_way(), [first]);
    story.restart();
    assert_eq!(story.looking.len(), 1, "it may have been booked: {:?}", story.written());
    assert!(!story.written().contains(&format!("skipped {first} repeat")), "{:?}", story.written());
}

#[test]
fn a_leg_that_is_taken_back_while_it_is_announced_is_not_sent() {
    let mut story = story(|rules| rules);
    let first = first_at_the_engine(&mut story);
    while story.fold_one() {}
    let announced = story.delivery.poll(Timestamp(story.now));
    let again = again_at_the_legacy(&mut story, Class::Applied);
    while story.fold_one() {}
    for action in announced {
        story.execute(action);
    }
    story.settle();
    assert_eq!(story.under_way(), [again], "{:?}", story.written());
    story.ok(again);
    story.settle();
    assert!(story.written().contains(&format!("skipped {first} repeat")), "{:?}", story.written());
    assert_eq!(story.delivery.exchanges.len(), 0);
}
