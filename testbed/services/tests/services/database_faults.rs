//! A database that lets nobody in, has too few connections, is slow or silent, or has no room: writes go on, reads wait or are 503, never wrong.

use crate::database::{Database, Engine, until_answered, until_answered_within};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use std::time::Duration;
use testbed_services::line::{Line, State};
use testbed_services::{small_disk, variable};

/// Connections of ten that queries have.
const FOR_QUERIES: i64 = 6;
const LOOKS_BACK: [&str; 3] =
    ["/accounts/alice/balance?at=2100-01-01T00:00:00Z", "/accounts/alice/transactions", "/transactions"];

async fn begun(engine: &Engine) {
    engine.until_open().await;
    engine.account("world", "EXTERNAL").await;
    engine.account("alice", "USER").await;
    assert_eq!(engine.transact("topup", "k", "world", "alice", "5").await.status, 200, "it writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_lets_nobody_in_holds_up_nothing_but_what_is_asked_of_it() {
    let server = variable("CROSSFADE_DATABASE_URL");
    let password = server.split(['@']).next().unwrap().rsplit(':').next().unwrap();
    let wrong = server.replace(password, "not-the-password");
    // It requires TLS, and is not who it says it is.
    let plain = format!("{}?sslmode=disable", tls_only().await);
    let foreign = variable("CROSSFADE_TRIAL_KAFKA_FOREIGN_CA");
    let not_known = format!("{}?sslmode=verify-full&sslrootcert={foreign}", tls_only().await);
    for url in [wrong, plain, not_known] {
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

/// The address for a role that the trial server lets in by TLS only.
async fn tls_only() -> String {
    let server = variable("CROSSFADE_DATABASE_URL");
    let make = "DO $$ BEGIN
                    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tls_only') THEN
                        CREATE ROLE tls_only LOGIN SUPERUSER PASSWORD 'tls';
                    END IF;
                END $$";
    sqlx::raw_sql(make).execute(&mut PgConnection::connect(&server).await.unwrap()).await.unwrap();
    let place = server.rsplit('@').next().unwrap();
    format!("postgres://tls_only:tls@{place}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tls_is_required_the_server_is_checked_and_answers() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let server = tls_only().await;
    let (place, _) = server.rsplit_once('/').unwrap();
    let authority = variable("CROSSFADE_TRIAL_KAFKA_CA");
    let url = format!("{place}/{}?sslmode=verify-full&sslrootcert={authority}", database.name);
    let engine = Engine::start_on(folder.path(), "tls", Database::config_of(&url)).await;
    begun(&engine).await;
    assert_eq!(until_answered(&engine, LOOKS_BACK[0]).await["balance"], "5");
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE usename = 'tls_only' AND datname = current_database()";
    let all: Option<bool> = sqlx::query_scalar(encrypted).fetch_one(&mut database.connect().await).await.unwrap();
    assert_eq!(all, Some(true), "its connections, of which there are some, are encrypted");
    engine.stop().await;
    database.drop_it().await;
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

/// A batch is applied, and whoever projects is not told: it is not applied again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_commit_is_not_answered_is_applied_once() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let server: PgConnectOptions = variable("CROSSFADE_DATABASE_URL").parse().unwrap();
    let line = Line::to((server.get_host().to_owned(), server.get_port())).await;
    // The line reads what is said on it.
    let plain = server.database(&database.name).port(line.port).ssl_mode(PgSslMode::Disable).to_url_lossy();
    let engine = Engine::start_on(folder.path(), "unanswered", Database::config_of(plain.as_str())).await;
    begun(&engine).await;
    assert_eq!(until_answered(&engine, LOOKS_BACK[0]).await["balance"], "5");
    until_answered(&engine, LOOKS_BACK[1]).await;
    line.is(State::LosesCommit);
    for number in 0..5 {
        assert_eq!(engine.transact("topup", &format!("k{number}"), "world", "alice", "1").await.status, 200);
    }
    tokio::time::timeout(Duration::from_secs(30), line.has_lost_a_commit()).await.expect("a batch is committed");
    line.is(State::Up);
    assert_eq!(until_answered(&engine, LOOKS_BACK[0]).await["balance"], "10");
    let history = until_answered(&engine, LOOKS_BACK[1]).await;
    assert_eq!(history["transactions"].as_array().unwrap().len(), 6);
    for projection in ["balance", "history"] {
        let job = engine.job(projection, "verify").await;
        assert_eq!((&job["state"], &job["differences"]), (&json!("done"), &json!(0)), "{job}");
    }
    engine.stop().await;
    database.drop_it().await;
}

/// The machine of the database is gone without a word, and its successor has its address: what waits for the old one is not
/// waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_falls_silent_is_left_for_its_successor() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let server: PgConnectOptions = variable("CROSSFADE_DATABASE_URL").parse().unwrap();
    let line = Line::to((server.get_host().to_owned(), server.get_port())).await;
    let url = server.database(&database.name).port(line.port).to_url_lossy();
    let mut config = Database::config_of(url.as_str());
    config.statement_timeout_ms = 2_000;
    let engine = Engine::start_on(folder.path(), "silent", config).await;
    begun(&engine).await;
    assert_eq!(until_answered(&engine, LOOKS_BACK[0]).await["balance"], "5");
    until_answered(&engine, LOOKS_BACK[1]).await;
    // All connections for queries are in the middle of one.
    let mut connection = database.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE balance_1.balance_history").execute(&mut connection).await.unwrap();
    let stale = "/accounts/alice/balance?at=2100-01-01T00:00:00Z&stale=true";
    let asked = futures_util::future::join_all((0..20).map(|_| engine.get(stale)));
    let silent = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'
                       AND relation = 'balance_1.balance_history'::regclass";
        let all_wait = async {
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut connection).await.unwrap() < FOR_QUERIES {}
        };
        tokio::time::timeout(Duration::from_secs(30), all_wait)
            .await
            .expect("all connections are in the middle of a query");
        line.is(State::Silent);
        sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    };
    for answer in tokio::join!(asked, silent).0 {
        assert_eq!(answer.status, 503);
    }
    assert_eq!(engine.transact("topup", "meanwhile", "world", "alice", "1").await.status, 200, "writes go on");
    line.is(State::Up);
    let patience = Duration::from_secs(150);
    assert_eq!(until_answered_within(&engine, LOOKS_BACK[0], patience).await["balance"], "6");
    let history = until_answered_within(&engine, LOOKS_BACK[1], patience).await;
    assert_eq!(history["transactions"][0]["trackingId"], json!("meanwhile"));
    engine.stop().await;
    database.drop_it().await;
}

/// The machine is gone while it works for a build: the build does not wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_gives_up_a_database_that_falls_silent() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let server: PgConnectOptions = variable("CROSSFADE_DATABASE_URL").parse().unwrap();
    let line = Line::to((server.get_host().to_owned(), server.get_port())).await;
    let url = server.database(&database.name).port(line.port).to_url_lossy();
    let engine = Engine::start_on(folder.path(), "gone", Database::config_of(url.as_str())).await;
    begun(&engine).await;
    until_answered(&engine, LOOKS_BACK[0]).await;
    // Then every live one has its checkpoints: what begins one is the build.
    let caught_up = async {
        for projection in ["balance", "history"] {
            while engine.projection(projection).await["lagRecords"] != 0 {}
        }
    };
    tokio::time::timeout(Duration::from_secs(30), caught_up).await.expect("everything is projected");
    let (mut connection, mut looking) = (database.connect().await, database.connect().await);
    sqlx::raw_sql("BEGIN; LOCK TABLE projections.checkpoint").execute(&mut connection).await.unwrap();
    let path = "/internal/projections/balance/rebuild";
    assert_eq!(engine.control(http::Method::POST, path).await.status, 202);
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                   AND query LIKE 'INSERT INTO projections.checkpoint%'";
    let works = async { while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut looking).await.unwrap() == 0 {} };
    tokio::time::timeout(Duration::from_secs(30), works).await.expect("the build waits for the database");
    line.is(State::Silent);
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    line.is(State::Up);
    let ended = async {
        loop {
            let listed = engine.control(http::Method::GET, "/internal/projections").await;
            let listed: serde_json::Value = serde_json::from_slice(&listed.body).unwrap();
            let job = &listed["projections"][0]["job"];
            if listed["projections"].is_array() && job["state"] != "running" {
                return job.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let job = tokio::time::timeout(Duration::from_secs(50), ended).await.expect("it is given up");
    assert!(job["error"].as_str().is_some_and(|error| error.contains("the database is silent")), "{job}");
    engine.stop().await;
    database.drop_it().await;
}

/// Clients that hang up take their queries with them, however long those were allowed to take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_any_more_is_ended() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let mut config = database.config();
    config.statement_timeout_ms = 60_000;
    let engine = Engine::start_on(folder.path(), "left", config).await;
    begun(&engine).await;
    assert_eq!(until_answered(&engine, LOOKS_BACK[0]).await["balance"], "5");
    let (mut connection, mut looking) = (database.connect().await, database.connect().await);
    sqlx::raw_sql("BEGIN; LOCK TABLE balance_1.balance_history").execute(&mut connection).await.unwrap();
    let stale = "/accounts/alice/balance?at=2100-01-01T00:00:00Z&stale=true";
    // Samples wait as well, and for all of that time.
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                   AND query LIKE 'WITH state%'";
    let mut until = async |wanted: fn(i64) -> bool| {
        let reached =
            async { while !wanted(sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut looking).await.unwrap()) {} };
        tokio::time::timeout(Duration::from_secs(30), reached).await.expect("queries wait, and end");
    };
    tokio::select! {
        _ = futures_util::future::join_all((0..3).map(|_| engine.get(stale))) => unreachable!("it is locked"),
        () = until(|waiting| waiting >= 3) => {}
    }
    until(|waiting| waiting == 0).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    assert_eq!(engine.get(stale).await.status, 200);
    engine.stop().await;
    database.drop_it().await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for_and_nothing_is_given_up() {
    small_disk("24");
    let (database, folder) = (Database::new_in("small").await, tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "full", &database).await;
    begun(&engine).await;
    assert_eq!(until_answered(&engine, LOOKS_BACK[0]).await["balance"], "5");
    let mut connection = database.connect().await;
    sqlx::raw_sql("CREATE TABLE filler (text text)").execute(&mut connection).await.unwrap();
    let fill = "INSERT INTO filler SELECT repeat(md5(number::text), 50) FROM generate_series(1, 100) AS number";
    let full = loop {
        if let Err(error) = sqlx::query(fill).execute(&mut connection).await {
            break error;
        }
    };
    assert_eq!(full.as_database_error().and_then(|error| error.code()).as_deref(), Some("53100"), "{full}");
    // Until the pages that were begun are full, too.
    let mut number = 0;
    let not_projected = loop {
        let batch = (0..1_000).map(|item| {
            json!({ "type": "topup", "idempotencyKey": format!("k-{number}-{item}"), "amount": "1", "currency": "EUR",
                "sourceAccountId": "world", "destinationAccountId": "alice" })
        });
        let body = json!({ "transactions": batch.collect::<Vec<_>>() });
        let answer = engine.send(http::Method::POST, "/transactions/batch", &body).await;
        let results: serde_json::Value = answer.json().unwrap();
        let all_done = results["results"].as_array().unwrap().iter().all(|result| result["status"] == 200);
        assert!(all_done, "writes go on");
        number += 1;
        assert!(number < 50, "it is not full");
        let answer = engine.get(LOOKS_BACK[1]).await;
        if answer.status == 503 {
            break answer;
        }
        assert_eq!(answer.status, 200);
    };
    assert!(not_projected.headers.contains_key("retry-after"));
    assert!(engine.projection("history").await["lagRecords"].as_u64().unwrap() > 0, "the lag is shown");
    let balance = (5 + number * 1_000).to_string();
    assert_eq!(engine.read("/accounts/alice/balance").await["balance"], balance.as_str());
    sqlx::raw_sql("DROP TABLE filler").execute(&mut connection).await.unwrap();
    assert_eq!(until_answered(&engine, LOOKS_BACK[0]).await["balance"], balance.as_str());
    // Neither would be answered if anything had been left out, and nothing would be verified.
    until_answered(&engine, LOOKS_BACK[2]).await;
    for name in ["balance", "history"] {
        let verified = engine.job(name, "verify").await;
        assert_eq!((&verified["state"], &verified["differences"]), (&json!("done"), &json!(0)), "{name}: {verified}");
    }
    engine.stop().await;
    connection.close().await.unwrap();
    database.drop_it().await;
    small_disk("none");
}
