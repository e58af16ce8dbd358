//! The engine in a simulated world: the production code of several processes on one thread, on a log whose faults come from
//! a seed, with a clock that jumps to whatever is awaited next.
//!
//! | module | what |
//! |---|---|
//! | [`world`] | one seed from its beginning to its end |
//! | [`shape`] | how large the world of a seed is, and what goes wrong in it |
//! | [`process`] | an engine that is started, paused, killed, and asked |
//! | [`clients`], [`asks`] | who asks, and what for; what they were told is compared |
//! | [`chaos`] | what happens to processes, duties and clocks |
//! | [`checks`], [`history`] | what must hold at the end: of the log, of every process, of all answers |
//! | [`fired`] | how often what went wrong |
//! | [`many`] | the worlds of many seeds |
//! | [`planted`] | mistakes planted into the engine |
//!
//! Invariants: everything that happens is a function of the seed, in every process that runs it. Nothing here decides about
//! money or about which records count, but for [`history`], which does it a second time to compare.
//!
//! This crate must never know how the engine comes to its answers: it starts it, asks it, and reads its log.

pub mod asks;
pub mod chaos;
pub mod checks;
pub mod clients;
pub mod fired;
pub mod history;
pub mod many;
pub mod planted;
pub mod process;
pub mod shape;
pub mod world;

pub use fired::{Fired, What};
pub use planted::Mistake;
pub use world::{Ran, run};
