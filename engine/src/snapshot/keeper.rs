//! Says when it is time for a snapshot, for the shards that this process decides on, and has one after the other written: so
//! there is one copy of one shard's state at most.

use super::{load, write};
use crate::dead_letters::DeadLetters;
use crate::ledger::Duties;
use crate::view::View;
use eventlog::Log;
use host::clock::Instant;
use host::task::Shutdown;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wire::snapshot::Complete;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// Before the next one of a shard whose last one was abandoned: whatever was the reason may last, and each takes its time.
const PAUSE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Keeper {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) ledger: String,
    pub(crate) view: View,
    pub(crate) duties: Duties,
    pub(crate) dead_letters: DeadLetters,
    /// Outcomes since the last snapshot of a shard after which there is another one; 0 for never.
    pub(crate) after: u64,
    /// The last snapshot that is known, per shard.
    pub(crate) last: Vec<Option<Complete>>,
    /// Shards whose last one was abandoned, with when the next one may be begun.
    pub(crate) not_before: BTreeMap<u32, Instant>,
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
        let waits = self.not_before.get(&number).is_some_and(|until| host::clock::now() < *until);
        let may = !waits && *self.duties.of(number).borrow();
        may && new >= self.after.max(entries / 4)
    }

    async fn write(&mut self, number: u32) {
        let began = host::clock::now();
        // Whoever had the shard before may have written one that is not known here.
        let reached = self.view.progress(number).get().source_next;
        match load::last(&*self.log, number).await {
            // What it says is not looked into here; more than there is cannot be true.
            Ok(Some(complete)) if complete.next_source <= reached => self.last[number as usize] = Some(complete),
            Ok(_) => {}
            Err(why) => return self.abandoned(number, &why),
        }
        if !self.is_due(number) {
            return;
        }
        let shards = self.view.shards();
        match write::generation(&self.log, &self.ledger, number, shards, &self.dead_letters).await {
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
            // Somebody else has written it just now.
            Ok(None) => {}
            Err(why) => self.abandoned(number, &why),
        }
    }

    fn abandoned(&mut self, shard: u32, why: &dyn std::fmt::Display) {
        tracing::warn!(shard, %why, "a snapshot was abandoned; there will be another one");
        self.not_before.insert(shard, host::clock::now() + PAUSE);
    }
}
