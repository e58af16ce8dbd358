//! Who asks: sends what the seed says, again if it is lost, and compares what it is told.

use crate::asks::{self, Ask};
use crate::fired::What;
use crate::process::{Process, Reply};
use crate::world::World;
use futures_util::future::join_all;
use host::{clock, task};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use testbed_auditor::answer::Outcome;
use testbed_auditor::{Answer, Class, Money};
use testbed_loadgen::call::Call;

/// How often a call is sent whose effect nobody knows.
const ATTEMPTS: u32 = 6;
/// How long a client thinks at most.
const THINKING_MS: u64 = 120;

/// What was told of accounts: an account has one balance at each version, and no read goes back behind an answer.
#[derive(Debug, Default)]
pub struct Told {
    newest: BTreeMap<String, u64>,
    /// Per account and version.
    pub levels: BTreeMap<(String, u64), Money>,
}

impl Told {
    /// The newest version of an account that anybody was told.
    fn newest(&self, account: &str) -> u64 {
        self.newest.get(account).copied().unwrap_or(0)
    }

    /// Takes a level; what was told before, if that was something else.
    fn take(&mut self, account: &str, version: u64, level: Money) -> Option<Money> {
        let newest = self.newest.entry(account.to_owned()).or_default();
        *newest = version.max(*newest);
        let before = *self.levels.entry((account.to_owned(), version)).or_insert(level);
        (before != level).then_some(before)
    }
}

/// Makes the accounts, then asks until everything was asked for.
pub async fn run(world: &Arc<World>) {
    let accounts = world.asks.lock().expect("nobody panics with it").accounts();
    join_all(accounts.into_iter().map(|call| insist(world, call))).await;
    let clients = (0..world.shape.clients).map(|_| task::spawn(client(Arc::clone(world))));
    for client in join_all(clients).await {
        if let Err(panic) = client {
            world.violation(format!("a client: {panic}"));
        }
    }
}

/// Sends a call until it has its effect.
async fn insist(world: &World, call: Call) {
    loop {
        let sent = send(world, &call).await;
        if sent.is_some_and(|answer| answer.class() != Class::Unknown) {
            return;
        }
        think(world).await;
    }
}

async fn client(world: Arc<World>) {
    loop {
        let ask = world.asks.lock().expect("nobody panics with it").next_ask();
        match ask {
            None => return,
            Some(Ask::Balance(account)) => balance(&world, &account).await,
            Some(Ask::Write(shot)) => {
                let copies = (0..shot.copies).map(|_| write(&world, &shot.call));
                join_all(copies).await;
            }
            Some(Ask::Batch(calls)) => batch(&world, calls).await,
        }
        think(&world).await;
    }
}

async fn think(world: &World) {
    let thinks = world.draw(|random| random.u64(..=THINKING_MS));
    clock::sleep(Duration::from_millis(thinks)).await;
}

fn any(world: &World) -> &Process {
    &world.processes[world.draw(|random| random.usize(..world.processes.len()))]
}

/// Sends a call, and mostly again while nobody knows what became of it.
async fn write(world: &World, call: &Call) {
    for _ in 0..ATTEMPTS {
        let sent = send(world, call).await;
        let known = sent.is_some_and(|answer| answer.class() != Class::Unknown);
        if known || world.draw(|random| random.u8(..5)) == 0 {
            return;
        }
        think(world).await;
    }
}

/// Sends transactions in one request, and those of which nobody knows what became mostly again.
async fn batch(world: &World, mut calls: Vec<Call>) {
    for _ in 0..ATTEMPTS {
        world.happened(What::Batch, "");
        let reply = send_unread(world, &asks::batch(&calls)).await;
        let replies = each(world, &reply, calls.len());
        let unknown = calls.into_iter().zip(replies).filter(|(call, reply)| {
            let answer = take_reply(world, call, reply);
            answer.is_none_or(|answer| answer.class() == Class::Unknown)
        });
        calls = unknown.map(|(call, _)| call).collect();
        if calls.is_empty() || world.draw(|random| random.u8(..5)) == 0 {
            return;
        }
        think(world).await;
    }
}

/// What came of each transaction of a batch: what the answer says of it, or what came of the whole.
fn each(world: &World, reply: &Reply, count: usize) -> Vec<Reply> {
    let Reply::Answered { status: 200, body, .. } = reply else { return vec![reply.clone(); count] };
    let answered: Value = serde_json::from_slice(body).unwrap_or_default();
    let results = answered["results"].as_array().cloned().unwrap_or_default();
    if results.len() != count {
        world.violation(format!("{count} transactions in one request were answered with {answered}"));
    }
    let reply = |result: Value| Reply::Answered {
        status: result["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(0),
        replayed: result["replayed"] == true,
        body: result["body"].to_string().into(),
    };
    results.into_iter().map(reply).collect()
}

/// Sends a call once, to anybody, and shows the auditor what came of it.
async fn send(world: &World, call: &Call) -> Option<Answer> {
    let reply = send_unread(world, call).await;
    take_reply(world, call, &reply)
}

async fn send_unread(world: &World, call: &Call) -> Reply {
    let process = any(world);
    let reply = process.send(call).await;
    let body = String::from_utf8_lossy(&call.body);
    let key = call.header_key.as_deref().unwrap_or_default();
    world.sent(process.number, &format!("{} {} {key} {body}", call.method, call.path), &reply);
    reply
}

/// Shows the auditor what came of a call.
fn take_reply(world: &World, call: &Call, reply: &Reply) -> Option<Answer> {
    let answer = reply.answer();
    let mut observer = world.observer.lock().expect("nobody panics with it");
    match (call.read(), &answer) {
        (Ok(request), Some(answer)) => observer.observe(&request, answer),
        (Ok(request), None) if *reply == Reply::Lost => observer.observe_unknown(&request),
        (Err(why), Some(answer)) => observer.observe_unreadable(&why, answer),
        (Ok(_) | Err(_), None) => {}
    }
    if let Some(answer) = &answer {
        world.asks.lock().expect("nobody panics with it").learn(answer);
        answer.result.as_deref().into_iter().for_each(|outcome| levels(world, outcome));
    }
    answer
}

fn levels(world: &World, outcome: &Outcome) {
    for side in [&outcome.source, &outcome.destination] {
        let (Some((_, after)), Some(version)) = (side.levels, side.version) else { continue };
        take(world, &side.account, version, after);
    }
}

fn take(world: &World, account: &str, version: u64, level: Money) {
    let before = world.told.lock().expect("nobody panics with it").take(account, version, level);
    if let Some(before) = before {
        world.violation(format!("{account} at version {version} was told to stand at {before}, and at {level}"));
    }
}

/// Reads a balance: it includes everything that was told before.
async fn balance(world: &World, account: &str) {
    let newest = world.told.lock().expect("nobody panics with it").newest(account);
    let process = any(world);
    let path = format!("/accounts/{account}/balance");
    let reply = process.get(&path).await;
    world.sent(process.number, &path, &reply);
    let Reply::Answered { status, body, .. } = reply else { return };
    if status == 503 {
        return;
    }
    let shown: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (level, version) = (shown["balance"].as_str().and_then(Money::level), shown["version"].as_u64());
    let (200, Some(level), Some(version)) = (status, level, version) else {
        return world.violation(format!("the balance of {account} was answered with {status}: {shown}"));
    };
    if version < newest {
        world.violation(format!("{account} was read at version {version}, though {newest} was told before"));
    }
    // A shared account has a version and a balance on every shard: what is shown is their sum, at no single moment.
    if !account.contains("-external-") {
        take(world, account, version, level);
    }
}
