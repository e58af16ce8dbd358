//! What must hold at the end: of the log, of every process, of all answers.

use crate::chaos::LITTER;
use crate::fired::What;
use crate::history::{History, Reading};
use crate::process::{LEDGER, Process, Reply};
use crate::world::World;
use engine_domain::AccountId;
use host::clock;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use testbed_auditor::Money;
use wire::dead_letter::{self, DeadLetter, Origin};

/// How often it is looked whether everything has ended.
const LOOK: Duration = Duration::from_millis(250);
/// Rows of a page.
const PAGE: usize = 1_000;

/// Waits until every process runs and is ready, has decided or seen everything, and no saga is under way.
pub async fn quiet(world: &World) {
    // Readers that began to stall before the last fault go on.
    clock::sleep(world.shape.faults.longest).await;
    loop {
        let before = world.broker.landed().len();
        let is_quiet = why_not(world).await.is_none();
        clock::sleep(LOOK).await;
        if is_quiet && world.broker.landed().len() == before {
            return;
        }
    }
}

/// Why it is not quiet.
pub async fn why_not_quiet(world: &World) -> String {
    why_not(world).await.unwrap_or_else(|| "it has just become so".to_owned())
}

async fn why_not(world: &World) -> Option<String> {
    let on_the_way = world.broker.on_the_way();
    if on_the_way > 0 {
        return Some(format!("{on_the_way} batches are on their way to the log"));
    }
    let all: Vec<u32> = (0..world.shape.shards).collect();
    for process in &world.processes {
        let number = process.number;
        let Some(running) = process.running() else { return Some(format!("{number} does not run")) };
        let Some(ledger) = running.ledger() else {
            return Some(format!("{number} has not opened: {:?}", running.readiness.reasons()));
        };
        if let Err(error) = ledger.settled_barrier(&all, clock::now() + LOOK).await {
            return Some(format!("{number}: {error}; {:?}", running.readiness.reasons()));
        }
        let reasons = running.readiness.reasons();
        if !reasons.is_empty() {
            return Some(format!("{number} is not ready: {reasons:?}"));
        }
        let sagas = ledger.view().open_sagas();
        if !sagas.is_empty() {
            return Some(format!("{number} knows of sagas under way: {sagas:?}"));
        }
    }
    let waiting = without_letter(world);
    (!waiting.is_empty()).then(|| format!("no dead letter of {waiting:?}"))
}

/// What nobody can process, and has no dead letter yet.
fn without_letter(world: &World) -> BTreeSet<Origin> {
    let mut waiting = BTreeSet::new();
    for (topic, partition, record) in world.broker.landed() {
        if record.value == LITTER {
            waiting.insert(Origin { topic, partition, offset: record.offset });
        } else if topic == dead_letter::TOPIC
            && let Ok(letter) = wire::stored::decode::<DeadLetter>(&record.value)
        {
            waiting.remove(&letter.origin);
        }
    }
    waiting
}

/// Compares everything with everything.
pub async fn run(world: &World) {
    let history = read(world);
    count(world, &history);
    history.violations.iter().for_each(|violation| world.violation(violation.clone()));
    let mut shown: Option<(Vec<Value>, Vec<Value>)> = None;
    for process in &world.processes {
        let Some(lists) = lists(world, process).await else { continue };
        match &shown {
            None => shown = Some(lists),
            Some(before) if *before == lists => {}
            Some(before) => {
                world.violation(format!(
                    "process {} shows something else than another: {}",
                    process.number,
                    apart(before, &lists)
                ));
            }
        }
    }
    let Some((accounts, transactions)) = shown else {
        return world.violation("nobody can be asked at the end".to_owned());
    };
    told(world, &history);
    let balances = balances(world, &history, &accounts);
    audit(world, &balances, &transactions);
}

fn read(world: &World) -> History {
    let mut reading = Reading::new(LEDGER, world.shape.shards, world.shape.divergent.is_some());
    for (topic, partition, record) in world.broker.landed() {
        reading.take(&topic, partition, &record);
    }
    reading.end()
}

fn count(world: &World, history: &History) {
    for (what, times) in [
        (What::OutcomeIgnored, history.ignored),
        (What::DivergentAccepted, history.divergent),
        (What::Compensated, history.compensated),
    ] {
        (0..times).for_each(|_| world.happened(what, ""));
    }
}

/// All accounts and all transactions that a process shows.
async fn lists(world: &World, process: &Process) -> Option<(Vec<Value>, Vec<Value>)> {
    let accounts = pages(world, process, "/accounts", "accounts").await?;
    Some((accounts, pages(world, process, "/transactions", "transactions").await?))
}

async fn pages(world: &World, process: &Process, path: &str, rows: &str) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let reply = process.get(&format!("{path}?limit={PAGE}{after}")).await;
        let Reply::Answered { status: 200, body, .. } = &reply else {
            world.violation(format!("process {} answers {path} with {reply:?}", process.number));
            return None;
        };
        let mut page: Value = serde_json::from_slice(body).unwrap_or_default();
        all.extend(page[rows].as_array_mut().map(std::mem::take).unwrap_or_default());
        match page["next"].as_str() {
            None => return Some(all),
            Some(next) => after = format!("&after={next}"),
        }
    }
}

/// The first thing in which two processes differ.
fn apart(one: &(Vec<Value>, Vec<Value>), two: &(Vec<Value>, Vec<Value>)) -> String {
    let rows = |lists: &(Vec<Value>, Vec<Value>)| lists.0.iter().chain(&lists.1).cloned().collect::<Vec<_>>();
    let (one, two) = (rows(one), rows(two));
    let differs = one.iter().zip(&two).find(|(one, two)| one != two);
    differs.map_or_else(|| format!("{} rows and {}", one.len(), two.len()), |(one, two)| format!("{one} and {two}"))
}

/// Whatever was told of an account at a version is what the log says of it.
fn told(world: &World, history: &History) {
    let told = world.told.lock().expect("nobody panics with it").levels.clone();
    for ((account, version), level) in told {
        let in_the_log = history.levels.get(&(account.clone(), version));
        if in_the_log.and_then(|level| Money::level(&level.to_string())) != Some(level) {
            world.violation(format!("{account} at version {version} was told to stand at {level}, not {in_the_log:?}"));
        }
    }
}

/// The balances that are shown; they are those of the log.
fn balances(world: &World, history: &History, accounts: &[Value]) -> BTreeMap<String, Money> {
    let mut balances = BTreeMap::new();
    for account in accounts {
        let (Some(id), Some(balance)) =
            (account["accountId"].as_str(), account["balance"].as_str().and_then(Money::level))
        else {
            world.violation(format!("no account: {account}"));
            continue;
        };
        let in_the_log = AccountId::new(id).map(|id| history.balance(&id)).unwrap_or_default();
        if Money::level(&in_the_log.to_string()) != Some(balance) {
            world.violation(format!("{id} is shown at {balance}, and stands at {in_the_log} in the log"));
        }
        if account["reserved"].as_str().is_some_and(|reserved| reserved != "0") {
            world.violation(format!("nothing is under way, and of {id} something is reserved: {account}"));
        }
        balances.insert(id.to_owned(), balance);
    }
    balances
}

/// The independent auditor: what was told is what the list and the balances say.
fn audit(world: &World, balances: &BTreeMap<String, Money>, transactions: &[Value]) {
    let mut observer = world.observer.lock().expect("nobody panics with it");
    observer.verify_list("the engine", transactions);
    observer.verify_known();
    observer.verify_balances(balances);
    // That movements chain, money given back by failed transfers included, the log itself shows.
    let violations: Vec<String> = observer.violations().iter().map(ToString::to_string).collect();
    drop(observer);
    violations.into_iter().for_each(|violation| world.violation(violation));
    let under_way = transactions.iter().filter(|row| row["status"] == "processing");
    under_way.for_each(|row| world.violation(format!("nothing is under way, but {row}")));
}
