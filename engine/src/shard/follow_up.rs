//! Follow-ups of accepted outcomes, on their way to other shards.
//!
//! One that gets lost is no harm: whoever waits for a step asks for it again, and a step asked twice is done once
//! and answered twice.

use crate::codec;
use engine_domain::SagaId;
use engine_domain::outcome::FollowUp;
use engine_domain::saga::Stage;
use engine_domain::{Shard, Timestamp};
use eventlog::{Log, NewRecord};
use futures_util::future::join_all;
use host::task::Shutdown;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use wire::journal::COMMANDS;

/// Follow-ups sent together at most: a few appends' worth.
const TOGETHER: usize = 1024;

/// Sends what comes through `queue`, in order per shard, until `shutdown`.
pub(crate) async fn send(
    log: Arc<dyn Log>,
    from: u32,
    mut queue: mpsc::UnboundedReceiver<FollowUp>,
    shutdown: Shutdown,
) {
    let mut batch = Vec::new();
    loop {
        let received = tokio::select! {
            biased;
            received = queue.recv_many(&mut batch, TOGETHER) => received,
            () = shutdown.stopped() => 0,
        };
        if received == 0 {
            return;
        }
        let mut by_shard: BTreeMap<u32, Vec<NewRecord>> = BTreeMap::new();
        for FollowUp { shard, command } in batch.drain(..) {
            by_shard.entry(shard).or_default().push(NewRecord::of(codec::encode_command(&command)));
        }
        let appends = by_shard.into_iter().map(|(shard, records)| {
            let log = &log;
            async move {
                if let Err(error) = log.append(COMMANDS, shard, records).await {
                    tracing::warn!(from, to = shard, %error, "follow-ups were perhaps not sent; they will be sent again");
                }
            }
        });
        join_all(appends).await;
        host::moment::passes("follow-ups-sent");
    }
}

/// Which awaited steps were already awaited at the last look: only those are asked again.
#[derive(Debug, Default)]
pub(crate) struct Reminder {
    seen: BTreeSet<(SagaId, Stage, u32)>,
}

impl Reminder {
    /// The follow-ups to send again: those that were awaited at the last call already, and still are.
    pub(crate) fn due(&mut self, shard: &Shard, at: Timestamp) -> Vec<FollowUp> {
        let awaited: Vec<_> =
            shard.sagas().map(|saga| (saga.id, saga.awaited.action.stage(), saga.awaited.shard)).collect();
        let due = if awaited.iter().any(|step| self.seen.contains(step)) {
            // In the order of the sagas, as `awaited`.
            let steps = shard.open_steps(at).into_iter().zip(&awaited);
            steps.filter(|(_, step)| self.seen.contains(step)).map(|(follow_up, _)| follow_up).collect()
        } else {
            Vec::new()
        };
        self.seen = awaited.into_iter().collect();
        due
    }
}
