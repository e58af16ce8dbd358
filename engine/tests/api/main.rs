//! The billing API over HTTP, against a real engine on an embedded log. One binary, because each costs a link.

mod answers;
mod bad_input;
mod control;
mod keys;
mod legs;
mod reads;
mod refusals;
mod service;
mod support;
