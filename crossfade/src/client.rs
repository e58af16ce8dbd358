//! What the command line asks of the running parts, and which exit code their answers mean.

use crate::cli::Global;
use crate::config;
use anyhow::{Context, anyhow};
use host::http::{Answer, Client, SendError};
use http::Method;
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;
use wire::billing::Problem;

/// Exit codes of the command line (CONTRACT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// An error.
    Error = 1,
    /// The command or the configuration makes no sense.
    Usage = 2,
    /// A gate is not met, or mismatches were found.
    Unmet = 3,
    /// Not authorised.
    Refused = 4,
    /// No answer in time.
    TimedOut = 5,
}

/// A failure that knows its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What to tell the person.
    pub message: String,
}

impl Failure {
    /// A failure with an exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

/// An answer larger than this is not read: the largest page is far below.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Of a refusal no more is read: a problem with all its gates is below.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
/// Text that is longer than this is no line for people.
const LONGEST_LINE: usize = 500;

/// Where the parts are and how to talk to them.
#[derive(Debug, Clone)]
pub struct Parts {
    client: Client,
    timeout: Duration,
    targets: config::Targets,
}

/// A part that answers the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The comparator's control API.
    Comparator,
    /// The engine's billing API.
    Engine,
    /// The engine's control listener.
    EngineControl,
    /// A front's operators' listener.
    Front,
}

impl Parts {
    /// Works out the addresses from flags, environment and configuration, in this order.
    pub fn new(global: &Global) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::new(Duration::from_secs(3), MAX_ANSWER_BYTES),
            timeout: Duration::from_secs(global.timeout),
            targets: config::targets(global)?,
        })
    }

    /// The same with this front, if one is given.
    #[must_use]
    pub fn with_front(mut self, front: Option<String>) -> Self {
        self.targets.front = front.or(self.targets.front);
        self
    }

    /// Whether it is known where this part is.
    pub fn knows(&self, part: Part) -> bool {
        self.base(part).0.is_some()
    }

    /// Whether it is known that the log is in a cluster, where all parts see the same topics.
    pub fn in_cluster(&self) -> bool {
        self.targets.in_cluster
    }

    /// Where a part is, and the flag that says so.
    fn base(&self, part: Part) -> (Option<&String>, &'static str) {
        match part {
            Part::Comparator => (self.targets.comparator.as_ref(), "--comparator URL"),
            Part::Engine => (self.targets.engine.as_ref(), "--engine URL"),
            Part::EngineControl => (self.targets.engine_control.as_ref(), "--engine-control URL"),
            Part::Front => (self.targets.front.as_ref(), "--front URL"),
        }
    }

    fn url(&self, part: Part, path: &str) -> anyhow::Result<String> {
        let (base, flag) = self.base(part);
        let base = base.ok_or_else(|| {
            Failure::new(Exit::Usage, format!("where is it? Give {flag}, or --config FILE with its listener"))
        })?;
        Ok(format!("{}{path}", base.trim_end_matches('/')))
    }

    fn token(&self, part: Part) -> Option<&str> {
        match part {
            Part::Comparator => self.targets.token.as_ref().map(|token| token.reveal()),
            Part::Engine => None,
            Part::EngineControl => self.targets.service_token.as_ref().map(|token| token.reveal()),
            Part::Front => self.targets.front_token.as_ref().map(|token| token.reveal()),
        }
    }

    /// Sends a request without a body and reads the answer as JSON.
    pub async fn get<T: DeserializeOwned>(&self, part: Part, path: &str) -> anyhow::Result<T> {
        let url = self.url(part, path)?;
        let answer = self.client.get(&url, self.token(part), self.timeout).await;
        read(&url, answer)
    }

    /// Posts JSON and reads the answer as JSON.
    pub async fn post<T: DeserializeOwned>(
        &self,
        part: Part,
        path: &str,
        body: &impl serde::Serialize,
    ) -> anyhow::Result<T> {
        let url = self.url(part, path)?;
        let answer = self.client.post(&url, self.token(part), body, self.timeout).await;
        read(&url, answer)
    }

    /// Sends a `DELETE` with JSON and reads the answer as JSON.
    pub async fn delete<T: DeserializeOwned>(
        &self,
        part: Part,
        path: &str,
        body: &impl serde::Serialize,
    ) -> anyhow::Result<T> {
        let url = self.url(part, path)?;
        let body = serde_json::to_vec(body)?;
        let request = host::http::request(Method::DELETE, &url, self.token(part), body.into())
            .map_err(|error| failure_to_send(&url, &error))?;
        read(&url, self.client.send(request, self.timeout).await)
    }

    /// How long is waited for an answer, or for the next piece of one that streams.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Opens an answer that goes on for as long as it likes; its head has to come in time.
    pub async fn open(&self, part: Part, path: &str) -> anyhow::Result<hyper::Response<hyper::body::Incoming>> {
        let url = self.url(part, path)?;
        let request = host::http::request(Method::GET, &url, self.token(part), bytes::Bytes::new())
            .map_err(|error| failure_to_send(&url, &error))?;
        let opening = async {
            let response = self.client.open(request).await.map_err(|error| failure_to_send(&url, &error))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            // What cannot be read of a refusal is left out; that it is one is known.
            let said = Limited::new(response.into_body(), MAX_REFUSAL_BYTES).collect().await;
            let said = said.map(|body| body.to_bytes()).unwrap_or_default();
            Err(refused(&url, status.as_u16(), &said).into())
        };
        let opened = host::clock::timeout(self.timeout, opening).await;
        opened.unwrap_or_else(|_| Err(failure_to_send(&url, &SendError::TimedOut)))
    }
}

fn read<T: DeserializeOwned>(url: &str, answer: Result<Answer, SendError>) -> anyhow::Result<T> {
    let answer = answer.map_err(|error| failure_to_send(url, &error))?;
    if answer.status.is_success() {
        return answer.json().with_context(|| format!("{url} answered something else than expected"));
    }
    Err(refused(url, answer.status.as_u16(), &answer.body).into())
}

fn failure_to_send(url: &str, error: &SendError) -> anyhow::Error {
    let exit = if matches!(error, SendError::TimedOut) { Exit::TimedOut } else { Exit::Error };
    anyhow!(Failure::new(exit, format!("{url}: {error}")))
}

/// What a part says instead of an answer: a problem (RFC 9457), or a line of text.
fn refused(url: &str, status: u16, said: &[u8]) -> Failure {
    let exit = match status {
        // What was asked makes no sense to the part: what was typed did not either.
        400 => Exit::Usage,
        401 | 403 => Exit::Refused,
        409 => Exit::Unmet,
        504 => Exit::TimedOut,
        _ => Exit::Error,
    };
    if let Ok(problem) = serde_json::from_slice::<Problem>(said) {
        let mut message = format!("{} ({})", problem.detail, problem.code);
        for item in &problem.errors {
            message.push_str(&format!("\n  {}: {}", item.pointer, item.detail));
        }
        return Failure::new(exit, message);
    }
    let said = std::str::from_utf8(said).unwrap_or_default().trim();
    if said.is_empty() || said.len() > LONGEST_LINE || said.contains(char::is_control) {
        return Failure::new(exit, format!("{url} answered {status}"));
    }
    Failure::new(exit, format!("{url} answered {status}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_part_says_is_passed_on() {
        let problem = r#"{"type":"about:blank","title":"t","status":409,"code":"GatesNotMet","detail":"closed","correlationId":"c","errors":[{"pointer":"/gates/gap","code":"gap","detail":"1 gap"}]}"#;
        for (status, said, exit, message) in [
            (409, problem, Exit::Unmet, "closed (GatesNotMet)\n  /gates/gap: 1 gap"),
            (404, "no partition 99: it has 0 to 9\n", Exit::Error, "URL answered 404: no partition 99: it has 0 to 9"),
            (400, "from=x is no offset", Exit::Usage, "URL answered 400: from=x is no offset"),
            (403, "", Exit::Refused, "URL answered 403"),
            (502, "<html>\n<body>a proxy's page</body>", Exit::Error, "URL answered 502"),
            (504, "", Exit::TimedOut, "URL answered 504"),
        ] {
            let failure = refused("URL", status, said.as_bytes());
            assert_eq!((failure.exit, failure.message.as_str()), (exit, message), "{status}");
        }
    }
}
