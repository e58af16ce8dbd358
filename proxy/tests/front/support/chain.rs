//! A chain of rollout records.

use wire::rollout::{FrontBoot, RolloutBody, RolloutRecord, Setting, TOPIC};
use wire::scalar::{Digest, Percent, Timestamp};
use wire::stored::encode;
use wire::words::Stage;

/// Makes records that extend one another.
#[derive(Debug, Clone)]
pub struct Chain {
    head: Digest,
}

impl Chain {
    pub fn new(ledger: &str) -> Self {
        Self { head: wire::chain::genesis(ledger, TOPIC) }
    }

    /// The stored bytes of the next record.
    pub fn next(&mut self, body: RolloutBody) -> Vec<u8> {
        let bytes = foreign(self.head, body);
        self.head = Digest::of(&bytes);
        bytes
    }
}

/// A record that extends something else.
pub fn foreign(parent: Digest, body: RolloutBody) -> Vec<u8> {
    encode(&RolloutRecord { parent, at: Timestamp(1), actor: "test".into(), reason: "test".into(), body })
}

/// A percentage of the ramp; 0 is shadow, 100 is engine.
pub fn at(percent: u16) -> Setting {
    let stage = match percent {
        0 => Stage::Shadow,
        100 => Stage::Engine,
        _ => Stage::Ramp,
    };
    Setting { stage, percent: Percent::whole(percent) }
}

pub fn moved(version: u64, to: Setting) -> RolloutBody {
    RolloutBody::Moved { version, to, forced: false, evidence: Vec::new() }
}

pub fn prepare(version: u64, to: Setting, fronts: &[FrontBoot]) -> RolloutBody {
    RolloutBody::Prepare { version, to, forced: false, evidence: Vec::new(), fronts: fronts.to_vec() }
}

pub fn commit(version: u64, held_back: &[&str]) -> RolloutBody {
    RolloutBody::Commit { version, held_back: held_back.iter().map(|account| (*account).to_owned()).collect() }
}

pub fn abort(version: u64) -> RolloutBody {
    RolloutBody::Abort { version, late: vec!["somebody".into()] }
}
