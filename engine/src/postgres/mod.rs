//! Projections in PostgreSQL: tables that are made from the accepted outcomes, for queries that look back.
//!
//! | module | what |
//! |---|---|
//! | [`store`] | the database: connecting, migrating, generations and checkpoints |
//! | [`balances`] | the projection `balance`: how accounts stand and stood |
//! | [`history`] | the projection `history`: transactions, and what became of them per day |
//! | [`queries`] | what is asked of both |
//! | [`time`] | points in time as the database keeps them |
//! | [`projector`] | follows the journals and applies what was accepted |
//!
//! Invariants: a batch and its checkpoint are one transaction, and a checkpoint moves only from where its projector
//! believes it to be: however many processes project one shard, every outcome is applied once, in order. Nothing here is
//! the truth; all of it can be made again from the journal.

pub mod balances;
pub mod history;
pub mod projector;
mod queries;
pub mod store;
mod time;

pub use store::{Config, Error, Store};
