//! The dial's history, for people.

use serde_json::json;
use wire::control::RolloutChange;
use wire::rollout::{FrontBoot, RolloutBody, RolloutRecord};
use wire::scalar::Timestamp;

/// One accepted record.
pub(super) fn change(offset: u64, record: RolloutRecord) -> RolloutChange {
    let (change, version, to, forced, evidence) = match record.body {
        RolloutBody::Moved { version, to, forced, evidence } => {
            ("moved", Some(version), Some(to), forced, json!({ "gates": evidence }))
        }
        RolloutBody::Prepare { version, to, forced, evidence, fronts } => {
            ("prepare", Some(version), Some(to), forced, json!({ "gates": evidence, "fronts": fronts }))
        }
        RolloutBody::Prepared { version, front, mark, unknown_accounts } => {
            let evidence = json!({ "front": front, "mark": mark, "unknownAccounts": unknown_accounts });
            ("prepared", Some(version), None, false, evidence)
        }
        RolloutBody::Drained { version } => ("drained", Some(version), None, false, json!({})),
        RolloutBody::Commit { version, held_back } => {
            ("commit", Some(version), None, false, json!({ "heldBack": held_back }))
        }
        RolloutBody::Abort { version, late } => ("abort", Some(version), None, false, json!({ "late": late })),
        RolloutBody::Freeze => ("freeze", None, None, false, json!({})),
        RolloutBody::Unfreeze => ("unfreeze", None, None, false, json!({})),
        RolloutBody::Pin { version, account, system } => {
            ("pin", Some(version), None, false, json!({ "account": account, "system": system }))
        }
    };
    RolloutChange {
        offset,
        at: record.at,
        actor: record.actor,
        reason: record.reason,
        change: change.to_owned(),
        version,
        to,
        forced,
        evidence,
    }
}

/// An override that a front set or lifted at its own listener; the dial's chain says nothing of it.
pub(super) fn overruled(
    offset: u64,
    at: Timestamp,
    front: &FrontBoot,
    on: bool,
    reason: String,
    since: Timestamp,
) -> RolloutChange {
    RolloutChange {
        offset,
        at,
        actor: format!("front {}", front.front),
        reason,
        change: "override".to_owned(),
        version: None,
        to: None,
        forced: false,
        evidence: json!({ "on": on, "since": since, "boot": front.boot, "topic": wire::exchange::TOPIC }),
    }
}
