//! The load generator: clients that know nothing of a cutover, and watch what they are told.
//!
//! | module | what |
//! |---|---|
//! | [`workload`] | seeded requests: hot accounts, retries, duplicates, refusals, refunds |
//! | [`call`] | one request, and how it is sent |
//! | [`runner`] | sends a workload, open or closed loop, and shows the auditor what came back |
//! | [`report`] | live counters, latencies, the final report |
//! | [`bank`], [`replay`] | a real bank's year as requests; its replay, in order per account, against predictions |
//! | [`seed`] | a large ledger, made quickly |
//! | [`system`] | what a system shows afterwards: balances, transactions, the state of a key |
//!
//! Invariants:
//! - Latencies count from the moment a request was due, not from the moment it could be sent: a system that stalls
//!   cannot hide it (no coordinated omission).
//! - The same seed asks the same, as far as the answers are the same.
//!
//! This crate must never know what answers: a legacy, an engine, or a front.

pub mod bank;
pub mod call;
pub mod replay;
pub mod report;
pub mod runner;
pub mod seed;
pub mod system;
pub mod workload;
