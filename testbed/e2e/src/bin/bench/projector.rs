//! `./dev bench projector`: a large ledger in PostgreSQL. How fast projections follow, how fast they are made anew, and how
//! long queries that look back take meanwhile and afterwards.

use anyhow::{Context, bail, ensure};
use crossfade::demo::database;
use crossfade::demo::site::{Changes, Site};
use hdrhistogram::Histogram;
use host::http::Client;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testbed_e2e::process::Process;
use testbed_loadgen::seed::{Batching, Plan};
use wire::projection::{ProjectionJobState, ProjectionJobView, ProjectionList};

/// Events of an outcome that completes a topup on one shard: requested, two balances, completed.
const EVENTS: f64 = 4.0;
/// Queries a second, of all kinds together, and for how long.
const QUERIES_PER_SECOND: u64 = 1_000;
const QUERIED_FOR: Duration = Duration::from_secs(60);
const WARMED_UP_FOR: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);

/// The ledger that is measured.
struct Bench {
    site: Site,
    client: Client,
    token: String,
    plan: Plan,
}

/// Runs it with so many accounts and transactions.
pub async fn run(accounts: usize, transactions: usize) -> anyhow::Result<()> {
    let database = database::take().await?;
    let measured = measure(&database, accounts, transactions).await;
    database.give_back().await?;
    measured
}

async fn measure(database: &database::Database, accounts: usize, transactions: usize) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("crossfade-bench-").tempdir()?;
    let site = Site::create(folder.path(), &Changes { database: Some(database.url()), ..Changes::default() }).await?;
    let binary = std::env::current_exe()?.with_file_name("crossfade-under-test");
    let config = site.config.to_string_lossy().into_owned();
    let mut process = Process::start(&binary, "engine", &["engine", "--config", &config], &[], folder.path())?;
    let client = Client::new(Duration::from_secs(5), 64 << 20);
    let ready = format!("{}/readyz", site.engine());
    process
        .until_ready(async || {
            client.get(&ready, None, Duration::from_secs(1)).await.is_ok_and(|answer| answer.status.is_success())
        })
        .await?;
    let token = site.token("service")?;
    let (prefix, currency) = ("bench".to_owned(), "EUR".to_owned());
    let plan = Plan { seed: 1, prefix, currency, users: accounts, externals: 1, topups: transactions, spendings: 0 };
    let bench = Bench { site, client, token, plan };
    let engine = Batching::new(bench.site.engine());
    let began = Instant::now();
    engine.make_accounts(&bench.plan, |_| {}).await?;
    println!("{accounts} accounts made at {:.0}/s", accounts as f64 / began.elapsed().as_secs_f64());
    bench.settle("accounts").await?;
    let began = Instant::now();
    engine.send(&bench.plan, bench.plan.topups(), |_| {}).await?;
    let sent = began.elapsed();
    let behind = bench.lag().await?;
    bench.settle("topups").await?;
    let seconds = began.elapsed().as_secs_f64();
    let rate = transactions as f64 / seconds;
    println!(
        "topups written at {:.0}/s, both projections behind by {behind:?} records then; followed at {rate:.0} outcomes/s = {:.0} events/s each",
        transactions as f64 / sent.as_secs_f64(),
        rate * EVENTS
    );
    bench.queries("queries").await?;
    for name in ["balance", "history"] {
        let (job, took) = bench.job(name, "rebuild").await?;
        // Accounts are outcomes of one event.
        let events = transactions as f64 * EVENTS + accounts as f64;
        println!(
            "rebuild of {name}: {} records in {:.0} s = {:.0} events/s",
            job.records_done,
            took.as_secs_f64(),
            events / took.as_secs_f64()
        );
    }
    bench.queries("queries on what was made anew").await?;
    for name in ["balance", "history"] {
        let (job, took) = bench.job(name, "verify").await?;
        println!("verify of {name}: {} differences, {:.0} s", job.differences, took.as_secs_f64());
    }
    process.stop().await
}

impl Bench {
    async fn list(&self) -> anyhow::Result<ProjectionList> {
        let url = format!("http://127.0.0.1:{}/internal/projections", self.site.ports.engine_control);
        let answer = self.client.get(&url, Some(&self.token), TIMEOUT).await?;
        answer.json().with_context(|| String::from_utf8_lossy(&answer.body).into_owned())
    }

    async fn lag(&self) -> anyhow::Result<Vec<u64>> {
        Ok(self.list().await?.projections.iter().map(|projection| projection.lag_records).collect())
    }

    /// Waits until the projections are not behind any more.
    async fn settle(&self, what: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut ends: BTreeMap<usize, Duration> = BTreeMap::new();
        while ends.len() < 2 {
            for (index, lag) in self.lag().await?.into_iter().enumerate() {
                if lag == 0 {
                    ends.entry(index).or_insert_with(|| began.elapsed());
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("{what}: balance had caught up {:.1?} later, history {:.1?}", ends[&0], ends[&1]);
        Ok(())
    }

    async fn job(&self, name: &str, job: &str) -> anyhow::Result<(ProjectionJobView, Duration)> {
        let url = format!("http://127.0.0.1:{}/internal/projections/{name}/{job}", self.site.ports.engine_control);
        let began = Instant::now();
        let begun = self.client.post(&url, Some(&self.token), &json!({}), TIMEOUT).await?;
        ensure!(begun.status.is_success(), "{job}: {}", begun.status);
        loop {
            let all = self.list().await?.projections;
            let running = all.into_iter().find(|found| found.name == name).and_then(|found| found.job);
            match running.context("the job is gone")? {
                done if done.state == ProjectionJobState::Done => return Ok((done, began.elapsed())),
                failed if failed.state == ProjectionJobState::Failed => bail!("{job} of {name}: {:?}", failed.error),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Queries of all kinds in turn, each at its time whether or not earlier ones were answered.
    async fn queries(&self, what: &str) -> anyhow::Result<()> {
        let today = jiff::Timestamp::now().to_string();
        let kinds = ["balance", "balance at a time", "history page", "daily analytics"];
        let path = |number: u64, random: usize| match number % 4 {
            0 => format!("/accounts/{}/balance", self.plan.user(random)),
            1 => format!("/accounts/{}/balance?at={today}", self.plan.user(random)),
            2 => format!("/accounts/{}/transactions?limit=20", self.plan.user(random)),
            _ => "/analytics/daily?currency=EUR".to_owned(),
        };
        let mut random = fastrand::Rng::with_seed(1);
        for (measured, lasts) in [(false, WARMED_UP_FOR), (true, QUERIED_FOR)] {
            let histograms: Vec<Mutex<Histogram<u64>>> =
                kinds.iter().map(|_| Ok(Mutex::new(Histogram::new(3)?))).collect::<anyhow::Result<_>>()?;
            let histograms = Arc::new(histograms);
            let mut asked = tokio::task::JoinSet::new();
            let began = tokio::time::Instant::now();
            let count = lasts.as_secs() * QUERIES_PER_SECOND;
            for number in 0..count {
                let due = began + Duration::from_micros(number * 1_000_000 / QUERIES_PER_SECOND);
                tokio::time::sleep_until(due).await;
                let url = format!("{}{}", self.site.engine(), path(number, random.usize(..self.plan.users)));
                let (client, histograms) = (self.client.clone(), Arc::clone(&histograms));
                asked.spawn(async move {
                    let answer = client.get(&url, None, TIMEOUT).await;
                    let right = answer.is_ok_and(|answer| answer.status.is_success());
                    let took = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                    if let Ok(mut histogram) = histograms[usize::try_from(number % 4).unwrap_or(0)].lock() {
                        // It grows with what it is given.
                        let _ = histogram.record(took);
                    }
                    right
                });
            }
            let mut wrong = 0;
            while let Some(right) = asked.join_next().await {
                wrong += u64::from(!right?);
            }
            if !measured {
                continue;
            }
            println!("{what} at {QUERIES_PER_SECOND}/s, {wrong} of {count} not answered:");
            for (kind, histogram) in kinds.iter().zip(histograms.iter()) {
                let Ok(histogram) = histogram.lock() else { continue };
                let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
                println!(
                    "  {kind:18} p50 {:.2} p90 {:.2} p99 {:.2} p99.9 {:.2} max {:.1} ms",
                    ms(0.5),
                    ms(0.9),
                    ms(0.99),
                    ms(0.999),
                    ms(1.0)
                );
            }
        }
        Ok(())
    }
}
