//! Which shards are being published by this process, so that nobody else is given one before its last event arrived.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// See the module. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Presence(Arc<(Mutex<BTreeSet<u32>>, Condvar)>);

/// A shard is being published as long as this is there.
pub(crate) struct Present {
    presence: Presence,
    shard: u32,
}

impl Presence {
    /// A shard is being published from now on.
    pub(crate) fn enter(&self, shard: u32) -> Present {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).insert(shard);
        Present { presence: self.clone(), shard }
    }

    /// Blocks until only these are being published, or until `patience` is over: then false.
    pub(crate) fn only(&self, shards: &BTreeSet<u32>, patience: Duration) -> bool {
        let (present, changed) = &*self.0;
        let present = present.lock().unwrap_or_else(PoisonError::into_inner);
        let others = |present: &mut BTreeSet<u32>| !present.is_subset(shards);
        let waited = changed.wait_timeout_while(present, patience, others);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let (present, changed) = &*self.presence.0;
        present.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.shard);
        changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_told_when_the_last_one_leaves() {
        let presence = Presence::default();
        let (one, two) = (presence.enter(1), presence.enter(2));
        assert!(presence.only(&BTreeSet::from([1, 2, 3]), Duration::ZERO));
        assert!(!presence.only(&BTreeSet::from([1]), Duration::ZERO), "2 is still there");
        drop(two);
        assert!(presence.only(&BTreeSet::from([1]), Duration::ZERO));
        let waiting = std::thread::spawn({
            let presence = presence.clone();
            move || presence.only(&BTreeSet::new(), Duration::from_secs(60))
        });
        drop(one);
        assert!(waiting.join().unwrap());
    }
}
