//! What the records of `cutover.rollout` add up to, with their history.

use crate::chain::Fold;
use eventlog::Record;
use serde_json::json;
use std::sync::Arc;
use wire::control::{RolloutChange, RolloutHistory};
use wire::rollout::{Pending, Rollout, RolloutBody, RolloutRecord, Setting};
use wire::scalar::{Digest, Timestamp};
use wire::stored::DecodeError;

/// A record of the dial that was taken.
#[derive(Debug)]
pub struct Change {
    /// Its place in the log.
    pub offset: u64,
    /// The record.
    pub record: RolloutRecord,
}

/// Where the dial stands and how it came there.
#[derive(Debug, Clone)]
pub struct DialState {
    /// Where it stands.
    pub rollout: Rollout,
    /// Every record that was taken, oldest first.
    pub changes: Vec<Arc<Change>>,
}

impl DialState {
    /// Before any record.
    pub fn genesis(ledger: &str) -> Self {
        Self { rollout: Rollout::genesis(ledger), changes: Vec::new() }
    }

    /// The move under way, and when it was begun.
    pub fn pending(&self) -> Option<(&Pending, Timestamp)> {
        let pending = self.rollout.pending.as_ref()?;
        let begun = self.changes.iter().rev().find_map(|change| match &change.record.body {
            RolloutBody::Prepare { version, .. } if *version == pending.version => Some(change.record.at),
            _ => None,
        });
        Some((pending, begun.unwrap_or_default()))
    }

    /// The history for people, oldest first.
    pub fn history(&self) -> RolloutHistory {
        RolloutHistory { changes: self.changes.iter().map(|change| view(change)).collect() }
    }
}

impl Fold for DialState {
    type Record = RolloutRecord;
    const TOPIC: &'static str = wire::rollout::TOPIC;

    fn head(&self) -> Digest {
        self.rollout.head
    }

    fn take(&mut self, record: &Record) -> Result<Option<RolloutRecord>, DecodeError> {
        let taken = self.rollout.take(&record.value)?;
        if let Some(taken) = &taken {
            self.changes.push(Arc::new(Change { offset: record.offset, record: taken.clone() }));
        }
        Ok(taken)
    }
}

fn view(change: &Change) -> RolloutChange {
    let record = &change.record;
    let (name, version, to, forced, evidence) = parts(&record.body);
    RolloutChange {
        offset: change.offset,
        at: record.at,
        actor: record.actor.clone(),
        reason: record.reason.clone(),
        change: name.to_owned(),
        version,
        to,
        forced,
        evidence,
    }
}

/// The name of a change, as the history shows it.
pub fn name(body: &RolloutBody) -> &'static str {
    parts(body).0
}

type Parts = (&'static str, Option<u64>, Option<Setting>, bool, serde_json::Value);

fn parts(body: &RolloutBody) -> Parts {
    match body {
        RolloutBody::Moved { version, to, forced, evidence } => {
            ("moved", Some(*version), Some(*to), *forced, json!({ "gates": evidence }))
        }
        RolloutBody::Prepare { version, to, forced, evidence, fronts } => {
            ("prepare", Some(*version), Some(*to), *forced, json!({ "gates": evidence, "fronts": fronts }))
        }
        RolloutBody::Prepared { version, front, mark, unknown_accounts } => {
            let evidence = json!({ "front": front, "mark": mark, "unknownAccounts": unknown_accounts });
            ("prepared", Some(*version), None, false, evidence)
        }
        RolloutBody::Drained { version } => ("drained", Some(*version), None, false, json!({})),
        RolloutBody::Commit { version, held_back } => {
            ("commit", Some(*version), None, false, json!({ "heldBack": held_back }))
        }
        RolloutBody::Abort { version, late } => ("abort", Some(*version), None, false, json!({ "late": late })),
        RolloutBody::Freeze => ("freeze", None, None, false, json!({})),
        RolloutBody::Unfreeze => ("unfreeze", None, None, false, json!({})),
        RolloutBody::Pin { version, account, system } => {
            ("pin", Some(*version), None, false, json!({ "account": account, "system": system }))
        }
    }
}
