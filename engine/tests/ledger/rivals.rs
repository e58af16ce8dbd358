//! Several owners of one shard: zombies, equals, and one that decides otherwise.

use crate::faulty::Fate;
use crate::support::*;
use bytes::Bytes;
use engine::codec;
use engine_domain::{Answer, Event};
use eventlog::{Log, NewRecord};
use futures_util::future::join_all;
use std::sync::{Arc, Mutex};
use wire::journal::{JOURNAL, Outcome};
use wire::scalar::Digest;

/// The stored outcomes of a shard.
async fn journal(bed: &Bed, shard: u32) -> Vec<Bytes> {
    let records = bed.log.read(JOURNAL, shard, 0, 10_000).await.expect("the journal is readable");
    records.into_iter().map(|record| record.value).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_of_every_shard_write_one_history() {
    let bed = Bed::new();
    let ledgers = [Arc::new(bed.start().await), Arc::new(bed.start().await)];
    ledgers[0].create(external("world")).await;
    let users: Vec<String> = (0..SHARDS).map(|shard| on_shard(shard, "user")).collect();
    for id in &users {
        ledgers[1].create(user(id)).await;
        ledgers[0].transact(topup("first", "world", id, "1000")).await;
    }
    let transfers = (0..200_usize).map(|number| {
        let (from, to) = (&users[number % 10], &users[(number * 7 + 1) % 10]);
        ledgers[number % 2].transact(transfer(&format!("t{number}"), from, to, "1"))
    });
    let results = join_all(transfers).await;
    for running in &ledgers {
        running.quiet().await;
        assert_eq!(running.readiness.reasons(), Vec::<String>::new());
        for result in results.iter().filter(|result| result.status == "completed") {
            assert_eq!(running.ledger.view().transaction(&result.transaction_id).as_ref(), Some(result));
        }
    }
    let [one, other] = &ledgers;
    assert_eq!(one.ledger.view().recount(), other.ledger.view().recount());
    assert_eq!(one.ledger.view().accounts(None, 100), other.ledger.view().accounts(None, 100));
}

#[tokio::test]
async fn a_zombie_is_ignored() {
    let bed = Bed::new();
    let running = bed.start().await;
    running.create(external("world")).await;
    let id = on_shard(4, "user");
    running.create(user(&id)).await;
    for number in 0..5 {
        running.transact(topup(&format!("k{number}"), "world", &id, "1")).await;
    }
    // An owner that was asleep appends what it decided long ago, and goes on from there.
    let written = journal(&bed, 4).await;
    let stored: Outcome = wire::stored::decode(&written[3]).expect("an outcome");
    let mut zombie = codec::outcome_from_wire(stored.clone()).expect("an outcome");
    zombie.correlation_id = "zombie".into();
    let first = codec::encode_outcome(&zombie, stored.parent);
    zombie.source_offset += 1;
    let second = codec::encode_outcome(&zombie, Digest::of(&first));
    let batch = [first, second, written[2].to_vec()].map(NewRecord::of);
    bed.log.append(JOURNAL, 4, batch.into()).await.expect("appended");
    running.transact(topup("after", "world", &id, "1")).await;
    assert_eq!(running.balance(&id).await, "6");
    let again = bed.start().await;
    assert_eq!(again.balance(&id).await, "6");
    assert_eq!(running.readiness.reasons(), Vec::<String>::new());
    running.transact(topup("after that", "world", &id, "1")).await;
    assert_eq!(again.balance(&id).await, "7");
}

/// Makes the outcome that another build would write in place of the first one of this batch: it refuses to move
/// anything.
fn otherwise(batch: &[NewRecord]) -> Vec<u8> {
    let stored: Outcome = wire::stored::decode(&batch[0].value).expect("an outcome");
    let parent = stored.parent;
    let mut outcome = codec::outcome_from_wire(stored).expect("an outcome");
    outcome.events.clear();
    outcome.sends.clear();
    outcome.answer =
        Answer::Refused { to: outcome.command, transaction: None, rejection: engine_domain::Rejection::AccountFrozen };
    codec::encode_outcome(&outcome, parent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_overtaken_drops_what_it_thought() {
    let bed = Bed::new();
    let running = bed.start().await;
    running.create(external("world")).await;
    let id = on_shard(4, "user");
    running.create(user(&id)).await;
    // Every third append of outcomes finds that somebody was first, with another decision.
    let overtaken = Arc::new(Mutex::new(0_u32));
    let (count, log) = (Arc::clone(&overtaken), Arc::clone(&bed.log));
    let mut appends = 0;
    running.log.rule(move |topic, partition, batch| {
        if (topic, partition) == (JOURNAL, 4) {
            appends += 1;
            if appends % 3 == 0 {
                let foreign = NewRecord::of(otherwise(batch));
                let appended = futures_util::future::FutureExt::now_or_never(log.append(JOURNAL, 4, vec![foreign]));
                // Handed to the writer in order before the owner's own batch; nobody waits for it here.
                drop(appended);
                *count.lock().expect("no panic") += 1;
            }
        }
        Fate::Pass
    });
    let mut refused = 0;
    let mut applied = 0;
    for round in 0..12 {
        let answers = (0..10).map(|number| running.answered(topup(&format!("{round}.{number}"), "world", &id, "1")));
        for answered in join_all(answers).await {
            match rejection(&answered) {
                Some(_) => refused += 1,
                None => applied += 1,
            }
        }
    }
    let overtaken = *overtaken.lock().expect("no panic");
    assert!(overtaken >= 3, "it was overtaken {overtaken} times");
    assert_eq!(refused, overtaken, "each time, the other owner's decision counted, and only that one");
    assert_eq!(applied, 120 - refused);
    assert_eq!(running.balance(&id).await, applied.to_string());
    let again = bed.start().await;
    assert_eq!(again.balance(&id).await, applied.to_string());
    running.check_conservation();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_that_are_perhaps_in_the_log_count_once() {
    for fate in [Fate::Refuse, Fate::Lose, Fate::Hide, Fate::Delay] {
        let bed = Bed::new();
        let running = bed.start().await;
        running.create(external("world")).await;
        let id = on_shard(4, "user");
        running.create(user(&id)).await;
        let mut appends = 0;
        running.log.rule(move |topic, _, _| {
            appends += 1;
            if topic == JOURNAL && appends % 3 == 0 { fate } else { Fate::Pass }
        });
        for round in 0..10 {
            let answers =
                (0..10).map(|number| running.transact(topup(&format!("{round}.{number}"), "world", &id, "1")));
            let results = join_all(answers).await;
            assert!(results.iter().all(|result| result.status == "completed"), "{fate:?}");
        }
        assert_eq!(running.balance(&id).await, "100", "{fate:?}");
        let again = bed.start().await;
        assert_eq!(again.balance(&id).await, "100", "{fate:?}");
    }
}

#[tokio::test]
async fn the_history_is_a_chain() {
    let bed = Bed::new();
    let running = bed.start().await;
    running.create(external("world")).await;
    let id = on_shard(4, "user");
    running.create(user(&id)).await;
    running.transact(topup("k", "world", &id, "1")).await;
    let mut parent = wire::journal::genesis("test", 4, SHARDS);
    for (number, bytes) in journal(&bed, 4).await.iter().enumerate() {
        let outcome: Outcome = wire::stored::decode(bytes).expect("an outcome");
        assert_eq!((outcome.parent, outcome.source_offset), (parent, number as u64));
        parent = Digest::of(bytes);
        // The clock of the shard never falls, and the money of every outcome sums to zero.
        let outcome = codec::outcome_from_wire(outcome).expect("an outcome");
        let moved = outcome.events.iter().filter_map(|event| match event {
            Event::BalanceChanged(changed) => Some(changed.balance_after.minus(changed.balance_before)),
            _ => None,
        });
        assert!(moved.sum::<engine_domain::Money>().is_zero());
    }
}
