//! The engine is down for a minute under load at 0 %: no client notices, and everything is delivered afterwards.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::ensure;
use crossfade::demo::site::Changes;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::system::{Layout, System, rate};
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
/// How long the engine is down.
const DOWN: Duration = Duration::from_secs(60);
/// Requests a second meanwhile.
const REQUESTS_PER_SECOND: f64 = 200.0;

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_an_engine_that_is_down() -> anyhow::Result<()> {
    let mut system = System::start(Path::new(BINARY), Layout::Four, &Changes::default()).await?;
    system.dial("shadow", false).await?;
    let auditor = checks::auditor(false);
    let options = Options {
        base_urls: vec![system.site.front()],
        pace: Pace::Open { per_second: rate(REQUESTS_PER_SECOND) },
        max_requests: u64::MAX,
        ..Options::default()
    };
    let runner = Runner::new(options, Workload::new(Config::default()), Auditor::clone(&auditor));
    runner.create_accounts().await?;
    let traffic = host::task::Shutdown::new();
    let sending = {
        let (runner, traffic) = (Arc::clone(&runner), traffic.clone());
        tokio::spawn(async move { runner.run(&traffic).await })
    };
    system.kill("engine")?;
    let errors_before = runner.counters().read().errors;
    host::clock::sleep(DOWN).await;
    let errors = runner.counters().read().errors - errors_before;
    system.start_process("engine").await?;
    traffic.stop();
    sending.await?;
    let sent = runner.counters().read().sent;
    let (summary, _) = system.until_judged(Duration::from_secs(400)).await?;
    let rate =
        summary.rates.iter().find(|rate| rate.route == "total" && rate.window == "all").map(|rate| rate.adjusted);
    println!("{sent} requests, {errors} client errors, {} exchanges, adjusted match rate {rate:?}", summary.exchanges);
    ensure!(errors == 0, "{errors} client errors while the engine was down");
    ensure!(summary.exchanges >= sent, "{sent} requests were sent, but {} exchanges captured", summary.exchanges);
    ensure!(rate == Some(1.0), "adjusted match rate {rate:?}: {:?}", summary.verdicts);
    checks::all_balances_agree(&system, &auditor).await?;
    system.stop().await
}
