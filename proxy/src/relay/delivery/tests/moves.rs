//! Stories of the dial, of what the engine decided, and of ids.

use super::super::Facts;
use super::given;
use super::story::Story;
use wire::chain::genesis;
use wire::control::Alias;
use wire::exchange::{ExchangeBody, Intent};
use wire::rollout::{FrontBoot, RolloutBody, Setting};
use wire::scalar::Timestamp;
use wire::stored::encode;
use wire::words::System::{self, Engine, Legacy};
use wire::words::{Class, Operation, Stage};

const ENGINE_ID: &str = "cf00aabb-1234-8abc-8def-0123456789ab";

fn story() -> Story {
    let mut story = Story::new();
    story.delivery.learnt(&"bank".into(), Some(Facts { limited: false }), Timestamp(story.now));
    story
}

fn front() -> FrontBoot {
    FrontBoot { front: given::FRONT.to_owned(), boot: 1 }
}

fn prepare(version: u64, percent: u16) -> RolloutBody {
    let to = given::setting("ramp", percent);
    RolloutBody::Prepare { version, to, forced: false, evidence: Vec::new(), fronts: vec![front()] }
}

fn prepared(version: u64, mark: u64, unknown: &[&str]) -> RolloutBody {
    let unknown_accounts = unknown.iter().map(|account| (*account).to_owned()).collect();
    RolloutBody::Prepared { version, front: front(), mark, unknown_accounts }
}

fn pin(version: u64, account: &str, system: Option<System>) -> RolloutBody {
    RolloutBody::Pin { version, account: account.to_owned(), system }
}

fn same(version: u64, setting: Setting) -> RolloutBody {
    RolloutBody::Prepare { version, to: setting, forced: false, evidence: Vec::new(), fronts: vec![front()] }
}

/// A record of the front that is nobody's exchange; its number.
fn written_mark(story: &mut Story) -> u64 {
    story.write(ExchangeBody::Mark { id: "m".to_owned() })
}

/// Writes what the relay wants to have written; whether it was accepted is seen in the fold.
fn write_drained(story: &mut Story) {
    let record = story.drained.remove(0);
    let offset = story.rollout.len() as u64;
    let RolloutBody::Drained { version } = record.body else { panic!("not drained") };
    story.append_change(encode(&record));
    story.delivery.drained_written(version, Some(offset), Timestamp(story.now));
    story.settle();
}

#[test]
fn capture_holds_legs_to_the_engine() {
    let mut story = story();
    story.change(given::moved(2, "capture", 0));
    let mut held = given::topup(Legacy, "alice");
    held.stage = Stage::Capture;
    let to_engine = story.applied("k1", held);
    let to_legacy = story.applied("k2", given::topup(Engine, "bob"));
    let skipped = story.intent("k3", given::topup(Legacy, "carol"));
    story.result(skipped, Class::NotExecuted, 400, "");
    story.settle();
    assert_eq!(story.under_way(), [to_legacy]);
    assert!(story.written().contains(&format!("skipped {skipped} not-executed")), "that needs no engine");
    story.restart();
    assert!(!story.under_way().contains(&to_engine));
    story.change(given::moved(3, "shadow", 0));
    story.settle();
    assert!(story.under_way().contains(&to_engine));
}

#[test]
fn a_fresh_ledger_is_in_capture() {
    let mut story = Story::new();
    story.rollout.clear();
    story.restart();
    story.applied("k1", given::topup(Legacy, "alice"));
    story.settle();
    assert!(story.sent.is_empty());
}

#[test]
fn what_the_engine_decided_waits_for_whatever_it_may_have_decided_before() {
    let mut story = story();
    let credit = story.intent("k1", given::topup(Engine, "alice"));
    let debit = story.intent("k2", given::withdraw(Engine, "alice"));
    story.result(debit, Class::Applied, 200, &given::applied("t2", "alice", "bank", Some("3:8")));
    let later = story.applied("k3", given::topup(Engine, "bob"));
    story.settle();
    assert_eq!(story.under_way(), [later], "bob has nothing to do with it");
    story.result(credit, Class::Applied, 200, &given::applied("t1", "bank", "alice", Some("3:7")));
    story.settle();
    assert_eq!(story.under_way(), [later, credit], "the engine decided it first");
    story.ok(credit);
    assert_eq!(story.under_way(), [later, debit]);
}

#[test]
fn what_began_later_is_not_waited_for() {
    let mut story = story();
    let first = story.applied("k1", given::topup(Engine, "alice"));
    story.intent("k2", given::topup(Engine, "alice"));
    story.settle();
    assert_eq!(story.under_way(), [first]);
}

#[test]
fn an_unknown_of_the_engine_takes_its_place_in_the_engines_order() {
    let mut story = story();
    let credit = story.intent("k1", given::topup(Engine, "alice"));
    let debit = story.applied("k2", given::withdraw(Engine, "alice"));
    story.result(credit, Class::Unknown, 0, "");
    story.settle();
    assert!(story.sent.is_empty());
    let body = given::applied("t1", "bank", "alice", Some("3:7")).into_bytes();
    let found = super::super::resolve::Finding::Decided(Class::Applied, 200, wire::scalar::Body(body));
    story.find(found);
    // The debit's answer said no position, so the log's order has to do: it was first.
    assert_eq!(story.under_way(), [debit]);
}

#[test]
fn a_move_up_is_drained_when_everything_up_to_the_marks_is_delivered() {
    let mut story = story();
    let topup = story.applied("k1", given::topup(Legacy, "alice"));
    story.settle();
    story.change(prepare(2, 100));
    story.settle();
    assert!(story.drained.is_empty(), "no front has answered");
    let second = story.applied("k2", given::topup(Legacy, "bob"));
    // Its intent and its result.
    let mark = second + 1;
    story.change(prepared(2, mark, &[]));
    story.act();
    assert!(story.drained.is_empty(), "not folded up to the mark");
    story.settle();
    story.ok(topup);
    assert!(story.drained.is_empty(), "one is under way");
    story.ok(second);
    assert_eq!(story.drained.len(), 1);
    write_drained(&mut story);
    assert!(story.delivery.rollout.pending.as_ref().is_some_and(|pending| pending.drained));
    assert!(story.drained.is_empty(), "once");
    story.change(RolloutBody::Commit { version: 2, held_back: Vec::new() });
    story.settle();
    assert!(story.drained.is_empty());
}

#[test]
pub(super) fn a_move_up_waits_for_the_mark_of_every_front() {
    let mut story = story();
    let other = FrontBoot { front: "front-b".to_owned(), boot: 1 };
    let topup = story.applied("k1", given::topup(Legacy, "alice"));
    story.settle();
    story.ok(topup);
    let RolloutBody::Prepare { version, to, forced, evidence, .. } = prepare(2, 100) else { panic!("it is one") };
    story.change(RolloutBody::Prepare { version, to, forced, evidence, fronts: vec![front(), other.clone()] });
    story.change(prepared(2, topup + 1, &[]));
    story.settle();
    assert!(story.drained.is_empty(), "the other front has said nothing");
    story.change(RolloutBody::Prepared { version: 2, front: other, mark: 2, unknown_accounts: Vec::new() });
    story.settle();
    assert!(story.drained.is_empty(), "nothing of it is here");
    let intent = given::topup(Legacy, "bob");
    let late = story.write_as("front-b", ExchangeBody::Intent(Intent { key: Some("k2".to_owned()), ..intent }));
    let body = given::applied("L-k2", "bank", "bob", None);
    story.write_as("front-b", ExchangeBody::Result(given::result(late, Class::Applied, 200, &body)));
    story.settle();
    assert!(story.drained.is_empty(), "what it had decided is not delivered");
    story.ok(late);
    assert_eq!(story.drained.len(), 1);
}

#[test]
fn accounts_that_do_not_move_and_accounts_left_behind_are_not_waited_for() {
    let mut story = story();
    let stays = story.applied("k1", given::topup(Legacy, "alice"));
    let unknown = story.intent("k2", given::topup(Legacy, "bob"));
    story.result(unknown, Class::Unknown, 0, "");
    story.settle();
    story.change(pin(2, "alice", Some(Legacy)));
    story.change(prepare(3, 100));
    story.change(prepared(3, unknown + 1, &[]));
    story.settle();
    assert!(story.drained.is_empty(), "bob moves");
    story.change(RolloutBody::Abort { version: 3, late: vec!["relay".into()] });
    story.change(prepare(4, 100));
    story.change(prepared(4, unknown + 1, &["bob"]));
    story.settle();
    assert_eq!(story.drained.len(), 1, "bob stays behind");
    assert_eq!(story.under_way(), [stays]);
}

#[test]
fn a_lost_race_is_run_again_and_an_aborted_move_is_not() {
    let mut story = story();
    let mark = written_mark(&mut story);
    story.change(prepare(2, 100));
    story.change(prepared(2, mark, &[]));
    story.settle();
    assert_eq!(story.drained.len(), 1);
    // Somebody else extends the chain first.
    story.change(RolloutBody::Freeze);
    write_drained(&mut story);
    assert!(!story.delivery.rollout.pending.as_ref().is_some_and(|pending| pending.drained));
    assert_eq!(story.drained.len(), 1, "with the new head");
    write_drained(&mut story);
    assert!(story.delivery.rollout.pending.as_ref().is_some_and(|pending| pending.drained));
    // A failed append.
    story.change(RolloutBody::Abort { version: 2, late: Vec::new() });
    story.change(prepare(3, 100));
    story.change(prepared(3, mark, &[]));
    story.settle();
    story.drained.clear();
    story.delivery.drained_written(3, None, Timestamp(story.now));
    story.wait(100_000);
    assert_eq!(story.drained.len(), 1);
    story.drained.clear();
    story.delivery.drained_written(3, None, Timestamp(story.now));
    story.change(RolloutBody::Abort { version: 3, late: Vec::new() });
    story.wait(100_000);
    assert!(story.drained.is_empty());
}

/// A dial at 100 %, and an exchange that the engine has decided there, with its leg under way.
fn decided_by_the_engine() -> (Story, u64) {
    let mut story = story();
    story.change(given::moved(2, "ramp", 100));
    let mark = written_mark(&mut story);
    story.change(prepared(2, mark, &[]));
    story.settle();
    write_drained(&mut story);
    let before = story.applied("k1", Intent { version: 2, ..given::topup(Engine, "alice") });
    story.settle();
    (story, before)
}

#[test]
fn a_move_down_is_drained_when_what_the_engine_decided_before_is_delivered() {
    let (mut story, before) = decided_by_the_engine();
    story.delivery.front_connected(given::FRONT, 1);
    story.change(given::moved(3, "shadow", 0));
    let after = story.applied("k2", Intent { version: 3, ..given::topup(Legacy, "alice") });
    story.settle();
    assert_eq!(story.under_way(), [before, after]);
    story.ok(before);
    story.heartbeat(story.now + 1);
    story.settle();
    assert!(story.drained.is_empty(), "the front may have more");
    story.change(prepared(3, after + 1, &[]));
    story.settle();
    assert_eq!(story.drained.len(), 1, "what was decided after the move does not count");
    write_drained(&mut story);
    assert!(story.drained.is_empty());
}

#[test]
fn a_move_down_waits_for_what_fronts_begin_before_they_hear_of_it() {
    for restarts in [false, true] {
        let (mut story, before) = decided_by_the_engine();
        story.delivery.front_connected(given::FRONT, 1);
        story.change(given::moved(3, "shadow", 0));
        story.ok(before);
        story.heartbeat(story.now + 1_000);
        if restarts {
            // Nobody has connected to the new relay yet.
            story.restart();
        }
        story.settle();
        assert!(story.drained.is_empty(), "the front has not heard of the move");
        let late = story.applied("k2", Intent { version: 2, ..given::topup(Engine, "alice") });
        story.settle();
        story.change(prepared(3, late + 1, &[]));
        story.settle();
        assert!(story.drained.is_empty(), "its leg is under way");
        story.ok(late);
        if restarts {
            assert!(story.drained.is_empty(), "a front of which nothing is in the log may be about to connect");
            story.wait(3_000_000);
        }
        assert_eq!(story.drained.len(), 1);
        if restarts {
            story.restart();
            story.wait(3_000_000);
            assert_eq!(story.drained.len(), 1, "the mark is in the log");
        }
    }
}

#[test]
fn a_front_that_has_ended_and_runs_again_keeps_a_move_down_from_being_drained() {
    let (mut story, before) = decided_by_the_engine();
    story.delivery.front_connected(given::FRONT, 1);
    story.write(ExchangeBody::Ended { clean: true });
    story.ok(before);
    story.delivery.front_connected(given::FRONT, 2);
    story.delivery.front_lost(given::FRONT, Timestamp(story.now));
    story.change(given::moved(3, "shadow", 0));
    story.wait(1_000_000);
    assert!(story.drained.is_empty(), "its next boot may be serving, although nothing of it was read");
}

#[test]
fn a_front_that_is_out_of_reach_keeps_a_move_down_from_being_drained() {
    let (mut story, before) = decided_by_the_engine();
    story.delivery.front_connected(given::FRONT, 1);
    story.ok(before);
    story.delivery.front_lost(given::FRONT, Timestamp(story.now));
    story.change(given::moved(3, "shadow", 0));
    story.wait(story.rules.front_grace_micros * 10);
    assert!(story.drained.is_empty(), "it may be serving");
    story.write(ExchangeBody::Ended { clean: true });
    story.settle();
    assert_eq!(story.drained.len(), 1, "it has ended");
}

#[test]
fn a_move_that_another_one_follows_is_drained_too() {
    let (mut story, before) = decided_by_the_engine();
    story.change(given::moved(3, "ramp", 50));
    story.change(given::moved(4, "shadow", 0));
    let mark = written_mark(&mut story);
    // The front has heard of both before it could tell the first.
    story.change(prepared(4, mark, &[]));
    story.settle();
    assert!(story.drained.len() < 2, "alice is one of those that move");
    story.ok(before);
    let mut drained = Vec::new();
    while let Some(record) = story.drained.first() {
        let RolloutBody::Drained { version } = record.body else { panic!("not drained") };
        drained.push(version);
        write_drained(&mut story);
    }
    drained.sort_unstable();
    assert_eq!(drained, [3, 4]);
    story.restart();
    assert!(story.drained.is_empty(), "both are answered");
}

#[test]
fn a_move_that_takes_nobody_along_is_not_answered() {
    let mut story = story();
    story.change(given::moved(2, "capture", 0));
    story.change(given::moved(3, "shadow", 0));
    story.settle();
    assert!(story.drained.is_empty());
}

#[test]
fn a_pin_is_drained_when_its_account_is_delivered_and_nobody_waits_for_others() {
    for (authority, system) in [(Legacy, Engine), (Engine, Legacy)] {
        let mut story = story();
        if authority == Engine {
            // It was pinned to the engine before, and taken along.
            story.change(pin(2, "alice", Some(Engine)));
            story.change(same(3, given::setting("shadow", 0)));
            story.change(RolloutBody::Commit { version: 3, held_back: Vec::new() });
        }
        let version = story.delivery.rollout.version;
        let pinned = story.applied("k1", Intent { version, ..given::topup(authority, "alice") });
        let other = story.applied("k2", Intent { version, ..given::topup(Legacy, "bob") });
        story.settle();
        story.change(pin(version + 1, "alice", Some(system)));
        assert_eq!(story.delivery.rollout.authority("alice"), authority, "it is where it was");
        // Decided by the old authority, which it still is.
        let late = story.applied("k3", Intent { version: version + 1, ..given::topup(authority, "alice") });
        story.change(same(version + 2, given::setting("shadow", 0)));
        story.change(prepared(version + 2, late + 1, &[]));
        story.settle();
        story.ok(pinned);
        assert!(story.drained.is_empty(), "one more leg of the account");
        story.ok(late);
        assert_eq!(story.drained.len(), 1, "the other account stays where it is");
        assert!(story.under_way().contains(&other));
        write_drained(&mut story);
        story.change(RolloutBody::Commit { version: version + 2, held_back: Vec::new() });
        assert_eq!(story.delivery.rollout.authority("alice"), system);
    }
}

#[test]
fn a_pin_calls_off_what_was_prepared_without_it() {
    let mut story = story();
    let mark = written_mark(&mut story);
    story.change(prepare(2, 100));
    story.change(prepared(2, mark, &[]));
    story.change(pin(3, "alice", Some(Legacy)));
    story.settle();
    assert!(story.drained.is_empty(), "nobody waits for it");
}

#[test]
fn down_to_capture_is_drained_when_pinned_accounts_are() {
    let mut story = story();
    story.change(pin(2, "alice", Some(Engine)));
    story.change(same(3, given::setting("shadow", 0)));
    story.change(RolloutBody::Commit { version: 3, held_back: Vec::new() });
    let pinned = story.applied("k1", Intent { version: 3, ..given::topup(Engine, "alice") });
    story.settle();
    story.change(given::moved(4, "capture", 0));
    story.change(prepared(4, pinned + 1, &[]));
    story.settle();
    assert!(story.drained.is_empty(), "its leg is under way");
    story.ok(pinned);
    assert_eq!(story.drained.len(), 1);
    write_drained(&mut story);
    // Up again nobody moves before a handover.
    story.change(given::moved(5, "shadow", 0));
    story.settle();
    assert!(story.drained.is_empty());
    assert_eq!(story.delivery.rollout.authority("alice"), Legacy);
}

#[test]
fn an_override_of_a_front_is_nothing_to_deliver() {
    let mut story = story();
    let (reason, since) = ("the engine burns".to_owned(), Timestamp(0));
    story.write(ExchangeBody::Override { on: true, reason, since });
    let topup = story.applied("k1", given::topup(Legacy, "alice"));
    story.settle();
    assert_eq!(story.under_way(), [topup], "the numbers go on");
    story.ok(topup);
    story.settle();
    assert_eq!(story.cursor(), Some(3));
}

#[test]
fn drained_extends_the_chain() {
    let mut story = Story::new();
    story.rollout.clear();
    story.restart();
    let mark = written_mark(&mut story);
    story.change(prepare(1, 100));
    story.change(prepared(1, mark, &[]));
    story.settle();
    let record = story.drained[0].clone();
    assert_ne!(record.parent, genesis(super::story::LEDGER, wire::rollout::TOPIC));
    assert_eq!(record.parent, wire::scalar::Digest::of(story.rollout.last().expect("there are two")));
    assert_eq!(record.actor, "relay");
}

#[test]
fn ids_are_learnt_from_both_answers_and_told_to_the_engine_when_it_decided() {
    for authority in [Legacy, Engine] {
        let mut story = story();
        let (own, other) = if authority == Legacy { ("L-1", ENGINE_ID) } else { (ENGINE_ID, "L-1") };
        let exchange = story.intent("k1", given::topup(authority, "alice"));
        story.result(exchange, Class::Applied, 200, &given::applied(own, "bank", "alice", None));
        story.settle();
        let known = story.delivery.known_transaction(own).expect("it was made");
        assert_eq!((known.engine.is_some(), known.legacy.is_some()), (authority == Engine, authority == Legacy));
        story.answer_with(exchange, 200, &given::applied(other, "bank", "alice", None));
        let known = story.delivery.known_transaction(other).expect("it has two ids");
        assert_eq!((known.engine.as_deref(), known.legacy.as_deref()), (Some(ENGINE_ID), Some("L-1")));
        assert_eq!((known.source.as_str(), known.destination.as_str()), ("bank", "alice"));
        let alias = Alias { engine: ENGINE_ID.to_owned(), legacy: "L-1".to_owned() };
        match authority {
            Legacy => assert!(story.posted.is_empty(), "it went along with the leg"),
            Engine => assert_eq!(story.posted, [alias]),
        }
    }
}

#[test]
fn what_the_shadow_has_refused_is_no_transaction_of_both() {
    let mut story = story();
    let exchange = story.intent("k1", given::withdraw(Engine, "alice"));
    story.result(exchange, Class::Applied, 200, &given::applied(ENGINE_ID, "alice", "bank", None));
    story.settle();
    // The legacy has made a transaction of it, which failed: nothing can be refunded by its id.
    story.answer_with(exchange, 422, &given::failed_result("L-1", "alice", "bank", "InsufficientBalance"));
    let known = story.delivery.known_transaction(ENGINE_ID).expect("it was made");
    assert_eq!((known.engine.as_deref(), known.legacy), (Some(ENGINE_ID), None));
    assert!(story.posted.is_empty());
}

#[test]
fn aliases_are_told_until_they_are_taken_and_the_cursor_waits_for_that() {
    let mut story = story();
    let exchange = story.intent("k1", given::topup(Engine, "alice"));
    story.result(exchange, Class::Applied, 200, &given::applied(ENGINE_ID, "bank", "alice", None));
    story.settle();
    story.answer_with(exchange, 200, &given::applied("L-1", "bank", "alice", None));
    assert_eq!((story.posted.len(), story.cursor()), (1, None));
    story.delivery.posted(false, Timestamp(story.now));
    story.settle();
    assert_eq!(story.posted.len(), 1, "not at once");
    story.wait(1_000_000);
    assert_eq!(story.posted.len(), 2);
    story.restart();
    assert_eq!(story.posted.len(), 1, "a new relay tells them again");
    story.delivery.posted(true, Timestamp(story.now));
    story.wait(1_000_000);
    assert_eq!((story.posted.len(), story.cursor()), (1, Some(2)));
    story.restart();
    assert!(story.posted.is_empty(), "they were taken");
}

#[test]
fn a_refund_waits_for_its_original_and_names_it_as_the_target_does() {
    let mut story = story();
    let original = story.intent("k1", given::topup(Engine, "alice"));
    story.result(original, Class::Applied, 200, &given::applied(ENGINE_ID, "bank", "alice", None));
    let body = format!(r#"{{"transactionId":"{ENGINE_ID}"}}"#);
    let mut intent = given::intent(Operation::Refund, Engine, &["alice"], &body);
    intent.original = Some(ENGINE_ID.to_owned());
    let refund = story.applied("k2", intent);
    story.settle();
    assert_eq!(story.under_way(), [original]);
    story.answer_with(original, 200, &given::applied("L-1", "bank", "alice", None));
    let leg = story.leg(refund).expect("it is its turn");
    assert_eq!(leg.body, br#"{"transactionId":"L-1"}"#);
}
