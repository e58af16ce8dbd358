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

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_timed_out_is_unknown_and_found_if_it_succeeded() {
    let connection = cluster();
    topics::create(&connection, &[TopicSpec::forever(TOPIC, PARTITIONS)]).await.unwrap();
    let log = KafkaLog::open(connection.clone()).unwrap();
    for partition in 0..PARTITIONS {
        log.append(TOPIC, partition, vec![NewRecord::of("before")]).await.unwrap();
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
