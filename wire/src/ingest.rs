//! Frames between a front and the relay: a 32-bit length (little endian), then one stored record.

use crate::scalar::{Body, Timestamp};
use crate::stored::Stored;
use serde::{Deserialize, Serialize};

/// A frame longer than this is refused: no record comes near it, so the stream is not ours.
pub const MAX_FRAME_BYTES: u32 = 64 * 1024 * 1024;

/// A frame in either direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IngestFrame {
    /// Front → relay, first: who speaks.
    Hello {
        /// The front.
        front: String,
        /// The boot whose journal is shipped.
        boot: u64,
        /// Drawn when the boot began: tells two processes apart that use the same name and number.
        instance: u64,
        /// The service token.
        token: String,
    },
    /// Relay → front, in reply: the last sequence of that boot that is durable, 0 when none is.
    Welcome {
        /// The sequence.
        durable: u64,
    },
    /// Relay → front, in reply: not taken; the connection closes.
    Refused {
        /// Why.
        reason: String,
    },
    /// Front → relay: journal records in order, each a stored `ExchangeRecord`; repeats are dropped by number.
    Records {
        /// The stored bytes.
        records: Vec<Body>,
    },
    /// Front → relay, every 100 ms: everything written before `at` has been sent.
    Heartbeat {
        /// By the front's clock.
        at: Timestamp,
        /// The last sequence sent.
        sequence: u64,
    },
    /// Relay → front: everything up to this sequence is durable in the log.
    Ack {
        /// The sequence.
        durable: u64,
    },
}

impl Stored for IngestFrame {
    const TYPE: u16 = 0x0201;
    const VERSION: u16 = 1;
}
