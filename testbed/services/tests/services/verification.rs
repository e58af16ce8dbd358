//! Rows that somebody changed: found, named, alarmed about, and mended while queries are answered.

use crate::database::{Database, Engine};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use wire::control::LogLine;
use wire::dead_letter::DeadLetter;

const USERS: usize = 6;

async fn traffic(engine: &Engine) {
    engine.account("world", "EXTERNAL").await;
    for number in 0..USERS {
        engine.account(&format!("user-{number}"), "USER").await;
    }
    for number in 0..60 {
        let (one, other) = (format!("user-{}", number % USERS), format!("user-{}", (number + 1) % USERS));
        engine.transact("topup", &format!("t-{number}"), "world", &one, "3").await;
        engine.transact("transfer", &format!("m-{number}"), &one, &other, "1").await;
        engine.transact("withdraw", &format!("w-{number}"), &one, "world", "1000").await;
    }
}

async fn change(database: &Database, statement: &str) {
    let changed = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut database.connect().await).await;
    assert_eq!(changed.unwrap().rows_affected(), 1, "{statement}");
}

/// Waits until the samples alone say that so many rows are wrong, or none.
async fn until_sampled(engine: &Engine, projection: &str, wrong: bool) {
    eprintln!("{projection}: until samples are {}", if wrong { "wrong" } else { "right" });
    let said = async {
        while (engine.projection(projection).await["mismatchedRows"].as_u64().unwrap() > 0) != wrong {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), said).await.expect("a sample meets it in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_row_is_named_alarmed_about_and_mended_while_queries_go_on() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let engine = Arc::new(Engine::start(folder.path(), "verified", &database).await);
    engine.until_open().await;
    traffic(&engine).await;
    for projection in ["balance", "history"] {
        let job = engine.job(projection, "verify").await;
        assert_eq!((&job["state"], &job["differences"]), (&json!("done"), &json!(0)), "{job}");
        assert_eq!(engine.projection(projection).await["generation"], 1, "a verification leaves nothing behind");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU64::new(0));
    let (asking, stopped, count) = (Arc::clone(&engine), Arc::clone(&stop), Arc::clone(&asked));
    let queries = tokio::spawn(async move {
        let right = asking.read("/accounts/user-3/balance").await["balance"].clone();
        while !stopped.load(Ordering::Relaxed) {
            let balance = asking.read("/accounts/user-3/balance?at=2100-01-01T00:00:00Z").await;
            assert_eq!(balance["balance"], right);
            let history = asking.read("/accounts/user-3/transactions?limit=1000").await;
            assert_eq!(history["transactions"].as_array().unwrap().len(), 40);
            count.fetch_add(2, Ordering::Relaxed);
        }
    });
    for (projection, statement, table, expected) in [
        (
            "balance",
            "UPDATE balance_1.balance_history SET balance = balance + 0.5 WHERE account_id = 'user-0' AND version = 5",
            "balance_history",
            ("balance", true, true),
        ),
        (
            "history",
            "UPDATE history_1.transaction_history SET shown = replace(shown, '\"amount\":\"3\"', '\"amount\":\"4\"')
             WHERE idempotency_key = 't-7'",
            "transaction_history",
            ("shown", true, true),
        ),
        (
            "history",
            "UPDATE history_2.transaction_history SET shown = '{}' WHERE idempotency_key = 't-11'",
            "transaction_history",
            ("shown", true, true),
        ),
        (
            "history",
            "DELETE FROM history_3.transaction_history WHERE idempotency_key = 'w-10'",
            "transaction_history",
            ("idempotency_key", false, true),
        ),
        (
            "balance",
            "UPDATE balance_2.account_balance SET balance = balance + 100 WHERE account_id = 'user-0'",
            "account_balance",
            ("balance", true, true),
        ),
        (
            "balance",
            "INSERT INTO balance_3.account_balance SELECT 'nobody', shard, balance, reserved, currency, version, updated_at
             FROM balance_3.account_balance WHERE account_id = 'user-1'",
            "account_balance",
            ("account_id", true, false),
        ),
    ] {
        change(&database, statement).await;
        // A row that belongs to no account is found by the whole verification only.
        if !statement.contains("nobody") {
            until_sampled(&engine, projection, true).await;
        }
        let job = engine.job(projection, "verify").await;
        assert_eq!((&job["state"], &job["differences"]), (&json!("done"), &json!(1)), "{job}");
        let shown = &job["shown"][0];
        let (column, in_projection, in_log) = expected;
        assert_eq!(shown["table"], table, "{job}");
        let has = |side: &Value| side.get(column).is_some();
        assert_eq!((has(&shown["projection"]), has(&shown["log"])), (in_projection, in_log), "{job}");
        assert!(engine.projection(projection).await["mismatchedRows"].as_u64().unwrap() > 0);
        let before = asked.load(Ordering::Relaxed);
        let job = engine.job(projection, "rebuild").await;
        assert_eq!(job["state"], "done", "{job}");
        until_sampled(&engine, projection, false).await;
        let job = engine.job(projection, "verify").await;
        assert_eq!(job["differences"], 0, "{job}");
        assert!(asked.load(Ordering::Relaxed) > before, "queries go on meanwhile");
    }
    // The new builds are followed as the old ones were.
    assert_eq!(engine.transact("topup", "after", "world", "user-1", "3").await.status, 200);
    let history = engine.read("/accounts/user-1/transactions?limit=1").await;
    assert_eq!(history["transactions"][0]["trackingId"], "after");
    stop.store(true, Ordering::Relaxed);
    queries.await.unwrap();
    let left = "SELECT count(*) FROM information_schema.schemata WHERE schema_name ~ '^(balance|history)_[0-9]+$'";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&mut database.connect().await).await.unwrap();
    assert_eq!(left, 2, "one build of each");
    Arc::into_inner(engine).unwrap().stop().await;
    database.drop_it().await;
}

/// Where the outcome stands that a projection left out, by its dead letter.
async fn letter(engine: &Engine, projection: &str) -> (u64, u64) {
    let topic = format!("billing.journal.{projection}");
    let path = "/internal/log/billing.dead-letter/0?from=0&follow=false";
    let found = async {
        loop {
            let lines = engine.control(http::Method::GET, path).await.body;
            let letters = std::str::from_utf8(&lines).unwrap().lines();
            let letter = |line: &str| -> DeadLetter {
                let line: LogLine = serde_json::from_str(line).unwrap();
                wire::stored::decode(&BASE64.decode(line.bytes).unwrap()).unwrap()
            };
            if let Some(found) = letters.map(letter).find(|letter| letter.origin.topic == topic) {
                return (u64::from(found.origin.partition), found.origin.offset);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.expect("there is a letter")
}

/// An outcome that the database does not take holds up nobody else: it is a dead letter, and what it is about is not answered
/// from there until the projection was made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_does_not_take_is_left_out_and_said() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "poisoned", &database).await;
    engine.until_open().await;
    traffic(&engine).await;
    let looks_back = |user: &str| format!("/accounts/{user}/balance?at=2100-01-01T00:00:00Z");
    let history = |user: &str| format!("/accounts/{user}/transactions");
    // Reads wait for what was answered before: from here on both have all of it.
    for path in [looks_back("user-2"), history("user-2")] {
        assert_eq!(engine.get(&path).await.status, 200);
    }
    let mut connection = database.connect().await;
    for refuse in [
        "ALTER TABLE balance_1.account_balance ADD CHECK (account_id <> 'user-2') NOT VALID",
        "ALTER TABLE history_1.transaction_history ADD CHECK (idempotency_key <> 'bad') NOT VALID",
    ] {
        sqlx::raw_sql(AssertSqlSafe(refuse)).execute(&mut connection).await.unwrap();
    }
    assert_eq!(engine.transact("topup", "bad", "world", "user-2", "1").await.status, 200);
    assert_eq!(engine.transact("topup", "good", "world", "user-4", "1").await.status, 200);
    for path in [looks_back("user-2"), history("user-2"), "/transactions".to_owned()] {
        let answer = engine.get(&path).await;
        assert_eq!(answer.status, 503, "{path}: {}", String::from_utf8_lossy(&answer.body));
    }
    assert_eq!(
        engine.read(&looks_back("user-4")).await["balance"],
        engine.read("/accounts/user-4/balance").await["balance"]
    );
    assert_eq!(engine.read(&history("user-4")).await["transactions"][0]["trackingId"], "good");
    // Later outcomes of that account miss what was left out, and are left out as well.
    assert_eq!(engine.transact("topup", "later", "world", "user-2", "1").await.status, 200);
    assert_eq!(engine.get(&looks_back("user-2")).await.status, 503);
    let letters = [letter(&engine, "balance").await, letter(&engine, "history").await];
    assert_eq!(letters[0], letters[1], "of one outcome each says it for itself");
    for projection in ["balance", "history"] {
        let job = engine.job(projection, "verify").await;
        assert!(job["differences"].as_u64().unwrap() > 0, "{job}");
        let named = |shown: &Value| shown["table"] == "unverified" && shown["row"].as_str().unwrap().contains("user-2");
        assert!(job["shown"].as_array().unwrap().iter().any(named), "{job}");
        let job = engine.job(projection, "rebuild").await;
        assert_eq!((&job["state"], &job["differences"]), (&json!("done"), &json!(0)), "{job}");
    }
    let balance = engine.read("/accounts/user-2/balance").await["balance"].clone();
    assert_eq!(engine.read(&looks_back("user-2")).await["balance"], balance);
    assert_eq!(engine.read(&history("user-2")).await["transactions"][0]["trackingId"], "later");
    assert!(!engine.read("/transactions?limit=1000").await["transactions"].as_array().unwrap().is_empty());
    engine.stop().await;
    database.drop_it().await;
}

/// Somebody else builds, or was killed while building: one is waited for, what is left of the other is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_builds_at_a_time_and_what_a_dead_one_left_is_dropped() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "built", &database).await;
    engine.until_open().await;
    traffic(&engine).await;
    let mut other = database.connect().await;
    sqlx::raw_sql("SELECT pg_advisory_lock(hashtext('crossfade builds balance'))").execute(&mut other).await.unwrap();
    let job = engine.job("balance", "rebuild").await;
    assert_eq!(job["state"], "failed", "{job}");
    assert!(job["error"].as_str().unwrap().contains("is being built or verified already"), "{job}");
    assert_eq!(engine.job("history", "rebuild").await["state"], "done", "the other one is not concerned");
    // It dies: its connection ends, and its build stays.
    let left = "INSERT INTO projections.generation (projection, number, ledger, shards)
                SELECT 'balance', 77, ledger, shards FROM projections.generation WHERE projection = 'balance';
                CREATE SCHEMA balance_77; CREATE TABLE balance_77.account_balance (account_id text);
                COMMENT ON SCHEMA balance_77 IS 'a build of a projection of crossfade'";
    sqlx::raw_sql(left).execute(&mut other).await.unwrap();
    // What only has such a name is somebody else's.
    sqlx::raw_sql("CREATE SCHEMA balance_2025; CREATE TABLE balance_2025.kept ()").execute(&mut other).await.unwrap();
    sqlx::Connection::close(other).await.unwrap();
    engine.stop().await;
    let engine = Engine::start(folder.path(), "built", &database).await;
    engine.until_open().await;
    let mut connection = database.connect().await;
    let dropped = async {
        let left = "SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'balance_77'";
        while sqlx::query_scalar::<_, i64>(left).fetch_one(&mut connection).await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), dropped).await.expect("it is dropped");
    assert_eq!(engine.job("balance", "rebuild").await["state"], "done");
    assert_eq!(engine.job("balance", "verify").await["differences"], 0);
    // One that cannot go on meanwhile, and a second one in the same process.
    sqlx::raw_sql("BEGIN; LOCK TABLE projections.generation").execute(&mut connection).await.unwrap();
    let path = "/internal/projections/balance/rebuild";
    assert_eq!(engine.control(http::Method::POST, path).await.status, 202);
    let second = engine.control(http::Method::POST, path).await;
    let said = String::from_utf8_lossy(&second.body).into_owned();
    assert!(second.status == 409 && said.contains("is being built or verified already"), "{} {said}", second.status);
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    let ended = async {
        loop {
            let job = engine.projection("balance").await["job"].take();
            if job["state"] != "running" {
                break job;
            }
            tokio::task::yield_now().await;
        }
    };
    let job = tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it ends");
    assert_eq!(job["state"], "done", "{job}");
    assert!(engine.projection("balance").await["generation"].as_u64().unwrap() > 2025);
    sqlx::raw_sql("SELECT FROM balance_2025.kept").execute(&mut connection).await.expect("it is still there");
    engine.stop().await;
    database.drop_it().await;
}

/// The database takes less than it did: a build without that is no better than the one that has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_leaves_out_more_does_not_take_the_place_of_the_live_one() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "stricter", &database).await;
    engine.until_open().await;
    traffic(&engine).await;
    let mut connection = database.connect().await;
    let stricter = "ALTER TABLE projections_shape.transaction_history ADD CHECK (idempotency_key <> 't-7')";
    sqlx::raw_sql(stricter).execute(&mut connection).await.unwrap();
    // Nor does it say what is wrong in that one: a repair would take it for that.
    for what in ["verify", "rebuild"] {
        let job = engine.job("history", what).await;
        assert_eq!(job["state"], "failed", "{job}");
        assert!(job["error"].as_str().unwrap().contains("leaves out something about"), "{job}");
    }
    let projection = engine.projection("history").await;
    assert_eq!((&projection["generation"], &projection["mismatchedRows"]), (&json!(1), &json!(0)), "{projection}");
    assert!(!engine.read("/transactions?limit=1000").await["transactions"].as_array().unwrap().is_empty());
    // More is wrong in the live one by now, and known to be.
    let known = "UPDATE projections.generation SET mismatched_rows = 100 WHERE projection = 'history'";
    change(&database, known).await;
    let job = engine.job("history", "rebuild").await;
    assert_eq!(job["state"], "done", "{job}");
    assert!(job["differences"].as_u64().unwrap() > 0, "{job}");
    engine.stop().await;
    database.drop_it().await;
}
