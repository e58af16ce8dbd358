//! The relay's memory of transaction ids.

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use wire::control::KnownTransaction;
use wire::words::Operation;

/// The relay.
#[derive(Clone)]
pub struct Relay {
    address: SocketAddr,
    known: Arc<Mutex<BTreeMap<String, KnownTransaction>>>,
    asked: Arc<Mutex<Vec<String>>>,
    broken: Arc<Mutex<bool>>,
}

impl Relay {
    pub async fn start() -> Self {
        let listener = host::net::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Self { address, known: Arc::default(), asked: Arc::default(), broken: Arc::default() };
        let router = Router::new().route("/internal/ids/{id}", get(lookup)).with_state(relay.clone());
        tokio::spawn(host::http::serve_router(listener, router, host::task::Shutdown::new()));
        relay
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Knows this transaction by each of its ids from now on.
    pub fn knows(&self, engine: Option<&str>, legacy: Option<&str>, operation: Operation, sides: (&str, &str)) {
        let known = KnownTransaction {
            engine: engine.map(str::to_owned),
            legacy: legacy.map(str::to_owned),
            operation,
            source: sides.0.to_owned(),
            destination: sides.1.to_owned(),
        };
        let mut all = self.known.lock().unwrap();
        for id in [engine, legacy].into_iter().flatten() {
            all.insert(id.to_owned(), known.clone());
        }
    }

    pub fn breaks(&self) {
        *self.broken.lock().unwrap() = true;
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn lookup(State(relay): State<Relay>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    assert_eq!(host::http::bearer(&headers), Some(super::TOKEN));
    relay.asked.lock().unwrap().push(id.clone());
    if *relay.broken.lock().unwrap() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    match relay.known.lock().unwrap().get(&id) {
        Some(known) => Json(known.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
