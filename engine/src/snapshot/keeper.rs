//! Says when it is time for a snapshot, for the shards that this process decides on, and has one after the other written: so
//! there is one copy of one shard's state at most.

use super::write;
use crate::ledger::Duties;
use crate::view::View;
use eventlog::Log;
use host::task::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use wire::snapshot::Complete;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Keeper {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) ledger: String,
    pub(crate) view: View,
    pub(crate) duties: Duties,
    /// Outcomes since the last snapshot of a shard after which there is another one; 0 for never.
    pub(crate) after: u64,
    /// The last snapshot that is known, per shard.
    pub(crate) last: Vec<Option<Complete>>,
}

impl Keeper {
    /// Keeps snapshots until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut looking = host::clock::interval(LOOK);
        while self.after > 0 {
            tokio::select! {
                biased;
                () = shutdown.stopped() => return,
                _ = looking.tick() => {}
            }
            for number in 0..self.view.shards() {
                if !self.is_due(number) {
                    continue;
                }
                tokio::select! {
                    biased;
                    () = shutdown.stopped() => return,
                    () = self.write(number) => {}
                }
            }
        }
    }

    /// A generation has all that a shard keeps. So that what is written grows with what happens, and not with its square,
    /// there is one only after a quarter as many outcomes as the last one has entries.
    fn is_due(&self, number: u32) -> bool {
        let last = self.last[number as usize].as_ref();
        let (known, entries) = last.map_or((0, 0), |complete| (complete.next_source, complete.entries));
        let new = self.view.progress(number).get().source_next.saturating_sub(known);
        *self.duties.of(number).borrow() && new >= self.after.max(entries / 4)
    }

    async fn write(&mut self, number: u32) {
        let began = host::clock::now();
        match write::generation(&self.log, &self.ledger, number, self.view.shards()).await {
            Ok(Some(complete)) => {
                let (seconds, entries) = (began.elapsed().as_secs_f64(), complete.entries);
                tracing::info!(
                    shard = number,
                    entries,
                    next_source = complete.next_source,
                    seconds,
                    "wrote a snapshot"
                );
                self.last[number as usize] = Some(complete);
            }
            // Somebody else has written it.
            Ok(None) => {}
            Err(why) => tracing::warn!(shard = number, %why, "a snapshot was abandoned; there will be another one"),
        }
    }
}
