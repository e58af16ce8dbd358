//! What the records of `cutover.rollout` add up to, with their history.

use crate::chain::Fold;
use eventlog::Record;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::control::{RolloutChange, RolloutHistory};
use wire::rollout::{FrontBoot, Pending, Rollout, RolloutBody, RolloutRecord, Setting};
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
    /// Versions made in one phase that took accounts along and are not drained, oldest first.
    undrained: Vec<u64>,
    /// The last version that each front has left everything before behind, and the boot that said so.
    marks: BTreeMap<String, (u64, u64)>,
}

/// Moves of which the marks are awaited at most: as many as fronts and relay await.
const MAX_UNDRAINED: usize = 8;

impl DialState {
    /// Before any record.
    pub fn genesis(ledger: &str) -> Self {
        let (changes, undrained, marks) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { rollout: Rollout::genesis(ledger), changes, undrained, marks }
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

    /// Whether the relay may wait to hear that a front has left everything before `version` behind.
    pub fn awaits_mark(&self, version: u64) -> bool {
        version <= self.rollout.version && self.undrained.iter().any(|undrained| *undrained <= version)
    }

    /// Whether a front has said so in this boot, or more.
    pub fn has_mark(&self, front: &FrontBoot, version: u64) -> bool {
        self.marks.get(&front.front).is_some_and(|known| *known >= (version, front.boot))
    }

    fn note(&mut self, before: &Rollout, body: &RolloutBody) {
        match body {
            RolloutBody::Moved { version, .. } if before.may_differ(&self.rollout) => {
                self.undrained.push(*version);
                if self.undrained.len() > MAX_UNDRAINED {
                    self.undrained.remove(0);
                }
            }
            RolloutBody::Drained { version } => self.undrained.retain(|undrained| undrained != version),
            RolloutBody::Prepared { version, front, .. }
                if before.pending.as_ref().is_none_or(|pending| pending.version != *version) =>
            {
                self.marks.insert(front.front.clone(), (*version, front.boot));
            }
            _ => {}
        }
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
        let before = self.rollout.clone();
        let taken = self.rollout.take(&record.value)?;
        if let Some(taken) = &taken {
            self.note(&before, &taken.body);
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
