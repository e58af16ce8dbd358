//! A shard: decides on its commands, one outcome each, in its own journal partition.
//!
//! | module | what |
//! |---|---|
//! | [`acceptance`] | which records of the journal count |
//! | [`reader`] | reads a journal partition and passes on what counts |
//! | [`owner`] | decides on commands and appends outcomes |
//! | [`pipeline`] | outcomes on their way: decided, handed to the log, not read back yet |
//! | [`round`] | speculative outcomes, and what became of them |
//! | [`follow_up`] | sends follow-ups of accepted outcomes to other shards, and asks again |
//! | [`health`] | says which shards cannot go on, and why |
//!
//! Invariants: nothing is told or sent before the outcome it follows from was read back as accepted; the state is
//! a fold of accepted outcomes and of this owner's own drafts behind them; a restart is a fold of
//! the journal.

pub mod acceptance;
pub(crate) mod follow_up;
pub(crate) mod health;
pub(crate) mod owner;
mod pipeline;
pub(crate) mod reader;
pub(crate) mod round;

pub(crate) use round::operation;
