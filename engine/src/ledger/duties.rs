//! Which shards this process has been given to decide on.

use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// Who decides on what. Clones share it.
#[derive(Debug, Clone)]
pub struct Duties(Arc<Vec<watch::Sender<bool>>>);

impl Duties {
    /// All shards: nobody else is there.
    pub fn all(shards: u32) -> Self {
        Self::each(shards, true)
    }

    /// None yet: somebody will say.
    pub fn none(shards: u32) -> Self {
        Self::each(shards, false)
    }

    fn each(shards: u32, on_duty: bool) -> Self {
        Self(Arc::new((0..shards).map(|_| watch::Sender::new(on_duty)).collect()))
    }

    /// From now on exactly these.
    pub fn assign(&self, shards: &BTreeSet<u32>) {
        for (number, duty) in (0..).zip(self.0.iter()) {
            let on_duty = shards.contains(&number);
            duty.send_if_modified(|duty| std::mem::replace(duty, on_duty) != on_duty);
        }
    }

    /// Whether one is ours, and when that changes.
    pub(crate) fn of(&self, shard: u32) -> watch::Receiver<bool> {
        self.0[shard as usize].subscribe()
    }
}
