//! What clients ask for: the load generator's workload, and what it leaves out.

use bytes::Bytes;
use fastrand::Rng;
use http::Method;
use serde_json::{Value, json};
use testbed_auditor::Answer;
use testbed_loadgen::call::Call;
use testbed_loadgen::workload::{Config, Shot, Workload};

/// Begins the ids of all accounts.
const PREFIX: &str = "s";
/// EXTERNAL accounts with a limit: they have a home, so that topups and withdrawals take two shards.
const BANKS: usize = 2;
/// What they may owe: enough for some hundred topups, not for all.
const OWED: &str = "-40000";
const USERS: usize = 8;
const HOT: usize = 1;
const LIMITED: usize = 3;
const EXTERNALS: usize = 2;

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A write.
    Write(Shot),
    /// Transactions in one request.
    Batch(Vec<Call>),
    /// The balance of an account.
    Balance(String),
}

/// Draws what to ask for.
#[derive(Debug)]
pub struct Asks {
    random: Rng,
    workload: Workload,
    left: usize,
    issued: u64,
}

impl Asks {
    /// So many of a seed.
    pub fn new(seed: u64, asks: usize) -> Self {
        let config = Config {
            seed,
            prefix: PREFIX.into(),
            users: USERS,
            hot_users: HOT,
            limited_users: LIMITED,
            externals: EXTERNALS,
            ..Config::default()
        };
        Self { random: Rng::with_seed(seed ^ 0xa5a5), workload: Workload::new(config), left: asks, issued: 0 }
    }

    /// What makes the accounts.
    pub fn accounts(&self) -> Vec<Call> {
        let bank = |index: usize| {
            let id = bank(index);
            let body = json!({
                "accountId": id, "ownerId": "bank", "ownerType": "load", "accountType": "EXTERNAL", "currency": "CZK",
                "minBalance": OWED,
            });
            Call { header_key: Some(format!("make-{id}")), ..call(Method::POST, "/accounts", &body) }
        };
        self.workload.accounts().into_iter().chain((0..BANKS).map(bank)).collect()
    }

    /// The next thing to do; `None` when enough was asked for.
    pub fn next_ask(&mut self) -> Option<Ask> {
        self.left = self.left.checked_sub(1)?;
        Some(match self.random.u32(..100) {
            0..12 => Ask::Balance(self.account()),
            12..17 => Ask::Write(Shot { call: self.status(), copies: 1 }),
            17..32 => Ask::Write(Shot { call: self.across(), copies: 1 }),
            32..40 => Ask::Batch(self.batch()),
            _ => Ask::Write(self.workload.shot()),
        })
    }

    /// What was answered, so that it may be refunded.
    pub fn learn(&mut self, answer: &Answer) {
        self.workload.learn(answer);
    }

    /// A topup from, or a withdrawal to, an account with a home of its own.
    fn across(&mut self) -> Call {
        self.issued += 1;
        let (user, bank) = (self.user(), bank(self.random.usize(..BANKS)));
        let (kind, source, destination) =
            if self.random.u8(..3) > 0 { ("topup", bank, user) } else { ("withdraw", user, bank) };
        let body = json!({
            "idempotencyKey": format!("across-{}", self.issued), "sourceAccountId": source,
            "destinationAccountId": destination, "amount": self.random.u32(1..900).to_string(), "currency": "CZK",
        });
        call(Method::POST, &format!("/transactions/{kind}"), &body)
    }

    /// Transactions of all kinds, some across shards; what cannot stand in a batch is left out.
    fn batch(&mut self) -> Vec<Call> {
        let size = self.random.usize(2..8);
        let mut calls: Vec<Call> = (0..size).map(|_| self.workload.shot().call).collect();
        calls.push(self.across());
        calls.retain(|call| item(call).is_some());
        calls
    }

    /// Freezes an account, or thaws it; a shared one may be asked to be closed.
    fn status(&mut self) -> Call {
        let (account, shared) = match self.random.u8(..6) {
            0 => (external(self.random.usize(..EXTERNALS)), true),
            _ => (self.user(), false),
        };
        // Mostly active, or nothing would move for long.
        let status = match self.random.u8(..10) {
            0..3 => "FROZEN",
            3 if shared => "CLOSED",
            _ => "ACTIVE",
        };
        call(Method::PATCH, &format!("/accounts/{account}"), &json!({"status": status}))
    }

    fn account(&mut self) -> String {
        if self.random.u8(..6) == 0 { external(self.random.usize(..EXTERNALS)) } else { self.user() }
    }

    fn user(&mut self) -> String {
        match self.random.usize(..USERS + LIMITED) {
            index if index < HOT => format!("{PREFIX}-hot-{index:05}"),
            index if index < USERS => format!("{PREFIX}-user-{index:05}"),
            index => format!("{PREFIX}-limited-{:05}", index - USERS),
        }
    }
}

/// A transaction as it stands in a batch; `None` for what is none, or has its key or its tenant in a header.
pub fn item(call: &Call) -> Option<Value> {
    let kind = call.path.strip_prefix("/transactions/")?;
    if call.header_key.is_some() || !call.tenant.is_empty() || call.method != Method::POST {
        return None;
    }
    let mut body: Value = serde_json::from_slice(&call.body).ok()?;
    body.as_object_mut()?.insert("type".to_owned(), kind.into());
    Some(body)
}

/// The request for a batch of these.
pub fn batch(calls: &[Call]) -> Call {
    let items: Vec<Value> = calls.iter().filter_map(item).collect();
    call(Method::POST, "/transactions/batch", &json!({ "transactions": items }))
}

fn bank(index: usize) -> String {
    format!("{PREFIX}-bank-{index}")
}

fn external(index: usize) -> String {
    format!("{PREFIX}-external-{index:03}")
}

fn call(method: Method, path: &str, body: &Value) -> Call {
    let body = Bytes::from(body.to_string());
    Call { method, path: path.to_owned(), tenant: String::new(), header_key: None, body }
}
