//! Which parts run in this process, and how they are stopped.
//!
//! Parts talk to each other over TCP, also here: this module hands them addresses, never each other. The one
//! exception is the handle of the embedded log, which relay and comparator share because one process owns it.

use crate::client::{Exit, Failure};
use crate::config::{File, Log};
use anyhow::Context;
use host::task::{JoinHandle, Shutdown};
use std::sync::Arc;

/// Parts that run in this process.
#[derive(Default)]
pub struct Running {
    parts: Vec<(&'static str, JoinHandle<anyhow::Result<()>>)>,
}

impl Running {
    /// Lets a bound part run until `shutdown`.
    fn start<F>(&mut self, name: &'static str, part: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        tracing::info!(part = name, "started");
        self.parts.push((name, host::task::spawn(part)));
    }

    /// Waits until every part has ended; the first that ends stops the others, because half a system is none.
    ///
    /// # Errors
    /// The first part's own error.
    pub async fn join(self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut parts = self.parts;
        let mut first_error = None;
        while !parts.is_empty() {
            let (ended, index, _) = futures_util::future::select_all(parts.iter_mut().map(|(_, handle)| handle)).await;
            let (name, _) = parts.remove(index);
            if let Err(error) = ended.context("a part ended abnormally").and_then(|ended| ended) {
                first_error.get_or_insert(error.context(format!("the {name} stopped")));
            } else if !shutdown.is_stopping() {
                first_error.get_or_insert(anyhow::anyhow!("the {name} ended by itself"));
            }
            shutdown.stop();
        }
        first_error.map_or(Ok(()), Err)
    }
}

/// `crossfade up`: every part that the configuration has a section for.
pub async fn up(file: File) -> anyhow::Result<Exit> {
    serve(async |shutdown| start_all(file, shutdown).await).await
}

/// `crossfade front`
pub async fn front(file: File) -> anyhow::Result<Exit> {
    let File { ledger, front, .. } = file;
    let config = section(front, "front")?;
    serve(async |shutdown| {
        let mut running = Running::default();
        start_front(&mut running, config, &ledger, shutdown).await?;
        Ok(running)
    })
    .await
}

/// `crossfade relay`, with the comparator beside it when asked to.
pub async fn relay(file: File, with_comparator: bool) -> anyhow::Result<Exit> {
    if !with_comparator {
        return Err(Failure::new(
            Exit::Usage,
            "the embedded log belongs to one process, so relay and comparator share it: run `crossfade relay --with comparator`",
        )
        .into());
    }
    let File { ledger, log, relay, comparator, .. } = file;
    let (log, relay, comparator) = (section(log, "log")?, section(relay, "relay")?, section(comparator, "comparator")?);
    serve(async |shutdown| {
        let mut running = Running::default();
        start_relay_and_comparator(&mut running, log, relay, comparator, &ledger, shutdown).await?;
        Ok(running)
    })
    .await
}

/// `crossfade comparator`: cannot stand alone on the embedded log.
pub fn comparator_alone() -> anyhow::Result<Exit> {
    Err(Failure::new(
        Exit::Usage,
        "the embedded log belongs to one process, so relay and comparator share it: run `crossfade relay --with comparator`",
    )
    .into())
}

/// `crossfade engine`
pub async fn engine(file: File) -> anyhow::Result<Exit> {
    let File { ledger, engine, .. } = file;
    let config = section(engine, "engine")?;
    serve(async |shutdown| {
        let mut running = Running::default();
        start_engine(&mut running, config, &ledger, shutdown).await?;
        Ok(running)
    })
    .await
}

/// `crossfade legacy`
#[cfg(feature = "demo")]
pub async fn legacy(file: File) -> anyhow::Result<Exit> {
    let config = section(file.legacy, "legacy")?;
    serve(async |shutdown| {
        let mut running = Running::default();
        start_legacy(&mut running, config, shutdown).await?;
        Ok(running)
    })
    .await
}

fn section<T>(section: Option<T>, name: &str) -> Result<T, Failure> {
    section.ok_or_else(|| Failure::new(Exit::Usage, format!("the configuration has no section [{name}]")))
}

/// Runs what `start` starts until SIGINT or SIGTERM, then stops it in order.
async fn serve(start: impl AsyncFnOnce(&Shutdown) -> anyhow::Result<Running>) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::new();
    let running = start(&shutdown).await?;
    let on_signal = shutdown.clone();
    host::task::spawn(async move {
        host::task::interrupted().await;
        tracing::info!("stopping");
        on_signal.stop();
    });
    running.join(&shutdown).await?;
    Ok(Exit::Done)
}

/// Starts every part that has a section, those that others talk to first.
///
/// # Errors
/// When one cannot be bound; the ones already started are stopped with `shutdown`.
pub async fn start_all(file: File, shutdown: &Shutdown) -> anyhow::Result<Running> {
    let mut running = Running::default();
    let ledger = file.ledger;
    #[cfg(feature = "demo")]
    if let Some(config) = file.legacy {
        start_legacy(&mut running, config, shutdown).await?;
    }
    if let Some(config) = file.engine {
        start_engine(&mut running, config, &ledger, shutdown).await?;
    }
    match (file.relay, file.comparator) {
        (Some(relay), Some(comparator)) => {
            let log = section(file.log, "log")?;
            start_relay_and_comparator(&mut running, log, relay, comparator, &ledger, shutdown).await?;
        }
        (None, None) => {}
        _ => {
            return Err(Failure::new(
                Exit::Usage,
                "with the embedded log, [relay] and [comparator] belong to one process: give both sections or neither",
            )
            .into());
        }
    }
    if let Some(config) = file.front {
        start_front(&mut running, config, &ledger, shutdown).await?;
    }
    if running.parts.is_empty() {
        return Err(Failure::new(Exit::Usage, "the configuration has a section for no part").into());
    }
    Ok(running)
}

#[cfg(feature = "demo")]
async fn start_legacy(
    running: &mut Running,
    config: testbed_legacy::Config,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let bound = testbed_legacy::bind(config).await.context("the legacy cannot start")?;
    let shutdown = shutdown.clone();
    running.start("legacy", async move { Ok(bound.run(shutdown).await?) });
    Ok(())
}

async fn start_engine(
    running: &mut Running,
    config: engine::Config,
    ledger: &str,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let bound = engine::bind(config, ledger).await.context("the engine cannot start")?;
    let shutdown = shutdown.clone();
    running.start("engine", async move { Ok(bound.run(shutdown).await?) });
    Ok(())
}

async fn start_relay_and_comparator(
    running: &mut Running,
    log: Log,
    relay: proxy::relay::Config,
    comparator: comparator::Config,
    ledger: &str,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let log: Arc<dyn eventlog::Log> =
        eventlog::EmbeddedLog::open(&log.data_dir).context("the log of the cutover cannot be opened")?;
    let relay = proxy::relay::bind(relay, ledger, Arc::clone(&log)).await.context("the relay cannot start")?;
    let comparator = comparator::bind(ledger, comparator, log).await.context("the comparator cannot start")?;
    let (for_relay, for_comparator) = (shutdown.clone(), shutdown.clone());
    running.start("relay", async move { Ok(relay.run(for_relay).await?) });
    running.start("comparator", async move { Ok(comparator.run(for_comparator).await?) });
    Ok(())
}

async fn start_front(
    running: &mut Running,
    config: proxy::front::Config,
    ledger: &str,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let bound = proxy::front::bind(config, ledger).await.context("the front cannot start")?;
    let shutdown = shutdown.clone();
    running.start("front", async move { Ok(bound.run(shutdown).await?) });
    Ok(())
}
