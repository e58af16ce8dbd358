//! `crossfade demo`: the whole cutover on one machine, with traffic, in fast motion.
//!
//! | module | what |
//! |---|---|
//! | [`cluster`] | topics of its own in a Kafka cluster |
//! | [`database`] | a database of its own in PostgreSQL |
//! | [`site`] | configuration, tokens and free ports in one directory |
//! | [`journey`] | the dial's way, and who turns it |
//! | [`watch`] | the live line, once a second |
//! | [`report`] | what came of it |
//! | [`latency`] | percentiles of both systems from the records |
//!
//! The demo is a user like any other: it starts the parts from a configuration file, sends its traffic to the
//! front, and turns the dial through the control API. Only the fault asked for on the command line goes straight
//! to the legacy, and nobody else is told.

pub mod cluster;
pub mod database;
pub mod journey;
pub mod latency;
pub mod report;
pub mod site;
pub mod watch;

use crate::cli::{DemoArgs, Global, Output};
use crate::client::{Exit, Parts};
use crate::{compose, config, render};
use anyhow::Context;
use host::task::Shutdown;
use journey::Journey;
use site::{Changes, Site};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed_auditor::{Expectations, Observer};
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};

/// Requests a second: what two cores carry with all parts, both systems and the traffic on them.
const RATE: f64 = 440.0;
/// The same with three brokers on them as well.
const RATE_WITH_KAFKA: f64 = 150.0;
/// The same with PostgreSQL, where the legacy needs nine round trips for a request.
const RATE_WITH_POSTGRES: f64 = 80.0;
/// Requests a second once the journey is over and the demo only goes on to be looked at.
const IDLE_RATE: f64 = 50.0;
/// Requests at once at most: where less is carried than is sent, the demo takes longer, instead of being answered ever
/// later until clients give up.
const IN_FLIGHT: usize = 64;
/// Starting includes opening three stores.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// Runs the demo to its end, or until interrupted.
///
/// # Errors
/// When a part cannot start or stops, or the control API does not answer.
pub async fn run(args: DemoArgs, output: Output) -> anyhow::Result<Exit> {
    let temporary = tempfile::Builder::new().prefix("crossfade-demo-").tempdir()?;
    let folder = args.data.clone().unwrap_or_else(|| temporary.path().to_owned());
    let cluster = if args.kafka { Some(cluster::take().await?) } else { None };
    let database = match if args.postgres { database::take().await.map(Some) } else { Ok(None) } {
        Ok(database) => database,
        Err(error) => {
            let given_back = if let Some(cluster) = &cluster { cluster::give_back(cluster).await } else { Ok(()) };
            if let Err(left) = given_back {
                render::note(&format!("topics of {} are left: {left:#}", cluster::BOOTSTRAP));
            }
            return Err(error);
        }
    };
    let changes = Changes {
        cluster: cluster.clone(),
        database: database.as_ref().map(database::Database::url),
        ..Changes::default()
    };
    let exit = shown(&args, &folder, &changes, output).await;
    // Whoever keeps the data keeps the topics and the database with it.
    if let (Some(cluster), None) = (&cluster, &args.data) {
        cluster::give_back(cluster).await?;
    }
    if let (Some(database), None) = (&database, &args.data) {
        database.give_back().await?;
    }
    exit
}

/// From the first part's start to the last one's end.
async fn shown(args: &DemoArgs, folder: &Path, changes: &Changes, output: Output) -> anyhow::Result<Exit> {
    let site = Site::create(folder, changes).await?;
    let global = global_of(&site, output);
    let shutdown = Shutdown::new();
    let running = compose::start_all(config::load(&global)?).await?;
    let parts = Parts::new(&global)?;
    let demo = async {
        until_ready(&site).await?;
        let exit = played(args, &site, &parts, output, &shutdown).await?;
        shutdown.stop();
        anyhow::Ok(exit)
    };
    let exit = tokio::select! {
        exit = demo => exit?,
        () = host::task::interrupted() => {
            render::note("interrupted: stopping");
            shutdown.stop();
            Exit::Done
        }
    };
    running.join(&shutdown).await?;
    Ok(exit)
}

fn rate(args: &DemoArgs) -> f64 {
    match (args.kafka, args.postgres) {
        (_, true) => RATE_WITH_POSTGRES,
        (true, false) => RATE_WITH_KAFKA,
        (false, false) => RATE,
    }
}

/// Opens the accounts, goes the whole way, and reports.
async fn played(
    args: &DemoArgs,
    site: &Site,
    parts: &Parts,
    output: Output,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let auditor = Arc::new(Mutex::new(Observer::new(Expectations { refusal_keeps_key: true, authority_moves: true })));
    let options = Options {
        base_urls: vec![site.front()],
        pace: Pace::Open { per_second: rate(args) },
        max_requests: args.exchanges,
        max_in_flight: IN_FLIGHT,
        ..Options::default()
    };
    let workload = Workload::new(Config { seed: args.seed, ..Config::default() });
    let runner = Runner::new(options.clone(), workload, Arc::clone(&auditor));
    say(site, args);
    let journey = Journey::new(site, args)?;
    journey.begin().await?;
    runner.create_accounts().await?;

    let traffic = shutdown.child();
    let sending = {
        let (runner, traffic) = (Arc::clone(&runner), traffic.clone());
        host::task::spawn(async move { runner.run(&traffic).await })
    };
    let watching = watch::start(parts.clone(), Arc::clone(&runner), shutdown.child());
    journey.go(&runner.counters()).await?;
    let sent = sending.await.context("the traffic stopped")?;
    let report = report::make(args, site, parts, &sent, &auditor).await?;
    watching.stop();
    render::show(output, &report, report::page)?;
    if !args.once {
        render::note("The demo goes on with a little traffic until interrupted (Ctrl-C).");
        let pace = Pace::Open { per_second: IDLE_RATE };
        let prefix = "idle".to_owned();
        let workload = Workload::new(Config { seed: args.seed, prefix, ..Config::default() });
        let idle = Runner::new(Options { pace, max_requests: u64::MAX, ..options }, workload, auditor);
        idle.create_accounts().await?;
        idle.run(&shutdown.child()).await;
    }
    Ok(report.exit())
}

fn global_of(site: &Site, output: Output) -> Global {
    Global {
        config: Some(site.config.clone()),
        output,
        comparator: None,
        engine: None,
        engine_control: None,
        token_file: None,
        timeout: 30,
    }
}

/// Waits until every part says that it is ready.
async fn until_ready(site: &Site) -> anyhow::Result<()> {
    let client = host::http::Client::new(Duration::from_secs(1), 1 << 20);
    let ports = &site.ports;
    let deadline = host::clock::now() + READY_DEADLINE;
    for (part, port) in [
        ("legacy", ports.legacy),
        ("engine", ports.engine),
        ("relay", ports.relay),
        ("comparator", ports.comparator),
        ("front", ports.front_admin),
    ] {
        let url = format!("http://127.0.0.1:{port}/readyz");
        loop {
            match client.get(&url, None, Duration::from_secs(1)).await {
                Ok(answer) if answer.status.is_success() => break,
                _ if host::clock::now() > deadline => anyhow::bail!("the {part} did not get ready in time"),
                _ => host::clock::sleep(Duration::from_millis(20)).await,
            }
        }
    }
    Ok(())
}

fn say(site: &Site, args: &DemoArgs) {
    let place = site.folder.display();
    let log = if args.kafka { "; the log is in Kafka" } else { "" };
    let database = if args.postgres { "; projections and legacy are in PostgreSQL" } else { "" };
    render::note(&format!("Everything runs on this machine, in {place}{log}{database}."));
    render::note(&format!("Look around meanwhile: crossfade status -w --config {}", site.config.display()));
}
