//! Where a log is, for a part that starts before the log can be used.

#[cfg(feature = "kafka")]
use crate::kafka::{self, Connection, KafkaLog, TopicSpec, topics};
use crate::port::Log;
use host::ops::Readiness;
use std::sync::Arc;

/// What keeps a part from being ready while its log cannot be used.
pub const LOG: &str = "log";
/// After a cluster that did not answer.
#[cfg(feature = "kafka")]
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Where a log is. Clones share it.
#[derive(Clone)]
pub struct Place {
    log: Arc<dyn Log>,
    #[cfg(feature = "kafka")]
    cluster: Option<Arc<(Connection, Vec<TopicSpec>)>>,
}

/// The log will never be usable as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

impl Place {
    /// A log that can be used at once: of this process, or of a test.
    pub fn here(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            #[cfg(feature = "kafka")]
            cluster: None,
        }
    }

    /// A log in a cluster, with these topics.
    ///
    /// # Errors
    /// When the configuration cannot work.
    #[cfg(feature = "kafka")]
    pub fn kafka(connection: Connection, topics: Vec<TopicSpec>) -> Result<Self, kafka::OpenError> {
        let log = KafkaLog::open(connection.clone())?;
        Ok(Self { log, cluster: Some(Arc::new((connection, topics))) })
    }

    /// The log.
    pub fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log)
    }

    /// The cluster, if the log is in one.
    #[cfg(feature = "kafka")]
    pub fn cluster(&self) -> Option<&Connection> {
        self.cluster.as_ref().map(|cluster| &cluster.0)
    }

    /// Waits until the log answers; meanwhile `readiness` says what is waited for, from the beginning. It stays blocked
    /// afterwards, under [`LOG`]: whoever calls this is not ready yet, and says what comes next.
    ///
    /// # Errors
    /// When it answers, and its topics are not what they have to be: names each deviation.
    #[cfg_attr(not(feature = "kafka"), allow(clippy::unused_async))]
    pub async fn until_usable(&self, readiness: &Readiness) -> Result<(), Unusable> {
        #[cfg(feature = "kafka")]
        if let Some((connection, specs)) = self.cluster.as_deref() {
            readiness.blocked(LOG, format!("waiting for Kafka at {}", connection.bootstrap));
            loop {
                match topics::check(connection, specs).await {
                    Ok(deviations) if deviations.is_empty() => break,
                    Ok(deviations) => {
                        let all: Vec<String> = deviations.iter().map(ToString::to_string).collect();
                        return Err(Unusable(format!(
                            "the topics in Kafka cannot be used, run `crossfade topics check` as who may see all: {}",
                            all.join("; ")
                        )));
                    }
                    Err(failed) => {
                        tracing::warn!(%failed, "waiting for Kafka");
                        readiness.blocked(LOG, failed.to_string());
                        host::clock::sleep(ASK_AGAIN).await;
                    }
                }
            }
        }
        Ok(())
    }
}
