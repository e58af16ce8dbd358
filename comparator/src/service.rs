//! Binding and running the comparator.

use crate::api;
use crate::chain::Chain;
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
use crate::systems::Systems;
use eventlog::Log;
use host::net::TcpListener;
use host::ops::Readiness;
use host::task::{self, Shutdown};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What keeps the comparator from being ready.
const CATCHING_UP: &str = "index";

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
    parts: Arc<Parts>,
    inquirer: Arc<Inquirer>,
    inquiries: mpsc::UnboundedReceiver<Inquiry>,
}

/// Opens the listener and reads the chains; `log` holds the cutover topics of `ledger`.
///
/// # Errors
/// [`Error`], with what has to be mended.
pub async fn bind(ledger: &str, config: Config, log: Arc<dyn Log>) -> Result<Bound, Error> {
    config.check().map_err(Error::Config)?;
    let listener = host::net::listen(config.listen).await?;
    let address = listener.local_addr()?;
    let (asking, inquiries) = mpsc::unbounded_channel();
    let ingest = Arc::new(Ingest::new(log.clone(), Index::new(ledger), asking));
    let fronts = Fronts::new();
    let dial = Chain::new(log.clone(), DialState::genesis(ledger));
    dial.catch_up().await.map_err(|error| Error::Log(error.to_string()))?;
    let dial = Arc::new(Dial::new(dial, ingest.clone(), fronts.clone(), config.handover(), config.drained_within_ms));
    let decisions = Arc::new(Decisions::new(log.clone(), ledger));
    decisions.chain().catch_up().await.map_err(|error| Error::Log(error.to_string()))?;
    let marks = Arc::new(Marks::new(fronts.clone(), ingest.clone(), config.mark_wait()));
    let systems = Systems::new(&config);
    let inquirer = Arc::new(Inquirer::new(ingest.clone(), decisions.clone(), marks.clone(), systems.clone()));
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
        dial,
        decisions,
        fronts,
        reconciler,
        auditing: tokio::sync::Mutex::new(()),
        settling: tokio::sync::Mutex::new(()),
        shutdown: Shutdown::new(),
    };
    Ok(Bound { listener, address, parts: Arc::new(parts), inquirer, inquiries })
}

impl Bound {
    /// Where the control API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `shutdown`, then finishes what is in flight.
    ///
    /// # Errors
    /// None so far: what goes wrong while running is said in the log, by `/readyz`, and by closed gates.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let parts = self.parts;
        // Streams end with this part, whoever gives the signal.
        let stop = parts.shutdown.clone();
        let readiness = Readiness::new();
        readiness.blocked(CATCHING_UP, "reading the log");
        // Before the tasks: it sets up the recorder that their metrics go to.
        let router = api::router(parts.clone()).merge(host::ops::router(readiness.clone()));
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
            task::spawn(self.inquirer.run(self.inquiries, parts.config.inquiries_at_once, stop.clone())),
            task::spawn(report_readiness(parts.clone(), readiness, stop.clone())),
            task::spawn(Exporter::new(parts.clone()).run(stop.clone())),
        ];
        tracing::info!(address = %self.address, ledger = parts.ledger, "the comparator listens");
        let serving = task::spawn(host::http::serve_router(self.listener, router, stop.clone()));
        shutdown.stopped().await;
        stop.stop();
        let _ = serving.await;
        for task in tasks {
            let _ = task.await;
        }
        Ok(())
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
