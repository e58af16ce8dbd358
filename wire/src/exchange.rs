//! `cutover.exchanges`: what each front saw, in the order of its journal.

use crate::ids::ExchangeNumber;
use crate::scalar::{Body, Percent, Timestamp};
use crate::stored::{self, DecodeError, Stored};
use crate::words::{Class, Operation, Stage, System};
use serde::{Deserialize, Serialize};

/// The topic.
pub const TOPIC: &str = "cutover.exchanges";

/// One record of a front's journal, shipped as it was written.
///
/// Records of one boot are numbered from 1 without holes; a hole is a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeRecord {
    /// The front that wrote it.
    pub front: String,
    /// The boot of that front.
    pub boot: u64,
    /// Its number in that boot's journal.
    pub sequence: u64,
    /// When the front wrote it, by the front's clock.
    pub at: Timestamp,
    /// What happened.
    pub body: ExchangeBody,
}

impl Stored for ExchangeRecord {
    const TYPE: u16 = 0x0101;
    /// 2: overrides.
    const VERSION: u16 = 2;
    const OLDEST: u16 = 1;
}

impl ExchangeRecord {
    /// The exchange this record belongs to, if it belongs to one.
    pub fn exchange(&self) -> Option<ExchangeNumber> {
        let sequence = match &self.body {
            ExchangeBody::Intent(_) => self.sequence,
            ExchangeBody::Result(result) => result.intent,
            ExchangeBody::Gap { .. }
            | ExchangeBody::Mark { .. }
            | ExchangeBody::Ended { .. }
            | ExchangeBody::Override { .. } => return None,
        };
        Some(ExchangeNumber { front: self.front.clone(), boot: self.boot, sequence })
    }
}

/// What a record begins with: which one it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Head<'a> {
    /// The front that wrote it.
    pub front: &'a str,
    /// The boot of that front.
    pub boot: u64,
    /// Its number in that boot's journal.
    pub sequence: u64,
}

impl<'a> Head<'a> {
    /// Reads the beginning of a stored [`ExchangeRecord`]; what follows may be anything.
    ///
    /// # Errors
    /// [`DecodeError`], when the bytes are another type, a newer version, or do not begin as a record does.
    pub fn of(stored: &'a [u8]) -> Result<Self, DecodeError> {
        let (_, body) = stored::body::<ExchangeRecord>(stored)?;
        let head = postcard::take_from_bytes(body).map_err(|error| DecodeError::Damaged(error.to_string()))?;
        Ok(head.0)
    }
}

/// What a journal record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeBody {
    /// A request is about to be sent to its authority.
    Intent(Intent),
    /// What the authority made of it.
    Result(AuthorityResult),
    /// So many exchanges went on without a record.
    Gap {
        /// How many.
        exchanges: u64,
        /// Why.
        reason: GapReason,
    },
    /// A mark asked for by the comparator: what was open here, was open then.
    Mark {
        /// The id given with the question.
        id: String,
    },
    /// Nothing of this boot follows: its intents without result are unknown.
    Ended {
        /// Whether the front stopped in order, with every exchange finished.
        clean: bool,
    },
    /// An operator of this front overruled the dial to 0 %, or took that back. A boot that begins overruled says so in its
    /// first record; one whose first record says nothing of the kind is not.
    Override {
        /// Whether the front goes by it.
        on: bool,
        /// Why, in the operator's words.
        reason: String,
        /// Since when it is so.
        since: Timestamp,
    },
}

/// Why exchanges went on without a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The journal did not take the record within `journal_wait_ms`.
    Slow,
    /// The journal stood at its bound.
    Full,
    /// The journal could not be written.
    Failed,
}

/// A header as recorded: lower-case name, value.
pub type Header = (String, String);

/// A dual write as it was sent to its authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The name of the configured route.
    pub route: String,
    /// What the route does.
    pub operation: Operation,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The recorded headers (a closed, configured list).
    pub headers: Vec<Header>,
    /// The body, after configured additions (a missing `accountId`).
    pub body: Body,
    /// The tenant that scopes the key; empty when none was named.
    pub tenant: String,
    /// The idempotency key; `None` when the request had none and the front could add none.
    pub key: Option<String>,
    /// The deciding account; `None` when the request does not let it be known.
    pub account: Option<String>,
    /// Every account that the request names or refers to.
    pub accounts: Vec<String>,
    /// The earlier transaction that the request refers to, by the id the client used.
    pub original: Option<String>,
    /// Whose answer is returned.
    pub authority: System,
    /// The stage at that moment.
    pub stage: Stage,
    /// The dial at that moment.
    pub percent: Percent,
    /// The rollout version at that moment.
    pub version: u64,
    /// Whether the accounts named belong to different cohorts.
    pub cross_cohort: bool,
    /// Whether it was sent although a handover of its account was not finished.
    pub overtaken: bool,
}

/// What the authority made of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityResult {
    /// The sequence of the intent.
    pub intent: u64,
    /// What it means; nobody else decides it.
    pub class: Class,
    /// The status; 0 when there was no whole answer.
    pub status: u16,
    /// The recorded headers of the answer.
    pub headers: Vec<Header>,
    /// The body of the answer.
    pub body: Body,
    /// From the first byte sent to the last byte received, in microseconds.
    pub duration_micros: u64,
    /// Whether the authority said that it repeated an earlier answer (`Idempotency-Replayed`).
    pub replayed: bool,
    /// Why there was no whole answer.
    pub failure: Option<String>,
}
