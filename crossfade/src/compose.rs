//! Which parts run in this process, and how they are stopped.
//!
//! Parts talk to each other over TCP, also here: this module hands them addresses, never each other. The one
//! exception is the handle of the embedded log, which relay and comparator share because one process owns it.

use crate::client::{Exit, Failure};
use crate::config::{File, Log, checked};
use anyhow::Context;
use host::task::{JoinHandle, Shutdown};
use std::sync::Arc;

/// Parts that run in this process, those that others talk to first.
#[derive(Default)]
pub struct Running {
    parts: Vec<Part>,
}

struct Part {
    name: &'static str,
    shutdown: Shutdown,
    ended: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Lets a bound part run until the shutdown that it is given.
    fn start<F>(&mut self, name: &'static str, part: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        tracing::info!(part = name, "started");
        let shutdown = Shutdown::new();
        let ended = host::task::spawn(part(shutdown.clone()));
        self.parts.push(Part { name, shutdown, ended });
    }

    /// Waits until `shutdown`, or until a part ends by itself, because half a system is none. Then stops the parts
    /// one after the other, the front first: what it has begun is finished and shipped while the others are there.
    ///
    /// # Errors
    /// The first error of a part.
    pub async fn join(mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut first_error = None;
        if !self.parts.is_empty() {
            let any = futures_util::future::select_all(self.parts.iter_mut().map(|part| &mut part.ended));
            tokio::select! {
                (ended, index, _) = any => {
                    let part = self.parts.remove(index);
                    let error = error_of(part.name, ended);
                    first_error = error.or_else(|| Some(anyhow::anyhow!("the {} ended by itself", part.name)));
                }
                () = shutdown.stopped() => {}
            }
        }
        while let Some(part) = self.parts.pop() {
            part.shutdown.stop();
            let error = error_of(part.name, part.ended.await);
            first_error = first_error.or(error);
        }
        shutdown.stop();
        first_error.map_or(Ok(()), Err)
    }
}

fn error_of<E>(name: &str, ended: Result<anyhow::Result<()>, E>) -> Option<anyhow::Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let ended = ended.context("a part ended abnormally").and_then(|ended| ended);
    ended.err().map(|error| error.context(format!("the {name} stopped")))
}

/// `crossfade up`: every part that the configuration has a section for.
pub async fn up(file: File) -> anyhow::Result<Exit> {
    serve(async || start_all(file).await).await
}

/// `crossfade front`
pub async fn front(file: File) -> anyhow::Result<Exit> {
    let File { ledger, front, .. } = file;
    let config = section(front, "front")?;
    checked(config.check())?;
    serve(async || {
        let mut running = Running::default();
        start_front(&mut running, config, &ledger).await?;
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
    checked(relay.check())?;
    checked(comparator.check())?;
    serve(async || {
        let mut running = Running::default();
        start_relay_and_comparator(&mut running, log, relay, comparator, &ledger).await?;
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
    checked(engine::check(&config))?;
    serve(async || {
        let mut running = Running::default();
        start_engine(&mut running, config, &ledger).await?;
        Ok(running)
    })
    .await
}

/// `crossfade legacy`
#[cfg(feature = "demo")]
pub async fn legacy(file: File) -> anyhow::Result<Exit> {
    let config = section(file.legacy, "legacy")?;
    serve(async || {
        let mut running = Running::default();
        start_legacy(&mut running, config).await?;
        Ok(running)
    })
    .await
}

fn section<T>(section: Option<T>, name: &str) -> Result<T, Failure> {
    section.ok_or_else(|| Failure::new(Exit::Usage, format!("the configuration has no section [{name}]")))
}

/// Runs what `start` starts until SIGINT or SIGTERM, then stops it in order.
async fn serve(start: impl AsyncFnOnce() -> anyhow::Result<Running>) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::new();
    let running = start().await?;
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
/// When the configuration cannot work, before anything is opened; or when a part cannot be bound: the process is
/// expected to end then.
pub async fn start_all(file: File) -> anyhow::Result<Running> {
    file.check()?;
    let mut running = Running::default();
    let ledger = file.ledger;
    #[cfg(feature = "demo")]
    if let Some(config) = file.legacy {
        start_legacy(&mut running, config).await?;
    }
    if let Some(config) = file.engine {
        start_engine(&mut running, config, &ledger).await?;
    }
    // The check made sure that they are there together, or not at all.
    if let (Some(log), Some(relay), Some(comparator)) = (file.log, file.relay, file.comparator) {
        start_relay_and_comparator(&mut running, log, relay, comparator, &ledger).await?;
    }
    if let Some(config) = file.front {
        start_front(&mut running, config, &ledger).await?;
    }
    if running.parts.is_empty() {
        return Err(Failure::new(Exit::Usage, "the configuration has a section for no part").into());
    }
    Ok(running)
}

#[cfg(feature = "demo")]
async fn start_legacy(running: &mut Running, config: testbed_legacy::Config) -> anyhow::Result<()> {
    let bound = testbed_legacy::bind(config).await.context("the legacy cannot start")?;
    running.start("legacy", async move |shutdown| Ok(bound.run(shutdown).await?));
    Ok(())
}

async fn start_engine(running: &mut Running, config: engine::Config, ledger: &str) -> anyhow::Result<()> {
    let bound = engine::bind(config, ledger).await.context("the engine cannot start")?;
    running.start("engine", async move |shutdown| Ok(bound.run(shutdown).await?));
    Ok(())
}

async fn start_relay_and_comparator(
    running: &mut Running,
    log: Log,
    relay: proxy::relay::Config,
    comparator: comparator::Config,
    ledger: &str,
) -> anyhow::Result<()> {
    let log: Arc<dyn eventlog::Log> =
        eventlog::EmbeddedLog::open(&log.data_dir).context("the log of the cutover cannot be opened")?;
    let relay = proxy::relay::bind(relay, ledger, Arc::clone(&log)).await.context("the relay cannot start")?;
    let comparator = comparator::bind(ledger, comparator, log).await.context("the comparator cannot start")?;
    running.start("comparator", async move |shutdown| Ok(comparator.run(shutdown).await?));
    running.start("relay", async move |shutdown| Ok(relay.run(shutdown).await?));
    Ok(())
}

async fn start_front(running: &mut Running, config: proxy::front::Config, ledger: &str) -> anyhow::Result<()> {
    let bound = proxy::front::bind(config, ledger).await.context("the front cannot start")?;
    running.start("front", async move |shutdown| Ok(bound.run(shutdown).await?));
    Ok(())
}
