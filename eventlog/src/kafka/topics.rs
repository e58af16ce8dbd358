//! Makes topics, and says how those that are there differ from what they have to be.

use super::connection::{Connection, MAX_RECORD_BYTES, Sasl};
use super::polled::Polled;
use super::queries::{PATIENCE, said};
use super::{Admin, partition_number};
use host::clock;
use rdkafka::admin::{AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A broker hears of a new topic a moment after others: whoever asks it then would miss one that is there.
pub(super) const HEARD_WITHIN: Duration = Duration::from_secs(5);
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What a topic has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name, without the prefix of the ledger.
    pub name: String,
    /// How many partitions it has: never fewer, never more, because a record's place is computed from it.
    pub partitions: u32,
    /// How many days its records are kept at least; `None` is for ever.
    pub kept_days: Option<u32>,
}

impl TopicSpec {
    /// A topic whose records are kept for ever.
    pub fn forever(name: impl Into<String>, partitions: u32) -> Self {
        Self { name: name.into(), partitions, kept_days: None }
    }

    /// A topic whose records are kept for so many days.
    pub fn days(name: impl Into<String>, partitions: u32, days: u32) -> Self {
        Self { name: name.into(), partitions, kept_days: Some(days) }
    }

    fn retention_ms(&self) -> i64 {
        self.kept_days.map_or(-1, |days| i64::from(days) * 86_400_000)
    }
}

/// How a topic differs from what it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// Its name in the cluster.
    pub topic: String,
    /// What differs: a setting, or the topic itself.
    pub what: &'static str,
    /// What it is.
    pub is: String,
    /// What it has to be.
    pub should: String,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, what, is, should } = self;
        write!(f, "{topic}: {what} is {is}, has to be {should}")
    }
}

/// The cluster did not answer, or not so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub(super) String);

impl Failed {
    /// The same, and that these topics had been made by then.
    #[must_use]
    pub fn after(self, made: &[String]) -> Self {
        if made.is_empty() { self } else { Self(format!("{self}; made before that: {}", made.join(", "))) }
    }
}

/// Makes the topics that are not there; answers their names in the cluster. Those that are there stay as they are.
///
/// # Errors
/// When the cluster cannot be asked, or refuses one of them: names those that were made before.
pub async fn create(connection: &Connection, specs: &[TopicSpec]) -> Result<Vec<String>, Failed> {
    let cluster = Cluster::of(connection)?;
    let existing = cluster.topics().await?;
    let mut made = Vec::new();
    for spec in specs {
        let name = connection.topic(&spec.name);
        if !existing.contains_key(&name) && cluster.make(&name, spec).await.map_err(|failed| failed.after(&made))? {
            made.push(name);
        }
    }
    Ok(made)
}

/// Deletes topics with all that is in them. For trials: nothing of a ledger is ever deleted whole.
///
/// # Errors
/// When the cluster cannot be asked.
pub async fn delete(connection: &Connection, names: &[&str]) -> Result<(), Failed> {
    let cluster = Cluster::of(connection)?;
    let names: Vec<String> = names.iter().map(|name| connection.topic(name)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    cluster.admin.delete_topics(&names, &options).await.map_err(|error| cluster.failed(&error))?;
    Ok(())
}

/// How the topics differ from what they have to be; nothing if all is in order. One that is missing is waited for a while.
///
/// # Errors
/// When the cluster cannot be asked.
pub async fn check(connection: &Connection, specs: &[TopicSpec]) -> Result<Vec<Deviation>, Failed> {
    let cluster = Cluster::of(connection)?;
    let existing = cluster.topics_with(specs).await?;
    let mut deviations = Vec::new();
    for spec in specs {
        let name = connection.topic(&spec.name);
        let deviation = |what, is: String, should: String| Deviation { topic: name.clone(), what, is, should };
        let Some(found) = existing.get(&name) else {
            // The cluster does not tell one from the other.
            let is = "missing, or this principal may not see it".to_owned();
            deviations.push(deviation("the topic", is, "there, and ours to Describe".to_owned()));
            continue;
        };
        if found.partitions != spec.partitions {
            deviations.push(deviation("partitions", found.partitions.to_string(), spec.partitions.to_string()));
        }
        if found.replication < connection.replication {
            let should = format!("at least {}", connection.replication);
            deviations.push(deviation("replication", found.replication.to_string(), should));
        }
        if !cluster.can_administer() {
            continue;
        }
        let configured = cluster.configured(&name).await?;
        for (key, should) in settings(connection, spec) {
            let is = configured.get(key).map_or("unknown", String::as_str);
            if !fits(key, is, &should) {
                deviations.push(deviation(key, is.to_owned(), should));
            }
        }
    }
    Ok(deviations)
}

/// The settings of a topic that are not left to the cluster.
fn settings(connection: &Connection, spec: &TopicSpec) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("min.insync.replicas", connection.min_insync_replicas.to_string()),
        ("retention.ms", spec.retention_ms().to_string()),
        ("retention.bytes", "-1".to_owned()),
        ("max.message.bytes", MAX_RECORD_BYTES.to_string()),
        ("cleanup.policy", "delete".to_owned()),
        // The shard's time is the log's, not a client's.
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ];
    // Without a second machine, only the disk can keep what was acknowledged.
    if connection.replication == 1 {
        settings.push(("flush.messages", "1".to_owned()));
    }
    settings
}

/// Whether a setting is as it has to be, or stricter.
fn fits(key: &str, is: &str, should: &str) -> bool {
    let numbers = is.parse::<i64>().ok().zip(should.parse::<i64>().ok());
    match (key, numbers) {
        // -1 is for ever.
        ("retention.ms", Some((is, should))) => is == -1 || (should != -1 && is >= should),
        ("min.insync.replicas" | "max.message.bytes", Some((is, should))) => is >= should,
        _ => is == should,
    }
}

/// A topic as the cluster has it.
struct Found {
    partitions: u32,
    /// Of the partition with the fewest copies.
    replication: u16,
}

/// A cluster that is asked, and told, about topics.
pub(super) struct Cluster<'a> {
    connection: &'a Connection,
    admin: Arc<Admin>,
    asking: Arc<Polled>,
}

impl<'a> Cluster<'a> {
    pub(super) fn of(connection: &'a Connection) -> Result<Self, Failed> {
        connection.check().map_err(Failed)?;
        let admin = connection.common().create_with_context(connection.client());
        let admin = admin.map_err(|error: KafkaError| Failed(error.to_string()))?;
        let asking = Arc::new(Polled::new(connection).map_err(Failed)?);
        Ok(Self { connection, admin: Arc::new(admin), asking })
    }

    pub(super) fn admin(&self) -> Arc<Admin> {
        Arc::clone(&self.admin)
    }

    pub(super) fn bootstrap(&self) -> &str {
        &self.connection.bootstrap
    }

    fn failed(&self, error: &KafkaError) -> Failed {
        Failed(said(&format!("Kafka at {}", self.connection.bootstrap), error, self.asking.trouble()))
    }

    /// The library's client for administration is never handed a token, so it cannot say who it is.
    fn can_administer(&self) -> bool {
        let can = !matches!(self.connection.sasl, Some(Sasl::OauthBearer { .. }));
        if !can {
            tracing::warn!("with OAUTHBEARER the settings of topics are not checked, only their shape");
        }
        can
    }

    /// Makes a topic; `false` if somebody else was quicker.
    async fn make(&self, name: &str, spec: &TopicSpec) -> Result<bool, Failed> {
        let settings = settings(self.connection, spec);
        let replication = TopicReplication::Fixed(i32::from(self.connection.replication));
        let topic = NewTopic::new(name, partition_number(spec.partitions), replication);
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let answers = self.admin.create_topics([&topic], &options).await.map_err(|error| self.failed(&error))?;
        match answers.into_iter().find_map(Result::err) {
            None => Ok(true),
            Some((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(false),
            Some((_, code)) => {
                let (partitions, copies) = (spec.partitions, self.connection.replication);
                let settings: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
                let asked = format!("{partitions} partitions, {copies} copies, {}", settings.join(", "));
                Err(Failed(format!("the cluster does not make the topic {name} ({asked}): {code}")))
            }
        }
    }

    /// Those that this principal may see, with these among them, unless they stay missing.
    async fn topics_with(&self, specs: &[TopicSpec]) -> Result<BTreeMap<String, Found>, Failed> {
        let deadline = clock::now() + HEARD_WITHIN;
        loop {
            let found = self.topics().await?;
            let all = specs.iter().all(|spec| found.contains_key(&self.connection.topic(&spec.name)));
            if all || clock::now() >= deadline {
                return Ok(found);
            }
            clock::sleep(ASK_AGAIN).await;
        }
    }

    /// Those that this principal may see.
    async fn topics(&self) -> Result<BTreeMap<String, Found>, Failed> {
        let asking = Arc::clone(&self.asking);
        let asked = host::task::spawn_blocking(move || asking.fetch_metadata(None, PATIENCE)).await;
        let metadata = asked.map_err(|error| Failed(error.to_string()))?;
        let metadata = metadata.map_err(|error| self.failed(&error))?;
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let found = metadata.topics().iter().filter(|topic| topic.error().is_none()).map(|topic| {
            let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
            let replication = u16::try_from(copies).unwrap_or(u16::MAX);
            (topic.name().to_owned(), Found { partitions: count(topic.partitions().len()), replication })
        });
        Ok(found.collect())
    }

    async fn configured(&self, topic: &str) -> Result<BTreeMap<String, String>, Failed> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let deadline = clock::now() + HEARD_WITHIN;
        loop {
            let answers = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
            let answers = answers.map_err(|error| self.failed(&error))?;
            match answers.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(resources) => {
                    let entries = resources.into_iter().flat_map(|ConfigResource { entries, .. }| entries);
                    return Ok(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect());
                }
                // Perhaps it is another broker that is asked.
                Err(RDKafkaErrorCode::UnknownTopicOrPartition) if clock::now() < deadline => {
                    clock::sleep(ASK_AGAIN).await;
                }
                Err(code) => return Err(Failed(format!("the cluster does not show the settings of {topic}: {code}"))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_what_was_made_before() {
        let failed = || Failed("refused".to_owned());
        assert_eq!(failed().after(&[]), failed());
        let after = failed().after(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(after.to_string(), "refused; made before that: a, b");
    }

    #[test]
    fn a_setting_may_be_stricter_than_it_has_to_be() {
        for (key, is, should, expected) in [
            ("retention.ms", "-1", "3024000000", true),
            ("retention.ms", "3024000000", "3024000000", true),
            ("retention.ms", "604800000", "3024000000", false),
            ("retention.ms", "604800000", "-1", false),
            ("retention.ms", "-1", "-1", true),
            ("min.insync.replicas", "3", "2", true),
            ("min.insync.replicas", "1", "2", false),
            ("max.message.bytes", "1048588", "8388608", false),
            ("max.message.bytes", "20971520", "8388608", true),
            ("message.timestamp.type", "CreateTime", "LogAppendTime", false),
            ("cleanup.policy", "compact", "delete", false),
        ] {
            assert_eq!(fits(key, is, should), expected, "{key} is {is}, should be {should}");
        }
    }
}
