//! What stands in the two topics.

use super::ledger::{Account, Answer, Key, Mode, Operation};

/// An exchange, by the front that took it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    /// The front.
    pub front: usize,
    /// Its number; it goes on over restarts.
    pub sequence: u32,
}

/// What was sent to the authority.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The client's key.
    pub key: Key,
    /// What it asked for; a refund by the id that the client used.
    pub operation: Operation,
    /// The accounts that it names, or that the original had.
    pub accounts: Vec<Account>,
}

/// A record of `cutover.exchanges`.
#[derive(Debug, Clone)]
pub enum ExchangeBody {
    /// "append the **intent** to the journal".
    Intent(Number, Intent),
    /// "append the **result**"; `None` is unknown.
    Result(Number, Option<Answer>),
    /// A boot has ended: what of it has no result is unknown.
    Ended {
        /// The front.
        front: usize,
    },
}

/// A record of `cutover.shadows`.
#[derive(Debug, Clone)]
pub enum ShadowBody {
    /// "`sending` is read back as accepted in `cutover.shadows` before the first byte".
    Sending {
        /// Whose leg.
        number: Number,
        /// How it is executed.
        mode: Mode,
        /// Which offer of it.
        attempt: u32,
    },
    /// What the leg brought back; not the last one if it is offered again.
    Result {
        /// Whose leg.
        number: Number,
        /// The refusal, if it was one.
        answer: Answer,
        /// Nothing follows.
        last: bool,
    },
    /// There is no leg.
    Skipped {
        /// Whose.
        number: Number,
    },
    /// The authority is asked.
    Asking {
        /// About what.
        number: Number,
    },
    /// What the authority made of it; `None`: it was not executed.
    Resolved {
        /// Of what.
        number: Number,
        /// What is known under its key.
        answer: Option<Answer>,
    },
    /// Nobody can find out what became of a leg: "resolved, or a person".
    Person {
        /// Whose leg.
        number: Number,
    },
}

impl ShadowBody {
    /// Which exchange it is about.
    pub fn number(&self) -> Number {
        match *self {
            ShadowBody::Sending { number, .. }
            | ShadowBody::Result { number, .. }
            | ShadowBody::Skipped { number }
            | ShadowBody::Asking { number }
            | ShadowBody::Resolved { number, .. }
            | ShadowBody::Person { number } => number,
        }
    }
}

/// A record in a topic, with times in milliseconds.
#[derive(Debug, Clone)]
pub struct Stored<B> {
    /// When the log took it.
    pub at: i64,
    /// When it was written, by the clock of whoever wrote it.
    pub written: i64,
    /// Who wrote it: the number of a front, or of a relay's process.
    pub by: u32,
    /// The record.
    pub body: B,
}

/// Both topics.
#[derive(Debug, Default)]
pub struct Topics {
    /// `cutover.exchanges`.
    pub exchanges: Vec<Stored<ExchangeBody>>,
    /// `cutover.shadows`.
    pub shadows: Vec<Stored<ShadowBody>>,
}
