//! JSON of the engine's control listener about its projections, for the command line.

use crate::scalar::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /internal/projections` (engine).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionList {
    /// All of them.
    pub projections: Vec<ProjectionView>,
}

/// A projection as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionView {
    /// `balance` or `history`.
    pub name: String,
    /// The build that is live: counted from 1.
    pub generation: i32,
    /// When it was begun.
    #[schema(value_type = String)]
    pub begun_at: Timestamp,
    /// Journal records of all shards that are not applied yet.
    pub lag_records: u64,
    /// Rows that are known to say something else than the log.
    pub mismatched_rows: u64,
    /// Each shard.
    pub shards: Vec<ProjectionShard>,
    /// The job that runs, or ran last in this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<ProjectionJobView>,
}

/// How far a projection is on a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionShard {
    /// The shard.
    pub shard: u32,
    /// The offset of the journal's next record to be applied.
    pub journal_next: u64,
    /// Where the journal ends.
    pub journal_end: u64,
    /// What is between them.
    pub lag_records: u64,
}

/// What can be done with a projection: `POST /internal/projections/{name}/{rebuild|verify}` (engine).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProjectionJob {
    /// Made anew from the log, beside the one that is live, which it then replaces.
    Rebuild,
    /// Compared row by row with one that is made from the log.
    Verify,
}

impl ProjectionJob {
    /// As in the path.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProjectionJob::Rebuild => "rebuild",
            ProjectionJob::Verify => "verify",
        }
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProjectionJobState {
    /// Under way.
    Running,
    /// Done.
    Done,
    /// Given up.
    Failed,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionJobView {
    /// What.
    pub job: ProjectionJob,
    /// Where it stands.
    pub state: ProjectionJobState,
    /// When it began.
    #[schema(value_type = String)]
    pub begun_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<Timestamp>,
    /// Journal records that were applied to the new build,
    pub records_done: u64,
    /// of so many.
    pub records_total: u64,
    /// Of a verification: rows that differ.
    pub differences: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<ProjectionDifference>,
    /// Why it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A row that says something else than the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectionDifference {
    /// Its table.
    pub table: String,
    /// Its key.
    pub row: String,
    /// What the projection has in the columns that differ; nothing if it has no such row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<serde_json::Value>,
    /// What the log says; nothing if it knows no such row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<serde_json::Value>,
}
