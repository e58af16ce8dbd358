//! The front: answers clients from the authority of their account, and writes down what happened.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the section `[front]` |
//! | [`service`] | a request from its first byte on: refused, passed on, or a dual write |
//! | [`exchange`] | a dual write: intent, the authority's leg, result, answer |
//! | [`headers`] | pure: which headers pass, which are recorded, what is ambiguous |
//! | [`answer`] | what clients get |
//! | [`upstream`] | the two systems, and what went wrong if no answer came |
//! | [`ids`] | earlier transactions: their accounts, their ids in the two systems |
//! | [`dial`] | the dial as requests meet it: leases and holds |
//! | [`handover`] | pure: who is held, who goes on, who was overtaken |
//! | [`follow`] | what was heard of the dial, and what has to be done about it |
//! | [`prepared`] | what the comparator is told in a move of the dial |
//! | [`stream`], [`sse`] | listening to the comparator |
//! | [`last_known`] | where the dial stood, on disk |
//! | [`overrule`] | the emergency override, on disk |
//! | [`shipping`] | the journal's way to the relay |
//! | [`admin`] | the operators' listener |
//! | [`instruments`] | metrics that every exchange touches |
//!
//! Invariants: nothing here waits for the relay, the log, the comparator or the shadow system before a client is
//! answered, except a handover, a transaction id without alias, and for a moment the relay's memory of an id; a
//! request is sent to a system once; credentials pass through and are never recorded.

mod admin;
pub mod answer;
pub mod config;
pub mod dial;
pub mod exchange;
mod follow;
pub mod handover;
pub mod headers;
pub mod ids;
mod instruments;
pub mod last_known;
pub mod overrule;
mod prepared;
mod service;
mod shipping;
pub mod sse;
pub mod stream;
pub mod upstream;

pub use config::{Config, FsyncMode, WhenFull};

use crate::journal::{self, Journal, OldBoot, Opened, Options};
use crate::metrics::{JOURNAL_BYTES, JOURNAL_UNSHIPPED};
use crate::routes::Routes;
use dial::Dial;
use follow::{Follower, Order, Start};
use handover::Handover;
use host::clock;
use host::net::TcpListener;
use host::ops::Readiness;
use host::secret::Secret;
use host::task::Shutdown;
use http::HeaderName;
use ids::Ids;
use instruments::Instruments;
use last_known::{LastKnown, Remembered};
use overrule::{Change, Override};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stream::Listener;
use tokio::sync::{Notify, mpsc, watch};
use upstream::Systems;
use wire::rollout::{FrontBoot, Rollout};

/// Messages between the front's own tasks, beyond which the sender waits.
const BACKLOG: usize = 256;
/// The mark that a boot writes which has to point to a record of its own and has none. Nobody asks for it by name.
const FIRST_RECORD: &str = "first-record";
/// How often the journal's figures are exported.
const FIGURES: Duration = Duration::from_millis(250);

/// Why a front cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot work.
    #[error("[front] {0}")]
    Config(String),
    /// A file or listener cannot be opened.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The journal cannot be opened.
    #[error("{0}")]
    Journal(#[from] journal::Error),
    /// A part of it ended although nobody stopped it.
    #[error("the front's task `{0}` broke down")]
    BrokeDown(&'static str),
}

/// What all requests share.
#[derive(Debug)]
struct Front {
    ledger: String,
    data_dir: PathBuf,
    comparator: String,
    service_token: Secret,
    admin_token: Secret,
    routes: Routes,
    recorded: Vec<HeaderName>,
    result_headers: Vec<HeaderName>,
    systems: Systems,
    dial: Arc<Dial>,
    ids: Ids,
    journal: Journal,
    when_full: WhenFull,
    /// The last record that is durable in the log; `None` while there may be older boots that are not.
    shipped: watch::Receiver<Option<u64>>,
    exchanges: Exchanges,
    metrics: Instruments,
    readiness: Readiness,
    overrule: Mutex<Option<Override>>,
    max_body_bytes: usize,
    body_timeout: Duration,
    handover: Duration,
    journal_wait: Duration,
    authority_timeout: Duration,
    start_wait: Duration,
}

/// A front that holds its directory and its ports.
pub struct Bound {
    front: Arc<Front>,
    listener: TcpListener,
    admin_listener: TcpListener,
    address: SocketAddr,
    admin_address: SocketAddr,
    shipping: shipping::Shipping,
    follower: Follower,
    listen: Listener,
    orders: (mpsc::Sender<Order>, mpsc::Receiver<Order>),
    old_records: Arc<AtomicU64>,
    shipped: watch::Receiver<Option<u64>>,
}

/// Checks the configuration, takes the data directory, and opens the ports.
///
/// # Errors
/// [`Error`]; nothing has been served or shipped then.
pub async fn bind(config: Config, ledger: &str) -> Result<Bound, Error> {
    let checked = config.check()?;
    let readiness = Readiness::new();
    let options = Options {
        dir: config.data_dir.clone(),
        front: config.name.clone(),
        lost_boot: config.lost_boot,
        wait: Duration::from_millis(config.journal_wait_ms),
        max_bytes: config.journal_max_bytes,
        fsync: config.fsync(),
        salvage: config.salvage,
        readiness: readiness.clone(),
    };
    let opened = host::task::spawn_blocking(move || Journal::open(options)).await.map_err(io::Error::other)?;
    let Opened { journal, old } = opened?;
    let (last, must_catch_up) = last_heard(&config, ledger)?;
    let overrule = overrule::read(&config.data_dir)?;
    if let Some(current) = &overrule {
        // Before any other record of this boot: one that says nothing at its beginning is not overruled.
        journal.overruled(Change::Set(current.clone()).record());
    }
    let listener = host::net::listen(config.listen).await?;
    let admin_listener = host::net::listen(config.admin_listen).await?;
    let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);

    let me = FrontBoot { front: config.name.clone(), boot: journal.boot().boot };
    let handover = Handover::new(
        me.clone(),
        config.handover(),
        last.rollout.clone(),
        overrule.is_some(),
        last.unfinished.clone(),
        Duration::ZERO,
    );
    // The recorder has to be there before the metrics are looked up.
    drop(host::ops::router::<()>(readiness.clone()));
    let start_wait = Duration::from_millis(config.start_wait_ms);
    let (shipped_sender, shipped) = watch::channel(None);
    let relay_wait = Duration::from_millis(config.relay_wait_ms);
    let front = Arc::new(Front {
        ledger: ledger.to_owned(),
        data_dir: config.data_dir.clone(),
        comparator: config.comparator.trim_end_matches('/').to_owned(),
        service_token: config.service_token.clone(),
        admin_token: config.admin_token.clone().unwrap_or_else(|| config.service_token.clone()),
        metrics: Instruments::new(&checked.routes),
        routes: checked.routes,
        recorded: checked.recorded,
        result_headers: config::result_headers(),
        systems: Systems::new(&config),
        // Twice the time after which it serves without the comparator.
        dial: Arc::new(Dial::new(handover.view(), 2 * start_wait)),
        ids: Ids::new(&config.relay, config.service_token.clone(), relay_wait, config.remembered_ids),
        journal: journal.clone(),
        when_full: config.journal_when_full,
        shipped: shipped.clone(),
        exchanges: Exchanges::default(),
        readiness: readiness.clone(),
        overrule: Mutex::new(overrule),
        max_body_bytes: config.max_body_bytes,
        body_timeout: Duration::from_millis(config.body_timeout_ms),
        handover: config.handover(),
        journal_wait: Duration::from_millis(config.journal_wait_ms),
        authority_timeout: Duration::from_millis(config.authority_timeout_ms),
        start_wait,
    });
    let old_records = Arc::new(AtomicU64::new(old.iter().map(|boot: &OldBoot| boot.records).sum()));
    let shipping = shipping::Shipping {
        ingest: config.ingest.clone(),
        token: config.service_token.clone(),
        journal,
        old,
        shipped: shipped_sender,
        old_records: old_records.clone(),
        readiness,
    };
    let listen =
        Listener { comparator: config.comparator.clone(), token: config.service_token.clone(), me, next: last.next };
    let orders = mpsc::channel(BACKLOG);
    let start = Start { last, must_catch_up, begun: clock::now(), handover };
    let follower = Follower::new(front.clone(), start, orders.0.clone());
    Ok(Bound {
        front,
        listener,
        admin_listener,
        address,
        admin_address,
        shipping,
        follower,
        listen,
        orders,
        old_records,
        shipped,
    })
}

/// Where the dial stood when it was last heard; whether nobody may be served before it is heard again.
fn last_heard(config: &Config, ledger: &str) -> Result<(LastKnown, bool), Error> {
    let rollout = Rollout::genesis(ledger);
    let genesis = LastKnown { ledger: ledger.to_owned(), next: 0, rollout, unfinished: Vec::new() };
    Ok(match last_known::read(&config.data_dir, ledger)? {
        Remembered::Nothing => (genesis, false),
        Remembered::State(state) => (*state, false),
        Remembered::Damaged(why) => {
            let path = last_known::path(&config.data_dir);
            tracing::error!(
                path = %path.display(),
                why,
                "the last known rollout is damaged: nobody is served until the comparator has told it anew"
            );
            (genesis, true)
        }
    })
}

impl Bound {
    /// Where clients come in.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators come in.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Which start of this front it is.
    pub fn boot(&self) -> u64 {
        self.front.journal.boot().boot
    }

    /// Serves until `shutdown`; then finishes what is in flight, records the end of the boot, and ships what goes
    /// quickly.
    ///
    /// # Errors
    /// [`Error::BrokeDown`], when a part of it ended by itself.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Self { front, listener, admin_listener, shipping, follower, listen, orders, old_records, shipped, .. } =
            self;
        let (order, ordered) = orders;
        // The helpers outlive the listeners: held requests have to be released, and the end has to be shipped.
        let (helpers, ending) = (Shutdown::new(), Shutdown::new());
        let (hear, heard) = mpsc::channel(BACKLOG);
        let mut stream = host::task::spawn(stream::listen(listen, hear, helpers.clone()));
        let mut follower = host::task::spawn(follower.run(heard, ordered, helpers.clone()));
        let mut shipping = host::task::spawn(shipping.run(ending.clone()));
        let figures = host::task::spawn(figures(front.clone(), old_records, shipped, ending.clone()));
        let admin = host::http::serve_router(admin_listener, admin::router(front.clone(), order), helpers.clone());
        let admin = host::task::spawn(admin);
        let serve = host::http::serve(listener, service::Service(front.clone()), shutdown.child());
        tokio::pin!(serve);
        let broke_down = tokio::select! {
            () = &mut serve => None,
            _ = &mut stream => Some("stream"),
            _ = &mut follower => Some("dial"),
            _ = &mut shipping => Some("shipping"),
        };
        if broke_down.is_some() {
            shutdown.stop();
            serve.await;
        }
        // Exchanges whose clients have hung up may still run, and connections that did not end in time may go on.
        front.exchanges.close();
        let finished = clock::timeout(front.authority_timeout, front.exchanges.finished()).await.is_ok();
        front.journal.end(finished && broke_down.is_none()).await;
        helpers.stop();
        ending.stop();
        if broke_down != Some("shipping") {
            let _ = shipping.await;
        }
        if broke_down != Some("dial") {
            let _ = follower.await;
        }
        let _ = (figures.await, admin.await);
        broke_down.map_or(Ok(()), |task| Err(Error::BrokeDown(task)))
    }
}

impl Front {
    fn overrule(&self) -> Option<Override> {
        self.overrule.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_overrule(&self, current: Option<Override>) {
        *self.overrule.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// The last record written so far, on its way to the disk; `None` when the journal has ended.
    ///
    /// There is one: number 0 would also be reached by whoever has not seen the end of the boots before this one.
    async fn last_record(&self) -> Option<u64> {
        let mut barrier = self.journal.barrier().await?;
        if barrier.sequence == 0 {
            self.journal.mark(FIRST_RECORD.to_owned());
            barrier = self.journal.barrier().await?;
        }
        self.journal.hurry();
        Some(barrier.sequence)
    }

    /// Waits until a record is durable in the log; `false` when it is not by the deadline.
    async fn shipped_by(&self, sequence: u64, deadline: clock::Instant) -> bool {
        let left = deadline.saturating_duration_since(clock::now());
        clock::timeout(left, self.shipped_by_any_time(sequence)).await.unwrap_or(false)
    }

    /// Waits until a record is durable in the log; `false` when the front stops first.
    async fn shipped_by_any_time(&self, sequence: u64) -> bool {
        self.shipped.clone().wait_for(|shipped| shipped.is_some_and(|shipped| shipped >= sequence)).await.is_ok()
    }
}

/// Exchanges that are running.
#[derive(Debug, Default, Clone)]
struct Exchanges(Arc<Counter>);

#[derive(Debug, Default)]
struct Counter {
    /// Looked at after counting: so whoever closes it either sees the exchange, or is seen by it.
    closed: AtomicBool,
    running: AtomicU64,
    ended: Notify,
}

/// One of them, until dropped.
struct OneExchange(Arc<Counter>);

impl Exchanges {
    /// `None` once it is closed.
    fn begin(&self) -> Option<OneExchange> {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        let one = OneExchange(self.0.clone());
        (!self.0.closed.load(Ordering::SeqCst)).then_some(one)
    }

    fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }

    async fn finished(&self) {
        loop {
            let ended = self.0.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.0.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for OneExchange {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

/// Exports the journal's figures.
async fn figures(
    front: Arc<Front>,
    old_records: Arc<AtomicU64>,
    shipped: watch::Receiver<Option<u64>>,
    shutdown: Shutdown,
) {
    let mut tick = clock::interval(FIGURES);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shutdown.stopped() => return,
        }
        let shipped = shipped.borrow().unwrap_or(0);
        let unshipped = front.journal.written().saturating_sub(shipped) + old_records.load(Ordering::Relaxed);
        // Exact up to 2^53.
        metrics::gauge!(JOURNAL_BYTES).set(front.journal.bytes() as f64);
        metrics::gauge!(JOURNAL_UNSHIPPED).set(unshipped as f64);
    }
}
