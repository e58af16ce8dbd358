//! The engine as a process part: opens its listeners, then the log, starts the ledger, and serves.

use crate::api::caller::Trust;
use crate::api::{self, Api};
use crate::config::Config;
use crate::ledger::{Duties, Ledger, OpenError, Settings};
use crate::postgres::jobs::Jobs;
use crate::postgres::mismatches::Mismatches;
use crate::postgres::projections::Projections;
use crate::postgres::projector::Projector;
use crate::postgres::sampling::Sampling;
use crate::postgres::{self, Store};
use crate::publisher::{self, Naming, Presence, Publisher, registry};
use crate::view::read_model::ReadModel;
use eventlog::kafka::{Connection, TopicSpec, membership};
use eventlog::place::LOG;
use eventlog::serve::Served;
use eventlog::{EmbeddedLog, Log, Place, Record, Unusable};
use host::http::Later;
use host::net::TcpListener;
use host::ops::Readiness;
use host::task::Shutdown;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wire::control::LogLine;
use wire::journal::{COMMANDS, JOURNAL};
use wire::{dead_letter, snapshot};

/// The log's file in the data directory.
const LOG_FILE: &str = "billing.redb";
/// An awaited step of a saga is asked for again after this long: long against a healthy shard's answer, short
/// against a client's patience.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Shards are threads of work and files of history: more than this many is a mistake in the configuration.
const MAX_SHARDS: u32 = 1024;
/// The group in which engines share the shards.
const GROUP: &str = "crossfade-engine";
/// Every consumer group that an engine uses, without the prefix of the ledger.
pub const GROUPS: [&str; 2] = [GROUP, publisher::GROUP];
/// Commands are kept this long: longer than any outcome may be away (DESIGN 3.1).
const COMMANDS_DAYS: u32 = 30;
/// How long others wait for a shard whose last public events are on their way: longer than the publisher needs to give
/// them up, shorter than a member of the group may be silent.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(3);
/// How long the start waits for a database to say whether it is the right one.
const DATABASE_WITHIN: Duration = Duration::from_secs(5);
/// What an engine says of itself until it asks its log,
const OPENING: &str = "the log is being opened";
/// and while it reads it.
const FOLDING: &str = "the journal is being folded";

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
    /// The cluster's configuration cannot be used.
    #[error(transparent)]
    Kafka(#[from] eventlog::kafka::OpenError),
    /// The topics are not what they have to be.
    #[error(transparent)]
    Topics(#[from] Unusable),
    /// The group cannot be joined.
    #[error("cannot share the shards with other engines: {0}")]
    Group(String),
    /// The schema registry cannot be used as it is configured, or refuses a schema.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] postgres::Error),
    /// The journal cannot be folded.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] io::Error),
}

/// An engine that holds its listeners and, if its log is embedded, its data directory. It serves once it runs.
pub struct Bound {
    listener: TcpListener,
    control_listener: TcpListener,
    config: Config,
    trust: Trust,
    ledger: String,
    place: Place,
    registry: Option<registry::Config>,
    store: Option<Store>,
}

/// Where the log is, if it is not embedded, and where its public events are described.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The cluster.
    pub kafka: Connection,
    /// Gives the schemas of the public events their ids; without one they have ids of their own.
    pub registry: Option<registry::Config>,
}

/// Opens the listeners and the embedded log, for the ledger named `ledger`; with `cluster`, the log is there instead, and
/// with `database`, queries that look back are answered from there.
///
/// # Errors
/// [`Error`]; each names what cannot be used.
pub async fn bind(
    config: Config,
    ledger: &str,
    cluster: Option<Cluster>,
    database: Option<postgres::Config>,
) -> Result<Bound, Error> {
    check(&config)?;
    let store = database.as_ref().map(Store::new).transpose()?;
    let trust = Trust { actor_header: actor_header(&config)?, service_token: config.service_token.clone() };
    host::ops::record_metrics();
    crate::metrics::describe();
    let (place, registry) = match cluster {
        Some(Cluster { kafka, registry }) => (Place::kafka(kafka, topic_specs(config.shards))?, registry),
        None => (Place::here(EmbeddedLog::open_file(data_dir(&config)?, LOG_FILE)?), None),
    };
    let listener = host::net::listen(config.listen).await?;
    let control_listener = host::net::listen(config.control_listen).await?;
    Ok(Bound { listener, control_listener, config, trust, ledger: ledger.to_owned(), place, registry, store })
}

fn data_dir(config: &Config) -> Result<PathBuf, Error> {
    let problem = "missing: it holds the embedded log; without one there has to be a section [kafka]".to_owned();
    config.data_dir.clone().ok_or(Error::Config { key: "data_dir", problem })
}

/// The engine's topics, for a ledger of that many shards.
pub fn topic_specs(shards: u32) -> Vec<TopicSpec> {
    let mut all = vec![TopicSpec::days(COMMANDS, shards, COMMANDS_DAYS), TopicSpec::forever(JOURNAL, shards)];
    // Old generations are deleted once there are newer ones.
    all.push(TopicSpec::forever(snapshot::TOPIC, shards));
    all.push(TopicSpec::forever(dead_letter::TOPIC, 1));
    all.extend(publisher::topic_specs());
    all
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

    /// Folds the journal, then serves until `shutdown`; finishes what is in flight, and only then stops the shards.
    /// Until the journal is folded, requests are answered 503.
    ///
    /// # Errors
    /// When the log holds another ledger, or its topics cannot be used. What fails later is told by `/readyz`.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let readiness = Readiness::new();
        readiness.blocked(LOG, OPENING);
        let serving = Serving::begin(self.listener, self.control_listener, &readiness, &shutdown);
        let shards_shutdown = Shutdown::new();
        let duties = duties_of(&self.place, self.config.shards);
        let opening = async {
            let opened = open(&self.place, &self.config, &self.ledger, &readiness, duties.clone()).await?;
            let naming = naming(&self.place, self.registry).await?;
            let projected = project(self.store.clone(), &opened, &self.ledger, self.config.shards).await?;
            Ok((opened, naming, projected))
        };
        let opened = tokio::select! {
            opened = opening => Some(opened),
            () = shutdown.stopped() => None,
        };
        let outcome = match opened {
            Some(Ok(((log, ledger), naming, projected))) => {
                let shards = host::task::spawn({
                    let (ledger, shutdown) = (ledger.clone(), shards_shutdown.clone());
                    async move { ledger.run(shutdown).await }
                });
                let presence = Presence::default();
                let publisher = naming.map(|(connection, naming)| {
                    let publisher = Publisher {
                        log: Arc::clone(&log),
                        connection,
                        ledger: self.ledger.clone(),
                        shards: self.config.shards,
                        duties: duties.clone(),
                        presence: presence.clone(),
                    };
                    host::task::spawn(publisher.run(naming, shards_shutdown.clone()))
                });
                let look_back: Arc<dyn ReadModel> = match &projected {
                    Some((_, _, projections)) => Arc::new(projections.clone()),
                    None => Arc::new(ledger.view().clone()),
                };
                let mismatches = Mismatches::default();
                let jobs = self.store.map(|store| {
                    let (log, ledger_id, mismatches) = (Arc::clone(&log), self.ledger.clone(), mismatches.clone());
                    let dead_letters = ledger.dead_letters().clone();
                    Jobs::new(
                        store,
                        log,
                        dead_letters,
                        ledger_id,
                        self.config.shards,
                        mismatches,
                        shards_shutdown.clone(),
                    )
                });
                let projector = projected.map(|(projector, opened, projections)| {
                    let sampling = Sampling { view: ledger.view().clone(), projections, mismatches };
                    let (shutdown, projected) =
                        (shards_shutdown.clone(), projector.run(opened, shards_shutdown.clone()));
                    host::task::spawn(
                        async move { futures_util::future::join(projected, sampling.run(shutdown)).await.0 },
                    )
                });
                // Left last: nobody is to be given a shard before what is on its way from here has arrived.
                let group_shutdown = Shutdown::new();
                let belonging = host::task::spawn(belong(self.place, duties, presence, group_shutdown.clone()));
                serving.go_on(api(&self.config, self.trust, ledger, look_back, jobs), log, &readiness, &shutdown);
                readiness.cleared(LOG);
                serving.end().await;
                shards_shutdown.stop();
                if let Err(error) = shards.await {
                    tracing::error!(%error, "the shards ended badly");
                }
                if let Some(publisher) = publisher {
                    ended("publisher", publisher.await);
                }
                if let Some(projector) = projector {
                    ended("projector", projector.await);
                }
                group_shutdown.stop();
                belonging.await.unwrap_or_else(|error| Err(Error::Group(error.to_string())))
            }
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        shutdown.stop();
        outcome
    }
}

fn duties_of(place: &Place, shards: u32) -> Duties {
    // In a cluster, a group says who decides on what.
    if place.cluster().is_some() { Duties::none(shards) } else { Duties::all(shards) }
}

fn ended(part: &str, outcome: Result<Result<(), impl std::fmt::Display>, impl std::fmt::Display>) {
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(part, %error, "a part ended badly"),
        Err(error) => tracing::error!(part, %error, "a part ended badly"),
    }
}

/// What makes the projections, what it writes into, and what reads them, if there is a database.
async fn project(
    store: Option<Store>,
    (log, opened): &(Arc<dyn Log>, Ledger),
    ledger: &str,
    shards: u32,
) -> Result<Option<(Projector, bool, Projections)>, Error> {
    let Some(store) = store else { return Ok(None) };
    let (projector, projections) =
        Projector::new(store, Arc::clone(log), opened.dead_letters().clone(), ledger.to_owned(), shards);
    let opened = tokio::select! {
        opened = projector.open() => opened?,
        // It goes on beside the serving: an engine that writes does not wait for a database.
        () = host::clock::sleep(DATABASE_WITHIN) => false,
    };
    Ok(Some((projector, opened, projections)))
}

/// What the public events' schemas are called, if there are public events: only in a cluster anybody could read them.
async fn naming(
    place: &Place,
    registry: Option<registry::Config>,
) -> Result<Option<(Connection, Naming)>, registry::Error> {
    let Some(connection) = place.cluster() else { return Ok(None) };
    Ok(Some((connection.clone(), publisher::naming(registry, connection).await?)))
}

/// Shares the shards with other engines on the same topics, until `shutdown`.
async fn belong(place: Place, duties: Duties, presence: Presence, shutdown: Shutdown) -> Result<(), Error> {
    let Some(connection) = place.cluster() else { return Ok(()) };
    let given = move |shards| {
        duties.assign(&shards);
        if !presence.only(&shards, PUBLISHED_WITHIN) {
            tracing::warn!("a shard is given up while its last public events are on their way: some may come twice");
        }
    };
    membership::belong(connection, GROUP, COMMANDS, shutdown, given).await.map_err(Error::Group)
}

/// Opens the log and the ledger on it; waits for a cluster that does not answer.
async fn open(
    place: &Place,
    config: &Config,
    ledger: &str,
    readiness: &Readiness,
    duties: Duties,
) -> Result<(Arc<dyn Log>, Ledger), Error> {
    let log = place.log();
    place.until_usable(readiness).await?;
    readiness.blocked(LOG, FOLDING);
    let settings = Settings {
        ledger: ledger.to_owned(),
        shards: config.shards,
        ask_again: ASK_AGAIN,
        snapshot_after_outcomes: config.snapshot_after_outcomes,
    };
    let ledger = Ledger::open(Arc::clone(&log), settings, readiness.clone(), duties).await?;
    Ok((log, ledger))
}

fn api(config: &Config, trust: Trust, ledger: Ledger, look_back: Arc<dyn ReadModel>, jobs: Option<Jobs>) -> Arc<Api> {
    Arc::new(Api {
        ledger,
        look_back,
        jobs,
        trust,
        answer_wait: Duration::from_millis(config.answer_wait_ms),
        default_answer: config.default_answer,
        refusal_keeps_key: config.refusal_keeps_key,
        max_body_bytes: config.max_body_bytes,
    })
}

/// Both listeners at work.
struct Serving {
    billing: Later,
    control: Later,
    ends: [host::task::JoinHandle<()>; 2],
}

impl Serving {
    /// Serves what can be said before the ledger is open.
    fn begin(billing: TcpListener, control: TcpListener, readiness: &Readiness, shutdown: &Shutdown) -> Self {
        tracing::info!(
            listen = ?billing.local_addr().ok(),
            control_listen = ?control.local_addr().ok(),
            "the engine listens"
        );
        let serve = |listener: TcpListener| {
            let later = Later::default();
            let router = later.or(api::starting(readiness.clone()));
            (later, host::task::spawn(host::http::serve_router(listener, router, shutdown.clone())))
        };
        let ((billing, one), (control, other)) = (serve(billing), serve(control));
        Self { billing, control, ends: [one, other] }
    }

    /// From now on serves the ledger.
    fn go_on(&self, api: Arc<Api>, log: Arc<dyn Log>, readiness: &Readiness, shutdown: &Shutdown) {
        let served = Served {
            log,
            topics: crate::ledger::topics(api.ledger.shards()),
            line: log_line,
            shutdown: shutdown.clone(),
        };
        self.billing.set(api::router(Arc::clone(&api), readiness.clone()));
        self.control.set(api::control::router(api, served, readiness.clone()));
        tracing::info!("the engine serves");
    }

    /// Waits until both have finished what was in flight.
    async fn end(self) {
        for end in self.ends {
            if let Err(error) = end.await {
                tracing::error!(%error, "a listener ended badly");
            }
        }
    }
}

fn actor_header(config: &Config) -> Result<Option<axum::http::HeaderName>, Error> {
    let Some(name) = &config.actor_header else { return Ok(None) };
    name.parse().map(Some).map_err(|_| Error::Config {
        key: "actor_header",
        problem: format!("`{name}` is no name of a header: write one such as X-Actor"),
    })
}

/// CONTRACT: larger requests are answered 413. The outcome of one holds it several times, and a topic takes 8 MiB.
const MAX_BODY_BYTES: usize = 1 << 20;

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
    if config.max_body_bytes > MAX_BODY_BYTES {
        let problem = format!("{} is more than {MAX_BODY_BYTES}: its outcome might not fit", config.max_body_bytes);
        return wrong("max_body_bytes", &problem);
    }
    Ok(())
}

/// A record as `GET /internal/log/…` shows it.
fn log_line(record: &Record) -> Vec<u8> {
    let line = LogLine::of(record.offset, record.at_micros, &record.value);
    serde_json::to_vec(&line).expect("a line is plain data with text keys")
}
