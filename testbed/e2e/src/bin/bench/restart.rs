//! `./dev bench restart`: how long an engine with a large ledger in its own files takes to be ready again; from the beginning of
//! its journal, and from snapshots.

use anyhow::{Context, ensure};
use crossfade::demo::site::{Changes, Site};
use host::http::Client;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testbed_e2e::process::Process;
use testbed_loadgen::seed::{Batching, Plan};
use wire::billing::Balance;

/// Kept by an engine that is told nothing else.
const SHARDS: usize = 10;
/// For the snapshots of all shards.
const DEADLINE: Duration = Duration::from_secs(300);
const TIMEOUT: Duration = Duration::from_secs(30);
/// After so many outcomes of a shard there is a snapshot, or none at all.
const AFTER_OUTCOMES: &str = "CROSSFADE_ENGINE_SNAPSHOT_AFTER_OUTCOMES";
const FEW: &str = "1000";
const NEVER: &str = "0";

/// The ledger that is measured.
struct Bench {
    site: Site,
    binary: PathBuf,
    folder: PathBuf,
    client: Client,
    plan: Plan,
}

/// Runs it with so many accounts and transactions.
pub async fn run(accounts: usize, transactions: usize) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("crossfade-bench-").tempdir()?;
    let site = Site::create(folder.path(), &Changes::default()).await?;
    let binary = std::env::current_exe()?.with_file_name("crossfade-under-test");
    let (prefix, currency) = ("bench".to_owned(), "EUR".to_owned());
    let plan = Plan { seed: 1, prefix, currency, users: accounts, externals: 1, topups: transactions, spendings: 0 };
    let client = Client::new(Duration::from_secs(5), 64 << 20);
    let bench = Bench { site, binary, folder: folder.path().to_owned(), client, plan };
    bench.measure().await
}

impl Bench {
    async fn measure(&self) -> anyhow::Result<()> {
        let mut process = self.start(NEVER).await?;
        let began = Instant::now();
        let engine = Batching::new(self.site.engine());
        engine.make_accounts(&self.plan, |_| {}).await?;
        engine.send(&self.plan, self.plan.topups(), |_| {}).await?;
        let outcomes = self.plan.users + self.plan.topups;
        println!(
            "{} accounts, {} topups: written at {:.0}/s; memory {}",
            self.plan.users,
            self.plan.topups,
            outcomes as f64 / began.elapsed().as_secs_f64(),
            memory(&process)?
        );
        let paid = self.paid().await?;
        process.stop().await?;
        self.restart("without snapshots, stopped in order", NEVER, &paid).await?.kill()?;
        self.restart("without snapshots, killed", NEVER, &paid).await?.stop().await?;

        let mut process = self.start(FEW).await?;
        let wrote = self.until_snapshots().await?;
        println!("snapshots of all shards: {wrote:.1?}; memory {}", memory(&process)?);
        process.stop().await?;
        self.restart("from snapshots, stopped in order", FEW, &paid).await?.kill()?;
        self.restart("from snapshots, killed", FEW, &paid).await?.stop().await
    }

    /// Starts the engine again, and says how long it took and what it took.
    async fn restart(&self, how: &str, snapshots: &str, paid: &Balance) -> anyhow::Result<Process> {
        let began = Instant::now();
        let process = self.start(snapshots).await?;
        println!("restart {how}: ready after {:.1?}; memory {}", began.elapsed(), memory(&process)?);
        let now = self.paid().await?;
        ensure!((now.balance, now.version) == (paid.balance, paid.version), "{paid:?} before, {now:?} now");
        Ok(process)
    }

    /// The account that all topups come from: its balance is the sum of them.
    async fn paid(&self) -> anyhow::Result<Balance> {
        let url = format!("{}/accounts/{}/balance", self.site.engine(), self.plan.external(0));
        Ok(self.client.get(&url, None, TIMEOUT).await?.json()?)
    }

    async fn start(&self, snapshots: &str) -> anyhow::Result<Process> {
        let config = self.site.config.to_string_lossy().into_owned();
        // It says when it has written a snapshot.
        let settings = [(AFTER_OUTCOMES, snapshots.to_owned()), ("RUST_LOG", "engine=info".to_owned())];
        let mut process =
            Process::start(&self.binary, "engine", &["engine", "--config", &config], &settings, &self.folder)?;
        let ready = format!("{}/readyz", self.site.engine());
        process
            .until_ready(async || {
                let answer = self.client.get(&ready, None, Duration::from_secs(1)).await;
                answer.is_ok_and(|answer| answer.status.is_success())
            })
            .await?;
        Ok(process)
    }

    /// Waits until every shard has a snapshot.
    async fn until_snapshots(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let log = self.folder.join("engine.log");
        while std::fs::read_to_string(&log)?.matches("wrote a snapshot").count() < SHARDS {
            ensure!(began.elapsed() < DEADLINE, "not all shards have a snapshot: see {}", log.display());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(began.elapsed())
    }
}

/// How much memory a process has, and had at most.
fn memory(process: &Process) -> anyhow::Result<String> {
    let path = format!("/proc/{}/status", process.pid());
    let status = std::fs::read_to_string(Path::new(&path)).context("no such process")?;
    let of = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0) / (1 << 20) as f64
    };
    Ok(format!("{:.1} GiB, {:.1} at most", of("VmRSS:"), of("VmHWM:")))
}
