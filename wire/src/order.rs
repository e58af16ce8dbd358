//! `cutover.order`: in which order the records of the other topics of the cutover are taken together.
//!
//! The log's times do not say it: each topic has its own clock, and a record may become visible long after its time.
//! So the comparator writes down how far it sees each topic, reads that back, and folds up to there. Whoever folds
//! later follows the same marks.

use crate::stored::Stored;
use serde::{Deserialize, Serialize};

/// The topic; one partition.
pub const TOPIC: &str = "cutover.order";

/// How far each topic is to be folded before anything behind it: per topic the offset behind the last record.
///
/// Between two marks, records are taken in the order of their times, those of one time in the order of these fields,
/// and what the relay says of an exchange not before the authority's result of it, if that stands before the mark. Of
/// a mark that lies behind an earlier one in some topic, only what goes beyond counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderMark {
    /// Of `cutover.exchanges`.
    pub exchanges: u64,
    /// Of `cutover.shadows`.
    pub shadows: u64,
    /// Of `cutover.rollout`.
    pub rollout: u64,
    /// Of `cutover.decisions`.
    pub decisions: u64,
}

impl Stored for OrderMark {
    const TYPE: u16 = 0x0105;
    const VERSION: u16 = 1;
}
