//! What stops a shard, and what does not.

use crate::faulty::{Fate, Faulty};
use crate::support::*;
use engine::ledger::{BarrierError, Duties, Ledger, OpenError, Settings, Submitted};
use engine_domain::Event;
use eventlog::{Log, NewRecord};
use host::ops::Readiness;
use std::sync::Arc;
use std::time::Duration;
use wire::journal::{COMMANDS, JOURNAL};

/// A user on shard 4 with 5, and one on shard 6.
async fn two_users(running: &Running) -> (String, String) {
    let (here, there) = (on_shard(4, "user"), on_shard(6, "user"));
    running.create(external("world")).await;
    running.create(user(&here)).await;
    running.create(user(&there)).await;
    running.transact(topup("k", "world", &here, "5")).await;
    (here, there)
}

async fn until_blocked(readiness: &Readiness, what: &str) {
    let blocked = async {
        while !readiness.reasons().iter().any(|reason| reason.contains(what)) {
            tokio::task::yield_now().await;
        }
    };
    within(what, blocked).await;
}

#[tokio::test]
async fn a_newer_journal_stops_its_shard_and_no_other() {
    stops_its_shard_and_no_other(newer::<wire::journal::Outcome>(), "version 3").await;
    stops_its_shard_and_no_other(newer_type(), "record type 0x0fff").await;
}

async fn stops_its_shard_and_no_other(record: NewRecord, why: &str) {
    let bed = Bed::new();
    let running = bed.start().await;
    let (here, there) = two_users(&running).await;
    bed.log.append(JOURNAL, 4, vec![record]).await.expect("appended");
    until_blocked(&running.readiness, "shard 4").await;
    for running in [running, bed.start().await] {
        until_blocked(&running.readiness, "shard 4").await;
        let submitted = running.submit(topup("later", "world", &here, "1")).await;
        assert!(matches!(&submitted, Submitted::NotAppended(said) if said.contains(why)), "{submitted:?}");
        let barrier = running.ledger.read_barrier(&[4], host::clock::now() + ANSWER).await;
        assert!(matches!(barrier, Err(BarrierError::Stopped { shard: 4, .. })), "{barrier:?}");
        let key = format!("other {}", host::random::token());
        assert_eq!(running.transact(topup(&key, "world", &there, "1")).await.status, "completed");
        let seen = running.ledger.view().balance(&here).expect("what was accepted is shown");
        assert_eq!(seen.balance.to_string(), "5");
    }
}

#[tokio::test]
async fn a_newer_command_waits_for_a_newer_program() {
    waits_for_a_newer_program(newer::<wire::journal::Command>()).await;
    waits_for_a_newer_program(newer_type()).await;
}

async fn waits_for_a_newer_program(record: NewRecord) {
    let bed = Bed::new();
    let running = bed.start().await;
    let (here, there) = two_users(&running).await;
    let before = bed.log.end(JOURNAL, 4).await.expect("readable");
    let known = NewRecord::of(engine::codec::encode_command(&topup("before", "world", &here, "1")));
    let batch = vec![known.clone(), record, known];
    bed.log.append(COMMANDS, 4, batch).await.expect("appended");
    until_blocked(&running.readiness, "newer than this program").await;
    assert_eq!(bed.log.end(JOURNAL, 4).await, Ok(before + 1), "what stands before it is decided, and no more");
    let submitted = running.submit(topup("later", "world", &here, "1")).await;
    assert!(matches!(submitted, Submitted::NotAppended(_)));
    assert_eq!(running.transact(topup("other", "world", &there, "1")).await.status, "completed");
}

#[tokio::test]
async fn what_is_no_command_gets_an_outcome_and_stops_nothing() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (here, _) = two_users(&running).await;
    let outcome_among_commands = bed.log.read(JOURNAL, 4, 0, 1).await.expect("readable")[0].value.clone();
    let whole = engine::codec::encode_command(&topup("cut", "world", &here, "1"));
    let cut = whole[..whole.len() / 2].to_vec();
    let garbage = [b"".to_vec(), b"abc".to_vec(), outcome_among_commands.to_vec(), cut].map(NewRecord::of);
    let before = bed.log.end(JOURNAL, 4).await.expect("readable");
    bed.log.append(COMMANDS, 4, garbage.into()).await.expect("appended");
    assert_eq!(running.transact(topup("after", "world", &here, "1")).await.status, "completed");
    assert_eq!(bed.log.end(JOURNAL, 4).await, Ok(before + 5), "every command has its outcome");
    assert_eq!(running.readiness.reasons(), Vec::<String>::new());
    running.stop().await;
    assert_eq!(bed.start().await.balance(&here).await, "6");
}

#[tokio::test]
async fn a_history_that_contradicts_itself_stops_its_shard() {
    let bed = Bed::new();
    let running = bed.start().await;
    two_users(&running).await;
    running.stop().await;
    // The last outcome once more, as the next one: its transaction is asked for twice, its versions repeat.
    let last = bed.log.end(JOURNAL, 4).await.expect("readable") - 1;
    let bytes = bed.log.read(JOURNAL, 4, last, 1).await.expect("readable")[0].value.clone();
    let mut outcome =
        engine::codec::outcome_from_wire(wire::stored::decode(&bytes).expect("an outcome")).expect("an outcome");
    outcome.source_offset += 1;
    let nowhere = on_shard(4, "never-made");
    for event in &mut outcome.events {
        if let engine_domain::Event::BalanceChanged(changed) = event {
            changed.aggregate.id = account(&nowhere);
        }
    }
    let forged = engine::codec::encode_outcome(&outcome, wire::scalar::Digest::of(&bytes));
    bed.log.append(JOURNAL, 4, vec![NewRecord::of(forged)]).await.expect("appended");
    let running = bed.start().await;
    until_blocked(&running.readiness, "shard 4: its history contradicts itself").await;
}

#[tokio::test]
async fn another_ledger_or_number_of_shards_is_refused() {
    let bed = Bed::new();
    let running = bed.start().await;
    two_users(&running).await;
    running.stop().await;
    for other in [Settings { ledger: "other".to_owned(), ..settings() }, Settings { shards: 5, ..settings() }] {
        let log = Faulty::new(Arc::clone(&bed.log) as Arc<dyn Log>, None);
        let duties = Duties::all(other.shards);
        match Ledger::open(log, other, Readiness::new(), duties).await {
            Err(error @ OpenError::OtherLedger { .. }) => {
                assert!(error.to_string().contains("check `ledger` and `shards`"), "{error}");
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it has to be refused"),
        }
    }
}

#[tokio::test]
async fn commands_that_were_lost_are_not_taken_for_decided() {
    let bed = Bed::new();
    let running = bed.start().await;
    two_users(&running).await;
    running.stop().await;
    // The journal as it is, beside commands that begin anew.
    let other = Bed::new();
    for shard in 0..SHARDS {
        let journal = bed.log.read(JOURNAL, shard, 0, 1_000).await.expect("readable");
        let journal = journal.into_iter().map(|record| NewRecord::of(record.value)).collect();
        other.log.append(JOURNAL, shard, journal).await.expect("appended");
    }
    let log = Faulty::new(Arc::clone(&other.log) as Arc<dyn Log>, None);
    match Ledger::open(log, settings(), Readiness::new(), Duties::all(SHARDS)).await {
        Err(error @ OpenError::CommandsLost { end: 0, .. }) => {
            assert!(error.to_string().contains("billing.commands was made anew"), "{error}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it has to be refused"),
    }
}

#[tokio::test]
async fn a_log_that_takes_no_outcomes_shows_in_readiness_until_it_does() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (here, _) = two_users(&running).await;
    running.log.rule(|topic, _, _| if topic == JOURNAL { Fate::Refuse } else { Fate::Pass });
    let soon = host::clock::now() + Duration::from_millis(10);
    assert_eq!(running.ledger.submit(topup("t", "world", &here, "1"), soon).await, Submitted::Pending);
    until_blocked(&running.readiness, "cannot be appended").await;
    running.log.rule(|_, _, _| Fate::Pass);
    assert_eq!(running.transact(topup("t", "world", &here, "1")).await.status, "completed");
    let ready = async {
        while !running.readiness.reasons().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    within("ready again", ready).await;
    assert_eq!(running.balance(&here).await, "6");
}

#[tokio::test]
async fn a_barrier_that_is_not_reached_says_so() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (here, _) = two_users(&running).await;
    running.log.rule(|topic, _, _| if topic == JOURNAL { Fate::Hold } else { Fate::Pass });
    let soon = || host::clock::now() + Duration::from_millis(10);
    running.ledger.submit_only(topup("t", "world", &here, "1"), host::clock::now() + ANSWER).await;
    let barrier = running.ledger.settled_barrier(&[4], soon()).await;
    assert_eq!(barrier, Err(BarrierError::TimedOut { shard: 4 }));
    assert!(running.ledger.read_barrier(&[4], soon()).await.is_ok(), "what was answered is shown all the same");
    running.log.release();
    running.settle().await;
}

/// Appends what another program might have written behind everything on a shard: an outcome that changes balances as it
/// likes.
async fn forge(bed: &Bed, shard: u32, events: impl FnOnce(&engine_domain::event::BalanceChanged) -> Vec<Event>) {
    let records = bed.log.read(JOURNAL, shard, 0, 10_000).await.expect("readable");
    let last: wire::journal::Outcome = wire::stored::decode(&records.last().expect("one").value).expect("an outcome");
    let mut outcome = engine::codec::outcome_from_wire(last).expect("an outcome");
    let changed = |event: &Event| match event {
        Event::BalanceChanged(changed) if changed.aggregate.id.as_str() != "world" => Some(changed.clone()),
        _ => None,
    };
    let changed = outcome.events.iter().find_map(changed).expect("the last one moved money");
    outcome.source_offset = bed.log.end(COMMANDS, shard).await.expect("readable");
    outcome.events = events(&changed);
    let known = NewRecord::of(engine::codec::encode_command(&topup("forged", "world", "nobody", "1")));
    // The owner would decide on it at once: the outcome is there first.
    let parent = wire::scalar::Digest::of(&records.last().expect("one").value);
    let forged = NewRecord::of(engine::codec::encode_outcome(&outcome, parent));
    bed.log.append(JOURNAL, shard, vec![forged]).await.expect("appended");
    bed.log.append(COMMANDS, shard, vec![known]).await.expect("appended");
}

fn euro_more(changed: &engine_domain::event::BalanceChanged) -> engine_domain::event::BalanceChanged {
    engine_domain::event::BalanceChanged {
        version: changed.version + 1,
        balance_before: changed.balance_after,
        balance_after: changed.balance_after.plus(money("1")),
        ..changed.clone()
    }
}

#[tokio::test]
async fn an_outcome_that_makes_money_stops_its_shard_and_no_other() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (here, there) = two_users(&running).await;
    forge(&bed, 4, |changed| vec![Event::BalanceChanged(euro_more(changed))]).await;
    for running in [running, bed.start().await] {
        until_blocked(&running.readiness, "a sum of its movements of `1 EUR` cannot be").await;
        let submitted = running.submit(topup("later", "world", &here, "1")).await;
        assert!(matches!(&submitted, Submitted::NotAppended(why) if why.contains("shard 4")), "{submitted:?}");
        let key = format!("other {}", host::random::token());
        assert_eq!(running.transact(topup(&key, "world", &there, "1")).await.status, "completed");
        assert_eq!(running.ledger.view().balance(&here).expect("shown").balance.to_string(), "5");
    }
}

#[tokio::test]
async fn an_outcome_that_contradicts_the_balances_stops_its_shard() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (here, _) = two_users(&running).await;
    // Its movements sum to zero, but it begins with a balance that the account does not have.
    forge(&bed, 4, |changed| {
        let (mut up, mut down) = (euro_more(changed), euro_more(changed));
        (up.balance_before, up.balance_after) = (money("100"), money("101"));
        (down.version, down.balance_before, down.balance_after) = (up.version + 1, money("101"), money("100"));
        vec![Event::BalanceChanged(up), Event::BalanceChanged(down)]
    })
    .await;
    for running in [running, bed.start().await] {
        until_blocked(&running.readiness, "the balances of shard 4 sum to 95 EUR instead of 0").await;
        let submitted = running.submit(topup("later", "world", &here, "1")).await;
        assert!(matches!(&submitted, Submitted::NotAppended(why) if why.contains("shard 4")), "{submitted:?}");
    }
}
