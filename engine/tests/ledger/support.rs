//! A ledger to be started, stopped and killed, and commands in few words.

use crate::faulty::{Faulty, Rotten};
use engine::ledger::{Answered, Duties, Ledger, Settings, Submitted};
use engine::view::read_model::HistoryQuery;
use engine::view::{Cursor, HistoryFilter, View};
use engine_domain::command::{ChangeAccount, CreateAccount, LimitChange, Move, MoveKind, Refund};
use engine_domain::{
    AccountId, AccountType, Amount, Answer, Body, Command, CommandId, Currency, Limits, Mode, Money, Rejection,
    Timestamp,
};
use eventlog::{EmbeddedLog, Log, NewRecord};
use host::ops::Readiness;
use host::task::Shutdown;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use wire::billing::{TransactionPage, TransactionResult};
use wire::stored::Stored;

pub const SHARDS: u32 = 10;

/// No test takes longer on the slowest machine; one that does hangs.
const DEADLINE: Duration = Duration::from_secs(60);
/// An answer takes milliseconds.
pub const ANSWER: Duration = Duration::from_secs(20);
/// Short, so that what was lost is asked again soon.
const ASK_AGAIN: Duration = Duration::from_millis(20);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not in time"),
    }
}

/// A stored record of a version that nobody knows yet.
pub fn newer<T: Stored>() -> NewRecord {
    let tag = [T::TYPE.to_le_bytes(), (T::VERSION + 1).to_le_bytes()].concat();
    NewRecord::of([tag, b"what a newer program would write".to_vec()].concat())
}

/// A stored record of a type that nobody knows yet.
pub fn newer_type() -> NewRecord {
    NewRecord::of([0x0FFF_u16.to_le_bytes(), 1_u16.to_le_bytes()].concat())
}

/// A log in a temporary directory, and what is started on it.
pub struct Bed {
    pub log: Arc<EmbeddedLog>,
    /// What whoever is started reads as something else than was written.
    pub rotten: Option<Rotten>,
    _directory: TempDir,
}

/// A running ledger. What it runs on lives at least as long.
pub struct Running {
    pub ledger: Ledger,
    pub log: Arc<Faulty>,
    pub readiness: Readiness,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<()>,
    _bed: Option<Bed>,
}

pub fn settings() -> Settings {
    Settings { ledger: "test".to_owned(), shards: SHARDS, ask_again: ASK_AGAIN, snapshot_after_outcomes: 0 }
}

impl Bed {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { log: EmbeddedLog::open(directory.path()).expect("a log"), rotten: None, _directory: directory }
    }

    /// As [`Bed::start`], for tests with one start only: the bed goes with the ledger.
    pub async fn start_alone(self) -> Running {
        let running = self.start().await;
        Running { _bed: Some(self), ..running }
    }

    /// Opens and runs the ledger on this log; beside others, if there are some.
    pub async fn start(&self) -> Running {
        self.start_with(Duties::all(SHARDS)).await
    }

    /// As [`Bed::start`], with these shards to decide on.
    pub async fn start_with(&self, duties: Duties) -> Running {
        self.start_as(settings(), duties).await
    }

    /// As [`Bed::start`], with a snapshot of a shard after so many outcomes.
    pub async fn start_keeping(&self, snapshot_after_outcomes: u64) -> Running {
        self.start_as(Settings { snapshot_after_outcomes, ..settings() }, Duties::all(SHARDS)).await
    }

    async fn start_as(&self, settings: Settings, duties: Duties) -> Running {
        let log = Faulty::new(Arc::clone(&self.log) as Arc<dyn Log>, self.rotten.clone());
        let readiness = Readiness::new();
        let ledger = Ledger::open(Arc::clone(&log) as Arc<dyn Log>, settings, readiness.clone(), duties);
        let ledger = ledger.await.expect("the ledger opens");
        let shutdown = Shutdown::new();
        let task = tokio::spawn({
            let (ledger, shutdown) = (ledger.clone(), shutdown.clone());
            async move { ledger.run(shutdown).await }
        });
        Running { ledger, log, readiness, shutdown, task, _bed: None }
    }
}

impl Running {
    /// Stops in good order.
    pub async fn stop(self) {
        self.shutdown.stop();
        within("stopping", self.task).await.expect("the ledger stops");
    }

    /// Dies: from this moment nothing reaches the log.
    pub async fn kill(self) {
        self.log.cut();
        self.stop().await;
    }

    /// Submits; the answer has to come.
    pub async fn answered(&self, command: Command) -> Answered {
        let asked = format!("{:?}", command.body);
        match self.submit(command).await {
            Submitted::Answered(answered) => *answered,
            other => panic!("{asked}: {other:?}"),
        }
    }

    pub async fn submit(&self, command: Command) -> Submitted {
        self.ledger.submit(command, host::clock::now() + ANSWER).await
    }

    /// Submits a transaction; the final result has to come.
    pub async fn transact(&self, command: Command) -> TransactionResult {
        let answered = self.answered(command).await;
        match answered.transaction {
            Some(result) if matches!(answered.answer, Answer::Final { .. }) => result,
            other => panic!("not final: {:?} {other:?}", answered.answer),
        }
    }

    pub async fn create(&self, command: Command) {
        let answered = self.answered(command).await;
        assert!(answered.account.is_some(), "{:?}", answered.answer);
    }

    /// The balance, after everything that was answered.
    pub async fn balance(&self, account: &str) -> String {
        self.settle().await;
        self.ledger.view().balance(account).expect("the account is there").balance.to_string()
    }

    /// Waits until everything in the log is decided and shown.
    pub async fn settle(&self) {
        let all: Vec<u32> = (0..SHARDS).collect();
        let deadline = host::clock::now() + ANSWER;
        self.ledger.settled_barrier(&all, deadline).await.expect("the view catches up");
    }

    /// Waits until no saga is under way, and checks that no money came from nowhere.
    pub async fn quiet(&self) {
        let quiet = async {
            loop {
                self.settle().await;
                if self.ledger.view().open_sagas().is_empty() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        within("quiet", quiet).await;
        self.check_conservation();
        for currency in ["EUR", "USD"] {
            if let Some(transit) = self.ledger.view().account(&format!("in-transit:{currency}")) {
                assert_eq!(transit.balance.to_string(), "0", "nothing is on its way");
            }
        }
    }

    pub fn check_conservation(&self) {
        let view = self.ledger.view();
        let counted = view.recount();
        assert!(view.conservation().iter().all(|sum| counted.contains(sum) && sum.sum.is_zero()), "{counted:?}");
        assert!(counted.iter().all(|sum| sum.sum.is_zero()), "{counted:?}");
    }
}

/// An account id whose home is that shard.
pub fn on_shard(shard: u32, name: &str) -> String {
    let ids = (0..).map(|number| format!("{name}-{number}"));
    ids.into_iter().find(|id| account(id).shard(SHARDS) == shard).expect("some id has that home")
}

pub fn account(id: &str) -> AccountId {
    AccountId::new(id).expect("an id in the grammar")
}

pub fn currency(code: &str) -> Currency {
    Currency::new(code).expect("a currency")
}

pub fn money(text: &str) -> Money {
    let parsed: wire::scalar::Money = text.parse().expect("money");
    Money::new(parsed.0).expect("money")
}

pub fn amount(text: &str) -> Amount {
    Amount::new(money(text)).expect("an amount")
}

/// A client's command.
pub fn command(body: Body) -> Command {
    let id = CommandId(host::random::uuid());
    Command {
        id,
        at: Timestamp(host::clock::unix_micros()),
        correlation_id: format!("correlation-{id}").into(),
        actor: "tester".into(),
        mode: Mode::Authority,
        tenant: "".into(),
        keeps_refusals: true,
        alias: None,
        refusal: None,
        body,
    }
}

pub fn new_account(id: &str, account_type: AccountType, limits: Limits) -> CreateAccount {
    CreateAccount {
        key: None,
        account: account(id),
        owner_id: "owner".into(),
        owner_type: "person".into(),
        account_type,
        currency: currency("EUR"),
        limits,
        metadata: None,
    }
}

pub fn user(id: &str) -> Command {
    command(Body::CreateAccount(new_account(id, AccountType::User, Limits::default())))
}

pub fn external(id: &str) -> Command {
    command(Body::CreateAccount(new_account(id, AccountType::External, Limits::default())))
}

pub fn change(id: &str) -> ChangeAccount {
    ChangeAccount { account: account(id), status: None, min: LimitChange::Keep, max: LimitChange::Keep }
}

fn movement(kind: MoveKind, key: &str, source: &str, destination: &str, how_much: &str) -> Command {
    command(Body::Move(Move {
        kind,
        key: key.into(),
        source: account(source),
        destination: account(destination),
        amount: amount(how_much),
        currency: currency("EUR"),
        reference: None,
        metadata: None,
    }))
}

pub fn topup(key: &str, source: &str, destination: &str, how_much: &str) -> Command {
    movement(MoveKind::Topup, key, source, destination, how_much)
}

pub fn withdraw(key: &str, source: &str, destination: &str, how_much: &str) -> Command {
    movement(MoveKind::Withdraw, key, source, destination, how_much)
}

pub fn transfer(key: &str, source: &str, destination: &str, how_much: &str) -> Command {
    movement(MoveKind::Transfer, key, source, destination, how_much)
}

/// A refund of what the view shows under that id.
pub fn refund(running: &Running, key: &str, named: &str, how_much: Option<&str>) -> Command {
    let found = running.ledger.view().original(named);
    let deciding_account = found.as_ref().map_or(named, |(_, deciding)| deciding.as_str()).into();
    command(Body::Refund(Refund {
        key: key.into(),
        named: named.into(),
        original: found.map(|(original, _)| original),
        deciding_account,
        amount: how_much.map(amount),
        taken: None,
        reason: Some("changed their mind".into()),
    }))
}

/// A page of an account's history; `None` if there is no such account.
pub fn history(
    view: &View,
    id: &str,
    before: Option<&Cursor>,
    limit: usize,
    filter: HistoryFilter,
) -> Option<TransactionPage> {
    let account = account(id);
    let made_at = view.made_at(&account)?;
    Some(view.history(&HistoryQuery { account: &account, made_at, before, limit, filter }))
}

/// The rule that refused it, whether that is kept or not.
pub fn rejection(answered: &Answered) -> Option<Rejection> {
    match &answered.answer {
        Answer::Refused { rejection, .. } => Some(*rejection),
        _ => {
            let code = answered.transaction.as_ref()?.error_code.as_deref()?;
            Some(Rejection::from_code(code).expect("a known code"))
        }
    }
}

/// Two users, on the shards 2 and 5, the first with 100.
pub async fn payer_and_payee(running: &Running) -> (String, String) {
    let (from, to) = (on_shard(2, "from"), on_shard(5, "to"));
    running.create(external("world")).await;
    running.create(user(&from)).await;
    running.create(user(&to)).await;
    running.transact(topup("first", "world", &from, "100")).await;
    (from, to)
}

/// Submits what cannot be answered yet.
pub async fn pending(running: &Running, command: Command) {
    let soon = host::clock::now() + Duration::from_millis(30);
    assert_eq!(running.ledger.submit(command, soon).await, Submitted::Pending);
}

/// Waits until there is a saga that waits for `shard`.
pub async fn saga_waits_for(running: &Running, shard: u32) {
    let waits = async {
        while !running.ledger.view().open_sagas().iter().any(|saga| saga.awaits.0 == shard) {
            tokio::task::yield_now().await;
        }
    };
    within("a saga that waits", waits).await;
}
