//! Rules of this repository as tests; see `tests/tidy.rs`.
