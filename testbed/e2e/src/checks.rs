//! What has to hold after every run.

use crate::engines::Engines;
use crate::services;
use crate::system::System;
use anyhow::{Context, ensure};
use crossfade::demo::cluster::Cluster;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use testbed_auditor::{Expectations, Money, Observer};
use testbed_loadgen::system::System as Read;
use wire::projection::ProjectionJobView;
use wire::rollout::Rollout;

/// The ledger of every site.
pub(crate) const LEDGER: &str = "demo";

/// An auditor shared with the traffic that it watches.
pub type Auditor = Arc<Mutex<Observer>>;

/// An auditor of a run in which the dial may move.
pub fn auditor(authority_moves: bool) -> Auditor {
    Arc::new(Mutex::new(Observer::new(Expectations { refusal_keeps_key: true, authority_moves })))
}

fn lock(auditor: &Auditor) -> MutexGuard<'_, Observer> {
    auditor.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The balances of both systems, which have to be equal to the last decimal; the engine's in-transit accounts,
/// which have to be empty, are left out.
pub async fn equal_balances(system: &System) -> anyhow::Result<BTreeMap<String, Money>> {
    let legacy = Read::new(system.site.legacy()).balances().await?;
    let mut engine = Read::new(system.site.engine()).balances().await?;
    for (id, balance) in engine.extract_if(.., |id, _| id.starts_with("in-transit:")) {
        ensure!(balance == Money::ZERO, "{id} has {balance} although no transaction is under way");
    }
    ensure!(legacy == engine, "balances differ: {}", differences(&legacy, &engine));
    Ok(engine)
}

/// Both systems and the auditor agree on every balance. Says how many accounts there are.
pub async fn all_balances_agree(system: &System, auditor: &Auditor) -> anyhow::Result<usize> {
    Read::new(system.site.front()).resolve(auditor).await?;
    let balances = equal_balances(system).await?;
    none(lock(auditor).verify(&balances))?;
    Ok(balances.len())
}

/// The balances of every shard sum to nothing, as the engine keeps them up with each movement.
pub async fn money_is_conserved(system: &System) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        // Taken once a second; per currency, the absolute sums of all shards.
        let metrics = system.metrics().await?;
        let errors = metrics.get("crossfade_conservation_error").filter(|errors| !errors.is_empty());
        if let Some(errors) = errors {
            ensure!(errors.iter().all(|error| *error == 0.0), "money is not conserved: {errors:?}");
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the engine does not say whether money is conserved");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What an independent consumer found in the public account events.
#[derive(Debug, Clone, Copy)]
pub struct PublicEvents {
    /// Different ones.
    pub events: u64,
    /// Records that repeat one of them, to the byte.
    pub repeats: u64,
    /// When the newest of those that are repeated was decided, in microseconds since 1970.
    pub newest_repeat_micros: i64,
}

/// As [`public_events_agree_but_for_repeats`], and each of them is there once. Says how many there are.
///
/// # Errors
/// What differs, and that some are repeated.
pub async fn public_events_agree(cluster: &Cluster, engine: &str) -> anyhow::Result<u64> {
    let PublicEvents { events, repeats, .. } = public_events_agree_but_for_repeats(cluster, engine).await?;
    ensure!(repeats == 0, "{repeats} public events are repeated");
    Ok(events)
}

/// An independent consumer of the public account events finds what the engine says: balances, versions without gap. It
/// leaves out repeats, as `docs/events.md` tells it to. Waits until all events are published, and looks once more: what is
/// repeated may come later.
///
/// # Errors
/// What differs, once nothing more is expected to come.
pub async fn public_events_agree_but_for_repeats(cluster: &Cluster, engine: &str) -> anyhow::Result<PublicEvents> {
    let Cluster { kafka, registry } = cluster;
    let registry = registry.as_ref().context("CROSSFADE_REGISTRY_URL is not set: run `./dev services up`")?;
    let topic = kafka.topic(wire::avro::ACCOUNT_EVENTS);
    let balances = Read::new(engine).balances().await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut before = None;
    loop {
        let seen = services::consumer("events.py", &[&kafka.bootstrap, &registry.url, &topic])?;
        for mistakes in ["twice", "gaps", "strange"] {
            ensure!(seen[mistakes] == json!([]), "{mistakes}: {}", seen[mistakes]);
        }
        let sum = |(account, sum): (&String, &serde_json::Value)| {
            let sum = sum.as_str().and_then(Money::level).with_context(|| format!("{account} has {sum}"))?;
            anyhow::Ok((account.clone(), sum))
        };
        let sums = seen["sums"].as_object().into_iter().flatten().map(sum).collect::<anyhow::Result<_>>()?;
        let count = |name: &str| seen[name].as_u64().with_context(|| format!("the consumer counts no {name}"));
        let (events, repeats) = (count("events")?, count("repeats")?);
        if balances == sums && before.replace((events, repeats)) == Some((events, repeats)) {
            let newest_repeat_micros = seen["newestRepeatMicros"].as_i64().context("repeats have no time")?;
            return Ok(PublicEvents { events, repeats, newest_repeat_micros });
        }
        ensure!(Instant::now() < deadline, "the public events say otherwise: {}", differences(&balances, &sums));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The audit trail of every user's account, as the command line shows it: all versions from 1 to the account's own, in order,
/// and the last balance that it tells is the account's. Says how many events that are.
///
/// # Errors
/// The first one that is otherwise.
pub async fn trails_are_complete(engines: &Engines, number: usize, binary: &Path) -> anyhow::Result<u64> {
    let mut count = 0;
    for (account, balance) in Read::new(engines.url(number)).balances().await? {
        let shown = crossfade_json(engines, number, binary, &["account", "show", &account])?;
        if shown["accountType"] != "USER" {
            continue;
        }
        let trail = crossfade_json(engines, number, binary, &["account", "events", &account])?;
        let events = trail["events"].as_array().context("no events")?;
        let versions: Vec<u64> = events.iter().filter_map(|event| event["aggregateVersion"].as_u64()).collect();
        let whole: Vec<u64> = (1..=shown["version"].as_u64().context("no version")?).collect();
        ensure!(versions == whole, "{account} is at version {}, its trail has {versions:?}", whole.len());
        let told = events.iter().rev().find_map(|event| event["data"]["balanceAfter"].as_str());
        let told = told.map_or(Some(Money::ZERO), Money::level);
        ensure!(told == Some(balance), "{account} has {balance}, its trail ends with {told:?}");
        count += versions.len() as u64;
    }
    Ok(count)
}

/// The projections say what the log says, row by row, as the command line finds. Says how many records that were.
///
/// # Errors
/// The differences.
pub async fn projections_agree(binary: &Path, config: &Path) -> anyhow::Result<u64> {
    let mut verify = Command::new(binary);
    verify.args(["projection", "verify", "--all", "-o", "json", "--config"]).arg(config);
    let ended = host::task::spawn_blocking(move || verify.output()).await??;
    let said = String::from_utf8_lossy(&ended.stdout);
    ensure!(ended.status.success(), "{said} {}", String::from_utf8_lossy(&ended.stderr));
    let jobs: BTreeMap<String, ProjectionJobView> = serde_json::from_slice(&ended.stdout)?;
    let records: Vec<u64> = jobs.values().map(|job| job.records_done).collect();
    ensure!(records.len() == 2 && records.iter().all(|records| *records > 0), "nothing was verified: {said}");
    Ok(records[0])
}

/// What the command line says to a program.
fn crossfade_json(engines: &Engines, number: usize, binary: &Path, verb: &[&str]) -> anyhow::Result<serde_json::Value> {
    let ended =
        Command::new(binary).args(verb).args(["-o", "json", "--config"]).arg(engines.config(number)).output()?;
    ensure!(ended.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&ended.stderr));
    Ok(serde_json::from_slice(&ended.stdout)?)
}

/// Every effect told to a client stands once in the list of each system, and nothing else does.
pub async fn every_effect_once(system: &System, auditor: &Auditor) -> anyhow::Result<()> {
    let both = [("legacy", system.site.legacy()), ("engine", system.site.engine())];
    every_effect_once_in(system, auditor, &both).await
}

/// The same of some systems: name and base URL.
pub async fn every_effect_once_in(
    system: &System,
    auditor: &Auditor,
    systems: &[(&str, String)],
) -> anyhow::Result<()> {
    Read::new(system.site.front()).resolve(auditor).await?;
    for (name, base) in systems {
        let rows = Read::new(base).transactions().await?;
        lock(auditor).verify_list(name, &rows);
    }
    none(lock(auditor).violations())
}

/// No key has two effects in either system.
pub async fn nothing_twice(system: &System) -> anyhow::Result<()> {
    for base in [system.site.legacy(), system.site.engine()] {
        let mut seen = std::collections::BTreeSet::new();
        for row in Read::new(&base).transactions().await?.iter().filter(|row| row["status"] == "completed") {
            let of = |pointer: &str| row.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
            let effect = ["/trackingId", "/type", "/source/accountId", "/destination/accountId"].map(of);
            ensure!(seen.insert(effect.map(str::to_owned)), "{base} has {effect:?} twice");
        }
    }
    Ok(())
}

/// Every exchange went to the system that the rollout names for its account, in the version that it says it went by. Says
/// how many versions there were.
pub async fn authorities_fit(system: &System) -> anyhow::Result<usize> {
    let mut rollout = Rollout::genesis(LEDGER);
    let mut versions = BTreeMap::from([(rollout.version, rollout.clone())]);
    for bytes in system.records(wire::rollout::TOPIC).await? {
        rollout.take(&bytes)?;
        versions.insert(rollout.version, rollout.clone());
    }
    for exchange in system.exchanges().await? {
        let Some(account) = &exchange.account else { continue };
        let version = versions.get(&exchange.rollout_version);
        let version = version.with_context(|| format!("{} went by a version that is none", exchange.id))?;
        let (named, was) = (version.authority(account), exchange.authority);
        ensure!(named == was, "{} went to the {was}, but {account} belonged to the {named}", exchange.id);
    }
    Ok(versions.len())
}

/// An engine without a legacy beside it: every effect told to a client stands once in its list, every balance is the
/// auditor's, and money is conserved.
pub async fn engine_agrees(url: &str, auditor: &Auditor) -> anyhow::Result<()> {
    let engine = Read::new(url);
    let deadline = Instant::now() + Duration::from_secs(60);
    while engine.resolve(auditor).await? > 0 {
        ensure!(Instant::now() < deadline, "some keys are not settled in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A database that was killed just before may have to catch up first: until then its lists are 503.
    let deadline = Instant::now() + Duration::from_secs(60);
    let rows = loop {
        match engine.transactions().await {
            Ok(rows) => break rows,
            Err(error) => ensure!(Instant::now() < deadline, "the list cannot be read in time: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    lock(auditor).verify_list("engine", &rows);
    none(lock(auditor).violations())?;
    let mut balances = engine.balances().await?;
    for (id, balance) in balances.extract_if(.., |id, _| id.starts_with("in-transit:")) {
        ensure!(balance == Money::ZERO, "{id} has {balance} although no transaction is under way");
    }
    let total: i128 = balances.values().map(|balance| balance.as_parts()).sum();
    ensure!(total == 0, "all balances sum to {}", Money::parts(total));
    none(lock(auditor).verify(&balances))
}

fn none(violations: &[testbed_auditor::Violation]) -> anyhow::Result<()> {
    let first: Vec<_> = violations.iter().take(5).map(ToString::to_string).collect();
    ensure!(violations.is_empty(), "{} violations, the first: {}", violations.len(), first.join("; "));
    Ok(())
}

fn differences(legacy: &BTreeMap<String, Money>, engine: &BTreeMap<String, Money>) -> String {
    let shown = |money: Option<&Money>| money.map_or_else(|| "none".to_owned(), ToString::to_string);
    legacy
        .keys()
        .chain(engine.keys().filter(|id| !legacy.contains_key(*id)))
        .filter(|id| legacy.get(*id) != engine.get(*id))
        .take(5)
        .map(|id| format!("{id}: legacy {}, engine {}", shown(legacy.get(id)), shown(engine.get(id))))
        .collect::<Vec<_>>()
        .join("; ")
}
