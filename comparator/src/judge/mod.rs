//! Judging: what two legs of one exchange say about the two systems. Pure: no clock, no I/O, no float.
//!
//! | module | what |
//! |---|---|
//! | [`normalize`] | the bytes of an answer → what is compared of it |
//! | [`diff`] | two answers → the fields in which they differ |
//! | [`rules`] | differences that are hidden, why, and by whom |
//! | [`overlap`] | did two exchanges run at the same time in either system? |
//! | [`offsets`] | the offset between the systems that discrepancies explain, per account |
//! | [`levels`] | balances before and after, where they say something |
//! | [`verdict`] | all of it → a verdict, or the wish to ask the histories first |
//!
//! Invariants: bad input is a verdict, never an `Err`; the same case gives the same opinion; a difference is either
//! explained by an open discrepancy, put off because it cannot be seen yet, or a discrepancy of its own.
//! This module must never know where an exchange comes from or what happens to a verdict.

#[cfg(test)]
mod cases;
pub mod diff;
mod levels;
pub mod normalize;
pub mod offsets;
pub mod overlap;
pub mod rules;
pub mod verdict;

use wire::scalar::Money;

/// `left` less `right`, exact; amounts of the grammar stay far from the bounds of the type.
pub fn less(left: Money, right: Money) -> Money {
    Money(left.0.saturating_sub(right.0))
}

/// The sum, exact; see [`less`].
pub fn plus(left: Money, right: Money) -> Money {
    Money(left.0.saturating_add(right.0))
}
