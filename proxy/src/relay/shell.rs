//! The shell around the decisions: reads the topics, executes actions, reports what came of them.
//!
//! One task owns the decisions and never waits for anything but the next thing to tell them; whatever takes time
//! runs beside it and reports back.

use super::appending::{PARTITION, keyed};
use super::calls::Calls;
use super::dead_letters::DeadLetters;
use super::delivery::answer::Answer;
use super::delivery::exchanges::ExchangeId;
use super::delivery::resolve::Finding;
use super::delivery::{Action, Delivery, Facts};
use super::ingest::FrontEvent;
use super::start::unreadable;
use super::writer::Written;
use super::{Error, meter};
use bytes::Bytes;
use eventlog::{Log, ReadError, Record};
use host::clock;
use host::moment;
use host::task::{self, JoinHandle, Shutdown};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use wire::chain::Head;
use wire::control::KnownTransaction;
use wire::decision::DecisionRecord;
use wire::rollout::{RolloutBody, RolloutRecord};
use wire::scalar::Timestamp;
use wire::shadow::{ShadowBody, ShadowRecord};
use wire::stored::encode;
use wire::{decision, exchange, rollout, shadow};

/// Records folded before the decisions are asked what to do.
const PAGE: usize = 512;
/// Pages of a topic that may wait to be folded.
const PAGES: usize = 2;
/// How often the decisions are asked what to do when nothing happens: well below the 250 ms of a handover.
const TICK: Duration = Duration::from_millis(10);
/// Between two measurements, which look at every exchange that is not concluded: under load there are thousands.
const MEASURED_EVERY: Duration = Duration::from_secs(1);
/// After a failed read, before the next one.
const READ_AGAIN: Duration = Duration::from_millis(100);
/// How long legs under way may go on after the signal to stop. Those that do not end are sent again later.
const STOPPING: Duration = Duration::from_secs(2);

/// What came of an action, or from outside.
pub(super) enum Event {
    /// A leg came back.
    Answered { id: ExchangeId, attempt: u32, answer: Answer },
    /// An authority was asked.
    Found { id: ExchangeId, finding: Finding },
    /// The target of a leg was asked.
    Looked { id: ExchangeId, attempt: u32, finding: Finding },
    /// An account was asked for.
    Learnt { account: Arc<str>, facts: Option<Facts> },
    /// The engine was told aliases.
    Posted { taken: bool },
    /// `drained` was written, or not.
    Drained { version: u64, offset: Option<u64> },
    /// Somebody wants to know a transaction.
    Asked { id: String, reply: oneshot::Sender<Option<KnownTransaction>> },
}

/// Where each topic is read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offsets {
    pub exchanges: u64,
    pub shadows: u64,
    pub rollout: u64,
}

/// The decisions and everything they act through.
pub(super) struct Shell {
    pub delivery: Delivery,
    pub dead_letters: DeadLetters,
    /// The end of the chain of `cutover.shadows` as far as it was folded.
    pub head: Head,
    /// The same of `cutover.decisions`.
    pub decisions: Head,
    pub calls: Calls,
    pub log: Arc<dyn Log>,
    /// What this relay has written there.
    pub written: Written,
    /// To the writer of `cutover.shadows`.
    pub shadows: mpsc::UnboundedSender<ShadowBody>,
    /// To this shell itself.
    pub report: mpsc::UnboundedSender<Event>,
}

impl Shell {
    /// Delivers until `shutdown`, then lets the legs under way end.
    ///
    /// # Errors
    /// When a topic cannot be read any more.
    pub(super) async fn run(
        mut self,
        from: Offsets,
        mut events: mpsc::UnboundedReceiver<Event>,
        mut fronts: mpsc::UnboundedReceiver<FrontEvent>,
        shutdown: Shutdown,
    ) -> Result<(), Error> {
        let stop_reading = Shutdown::new();
        let mut exchanges = Following::of(&self.log, exchange::TOPIC, from.exchanges, &stop_reading);
        let mut shadows = Following::of(&self.log, shadow::TOPIC, from.shadows, &stop_reading);
        let mut changes = Following::of(&self.log, rollout::TOPIC, from.rollout, &stop_reading);
        // Few records, and what they say of exchanges that are concluded counts no more: read from the beginning, beside
        // everything else.
        let mut decisions = Following::of(&self.log, decision::TOPIC, 0, &stop_reading);
        self.delivery.begin_present(now());
        let mut measurements = clock::interval(MEASURED_EVERY);
        let mut stop_by = None;
        let ended = loop {
            self.act();
            if stop_by.is_some_and(|by| clock::now() >= by || self.delivery.under_way() == 0) {
                break Ok(());
            }
            let folded = tokio::select! {
                page = exchanges.pages.recv(), if !self.delivery.is_full() => self.take_exchanges(page),
                page = shadows.pages.recv() => self.take_shadows(page),
                page = changes.pages.recv() => self.take_changes(page),
                page = decisions.pages.recv() => self.take_decisions(page),
                Some(event) = events.recv() => { self.take_events(event, &mut events); Ok(()) }
                Some(event) = fronts.recv() => { self.take_fronts(event, &mut fronts); Ok(()) }
                _ = measurements.tick() => { meter::gauges(&self.delivery, now()); Ok(()) }
                () = clock::sleep(self.pause()) => Ok(()),
                () = shutdown.stopped(), if stop_by.is_none() => {
                    self.delivery.stop();
                    stop_by = Some(clock::now() + STOPPING);
                    Ok(())
                }
            };
            if folded.is_err() {
                break folded;
            }
        };
        stop_reading.stop();
        for following in [exchanges, shadows, changes, decisions] {
            following.end().await;
        }
        ended
    }

    /// Until something is due that nobody announces.
    fn pause(&self) -> Duration {
        let until = |at: Timestamp| Duration::from_micros(u64::try_from(at.since_micros(now())).unwrap_or(0));
        self.delivery.wake_at().map_or(TICK, |at| until(at).min(TICK))
    }

    fn take_exchanges(&mut self, page: Option<Page>) -> Result<(), Error> {
        for record in whole(page)? {
            let exchange = self.dead_letters.exchange(&record)?;
            self.delivery.take_exchange(record.offset, Timestamp(record.at_micros), exchange);
        }
        Ok(())
    }

    fn take_shadows(&mut self, page: Option<Page>) -> Result<(), Error> {
        for record in whole(page)? {
            let taken = self.head.take::<ShadowRecord>(&record.value);
            if let Some(taken) = taken.map_err(unreadable(shadow::TOPIC, record.offset))? {
                meter::count(&taken.body);
                let own = self.written.take(&record.value);
                self.delivery.take_shadow(record.offset, Timestamp(record.at_micros), taken, own);
            }
        }
        Ok(())
    }

    fn take_changes(&mut self, page: Option<Page>) -> Result<(), Error> {
        for record in whole(page)? {
            let taken = self.delivery.take_rollout(record.offset, &record.value);
            taken.map_err(unreadable(rollout::TOPIC, record.offset))?;
        }
        Ok(())
    }

    fn take_decisions(&mut self, page: Option<Page>) -> Result<(), Error> {
        for record in whole(page)? {
            let taken = self.decisions.take::<DecisionRecord>(&record.value);
            if let Some(taken) = taken.map_err(unreadable(decision::TOPIC, record.offset))? {
                self.delivery.take_decision(taken);
                moment::passes("decision-read");
            }
        }
        Ok(())
    }

    fn take_events(&mut self, first: Event, more: &mut mpsc::UnboundedReceiver<Event>) {
        let now = now();
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Event::Answered { id, attempt, answer } => self.delivery.answered(id, attempt, answer, now),
                Event::Found { id, finding } => self.delivery.found(id, finding, now),
                Event::Looked { id, attempt, finding } => self.delivery.looked(id, attempt, finding, now),
                Event::Learnt { account, facts } => self.delivery.learnt(&account, facts, now),
                Event::Posted { taken } => self.delivery.posted(taken, now),
                Event::Drained { version, offset } => self.delivery.drained_written(version, offset, now),
                Event::Asked { id, reply } => {
                    // Whoever asked may have gone.
                    let _ = reply.send(self.delivery.known_transaction(&id));
                }
            }
            next = more.try_recv().ok();
        }
    }

    fn take_fronts(&mut self, first: FrontEvent, more: &mut mpsc::UnboundedReceiver<FrontEvent>) {
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                FrontEvent::Connected { front, boot } => self.delivery.front_connected(&front, boot),
                FrontEvent::Lost(front) => self.delivery.front_lost(&front, now()),
                FrontEvent::Heartbeat { front, at, end } => self.delivery.heartbeat(&front, at, end),
            }
            next = more.try_recv().ok();
        }
    }

    /// Begins whatever is to be done.
    fn act(&mut self) {
        for action in self.delivery.poll(now()) {
            match action {
                Action::Append(body) => {
                    // A writer that has ended ends the relay; what it does not write is done again later.
                    let _ = self.shadows.send(body);
                }
                action => self.begin(action),
            }
        }
    }

    /// Begins what takes time beside this task.
    fn begin(&self, action: Action) {
        let (calls, log, report) = (self.calls.clone(), Arc::clone(&self.log), self.report.clone());
        task::spawn(async move {
            let event = match action {
                Action::Send(leg) => {
                    let (id, attempt) = (leg.id, leg.attempt);
                    let [announced, answered] = if leg.sent_by.is_some() {
                        ["unrepeatable-leg-announced", "unrepeatable-leg-answered"]
                    } else {
                        ["leg-announced", "leg-answered"]
                    };
                    moment::passes(announced);
                    let answer = calls.send(*leg).await;
                    moment::passes(answered);
                    Event::Answered { id, attempt, answer }
                }
                Action::Ask(question) => Event::Found { id: question.id, finding: calls.ask(&question).await },
                Action::Learn(account) => {
                    let facts = calls.learn(&account).await;
                    Event::Learnt { account, facts }
                }
                Action::Post(aliases) => Event::Posted { taken: calls.post_aliases(aliases).await },
                Action::Drained(record) => write_drained(&*log, &record).await,
                Action::Look { attempt, question } => {
                    Event::Looked { id: question.id, attempt, finding: calls.ask(&question).await }
                }
                Action::Append(_) => return,
            };
            // Nobody listens any more only when the relay has stopped.
            let _ = report.send(event);
        });
    }
}

async fn write_drained(log: &dyn Log, record: &RolloutRecord) -> Event {
    let RolloutBody::Drained { version } = record.body else { return Event::Posted { taken: false } };
    let bytes = Bytes::from(encode(record));
    let offset = match log.append(rollout::TOPIC, PARTITION, vec![keyed("", bytes)]).await {
        Ok(offset) => Some(offset),
        Err(error) => {
            tracing::warn!(version, %error, "cannot write that a move is drained");
            None
        }
    };
    Event::Drained { version, offset }
}

fn now() -> Timestamp {
    Timestamp(clock::unix_micros())
}

/// Records of a topic, or why there are no more.
type Page = Result<Vec<Record>, ReadError>;

fn whole(page: Option<Page>) -> Result<Vec<Record>, Error> {
    page.unwrap_or_else(|| Err(ReadError::Failed("nobody reads the topic".to_owned()))).map_err(Error::Log)
}

/// A topic that is followed by a task of its own: waiting for it can be given up without losing a record.
struct Following {
    pages: mpsc::Receiver<Page>,
    task: JoinHandle<()>,
}

impl Following {
    fn of(log: &Arc<dyn Log>, topic: &'static str, from: u64, stop: &Shutdown) -> Self {
        let (sender, pages) = mpsc::channel(PAGES);
        let task = task::spawn(follow(Arc::clone(log), topic, from, sender, stop.clone()));
        Self { pages, task }
    }

    async fn end(self) {
        drop(self.pages);
        let _ = self.task.await;
    }
}

async fn follow(log: Arc<dyn Log>, topic: &'static str, mut from: u64, pages: mpsc::Sender<Page>, stop: Shutdown) {
    let mut tail = log.tail(topic, PARTITION, from);
    loop {
        let page = tokio::select! {
            page = tail.next(PAGE) => page,
            () = stop.stopped() => return,
        };
        match &page {
            Ok(records) => from = records.last().map_or(from, |last| last.offset + 1),
            Err(ReadError::Failed(reason)) => {
                tracing::warn!(topic, reason, "cannot read on");
                clock::sleep(READ_AGAIN).await;
                tail = log.tail(topic, PARTITION, from);
                continue;
            }
            Err(ReadError::Gone { .. }) => {}
        }
        let over = page.is_err();
        let sent = tokio::select! {
            sent = pages.send(page) => sent,
            () = stop.stopped() => return,
        };
        if over || sent.is_err() {
            return;
        }
    }
}
