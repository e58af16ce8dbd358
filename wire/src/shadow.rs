//! `cutover.shadows`: the relay's chained record of every shadow leg.

use crate::chain::Chained;
use crate::exchange::Header;
use crate::ids::ExchangeNumber;
use crate::scalar::{Body, Digest, Timestamp};
use crate::stored::Stored;
use crate::words::{Class, Mode, Single, System};
use serde::{Deserialize, Serialize};

/// The topic.
pub const TOPIC: &str = "cutover.shadows";

/// One step of the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowRecord {
    /// The digest of the record before it.
    pub parent: Digest,
    /// When the relay wrote it.
    pub at: Timestamp,
    /// What it did.
    pub body: ShadowBody,
}

impl Stored for ShadowRecord {
    const TYPE: u16 = 0x0102;
    const VERSION: u16 = 1;
}

impl Chained for ShadowRecord {
    fn parent(&self) -> Digest {
        self.parent
    }
}

/// What the relay did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShadowBody {
    /// A leg is about to be sent.
    Sending {
        /// The exchange.
        exchange: ExchangeNumber,
        /// The system it goes to.
        system: System,
        /// How it is to be executed.
        mode: Mode,
        /// 1 for the first offer.
        attempt: u32,
    },
    /// What came back.
    Result(LegResult),
    /// There is no leg for this exchange, by rule.
    Skipped {
        /// The exchange.
        exchange: ExchangeNumber,
        /// The rule.
        reason: Single,
    },
    /// The authority's effect is unknown: the relay asks.
    Asking {
        /// The exchange.
        exchange: ExchangeNumber,
    },
    /// What the authority did, found out afterwards. The exchange takes its place in the order here.
    Resolved(Resolution),
    /// Every exchange whose records all lie before this offset of `cutover.exchanges` is concluded.
    Cursor {
        /// The offset.
        offset: u64,
    },
}

/// What came back from a shadow leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegResult {
    /// The exchange.
    pub exchange: ExchangeNumber,
    /// The system that was asked.
    pub system: System,
    /// How it was to be executed.
    pub mode: Mode,
    /// Which offer this was.
    pub attempt: u32,
    /// What it means.
    pub class: Class,
    /// The status; 0 when there was no whole answer.
    pub status: u16,
    /// The recorded headers of the answer.
    pub headers: Vec<Header>,
    /// The body of the answer.
    pub body: Body,
    /// From the first byte sent to the last byte received, in microseconds.
    pub duration_micros: u64,
    /// Whether the system said that it repeated an earlier answer.
    pub replayed: bool,
    /// Whether the leg ends with it, or will be offered again.
    pub last: bool,
}

/// What the authority turned out to have done with an exchange whose result was unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The exchange.
    pub exchange: ExchangeNumber,
    /// The authority.
    pub system: System,
    /// Applied, refused, or not executed.
    pub class: Class,
    /// The status that the client would have had.
    pub status: u16,
    /// The body that the client would have had; empty when it was not executed.
    pub body: Body,
    /// How it was found out.
    pub by: ResolvedBy,
}

/// How an unknown result was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResolvedBy {
    /// The authority was asked for the idempotency key.
    Key,
    /// The authority was asked for the account.
    Account,
    /// A person said so.
    Person {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
}
