//! A legacy without faults is found without faults, at either pace, also when it goes away for a while.

use crate::legacy::{Legacy, observer, runner, runner_with, verify};
use host::task::Shutdown;
use std::time::{Duration, Instant};
use testbed_auditor::Expectations;
use testbed_legacy::Config;
use testbed_loadgen::runner::{Options, Pace};

const SEED: u64 = 20_261_123;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_loop_is_clean() {
    let legacy = Legacy::start(Config::default()).await;
    let observer = observer(Expectations::default());
    let runner = runner(&legacy, 3_000, SEED, &observer);
    runner.create_accounts().await.unwrap();
    let report = runner.run(&Shutdown::new()).await;
    assert_eq!(verify(&legacy, &observer).await, Vec::<String>::new(), "seed {SEED}");
    let counted = report.counted;
    assert!((3_000..3_010).contains(&counted.sent), "{report:?}");
    assert_eq!((counted.errors, counted.unknown, report.unknown_keys), (0, 0, 0), "{report:?}");
    assert_eq!(counted.ok + counted.refused + counted.rejected, counted.sent, "{report:?}");
    assert!(counted.ok > 1_500 && counted.refused > 200 && counted.rejected > 3, "{report:?}");
    assert!(counted.replayed >= 300, "{report:?}");
    assert!(report.latency.count == counted.sent && report.latency.p50_micros > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_that_leave_their_key_are_no_violation() {
    let legacy = Legacy::start(Config { refusal_keeps_key: false, ..Config::default() }).await;
    let observer = observer(Expectations { refusal_keeps_key: false, ..Expectations::default() });
    let runner = runner(&legacy, 1_500, SEED, &observer);
    runner.create_accounts().await.unwrap();
    runner.run(&Shutdown::new()).await;
    assert_eq!(verify(&legacy, &observer).await, Vec::<String>::new(), "seed {SEED}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_keeps_its_rate_and_counts_waiting() {
    let legacy = Legacy::start(Config::default()).await;
    let observer = observer(Expectations::default());
    // One at a time, so that most requests are late: the latency has to show it.
    let options = Options {
        base_urls: vec![legacy.url.clone()],
        pace: Pace::Open { per_second: 100_000.0 },
        max_requests: 500,
        max_in_flight: 1,
        ..Options::default()
    };
    let runner = runner_with(options.clone(), SEED, &observer);
    runner.create_accounts().await.unwrap();
    let report = runner.run(&Shutdown::new()).await;
    assert!(
        report.latency.max_micros / 1_000 >= report.elapsed_millis * 8 / 10,
        "the last was due at once: {report:?}"
    );
    // Half of them waited for 250 others: for ten at the least, also if the machine stood still near the end.
    assert!(report.latency.p50_micros / 1_000 >= report.elapsed_millis * 10 / 500, "{report:?}");

    // A rate that it can keep: the run takes as long as the rate says.
    let options = Options { pace: Pace::Open { per_second: 400.0 }, max_requests: 200, max_in_flight: 100, ..options };
    let runner = runner_with(options, SEED + 1, &observer);
    let report = runner.run(&Shutdown::new()).await;
    assert!(report.elapsed_millis >= 450 && report.per_second < 450.0, "{report:?}");
    assert_eq!(report.counted.errors, 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_stops_when_told() {
    let legacy = Legacy::start(Config::default()).await;
    let observer = observer(Expectations::default());
    let runner = runner(&legacy, u64::MAX, SEED, &observer);
    runner.create_accounts().await.unwrap();
    let stop = Shutdown::new();
    let running = host::task::spawn({
        let (runner, stop) = (runner.clone(), stop.clone());
        async move { runner.run(&stop).await }
    });
    let counters = runner.counters();
    let deadline = Instant::now() + Duration::from_secs(20);
    while counters.read().ok < 100 {
        assert!(Instant::now() < deadline, "{:?}", counters.read());
        tokio::task::yield_now().await;
    }
    stop.stop();
    let report = running.await.unwrap();
    assert!(report.counted.sent >= 100, "{report:?}");
    assert_eq!(verify(&legacy, &observer).await, Vec::<String>::new(), "seed {SEED}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_loses_and_doubles_nothing() {
    let legacy = Legacy::start(Config::default()).await;
    let observer = observer(Expectations::default());
    let runner = runner(&legacy, 3_000, SEED, &observer);
    runner.create_accounts().await.unwrap();
    let running = host::task::spawn({
        let runner = runner.clone();
        async move { runner.run(&Shutdown::new()).await }
    });
    let counters = runner.counters();
    let deadline = Instant::now() + Duration::from_secs(20);
    while counters.read().ok < 500 {
        assert!(Instant::now() < deadline, "{:?}", counters.read());
        tokio::task::yield_now().await;
    }
    let legacy = legacy.restart().await;
    let report = running.await.unwrap();
    assert_eq!(report.unknown_keys, 0, "lost requests were sent again: {report:?}");
    assert_eq!(verify(&legacy, &observer).await, Vec::<String>::new(), "seed {SEED}");
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let observer = observer(Expectations::default());
    // A port that was free a moment ago.
    let free = host::net::listen("127.0.0.1:0".parse().unwrap()).await.unwrap().local_addr().unwrap();
    let options = Options {
        base_urls: vec![format!("http://{free}")],
        max_requests: 20,
        give_up_after: Duration::ZERO,
        ..Options::default()
    };
    let runner = runner_with(options, SEED, &observer);
    let error = runner.create_accounts().await.unwrap_err().to_string();
    assert!(error.contains(&free.to_string()), "{error}");
    let report = runner.run(&Shutdown::new()).await;
    assert_eq!((report.counted.errors, report.counted.sent), (report.counted.sent, report.counted.sent));
    assert_eq!((report.counted.unknown, report.unknown_keys), (0, 0), "not sent is not unknown: {report:?}");
}
