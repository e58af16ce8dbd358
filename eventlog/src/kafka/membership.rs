//! Membership in a group: the cluster gives each partition of a topic to one member, and to another one when that is
//! gone. It says who is to work on what, and nothing about what anybody has done: no offset is ever committed.

use super::connection::Connection;
use super::worker::Consumer;
use host::clock;
use host::task::Shutdown;
use rdkafka::consumer::Consumer as _;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// After so long without a sign of life a member's partitions go to others.
const SESSION_MS: u32 = 6_000;
/// Leaving takes one request.
const LEFT_WITHIN: Duration = Duration::from_secs(5);
/// How long the thread waits for news before it looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);

/// Is a member of `group` until `shutdown`, and tells which partitions of `topic` it has been given, whenever that
/// changes. Before any of them is given to somebody else it tells of none, and nobody is given it before `given` has
/// returned; that may take some seconds. Returns once the membership has been given up, so that others are given its
/// partitions at once.
///
/// # Errors
/// When the library refuses the configuration, or no thread can be started.
pub async fn belong(
    connection: &Connection,
    group: &str,
    topic: &str,
    shutdown: Shutdown,
    given: impl FnMut(BTreeSet<u32>) + Send + 'static,
) -> Result<(), String> {
    let mut config = connection.consumer();
    config.set("group.id", connection.topic(group)).set("session.timeout.ms", SESSION_MS.to_string());
    config.set("heartbeat.interval.ms", "1000").set("max.poll.interval.ms", "30000");
    // Eager on purpose: see FACTS of the design about cooperative assignment without commits.
    config.set("partition.assignment.strategy", "roundrobin");
    // There is no committed offset to begin at, and nothing is read anyway.
    config.set("auto.offset.reset", "latest");
    let topic = connection.topic(topic);
    let told = Arc::new(Told { topic: topic.clone(), has: Mutex::new((BTreeSet::new(), Box::new(given))) });
    let revoked = Arc::clone(&told);
    let client = connection.client().when_revoked(move || revoked.tell(BTreeSet::new()));
    let consumer = Consumer::with_client(client, &config).map_err(|error| error.to_string())?;
    let (ended, end) = tokio::sync::oneshot::channel();
    let leaving = shutdown.clone();
    let membership = move || {
        if let Err(error) = consumer.subscribe(&[&topic]) {
            tracing::error!(%error, topic, "cannot join the group");
            return;
        }
        let mut said = None;
        while !shutdown.is_stopping() {
            // The library goes on trying, and says the same each time.
            if let Some(Err(error)) = consumer.poll(POLL)
                && said.replace(error.clone()) != Some(error.clone())
            {
                tracing::warn!(%error, topic, "cannot be a member of the group; standing by until that is mended");
            }
            told.tell(assigned(&consumer));
        }
        consumer.unsubscribe();
        drop(consumer);
        let _ = ended.send(());
    };
    host::task::thread("log-group", membership).map_err(|error| error.to_string())?;
    tokio::select! {
        // Without an answer the thread has ended all the same.
        _ = end => {}
        () = too_late(&leaving) => tracing::warn!(group, "cannot leave the group, and is left behind"),
    }
    Ok(())
}

/// What was told last, and whom to tell.
struct Told {
    topic: String,
    has: Mutex<(BTreeSet<u32>, Box<dyn FnMut(BTreeSet<u32>) + Send>)>,
}

impl Told {
    fn tell(&self, partitions: BTreeSet<u32>) {
        let mut has = self.has.lock().unwrap_or_else(PoisonError::into_inner);
        let (had, given) = &mut *has;
        if *had != partitions {
            tracing::info!(topic = self.topic, ?partitions, "given by the group");
            had.clone_from(&partitions);
            given(partitions);
        }
    }
}

/// When leaving takes too long: the library may hang (see [`super::worker`]); the cluster then gives our partitions to
/// others at the end of the session.
async fn too_late(leaving: &Shutdown) {
    leaving.stopped().await;
    clock::sleep(LEFT_WITHIN).await;
}

/// What has been given, and is not to be fetched: the feed does that.
fn assigned(consumer: &Consumer) -> BTreeSet<u32> {
    let Ok(list) = consumer.assignment() else { return BTreeSet::new() };
    if list.count() > 0
        && let Err(error) = consumer.pause(&list)
    {
        tracing::debug!(%error, "cannot pause what is only watched");
    }
    list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}
