//! Binding and running the comparator.

use crate::api;
use crate::chain::{Chain, Failure};
use crate::config::Config;
use crate::decisions::Decisions;
use crate::index::{Index, Inquiry};
use crate::ingest::Ingest;
use crate::inquiry::Inquirer;
use crate::marks::Marks;
use crate::metrics::Exporter;
use crate::reconcile::Reconciler;
use crate::rollout::Dial;
use crate::rollout::state::DialState;
use crate::stream::Fronts;
use crate::systems::{EngineWatch, Systems};
use eventlog::place::LOG;
use eventlog::{Log, Place, Unusable};
use host::clock;
use host::http::Later;
use host::net::TcpListener;
use host::ops::Readiness;
use host::task::{self, Shutdown};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What keeps the comparator from being ready while its index is behind.
const CATCHING_UP: &str = "index";
/// After a log that could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The comparator could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] std::io::Error),
    /// The chains cannot be read: nobody could move the dial, and nobody could trust it.
    #[error("cannot read the log: {0}")]
    Log(String),
    /// The log will never be usable as it is.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// What the handlers of the API work on.
pub struct Parts {
    /// The ledger.
    pub ledger: String,
    /// The configuration.
    pub config: Config,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The index.
    pub ingest: Arc<Ingest>,
    /// The dial.
    pub dial: Arc<Dial>,
    /// The decisions.
    pub decisions: Arc<Decisions>,
    /// Who listens to the dial.
    pub fronts: Fronts,
    /// Compares balances.
    pub reconciler: Arc<Reconciler>,
    /// Held while the log is verified.
    pub auditing: tokio::sync::Mutex<()>,
    /// Held while a discrepancy is settled or opened again.
    pub settling: tokio::sync::Mutex<()>,
    /// Ends streams.
    pub shutdown: Shutdown,
}

/// A comparator that listens and does not run yet.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    ledger: String,
    config: Config,
    place: Place,
}

/// Opens the listener; `place` is where the cutover topics of `ledger` are.
///
/// # Errors
/// [`Error`], with what has to be mended.
pub async fn bind(ledger: &str, config: Config, place: Place) -> Result<Bound, Error> {
    config.check().map_err(Error::Config)?;
    let listener = host::net::listen(config.listen).await?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address, ledger: ledger.to_owned(), config, place })
}

impl Bound {
    /// Where the control API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the chains as soon as the log can be used, then runs until `shutdown`, and finishes what is in flight.
    /// Until the chains are read, the API is answered 503.
    ///
    /// # Errors
    /// When the chains cannot be read: nobody could move the dial. What goes wrong while running is said in the log, by
    /// `/readyz`, and by closed gates.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        // Streams end with this part, whoever gives the signal.
        let stop = Shutdown::new();
        let readiness = Readiness::new();
        readiness.blocked(CATCHING_UP, "reading the log");
        // Before the tasks: it sets up the recorder that their metrics go to.
        let (later, starting) = (Later::default(), api::starting(readiness.clone()));
        let serving = task::spawn(host::http::serve_router(self.listener, later.or(starting), stop.clone()));
        tracing::info!(address = %self.address, ledger = self.ledger, "the comparator listens");
        let working = Working::new(&self.ledger, self.config, self.place.log(), stop.clone());
        let opened = tokio::select! {
            opened = working.open(&self.place, &readiness) => opened,
            () = shutdown.stopped() => Ok(()),
        };
        if opened.is_ok() && !shutdown.is_stopping() {
            later.set(api::router(working.parts.clone()).merge(host::ops::router(readiness.clone())));
            working.work(readiness, &shutdown, &stop).await;
        }
        stop.stop();
        let _ = serving.await;
        opened
    }
}

/// A comparator at work.
struct Working {
    parts: Arc<Parts>,
    inquirer: Arc<Inquirer>,
    inquiries: mpsc::UnboundedReceiver<Inquiry>,
    engine: Arc<EngineWatch>,
}

impl Working {
    fn new(ledger: &str, config: Config, log: Arc<dyn Log>, stop: Shutdown) -> Self {
        let (asking, inquiries) = mpsc::unbounded_channel();
        let ingest = Arc::new(Ingest::new(log.clone(), Index::new(ledger), asking));
        let fronts = Fronts::new();
        let dial = Chain::new(log.clone(), DialState::genesis(ledger));
        let systems = Systems::new(&config);
        let engine = Arc::new(EngineWatch::new(systems.clone()));
        let (handover, drained) = (config.handover(), config.drained_within_ms);
        let dial = Dial::new(dial, ingest.clone(), fronts.clone(), engine.clone(), handover, drained);
        let decisions = Arc::new(Decisions::new(log.clone(), ledger));
        let marks = Arc::new(Marks::new(fronts.clone(), ingest.clone(), config.mark_wait()));
        let inquirer = Inquirer::new(ingest.clone(), decisions.clone(), marks.clone(), systems.clone());
        let inquirer = Arc::new(inquirer);
        let reconciler = Arc::new(Reconciler::new(
            ingest.clone(),
            decisions.clone(),
            marks,
            inquirer.clone(),
            systems,
            config.reconcile_timeout(),
        ));
        let parts = Parts {
            ledger: ledger.to_owned(),
            config,
            log,
            ingest,
            dial: Arc::new(dial),
            decisions,
            fronts,
            reconciler,
            auditing: tokio::sync::Mutex::new(()),
            settling: tokio::sync::Mutex::new(()),
            shutdown: stop,
        };
        Self { parts: Arc::new(parts), inquirer, inquiries, engine }
    }

    /// Reads the chains; waits while the log does not answer.
    async fn open(&self, place: &Place, readiness: &Readiness) -> Result<(), Error> {
        loop {
            place.until_usable(readiness).await?;
            let Err(failure) = self.read_chains().await else {
                readiness.cleared(LOG);
                return Ok(());
            };
            let Some(why) = failure.may_pass() else { return Err(Error::Log(failure.to_string())) };
            tracing::warn!(why, "waiting for the log");
            readiness.blocked(LOG, why);
            clock::sleep(READ_AGAIN).await;
        }
    }

    async fn read_chains(&self) -> Result<(), Failure<std::convert::Infallible>> {
        self.parts.dial.chain().catch_up().await?;
        self.parts.decisions.chain().catch_up().await?;
        Ok(())
    }

    async fn work(self, readiness: Readiness, shutdown: &Shutdown, stop: &Shutdown) {
        let parts = self.parts;
        let tasks = [
            task::spawn({
                let (parts, stop) = (parts.clone(), stop.clone());
                async move { parts.ingest.run(&stop).await }
            }),
            task::spawn({
                let (parts, stop) = (parts.clone(), stop.clone());
                async move { parts.dial.chain().follow(&stop).await }
            }),
            task::spawn({
                let (parts, stop) = (parts.clone(), stop.clone());
                async move { parts.dial.watch_pending(&stop).await }
            }),
            task::spawn({
                let (engine, stop) = (self.engine, stop.clone());
                async move { engine.run(&stop).await }
            }),
            task::spawn(self.inquirer.run(self.inquiries, parts.config.inquiries_at_once, stop.clone())),
            task::spawn(report_readiness(parts.clone(), readiness, stop.clone())),
            task::spawn(Exporter::new(parts.clone()).run(stop.clone())),
        ];
        shutdown.stopped().await;
        stop.stop();
        for task in tasks {
            let _ = task.await;
        }
    }
}

/// Ready means that the index knows what is in the log.
async fn report_readiness(parts: Arc<Parts>, readiness: Readiness, shutdown: Shutdown) {
    let mut progress = parts.ingest.watch();
    loop {
        let now = progress.borrow_and_update().clone();
        match (&now.failed, now.caught_up) {
            (Some(why), _) => readiness.blocked(CATCHING_UP, why.clone()),
            (None, false) => readiness.blocked(CATCHING_UP, "reading the log"),
            (None, true) => readiness.cleared(CATCHING_UP),
        }
        tokio::select! {
            _ = progress.changed() => {}
            () = shutdown.stopped() => return,
        }
    }
}
