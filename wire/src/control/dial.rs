//! The dial, in JSON: where it stands, how it came there, and what may be asked of it.

use super::FrontView;
use crate::rollout::{GateReading, Rollout, Setting};
use crate::scalar::{Money, Percent, Timestamp};
use crate::words::System;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Where the dial stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutView {
    /// The version in force.
    pub version: u64,
    /// Stage and percent.
    #[serde(flatten)]
    pub setting: Setting,
    /// Whether moves up are frozen.
    pub frozen: bool,
    /// A move under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Setting>,
    /// Accounts that are still with another system than dial and pins say; the same setting once more takes them along.
    pub held_back: u64,
    /// The accounts held back, and the systems that they are with.
    #[serde(default)]
    pub held_back_accounts: BTreeMap<String, System>,
    /// Pinned accounts.
    pub pins: u64,
    /// The pinned accounts, and the systems that they stay with.
    #[serde(default)]
    pub pinned_accounts: BTreeMap<String, System>,
    /// Since when.
    #[schema(value_type = String)]
    pub since: Timestamp,
    /// What came of it: what was decided since the dial last moved.
    #[serde(default)]
    pub effective: Effective,
    /// Exchanges between accounts of different cohorts since then.
    #[serde(default)]
    pub cross_cohort: CrossCohort,
    /// The fronts.
    #[serde(default)]
    pub fronts: Vec<FrontView>,
    /// The gates as they stand.
    pub gates: Vec<GateReading>,
    /// What can be done next.
    pub next_steps: Vec<String>,
}

impl RolloutView {
    /// What the rollout itself says; what came of it, fronts, gates and next steps are left empty.
    pub fn of(rollout: &Rollout) -> Self {
        Self {
            version: rollout.version,
            setting: rollout.setting,
            frozen: rollout.frozen,
            pending: rollout.pending.as_ref().map(|pending| pending.to),
            held_back: rollout.held_back.len() as u64,
            held_back_accounts: rollout.held_back.clone(),
            pins: rollout.pins.len() as u64,
            pinned_accounts: rollout.pins.clone(),
            since: rollout.since,
            effective: Effective::default(),
            cross_cohort: CrossCohort::default(),
            fronts: Vec::new(),
            gates: Vec::new(),
            next_steps: Vec::new(),
        }
    }
}

/// What was decided since the dial last moved, whoever was meant to decide it: also by fronts that have not heard of the move.
/// Exchanges with a result that says what the authority did, retries once; by the clocks of the fronts that began them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// Since when the dial stands there; pins do not count as moves.
    #[schema(value_type = String)]
    pub since: Timestamp,
    /// Exchanges decided.
    pub exchanges: u64,
    /// Of these, those that the engine decided.
    pub engine: u64,
    /// Their share in percent.
    #[schema(value_type = String)]
    pub engine_percent: Percent,
    /// What they moved, per currency.
    pub money: Vec<EffectiveMoney>,
}

/// What was moved in one currency, and how much of it by the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveMoney {
    /// The currency.
    pub currency: String,
    /// Sum of the amounts of applied transactions.
    #[schema(value_type = String)]
    pub total: Money,
    /// Of these, those that the engine decided.
    #[schema(value_type = String)]
    pub engine: Money,
    /// Their share in percent.
    #[schema(value_type = String)]
    pub engine_percent: Percent,
}

/// Exchanges between accounts of different cohorts, decided since the dial last moved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CrossCohort {
    /// How many.
    pub exchanges: u64,
    /// Their share of all exchanges decided, in percent.
    #[schema(value_type = String)]
    pub percent: Percent,
    /// What they moved, per currency.
    pub money: Vec<CrossCohortMoney>,
    /// Of all exchanges decided, those that were sent before the handover of their account was finished.
    pub overtaken: u64,
}

/// What was moved between cohorts in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CrossCohortMoney {
    /// The currency.
    pub currency: String,
    /// Sum of the amounts.
    #[schema(value_type = String)]
    pub amount: Money,
    /// Its share of everything moved in this currency, in percent.
    #[schema(value_type = String)]
    pub percent: Percent,
}

/// One line of the dial's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutChange {
    /// Its place in the log: in `cutover.rollout`, of an override in `cutover.exchanges`.
    pub offset: u64,
    /// When; of an override: when the log had it, which may be long after (`since` in its evidence).
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What: `moved`, `prepare`, `commit`, `abort`, `freeze`, …; `override` of a front at its own listener.
    pub change: String,
    /// The version it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The setting it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Setting>,
    /// Whether gates were overruled.
    pub forced: bool,
    /// The gates as they stood, the late fronts, the accounts held back.
    pub evidence: serde_json::Value,
}

/// The dial's history, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutHistory {
    /// The changes.
    pub changes: Vec<RolloutChange>,
}

/// `POST /api/rollout/set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetRollout {
    /// `passthrough`, `capture`, `shadow`, or a percentage.
    pub to: String,
    /// Why.
    pub reason: String,
    /// Overrule closed gates (approvers only).
    #[serde(default)]
    pub force: bool,
}

/// `POST /api/rollout/pin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PinAccount {
    /// The account.
    pub account: String,
    /// The system that it stays with; `null` lets it go. Never left out: nobody lets go of an account by forgetting it.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    pub system: Option<System>,
    /// Why.
    pub reason: String,
    /// Overrule closed gates (approvers only).
    #[serde(default)]
    pub force: bool,
}
