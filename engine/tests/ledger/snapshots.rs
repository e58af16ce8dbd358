//! A restart from a snapshot shows and decides as one from the beginning; what cannot be trusted is not used.

use crate::faulty::Fate;
use crate::support::*;
use engine_domain::{Answer, Rejection};
use eventlog::{Log, NewRecord, Record};
use std::sync::Arc;
use wire::dead_letter;
use wire::journal::COMMANDS;
use wire::snapshot::{SnapshotBody, SnapshotRecord, TOPIC};

/// An outcome in a shard is enough for a snapshot of it.
const OFTEN: u64 = 1;

async fn generations(bed: &Bed, shard: u32) -> Vec<(Record, SnapshotRecord)> {
    let end = bed.log.end(TOPIC, shard).await.unwrap();
    let mut found = Vec::new();
    for offset in 0..end {
        // Old ones are taken away.
        for record in bed.log.read(TOPIC, shard, offset, 1).await.unwrap_or_default() {
            let stored: SnapshotRecord = wire::stored::decode(&record.value).unwrap();
            found.push((record, stored));
        }
    }
    found.retain(|(_, stored)| matches!(stored.body, SnapshotBody::Complete(_)));
    found
}

/// Waits until there are so many complete generations of a shard.
async fn until_written(bed: &Bed, shard: u32, wanted: usize) {
    let written = async {
        while generations(bed, shard).await.len() < wanted {
            tokio::task::yield_now().await;
        }
    };
    within("a snapshot", written).await;
}

/// Everything that can be asked of a ledger, as it is shown.
async fn shown(running: &Running) -> String {
    running.quiet().await;
    let view = running.ledger.view();
    let accounts = serde_json::to_string(&view.accounts(None, 1_000)).unwrap();
    let mut all = vec![accounts];
    for shard in 0..SHARDS {
        let user = on_shard(shard, "user");
        let history = history(view, &user, None, 1_000, Default::default()).unwrap();
        all.push(serde_json::to_string(&history).unwrap());
        for transaction in history.transactions {
            let saga = running.ledger.transaction_saga(&transaction.transaction_id).await.unwrap();
            all.push(serde_json::to_string(&saga).unwrap());
        }
        let events = running.ledger.account_events(&user, 0, 1_000).await.unwrap();
        all.push(serde_json::to_string(&events).unwrap());
    }
    all.join("\n")
}

/// Users on every shard, and what happens to them: all ends of a transaction, some of them across shards.
async fn busy(running: &Running) {
    running.create(external("world")).await;
    for shard in 0..SHARDS {
        running.create(user(&on_shard(shard, "user"))).await;
        running.transact(topup("first", "world", &on_shard(shard, "user"), "100")).await;
    }
    for shard in 0..SHARDS {
        let (from, to) = (on_shard(shard, "user"), on_shard((shard + 1) % SHARDS, "user"));
        let sent = running.transact(transfer("on", &from, &to, "7.5")).await;
        running.transact(refund(running, "back", &sent.transaction_id, Some("2"))).await;
        running.answered(transfer("too-much", &from, &to, "1000000")).await;
    }
}

#[tokio::test]
async fn a_restart_from_snapshots_shows_and_decides_as_one_without() {
    let bed = Bed::new();
    let running = bed.start_keeping(OFTEN).await;
    busy(&running).await;
    for shard in 0..SHARDS {
        until_written(&bed, shard, 1).await;
    }
    let before = shown(&running).await;
    running.kill().await;

    let running = bed.start_keeping(0).await;
    assert_eq!(running.ledger.begun_from_snapshots(), SHARDS as usize);
    assert_eq!(shown(&running).await, before);
    // What is remembered of keys, and how much is left to be refunded, comes from the snapshot as well.
    let (from, to) = (on_shard(3, "user"), on_shard(4, "user"));
    let again = running.answered(transfer("on", &from, &to, "7.5")).await;
    assert!(matches!(again.answer, Answer::Final { replay: true, .. }), "{:?}", again.answer);
    let sent = again.transaction.unwrap();
    let rest = running.answered(refund(&running, "rest", &sent.transaction_id, Some("5.6"))).await;
    assert_eq!(rejection(&rest), Some(Rejection::RefundExceedsOriginal));
    let rest = running.transact(refund(&running, "the rest", &sent.transaction_id, None)).await;
    assert_eq!(rest.amount.to_string(), "5.5");
    running.quiet().await;
    running.stop().await;
}

#[tokio::test]
async fn the_last_two_generations_are_kept() {
    let bed = Bed::new();
    let running = bed.start_keeping(OFTEN).await;
    let user_id = on_shard(2, "user");
    running.create(external("world")).await;
    running.create(user(&user_id)).await;
    let mut newest = None;
    for round in 0..4 {
        // Each round as many as all before: then there is another one.
        for number in 0..10 << round {
            running.transact(topup(&format!("round-{round}-{number}"), "world", &user_id, "1")).await;
        }
        let another = async {
            loop {
                let found = generations(&bed, 2).await;
                assert!(found.len() <= 3, "two, and one while it is not read back yet");
                if let Some((record, _)) = found.last().filter(|(record, _)| Some(record.offset) > newest) {
                    newest = Some(record.offset);
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        within("another generation", another).await;
    }
    within("the older ones are taken away", async {
        while generations(&bed, 2).await.len() != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    running.stop().await;
}

/// Whoever begins at a snapshot does not read what came before it: that has to have its dead letter by then.
#[tokio::test]
async fn no_snapshot_goes_beyond_what_waits_for_its_dead_letter() {
    let bed = Bed::new();
    let running = bed.start_keeping(OFTEN).await;
    busy(&running).await;
    running.log.rule(|topic, _, _| if topic == dead_letter::TOPIC { Fate::Refuse } else { Fate::Pass });
    let garbage = bed.log.append(COMMANDS, 5, vec![NewRecord::of("garbage")]).await.unwrap();
    // As many again, so that every shard is due; shard 5 comes before shard 6.
    let six = generations(&bed, 6).await.len();
    let due = async {
        for round in 0.. {
            for number in 0..50 {
                for shard in [5, 6] {
                    let key = format!("more-{round}-{number}");
                    running.transact(topup(&key, "world", &on_shard(shard, "user"), "1")).await;
                }
            }
            if generations(&bed, 6).await.len() > six {
                return;
            }
        }
    };
    within("a snapshot of shard 6", due).await;
    for (_, stored) in generations(&bed, 5).await {
        let SnapshotBody::Complete(complete) = stored.body else { panic!("an end") };
        assert!(complete.next_source <= garbage, "{complete:?}");
    }
    running.kill().await;

    let running = bed.start_keeping(OFTEN).await;
    within("the letter", async {
        while bed.log.end(dead_letter::TOPIC, 0).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_trusted_is_not_used() {
    let bed = Bed::new();
    let running = bed.start_keeping(OFTEN).await;
    busy(&running).await;
    until_written(&bed, 5, 1).await;
    let before = shown(&running).await;
    running.stop().await;

    let (_, honest) = generations(&bed, 5).await.pop().unwrap();
    let SnapshotBody::Complete(honest_end) = &honest.body else { panic!("an end") };
    let mut lies = Vec::new();
    // Each says something else than the parts, the accounts, or the journal do.
    let mut lie = |change: &dyn Fn(&mut wire::snapshot::Complete)| {
        let mut complete = honest_end.clone();
        change(&mut complete);
        lies.push(SnapshotRecord { body: SnapshotBody::Complete(complete), ..honest.clone() });
    };
    lie(&|complete| complete.entries += 1);
    lie(&|complete| complete.at.0 += 1);
    lie(&|complete| complete.outcome_offset += 1);
    lie(&|complete| complete.next_source += 1);
    lie(&|complete| complete.ledger = "another".into());
    lie(&|complete| complete.shard = 4);
    lie(&|complete| complete.feature += 1);
    lie(&|complete| complete.sums.clear());
    lie(&|complete| complete.begins_at += 1);
    for lie in lies {
        bed.log.append(TOPIC, 5, vec![NewRecord::of(wire::stored::encode(&lie))]).await.unwrap();
        let running = bed.start_keeping(0).await;
        assert_eq!(shown(&running).await, before, "{lie:?}");
        running.stop().await;
    }
    // And bytes that are nothing at all.
    bed.log.append(TOPIC, 5, vec![NewRecord::of("nothing")]).await.unwrap();
    let rotten = crate::faulty::Rotten { topic: TOPIC, partition: 5, offset: honest_end.begins_at };
    let mut bed = bed;
    bed.rotten = Some(rotten);
    let running = bed.start_keeping(0).await;
    assert_eq!(shown(&running).await, before);
    let log: &Arc<_> = &running.log;
    assert!(log.end(TOPIC, 5).await.unwrap() > honest_end.begins_at);
    running.stop().await;
}
