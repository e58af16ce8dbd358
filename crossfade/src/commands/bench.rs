//! `crossfade bench …`: how fast this machine is.

use crate::cli::{BenchCommand, Output};
use crate::client::Exit;
use crate::render;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Measures, and shows the figures.
pub async fn run(command: BenchCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        BenchCommand::Core { decisions } => {
            let measured = host::task::spawn_blocking(move || core(decisions)).await?;
            render::show(output, &measured, Core::page)?;
        }
        #[cfg(feature = "demo")]
        BenchCommand::Engine { requests, accounts, connections } => {
            let measured = engine::measure(requests, accounts, connections).await?;
            render::show(output, &measured, engine::Measured::page)?;
        }
    }
    Ok(Exit::Done)
}

/// What deciding alone takes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Core {
    decisions: u64,
    seconds: f64,
    decisions_per_second: f64,
}

impl Core {
    fn page(&self) -> String {
        render::facts([
            ("decisions", self.decisions.to_string()),
            ("took", format!("{:.2} s on one core", self.seconds)),
            ("decided and evolved", format!("{:.0}/s", self.decisions_per_second)),
        ])
    }
}

fn core(decisions: u64) -> Core {
    let bar = bar(decisions);
    let measured = ::engine::bench::core(decisions, |done| bar.set_position(done));
    bar.finish_and_clear();
    let seconds = measured.took.as_secs_f64();
    Core { decisions, seconds, decisions_per_second: decisions as f64 / seconds.max(f64::MIN_POSITIVE) }
}

fn bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    match ProgressStyle::with_template("{bar:30} {pos} of {len}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(feature = "demo")]
mod engine {
    //! One HTTP request per transaction, from this process to an engine in it, with a log in files of its own, fsync on.

    use crate::render;
    use anyhow::Context;
    use host::task::Shutdown;
    use serde::Serialize;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use testbed_auditor::{Expectations, Observer};
    use testbed_loadgen::runner::{Options, Pace, Runner};
    use testbed_loadgen::workload::{Config, Workload};

    /// Sent before anything is measured: a tenth.
    const WARM_UP: u64 = 10;

    #[derive(Debug, Serialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Measured {
        requests: u64,
        errors: u64,
        requests_per_second: f64,
        p50_ms: f64,
        p99_ms: f64,
        max_ms: f64,
    }

    impl Measured {
        pub(super) fn page(&self) -> String {
            render::facts([
                ("topups", self.requests.to_string()),
                ("errors", self.errors.to_string()),
                ("answered", format!("{:.0}/s", self.requests_per_second)),
                ("half of them within", format!("{:.1} ms", self.p50_ms)),
                ("99 of 100 within", format!("{:.1} ms", self.p99_ms)),
                ("all within", format!("{:.1} ms", self.max_ms)),
            ])
        }
    }

    pub(super) async fn measure(requests: u64, accounts: usize, connections: usize) -> anyhow::Result<Measured> {
        let folder = tempfile::Builder::new().prefix("crossfade-bench-").tempdir()?;
        let any = ([127, 0, 0, 1], 0).into();
        let config = engine::Config::new(any, any, folder.path());
        let bound = engine::bind(config, "bench", None, None).await?;
        let (url, shutdown) = (format!("http://{}", bound.address()?), Shutdown::new());
        let serving = host::task::spawn(bound.run(shutdown.clone()));
        send(&url, "warm", requests / WARM_UP, accounts, connections).await?;
        let measured = send(&url, "run", requests, accounts, connections).await;
        shutdown.stop();
        serving.await.context("the engine ended badly")??;
        measured
    }

    async fn send(
        url: &str,
        prefix: &str,
        requests: u64,
        users: usize,
        connections: usize,
    ) -> anyhow::Result<Measured> {
        let workload = Workload::new(Config::topups(prefix, users));
        let pace = Pace::Closed { connections, think: Duration::ZERO };
        let options = Options { base_urls: vec![url.to_owned()], pace, max_requests: requests, ..Options::default() };
        let runner = Runner::new(options, workload, Arc::new(Mutex::new(Observer::new(Expectations::default()))));
        runner.create_accounts().await?;
        let bar = super::bar(requests);
        let counters = runner.counters();
        let stop = Shutdown::new();
        let watching = host::task::spawn({
            let (bar, stop) = (bar.clone(), stop.clone());
            async move {
                while !stop.is_stopping() {
                    bar.set_position(counters.read().sent);
                    host::clock::sleep(Duration::from_millis(200)).await;
                }
            }
        });
        let report = runner.run(&Shutdown::new()).await;
        stop.stop();
        watching.await?;
        bar.finish_and_clear();
        let ms = |micros: u64| micros as f64 / 1_000.0;
        Ok(Measured {
            requests: report.counted.sent,
            errors: report.counted.errors,
            requests_per_second: report.per_second,
            p50_ms: ms(report.latency.p50_micros),
            p99_ms: ms(report.latency.p99_micros),
            max_ms: ms(report.latency.max_micros),
        })
    }
}
