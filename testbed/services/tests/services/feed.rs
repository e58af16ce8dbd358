//! The feed of a log in Kafka comes back from what the library cannot mend.

use eventlog::kafka::{KafkaLog, TopicSpec, topics};
use eventlog::{Log, NewRecord, Tail};
use std::sync::Arc;
use std::time::Duration;
use testbed_services::cluster;

const TOPIC: &str = "feed";
/// Far longer than it takes to find out that a feed stands still.
const PATIENCE: Duration = Duration::from_secs(60);

async fn append(log: &Arc<KafkaLog>, value: &'static str) {
    log.append(TOPIC, 0, vec![NewRecord::of(value)]).await.expect("it is appended");
}

async fn next(tail: &mut Box<dyn Tail>) -> Vec<u8> {
    let record = tokio::time::timeout(PATIENCE, tail.next(1)).await.expect("a record comes");
    record.expect("it is read").remove(0).value.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_stands_still_is_replaced() {
    let connection = cluster();
    topics::create(&connection, &[TopicSpec::forever(TOPIC, 1)]).await.unwrap();
    let log = KafkaLog::open(connection.clone()).unwrap();
    let mut tail = log.tail(TOPIC, 0, 0);
    append(&log, "before").await;
    assert_eq!(next(&mut tail).await, b"before");
    log.stall().unwrap();
    append(&log, "while it stands still").await;
    append(&log, "after it").await;
    assert_eq!(next(&mut tail).await, b"while it stands still");
    assert_eq!(next(&mut tail).await, b"after it");
    // And what somebody else appends, so that this process does not know of it.
    log.stall().unwrap();
    let other = KafkaLog::open(connection.clone()).unwrap();
    append(&other, "from elsewhere").await;
    assert_eq!(next(&mut tail).await, b"from elsewhere");
    topics::delete(&connection, &[TOPIC]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_whose_place_was_deleted_says_so_and_goes_on_behind_it() {
    let connection = cluster();
    topics::create(&connection, &[TopicSpec::forever(TOPIC, 1)]).await.unwrap();
    let log = KafkaLog::open(connection.clone()).unwrap();
    let mut tail = log.tail(TOPIC, 0, 0);
    append(&log, "first").await;
    assert_eq!(next(&mut tail).await, b"first");
    // The feed hears nothing of what follows, and when it is replaced its place is gone.
    log.stall().unwrap();
    let other = KafkaLog::open(connection.clone()).unwrap();
    append(&other, "deleted").await;
    append(&other, "kept").await;
    other.delete_before(TOPIC, 0, 2).await.unwrap();
    let gone = tokio::time::timeout(PATIENCE, tail.next(1)).await.expect("an answer comes").unwrap_err();
    assert!(matches!(gone, eventlog::ReadError::Gone { begin: 2, wanted: 1, .. }), "{gone}");
    assert_eq!(next(&mut log.tail(TOPIC, 0, 2)).await, b"kept");
    topics::delete(&connection, &[TOPIC]).await.unwrap();
}
