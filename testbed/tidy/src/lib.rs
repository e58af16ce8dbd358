//! testbed-tidy.
