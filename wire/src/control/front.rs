//! The fronts, in JSON: as the comparator sees them, and what their own listeners say of the override.

use crate::rollout::{FrontBoot, Setting};
use crate::scalar::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A front as the comparator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FrontView {
    /// Its name and boot.
    #[serde(flatten)]
    pub front: FrontBoot,
    /// Whether it listens to the dial.
    pub connected: bool,
    /// The rollout version that its last exchange went by; absent before the first one of this boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The override at its own listener, by which it sends everything to the legacy whatever the dial says.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub overridden: Option<FrontOverride>,
}

/// An override in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FrontOverride {
    /// Why, in the operator's words.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String)]
    pub since: Timestamp,
}

/// `GET`, `POST`, `DELETE /override` (front): what it goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideView {
    /// The override in force.
    #[serde(rename = "override")]
    pub current: Option<FrontOverride>,
    /// The version of the dial as it was last heard.
    pub version: u64,
    /// What this front goes by.
    #[serde(flatten)]
    pub setting: Setting,
    /// A move that is prepared, and neither made nor called off.
    pub preparing: Option<Setting>,
    /// What can be done next.
    pub next_steps: Vec<String>,
}
