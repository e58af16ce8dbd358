//! The front, which clients talk to, and the relay, which brings the shadow legs of what they did to the other
//! system.
//!
//! | module | what |
//! |---|---|
//! | [`front`] | answers clients from the authority and writes down what happened |
//! | [`relay`] | takes the fronts' journals into the log and delivers the shadow legs |
//! | [`routes`] | pure: which request goes where, and which account decides |
//! | [`journal`] | the front's record of exchanges on its own disk |
//! | [`json`] | pure: finds and replaces values in a JSON text without touching the rest |
//! | [`metrics`] | names and meanings of what both export |
//! | `planted` | mistakes that trials plant, to see that they are found |
//!
//! Invariants: a client's answer never waits for the relay, the log, the comparator or the shadow system, except
//! in a handover and for at most its time; a request is sent to its authority once, after its intent stands in
//! the journal; a journal record leaves this machine in order and is kept until the log has it.
//!
//! This crate must never know what a transaction means: it knows accounts, keys, ids and statuses, no money.

/// A body or an answer is recorded up to this length: a topic of the log takes records of 8 MiB, and this leaves room for
/// the headers around it.
pub(crate) const MAX_RECORDED_BYTES: usize = 7 * 1024 * 1024;

pub mod front;
pub mod journal;
pub mod json;
pub mod metrics;
mod planted;
pub mod relay;
pub mod routes;
