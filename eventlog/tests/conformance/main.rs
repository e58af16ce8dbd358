//! What every backend of the log has to do, written against `dyn Log`; and what only the embedded and the simulated one promise.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod embedded;
mod simulated;
#[macro_use]
mod suite;

conforms! { on_redb, crate::embedded::Bed }
conforms! { in_a_simulation, crate::simulated::Calm }
conforms! { in_a_slow_simulation, crate::simulated::Slow }
