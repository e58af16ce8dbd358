//! Verification of the chains, and what tampering looks like.

use crate::dial::moved;
use crate::front::Journal;
use crate::traffic::Shadows;
use crate::world::World;
use eventlog::Log;
use serde_json::Value;
use wire::exchange::{ExchangeBody, TOPIC as EXCHANGES};
use wire::rollout::TOPIC as ROLLOUT;
use wire::scalar::Timestamp;
use wire::shadow::{ShadowBody, TOPIC as SHADOWS};
use wire::words::Stage;

/// A log with five records in each of two chains, one of which lost a race.
async fn written() -> World {
    let world = World::without_comparator(|_| {}).await;
    for version in 1..=4 {
        let late = world.next_record(moved(99, Stage::Shadow, 0)).await;
        world.append(moved(version, Stage::Shadow, 0)).await;
        if version == 2 {
            world.log.append(ROLLOUT, 0, vec![eventlog::NewRecord::of(late)]).await.unwrap();
        }
    }
    let mut shadows = Shadows::new(&world);
    for offset in 0..5 {
        shadows.write(ShadowBody::Cursor { offset }).await;
    }
    world
}

async fn audit(world: &mut World) -> Value {
    if world.comparator.is_none() {
        world.start().await;
    }
    world.get("/api/audit").await.1
}

fn chain<'a>(audit: &'a Value, topic: &str) -> &'a Value {
    audit["chains"].as_array().unwrap().iter().find(|chain| chain["topic"] == topic).unwrap()
}

/// The record of a chain with something else in it.
async fn altered(world: &World, topic: &str, offset: u64) -> Vec<u8> {
    let record = world.log.read(topic, 0, offset, 1).await.unwrap().remove(0);
    if topic == ROLLOUT {
        let mut record: wire::rollout::RolloutRecord = wire::stored::decode(&record.value).unwrap();
        record.reason = "a better one".into();
        wire::stored::encode(&record)
    } else {
        let mut record: wire::shadow::ShadowRecord = wire::stored::decode(&record.value).unwrap();
        record.at = Timestamp(record.at.0 + 1);
        wire::stored::encode(&record)
    }
}

#[tokio::test]
async fn intact_chains_are_found_intact_and_losers_are_counted() {
    let mut world = written().await;
    let audit = audit(&mut world).await;
    assert_eq!(audit["intact"], true, "{audit}");
    let rollout = chain(&audit, ROLLOUT);
    assert_eq!((&rollout["records"], &rollout["accepted"], &rollout["lost"]), (&5.into(), &4.into(), &1.into()));
    assert_eq!(rollout["head"], world.rollout().await.head.to_string());
    assert_eq!(chain(&audit, "cutover.decisions")["records"], 0);
}

#[tokio::test]
async fn a_changed_record_breaks_its_chain() {
    for topic in [ROLLOUT, SHADOWS] {
        for offset in [0, 3] {
            let mut world = written().await;
            let bytes = altered(&world, topic, offset).await;
            world.log.change(topic, offset, bytes);
            let audit = audit(&mut world).await;
            assert_eq!(audit["intact"], false, "{topic} {offset}: {audit}");
            let broken = chain(&audit, topic)["broken"].as_str().unwrap().to_owned();
            assert!(broken.contains(&format!("offset {}", offset + 1)), "{topic} {offset}: {broken}");
        }
    }
}

#[tokio::test]
async fn a_changed_last_record_is_missed_by_whoever_had_read_it() {
    let mut world = written().await;
    assert_eq!(audit(&mut world).await["intact"], true);
    let last = world.log.end(ROLLOUT, 0).await.unwrap() - 1;
    let bytes = altered(&world, ROLLOUT, last).await;
    world.log.change(ROLLOUT, last, bytes);
    let audit = audit(&mut world).await;
    let broken = chain(&audit, ROLLOUT)["broken"].as_str().unwrap().to_owned();
    assert!(broken.contains("was in the chain and is not now"), "{broken}");
}

#[tokio::test]
async fn bytes_that_are_no_record_break_the_chain() {
    let mut world = written().await;
    world.log.change(SHADOWS, 2, b"nonsense".to_vec());
    let audit = audit(&mut world).await;
    let broken = chain(&audit, SHADOWS)["broken"].as_str().unwrap().to_owned();
    assert!(broken.starts_with("offset 2 cannot be read"), "{broken}");
}

#[tokio::test]
async fn a_missing_number_of_an_exchange_is_counted() {
    let mut world = World::without_comparator(|_| {}).await;
    let (one, two) = (Journal::new("a", 1, world.log.clone()), Journal::new("b", 3, world.log.clone()));
    let mark = || ExchangeBody::Mark { id: "m".into() };
    for journal in [&one, &two, &one, &two, &one] {
        journal.write(mark()).await;
    }
    world.start().await;
    let (_, fine) = world.get("/api/audit").await;
    assert_eq!((&fine["intact"], &fine["exchanges"]["boots"]), (&true.into(), &2.into()), "{fine}");
    one.skip(2);
    one.write(mark()).await;
    world.log.append(EXCHANGES, 0, vec![eventlog::NewRecord::of(b"nonsense".to_vec())]).await.unwrap();
    let (_, audit) = world.get("/api/audit").await;
    let exchanges = &audit["exchanges"];
    assert_eq!(
        (&audit["intact"], &exchanges["missing"], &exchanges["unreadable"]),
        (&false.into(), &2.into(), &1.into())
    );
    assert_eq!(exchanges["firstProblem"], "a.1: 4 to 5 are missing");
}
