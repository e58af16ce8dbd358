//! The engine's section of the configuration.

use host::secret::Secret;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// How the engine runs. Times in milliseconds, sizes in bytes, as their names say.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the billing API listens.
    pub listen: SocketAddr,
    /// Where `/internal/*` listens, for the other parts and the command line.
    pub control_listen: SocketAddr,
    /// Holds `billing.redb`, unless the log is in Kafka; one engine per directory.
    #[serde(default)]
    pub data_dir: Option<PathBuf>,
    /// How many shards the ledger has. Part of every chain's beginning: it cannot change for an existing log.
    #[serde(default = "defaults::shards")]
    pub shards: u32,
    /// How long a request waits for its final answer; then it is answered 202.
    #[serde(default = "defaults::answer_wait_ms")]
    pub answer_wait_ms: u64,
    /// What a write is answered with when the client does not say (`Prefer`): `final` or `async`. Legs of the
    /// relay are always answered finally.
    #[serde(default)]
    pub default_answer: DefaultAnswer,
    /// After so many outcomes of a shard there is a snapshot of it, so that a restart need not read them all; 0 for never.
    #[serde(default = "defaults::snapshot_after_outcomes")]
    pub snapshot_after_outcomes: u64,
    /// Whether a refusal takes its idempotency key. Set it to what the legacy does.
    #[serde(default = "defaults::refusal_keeps_key")]
    pub refusal_keeps_key: bool,
    /// The largest body of a request.
    #[serde(default = "defaults::max_body_bytes")]
    pub max_body_bytes: usize,
    /// The header that names who asks, set by a proxy that has checked it; without one everybody is `anonymous`.
    #[serde(default)]
    pub actor_header: Option<String>,
    /// What the other parts of Crossfade show. Without one no request is a leg, and `/internal/*` is closed.
    #[serde(default)]
    pub service_token: Option<Secret>,
}

/// What a write is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultAnswer {
    /// The final result, or 202 when the wait runs out.
    #[default]
    Final,
    /// 202 as soon as the request is in the log.
    Async,
}

impl Config {
    /// A configuration with defaults for all that has one.
    pub fn new(listen: SocketAddr, control_listen: SocketAddr, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            control_listen,
            data_dir: Some(data_dir.into()),
            shards: defaults::shards(),
            answer_wait_ms: defaults::answer_wait_ms(),
            default_answer: DefaultAnswer::default(),
            snapshot_after_outcomes: defaults::snapshot_after_outcomes(),
            refusal_keeps_key: defaults::refusal_keeps_key(),
            max_body_bytes: defaults::max_body_bytes(),
            actor_header: None,
            service_token: None,
        }
    }
}

/// How many shards a ledger has unless told (DESIGN 3.1).
pub const DEFAULT_SHARDS: u32 = 10;

/// Where each number comes from is said in the design.
mod defaults {
    pub(super) fn shards() -> u32 {
        super::DEFAULT_SHARDS
    }

    /// CONTRACT: the wait for a final answer, 5 s.
    pub(super) fn answer_wait_ms() -> u64 {
        5_000
    }

    /// About a second's worth of reading.
    pub(super) fn snapshot_after_outcomes() -> u64 {
        100_000
    }

    /// FORMATS: what the reference legacy does.
    pub(super) fn refusal_keeps_key() -> bool {
        true
    }

    /// 1 MiB, as at the front.
    pub(super) fn max_body_bytes() -> usize {
        1 << 20
    }
}
