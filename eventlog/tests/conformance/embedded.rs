//! What only the embedded log promises: one process per directory, strictly rising times, and nothing that it
//! acknowledged lost by `kill -9`.

use crate::suite::{self, read_all, within};
use eventlog::{EmbeddedLog, Log, NewRecord, Record};
use futures_util::future::join_all;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

/// A temporary directory.
pub struct Bed(TempDir);

impl suite::Bed for Bed {
    async fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn open(&self) -> Arc<dyn Log> {
        EmbeddedLog::open(self.0.path()).expect("the log opens")
    }
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_done() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let first = EmbeddedLog::open(directory.path()).expect("the log opens");
    let refused = EmbeddedLog::open(directory.path()).expect_err("the directory is taken").to_string();
    assert!(refused.contains("another process uses") && refused.contains(&directory.path().display().to_string()));
    drop(first);
    EmbeddedLog::open(directory.path()).expect("the directory is free again");
}

#[test]
fn a_place_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("in-the-way");
    std::fs::write(&file, "no directory").expect("a file");
    let below_a_file = EmbeddedLog::open(file.join("log")).expect_err("no directory can be made there").to_string();
    assert!(below_a_file.contains("in-the-way"), "{below_a_file}");
    std::fs::write(directory.path().join("log.redb"), "this is no log, but it is longer than nothing").expect("a file");
    let no_log = EmbeddedLog::open(directory.path()).expect_err("the file is no log").to_string();
    assert!(no_log.contains("log.redb"), "{no_log}");
}

#[tokio::test]
async fn times_rise_strictly_over_the_whole_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut times = Vec::new();
    for _ in 0..2 {
        let log = EmbeddedLog::open(directory.path()).expect("the log opens");
        for round in 0..40 {
            let batch = (0..3).map(|_| NewRecord::of("x")).collect();
            let first = log.append("t", round % 4, batch).await.expect("append");
            times.extend(log.read("t", round % 4, first, 3).await.expect("read").iter().map(|record| record.at_micros));
        }
    }
    assert_eq!(times.len(), 240);
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
}

/// Whoever has seen a record sees, in every partition, all records with smaller times: merging several topics by
/// time gives the same order live and later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_partition_shows_no_record_before_its_time() {
    const ROUNDS: usize = 60;
    const WRITERS: u32 = 16;
    const PARTITIONS: u32 = 4;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = EmbeddedLog::open(directory.path()).expect("the log opens");
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let record = NewRecord::of(round.to_string());
                    log.append("t", writer % PARTITIONS, vec![record]).await.expect("append");
                }
            })
        })
        .collect();
    let mut merged: Vec<Record> = Vec::new();
    let mut next = [0; PARTITIONS as usize];
    while merged.len() < ROUNDS * WRITERS as usize {
        let mut newest = i64::MIN;
        let mut seen: Vec<Vec<Record>> = Vec::new();
        for partition in 0..PARTITIONS {
            let records = log.read("t", partition, next[partition as usize], 1_000).await.expect("read");
            newest = newest.max(records.last().map_or(i64::MIN, |record| record.at_micros));
            seen.push(records);
        }
        // A partition read early in the round may have got more since: read up to the newest time again.
        let mut round = Vec::new();
        for partition in 0..PARTITIONS {
            let records = log.read("t", partition, next[partition as usize], 1_000).await.expect("read");
            let upto: Vec<Record> = records.into_iter().filter(|record| record.at_micros <= newest).collect();
            next[partition as usize] += upto.len() as u64;
            round.extend(upto);
        }
        round.sort_by_key(|record| record.at_micros);
        let last = merged.last().map_or(i64::MIN, |record| record.at_micros);
        assert!(round.first().is_none_or(|first| first.at_micros > last), "a record showed up before its time");
        merged.extend(round);
        tokio::task::yield_now().await;
    }
    join_all(writers).await.into_iter().for_each(|writer| writer.expect("append"));
}

#[tokio::test]
async fn many_small_appends_share_commits() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = EmbeddedLog::open(directory.path()).expect("the log opens");
    // None is polled before all are made, so that they meet in the writer's queue.
    let appends = (0..500).map(|number| log.append("t", number % 10, vec![NewRecord::of("x")]));
    within(join_all(appends)).await.into_iter().for_each(|appended| {
        appended.expect("append");
    });
    let counters = log.counters();
    assert_eq!(counters.records, 500);
    assert!(counters.commits < 250, "{counters:?}");
}

#[tokio::test]
async fn records_that_left_memory_are_read_from_the_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = EmbeddedLog::open(directory.path()).expect("the log opens");
    // Twice what is kept in memory, in number and in bytes; a tail that stands still meanwhile.
    let mut tail = log.tail("t", 0, 0);
    for round in 0..20_u64 {
        let batch = (0..500).map(|index| NewRecord::of(format!("{:01000}", round * 500 + index))).collect();
        log.append("t", 0, batch).await.expect("append");
    }
    let mut expected = 0_u64;
    while expected < 10_000 {
        for record in tail.next(700).await.expect("tail") {
            assert_eq!(
                (record.offset, std::str::from_utf8(&record.value).expect("text").parse()),
                (expected, Ok(expected))
            );
            expected += 1;
        }
    }
}

#[tokio::test]
async fn a_closed_log_says_so_to_its_tails() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = EmbeddedLog::open(directory.path()).expect("the log opens");
    let mut tail = log.tail("t", 0, 0);
    let waiting = tokio::spawn(async move { tail.next(1).await });
    tokio::task::yield_now().await;
    drop(log);
    assert!(within(waiting).await.expect("the tail returns").is_err());
}

/// Set for the child process: the directory to write into.
const CHILD: &str = "EVENTLOG_TEST_CHILD_DIRECTORY";

/// Not a test of its own: what the child process of the next test runs. It appends until it is killed and prints
/// each acknowledged batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_appends_until_it_is_killed() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let log = EmbeddedLog::open(Path::new(&directory)).expect("the log opens");
    let appenders = (0..8_u32).map(|appender| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for number in 0.. {
                let partition = appender % 3;
                let texts = [format!("{appender}.{number}.a"), format!("{appender}.{number}.b")];
                let first = log.append("t", partition, texts.map(NewRecord::of).into()).await.expect("append");
                println!("acknowledged {partition} {first} {appender}.{number} .");
            }
        })
    });
    join_all(appenders).await;
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged: HashMap<(u32, u64), String> = HashMap::new();
    // Several lives of one log, each killed in the middle of its work.
    for life in 1..=4 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "embedded::child_that_appends_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut count = 0;
        for line in lines {
            let line = line.expect("the child's output");
            // The kill may cut the last line off; a whole one ends in a mark.
            let fields: Vec<&str> = line.split(' ').collect();
            let &["acknowledged", partition, offset, name, "."] = &fields[..] else { continue };
            let place = (partition.parse().expect("a number"), offset.parse().expect("a number"));
            assert_eq!(acknowledged.insert(place, name.to_owned()), None, "one offset was given twice");
            count += 1;
            if count == 300 * life {
                // SIGKILL; what is still in the pipe was acknowledged too.
                child.kill().expect("kill");
            }
        }
        child.wait().expect("the child ends");
        assert!(count >= 300 * life, "life {life} ended early");

        let log = EmbeddedLog::open(directory.path()).expect("the log opens after a kill");
        let mut found = HashMap::new();
        for partition in 0..3 {
            for (expected, record) in read_all(&*log, "t", partition, 0, 1_000).await.into_iter().enumerate() {
                assert_eq!(record.offset, expected as u64);
                found.insert((partition, record.offset), String::from_utf8(record.value.to_vec()).expect("text"));
            }
        }
        for ((partition, offset), name) in &acknowledged {
            for (place, part) in [(*offset, "a"), (*offset + 1, "b")] {
                let there = found.get(&(*partition, place)).map(String::as_str);
                let expected = format!("{name}.{part}");
                assert_eq!(there, Some(expected.as_str()), "life {life}: {partition}/{place} was acknowledged");
            }
        }
    }
}
