//! Which shards cannot go on, and why: for readiness, and for whoever wants to submit a command.

use host::ops::Readiness;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The name under which readiness is blocked.
const SHARDS: &str = "shards";
/// The same when money is not where it should be.
const CONSERVATION: &str = "conservation";

/// The health of a ledger's shards.
#[derive(Debug)]
pub(crate) struct Health {
    readiness: Readiness,
    troubles: Mutex<BTreeMap<u32, Trouble>>,
}

#[derive(Debug, Clone)]
struct Trouble {
    why: String,
    /// Whether only a restart, or another program, helps.
    stopped: bool,
}

impl Health {
    /// All is well.
    pub(crate) fn new(readiness: Readiness) -> Self {
        Self { readiness, troubles: Mutex::default() }
    }

    /// A shard has stopped for good.
    pub(crate) fn stopped(&self, shard: u32, why: String) {
        tracing::error!(shard, why, "a shard stopped");
        self.change(|troubles| {
            troubles.insert(shard, Trouble { why, stopped: true });
        });
    }

    /// A shard does not come forward at the moment.
    pub(crate) fn troubled(&self, shard: u32, why: String) {
        self.change(|troubles| {
            if !troubles.get(&shard).is_some_and(|trouble| trouble.stopped) {
                troubles.insert(shard, Trouble { why, stopped: false });
            }
        });
    }

    /// A shard comes forward again.
    pub(crate) fn well(&self, shard: u32) {
        self.change(|troubles| {
            if troubles.get(&shard).is_some_and(|trouble| !trouble.stopped) {
                troubles.remove(&shard);
            }
        });
    }

    /// Money is not where it should be, over all shards.
    pub(crate) fn not_conserved(&self, why: String) {
        tracing::error!(why, "money is not conserved");
        self.readiness.blocked(CONSERVATION, why);
    }

    /// Money is where it should be.
    pub(crate) fn conserved(&self) {
        self.readiness.cleared(CONSERVATION);
    }

    /// Why a shard has stopped for good, if it has.
    pub(crate) fn why_stopped(&self, shard: u32) -> Option<String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.get(&shard).filter(|trouble| trouble.stopped).map(|trouble| trouble.why.clone())
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u32, Trouble>)) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut troubles);
        let all: Vec<_> = troubles.iter().map(|(shard, trouble)| format!("shard {shard}: {}", trouble.why)).collect();
        if all.is_empty() {
            self.readiness.cleared(SHARDS);
        } else {
            self.readiness.blocked(SHARDS, all.join("; "));
        }
    }
}
