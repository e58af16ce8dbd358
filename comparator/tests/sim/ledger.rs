//! A model of one system: accounts, rules, keys, histories, and faults on request.
//!
//! It executes one request at a time; what makes runs concurrent is when requests arrive and answers leave.

use rust_decimal::Decimal;
use std::collections::BTreeMap;
use wire::billing::{Account, Problem, Side, TransactionResult};
use wire::scalar::{Money, Timestamp};
use wire::words::{Mode, Operation, REASONS_OF_STATE, System};

/// What the legacy does wrong, at a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A cent to the disadvantage of the USER side, shown.
    Fee,
    /// No movement and no row; key and answer as if.
    Lost,
    /// Two movements and two rows; the answer shows one.
    Doubled,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Create {
        account: String,
        kind: &'static str,
        max: Option<Money>,
        min: Option<Money>,
    },
    Change {
        account: String,
        status: Option<&'static str>,
        max: Option<Money>,
    },
    Move {
        operation: Operation,
        source: String,
        destination: String,
        amount: Money,
    },
    /// By the id of the system that is asked.
    Refund {
        original: String,
        amount: Option<Money>,
    },
}

/// What a system answers.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
    pub replayed: bool,
    pub would_refuse: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Kept {
    content: Request,
    status: u16,
    body: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Row {
    result: TransactionResult,
    refunded: Decimal,
}

/// The system.
#[derive(Debug)]
pub struct Ledger {
    pub system: System,
    pub accounts: BTreeMap<String, Account>,
    kept: BTreeMap<(String, String), Kept>,
    rows: Vec<Row>,
    by_id: BTreeMap<String, usize>,
    histories: BTreeMap<String, Vec<usize>>,
    executed: u64,
    /// The number of the next transaction.
    ids: u64,
    random: fastrand::Rng,
    fault: Option<(Fault, f64)>,
    /// Keys that were hit, each with what its accounts have too much since.
    pub hit: Vec<(String, [(String, Decimal); 2])>,
    pub refusal_keeps_key: bool,
}

/// A refusal: its code.
type Refused = &'static str;

struct Plan {
    kind: &'static str,
    source: String,
    destination: String,
    amount: Decimal,
    original: Option<String>,
}

impl Ledger {
    pub fn new(system: System, refusal_keeps_key: bool) -> Self {
        Self {
            system,
            accounts: BTreeMap::new(),
            kept: BTreeMap::new(),
            rows: Vec::new(),
            by_id: BTreeMap::new(),
            histories: BTreeMap::new(),
            executed: 0,
            ids: 0,
            random: fastrand::Rng::with_seed(0),
            fault: None,
            hit: Vec::new(),
            refusal_keeps_key,
        }
    }

    /// Switches a fault on.
    pub fn arm(&mut self, fault: Option<(Fault, f64)>, seed: u64) {
        self.fault = fault;
        self.random = fastrand::Rng::with_seed(seed);
    }

    /// How many requests were executed: where the next decision stands.
    pub fn position(&self) -> u64 {
        self.executed
    }

    /// The history of an account, newest first.
    pub fn history(&self, account: &str) -> impl Iterator<Item = &TransactionResult> {
        self.histories.get(account).into_iter().flatten().rev().map(|row| &self.rows[*row].result)
    }

    /// The stored answer of a key.
    pub fn by_key(&self, account: &str, key: &str) -> Option<(u16, Vec<u8>)> {
        self.kept.get(&(account.to_owned(), key.to_owned())).map(|kept| (kept.status, kept.body.clone()))
    }

    /// Executes a request. `refusal`: with `shadow-refused`, what the authority answered.
    pub fn execute(
        &mut self,
        key: &str,
        deciding: &str,
        request: &Request,
        mode: Mode,
        refusal: Option<&(u16, Vec<u8>)>,
        at: i64,
    ) -> Reply {
        self.executed += 1;
        match request {
            Request::Create { account, kind, max, min } => {
                let scope = (deciding.to_owned(), key.to_owned());
                if let Some(kept) = self.kept.get(&scope).filter(|kept| kept.content == *request) {
                    return Reply { status: kept.status, body: kept.body.clone(), replayed: true, would_refuse: None };
                }
                let reply = self.create(account, kind, *max, *min, mode, at);
                if reply.status == 201 && mode != Mode::ShadowRefused {
                    let (status, body) = (reply.status, reply.body.clone());
                    self.kept.insert(scope, Kept { content: request.clone(), status, body });
                }
                reply
            }
            Request::Change { account, status, max } => self.change(account, *status, *max, mode),
            Request::Move { .. } | Request::Refund { .. } => self.transact(key, deciding, request, mode, refusal, at),
        }
    }

    fn create(&mut self, id: &str, kind: &str, max: Option<Money>, min: Option<Money>, mode: Mode, at: i64) -> Reply {
        if self.accounts.contains_key(id) {
            return problem(409, "AccountExists", None);
        }
        let account = Account {
            account_id: id.to_owned(),
            owner_id: "owner".into(),
            owner_type: "person".into(),
            account_type: kind.to_owned(),
            currency: "EUR".into(),
            status: "ACTIVE".into(),
            min_balance: min,
            max_balance: max,
            balance: Money::ZERO,
            reserved: Money::ZERO,
            available: Money::ZERO,
            version: 1,
            metadata: None,
            created_at: Timestamp(at),
        };
        if mode == Mode::ShadowRefused {
            return Reply { status: 201, body: b"{}".to_vec(), replayed: false, would_refuse: None };
        }
        let body = serde_json::to_vec(&account).unwrap();
        self.accounts.insert(id.to_owned(), account);
        Reply { status: 201, body, replayed: false, would_refuse: None }
    }

    fn change(&mut self, id: &str, status: Option<&str>, max: Option<Money>, mode: Mode) -> Reply {
        let Some(account) = self.accounts.get_mut(id) else { return problem(404, "AccountNotFound", None) };
        if account.status == "CLOSED" {
            return problem(422, "AccountClosed", None);
        }
        if status == Some("CLOSED") && !account.balance.is_zero() {
            return problem(422, "AccountNotEmpty", None);
        }
        if mode == Mode::ShadowRefused {
            return Reply { status: 200, body: b"{}".to_vec(), replayed: false, would_refuse: None };
        }
        account.status = status.unwrap_or(&account.status).to_owned();
        account.max_balance = max.or(account.max_balance);
        account.version += 1;
        Reply { status: 200, body: serde_json::to_vec(account).unwrap(), replayed: false, would_refuse: None }
    }

    fn transact(
        &mut self,
        key: &str,
        deciding: &str,
        request: &Request,
        mode: Mode,
        refusal: Option<&(u16, Vec<u8>)>,
        at: i64,
    ) -> Reply {
        let scope = (deciding.to_owned(), key.to_owned());
        if let Some(kept) = self.kept.get(&scope) {
            if kept.content == *request {
                return Reply { status: kept.status, body: kept.body.clone(), replayed: true, would_refuse: None };
            }
            return problem(422, "DuplicateKey", None);
        }
        let (plan, decided) = self.decide(request);
        let dry = mode == Mode::ShadowRefused;
        if dry
            && self.refusal_keeps_key
            && let Some((status, body)) = refusal
            && !String::from_utf8_lossy(body).contains("DuplicateKey")
        {
            let kept = Kept { content: request.clone(), status: *status, body: body.clone() };
            self.kept.insert(scope.clone(), kept);
        }
        let missing = matches!(decided, Err("AccountNotFound" | "OriginalNotFound"));
        let (would_refuse, decided) = match (mode, decided) {
            (Mode::Forced, Err(code)) if !missing => (Some(code), Ok(())),
            (_, decided) => (None, decided),
        };
        match decided {
            Ok(()) if dry => Reply { status: 200, body: b"{}".to_vec(), replayed: false, would_refuse: None },
            Ok(()) => {
                let body = self.book(key, &plan, at);
                self.kept.insert(scope, Kept { content: request.clone(), status: 200, body: body.clone() });
                Reply { status: 200, body, replayed: false, would_refuse }
            }
            Err(code) => {
                let result = self.result(key, &plan, "failed", [Decimal::ZERO; 2], at);
                self.ids += 1;
                let reply = problem(if missing { 404 } else { 422 }, code, Some(result.clone()));
                let state = REASONS_OF_STATE.contains(&code);
                if !dry && self.refusal_keeps_key && !(mode == Mode::Shadow && self.system == System::Engine && state) {
                    self.enter(result);
                    self.kept.insert(
                        scope,
                        Kept { content: request.clone(), status: reply.status, body: reply.body.clone() },
                    );
                }
                reply
            }
        }
    }

    fn decide(&self, request: &Request) -> (Plan, Result<(), Refused>) {
        match request {
            Request::Move { operation, source, destination, amount } => {
                let plan = Plan {
                    kind: operation.as_str(),
                    source: source.clone(),
                    destination: destination.clone(),
                    amount: amount.0,
                    original: None,
                };
                let decided = if source == destination { Err("SameAccount") } else { self.check(&plan) };
                (plan, decided)
            }
            Request::Refund { original, amount } => {
                let row = self.by_id.get(original).map(|row| &self.rows[*row]);
                let asked = amount.map(|amount| amount.0);
                let Some(row) = row else {
                    let plan = Plan {
                        kind: "refund",
                        source: String::new(),
                        destination: String::new(),
                        amount: asked.unwrap_or_default(),
                        original: Some(original.clone()),
                    };
                    return (plan, Err("OriginalNotFound"));
                };
                let left = row.result.amount.0 - row.refunded;
                let plan = Plan {
                    kind: "refund",
                    source: row.result.destination.account_id.clone(),
                    destination: row.result.source.account_id.clone(),
                    amount: asked.unwrap_or(left),
                    original: Some(original.clone()),
                };
                let decided = if row.result.status != "completed" || row.result.kind == "refund" {
                    Err("NotRefundable")
                } else if plan.amount > left || left.is_zero() {
                    Err("RefundExceedsOriginal")
                } else {
                    self.check(&plan)
                };
                (plan, decided)
            }
            Request::Create { .. } | Request::Change { .. } => unreachable!("moves no money"),
        }
    }

    fn check(&self, plan: &Plan) -> Result<(), Refused> {
        let usable = |id: &str| {
            let account = self.accounts.get(id).ok_or("AccountNotFound")?;
            match account.status.as_str() {
                "FROZEN" => Err("AccountFrozen"),
                "CLOSED" => Err("AccountClosed"),
                _ => Ok(account),
            }
        };
        let source = usable(&plan.source)?;
        let after = source.balance.0 - plan.amount;
        let floor = match (source.account_type.as_str(), source.min_balance) {
            ("USER", min) => Some(min.map_or(Decimal::ZERO, |min| min.0.max(Decimal::ZERO))),
            (_, min) => min.map(|min| min.0),
        };
        if floor.is_some_and(|floor| after < floor) {
            return Err("InsufficientBalance");
        }
        let destination = usable(&plan.destination)?;
        if destination.max_balance.is_some_and(|max| destination.balance.0 + plan.amount > max.0) {
            return Err("BalanceLimitExceeded");
        }
        Ok(())
    }

    fn book(&mut self, key: &str, plan: &Plan, at: i64) -> Vec<u8> {
        let is_user = |id: &str| self.accounts.get(id).is_some_and(|account| account.account_type == "USER");
        let hit = self.fault.filter(|(_, rate)| self.random.f64() < *rate).map(|(fault, _)| fault);
        let mut movements = [-plan.amount, plan.amount];
        if let Some(fault) = hit {
            let mut surplus = match fault {
                Fault::Fee => [Decimal::ZERO; 2],
                Fault::Lost => movements.map(|movement| -movement),
                Fault::Doubled => movements,
            };
            if fault == Fault::Fee {
                let side = if is_user(&plan.source) { 0 } else { 1 };
                surplus[side] = -Decimal::new(1, 2);
                movements[side] += surplus[side];
            }
            let [source, destination] = surplus;
            let apart = [(plan.source.clone(), source), (plan.destination.clone(), destination)];
            self.hit.push((key.to_owned(), apart));
        }
        if let Some(original) = plan.original.as_ref().and_then(|id| self.by_id.get(id)) {
            self.rows[*original].refunded += plan.amount;
        }
        let shown = self.result(key, plan, "completed", movements, at);
        self.ids += 1;
        if hit != Some(Fault::Lost) {
            for again in [false, true].into_iter().take(if hit == Some(Fault::Doubled) { 2 } else { 1 }) {
                let row = if again { self.result(key, plan, "completed", movements, at) } else { shown.clone() };
                self.ids += u64::from(again);
                for side in [&row.source, &row.destination] {
                    if let Some(account) = self.accounts.get_mut(&side.account_id) {
                        account.balance = Money((account.balance.0 + side.movement.0).normalize());
                        account.available = account.balance;
                        account.version += 1;
                    }
                }
                self.enter(row);
            }
        }
        serde_json::to_vec(&shown).unwrap()
    }

    fn result(&self, key: &str, plan: &Plan, status: &str, movements: [Decimal; 2], at: i64) -> TransactionResult {
        let side = |id: &str, movement: Decimal| {
            let user = self.accounts.get(id).filter(|account| account.account_type == "USER" && status == "completed");
            Side {
                account_id: id.to_owned(),
                balance_before: user.map(|account| account.balance),
                balance_after: user.map(|account| Money(account.balance.0 + movement)),
                version: user.map(|account| account.version + 1),
                movement: Money(movement),
            }
        };
        TransactionResult {
            transaction_id: format!("{}-{}", self.system, self.ids),
            tracking_id: key.to_owned(),
            kind: plan.kind.to_owned(),
            status: status.to_owned(),
            amount: Money(plan.amount),
            currency: "EUR".into(),
            source: side(&plan.source, movements[0]),
            destination: side(&plan.destination, movements[1]),
            original_transaction_id: plan.original.clone(),
            reference: None,
            metadata: None,
            error_code: None,
            reason: None,
            correlation_id: "c".into(),
            created_at: Timestamp(at),
            completed_at: Some(Timestamp(at)),
            position: None,
        }
    }

    fn enter(&mut self, result: TransactionResult) {
        let row = self.rows.len();
        self.by_id.insert(result.transaction_id.clone(), row);
        let mut accounts = vec![result.source.account_id.clone(), result.destination.account_id.clone()];
        accounts.dedup();
        for account in accounts {
            self.histories.entry(account).or_default().push(row);
        }
        self.rows.push(Row { result, refunded: Decimal::ZERO });
    }
}

fn problem(status: u16, code: &'static str, result: Option<TransactionResult>) -> Reply {
    let problem = Problem { result, ..Problem::new(status, code, code) };
    Reply { status, body: serde_json::to_vec(&problem).unwrap(), replayed: false, would_refuse: None }
}
