//! `./dev bench engine`: one HTTP request per transaction, fsync on, 64 connections.
//!
//! The engine runs as a process of its own on fresh data; topups are spread over many accounts, then go to one.

#![allow(clippy::print_stdout, reason = "its figures are its result")]

use anyhow::{Context, bail};
use crossfade::demo::site::{Changes, Site};
use host::http::Client;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed_auditor::{Expectations, Observer};
use testbed_e2e::process::Process;
use testbed_loadgen::report::Report;
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};

/// As DESIGN 8 asks.
const CONNECTIONS: usize = 64;
/// Long enough to be past warming up.
const REQUESTS: u64 = 60_000;
/// Sent before anything is measured.
const WARM_UP: u64 = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("engine") => engine().await,
        other => bail!("there is no benchmark `{}`: try `bench engine`", other.unwrap_or_default()),
    }
}

async fn engine() -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("crossfade-bench-").tempdir()?;
    let site = Site::create(folder.path(), &Changes::default()).await?;
    let binary = std::env::current_exe()?.with_file_name("crossfade-under-test");
    let config = site.config.to_string_lossy().into_owned();
    let mut process = Process::start(&binary, "engine", &["engine", "--config", &config], folder.path())?;
    let client = Client::new(Duration::from_secs(1), 64 << 20);
    let ready = format!("{}/readyz", site.engine());
    process
        .until_ready(async || {
            let answer = client.get(&ready, None, Duration::from_secs(1)).await;
            answer.is_ok_and(|answer| answer.status.is_success())
        })
        .await?;
    for (name, users) in [("1,000 accounts", 1_000), ("one hot account", 1)] {
        run(&site, &format!("warm-{users}"), users, WARM_UP).await?;
        let before = commits(&client, &site).await?;
        let report = run(&site, &format!("run-{users}"), users, REQUESTS).await?;
        let commits = commits(&client, &site).await? - before;
        println!(
            "topups on {name}: {:.0}/s, p50 {:.1} ms, p99 {:.1} ms, {} errors, {commits} commits (fsyncs), {:.1} transactions per commit",
            report.per_second,
            report.latency.p50_micros as f64 / 1000.0,
            report.latency.p99_micros as f64 / 1000.0,
            report.counted.errors,
            report.counted.sent as f64 / commits.max(1) as f64,
        );
    }
    process.stop().await
}

async fn run(site: &Site, prefix: &str, users: usize, requests: u64) -> anyhow::Result<Report> {
    let workload = Workload::new(Config {
        prefix: prefix.to_owned(),
        users,
        hot_users: 1,
        limited_users: 0,
        hot_permille: 0,
        retry_permille: 0,
        duplicate_permille: 0,
        insufficient_permille: 0,
        odd_permille: 0,
        invalid_permille: 0,
        mix: [1, 0, 0, 0],
        ..Config::default()
    });
    let options = Options {
        base_url: site.engine(),
        pace: Pace::Closed { connections: CONNECTIONS },
        max_requests: requests,
        ..Options::default()
    };
    let runner = Runner::new(options, workload, Arc::new(Mutex::new(Observer::new(Expectations::default()))));
    runner.create_accounts().await?;
    Ok(runner.run(&host::task::Shutdown::new()).await)
}

/// Durable commits of the engine's log so far: each is one fsync.
async fn commits(client: &Client, site: &Site) -> anyhow::Result<u64> {
    let answer = client.get(&format!("{}/metrics", site.engine()), None, Duration::from_secs(5)).await?;
    let text = String::from_utf8(answer.body.to_vec())?;
    let line = text.lines().find_map(|line| line.strip_prefix("crossfade_log_commits_total "));
    Ok(line.context("the engine does not export its commits")?.parse()?)
}
