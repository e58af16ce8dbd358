//! Follow-ups that come twice, late, or from nowhere; and going back.

use crate::cluster::*;
use engine_domain::account::Limits;
use engine_domain::command::{MoveKind, StepDone};
use engine_domain::saga::{Stage, StepAnswer};
use engine_domain::{AccountId, AccountType, Answer, Body, Mode, Position, Rejection, Timestamp};

/// A transfer from shard 0 to shard 1 that has begun, and waits.
fn waiting() -> (Cluster, AccountId, AccountId) {
    let mut cluster = Cluster::new(2);
    let (alice, bob) = (id_on("alice", 0, 2), id_on("bob", 1, 2));
    for account in [&alice, &bob] {
        cluster.create(new_account(account, AccountType::User, Limits::default()));
    }
    cluster.fund(&alice, money("10"));
    let request = cluster.command(Mode::Authority, Body::Move(a_move(MoveKind::Transfer, "key", &alice, &bob, "4")));
    cluster.submit(request);
    cluster.step(0);
    (cluster, alice, bob)
}

#[test]
fn a_step_asked_twice_is_done_once_and_answered_twice() {
    let (mut cluster, _, bob) = waiting();
    let asked = cluster.journal.last().unwrap().sends[0].command.clone();
    let again = cluster.shards[0].open_steps(Timestamp(99));
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].command.id, &again[0].command.body), (asked.id, &asked.body));
    cluster.deliver(1, again[0].command.clone());
    let (first, second) = (cluster.step(1), cluster.step(1));
    assert!(second.events.is_empty());
    assert_eq!(first.sends[0].command.body, second.sends[0].command.body);
    assert_eq!(cluster.balance(&bob), money("4"));
    // The second answer is no longer awaited.
    let (taken, ignored) = (cluster.step(0), cluster.step(0));
    assert!(!taken.events.is_empty() && ignored.events.is_empty() && ignored.answer == Answer::None);
    // Long after the saga is over, the step is still remembered.
    cluster.deliver(1, asked);
    cluster.settle();
    assert_eq!(cluster.balance(&bob), money("4"));
}

#[test]
fn an_answer_that_is_not_awaited_changes_nothing() {
    let (mut cluster, ..) = waiting();
    let saga = cluster.shards[0].sagas().next().unwrap().id;
    let done_at = Position { shard: 1, offset: 0 };
    let answer = StepAnswer::Refused(Rejection::AccountFrozen);
    let awaited = StepDone { saga, stage: Stage::Credit, done_at, answer };
    for wrong in [
        StepDone { saga: Position { offset: 77, ..saga }, ..awaited.clone() },
        StepDone { saga: Position { shard: 1, ..saga }, ..awaited.clone() },
        StepDone { stage: Stage::GiveBack, ..awaited.clone() },
        StepDone { done_at: Position { shard: 0, offset: 0 }, ..awaited },
    ] {
        let command = cluster.command(Mode::Authority, Body::StepDone(wrong.clone()));
        cluster.deliver(0, command);
        let outcome = cluster.step(0);
        assert!(outcome.events.is_empty() && outcome.sends.is_empty(), "{wrong:?}");
        assert_eq!(outcome.answer, Answer::None);
    }
    cluster.settle();
}

#[test]
fn what_cannot_be_read_has_an_outcome_too() {
    let mut cluster = Cluster::new(1);
    let command = cluster.command(Mode::Authority, Body::Unreadable { digest: [7; 32] });
    cluster.deliver(0, command);
    let outcome = cluster.step(0);
    assert_eq!((outcome.answer, outcome.events.len()), (Answer::Unreadable, 0));
}

#[test]
fn a_shard_goes_back_over_many_outcomes() {
    let (cluster, alice, bob) = waiting();
    let mut shard = cluster.shards[0].clone();
    let (before, mark) = (shard.clone(), shard.mark());
    let mut later = None;
    for (offset, key) in (100..).zip(["a", "b", "c", "d"]) {
        let mut other = Cluster::new(2);
        let command = other.command(Mode::Authority, Body::Move(a_move(MoveKind::Transfer, key, &alice, &bob, "1")));
        let decision = engine_domain::decide(&shard, &command, offset, Timestamp(0));
        decision.events.iter().for_each(|event| engine_domain::evolve(&mut shard, event));
        if key == "b" {
            later = Some((shard.mark(), shard.clone()));
        }
    }
    let (later, at_later) = later.unwrap();
    shard.rollback_to(later);
    assert_eq!(shard, at_later);
    shard.rollback_to(mark);
    assert_eq!(shard, before);
}

#[test]
#[should_panic(expected = "not within the undo log")]
fn what_was_forgotten_cannot_be_gone_back_to() {
    let (cluster, ..) = waiting();
    let mut shard = cluster.shards[0].clone();
    let mark = shard.mark();
    let command = cluster.journal.last().unwrap().sends[0].command.clone();
    let decision = engine_domain::decide(&shard, &command, 9, Timestamp(0));
    decision.events.iter().for_each(|event| engine_domain::evolve(&mut shard, event));
    let now = shard.mark();
    shard.forget_before(now);
    shard.rollback_to(now);
    shard.rollback_to(mark);
}
