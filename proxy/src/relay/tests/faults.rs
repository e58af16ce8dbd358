//! What the log can do to the relay.

use super::log::{Fault, MemoryLog};
use super::rig::{
    Front, Relay, accepted, change, concluded, config, foreign, last_results, log_in_shadow, numbers, rollout_of,
    systems, transfer,
};
use super::systems::applied;
use crate::relay::{Error, all_ended};
use bytes::Bytes;
use eventlog::{NewRecord, Record};
use host::net;
use host::task::{JoinSet, Shutdown};
use wire::dead_letter::{self, Letters};
use wire::exchange::ExchangeBody;
use wire::ingest::IngestFrame;
use wire::rollout::{FrontBoot, RolloutBody, Setting};
use wire::scalar::{Percent, Timestamp};
use wire::stored::{decode, encode};
use wire::words::{Stage, System};
use wire::{exchange, rollout, shadow};

async fn relay(log: &MemoryLog) -> Relay {
    let (legacy, engine) = systems().await;
    let config = config(&legacy.url(), &engine.url());
    let relay = Relay::start(config, log).await;
    // They live as long as the test.
    std::mem::forget((legacy, engine));
    relay
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_durable() {
    let log = MemoryLog::new();
    let relay = relay(&log).await;
    let mut front = Front::connect(&relay).await;
    log.close(true);
    front.write(ExchangeBody::Mark { id: "m".to_owned() });
    front.ship_from(1).await;
    // A greeting on another connection is answered, so the relay had time to acknowledge, and did not.
    let mut other = Front::silent(&relay, "front-b", 1).await;
    other.greet(1, super::rig::TOKEN).await;
    assert!(numbers(&log).is_empty());
    log.close(false);
    assert_eq!(front.hear().await, IngestFrame::Ack { durable: 1 });
    assert_eq!(numbers(&log).len(), 1);
}

#[tokio::test]
async fn failed_and_unknown_appends_make_no_hole_and_no_duplicate() {
    for faults in [
        vec![Fault::NotAppended],
        vec![Fault::NotAppended, Fault::NotAppended, Fault::Unknown(0)],
        vec![Fault::Unknown(0)],
        vec![Fault::Unknown(2)],
        vec![Fault::Unknown(5)],
        vec![Fault::Unknown(1), Fault::Unknown(1), Fault::NotAppended, Fault::Unknown(3)],
    ] {
        let log = MemoryLog::new();
        let relay = relay(&log).await;
        let mut front = Front::connect(&relay).await;
        log.fail(exchange::TOPIC, faults.clone());
        for _ in 0..5 {
            front.write(ExchangeBody::Mark { id: "m".to_owned() });
        }
        front.ship().await;
        let sequences: Vec<u64> = numbers(&log).iter().map(|(_, _, sequence)| *sequence).collect();
        assert_eq!(sequences, [1, 2, 3, 4, 5], "{faults:?}");
        assert!(log.has_failed());
    }
}

#[tokio::test]
async fn an_append_that_shows_up_late_is_dropped_by_number() {
    let log = log_in_shadow();
    let relay = relay(&log).await;
    let mut front = Front::connect(&relay).await;
    log.fail(exchange::TOPIC, [Fault::Late]);
    let sequence = front.applied(transfer(System::Legacy, 1), &applied("L-1", "from-1", "to-1")).await;
    assert_eq!(numbers(&log).len(), 4, "both records stand there twice");
    concluded(&log, sequence).await;
    let next = front.applied(transfer(System::Legacy, 2), &applied("L-2", "from-2", "to-2")).await;
    concluded(&log, next).await;
    assert_eq!(last_results(&log.records(shadow::TOPIC)).len(), 2, "and have one leg");
}

#[tokio::test]
async fn what_an_append_has_left_out_is_appended_behind_it_and_delivered() {
    // The beginning of a boot, an exchange, an intent without its result.
    for (begun, left_out) in [(0, 2), (1, 2), (0, 1), (1, 1)] {
        let log = log_in_shadow();
        let relay = relay(&log).await;
        let mut front = Front::connect(&relay).await;
        for index in 0..begun {
            let body = applied(&format!("L-{index}"), &format!("from-{index}"), &format!("to-{index}"));
            front.applied(transfer(System::Legacy, index), &body).await;
        }
        log.fail(exchange::TOPIC, [Fault::Hole(left_out)]);
        let exchanges = [2, 3].map(|index| {
            let sequence = front.write_intent(transfer(System::Legacy, index));
            let body = applied(&format!("L-{index}"), &format!("from-{index}"), &format!("to-{index}"));
            front.write_result(sequence, wire::words::Class::Applied, 200, &body);
            sequence
        });
        front.ship().await;
        assert!(log.has_failed());
        for sequence in exchanges {
            concluded(&log, sequence).await;
        }
    }
}

#[tokio::test]
async fn the_chain_of_the_shadows_survives_every_fault() {
    for faults in [
        vec![Fault::NotAppended],
        vec![Fault::Unknown(0), Fault::Unknown(1)],
        vec![Fault::Unknown(1), Fault::NotAppended],
        vec![Fault::Late],
        vec![Fault::Late, Fault::Unknown(0), Fault::Late],
    ] {
        let log = log_in_shadow();
        let relay = relay(&log).await;
        let mut front = Front::connect(&relay).await;
        log.fail(shadow::TOPIC, faults.clone());
        for index in 1..=10 {
            let sequence = front.write_intent(transfer(System::Legacy, index));
            let body = applied(&format!("L-{index}"), &format!("from-{index}"), &format!("to-{index}"));
            front.write_result(sequence, wire::words::Class::Applied, 200, &body);
        }
        front.ship().await;
        for index in 1..=10 {
            concluded(&log, 2 * index - 1).await;
        }
        assert!(log.has_failed());
        relay.stop().await.unwrap();
        let records = log.records(shadow::TOPIC);
        assert_eq!(last_results(&records).len(), 10, "{faults:?}");
        let sendings = accepted(&records)
            .into_iter()
            .filter(|body| matches!(body, wire::shadow::ShadowBody::Sending { .. }))
            .count();
        assert_eq!(sendings, 10, "{faults:?}");
    }
}

#[tokio::test]
async fn a_second_relay_is_noticed() {
    let log = log_in_shadow();
    let relay = relay(&log).await;
    let mut front = Front::connect(&relay).await;
    let first = front.applied(transfer(System::Legacy, 1), &applied("L-1", "from-1", "to-1")).await;
    concluded(&log, first).await;
    log.put(shadow::TOPIC, vec![foreign(&log)]);
    front.applied(transfer(System::Legacy, 2), &applied("L-2", "from-2", "to-2")).await;
    let ended = relay.end().await;
    assert!(matches!(ended, Err(Error::AnotherRelay { topic: shadow::TOPIC, .. })), "{ended:?}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stops_the_relay() {
    for topic in [exchange::TOPIC, shadow::TOPIC, rollout::TOPIC] {
        let log = log_in_shadow();
        log.put(topic, vec![NewRecord::of(Bytes::from_static(b"\x01\x01\xff\xffnews"))]);
        let ended = relay(&log).await.end().await;
        assert!(matches!(ended, Err(Error::Unreadable { topic: at, .. }) if at == topic), "{ended:?}");
        // Also when it comes later.
        let log = log_in_shadow();
        let relay = relay(&log).await;
        let mut front = Front::connect(&relay).await;
        let first = front.applied(transfer(System::Legacy, 1), &applied("L-1", "from-1", "to-1")).await;
        concluded(&log, first).await;
        log.put(topic, vec![NewRecord::of(Bytes::from_static(b"\x01\x01\xff\xffnews"))]);
        let ended = relay.end().await;
        assert!(matches!(ended, Err(Error::Unreadable { topic: at, .. }) if at == topic), "{ended:?}");
    }
}

#[tokio::test]
async fn what_is_no_exchange_is_kept_as_a_dead_letter_and_holds_up_nobody() {
    let log = log_in_shadow();
    let garbage = [&b"abc"[..], b"", &encode(&wire::order::OrderMark::default())].map(Bytes::copy_from_slice);
    log.put(exchange::TOPIC, garbage.iter().cloned().map(NewRecord::of).collect());
    let running = relay(&log).await;
    let mut front = Front::connect(&running).await;
    let first = front.applied(transfer(System::Legacy, 1), &applied("L-1", "from-1", "to-1")).await;
    concluded(&log, first).await;
    // Also when it comes later, between what a front ships.
    log.put(exchange::TOPIC, vec![NewRecord::of(Bytes::from_static(b"later"))]);
    let second = front.applied(transfer(System::Legacy, 2), &applied("L-2", "from-2", "to-2")).await;
    concluded(&log, second).await;
    let letters = |records: &[Record]| {
        let mut letters = Letters::default();
        for record in records {
            letters.take(Timestamp(record.at_micros), decode(&record.value).unwrap());
        }
        (letters.iter().count() == 4).then_some((letters, records.len()))
    };
    let (found, _) = log.until(dead_letter::TOPIC, "four letters", letters).await;
    let kept: Vec<_> = found.iter().map(|(_, letter)| letter.bytes.clone().unwrap().0).collect();
    assert_eq!(kept[..3], garbage.map(|bytes| bytes.to_vec()));
    assert_eq!(kept[3], b"later");
    running.stop().await.unwrap();
    // A restart meets them again, and keeps none twice.
    let again = relay(&log).await;
    let mut front = Front::silent(&again, "front-a", 2).await;
    front.greet(1, super::rig::TOKEN).await;
    let third = front.applied(transfer(System::Legacy, 3), &applied("L-3", "from-3", "to-3")).await;
    concluded(&log, third).await;
    log.put(exchange::TOPIC, vec![NewRecord::of(Bytes::from_static(b"last"))]);
    let five = |records: &[Record]| (records.len() >= 5).then_some(records.len());
    assert_eq!(log.until(dead_letter::TOPIC, "the fifth letter", five).await, 5);
    again.stop().await.unwrap();
}

#[tokio::test]
async fn drained_is_written_whatever_the_log_does() {
    for faults in [vec![], vec![Fault::NotAppended, Fault::Unknown(0)], vec![Fault::Unknown(1)], vec![Fault::Late]] {
        let log = log_in_shadow();
        let relay = relay(&log).await;
        let mut front = Front::connect(&relay).await;
        let first = front.applied(transfer(System::Legacy, 1), &applied("L-1", "from-1", "to-1")).await;
        concluded(&log, first).await;
        let to = Setting { stage: Stage::Engine, percent: Percent::ALL };
        let boot = FrontBoot { front: "front-a".to_owned(), boot: 1 };
        let fronts = vec![boot.clone()];
        change(&log, RolloutBody::Prepare { version: 2, to, forced: false, evidence: Vec::new(), fronts });
        log.fail(rollout::TOPIC, faults.clone());
        change(&log, RolloutBody::Prepared { version: 2, front: boot, mark: 2, unknown_accounts: Vec::new() });
        let drained = |_: &[_]| rollout_of(&log).pending.is_some_and(|pending| pending.drained).then_some(());
        log.until(rollout::TOPIC, "drained", drained).await;
        relay.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = net::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = config("http://127.0.0.1:1", "http://127.0.0.1:1");
    config.ingest_listen = address;
    let bound = crate::relay::bind(config, "test", eventlog::Place::here(std::sync::Arc::new(MemoryLog::new()))).await;
    let problem = bound.err().expect("the port is taken").to_string();
    assert!(problem.contains(&address.to_string()), "{problem}");
}

/// While another relay appends beside this one, appends of any part of it may fail.
#[tokio::test]
async fn why_the_relay_ended_is_what_stopped_its_other_parts() {
    let stop = Shutdown::new();
    let mut parts = JoinSet::new();
    let stopped = stop.clone();
    parts.spawn(async move {
        stopped.stopped().await;
        Err(Error::Append(eventlog::AppendError::Unknown("while it was stopping".to_owned())))
    });
    parts.spawn(async { Err(Error::AnotherRelay { topic: shadow::TOPIC, offset: 7 }) });
    let ended = all_ended(parts, &stop).await;
    assert!(matches!(ended, Err(Error::AnotherRelay { .. })), "{ended:?}");
}
