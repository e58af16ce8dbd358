//! testbed-e2e.
