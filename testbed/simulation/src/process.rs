//! An engine that is started, paused, killed, and asked: everything of a process but its network and its disk.

use crate::world::World;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use engine::api::Api;
use engine::api::caller::Trust;
use engine::config::DefaultAnswer;
use engine::ledger::{Duties, Ledger, Settings};
use eventlog::Log;
use eventlog::simulated::Client;
use host::clock;
use host::ops::Readiness;
use host::task::{self, Shutdown};
use http_body_util::BodyExt;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use testbed_auditor::Answer;
use testbed_loadgen::call::Call;
use tower::ServiceExt;

/// The id of every simulated ledger.
pub const LEDGER: &str = "simulated";
/// How long the API waits for a final answer, as by default.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long clients wait, longer than the API.
const CLIENT_WAIT: Duration = Duration::from_secs(8);
/// As in a real engine.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A place where an engine runs, or not.
pub struct Process {
    /// Its number.
    pub number: usize,
    running: Mutex<Option<Arc<Running>>>,
}

/// An engine from its start to its end.
pub struct Running {
    /// Its way to the log.
    pub client: Arc<Client>,
    /// Its shards.
    pub duties: Duties,
    /// What keeps it from being ready.
    pub readiness: Readiness,
    shutdown: Shutdown,
    snapshot_after_outcomes: u64,
    /// How many shards it began at a snapshot, once it is open.
    pub from_snapshots: OnceLock<usize>,
    /// Set once it has folded its journal.
    open: OnceLock<(Ledger, Router)>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A whole answer.
    Answered {
        /// The HTTP status.
        status: u16,
        /// Whether it says that it repeats an earlier answer.
        replayed: bool,
        /// The body.
        body: Bytes,
    },
    /// No answer, and perhaps an effect.
    Lost,
    /// Nobody was there.
    NotSent,
}

impl Reply {
    /// As the auditor reads it.
    pub fn answer(&self) -> Option<Answer> {
        match self {
            Reply::Answered { status, replayed, body } => Some(Answer::read(*status, *replayed, body)),
            Reply::Lost | Reply::NotSent => None,
        }
    }
}

impl Running {
    /// Its ledger, once it is open.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.open.get().map(|(ledger, _)| ledger)
    }

    async fn live(self: Arc<Self>, shards: u32, diverges: bool) {
        let log: Arc<dyn Log> = Arc::clone(&self.client) as _;
        let settings = Settings {
            ledger: LEDGER.to_owned(),
            shards,
            ask_again: ASK_AGAIN,
            snapshot_after_outcomes: self.snapshot_after_outcomes,
        };
        let opening = Ledger::open(log, settings, self.readiness.clone(), self.duties.clone());
        let ledger = tokio::select! {
            biased;
            () = self.shutdown.stopped() => return,
            opened = opening => match opened {
                Ok(ledger) => ledger,
                Err(error) => return self.readiness.blocked("opening", error.to_string()),
            },
        };
        if diverges {
            ledger.diverge();
        }
        let _ = self.from_snapshots.set(ledger.begun_from_snapshots());
        let api = Arc::new(Api {
            look_back: Arc::new(ledger.view().clone()),
            ledger: ledger.clone(),
            jobs: None,
            trust: Trust { actor_header: None, service_token: None },
            answer_wait: ANSWER_WAIT,
            default_answer: DefaultAnswer::Final,
            refusal_keeps_key: true,
            max_body_bytes: 1 << 20,
        });
        let router = engine::api::router(api, self.readiness.clone());
        let _ = self.open.set((ledger.clone(), router));
        ledger.run(self.shutdown.clone()).await;
    }

    async fn handle(&self, request: http::Request<Body>) -> Reply {
        let Some((_, router)) = self.open.get() else { return Reply::NotSent };
        if !self.client.runs().await {
            return Reply::Lost;
        }
        // A router never fails, and its bodies are all there.
        let Ok(response) = router.clone().oneshot(request).await;
        let status = response.status().as_u16();
        let replayed = response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
        let Ok(body) = response.into_body().collect().await else { return Reply::Lost };
        if !self.client.runs().await {
            return Reply::Lost;
        }
        Reply::Answered { status, replayed, body: body.to_bytes() }
    }
}

impl Process {
    /// Nothing runs there yet.
    pub fn new(number: usize) -> Self {
        Self { number, running: Mutex::new(None) }
    }

    /// What runs there.
    pub fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().expect("nobody panics with it").clone()
    }

    /// Starts an engine, unless one runs.
    pub fn start(&self, world: &World) {
        let mut running = self.running.lock().expect("nobody panics with it");
        if running.is_some() {
            return;
        }
        let shards = world.shape.shards;
        let started = Arc::new(Running {
            client: world.broker.client(),
            duties: Duties::none(shards),
            readiness: Readiness::new(),
            shutdown: Shutdown::new(),
            snapshot_after_outcomes: world.shape.snapshot_after_outcomes,
            from_snapshots: OnceLock::new(),
            open: OnceLock::new(),
        });
        world.clients.lock().expect("nobody panics with it").push(Arc::clone(&started.client));
        let diverges = world.diverges(self.number);
        task::spawn(Arc::clone(&started).live(shards, diverges));
        *running = Some(started);
    }

    /// From this moment nothing of it reaches anybody.
    pub fn kill(&self) -> bool {
        let killed = self.running.lock().expect("nobody panics with it").take();
        killed.as_ref().inspect(|running| {
            running.client.kill();
            running.shutdown.stop();
        });
        killed.is_some()
    }

    /// Has it stop in good order. What it has on its way arrives.
    pub fn stop(&self) -> bool {
        let stopped = self.running.lock().expect("nobody panics with it").take();
        stopped.as_ref().inspect(|running| running.shutdown.stop());
        stopped.is_some()
    }

    /// Gives it these shards.
    pub fn assign(&self, shards: &BTreeSet<u32>) {
        if let Some(running) = self.running() {
            running.duties.assign(shards);
        }
    }

    /// Sends a write.
    pub async fn send(&self, call: &Call) -> Reply {
        let mut request = http::Request::builder().method(call.method.clone()).uri(&call.path);
        request = request.header(http::header::CONTENT_TYPE, "application/json");
        if let Some(key) = &call.header_key {
            request = request.header("idempotency-key", key);
        }
        if !call.tenant.is_empty() {
            request = request.header("x-tenant", &call.tenant);
        }
        self.ask(request.body(Body::from(call.body.clone())).expect("calls are requests")).await
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Reply {
        self.ask(http::Request::get(path).body(Body::empty()).expect("paths are written here")).await
    }

    async fn ask(&self, request: http::Request<Body>) -> Reply {
        let Some(running) = self.running() else { return Reply::NotSent };
        tokio::select! {
            biased;
            () = running.client.died() => Reply::Lost,
            reply = running.handle(request) => reply,
            () = clock::sleep(CLIENT_WAIT) => Reply::Lost,
        }
    }
}
