//! Tests of the ledger, one module per question. All of them run real shards on a real embedded log.

mod crashes;
mod faulty;
mod operations;
mod reads;
mod rivals;
mod stops;
mod support;
