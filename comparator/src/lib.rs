//! The comparator: says whether the two systems agree, and turns the dial.
//!
//! | module | what |
//! |---|---|
//! | [`judge`] | pure: two legs of an exchange in, a verdict out |
//! | [`index`] | pure: the fold of the four cutover topics: exchanges, verdicts, discrepancies, accounts |
//! | [`merge`] | takes the four topics together, in the one order that `cutover.order` says |
//! | [`ingest`] | follows the topics, keeps the index, says when it has caught up |
//! | [`chain`] | a chained topic as its writer sees it: append, read back, believe what was read back |
//! | [`rollout`] | the dial: gates, moves, both phases of the handover |
//! | [`stream`] | the fronts that listen to the dial, and the marks they are asked for |
//! | [`marks`] | asks every front for a mark and waits until the index has seen it |
//! | [`decisions`] | the chain of findings, reconciliations and settlements |
//! | [`inquiry`] | asks both systems for the keys on some accounts, and writes down what was found |
//! | [`reconcile`] | compares the balances of all accounts |
//! | [`systems`] | reads the two systems: accounts in order, histories |
//! | [`audit`] | verifies the chains from their first record on |
//! | [`api`] | the control API, its tokens and its document |
//! | [`metrics`] | names and meanings of the metrics |
//! | [`config`], [`service`] | what is configured; binding and running |
//!
//! Invariants:
//! - A verdict is a function of log records and their times only, so a rebuilt index says the same.
//! - A change of the dial is true once it was read back from the log, and not before; of two records that extend
//!   one chain the first wins, and the loser is told so (409).
//! - The dial goes up on evidence: while the index has not caught up, every gate is closed. It goes down always.
//! - Nothing here is on the way of a client's request.
//!
//! This crate must never know how a front routes, how the relay delivers, or how either system decides.

pub mod api;
pub mod audit;
pub mod chain;
pub mod config;
pub mod decisions;
pub mod index;
pub mod ingest;
pub mod inquiry;
pub mod judge;
pub mod marks;
pub mod merge;
pub mod metrics;
pub mod reconcile;
pub mod rollout;
pub mod service;
pub mod stream;
pub mod systems;

pub use config::Config;
pub use service::{Bound, Error, bind};
