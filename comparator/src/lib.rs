//! comparator.
