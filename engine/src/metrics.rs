//! The names of what the engine measures, in their exported spelling.

/// Commands by what they ask and what became of them (counter: `type`, `result`).
pub const COMMANDS_TOTAL: &str = "crossfade_commands_total";
/// Seconds from submitting a command to its answer (histogram: `type`).
pub const COMMAND_DURATION_SECONDS: &str = "crossfade_command_duration_seconds";
/// Journal records that do not count: written by a zombie, twice, or on a lost predecessor (counter).
pub const REJECTED_OUTCOMES_TOTAL: &str = "crossfade_rejected_outcomes_total";
/// Transactions by what became of them (counter: `type`, `status`, `currency`).
pub const TRANSACTIONS_TOTAL: &str = "crossfade_transactions_total";
/// Sagas that wait for another shard (gauge: `type`).
pub const SAGAS_OPEN: &str = "crossfade_sagas_open";
/// Sum over all shards of the absolute sum of their balances: anything but 0 is money out of nothing (gauge:
/// `currency`).
pub const CONSERVATION_ERROR: &str = "crossfade_conservation_error";
/// Records of a topic that were not consumed yet (gauge: `topic`, `partition`).
pub const CONSUMER_LAG_RECORDS: &str = "crossfade_consumer_lag_records";
/// Records that could not be processed and were kept as dead letters (counter: `source`).
pub const DEAD_LETTERS_TOTAL: &str = "crossfade_dead_letters_total";
/// Records of a shard's journal that a projection has not applied yet (gauge: `projection`, `partition`).
pub const PROJECTION_LAG_RECORDS: &str = "crossfade_projection_lag_records";
/// Seconds from an outcome's decision to the commit of its projection (histogram: `projection`).
pub const EVENT_TO_PROJECTION_SECONDS: &str = "crossfade_event_to_projection_seconds";
/// Rows of a projection that are known to say something else than the log (gauge: `projection`).
pub const PROJECTION_MISMATCHED_ROWS: &str = "crossfade_projection_mismatched_rows";
/// Share of all events whose envelope is complete (gauge).
pub const AUDIT_COMPLETE_RATIO: &str = "crossfade_audit_complete_ratio";
/// Seconds that a query took, waiting for the view included (histogram: `query`).
pub const QUERY_DURATION_SECONDS: &str = "crossfade_query_duration_seconds";

/// Every metric of this crate with its help text.
pub const ALL: [(&str, &str); 13] = [
    (COMMANDS_TOTAL, "Commands by what they ask and what became of them."),
    (COMMAND_DURATION_SECONDS, "Seconds from submitting a command to its answer."),
    (REJECTED_OUTCOMES_TOTAL, "Journal records that do not extend the accepted chain."),
    (TRANSACTIONS_TOTAL, "Transactions by what became of them."),
    (SAGAS_OPEN, "Sagas that wait for another shard."),
    (CONSERVATION_ERROR, "Sum over all shards of the absolute sum of their balances; anything but 0 is an error."),
    (CONSUMER_LAG_RECORDS, "Records of a topic that were not consumed yet."),
    (DEAD_LETTERS_TOTAL, "Records that could not be processed and were kept as dead letters."),
    (PROJECTION_LAG_RECORDS, "Records of a shard's journal that a projection has not applied yet."),
    (EVENT_TO_PROJECTION_SECONDS, "Seconds from an outcome's decision to the commit of its projection."),
    (PROJECTION_MISMATCHED_ROWS, "Rows of a projection that are known to say something else than the log."),
    (AUDIT_COMPLETE_RATIO, "Share of all events whose envelope says by whom, why and when."),
    (QUERY_DURATION_SECONDS, "Seconds that a query took, waiting for the view included."),
];

/// Gives every metric its help text. What never happened is shown as 0.
pub fn describe() {
    for (name, help) in ALL {
        if name.ends_with("_total") {
            metrics::describe_counter!(name, help);
        } else if name.ends_with("_seconds") {
            metrics::describe_histogram!(name, help);
        } else {
            metrics::describe_gauge!(name, help);
        }
    }
    metrics::counter!(REJECTED_OUTCOMES_TOTAL).increment(0);
    for source in ["commands", "journal"] {
        metrics::counter!(DEAD_LETTERS_TOTAL, "source" => source).increment(0);
    }
}
