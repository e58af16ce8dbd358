//! The one thread that executes requests: in the order of their arrival, one durable transaction each.
//!
//! Waiting in its queue is how a retry waits for the first request with its key.

use crate::execute::{Asked, Executor, Reply};
use crate::store::Error;
use host::task::Shutdown;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait; more wait in their connections.
const QUEUE: usize = 1024;

/// A request in the queue.
enum Job {
    Execute(Box<Asked>, oneshot::Sender<Reply>),
    Stop,
}

/// The way to the writer. Clones share one queue.
#[derive(Clone)]
pub(crate) struct Writer(mpsc::Sender<Job>);

/// The writer's thread; it ends with what went wrong, if anything did.
pub(crate) type Thread = std::thread::JoinHandle<Result<(), Error>>;

impl Writer {
    /// Starts the thread. When it ends, for whatever reason, it tells `stop`.
    pub(crate) fn start(executor: Executor<'static>, stop: Shutdown) -> std::io::Result<(Self, Thread)> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = host::task::thread("legacy-writer", move || {
            let ended = write(executor, receiver);
            stop.stop();
            ended
        })?;
        Ok((Self(sender), thread))
    }

    /// Executes a request; `None` when the writer has stopped, in which case nobody can say what became of it.
    pub(crate) async fn execute(&self, asked: Asked) -> Option<Reply> {
        let (reply, answered) = oneshot::channel();
        self.0.send(Job::Execute(Box::new(asked), reply)).await.ok()?;
        answered.await.ok()
    }

    /// Lets the writer finish what waits, and end.
    pub(crate) async fn stop(&self) {
        // An error says that it has ended already.
        let _ = self.0.send(Job::Stop).await;
    }
}

/// After a failed write nobody knows what is on the disk, so the writer ends instead of trying again, unless it is
/// certain that nothing was written.
fn write(mut executor: Executor<'_>, mut jobs: mpsc::Receiver<Job>) -> Result<(), Error> {
    while let Some(Job::Execute(asked, reply)) = jobs.blocking_recv() {
        let executed = match executor.execute(&asked) {
            Err(error) if error.nothing_written() => {
                tracing::warn!(%error, correlation_id = asked.correlation_id, "a request could not be executed");
                Reply::Unavailable
            }
            other => other?,
        };
        // A client that has gone does not take its request along.
        let _ = reply.send(executed);
    }
    Ok(())
}
