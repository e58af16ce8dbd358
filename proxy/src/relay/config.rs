//! What is configured of the relay: section `[relay]`.

use super::delivery::Rules;
use host::secret::Secret;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The section `[relay]`. Durations are in milliseconds.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where fronts ship their journals to: frames over TCP.
    pub ingest_listen: SocketAddr,
    /// Where operators and fronts ask: `/metrics`, `/healthz`, `/readyz`, `/internal/ids/{id}`.
    pub listen: SocketAddr,
    /// The token that fronts show here, and that the relay shows to the engine.
    pub service_token: Option<Secret>,
    /// Base URL of the legacy.
    pub legacy: String,
    /// Bearer token for the legacy, if it asks for one.
    pub legacy_token: Option<Secret>,
    /// Base URL of the engine's billing API.
    pub engine: String,
    /// Base URL of the engine's listener for other parts.
    pub engine_control: String,
    /// Shadow legs under way at the same time, per system.
    pub concurrency: usize,
    /// How long opening a connection to a system may take.
    pub connect_timeout_ms: u64,
    /// How long a shadow leg may take before it counts as unanswered.
    pub leg_timeout_ms: u64,
    /// How long a question to a system may take.
    pub ask_timeout_ms: u64,
    /// The first pause before a leg is sent again; it doubles with each try.
    pub retry_min_ms: u64,
    /// The longest pause before a leg is sent again.
    pub retry_max_ms: u64,
    /// The first pause between two questions about the same unknown result; it doubles with each.
    pub ask_again_ms: u64,
    /// The longest pause between two such questions.
    pub ask_again_max_ms: u64,
    /// After which the legacy certainly no longer works on a request: its longest request and statement time-outs
    /// together. "Not there" counts only from then on.
    pub legacy_longest_request_ms: u64,
    /// Whether the legacy recognises a request by its key and executes it once. One that does not is never sent a leg
    /// twice: what it did with one that it has not answered is asked, and if it cannot say, a person has to.
    pub legacy_deduplicates: bool,
    /// After which the engine certainly no longer works on a request.
    pub engine_request_timeout_ms: u64,
    /// How long after a leg's first refusal for a reason of state everything that the fronts wrote until then may
    /// still explain it.
    pub reoffer_ms: u64,
    /// How long a front whose connection was lost is waited for.
    pub front_grace_ms: u64,
    /// A front that says nothing for so long is cut off; fronts say something every 100 ms.
    pub front_silence_ms: u64,
    /// After which an intent whose result its front never shipped counts as unknown. Longer than any authority's
    /// time-out at the fronts.
    pub abandoned_ms: u64,
    /// How often the cursor is written at most.
    pub cursor_every_ms: u64,
    /// So many unconcluded exchanges are kept in memory before no more are read from the log.
    pub max_exchanges_kept: usize,
    /// JSON pointers to ids of earlier transactions in request bodies.
    pub transaction_pointers: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ingest_listen: SocketAddr::from(([127, 0, 0, 1], 8071)),
            listen: SocketAddr::from(([127, 0, 0, 1], 8072)),
            service_token: None,
            legacy: "http://127.0.0.1:8081".to_owned(),
            legacy_token: None,
            engine: "http://127.0.0.1:8082".to_owned(),
            engine_control: "http://127.0.0.1:8083".to_owned(),
            concurrency: 64,
            connect_timeout_ms: 1_000,
            // Longer than the 5 s that the engine waits before it answers 202.
            leg_timeout_ms: 10_000,
            ask_timeout_ms: 5_000,
            retry_min_ms: 20,
            // A system that comes back is met again within half a second.
            retry_max_ms: 500,
            ask_again_ms: 200,
            // A system that comes back is asked within a few seconds.
            ask_again_max_ms: 5_000,
            legacy_longest_request_ms: 30_000,
            legacy_deduplicates: true,
            engine_request_timeout_ms: 10_000,
            // DESIGN 4: past the refusal plus 1 s.
            reoffer_ms: 1_000,
            front_grace_ms: 5_000,
            front_silence_ms: 3_000,
            abandoned_ms: 120_000,
            cursor_every_ms: 1_000,
            max_exchanges_kept: 100_000,
            transaction_pointers: vec!["/transactionId".to_owned()],
        }
    }
}

impl Config {
    /// Finds what cannot work before anything is opened.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn check(&self) -> Result<(), String> {
        for (key, value) in [
            ("concurrency", self.concurrency as u64),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("leg_timeout_ms", self.leg_timeout_ms),
            ("ask_timeout_ms", self.ask_timeout_ms),
            ("retry_min_ms", self.retry_min_ms),
            ("ask_again_ms", self.ask_again_ms),
            ("front_silence_ms", self.front_silence_ms),
            ("abandoned_ms", self.abandoned_ms),
            ("max_exchanges_kept", self.max_exchanges_kept as u64),
        ] {
            if value == 0 {
                return Err(format!("relay.{key} has to be above zero"));
            }
        }
        if self.service_token.is_none() {
            return Err("relay.service_token is missing: fronts show it here, and the relay to the engine".to_owned());
        }
        for (key, url) in [("legacy", &self.legacy), ("engine", &self.engine), ("engine_control", &self.engine_control)]
        {
            let base: Option<http::Uri> = url.parse().ok();
            if !base.is_some_and(|base| base.scheme_str() == Some("http") && base.host().is_some()) {
                return Err(format!("relay.{key} has to be a base URL like http://127.0.0.1:8080, not `{url}`"));
            }
        }
        Ok(())
    }

    /// What the decisions need to know of it.
    pub(super) fn rules(&self) -> Rules {
        let micros = |ms: u64| i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        Rules {
            concurrency: self.concurrency,
            // Questions are rare and go to a system that is in trouble: a quarter of what legs may use.
            questions: self.concurrency.div_ceil(4),
            retry_min_micros: micros(self.retry_min_ms),
            retry_max_micros: micros(self.retry_max_ms),
            ask_again_micros: micros(self.ask_again_ms),
            ask_again_max_micros: micros(self.ask_again_max_ms),
            legacy_longest_request_micros: micros(self.legacy_longest_request_ms),
            engine_request_timeout_micros: micros(self.engine_request_timeout_ms),
            reoffer_micros: micros(self.reoffer_ms),
            front_grace_micros: micros(self.front_grace_ms),
            abandoned_micros: micros(self.abandoned_ms),
            legacy_deduplicates: self.legacy_deduplicates,
            cursor_every_micros: micros(self.cursor_every_ms),
            max_kept: self.max_exchanges_kept,
            transaction_pointers: self.transaction_pointers.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Result<(), String> {
        let mut config = Config { service_token: Some(Secret::new("a-service-token")), ..Config::default() };
        change(&mut config);
        config.check()
    }

    #[test]
    fn what_cannot_work_is_found_and_named() {
        assert_eq!(config(|_| {}), Ok(()));
        for (named, change) in [
            ("relay.concurrency", (|config: &mut Config| config.concurrency = 0) as fn(&mut Config)),
            ("relay.service_token", |config| config.service_token = None),
            ("relay.legacy", |config| config.legacy = "127.0.0.1:8081".to_owned()),
            ("relay.engine_control", |config| config.engine_control = "https://engine".to_owned()),
            ("relay.leg_timeout_ms", |config| config.leg_timeout_ms = 0),
        ] {
            let problem = config(change).expect_err(named);
            assert!(problem.contains(named), "{problem}");
        }
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(toml_like(r#"{"concurrency": 8}"#).is_ok());
        assert!(toml_like(r#"{"concurency": 8}"#).is_err());
    }

    fn toml_like(json: &str) -> Result<Config, serde_json::Error> {
        serde_json::from_str(json)
    }
}
