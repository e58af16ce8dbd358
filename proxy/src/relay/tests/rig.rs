//! A relay with its log, its fronts and two systems.

use super::log::{DEADLINE, MemoryLog};
use super::systems::{Reply, SmallSystem, refused};
use crate::relay::{Bound, Config, Error, bind};
use bytes::Bytes;
use eventlog::{Log, NewRecord, Record};
use host::secret::Secret;
use host::task::Shutdown;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use wire::chain::Head;
use wire::exchange::{AuthorityResult, ExchangeBody, ExchangeRecord, Intent};
use wire::ingest::IngestFrame;
use wire::rollout::{Rollout, RolloutBody, RolloutRecord, Setting};
use wire::scalar::{Body, Digest, Percent, Timestamp};
use wire::shadow::{LegResult, ShadowBody, ShadowRecord};
use wire::stored::{decode, encode};
use wire::words::{Class, Operation, Stage, System};
use wire::{exchange, rollout, shadow};

pub(super) const LEDGER: &str = "test";
pub(super) const TOKEN: &str = "the-service-token";

/// A configuration with waits that a test can sit out.
pub(super) fn config(legacy: &str, engine: &str) -> Config {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        ingest_listen: anywhere,
        listen: anywhere,
        service_token: Some(Secret::new(TOKEN)),
        legacy: legacy.to_owned(),
        legacy_token: Some(Secret::new("the-legacy-token")),
        engine: engine.to_owned(),
        engine_control: engine.to_owned(),
        leg_timeout_ms: 300,
        ask_timeout_ms: 1_000,
        retry_min_ms: 5,
        retry_max_ms: 20,
        ask_again_ms: 20,
        legacy_longest_request_ms: 200,
        engine_request_timeout_ms: 200,
        reoffer_ms: 100,
        front_grace_ms: 100,
        front_silence_ms: 60_000,
        cursor_every_ms: 1,
        ..Config::default()
    }
}

/// A relay that runs.
pub(super) struct Relay {
    pub ingest: SocketAddr,
    pub operators: SocketAddr,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), Error>>,
}

impl Relay {
    pub async fn start(config: Config, log: &MemoryLog) -> Self {
        Self::on(config, Arc::new(log.clone())).await
    }

    pub async fn on(config: Config, log: Arc<dyn Log>) -> Self {
        let bound: Bound = bind(config, LEDGER, eventlog::Place::here(log)).await.unwrap();
        let (ingest, operators) = (bound.ingest_address(), bound.address());
        let shutdown = Shutdown::new();
        let running = tokio::spawn(bound.run(shutdown.clone()));
        Self { ingest, operators, shutdown, running }
    }

    /// In order.
    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.stop();
        self.end().await
    }

    /// By itself.
    pub async fn end(self) -> Result<(), Error> {
        tokio::time::timeout(DEADLINE, self.running).await.expect("the relay ends").unwrap()
    }
}

/// The stage is `shadow` from the beginning.
pub(super) fn log_in_shadow() -> MemoryLog {
    let log = MemoryLog::new();
    let to = Setting { stage: Stage::Shadow, percent: Percent::NONE };
    change(&log, RolloutBody::Moved { version: 1, to, forced: false, evidence: Vec::new() });
    log
}

/// Extends the rollout as the comparator does.
pub(super) fn change(log: &MemoryLog, body: RolloutBody) {
    let parent = rollout_of(log).head;
    let at = Timestamp(host::clock::unix_micros());
    let record = RolloutRecord { parent, at, actor: "test".into(), reason: "test".into(), body };
    log.put(rollout::TOPIC, vec![NewRecord::of(encode(&record))]);
}

pub(super) fn rollout_of(log: &MemoryLog) -> Rollout {
    let mut state = Rollout::genesis(LEDGER);
    for record in log.records(rollout::TOPIC) {
        state.take(&record.value).unwrap();
    }
    state
}

/// Two systems: the one knows nothing, the other applies everything.
pub(super) async fn systems() -> (SmallSystem, SmallSystem) {
    let nothing = |_: &_| Reply::Status(404, refused(404, "AccountNotFound"));
    (SmallSystem::start(nothing).await, SmallSystem::start(|_: &_| Reply::Status(200, "{}".to_owned())).await)
}

// What fronts write.

pub(super) fn intent(operation: Operation, authority: System, accounts: &[&str], key: &str) -> Intent {
    let (method, path) = match operation {
        Operation::CreateAccount => ("POST", "/accounts".to_owned()),
        Operation::ChangeAccount => ("PATCH", format!("/accounts/{}", accounts[0])),
        _ => ("POST", format!("/transactions/{operation}")),
    };
    Intent {
        route: operation.to_string(),
        operation,
        method: method.to_owned(),
        path,
        headers: vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("idempotency-key".to_owned(), key.to_owned()),
            ("x-tenant".to_owned(), "shop".to_owned()),
        ],
        body: Body(format!(r#"{{"key":"{key}"}}"#).into_bytes()),
        tenant: "shop".to_owned(),
        key: Some(key.to_owned()),
        account: Some(accounts[0].to_owned()),
        accounts: accounts.iter().map(|account| (*account).to_owned()).collect(),
        original: None,
        authority,
        stage: Stage::Shadow,
        percent: Percent::NONE,
        version: 1,
        cross_cohort: false,
        overtaken: false,
    }
}

/// A transfer between two USERs that nobody else touches, so that nothing has to be learnt.
pub(super) fn transfer(authority: System, index: u64) -> Intent {
    let (from, to) = (format!("from-{index}"), format!("to-{index}"));
    intent(Operation::Transfer, authority, &[&from, &to], &format!("key-{index}"))
}

pub(super) fn result(intent: u64, class: Class, status: u16, body: &str) -> AuthorityResult {
    AuthorityResult {
        intent,
        class,
        status,
        headers: Vec::new(),
        body: Body(body.as_bytes().to_vec()),
        duration_micros: 10,
        replayed: false,
        failure: None,
    }
}

pub(super) fn record(front: &str, boot: u64, sequence: u64, body: ExchangeBody) -> Vec<u8> {
    let at = Timestamp(host::clock::unix_micros());
    encode(&ExchangeRecord { front: front.to_owned(), boot, sequence, at, body })
}

/// A front that ships.
pub(super) struct Front {
    stream: TcpStream,
    pub name: String,
    pub boot: u64,
    pub sequence: u64,
    /// Everything written so far.
    pub journal: Vec<Vec<u8>>,
}

impl Front {
    /// Connects and says who it is.
    pub async fn connect(relay: &Relay) -> Self {
        let mut front = Self::silent(relay, "front-a", 1).await;
        let welcome = front.greet(1, TOKEN).await;
        assert!(matches!(welcome, IngestFrame::Welcome { .. }), "{welcome:?}");
        front
    }

    /// Connects and says nothing.
    pub async fn silent(relay: &Relay, name: &str, boot: u64) -> Self {
        let stream = TcpStream::connect(relay.ingest).await.unwrap();
        Self { stream, name: name.to_owned(), boot, sequence: 0, journal: Vec::new() }
    }

    pub async fn greet(&mut self, instance: u64, token: &str) -> IngestFrame {
        let (front, boot, token) = (self.name.clone(), self.boot, token.to_owned());
        self.send(&IngestFrame::Hello { front, boot, instance, token }).await;
        self.hear().await
    }

    pub async fn send(&mut self, frame: &IngestFrame) {
        let body = encode(frame);
        let length = u32::try_from(body.len()).unwrap();
        self.raw(&[&length.to_le_bytes()[..], &body].concat()).await;
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame.
    pub async fn hear(&mut self) -> IngestFrame {
        self.hear_or_end().await.expect("the connection is open")
    }

    /// The next frame; `None` when the connection has ended.
    pub async fn hear_or_end(&mut self) -> Option<IngestFrame> {
        let frame = async {
            let length = self.stream.read_u32_le().await.ok()?;
            let mut body = vec![0; length as usize];
            self.stream.read_exact(&mut body).await.ok()?;
            Some(decode(&body).unwrap())
        };
        tokio::time::timeout(DEADLINE, frame).await.expect("it says something")
    }

    /// Writes a record; it is shipped later.
    pub fn write(&mut self, body: ExchangeBody) -> u64 {
        self.sequence += 1;
        self.journal.push(record(&self.name, self.boot, self.sequence, body));
        self.sequence
    }

    pub fn write_intent(&mut self, intent: Intent) -> u64 {
        self.write(ExchangeBody::Intent(intent))
    }

    pub fn write_result(&mut self, intent: u64, class: Class, status: u16, body: &str) -> u64 {
        self.write(ExchangeBody::Result(result(intent, class, status, body)))
    }

    /// Ships records from a sequence on.
    pub async fn ship_from(&mut self, sequence: u64) {
        let records = self.journal.iter().skip(usize::try_from(sequence - 1).unwrap()).cloned().map(Body).collect();
        self.send(&IngestFrame::Records { records }).await;
    }

    /// Ships what was written since.
    pub async fn ship(&mut self) {
        let last = self.sequence;
        self.ship_from(1).await;
        self.acknowledged(last).await;
    }

    pub async fn acknowledged(&mut self, sequence: u64) {
        loop {
            match self.hear().await {
                IngestFrame::Ack { durable } if durable >= sequence => return,
                IngestFrame::Ack { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// An intent with an applied result, shipped.
    pub async fn applied(&mut self, intent: Intent, body: &str) -> u64 {
        let sequence = self.write_intent(intent);
        self.write_result(sequence, Class::Applied, 200, body);
        self.ship().await;
        sequence
    }

    pub async fn heartbeat(&mut self) {
        let at = Timestamp(host::clock::unix_micros());
        self.send(&IngestFrame::Heartbeat { at, sequence: self.sequence }).await;
    }
}

// What stands in the log.

/// The relay's accepted records; the chain is verified.
pub(super) fn accepted(records: &[Record]) -> Vec<ShadowBody> {
    let mut head = Head::genesis(LEDGER, shadow::TOPIC);
    records
        .iter()
        .filter_map(|record| head.take::<ShadowRecord>(&record.value).unwrap())
        .map(|taken| taken.body)
        .collect()
}

/// The last results of legs, by sequence of the intent.
pub(super) fn last_results(records: &[Record]) -> Vec<LegResult> {
    let last = |body| match body {
        ShadowBody::Result(result) if result.last => Some(result),
        _ => None,
    };
    accepted(records).into_iter().filter_map(last).collect()
}

/// Waits for the last result of a leg.
pub(super) async fn concluded(log: &MemoryLog, exchange: u64) -> LegResult {
    let found =
        |records: &[Record]| last_results(records).into_iter().find(|result| result.exchange.sequence == exchange);
    log.until(shadow::TOPIC, &format!("the result of {exchange}"), found).await
}

/// Waits until the relay has written so many records of a kind.
pub(super) async fn written(log: &MemoryLog, what: &str, count: usize, kind: impl Fn(&ShadowBody) -> bool) {
    let enough =
        |records: &[Record]| (accepted(records).iter().filter(|body| kind(body)).count() >= count).then_some(());
    log.until(shadow::TOPIC, what, enough).await;
}

/// The numbers of the records of the exchanges, as front, boot, sequence.
pub(super) fn numbers(log: &MemoryLog) -> Vec<(String, u64, u64)> {
    log.records(exchange::TOPIC)
        .iter()
        .map(|record| {
            let read: ExchangeRecord = decode(&record.value).unwrap();
            assert_eq!(record.key, Bytes::from(read.front.clone()), "the key is the front");
            (read.front, read.boot, read.sequence)
        })
        .collect()
}

/// A record of the shadows by somebody else, that extends the chain.
pub(super) fn foreign(log: &MemoryLog) -> NewRecord {
    let parent = log
        .records(shadow::TOPIC)
        .last()
        .map_or_else(|| wire::chain::genesis(LEDGER, shadow::TOPIC), |record| Digest::of(&record.value));
    let at = Timestamp(host::clock::unix_micros());
    NewRecord::of(encode(&ShadowRecord { parent, at, body: ShadowBody::Cursor { offset: 0 } }))
}
