//! Names and meanings of the metrics of front and relay, in their exported spelling.

/// Seconds from sending a leg to its whole answer, by `system`, `role` and `route`.
pub const LEG_DURATION: &str = "crossfade_leg_duration_seconds";
/// Legs that ended, by `system`, `role` and `class`.
pub const LEG_RESULTS: &str = "crossfade_leg_results_total";
/// Seconds that the front added to an exchange: from the whole request to the answer, less the authority's leg.
pub const FRONT_ADDED: &str = "crossfade_front_added_seconds";
/// Bytes of the front's journal on disk.
pub const JOURNAL_BYTES: &str = "crossfade_journal_bytes";
/// Journal records that the relay has not acknowledged as durable.
pub const JOURNAL_UNSHIPPED: &str = "crossfade_journal_unshipped";
/// Exchanges sent to an authority although the handover of their account was not finished.
pub const OVERTAKEN: &str = "crossfade_overtaken_total";
/// Exchanges that went on without a record.
pub const CAPTURE_GAPS: &str = "crossfade_capture_gaps_total";
/// Exchanges that name accounts of different cohorts.
pub const CROSS_COHORT: &str = "crossfade_cross_cohort_total";
/// The share of the buckets that the engine answers, in percent.
pub const ROLLOUT_PERCENT: &str = "crossfade_rollout_percent";
/// 1 for the `stage` in force, 0 for the others.
pub const ROLLOUT_STAGE: &str = "crossfade_rollout_stage";
/// Shadow legs that came to an end after more than one offer, by `end`: they fitted later, or were forced.
pub const LEGS_REOFFERED: &str = "crossfade_legs_reoffered_total";
/// Seconds since the result of the oldest undelivered shadow leg was taken into the log, by `system`.
pub const RELAY_LAG: &str = "crossfade_relay_lag_seconds";
/// Exchanges of which nobody knows what their authority made of them, by `system`.
pub const UNKNOWN_UNRESOLVED: &str = "crossfade_unknown_unresolved";
