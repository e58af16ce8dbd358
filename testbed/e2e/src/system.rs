//! All parts as real processes, in a temporary directory, and the control API to talk to them.

#![allow(clippy::print_stderr, reason = "a trial says where it leaves what it keeps")]

use crate::checks::{self, Auditor};
use crate::process::Process;
use anyhow::{Context, bail, ensure};
use crossfade::demo::cluster::{self, Cluster};
use crossfade::demo::database::{self, Database};
use crossfade::demo::site::{Changes, Site};
use host::http::{Answer, Client};
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};
use wire::control::{
    Discrepancy, DiscrepancyPage, ExchangePage, ExchangeView, LogLine, Reason, RunReconciliation, SetRollout, Summary,
};
use wire::decision::Reconciliation;
use wire::scalar::Timestamp;

/// Which processes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `crossfade up`: everything in one.
    One,
    /// Legacy, engine, relay with comparator, front.
    Four,
    /// As four, with a second front; see [`crate::fronts`].
    TwoFronts,
    /// As four, with the comparator in a process of its own, so that a second relay can take over: with the log in Kafka.
    Apart,
}

impl Layout {
    /// The processes by name, those first that others talk to.
    pub const fn processes(self) -> &'static [&'static str] {
        match self {
            Layout::One => &["up"],
            Layout::Four => &["legacy", "engine", "relay", "front"],
            Layout::TwoFronts => &["legacy", "engine", "relay", FRONTS[0], FRONTS[1]],
            Layout::Apart => &["legacy", "engine", "comparator", RELAYS[0], FRONTS[0]],
        }
    }
}

/// The processes of two fronts.
pub const FRONTS: [&str; 2] = ["front", "front-b"];

/// A relay, and the one that takes over from it.
pub const RELAYS: [&str; 2] = ["relay", "relay-b"];

/// What a process has otherwise than the configuration says.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Variables that override keys of the file.
    pub settings: Vec<(&'static str, String)>,
    /// The port where it says whether it is ready, if it is another one.
    pub ready: Option<u16>,
}

/// Why the dial is moved here.
const REASON: &str = "end-to-end test";

/// Where end-to-end runs keep the log: `kafka`, or embedded if this is not set.
const LOG: &str = "CROSSFADE_TRIAL_LOG";

/// Whether the log is in Kafka, with three brokers on the same two cores.
pub fn on_kafka() -> bool {
    std::env::var(LOG).is_ok_and(|log| log == "kafka")
}

/// Where end-to-end runs keep projections and the legacy: `postgres`, or in memory and a file if this is not set.
const DATABASE: &str = "CROSSFADE_TRIAL_DATABASE";

/// Whether projections and the legacy are in PostgreSQL.
pub fn on_postgres() -> bool {
    std::env::var(DATABASE).is_ok_and(|database| database == "postgres")
}

/// Requests a second that the machine carries, out of those that it carries with an embedded log and without a database.
pub fn rate(embedded: f64) -> f64 {
    match (on_kafka(), on_postgres()) {
        (_, true) => (embedded / 4.0).min(120.0),
        (true, false) => (embedded / 2.0).min(200.0),
        (false, false) => embedded,
    }
}

/// A running system.
pub struct System {
    /// Its directory, ports and tokens.
    pub site: Site,
    layout: Layout,
    binary: PathBuf,
    processes: BTreeMap<&'static str, Process>,
    own: BTreeMap<&'static str, Own>,
    client: Client,
    cluster: Option<Cluster>,
    database: Option<Database>,
    // Removed last, when no process writes into it any more.
    folder: tempfile::TempDir,
}

/// If it is set, whatever the parts have written is kept.
const KEEP: &str = "CROSSFADE_TRIAL_KEEP";

/// What a process measured at one moment.
pub struct Measured {
    url: String,
    text: String,
}

impl Measured {
    /// The sample of one series, named with its labels as it is exported.
    ///
    /// # Errors
    /// When there is none.
    pub fn value(&self, series: &str) -> anyhow::Result<f64> {
        let line = self.text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("{} exports no {series}", self.url))?.parse()?)
    }
}

/// Where a process is to die.
const DIES_AT: &str = "CROSSFADE_DIES_AT";
/// An answer of the control API takes no longer; a reconciliation may.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(60);

impl System {
    /// Starts all processes of `layout` and waits until they are ready.
    pub async fn start(binary: &Path, layout: Layout, changes: &Changes) -> anyhow::Result<Self> {
        let mut system = Self::prepare(binary, layout, changes).await?;
        for name in layout.processes() {
            system.start_process(name).await?;
        }
        Ok(system)
    }

    /// Everything that its processes need, and none of them.
    pub async fn prepare(binary: &Path, layout: Layout, changes: &Changes) -> anyhow::Result<Self> {
        let mut folder = tempfile::Builder::new().prefix("crossfade-e2e-").tempdir()?;
        if std::env::var_os(KEEP).is_some() {
            folder.disable_cleanup(true);
            eprintln!("{} is kept", folder.path().display());
        }
        let cluster = if on_kafka() { Some(cluster::take().await?) } else { None };
        let database = if on_postgres() { Some(database::take().await?) } else { None };
        let (url, changes) = (database.as_ref().map(Database::url), changes.clone());
        let changes = Changes { cluster: cluster.clone(), database: url, ..changes };
        let site = Site::create(folder.path(), &changes).await?;
        let client = Client::new(Duration::from_secs(2), 256 << 20);
        Ok(Self {
            site,
            layout,
            binary: binary.to_owned(),
            processes: BTreeMap::new(),
            own: BTreeMap::new(),
            client,
            cluster,
            database,
            folder,
        })
    }

    /// What a process is to have otherwise than the configuration says, from its next start on.
    pub fn set_own(&mut self, name: &'static str, own: Own) {
        self.own.insert(name, own);
    }

    /// The same, beside what it has already.
    pub fn more_settings(&mut self, name: &'static str, more: &[(&'static str, String)]) {
        self.own.entry(name).or_default().settings.extend(more.iter().cloned());
    }

    /// Has a process die where it is told to (`host::moment`), from its next start on; or wherever, again.
    pub fn dies_at(&mut self, name: &'static str, moment: Option<&str>) {
        let settings = &mut self.own.entry(name).or_default().settings;
        settings.retain(|(variable, _)| *variable != DIES_AT);
        settings.extend(moment.map(|moment| (DIES_AT, moment.to_owned())));
    }

    /// Stops a process in order.
    pub async fn stop_process(&mut self, name: &'static str) -> anyhow::Result<()> {
        self.processes.remove(name).with_context(|| format!("{name} does not run"))?.stop().await
    }

    /// Waits until a process has ended by itself; the end of what it said.
    pub async fn until_ended(&mut self, name: &'static str) -> anyhow::Result<String> {
        self.processes.remove(name).with_context(|| format!("{name} does not run"))?.until_ended().await
    }

    /// A process that runs.
    ///
    /// # Errors
    /// When it does not.
    pub fn process(&self, name: &str) -> anyhow::Result<&Process> {
        self.processes.get(name).with_context(|| format!("{name} does not run"))
    }

    /// Starts one process, and waits until it is ready.
    pub async fn start_process(&mut self, name: &'static str) -> anyhow::Result<()> {
        let config = self.site.config.to_string_lossy().into_owned();
        let part = match name {
            _ if FRONTS.contains(&name) => "front",
            _ if RELAYS.contains(&name) => "relay",
            other => other,
        };
        let apart = self.layout == Layout::Apart;
        let mut arguments = vec![part, "--config", &config];
        if part == "relay" && !apart {
            arguments.extend(["--with", "comparator"]);
        }
        let own = self.own.get(name).cloned().unwrap_or_default();
        let mut process = Process::start(&self.binary, name, &arguments, &own.settings, self.folder.path())?;
        let ports = self.site.ports;
        let ready: &[u16] = match (part, &own.ready) {
            (_, Some(port)) => std::slice::from_ref(port),
            ("legacy", None) => &[ports.legacy],
            ("engine", None) => &[ports.engine],
            ("relay", None) if apart => &[ports.relay],
            ("relay", None) => &[ports.relay, ports.comparator],
            ("comparator", None) => &[ports.comparator],
            ("front", None) => &[ports.front_admin],
            (_, None) => &[ports.legacy, ports.engine, ports.relay, ports.comparator, ports.front_admin],
        };
        for port in ready {
            let url = format!("http://127.0.0.1:{port}/readyz");
            let client = self.client.clone();
            process
                .until_ready(async || {
                    let answer = client.get(&url, None, Duration::from_secs(1)).await;
                    answer.is_ok_and(|answer| answer.status.is_success())
                })
                .await
                .with_context(|| format!("waiting for {url}"))?;
        }
        self.processes.insert(name, process);
        Ok(())
    }

    /// `kill -9` of one process.
    pub fn kill(&mut self, name: &'static str) -> anyhow::Result<()> {
        self.processes.remove(name).with_context(|| format!("{name} does not run"))?.kill()
    }

    /// Stops everything in order, the front first, so that every boot ends clean. What is in a database has to agree then.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if self.database.is_some() {
            checks::projections_agree(&self.binary, &self.site.config).await?;
        }
        self.stop_processes().await?;
        if let Some(cluster) = self.cluster.take() {
            cluster::give_back(&cluster).await?;
        }
        if let Some(database) = self.database.take() {
            database.give_back().await?;
        }
        Ok(())
    }

    /// Stops every process in order; log and database stay.
    pub async fn stop_processes(&mut self) -> anyhow::Result<()> {
        for name in self.layout.processes().iter().chain(&RELAYS[1..]).rev() {
            if let Some(mut process) = self.processes.remove(name) {
                process.stop().await?;
            }
        }
        Ok(())
    }

    /// The cluster with the log, and the topics' prefix.
    pub fn cluster(&self) -> anyhow::Result<&Cluster> {
        self.cluster.as_ref().with_context(|| format!("this needs {LOG}=kafka"))
    }

    /// Loses all topics, with no process running. The configuration names other ones from then on.
    pub async fn lose_cluster(&mut self, mirror: Cluster) -> anyhow::Result<()> {
        let lost = self.cluster()?.clone();
        cluster::give_back(&lost).await?;
        let config = std::fs::read_to_string(&self.site.config)?;
        let [before, after] =
            [&lost, &mirror].map(|cluster| format!("topic_prefix = \"{}\"", cluster.kafka.topic_prefix));
        ensure!(config.contains(&before), "the configuration names other topics");
        std::fs::write(&self.site.config, config.replace(&before, &after))?;
        self.cluster = Some(mirror);
        Ok(())
    }

    /// Sends so many requests by way of the front, of accounts whose names begin with `prefix`, and waits until all of it is
    /// judged: every effect is there once, and all balances agree.
    pub async fn exchange(&self, auditor: &Auditor, prefix: &str, requests: u64) -> anyhow::Result<()> {
        let options = Options {
            base_urls: vec![self.site.front()],
            pace: Pace::Open { per_second: rate(200.0) },
            max_requests: requests,
            ..Options::default()
        };
        let workload = Workload::new(Config { prefix: prefix.to_owned(), ..Config::default() });
        let runner = Runner::new(options, workload, Auditor::clone(auditor));
        runner.create_accounts().await?;
        runner.run(&host::task::Shutdown::new()).await;
        self.until_judged(Duration::from_secs(300)).await?;
        checks::every_effect_once(self, auditor).await?;
        checks::all_balances_agree(self, auditor).await?;
        Ok(())
    }

    /// Moves the dial as approver, trying again while a gate is closed.
    pub async fn dial(&self, to: &str, force: bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let (status, said) = self.set_dial(to, force).await?;
            match status {
                200 => return Ok(()),
                409 if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
                status => bail!("set {to}: {status} {said}"),
            }
        }
    }

    /// Moves the dial as approver, once: the status, and what was said.
    pub async fn set_dial(&self, to: &str, force: bool) -> anyhow::Result<(u16, Value)> {
        let set = SetRollout { to: to.to_owned(), reason: REASON.to_owned(), force };
        let answer = self.control_post("/api/rollout/set", &set).await?;
        Ok((answer.status.as_u16(), answer.json()?))
    }

    /// A change of the dial that takes nothing but a reason: rollback, freeze, unfreeze.
    pub async fn change_dial(&self, verb: &str) -> anyhow::Result<Value> {
        let reason = Reason { reason: REASON.to_owned() };
        let answer = self.control_post(&format!("/api/rollout/{verb}"), &reason).await?;
        ensure!(answer.status.is_success(), "{verb}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(answer.json()?)
    }

    /// Accepts a discrepancy or a gap as it is.
    pub async fn settle(&self, id: &str) -> anyhow::Result<()> {
        let reason = Reason { reason: REASON.to_owned() };
        let answer = self.control_post(&format!("/api/discrepancies/{id}/settle"), &reason).await?;
        ensure!(answer.status.is_success(), "settle {id}: {}", String::from_utf8_lossy(&answer.body));
        Ok(())
    }

    async fn control_post(&self, path: &str, body: &impl serde::Serialize) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.site.comparator());
        Ok(self.client.post(&url, Some(&self.site.token("approver")?), body, CONTROL_TIMEOUT).await?)
    }

    /// Asks the control API.
    pub async fn control<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let url = format!("{}{path}", self.site.comparator());
        let answer = self.client.get(&url, Some(&self.site.token("viewer")?), CONTROL_TIMEOUT).await?;
        ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(answer.json()?)
    }

    /// The stored bytes of all records of a topic of the cutover.
    pub async fn records(&self, topic: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        Ok(self.log(topic).await?.into_iter().map(|(_, bytes)| bytes).collect())
    }

    /// The same, each with the moment at which the log took it.
    pub async fn log(&self, topic: &str) -> anyhow::Result<Vec<(Timestamp, Vec<u8>)>> {
        use base64::Engine as _;
        let url = format!("{}/internal/log/{topic}/0?from=0", self.site.comparator());
        let answer = self.client.get(&url, Some(&self.site.token("viewer")?), CONTROL_TIMEOUT).await?;
        ensure!(answer.status.is_success(), "{topic}: {}", answer.status);
        let text = String::from_utf8(answer.body.to_vec())?;
        let line = |line: &str| -> anyhow::Result<(Timestamp, Vec<u8>)> {
            let line: LogLine = serde_json::from_str(line)?;
            Ok((line.at, base64::engine::general_purpose::STANDARD.decode(line.bytes)?))
        };
        text.lines().map(line).collect()
    }

    /// The summary.
    pub async fn summary(&self) -> anyhow::Result<Summary> {
        self.control("/api/summary").await
    }

    /// Open discrepancies.
    pub async fn discrepancies(&self) -> anyhow::Result<Vec<Discrepancy>> {
        Ok(self.control::<DiscrepancyPage>("/api/discrepancies?status=open").await?.discrepancies)
    }

    /// Every exchange, newest first.
    pub async fn exchanges(&self) -> anyhow::Result<Vec<ExchangeView>> {
        let mut all = Vec::new();
        let mut before = String::new();
        loop {
            let page: ExchangePage = self.control(&format!("/api/exchanges?limit=1000{before}")).await?;
            all.extend(page.exchanges);
            match page.next {
                Some(next) => before = format!("&before={next}"),
                None => return Ok(all),
            }
        }
    }

    /// Waits until everything that the front recorded is judged, and compares all balances. What the front has not
    /// shipped yet is in nobody's count: only the marks of a reconciliation find it.
    pub async fn until_judged(&self, patience: Duration) -> anyhow::Result<(Summary, Reconciliation)> {
        let deadline = Instant::now() + patience;
        loop {
            let summary = self.summary().await?;
            let judged = summary.caught_up && summary.open == 0 && summary.unknown == 0;
            let mut busy = None;
            if judged {
                let reconciliation = self.reconcile().await?;
                if reconciliation.not_comparable == 0 && reconciliation.not_comparable_because.is_none() {
                    return Ok((self.summary().await?, reconciliation));
                }
                busy = Some(reconciliation);
            }
            ensure!(
                Instant::now() < deadline,
                "{} exchanges are not judged and {} unknown after {patience:?}; {busy:?}",
                summary.open,
                summary.unknown
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn reconcile(&self) -> anyhow::Result<Reconciliation> {
        let run = RunReconciliation { reason: REASON.to_owned() };
        let answer = self.control_post("/api/reconciliations", &run).await?;
        ensure!(answer.status.is_success(), "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(answer.json()?)
    }

    /// What a process measures; `url` is where it answers operators.
    pub async fn scrape(&self, url: &str) -> anyhow::Result<Measured> {
        let answer = self.client.get(&format!("{url}/metrics"), None, CONTROL_TIMEOUT).await?;
        ensure!(answer.status.is_success(), "{url}/metrics: {}", answer.status);
        Ok(Measured { url: url.to_owned(), text: String::from_utf8(answer.body.to_vec())? })
    }

    /// What the process with the engine measures: the samples of each metric, by name.
    pub async fn metrics(&self) -> anyhow::Result<BTreeMap<String, Vec<f64>>> {
        let text = self.scrape(&self.site.engine()).await?.text;
        let mut metrics: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let name = declared.split(' ').next().unwrap_or_default();
                metrics.entry(name.to_owned()).or_default();
            } else if let Some((series, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) {
                let name = series.split('{').next().unwrap_or_default();
                // Buckets, sums and counts of histograms have names of their own.
                if let Some(samples) = metrics.get_mut(name) {
                    samples.push(value.parse()?);
                }
            }
        }
        metrics.retain(|name, _| name.starts_with("crossfade_"));
        Ok(metrics)
    }

    /// Switches faults on in the legacy, all at one rate; an empty list switches them off.
    pub async fn faults(&self, kinds: &[&str], rate: f64) -> anyhow::Result<()> {
        let faults: Vec<_> = kinds.iter().map(|kind| (*kind, rate)).collect();
        self.some_faults(&faults).await
    }

    /// Switches faults on in the legacy, each at its rate; and all others off.
    pub async fn some_faults(&self, faults: &[(&str, f64)]) -> anyhow::Result<()> {
        let faults: Vec<Value> = faults.iter().map(|(kind, rate)| json!({ "kind": kind, "rate": rate })).collect();
        let body = json!({ "faults": faults }).to_string();
        let request = host::http::request(Method::PUT, &format!("{}/faults", self.site.legacy()), None, body.into())?;
        let answer = self.client.send(request, Duration::from_secs(5)).await?;
        ensure!(answer.status.is_success(), "{}", String::from_utf8_lossy(&answer.body));
        Ok(())
    }

    /// What the legacy did wrong on purpose: (key, kind).
    pub async fn fault_log(&self) -> anyhow::Result<Vec<(String, String)>> {
        let url = format!("{}/faults/log", self.site.legacy());
        let log: Value = self.client.get(&url, None, CONTROL_TIMEOUT).await?.json()?;
        let rows = log["faults"].as_array().context("the fault ledger is no list")?;
        let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        Ok(rows.iter().map(|row| (text(row, "key"), text(row, "kind"))).collect())
    }
}
