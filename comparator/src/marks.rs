//! Marks: every front that listens is asked to write a record with a given id into its journal. Once the index has
//! seen it from all of them, it has also seen everything that they had written before.

use crate::index::Index;
use crate::ingest::Ingest;
use crate::stream::{Fronts, not_listening};
use host::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use wire::rollout::FrontBoot;

/// Why there is no mark of every front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMark {
    /// Nobody listens.
    #[error("no front is connected")]
    NobodyConnected,
    /// Some may be serving, and do not listen.
    #[error("not connected, and may be serving: {}", .0.join(", "))]
    NotListening(Vec<String>),
    /// Some did not answer in time.
    #[error("no mark in time from {}", .0.join(", "))]
    Silent(Vec<String>),
}

/// Asks for marks and waits for them.
pub struct Marks {
    fronts: Fronts,
    ingest: Arc<Ingest>,
    wait: Duration,
    /// Numbers requests and rounds of [`Marks::shared`] in the order in which they began.
    began: AtomicU64,
    last: Mutex<Option<Round>>,
}

/// A mark that several requests share.
struct Round {
    began: u64,
    outcome: Result<String, NoMark>,
}

impl Marks {
    /// Marks that may take as long as `wait`.
    pub fn new(fronts: Fronts, ingest: Arc<Ingest>, wait: Duration) -> Self {
        Self { fronts, ingest, wait, began: AtomicU64::new(0), last: Mutex::new(None) }
    }

    /// Asks every front for the mark `id`, and waits until the index has seen all of them; answers which.
    ///
    /// # Errors
    /// [`NoMark`].
    pub async fn ask(&self, id: &str) -> Result<Vec<FrontBoot>, NoMark> {
        let mut progress = self.ingest.watch();
        let asked = self.fronts.ask_for_mark(id);
        if asked.is_empty() {
            return Err(NoMark::NobodyConnected);
        }
        let serving = self.ingest.look(Index::gates_inputs).serving;
        let deaf = not_listening(&serving, &asked);
        if !deaf.is_empty() {
            return Err(NoMark::NotListening(deaf.into_iter().map(|front| front.front).collect()));
        }
        let missing = || {
            let seen = self.ingest.look(|index| index.mark_seen(id));
            let missing = asked.iter().filter(|front| !seen.contains(&front.front));
            missing.map(|front| front.front.clone()).collect::<Vec<_>>()
        };
        let all = progress.wait_for(|_| missing().is_empty());
        match clock::timeout(self.wait, all).await {
            Ok(Ok(_)) => {}
            _ => return Err(NoMark::Silent(missing())),
        }
        Ok(asked)
    }

    /// A mark that was asked for after this call began, shared with everybody else who waits for one; its id.
    ///
    /// # Errors
    /// [`NoMark`].
    pub async fn shared(&self) -> Result<String, NoMark> {
        let called = self.began.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last.lock().await;
        if let Some(round) = last.as_ref().filter(|round| round.began > called) {
            return round.outcome.clone();
        }
        let began = self.began.fetch_add(1, Ordering::Relaxed);
        let id = new_id();
        let outcome = self.ask(&id).await.map(|_| id);
        *last = Some(Round { began, outcome: outcome.clone() });
        outcome
    }
}

/// A new id for a mark or a reconciliation.
pub fn new_id() -> String {
    host::random::token().split_off(16)
}
