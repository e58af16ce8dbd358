//! What the front tells the comparator of its own state in a move of the dial: that accounts are held, or that
//! nothing is on its way any more from authorities of the past.

use super::Front;
use super::dial::Dial;
use super::follow::Order;
use host::clock::{self, Instant};
use host::http::Client;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use wire::control::Prepared;
use wire::rollout::{Rollout, Setting};

/// Between two attempts to tell it.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest pause of one that is told until it is heard.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long the comparator may take to record a mark: nobody waits for it longer than a handover lasts.
const RECORDING: Duration = Duration::from_secs(5);

/// The answer to a prepare: when nothing runs any more on accounts that would move, and everything is shipped.
pub(super) struct Answer {
    pub(super) front: Arc<Front>,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) client: Client,
    /// In force when the prepare came.
    pub(super) rollout: Arc<Rollout>,
    pub(super) version: u64,
    pub(super) to: Setting,
    pub(super) begun: Instant,
}

impl Answer {
    pub(super) async fn run(self) {
        let over = self.begun + 2 * self.front.handover;
        let unknown_accounts = self.unknown_accounts().await;
        let Some(mark) = self.front.last_record().await else { return };
        if !self.front.shipped_by(mark, over).await {
            tracing::warn!(version = self.version, "a move of the dial is prepared, but the relay takes no records");
            return;
        }
        let answer = self.front.prepared(self.version, mark, unknown_accounts);
        // An override outranks the move: without this front's answer it is called off.
        while clock::now() < over && self.front.overrule().is_none() {
            match post(&self.front, &self.client, &answer, self.front.handover).await {
                Ok(()) => {
                    let _ = self.orders.send(Order::Answered(self.version)).await;
                    return;
                }
                Err(Some(status)) => {
                    tracing::warn!(version = self.version, status, "the comparator does not want the answer any more");
                    return;
                }
                Err(None) => clock::sleep(PAUSE).await,
            }
        }
        tracing::warn!(version = self.version, "the comparator could not be told that this front is prepared");
    }

    /// Waits for what runs, for half of the time that the comparator has (three quarters of the handover's): the other half
    /// is for shipping, delivering and deciding. What runs longer makes its account unknown, and does not hold up the others.
    async fn unknown_accounts(&self) -> BTreeSet<String> {
        let moves = |account: &str| self.rollout.moves(self.to, account);
        let dial: &Dial = &self.front.dial;
        let mut unknown = dial.quiet(|account, _| moves(account), self.begun + self.front.handover * 3 / 8).await;
        unknown.extend(dial.unknown().into_iter().filter(|account| moves(account)));
        unknown
    }
}

/// That nothing of this front is on its way any more from a system that no longer is its account's authority, under
/// this version or any before it.
///
/// It is said once the version is on disk, too: a later start of this front does not go back behind it, so that the
/// mark holds for that one as well.
pub(super) struct Mark<K> {
    pub(super) front: Arc<Front>,
    pub(super) client: Client,
    /// In force now.
    pub(super) version: u64,
    /// Resolves when that is on disk.
    pub(super) kept: K,
    /// Closed when the front stops.
    pub(super) over: mpsc::Sender<Order>,
}

impl<K: Future<Output = bool> + Send> Mark<K> {
    pub(super) async fn run(self) {
        self.ended().await;
        let Some(mark) = self.front.last_record().await else { return };
        if !self.front.shipped_by_any_time(mark).await || !self.kept.await {
            return;
        }
        let told = self.front.prepared(self.version, mark, BTreeSet::new());
        let mut pause = PAUSE;
        while !self.over.is_closed() {
            match post(&self.front, &self.client, &told, RECORDING).await {
                Ok(()) => return,
                Err(Some(status)) => {
                    tracing::debug!(version = self.version, status, "nobody waits for this front's mark");
                    return;
                }
                Err(None) => clock::sleep(pause).await,
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Waits for everything that runs at an authority of the past.
    async fn ended(&self) {
        let dial: &Dial = &self.front.dial;
        loop {
            // Whatever runs ends within the time-out of its system; longer than that only if the journal stalls.
            let deadline = clock::now() + self.front.authority_timeout;
            // What is in force at each look: what has moved back meanwhile is no longer of the past.
            let past = |account: &str, system| dial.stand().view.rollout.authority(account) != system;
            if dial.quiet(past, deadline).await.is_empty() {
                return;
            }
        }
    }
}

/// `Err(None)`: to be tried again.
async fn post(front: &Front, client: &Client, told: &Prepared, patience: Duration) -> Result<(), Option<u16>> {
    let url = format!("{}/internal/rollout/prepared", front.comparator);
    match client.post(&url, Some(front.service_token.reveal()), told, patience).await {
        Ok(answer) if answer.status.is_success() => Ok(()),
        Ok(answer) if answer.status.is_client_error() => Err(Some(answer.status.as_u16())),
        Ok(_) | Err(_) => Err(None),
    }
}

impl Front {
    fn prepared(&self, version: u64, mark: u64, unknown_accounts: BTreeSet<String>) -> Prepared {
        let boot = self.journal.boot();
        let unknown_accounts = unknown_accounts.into_iter().collect();
        Prepared { version, front: boot.front.clone(), boot: boot.boot, mark, unknown_accounts }
    }
}
