//! Publishes what the ledger decided: the events of accepted outcomes, as Avro, in the public topics of a cluster.
//!
//! | module | what |
//! |---|---|
//! | [`event`] | maps every event to the record that is published |
//! | [`schemas`] | writes records in the newest schemas |
//! | [`registry`] | gives the schemas their ids |
//! | [`shard`] | publishes one shard's events, from its checkpoint on |
//! | [`there`] | what is in the public topics already of what is still to be published |
//! | [`progress`] | how far each shard has come: the gauge, and a word when events wait for long |
//! | [`presence`] | which shards are being published, for whoever has to wait for the end of it |
//!
//! Invariants: only accepted outcomes are published, each event at least once; the events of an aggregate come in the
//! order of its versions the first time; an event has the same id however often it is published. The publisher is in
//! nobody's way: while the registry or the public topics cannot be used it waits, and the engine goes on.

mod event;
mod presence;
mod progress;
pub mod registry;
mod schemas;
mod shard;
#[cfg(test)]
mod tests;
mod there;

use crate::ledger::Duties;
use eventlog::Log;
use eventlog::kafka::outbox::{Failed, Outbox};
use eventlog::kafka::{Connection, TopicSpec};
use futures_util::future::join_all;
use host::task::Shutdown;
pub(crate) use presence::Presence;
use progress::{Measuring, Progress};
use registry::{Ids, Registry};
use schemas::Schemas;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wire::avro::{self, TOPICS};

/// The name under which checkpoints are kept.
pub(crate) const GROUP: &str = "crossfade-publisher";
/// After a registry that gave no ids.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// The same trouble with the registry is said this often at most.
const SAID_AGAIN: u32 = 15;

/// What a publisher needs.
pub(crate) struct Publisher {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) connection: Connection,
    pub(crate) ledger: String,
    pub(crate) shards: u32,
    pub(crate) duties: Duties,
    pub(crate) presence: Presence,
}

/// Where the schemas' ids come from.
pub(crate) enum Naming {
    /// The registry gave them.
    Known(Ids),
    /// It is to be asked until it gives them.
    Awaited(Box<Registry>),
    /// There is none: each schema has an id of its own (`wire/avro/ids.json`).
    Local,
}

/// The public topics; kept for ever, because they are the event store of others.
pub(crate) fn topic_specs() -> Vec<TopicSpec> {
    TOPICS.map(|(name, partitions)| TopicSpec::forever(name, partitions)).into()
}

/// Asks the registry once, so that what can never work is known at the start.
///
/// # Errors
/// [`registry::Error`], unless the registry only does not answer now.
pub(crate) async fn naming(
    registry: Option<registry::Config>,
    connection: &Connection,
) -> Result<Naming, registry::Error> {
    let Some(config) = registry else { return Ok(Naming::Local) };
    let registry = Registry::new(config)?;
    match registry.register(&connection.topic_prefix).await {
        Ok(ids) => Ok(Naming::Known(ids)),
        Err(error @ registry::Error::Unreachable { .. }) => {
            tracing::warn!(%error, "public events wait for the schema registry");
            Ok(Naming::Awaited(Box::new(registry)))
        }
        Err(error) => Err(error),
    }
}

impl Publisher {
    /// Publishes until `shutdown`, the shards that are on duty here.
    ///
    /// # Errors
    /// When the library refuses the configuration.
    pub(crate) async fn run(self, naming: Naming, shutdown: Shutdown) -> Result<(), Failed> {
        let outbox = Arc::new(Outbox::open(&self.connection, GROUP)?);
        let (told, measured): (Vec<_>, Vec<_>) = (0..self.shards).map(|_| watch::channel(None)).unzip();
        let measuring = (0..).zip(measured).map(|(number, progress)| self.measuring(number, &outbox, progress).run());
        tokio::select! {
            () = self.publish(naming, &outbox, told, &shutdown) => {}
            _ = join_all(measuring) => {}
        }
        Ok(())
    }

    fn measuring(&self, number: u32, outbox: &Arc<Outbox>, progress: watch::Receiver<Option<Progress>>) -> Measuring {
        let (log, outbox) = (Arc::clone(&self.log), Arc::clone(outbox));
        Measuring { number, log, outbox, on_duty: self.duties.of(number), progress }
    }

    async fn publish(
        &self,
        naming: Naming,
        outbox: &Arc<Outbox>,
        told: Vec<watch::Sender<Option<Progress>>>,
        shutdown: &Shutdown,
    ) {
        let schemas = tokio::select! {
            schemas = self.schemas(naming) => Arc::new(schemas),
            () = shutdown.stopped() => return,
        };
        let shards = (0..).zip(told).map(|(number, progress)| {
            let shard = shard::Publishing {
                number,
                log: Arc::clone(&self.log),
                outbox: Arc::clone(outbox),
                schemas: Arc::clone(&schemas),
                ledger: self.ledger.clone(),
                shards: self.shards,
                presence: self.presence.clone(),
                progress,
            };
            let publishing = host::task::spawn(shard.run(self.duties.of(number), shutdown.clone()));
            async move {
                if let Err(error) = publishing.await {
                    tracing::error!(shard = number, %error, "publishing a shard ended badly: its public events wait");
                }
            }
        });
        join_all(shards).await;
    }

    async fn schemas(&self, naming: Naming) -> Schemas {
        let ids = match naming {
            Naming::Local => return Schemas::new(|version| version.local_id),
            Naming::Known(ids) => ids,
            Naming::Awaited(registry) => self.ask(&registry).await,
        };
        Schemas::new(|avro::Version { topic, version, .. }| ids[&(*topic, *version)])
    }

    async fn ask(&self, registry: &Registry) -> Ids {
        for tries in 0_u32.. {
            match registry.register(&self.connection.topic_prefix).await {
                Ok(ids) => {
                    tracing::info!("the schema registry answers; public events go on");
                    return ids;
                }
                Err(error) if tries % SAID_AGAIN == 0 => tracing::warn!(%error, "public events wait"),
                Err(_) => {}
            }
            host::clock::sleep(ASK_AGAIN).await;
        }
        unreachable!("somebody would have asked for 272 years")
    }
}
