//! Owners that are not on duty: they stand by, stand in, and stop when somebody else decides.

use crate::faulty::Fate;
use crate::support::*;
use engine::ledger::Duties;
use std::collections::BTreeSet;
use std::time::Duration;
use wire::journal::JOURNAL;

/// How long nobody may have decided before somebody stands in.
const STANDBY: Duration = Duration::from_millis(500);

#[tokio::test]
async fn an_owner_that_is_not_on_duty_decides_on_what_nobody_decides_on() {
    let bed = Bed::new();
    let standby = bed.start_with(Duties::none(SHARDS)).await;
    let began = host::clock::now();
    standby.create(external("world")).await;
    assert!(host::clock::now() - began >= STANDBY, "it waits for whoever is on duty");
    let id = on_shard(4, "user");
    standby.create(user(&id)).await;
    standby.transact(topup("k", "world", &id, "5")).await;
    assert_eq!(standby.balance(&id).await, "5");
    standby.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_somebody_is_on_duty_a_standby_writes_nothing() {
    let bed = Bed::new();
    let (owner, standby) = (bed.start().await, bed.start_with(Duties::none(SHARDS)).await);
    standby.log.rule(|topic, _, _| {
        assert_ne!(topic, JOURNAL, "the standby decides, although an owner does");
        Fate::Pass
    });
    owner.create(external("world")).await;
    let id = on_shard(4, "user");
    standby.create(user(&id)).await;
    for number in 0..50 {
        standby.transact(topup(&format!("k{number}"), "world", &id, "1")).await;
    }
    assert_eq!(owner.balance(&id).await, "50");
    assert_eq!(standby.balance(&id).await, "50");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duty_moves_and_with_it_who_decides() {
    let bed = Bed::new();
    let (here, there) = (Duties::all(SHARDS), Duties::none(SHARDS));
    let (one, other) = (bed.start_with(here.clone()).await, bed.start_with(there.clone()).await);
    one.create(external("world")).await;
    let id = on_shard(4, "user");
    one.create(user(&id)).await;
    for number in 0..6 {
        let all: BTreeSet<u32> = (0..SHARDS).collect();
        let (gains, loses) = if number % 2 == 0 { (&there, &here) } else { (&here, &there) };
        gains.assign(&all);
        loses.assign(&BTreeSet::new());
        one.transact(topup(&format!("one {number}"), "world", &id, "1")).await;
        other.transact(topup(&format!("other {number}"), "world", &id, "1")).await;
    }
    assert_eq!(one.balance(&id).await, "12");
    assert_eq!(other.balance(&id).await, "12");
    one.quiet().await;
}
