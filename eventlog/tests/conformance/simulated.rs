//! The simulated log keeps to the contract as long as nothing fails in it, also when everything takes its time; and what
//! fails in it fails as it should.

use crate::suite;
use eventlog::simulated::{Broker, Fault, Faults};
use eventlog::{AppendError, Log, NewRecord, Record};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A broker at which nothing goes wrong.
pub struct Calm(Arc<Broker>);

/// A broker and readers that are late all the time.
pub struct Slow(Arc<Broker>);

const LATE: Faults =
    Faults { appends_permille: 100, reads_permille: 100, longest: Duration::from_millis(10), only_slow: true };

impl suite::Bed for Calm {
    async fn new() -> Self {
        Self(Broker::new(1, Faults::NONE))
    }

    fn open(&self) -> Arc<dyn Log> {
        self.0.client()
    }
}

impl suite::Bed for Slow {
    async fn new() -> Self {
        Self(Broker::new(1, LATE))
    }

    fn open(&self) -> Arc<dyn Log> {
        self.0.client()
    }
}

fn text(record: &Record) -> &str {
    std::str::from_utf8(&record.value).unwrap()
}

fn records(texts: &[&str]) -> Vec<NewRecord> {
    texts.iter().map(|text| NewRecord::of((*text).to_owned())).collect()
}

/// Runs on one thread with a clock that jumps to whatever is awaited next.
fn in_simulated_time<T>(simulation: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(suite::within(simulation))
}

/// What came of a seed.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    appended: Vec<Result<u64, AppendError>>,
    seen: Vec<Record>,
    fired: BTreeMap<Fault, u64>,
}

/// Appends batches of three, all of them at once, and tails what comes of it; everything is faulty.
async fn run(seed: u64) -> Ran {
    const BATCHES: usize = 60;
    let longest = Duration::from_millis(500);
    let broker = Broker::new(seed, Faults { appends_permille: 400, reads_permille: 300, longest, only_slow: false });
    let client = broker.client();
    let appends = (0..BATCHES).map(|number| {
        let batch = ["a", "b", "c"].map(|part| NewRecord::of(format!("{number}{part}")));
        client.append("t", 0, batch.into())
    });
    let appended = join_all(appends).await;
    // Whatever is late has come.
    host::clock::sleep(2 * longest).await;
    let (mut tail, mut seen) = (client.tail("t", 0, 0), Vec::new());
    let end = loop {
        if let Ok(end) = client.end("t", 0).await {
            break end;
        }
    };
    while (seen.len() as u64) < end {
        if let Ok(records) = tail.next(7).await {
            seen.extend(records);
        }
    }
    Ran { appended, seen, fired: broker.fired() }
}

#[test]
fn what_is_said_of_an_append_is_true_whatever_goes_wrong() {
    let mut fired = BTreeMap::<Fault, u64>::new();
    for seed in 0..30 {
        let ran = in_simulated_time(run(seed));
        assert!(ran.seen.iter().enumerate().all(|(index, record)| record.offset == index as u64), "seed {seed}");
        let seen: Vec<&str> = ran.seen.iter().map(text).collect();
        for (number, appended) in ran.appended.iter().enumerate() {
            let batch = ["a", "b", "c"].map(|part| format!("{number}{part}"));
            let times = seen.iter().filter(|seen| **seen == batch[0]).count();
            match appended {
                Ok(first) => assert_eq!(seen[*first as usize..][..3], batch, "seed {seed}"),
                Err(AppendError::NotAppended(_)) => assert_eq!(times, 0, "seed {seed}: {number}"),
                Err(AppendError::Unknown(_)) => assert!(times <= 1, "seed {seed}: {number}"),
            }
        }
        for (fault, times) in ran.fired {
            *fired.entry(fault).or_default() += times;
        }
    }
    assert_eq!(fired.len(), 10, "all but those of crashes: {fired:?}");
}

#[test]
fn a_seed_says_everything_that_happens() {
    assert_eq!(in_simulated_time(run(7)), in_simulated_time(run(7)));
    assert_ne!(in_simulated_time(run(7)).seen, in_simulated_time(run(8)).seen);
}

#[test]
fn what_a_killed_process_had_on_its_way_comes_or_does_not() {
    in_simulated_time(async {
        let broker = Broker::new(1, Faults::NONE);
        for number in 0..40 {
            let client = broker.client();
            let appending = Arc::clone(&client);
            let append = tokio::spawn(async move { appending.append("t", 0, records(&[&number.to_string()])).await });
            client.pause();
            tokio::task::yield_now().await;
            client.kill();
            assert!(matches!(append.await.unwrap(), Err(AppendError::Unknown(_))));
            client.resume();
            assert!(client.read("t", 0, 0, 1).await.is_err(), "it is dead for good");
        }
        let fired = broker.fired();
        assert_eq!(fired[&Fault::LandedAtCrash] + fired[&Fault::LostAtCrash], 40);
        assert_eq!(broker.client().end("t", 0).await, Ok(fired[&Fault::LandedAtCrash]));
        assert!(fired[&Fault::LostAtCrash] > 0);
    });
}

#[test]
fn nothing_leaves_or_reaches_a_paused_process() {
    in_simulated_time(async {
        let broker = Broker::new(1, Faults::NONE);
        let (client, other) = (broker.client(), broker.client());
        let mut tail = client.tail("t", 0, 0);
        client.pause();
        let append = tokio::spawn({
            let client = Arc::clone(&client);
            async move { client.append("t", 0, records(&["mine"])).await }
        });
        assert_eq!(other.append("t", 0, records(&["other"])).await, Ok(0));
        let waited = host::clock::timeout(Duration::from_secs(10), tail.next(10)).await;
        assert!(waited.is_err() && other.end("t", 0).await == Ok(1));
        client.resume();
        assert_eq!(append.await.unwrap(), Ok(1));
        assert_eq!(tail.next(10).await.unwrap().iter().map(text).collect::<Vec<_>>(), ["other", "mine"]);
    });
}

#[test]
fn times_never_fall_when_the_clock_does() {
    in_simulated_time(async {
        let (broker, mut times) = (Broker::new(1, Faults::NONE), Vec::new());
        let client = broker.client();
        for moved in [0, 3_600_000_000, -7_200_000_000, 0] {
            broker.move_clock(moved);
            let first = client.append("t", 0, records(&["x"])).await.unwrap();
            times.extend(client.read("t", 0, first, 1).await.unwrap().iter().map(|record| record.at_micros));
        }
        assert!(times.is_sorted() && times[1] - times[0] >= 3_600_000_000, "{times:?}");
        assert_eq!(times[1], times[2]);
    });
}
