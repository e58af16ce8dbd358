//! A database that lets nobody in, has too few connections, or is slow: writes go on, reads wait or are 503, never wrong.

use crate::database::{Database, Engine};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::time::Duration;
use testbed_services::variable;

const LOOKS_BACK: [&str; 3] =
    ["/accounts/alice/balance?at=2100-01-01T00:00:00Z", "/accounts/alice/transactions", "/transactions"];

async fn begun(engine: &Engine) {
    engine.until_open().await;
    engine.account("world", "EXTERNAL").await;
    engine.account("alice", "USER").await;
    assert_eq!(engine.transact("topup", "k", "world", "alice", "5").await.status, 200, "it writes");
}

async fn until_answered(engine: &Engine, path: &str) -> serde_json::Value {
    let answered = async {
        loop {
            let answer = engine.get(path).await;
            if answer.status == 200 {
                return answer.json().unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answered).await.expect("it is answered again")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_lets_nobody_in_holds_up_nothing_but_what_is_asked_of_it() {
    let server = variable("CROSSFADE_DATABASE_URL");
    let password = server.split(['@']).next().unwrap().rsplit(':').next().unwrap();
    let wrong = server.replace(password, "not-the-password");
    // The trial server has no TLS.
    for url in [wrong, format!("{server}?sslmode=require")] {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::start_on(folder.path(), "outside", Database::config_of(&url)).await;
        begun(&engine).await;
        for path in LOOKS_BACK {
            let answer = engine.get(path).await;
            assert_eq!(answer.status, 503, "{path}");
            assert!(answer.headers.contains_key("retry-after"), "{path}");
        }
        assert_eq!(engine.read("/accounts/alice/balance").await["balance"], "5");
        engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_connections_it_goes_on() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let role = database.name.clone();
    let mut connection = database.connect().await;
    // One to migrate with, which is closed then, and those of the pool.
    let statements =
        format!("CREATE ROLE {role} LOGIN PASSWORD 'few' CONNECTION LIMIT 2; ALTER DATABASE {role} OWNER TO {role}");
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
    let server = variable("CROSSFADE_DATABASE_URL");
    let host = server.rsplit('@').next().unwrap().split('/').next().unwrap().to_owned();
    let mut config = Database::config_of(&format!("postgres://{role}:few@{host}/{role}"));
    config.connections = 2;
    let engine = Engine::start_on(folder.path(), "few", config).await;
    begun(&engine).await;
    for number in 0..50 {
        assert_eq!(engine.transact("topup", &format!("k{number}"), "world", "alice", "1").await.status, 200);
    }
    assert_eq!(until_answered(&engine, LOOKS_BACK[0]).await["balance"], "55");
    let history = until_answered(&engine, "/accounts/alice/transactions?limit=1000").await;
    assert_eq!(history["transactions"].as_array().unwrap().len(), 51);
    engine.stop().await;
    database.drop_it().await;
    let mut server = PgConnection::connect(&server).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("DROP ROLE {role}"))).execute(&mut server).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_locked_is_503_until_it_is_not() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let mut config = database.config();
    config.statement_timeout_ms = 500;
    let engine = Engine::start_on(folder.path(), "locked", config).await;
    begun(&engine).await;
    assert_eq!(until_answered(&engine, LOOKS_BACK[0]).await["balance"], "5");
    let mut connection = database.connect().await;
    let mut locked = connection.begin().await.unwrap();
    let lock = "LOCK TABLE balance_1.balance_history, history_1.transaction_history IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut *locked).await.unwrap();
    assert_eq!(engine.transact("topup", "meanwhile", "world", "alice", "1").await.status, 200, "writes go on");
    for path in LOOKS_BACK {
        for stale in ["", "stale=true"] {
            let path = format!("{path}{}{stale}", if path.contains('?') { "&" } else { "?" });
            assert_eq!(engine.get(&path).await.status, 503, "{path}");
        }
    }
    let lag = engine.projection("balance").await["lagRecords"].clone();
    assert!(lag.as_u64().unwrap() > 0, "the lag is shown: {lag}");
    locked.rollback().await.unwrap();
    assert_eq!(until_answered(&engine, LOOKS_BACK[0]).await["balance"], "6");
    let history = until_answered(&engine, LOOKS_BACK[1]).await;
    assert_eq!(history["transactions"][0]["trackingId"], json!("meanwhile"));
    engine.stop().await;
    database.drop_it().await;
}
