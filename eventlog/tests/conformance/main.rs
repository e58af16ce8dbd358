//! What every backend of the log has to do, written against `dyn Log`; and what only the embedded one promises.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod embedded;
#[macro_use]
mod suite;

conforms! { on_redb, crate::embedded::Bed }
