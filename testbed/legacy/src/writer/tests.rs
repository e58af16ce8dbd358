//! What is put off and what overtakes it, in an order of arrival that is certain.

use super::{Thread, Writer};
use crate::execute::{Asked, Command, Executor, Reply};
use crate::faults::FaultSwitch;
use crate::shapes::{FaultEntry, FaultKind, Kind};
use crate::store::{self, Reading};
use crate::{Config, request};
use host::task::Shutdown;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// What is not answered by then is not answered at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A writer with `alice` and `bob`, who have 100 each, and a fault that hits every request.
struct Trial {
    writer: Writer,
    thread: Thread,
    stop: Shutdown,
    reading: Arc<dyn Reading>,
    _directory: TempDir,
}

/// A request that was queued.
struct Sent(oneshot::Receiver<Reply>);

impl Trial {
    async fn start(longest: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { data_dir: directory.path().to_owned(), ..Config::default() };
        let opened = store::open(&config).unwrap();
        let faults = Arc::new(FaultSwitch::new(1));
        let executor = Executor::new(opened.store, 0, faults.clone(), Arc::default(), &config);
        let stop = Shutdown::new();
        let (writer, thread) = Writer::start(executor, longest, stop.clone()).unwrap();
        let trial = Self { writer, thread, stop, reading: opened.reading, _directory: directory };
        for (id, account_type) in [("bank", "EXTERNAL"), ("alice", "USER"), ("bob", "USER")] {
            let body = json!({"accountId": id, "ownerId": "o", "ownerType": "t", "accountType": account_type,
                              "currency": "CZK"});
            let account = request::new_account(String::new, body.to_string().as_bytes()).unwrap();
            trial.send(Command::Account { key: None, account }).await.applied().await;
        }
        for user in ["alice", "bob"] {
            trial.movement(Kind::Topup, &format!("first-{user}"), "bank", user, "100").await.applied().await;
        }
        faults.put(br#"{"faults":[{"kind":"reorder","rate":1}]}"#).unwrap();
        trial
    }

    /// Queues a request; what is queued later arrives later.
    async fn send(&self, command: Command) -> Sent {
        let asked = Asked { tenant: String::new(), correlation_id: String::new(), command };
        Sent(self.writer.queue(asked).await.unwrap())
    }

    async fn movement(&self, kind: Kind, key: &str, source: &str, destination: &str, amount: &str) -> Sent {
        let body = json!({"idempotencyKey": key, "sourceAccountId": source, "destinationAccountId": destination,
                          "amount": amount, "currency": "CZK"});
        let (key, transaction) = request::transaction(kind, None, body.to_string().as_bytes()).unwrap();
        self.send(Command::Transaction { key, transaction }).await
    }

    async fn withdrawal(&self, key: &str, source: &str, amount: &str) -> Sent {
        self.movement(Kind::Withdraw, key, source, "bank", amount).await
    }

    /// Keys of all transactions in the order in which they were executed, but for the first ones.
    fn executed(&self) -> Vec<String> {
        let rows = self.reading.transactions(0, None, 100).unwrap();
        rows.into_iter().skip(2).map(|(_, result)| result.tracking_id).collect()
    }

    /// Keys in the fault ledger.
    fn faults(&self) -> Vec<String> {
        let key = |entry: FaultEntry| {
            assert_eq!(entry.kind, FaultKind::Reorder);
            entry.key
        };
        self.reading.faults().unwrap().into_iter().map(key).collect()
    }
}

impl Sent {
    async fn answered(self) -> (u16, bool, Value) {
        match host::clock::timeout(PATIENCE, self.0).await.expect("an answer in time").unwrap() {
            Reply::Answer(answer) => (answer.status, answer.replayed, serde_json::from_slice(&answer.body).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    async fn applied(self) -> Value {
        let (status, _, body) = self.answered().await;
        assert!((200..300).contains(&status), "{body}");
        body
    }
}

#[tokio::test]
async fn two_requests_of_one_account_change_places() {
    let trial = Trial::start(FOR_EVER).await;
    let first = trial.withdrawal("a", "alice", "60").await;
    let second = trial.withdrawal("b", "alice", "70").await;
    assert_eq!(second.applied().await["source"]["balanceAfter"], "30");
    // What is late is decided on what there is by then.
    let (status, _, body) = first.answered().await;
    assert_eq!((status, &body["code"]), (422, &json!("InsufficientBalance")));
    assert_eq!((trial.executed(), trial.faults()), (vec!["b".to_owned(), "a".to_owned()], vec!["a".to_owned()]));
    let entry = trial.reading.faults().unwrap().remove(0);
    assert_eq!(
        (entry.account.as_str(), entry.transaction_id.as_deref()),
        ("alice", body["result"]["transactionId"].as_str())
    );
}

#[tokio::test]
async fn requests_of_others_pass_until_the_account_is_asked_again() {
    let trial = Trial::start(FOR_EVER).await;
    let first = trial.withdrawal("a", "alice", "1").await;
    // One at a time is put off: these are hit, too, and nothing comes of it.
    trial.withdrawal("b", "bob", "1").await.applied().await;
    trial.movement(Kind::Transfer, "c", "bob", "alice", "1").await.applied().await;
    assert_eq!((trial.executed().len(), trial.faults().len()), (2, 0));
    trial.withdrawal("d", "alice", "1").await.applied().await;
    first.applied().await;
    assert_eq!((trial.executed().join(" "), trial.faults().join(" ")), ("b c d a".to_owned(), "a".to_owned()));
}

#[tokio::test]
async fn a_change_of_the_account_overtakes_as_well() {
    let trial = Trial::start(FOR_EVER).await;
    let first = trial.withdrawal("a", "alice", "1").await;
    let change = request::account_change(br#"{"status":"FROZEN"}"#).unwrap();
    trial.send(Command::Change { account_id: "alice".to_owned(), change }).await.applied().await;
    let (status, _, body) = first.answered().await;
    assert_eq!((status, &body["code"]), (422, &json!("AccountFrozen")));
    assert_eq!(trial.faults(), ["a"]);
}

#[tokio::test]
async fn what_nothing_overtakes_is_executed_late_and_is_no_fault() {
    let trial = Trial::start(Duration::from_millis(1)).await;
    for key in ["a", "b"] {
        trial.withdrawal(key, "alice", "1").await.applied().await;
    }
    assert_eq!((trial.executed().join(" "), trial.faults().len()), ("a b".to_owned(), 0));
}

#[tokio::test]
async fn a_retry_takes_the_place_of_what_is_put_off() {
    let trial = Trial::start(FOR_EVER).await;
    let first = trial.withdrawal("a", "alice", "1").await;
    let retry = trial.withdrawal("a", "alice", "1").await;
    let (first, retry) = (first.answered().await, retry.answered().await);
    assert_eq!((first.1, retry.1, &first.2), (true, false, &retry.2));
    assert_eq!((trial.executed().join(" "), trial.faults().len()), ("a".to_owned(), 0), "one effect, and no fault");
}

#[tokio::test]
async fn a_replay_overtakes_nothing() {
    let trial = Trial::start(FOR_EVER).await;
    let first = trial.withdrawal("a", "alice", "1").await;
    let (_, replayed, _) = trial.movement(Kind::Topup, "first-alice", "bank", "alice", "100").await.answered().await;
    assert!(replayed);
    trial.writer.stop().await;
    first.applied().await;
    assert_eq!((trial.executed().join(" "), trial.faults().len()), ("a".to_owned(), 0));
    trial.thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn nobody_who_waits_is_needed() {
    let trial = Trial::start(FOR_EVER).await;
    drop(trial.withdrawal("a", "alice", "1").await);
    trial.withdrawal("b", "alice", "1").await.applied().await;
    trial.writer.stop().await;
    trial.thread.join().unwrap().unwrap();
    let executed = trial.reading.transactions(0, None, 100).unwrap();
    assert_eq!(executed.last().unwrap().1.tracking_id, "a");
}

#[tokio::test]
async fn when_it_is_time_to_stop_nothing_is_put_off_any_longer() {
    let trial = Trial::start(FOR_EVER).await;
    let first = trial.withdrawal("a", "alice", "1").await;
    trial.withdrawal("b", "bob", "1").await.applied().await;
    trial.stop.stop();
    first.applied().await;
    // Nor is what comes still.
    trial.withdrawal("c", "alice", "1").await.applied().await;
    assert_eq!((trial.executed().join(" "), trial.faults().join(" ")), ("b a c".to_owned(), "a".to_owned()));
    trial.writer.stop().await;
    trial.thread.join().unwrap().unwrap();
}
