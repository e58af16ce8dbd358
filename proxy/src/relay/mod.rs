//! The relay: takes the fronts' journals into the log, and delivers the shadow legs of what stands there.
//!
//! | module | what |
//! |---|---|
//! | [`delivery`] | pure: which leg goes when, and what its answer means |
//! | [`shell`] | reads the topics, executes what `delivery` wants done |
//! | [`calls`] | legs and questions over HTTP |
//! | [`writer`] | the chain of `cutover.shadows` |
//! | [`ingest`] | the fronts' connections, the writer of `cutover.exchanges` |
//! | [`appending`] | appends that end in certainty |
//! | [`start`] | the fold of the past |
//! | [`dead_letters`] | keeps records that are no exchanges |
//! | [`operators`], [`meter`] | the listener for operators, and what is counted |
//!
//! Invariants: nothing is acknowledged to a front before it is durable; a leg is sent only after the record that
//! announces it was read back; a leg that was concluded is never sent again; what a leg did is in the log before
//! anything follows from it. One relay is active per ledger.

mod appending;
mod calls;
mod config;
mod dead_letters;
mod delivery;
mod ingest;
mod meter;
mod operators;
mod shell;
mod start;
#[cfg(test)]
mod tests;
mod writer;

pub use config::Config;

use appending::Appending;
use calls::Calls;
use eventlog::place::LOG;
use eventlog::{AppendError, Log, Place, ReadError, Unusable};
use host::net::{self, TcpListener};
use host::ops::Readiness;
use host::secret::Secret;
use host::task::{self, JoinSet, Shutdown};
use ingest::Ingest;
use shell::{Offsets, Shell};
use start::Start;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use wire::stored::DecodeError;
use wire::{exchange, shadow};
use writer::Written;

/// Scopes idempotency keys.
const TENANT_HEADER: &str = "x-tenant";

/// Why the relay cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] std::io::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(ReadError),
    /// The log will never be usable as it is.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The log did not take records until the relay had to stop; they are shipped, or done, again.
    #[error(transparent)]
    Append(AppendError),
    /// A newer program wrote a record, or what this relay wrote is damaged; it is never skipped.
    #[error("{topic} at offset {offset}: {reason}")]
    Unreadable {
        /// The topic.
        topic: &'static str,
        /// Where it stands.
        offset: u64,
        /// Why.
        reason: DecodeError,
    },
    /// Somebody else writes where only one relay may.
    #[error("another relay writes into {topic} (offset {offset}): only one may be active per ledger")]
    AnotherRelay {
        /// The topic.
        topic: &'static str,
        /// Its record.
        offset: u64,
    },
    /// A task of the relay ended as it must not.
    #[error("a task of the relay died: {0}")]
    Died(String),
}

/// A relay whose listeners are open.
pub struct Bound {
    config: Config,
    token: Secret,
    ledger: String,
    place: Place,
    ingest: TcpListener,
    operators: TcpListener,
    addresses: (SocketAddr, SocketAddr),
}

/// Checks the configuration and opens the listeners. `place` is where the topics `cutover.*` of the ledger are.
///
/// # Errors
/// When the configuration cannot work, or a listener cannot be opened.
pub async fn bind(config: Config, ledger: &str, place: Place) -> Result<Bound, Error> {
    config.check().map_err(Error::Config)?;
    let token = config.service_token.clone().ok_or_else(|| Error::Config("relay.service_token is missing".into()))?;
    let ingest = net::listen(config.ingest_listen).await?;
    let operators = net::listen(config.listen).await?;
    let addresses = (ingest.local_addr()?, operators.local_addr()?);
    Ok(Bound { config, token, ledger: ledger.to_owned(), place, ingest, operators, addresses })
}

impl Bound {
    /// Where fronts ship to.
    pub fn ingest_address(&self) -> SocketAddr {
        self.addresses.0
    }

    /// Where operators and fronts ask.
    pub fn address(&self) -> SocketAddr {
        self.addresses.1
    }

    /// Folds the past, then ingests and delivers until `shutdown`.
    ///
    /// # Errors
    /// When the log cannot be read, or another relay writes into it.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let readiness = Readiness::new();
        crate::metrics::describe_relay();
        readiness.blocked(LOG, "the log is being opened");
        let (report, events) = mpsc::unbounded_channel();
        let router = operators::router(self.token.clone(), report.clone(), readiness.clone());
        // Operators may look for as long as anything runs.
        let closing = Shutdown::new();
        let serving = task::spawn(host::http::serve_router(self.operators, router, closing.clone()));
        let start = tokio::select! {
            start = start::begin(&self.place, &self.ledger, &self.config, &readiness) => Some(start),
            () = shutdown.stopped() => None,
        };
        let outcome = match start {
            Some(Ok(start)) => {
                readiness.cleared(LOG);
                let log = self.place.log();
                let parts = Parts { config: self.config, token: self.token, log, ingest: self.ingest };
                parts.run(start, (report, events), readiness, shutdown).await
            }
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        closing.stop();
        serving.await.map_err(|error| Error::Died(error.to_string()))?;
        outcome
    }
}

/// What ingest and deliveries are made of.
struct Parts {
    config: Config,
    token: Secret,
    log: Arc<dyn Log>,
    ingest: TcpListener,
}

/// Both ends of what the shell hears.
type Events = (mpsc::UnboundedSender<shell::Event>, mpsc::UnboundedReceiver<shell::Event>);

impl Parts {
    /// Runs ingest, writer and shell; when one of them ends, all of them do.
    async fn run(
        self,
        start: Start,
        (report, events): Events,
        readiness: Readiness,
        shutdown: Shutdown,
    ) -> Result<(), Error> {
        let from = Offsets { exchanges: start.exchanges, shadows: start.shadows, rollout: start.rollout };
        let (front_events, fronts) = mpsc::unbounded_channel();
        let (bodies, queue) = mpsc::unbounded_channel();
        let stop = shutdown.child();
        let appending =
            |topic, next| Appending::new(Arc::clone(&self.log), topic, next, readiness.clone(), stop.clone());
        let ingest = Ingest {
            listener: self.ingest,
            token: self.token,
            silence: Duration::from_millis(self.config.front_silence_ms),
            appending: appending(exchange::TOPIC, from.exchanges),
            shipped: start.shipped,
            events: front_events,
        };
        let written = Written::default();
        let appending_shadows = appending(shadow::TOPIC, from.shadows);
        let writer = writer::run(appending_shadows, start.head.digest(), written.clone(), queue);
        let shell = Shell {
            delivery: start.delivery,
            dead_letters: start.dead_letters,
            head: start.head,
            decisions: start.decisions,
            written,
            calls: Calls::new(&self.config),
            log: self.log,
            shadows: bodies,
            report,
        };
        let mut parts = JoinSet::new();
        parts.spawn(ingest.run(stop.clone()));
        parts.spawn(writer);
        parts.spawn(shell.run(from, events, fronts, stop.clone()));
        all_ended(parts, &stop).await
    }
}

/// Waits until every part has ended; the first to end stops the others.
///
/// # Errors
/// The first there was: what the others say when they are stopped follows from it.
async fn all_ended(mut parts: JoinSet<Result<(), Error>>, stop: &Shutdown) -> Result<(), Error> {
    let mut outcome = Ok(());
    while let Some(ended) = parts.join_next().await {
        stop.stop();
        outcome = outcome.and(ended.unwrap_or_else(|error| Err(Error::Died(error.to_string()))));
    }
    outcome
}
