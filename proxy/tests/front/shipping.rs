//! Shipping with a relay that comes and goes: the client does not notice, and everything arrives once.

use crate::support::ingest::Mood;
use crate::support::{World, eventually, topup};
use http::{Method, StatusCode};
use wire::exchange::ExchangeBody;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_away_costs_nothing() {
    for mood in [Mood::Down, Mood::Mute, Mood::Refusing] {
        let world = World::new().await;
        world.ingest.is(mood);
        let front = world.front().await;
        for number in 0..20 {
            let answer = front.post("/transactions/topup", &topup("alice", &number.to_string())).await;
            assert_eq!(answer.status, StatusCode::OK, "{mood:?}");
        }
        world.ingest.is(Mood::Well);
        eventually("everything arrives", || world.ingest.count() == 40).await;
        world.ingest.assert_whole();
        front.stop().await;
        assert_eq!(world.ingest.count(), 41, "{mood:?}: the end is shipped before the front stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_breaks_off_again_and_again_gets_everything_once() {
    let world = World::new().await;
    world.ingest.is(Mood::Flaky);
    let front = world.front().await;
    for number in 0..40 {
        assert_eq!(
            front.post("/transactions/topup", &topup("alice", &number.to_string())).await.status,
            StatusCode::OK
        );
    }
    eventually("everything arrives", || world.ingest.count() == 80).await;
    assert!(world.ingest.connections() > 1, "it never broke off");
    world.ingest.assert_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_acknowledgement_makes_no_second_record() {
    let world = World::new().await;
    world.ingest.is(Mood::Mute);
    let front = world.front().await;
    for number in 0..5 {
        front.post("/transactions/topup", &topup("alice", &number.to_string())).await;
    }
    eventually("the relay has them", || world.ingest.count() == 10).await;
    world.ingest.is(Mood::Well);
    front.post("/transactions/topup", &topup("alice", "last")).await;
    eventually("the rest arrives", || world.ingest.count() == 12).await;
    assert_eq!(world.ingest.repeats(), 0, "the welcome says what it has");
    world.ingest.assert_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_say_up_to_when_nothing_is_missing() {
    let world = World::new().await;
    let front = world.front().await;
    for number in 0..10 {
        front.post("/transactions/topup", &topup("alice", &number.to_string())).await;
    }
    eventually("heartbeats come after the last record", || {
        world.ingest.heartbeats().last().is_some_and(|(_, _, sequence)| *sequence == 20)
    })
    .await;
    let seen = world.ingest.heartbeats().len();
    eventually("they go on while nothing happens", || world.ingest.heartbeats().len() > seen + 2).await;
    let (heartbeats, records) = (world.ingest.heartbeats(), world.ingest.records());
    assert!(heartbeats.is_sorted());
    for (boot, at, sequence) in heartbeats {
        assert_eq!(boot, 1);
        let missed = records.iter().find(|record| record.at < at && record.sequence > sequence);
        assert_eq!(missed, None, "written before {at}, but not sent with {sequence}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusing_relay_shows_in_readiness() {
    let world = World::new().await;
    world.ingest.is(Mood::Refusing);
    let front = world.front().await;
    let ready = async |expected: StatusCode| {
        let deadline = std::time::Instant::now() + crate::support::PATIENCE;
        loop {
            let answer = front.admin(Method::GET, "/readyz", None, "").await;
            if answer.status == expected {
                return String::from_utf8(answer.body.to_vec()).unwrap();
            }
            assert!(std::time::Instant::now() < deadline, "{answer:?}");
        }
    };
    assert!(
        ready(StatusCode::SERVICE_UNAVAILABLE)
            .await
            .contains("shipping: the relay does not want the records: not today")
    );
    world.ingest.is(Mood::Well);
    ready(StatusCode::OK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_is_written_when_it_is_asked_for() {
    let world = World::new().await;
    let front = world.front().await;
    front.post("/transactions/topup", &topup("alice", "before")).await;
    eventually("the front listens", || !world.comparator.streams().is_empty()).await;
    world.comparator.mark("m-1");
    eventually("the mark arrives", || world.ingest.count() == 3).await;
    assert_eq!(world.ingest.records()[2].body, ExchangeBody::Mark { id: "m-1".into() });
}
