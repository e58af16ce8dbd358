//! The public events, as somebody else reads them: in Python, with a client of the schema registry.
//!
//! Needs the services of `./dev services up`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::{Context, ensure};
use host::http::{Client, request};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::engines::{Engines, OUTSIDE};
use testbed_e2e::services;
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");

async fn top_up(engines: &Engines, key: &str) -> anyhow::Result<()> {
    let body = json!({ "idempotencyKey": key, "sourceAccountId": OUTSIDE, "destinationAccountId": "user-0",
        "amount": "1.5", "currency": "EUR" });
    let answer = engines.post(0, "/transactions/topup", &body).await?;
    ensure!(answer.status.as_u16() == 200, "{}", String::from_utf8_lossy(&answer.body));
    Ok(())
}

/// Traffic, while engines are stopped in order and killed: every event comes once, in order.
#[tokio::test(flavor = "multi_thread")]
async fn an_independent_consumer_finds_what_the_engine_says() -> anyhow::Result<()> {
    let mut engines = Engines::start(Path::new(BINARY), 2).await?;
    let seed = host::random::u64();
    println!("the traffic's seed is {seed}");
    let auditor = checks::auditor(false);
    let options = Options {
        base_urls: vec![engines.url(0).to_owned()],
        pace: Pace::Open { per_second: 100.0 },
        max_requests: u64::MAX,
        timeout: Duration::from_secs(10),
        ..Options::default()
    };
    let runner = Runner::new(options, Workload::new(Config { seed, ..Config::default() }), Auditor::clone(&auditor));
    runner.create_accounts().await?;
    let traffic = host::task::Shutdown::new();
    let sending = {
        let (runner, traffic) = (Arc::clone(&runner), traffic.clone());
        tokio::spawn(async move { runner.run(&traffic).await })
    };
    let reached = async |sent: u64| {
        while runner.counters().read().sent < sent {
            host::clock::sleep(Duration::from_millis(50)).await;
        }
    };
    // The group needs some seconds to give everybody his share again.
    reached(500).await;
    engines.process(1)?.stop().await?;
    reached(1_000).await;
    engines.begin(1).await?;
    reached(2_000).await;
    engines.kill(1)?;
    reached(2_200).await;
    engines.begin(1).await?;
    reached(3_200).await;
    traffic.stop();
    sending.await?;
    checks::engine_agrees(engines.url(0), &auditor).await?;
    let events = checks::public_events_agree(engines.cluster(), engines.url(1)).await?;
    println!("{events} events of accounts, each once, sums as the engine's balances");
    let shown = checks::trails_are_complete(&engines, 1, Path::new(BINARY)).await?;
    println!("{shown} events in the trails of the users, all versions, in order");
    engines.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_registry_the_engine_goes_on_and_events_wait() -> anyhow::Result<()> {
    services::registry("stop")?;
    let started = Engines::start(Path::new(BINARY), 1).await;
    let outcome = async {
        let engines = started?;
        engines.accounts(0, 1).await?;
        top_up(&engines, "without").await?;
        services::registry("start")?;
        let events = checks::public_events_agree(engines.cluster(), engines.url(0)).await?;
        // An account created on ten shards and one on one, a credit and a debit.
        ensure!(events == 13, "{events} events");
        // And when it goes away later, nobody needs it.
        services::registry("stop")?;
        top_up(&engines, "later").await?;
        engines.stop().await
    }
    .await;
    services::registry("start")?;
    outcome
}

async fn tell_registry(url: &str, path: &str, body: &Value) -> anyhow::Result<()> {
    let client = Client::new(Duration::from_secs(2), 1 << 20);
    let mut asked = request(http::Method::POST, &format!("{url}/{path}"), None, body.to_string().into())?;
    asked.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    let answer = client.send(asked, Duration::from_secs(10)).await?;
    ensure!(answer.status.is_success(), "{path}: {}", String::from_utf8_lossy(&answer.body));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_cannot_read_what_is_there_is_refused_at_the_start() -> anyhow::Result<()> {
    let engines = Engines::prepare(Path::new(BINARY), 1).await?;
    let registry = engines.cluster().registry.as_ref().context("CROSSFADE_REGISTRY_URL is not set")?;
    let subject = wire::avro::subject(&engines.cluster().kafka.topic(wire::avro::ACCOUNT_EVENTS));
    let other = json!({ "type": "record", "name": "AccountEvent", "namespace": "crossfade.billing",
        "fields": [{ "name": "somethingElse", "type": "string" }] });
    tell_registry(&registry.url, &format!("subjects/{subject}/versions"), &json!({ "schema": other.to_string() }))
        .await?;
    let began = Instant::now();
    let ended = Command::new(BINARY).args(["engine", "--config"]).arg(engines.config(0)).output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    println!("refused after {:?}: {said}", began.elapsed());
    ensure!(ended.status.code() == Some(1), "{:?}: {said}", ended.status);
    ensure!(said.contains(&format!("refuses version 1 of {subject}")), "{said}");
    engines.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_version_1_wrote_is_read_by_version_2() -> anyhow::Result<()> {
    // The engine makes both versions known.
    let engines = Engines::start(Path::new(BINARY), 1).await?;
    let registry = engines.cluster().registry.as_ref().context("CROSSFADE_REGISTRY_URL is not set")?;
    let subject = wire::avro::subject(&engines.cluster().kafka.topic(wire::avro::ACCOUNT_EVENTS));
    let read = services::consumer("upcast.py", &[&registry.url, &subject])?;
    ensure!(read["data"]["reserved"] == Value::Null && read["data"]["balanceAfter"] == "12.34000000", "{read}");
    engines.stop().await
}
