//! Stories of results that nobody knows, of fronts that die, and of restarts.

use super::super::Facts;
use super::super::answer::Answer;
use super::super::resolve::Finding;
use super::given;
use super::story::Story;
use wire::exchange::{ExchangeBody, ExchangeRecord, Intent};
use wire::scalar::{Body, Timestamp};
use wire::words::System::{Engine, Legacy};
use wire::words::{Class, Operation};

fn story() -> Story {
    let mut story = Story::new();
    story.delivery.learnt(&"bank".into(), Some(Facts { limited: false }), Timestamp(story.now));
    story
}

fn applied(id: &str, account: &str) -> Finding {
    Finding::Decided(Class::Applied, 200, Body(given::applied(id, "bank", account, None).into_bytes()))
}

fn unknown(story: &mut Story, key: &str, intent: wire::exchange::Intent) -> u64 {
    let exchange = story.intent(key, intent);
    story.result(exchange, Class::Unknown, 0, "");
    exchange
}

/// Time goes by until an authority is asked again; how much.
fn until_asked(story: &mut Story) -> i64 {
    assert!(story.asked.is_empty(), "not at once");
    let began = story.now;
    while story.asked.is_empty() {
        assert!(story.now - began < 10_000_000, "nobody is asked");
        story.wait(100);
    }
    story.now - began
}

#[test]
fn an_unknown_blocks_the_accounts_it_names_and_no_others() {
    let mut story = story();
    let before = story.applied("k0", given::topup(Legacy, "alice"));
    let lost = unknown(&mut story, "k1", given::topup(Legacy, "alice"));
    let behind = story.applied("k2", given::withdraw(Legacy, "alice"));
    let other = story.applied("k3", given::topup(Legacy, "bob"));
    story.settle();
    assert_eq!(story.under_way(), [before, other]);
    story.ok(before);
    assert_eq!(story.under_way(), [other], "what came after the unknown waits");
    assert_eq!(story.delivery.unknown(Legacy), 1);
    story.find(applied("L-1", "alice"));
    assert_eq!(story.delivery.unknown(Legacy), 0);
    assert_eq!(story.under_way(), [other, behind], "its place is that of the resolution");
    story.ok(behind);
    assert_eq!(story.under_way(), [other, lost]);
}

#[test]
fn an_unknown_blocks_only_legs_to_the_other_system() {
    let mut story = story();
    unknown(&mut story, "k1", given::topup(Legacy, "alice"));
    let to_legacy = story.applied("k2", given::topup(Engine, "alice"));
    story.settle();
    assert_eq!(story.under_way(), [to_legacy], "the legacy's own unknown is in the legacy");
}

#[test]
fn a_result_that_is_read_late_has_the_leg_of_the_unknown_one_with_its_effect() {
    let mut story = story();
    let busy = story.applied("k0", given::topup(Legacy, "alice"));
    let lost = unknown(&mut story, "k1", given::topup(Legacy, "alice"));
    story.settle();
    assert_eq!(story.under_way(), [busy]);
    // The retry made the transaction, and a withdrawal followed: both are in the log, but not read yet.
    let retry = story.intent("k1", given::topup(Legacy, "alice"));
    story.result(retry, Class::Applied, 200, &given::applied("L-1", "bank", "alice", None));
    let behind = story.applied("k2", given::withdraw(Legacy, "alice"));
    let question = story.asked.remove(0);
    story.delivery.found(question.id, applied("L-1", "alice"), Timestamp(story.now));
    story.act();
    story.settle();
    story.ok(busy);
    assert_eq!(story.under_way(), [retry], "as if everything had been read in the log's order");
    assert!(story.written().contains(&format!("skipped {lost} repeat")));
    story.ok(retry);
    assert_eq!(story.under_way(), [behind]);
    story.ok(behind);
    assert_eq!(story.delivery.exchanges.len(), 0);
}

#[test]
fn a_leg_that_was_refused_once_is_not_given_up_for_a_result_that_is_read_late() {
    let mut story = story();
    let lost = unknown(&mut story, "k1", given::withdraw(Legacy, "alice"));
    story.settle();
    let retry = story.intent("k1", given::withdraw(Legacy, "alice"));
    story.result(retry, Class::Applied, 200, &given::applied("L-1", "alice", "bank", None));
    let question = story.asked.remove(0);
    let found = given::applied("L-1", "alice", "bank", None);
    let found = Finding::Decided(Class::Applied, 200, Body(found.into_bytes()));
    story.delivery.found(question.id, found, Timestamp(story.now));
    story.act();
    assert_eq!(story.under_way(), [lost]);
    // Refused for a reason of state, before the result of the retry is read: its first offer is in the log.
    let leg = story.sent.remove(0);
    let refusal = super::story::whole(422, &given::refused("InsufficientBalance"));
    story.delivery.answered(leg.id, leg.attempt, refusal, Timestamp(story.now));
    story.act();
    let more = story.applied("k2", given::topup(Legacy, "alice"));
    story.settle();
    assert_eq!(story.under_way(), [more]);
    assert!(story.written().contains(&format!("skipped {retry} repeat")));
    story.ok(more);
    assert_eq!(story.under_way(), [lost], "it is offered again");
    story.ok(lost);
    assert_eq!(story.delivery.exchanges.len(), 0);
}

#[test]
fn a_front_that_never_says_that_it_has_shipped_is_not_waited_for_without_end() {
    let mut story = story();
    story.delivery.front_connected(given::FRONT, 1);
    let lost = unknown(&mut story, "k1", given::withdraw(Engine, "alice"));
    story.settle();
    let found = given::applied("cf-1", "alice", "bank", Some("3:7"));
    story.find(Finding::Decided(Class::Applied, 200, Body(found.into_bytes())));
    story.wait(59_000_000);
    assert_eq!(story.under_way(), [0; 0]);
    story.wait(2_000_000);
    assert_eq!(story.under_way(), [lost]);
}

#[test]
fn what_the_engine_is_found_to_have_done_waits_for_what_it_may_have_done_before() {
    let mut story = story();
    story.delivery.front_connected(given::FRONT, 1);
    let lost = unknown(&mut story, "k1", given::withdraw(Engine, "alice"));
    story.settle();
    let found = given::applied("cf-1", "alice", "bank", Some("3:7"));
    story.find(Finding::Decided(Class::Applied, 200, Body(found.into_bytes())));
    story.wait(500_000);
    assert_eq!(story.under_way(), [0; 0], "the front may not have shipped everything from before");
    let before = story.intent("k0", given::topup(Engine, "alice"));
    story.result(before, Class::Applied, 200, &given::applied("cf-0", "bank", "alice", Some("3:6")));
    story.wait(1_000_000);
    assert_eq!(story.under_way(), [before], "the engine decided it first");
    story.ok(before);
    assert_eq!(story.under_way(), [0; 0]);
    story.heartbeat(story.now);
    story.wait(20_000);
    assert_eq!(story.under_way(), [lost]);
}

#[test]
fn absent_counts_twice_and_only_after_the_longest_request() {
    for (authority, longest) in [(Legacy, 10_000), (Engine, 5_000)] {
        let mut story = story();
        let began = story.now;
        let lost = unknown(&mut story, "k1", given::topup(authority, "alice"));
        story.settle();
        let (mut asked, mut pauses) = (0, vec![0]);
        while story.now < began + longest {
            asked += 1;
            story.find(Finding::Absent);
            pauses.push(until_asked(&mut story));
            assert_eq!(story.written(), [format!("asking {lost}")]);
        }
        assert!(asked > 3 && pauses[..4].is_sorted() && pauses[1] < pauses[3], "ever more seldom: {pauses:?}");
        story.find(Finding::Absent);
        assert_eq!(story.written().len(), 1, "once is not enough");
        until_asked(&mut story);
        story.find(Finding::Absent);
        assert_eq!(
            story.written()[1..],
            [format!("resolved {lost} not-executed"), format!("skipped {lost} not-executed")]
        );
        assert_eq!(story.delivery.exchanges.len(), 0);
    }
}

#[test]
fn an_answer_that_says_nothing_begins_the_count_anew() {
    let mut story = story();
    unknown(&mut story, "k1", given::topup(Legacy, "alice"));
    story.wait(20_000);
    for finding in [Finding::Absent, Finding::NotYet, Finding::Absent] {
        story.find(finding);
        until_asked(&mut story);
    }
    assert_eq!(story.written(), ["asking 1"]);
}

#[test]
fn what_was_refused_is_told_to_the_engine_and_not_to_a_legacy() {
    for (authority, expected) in [(Legacy, "sending 1 shadow-refused 1"), (Engine, "skipped 1 refused")] {
        let mut story = story();
        unknown(&mut story, "k1", given::withdraw(authority, "alice"));
        story.settle();
        let body = Body(given::refused("InsufficientBalance").into_bytes());
        story.find(Finding::Decided(Class::Refused, 422, body));
        assert_eq!(story.written(), ["asking 1", "resolved 1 refused", expected]);
    }
}

#[test]
fn a_retry_of_an_unknown_has_one_leg_with_it() {
    let mut story = story();
    let lost = unknown(&mut story, "k1", given::topup(Legacy, "alice"));
    let retry = story.intent("k1", given::topup(Legacy, "alice"));
    story.replayed(retry, Class::Applied, 200, &given::applied("L-1", "bank", "alice", None));
    story.settle();
    assert!(story.sent.is_empty());
    story.find(applied("L-1", "alice"));
    assert_eq!(story.under_way(), [lost]);
    assert!(story.written().contains(&format!("skipped {retry} repeat")));
}

#[test]
fn what_no_system_takes_was_not_executed_once_it_is_over() {
    let nameless = |operation| Intent { account: None, ..given::intent(operation, Legacy, &["alice"], "{}") };
    for intent in [
        Intent { key: None, ..given::topup(Legacy, "alice") },
        given::intent(Operation::CreateAccount, Legacy, &["not/an/id", "alice"], "{}"),
        given::intent(Operation::ChangeAccount, Legacy, &["not an id", "alice"], "{}"),
        given::intent(Operation::Topup, Legacy, &["not an id", "alice"], "{}"),
        nameless(Operation::CreateAccount),
    ] {
        let mut story = story();
        let lost = story.write(ExchangeBody::Intent(intent));
        story.result(lost, Class::Unknown, 0, "");
        let next = story.applied("k2", given::topup(Legacy, "alice"));
        story.settle();
        assert_eq!(story.written(), [format!("asking {lost}")], "it may still be running");
        story.wait(story.rules.legacy_longest_request_micros);
        assert!(story.written().contains(&format!("resolved {lost} not-executed")), "{:?}", story.written());
        assert_eq!((story.under_way(), story.asked.len()), (vec![next], 0), "the account goes on");
        assert_eq!(story.delivery.unknown(Legacy), 0);
    }
}

#[test]
fn an_applied_unknown_is_no_repeat_of_what_the_other_system_refused() {
    let mut story = story();
    let refused = story.intent("k1", given::withdraw(Engine, "alice"));
    story.result(refused, Class::Refused, 422, &given::refused("InsufficientBalance"));
    let lost = unknown(&mut story, "k1", given::withdraw(Legacy, "alice"));
    story.settle();
    assert!(story.written().contains(&format!("skipped {refused} refused")));
    story.find(applied("L-1", "alice"));
    assert_eq!(story.under_way(), [lost]);
}

#[test]
fn only_so_many_questions_are_asked_at_a_time() {
    let mut story = story();
    for index in 0..20 {
        unknown(&mut story, &format!("k{index}"), given::topup(Legacy, &format!("a{index}")));
    }
    story.settle();
    assert_eq!(story.asked.len(), story.rules.questions);
    story.find(Finding::NotYet);
    assert_eq!(story.asked.len(), story.rules.questions);
}

#[test]
fn the_end_of_a_boot_makes_what_was_running_unknown() {
    for ended in [true, false] {
        let mut story = story();
        let lost = story.intent("k1", given::topup(Legacy, "alice"));
        let done = story.applied("k2", given::topup(Legacy, "bob"));
        if ended {
            story.write(ExchangeBody::Ended { clean: false });
        } else {
            // The next boot's first record says as much.
            let mark = ExchangeBody::Mark { id: "m".to_owned() };
            let record = ExchangeRecord { boot: 2, ..given::record(1, Timestamp(story.now), mark) };
            story.exchanges.push((story.now + 1, record));
        }
        story.settle();
        assert_eq!(story.under_way(), [done]);
        assert_eq!(story.written(), [format!("asking {lost}"), format!("sending {done} shadow 1")]);
        assert_eq!(story.asked.len(), 1);
    }
}

#[test]
fn an_intent_whose_result_was_never_shipped_is_unknown_in_the_end() {
    let mut story = story();
    story.delivery.front_connected(given::FRONT, 1);
    let lost = story.intent("k1", given::topup(Legacy, "alice"));
    story.settle();
    story.wait(70_000_000);
    assert!(story.written().is_empty(), "the front has not shipped past it");
    story.heartbeat(story.now);
    story.wait(2_000_000);
    assert_eq!(story.written(), [format!("asking {lost}")]);
    // The result turns up after all.
    story.result(lost, Class::Applied, 200, &given::applied("L-1", "bank", "alice", None));
    story.settle();
    assert_eq!(story.under_way(), [lost]);
    story.find(applied("L-1", "alice"));
    story.ok(lost);
    assert_eq!(story.delivery.exchanges.len(), 0);
}

#[test]
fn accounts_are_asked_for_by_their_id() {
    let mut story = story();
    unknown(&mut story, "k1", given::intent(Operation::CreateAccount, Legacy, &["alice"], "{}"));
    story.settle();
    assert_eq!(story.asked[0].path, "/accounts/alice");
}

#[test]
fn a_restart_repeats_what_was_under_way_and_nothing_that_was_concluded() {
    let mut story = story();
    let done = story.applied("k1", given::topup(Legacy, "alice"));
    let under_way = story.applied("k2", given::topup(Legacy, "bob"));
    let waiting = story.applied("k3", given::topup(Legacy, "bob"));
    let lost = unknown(&mut story, "k4", given::topup(Legacy, "carol"));
    story.settle();
    story.ok(done);
    let written = story.written();
    story.restart();
    assert_eq!(story.under_way(), [under_way]);
    assert_eq!(story.asked.len(), 1);
    assert_eq!(story.written(), written, "nothing is announced twice");
    story.ok(under_way);
    story.ok(waiting);
    story.find(applied("L-4", "carol"));
    story.ok(lost);
    assert_eq!(story.delivery.exchanges.len(), 0);
    story.restart();
    assert!(story.sent.is_empty() && story.asked.is_empty());
}

#[test]
fn a_restart_remembers_refusals_and_unanswered_legs() {
    let mut story = story();
    let withdraw = story.applied("k1", given::withdraw(Legacy, "alice"));
    let slow = story.applied("k2", given::topup(Legacy, "bob"));
    story.settle();
    story.answer_with(withdraw, 422, &given::refused("InsufficientBalance"));
    story.answer(slow, Answer::Unanswered { duration_micros: 1 });
    story.restart();
    story.delivery.learnt(&"bank".into(), Some(Facts { limited: false }), Timestamp(story.now));
    assert_eq!(story.under_way(), [slow]);
    story.answer(slow, Answer::Unanswered { duration_micros: 1 });
    assert_eq!(story.results(slow).len(), 1, "it was written down before");
    let topup = story.applied("k3", given::topup(Legacy, "alice"));
    story.settle();
    assert!(story.under_way().contains(&topup), "the refused one is outside its lane");
    story.ok(topup);
    assert_eq!(story.leg(withdraw).map(|leg| leg.attempt), Some(2));
}

#[test]
fn a_restart_waits_for_fronts_before_it_forces() {
    let mut story = story();
    let withdraw = story.applied("k1", given::withdraw(Legacy, "alice"));
    story.settle();
    story.answer_with(withdraw, 422, &given::refused("InsufficientBalance"));
    story.now += 10_000_000;
    story.restart();
    story.wait(20_000);
    assert!(story.sent.is_empty(), "the front may come back with what explains it");
    story.wait(story.rules.front_grace_micros + 20_000);
    assert_eq!(story.under_way(), [withdraw]);
}

#[test]
fn an_account_that_another_request_has_made_was_not_made_by_this_one() {
    let mut story = story();
    let document = r#"{"accountId":"alice","accountType":"USER"}"#;
    let made = story.intent("k1", given::intent(Operation::CreateAccount, Legacy, &["alice"], "{}"));
    story.result(made, Class::Applied, 201, document);
    let lost = unknown(&mut story, "k2", given::intent(Operation::CreateAccount, Legacy, &["alice"], "{}"));
    story.settle();
    story.find(Finding::Decided(Class::Applied, 201, Body(document.as_bytes().to_vec())));
    assert!(story.written().contains(&format!("resolved {lost} refused")));
}
