//! The engine as a process part: opens the log, starts the ledger, serves its two listeners.

use crate::api::caller::Trust;
use crate::api::{self, Api};
use crate::config::Config;
use crate::ledger::{Duties, Ledger, OpenError, Settings};
use eventlog::serve::Served;
use eventlog::{EmbeddedLog, Log, Record};
use host::net::TcpListener;
use host::ops::Readiness;
use host::task::Shutdown;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::control::LogLine;

/// The log's file in the data directory.
const LOG_FILE: &str = "billing.redb";
/// An awaited step of a saga is asked for again after this long: long against a healthy shard's answer, short
/// against a client's patience.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Shards are threads of work and files of history: more than this many is a mistake in the configuration.
const MAX_SHARDS: u32 = 1024;

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value of the configuration cannot be used.
    #[error("engine.{key}: {problem}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong with its value, and what to do.
        problem: String,
    },
    /// The data directory or its log cannot be opened.
    #[error(transparent)]
    Log(#[from] eventlog::OpenError),
    /// The journal cannot be folded.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] io::Error),
}

/// An engine that holds its data directory and its listeners, and serves once it runs.
pub struct Bound {
    listener: TcpListener,
    control_listener: TcpListener,
    api: Arc<Api>,
    log: Arc<dyn Log>,
    readiness: Readiness,
}

/// Opens the data directory, folds the journal of the ledger named `ledger`, and opens the listeners.
///
/// # Errors
/// [`Error`]; each names what cannot be used.
pub async fn bind(config: Config, ledger: &str) -> Result<Bound, Error> {
    check(&config)?;
    let trust = Trust { actor_header: actor_header(&config)?, service_token: config.service_token.clone() };
    host::ops::record_metrics();
    crate::metrics::describe();
    let log: Arc<dyn Log> = EmbeddedLog::open_file(&config.data_dir, LOG_FILE)?;
    let listener = host::net::listen(config.listen).await?;
    let control_listener = host::net::listen(config.control_listen).await?;
    let readiness = Readiness::new();
    let settings = Settings { ledger: ledger.to_owned(), shards: config.shards, ask_again: ASK_AGAIN };
    let ledger = Ledger::open(Arc::clone(&log), settings, readiness.clone(), Duties::all(config.shards)).await?;
    let api = Arc::new(Api {
        ledger,
        trust,
        answer_wait: Duration::from_millis(config.answer_wait_ms),
        default_answer: config.default_answer,
        refusal_keeps_key: config.refusal_keeps_key,
        max_body_bytes: config.max_body_bytes,
    });
    Ok(Bound { listener, control_listener, api, log, readiness })
}

impl Bound {
    /// Where the billing API listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where `/internal/*` listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn control_address(&self) -> io::Result<SocketAddr> {
        self.control_listener.local_addr()
    }

    /// The ledger behind the API.
    pub fn ledger(&self) -> &Ledger {
        &self.api.ledger
    }

    /// Serves until `shutdown`; then finishes what is in flight, and only then stops the shards.
    ///
    /// # Errors
    /// None yet: what fails later is told by `/readyz`.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let shards_shutdown = Shutdown::new();
        let shards = host::task::spawn({
            let (ledger, shutdown) = (self.api.ledger.clone(), shards_shutdown.clone());
            async move { ledger.run(shutdown).await }
        });
        let served = Served {
            log: self.log,
            topics: crate::ledger::topics(self.api.ledger.shards()),
            line: log_line,
            shutdown: shutdown.clone(),
        };
        let billing = api::router(Arc::clone(&self.api), self.readiness.clone());
        let control = api::control::router(self.api, served, self.readiness);
        tracing::info!(
            listen = ?self.listener.local_addr().ok(),
            control_listen = ?self.control_listener.local_addr().ok(),
            "the engine serves"
        );
        let _ = futures_util::future::join(
            host::http::serve_router(self.listener, billing, shutdown.clone()),
            host::http::serve_router(self.control_listener, control, shutdown),
        )
        .await;
        shards_shutdown.stop();
        if let Err(error) = shards.await {
            tracing::error!(%error, "the shards ended badly");
        }
        Ok(())
    }
}

fn actor_header(config: &Config) -> Result<Option<axum::http::HeaderName>, Error> {
    let Some(name) = &config.actor_header else { return Ok(None) };
    name.parse().map(Some).map_err(|_| Error::Config {
        key: "actor_header",
        problem: format!("`{name}` is no name of a header: write one such as X-Actor"),
    })
}

/// Finds what cannot work before anything is opened.
///
/// # Errors
/// [`Error::Config`], which names the key.
pub fn check(config: &Config) -> Result<(), Error> {
    actor_header(config)?;
    let wrong = |key, problem: &str| Err(Error::Config { key, problem: problem.to_owned() });
    if !(1..=MAX_SHARDS).contains(&config.shards) {
        return wrong("shards", &format!("{} is not from 1 to {MAX_SHARDS}", config.shards));
    }
    if config.answer_wait_ms == 0 {
        return wrong(
            "answer_wait_ms",
            "0 leaves no time to answer: for answers at once set default_answer = \"async\"",
        );
    }
    if config.max_body_bytes == 0 {
        return wrong("max_body_bytes", "0 leaves no room for any request");
    }
    Ok(())
}

/// A record as `GET /internal/log/…` shows it.
fn log_line(record: &Record) -> Vec<u8> {
    let line = LogLine::of(record.offset, record.at_micros, &record.value);
    serde_json::to_vec(&line).expect("a line is plain data with text keys")
}
