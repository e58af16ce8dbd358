//! Publishes one shard's events: from the checkpoint on, what is not there yet, in order.

use super::event::published;
use super::presence::Presence;
use super::schemas::{Schemas, Unwritable};
use crate::metrics;
use crate::shard::reader::{Read, Reader, Unreadable};
use engine_domain::Outcome;
use eventlog::kafka::outbox::{Checkpoint, Delivery, Ends, Failed, Letter, Outbox};
use eventlog::{Log, ReadError, Record};
use host::clock;
use host::task::Shutdown;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wire::avro::TOPICS;
use wire::journal::JOURNAL;

/// Journal records taken together at most.
const BATCH: usize = 256;
/// Records on their way at most; an outcome has a handful of events.
const ON_THEIR_WAY: usize = 2_000;
/// Between two checkpoints: what is read again after a crash.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// How long records may be on their way when the shard is given up: then others are not kept waiting.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// After something that failed.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Publishing {
    pub(super) number: u32,
    pub(super) log: Arc<dyn Log>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) schemas: Arc<Schemas>,
    pub(super) ledger: String,
    pub(super) shards: u32,
    pub(super) presence: Presence,
}

/// Publishing cannot go on as it is.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Outbox(#[from] Failed),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
}

/// A stay on duty: where it has come to.
struct Stay {
    reader: Reader,
    /// Ids of events behind the checkpoint that are there already.
    there: BTreeSet<String>,
    on_their_way: VecDeque<Delivery>,
    /// The journal's offset at the last checkpoint.
    kept: u64,
}

impl Publishing {
    /// Publishes whenever the shard is on duty here, until `shutdown`.
    pub(super) async fn run(self, mut on_duty: watch::Receiver<bool>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.stopped() => return,
                on_duty = on_duty.wait_for(|on_duty| *on_duty) => if on_duty.is_err() { return },
            }
            let present = self.presence.enter(self.number);
            let relieved = async {
                tokio::select! {
                    () = shutdown.stopped() => {}
                    _ = on_duty.wait_for(|on_duty| !*on_duty) => {}
                }
            };
            let ended = self.stay(relieved).await;
            drop(present);
            if let Err(trouble) = ended {
                tracing::warn!(shard = self.number, %trouble, "public events of a shard wait");
                tokio::select! {
                    () = shutdown.stopped() => return,
                    () = clock::sleep(TRY_AGAIN) => {}
                }
            }
        }
    }

    /// Publishes until `relieved`. When this ends, nothing is on its way any more.
    async fn stay(&self, relieved: impl Future<Output = ()>) -> Result<(), Trouble> {
        let mut relieved = std::pin::pin!(relieved);
        let mut stay = tokio::select! {
            stay = self.begin() => stay?,
            () = &mut relieved => return Ok(()),
        };
        let ended = tokio::select! {
            ended = self.publish(&mut stay) => ended,
            () = &mut relieved => Ok(()),
        };
        let last = async {
            match ended {
                Ok(()) => self.settle(&mut stay).await,
                // Perhaps a part of an outcome is published: the checkpoint stays where it is.
                Err(trouble) => stay.arrived().await.map_err(Trouble::from).and(Err(trouble)),
            }
        };
        match clock::timeout(LEAVE_WITHIN, last).await {
            Ok(ended) => ended,
            Err(_) => {
                self.outbox.give_up();
                stay.arrived().await.map_err(Trouble::from)
            }
        }
    }

    /// From the checkpoint, or from the beginning.
    async fn begin(&self) -> Result<Stay, Trouble> {
        let kept = self.outbox.checkpoint(JOURNAL, self.number).await?;
        let reader = kept.as_ref().and_then(|kept| Reader::resume(self.number, kept.next, &kept.note));
        let from = if reader.is_some() { kept.map(|kept| kept.ends).unwrap_or_default() } else { Ends::new() };
        let reader = reader.unwrap_or_else(|| Reader::new(&self.ledger, self.number, self.shards));
        let ends = self.outbox.ends(&TOPICS).await?;
        let ours = format!("{}:", self.number);
        let there = self.outbox.between(&from, &ends, move |header| {
            header("position").filter(|position| position.starts_with(&ours))?;
            header("eventId")
        });
        let there: BTreeSet<String> = there.await?.into_iter().collect();
        tracing::debug!(shard = self.number, from = reader.next(), there = there.len(), "publishing begins");
        Ok(Stay { kept: reader.next(), reader, there, on_their_way: VecDeque::new() })
    }

    /// Publishes until something fails.
    async fn publish(&self, stay: &mut Stay) -> Result<(), Trouble> {
        let mut journal = self.log.tail(JOURNAL, self.number, stay.reader.next());
        let mut ticks = clock::interval(CHECKPOINT_EVERY);
        loop {
            tokio::select! {
                records = journal.next(BATCH) => self.take(stay, &records?).await?,
                _ = ticks.tick() => self.settle(stay).await?,
            }
        }
    }

    /// May be dropped while it waits: then `stay` stands between two outcomes.
    async fn take(&self, stay: &mut Stay, records: &[Record]) -> Result<(), Trouble> {
        for record in records {
            while stay.on_their_way.len() >= ON_THEIR_WAY {
                stay.next_arrived().await?;
            }
            if let Read::Accepted(outcome) = stay.reader.take(record)? {
                self.send(stay, &outcome)?;
            }
        }
        Ok(())
    }

    /// Hands over all events of an outcome that are not there yet.
    fn send(&self, stay: &mut Stay, outcome: &Outcome) -> Result<(), Trouble> {
        for event in published(outcome) {
            if stay.there.remove(&event.event_id) {
                continue;
            }
            let (value, version) = self.schemas.encode(event.topic, event.record)?;
            let headers = vec![
                ("eventType", event.event_type.to_owned()),
                ("eventVersion", version.to_string()),
                ("correlationId", event.correlation_id),
                ("position", event.position),
                ("eventId", event.event_id),
            ];
            let letter = Letter { topic: event.topic, key: event.aggregate_id, headers, value };
            stay.on_their_way.push_back(self.outbox.send(&letter)?);
        }
        Ok(())
    }

    /// Waits until everything has arrived, then keeps how far that is.
    async fn settle(&self, stay: &mut Stay) -> Result<(), Trouble> {
        stay.arrived().await?;
        let next = stay.reader.next();
        let labels = [("topic", JOURNAL.to_owned()), ("partition", self.number.to_string())];
        let end = self.log.end(JOURNAL, self.number).await?;
        ::metrics::gauge!(metrics::CONSUMER_LAG_RECORDS, &labels).set(end.saturating_sub(next) as f64);
        if next == stay.kept {
            return Ok(());
        }
        // Nothing behind `next` is published yet: whatever will be, stands behind these ends.
        let ends = self.outbox.ends(&TOPICS).await?;
        let checkpoint = Checkpoint { next, note: stay.reader.note(), ends };
        self.outbox.commit(JOURNAL, self.number, checkpoint).await?;
        stay.kept = next;
        Ok(())
    }
}

impl Stay {
    async fn next_arrived(&mut self) -> Result<(), Failed> {
        let Some(delivery) = self.on_their_way.front_mut() else { return Ok(()) };
        let over = delivery.over().await;
        self.on_their_way.pop_front();
        over
    }

    /// Waits for all; the first failure, once all are over.
    async fn arrived(&mut self) -> Result<(), Failed> {
        let mut first = Ok(());
        while !self.on_their_way.is_empty() {
            let over = self.next_arrived().await;
            first = first.and(over);
        }
        first
    }
}
