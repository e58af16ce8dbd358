//! Tests of the ledger, one module per question. All of them run real shards on a real embedded log.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod absent;
mod crashes;
mod dead_letters;
mod faulty;
mod legs;
mod operations;
mod reads;
mod rivals;
mod snapshots;
mod standby;
mod stops;
mod support;
mod timeline;
