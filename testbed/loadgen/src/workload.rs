//! Seeded requests of many clients: what is asked for, how often again, and how much of it must be refused.

use crate::call::Call;
use bytes::Bytes;
use fastrand::Rng;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use testbed_auditor::Answer;

/// How many earlier requests can be sent again.
const REMEMBERED: usize = 2_000;
/// How many completed transactions can be refunded.
const REFUNDABLE: usize = 5_000;
/// What a limited account may hold. Topups are up to 1,000, so that most accounts come to their limit.
const LIMIT: &str = "2500";

/// What a workload is made of. Shares are in thousandths.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Same seed, same requests.
    pub seed: u64,
    /// Begins the ids of all accounts and keys, so that several workloads can share a ledger.
    pub prefix: String,
    /// The header `X-Tenant` of all requests; none when empty.
    pub tenant: String,
    /// The currency of all accounts.
    pub currency: String,
    /// USER accounts without a maximum.
    pub users: usize,
    /// How many of them are hot.
    pub hot_users: usize,
    /// USER accounts with a maximum: they are topped up and withdrawn from, but take no part in transfers.
    pub limited_users: usize,
    /// EXTERNAL accounts.
    pub externals: usize,
    /// Requests on a hot account, of those on accounts without a maximum.
    pub hot_permille: u32,
    /// Requests that send an earlier one again, with its key.
    pub retry_permille: u32,
    /// Requests that are sent twice at once, with one key.
    pub duplicate_permille: u32,
    /// Withdrawals and transfers of more than anybody has.
    pub insufficient_permille: u32,
    /// Requests that a rule refuses whatever the balances are, or that reuse a key for something else.
    pub odd_permille: u32,
    /// Whether odd requests reuse keys. Without that, and without retries and duplicates, every key is asked for once:
    /// for a system that does not deduplicate.
    pub reuses_keys: bool,
    /// Requests that are turned away because their amount is outside the grammar.
    pub invalid_permille: u32,
    /// Of the others: topups, withdrawals, transfers, refunds.
    pub mix: [u32; 4],
}

impl Config {
    /// Topups of so many accounts and nothing else, each once, none refused: for measuring.
    pub fn topups(prefix: &str, users: usize) -> Self {
        Self {
            prefix: prefix.to_owned(),
            users,
            hot_users: 1,
            limited_users: 0,
            hot_permille: 0,
            insufficient_permille: 0,
            odd_permille: 0,
            invalid_permille: 0,
            mix: [1, 0, 0, 0],
            ..Self::default().asking_once()
        }
    }

    /// The same without anything that is asked for twice under one key: what a system can be asked that does not
    /// deduplicate.
    pub fn asking_once(self) -> Self {
        Self { retry_permille: 0, duplicate_permille: 0, reuses_keys: false, ..self }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            prefix: "w".into(),
            tenant: String::new(),
            currency: "CZK".into(),
            users: 400,
            hot_users: 4,
            limited_users: 40,
            externals: 5,
            hot_permille: 150,
            retry_permille: 120,
            duplicate_permille: 30,
            insufficient_permille: 40,
            odd_permille: 20,
            reuses_keys: true,
            invalid_permille: 5,
            mix: [40, 20, 28, 12],
        }
    }
}

/// One thing to do: a call, sent so many times at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    /// The call.
    pub call: Call,
    /// How many copies of it are sent at once; 1 mostly.
    pub copies: u32,
}

/// The generator. Ask it for the next shot, and tell it what came back.
#[derive(Debug)]
pub struct Workload {
    config: Config,
    random: Rng,
    issued: u64,
    remembered: VecDeque<Call>,
    refundable: VecDeque<Refundable>,
}

/// A completed transaction, by the id that was told.
#[derive(Debug, Clone)]
struct Refundable {
    id: String,
    amount: String,
}

/// One of the four operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Topup,
    Withdraw,
    Transfer,
    Refund,
}

impl Workload {
    /// A workload that begins anew.
    pub fn new(config: Config) -> Self {
        let random = Rng::with_seed(config.seed);
        Self { config, random, issued: 0, remembered: VecDeque::new(), refundable: VecDeque::new() }
    }

    /// What it is made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The calls that make its accounts; to be answered before the first shot.
    pub fn accounts(&self) -> Vec<Call> {
        let config = &self.config;
        let externals = (0..config.externals).map(|index| self.new_account(&external(config, index), "EXTERNAL", None));
        let users = (0..config.users).map(|index| self.new_account(&user(config, index), "USER", None));
        let limited =
            (0..config.limited_users).map(|index| self.new_account(&limited(config, index), "USER", Some(LIMIT)));
        externals.chain(users).chain(limited).collect()
    }

    /// The next thing to do.
    pub fn shot(&mut self) -> Shot {
        if self.chance(self.config.retry_permille) && !self.remembered.is_empty() {
            let call = self.remembered[self.random.usize(..self.remembered.len())].clone();
            return Shot { call, copies: 1 };
        }
        let call = self.new_call();
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back(call.clone());
        let copies = if self.chance(self.config.duplicate_permille) { 2 } else { 1 };
        Shot { call, copies }
    }

    /// Tells what a call was answered, so that it may be refunded later.
    pub fn learn(&mut self, answer: &Answer) {
        let Some(result) = answer.result.as_ref().filter(|result| result.status == "completed") else { return };
        if result.kind == "refund" || answer.replayed {
            return;
        }
        if self.refundable.len() == REFUNDABLE {
            self.refundable.pop_front();
        }
        self.refundable.push_back(Refundable { id: result.transaction_id.clone(), amount: result.amount.to_string() });
    }

    fn new_call(&mut self) -> Call {
        self.issued += 1;
        let key = format!("{}-{}", self.config.prefix, self.issued);
        if self.chance(self.config.odd_permille) {
            return self.odd_call(&key);
        }
        if self.chance(self.config.invalid_permille) {
            let (source, destination) = (self.any_external(), self.any_user());
            const WRONG: [&str; 6] = ["0", "-1", "1e3", "1.000000001", "01", "1000000000000"];
            let amount = WRONG[self.random.usize(..WRONG.len())];
            return self.movement("topup", &key, &source, &destination, amount);
        }
        match self.operation() {
            Operation::Topup => {
                let (source, destination) = (self.any_external(), self.any_payer());
                let amount = self.amount(1_000);
                self.movement("topup", &key, &source, &destination, &amount)
            }
            Operation::Withdraw => {
                let (source, destination) = (self.any_payer(), self.any_external());
                let amount = self.debit_amount();
                self.movement("withdraw", &key, &source, &destination, &amount)
            }
            Operation::Transfer => {
                let source = self.any_user();
                let to_external = self.random.u32(..10) == 0;
                let destination = if to_external { self.any_external() } else { self.another_user(&source) };
                let amount = self.debit_amount();
                self.movement("transfer", &key, &source, &destination, &amount)
            }
            Operation::Refund => self.refund(&key),
        }
    }

    fn operation(&mut self) -> Operation {
        use Operation::{Refund, Topup, Transfer, Withdraw};
        let mut drawn = self.random.u32(..self.config.mix.iter().sum::<u32>().max(1));
        for (operation, weight) in [Topup, Withdraw, Transfer, Refund].into_iter().zip(self.config.mix) {
            if drawn < weight {
                // Before anything can be refunded, somebody has to have money.
                return if operation == Refund && self.refundable.is_empty() { Topup } else { operation };
            }
            drawn -= weight;
        }
        Topup
    }

    /// Full, partial, or more than the original.
    fn refund(&mut self, key: &str) -> Call {
        let original = self.refundable[self.random.usize(..self.refundable.len())].clone();
        let mut body = json!({"idempotencyKey": key, "transactionId": original.id});
        match self.random.u32(..10) {
            0..4 => {}
            4..8 => body["amount"] = json!(self.part_of(&original.amount)),
            _ => body["amount"] = json!(format!("1{}", original.amount)),
        }
        self.call("/transactions/refund", &body)
    }

    /// What a rule refuses whatever the balances are.
    fn odd_call(&mut self, key: &str) -> Call {
        let (user, external) = (self.any_user(), self.any_external());
        let amount = self.amount(10);
        match self.random.u32(..7) {
            0 => self.movement("topup", key, &external, &format!("{}-nobody", self.config.prefix), &amount),
            1 => self.movement("transfer", key, &user, &user, &amount),
            2 => self.movement("topup", key, &user, &external, &amount),
            3 => self.movement("withdraw", key, &external, &user, &amount),
            4 => {
                let mut call = self.movement("topup", key, &external, &user, &amount);
                let other = if self.config.currency == "XXX" { "XXY" } else { "XXX" };
                call.body = edit(&call.body, |body| body["currency"] = json!(other));
                call
            }
            5 => {
                self.call("/transactions/refund", &json!({"idempotencyKey": key, "transactionId": format!("no-{key}")}))
            }
            _ => self.reused_key().unwrap_or_else(|| self.movement("transfer", key, &user, &user, &amount)),
        }
    }

    /// An earlier movement with its key, but another amount; if keys are reused.
    fn reused_key(&mut self) -> Option<Call> {
        if !self.config.reuses_keys {
            return None;
        }
        let earlier = self.remembered.get(self.random.usize(..self.remembered.len().max(1)))?.clone();
        let amount = self.amount(10);
        let body = edit(&earlier.body, |body| body["amount"] = json!(amount));
        Some(Call { body, ..earlier })
    }

    fn movement(&mut self, kind: &str, key: &str, source: &str, destination: &str, amount: &str) -> Call {
        let mut body = json!({
            "idempotencyKey": key, "sourceAccountId": source, "destinationAccountId": destination, "amount": amount,
            "currency": self.config.currency,
        });
        match self.random.u32(..10) {
            0 => body["reference"] = json!(format!("invoice {key}")),
            1 => body["metadata"] = json!({"channel": "web", "attempt": 1, "tags": ["a", "b"]}),
            _ => {}
        }
        let mut call = self.call(&format!("/transactions/{kind}"), &body);
        if self.random.u32(..5) == 0 {
            call.body = edit(&call.body, |body| {
                body.as_object_mut().map(|members| members.remove("idempotencyKey"));
            });
            call.header_key = Some(key.to_owned());
        }
        call
    }

    fn call(&self, path: &str, body: &Value) -> Call {
        let (tenant, body) = (self.config.tenant.clone(), Bytes::from(body.to_string()));
        Call { method: Method::POST, path: path.to_owned(), tenant, header_key: None, body }
    }

    fn new_account(&self, id: &str, kind: &str, max_balance: Option<&str>) -> Call {
        let mut body = json!({
            "accountId": id, "ownerId": format!("owner-of-{id}"), "ownerType": "load", "accountType": kind,
            "currency": self.config.currency,
        });
        if let Some(max_balance) = max_balance {
            body["maxBalance"] = json!(max_balance);
        }
        Call { header_key: Some(format!("make-{id}")), ..self.call("/accounts", &body) }
    }

    /// A USER account without a maximum, hot ones more often.
    fn any_user(&mut self) -> String {
        let hot = self.config.hot_users.min(self.config.users);
        let count = if hot > 0 && self.chance(self.config.hot_permille) { hot } else { self.config.users };
        user(&self.config, self.random.usize(..count.max(1)))
    }

    fn another_user(&mut self, than: &str) -> String {
        let found = (0..10).map(|_| self.any_user()).find(|user| user != than);
        found.unwrap_or_else(|| self.any_external())
    }

    /// Any USER account, the limited ones in proportion.
    fn any_payer(&mut self) -> String {
        let (users, limited_users) = (self.config.users, self.config.limited_users);
        match self.random.usize(..(users + limited_users).max(1)) {
            index if index < limited_users => limited(&self.config, index),
            _ => self.any_user(),
        }
    }

    fn any_external(&mut self) -> String {
        external(&self.config, self.random.usize(..self.config.externals.max(1)))
    }

    /// Below what topups bring in the mean, so that accounts fill; or more than anybody has.
    fn debit_amount(&mut self) -> String {
        if self.chance(self.config.insufficient_permille) {
            return self.random.u64(100_000_000_000..1_000_000_000_000).to_string();
        }
        self.amount(400)
    }

    /// Up to `below`, with up to 8 decimals, above zero.
    fn amount(&mut self, below: u64) -> String {
        let whole = self.random.u64(..below);
        match self.random.usize(..=8) {
            // The trailing zeros of some are on purpose: amounts are compared by value.
            0 => (whole + 1).to_string(),
            decimals => {
                let fraction = self.random.u64(1..10_u64.pow(decimals as u32));
                format!("{whole}.{fraction:0decimals$}")
            }
        }
    }

    /// Something above zero and not more than `amount`.
    fn part_of(&mut self, amount: &str) -> String {
        let whole: u64 = amount.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(0);
        if whole > 1 { self.amount(whole - 1) } else { amount.to_owned() }
    }

    fn chance(&mut self, permille: u32) -> bool {
        self.random.u32(..1000) < permille
    }
}

fn user(config: &Config, index: usize) -> String {
    let kind = if index < config.hot_users { "hot" } else { "user" };
    format!("{}-{kind}-{index:05}", config.prefix)
}

fn limited(config: &Config, index: usize) -> String {
    format!("{}-limited-{index:05}", config.prefix)
}

fn external(config: &Config, index: usize) -> String {
    format!("{}-external-{index:03}", config.prefix)
}

/// A JSON body with something changed.
fn edit(body: &Bytes, change: impl FnOnce(&mut Value)) -> Bytes {
    let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
    change(&mut value);
    Bytes::from(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use testbed_auditor::request::Ask;
    use testbed_auditor::{Ledger, Unreadable};

    #[test]
    fn one_seed_asks_one_thing() {
        let shots = |seed: u64| {
            let mut workload = Workload::new(Config { seed, ..Config::default() });
            (0..1_000).map(|_| workload.shot()).collect::<Vec<_>>()
        };
        assert_eq!(shots(7), shots(7));
        assert_ne!(shots(7), shots(8));
    }

    /// Executed by the auditor's ledger, a workload has every end that it promises, in the shares it promises.
    #[test]
    fn the_mix_is_as_promised() {
        let mut workload = Workload::new(Config::default());
        let mut ledger = Ledger::new(true);
        for call in workload.accounts() {
            assert_eq!(ledger.predict(&call.read().unwrap()).status, 201);
        }
        let mut ends: BTreeMap<String, u64> = BTreeMap::new();
        let mut count = |end: &str| *ends.entry(end.to_owned()).or_default() += 1;
        let total = 20_000;
        for index in 0..total {
            let Shot { call, copies } = workload.shot();
            if copies > 1 {
                count("duplicate");
            }
            let request = match call.read() {
                Ok(request) => request,
                Err(Unreadable::InvalidAmount(_)) => {
                    count("invalid");
                    continue;
                }
                Err(error) => panic!("{error}: {call:?}"),
            };
            let prediction = ledger.predict(&request);
            if prediction.replayed {
                count("replayed");
                continue;
            }
            match (&request.ask, prediction.code) {
                (_, Some(code)) => count(code),
                (Ask::Refund(_), None) => count("refunded"),
                (Ask::Move(asked), None) => {
                    count(asked.kind.as_str());
                    let id = format!("id-{index}");
                    ledger.name(prediction.transaction.unwrap(), &id);
                    workload.refundable.push_back(Refundable { id, amount: asked.amount.to_string() });
                }
                _ => panic!("{request:?}"),
            }
        }
        let share = |end: &str| ends.get(end).copied().unwrap_or(0) as f64 / f64::from(total);
        assert!(share("replayed") >= 0.10 && share("duplicate") >= 0.02, "{ends:?}");
        for end in ["topup", "withdraw", "transfer", "refunded", "InsufficientBalance"] {
            assert!(share(end) > 0.02, "{end}: {ends:?}");
        }
        for end in [
            "BalanceLimitExceeded",
            "RefundExceedsOriginal",
            "AccountNotFound",
            "SameAccount",
            "AccountTypeNotAllowed",
            "CurrencyMismatch",
            "OriginalNotFound",
            "DuplicateKey",
            "invalid",
        ] {
            assert!(ends.contains_key(end), "{end}: {ends:?}");
        }
    }

    #[test]
    fn a_workload_that_asks_once_uses_every_key_once() {
        // Odd requests only, so that every kind of them comes often.
        let config = Config { odd_permille: 1000, ..Config::default() }.asking_once();
        for config in [config, Config::default().asking_once()] {
            let mut workload = Workload::new(config);
            let mut keys = BTreeSet::new();
            for _ in 0..5_000 {
                let Shot { call, copies } = workload.shot();
                assert_eq!(copies, 1, "{call:?}");
                let body: Value = serde_json::from_slice(&call.body).unwrap();
                let in_body = body["idempotencyKey"].as_str().map(str::to_owned);
                let key = call.header_key.or(in_body).expect("every request has a key");
                assert!(keys.insert(key.clone()), "{key} comes twice");
            }
        }
    }

    #[test]
    fn limited_accounts_take_no_part_in_transfers() {
        let mut workload = Workload::new(Config { limited_users: 300, ..Config::default() });
        let mut seen = 0;
        for _ in 0..5_000 {
            let call = workload.shot().call;
            let Ok(request) = call.read() else { continue };
            let Ask::Move(asked) = request.ask else { continue };
            let limited = [&asked.source, &asked.destination].iter().any(|id| id.contains("-limited-"));
            seen += usize::from(limited);
            assert!(!(limited && asked.kind.as_str() == "transfer"), "{call:?}");
        }
        assert!(seen > 500);
    }
}
