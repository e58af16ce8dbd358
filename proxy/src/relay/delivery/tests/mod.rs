//! Tests of the decisions as a whole: tables of stories, and a seeded random world.

pub(crate) mod given;
mod legs;
mod moves;
mod random;
mod story;
mod unknowns;
mod world;
