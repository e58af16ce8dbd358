//! Sends a workload, and shows the auditor everything that comes back.

use crate::call::{Call, Sent, Target};
use crate::report::{Counters, Latencies, Report};
use crate::system::lock;
use crate::workload::{Shot, Workload};
use futures_util::StreamExt;
use futures_util::stream;
use host::clock::{self, Instant};
use host::task::{self, Shutdown};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed_auditor::{Answer, Class, Observer};
use tokio::sync::{Semaphore, mpsc};

/// The first wait before a lost call is sent again; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Accounts made at once.
const ACCOUNTS_AT_ONCE: usize = 32;

/// How fast to send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many requests a second, whether or not earlier ones were answered.
    Open {
        /// Requests a second.
        per_second: f64,
    },
    /// As fast as so many clients can, each waiting for its answer.
    Closed {
        /// Clients.
        connections: usize,
        /// How long a client thinks about an answer before it sends its next request.
        think: Duration,
    },
}

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where requests go, like `http://127.0.0.1:8080`; to several in turn, so that a retry meets another one.
    pub base_urls: Vec<String>,
    /// How fast.
    pub pace: Pace,
    /// How many requests, retries of lost ones not counted. A run ends there, or when it is told to.
    pub max_requests: u64,
    /// How long an answer may take before the client gives up on it.
    pub timeout: Duration,
    /// Whether calls of unknown effect are sent again, with their key, until they are answered.
    pub retry_unknown: bool,
    /// How long, from its first loss, a lost call is sent again.
    pub give_up_after: Duration,
    /// The longest wait between two attempts.
    pub longest_backoff: Duration,
    /// With an open pace: no more than so many requests at once. What has to wait for that is late, and counted so.
    pub max_in_flight: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            base_urls: Vec::new(),
            pace: Pace::Closed { connections: 16, think: Duration::ZERO },
            max_requests: 10_000,
            timeout: Duration::from_secs(30),
            retry_unknown: true,
            give_up_after: Duration::from_secs(60),
            longest_backoff: Duration::from_secs(2),
            max_in_flight: 4096,
        }
    }
}

/// An account of the workload could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make an account at {base_urls}: {reason}")]
pub struct NoAccount {
    base_urls: String,
    reason: String,
}

/// Held by whoever still works; nothing is ever sent: when all are dropped, the receiver knows.
type Working = mpsc::Sender<()>;

/// The one who sends. Counters and latencies are readable while it runs.
#[derive(Debug)]
pub struct Runner {
    options: Options,
    target: Target,
    workload: Mutex<Workload>,
    observer: Arc<Mutex<Observer>>,
    counters: Arc<Counters>,
    latencies: Arc<Latencies>,
}

impl Runner {
    /// A runner of this workload. Several may share an auditor.
    pub fn new(options: Options, workload: Workload, observer: Arc<Mutex<Observer>>) -> Arc<Self> {
        Arc::new(Self {
            target: Target::new(&options.base_urls, options.timeout),
            options,
            workload: Mutex::new(workload),
            observer,
            counters: Arc::default(),
            latencies: Arc::default(),
        })
    }

    /// What happened so far.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// How long it took so far.
    pub fn latencies(&self) -> Arc<Latencies> {
        self.latencies.clone()
    }

    /// Makes the accounts of the workload. They are in no counter.
    ///
    /// # Errors
    /// When one of them is not made, after sending it again until it is time to give up.
    pub async fn create_accounts(&self) -> Result<(), NoAccount> {
        let calls = lock(&self.workload).accounts();
        let mut made =
            stream::iter(calls.iter().map(|call| self.create_account(call))).buffer_unordered(ACCOUNTS_AT_ONCE);
        while let Some(made) = made.next().await {
            made.map_err(|reason| NoAccount { base_urls: self.options.base_urls.join(", "), reason })?;
        }
        Ok(())
    }

    async fn create_account(&self, call: &Call) -> Result<(), String> {
        let deadline = clock::now() + self.options.give_up_after;
        let mut backoff = FIRST_BACKOFF;
        loop {
            let sent = self.target.send(call).await;
            if let Sent::Answered(answer) = &sent
                && answer.class() != Class::Unknown
            {
                self.observe(call, answer);
                let refused = || format!("answered with {} {}", answer.status, answer.code.as_deref().unwrap_or(""));
                return if answer.class() == Class::Applied { Ok(()) } else { Err(refused()) };
            }
            if clock::now() >= deadline {
                return Err(format!("{sent:?}"));
            }
            clock::sleep(backoff).await;
            backoff = (backoff * 2).min(self.options.longest_backoff);
        }
    }

    /// Sends until enough was sent or `stop` is given; waits for what is in flight and for what is sent again.
    pub async fn run(self: &Arc<Self>, stop: &Shutdown) -> Report {
        let started = clock::now();
        let (working, mut done) = mpsc::channel(1);
        match self.options.pace {
            Pace::Open { per_second } => self.run_open(per_second, stop, &working).await,
            Pace::Closed { connections, think } => self.run_closed(connections, think, stop, &working),
        }
        drop(working);
        while done.recv().await.is_some() {}
        let elapsed = started.elapsed();
        let counted = self.counters.read();
        Report {
            counted,
            unknown_keys: lock(&self.observer).unknown().len(),
            elapsed_millis: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            per_second: counted.sent as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            latency: self.latencies.percentiles(),
        }
    }

    async fn run_open(self: &Arc<Self>, per_second: f64, stop: &Shutdown, working: &Working) {
        let room = Arc::new(Semaphore::new(self.options.max_in_flight));
        let started = clock::now();
        let mut issued: u64 = 0;
        while issued < self.options.max_requests && !stop.is_stopping() {
            let due = started + Duration::from_secs_f64(issued as f64 / per_second.max(f64::MIN_POSITIVE));
            tokio::select! {
                () = clock::sleep_until(due) => {}
                () = stop.stopped() => break,
            }
            let Shot { call, copies } = lock(&self.workload).shot();
            for _ in 0..copies {
                issued += 1;
                let Ok(permit) = room.clone().acquire_owned().await else { return };
                let (runner, working, stop, call) = (self.clone(), working.clone(), stop.clone(), call.clone());
                task::spawn(async move {
                    let lost = runner.send(&call, due).await;
                    drop(permit);
                    if lost {
                        runner.insist(call, &stop, working).await;
                    }
                });
            }
        }
    }

    fn run_closed(self: &Arc<Self>, connections: usize, think: Duration, stop: &Shutdown, working: &Working) {
        let left = Arc::new(Mutex::new(self.options.max_requests));
        for _ in 0..connections.max(1) {
            let (runner, working, stop, left) = (self.clone(), working.clone(), stop.clone(), left.clone());
            task::spawn(async move {
                while !stop.is_stopping() {
                    let Some(shot) = runner.next_of(&left) else { return };
                    let now = clock::now();
                    let copies = (0..shot.copies).map(|_| runner.send(&shot.call, now));
                    if futures_util::future::join_all(copies).await.into_iter().any(|lost| lost) {
                        // Its client goes on; somebody else sends it again.
                        let (runner, working, stop) = (runner.clone(), working.clone(), stop.clone());
                        task::spawn(async move { runner.insist(shot.call, &stop, working).await });
                    }
                    // Even no time is up to a millisecond for a timer.
                    if !think.is_zero() {
                        clock::sleep(think).await;
                    }
                }
            });
        }
    }

    /// The next shot, unless enough was sent.
    fn next_of(&self, left: &Mutex<u64>) -> Option<Shot> {
        let mut left = lock(left);
        if *left == 0 {
            return None;
        }
        let shot = lock(&self.workload).shot();
        *left = left.saturating_sub(u64::from(shot.copies));
        Some(shot)
    }

    /// Sends a call that was due at `due`. Says whether it was lost: not answered, its effect unknown or not begun.
    async fn send(&self, call: &Call, due: Instant) -> bool {
        let sent = self.target.send(call).await;
        self.latencies.record(due.elapsed());
        self.take(call, &sent)
    }

    fn take(&self, call: &Call, sent: &Sent) -> bool {
        self.counters.count(sent);
        match sent {
            Sent::Answered(answer) => {
                self.observe(call, answer);
                lock(&self.workload).learn(answer);
                answer.class() == Class::Unknown
            }
            Sent::Lost(_) => {
                if let Ok(request) = call.read() {
                    lock(&self.observer).observe_unknown(&request);
                }
                true
            }
            Sent::NotSent(_) => true,
        }
    }

    fn observe(&self, call: &Call, answer: &Answer) {
        match call.read() {
            Ok(request) => lock(&self.observer).observe(&request, answer),
            Err(why) => lock(&self.observer).observe_unreadable(&why, answer),
        }
    }

    /// Sends a lost call again until it is answered, if that is wanted, or until it is time to give up.
    async fn insist(&self, call: Call, stop: &Shutdown, _working: Working) {
        let deadline = clock::now() + self.options.give_up_after;
        let mut backoff = FIRST_BACKOFF;
        while self.options.retry_unknown && clock::now() < deadline {
            // A run that is told to stop still wants to know: it only does not wait as long.
            tokio::select! {
                () = clock::sleep(backoff) => {}
                () = stop.stopped() => clock::sleep(FIRST_BACKOFF).await,
            }
            backoff = (backoff * 2).min(self.options.longest_backoff);
            let sent = self.target.send(&call).await;
            if !self.take(&call, &sent) {
                return;
            }
        }
    }
}
