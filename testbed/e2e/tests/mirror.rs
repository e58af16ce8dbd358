//! The cluster is lost, and everything goes on in a mirror of its topics.
//!
//! Needs the services of `./dev services up`, and `CROSSFADE_TRIAL_LOG=kafka`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::ensure;
use crossfade::demo::cluster;
use crossfade::demo::site::Changes;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use testbed_e2e::checks;
use testbed_e2e::services;
use testbed_e2e::system::{Layout, System};
use testbed_loadgen::system::System as Read;

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
const EXCHANGES: u64 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cluster_goes_on_in_its_mirror() -> anyhow::Result<()> {
    let mut system = System::start(Path::new(BINARY), Layout::Four, &Changes::default()).await?;
    let lost = system.cluster()?.clone();
    system.dial("shadow", false).await?;
    system.dial("37", false).await?;
    let auditor = checks::auditor(true);
    system.exchange(&auditor, "before", EXCHANGES).await?;
    println!("{} public events before", checks::public_events_agree(&lost, &system.site.engine()).await?);
    let (told, judged) = (Read::new(system.site.engine()).transactions().await?, system.exchanges().await?);
    system.stop_processes().await?;

    let mirror = cluster::take().await?;
    let prefixes = [&lost, &mirror].map(|cluster| cluster.kafka.topic_prefix.as_str());
    let copied = services::consumer("mirror.py", &[&lost.kafka.bootstrap, prefixes[0], prefixes[1]])?;
    println!("copied: {copied}");
    system.lose_cluster(mirror.clone()).await?;
    let began = Instant::now();
    let check = Command::new(BINARY).args(["topics", "check", "--config"]).arg(&system.site.config).output()?;
    ensure!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    for name in Layout::Four.processes() {
        system.start_process(name).await?;
    }
    println!("all parts are ready after {:.1?}", began.elapsed());

    // Also when everything happened is the same.
    ensure!(Read::new(system.site.engine()).transactions().await? == told, "the past is another one");
    ensure!(system.exchanges().await? == judged, "the past is judged otherwise");
    checks::every_effect_once(&system, &auditor).await?;
    system.until_judged(Duration::from_secs(60)).await?;
    checks::all_balances_agree(&system, &auditor).await?;
    system.exchange(&auditor, "after", EXCHANGES).await?;
    println!("{} public events at the end", checks::public_events_agree(&mirror, &system.site.engine()).await?);
    // Compares the projections with the log, row by row, where there is a database.
    system.stop().await
}
