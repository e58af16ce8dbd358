//! The reference legacy: the synchronous billing service that Crossfade replaces in tests and in the demo.
//!
//! It serves part L of the contract with the engine's JSON shapes, from code that shares nothing with the engine,
//! and can be told to make mistakes, of which it keeps an honest ledger.
//!
//! | module | what |
//! |---|---|
//! | [`money`], [`shapes`], [`strict`] | amounts, JSON shapes, strict JSON |
//! | [`request`] | from a body to a command, or to everything that is wrong with it |
//! | [`rules`], [`refusal`] | pure: which requests are refused, and why |
//! | [`store`] | what is kept, and where: in a file, or in PostgreSQL |
//! | [`ids`] | how the ids of transactions look |
//! | `case` | what a transaction is about, what moves, what is told |
//! | `execute`, `writer` | one request after the other, one durable transaction each, faults included |
//! | [`seed`] | fills an empty store quickly |
//! | [`faults`] | which faults are switched on |
//! | `stale` | accounts that are shown as they were |
//! | `reads`, `incoming`, `api`, `connection` | reads; HTTP |
//!
//! Invariants:
//! - What was answered is kept durably, and the fault ledger says in the same transaction what was done on purpose.
//! - One (tenant, deciding account, key) has one effect, except where the fault ledger says otherwise, or where it is
//!   told not to deduplicate: then everything is executed every time, and it counts how often.
//!
//! This crate must never know what a front, an engine or a cutover is.

pub mod faults;
pub mod ids;
pub mod money;
pub mod refusal;
pub mod request;
pub mod rules;
pub mod seed;
pub mod shapes;
pub mod store;
pub mod strict;

mod api;
mod case;
mod connection;
mod execute;
mod incoming;
mod reads;
mod stale;
mod writer;

use execute::Executor;
use faults::FaultSwitch;
use host::net::TcpListener;
use host::ops::Readiness;
use host::task::Shutdown;
use ids::Ids;
use serde::Deserialize;
use stale::Stale;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The section `[legacy]`.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients, the front and operators reach it; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where it keeps its file, unless it keeps everything in PostgreSQL; held by one process.
    pub data_dir: PathBuf,
    /// Whether a request whose key was used before gets the first answer again. If not, it is executed every time.
    pub deduplicates: bool,
    /// Whether a refusal by a rule consumes its key and stands in the history. Without deduplication it never does.
    pub refusal_keeps_key: bool,
    /// How the ids of transactions look.
    pub ids: Ids,
    /// How much longer a request takes that is slowed down on purpose, in milliseconds.
    pub slow_ms: u64,
    /// How long a request is put off at most that is to be overtaken, in milliseconds.
    pub reorder_ms: u64,
    /// How long a request is held that is not answered on purpose, in seconds.
    pub hang_seconds: u64,
    /// The seed of faults that are switched on without one.
    pub fault_seed: u64,
    /// The database that everything is kept in, instead of in a file.
    pub postgres: Option<store::postgres::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)),
            data_dir: PathBuf::from("data/legacy"),
            deduplicates: true,
            refusal_keeps_key: true,
            ids: Ids::Prefixed,
            // FORMATS, "The reference legacy".
            slow_ms: 1000,
            // On a busy account something comes by then; below what clients wait for.
            reorder_ms: 200,
            // Longer than every time-out that is meant to notice it.
            hang_seconds: 120,
            fault_seed: 1,
            postgres: None,
        }
    }
}

impl Config {
    /// Finds what cannot work before anything is opened.
    ///
    /// # Errors
    /// When the address of the database is none.
    pub fn check(&self) -> Result<(), store::postgres::Error> {
        self.postgres.as_ref().map_or(Ok(()), store::postgres::Config::check)
    }
}

/// Why the legacy cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener or the thread cannot be had; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The writer's thread broke an invariant of its own; the message is in the log.
    #[error("the legacy's writer has died")]
    WriterDied,
}

/// A legacy that holds its store and its listener, and serves nothing yet.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    address: SocketAddr,
    listener: TcpListener,
    store: store::Opened,
}

/// Opens the store and the listener.
///
/// # Errors
/// When the store cannot be opened or belongs to another process, or the address cannot be listened on.
pub async fn bind(config: Config) -> Result<Bound, Error> {
    let opening = config.clone();
    let store = host::task::spawn_blocking(move || store::open(&opening)).await.map_err(std::io::Error::other)??;
    let listener = host::net::listen(config.listen).await?;
    let address = listener.local_addr()?;
    Ok(Bound { config, address, listener, store })
}

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, and finishes what is in flight.
    ///
    /// # Errors
    /// When the store failed: what was answered before is kept, and nothing is answered any more.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Bound { config, address, listener, store } = self;
        let stop = shutdown.child();
        let faults = Arc::new(FaultSwitch::new(config.fault_seed));
        let stale = Arc::new(Stale::default());
        let executor = Executor::new(store.store, store.last_decided, faults.clone(), stale.clone(), &config);
        let longest = Duration::from_millis(config.reorder_ms);
        let (writer, thread) = writer::Writer::start(executor, longest, stop.clone())?;
        let api = api::Api {
            writer: writer.clone(),
            store: store.reading,
            stale,
            faults,
            ids: config.ids,
            counts: !config.deduplicates,
            slow: Duration::from_millis(config.slow_ms),
            hang: Duration::from_secs(config.hang_seconds),
            shutdown: stop.clone(),
        };
        tracing::info!(%address, "the legacy serves");
        host::http::serve(listener, connection::Service::new(api::router(api, Readiness::new())), stop).await;
        writer.stop().await;
        let ended = host::task::spawn_blocking(move || thread.join()).await;
        match ended {
            Ok(Ok(ended)) => Ok(ended?),
            Ok(Err(_)) | Err(_) => Err(Error::WriterDied),
        }
    }
}
