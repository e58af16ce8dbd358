//! The engine: an event-sourced ledger of N shards behind the billing API.
//!
//! | module | what |
//! |---|---|
//! | [`service`] | opens the data directory and the listeners, runs until told to stop |
//! | [`config`] | the section `[engine]` of the configuration |
//! | [`api`] | the billing API over HTTP |
//! | [`ledger`] | the shards behind one handle: submit a command, wait for its answer, read linearizably |
//! | [`shard`] | decides on commands and appends outcomes; which outcomes count |
//! | `snapshot` | what outcomes add up to, written down so that a restart need not read them all |
//! | [`view`] | the read model in memory: a fold of the accepted outcomes |
//! | [`bench`] | how fast this machine decides |
//! | [`analytics`] | figures per day, week and month |
//! | [`codec`] | between the domain's types and their stored form |
//! | [`dead_letters`] | keeps what could not be processed |
//! | [`postgres`] | projections in PostgreSQL, for queries that look back |
//! | [`publisher`] | publishes what was decided, for others, in a Kafka cluster |
//! | [`planted`] | mistakes that simulations plant, to see that they are found |
//! | [`metrics`] | the names of what is measured |
//!
//! Invariants
//! - Nothing is true until it is accepted: an answer, a follow-up, a line in the view come from outcomes that were
//!   appended, read back, and extend the chain of their shard ([`shard::acceptance`]).
//! - A restart is a fold of the journal, from its beginning or from a snapshot that the journal bears out.
//! - Every command gets exactly one outcome. What a program does not know stops it; it skips nothing.
//!
//! This crate must never know what a cutover is: a leg is a command with a mode.

pub mod analytics;
pub mod api;
pub mod bench;
pub mod codec;
pub mod config;
pub mod dead_letters;
pub mod ledger;
pub mod metrics;
pub mod planted;
pub mod postgres;
pub mod publisher;
pub mod service;
pub mod shard;
mod snapshot;
pub mod view;

pub use config::Config;
pub use publisher::registry;
pub use service::{Bound, Cluster, Error, GROUPS, bind, check, topic_specs};
