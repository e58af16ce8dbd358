//! A large ledger that is the same whoever makes it: accounts, topups, and then what was topped up being spent.
//!
//! Whatever order transactions of different accounts are decided in, none is refused and the balances at the end are the
//! same: an account spends only what it was topped up with, and only after all topups.

use crate::system::Error;
use bytes::Bytes;
use fastrand::Rng;
use futures_util::{StreamExt, TryStreamExt};
use host::clock;
use host::http::Client;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Transactions in a batch, and batches at once: few enough to be answered within the 5 s that an engine waits.
const BATCH: usize = 5_000;
const BATCHES_AT_ONCE: usize = 3;
/// Requests at once while accounts are made.
const CONNECTIONS: usize = 128;
/// How long an answer is waited for, and how long a request is sent again that was not decided.
const TIMEOUT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(120);
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// Room for the answers to a batch.
const MAX_ANSWER: usize = 64 << 20;
/// The most that is topped up at once, in hundredths.
const LARGEST_TOPUP: u64 = 100_000;

/// Whether `text` can be a currency: `[A-Z]{3,10}`.
pub fn is_currency(text: &str) -> bool {
    (3..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// What a ledger is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Same seed, same ledger.
    pub seed: u64,
    /// Begins the ids of all accounts and keys.
    pub prefix: String,
    /// The currency of all accounts.
    pub currency: String,
    /// USER accounts, topped up in turn.
    pub users: usize,
    /// EXTERNAL accounts, from which money comes and to which it goes.
    pub externals: usize,
    /// Topups.
    pub topups: usize,
    /// Transfers and withdrawals after them: two of three are transfers.
    pub spendings: usize,
}

/// A transaction of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// `topup`, `transfer` or `withdraw`.
    pub kind: &'static str,
    /// Its idempotency key.
    pub key: String,
    /// Where the money comes from.
    pub source: String,
    /// Where it goes.
    pub destination: String,
    /// How much, in hundredths.
    pub hundredths: u64,
}

impl Transaction {
    /// The body of a request for it.
    pub fn body(&self, plan: &Plan) -> Value {
        json!({
            "idempotencyKey": self.key, "sourceAccountId": self.source, "destinationAccountId": self.destination,
            "amount": format!("{}.{:02}", self.hundredths / 100, self.hundredths % 100), "currency": plan.currency,
        })
    }
}

impl Plan {
    /// The id of a USER account.
    pub fn user(&self, number: usize) -> String {
        format!("{}-user-{number:07}", self.prefix)
    }

    /// The id of an EXTERNAL account, which topups come from.
    pub fn external(&self, number: usize) -> String {
        format!("{}-world-{number}", self.prefix)
    }

    /// How many accounts there are.
    pub fn accounts_count(&self) -> usize {
        self.externals + self.users
    }

    /// The bodies of the requests that make the accounts, EXTERNAL ones first.
    pub fn accounts(&self) -> impl Iterator<Item = Value> {
        let account = |id: String, account_type: &str| {
            json!({ "accountId": id, "ownerId": "seed", "ownerType": "person", "accountType": account_type,
                "currency": self.currency })
        };
        let externals = (0..self.externals).map(move |number| account(self.external(number), "EXTERNAL"));
        externals.chain((0..self.users).map(move |number| account(self.user(number), "USER")))
    }

    /// The topups.
    pub fn topups(&self) -> impl Iterator<Item = Transaction> {
        let mut random = Rng::with_seed(self.seed);
        (0..self.topups).map(move |number| Transaction {
            kind: "topup",
            key: format!("{}-t-{number}", self.prefix),
            source: self.external(random.usize(..self.externals)),
            destination: self.user(number % self.users),
            hundredths: random.u64(1..=LARGEST_TOPUP),
        })
    }

    /// What is spent after all topups, as long as anybody has anything left.
    pub fn spendings(&self) -> impl Iterator<Item = Transaction> {
        let mut left = vec![0_u64; self.users];
        for (number, topup) in self.topups().enumerate() {
            left[number % self.users] += topup.hundredths;
        }
        let mut random = Rng::with_seed(!self.seed);
        (0..self.spendings).map_while(move |number| {
            let first = random.usize(..self.users);
            let user = (first..self.users).chain(0..first).find(|user| left[*user] > 0)?;
            let hundredths = random.u64(1..=left[user].div_ceil(4));
            left[user] -= hundredths;
            let is_transfer = self.users > 1 && random.u32(..3) < 2;
            let destination = match is_transfer {
                true => self.user((user + random.usize(1..self.users)) % self.users),
                false => self.external(random.usize(..self.externals)),
            };
            let kind = if is_transfer { "transfer" } else { "withdraw" };
            Some(Transaction {
                kind,
                key: format!("{}-s-{number}", self.prefix),
                source: self.user(user),
                destination,
                hundredths,
            })
        })
    }
}

/// A system that takes batches, like `http://127.0.0.1:8091`.
#[derive(Debug, Clone)]
pub struct Batching {
    base_url: String,
    client: Client,
}

impl Batching {
    /// The one behind a base URL.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), client: Client::new(TIMEOUT, MAX_ANSWER) }
    }

    /// Makes the accounts of a plan; those that are there already stay. Tells `done` how many were made.
    ///
    /// # Errors
    /// When it does not answer, or refuses. What was answered before is there: the same plan can be sent again.
    pub async fn make_accounts(&self, plan: &Plan, done: impl Fn(u64)) -> Result<(), Error> {
        let make = |account: Value| async move {
            let is_there = |status, body: &Value| status == 409 && body["code"] == "AccountExists";
            self.post("/accounts", &account, |status, body| (200..300).contains(&status) || is_there(status, body))
                .await
        };
        // Those that many shards share come before anybody uses them.
        for account in plan.accounts().take(plan.externals) {
            make(account).await?;
            done(1);
        }
        let users = plan.accounts().skip(plan.externals).map(make);
        futures_util::stream::iter(users)
            .buffer_unordered(CONNECTIONS)
            .try_for_each(|()| async {
                done(1);
                Ok(())
            })
            .await
    }

    /// Sends transactions of a plan, none of which waits for another. Tells `done` how many were decided.
    ///
    /// # Errors
    /// As [`Batching::make_accounts`].
    pub async fn send(
        &self,
        plan: &Plan,
        transactions: impl Iterator<Item = Transaction>,
        done: impl Fn(u64),
    ) -> Result<(), Error> {
        let mut transactions = transactions.peekable();
        let batches = std::iter::from_fn(|| {
            transactions.peek()?;
            let mut item = |transaction: Transaction| {
                let mut body = transaction.body(plan);
                body["type"] = transaction.kind.into();
                body
            };
            Some(transactions.by_ref().take(BATCH).map(&mut item).collect::<Vec<_>>())
        });
        let done = &done;
        let send = |items: Vec<Value>| async move {
            let count = items.len() as u64;
            let all_done = |status, body: &Value| {
                let results = body["results"].as_array();
                status == 200 && results.is_some_and(|results| results.iter().all(|result| result["status"] == 200))
            };
            self.post("/transactions/batch", &json!({ "transactions": items }), all_done).await?;
            done(count);
            Ok(())
        };
        futures_util::stream::iter(batches.map(send)).buffer_unordered(BATCHES_AT_ONCE).try_collect().await
    }

    /// Sends a request until its answer says that it `is_done`; whatever is not decided yet is sent again with its keys.
    async fn post(&self, path: &str, body: &Value, is_done: impl Fn(u16, &Value) -> bool) -> Result<(), Error> {
        let url = format!("{}{path}", self.base_url);
        let body = Bytes::from(body.to_string());
        let began = clock::now();
        loop {
            let request = host::http::request(Method::POST, &url, None, body.clone());
            let sent = match request {
                Ok(request) => self.client.send(request, TIMEOUT).await,
                Err(error) => Err(error),
            };
            let trouble = match sent {
                Err(error) => Error::Unreachable { url: url.clone(), error },
                Ok(answer) => {
                    let (status, body) = (answer.status.as_u16(), answer.json::<Value>().unwrap_or_default());
                    if is_done(status, &body) {
                        return Ok(());
                    }
                    let (status, body) = worst(status, &body);
                    let trouble = Error::Unexpected { url: url.clone(), status, body };
                    if !matches!(
                        StatusCode::from_u16(status),
                        Ok(StatusCode::ACCEPTED | StatusCode::SERVICE_UNAVAILABLE)
                    ) {
                        return Err(trouble);
                    }
                    trouble
                }
            };
            if began.elapsed() >= PATIENCE {
                return Err(trouble);
            }
            clock::sleep(TRY_AGAIN).await;
        }
    }
}

/// The answer, or of those to a batch the one that is the furthest from success.
fn worst(status: u16, body: &Value) -> (u16, String) {
    let results = body["results"].as_array().into_iter().flatten();
    let rank = |status: u64| match status {
        200 => 0,
        202 | 503 => 1,
        _ => 2,
    };
    let of_item = |result: &Value| (result["status"].as_u64().unwrap_or(0), result["body"].to_string());
    let item = results.map(of_item).max_by_key(|(status, _)| rank(*status));
    let (status, text) = match item {
        Some((item, text)) if status == 200 => (u16::try_from(item).unwrap_or(0), text),
        _ => (status, body.to_string()),
    };
    (status, text.chars().take(300).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn plan(users: usize, topups: usize, spendings: usize) -> Plan {
        Plan { seed: 7, prefix: "p".into(), currency: "EUR".into(), users, externals: 3, topups, spendings }
    }

    #[test]
    fn nobody_spends_what_he_was_not_topped_up_with() {
        let plan = plan(50, 180, 1_000);
        let mut own: BTreeMap<String, u64> = BTreeMap::new();
        for topup in plan.topups() {
            *own.entry(topup.destination).or_default() += topup.hundredths;
        }
        let mut kinds = BTreeSet::new();
        for spending in plan.spendings() {
            let left = own.get_mut(&spending.source).unwrap();
            *left = left.checked_sub(spending.hundredths).expect("it was topped up with that");
            assert!(spending.hundredths > 0 && spending.source != spending.destination, "{spending:?}");
            kinds.insert(spending.kind);
        }
        assert_eq!(kinds, BTreeSet::from(["transfer", "withdraw"]));
        assert_eq!(plan.spendings().count(), 1_000);
        assert!(plan.spendings().eq(plan.spendings()), "it is the same again");
    }

    #[test]
    fn where_there_is_nothing_nothing_is_spent() {
        assert_eq!(plan(5, 0, 10).spendings().count(), 0);
        let spent: u64 = plan(1, 1, 1_000_000).spendings().map(|spending| spending.hundredths).sum();
        assert_eq!(spent, plan(1, 1, 0).topups().next().unwrap().hundredths, "all of it, and no more");
    }

    #[test]
    fn a_currency_is_three_to_ten_capital_letters() {
        for (text, is) in [("EUR", true), ("ABCDEFGHIJ", true), ("EU", false), ("ABCDEFGHIJK", false), ("eur", false)] {
            assert_eq!(is_currency(text), is, "{text}");
        }
        assert!(!is_currency("ÄÖ") && !is_currency("EU1") && !is_currency(""));
    }

    #[test]
    fn the_worst_answer_of_a_batch_is_told() {
        let body =
            json!({ "results": [{ "status": 200 }, { "status": 422, "body": { "code": "X" } }, { "status": 503 }] });
        assert_eq!(worst(200, &body), (422, r#"{"code":"X"}"#.to_owned()));
        assert_eq!(worst(503, &Value::Null).0, 503);
    }
}
