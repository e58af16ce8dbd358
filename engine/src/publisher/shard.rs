//! Publishes one shard's events: from the checkpoint on, what is not there yet, in order.

use super::event::published;
use super::presence::Presence;
use super::progress::Progress;
use super::schemas::{Schemas, Unwritable};
use super::there::{There, source_of};
use crate::shard::reader::{Read, Reader, Unreadable};
use engine_domain::Outcome;
use eventlog::kafka::outbox::{Checkpoint, Ends, Failed, Letter, Outbox};
use eventlog::{Log, ReadError, Record};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use host::clock::{self, Instant};
use host::task::Shutdown;
use std::collections::VecDeque;
use std::convert::Infallible;
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
/// A checkpoint that does not move is written anew all the same: brokers forget it after `offsets.retention.minutes`,
/// by default 7 days.
const RENEWED_EVERY: Duration = Duration::from_secs(60 * 60);
/// Whoever waits looks at the clock in time, unless the whole process stood still.
const ASLEEP: Duration = Duration::from_secs(2);
/// Between two looks at what has arrived.
const LOOK_EVERY: Duration = Duration::from_secs(1);
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
    /// Told how far this has come, while it publishes.
    pub(super) progress: watch::Sender<Option<Progress>>,
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
    /// Others may have published meanwhile: what is there has to be looked at again.
    #[error("this process was asleep")]
    Asleep,
}

/// What is to be done next.
enum Next {
    Take(Vec<Record>),
    Look,
    Settle,
}

/// A stay on duty: where it has come to.
struct Stay {
    reader: Reader,
    there: There,
    on_their_way: VecDeque<Sent>,
    /// The first event that did not arrive: from then on no checkpoint may pass it, whoever was told of it.
    lost: Option<Failed>,
    kept: Kept,
    progress: watch::Sender<Option<Progress>>,
}

/// An event on its way.
struct Sent {
    /// Over when it has arrived, or never will.
    delivery: BoxFuture<'static, Result<(), Failed>>,
    /// The journal's offset of its outcome.
    record: u64,
    at: Instant,
}

/// The last checkpoint.
struct Kept {
    /// The journal's offset there.
    next: u64,
    /// Where the public topics ended there.
    ends: Ends,
    /// When it was written, if that was during this stay.
    at: Option<Instant>,
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
            self.progress.send_replace(None);
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
        let relieved = relieved.shared();
        let mut stay = tokio::select! {
            stay = awake(self.begin()) => stay??,
            () = relieved.clone() => return Ok(()),
        };
        let trouble = tokio::select! {
            ended = self.publish(&mut stay) => ended.err(),
            () = relieved.clone() => None,
        };
        let last = async {
            match trouble {
                None => self.settle(&mut stay).await,
                // Perhaps a part of an outcome is published: the checkpoint stays where it is.
                Some(trouble) => stay.arrived().await.map_err(Trouble::from).and(Err(trouble)),
            }
        };
        // Before others wait for the shard there is no hurry, and giving up concerns all shards.
        let too_late = async {
            relieved.await;
            clock::sleep(LEAVE_WITHIN).await;
        };
        tokio::select! {
            ended = last => return ended,
            () = too_late => self.outbox.give_up(),
        }
        Ok(stay.arrived().await?)
    }

    /// From the checkpoint, or from the beginning.
    async fn begin(&self) -> Result<Stay, Trouble> {
        let shard = self.number;
        let kept = self.outbox.checkpoint(JOURNAL, shard).await?;
        let reader = kept.as_ref().and_then(|kept| Reader::resume(shard, kept.next, &kept.note));
        let from = if reader.is_some() { kept.map(|kept| kept.ends).unwrap_or_default() } else { Ends::new() };
        let reader = reader.unwrap_or_else(|| Reader::new(&self.ledger, shard, self.shards));
        let ends = self.outbox.ends(&TOPICS).await?;
        let there = self.outbox.between(&from, &ends, move |header| {
            let source = source_of(&header("position")?, shard)?;
            Some((source, header("eventId")?))
        });
        let there: There = there.await?.into_iter().collect();
        tracing::debug!(shard, from = reader.next(), there = there.len(), "publishing begins");
        let kept = Kept { next: reader.next(), ends: from, at: None };
        let stay =
            Stay { reader, there, on_their_way: VecDeque::new(), lost: None, kept, progress: self.progress.clone() };
        stay.tell();
        Ok(stay)
    }

    /// Publishes until something fails.
    async fn publish(&self, stay: &mut Stay) -> Result<Infallible, Trouble> {
        let mut journal = self.log.tail(JOURNAL, self.number, stay.reader.next());
        let mut looks = clock::interval(LOOK_EVERY);
        let mut checkpoints = clock::interval(CHECKPOINT_EVERY);
        loop {
            let next = async {
                Ok::<_, Trouble>(tokio::select! {
                    records = journal.next(BATCH) => Next::Take(records?),
                    _ = looks.tick() => Next::Look,
                    _ = checkpoints.tick() => Next::Settle,
                })
            };
            match awake(next).await?? {
                Next::Take(records) => self.take(stay, &records).await?,
                Next::Look => stay.look()?,
                Next::Settle => self.settle(stay).await?,
            }
        }
    }

    /// May be dropped while it waits: then `stay` stands between two outcomes.
    async fn take(&self, stay: &mut Stay, records: &[Record]) -> Result<(), Trouble> {
        for record in records {
            while stay.on_their_way.len() >= ON_THEIR_WAY {
                awake(stay.next_arrived()).await??;
            }
            if let Read::Accepted(outcome) = stay.reader.take(record)? {
                self.send(stay, record.offset, &outcome)?;
            }
        }
        Ok(())
    }

    /// Hands over all events of an outcome, at an offset of the journal, that are not there yet.
    fn send(&self, stay: &mut Stay, record: u64, outcome: &Outcome) -> Result<(), Trouble> {
        for event in published(outcome) {
            if stay.there.take(outcome.source_offset, &event.event_id) {
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
            let delivery = self.outbox.send(&letter)?.over().boxed();
            stay.on_their_way.push_back(Sent { delivery, record, at: clock::now() });
        }
        Ok(())
    }

    /// Waits until everything has arrived, then keeps how far that is.
    async fn settle(&self, stay: &mut Stay) -> Result<(), Trouble> {
        awake(stay.arrived()).await??;
        let next = stay.reader.next();
        if !stay.kept.is_due(next, clock::now()) {
            return Ok(());
        }
        stay.there.passed(stay.reader.chain().next_source());
        let ends = if stay.there.is_empty() {
            // Nothing behind `next` is published yet, unless others did so while this process slept: whatever will be, stands
            // behind these ends.
            awake(self.outbox.ends(&TOPICS)).await??
        } else {
            // What is there already stands behind the old ones only.
            stay.kept.ends.clone()
        };
        let checkpoint = Checkpoint { next, note: stay.reader.note(), ends: ends.clone() };
        awake(self.outbox.commit(JOURNAL, self.number, checkpoint)).await??;
        stay.kept = Kept { next, ends, at: Some(clock::now()) };
        Ok(())
    }
}

/// What this leads to, unless the process stood still meanwhile.
async fn awake<T>(waits: impl Future<Output = T>) -> Result<T, Trouble> {
    awake_by(clock::now, waits).await
}

async fn awake_by<T>(now: impl Fn() -> Instant, waits: impl Future<Output = T>) -> Result<T, Trouble> {
    let mut waits = std::pin::pin!(waits);
    loop {
        let since = now();
        let over = clock::timeout(LOOK_EVERY, &mut waits).await;
        if now().saturating_duration_since(since) >= ASLEEP {
            return Err(Trouble::Asleep);
        }
        if let Ok(over) = over {
            return Ok(over);
        }
    }
}

impl Stay {
    /// Waits for the oldest. Dropping the future loses nothing.
    async fn next_arrived(&mut self) -> Result<(), Failed> {
        self.tell();
        let Some(sent) = self.on_their_way.front_mut() else { return Ok(()) };
        let over = (&mut sent.delivery).await;
        self.on_their_way.pop_front();
        if let Err(failed) = &over {
            self.lost.get_or_insert_with(|| failed.clone());
        }
        over
    }

    /// Waits for all; the first failure of this stay, once all are over. Dropping the future loses nothing.
    async fn arrived(&mut self) -> Result<(), Failed> {
        while !self.on_their_way.is_empty() {
            // What it says is kept.
            let _ = self.next_arrived().await;
        }
        self.tell();
        self.lost.clone().map_or(Ok(()), Err)
    }

    /// Takes note of what has arrived by now.
    fn look(&mut self) -> Result<(), Failed> {
        while !self.on_their_way.is_empty() {
            let Some(over) = self.next_arrived().now_or_never() else { break };
            over?;
        }
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        let oldest = self.on_their_way.front();
        let published = oldest.map_or(self.reader.next(), |sent| sent.record);
        self.progress.send_replace(Some(Progress { published, oldest: oldest.map(|sent| sent.at) }));
    }
}

impl Kept {
    /// Whether there is more to keep by now, or the cluster might forget what it has.
    fn is_due(&self, next: u64, now: Instant) -> bool {
        let old = self.at.is_none_or(|at| now.saturating_duration_since(at) >= RENEWED_EVERY);
        old || next != self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::sync::oneshot;

    /// Whoever gave up waiting was told nothing; the checkpoint is not to move all the same.
    #[tokio::test]
    async fn what_did_not_arrive_is_remembered_whoever_waited_for_it() {
        let (mut arrivals, on_their_way) = (0..3)
            .map(|record| {
                let (arrives, delivery) = oneshot::channel();
                (arrives, Sent { delivery: delivery.map(Result::unwrap).boxed(), record, at: clock::now() })
            })
            .collect::<(VecDeque<oneshot::Sender<_>>, VecDeque<_>)>();
        let mut stay = Stay {
            reader: Reader::new("ledger", 0, 1),
            there: There::default(),
            on_their_way,
            lost: None,
            kept: Kept { next: 0, ends: Ends::new(), at: None },
            progress: watch::channel(None).0,
        };
        let failed = Err(Failed("no replica took it".to_owned()));
        let mut arrives = |said| arrivals.pop_front().unwrap().send(said).unwrap();
        arrives(failed.clone());
        assert!(stay.arrived().now_or_never().is_none(), "two are on their way");
        assert_eq!(stay.on_their_way.len(), 2, "one is over, and nobody was told how");
        arrives(Ok(()));
        stay.look().unwrap();
        arrives(Ok(()));
        assert_eq!(stay.arrived().await, failed);
        assert_eq!(stay.arrived().await, failed, "also to who asks again");
    }

    #[tokio::test]
    async fn what_ends_after_the_process_stood_still_is_not_relied_on() {
        let now = Cell::new(clock::now());
        for (millis, asleep) in [(0, false), (1_900, false), (2_000, true), (30_000, true)] {
            let ends = async { now.set(now.get() + Duration::from_millis(millis)) };
            let ended = awake_by(|| now.get(), ends).await;
            assert_eq!(matches!(ended, Err(Trouble::Asleep)), asleep, "{millis}");
        }
    }

    #[test]
    fn a_checkpoint_is_written_when_it_moves_at_the_beginning_of_a_stay_and_every_hour() {
        let begin = clock::now();
        let later = |seconds| begin + Duration::from_secs(seconds);
        for (at, next, now, due) in [
            (None, 7, begin, true),
            (Some(begin), 7, later(5), false),
            (Some(begin), 8, later(5), true),
            (Some(begin), 7, later(3_599), false),
            (Some(begin), 7, later(3_600), true),
        ] {
            let kept = Kept { next: 7, ends: Ends::new(), at };
            assert_eq!(kept.is_due(next, now), due, "{next} {now:?}");
        }
    }
}
