//! testbed-loadgen.
