//! Models of the design, small enough to look at every interleaving, or at very many of them. They say whether the *design*
//! holds, not whether the product does what the design says; that is for the product's own tests.
//!
//! | module | what | how |
//! |---|---|---|
//! | [`handover`] | who answers for an account while the dial moves | every interleaving of two fronts, comparator and relay |
//! | [`relay`] | shadow legs in order, at most once, whatever dies | seeded random worlds |
//! | [`search`] | breadth-first search with the shortest way to what is wrong | |
//!
//! Every step and every property names the sentence that it comes from: *Law n* are the Laws of the design, *DESIGN n* its
//! sections, *FORMATS* the document of stored bytes, *decision n* a file in `docs/decisions/`. A closed list of mistakes per
//! model can be planted; the tests see to it that each is found, and that nothing is found without them. Some of those
//! mistakes the product makes today: their documentation says so.
//!
//! This crate knows none of ours.

pub mod handover;
pub mod relay;
pub mod search;
