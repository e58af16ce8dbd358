//! Everything that runs against real services: Kafka with three brokers, PostgreSQL.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test may stop where it stands")]

#[macro_use]
#[path = "../../../../eventlog/tests/conformance/suite.rs"]
mod suite;
mod acls;
mod appends;
mod conformance;
mod database;
mod database_faults;
mod feed;
mod projections;
mod read_models;
mod security;
mod topics;
mod verification;
