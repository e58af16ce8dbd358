//! The log in a Kafka cluster does what every backend has to do.

use crate::suite;
use eventlog::Log;
use eventlog::kafka::{Connection, KafkaLog, TopicSpec, topics};
use std::sync::Arc;
use testbed_services::cluster;

/// Topics of its own.
pub struct Bed(Connection);

impl suite::Bed for Bed {
    async fn new() -> Self {
        let connection = cluster();
        let specs = suite::TOPICS.map(|name| TopicSpec::forever(name, 8));
        topics::create(&connection, &specs).await.expect("topics are made");
        Self(connection)
    }

    fn open(&self) -> Arc<dyn Log> {
        KafkaLog::open(self.0.clone()).expect("the log opens")
    }

    async fn close(self) {
        topics::delete(&self.0, &suite::TOPICS).await.expect("topics are deleted");
    }
}

conforms! { on_kafka, crate::conformance::Bed }
