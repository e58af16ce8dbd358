//! What the command line asks of the running parts, and which exit code their answers mean.

use crate::cli::Global;
use crate::config;
use anyhow::{Context, anyhow};
use host::http::{Answer, Client, SendError};
use http::Method;
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

    fn url(&self, part: Part, path: &str) -> anyhow::Result<String> {
        let (base, flag) = match part {
            Part::Comparator => (&self.targets.comparator, "--comparator URL"),
            Part::Engine => (&self.targets.engine, "--engine URL"),
            Part::EngineControl => (&self.targets.engine_control, "--engine-control URL"),
        };
        let base = base.as_ref().ok_or_else(|| {
            Failure::new(Exit::Usage, format!("where is it? Give {flag}, or --config FILE with its listener"))
        })?;
        Ok(format!("{}{path}", base.trim_end_matches('/')))
    }

    fn token(&self, part: Part) -> Option<&str> {
        match part {
            Part::Comparator => self.targets.token.as_ref().map(|token| token.reveal()),
            Part::Engine => None,
            Part::EngineControl => self.targets.service_token.as_ref().map(|token| token.reveal()),
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

    /// Opens an answer that goes on for as long as it likes.
    pub async fn open(&self, part: Part, path: &str) -> anyhow::Result<hyper::Response<hyper::body::Incoming>> {
        let url = self.url(part, path)?;
        let request = host::http::request(Method::GET, &url, self.token(part), bytes::Bytes::new())
            .map_err(|error| failure_to_send(&url, &error))?;
        let response = self.client.open(request).await.map_err(|error| failure_to_send(&url, &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        Err(refused(&url, status, None).into())
    }
}

fn read<T: DeserializeOwned>(url: &str, answer: Result<Answer, SendError>) -> anyhow::Result<T> {
    let answer = answer.map_err(|error| failure_to_send(url, &error))?;
    if answer.status.is_success() {
        return answer.json().with_context(|| format!("{url} answered something else than expected"));
    }
    Err(refused(url, answer.status.as_u16(), answer.json().ok()).into())
}

fn failure_to_send(url: &str, error: &SendError) -> anyhow::Error {
    let exit = if matches!(error, SendError::TimedOut) { Exit::TimedOut } else { Exit::Error };
    anyhow!(Failure::new(exit, format!("{url}: {error}")))
}

fn refused(url: &str, status: u16, problem: Option<Problem>) -> Failure {
    let exit = match status {
        401 | 403 => Exit::Refused,
        409 => Exit::Unmet,
        504 => Exit::TimedOut,
        _ => Exit::Error,
    };
    let Some(problem) = problem else {
        return Failure::new(exit, format!("{url} answered {status}"));
    };
    let mut message = format!("{} ({})", problem.detail, problem.code);
    for item in &problem.errors {
        message.push_str(&format!("\n  {}: {}", item.pointer, item.detail));
    }
    Failure::new(exit, message)
}
