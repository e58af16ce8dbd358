//! What could not be processed is kept, holds up nobody, and can be settled.

use crate::faulty::{Fate, Rotten};
use crate::support::*;
use engine::dead_letters::{Refused, Settlement};
use eventlog::{Log, NewRecord, Record};
use wire::dead_letter::{DeadLetter, DeadLetterEvent, Letters, MAX_KEPT_BYTES, Origin, TOPIC};
use wire::journal::{COMMANDS, JOURNAL};
use wire::scalar::Timestamp;

const SHARD: u32 = 4;

/// The letters, once there are so many.
async fn letters(log: &dyn Log, count: u64) -> Letters {
    let enough = async {
        let mut tail = log.tail(TOPIC, 0, 0);
        let mut letters = Letters::default();
        let mut taken = 0;
        while taken < count {
            for record in tail.next(100).await.expect("readable") {
                taken += 1;
                letters.take(Timestamp(record.at_micros), wire::stored::decode(&record.value).expect("a letter"));
            }
        }
        letters
    };
    within("dead letters", enough).await
}

fn origin(topic: &str, offset: u64) -> Origin {
    Origin { topic: topic.to_owned(), partition: SHARD, offset }
}

async fn one_user(running: &Running) -> String {
    let here = on_shard(SHARD, "user");
    running.create(external("world")).await;
    running.create(user(&here)).await;
    here
}

#[tokio::test]
async fn a_command_that_is_none_is_kept_once_with_its_bytes() {
    let bed = Bed::new();
    let running = bed.start().await;
    let here = one_user(&running).await;
    let offset = bed.log.append(COMMANDS, SHARD, vec![NewRecord::of(b"abc".to_vec())]).await.expect("appended");
    assert_eq!(running.transact(topup("after", "world", &here, "1")).await.status, "completed");
    let found = letters(&*bed.log, 1).await;
    let letter = found.get(&origin(COMMANDS, offset)).expect("the letter of the command");
    assert_eq!(letter.bytes.as_ref().map(|bytes| &*bytes.0), Some(&b"abc"[..]));
    running.stop().await;
    // Whoever starts meets it again, and another one keeps a second letter only of a second command.
    let again = bed.start().await;
    let second = bed.log.append(COMMANDS, SHARD, vec![NewRecord::of(b"def".to_vec())]).await.expect("appended");
    let found = letters(&*bed.log, 2).await;
    assert!(found.get(&origin(COMMANDS, second)).is_some());
    assert_eq!(bed.log.end(TOPIC, 0).await, Ok(2));
    again.stop().await;
}

#[tokio::test]
async fn a_journal_record_that_is_none_is_ignored_by_everybody_and_kept() {
    let bed = Bed::new();
    let running = bed.start().await;
    let here = one_user(&running).await;
    let command = bed.log.read(COMMANDS, SHARD, 0, 1).await.expect("readable")[0].value.to_vec();
    for garbage in [b"".to_vec(), b"abc".to_vec(), command] {
        bed.log.append(JOURNAL, SHARD, vec![NewRecord::of(garbage)]).await.expect("appended");
        let key = format!("k-{}", host::random::token());
        assert_eq!(running.transact(topup(&key, "world", &here, "1")).await.status, "completed");
    }
    assert_eq!(running.readiness.reasons(), Vec::<String>::new());
    letters(&*bed.log, 3).await;
    running.stop().await;
    let again = bed.start().await;
    assert_eq!(again.balance(&here).await, "3");
    again.check_conservation();
    assert_eq!(again.readiness.reasons(), Vec::<String>::new());
    again.stop().await;
    assert_eq!(bed.log.end(TOPIC, 0).await, Ok(3), "a restart keeps none twice");
}

#[tokio::test]
async fn a_shard_without_outcomes_is_not_another_ledgers_because_something_strayed_there() {
    let bed = Bed::new();
    let strays = [b"".to_vec(), b"abc".to_vec()].map(NewRecord::of);
    bed.log.append(JOURNAL, SHARD, strays.into()).await.expect("appended");
    for round in 0..2 {
        let running = bed.start().await;
        assert_eq!(running.readiness.reasons(), Vec::<String>::new(), "{round}");
        letters(&*bed.log, 2).await;
        running.stop().await;
    }
    let running = bed.start().await;
    let here = one_user(&running).await;
    assert_eq!(running.transact(topup("after", "world", &here, "1")).await.status, "completed");
    running.stop().await;
    let again = bed.start().await;
    assert_eq!(again.balance(&here).await, "1");
    again.stop().await;
}

#[tokio::test]
async fn an_outcome_that_rotted_is_decided_again_to_the_same_bytes() {
    // Behind a first one that rotted nothing is left of the chain; it is this ledger's all the same.
    for offset in [0, 2] {
        rotted_at(offset).await;
    }
}

async fn rotted_at(offset: u64) {
    let mut bed = Bed::new();
    let running = bed.start().await;
    let here = one_user(&running).await;
    for number in 1..=5 {
        running.transact(topup(&format!("k-{number}"), "world", &here, "1")).await;
    }
    running.stop().await;
    let written = bed.log.read(JOURNAL, SHARD, 0, 100).await.expect("readable");
    bed.rotten = Some(Rotten { topic: JOURNAL, partition: SHARD, offset });
    let running = bed.start().await;
    assert_eq!(running.balance(&here).await, "5");
    running.check_conservation();
    running.stop().await;
    // What came after it extended it, so that is ignored, too: all of it stands there a second time.
    let again = bed.log.read(JOURNAL, SHARD, written.len() as u64, 100).await.expect("readable");
    let bytes = |records: &[Record]| -> Vec<_> { records.iter().map(|record| record.value.clone()).collect() };
    assert_eq!(bytes(&again), bytes(&written[offset as usize..]), "{offset}");
}

#[tokio::test]
async fn letters_are_redriven_when_they_can_be_read_and_dropped_at_any_time() {
    let bed = Bed::new();
    let running = bed.start().await;
    let here = one_user(&running).await;
    let garbage = bed.log.append(COMMANDS, SHARD, vec![NewRecord::of(b"abc".to_vec())]).await.expect("appended");
    let garbage = origin(COMMANDS, garbage);
    letters(&*bed.log, 1).await;
    // One that an earlier program could not read, and this one can.
    let readable = origin(COMMANDS, 1_000);
    let command = engine::codec::encode_command(&topup("redriven", "world", &here, "7"));
    let letter = DeadLetter::found(readable.clone(), &"a bug", Some(command));
    let record = NewRecord::of(wire::stored::encode(&letter));
    bed.log.append(TOPIC, 0, vec![record]).await.expect("appended");

    let settle = async |origin: &Origin, what| {
        running.ledger.dead_letters().settle(origin, what, "ops".to_owned(), "why".to_owned()).await
    };
    let refused = settle(&garbage, Settlement::Redrive).await;
    assert!(matches!(refused, Err(Refused::NotRedrivable { .. })), "{refused:?}");
    let settled = settle(&readable, Settlement::Redrive).await.expect("it can be read");
    assert!(matches!(settled.settled, Some((_, DeadLetterEvent::Redriven { .. }))), "{settled:?}");
    assert_eq!(running.balance(&here).await, "7");
    let twice = settle(&readable, Settlement::Redrive).await;
    assert_eq!(twice, Err(Refused::Settled(readable)));
    let settled = settle(&garbage, Settlement::Drop).await.expect("any can be dropped");
    assert!(matches!(settled.settled, Some((_, DeadLetterEvent::Dropped { .. }))), "{settled:?}");
    let nowhere = origin(COMMANDS, 2_000);
    assert_eq!(settle(&nowhere, Settlement::Drop).await, Err(Refused::NotFound(nowhere)));
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_letter_keeps_nobody_from_settling_one() {
    let bed = Bed::new();
    let running = bed.start().await;
    let lost = origin(COMMANDS, 1_000);
    let letter = DeadLetter::found(lost.clone(), &"why", None);
    let records = [b"".to_vec(), b"abc".to_vec(), wire::stored::encode(&letter)].map(NewRecord::of);
    bed.log.append(TOPIC, 0, records.into()).await.expect("appended");
    let drop = async || {
        running.ledger.dead_letters().settle(&lost, Settlement::Drop, "ops".to_owned(), "why".to_owned()).await
    };
    let settled = drop().await.expect("it is a letter");
    assert!(matches!(settled.settled, Some((_, DeadLetterEvent::Dropped { .. }))), "{settled:?}");
    // A newer program's may be about any of them.
    let offset = bed.log.append(TOPIC, 0, vec![newer::<DeadLetter>()]).await.expect("appended");
    let refused = drop().await;
    assert!(matches!(&refused, Err(Refused::Newer { offset: at, .. }) if *at == offset), "{refused:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_command_that_was_too_large_to_be_kept_says_so_when_it_is_redriven() {
    let bed = Bed::new();
    let running = bed.start().await;
    for (offset, bytes, said) in [(1_000, None, "are gone"), (1_001, Some(vec![7; MAX_KEPT_BYTES + 1]), "too many")] {
        let lost = origin(COMMANDS, offset);
        let letter = DeadLetter::found(lost.clone(), &"why", bytes);
        bed.log.append(TOPIC, 0, vec![NewRecord::of(wire::stored::encode(&letter))]).await.expect("appended");
        let letters = running.ledger.dead_letters();
        match letters.settle(&lost, Settlement::Redrive, "ops".to_owned(), "why".to_owned()).await {
            Err(refused @ Refused::NotRedrivable { .. }) => assert!(refused.to_string().contains(said), "{refused}"),
            other => panic!("{other:?}"),
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_redrive_that_broke_off_half_way_is_done_again_to_one_effect() {
    let bed = Bed::new();
    let running = bed.start().await;
    let here = one_user(&running).await;
    let readable = origin(COMMANDS, 1_000);
    let command = engine::codec::encode_command(&topup("redriven", "world", &here, "7"));
    let letter = DeadLetter::found(readable.clone(), &"a bug", Some(command));
    bed.log.append(TOPIC, 0, vec![NewRecord::of(wire::stored::encode(&letter))]).await.expect("appended");
    // The command is appended each time; that it was is lost, kept from being written, and written at last. Or the
    // command is there and nobody was told so.
    for (fate, at) in [(Fate::Refuse, TOPIC), (Fate::Lose, TOPIC), (Fate::Hide, COMMANDS), (Fate::Pass, TOPIC)] {
        running.log.rule(move |topic, _, _| if topic == at { fate } else { Fate::Pass });
        let letters = running.ledger.dead_letters();
        let settled = letters.settle(&readable, Settlement::Redrive, "ops".to_owned(), "why".to_owned()).await;
        assert_eq!(settled.is_ok(), fate == Fate::Pass, "{fate:?}: {settled:?}");
    }
    let redriven = bed.log.read(COMMANDS, SHARD, 0, 100).await.expect("readable");
    let times = redriven.iter().filter(|record| record.value == redriven[redriven.len() - 1].value).count();
    assert_eq!(times, 4, "it was put into its topic each time");
    assert_eq!(running.balance(&here).await, "7", "and booked once");
    running.check_conservation();
    running.stop().await;
}
