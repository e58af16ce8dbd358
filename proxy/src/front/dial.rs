//! The dial as requests meet it: the view in force, which accounts have a request running, who has to wait.
//!
//! A request takes a [`Lease`] on its deciding account. View and lease are taken under one lock of the account's
//! shard, and whoever changes the view publishes it before looking at the shards: so a request either shows among
//! the running ones, or has seen the new view. There is no lock that all requests share.

use super::handover::{Admission, Exposed, View};
use crate::metrics::FRONT_HELD;
use crate::planted::{Mistake, planted};
use host::clock::{self, Instant};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use wire::rollout::Rollout;
use wire::words::System;
use xxhash_rust::xxh3::xxh3_64;

/// More than there are cores by far, so that two requests rarely meet in one shard.
const SHARDS: usize = 64;

/// What is in force at one moment.
#[derive(Debug)]
pub struct Stand {
    /// What requests go by.
    pub view: View,
    /// Whether it may be gone by already: not before the log was heard, or could not be.
    pub serving: bool,
}

/// The dial, shared by all requests.
#[derive(Debug)]
pub struct Dial {
    stand: watch::Sender<Arc<Stand>>,
    shards: Vec<Mutex<Running>>,
    /// Somebody waits for requests to end.
    watched: AtomicBool,
    ended: Notify,
    /// A handover wants to know what happens in it.
    noting: AtomicBool,
    noted: Mutex<Noted>,
    /// How long a request waits for the front to know where the dial stands.
    patience: Duration,
}

/// Requests running per account, at the legacy and at the engine.
type Running = HashMap<String, [u32; 2]>;

/// What happened while a handover was under way.
#[derive(Debug, Default)]
struct Noted {
    silent: BTreeSet<String>,
    requests: u64,
    unknown: BTreeSet<String>,
}

/// A request's right to be sent on.
#[derive(Debug)]
pub struct Lease {
    dial: Arc<Dial>,
    account: Option<String>,
    /// To whom.
    pub authority: System,
    /// Whether a handover of the account is not finished, or an override sends it elsewhere than the dial.
    pub overtaken: bool,
    /// The rollout it goes by, whatever changes while it runs.
    pub rollout: Arc<Rollout>,
}

/// The front does not know yet where the dial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotServing;

impl Dial {
    /// A dial at which nobody is served until [`Dial::publish`] says so.
    pub fn new(view: View, patience: Duration) -> Self {
        Self {
            stand: watch::Sender::new(Arc::new(Stand { view, serving: false })),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            watched: AtomicBool::new(false),
            ended: Notify::new(),
            noting: AtomicBool::new(false),
            noted: Mutex::default(),
            patience,
        }
    }

    /// What is in force now.
    pub fn stand(&self) -> Arc<Stand> {
        self.stand.borrow().clone()
    }

    /// Puts a view in force; whoever waits looks at it.
    pub fn publish(&self, view: View, serving: bool) {
        self.stand.send_replace(Arc::new(Stand { view, serving }));
    }

    /// The right to send a write on, once the handovers allow it. `None`: no account decides.
    ///
    /// # Errors
    /// When the front has not come to know where the dial stands.
    pub async fn lease(self: &Arc<Self>, account: Option<&str>) -> Result<Lease, NotServing> {
        if let Some(lease) = self.try_lease(account) {
            return Ok(lease);
        }
        let (mut changes, since) = (self.stand.subscribe(), clock::now());
        let read_before = account.filter(|_| planted(Mistake::PercentReadTwice));
        let read_before = read_before.map(|account| self.stand().view.rollout.authority(account));
        loop {
            changes.mark_unchanged();
            if let Some(mut lease) = self.try_lease(account) {
                held(since);
                lease.authority = read_before.unwrap_or(lease.authority);
                return Ok(lease);
            }
            self.wait(&mut changes, since).await?;
        }
    }

    /// Where a read of an account goes, once the handovers allow it; without account, the rollout alone.
    ///
    /// # Errors
    /// As [`Dial::lease`].
    pub async fn admit(&self, account: Option<&str>) -> Result<(System, Arc<Rollout>), NotServing> {
        if let Some(admitted) = self.try_admit(account) {
            return Ok(admitted);
        }
        let (mut changes, since) = (self.stand.subscribe(), clock::now());
        loop {
            changes.mark_unchanged();
            if let Some(admitted) = self.try_admit(account) {
                held(since);
                return Ok(admitted);
            }
            self.wait(&mut changes, since).await?;
        }
    }

    fn try_admit(&self, account: Option<&str>) -> Option<(System, Arc<Rollout>)> {
        let stand = self.stand();
        if !stand.serving {
            return None;
        }
        let authority = match account.map(|account| stand.view.admit(account)) {
            None => stand.view.rollout.default_authority(),
            Some(Admission::Go { authority, .. }) => authority,
            Some(Admission::Hold) => return None,
        };
        Some((authority, stand.view.rollout.clone()))
    }

    fn try_lease(self: &Arc<Self>, account: Option<&str>) -> Option<Lease> {
        let Some(account) = account else {
            let stand = self.stand();
            let rollout = stand.view.rollout.clone();
            let authority = rollout.default_authority();
            return stand.serving.then(|| Lease {
                dial: self.clone(),
                account: None,
                authority,
                overtaken: false,
                rollout,
            });
        };
        let mut shard = self.shard(account);
        let stand = self.stand();
        if !stand.serving {
            return None;
        }
        let Admission::Go { authority, overtaken, silent } = stand.view.admit(account) else { return None };
        match shard.get_mut(account) {
            Some(running) => running[authority as usize] += 1,
            None => {
                let mut running = [0; 2];
                running[authority as usize] = 1;
                shard.insert(account.to_owned(), running);
            }
        }
        if silent {
            // Before the shard is free: whoever looks at what runs, and then here, misses neither.
            let mut noted = self.noted();
            noted.silent.insert(account.to_owned());
            // What is overtaken already is counted with its intent.
            noted.requests += u64::from(!overtaken);
        }
        drop(shard);
        let rollout = stand.view.rollout.clone();
        Some(Lease { dial: self.clone(), account: Some(account.to_owned()), authority, overtaken, rollout })
    }

    /// Waits for a change after the one marked as seen. How long a hold lasts is for the handover to say; only until
    /// the front knows the dial at all there is a limit here.
    async fn wait(&self, changes: &mut watch::Receiver<Arc<Stand>>, since: Instant) -> Result<(), NotServing> {
        if self.stand.borrow().serving {
            let _ = changes.changed().await;
            return Ok(());
        }
        let left = (since + self.patience).saturating_duration_since(clock::now());
        clock::timeout(left, changes.changed()).await.map(|_| ()).map_err(|clock::TimedOut| NotServing)
    }

    /// Accounts with a request running that `concerns`, given the account and the system it runs at.
    pub fn running(&self, concerns: impl Fn(&str, System) -> bool) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (account, running) in shard.iter() {
                let at = |system: System| running[system as usize] > 0 && concerns(account, system);
                if System::ALL.iter().any(|system| at(*system)) {
                    found.insert(account.clone());
                }
            }
        }
        found
    }

    /// Waits until nothing runs that `concerns`, or the deadline; answers what still does.
    pub async fn quiet(&self, concerns: impl Fn(&str, System) -> bool, deadline: Instant) -> BTreeSet<String> {
        self.watched.store(true, Ordering::SeqCst);
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let still = self.running(&concerns);
            let now = clock::now();
            if still.is_empty() || now >= deadline {
                return still;
            }
            let _ = clock::timeout(deadline - now, ended).await;
        }
    }

    /// Begins to note what happens in a handover, or ceases to and forgets it.
    pub fn note(&self, on: bool) {
        if self.noting.swap(on, Ordering::SeqCst) != on {
            *self.noted() = Noted::default();
        }
    }

    /// Accounts with a result that nobody knows, noted since [`Dial::note`].
    pub fn unknown(&self) -> BTreeSet<String> {
        self.noted().unknown.clone()
    }

    /// What the handover has to know about requests that were not held.
    pub fn exposed(&self) -> Exposed {
        let running = self.running(|_, _| true);
        let noted = self.noted();
        Exposed { running, silent: noted.silent.clone(), requests: noted.requests }
    }

    fn shard(&self, account: &str) -> MutexGuard<'_, Running> {
        let index = (xxh3_64(account.as_bytes()) % SHARDS as u64) as usize;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that was held goes on.
fn held(since: Instant) {
    metrics::histogram!(FRONT_HELD).record((clock::now() - since).as_secs_f64());
}

impl Lease {
    /// What the authority made of it is not known.
    pub fn ended_unknown(&self) {
        if self.dial.noting.load(Ordering::SeqCst)
            && let Some(account) = &self.account
        {
            self.dial.noted().unknown.insert(account.clone());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(account) = &self.account else { return };
        let mut shard = self.dial.shard(account);
        if let Some(running) = shard.get_mut(account) {
            let count = &mut running[self.authority as usize];
            *count = count.saturating_sub(1);
            if *running == [0, 0] {
                shard.remove(account);
            }
        }
        drop(shard);
        if self.dial.watched.load(Ordering::SeqCst) {
            self.dial.ended.notify_waiters();
        }
    }
}
