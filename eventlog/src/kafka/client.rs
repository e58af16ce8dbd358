//! What librdkafka calls back: log lines, errors, and the wish for a token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use host::clock;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde::Deserialize;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The same trouble is written into the log this often at most.
const SAID_AGAIN_MICROS: i64 = 10_000_000;

/// The context of every client of a cluster.
pub(super) struct Client {
    bootstrap: String,
    token_file: Option<PathBuf>,
    /// Why the last connection did not come about.
    trouble: Mutex<Option<String>>,
    said_at: AtomicI64,
    revoked: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Client {
    /// Of a cluster; with the file that holds the token, if one is asked for.
    pub(super) fn new(bootstrap: String, token_file: Option<PathBuf>) -> Self {
        Self { bootstrap, token_file, trouble: Mutex::new(None), said_at: AtomicI64::new(i64::MIN / 2), revoked: None }
    }

    /// Calls `revoked` before partitions that a group gave are given to others.
    pub(super) fn when_revoked(mut self, revoked: impl Fn() + Send + Sync + 'static) -> Self {
        self.revoked = Some(Box::new(revoked));
        self
    }

    /// What the library last complained of: says more than the time-out that it led to.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Client {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters reaches `error`, or whoever asked; the library's own lines are for those who look for a fault.
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // "All brokers down" follows the reason and says less.
        if code == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        let now = clock::unix_micros();
        if now - self.said_at.swap(now, Ordering::Relaxed) > SAID_AGAIN_MICROS {
            tracing::warn!(cluster = self.bootstrap, reason, "trouble with Kafka");
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let path = self.token_file.as_ref().ok_or("the configuration names no token_file")?;
        token(path).inspect_err(|error| tracing::warn!(%error, "there is no token for Kafka"))
    }
}

impl ConsumerContext for Client {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let (Rebalance::Revoke(_), Some(revoked)) = (rebalance, &self.revoked) {
            revoked();
        }
    }
}

/// The claims of a token that the library has to know.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
}

fn token(path: &Path) -> Result<OAuthToken, Box<dyn Error>> {
    let text = host::disk::read(path)?.ok_or_else(|| format!("the token file {} is not there", path.display()))?;
    let token = String::from_utf8(text)?.trim().to_owned();
    let broken = || format!("{} holds no JWT with `sub` and `exp`", path.display());
    let claims = token.split('.').nth(1).ok_or_else(broken)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| broken())?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| broken())?;
    // Seconds since 1970, with a fraction at most: far below where a float loses milliseconds.
    Ok(OAuthToken { token, principal_name: claims.sub, lifetime_ms: (claims.exp * 1_000.0) as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_it_is_and_until_when() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"crossfade","iat":1,"exp":2000000000}"#);
        std::fs::write(&path, format!("e30.{claims}.\n")).unwrap();
        let read = token(&path).unwrap();
        assert_eq!((read.principal_name.as_str(), read.lifetime_ms), ("crossfade", 2_000_000_000_000));
        assert!(!read.token.ends_with('\n'));
        for broken in ["", "x", "a.b.c", "e30.e30."] {
            std::fs::write(&path, broken).unwrap();
            assert!(token(&path).is_err_and(|error| error.to_string().contains("token")), "{broken}");
        }
    }
}
