//! The billing API over HTTP, against a real engine on an embedded log. One binary, because each costs a link.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod analytics;
mod answers;
mod bad_input;
mod batch;
mod control;
mod keys;
mod legs;
mod reads;
mod refusals;
mod service;
mod support;
