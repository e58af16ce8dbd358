//! The comparator over real sockets, with an embedded log, and systems, fronts and a relay made for the test.

// A test that cannot set itself up fails where it stands.
#![allow(clippy::unwrap_used)]

mod audit;
mod dial;
mod document;
mod front;
mod handover;
mod inquiry;
mod meddler;
mod permissions;
mod pins;
mod reconcile;
mod stream;
mod system;
mod traffic;
mod world;
