//! Engines on a Kafka cluster of three brokers: several of them, brokers that die, and what clients see of it.
//!
//! Needs the services of `./dev services up`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use anyhow::{Context, ensure};
use crossfade::demo::cluster;
use eventlog::kafka::{TopicSpec, topics};
use eventlog::{NewRecord, Place};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed_e2e::checks::{self, Auditor};
use testbed_e2e::engines::{Engines, OUTSIDE};
use testbed_e2e::looks::look_back;
use testbed_e2e::services;
use testbed_loadgen::report::Counted;
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::workload::{Config, Workload};
use wire::dead_letter::{self, DeadLetter, Origin};
use wire::journal::COMMANDS;

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
/// As many as an engine has unless told.
const SHARDS: u32 = 10;
/// Enough of them to have one on every shard.
const USERS: usize = 60;

fn topup(key: &str, user: &str) -> Value {
    json!({ "idempotencyKey": key, "sourceAccountId": OUTSIDE, "destinationAccountId": user, "amount": "1",
        "currency": "EUR" })
}

/// Tops every user up once, all at the same time; the longest that one waited for its final answer.
async fn top_all_up(engines: &Engines, number: usize, round: &str, users: &[String]) -> anyhow::Result<Duration> {
    let answers = users.iter().map(async |user| {
        let began = Instant::now();
        let answer = engines.post(number, "/transactions/topup", &topup(&format!("{round}-{user}"), user)).await?;
        ensure!(answer.status.as_u16() == 200, "{round}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        anyhow::Ok(began.elapsed())
    });
    let waited: Vec<Duration> = futures_util::future::try_join_all(answers).await?;
    Ok(waited.into_iter().max().unwrap_or_default())
}

async fn balances_are(engines: &Engines, number: usize, users: &[String], expected: usize) -> anyhow::Result<()> {
    let balances = testbed_loadgen::system::System::new(engines.url(number)).balances().await?;
    for user in users {
        let balance = balances[user];
        ensure!(Some(balance) == testbed_auditor::Money::level(&expected.to_string()), "{user} has {balance}");
    }
    Ok(())
}

fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_share_the_load_and_one_stands_in_for_the_other() -> anyhow::Result<()> {
    let mut engines = Engines::start(Path::new(BINARY), 2).await?;
    let users = engines.accounts(0, USERS).await?;
    // The group gives each its share; until then, whoever has it all goes on.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut rounds = 0;
    loop {
        let before = (engines.decided(0).await?, engines.decided(1).await?);
        top_all_up(&engines, rounds % 2, &format!("share-{rounds}"), &users).await?;
        rounds += 1;
        let (one, other) = (engines.decided(0).await? - before.0, engines.decided(1).await? - before.1);
        if one > 0.0 && other > 0.0 {
            println!("both decide: {one} and {other} of {USERS} commands");
            break;
        }
        ensure!(Instant::now() < deadline, "the load is not shared: {one} and {other}");
    }

    // SIGTERM, kill -9, and SIGSTOP for longer than the group waits: each time the other one answers for all.
    engines.process(1)?.stop().await?;
    let waited = top_all_up(&engines, 0, "terminated", &users).await?;
    println!("after SIGTERM: the longest wait was {waited:?}");
    ensure!(waited <= Duration::from_secs(2), "after SIGTERM: {waited:?}");
    engines.begin(1).await?;
    until_shared(&engines, &users, &mut rounds).await?;
    engines.kill(1)?;
    let waited = top_all_up(&engines, 0, "killed", &users).await?;
    println!("after kill -9: the longest wait was {waited:?}");
    ensure!(waited <= Duration::from_secs(2), "after kill -9: {waited:?}");
    engines.begin(1).await?;
    until_shared(&engines, &users, &mut rounds).await?;
    let pid = engines.process(1)?.pid();
    let stopped_micros = host::clock::unix_micros();
    signal(pid, "STOP");
    let stopped = Instant::now();
    let mut longest = Duration::ZERO;
    let mut during = 0;
    while stopped.elapsed() < Duration::from_secs(30) {
        longest = longest.max(top_all_up(&engines, 0, &format!("paused-{during}"), &users).await?);
        during += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    signal(pid, "CONT");
    println!("during SIGSTOP: {during} rounds, the longest wait was {longest:?}");
    ensure!(longest <= Duration::from_secs(2), "during SIGSTOP: {longest:?}");
    // The zombie is awake, believes what it believed, and contradicts nobody.
    top_all_up(&engines, 1, "awake", &users).await?;
    for number in [0, 1] {
        balances_are(&engines, number, &users, rounds + during + 3).await?;
    }
    // What the zombie had handed to its client library before it fell asleep may be there twice, and nothing of later.
    let public = checks::public_events_agree_but_for_repeats(engines.cluster(), engines.url(0)).await?;
    println!("{public:?}, asleep since {stopped_micros}");
    ensure!(public.newest_repeat_micros <= stopped_micros, "what was decided later is repeated");
    engines.stop().await
}

/// Tops up until the second engine decides on something again.
async fn until_shared(engines: &Engines, users: &[String], rounds: &mut usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let before = engines.decided(1).await?;
        top_all_up(engines, 0, &format!("again-{rounds}"), users).await?;
        *rounds += 1;
        if engines.decided(1).await? > before {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the second engine is given nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broker_of_three_may_die() -> anyhow::Result<()> {
    let engines = Engines::start(Path::new(BINARY), 1).await?;
    let users = engines.accounts(0, USERS).await?;
    let mut rounds = 0;
    for victim in [1, 2, 3] {
        top_all_up(&engines, 0, &format!("before-{victim}"), &users).await?;
        services::broker("kill", victim)?;
        let without = format!("without-{victim}");
        let answered = while_it_fails_over(&engines, &without, &users).await;
        services::broker("start", victim)?;
        println!("without broker {victim}: {}", answered?);
        // Whoever was told 202 finds the same effect under the same key.
        top_all_up(&engines, 0, &without, &users).await?;
        rounds += 2;
    }
    balances_are(&engines, 0, &users, rounds).await?;
    engines.stop().await
}

/// Tops every user up right after a broker died: nobody sees an error, and few have to wait longer than for 5 s.
async fn while_it_fails_over(engines: &Engines, round: &str, users: &[String]) -> anyhow::Result<String> {
    let answers = users.iter().map(async |user| {
        let began = Instant::now();
        let answer = engines.post(0, "/transactions/topup", &topup(&format!("{round}-{user}"), user)).await?;
        anyhow::Ok((answer.status.as_u16(), began.elapsed()))
    });
    let answers = futures_util::future::try_join_all(answers).await?;
    ensure!(answers.iter().all(|(status, _)| [200, 202].contains(status)), "{round}: {answers:?}");
    let processing = answers.iter().filter(|(status, _)| *status == 202).count();
    let longest = answers.iter().map(|(_, waited)| *waited).max().unwrap_or_default();
    Ok(format!("{processing} of {} answered 202, the longest wait was {longest:?}", answers.len()))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_broker_of_three_nothing_is_acknowledged_as_done() -> anyhow::Result<()> {
    let engines = Engines::start(Path::new(BINARY), 1).await?;
    let users = engines.accounts(0, USERS).await?;
    services::broker("kill", 2)?;
    services::broker("kill", 3)?;
    let answers = users.iter().map(async |user| {
        let began = Instant::now();
        let answer = engines.post(0, "/transactions/topup", &topup(&format!("dark-{user}"), user)).await?;
        anyhow::Ok((answer, began.elapsed()))
    });
    let answers = futures_util::future::try_join_all(answers).await;
    services::all_brokers()?;
    let back = Instant::now();
    let (mut accepted, mut turned_away) = (0, 0);
    for (answer, waited) in answers? {
        ensure!(waited <= Duration::from_millis(5_500), "an answer took {waited:?}");
        match answer.status.as_u16() {
            202 => accepted += 1,
            503 => {
                ensure!(answer.headers.contains_key("retry-after"), "503 without Retry-After");
                turned_away += 1;
            }
            other => anyhow::bail!("{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
    }
    println!("with one broker: {accepted} answered 202, {turned_away} answered 503");
    // The same keys again: each has its one effect, whatever became of the first try.
    loop {
        let waited = top_all_up(&engines, 0, "dark", &users).await;
        match waited {
            Ok(_) => break,
            Err(error) => ensure!(back.elapsed() < Duration::from_secs(30), "no recovery: {error}"),
        }
    }
    println!("recovered after {:?}", back.elapsed());
    ensure!(back.elapsed() <= Duration::from_secs(30), "recovered after {:?}", back.elapsed());
    balances_are(&engines, 0, &users, 1).await?;
    engines.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_an_engine_waits_and_goes_on_when_it_is_there() -> anyhow::Result<()> {
    let mut engines = Engines::prepare(Path::new(BINARY), 1).await?;
    let waits = without_brokers(&mut engines).await;
    services::all_brokers()?;
    waits?;
    engines.until(0, |readyz| readyz.status.is_success()).await?;
    let users = engines.accounts(0, 1).await?;
    top_all_up(&engines, 0, "back", &users).await?;
    balances_are(&engines, 0, &users, 1).await?;
    engines.stop().await
}

/// Starts the engine when no broker runs, and waits until it says what it waits for.
async fn without_brokers(engines: &mut Engines) -> anyhow::Result<()> {
    (1..=3).try_for_each(|number| services::broker("kill", number))?;
    engines.launch(0)?;
    for named in ["log: waiting for Kafka at", "log: Kafka at"] {
        let says = |body: &[u8]| String::from_utf8_lossy(body).contains(named);
        engines.until(0, |readyz| readyz.status.as_u16() == 503 && says(&readyz.body)).await?;
    }
    Ok(())
}

/// Runs `crossfade dlq …` on the engine's configuration: its exit code, what it says to a program, and what to people.
fn dlq(engines: &Engines, verb: &[&str]) -> anyhow::Result<(i32, Value, String)> {
    let mut command = Command::new(BINARY);
    command.arg("dlq").args(verb).args(["-o", "json", "--config"]).arg(engines.config(0));
    let ended = command.output()?;
    let said = serde_json::from_slice(&ended.stdout).unwrap_or(Value::Null);
    Ok((ended.status.code().unwrap_or(-1), said, String::from_utf8_lossy(&ended.stderr).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_none_is_listed_shown_and_settled_and_holds_up_nobody() -> anyhow::Result<()> {
    const SHARD: u32 = 4;
    let engines = Engines::start(Path::new(BINARY), 1).await?;
    let users = engines.accounts(0, USERS).await?;
    let log = Place::kafka(engines.cluster().kafka.clone(), Vec::new())?.log();
    let known = log.read(COMMANDS, SHARD, 0, 1).await?.pop().context("no command")?.value;
    let id = |offset| Origin { topic: COMMANDS.to_owned(), partition: SHARD, offset };
    // One that nobody can read, one that is said to have been unreadable once, and what is not even a letter.
    let garbage = id(log.append(COMMANDS, SHARD, vec![NewRecord::of(b"abc".to_vec())]).await?).to_string();
    let letter = DeadLetter::found(id(1_000_000), &"a bug", Some(known.to_vec()));
    let records = [b"abc".to_vec(), wire::stored::encode(&letter)].map(NewRecord::of);
    log.append(dead_letter::TOPIC, 0, records.into()).await?;
    let readable = letter.origin.to_string();

    // The engine alone runs here; the comparator, which would show the same topic, does not.
    let deadline = Instant::now() + Duration::from_secs(30);
    let (code, listed, said) = loop {
        let listed = dlq(&engines, &["list"])?;
        if listed.1.as_array().is_some_and(|letters| letters.len() == 2) {
            break listed;
        }
        ensure!(Instant::now() < deadline, "the letters do not come: {listed:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    ensure!(code == 3 && said.contains("1 record is no letter"), "{code} {said}");
    ensure!(listed[0]["id"] == garbage && listed[1]["id"] == readable && listed[0]["status"] == "open", "{listed}");
    for (verb, exit, status, told) in [
        (&["show", &garbage][..], 0, json!("open"), ""),
        (&["redrive", &garbage, "--reason", "test"], 3, Value::Null, "NotRedrivable"),
        (&["drop", &garbage, "--reason", "test"], 0, json!("dropped"), ""),
        (&["drop", &garbage, "--reason", "test"], 3, Value::Null, "NothingToDo"),
        (&["redrive", &readable, "--reason", "test", "--dry-run"], 0, json!("open"), ""),
        (&["redrive", &readable, "--reason", "test", "--actor", "ops"], 0, json!("redriven"), ""),
    ] {
        let (code, view, said) = dlq(&engines, verb)?;
        ensure!(code == exit && view["status"] == status && said.contains(told), "{verb:?}: {code} {view} {said}");
        ensure!(view.is_null() || verb[1] != garbage || view["bytes"] == "YWJj", "{verb:?}: {view}");
    }
    let (code, listed, _) = dlq(&engines, &["list"])?;
    ensure!(code == 0 && listed == json!([]), "all are settled: {code} {listed}");
    // Every shard has a user; the redriven command met its own key and changed nothing.
    top_all_up(&engines, 0, "after", &users).await?;
    balances_are(&engines, 0, &users, 1).await?;
    engines.stop().await
}

/// Somebody made the commands anew: new ones would stand where old ones were decided, so the engine does not start.
#[tokio::test(flavor = "multi_thread")]
async fn commands_that_are_shorter_than_the_journal_are_refused() -> anyhow::Result<()> {
    let mut engines = Engines::start(Path::new(BINARY), 1).await?;
    engines.accounts(0, USERS).await?;
    engines.process(0)?.stop().await?;
    let kafka = engines.cluster().kafka.clone();
    topics::delete(&kafka, &[COMMANDS]).await?;
    topics::create(&kafka, &[TopicSpec::forever(COMMANDS, SHARDS)]).await?;
    let config = engines.config(0).to_owned();
    let start = move || Command::new(BINARY).args(["engine", "--config"]).arg(config).output();
    let ended = host::clock::timeout(Duration::from_secs(30), host::task::spawn_blocking(start)).await??;
    let ended = ended?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.code() == Some(1) && said.contains(COMMANDS), "{:?}: {said}", ended.status);
    cluster::give_back(engines.cluster()).await
}

/// A stopped engine holds what it has not committed, until the database ends that: another one projects then, and the zombie
/// that wakes up contradicts nobody.
#[tokio::test(flavor = "multi_thread")]
async fn who_projects_may_stand_still_in_the_middle_of_a_batch() -> anyhow::Result<()> {
    let mut engines = Engines::prepare_with_database(Path::new(BINARY), 2).await?;
    engines.begin(0).await?;
    let users = engines.accounts(0, 5).await?;
    projected(&engines, 0, &users, "0").await?;
    let mut connection = engines.connect().await?;
    sqlx::raw_sql("BEGIN; LOCK TABLE balance_1.account_balance").execute(&mut connection).await?;
    top_all_up(&engines, 0, "held", &users).await?;
    // Only somebody who writes waits for this one; who takes samples reads.
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'RowExclusiveLock'
                   AND relation = 'balance_1.account_balance'::regclass";
    let held = async {
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut connection).await? == 0 {}
        anyhow::Ok(())
    };
    host::clock::timeout(Duration::from_secs(30), held).await.context("nobody is in the middle of a batch")??;
    let pid = engines.process(0)?.pid();
    signal(pid, "STOP");
    let stopped = Instant::now();
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
    engines.begin(1).await?;
    top_all_up(&engines, 1, "beside", &users).await?;
    projected(&engines, 1, &users, "2").await?;
    println!("projected by the other one {:.1?} after the first one stood still", stopped.elapsed());
    ensure!(stopped.elapsed() > Duration::from_secs(30), "nothing was held");
    signal(pid, "CONT");
    top_all_up(&engines, 0, "awake", &users).await?;
    for number in [0, 1] {
        projected(&engines, number, &users, "3").await?;
        checks::projections_agree(Path::new(BINARY), engines.config(number)).await?;
    }
    engines.stop().await
}

/// Waits until everybody's balance by way of the projection is this. Any other answer than that, or 503, is wrong.
async fn projected(engines: &Engines, number: usize, users: &[String], expected: &str) -> anyhow::Result<()> {
    let client = host::http::Client::new(Duration::from_secs(2), 1 << 20);
    let deadline = Instant::now() + Duration::from_secs(120);
    for user in users {
        let url = format!("{}/accounts/{user}/balance?at=2100-01-01T00:00:00Z", engines.url(number));
        loop {
            let answer = client.get(&url, None, Duration::from_secs(10)).await?;
            match answer.status.as_u16() {
                200 => {
                    let balance = answer.json::<Value>()?["balance"].take();
                    ensure!(balance == expected, "{user} has {balance} at the end of time, not {expected}");
                    break;
                }
                503 => ensure!(Instant::now() < deadline, "{user}: {}", String::from_utf8_lossy(&answer.body)),
                status => anyhow::bail!("{user}: {status}"),
            }
        }
    }
    Ok(())
}

/// Seconds of killing brokers and engines; 300 nightly.
fn torture_seconds() -> u64 {
    std::env::var("CROSSFADE_TORTURE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

fn seed() -> u64 {
    std::env::var("CROSSFADE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(host::random::u64)
}

/// Brokers, engines (and with them whoever projects) and the database die in turn, which of them is chance, every 10 to 20 s;
/// later only if the one before is not back yet. Clients of both engines go on, and what they are told of the past is never
/// wrong.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_nothing_acknowledged_is_lost_or_done_twice() -> anyhow::Result<()> {
    let seed = seed();
    println!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test cluster whoever_dies");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut engines = Engines::start_with_database(Path::new(BINARY), 2).await?;
    let auditor = checks::auditor(false);
    let traffic = host::task::Shutdown::new();
    let mut clients = Vec::new();
    for number in [0, 1] {
        let runner = clients_of(engines.url(number), number, seed, &auditor);
        runner.create_accounts().await?;
        let (sender, stop) = (Arc::clone(&runner), traffic.clone());
        clients.push((runner, tokio::spawn(async move { sender.run(&stop).await })));
    }
    let mut looks = Vec::new();
    for number in [0, 1] {
        let (url, stop) = (engines.url(number).to_owned(), traffic.clone());
        looks.push(tokio::spawn(async move { look_back(&url, &stop).await }));
    }
    let total =
        |what: fn(&Counted) -> u64| -> u64 { clients.iter().map(|(runner, _)| what(&runner.counters().read())).sum() };
    let end = Instant::now() + Duration::from_secs(torture_seconds());
    let mut deaths = random.usize(0..3);
    let mut last_death = host::clock::now();
    while Instant::now() < end {
        host::clock::sleep_until(last_death + Duration::from_millis(random.u64(10_000..20_000))).await;
        last_death = host::clock::now();
        let (sent, errors, ok) = (total(|all| all.sent), total(|all| all.errors), total(|all| all.ok));
        let victim = die_and_come_back(&mut engines, deaths % 3, &mut random).await?;
        deaths += 1;
        let (sent, errors, ok) =
            (total(|all| all.sent) - sent, total(|all| all.errors) - errors, total(|all| all.ok) - ok);
        let away = last_death.elapsed().as_secs_f64();
        println!("{victim} is back after {away:.1} s: {sent} requests, {ok} applied, {errors} without a final answer");
    }
    traffic.stop();
    let mut applied = 0;
    for (runner, sending) in clients {
        let report = sending.await?;
        println!("{:?}, {:?}", report.counted, report.latency);
        applied += report.counted.ok;
        drop(runner);
    }
    for (number, looking) in looks.into_iter().enumerate() {
        let looks = looking.await??;
        println!("engine {number}: {looks:?}");
        ensure!(looks.right > torture_seconds(), "hardly anything was answered by way of the projection: {looks:?}");
    }
    // Half of what was asked for at the least, or this was no load.
    ensure!(applied > torture_seconds() * 2 * PER_SECOND / 2, "only {applied} requests were applied");
    for number in [0, 1] {
        checks::engine_agrees(engines.url(number), &auditor).await?;
    }
    let events = checks::public_events_agree(engines.cluster(), engines.url(0)).await?;
    println!("{events} public events");
    for number in [0, 1] {
        let records = checks::projections_agree(Path::new(BINARY), engines.config(number)).await?;
        println!("engine {number}: the projections agree with {records} records");
    }
    engines.stop().await
}

/// Requests a second to each engine.
const PER_SECOND: u64 = 50;

/// Clients of one engine with accounts of their own, watched by a common auditor.
fn clients_of(url: &str, number: usize, seed: u64, auditor: &Auditor) -> Arc<Runner> {
    let options = Options {
        base_urls: vec![url.to_owned()],
        pace: Pace::Open { per_second: PER_SECOND as f64 },
        max_requests: u64::MAX,
        timeout: Duration::from_secs(10),
        ..Options::default()
    };
    let config = Config { seed: seed ^ number as u64, prefix: format!("w{number}"), ..Config::default() };
    Runner::new(options, Workload::new(config), Auditor::clone(auditor))
}

/// `kill -9` of a broker (0), an engine (1) or the database (2), and its start after a while; says who it was.
async fn die_and_come_back(engines: &mut Engines, kind: usize, random: &mut fastrand::Rng) -> anyhow::Result<String> {
    match kind {
        0 => {
            let victim = random.usize(1..=3);
            services::broker("kill", victim)?;
            host::clock::sleep(Duration::from_millis(random.u64(500..3_000))).await;
            services::broker("start", victim)?;
            Ok(format!("broker {victim}"))
        }
        1 => {
            let victim = random.usize(0..2);
            engines.kill(victim)?;
            host::clock::sleep(Duration::from_millis(random.u64(100..2_000))).await;
            engines.begin(victim).await?;
            Ok(format!("engine {victim}"))
        }
        _ => {
            services::postgres("kill")?;
            host::clock::sleep(Duration::from_millis(random.u64(100..3_000))).await;
            services::postgres("start")?;
            Ok("the database".to_owned())
        }
    }
}

/// A request as long as the contract allows becomes a record, and events, that the cluster takes.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_request_fits_into_every_topic() -> anyhow::Result<()> {
    let engines = Engines::start(Path::new(BINARY), 1).await?;
    let long = "x".repeat((1 << 20) - 1_000);
    for kind in ["EXTERNAL", "USER"] {
        let account = json!({ "accountId": kind, "ownerId": "o", "ownerType": "t", "accountType": kind,
            "currency": "EUR", "metadata": { "long": long } });
        let answer = engines.post(0, "/accounts", &account).await?;
        ensure!(answer.status.as_u16() == 201, "{kind}: {}", answer.status);
    }
    let mut topup = json!({ "idempotencyKey": "long", "sourceAccountId": "EXTERNAL", "destinationAccountId": "USER",
        "amount": "1", "currency": "EUR" });
    topup["metadata"] = json!({ "long": long });
    let answer = engines.post(0, "/transactions/topup", &topup).await?;
    ensure!(answer.status.as_u16() == 200, "topup: {}", answer.status);
    checks::public_events_agree(engines.cluster(), engines.url(0)).await?;
    engines.stop().await
}
