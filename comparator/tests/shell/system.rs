//! A system that answers with the accounts and histories it was given.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get};
use host::task::Shutdown;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use wire::billing::{Account, AccountPage, TransactionPage, TransactionResult};
use wire::scalar::{Money, Timestamp};

/// Accounts per page, however many are asked for: pages are part of the test.
const PAGE: usize = 3;

/// What it knows.
#[derive(Default)]
pub struct Books {
    pub accounts: BTreeMap<String, Account>,
    /// Oldest first.
    pub history: Vec<TransactionResult>,
    /// Answers 503 to everything.
    pub down: bool,
    /// Why it is not ready.
    pub not_ready: Option<String>,
    /// Lists accounts in the wrong order.
    pub unsorted: bool,
    /// How often a history was read.
    pub histories_read: u64,
}

/// A running system.
#[derive(Clone)]
pub struct System {
    pub address: SocketAddr,
    pub books: Arc<Mutex<Books>>,
    /// Whoever lists accounts waits for it.
    pub gate: Arc<tokio::sync::RwLock<()>>,
}

impl System {
    pub async fn start(shutdown: Shutdown) -> Self {
        let listener = host::net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let system = Self { address: listener.local_addr().unwrap(), books: Arc::default(), gate: Arc::default() };
        let router = Router::new()
            .route("/readyz", get(readyz))
            .route("/accounts", get(accounts))
            .route("/accounts/{id}/transactions", get(history))
            .with_state(system.clone());
        tokio::spawn(host::http::serve_router(listener, router, shutdown));
        system
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut Books) -> T) -> T {
        change(&mut self.books.lock().unwrap())
    }

    /// Gives an account a balance, making it if absent.
    pub fn set(&self, id: &str, account_type: &str, balance: &str) {
        self.with(|books| books.accounts.insert(id.to_owned(), account(id, account_type, balance)));
    }
}

pub fn money(text: &str) -> Money {
    text.parse().unwrap()
}

pub fn account(id: &str, account_type: &str, balance: &str) -> Account {
    Account {
        account_id: id.to_owned(),
        owner_id: "somebody".to_owned(),
        owner_type: "person".to_owned(),
        account_type: account_type.to_owned(),
        currency: "EUR".to_owned(),
        status: "ACTIVE".to_owned(),
        min_balance: None,
        max_balance: None,
        balance: money(balance),
        reserved: Money::ZERO,
        available: money(balance),
        version: 1,
        metadata: None,
        created_at: Timestamp(1),
    }
}

type Asked = Query<BTreeMap<String, String>>;

async fn readyz(State(system): State<System>) -> Response {
    match system.with(|books| books.not_ready.clone()) {
        None => StatusCode::OK.into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

async fn accounts(State(system): State<System>, Query(asked): Asked) -> Response {
    let _open = system.gate.read().await;
    let books = system.books.lock().unwrap();
    if books.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let after = asked.get("after").cloned().unwrap_or_default();
    let mut page: Vec<Account> =
        books.accounts.values().filter(|account| account.account_id > after).take(PAGE).cloned().collect();
    let full = page.len() == PAGE;
    let next = page.last().filter(|_| full).map(|account| account.account_id.clone());
    if books.unsorted {
        page.reverse();
    }
    Json(AccountPage { accounts: page, next }).into_response()
}

async fn history(State(system): State<System>, Path(id): Path<String>, Query(asked): Asked) -> Response {
    let mut books = system.books.lock().unwrap();
    books.histories_read += 1;
    if books.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let before: usize = asked.get("before").map_or(books.history.len(), |before| before.parse().unwrap());
    let names = |row: &TransactionResult| row.source.account_id == id || row.destination.account_id == id;
    let rows = books.history.iter().enumerate().take(before).rev().filter(|(_, row)| names(row));
    let page: Vec<(usize, TransactionResult)> = rows.take(PAGE).map(|(place, row)| (place, row.clone())).collect();
    let full = page.len() == PAGE;
    let next = page.last().filter(|_| full).map(|(place, _)| place.to_string());
    Json(TransactionPage { transactions: page.into_iter().map(|(_, row)| row).collect(), next }).into_response()
}
