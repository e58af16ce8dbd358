//! Spawning tasks and threads, and telling them to stop.

use std::future::Future;

pub use tokio::task::{JoinHandle, JoinSet};

/// Tells the tasks of a part that it is time to stop. Clones share one signal.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(tokio_util::sync::CancellationToken);

impl Shutdown {
    /// A signal not yet given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal; giving it twice is harmless.
    pub fn stop(&self) {
        self.0.cancel();
    }

    /// Whether the signal was given.
    pub fn is_stopping(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until the signal is given.
    pub async fn stopped(&self) {
        self.0.cancelled().await;
    }

    /// A signal that is given with this one, and may be given alone.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}

/// Runs `future` beside the caller.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// Runs blocking work on a thread of the runtime's pool.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}

/// Starts a named operating-system thread for work that blocks for as long as the part lives.
pub fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Waits until a person or a supervisor asks the process to stop: SIGINT or SIGTERM.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signals cannot be watched: stop the process by kill -9");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Lets other tasks run: for work that goes on for long without waiting for anything.
pub async fn yield_now() {
    tokio::task::yield_now().await;
}
