//! The stream that fronts listen to.

use crate::dial::moved;
use crate::front::{Front, Manners};
use crate::world::{APPROVER, OPERATOR, VIEWER, World, code, eventually};
use http::{Method, StatusCode};
use serde_json::json;
use wire::control::StreamEvent;
use wire::words::Stage;

fn offsets(front: &Front) -> Vec<u64> {
    let events = front.events.lock().unwrap();
    let offset = |event: &StreamEvent| match event {
        StreamEvent::Record { offset, .. } => Some(*offset),
        StreamEvent::CaughtUp | StreamEvent::Mark { .. } => None,
    };
    events.iter().filter_map(offset).collect()
}

#[tokio::test]
async fn a_stream_begins_where_it_was_asked_to_and_goes_on() {
    let mut world = World::without_comparator(|_| {}).await;
    let stages = [Stage::Shadow, Stage::Capture, Stage::Shadow];
    for (version, stage) in (1..).zip(stages) {
        world.append(moved(version, stage, 0)).await;
    }
    world.start().await;
    let whole = Front::polite(&world, "a").await;
    assert_eq!(offsets(&whole), [0, 1, 2]);
    assert_eq!(whole.rollout.lock().unwrap().version, 3, "the front's own fold of the chain");
    let rest = Front::connect(&world, "b", 1, Manners { from: 2, ..Manners::default() }).await;
    assert_eq!(offsets(&rest), [2]);
    let end = Front::connect(&world, "c", 1, Manners { from: 3, ..Manners::default() }).await;
    assert_eq!(offsets(&end), [0; 0]);
    assert_eq!(*end.events.lock().unwrap(), [StreamEvent::CaughtUp]);
    // What comes now comes to all of them, also when somebody else appends it.
    world.append(moved(4, Stage::Capture, 0)).await;
    for front in [&whole, &rest, &end] {
        eventually("the new record", async || offsets(front).last() == Some(&3)).await;
    }
    assert_eq!(offsets(&whole), [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_long_history_arrives_whole_and_once() {
    let mut world = World::without_comparator(|_| {}).await;
    for version in 1..=600 {
        let stage = if version % 2 == 0 { Stage::Shadow } else { Stage::Capture };
        world.append(moved(version, stage, 0)).await;
    }
    world.start().await;
    let front = Front::polite(&world, "a").await;
    assert_eq!(offsets(&front), (0..600).collect::<Vec<_>>());
    assert_eq!(front.rollout.lock().unwrap().version, 600);
}

#[tokio::test]
async fn whoever_listens_is_connected_until_it_hangs_up() {
    let world = World::new().await;
    let connected = async |name: &str| {
        let (_, summary) = world.get("/api/summary").await;
        summary["fronts"].as_array().unwrap().iter().any(|front| front["front"] == name && front["connected"] == true)
    };
    let front = Front::polite(&world, "a").await;
    assert!(connected("a").await);
    world.gates_open().await;
    drop(front);
    eventually("gone", async || !connected("a").await).await;
    let (_, gates) = world.get("/api/rollout/gates").await;
    let fronts = gates.as_array().unwrap().iter().find(|gate| gate["gate"] == "fronts").unwrap();
    assert_eq!(fronts["open"], false);
}

#[tokio::test]
async fn a_newer_boot_takes_the_place_of_an_older_one() {
    let world = World::new().await;
    let old = Front::connect(&world, "a", 1, Manners::default()).await;
    let _new = Front::connect(&world, "a", 2, Manners::default()).await;
    eventually("the old stream ends", async || old.is_cut_off()).await;
    let (status, problem) = Front::begin(&world, "a", 1, Manners::default()).await.err().unwrap();
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem.contains("StaleBoot"), "{problem}");
    let (_, summary) = world.get("/api/summary").await;
    assert_eq!(summary["fronts"], json!([{ "front": "a", "boot": 2, "connected": true }]));
}

#[tokio::test]
async fn a_front_that_knows_more_than_the_log_is_told_so() {
    let world = World::new().await;
    let ahead = Manners { from: 5, ..Manners::default() };
    let (status, problem) = Front::begin(&world, "a", 1, ahead).await.err().unwrap();
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem.contains("LogShorter"), "{problem}");
}

#[tokio::test]
async fn only_parts_listen_and_say_who_they_are() {
    let world = World::new().await;
    let path = "/api/rollout/stream?front=a&boot=1";
    for token in [VIEWER, OPERATOR, APPROVER] {
        let (status, _) = world.ask(Method::GET, path, Some(token), None).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    assert_eq!(world.ask(Method::GET, path, None, None).await.0, StatusCode::UNAUTHORIZED);
    let service = Some(crate::world::SERVICE);
    for path in [
        "/api/rollout/stream",
        "/api/rollout/stream?front=A&boot=1",
        "/api/rollout/stream?front=a&boot=x",
        "/api/rollout/stream?front=a&boot=1&from=-1",
        "/api/rollout/stream?front=a&boot=1&more=1",
    ] {
        let (status, problem) = world.ask(Method::GET, path, service, None).await;
        assert_eq!((status, code(&problem)), (StatusCode::BAD_REQUEST, "MalformedRequest"), "{path}");
    }
}

#[tokio::test]
async fn a_comparator_that_stops_ends_its_streams_at_once() {
    let mut world = World::new().await;
    let front = Front::polite(&world, "a").await;
    let began = std::time::Instant::now();
    world.comparator.take().unwrap().stop().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "without waiting for streams to end by themselves");
    eventually("the stream ends", async || front.is_cut_off()).await;
}
