//! Follows the four cutover topics in the order that `cutover.order` says, and keeps the index.

use crate::index::{self, Index, Inquiry};
use crate::merge::{self, Merge, TOPICS};
use crate::rollout::gates::Figures;
use eventlog::{Log, ReadError};
use host::clock;
use host::task::Shutdown;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use wire::rollout::FrontBoot;
use wire::scalar::Timestamp;

/// Records folded while nobody else may look at the index: a few milliseconds.
const HOLD: usize = 500;
/// A verdict waits this long at most for the order to be written down: 20 marks a second beside thousands of records.
const MARK_EVERY: Duration = Duration::from_millis(50);
/// After a log that could not be read or written.
const PAUSE: Duration = Duration::from_millis(500);

/// How far the index is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Per topic the next offset to be folded.
    pub next: [u64; 4],
    /// Whether everything that was in the log at the start is folded.
    pub caught_up: bool,
    /// Why the index stands still, if it does.
    pub failed: Option<String>,
}

/// Why a round did not end well.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    /// The log cannot be used now; it is tried again.
    #[error(transparent)]
    Merging(#[from] merge::Error),
    /// A record must not be skipped and cannot be folded: the index stands still until the program is mended.
    #[error(transparent)]
    Folding(#[from] index::Error),
}

/// The index and how it is kept.
pub struct Ingest {
    log: Arc<dyn Log>,
    index: RwLock<Index>,
    progress: watch::Sender<Progress>,
    inquiries: mpsc::UnboundedSender<Inquiry>,
}

impl Ingest {
    /// An index that has folded nothing; what it wants to know is sent to `inquiries` once it has caught up.
    pub fn new(log: Arc<dyn Log>, index: Index, inquiries: mpsc::UnboundedSender<Inquiry>) -> Self {
        let progress = Progress { next: [0; 4], caught_up: false, failed: None };
        Self { log, index: RwLock::new(index), progress: watch::Sender::new(progress), inquiries }
    }

    /// Looks at the index; nothing is folded meanwhile, so be quick.
    pub fn look<T>(&self, at: impl FnOnce(&Index) -> T) -> T {
        at(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How far the index is.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Is told whenever the index has moved on.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Waits until the record at `offset` of a topic is folded; whether it was in time.
    pub async fn folded(&self, topic: usize, offset: u64, within: Duration) -> bool {
        self.reached(|progress| progress.next[topic] > offset, within).await
    }

    /// Waits until everything is folded that is in the log now; whether it was in time.
    pub async fn settle(&self, within: Duration) -> bool {
        let Ok(ends) = ends(self.log.as_ref()).await else { return false };
        self.reached(|progress| covers(&progress.next, &ends), within).await
    }

    async fn reached(&self, there: impl Fn(&Progress) -> bool, within: Duration) -> bool {
        let mut progress = self.progress.subscribe();
        // An index that stands still will not get there.
        let wait = progress.wait_for(|progress| there(progress) || progress.failed.is_some());
        matches!(clock::timeout(within, wait).await, Ok(Ok(progress)) if there(&progress))
    }

    /// Keeps the index until `shutdown`. At a record that it can neither fold nor skip it stands still, says so,
    /// and every gate stays closed.
    pub async fn run(&self, shutdown: &Shutdown) {
        let Some(start) = self.first_ends(shutdown).await else { return };
        let mut merge = Merge::new(self.log.clone(), MARK_EVERY);
        self.publish(&merge, &start);
        while !shutdown.is_stopping() {
            let round = tokio::select! {
                round = self.round(&mut merge, &start) => round,
                () = shutdown.stopped() => return,
            };
            let Err(interrupted) = round else { continue };
            tracing::error!(error = %interrupted, "the index stands still");
            self.progress.send_modify(|progress| progress.failed = Some(interrupted.to_string()));
            match interrupted {
                Interrupted::Merging(merge::Error::Reading(_) | merge::Error::Marking(_)) => tokio::select! {
                    () = clock::sleep(PAUSE) => {}
                    () = shutdown.stopped() => return,
                },
                Interrupted::Merging(merge::Error::Unreadable { .. }) | Interrupted::Folding(_) => return,
            }
        }
    }

    async fn first_ends(&self, shutdown: &Shutdown) -> Option<[u64; 4]> {
        while !shutdown.is_stopping() {
            match ends(self.log.as_ref()).await {
                Ok(ends) => return Some(ends),
                Err(error) => {
                    tracing::error!(%error, "cannot read the log");
                    clock::sleep(PAUSE).await;
                }
            }
        }
        None
    }

    /// Waits for what is new, and folds it.
    async fn round(&self, merge: &mut Merge, start: &[u64; 4]) -> Result<(), Interrupted> {
        merge.ready().await?;
        self.fold(merge)?;
        self.publish(merge, start);
        // A rebuild of a long log does not keep other tasks from running.
        host::task::yield_now().await;
        Ok(())
    }

    fn fold(&self, merge: &mut Merge) -> Result<(), index::Error> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..HOLD {
            let Some((topic, record)) = merge.take(|record| index.may_follow(&record.value)) else { break };
            index.fold(TOPICS[topic], record.offset, record.at_micros, &record.value)?;
        }
        Ok(())
    }

    fn publish(&self, merge: &Merge, start: &[u64; 4]) {
        let caught_up = covers(&merge.folded(), start);
        if caught_up && !self.progress.borrow().caught_up {
            tracing::info!(offsets = ?merge.folded(), "the index has caught up with the log");
        }
        // Before that, an inquiry may have its answer further on in the log.
        if caught_up {
            let inquiries = self.index.write().unwrap_or_else(PoisonError::into_inner).take_inquiries();
            for inquiry in inquiries {
                // Nobody is left to answer only while shutting down.
                let _ = self.inquiries.send(inquiry);
            }
        }
        self.progress.send_modify(|progress| {
            *progress = Progress { next: merge.folded(), caught_up, failed: None };
        });
    }

    /// What the gates look at.
    pub fn figures(
        &self,
        now: Timestamp,
        connected: Vec<FrontBoot>,
        drained_within_ms: u64,
        engine: Option<String>,
    ) -> Figures {
        let progress = self.progress();
        let behind = match (&progress.failed, progress.caught_up) {
            (Some(why), _) => Some(format!("the index stands still: {why}")),
            (None, false) => Some("the comparator has not caught up with the log since it started".to_owned()),
            (None, true) => None,
        };
        let (inputs, overridden) = self.look(|index| {
            let named = |front: &FrontBoot| Some((front.front.clone(), index.overridden(front)?.reason));
            (index.gates_inputs(), connected.iter().filter_map(named).collect())
        });
        let oldest = [inputs.oldest_undelivered, inputs.oldest_captured].into_iter().flatten().min();
        Figures {
            behind,
            unknown: inputs.unknown_authority + inputs.unknown_shadow,
            gaps: inputs.gaps.into_iter().map(|gap| gap.id).collect(),
            connected,
            overridden,
            serving: inputs.serving,
            oldest_undelivered_micros: oldest.map(|since| now.since_micros(since)),
            drained_within_ms,
            engine,
        }
    }
}

async fn ends(log: &dyn Log) -> Result<[u64; 4], ReadError> {
    let mut ends = [0; 4];
    for (topic, end) in TOPICS.iter().zip(&mut ends) {
        *end = log.end(topic, crate::chain::PARTITION).await?;
    }
    Ok(ends)
}

fn covers(next: &[u64; 4], ends: &[u64; 4]) -> bool {
    next.iter().zip(ends).all(|(next, end)| next >= end)
}
