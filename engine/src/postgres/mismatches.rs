//! How many rows are known to be wrong, per projection: by what the database keeps (the last whole verification, what was left
//! out), and by samples.

use crate::metrics;
use crate::view::read_model::Projection;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Clones share the counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mismatches(Arc<Mutex<BTreeMap<Projection, Known>>>);

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    kept: u64,
    sampled: u64,
}

impl Known {
    /// A sample may be one of the rows that a verification found.
    fn rows(self) -> u64 {
        self.kept.max(self.sampled)
    }
}

impl Mismatches {
    /// What the database keeps of the live build.
    pub(crate) fn kept(&self, projection: Projection, rows: u64) {
        self.change(projection, |known| known.kept = rows);
    }

    /// How many samples were wrong when they were looked at last.
    pub(crate) fn sampled(&self, projection: Projection, rows: u64) {
        self.change(projection, |known| known.sampled = rows);
    }

    fn change(&self, projection: Projection, change: impl FnOnce(&mut Known)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(projection).or_default();
        change(known);
        ::metrics::gauge!(metrics::PROJECTION_MISMATCHED_ROWS, "projection" => projection.as_str())
            .set(known.rows() as f64);
    }

    /// How many are known.
    pub(crate) fn of(&self, projection: Projection) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&projection).copied().unwrap_or_default().rows()
    }
}
