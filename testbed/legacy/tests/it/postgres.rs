//! The legacy on PostgreSQL: what the tables show, and what a database does that is away, says no, or dies.

use crate::client::{Legacy, Reply, config, movement};
use crate::database::Database;
use host::secret::Secret;
use http::Method;
use serde_json::json;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use std::time::Duration;
use testbed_legacy::store::postgres;
use testbed_legacy::{Config, bind};
use testbed_services::line::{Line, State};

/// Long for a database on this machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a legacy cannot start there.
async fn refused(postgres: postgres::Config) -> String {
    let error = bind(Config { postgres: Some(postgres), ..config() }).await.unwrap_err().to_string();
    assert!(!error.contains('\n'), "one line: {error}");
    error
}

/// Ends every connection of the legacy, and says how many that were.
async fn cut(connection: &mut PgConnection) -> i64 {
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE application_name = 'crossfade legacy' AND datname = current_database()";
    sqlx::query_scalar(cut).fetch_one(connection).await.unwrap()
}

/// What a query finds, a line per row; all its columns are texts.
async fn lines(connection: &mut PgConnection, query: &'static str) -> Vec<String> {
    let rows = sqlx::query(query).fetch_all(connection).await.unwrap();
    let text = |row: &PgRow, column| row.get::<Option<String>, _>(column).unwrap_or_else(|| "-".to_owned());
    rows.iter().map(|row| (0..row.len()).map(|column| text(row, column)).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ./dev test --services"]
async fn the_tables_show_what_was_booked() {
    let legacy = Legacy::start_on(Database::new().await).await.with_people().await;
    legacy.transact("transfer", "k", "alice", "bob", "10.50").await.expect_applied();
    legacy.transact("transfer", "n", "alice", "nobody", "1").await.expect_refused(404, "AccountNotFound");
    legacy.refund("r", "L-000000000002", Some("0.5")).await.expect_applied();
    legacy.fault("lost-write").await;
    legacy.transact("topup", "lost", "bank", "bob", "1").await.expect_applied();
    let mut connection = legacy.database.as_ref().unwrap().connect().await;
    let accounts =
        "SELECT account_id, owner_id, owner_type, account_type, balance::text, currency, status, version::text
                    FROM legacy.accounts ORDER BY account_id";
    assert_eq!(
        lines(&mut connection, accounts).await,
        [
            "alice o t USER 90.00000000 CZK ACTIVE 4",
            "bank o t EXTERNAL -100.00000000 CZK ACTIVE 2",
            "bob o t USER 10.00000000 CZK ACTIVE 3",
        ]
    );
    let transactions = "SELECT transaction_id, idempotency_key, type, source_account_id, destination_account_id,
                               amount::text, currency, status, error_code, refunded::text
                        FROM legacy.transactions ORDER BY created_at, sequence";
    assert_eq!(
        lines(&mut connection, transactions).await,
        [
            "L-000000000001 first topup bank alice 100.00000000 CZK completed - 0.00000000",
            "L-000000000002 k transfer alice bob 10.50000000 CZK completed - 0.50000000",
            "L-000000000003 n transfer alice nobody 1.00000000 CZK failed AccountNotFound 0.00000000",
            "L-000000000004 r refund bob alice 0.50000000 CZK completed - 0.00000000",
        ]
    );
    let faults = lines(&mut connection, "SELECT idempotency_key, kind, transaction_id FROM legacy.faults").await;
    assert_eq!(faults, ["lost lost-write L-000000000005"]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ./dev test --services"]
async fn connections_that_are_lost_in_between_are_not_noticed() {
    let legacy = Legacy::start_on(Database::new().await).await.with_people().await;
    assert_eq!(legacy.balance("alice").await, "100");
    for round in 0..3 {
        let database = legacy.database.as_ref().unwrap();
        assert!(cut(&mut database.connect().await).await >= 2, "the one that writes, and one that reads");
        legacy.transact("transfer", &format!("k{round}"), "alice", "bob", "1").await.expect_applied();
        assert_eq!(
            [legacy.balance("alice").await, legacy.balance("bob").await],
            [(99 - round).to_string(), (1 + round).to_string()]
        );
    }
}

/// A connection that dies while a request waits for a row which somebody else has locked.
#[tokio::test]
#[ignore = "needs PostgreSQL: ./dev test --services"]
async fn a_connection_that_is_lost_before_the_commit_has_done_nothing() {
    let legacy = Legacy::start_on(Database::new().await).await.with_people().await;
    let database = legacy.database.as_ref().unwrap();
    let mut other = database.connect().await;
    let mut holding = other.begin().await.unwrap();
    sqlx::query("SELECT FROM legacy.accounts WHERE account_id = 'bob' FOR UPDATE")
        .execute(&mut *holding)
        .await
        .unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND application_name = 'crossfade legacy'
                     AND datname = current_database()";
    let cutting = async {
        let mut watching = database.connect().await;
        let waits =
            async { while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut watching).await.unwrap() == 0 {} };
        host::clock::timeout(PATIENCE, waits).await.expect("it waits for the row");
        cut(&mut watching).await;
    };
    let (lost, ()) = tokio::join!(legacy.transact("transfer", "k", "alice", "bob", "10"), cutting);
    lost.expect_refused(503, "NotAppended");
    assert_eq!(lost.retry_after.as_deref(), Some("1"));
    // Nobody lets go of the row: it is waited for, but not for ever.
    legacy.transact("transfer", "k", "alice", "bob", "10").await.expect_refused(503, "NotAppended");
    holding.rollback().await.unwrap();
    let retry = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    retry.expect_applied();
    assert!(!retry.replayed);
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["90", "10"]);
    assert_eq!(legacy.history("alice").await.len(), 2);
}

/// The database dies in the commit, and has done nothing.
#[tokio::test]
#[ignore = "needs PostgreSQL: ./dev test --services"]
async fn a_commit_that_died_is_neither_done_nor_refused() {
    let legacy = Legacy::start_on(Database::new().await).await.with_people().await;
    let database = legacy.database.as_ref().unwrap();
    database
        .run(
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER die AFTER INSERT ON legacy.transactions DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION die()",
        )
        .await;
    legacy.transact("transfer", "k", "alice", "bob", "10").await.expect_refused(500, "InternalError");
    database.run("DROP TRIGGER die ON legacy.transactions").await;
    let legacy = restart_after_unknown(legacy).await;
    let retry = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    retry.expect_applied();
    assert!(!retry.replayed);
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["90", "10"]);
}

/// The commit is done, and nobody is told.
#[tokio::test]
#[ignore = "needs PostgreSQL: ./dev test --services"]
async fn a_commit_whose_answer_is_lost_is_neither_done_nor_refused() {
    let database = Database::new().await;
    let line = Line::to(database.address()).await;
    let legacy = Legacy::start_on(database.at(line.port)).await.with_people().await;
    line.is(State::LosesCommit);
    legacy.transact("transfer", "k", "alice", "bob", "10").await.expect_refused(500, "InternalError");
    line.is(State::Up);
    let legacy = restart_after_unknown(legacy).await;
    let retry = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    retry.expect_applied();
    assert!(retry.replayed, "it was done");
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["90", "10"]);
    assert_eq!(legacy.history("bob").await.len(), 1);
}

/// Connections are ended at any moment, and a client sends everything until it is told what became of it.
#[tokio::test]
#[ignore = "needs PostgreSQL: ./dev test --services"]
async fn whatever_is_lost_everything_happens_once() {
    const REQUESTS: usize = 100;
    let mut legacy = Legacy::start_on(Database::new().await).await.with_people().await;
    let mut cutting = legacy.database.as_ref().unwrap().connect().await;
    let mut random = fastrand::Rng::with_seed(1);
    let mut sent = 0;
    for number in 0..REQUESTS {
        let body = movement(&format!("k{number}"), "alice", "bob", "1").to_string();
        loop {
            sent += 1;
            let lose = async {
                for _ in 0..random.u32(..300) {
                    host::task::yield_now().await;
                }
                cut(&mut cutting).await;
            };
            let send = legacy.try_send(Method::POST, "/transactions/transfer", &[], body.as_bytes(), PATIENCE);
            match tokio::join!(send, lose).0.map(|answer| answer.status.as_u16()) {
                Ok(200) => break,
                Ok(503) => {}
                _ => legacy = restart_after_unknown(legacy).await,
            }
        }
    }
    assert!(sent > REQUESTS, "nothing was ever lost");
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["0", "100"]);
    let history = legacy.get("/accounts/bob/transactions?limit=1000").await.body;
    assert_eq!(history["transactions"].as_array().unwrap().len(), REQUESTS);
}

/// A process that was thought to be dead comes back, and another one has its place.
#[tokio::test]
#[ignore = "needs PostgreSQL: ./dev test --services"]
async fn only_one_process_writes() {
    let legacy = Legacy::start_on(Database::new().await).await.with_people().await;
    let mut connection = legacy.database.as_ref().unwrap().connect().await;
    cut(&mut connection).await;
    let successor = bind(legacy.config.clone()).await.unwrap();
    legacy.transact("transfer", "k", "alice", "bob", "10").await.expect_refused(503, "NotAppended");
    assert_eq!(legacy.balance("alice").await, "100", "reads harm nobody");
    drop(successor);
    let retry = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    retry.expect_applied();
    assert!(!retry.replayed);
}

async fn restart_after_unknown(legacy: Legacy) -> Legacy {
    let (ended, legacy) = legacy.restart_ended().await;
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("whether the last transaction was committed is not known"), "{error}");
    legacy
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ./dev test --services"]
async fn while_the_database_is_away_nothing_is_done_and_nothing_is_told() {
    let database = Database::new().await;
    let line = Line::to(database.address()).await;
    let legacy = Legacy::start_on(database.at(line.port)).await.with_people().await;
    line.is(State::Down);
    let expect_away = |reply: Reply, code: &str| {
        reply.expect_refused(503, code);
        assert_eq!(reply.retry_after.as_deref(), Some("1"));
    };
    expect_away(legacy.transact("transfer", "k", "alice", "bob", "10").await, "NotAppended");
    expect_away(legacy.patch("alice", json!({"status": "FROZEN"})).await, "NotAppended");
    for path in [
        "/accounts/alice",
        "/accounts/alice/balance",
        "/accounts/nobody",
        "/accounts",
        "/accounts/alice/transactions",
        "/transactions",
        "/transactions/L-000000000001",
        "/transactions/status/first",
        "/faults/log",
    ] {
        expect_away(legacy.get(path).await, "NotReadable");
    }
    line.is(State::Up);
    let retry = legacy.post("/transactions/transfer", movement("k", "alice", "bob", "10")).await;
    retry.expect_applied();
    assert!(!retry.replayed);
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["90", "10"]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: ./dev test --services"]
async fn a_database_that_cannot_be_used_is_named_without_its_password() {
    let database = Database::new().await;
    let line = Line::to(database.address()).await;
    line.is(State::Down);
    let error = refused(database.config_with(|options| options.port(line.port).password("a-secret"))).await;
    assert!(error.starts_with("legacy.postgres.url: the database does not answer: "), "{error}");
    assert!(!error.contains("a-secret"), "{error}");
    let error = refused(database.config_with(|options| options.password("a-secret"))).await;
    assert!(error.starts_with("legacy.postgres.url: the database refuses: password authentication failed"), "{error}");
    assert!(!error.contains("a-secret"), "{error}");
    let error = refused(database.config_with(|options| options.database("not_there"))).await;
    assert!(error.contains("the database refuses: database \"not_there\" does not exist"), "{error}");
    let error = refused(postgres::Config { url: Secret::new("a-secret") }).await;
    assert!(error.starts_with("legacy.postgres.url is no address of a database"), "{error}");
    assert!(!error.contains("a-secret"), "{error}");
}
