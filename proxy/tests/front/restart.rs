//! A front that stops, in order or not, and comes back: what it had not shipped goes first, and the end of the old
//! boot is told once.

use crate::support::ingest::Mood;
use crate::support::{Front, World, eventually, result, topup};
use http::StatusCode;
use proxy::front::Config;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use wire::exchange::{ExchangeBody, ExchangeRecord};
use wire::words::Class;

fn ends(records: &[ExchangeRecord]) -> Vec<(u64, bool)> {
    let end = |record: &ExchangeRecord| match record.body {
        ExchangeBody::Ended { clean } => Some((record.boot, clean)),
        _ => None,
    };
    records.iter().filter_map(end).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_shipped_goes_first_after_a_clean_stop() {
    let world = World::new().await;
    world.ingest.is(Mood::Down);
    for boot in 1..=3 {
        let front = world.front().await;
        assert_eq!(front.boot, boot);
        for number in 0..boot {
            front.post("/transactions/topup", &topup("alice", &format!("{boot}-{number}"))).await;
        }
        front.stop().await;
    }
    assert_eq!(world.ingest.count(), 0);
    world.ingest.is(Mood::Well);
    let front = world.front().await;
    front.post("/transactions/topup", &topup("alice", "now")).await;
    eventually("everything arrives", || world.ingest.count() == 3 + 5 + 7 + 2).await;
    world.ingest.assert_whole();
    assert_eq!(ends(&world.ingest.records()), [(1, true), (2, true), (3, true)]);
    let left = || std::fs::read_dir(world.dir.path().join("front")).unwrap().filter_map(Result::ok);
    eventually("what was shipped is removed", || {
        left().filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("boot-"))).count() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_begun_is_unknown_after_an_unclean_stop_and_is_never_sent_again() {
    let world = World::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let front = world.front().await;
    front.post("/transactions/topup", &topup("alice", "done")).await;
    eventually("that is shipped", || world.ingest.count() == 2).await;
    world.legacy.waits_for(&gate);
    let hanging = front.request(http::Method::POST, "/transactions/topup", &[], topup("alice", "open").to_string());
    let client = host::http::Client::new(crate::support::PATIENCE, 1024);
    let waiting = tokio::spawn(async move { client.send(hanging, crate::support::PATIENCE).await });
    eventually("it is at the authority", || world.legacy.count() == 2).await;
    front.kill();
    assert!(waiting.await.unwrap().is_err());

    let front = world.front().await;
    assert_eq!(front.boot, 2);
    eventually("the end of the first boot arrives", || !ends(&world.ingest.records()).is_empty()).await;
    let records = world.ingest.records();
    assert_eq!(ends(&records), [(1, false)]);
    let known: Vec<Class> = records.iter().filter_map(|record| Some(result(record)?.class)).collect();
    assert!(known == [Class::Applied] || known == [Class::Applied, Class::Unknown], "{known:?}");
    front.kill();

    // Nothing was written in the second boot: it is told all the same, and the first is not told again.
    let front = world.front().await;
    eventually("the end of the second boot arrives", || ends(&world.ingest.records()).len() == 2).await;
    assert_eq!(ends(&world.ingest.records()), [(1, false), (2, false)]);
    assert_eq!(front.boot, 3);
    assert_eq!(world.legacy.count(), 2, "nothing was sent again");
    world.ingest.assert_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_lost_its_acknowledgement_of_the_end_is_not_told_twice() {
    let world = World::new().await;
    world.ingest.is(Mood::Mute);
    let front = world.front().await;
    front.post("/transactions/topup", &topup("alice", "k")).await;
    front.stop().await;
    assert_eq!(world.ingest.count(), 3, "it has everything, but the front does not know");
    for _ in 0..2 {
        let front = world.front().await;
        eventually("the boot is connected", || world.ingest.connections() > 1).await;
        front.kill();
    }
    world.ingest.is(Mood::Well);
    let front = world.front().await;
    front.post("/transactions/topup", &topup("alice", "k2")).await;
    eventually("the new boot's records arrive", || {
        world.ingest.records().iter().any(|record| record.boot == front.boot)
    })
    .await;
    world.ingest.assert_whole();
    assert_eq!(ends(&world.ingest.records()).iter().filter(|(boot, _)| *boot == 1).count(), 1);
    assert_eq!(world.ingest.repeats(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanges_that_run_are_finished_before_the_end_is_recorded() {
    let world = World::new().await;
    let gate = Arc::new(Semaphore::new(0));
    world.legacy.waits_for(&gate);
    let front = world.front().await;
    let request = front.request(http::Method::POST, "/transactions/topup", &[], topup("alice", "k").to_string());
    let client = host::http::Client::new(crate::support::PATIENCE, 1 << 20);
    let waiting = tokio::spawn(async move { client.send(request, crate::support::PATIENCE).await });
    eventually("it is at the authority", || world.legacy.count() == 1).await;
    let stopping = tokio::spawn(front.stop());
    gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().unwrap().status, StatusCode::OK);
    stopping.await.unwrap();
    let records = world.ingest.records();
    assert_eq!(ends(&records), [(1, true)]);
    assert_eq!(records.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_record_is_cut_off_and_the_rest_is_shipped() {
    let world = World::new().await;
    world.ingest.is(Mood::Down);
    let front = world.front().await;
    for number in 0..3 {
        front.post("/transactions/topup", &topup("alice", &number.to_string())).await;
    }
    front.kill();
    let segment = world.dir.path().join("front/boot-1/00000000000000000001.journal");
    eventually("the first boot has let go", || host::disk::lock_dir(&world.dir.path().join("front")).is_ok()).await;
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() - 3]).unwrap();
    world.ingest.is(Mood::Well);
    let _front = world.front().await;
    eventually("the first boot arrives", || !ends(&world.ingest.records()).is_empty()).await;
    world.ingest.assert_whole();
    let records: Vec<_> = world.ingest.records().into_iter().filter(|record| record.boot == 1).collect();
    assert_eq!(records.len(), 6, "five whole ones and the end");
    assert_eq!(ends(&records), [(1, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_refused_and_what_is_left_of_it_is_shipped_on_request() {
    let world = World::new().await;
    world.ingest.is(Mood::Down);
    let front = world.front().await;
    for number in 0..3 {
        front.post("/transactions/topup", &topup("alice", &number.to_string())).await;
    }
    front.stop().await;
    let segment = world.dir.path().join("front/boot-1/00000000000000000001.journal");
    let mut bytes = std::fs::read(&segment).unwrap();
    // The length of the first record: nobody can say any more where the second one begins.
    bytes[1] ^= 0x40;
    std::fs::write(&segment, &bytes).unwrap();
    let error = Front::try_start(world.config()).await.err().unwrap().to_string();
    let named = format!("{} from byte 0 to byte ", segment.display());
    assert!(error.contains(&named) && error.contains(": record 1 is missing. "), "{error}");
    assert!(error.contains("--salvage"), "{error}");
    assert_eq!(std::fs::read(&segment).unwrap(), bytes);

    let front = Front::try_start(Config { salvage: true, ..world.config() }).await.unwrap();
    front.kill();
    // The gap is known by now, whether it was shipped or not.
    let _front = world.front().await;
    world.ingest.is(Mood::Well);
    eventually("the first boot arrives", || !ends(&world.ingest.records()).is_empty()).await;
    let records = world.ingest.records().into_iter().filter(|record| record.boot == 1);
    assert_eq!(records.map(|record| record.sequence).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
    let copy = world.dir.path().join("front/damaged/boot-1/00000000000000000001.journal.damaged");
    assert_eq!(std::fs::read(copy).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_boot_counter_stops_the_front_with_a_clear_error() {
    let world = World::new().await;
    world.front().await.stop().await;
    std::fs::write(world.dir.path().join("front/boot"), b"{\"front\":\"fr").unwrap();
    let error = Front::try_start(Config { ..world.config() }).await.err().unwrap();
    assert!(error.to_string().contains("front/boot is damaged"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_that_cannot_be_forgotten_is_not_overtaken_by_a_later_one() {
    let world = World::new().await;
    world.ingest.is(Mood::Down);
    world.front().await.stop().await;
    let front = world.front().await;
    front.post("/transactions/topup", &topup("alice", "k")).await;
    // The file that says whose records these are can neither be removed nor read.
    let named = world.dir.path().join("front/boot-1/boot");
    std::fs::remove_file(&named).unwrap();
    std::fs::create_dir(&named).unwrap();
    world.ingest.is(Mood::Well);
    let deadline = Instant::now() + crate::support::PATIENCE;
    loop {
        let body = front.admin(http::Method::GET, "/readyz", None, "").await.body;
        if String::from_utf8_lossy(&body).contains("cannot forget boot 1") {
            break;
        }
        assert!(Instant::now() < deadline, "nobody is told");
    }
    assert!(world.ingest.records().iter().all(|record| record.boot == 1));
    std::fs::remove_dir(&named).unwrap();
    eventually("the later boot is shipped", || world.ingest.count() == 3).await;
    world.ingest.assert_whole();
}
