//! Moves of the dial with requests running, on real sockets.

use crate::support::chain::{abort, at, commit, moved, prepare};
use crate::support::ingest::Mood;
use crate::support::{Front, World, account, accounts, eventually, intent, topup};
use http::StatusCode;
use proxy::front::Config;
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use wire::rollout::{FrontBoot, RolloutBody};
use wire::words::System;

fn me() -> FrontBoot {
    FrontBoot { front: "front-a".into(), boot: 1 }
}

/// A topup in the background; answers which system answered.
fn begin(front: &Arc<Front>, account: &str, key: &str) -> JoinHandle<String> {
    let (front, body) = (front.clone(), topup(account, key));
    tokio::spawn(async move {
        let answer = front.post("/transactions/topup", &body).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.json::<Value>().unwrap()["system"].as_str().unwrap().to_owned()
    })
}

/// A read in the background; answers which system answered.
fn read(front: &Arc<Front>, account: &str) -> JoinHandle<String> {
    let (front, path) = (front.clone(), format!("/accounts/{account}"));
    tokio::spawn(async move { front.get(&path).await.json::<Value>().unwrap()["system"].as_str().unwrap().to_owned() })
}

/// A world whose dial stands at a percentage, and a front in it that has heard so.
async fn standing_at(percent: u16, handover_ms: u64) -> (World, Arc<Front>) {
    let world = World::new().await;
    world.comparator.append(moved(1, at(percent)));
    world.comparator.append(RolloutBody::Drained { version: 1 });
    let front = Arc::new(Front::start(Config { handover_ms, ..world.config() }).await);
    let authority = if percent == 0 { "legacy" } else { "engine" };
    assert_eq!(begin(&front, &account(0, 1), "first").await.unwrap(), authority);
    eventually("the first is shipped", || world.ingest.count() == 2).await;
    (world, front)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_holds_ships_answers_and_releases_to_the_new_authority() {
    let (world, front) = standing_at(10, 5_000).await;
    let (moving, staying) = (account(10, 25), account(25, 100));
    let gate = Arc::new(Semaphore::new(0));
    world.legacy.waits_for(&gate);
    let running = begin(&front, &moving, "running");
    eventually("it runs", || world.legacy.count() == 1).await;
    world.comparator.append(prepare(2, at(25), &[me()]));
    front.hears_prepare().await;
    let held = begin(&front, &moving, "held");
    let read = read(&front, &moving);
    assert!(world.comparator.prepared().is_empty(), "something still runs");
    gate.add_permits(1);
    assert_eq!(running.await.unwrap(), "legacy");
    eventually("the front answers", || !world.comparator.prepared().is_empty()).await;
    let answer = world.comparator.prepared().remove(0);
    assert_eq!((answer.version, answer.front.as_str(), answer.boot), (2, "front-a", 1));
    assert!(answer.unknown_accounts.is_empty());
    assert!(world.ingest.count() as u64 >= answer.mark, "everything up to the mark is shipped");
    assert_eq!(answer.mark, 4, "the first and the running exchange");
    gate.add_permits(100);
    assert_eq!(begin(&front, &staying, "other").await.unwrap(), "legacy", "others go on");
    assert!(!held.is_finished() && !read.is_finished());
    world.comparator.append(RolloutBody::Drained { version: 2 });
    world.comparator.append(commit(2, &[]));
    assert_eq!(held.await.unwrap(), "engine");
    assert_eq!(read.await.unwrap(), "engine");
    eventually("it is recorded", || world.ingest.count() == 8).await;
    let records = world.ingest.records();
    let released = records.iter().filter_map(intent).find(|intent| intent.key.as_deref() == Some("held")).unwrap();
    assert_eq!((released.version, released.authority, released.overtaken), (2, System::Engine, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_that_does_not_end_in_time_makes_its_account_unknown() {
    let (world, front) = standing_at(10, 2_000).await;
    let slow = account(10, 25);
    let quick = accounts(10, 25).nth(1).unwrap();
    let gate = Arc::new(Semaphore::new(0));
    world.legacy.waits_for(&gate);
    let running = begin(&front, &slow, "slow");
    eventually("it runs", || world.legacy.count() == 1).await;
    world.comparator.append(prepare(2, at(25), &[me()]));
    eventually("the front answers without it", || !world.comparator.prepared().is_empty()).await;
    assert_eq!(world.comparator.prepared()[0].unknown_accounts, std::slice::from_ref(&slow));
    world.comparator.append(commit(2, &[&slow]));
    front.hears_version(2).await;
    assert_eq!(begin(&front, &quick, "quick").await.unwrap(), "engine");
    gate.add_permits(100);
    assert_eq!(running.await.unwrap(), "legacy");
    assert_eq!(begin(&front, &slow, "again").await.unwrap(), "legacy", "it stays with its old authority");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_nobody_knows_makes_its_account_unknown() {
    let (world, front) = standing_at(10, 10_000).await;
    let moving = account(10, 25);
    let gate = Arc::new(Semaphore::new(0));
    world.legacy.always(crate::support::system::Reply::code(500, "X"));
    world.legacy.waits_for(&gate);
    let (sending, body) = (front.clone(), topup(&moving, "k"));
    let request = tokio::spawn(async move { sending.post("/transactions/topup", &body).await });
    eventually("it runs", || world.legacy.count() == 1).await;
    world.comparator.append(prepare(2, at(25), &[me()]));
    front.hears_prepare().await;
    gate.add_permits(100);
    assert_eq!(request.await.unwrap().status.as_u16(), 500);
    eventually("the front answers", || !world.comparator.prepared().is_empty()).await;
    assert_eq!(world.comparator.prepared()[0].unknown_accounts, [moving]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_releases_to_the_old_authority() {
    let (world, front) = standing_at(10, 5_000).await;
    world.comparator.append(prepare(2, at(25), &[me()]));
    eventually("the front answers", || !world.comparator.prepared().is_empty()).await;
    let held = begin(&front, &account(10, 25), "held");
    world.comparator.append(abort(2));
    assert_eq!(held.await.unwrap(), "legacy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_releases_to_the_old_authority_and_a_late_commit_counts_it() {
    let (world, front) = standing_at(10, 300).await;
    let moving = account(10, 25);
    world.comparator.append(prepare(2, at(25), &[me()]));
    eventually("the front answers", || !world.comparator.prepared().is_empty()).await;
    let begun = Instant::now();
    assert_eq!(begin(&front, &moving, "held").await.unwrap(), "legacy");
    assert!(begun.elapsed() < Duration::from_secs(10), "it was held for too long");
    let overtaken = async || {
        let text = front.admin(http::Method::GET, "/metrics", None, "").await.body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let line = text.lines().find(|line| line.starts_with("crossfade_overtaken_total ")).map(str::to_owned);
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    };
    let before = overtaken().await;
    // Whatever else is heard in between, what went on is not forgotten.
    world.comparator.append(RolloutBody::Drained { version: 2 });
    world.comparator.append(commit(2, &[]));
    front.hears_version(2).await;
    assert_eq!(begin(&front, &moving, "late").await.unwrap(), "engine");
    // Other tests in this process may count too, but never take away.
    assert!(overtaken().await > before, "what went on in silence is counted");
    eventually("it is recorded", || {
        world
            .ingest
            .records()
            .iter()
            .filter_map(intent)
            .any(|intent| intent.authority == System::Engine && intent.overtaken)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_on_in_silence_after_a_restart_is_not_forgotten() {
    let (world, front) = standing_at(10, 300).await;
    let moving = account(10, 25);
    world.comparator.append(prepare(2, at(25), &[me()]));
    eventually("the front answers", || !world.comparator.prepared().is_empty()).await;
    Arc::into_inner(front).unwrap().stop().await;
    world.comparator.up(false);
    let config = Config { handover_ms: 300, start_wait_ms: 50, ..world.config() };
    let front = Arc::new(Front::start(config).await);
    assert_eq!(begin(&front, &moving, "held").await.unwrap(), "legacy");
    world.comparator.append(RolloutBody::Drained { version: 2 });
    world.comparator.append(commit(2, &[]));
    world.comparator.up(true);
    front.hears_version(2).await;
    assert_eq!(begin(&front, &moving, "late").await.unwrap(), "engine");
    eventually("it is recorded as overtaken", || {
        let intents = world.ingest.records();
        intents.iter().filter_map(intent).any(|intent| intent.authority == System::Engine && intent.overtaken)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_takes_nothing_keeps_the_front_from_answering() {
    let (world, front) = standing_at(10, 200).await;
    world.ingest.is(Mood::Down);
    assert_eq!(begin(&front, &account(25, 100), "unshipped").await.unwrap(), "legacy");
    world.comparator.append(prepare(2, at(25), &[me()]));
    front.hears_prepare().await;
    assert_eq!(begin(&front, &account(10, 25), "held").await.unwrap(), "legacy");
    assert!(world.comparator.prepared().is_empty(), "it has not shipped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn down_is_at_once_and_waits_for_drained() {
    let (world, front) = standing_at(25, 20_000).await;
    let (moving, staying) = (account(10, 25), account(0, 10));
    assert_eq!(begin(&front, &moving, "up here").await.unwrap(), "engine");
    world.comparator.append(moved(2, at(10)));
    front.hears_version(2).await;
    let held = begin(&front, &moving, "held");
    assert_eq!(begin(&front, &staying, "stays").await.unwrap(), "engine");
    assert!(!held.is_finished());
    world.comparator.append(RolloutBody::Drained { version: 2 });
    assert_eq!(held.await.unwrap(), "legacy");
    eventually("it is recorded", || {
        let records = world.ingest.records();
        records.iter().filter_map(intent).any(|intent| intent.version == 2 && intent.authority == System::Legacy)
    })
    .await;
    assert!(world.ingest.records().iter().filter_map(intent).all(|intent| !intent.overtaken));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn down_goes_on_without_drained_after_the_handovers_time() {
    let (world, front) = standing_at(25, 200).await;
    let moving = account(10, 25);
    world.comparator.append(moved(2, at(10)));
    front.hears_version(2).await;
    assert_eq!(begin(&front, &moving, "k").await.unwrap(), "legacy");
    let overtaken = |world: &World| {
        world
            .ingest
            .records()
            .iter()
            .filter_map(intent)
            .filter(|intent| intent.version == 2 && intent.overtaken)
            .count()
    };
    eventually("it is recorded as overtaken", || overtaken(&world) == 1 && world.ingest.count() == 4).await;
    world.comparator.append(RolloutBody::Drained { version: 2 });
    let deadline = Instant::now() + crate::support::PATIENCE;
    loop {
        let before = (overtaken(&world), world.ingest.count());
        begin(&front, &moving, "later").await.unwrap();
        eventually("it is recorded", || world.ingest.count() == before.1 + 2).await;
        if overtaken(&world) == before.0 {
            break;
        }
        assert!(Instant::now() < deadline, "it stays overtaken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn down_tells_its_mark_once_nothing_runs_at_the_old_authority() {
    let (world, front) = standing_at(25, 200).await;
    let moving = account(10, 25);
    let gate = Arc::new(Semaphore::new(0));
    world.engine.waits_for(&gate);
    let before = world.engine.count();
    let running = begin(&front, &moving, "running");
    eventually("it runs", || world.engine.count() > before).await;
    world.comparator.append(moved(2, at(10)));
    front.hears_version(2).await;
    assert_eq!(begin(&front, &moving, "overtakes").await.unwrap(), "legacy");
    assert!(world.comparator.prepared().is_empty(), "something still runs at the engine");
    gate.add_permits(100);
    assert_eq!(running.await.unwrap(), "engine");
    eventually("the front tells its mark", || !world.comparator.prepared().is_empty()).await;
    let told = world.comparator.prepared().remove(0);
    assert_eq!((told.version, told.front.as_str(), told.boot), (2, "front-a", 1));
    assert!(told.mark >= 6, "two exchanges, and what was running");
    assert!(world.ingest.count() as u64 >= told.mark, "everything up to the mark is shipped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_boot_vouches_for_nothing_before_older_boots_are_shipped() {
    let (world, front) = standing_at(25, 200).await;
    world.ingest.is(Mood::Down);
    begin(&front, &account(0, 10), "unshipped").await.unwrap();
    Arc::into_inner(front).expect("nobody else has it").kill();
    world.comparator.append(moved(2, at(10)));
    world.comparator.append(prepare(3, at(50), &[FrontBoot { front: "front-a".into(), boot: 2 }]));
    let front = Front::start(Config { handover_ms: 10_000, ..world.config() }).await;
    front.hears_prepare().await;
    // It has nothing of its own to ship.
    assert!(world.comparator.prepared().is_empty(), "the first boot is not shipped");
    world.ingest.is(Mood::Well);
    eventually("both are told", || world.comparator.prepared().len() == 2).await;
    assert!(world.comparator.prepared().iter().all(|told| told.boot == 2 && told.mark > 0));
    let records = world.ingest.records();
    assert!(records.iter().filter_map(intent).any(|intent| intent.key.as_deref() == Some("unshipped")));
}
