//! Names and meanings of the metrics of front and relay, in their exported spelling.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, histogram};

/// Seconds from sending a leg to its whole answer, by `system`, `role` and `route`.
pub const LEG_DURATION: &str = "crossfade_leg_duration_seconds";
/// Legs that ended, by `system`, `role` and `class`.
pub const LEG_RESULTS: &str = "crossfade_leg_results_total";
/// Seconds that the front added to an exchange: from the whole request to the answer, less the authority's leg.
pub const FRONT_ADDED: &str = "crossfade_front_added_seconds";
/// Seconds for which a request was held, of those that were: its account moves, or the dial is not known yet.
pub const FRONT_HELD: &str = "crossfade_front_held_seconds";
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
/// Exchanges of which nobody knows what a system made of them, as authority or as shadow, by `system`.
pub const UNKNOWN_UNRESOLVED: &str = "crossfade_unknown_unresolved";
/// Records that are no exchanges and were kept as dead letters, by `source`.
pub const DEAD_LETTERS: &str = "crossfade_dead_letters_total";

/// Says what the front's metrics mean. What never happened is shown as 0.
pub(crate) fn describe_front() {
    describe_histogram!(LEG_DURATION, "Seconds from sending a leg to its whole answer");
    describe_counter!(LEG_RESULTS, "Legs that ended");
    describe_histogram!(FRONT_ADDED, "Seconds that the front added to an exchange");
    describe_histogram!(FRONT_HELD, "Seconds for which a request was held, of those that were");
    describe_gauge!(JOURNAL_BYTES, "Bytes of the journal on disk");
    describe_gauge!(JOURNAL_UNSHIPPED, "Journal records that the relay has not acknowledged");
    describe_counter!(OVERTAKEN, "Exchanges sent to an authority before a handover was finished");
    describe_counter!(CAPTURE_GAPS, "Exchanges that went on without a record");
    describe_counter!(CROSS_COHORT, "Exchanges that name accounts of different cohorts");
    describe_gauge!(ROLLOUT_PERCENT, "The share of buckets that the engine answers, in percent");
    describe_gauge!(ROLLOUT_STAGE, "1 for the stage in force, 0 for the others");
    counter!(CAPTURE_GAPS).increment(0);
    drop(histogram!(FRONT_HELD));
}

/// Says what the relay's metrics mean. What never happened is shown as 0.
pub(crate) fn describe_relay() {
    describe_histogram!(LEG_DURATION, "Seconds from sending a leg to its whole answer");
    describe_counter!(LEG_RESULTS, "Legs that ended");
    describe_counter!(LEGS_REOFFERED, "Shadow legs that ended after more than one offer");
    describe_gauge!(RELAY_LAG, "Seconds since the result of the oldest undelivered shadow leg");
    describe_gauge!(UNKNOWN_UNRESOLVED, "Exchanges of which nobody knows what a system made of them");
    describe_counter!(DEAD_LETTERS, "Records that could not be processed and were kept as dead letters");
    counter!(DEAD_LETTERS, "source" => "exchanges").increment(0);
    for end in ["order", "forced"] {
        counter!(LEGS_REOFFERED, "end" => end).increment(0);
    }
}
