//! A client that only asks: polled by a thread of its own, because the library tells of trouble, and of the wish for a
//! token, only to whoever polls.

use super::client::Client;
use super::connection::Connection;
use super::worker::{Consumer, Worker};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// How long the thread waits for news before it looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Polled {
    consumer: Arc<Consumer>,
    _thread: Worker,
}

impl Polled {
    /// Connects when the first question is asked.
    ///
    /// # Errors
    /// When the library refuses the configuration, or no thread can be started.
    pub(super) fn new(connection: &Connection) -> Result<Self, String> {
        Self::with(connection, &connection.consumer())
    }

    /// As [`Polled::new`], set otherwise.
    ///
    /// # Errors
    /// As there.
    pub(super) fn with(connection: &Connection, config: &ClientConfig) -> Result<Self, String> {
        let consumer = Arc::new(Consumer::new(connection, config).map_err(|error| error.to_string())?);
        let polled = Arc::clone(&consumer);
        let thread = Worker::start("log-queries", move |stopping| {
            while !stopping.now() {
                if let Some(Err(error)) = polled.poll(POLL) {
                    tracing::debug!(%error, "trouble with a question");
                }
            }
        })?;
        Ok(Self { consumer, _thread: thread })
    }

    /// What the library last complained of.
    pub(super) fn trouble(&self) -> Option<String> {
        self.consumer.client().context().trouble()
    }
}

impl Deref for Polled {
    type Target = BaseConsumer<Client>;

    fn deref(&self) -> &Self::Target {
        &self.consumer
    }
}
