//! The machine a part runs on: network, disk, clock, tasks, randomness.
//!
//! Every other crate reaches the outside world through one of these modules
//! and nowhere else (`testbed/tidy` enforces it), so that the real front,
//! relay, engine and comparator can be put into a simulated world by
//! exchanging this crate's insides.
//!
//! | module | what it stands for |
//! |---|---|
//! | [`clock`] | wall clock, monotonic clock, sleeping, deadlines |
//! | [`disk`] | files, directories, fsync, the lock on a data directory |
//! | [`net`] | TCP listeners and connections |
//! | [`task`] | spawning, threads, orderly shutdown |
//! | [`watched`] | values that many wait for |
//! | [`moment`] | where trials have a process die |
//! | [`random`] | ids and nonces |
//! | [`http`] | HTTP/1.1 over [`net`]: the accept loop and a client |
//! | [`ops`] | `/metrics`, `/healthz`, `/readyz` of a part |
//! | [`postgres`] | addresses of databases |
//! | `simulated` | ids and the wall clock of a simulation (feature `simulated`) |
//! | [`secret`] | tokens and passwords, from environment or file, never printed |
//!
//! This crate must never know what billing, a rollout or a ledger is.

pub mod clock;
pub mod disk;
pub mod http;
pub mod moment;
pub mod net;
pub mod ops;
pub mod postgres;
pub mod random;
pub mod secret;
#[cfg(feature = "simulated")]
pub mod simulated;
pub mod task;
pub mod watched;
