//! The auditor: a ledger of its own, written against the contract only, that says what should have happened.
//!
//! | module | what |
//! |---|---|
//! | [`money`] | exact amounts: hundred-millionths in an `i128` |
//! | [`request`], [`answer`] | what was asked and what was answered, read from the bytes on the wire |
//! | [`predict`] | one request after the other: what the answer must be |
//! | [`observe`], [`effect`] | many at once, with retries: what all answers together may say |
//! | [`verify`] | the end: balances, lists and chains against what was answered |
//!
//! Invariants:
//! - It never asks a system anything; whoever uses it shows it requests, answers and balances.
//! - What is wrong is said in words, naming tenant, account and key; nothing wrong is an empty list.
//!
//! This crate must never know any other crate of the workspace: a rule that both got wrong would be found by nobody.

pub mod answer;
pub mod effect;
pub mod money;
pub mod observe;
pub mod predict;
pub mod request;
pub mod verify;

mod chain;
mod consistent;
mod rules;

pub use answer::{Answer, Class};
pub use effect::{EffectKey, Resolution};
pub use money::Money;
pub use observe::{Expectations, Observer};
pub use predict::{Ledger, Prediction};
pub use request::{Request, Unreadable};
pub use verify::Violation;
