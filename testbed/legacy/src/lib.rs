//! testbed-legacy.
