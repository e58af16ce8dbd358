//! The front as a whole, on real sockets: between clients, two systems, a relay and a comparator that these tests
//! play, with a journal on a real disk.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "front/support/mod.rs"]
mod support;

#[path = "front/crash.rs"]
mod crash;
#[path = "front/exchanges.rs"]
mod exchanges;
#[path = "front/full_disk.rs"]
mod full_disk;
#[path = "front/golden.rs"]
mod golden;
#[path = "front/handover.rs"]
mod handover;
#[path = "front/handover_table.rs"]
mod handover_table;
#[path = "front/journal.rs"]
mod journal;
#[path = "front/overrule.rs"]
mod overrule;
#[path = "front/refunds.rs"]
mod refunds;
#[path = "front/refusals.rs"]
mod refusals;
#[path = "front/restart.rs"]
mod restart;
#[path = "front/rollout.rs"]
mod rollout;
#[path = "front/routes.rs"]
mod routes;
#[path = "front/shipping.rs"]
mod shipping;
