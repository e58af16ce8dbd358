//! The legacy over HTTP: every rule, every kind of bad input, every fault, and what survives a restart.
//!
//! With `CROSSFADE_TRIAL_LEGACY=postgres` it keeps everything in PostgreSQL, each one in a database of its own on the
//! server that `CROSSFADE_DATABASE_URL` names; else in a file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounts;
mod bad_input;
mod client;
mod database;
mod every_time;
mod faults;
mod idempotency;
mod postgres;
mod reads;
mod refunds;
mod restart;
mod transactions;
