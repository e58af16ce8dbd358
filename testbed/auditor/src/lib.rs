//! testbed-auditor.
