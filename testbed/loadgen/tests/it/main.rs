//! The load generator and the auditor against a real legacy: a clean one must be found clean, and every fault of a
//! faulty one must be found, by name.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "what is not tested is said loudly")]

mod bank;
mod faulty;
mod legacy;
mod load;
mod once;
