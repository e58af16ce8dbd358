//! Projections in PostgreSQL: tables that are made from the accepted outcomes, for queries that look back.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the section `[postgres]`, and what every connection is set to |
//! | [`store`] | the database: connecting and migrating |
//! | [`generations`] | builds of projections, which of them is shown, and their checkpoints |
//! | [`balances`] | the projection `balance`: how accounts stand and stood |
//! | [`history`] | the projection `history`: transactions, and what became of them per day |
//! | [`queries`] | what is asked of both |
//! | [`time`] | points in time as the database keeps them |
//! | [`part`] | one shard of a projection: applies what was accepted |
//! | [`projector`] | follows the journals into what is live |
//! | [`projections`] | what is asked of them |
//! | [`building`] | builds a projection anew beside the live one: to take its place, or to compare them |
//! | [`jobs`] | builds that somebody asked for, and what came of them |
//! | [`unverified`] | accounts about which a projection cannot be asked |
//! | [`mismatches`] | how many rows are known to be wrong |
//! | [`sampling`] | compares samples with what is in memory, all the time |
//!
//! Invariants: a batch and its checkpoint are one transaction, and a checkpoint moves only from where its projector
//! believes it to be: however many processes project one shard, every outcome is applied once, in order. Nothing here is
//! the truth; all of it can be made again from the journal.

pub mod balances;
pub mod building;
mod config;
pub mod generations;
pub mod history;
pub mod jobs;
pub(crate) mod mismatches;
mod part;
pub mod projections;
pub mod projector;
mod queries;
pub(crate) mod sampling;
pub mod store;
mod time;
mod unverified;

pub use config::Config;
pub use store::{Error, Store};
