//! Which parts run in this process, and how they are stopped.
//!
//! Parts talk to each other over TCP, also here: this module hands them addresses, never each other. The one
//! exception is the handle of the log of the cutover, which relay and comparator share: of an embedded one, because
//! one process owns it.

use crate::client::{Exit, Failure};
use crate::config::{File, checked};
use crate::topics;
use anyhow::Context;
use eventlog::Place;
use eventlog::kafka::Connection;
use host::task::{JoinHandle, Shutdown};

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

/// `crossfade up`: every part that the configuration has a section for. With `salvage` the front goes on without what it cannot
/// read of its journal.
pub async fn up(mut file: File, salvage: bool) -> anyhow::Result<Exit> {
    if salvage {
        section(file.front.as_mut(), "front")?.salvage = true;
    }
    serve(async || start_all(file).await).await
}

/// `crossfade front`, with `salvage` as in [`up`].
pub async fn front(file: File, salvage: bool) -> anyhow::Result<Exit> {
    let File { ledger, front, .. } = file;
    let config = proxy::front::Config { salvage, ..section(front, "front")? };
    checked(config.check())?;
    serve(async || {
        let mut running = Running::default();
        start_front(&mut running, config, &ledger).await?;
        Ok(running)
    })
    .await
}

/// `crossfade relay`, with the comparator beside it when asked to.
pub async fn relay(mut file: File, with_comparator: bool) -> anyhow::Result<Exit> {
    file.check()?;
    if !with_comparator && file.kafka.is_none() {
        return Err(Failure::new(Exit::Usage, ONE_PROCESS).into());
    }
    let relay = section(file.relay.take(), "relay")?;
    let comparator = with_comparator.then(|| section(file.comparator.take(), "comparator")).transpose()?;
    let place = cutover(&file)?;
    serve(async || {
        let mut running = Running::default();
        start_relay_and_comparator(&mut running, place, Some(relay), comparator, &file.ledger).await?;
        Ok(running)
    })
    .await
}

/// `crossfade comparator`
pub async fn comparator(mut file: File) -> anyhow::Result<Exit> {
    file.check()?;
    if file.kafka.is_none() {
        return Err(Failure::new(Exit::Usage, ONE_PROCESS).into());
    }
    let comparator = section(file.comparator.take(), "comparator")?;
    let place = cutover(&file)?;
    serve(async || {
        let mut running = Running::default();
        start_relay_and_comparator(&mut running, place, None, Some(comparator), &file.ledger).await?;
        Ok(running)
    })
    .await
}

/// Why neither can stand alone.
const ONE_PROCESS: &str = "the embedded log belongs to one process, so relay and comparator share it: run `crossfade \
                           relay --with comparator`";

/// Relay and comparator append batches that no client waits for. Less than an append takes, and long enough for a batch to
/// go as one request: else its first record is sent alone and the rest waits for the answer to that, while the library's
/// thread asks without a pause whether it may go on. The engine's appends go at once: there a client waits.
const CUTOVER_LINGER_MS: u32 = 1;

/// Where the log of the cutover is.
fn cutover(file: &File) -> anyhow::Result<Place> {
    if let Some(connection) = &file.kafka {
        let connection = Connection { linger_ms: CUTOVER_LINGER_MS, ..connection.clone() };
        return Ok(Place::kafka(connection, topics::of_cutover())?);
    }
    let log = section(file.log.as_ref(), "log")?;
    let log = eventlog::EmbeddedLog::open(&log.data_dir).context("the log of the cutover cannot be opened")?;
    Ok(Place::here(log))
}

/// `crossfade engine`
pub async fn engine(file: File) -> anyhow::Result<Exit> {
    file.check()?;
    let cluster = file.cluster();
    let File { ledger, engine, postgres, .. } = file;
    let config = section(engine, "engine")?;
    serve(async || {
        let mut running = Running::default();
        start_engine(&mut running, config, &ledger, cluster, postgres).await?;
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
    // The check made sure that both parts are there, or none, if the log is embedded.
    let needs_log = file.relay.is_some() || file.comparator.is_some();
    let place = needs_log.then(|| cutover(&file)).transpose()?;
    let cluster = file.cluster();
    let ledger = file.ledger;
    #[cfg(feature = "demo")]
    if let Some(config) = file.legacy {
        start_legacy(&mut running, config).await?;
    }
    if let Some(config) = file.engine {
        start_engine(&mut running, config, &ledger, cluster, file.postgres).await?;
    }
    if let Some(place) = place {
        start_relay_and_comparator(&mut running, place, file.relay, file.comparator, &ledger).await?;
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

async fn start_engine(
    running: &mut Running,
    config: engine::Config,
    ledger: &str,
    cluster: Option<engine::Cluster>,
    database: Option<engine::postgres::Config>,
) -> anyhow::Result<()> {
    let bound = engine::bind(config, ledger, cluster, database).await.context("the engine cannot start")?;
    running.start("engine", async move |shutdown| Ok(bound.run(shutdown).await?));
    Ok(())
}

async fn start_relay_and_comparator(
    running: &mut Running,
    place: Place,
    relay: Option<proxy::relay::Config>,
    comparator: Option<comparator::Config>,
    ledger: &str,
) -> anyhow::Result<()> {
    if let Some(config) = comparator {
        let bound = comparator::bind(ledger, config, place.clone()).await.context("the comparator cannot start")?;
        running.start("comparator", async move |shutdown| Ok(bound.run(shutdown).await?));
    }
    if let Some(config) = relay {
        let bound = proxy::relay::bind(config, ledger, place).await.context("the relay cannot start")?;
        running.start("relay", async move |shutdown| Ok(bound.run(shutdown).await?));
    }
    Ok(())
}

async fn start_front(running: &mut Running, config: proxy::front::Config, ledger: &str) -> anyhow::Result<()> {
    let bound = proxy::front::bind(config, ledger).await.context("the front cannot start")?;
    running.start("front", async move |shutdown| Ok(bound.run(shutdown).await?));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[tokio::test]
    async fn a_part_without_its_section_is_told_so_before_the_log_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("cutover");
        let text = format!("ledger = \"a\"\n[log]\ndata_dir = \"{}\"\n", data_dir.display());
        let file = crate::config::parse(Path::new("x.toml"), &text, std::iter::empty()).unwrap();
        let refused = relay(file, true).await.unwrap_err();
        assert!(refused.to_string().contains("no section [relay]"), "{refused}");
        assert!(!data_dir.exists(), "the log was opened");
    }

    fn with_front(data_dir: &Path) -> File {
        let url = || "http://127.0.0.1:9".to_owned();
        let front = proxy::front::Config {
            legacy: url(),
            engine: url(),
            comparator: url(),
            relay: url(),
            ingest: "127.0.0.1:9".into(),
            ..proxy::front::Config::local(data_dir.to_owned(), host::secret::Secret::new("token"))
        };
        let file = crate::config::parse(Path::new("x.toml"), "ledger = \"a\"\n", std::iter::empty()).unwrap();
        File { front: Some(front), ..file }
    }

    /// The three records of a boot, the second of which is not there.
    fn damaged(data_dir: &Path) {
        use std::io::Write as _;
        use wire::exchange::{ExchangeBody, ExchangeRecord};
        let own = data_dir.join("boot-1");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("boot"), r#"{"front":"front","boot":1,"instance":5,"seed":7}"#).unwrap();
        let mut file = host::disk::append_to(&own.join("00000000000000000001.journal")).unwrap();
        for sequence in [1, 3] {
            let (at, body) = (wire::scalar::Timestamp(0), ExchangeBody::Mark { id: "m".into() });
            let record = ExchangeRecord { front: "front".into(), boot: 1, sequence, at, body };
            let mut bytes = Vec::new();
            proxy::journal::record::append(&mut bytes, &wire::stored::encode(&record), 7);
            file.write_all(&bytes).unwrap();
        }
    }

    #[tokio::test]
    async fn a_damaged_journal_is_refused_unless_the_command_says_salvage() {
        let folder = tempfile::tempdir().unwrap();
        damaged(folder.path());
        for refused in [front(with_front(folder.path()), false).await, up(with_front(folder.path()), false).await] {
            let refused = format!("{:#}", refused.unwrap_err());
            assert!(refused.starts_with("the front cannot start: the journal is damaged: "), "{refused}");
            assert!(refused.contains("record 2 is missing"), "{refused}");
        }
        let skipped = folder.path().join("damaged/boot-1/skipped.json");
        assert!(!skipped.exists());
        let running = tokio::spawn(front(with_front(folder.path()), true));
        let deadline = host::clock::now() + std::time::Duration::from_secs(20);
        while !skipped.exists() {
            assert!(!running.is_finished() && host::clock::now() < deadline, "it does not go on");
            host::clock::sleep(std::time::Duration::from_millis(5)).await;
        }
        running.abort();
    }

    #[tokio::test]
    async fn who_has_no_front_has_nothing_to_salvage() {
        let file = crate::config::parse(Path::new("x.toml"), "ledger = \"a\"\n", std::iter::empty()).unwrap();
        let refused = up(file, true).await.unwrap_err();
        assert!(refused.to_string().contains("no section [front]"), "{refused}");
    }
}
