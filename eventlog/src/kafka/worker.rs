//! A thread and a consumer whose end is waited for only so long.
//!
//! The library can deadlock inside a consumer when a leader goes away at an unlucky moment (librdkafka issue 5476, open
//! with 2.12.1): whoever waits for such a consumer then waits for ever. It is left behind instead, with what it holds.

use super::client::Client;
use super::connection::Connection;
use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use std::ops::Deref;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long an end is waited for. A consumer that is well closes within some milliseconds, a poll within 100.
const LIMIT: Duration = Duration::from_secs(2);

/// A thread that ends when this is dropped.
pub(super) struct Worker {
    stop: Option<Sender<()>>,
    /// In a lock only because a receiver cannot be shared.
    ended: Mutex<Receiver<()>>,
    name: &'static str,
}

/// Tells a worker's thread when to end.
pub(super) struct Stopping(Receiver<()>);

impl Worker {
    /// Starts a thread.
    ///
    /// # Errors
    /// When the operating system has none to give.
    pub(super) fn start(name: &'static str, work: impl FnOnce(&Stopping) + Send + 'static) -> Result<Self, String> {
        let (stop, stopping) = channel();
        let (end, ended) = channel();
        let body = move || {
            work(&Stopping(stopping));
            let _ = end.send(());
        };
        host::task::thread(name, body).map_err(|error| error.to_string())?;
        Ok(Self { stop: Some(stop), ended: Mutex::new(ended), name })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(thread = self.name, "does not end, and is left behind");
        }
    }
}

impl Stopping {
    /// Whether it is time to end.
    pub(super) fn now(&self) -> bool {
        self.within(Duration::ZERO)
    }

    /// Waits so long, unless it is time to end before: then true.
    pub(super) fn within(&self, wait: Duration) -> bool {
        self.0.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected)
    }
}

/// A consumer of the library.
pub(super) struct Consumer(Option<BaseConsumer<Client>>);

impl Consumer {
    /// Connects when it is first used.
    ///
    /// # Errors
    /// When the library refuses the configuration.
    pub(super) fn new(connection: &Connection, config: &ClientConfig) -> Result<Self, KafkaError> {
        Self::with_client(connection.client(), config)
    }

    /// As [`Consumer::new`], with a context that does more than others.
    ///
    /// # Errors
    /// As there.
    pub(super) fn with_client(client: Client, config: &ClientConfig) -> Result<Self, KafkaError> {
        config.create_with_context(client).map(|consumer| Self(Some(consumer)))
    }
}

impl Deref for Consumer {
    type Target = BaseConsumer<Client>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("only Drop takes it")
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let consumer = self.0.take();
        if let Err(error) = Worker::start("log-close", move |_| drop(consumer)) {
            tracing::warn!(%error, "a consumer was closed on the spot");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_ends_when_it_is_dropped() {
        let (said, heard) = channel();
        let worker = Worker::start("test", move |stopping| {
            let _ = said.send(stopping.now());
            let _ = said.send(stopping.within(Duration::from_secs(60)));
        });
        assert_eq!(heard.recv(), Ok(false));
        drop(worker.unwrap());
        assert_eq!(heard.recv(), Ok(true), "told, and waited for");
    }

    #[test]
    fn one_that_hangs_is_left_behind() {
        let (let_go, hangs) = channel::<()>();
        let worker = Worker::start("test", move |_| {
            let _ = hangs.recv();
        });
        drop(worker.unwrap());
        assert_eq!(let_go.send(()), Ok(()), "it still hangs");
    }
}
