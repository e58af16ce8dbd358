//! What is configured of the comparator: section `[comparator]`.

use host::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use wire::words::Permission;

/// The section `[comparator]`. Durations are in milliseconds.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the control API listens.
    pub listen: SocketAddr,
    /// Base URL of the legacy, for reading balances and histories.
    pub legacy: String,
    /// Base URL of the engine, for reading balances and histories.
    pub engine: String,
    /// Bearer token for the legacy, if it asks for one.
    pub legacy_token: Option<Secret>,
    /// Bearer token for the engine, if it asks for one.
    pub engine_token: Option<Secret>,
    /// Who may do what.
    pub tokens: Vec<Token>,
    /// How long a move up may hold the requests of the accounts that it takes along. The fronts
    /// hold them for as long, and have to be told the same.
    pub handover_ms: u64,
    /// The gate `drained` is open while the oldest undelivered shadow leg is younger.
    pub drained_within_ms: u64,
    /// How long a front may take to write a mark and have it shipped.
    pub mark_wait_ms: u64,
    /// How long one read of a system may take.
    pub read_timeout_ms: u64,
    /// How long a reconciliation may take.
    pub reconcile_timeout_ms: u64,
    /// Accounts whose histories are asked for at the same time.
    pub inquiries_at_once: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8091)),
            legacy: "http://127.0.0.1:8090".to_owned(),
            engine: "http://127.0.0.1:8082".to_owned(),
            legacy_token: None,
            engine_token: None,
            tokens: Vec::new(),
            // DESIGN 4: what a moved account's requests may wait for at most.
            handover_ms: 250,
            // DESIGN 8: a verdict is there within 2 s of its exchange.
            drained_within_ms: 2_000,
            // A front ships within 5 ms and the relay makes it durable within a few more; the rest is slack for a
            // machine under load.
            mark_wait_ms: 2_000,
            read_timeout_ms: 5_000,
            reconcile_timeout_ms: 600_000,
            inquiries_at_once: 4,
        }
    }
}

/// A bearer token, `[[comparator.tokens]]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Whose it is: the actor in every record of what it did.
    pub name: String,
    /// What it may do.
    pub permission: Permission,
    /// The token itself.
    pub secret: Secret,
}

impl Config {
    /// Finds what cannot work before anything is opened.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn check(&self) -> Result<(), String> {
        for (key, value) in [
            ("handover_ms", self.handover_ms),
            ("drained_within_ms", self.drained_within_ms),
            ("mark_wait_ms", self.mark_wait_ms),
            ("read_timeout_ms", self.read_timeout_ms),
            ("reconcile_timeout_ms", self.reconcile_timeout_ms),
            ("inquiries_at_once", self.inquiries_at_once as u64),
        ] {
            if value == 0 {
                return Err(format!("comparator.{key} has to be above zero"));
            }
        }
        for (key, url) in [("legacy", &self.legacy), ("engine", &self.engine)] {
            let base: Option<http::Uri> = url.parse().ok();
            if !base.is_some_and(|base| base.scheme_str() == Some("http") && base.host().is_some()) {
                return Err(format!("comparator.{key} has to be a base URL like http://127.0.0.1:8080, not `{url}`"));
            }
        }
        self.check_tokens()
    }

    fn check_tokens(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        let mut secrets = BTreeSet::new();
        for token in &self.tokens {
            if token.name.is_empty() || token.name.len() > 64 {
                return Err("comparator.tokens: a name has 1 to 64 characters".to_owned());
            }
            if !names.insert(token.name.as_str()) {
                return Err(format!("comparator.tokens: there are two named `{}`", token.name));
            }
            if token.secret.reveal().len() < 8 {
                return Err(format!("comparator.tokens: the secret of `{}` has fewer than 8 characters", token.name));
            }
            if !secrets.insert(token.secret.reveal()) {
                return Err(format!("comparator.tokens: `{}` has the same secret as another one", token.name));
            }
        }
        Ok(())
    }

    pub(crate) fn handover(&self) -> Duration {
        Duration::from_millis(self.handover_ms)
    }

    pub(crate) fn mark_wait(&self) -> Duration {
        Duration::from_millis(self.mark_wait_ms)
    }

    pub(crate) fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms)
    }

    pub(crate) fn reconcile_timeout(&self) -> Duration {
        Duration::from_millis(self.reconcile_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, secret: &str) -> Token {
        Token { name: name.into(), permission: Permission::Viewer, secret: Secret::new(secret) }
    }

    #[test]
    fn what_cannot_work_is_named() {
        let with = |change: &dyn Fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().err().unwrap_or_default()
        };
        assert_eq!(with(&|_| {}), "");
        assert!(with(&|config| config.handover_ms = 0).contains("handover_ms"));
        assert!(with(&|config| config.legacy = "127.0.0.1:8081".into()).contains("comparator.legacy"));
        assert!(with(&|config| config.engine = String::new()).contains("comparator.engine"));
        assert!(with(&|config| config.tokens = vec![token("", "long enough")]).contains("1 to 64"));
        assert!(with(&|config| config.tokens = vec![token("a", "short")]).contains("fewer than 8"));
        let twice = vec![token("a", "long enough"), token("a", "other secret")];
        assert!(with(&|config| config.tokens = twice.clone()).contains("two named"));
        let shared = vec![token("a", "long enough"), token("b", "long enough")];
        assert!(with(&|config| config.tokens = shared.clone()).contains("same secret"));
    }
}
