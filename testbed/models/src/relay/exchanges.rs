//! An exchange as the relay knows it, its shadow leg, and what there is to do for them.

use super::ledger::{Account, Answer, BANK, Id, Key, Mode, Operation, Refusal};
use super::places::Place;
use super::records::{Intent, Number, ShadowBody};
use std::collections::BTreeSet;

/// How long a request may run at a system at most: "its longest request and statement time-outs".
pub const LONGEST_MS: i64 = 2_000;
/// How long after the record that announces it a leg may be sent to a system that does not deduplicate.
pub const FRESH_MS: i64 = 500;
/// "past its completion + 1 s".
pub const REOFFER_MS: i64 = 1_000;
/// How often the authority must have nothing: "*absent* counts only after …, asked again".
pub(super) const ABSENT_TIMES: u32 = 2;
/// Between two questions, and before a leg is sent again.
pub(super) const AGAIN_MS: i64 = 100;

/// An exchange.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What was sent to the authority.
    pub intent: Intent,
    /// Every account that it is known to touch.
    pub accounts: BTreeSet<Account>,
    /// The offset of its intent.
    pub began: usize,
    /// When that stood in the log.
    pub(super) began_at: i64,
    /// When the front wrote it, by its clock.
    pub written: i64,
    /// When it stood in the log that nobody knows.
    pub(super) unknown_at: i64,
    /// What the authority made of it.
    pub decided: Option<Decided>,
    /// Where it stands.
    pub phase: Phase,
}

/// What the authority made of a request.
#[derive(Debug, Clone, Copy)]
pub struct Decided {
    /// When that stood in the log.
    pub at: i64,
    /// Its place among the legs.
    pub place: Place,
    /// Where it stands in its topic: `cutover.shadows` if it was found out by asking, else `cutover.exchanges`.
    pub offset: usize,
    /// `None`: it was not executed.
    pub answer: Option<Answer>,
    /// It was found out by asking.
    pub resolved: bool,
}

/// Where an exchange stands.
#[derive(Debug, Clone)]
pub enum Phase {
    /// No result.
    Open,
    /// A result that says nothing, or never one.
    Unknown(Inquiry),
    /// A repeated answer that waits for the one it repeats.
    Waits,
    /// There is no leg, once the leg of this one is announced.
    Skip(Option<Number>),
    /// There is one.
    Leg(Leg),
    /// It is concluded; what the leg said, if there was one.
    Done(Option<Answer>),
    /// A person has to see to it.
    Person,
}

/// How far an unknown result was inquired into.
#[derive(Debug, Clone, Default)]
pub struct Inquiry {
    pub(super) begun: bool,
    pub(super) absent: u32,
    pub(super) not_before: i64,
    /// What is to be written down.
    pub(super) found: Option<Option<Answer>>,
}

/// A shadow leg.
#[derive(Debug, Clone)]
pub struct Leg {
    /// How it is executed.
    pub mode: Mode,
    /// Offers so far.
    pub attempt: u32,
    /// Where it stands.
    pub step: Step,
    /// When the record that announces it stood in the log.
    pub(super) sending_at: i64,
    /// When it was first refused for a reason of state, and why it was last.
    pub(super) refusal: Option<(i64, Refusal)>,
}

/// Where a leg stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// In its lanes.
    Waiting,
    /// The record was appended by this process.
    Announced,
    /// It may be sent.
    Due,
    /// It was sent; whether the record that announces it is there.
    Sent {
        /// It is, without the mistake.
        announced: bool,
    },
    /// It will be sent again.
    Pausing(i64),
    /// It was begun at a system that does not deduplicate: it is asked.
    InDoubt {
        /// How often it had nothing.
        absent: u32,
        /// When it is asked next.
        not_before: i64,
    },
    /// What it brought back is to be written down.
    Answered(Answer),
    /// Refused for a reason of state, and out of its lanes.
    Parked,
    /// Nobody can tell.
    Lost,
}

/// Something to do.
#[derive(Debug, Clone)]
pub enum Todo {
    /// Read the next record of `cutover.exchanges`.
    ReadExchange,
    /// Read the next record of `cutover.shadows`.
    ReadShadow,
    /// Append to `cutover.shadows`.
    Append(ShadowBody),
    /// Send a leg.
    Send(Number, Request),
    /// Ask the authority for a key.
    Ask(Number, Key),
    /// Ask the shadow for a key.
    AskShadow(Number, Key),
    /// Look at a refused leg again.
    Settle(Number),
}

/// A leg as it goes out.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The key.
    pub key: Key,
    /// What is asked for, with ids that the target knows.
    pub operation: Operation,
    /// The mode.
    pub mode: Mode,
    /// The transaction's id at the authority.
    pub alias: Option<Id>,
    /// The offer.
    pub attempt: u32,
}

impl Exchange {
    /// Its accounts with limits: "limited accounts" are those that order matters for.
    pub fn limited(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter().filter(|account| **account != BANK)
    }

    /// Whether it has a leg that is not out of its lanes.
    pub fn in_lanes(&self) -> bool {
        matches!(&self.phase, Phase::Leg(leg) if leg.step != Step::Parked)
    }
}

impl Leg {
    /// One that waits.
    pub fn new(mode: Mode) -> Self {
        Self { mode, attempt: 0, step: Step::Waiting, sending_at: 0, refusal: None }
    }

    /// Whether it holds its lanes.
    pub fn is_running(&self) -> bool {
        !matches!(self.step, Step::Waiting | Step::Parked)
    }
}
