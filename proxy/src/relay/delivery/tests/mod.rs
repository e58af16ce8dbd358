//! Tests of the decisions as a whole: tables of stories, and a seeded random world.

mod doubts;
pub(crate) mod given;
mod legs;
mod moves;
mod order;
mod planted;
mod random;
mod story;
mod unknowns;
mod words;
mod world;
