//! Appends whose outcome the cluster does not say in time.

use eventlog::kafka::{KafkaLog, TopicSpec, topics};
use eventlog::{AppendError, Log, NewRecord};
use std::time::{Duration, Instant};
use testbed_services::{broker, cluster};

const TOPIC: &str = "appends";
/// Each broker leads one of them.
const PARTITIONS: u32 = 3;

/// Resumes the brokers that it paused, also when the test fails.
struct Paused;

impl Paused {
    fn brokers() -> Self {
        [2, 3].into_iter().for_each(|number| broker("pause", number));
        Self
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        [2, 3].into_iter().for_each(|number| broker("resume", number));
    }
}

/// The first append may wait for the leader of a topic that is new.
async fn begun(log: &KafkaLog, partition: u32) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = log.append(TOPIC, partition, vec![NewRecord::of("before")]).await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_timed_out_is_unknown_and_found_if_it_succeeded() {
    let connection = cluster();
    topics::create(&connection, &[TopicSpec::forever(TOPIC, PARTITIONS)]).await.unwrap();
    let log = KafkaLog::open(connection.clone()).unwrap();
    for partition in 0..PARTITIONS {
        begun(&log, partition).await;
    }
    let paused = Paused::brokers();
    let appends = (0..PARTITIONS).map(|partition| log.append(TOPIC, partition, vec![NewRecord::of("during")]));
    for outcome in futures_util::future::join_all(appends).await {
        assert!(matches!(outcome, Err(AppendError::Unknown(_))), "nobody can know: {outcome:?}");
    }
    drop(paused);
    // Afterwards each is there once or not at all, whoever appends next comes behind it, and the one whose leader was
    // awake is there.
    let mut found = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    for partition in 0..PARTITIONS {
        let after = loop {
            match log.append(TOPIC, partition, vec![NewRecord::of("after")]).await {
                Ok(offset) => break offset,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        let records = log.read(TOPIC, partition, 0, 100).await.unwrap();
        let during = records.iter().filter(|record| record.value == "during").count();
        assert!(during <= 1, "partition {partition} has it {during} times");
        assert!(records.iter().all(|record| record.value != "during" || record.offset < after));
        found += during;
    }
    assert!(found >= 1, "the broker that was awake took its record");
    topics::delete(&connection, &[TOPIC]).await.unwrap();
}

/// More than the library keeps under way to a partition.
const MANY: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_sent_is_said_to_be_not_appended() {
    let connection = cluster();
    topics::create(&connection, &[TopicSpec::forever(TOPIC, 1)]).await.unwrap();
    let log = KafkaLog::open(connection.clone()).unwrap();
    begun(&log, 0).await;
    let paused = Paused::brokers();
    let names: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
    let appends = names.iter().map(|name| log.append(TOPIC, 0, vec![NewRecord::of(name.clone())]));
    let outcomes = futures_util::future::join_all(appends).await;
    drop(paused);
    let refused: Vec<&String> = (names.iter().zip(&outcomes))
        .filter(|(_, outcome)| matches!(outcome, Err(AppendError::NotAppended(_))))
        .map(|(name, _)| name)
        .collect();
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    assert!(refused.len() > MANY / 2 && refused.len() < MANY, "{} of {MANY}: {outcomes:?}", refused.len());
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = log.append(TOPIC, 0, vec![NewRecord::of("after")]).await {
        assert!(Instant::now() < deadline, "{error}");
    }
    let records = log.read(TOPIC, 0, 0, 1_000).await.unwrap();
    let there = |name: &String| records.iter().any(|record| record.value == name.as_bytes());
    assert!(!refused.iter().any(|name| there(name)), "it was said not to be there");
    topics::delete(&connection, &[TOPIC]).await.unwrap();
}
