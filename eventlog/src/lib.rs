//! The log: topics of partitions of records, appended durably, read from an offset, tailed.
//!
//! | module | what |
//! |---|---|
//! | [`port`] | the [`Log`] port and its types |
//! | [`embedded`] | a log in one file (redb) for one process, with group commit |
//! | `kafka` | a log in a Kafka cluster (feature `kafka`) |
//! | [`once`] | appends that happen once per key and that nobody waits for |
//! | [`place`] | where a log is, for a part that starts before the log can be used |
//! | `serve` | a log over HTTP, for the processes that own one (feature `serve`) |
//! | `simulated` | a log in memory whose faults come from a seed (feature `simulated`) |
//! | [`metrics`] | the names of what this crate measures |
//!
//! Invariants: an append is answered only when it is durable, or as *unknown*; offsets of a partition are
//! contiguous from 0; a reader sees a record only once it is durable. This crate must never know what a record
//! means.

pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod metrics;
pub mod once;
pub mod place;
pub mod port;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "simulated")]
pub mod simulated;

pub use embedded::{Counters, EmbeddedLog, OpenError};
pub use once::Once;
pub use place::{Place, Unusable};
pub use port::{AppendError, BoxFuture, Log, NewRecord, ReadError, Record, Tail};
