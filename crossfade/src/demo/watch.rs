//! The live line: what a migration team would look at, once a second.

use crate::client::{Part, Parts};
use crate::render;
use host::clock;
use host::task::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use testbed_loadgen::report::Counted;
use testbed_loadgen::runner::Runner;
use wire::control::Summary;

/// Writes the line every second until stopped; stop it with what it returns.
pub fn start(parts: Parts, runner: Arc<Runner>, shutdown: Shutdown) -> Shutdown {
    let stop = shutdown.clone();
    host::task::spawn(async move {
        let begun = clock::now();
        let mut every_second = clock::interval(Duration::from_secs(1));
        let mut sent_before = 0;
        loop {
            tokio::select! {
                _ = every_second.tick() => {}
                () = shutdown.stopped() => return,
            }
            let counted = runner.counters().read();
            let sent = counted.sent;
            // A comparator that does not answer once is no news; the line comes again in a second.
            if let Ok(summary) = parts.get::<Summary>(Part::Comparator, "/api/summary").await {
                let p99 = runner.latencies().percentiles().p99_micros as f64 / 1000.0;
                let rate = sent - sent_before;
                render::note(&line(&summary, counted, rate, p99, begun.elapsed()));
            }
            sent_before = sent;
        }
    });
    stop
}

fn line(summary: &Summary, counted: Counted, rate: u64, p99: f64, elapsed: Duration) -> String {
    let setting = summary.rollout.setting;
    let rate_of_matches = summary
        .rates
        .iter()
        .find(|rate| rate.route == "total" && rate.window == "all")
        .map_or_else(|| "–".to_owned(), |rate| render::percent(rate.adjusted));
    format!(
        "{:3} s  {:7} {:>3} %  {:>7} requests {:>4}/s  client errors {}  p99 {p99:.0} ms  match {}  open {}  discrepancies {}  unknown {}",
        elapsed.as_secs(),
        setting.stage,
        setting.percent,
        render::count(counted.sent),
        rate,
        counted.errors,
        rate_of_matches,
        summary.open,
        summary.discrepancies_open,
        summary.unknown,
    )
}
