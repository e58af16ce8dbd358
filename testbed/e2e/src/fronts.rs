//! Two fronts of one installation, each on lines of its own to relay and comparator that can be disturbed; and a dial
//! that moves while traffic passes by both of them.

#![allow(clippy::print_stdout, reason = "a trial says who was late")]

use crate::system::{FRONTS, Layout, Own, System};
use anyhow::{Context, bail, ensure};
use crossfade::demo::site::{Changes, Ports};
use std::path::Path;
use std::time::{Duration, Instant};
use testbed_interposer::Line;

/// A front and its lines.
#[derive(Debug)]
pub struct Front {
    /// The process.
    pub process: &'static str,
    /// Base URL for clients.
    pub url: String,
    /// Base URL for operators.
    pub admin: String,
    /// To the relay, by which its records go.
    pub shipping: Line,
    /// To the comparator, by which it hears of the dial and answers.
    pub dial: Line,
}

/// All parts with two fronts.
pub struct TwoFronts {
    /// The parts.
    pub system: System,
    /// The fronts.
    pub fronts: Vec<Front>,
}

impl TwoFronts {
    /// Starts all parts. What a front ships to the relay arrives up to `delay` later, each piece by itself, so that records
    /// of two fronts arrive in another order than they were written in.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(binary: &Path, changes: &Changes, delay: Duration, seed: u64) -> anyhow::Result<Self> {
        let mut system = System::prepare(binary, Layout::TwoFronts, changes).await?;
        let ports = system.site.ports;
        let second = Ports::free().await?;
        let data_dir = system.site.folder.join(FRONTS[1]);
        let mut fronts = Vec::new();
        for (process, port, admin, seed) in [
            (FRONTS[0], ports.front, ports.front_admin, seed),
            (FRONTS[1], second.front, second.front_admin, seed.wrapping_add(1)),
        ] {
            let local = |port: u16| format!("127.0.0.1:{port}");
            let shipping = Line::to(local(ports.ingest), delay, seed).await?;
            let dial = Line::to(local(ports.comparator), Duration::ZERO, seed).await?;
            let mut settings = vec![
                ("CROSSFADE_FRONT_INGEST", shipping.address()),
                ("CROSSFADE_FRONT_COMPARATOR", format!("http://{}", dial.address())),
            ];
            if process == FRONTS[1] {
                settings.extend([
                    ("CROSSFADE_FRONT_NAME", process.to_owned()),
                    ("CROSSFADE_FRONT_LISTEN", local(port)),
                    ("CROSSFADE_FRONT_ADMIN_LISTEN", local(admin)),
                    ("CROSSFADE_FRONT_DATA_DIR", data_dir.to_string_lossy().into_owned()),
                ]);
            }
            system.set_own(process, Own { settings, ready: Some(admin) });
            let [url, admin] = [port, admin].map(|port| format!("http://{}", local(port)));
            fronts.push(Front { process, url, admin, shipping, dial });
        }
        for process in Layout::TwoFronts.processes() {
            system.start_process(process).await?;
        }
        let this = Self { system, fronts };
        this.until_connected().await?;
        Ok(this)
    }

    /// Starts `process` anew, with more settings in its environment.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart_with(&mut self, process: &'static str, more: &[(&'static str, String)]) -> anyhow::Result<()> {
        self.system.stop_process(process).await?;
        self.system.more_settings(process, more);
        self.system.start_process(process).await?;
        self.until_connected().await
    }

    /// Moves the dial up, again and again while gates are closed or somebody is late; how often it was called off.
    ///
    /// # Errors
    /// When it cannot be moved in time.
    pub async fn up(&self, to: &str) -> anyhow::Result<u64> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut late = 0;
        loop {
            let (status, problem) = self.system.set_dial(to, false).await?;
            match status {
                200 => return Ok(late),
                409 if Instant::now() < deadline && problem["code"] == "HandoverLate" => {
                    println!("to {to}: {}", problem["detail"]);
                    late += 1;
                }
                409 if Instant::now() < deadline => {}
                _ => bail!("set {to}: {status} {problem}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Rolls the dial back; the version that this makes.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn rollback(&self) -> anyhow::Result<u64> {
        let view = self.system.change_dial("rollback").await?;
        view["version"].as_u64().context("no version")
    }

    /// Base URLs of all fronts.
    pub fn urls(&self) -> Vec<String> {
        self.fronts.iter().map(|front| front.url.clone()).collect()
    }

    /// Waits until both fronts listen to the dial.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn until_connected(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let fronts = self.system.summary().await?.fronts;
            if fronts.iter().filter(|front| front.connected).count() == self.fronts.len() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not every front listens to the dial: {fronts:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until both fronts go by a version of the rollout; how long that took from now.
    ///
    /// # Errors
    /// When one does not in time, or says something else than expected.
    pub async fn until_heard(&self, version: u64) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for front in &self.fronts {
            self.until_heard_by(front.process, version).await?;
        }
        Ok(begun.elapsed())
    }

    /// The same of one front.
    ///
    /// # Errors
    /// When it does not in time, or says something else than expected.
    pub async fn until_heard_by(&self, process: &str, version: u64) -> anyhow::Result<()> {
        let client = host::http::Client::new(Duration::from_secs(1), 1 << 20);
        let token = self.system.site.token("service")?;
        let url = format!("{}/override", self.front(process)?.admin);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = client.get(&url, Some(&token), Duration::from_secs(1)).await?;
            let shown: serde_json::Value = answer.json()?;
            if shown["version"].as_u64().context("no version")? >= version {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{process} does not hear of {version}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the comparator has noticed that a front no longer listens.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn until_lost(&self, process: &str) -> anyhow::Result<()> {
        let name = if process == FRONTS[1] { process } else { "front-a" };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let fronts = self.system.summary().await?.fronts;
            if fronts.iter().any(|front| front.front.front == name && !front.connected) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{process} still listens: {fronts:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Of the requests that both fronts have held: how many, and how many of them no longer than so many seconds, which
    /// has to be a bound of the histogram.
    ///
    /// # Errors
    /// When a front does not say.
    pub async fn held(&self, seconds: f64) -> anyhow::Result<(f64, f64)> {
        let (mut all, mut within) = (0.0, 0.0);
        for front in &self.fronts {
            let measured = self.system.scrape(&front.admin).await?;
            all += measured.value("crossfade_front_held_seconds_count")?;
            within += measured.value(&format!("crossfade_front_held_seconds_bucket{{le=\"{seconds}\"}}"))?;
        }
        Ok((all, within))
    }

    /// Waits until every shadow leg is delivered that is older than a moment.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn until_caught_up(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let gates: Vec<wire::rollout::GateReading> = self.system.control("/api/rollout/gates").await?;
            let closed: Vec<_> = gates.into_iter().filter(|gate| !gate.open && gate.gate != "gap").collect();
            if closed.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not everything is delivered: {closed:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Goes down if the engine answers anything, and waits until that is handed over.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn rollback_if_up(&self) -> anyhow::Result<()> {
        let view: wire::control::RolloutView = self.system.control("/api/rollout").await?;
        if view.setting.percent != wire::scalar::Percent::NONE {
            let version = self.rollback().await?;
            self.until_heard(version).await?;
            self.until_drained(version).await?;
        }
        Ok(())
    }

    /// Waits until the relay has said that a move is drained.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn until_drained(&self, version: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let history: wire::control::RolloutHistory = self.system.control("/api/rollout/history").await?;
            if history.changes.iter().any(|change| change.change == "drained" && change.version == Some(version)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "version {version} is not drained");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Accepts every gap: a front that was killed has not said that its boot ended.
    ///
    /// # Errors
    /// When one cannot be settled.
    pub async fn settle_gaps(&self) -> anyhow::Result<()> {
        let page: wire::control::DiscrepancyPage = self.system.control("/api/discrepancies?status=open").await?;
        for gap in page.gaps {
            self.system.settle(&gap.id).await?;
        }
        Ok(())
    }

    /// A front by its process.
    ///
    /// # Errors
    /// When there is none.
    pub fn front(&self, process: &str) -> anyhow::Result<&Front> {
        self.fronts.iter().find(|front| front.process == process).with_context(|| format!("{process} is no front"))
    }
}

/// Somebody who moves the dial all the time, whoever is away.
pub struct Mover {
    client: host::http::Client,
    url: String,
    token: String,
    random: fastrand::Rng,
}

impl Mover {
    /// One with the rights to force.
    ///
    /// # Errors
    /// When there is no token.
    pub fn of(fronts: &TwoFronts, seed: u64) -> anyhow::Result<Self> {
        let site = &fronts.system.site;
        let client = host::http::Client::new(Duration::from_secs(2), 1 << 20);
        let url = format!("{}/api/rollout/set", site.comparator());
        Ok(Self { client, url, token: site.token("approver")?, random: fastrand::Rng::with_seed(seed) })
    }

    /// Moves it every few hundred milliseconds until `stop`, whatever the gates say; how often it moved, and how often that
    /// was refused.
    pub async fn roam(mut self, stop: host::task::Shutdown) -> (u64, u64) {
        let (mut moved, mut refused) = (0, 0);
        while !stop.is_stopping() {
            let to = ["37", "100", "0", "50"][self.random.usize(..4)];
            *(if self.moves(to, true).await { &mut moved } else { &mut refused }) += 1;
            self.pause(&stop).await;
        }
        (moved, refused)
    }

    /// Moves it up, step by step, as far as it comes until `stop` and the gates allow it; the same. Who forces it up past a
    /// front that does not hear of it cannot want both systems to agree.
    pub async fn climb(mut self, stop: host::task::Shutdown) -> (u64, u64) {
        let (mut moved, mut refused) = (0, 0);
        for to in ["37", "50", "100"] {
            while !stop.is_stopping() {
                if self.moves(to, false).await {
                    break;
                }
                refused += 1;
                self.pause(&stop).await;
            }
            moved += u64::from(!stop.is_stopping());
            self.pause(&stop).await;
        }
        (moved, refused)
    }

    /// Whether the dial can be moved: not when somebody is late, it was overruled or stands there, or nobody answers.
    async fn moves(&self, to: &str, force: bool) -> bool {
        let (to, reason) = (to.to_owned(), "end-to-end test".to_owned());
        let set = wire::control::SetRollout { to, reason, force };
        let sent = self.client.post(&self.url, Some(&self.token), &set, Duration::from_secs(10)).await;
        sent.is_ok_and(|answer| answer.status.is_success())
    }

    async fn pause(&mut self, stop: &host::task::Shutdown) {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(self.random.u64(300..1_500))) => {}
            () = stop.stopped() => {}
        }
    }
}
