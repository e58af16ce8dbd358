//! Tests of the domain, one module per question. All of them drive shards through [`cluster`], which checks after
//! every single outcome what has to hold always.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod accounts;
mod cluster;
mod compensation;
mod histories;
mod keys;
mod matrix;
mod modes;
mod rejections;
mod repeats;
mod speed;
