//! The schema registry: takes the schemas of the public events and gives them ids, by Confluent's API.

use host::secret::Secret;
use reqwest::{Certificate, Client, Method, RequestBuilder, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use wire::avro::{VERSIONS, Version, subject};

/// How long the registry may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A reader of version n + 1 reads what version n wrote. Stricter levels promise the same.
const COMPATIBILITY: &str = "BACKWARD";
const STRICTER: [&str; 4] = [COMPATIBILITY, "BACKWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"];
/// An answer's text is shown up to here.
const MAX_SHOWN: usize = 500;

/// Where the registry is.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The base URL of Confluent's API there.
    pub url: String,
    /// Who we are there, if it asks; for a managed registry the API key.
    #[serde(default)]
    pub username: Option<String>,
    /// And our password; for a managed registry the API secret.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The certificates of the authorities that may have signed the registry's, as PEM, beside those of the operating
    /// system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

impl Config {
    /// A registry that asks nobody who he is: for trials.
    pub fn open(url: impl Into<String>) -> Self {
        Self { url: url.into(), username: None, password: None, ca_file: None }
    }

    /// Finds what cannot work before anything is opened.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn check(&self) -> Result<(), String> {
        let url = self.url.parse::<Url>().ok().filter(|url| ["http", "https"].contains(&url.scheme()));
        let Some(url) = url else {
            return Err(format!("registry.url has to begin with http:// or https://, not `{}`", self.url));
        };
        if self.username.is_some() != self.password.is_some() {
            return Err("registry.username and registry.password are of no use without each other".to_owned());
        }
        if self.password.is_some() && url.scheme() == "http" && !is_loopback(&url) {
            return Err(
                "registry.password would be sent in the clear: registry.url has to begin with https://".to_owned()
            );
        }
        Ok(())
    }
}

fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// The registry gives no ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be asked as it is configured.
    #[error("registry.{0}")]
    Config(String),
    /// It may later.
    #[error("the schema registry at {url} does not answer: {reason}")]
    Unreachable {
        /// Where it is.
        url: String,
        /// What was heard instead.
        reason: String,
    },
    /// It does not know us, or we may not.
    #[error("the schema registry at {url} does not let us in: check [registry] ({reason})")]
    Forbidden {
        /// Where it is.
        url: String,
        /// What it says.
        reason: String,
    },
    /// It never will: what is there already cannot be read by ours.
    #[error("the schema registry refuses version {version} of {subject}, which has to read what is there: {reason}")]
    Refused {
        /// Under which name.
        subject: String,
        /// Which version of ours.
        version: u32,
        /// What it says.
        reason: String,
    },
}

/// The ids of the schemas, by topic and version.
pub(crate) type Ids = BTreeMap<(&'static str, u32), u32>;

/// A registry that can be asked.
pub(crate) struct Registry {
    config: Config,
    client: Client,
}

impl Registry {
    /// Connects when it is first asked.
    ///
    /// # Errors
    /// [`Error::Config`] when the certificates cannot be used.
    pub(crate) fn new(config: Config) -> Result<Self, Error> {
        config.check().map_err(|problem| Error::Config(problem.trim_start_matches("registry.").to_owned()))?;
        let mut client = Client::builder().timeout(PATIENCE).no_proxy();
        if let Some(path) = &config.ca_file {
            let unusable = |why: String| Error::Config(format!("ca_file: {} cannot be used: {why}", path.display()));
            let pem = host::disk::read(path).map_err(|error| unusable(error.to_string()))?;
            let pem = pem.ok_or_else(|| unusable("it is not there".to_owned()))?;
            let all = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.to_string()))?;
            client = client.tls_certs_merge(all);
        }
        let client = client.build().map_err(|error| Error::Config(format!("url: {error}")))?;
        Ok(Self { config, client })
    }

    /// Makes the schemas known, the oldest first, and answers their ids.
    ///
    /// # Errors
    /// [`Error`]; a schema that does not read what the one before wrote is [`Error::Refused`].
    pub(crate) async fn register(&self, prefix: &str) -> Result<Ids, Error> {
        let mut ids = Ids::new();
        for version in &VERSIONS {
            let subject = subject(&format!("{prefix}{}", version.topic));
            self.demand_compatibility(&subject).await?;
            ids.insert((version.topic, version.version), self.id(&subject, version).await?);
        }
        Ok(ids)
    }

    /// Whatever is registered from now on has to read what is there.
    async fn demand_compatibility(&self, subject: &str) -> Result<(), Error> {
        if self.is_compatible(subject).await? {
            return Ok(());
        }
        let change = self.request(Method::PUT, &format!("config/{subject}"));
        let (status, answer) = self.ask(change.json(&json!({ "compatibility": COMPATIBILITY }))).await?;
        // Another engine that starts now wants the same, and one of the two is told that it is there already.
        if status.is_success() || self.is_compatible(subject).await? {
            return Ok(());
        }
        Err(self.failure(status, &answer))
    }

    async fn is_compatible(&self, subject: &str) -> Result<bool, Error> {
        let (status, answer) = self.ask(self.request(Method::GET, &format!("config/{subject}"))).await?;
        let level = answer["compatibilityLevel"].as_str();
        Ok(status.is_success() && level.is_some_and(|level| STRICTER.contains(&level)))
    }

    async fn id(&self, subject: &str, version: &Version) -> Result<u32, Error> {
        let schema = json!({ "schema": version.text, "schemaType": "AVRO" });
        let id_in = |answer: &Value| answer["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        let register = self.request(Method::POST, &format!("subjects/{subject}/versions"));
        let (status, answer) = self.ask(register.json(&schema)).await?;
        if let (true, Some(id)) = (status.is_success(), id_in(&answer)) {
            return Ok(id);
        }
        // Here, too, another engine can have been quicker: then it is there.
        let look_up = self.request(Method::POST, &format!("subjects/{subject}"));
        let (found, there) = self.ask(look_up.json(&schema)).await?;
        match (found.is_success(), id_in(&there), status) {
            (true, Some(id), _) => Ok(id),
            (_, _, StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY) => {
                let (subject, version) = (subject.to_owned(), version.version);
                Err(Error::Refused { subject, version, reason: reason(status, &answer) })
            }
            _ => Err(self.failure(status, &answer)),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}/{path}", self.config.url.trim_end_matches('/')));
        match (&self.config.username, &self.config.password) {
            (Some(username), Some(password)) => request.basic_auth(username, Some(password.reveal())),
            _ => request,
        }
    }

    /// The status and the JSON of an answer; an answer of another form is shown as text.
    async fn ask(&self, request: RequestBuilder) -> Result<(StatusCode, Value), Error> {
        let unreachable = |error: reqwest::Error| {
            let mut reason = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(deeper) = cause {
                reason = format!("{reason}: {deeper}");
                cause = deeper.source();
            }
            Error::Unreachable { url: self.config.url.clone(), reason }
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        let json = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text));
        Ok((status, json))
    }

    fn failure(&self, status: StatusCode, answer: &Value) -> Error {
        let (url, reason) = (self.config.url.clone(), reason(status, answer));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Forbidden { url, reason },
            _ => Error::Unreachable { url, reason },
        }
    }
}

fn reason(status: StatusCode, answer: &Value) -> String {
    let said = answer["message"].as_str().map_or_else(|| answer.to_string(), str::to_owned);
    format!("{status} {}", said.chars().take(MAX_SHOWN).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_found_and_named() {
        assert_eq!(Config::open("https://registry.example:8081/apis").check(), Ok(()));
        let named = Config { username: Some("u".to_owned()), ..Config::open("https://registry.example") };
        let open = Config { password: Some(Secret::new("p")), ..named.clone() };
        assert_eq!(open.check(), Ok(()));
        let clear = Config { url: "http://registry.example".to_owned(), ..open };
        for (named, config) in [
            ("registry.url", Config::open("registry:8081")),
            ("registry.username", named),
            ("registry.password", clear),
        ] {
            let problem = config.check().expect_err(named);
            assert!(problem.contains(named), "{problem}");
        }
    }

    /// A registry that another engine was told the same a moment ago.
    async fn registry_that_was_told() -> (String, host::task::Shutdown) {
        use axum::routing::{get, post};
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let level = move || async move {
            // Not yet when it is looked at first.
            let first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst).is_multiple_of(2);
            axum::Json(json!({ "compatibilityLevel": if first { "NONE" } else { COMPATIBILITY } }))
        };
        let exists = || async { (StatusCode::CONFLICT, axum::Json(json!({ "message": "it exists" }))) };
        let router = axum::Router::new()
            .route("/config/{subject}", get(level).put(exists))
            .route("/subjects/{subject}/versions", post(exists))
            .route("/subjects/{subject}", post(|| async { axum::Json(json!({ "id": 7 })) }));
        let listener = host::net::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = host::task::Shutdown::new();
        host::task::spawn(host::http::serve_router(listener, router, shutdown.clone()));
        (url, shutdown)
    }

    #[tokio::test]
    async fn two_engines_may_tell_it_the_same_at_the_same_time() {
        let (url, shutdown) = registry_that_was_told().await;
        let ids = Registry::new(Config::open(url)).unwrap().register("p.").await.unwrap();
        assert!(ids.len() == VERSIONS.len() && ids.values().all(|id| *id == 7), "{ids:?}");
        shutdown.stop();
    }
}
