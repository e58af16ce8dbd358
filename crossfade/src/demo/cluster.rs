//! Topics of one's own in the Kafka cluster that the environment names, for trials.

use crate::client::{Exit, Failure};
use eventlog::kafka::{Connection, topics};

/// Some brokers of the cluster, `host:port,…`: as the key of a configuration file.
pub const BOOTSTRAP: &str = "CROSSFADE_KAFKA_BOOTSTRAP";

/// Makes the topics of a ledger, under a prefix that nobody else uses.
///
/// # Errors
/// When no cluster is named, or it does not make them.
pub async fn take() -> anyhow::Result<Connection> {
    let missing = || Failure::new(Exit::Usage, format!("--kafka needs {BOOTSTRAP}: host:port of some brokers"));
    let bootstrap = std::env::var(BOOTSTRAP).map_err(|_| missing())?;
    let topic_prefix = format!("trial-{}.", host::random::token().split_off(20));
    let connection = Connection { topic_prefix, ..Connection::plain(bootstrap) };
    topics::create(&connection, &crate::topics::all(engine::config::DEFAULT_SHARDS)).await?;
    Ok(connection)
}

/// Deletes them.
///
/// # Errors
/// When the cluster does not answer.
pub async fn give_back(connection: &Connection) -> anyhow::Result<()> {
    let all = crate::topics::all(engine::config::DEFAULT_SHARDS);
    let names: Vec<&str> = all.iter().map(|spec| spec.name.as_str()).collect();
    Ok(topics::delete(connection, &names).await?)
}
