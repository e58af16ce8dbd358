//! Snapshots: what a shard's accepted outcomes add up to, written down now and then, so that a restart need not read all.
//!
//! | module | what |
//! |---|---|
//! | [`fold`] | a shard and its view, as a fold of the journal from its beginning or from a snapshot |
//! | [`keeper`] | says when it is time, for the shards that this process decides on |
//! | [`write`] | writes a generation, and takes old ones away |
//! | [`load`] | finds the newest generation that can be trusted |
//! | [`entries`] | a shard and its view as entries, and back |
//!
//! Invariants: a generation is made by a fold of its own, which knows accepted outcomes only, whatever the owner has decided
//! meanwhile. It is believed if all its parts are there, its sums are right, and the journal has the outcome that it names;
//! else the one before is, and in the end the journal alone. So a snapshot saves time and decides nothing.

mod entries;
pub(crate) mod fold;
pub(crate) mod keeper;
pub(crate) mod load;
pub(crate) mod write;
