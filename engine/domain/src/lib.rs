//! The billing domain: a shard decides on commands, and evolves by the events of its decisions.
//!
//! [`decide`] looks at a [`Shard`] and a [`Command`] and says what happened, what is to be sent to other shards and
//! what whoever waits is to be told; [`evolve`] applies what happened. Both are total: bad input is a [`Rejection`],
//! never an error; only a broken history stops a shard.
//!
//! | module | what |
//! |---|---|
//! | [`command`] | what a shard is asked to do |
//! | [`decide`](mod@decide) | the rules: from state and command to a decision |
//! | [`event`] | what happened |
//! | [`evolve`](mod@evolve) | what an event does to a shard |
//! | [`outcome`] | a decision with its envelope, as the journal keeps it |
//! | [`shard`] | the state, and how to go back to an earlier one |
//! | [`image`] | the state, to be written down and to begin from |
//! | [`saga`] | what takes more than one shard |
//! | [`account`], [`transaction`] | what a shard keeps of each |
//! | [`rejection`] | why a request is refused |
//! | [`money`], [`ids`] | values |
//! | [`planted`] | mistakes that simulations plant, to see that they are found |
//!
//! Invariants
//! - Per currency the movements of every decision sum to zero: what waits for another shard is posted against this
//!   shard's in-transit account. Over all shards, in-transit is zero when no saga is under way.
//! - A USER's available balance never falls below zero, unless a leg is forced.
//! - One key has one effect. Undoing is never refused. An account that a saga may come back to cannot be closed.
//! - For a sequential history status, codes, amounts and balances do not depend on the number of shards.
//!
//! This crate must never know what time it is, who runs it, how anything is stored or sent, or what a float is. Its
//! own `clippy.toml` enforces that.

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::float_arithmetic, clippy::iter_over_hash_type)]

pub mod account;
pub mod command;
pub mod decide;
pub mod event;
pub mod evolve;
pub mod ids;
pub mod image;
pub mod money;
pub mod outcome;
pub mod planted;
pub mod rejection;
pub mod saga;
pub mod shard;
pub mod transaction;

pub use account::{Account, AccountType, Limits, Status};
pub use command::{Body, Command, Mode};
pub use decide::decide;
pub use event::Event;
pub use evolve::evolve;
pub use ids::{AccountId, CommandId, Currency, Position, SagaId, Text, Timestamp, TransactionId};
pub use image::Image;
pub use money::{Amount, Money};
pub use outcome::{Answer, Decision, FEATURE, FollowUp, Outcome};
pub use rejection::Rejection;
pub use shard::{Mark, Shard};
pub use transaction::{Content, Fate, Kind, Remembered};
