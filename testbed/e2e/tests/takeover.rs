//! A relay that is paused while another one takes over: when it awakes it ends, and a legacy that does not deduplicate has
//! been sent nothing twice.
//!
//! Needs the services of `./dev services up`, and `CROSSFADE_TRIAL_LOG=kafka`: an embedded log has one owner.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::ensure;
use crossfade::demo::site::{Changes, Ports};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed_auditor::{Expectations, Observer};
use testbed_e2e::checks;
use testbed_e2e::system::{FRONTS, Layout, Own, RELAYS, System, rate};
use testbed_interposer::Line;
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
/// Requests a second.
const REQUESTS_PER_SECOND: f64 = 200.0;
/// Longer than a leg may be sent after its announcement (5 s).
const ASLEEP: Duration = Duration::from_secs(8);

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_asleep_does_no_harm() -> anyhow::Result<()> {
    let changes = Changes {
        legacy: "deduplicates = false\nslow_ms = 300\n".to_owned(),
        relay: "legacy_deduplicates = false\nlegacy_longest_request_ms = 2000\n".to_owned(),
        ..Changes::default()
    };
    let mut system = System::prepare(Path::new(BINARY), Layout::Apart, &changes).await?;
    let (ports, second) = (system.site.ports, Ports::free().await?);
    // What an installation has a service address for.
    let ingest = Line::to(local(ports.ingest), Duration::ZERO, 1).await?;
    let ids = Line::to(local(ports.relay), Duration::ZERO, 2).await?;
    let settings = vec![
        ("CROSSFADE_FRONT_INGEST", ingest.address()),
        ("CROSSFADE_FRONT_RELAY", format!("http://{}", ids.address())),
    ];
    system.set_own(FRONTS[0], Own { settings, ready: None });
    let settings =
        vec![("CROSSFADE_RELAY_LISTEN", local(second.relay)), ("CROSSFADE_RELAY_INGEST_LISTEN", local(second.ingest))];
    system.set_own(RELAYS[1], Own { settings, ready: Some(second.relay) });
    for process in Layout::Apart.processes() {
        system.start_process(process).await?;
    }
    system.dial("shadow", false).await?;
    let expectations = Expectations { refusal_keeps_key: false, authority_moves: true };
    let auditor = Arc::new(Mutex::new(Observer::new(expectations)));
    let options = Options {
        base_urls: vec![system.site.front()],
        pace: Pace::Open { per_second: rate(REQUESTS_PER_SECOND) },
        max_requests: u64::MAX,
        retry_unknown: false,
        ..Options::default()
    };
    let runner = Runner::new(options, Workload::new(Config::default().asking_once()), Arc::clone(&auditor));
    runner.create_accounts().await?;
    system.dial("50", false).await?;
    // Some legs are always under way.
    system.some_faults(&[("slow", 0.2)]).await?;
    let traffic = host::task::Shutdown::new();
    let sending = {
        let (runner, traffic) = (Arc::clone(&runner), traffic.clone());
        tokio::spawn(async move { runner.run(&traffic).await })
    };
    host::clock::sleep(Duration::from_secs(5)).await;
    system.process(RELAYS[0])?.pause()?;
    system.start_process(RELAYS[1]).await?;
    ingest.lead_to(local(second.ingest));
    ids.lead_to(local(second.relay));
    host::clock::sleep(ASLEEP).await;
    system.process(RELAYS[0])?.wake()?;
    let said = system.until_ended(RELAYS[0]).await?;
    println!("{said}");
    ensure!(said.contains("another relay writes into"), "it did not say why it ended");
    traffic.stop();
    let sent = sending.await?;
    println!("{:?}", sent.counted);
    // A refund by the other system's id is 503 while no relay can say its alias; nothing else notices.
    ensure!(sent.counted.errors * 100 <= sent.counted.sent, "{} client errors", sent.counted.errors);
    let (summary, reconciliation) = system.until_judged(Duration::from_secs(300)).await?;
    println!("{:?}", summary.verdicts);
    ensure!(reconciliation.different == 0, "{reconciliation:?}");
    let url = format!("{}/executions", system.site.legacy());
    let client = host::http::Client::new(Duration::from_secs(2), 64 << 20);
    let counted: Value = client.get(&url, None, Duration::from_secs(30)).await?.json()?;
    println!("the legacy executed {} requests with {} keys", counted["executions"], counted["keys"]);
    ensure!(counted["repeated"] == Value::Array(Vec::new()), "sent twice: {}", counted["repeated"]);
    checks::every_effect_once(&system, &auditor).await?;
    checks::all_balances_agree(&system, &auditor).await?;
    system.stop().await
}
