//! Reading the two systems: their accounts in order of ids, the history of an account, whether the engine is ready.

use crate::config::Config;
use host::clock;
use host::http::Client;
use host::secret::Secret;
use host::task::Shutdown;
use http::StatusCode;
use serde::de::DeserializeOwned;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use wire::billing::{Account, AccountPage, TransactionPage};
use wire::words::System;

/// Accounts and transactions asked for at once; CONTRACT allows no more.
const PAGE: usize = 1_000;
/// A page of accounts may carry metadata; no page comes near this.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// A system that does not take a connection by then is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A system could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the {system}: {why}")]
pub struct ReadFailed {
    /// The system.
    pub system: System,
    /// Why not.
    pub why: String,
}

/// Both systems, for reading.
#[derive(Debug, Clone)]
pub struct Systems {
    client: Client,
    legacy: Place,
    engine: Place,
    timeout: Duration,
}

#[derive(Debug, Clone)]
struct Place {
    base: String,
    token: Option<Secret>,
}

impl Systems {
    /// The systems as configured.
    pub fn new(config: &Config) -> Self {
        let place = |base: &str, token: &Option<Secret>| Place {
            base: base.trim_end_matches('/').to_owned(),
            token: token.clone(),
        };
        Self {
            client: Client::new(CONNECT_TIMEOUT, MAX_ANSWER_BYTES),
            legacy: place(&config.legacy, &config.legacy_token),
            engine: place(&config.engine, &config.engine_token),
            timeout: config.read_timeout(),
        }
    }

    /// A page of the history of an account, newest first; empty where there is no such account.
    ///
    /// # Errors
    /// [`ReadFailed`].
    pub async fn history(
        &self,
        system: System,
        account: &str,
        before: Option<&str>,
    ) -> Result<TransactionPage, ReadFailed> {
        let before = before.map(|cursor| format!("&before={}", encoded(cursor))).unwrap_or_default();
        let path = format!("/accounts/{}/transactions?limit={PAGE}{before}", encoded(account));
        let page = self.get(system, &path).await?;
        Ok(page.unwrap_or(TransactionPage { transactions: Vec::new(), next: None }))
    }

    async fn get<T: DeserializeOwned>(&self, system: System, path: &str) -> Result<Option<T>, ReadFailed> {
        let place = match system {
            System::Legacy => &self.legacy,
            System::Engine => &self.engine,
        };
        let failed = |why: String| ReadFailed { system, why };
        let url = format!("{}{path}", place.base);
        let token = place.token.as_ref().map(Secret::reveal);
        let answer =
            self.client.get(&url, token, self.timeout).await.map_err(|error| failed(format!("{url}: {error}")))?;
        match answer.status {
            StatusCode::OK => answer.json().map(Some).map_err(|error| failed(format!("{url}: {error}"))),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(failed(format!("{url} answers {status}"))),
        }
    }
}

/// Whether the engine is ready, by its own word; asked once a second, and anew before the dial goes up.
#[derive(Debug)]
pub struct EngineWatch {
    systems: Systems,
    /// Why not.
    seen: Mutex<Option<String>>,
}

/// How often it is asked.
const WATCHED_EVERY: Duration = Duration::from_secs(1);
/// How long its answer is waited for: less than a person waits for a move of the dial.
const WATCHED_WITHIN: Duration = Duration::from_secs(2);

impl EngineWatch {
    /// Nothing is known yet.
    pub fn new(systems: Systems) -> Self {
        Self { systems, seen: Mutex::new(Some("the engine was not asked yet".to_owned())) }
    }

    /// Why it was not ready when it was asked last; `None` if it was.
    pub fn seen(&self) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks it.
    pub async fn look(&self) {
        let Place { base, token } = &self.systems.engine;
        let url = format!("{base}/readyz");
        let answer = self.systems.client.get(&url, token.as_ref().map(Secret::reveal), WATCHED_WITHIN).await;
        let seen = match answer {
            Ok(answer) if answer.status.is_success() => None,
            Ok(answer) => {
                let said = String::from_utf8_lossy(&answer.body);
                let reasons = said.lines().take(SHOWN_REASONS).map(|line| line.chars().take(SHOWN_CHARACTERS));
                let reasons: Vec<String> = reasons.map(Iterator::collect).collect();
                Some(format!("the engine is not ready ({}): {}", answer.status.as_u16(), reasons.join("; ")))
            }
            Err(error) => Some(format!("the engine does not say whether it is ready: {error}")),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// Asks it again and again until `shutdown`.
    pub async fn run(&self, shutdown: &Shutdown) {
        let mut ticks = clock::interval(WATCHED_EVERY);
        loop {
            tokio::select! {
                () = shutdown.stopped() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.stopped() => return,
                () = self.look() => {}
            }
        }
    }
}

/// Reasons that are passed on, and characters of each.
const SHOWN_REASONS: usize = 3;
const SHOWN_CHARACTERS: usize = 200;

/// The accounts of one system, one after the other in order of their ids; one page of them is in memory.
pub struct Accounts<'a> {
    systems: &'a Systems,
    system: System,
    page: std::collections::VecDeque<Account>,
    /// Where the next page begins; `None` after the last one.
    next: Option<String>,
    last: String,
}

impl<'a> Accounts<'a> {
    /// From the first one on.
    pub fn new(systems: &'a Systems, system: System) -> Self {
        Self {
            systems,
            system,
            page: std::collections::VecDeque::new(),
            next: Some(String::new()),
            last: String::new(),
        }
    }

    /// The next account, left where it is; `None` behind the last one.
    ///
    /// # Errors
    /// [`ReadFailed`], also when the accounts do not come in order: a merge of them would mean nothing.
    pub async fn peek(&mut self) -> Result<Option<&Account>, ReadFailed> {
        while self.page.is_empty()
            && let Some(after) = self.next.take()
        {
            let after = if after.is_empty() { String::new() } else { format!("&after={}", encoded(&after)) };
            let path = format!("/accounts?limit={PAGE}{after}");
            let failed = |why: String| ReadFailed { system: self.system, why };
            let page: AccountPage =
                self.systems.get(self.system, &path).await?.ok_or_else(|| failed(format!("no such route: {path}")))?;
            for account in &page.accounts {
                if account.account_id <= self.last {
                    return Err(failed(format!("account {} comes after {}", account.account_id, self.last)));
                }
                self.last.clone_from(&account.account_id);
            }
            if page.accounts.is_empty() && page.next.is_some() {
                return Err(failed("a page without accounts names a next one".to_owned()));
            }
            self.page.extend(page.accounts);
            self.next = page.next;
        }
        Ok(self.page.front())
    }

    /// Takes the account that was looked at.
    pub fn take(&mut self) -> Option<Account> {
        self.page.pop_front()
    }
}

/// A path segment or query value with everything escaped that has a meaning there.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_escaped() {
        assert_eq!(encoded("a:b-C.9_~"), "a:b-C.9_~");
        assert_eq!(encoded("a/b?c&d=e+ü"), "a%2Fb%3Fc%26d%3De%2B%C3%BC");
    }
}
