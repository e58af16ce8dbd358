//! Where the dial stands: heard, remembered, damaged, unknown.

use crate::support::chain::{at, foreign, moved};
use crate::support::{Front, World, account, code, eventually};
use http::{Method, StatusCode};
use proxy::front::Config;
use serde_json::Value;
use wire::rollout::RolloutBody;
use wire::scalar::Digest;

async fn system_of(front: &Front, account: &str) -> String {
    let answer = front.get(&format!("/accounts/{account}")).await;
    answer.json::<Value>().unwrap()["system"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_front_that_never_heard_a_rollout_serves_the_legacy() {
    let world = World::new().await;
    world.comparator.up(false);
    let front = Front::start(Config { start_wait_ms: 50, ..world.config() }).await;
    assert_eq!(system_of(&front, &account(0, 1)).await, "legacy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_front_serves_by_what_it_last_heard() {
    let world = World::new().await;
    world.comparator.append(moved(1, at(37)));
    world.comparator.append(RolloutBody::Drained { version: 1 });
    let (engine, legacy) = (account(0, 37), account(37, 100));
    let front = world.front().await;
    assert_eq!(system_of(&front, &engine).await, "engine");
    world.comparator.append(moved(2, at(50)));
    world.comparator.append(RolloutBody::Drained { version: 2 });
    front.hears_version(2).await;
    front.stop().await;
    world.comparator.up(false);
    let front = Front::start(Config { start_wait_ms: 50, ..world.config() }).await;
    assert_eq!(system_of(&front, &engine).await, "engine");
    assert_eq!(system_of(&front, &account(37, 50)).await, "engine");
    assert_eq!(system_of(&front, &account(50, 100)).await, "legacy");
    // It takes up the stream where it stood, whatever its boot.
    world.comparator.append(moved(3, at(0)));
    world.comparator.append(RolloutBody::Drained { version: 3 });
    world.comparator.up(true);
    front.hears_version(3).await;
    assert_eq!(system_of(&front, &engine).await, "legacy");
    assert_eq!(system_of(&front, &legacy).await, "legacy");
    let streams = world.comparator.streams();
    assert_eq!((streams[0].boot, streams.last().unwrap().boot), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_memory_is_no_ground_to_serve_on() {
    let world = World::new().await;
    world.comparator.append(moved(1, at(37)));
    world.comparator.append(RolloutBody::Drained { version: 1 });
    let front = world.front().await;
    front.hears_version(1).await;
    front.stop().await;
    let path = world.dir.path().join("front/rollout.state");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    world.comparator.up(false);
    let front = Front::start(Config { start_wait_ms: 50, ..world.config() }).await;
    let engine = account(0, 37);
    for answer in [
        front.get(&format!("/accounts/{engine}")).await,
        front.post("/transactions/topup", &crate::support::topup(&engine, "k")).await,
    ] {
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (503, "RolloutUnknown"));
        assert!(answer.headers.contains_key("retry-after"));
    }
    let ready = front.admin(Method::GET, "/readyz", None, "").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.legacy.count() + world.engine.count(), 0, "nobody was asked at a guess");
    world.comparator.up(true);
    front.hears_version(1).await;
    assert_eq!(system_of(&front, &engine).await, "engine");
    assert_eq!(front.admin(Method::GET, "/readyz", None, "").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_another_chain_is_ignored() {
    let world = World::new().await;
    world.comparator.append(moved(1, at(10)));
    world.comparator.append_bytes(foreign(Digest::of(b"elsewhere"), moved(2, at(100))));
    world.comparator.append(RolloutBody::Drained { version: 1 });
    let front = world.front().await;
    front.hears_version(1).await;
    assert_eq!(system_of(&front, &account(0, 10)).await, "engine");
    assert_eq!(system_of(&front, &account(10, 100)).await, "legacy");
    world.comparator.append(moved(2, at(50)));
    front.hears_version(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_record_stops_the_dial_where_it_was() {
    let world = World::new().await;
    world.comparator.append(moved(1, at(10)));
    world.comparator.append(RolloutBody::Drained { version: 1 });
    let front = world.front().await;
    front.hears_version(1).await;
    world.comparator.append_bytes(b"from the future".to_vec());
    world.comparator.append(moved(2, at(100)));
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let ready = front.admin(Method::GET, "/readyz", None, "").await;
        if ready.status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "it does not say so");
    }
    assert_eq!(system_of(&front, &account(0, 10)).await, "engine");
    assert_eq!(system_of(&front, &account(10, 100)).await, "legacy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_is_picked_up_where_it_broke_off() {
    let world = World::new().await;
    let front = world.front().await;
    for number in 1..=3 {
        world.comparator.append(moved(number, at(0)));
        front.hears_version(number).await;
        world.comparator.up(false);
        world.comparator.up(true);
        let streams = usize::try_from(number).unwrap() + 1;
        eventually("it listens again", || world.comparator.streams().len() >= streams).await;
    }
    world.comparator.append(moved(4, at(0)));
    front.hears_version(4).await;
}
