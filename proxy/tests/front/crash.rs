//! The journal under kill -9: a child process writes, is killed at a random moment, and everything that it was told
//! is written is there afterwards.

use crate::journal::{applied, intent, options, read_all};
use crate::support::eventually;
use proxy::journal::{Fsync, Journal, Opened, Options, Recorded};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use wire::exchange::ExchangeBody;

const DIR: &str = "CROSSFADE_TEST_JOURNAL";
const SEED: &str = "CROSSFADE_TEST_SEED";

/// Small files, so that a child goes through several.
fn in_child(dir: &Path) -> Options {
    let fsync = Fsync::Interval(Duration::from_millis(2));
    Options { max_bytes: 8 * 64 * 1024, fsync, ..options(dir) }
}

/// Not a test by itself: what the killed process does. Says on its output what is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below in a process of its own"]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let Opened { journal, .. } = Journal::open(in_child(Path::new(&dir))).unwrap();
    let boot = journal.boot().boot;
    let say = |what: String| std::io::stdout().lock().write_all(what.as_bytes()).unwrap();
    say(format!("\nboot {boot}\n"));
    let workers = (0..4).map(|worker| {
        let journal = journal.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let key = format!("{boot}-{worker}-{number}");
                let Recorded::Yes(ticket) = journal.intent(intent(&key)).await else { return };
                say(format!("\nintent {key}\n"));
                ticket.finish(applied()).await;
                say(format!("\nresult {key}\n"));
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    // Full: wait to be killed.
    std::future::pending::<()>().await;
}

#[derive(Default)]
struct Told {
    intents: BTreeSet<String>,
    results: BTreeSet<String>,
}

/// Runs a child until it has said so many things, kills it, and answers what it said.
fn run_and_kill(dir: &Path, lines: u64) -> Told {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = Told::default();
    let mut left = lines;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        match line.split_once(' ') {
            Some(("intent", key)) => drop(told.intents.insert(key.to_owned())),
            Some(("result", key)) => drop(told.results.insert(key.to_owned())),
            _ => continue,
        }
        // What is in the pipe by the time the kill arrives counts too: the loop reads to its end.
        left = left.saturating_sub(1);
        if left == 0 {
            let _ = child.kill();
            left = u64::MAX;
        }
    }
    let _ = child.kill();
    child.wait().unwrap();
    assert!(!told.intents.is_empty(), "the child wrote nothing");
    told
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(host::random::u64);
    println!("{SEED}={seed}");
    let dir = tempfile::tempdir().unwrap();
    let mut state = seed;
    for round in 1..=6_u64 {
        // A step of splitmix64 is random enough to choose the moment.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let moment = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) % 900;
        eventually("the round before has let go", || host::disk::lock_dir(dir.path()).is_ok()).await;
        let told = run_and_kill(dir.path(), moment + 1);
        let Opened { old, .. } = Journal::open(in_child(dir.path())).unwrap();
        // The boots of the rounds before were looked at and forgotten; the one opened here to look is empty.
        let killed = &old[old.len() - 1];
        let records = read_all(&killed.dir, killed.last);
        let (mut intents, mut results) = (Vec::new(), BTreeSet::new());
        for record in &records {
            match &record.body {
                ExchangeBody::Intent(intent) => intents.push(intent.key.clone().unwrap()),
                ExchangeBody::Result(result) => match &records[result.intent as usize - 1].body {
                    ExchangeBody::Intent(intent) => assert!(results.insert(intent.key.clone().unwrap()), "twice"),
                    other => panic!("the result of {other:?}"),
                },
                ExchangeBody::Ended { clean } => {
                    assert!(!clean && record.sequence == killed.last, "round {round}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(records.last().unwrap().body, ExchangeBody::Ended { .. }), "round {round}: no end");
        let unique: BTreeSet<String> = intents.iter().cloned().collect();
        assert_eq!(unique.len(), intents.len(), "round {round}: an intent twice");
        assert!(told.intents.is_subset(&unique), "round {round}: acknowledged intents are lost");
        assert!(told.results.is_subset(&results), "round {round}: acknowledged results are lost");
        for boot in &old {
            boot.remove().unwrap();
        }
    }
}
