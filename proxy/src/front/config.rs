//! The section `[front]` of the configuration.

use super::Error;
use super::headers::{self, REQUEST_HEADERS, RESULT_HEADERS};
use crate::MAX_RECORDED_BYTES;
use crate::journal::Fsync;
use crate::routes::{RouteConfig, Routes};
use host::secret::Secret;
use http::HeaderName;
use http::uri::Uri;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The front's configuration. Base URLs are `http://host:port`, times are milliseconds.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names this front in every record: `[a-z0-9-]{1,32}`, unique, and never used with another directory.
    #[serde(default = "default_name")]
    pub name: String,
    /// Where clients come in.
    pub listen: SocketAddr,
    /// Where operators come in: metrics, health, and the override.
    pub admin_listen: SocketAddr,
    /// The journal, the last known rollout and the override; used by one process at a time.
    pub data_dir: PathBuf,
    /// The last boot of a front of this name whose data directory was lost: this one comes after it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost_boot: u64,
    /// Whether this start goes on without what cannot be read of the journal: never by a file, which would say it every time.
    #[serde(skip)]
    pub salvage: bool,
    /// Base URL of the legacy.
    pub legacy: String,
    /// Base URL of the engine's billing API.
    pub engine: String,
    /// Base URL of the comparator.
    pub comparator: String,
    /// Base URL of the relay's operators' listener, which knows transaction ids.
    pub relay: String,
    /// `host:port` where the relay takes journals.
    pub ingest: String,
    /// The token between parts.
    pub service_token: Secret,
    /// The token for the override; without one it is the service token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_token: Option<Secret>,
    /// How long accounts that move may be held; the comparator has to be told the same.
    #[serde(default = "default_handover_ms")]
    pub handover_ms: u64,
    /// How long an exchange waits for the journal, twice, before it goes on as a counted gap.
    #[serde(default = "default_journal_wait_ms")]
    pub journal_wait_ms: u64,
    /// The size that the journal may grow to while the relay is away.
    #[serde(default = "default_journal_max_bytes")]
    pub journal_max_bytes: u64,
    /// What happens to dual writes then.
    #[serde(default)]
    pub journal_when_full: WhenFull,
    /// When a journal record is made durable; until then it survives this process, not a power cut.
    #[serde(default)]
    pub fsync: FsyncMode,
    /// With `fsync = "interval"`: how often.
    #[serde(default = "default_fsync_interval_ms")]
    pub fsync_interval_ms: u64,
    /// How long a system may take to answer.
    #[serde(default = "default_authority_timeout_ms")]
    pub authority_timeout_ms: u64,
    /// How long a connection to a system may take to open.
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How long a client may take to send its body.
    #[serde(default = "default_body_timeout_ms")]
    pub body_timeout_ms: u64,
    /// The longest body of a request.
    #[serde(default = "default_max_body_bytes")]
    pub max_body_bytes: usize,
    /// The longest answer to a dual write; a longer one counts as broken.
    #[serde(default = "default_max_answer_bytes")]
    pub max_answer_bytes: usize,
    /// How long a restarted front waits for the comparator before it serves by what it last heard.
    #[serde(default = "default_start_wait_ms")]
    pub start_wait_ms: u64,
    /// How long the relay may take to say what it knows of a transaction id, before the system that made the id is
    /// asked instead.
    #[serde(default = "default_relay_wait_ms")]
    pub relay_wait_ms: u64,
    /// Transactions whose accounts are remembered.
    #[serde(default = "default_remembered_ids")]
    pub remembered_ids: usize,
    /// Headers of requests that go into the journal, beside those that legs need; credentials are refused.
    #[serde(default = "default_recorded_headers")]
    pub recorded_headers: Vec<String>,
    /// The trusted header that names the actor, recorded too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_header: Option<String>,
    /// The routes; without any, those of the billing API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
}

/// What happens to dual writes while the journal stands at its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// They go on without a record, counted.
    #[default]
    Gap,
    /// They are refused with 503.
    Refuse,
}

/// When a journal record is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FsyncMode {
    /// Every so often, many together.
    #[default]
    Interval,
    /// Before the exchange goes on.
    Each,
}

fn default_name() -> String {
    "front".to_owned()
}

/// DESIGN 4.
fn default_handover_ms() -> u64 {
    250
}

/// Law 1.
fn default_journal_wait_ms() -> u64 {
    50
}

/// About an hour at 500 exchanges a second.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn default_journal_max_bytes() -> u64 {
    4 * 1024 * 1024 * 1024
}

/// DESIGN 4.
fn default_fsync_interval_ms() -> u64 {
    10
}

/// Twice the engine's own wait of 5 s, after which it answers 202.
fn default_authority_timeout_ms() -> u64 {
    10_000
}

fn default_connect_timeout_ms() -> u64 {
    1_000
}

fn default_body_timeout_ms() -> u64 {
    30_000
}

/// CONTRACT: larger ones are answered 413.
fn default_max_body_bytes() -> usize {
    1024 * 1024
}

/// Room for the request's metadata in the answer, several times.
fn default_max_answer_bytes() -> usize {
    MAX_RECORDED_BYTES
}

/// FORMATS, internal interfaces.
fn default_start_wait_ms() -> u64 {
    1_000
}

/// A relay that is well answers within a millisecond.
fn default_relay_wait_ms() -> u64 {
    20
}

/// About 25 MB.
fn default_remembered_ids() -> usize {
    100_000
}

fn default_recorded_headers() -> Vec<String> {
    REQUEST_HEADERS.iter().map(|name| (*name).to_owned()).collect()
}

impl Config {
    /// A front on free local ports with everything else by default: what a demo or a test starts from.
    pub fn local(data_dir: PathBuf, service_token: Secret) -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            name: default_name(),
            listen: anywhere,
            admin_listen: anywhere,
            data_dir,
            lost_boot: 0,
            salvage: false,
            legacy: String::new(),
            engine: String::new(),
            comparator: String::new(),
            relay: String::new(),
            ingest: String::new(),
            service_token,
            admin_token: None,
            handover_ms: default_handover_ms(),
            journal_wait_ms: default_journal_wait_ms(),
            journal_max_bytes: default_journal_max_bytes(),
            journal_when_full: WhenFull::default(),
            fsync: FsyncMode::default(),
            fsync_interval_ms: default_fsync_interval_ms(),
            authority_timeout_ms: default_authority_timeout_ms(),
            connect_timeout_ms: default_connect_timeout_ms(),
            body_timeout_ms: default_body_timeout_ms(),
            max_body_bytes: default_max_body_bytes(),
            max_answer_bytes: default_max_answer_bytes(),
            start_wait_ms: default_start_wait_ms(),
            relay_wait_ms: default_relay_wait_ms(),
            remembered_ids: default_remembered_ids(),
            recorded_headers: default_recorded_headers(),
            actor_header: None,
            routes: Vec::new(),
        }
    }

    /// Says what cannot work before anything is opened.
    ///
    /// # Errors
    /// [`Error::Config`] with the first thing that is wrong.
    pub fn check(&self) -> Result<Checked, Error> {
        let wrong = |what: String| Error::Config(what);
        if !wire::ids::is_front_name(&self.name) {
            return Err(wrong(format!("name: `{}` is not [a-z0-9-]{{1,32}}", self.name)));
        }
        for (key, url) in [
            ("legacy", &self.legacy),
            ("engine", &self.engine),
            ("comparator", &self.comparator),
            ("relay", &self.relay),
        ] {
            base_url(url).map_err(|problem| wrong(format!("{key}: `{url}` {problem}")))?;
        }
        if self.ingest.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            return Err(wrong(format!("ingest: `{}` is not host:port", self.ingest)));
        }
        for (key, value) in [
            ("handover_ms", self.handover_ms),
            ("journal_wait_ms", self.journal_wait_ms),
            ("fsync_interval_ms", self.fsync_interval_ms),
            ("journal_max_bytes", self.journal_max_bytes),
            ("authority_timeout_ms", self.authority_timeout_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("body_timeout_ms", self.body_timeout_ms),
            ("max_body_bytes", self.max_body_bytes as u64),
            ("max_answer_bytes", self.max_answer_bytes as u64),
        ] {
            if value == 0 {
                return Err(wrong(format!("{key}: has to be more than 0")));
            }
        }
        for (key, value) in [("max_body_bytes", self.max_body_bytes), ("max_answer_bytes", self.max_answer_bytes)] {
            if value > MAX_RECORDED_BYTES {
                return Err(wrong(format!("{key}: {value} is more than the {MAX_RECORDED_BYTES} that the log takes")));
            }
        }
        // A leg without its key, tenant or type is another request.
        let needed = REQUEST_HEADERS.iter().map(|name| Ok(HeaderName::from_static(name)));
        let wanted = self.recorded_headers.iter().chain(&self.actor_header).map(|name| recordable(name));
        let mut recorded: Vec<HeaderName> = Vec::new();
        for name in needed.chain(wanted) {
            let name = name.map_err(wrong)?;
            if !recorded.contains(&name) {
                recorded.push(name);
            }
        }
        let routes = if self.routes.is_empty() { Ok(Routes::standard()) } else { Routes::new(self.routes.clone()) };
        Ok(Checked { recorded, routes: routes.map_err(|error| wrong(error.to_string()))? })
    }

    /// How long accounts that move may be held.
    pub fn handover(&self) -> Duration {
        Duration::from_millis(self.handover_ms)
    }

    /// When a journal record is made durable.
    pub fn fsync(&self) -> Fsync {
        match self.fsync {
            FsyncMode::Interval => Fsync::Interval(Duration::from_millis(self.fsync_interval_ms)),
            FsyncMode::Each => Fsync::Each,
        }
    }
}

/// What a checked configuration comes to.
#[derive(Debug)]
pub struct Checked {
    /// Headers of requests that are recorded.
    pub recorded: Vec<HeaderName>,
    /// The routes.
    pub routes: Routes,
}

fn recordable(name: &str) -> Result<HeaderName, String> {
    let header: HeaderName = name.parse().map_err(|_| format!("recorded_headers: `{name}` is no header"))?;
    if headers::is_credential(&header) {
        return Err(format!("recorded_headers: `{name}` carries credentials, which are never recorded"));
    }
    Ok(header)
}

/// A base URL without path, query or credentials.
fn base_url(url: &str) -> Result<(), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "is no URL")?;
    match (uri.scheme_str(), uri.authority(), uri.path(), uri.query()) {
        (Some("http"), Some(authority), "/" | "", None) if !authority.as_str().contains('@') => Ok(()),
        (Some("http"), ..) => Err("is more than http://host:port"),
        _ => Err("is not http://host:port"),
    }
}

/// Headers of an authority's answer that are recorded.
pub(super) fn result_headers() -> Vec<HeaderName> {
    RESULT_HEADERS.iter().map(|name| HeaderName::from_static(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let url = || "http://localhost:1".to_owned();
        let (legacy, engine, comparator, relay) = (url(), url(), url(), url());
        let ingest = "localhost:1".to_owned();
        Config { legacy, engine, comparator, relay, ingest, ..Config::local("data".into(), Secret::new("token")) }
    }

    #[test]
    fn what_legs_need_is_recorded_whatever_the_list_says() {
        let recorded_headers = vec!["X-Own".to_owned(), "Content-Type".to_owned()];
        let checked = Config { recorded_headers, actor_header: Some("x-actor".into()), ..config() }.check().unwrap();
        let names: Vec<&str> = checked.recorded.iter().map(HeaderName::as_str).collect();
        assert_eq!(names, [&REQUEST_HEADERS[..], &["x-own", "x-actor"]].concat());
    }

    #[test]
    fn sizes_that_do_not_come_through_are_refused() {
        let most = Config { max_body_bytes: MAX_RECORDED_BYTES, max_answer_bytes: MAX_RECORDED_BYTES, ..config() };
        most.check().unwrap();
        for wrong in [
            Config { max_body_bytes: MAX_RECORDED_BYTES + 1, ..config() },
            Config { max_answer_bytes: MAX_RECORDED_BYTES + 1, ..config() },
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.contains("is more than the 7340032 that the log takes"), "{error}");
        }
    }
}
