//! The schemas of the public events, in Avro, and the topics that they are in.
//!
//! A topic has one schema; a change is a new version that reads what the one before wrote (BACKWARD), and the old text
//! stays as it is. The texts stand in `wire/avro/`; `docs/events.md` is made from them.

/// What happened to accounts.
pub const ACCOUNT_EVENTS: &str = "billing.account.events";
/// What happened to transactions.
pub const TRANSACTION_EVENTS: &str = "billing.transaction.events";
/// What happened to sagas.
pub const SAGA_EVENTS: &str = "billing.saga.events";

/// The public topics, with their numbers of partitions (DESIGN 3.1).
pub const TOPICS: [(&str, u32); 3] = [(ACCOUNT_EVENTS, 10), (TRANSACTION_EVENTS, 10), (SAGA_EVENTS, 5)];

/// A version of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Of which topic.
    pub topic: &'static str,
    /// Which version, from 1 on.
    pub version: u32,
    /// Its id in front of every value, where no registry gives one. Never to be changed.
    pub local_id: u32,
    /// The file in `wire/avro/`.
    pub file: &'static str,
    /// The schema, as JSON.
    pub text: &'static str,
}

macro_rules! version {
    ($topic:expr, $version:literal, $local_id:literal, $file:literal) => {
        Version {
            topic: $topic,
            version: $version,
            local_id: $local_id,
            file: $file,
            text: include_str!(concat!("../avro/", $file)),
        }
    };
}

/// Every version there ever was, the oldest of each topic first.
pub const VERSIONS: [Version; 5] = [
    version!(ACCOUNT_EVENTS, 1, 1, "account-events.v1.avsc"),
    version!(ACCOUNT_EVENTS, 2, 2, "account-events.v2.avsc"),
    version!(TRANSACTION_EVENTS, 1, 3, "transaction-events.v1.avsc"),
    version!(SAGA_EVENTS, 1, 4, "saga-events.v1.avsc"),
    version!(SAGA_EVENTS, 2, 5, "saga-events.v2.avsc"),
];

/// The version of a public topic that is written.
///
/// # Panics
/// When the topic is none of [`TOPICS`].
pub fn newest(topic: &str) -> &'static Version {
    VERSIONS.iter().rev().find(|version| version.topic == topic).expect("every public topic has a schema")
}

/// The subject under which a registry keeps a topic's schema, by the name that the topic has in the cluster.
pub fn subject(topic: &str) -> String {
    format!("{topic}-value")
}
