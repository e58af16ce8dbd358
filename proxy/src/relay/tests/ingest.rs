//! What fronts can do to the ingest, well or badly.

use super::log::MemoryLog;
use super::rig::{Front, Relay, TOKEN, config, numbers, record, systems};
use crate::relay::Config;
use wire::exchange::ExchangeBody;
use wire::ingest::{IngestFrame, MAX_FRAME_BYTES};
use wire::scalar::Body;
use wire::stored::encode;

async fn relay(log: &MemoryLog, change: impl FnOnce(&mut Config)) -> Relay {
    let (legacy, engine) = systems().await;
    let mut config = config(&legacy.url(), &engine.url());
    change(&mut config);
    Relay::start(config, log).await
}

fn mark(front: &mut Front) -> u64 {
    front.write(ExchangeBody::Mark { id: "m".to_owned() })
}

async fn refused(front: &mut Front, why: &str) {
    match front.hear_or_end().await {
        Some(IngestFrame::Refused { reason }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(front.hear_or_end().await, None, "the connection is closed");
}

fn expected(front: &str, boot: u64, sequences: std::ops::RangeInclusive<u64>) -> Vec<(String, u64, u64)> {
    sequences.map(|sequence| (front.to_owned(), boot, sequence)).collect()
}

#[tokio::test]
async fn records_are_kept_once_and_acknowledged() {
    let log = MemoryLog::new();
    let relay = relay(&log, |_| {}).await;
    let mut front = Front::silent(&relay, "front-a", 1).await;
    assert_eq!(front.greet(7, TOKEN).await, IngestFrame::Welcome { durable: 0 });
    for _ in 0..3 {
        mark(&mut front);
    }
    front.ship_from(1).await;
    front.acknowledged(3).await;
    // Repeats are dropped, and acknowledged again.
    mark(&mut front);
    front.ship_from(2).await;
    front.acknowledged(4).await;
    front.ship_from(4).await;
    front.acknowledged(4).await;
    assert_eq!(numbers(&log), expected("front-a", 1, 1..=4));
    assert_eq!(log.records(wire::exchange::TOPIC)[0].value, front.journal[0], "the bytes are the front's");
}

#[tokio::test]
async fn a_front_goes_on_behind_what_is_durable() {
    let log = MemoryLog::new();
    let first = relay(&log, |_| {}).await;
    let mut front = Front::connect(&first).await;
    for _ in 0..3 {
        mark(&mut front);
    }
    front.ship().await;
    let again = async |relay: &Relay| Front::silent(relay, "front-a", 1).await.greet(1, TOKEN).await;
    assert_eq!(again(&first).await, IngestFrame::Welcome { durable: 3 }, "the same relay");
    first.stop().await.unwrap();
    let second = relay(&log, |_| {}).await;
    assert_eq!(again(&second).await, IngestFrame::Welcome { durable: 3 }, "a relay that starts anew");
}

#[tokio::test]
async fn the_next_boot_may_come_on_the_same_connection() {
    let log = MemoryLog::new();
    let relay = relay(&log, |_| {}).await;
    let mut front = Front::connect(&relay).await;
    mark(&mut front);
    front.write(ExchangeBody::Ended { clean: false });
    front.ship().await;
    (front.boot, front.sequence) = (2, 0);
    front.journal.clear();
    assert_eq!(front.greet(99, TOKEN).await, IngestFrame::Welcome { durable: 0 });
    mark(&mut front);
    front.ship().await;
    assert_eq!(numbers(&log), [expected("front-a", 1, 1..=2), expected("front-a", 2, 1..=1)].concat());
}

#[tokio::test]
async fn who_is_not_taken_is_told_why() {
    let log = MemoryLog::new();
    let relay = relay(&log, |_| {}).await;
    for (name, boot, token, why) in [
        ("front-a", 1, "wrong", "wrong token"),
        ("front-a", 1, "", "wrong token"),
        ("Front A", 1, TOKEN, "cannot name a front"),
    ] {
        let mut front = Front::silent(&relay, name, boot).await;
        let token = token.to_owned();
        front.send(&IngestFrame::Hello { front: name.to_owned(), boot, instance: 1, token }).await;
        refused(&mut front, why).await;
    }
    let mut unknown = Front::silent(&relay, "front-a", 1).await;
    mark(&mut unknown);
    unknown.ship_from(1).await;
    refused(&mut unknown, "say who you are").await;
    let mut imposter = Front::connect(&relay).await;
    imposter.send(&IngestFrame::Ack { durable: 1 }).await;
    refused(&mut imposter, "only the relay").await;
    assert!(numbers(&log).is_empty());
}

#[tokio::test]
async fn an_older_boot_is_refused() {
    let log = MemoryLog::new();
    let relay = relay(&log, |_| {}).await;
    let mut front = Front::silent(&relay, "front-a", 5).await;
    front.greet(1, TOKEN).await;
    let mut older = Front::silent(&relay, "front-a", 4).await;
    let hello = |boot| IngestFrame::Hello { front: "front-a".into(), boot, instance: 1, token: TOKEN.into() };
    older.send(&hello(4)).await;
    refused(&mut older, "older than boot 5").await;
    // Also when only the log remembers.
    mark(&mut front);
    front.ship().await;
    relay.stop().await.unwrap();
    let (legacy, engine) = systems().await;
    let relay = Relay::start(config(&legacy.url(), &engine.url()), &log).await;
    let mut older = Front::silent(&relay, "front-a", 4).await;
    older.send(&hello(4)).await;
    refused(&mut older, "older than boot 5").await;
}

#[tokio::test]
async fn two_instances_of_one_name_are_told_apart() {
    let log = MemoryLog::new();
    let relay = relay(&log, |_| {}).await;
    let mut first = Front::connect(&relay).await;
    for (boot, why) in [(1, "another process ships boot 1"), (2, "another process is connected")] {
        let mut second = Front::silent(&relay, "front-a", boot).await;
        let hello = IngestFrame::Hello { front: "front-a".into(), boot, instance: 2, token: TOKEN.into() };
        second.send(&hello).await;
        refused(&mut second, why).await;
    }
    mark(&mut first);
    first.ship().await;
    assert_eq!(numbers(&log), expected("front-a", 1, 1..=1));
}

#[tokio::test]
async fn whoever_connects_again_takes_the_place_of_its_own_connection() {
    let log = MemoryLog::new();
    let relay = relay(&log, |_| {}).await;
    let mut old = Front::connect(&relay).await;
    let mut new = Front::connect(&relay).await;
    assert_eq!(old.hear_or_end().await, None, "the old connection is cut");
    mark(&mut new);
    new.ship().await;
}

#[tokio::test]
async fn garbage_closes_a_connection_and_hurts_nobody_else() {
    let log = MemoryLog::new();
    let relay = relay(&log, |_| {}).await;
    let mut good = Front::connect(&relay).await;
    let not_a_frame = encode(&wire::rollout::Rollout::genesis("x"));
    let framed = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        framed(b""),
        framed(b"abc"),
        framed(&[0xff; 64]),
        framed(&not_a_frame),
        (MAX_FRAME_BYTES + 1).to_le_bytes().to_vec(),
        // Before the token was shown, even a permitted length is too long.
        (1_u32 << 20).to_le_bytes().to_vec(),
    ] {
        let mut bad = Front::silent(&relay, "front-b", 1).await;
        bad.raw(&bytes).await;
        assert_eq!(bad.hear_or_end().await, None);
    }
    let mut bad = Front::silent(&relay, "front-c", 1).await;
    bad.greet(1, TOKEN).await;
    bad.raw(&(MAX_FRAME_BYTES + 1).to_le_bytes()).await;
    assert_eq!(bad.hear_or_end().await, None, "too long for anybody");
    mark(&mut good);
    good.ship().await;
}

#[tokio::test]
async fn records_that_cannot_be_read_or_are_anothers_are_not_taken() {
    let log = MemoryLog::new();
    let relay = relay(&log, |_| {}).await;
    let mark = || ExchangeBody::Mark { id: "m".to_owned() };
    for (bytes, why) in [
        (b"garbage".to_vec(), "cannot be read"),
        (Vec::new(), "cannot be read"),
        (record("front-b", 1, 1, mark()), "a record of front-b.1"),
        (record("front-a", 2, 1, mark()), "a record of front-a.2"),
    ] {
        let mut front = Front::connect(&relay).await;
        front.send(&IngestFrame::Records { records: vec![Body(bytes)] }).await;
        refused(&mut front, why).await;
    }
    assert!(numbers(&log).is_empty());
}

#[tokio::test]
async fn a_frame_that_was_cut_is_as_if_never_sent() {
    let log = MemoryLog::new();
    let relay = relay(&log, |_| {}).await;
    let mut front = Front::connect(&relay).await;
    mark(&mut front);
    front.ship().await;
    mark(&mut front);
    mark(&mut front);
    let records = front.journal[1..].iter().cloned().map(Body).collect();
    let frame = encode(&IngestFrame::Records { records });
    let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
    front.raw(&[&length[..], &frame[..frame.len() / 2]].concat()).await;
    let (journal, sequence) = (front.journal.clone(), front.sequence);
    drop(front);
    let mut again = Front::silent(&relay, "front-a", 1).await;
    assert_eq!(again.greet(1, TOKEN).await, IngestFrame::Welcome { durable: 1 });
    (again.journal, again.sequence) = (journal, sequence);
    again.ship_from(2).await;
    again.acknowledged(3).await;
    assert_eq!(numbers(&log), expected("front-a", 1, 1..=3));
}

#[tokio::test]
async fn who_says_nothing_is_cut_off() {
    let log = MemoryLog::new();
    let relay = relay(&log, |config| config.front_silence_ms = 50).await;
    let mut front = Front::connect(&relay).await;
    assert_eq!(front.hear_or_end().await, None);
}

#[tokio::test]
async fn a_hole_is_kept_as_it_is() {
    let log = MemoryLog::new();
    let relay = relay(&log, |_| {}).await;
    let mut front = Front::connect(&relay).await;
    for _ in 0..4 {
        mark(&mut front);
    }
    front.journal.remove(1);
    front.ship_from(1).await;
    front.acknowledged(4).await;
    let sequences: Vec<u64> = numbers(&log).iter().map(|(_, _, sequence)| *sequence).collect();
    assert_eq!(sequences, [1, 3, 4], "the comparator counts what is missing");
}
