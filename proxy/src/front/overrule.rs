//! The emergency override: everything at 0 %, whatever the dial says, until somebody takes it back.

use crate::journal::Overruled;
use host::disk;
use host::moment;
use host::task::{self, JoinHandle};
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};
use wire::scalar::Timestamp;

/// The file, beside the journal.
const FILE: &str = "override.json";

/// The override in force, as it stands on disk and in what operators are told.
pub use wire::control::FrontOverride as Override;

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Everything to the legacy.
    Set(Override),
    /// By the dial again.
    Lift(Override),
}

impl Change {
    /// The override that is in force then.
    pub fn in_force(&self) -> Option<Override> {
        match self {
            Change::Set(current) => Some(current.clone()),
            Change::Lift(_) => None,
        }
    }

    /// As the journal tells it.
    pub fn record(&self) -> Overruled {
        let (on, Override { reason, since }) = match self {
            Change::Set(current) => (true, current.clone()),
            Change::Lift(lifted) => (false, lifted.clone()),
        };
        Overruled { on, reason, since }
    }
}

/// The override in force, if there is one. A file that cannot be read counts as one: it was there for a reason.
///
/// # Errors
/// When the file is there but the disk does not give it out.
pub fn read(dir: &Path) -> io::Result<Option<Override>> {
    let Some(bytes) = disk::read(&dir.join(FILE))? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::error!(%error, file = FILE, "the override's file cannot be read: the override stays in force");
        Override { reason: "(unreadable)".to_owned(), since: Timestamp::default() }
    })))
}

/// Keeps the override over a restart, or no longer.
///
/// # Errors
/// When the disk does not take it.
pub fn write(dir: &Path, current: Option<&Override>) -> io::Result<()> {
    let path = dir.join(FILE);
    match current {
        Some(current) => {
            // A string and a time always have a JSON form.
            let bytes = serde_json::to_vec(current).expect("an override has a JSON form");
            disk::replace(&path, &bytes)
        }
        None => {
            disk::remove(&path)?;
            disk::sync_parent(&path)
        }
    }
}

/// Writes the override beside whoever puts it in force, who must not wait for a disk; in the order asked for.
#[derive(Debug)]
pub(super) struct Keeper {
    orders: mpsc::UnboundedSender<(Option<Override>, oneshot::Sender<io::Result<()>>)>,
    task: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn new(dir: PathBuf) -> Self {
        let (orders, mut asked) = mpsc::unbounded_channel::<(Option<Override>, oneshot::Sender<io::Result<()>>)>();
        let task = task::spawn(async move {
            while let Some((current, done)) = asked.recv().await {
                let dir = dir.clone();
                moment::passes("override-in-force");
                let written = task::spawn_blocking(move || write(&dir, current.as_ref())).await;
                moment::passes("override-kept");
                // Whoever asked may have gone.
                let _ = done.send(written.unwrap_or_else(|error| Err(io::Error::other(error))));
            }
        });
        Self { orders, task }
    }

    /// Writes it, and says to `done` what became of that.
    pub(super) fn keep(&self, current: Option<Override>, done: oneshot::Sender<io::Result<()>>) {
        // Without a writer nobody answers, which is an answer too.
        let _ = self.orders.send((current, done));
    }

    /// Waits for what was asked for.
    pub(super) async fn end(self) {
        drop(self.orders);
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lasts_until_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let current = Override { reason: "smoke".into(), since: Timestamp(5) };
        write(dir.path(), Some(&current)).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(current));
        std::fs::write(dir.path().join(FILE), b"{").unwrap();
        assert!(read(dir.path()).unwrap().is_some(), "a damaged file does not lift it");
        write(dir.path(), None).unwrap();
        write(dir.path(), None).unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
    }
}
