//! `billing.commands` and `billing.journal`: the engine's inputs and outcomes.
//! (placeholder until the domain's types stand)
use crate::stored::Stored;
use serde::{Deserialize, Serialize};

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {}
impl Stored for Command {
    const TYPE: u16 = 0x0001;
    const VERSION: u16 = 1;
}
/// An outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {}
impl Stored for Outcome {
    const TYPE: u16 = 0x0002;
    const VERSION: u16 = 1;
}
