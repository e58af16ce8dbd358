//! Inquiries from the exchange that does not fit to the verdicts that follow from the answer.

use crate::front::{Front, Manners};
use crate::traffic::{Shadows, begin, complete, finish, topup};
use crate::world::{World, eventually};
use eventlog::Log;
use serde_json::Value;
use wire::control::StreamEvent;
use wire::decision::{DecisionBody, DecisionRecord, TOPIC};
use wire::exchange::ExchangeBody;
use wire::ids::ExchangeNumber;
use wire::words::System;

async fn inquired(world: &World) -> Vec<DecisionBody> {
    let records = world.log.read(TOPIC, 0, 0, usize::MAX).await.unwrap();
    let record = |record: &eventlog::Record| wire::stored::decode::<DecisionRecord>(&record.value).unwrap().body;
    records.iter().map(record).filter(|body| matches!(body, DecisionBody::Inquired { .. })).collect()
}

async fn judged(world: &World, exchange: &ExchangeNumber, verdict: &str) -> Value {
    let is = |view: &Value| view["verdict"]["verdict"] == verdict;
    world.until(&format!("/api/exchanges/{exchange}"), verdict, is).await
}

/// The legacy answers the first top-up and forgets it; the second one shows it.
async fn lost_effect(world: &World, front: &Front) -> (ExchangeNumber, ExchangeNumber) {
    let mut shadows = Shadows::new(world);
    let one = [System::Legacy, System::Engine].map(|system| topup(system, "k1", "alice", "100", "0"));
    let two = [topup(System::Legacy, "k2", "alice", "10", "0"), topup(System::Engine, "k2", "alice", "10", "100")];
    world.legacy.with(|books| books.history = vec![two[0].clone()]);
    world.engine.with(|books| books.history = vec![one[1].clone(), two[1].clone()]);
    let first = complete(front.journal(), &mut shadows, &one[0], &one[1]).await;
    let second = complete(front.journal(), &mut shadows, &two[0], &two[1]).await;
    (first, second)
}

#[tokio::test]
async fn a_lost_effect_is_found_and_what_follows_from_it_is_carried() {
    let world = World::new().await;
    let front = Front::polite(&world, "a").await;
    let (lost, after) = lost_effect(&world, &front).await;
    let view = judged(&world, &after, "carried").await;
    assert_eq!(view["verdict"]["roots"], serde_json::json!([lost.to_string()]));
    let view = judged(&world, &lost, "mismatch").await;
    assert_eq!(view["verdict"]["cause"], "lost");
    let (_, page) = world.get("/api/discrepancies?status=open").await;
    let [discrepancy] = page["discrepancies"].as_array().unwrap().as_slice() else { panic!("{page}") };
    assert_eq!((&discrepancy["id"], &discrepancy["system"]), (&lost.to_string().into(), &"legacy".into()));
    assert_eq!(inquired(&world).await.len(), 1, "asked once");
}

#[tokio::test]
async fn an_inquiry_waits_for_a_system_that_is_down_and_is_asked_again_after_a_restart() {
    let mut world = World::new().await;
    let front = Front::polite(&world, "a").await;
    world.legacy.with(|books| books.down = true);
    let (_, after) = lost_effect(&world, &front).await;
    eventually("tried", async || world.legacy.with(|books| books.histories_read > 0)).await;
    assert_eq!(judged(&world, &after, "open").await["verdict"]["verdict"], "open");
    world.restart().await;
    let tries = world.legacy.with(|books| books.histories_read);
    eventually("tried again", async || world.legacy.with(|books| books.histories_read > tries)).await;
    assert!(inquired(&world).await.is_empty());
    let _front = Front::connect(&world, "a", 2, Manners::default()).await;
    world.legacy.with(|books| books.down = false);
    judged(&world, &after, "carried").await;
    assert_eq!(inquired(&world).await.len(), 1);
    // What was answered is not asked again.
    world.restart().await;
    judged(&world, &after, "carried").await;
    assert_eq!(inquired(&world).await.len(), 1);
}

#[tokio::test]
async fn a_write_that_bypassed_the_front_is_told_from_one_that_is_late() {
    for bypassed in [true, false] {
        let world = World::new().await;
        // It writes no marks by itself: the test decides what comes before one.
        let front = Front::connect(&world, "a", 1, Manners { no_marks: true, ..Manners::default() }).await;
        let mut shadows = Shadows::new(&world);
        // Equal levels to begin with: what comes after them is looked at.
        let equal = [System::Legacy, System::Engine].map(|system| topup(system, "k0", "alice", "1", "0"));
        complete(front.journal(), &mut shadows, &equal[0], &equal[1]).await;
        let late = [System::Legacy, System::Engine].map(|system| topup(system, "late", "alice", "7", "1"));
        let seen = [topup(System::Legacy, "k1", "alice", "1", "8"), topup(System::Engine, "k1", "alice", "1", "1")];
        world.legacy.with(|books| books.history = vec![equal[0].clone(), late[0].clone(), seen[0].clone()]);
        world.engine.with(|books| books.history = vec![equal[1].clone(), seen[1].clone()]);
        let exchange = complete(front.journal(), &mut shadows, &seen[0], &seen[1]).await;
        eventually("a mark is asked for", async || front.has(|event| matches!(event, StreamEvent::Mark { .. }))).await;
        assert!(inquired(&world).await.is_empty(), "nothing is called unknown before the front has answered");
        let begun = if bypassed { None } else { Some(begin(front.journal(), "late", "alice", "7").await) };
        let marks = || {
            let events = front.events.lock().unwrap().clone();
            events.into_iter().filter_map(|event| if let StreamEvent::Mark { id } = event { Some(id) } else { None })
        };
        for id in marks() {
            front.journal().write(ExchangeBody::Mark { id }).await;
        }
        eventually("answered", async || !inquired(&world).await.is_empty()).await;
        let (_, page) = world.get("/api/discrepancies").await;
        let bypasses: Vec<&Value> =
            page["discrepancies"].as_array().unwrap().iter().filter(|one| one["cause"] == "bypass").collect();
        if bypassed {
            judged(&world, &exchange, "carried").await;
            let (_, page) = world.get("/api/discrepancies").await;
            let one = &page["discrepancies"][0];
            assert_eq!((&one["cause"], &one["offsets"][0]["amount"]), (&"bypass".into(), &"7".into()), "{page}");
            assert!(one["id"].as_str().unwrap().starts_with("alice@"), "{page}");
        } else {
            assert!(bypasses.is_empty(), "{page}");
            let begun = begun.unwrap();
            finish(front.journal(), &mut shadows, &begun, &late[0], &late[1]).await;
        }
    }
}
