//! `./dev bench projector` is [`projector`], `./dev bench restart` [`restart`]. `./dev bench engine`: one HTTP request per transaction, fsync on, 64 connections; then batches.
//!
//! The engine runs as a process of its own on fresh data; topups are spread over many accounts, then go to one. With
//! `--kafka` its log is in the cluster that the environment names, and the same is measured at a steady rate as well.

#![allow(clippy::print_stdout, reason = "its figures are its result")]

mod projector;
mod restart;

use anyhow::{Context, bail};
use bytes::Bytes;
use crossfade::demo::cluster;
use crossfade::demo::site::{Changes, Site};
use futures_util::StreamExt;
use host::http::Client;
use http::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testbed_auditor::{Expectations, Observer};
use testbed_e2e::process::Process;
use testbed_loadgen::report::Report;
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};
use wire::billing::AccountPage;

/// As DESIGN 8 asks.
const CONNECTIONS: usize = 64;
/// Long enough to be past warming up.
const REQUESTS: u64 = 60_000;
/// Sent before anything is measured.
const WARM_UP: u64 = 10_000;
/// Requests a second of the steady run, and how many.
const STEADY_RATE: f64 = 500.0;
const STEADY_WARM_UP: u64 = 30_000;
const STEADY_REQUESTS: u64 = 30_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["engine"] => engine(None).await,
        ["engine", "--kafka"] => {
            let cluster = cluster::take().await?;
            let measured = engine(Some(cluster.clone())).await;
            cluster::give_back(&cluster).await?;
            measured
        }
        ["projector"] => projector::run(1_000_000, 2_000_000).await,
        ["projector", accounts, transactions] => projector::run(accounts.parse()?, transactions.parse()?).await,
        ["restart"] => restart::run(1_000_000, 2_000_000).await,
        ["restart", accounts, transactions] => restart::run(accounts.parse()?, transactions.parse()?).await,
        _ => bail!("there is no benchmark `{}`: see `./dev help`", arguments.join(" ")),
    }
}

async fn engine(cluster: Option<cluster::Cluster>) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("crossfade-bench-").tempdir()?;
    let site = Site::create(folder.path(), &Changes { cluster: cluster.clone(), ..Changes::default() }).await?;
    let binary = std::env::current_exe()?.with_file_name("crossfade-under-test");
    let config = site.config.to_string_lossy().into_owned();
    let mut process = Process::start(&binary, "engine", &["engine", "--config", &config], &[], folder.path())?;
    let client = Client::new(Duration::from_secs(1), 64 << 20);
    let ready = format!("{}/readyz", site.engine());
    process
        .until_ready(async || {
            let answer = client.get(&ready, None, Duration::from_secs(1)).await;
            answer.is_ok_and(|answer| answer.status.is_success())
        })
        .await?;
    if cluster.is_some() {
        steady(&site).await?;
    }
    let closed = Pace::Closed { connections: CONNECTIONS, think: Duration::ZERO };
    let requests = if cluster.is_some() { REQUESTS / 3 } else { REQUESTS };
    for (name, users) in [("1,000 accounts", 1_000), ("one hot account", 1)] {
        run(&site, &format!("warm-{users}"), users, WARM_UP, closed).await?;
        if cluster.is_some() {
            let report = run(&site, &format!("run-{users}"), users, requests, closed).await?;
            println!(
                "topups on {name}: {:.0}/s, {}, {} errors",
                report.per_second,
                spread(&report),
                report.counted.errors
            );
            continue;
        }
        let before = commits(&client, &site).await?;
        let report = run(&site, &format!("run-{users}"), users, requests, closed).await?;
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
    batches(&client, &site).await?;
    process.stop().await
}

/// Transactions in a batch, batches sent, and how many of them at once: large enough that reading requests and writing
/// answers is a small part, few enough to be answered within the 5 s that an engine waits.
const BATCH: usize = 5_000;
const BATCHES: usize = 60;
const BATCHES_AT_ONCE: usize = 4;

/// Topups in batches, spread over the accounts of the runs before.
async fn batches(client: &Client, site: &Site) -> anyhow::Result<()> {
    let accounts: AccountPage =
        client.get(&format!("{}/accounts?limit=1000", site.engine()), None, Duration::from_secs(5)).await?.json()?;
    let of_type = |wanted: &'static str| accounts.accounts.iter().filter(move |account| account.account_type == wanted);
    let users: Vec<&str> = of_type("USER").map(|account| account.account_id.as_str()).collect();
    let source = of_type("EXTERNAL").next().context("no external account was made")?;
    let body = |name: &str, number: usize| {
        let topup = |item: usize| {
            json!({
                "type": "topup", "idempotencyKey": format!("{name}-{number}-{item}"), "amount": "0.01",
                "sourceAccountId": source.account_id, "destinationAccountId": users[item % users.len()],
                "currency": source.currency,
            })
        };
        Bytes::from(json!({ "transactions": (0..BATCH).map(topup).collect::<Vec<_>>() }).to_string())
    };
    for (name, count) in [("warm", BATCHES_AT_ONCE), ("batch", BATCHES)] {
        let bodies: Vec<Bytes> = (0..count).map(|number| body(name, number)).collect();
        let started = Instant::now();
        let completed: Vec<anyhow::Result<usize>> = futures_util::stream::iter(bodies)
            .map(|body| send_batch(client, site, body))
            .buffer_unordered(BATCHES_AT_ONCE)
            .collect()
            .await;
        let seconds = started.elapsed().as_secs_f64();
        let completed: usize = completed.into_iter().sum::<anyhow::Result<usize>>()?;
        if name == "batch" {
            println!(
                "topups in batches of {BATCH}, {BATCHES_AT_ONCE} at once: {:.0}/s, {completed} of {} completed",
                completed as f64 / seconds,
                count * BATCH
            );
        }
    }
    Ok(())
}

/// How many of a batch were completed.
async fn send_batch(client: &Client, site: &Site, body: Bytes) -> anyhow::Result<usize> {
    let url = format!("{}/transactions/batch", site.engine());
    let request = host::http::request(Method::POST, &url, None, body)?;
    let answer = client.send(request, Duration::from_secs(30)).await?;
    let answer: Value = answer.json()?;
    let results = answer["results"].as_array().with_context(|| format!("no results: {answer}"))?;
    Ok(results.iter().filter(|result| result["status"] == 200).count())
}

/// Requests that come whether or not earlier ones were answered, and what each waited for its answer.
async fn steady(site: &Site) -> anyhow::Result<()> {
    // Brokers are slow until their code is compiled; the first run is not looked at.
    for (prefix, requests) in [("steady-warm", STEADY_WARM_UP), ("steady", STEADY_REQUESTS)] {
        let pace = Pace::Open { per_second: STEADY_RATE };
        let report = run(site, prefix, 1_000, requests, pace).await?;
        if prefix == "steady" {
            let errors = report.counted.errors;
            println!("topups at a steady {STEADY_RATE}/s: {}, {errors} errors of {requests}", spread(&report));
        }
    }
    Ok(())
}

fn spread(report: &Report) -> String {
    let latency = &report.latency;
    let ms = |micros: u64| micros as f64 / 1000.0;
    format!(
        "p50 {:.1} p90 {:.1} p99 {:.1} p99.9 {:.1} max {:.1} ms",
        ms(latency.p50_micros),
        ms(latency.p90_micros),
        ms(latency.p99_micros),
        ms(latency.p999_micros),
        ms(latency.max_micros)
    )
}

async fn run(site: &Site, prefix: &str, users: usize, requests: u64, pace: Pace) -> anyhow::Result<Report> {
    let workload = Workload::new(Config::topups(prefix, users));
    let options = Options { base_urls: vec![site.engine()], pace, max_requests: requests, ..Options::default() };
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
