//! The names of what this crate measures, in their exported spelling.

/// Seconds from handing a batch to the log until it was durable (histogram).
pub const LOG_APPEND_SECONDS: &str = "crossfade_log_append_seconds";

/// Durable commits of an embedded log, each one fsync (counter).
pub const LOG_COMMITS_TOTAL: &str = "crossfade_log_commits_total";

/// Every metric of this crate with its help text.
pub const ALL: [(&str, &str); 2] = [
    (LOG_APPEND_SECONDS, "Seconds from handing a batch to the log until it was durable."),
    (LOG_COMMITS_TOTAL, "Durable commits of the embedded log, each one fsync."),
];
