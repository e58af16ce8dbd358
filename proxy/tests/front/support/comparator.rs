//! The comparator as far as a front knows it: the stream of the dial, and where fronts answer.

use super::chain::Chain;
use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use futures_util::Stream;
use serde::Deserialize;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use wire::control::{Prepared, StreamEvent};
use wire::rollout::{FrontBoot, RolloutBody};

/// The comparator.
#[derive(Clone)]
pub struct Comparator(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    chain: Mutex<Chain>,
    log: watch::Sender<Vec<Vec<u8>>>,
    marks: watch::Sender<Vec<String>>,
    prepared: Mutex<Vec<Prepared>>,
    streams: Mutex<Vec<FrontBoot>>,
    /// Open streams end when it changes; none opens while it is `false`.
    up: watch::Sender<bool>,
}

#[derive(Deserialize)]
struct From {
    front: String,
    boot: u64,
    from: usize,
}

impl Comparator {
    pub async fn start() -> Self {
        let listener = host::net::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let comparator = Self(Arc::new(Shared {
            address: listener.local_addr().unwrap(),
            chain: Mutex::new(Chain::new(super::LEDGER)),
            log: watch::Sender::default(),
            marks: watch::Sender::default(),
            prepared: Mutex::default(),
            streams: Mutex::default(),
            up: watch::Sender::new(true),
        }));
        let router = Router::new()
            .route("/api/rollout/stream", get(stream))
            .route("/internal/rollout/prepared", post(answer))
            .with_state(comparator.clone());
        tokio::spawn(host::http::serve_router(listener, router, host::task::Shutdown::new()));
        comparator
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// Appends the next record to the log.
    pub fn append(&self, body: RolloutBody) {
        let bytes = self.0.chain.lock().unwrap().next(body);
        self.append_bytes(bytes);
    }

    /// Appends any bytes to the log.
    pub fn append_bytes(&self, bytes: Vec<u8>) {
        self.0.log.send_modify(|log| log.push(bytes));
    }

    pub fn mark(&self, id: &str) {
        self.0.marks.send_modify(|marks| marks.push(id.to_owned()));
    }

    pub fn up(&self, up: bool) {
        self.0.up.send_replace(up);
    }

    /// The answers of fronts.
    pub fn prepared(&self) -> Vec<Prepared> {
        self.0.prepared.lock().unwrap().clone()
    }

    /// Who has listened, in order.
    pub fn streams(&self) -> Vec<FrontBoot> {
        self.0.streams.lock().unwrap().clone()
    }
}

fn allowed(headers: &HeaderMap) -> bool {
    host::http::bearer(headers) == Some(super::TOKEN)
}

async fn answer(State(comparator): State<Comparator>, headers: HeaderMap, Json(answer): Json<Prepared>) -> StatusCode {
    if !allowed(&headers) {
        return StatusCode::UNAUTHORIZED;
    }
    if !*comparator.0.up.borrow() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    comparator.0.prepared.lock().unwrap().push(answer);
    StatusCode::NO_CONTENT
}

async fn stream(State(comparator): State<Comparator>, headers: HeaderMap, Query(from): Query<From>) -> Response {
    if !allowed(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if !*comparator.0.up.borrow() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    comparator.0.streams.lock().unwrap().push(FrontBoot { front: from.front, boot: from.boot });
    let (send, events) = mpsc::channel(16);
    tokio::spawn(feed(comparator, from.from, send));
    Sse::new(stream_of(events)).keep_alive(KeepAlive::new().interval(Duration::from_millis(500))).into_response()
}

fn stream_of(events: mpsc::Receiver<StreamEvent>) -> impl Stream<Item = Result<Event, Infallible>> {
    futures_util::stream::unfold(events, |mut events| async move {
        let event = events.recv().await?;
        Some((Ok(Event::default().data(serde_json::to_string(&event).unwrap())), events))
    })
}

async fn feed(comparator: Comparator, mut next: usize, send: mpsc::Sender<StreamEvent>) -> Option<()> {
    let (mut log, mut marks, mut up) =
        (comparator.0.log.subscribe(), comparator.0.marks.subscribe(), comparator.0.up.subscribe());
    let mut marked = marks.borrow_and_update().len();
    let mut caught_up = false;
    loop {
        let records = log.borrow_and_update().clone();
        for record in records.into_iter().skip(next) {
            let bytes = base64::engine::general_purpose::STANDARD.encode(record);
            send.send(StreamEvent::Record { offset: next as u64, bytes }).await.ok()?;
            next += 1;
        }
        if !std::mem::replace(&mut caught_up, true) {
            send.send(StreamEvent::CaughtUp).await.ok()?;
        }
        let wanted: Vec<String> = marks.borrow_and_update().iter().skip(marked).cloned().collect();
        marked += wanted.len();
        for id in wanted {
            send.send(StreamEvent::Mark { id }).await.ok()?;
        }
        tokio::select! {
            changed = log.changed() => changed.ok()?,
            changed = marks.changed() => changed.ok()?,
            _ = up.changed() => return None,
            () = send.closed() => return None,
        }
    }
}
