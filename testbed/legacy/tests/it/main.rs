//! The legacy over HTTP: every rule, every kind of bad input, every fault, and what survives a restart.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounts;
mod bad_input;
mod client;
mod faults;
mod idempotency;
mod reads;
mod refunds;
mod restart;
mod transactions;
