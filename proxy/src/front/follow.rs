//! Following the dial: what was heard goes into the [`Handover`], what it says goes to the requests, and what it
//! wants done is done here, beside it.

use super::Front;
use super::handover::{Effect, Handover, Scope, View};
use super::last_known::{self, LastKnown};
use super::overrule::{self, Change};
use super::prepared::{Answer, Mark};
use super::stream::Heard;
use crate::metrics::{ROLLOUT_PERCENT, ROLLOUT_STAGE};
use host::clock::{self, Instant};
use host::http::Client;
use host::task::Shutdown;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use wire::rollout::{Rollout, RolloutBody, RolloutRecord};
use wire::scalar::Percent;
use wire::stored::decode;
use wire::words::Stage;

/// What keeps the front from being ready when it does not know where the dial stands.
const ROLLOUT: &str = "rollout";

/// What the follower is told from elsewhere in the front.
#[derive(Debug)]
pub enum Order {
    /// An operator sets or lifts the override; answers whether it was kept on disk.
    Override(Change, oneshot::Sender<io::Result<()>>),
    /// The comparator has this front's answer to a prepare.
    Answered(u64),
    /// A move's requests have ended at the old authority and were shipped.
    Settled(u64),
}

/// Follows the dial.
pub(super) struct Follower {
    front: Arc<Front>,
    handover: Handover,
    /// The offset after the last record taken.
    next: u64,
    /// What it last said of itself; a damaged one is no ground to serve on.
    must_catch_up: bool,
    caught_up: bool,
    /// A record could not be read: nothing may be folded any more.
    stuck: bool,
    keeper: Keeper,
    overrides: overrule::Keeper,
    orders: mpsc::Sender<Order>,
    client: Client,
    begun: Instant,
}

/// Where to begin.
pub(super) struct Start {
    /// The state last heard, or the genesis.
    pub(super) last: LastKnown,
    /// Whether nobody may be served before the comparator was heard.
    pub(super) must_catch_up: bool,
    /// The clock that the handover goes by.
    pub(super) begun: Instant,
    /// The handover as it begins.
    pub(super) handover: Handover,
}

impl Follower {
    pub(super) fn new(front: Arc<Front>, start: Start, orders: mpsc::Sender<Order>) -> Self {
        let Start { last, must_catch_up, begun, handover } = start;
        let client = Client::new(front.handover, 64 * 1024);
        let keeper = Keeper::new(front.data_dir.clone());
        let overrides = overrule::Keeper::new(front.data_dir.clone());
        if must_catch_up {
            front.readiness.blocked(ROLLOUT, "the last known rollout is damaged: waiting for the comparator");
        }
        Self {
            front,
            handover,
            next: last.next,
            must_catch_up,
            caught_up: false,
            stuck: false,
            keeper,
            overrides,
            orders,
            client,
            begun,
        }
    }

    /// Follows until `shutdown`.
    pub(super) async fn run(
        mut self,
        mut heard: mpsc::Receiver<Heard>,
        mut orders: mpsc::Receiver<Order>,
        shutdown: Shutdown,
    ) {
        let mut effects = self.handover.resume();
        self.front.dial.note(self.handover.is_preparing());
        loop {
            // In this order: whoever waits for requests to end must not miss one that the old view let in.
            self.publish();
            self.act(std::mem::take(&mut effects));
            let wake = self.wake_at();
            effects = tokio::select! {
                Some(heard) = heard.recv() => self.hear(heard).await,
                Some(order) = orders.recv() => self.obey(order).await,
                () = clock::sleep_until(wake) => {
                    self.handover.tick(self.now());
                    Vec::new()
                }
                () = shutdown.stopped() => break,
            };
        }
        self.keeper.end().await;
        self.overrides.end().await;
    }

    async fn hear(&mut self, heard: Heard) -> Vec<Effect> {
        match heard {
            Heard::Mark(id) => self.front.journal.mark(id),
            Heard::CaughtUp => {
                self.caught_up = true;
                if self.must_catch_up && !self.stuck {
                    self.must_catch_up = false;
                    self.front.readiness.cleared(ROLLOUT);
                }
                self.keep();
                self.tell_mark();
            }
            Heard::Record { offset, bytes } if !self.stuck => return self.take(offset, &bytes).await,
            Heard::Record { .. } => {}
        }
        Vec::new()
    }

    async fn take(&mut self, offset: u64, bytes: &[u8]) -> Vec<Effect> {
        let now = self.now();
        let (version, head) = (self.handover.rollout().version, self.handover.rollout().head);
        let commits =
            decode::<RolloutRecord>(bytes).is_ok_and(|record| matches!(record.body, RolloutBody::Commit { .. }));
        if commits {
            // Nobody else goes to an authority of the past while the move is taken up.
            self.publish_view(self.handover.view().holding_the_silent());
        }
        let effects = match self.handover.fold(bytes, &self.front.dial.exposed(), now) {
            Ok(effects) => effects,
            Err(error) => {
                self.stuck = true;
                tracing::error!(offset, %error, "cannot read a change of the dial: it stays where it was");
                let why = format!("record {offset} of the rollout cannot be read: {error}");
                self.front.readiness.blocked(ROLLOUT, why);
                return Vec::new();
            }
        };
        if self.handover.rollout().head == head {
            tracing::warn!(offset, "a change of the dial extends another history: ignored, as by everybody");
        }
        self.next = offset + 1;
        self.front.dial.note(self.handover.is_preparing());
        if self.caught_up {
            self.keep();
            // A front that restarts without the comparator must not go back to an authority that has lost the
            // account: what takes accounts to the engine is on disk before anybody goes by it.
            if self.front.overrule().is_some() {
                // Nothing goes to the engine, and from now on the dial's word tells what was overtaken.
                self.publish();
            }
            if commits && self.handover.rollout().version != version {
                self.keeper.kept(self.next, self.front.journal_wait).await;
            }
            if self.handover.awaited().next_back().is_some_and(|(awaited, _)| awaited > version) {
                // Nothing new goes to an authority of the past once this is in force.
                self.publish();
                self.tell_mark();
            }
        }
        effects
    }

    /// Tells, as soon as it is true, that nothing of this front is on its way from authorities of the past; as long
    /// as there is a move for which the relay may wait to hear that.
    fn tell_mark(&self) {
        if self.stuck || self.must_catch_up || self.handover.awaited().next().is_none() {
            return;
        }
        let mark = Mark {
            front: self.front.clone(),
            client: self.client.clone(),
            version: self.handover.rollout().version,
            kept: self.keeper.reached(self.next),
            over: self.orders.clone(),
        };
        host::task::spawn(mark.run());
    }

    async fn obey(&mut self, order: Order) -> Vec<Effect> {
        match order {
            Order::Override(change, done) => return self.overrule(&change, done),
            Order::Answered(version) => self.handover.answered(version),
            Order::Settled(id) => {
                self.handover.settled(id);
                self.keep();
            }
        }
        Vec::new()
    }

    /// First in force, then in the journal and on disk: it is an emergency. Whom it holds is released in time, however
    /// long the disk takes.
    fn overrule(&mut self, change: &Change, done: oneshot::Sender<io::Result<()>>) -> Vec<Effect> {
        let current = change.in_force();
        let effects = self.handover.set_override(current.is_some(), self.now());
        let was_in_force = self.front.overrule().is_some();
        self.front.set_overrule(current.clone());
        self.publish();
        let record = change.record();
        if record.on {
            tracing::warn!(reason = record.reason, "override: everything goes to the legacy");
        } else {
            tracing::warn!(reason = record.reason, "override lifted: the dial holds again");
        }
        if record.on || was_in_force {
            self.front.journal.overruled(record);
        }
        self.overrides.keep(current, done);
        effects
    }

    /// Starts what the handover wants done.
    fn act(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Overtook { requests } => {
                    tracing::warn!(requests, "a move was made that this front had not heard of in time");
                    self.front.metrics.overtaken(requests);
                }
                Effect::Answer { version, to } => {
                    let answer = Answer {
                        front: self.front.clone(),
                        orders: self.orders.clone(),
                        client: self.client.clone(),
                        rollout: self.handover.view().rollout,
                        version,
                        to,
                        begun: clock::now(),
                    };
                    host::task::spawn(answer.run());
                }
                Effect::Settle { id } => {
                    if let Some(scope) = self.handover.scope(id) {
                        host::task::spawn(settle(self.front.clone(), self.orders.clone(), id, scope));
                    }
                }
            }
        }
    }

    fn publish(&self) {
        self.publish_view(self.handover.view());
    }

    fn publish_view(&self, view: View) {
        let waited = self.now() >= self.front.start_wait;
        // An override needs nobody: it says itself where everything goes.
        let overruled = self.front.overrule().is_some();
        let serving = overruled || !self.must_catch_up && (self.caught_up || waited);
        let view = if self.must_catch_up { view.of_an_unknown_dial() } else { view };
        gauges(&view.rollout);
        self.front.dial.publish(view, serving);
    }

    fn keep(&self) {
        if !self.caught_up || self.must_catch_up {
            return;
        }
        let unfinished = self.handover.awaited().map(|(version, from)| (version, from.clone())).collect();
        let rollout = self.handover.rollout().clone();
        self.keeper.keep(LastKnown { ledger: self.front.ledger.clone(), next: self.next, rollout, unfinished });
    }

    fn now(&self) -> Duration {
        clock::now() - self.begun
    }

    fn wake_at(&self) -> Instant {
        // An hour is as good as never, without an Option in every select.
        let never = Duration::from_secs(3600);
        let start = (self.now() < self.front.start_wait).then_some(self.front.start_wait);
        let soonest = self.handover.wake_at().into_iter().chain(start).min();
        self.begun + soonest.unwrap_or(self.now() + never)
    }
}

fn gauges(rollout: &Rollout) {
    let percent = match rollout.setting.stage {
        Stage::Engine | Stage::Complete => Percent::ALL,
        _ => rollout.setting.percent,
    };
    metrics::gauge!(ROLLOUT_PERCENT).set(f64::from(percent.hundredths()) / 100.0);
    for stage in Stage::ALL {
        let on = if *stage == rollout.setting.stage { 1.0 } else { 0.0 };
        metrics::gauge!(ROLLOUT_STAGE, "stage" => stage.as_str()).set(on);
    }
}

/// Waits until nothing runs at the old authority on accounts of a move, and what ran is shipped.
async fn settle(front: Arc<Front>, orders: mpsc::Sender<Order>, id: u64, scope: Scope) {
    loop {
        // Whatever runs ends within the time-out of its system; longer than that only if the journal stalls.
        let deadline = clock::now() + front.authority_timeout;
        let concerns = |account: &str, system| scope.moved_from(account) == Some(system);
        if front.dial.quiet(concerns, deadline).await.is_empty() {
            break;
        }
    }
    let Some(barrier) = front.journal.barrier().await else { return };
    front.journal.hurry();
    if front.shipped_by_any_time(barrier.sequence).await {
        let _ = orders.send(Order::Settled(id)).await;
    }
}

/// Writes the last known state beside the follower, which must not wait for a disk; of several only the newest.
struct Keeper {
    newest: watch::Sender<Option<Arc<LastKnown>>>,
    kept: watch::Receiver<u64>,
    task: host::task::JoinHandle<()>,
}

impl Keeper {
    fn new(dir: PathBuf) -> Self {
        let (newest, mut changes) = watch::channel(None::<Arc<LastKnown>>);
        let (done, kept) = watch::channel(0);
        let task = host::task::spawn(async move {
            while changes.changed().await.is_ok() {
                let Some(state) = changes.borrow_and_update().clone() else { continue };
                let (dir, next) = (dir.clone(), state.next);
                let written = host::task::spawn_blocking(move || last_known::write(&dir, &state)).await;
                match written {
                    Ok(Ok(())) => drop(done.send(next)),
                    Ok(Err(error)) => tracing::error!(%error, "cannot keep where the dial stands"),
                    Err(error) => tracing::error!(%error, "cannot keep where the dial stands"),
                }
            }
        });
        Self { newest, kept, task }
    }

    fn keep(&self, state: LastKnown) {
        self.newest.send_replace(Some(Arc::new(state)));
    }

    /// Waits, for so long at most, until everything before `next` is on disk.
    async fn kept(&self, next: u64, wait: Duration) {
        if clock::timeout(wait, self.reached(next)).await.is_err() {
            tracing::warn!("the disk is slow: the dial moves before its new place is on disk");
        }
    }

    /// Waits until everything before `next` is on disk; `false` when it never will be.
    fn reached(&self, next: u64) -> impl Future<Output = bool> + Send + use<> {
        let mut kept = self.kept.clone();
        async move { kept.wait_for(|kept| *kept >= next).await.is_ok() }
    }

    async fn end(self) {
        drop(self.newest);
        let _ = self.task.await;
    }
}
