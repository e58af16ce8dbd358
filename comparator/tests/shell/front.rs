//! A front as the comparator sees one, with its journal shipped straight into the log; and a relay that drains.

use crate::world::{DEADLINE, LEDGER, SERVICE, World, ask, eventually};
use comparator::chain::Chain;
use comparator::rollout::state::DialState;
use eventlog::{Log, NewRecord};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;
use wire::control::{Prepared, StreamEvent};
use wire::exchange::{ExchangeBody, ExchangeRecord};
use wire::ids::ExchangeNumber;
use wire::rollout::{Rollout, RolloutBody, RolloutRecord};
use wire::scalar::Timestamp;
use wire::stored::encode;

/// How a front behaves.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// Does not write marks.
    pub no_marks: bool,
    /// Does not answer a prepare.
    pub no_prepared: bool,
    /// Names these accounts as unknown in a handover.
    pub unknown: Vec<String>,
    /// Begins at this offset.
    pub from: u64,
}

/// A front that listens to the dial until dropped.
pub struct Front {
    pub events: Arc<Mutex<Vec<StreamEvent>>>,
    pub rollout: Arc<Mutex<Rollout>>,
    journal: Journal,
    task: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A journal that is in the log at once.
#[derive(Clone)]
pub struct Journal {
    name: String,
    boot: u64,
    log: Arc<dyn Log>,
    sequence: Arc<AtomicU64>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Journal {
    pub fn new(name: &str, boot: u64, log: Arc<dyn Log>) -> Self {
        Self { name: name.into(), boot, log, sequence: Arc::default(), turn: Arc::default() }
    }

    /// Leaves numbers out, as a journal that lost records would.
    pub fn skip(&self, numbers: u64) {
        self.sequence.fetch_add(numbers, Ordering::SeqCst);
    }

    /// The number of the exchange that begins with a record.
    pub fn number(&self, sequence: u64) -> ExchangeNumber {
        ExchangeNumber { front: self.name.clone(), boot: self.boot, sequence }
    }

    /// Writes a record; its sequence.
    pub async fn write(&self, body: ExchangeBody) -> u64 {
        let _turn = self.turn.lock().await;
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst) + 1;
        let at = Timestamp(host::clock::unix_micros());
        let record = ExchangeRecord { front: self.name.clone(), boot: self.boot, sequence, at, body };
        let record = NewRecord::of(encode(&record));
        self.log.append(wire::exchange::TOPIC, 0, vec![record]).await.unwrap();
        sequence
    }
}

impl Front {
    /// Connects, and waits until everything stored has arrived.
    pub async fn connect(world: &World, name: &str, boot: u64, manners: Manners) -> Self {
        let front = Self::begin(world, name, boot, manners).await.expect("the comparator lets it in");
        eventually("caught up", async || front.has(|event| *event == StreamEvent::CaughtUp)).await;
        front
    }

    pub async fn polite(world: &World, name: &str) -> Self {
        Self::connect(world, name, 1, Manners::default()).await
    }

    /// Connects; the refusal if there is one.
    pub async fn begin(world: &World, name: &str, boot: u64, manners: Manners) -> Result<Self, (StatusCode, String)> {
        let url = world.url(&format!("/api/rollout/stream?front={name}&boot={boot}&from={}", manners.from));
        let request = host::http::request(Method::GET, &url, Some(SERVICE), bytes::Bytes::new()).unwrap();
        let response = world.client.open(request).await.unwrap();
        if response.status() != StatusCode::OK {
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            return Err((status, String::from_utf8(body.to_vec()).unwrap()));
        }
        let journal = Journal::new(name, boot, world.log.clone());
        let events = Arc::<Mutex<Vec<StreamEvent>>>::default();
        let rollout = Arc::new(Mutex::new(Rollout::genesis(LEDGER)));
        let listener = Listener {
            name: name.to_owned(),
            boot,
            manners,
            events: events.clone(),
            rollout: rollout.clone(),
            journal: journal.clone(),
            client: world.client.clone(),
            prepared: world.url("/internal/rollout/prepared"),
            hears: world.url("/internal/rollout/hears"),
        };
        let task = tokio::spawn(listener.listen(response.into_body()));
        Ok(Self { events, rollout, journal, task })
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    pub fn has(&self, wanted: impl Fn(&StreamEvent) -> bool) -> bool {
        self.events.lock().unwrap().iter().any(wanted)
    }

    /// Whether the stream has ended.
    pub fn is_cut_off(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until the front's own fold of the dial looks so.
    pub async fn hears(&self, what: &str, there: impl Fn(&Rollout) -> bool) {
        eventually(what, async || there(&self.rollout.lock().unwrap())).await;
    }
}

struct Listener {
    name: String,
    boot: u64,
    manners: Manners,
    events: Arc<Mutex<Vec<StreamEvent>>>,
    rollout: Arc<Mutex<Rollout>>,
    journal: Journal,
    client: host::http::Client,
    prepared: String,
    hears: String,
}

impl Listener {
    async fn listen(self, mut body: hyper::body::Incoming) {
        let mut text = String::new();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            let (client, url) = (self.client.clone(), self.hears.clone());
            let said = serde_json::json!({ "front": self.name, "boot": self.boot });
            tokio::spawn(async move { ask(&client, Method::POST, &url, Some(SERVICE), Some(said)).await });
            text.push_str(std::str::from_utf8(&data).unwrap());
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                    self.take(serde_json::from_str(data).unwrap()).await;
                }
            }
        }
    }

    async fn take(&self, event: StreamEvent) {
        self.events.lock().unwrap().push(event.clone());
        match event {
            StreamEvent::Record { bytes, .. } => {
                use base64::Engine as _;
                let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).unwrap();
                let record = self.rollout.lock().unwrap().take(&bytes).unwrap();
                if let Some(RolloutRecord { body: RolloutBody::Prepare { version, fronts, .. }, .. }) = record
                    && fronts.iter().any(|front| front.front == self.name && front.boot == self.boot)
                    && !self.manners.no_prepared
                {
                    self.answer(version).await;
                }
            }
            StreamEvent::Mark { id } if !self.manners.no_marks => {
                self.journal.write(ExchangeBody::Mark { id }).await;
            }
            StreamEvent::Mark { .. } | StreamEvent::CaughtUp => {}
        }
    }

    async fn answer(&self, version: u64) {
        let answer = Prepared {
            version,
            front: self.name.clone(),
            boot: self.boot,
            mark: 0,
            unknown_accounts: self.manners.unknown.clone(),
        };
        let body = Some(serde_json::to_value(answer).unwrap());
        // Refused when the move is off already: nobody waits for it then.
        ask(&self.client, Method::POST, &self.prepared, Some(SERVICE), body).await;
    }
}

/// A relay that has nothing to deliver: it says `drained` as soon as all fronts have prepared.
pub fn relay(world: &World) -> JoinHandle<()> {
    let log: Arc<dyn Log> = world.log.clone();
    tokio::spawn(async move {
        let chain = Chain::new(log.clone(), DialState::genesis(LEDGER));
        let mut tail = log.tail(wire::rollout::TOPIC, 0, 0);
        loop {
            tail.next(1).await.unwrap();
            let drained = chain.append(|state| {
                let pending = state.rollout.pending.as_ref().filter(|pending| !pending.drained).ok_or(())?;
                let ready = pending.fronts.iter().all(|front| pending.prepared.contains_key(&front.front));
                let body = RolloutBody::Drained { version: pending.version };
                let at = Timestamp(host::clock::unix_micros());
                let (actor, reason) = ("relay".to_owned(), "delivered".to_owned());
                ready.then_some(RolloutRecord { parent: state.rollout.head, at, actor, reason, body }).ok_or(())
            });
            let _ = tokio::time::timeout(DEADLINE, drained).await.unwrap();
        }
    })
}
