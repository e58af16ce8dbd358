//! Tests of the relay over real sockets, with small systems around it.

mod bench;
mod faults;
mod ingest;
mod legs;
mod log;
mod rig;
mod start;
mod systems;
mod unknowns;
