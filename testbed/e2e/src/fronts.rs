//! Two fronts of one installation, each on lines of its own to relay and comparator that can be disturbed; and a dial
//! that moves while traffic passes by both of them.

use crate::system::{FRONTS, Layout, Own, System};
use anyhow::{Context, ensure};
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
            fronts.push(Front { process, url: format!("http://{}", local(port)), shipping, dial });
        }
        for process in Layout::TwoFronts.processes() {
            system.start_process(process).await?;
        }
        let this = Self { system, fronts };
        this.until_connected().await?;
        Ok(this)
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

    /// A front by its process.
    ///
    /// # Errors
    /// When there is none.
    pub fn front(&self, process: &str) -> anyhow::Result<&Front> {
        self.fronts.iter().find(|front| front.process == process).with_context(|| format!("{process} is no front"))
    }
}
