//! A client that only asks: polled by a thread of its own, because the library tells of trouble, and of the wish for a
//! token, only to whoever polls.

use super::client::Client;
use super::connection::Connection;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the thread waits for news before it looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Polled {
    consumer: Arc<BaseConsumer<Client>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Polled {
    /// Connects when the first question is asked.
    ///
    /// # Errors
    /// When the library refuses the configuration, or no thread can be started.
    pub(super) fn new(connection: &Connection) -> Result<Self, String> {
        let consumer = connection.consumer().create_with_context(connection.client());
        let consumer: Arc<BaseConsumer<Client>> = Arc::new(consumer.map_err(|error| error.to_string())?);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = host::task::thread("log-queries", {
            let (consumer, stop) = (Arc::clone(&consumer), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Acquire) {
                    if let Some(Err(error)) = consumer.poll(POLL) {
                        tracing::debug!(%error, "trouble with a question");
                    }
                }
            }
        });
        let thread = Some(thread.map_err(|error| error.to_string())?);
        Ok(Self { consumer, stop, thread })
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

impl Drop for Polled {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
