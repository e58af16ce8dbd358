//! Topics of one's own in the Kafka cluster that the environment names, for trials.

use crate::client::{Exit, Failure};
pub use engine::Cluster;
use engine::registry;
use eventlog::kafka::{Connection, topics};

/// Some brokers of the cluster, `host:port,…`: as the key of a configuration file.
pub const BOOTSTRAP: &str = "CROSSFADE_KAFKA_BOOTSTRAP";

/// The schema registry, if there is one: as the key of a configuration file.
pub const REGISTRY: &str = "CROSSFADE_REGISTRY_URL";

/// Makes the topics of a ledger, under a prefix that nobody else uses.
///
/// # Errors
/// When no cluster is named, or it does not make them.
pub async fn take() -> anyhow::Result<Cluster> {
    let missing = || Failure::new(Exit::Usage, format!("--kafka needs {BOOTSTRAP}: host:port of some brokers"));
    let bootstrap = std::env::var(BOOTSTRAP).ok().filter(|named| !named.trim().is_empty()).ok_or_else(missing)?;
    let topic_prefix = format!("trial-{}.", host::random::token().split_off(20));
    let kafka = Connection { topic_prefix, ..Connection::plain(bootstrap) };
    topics::create(&kafka, &crate::topics::all(engine::config::DEFAULT_SHARDS)).await?;
    Ok(Cluster { kafka, registry: std::env::var(REGISTRY).ok().map(registry::Config::open) })
}

/// Deletes them. What a registry was told of their schemas stays there: it has no other use than to be there.
///
/// # Errors
/// When the cluster does not answer.
pub async fn give_back(cluster: &Cluster) -> anyhow::Result<()> {
    let all = crate::topics::all(engine::config::DEFAULT_SHARDS);
    let names: Vec<&str> = all.iter().map(|spec| spec.name.as_str()).collect();
    Ok(topics::delete(&cluster.kafka, &names).await?)
}
