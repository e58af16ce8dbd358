//! Projections in a real PostgreSQL: what they say, and what keeps them from saying it.

use crate::database::{Database, Engine, until_answered};
use engine::postgres::{Error, Store};
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::BTreeMap;

const USERS: usize = 12;

/// Money moves between accounts of all shards, refusals among it; the seed is printed.
async fn traffic(engine: &Engine, prefix: &str, requests: usize) {
    let seed = fastrand::u64(..);
    eprintln!("the traffic's seed is {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for number in 0..requests {
        let user = |random: &mut fastrand::Rng| format!("user-{}", random.usize(..USERS));
        let (one, other) = (user(&mut random), user(&mut random));
        let amount = format!("{}.{:02}", random.u32(0..40), random.u32(1..100));
        let key = format!("{prefix}-{number}");
        match random.usize(0..3) {
            0 => engine.transact("topup", &key, "world", &one, &amount).await,
            1 => engine.transact("withdraw", &key, &one, "world", &amount).await,
            _ => engine.transact("transfer", &key, &one, &other, &amount).await,
        };
    }
}

async fn accounts(engine: &Engine) {
    engine.account("world", "EXTERNAL").await;
    for number in 0..USERS {
        engine.account(&format!("user-{number}"), "USER").await;
    }
}

/// How an account's trail says it stood after each of its events: per aggregate, so that stripes can be added up.
async fn trail(engine: &Engine, id: &str) -> Vec<(String, String, Decimal)> {
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        let page = engine.read(&format!("/accounts/{id}/events?fromVersion={from}&limit=1000")).await;
        for event in page["events"].as_array().unwrap() {
            if let Some(balance) = event["data"]["balanceAfter"].as_str() {
                let text = |name: &str| event[name].as_str().unwrap().to_owned();
                found.push((text("timestamp"), text("aggregateId"), balance.parse().unwrap()));
            }
        }
        match page["next"].as_u64() {
            Some(next) => from = next,
            None => break,
        }
    }
    found.sort();
    found
}

fn time(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balances_at_any_time_are_those_of_the_trail() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "projected", &database).await;
    engine.until_open().await;
    accounts(&engine).await;
    traffic(&engine, "first", 300).await;
    // What is applied once stays so, whatever is applied by the next process.
    engine.stop().await;
    let engine = Engine::start(folder.path(), "projected", &database).await;
    engine.until_open().await;
    traffic(&engine, "second", 100).await;
    let mut asked = 0;
    for id in ["world".to_owned()].into_iter().chain((0..USERS).map(|number| format!("user-{number}"))) {
        let trail = trail(&engine, &id).await;
        let mut parts: BTreeMap<String, Decimal> = BTreeMap::new();
        for (index, (at, aggregate, balance)) in trail.iter().enumerate() {
            parts.insert(aggregate.clone(), *balance);
            if trail.get(index + 1).is_some_and(|(next, ..)| time(next) == time(at)) {
                continue;
            }
            let shown = engine.read(&format!("/accounts/{id}/balance?at={at}")).await;
            let expected: Decimal = parts.values().sum();
            assert_eq!(shown["balance"].as_str().unwrap().parse::<Decimal>().unwrap(), expected, "{id} at {at}");
            asked += 1;
        }
        assert_eq!(engine.get(&format!("/accounts/{id}/balance?at=2020-01-01T00:00:00Z")).await.status, 404, "{id}");
    }
    assert!(asked > 400, "{asked}");
    check_views(&engine, &database).await;
    engine.stop().await;
    database.drop_it().await;
}

/// The views say the same as the engine.
async fn check_views(engine: &Engine, database: &Database) {
    let mut connection = database.connect().await;
    let rows = "SELECT account_id, balance, currency, version FROM projections.account_balance ORDER BY account_id";
    let rows = sqlx::query(rows).fetch_all(&mut connection).await.unwrap();
    let accounts = engine.read("/accounts?limit=1000").await;
    let accounts: Vec<&Value> = accounts["accounts"].as_array().unwrap().iter().collect();
    assert_eq!(rows.len(), accounts.len());
    for (row, account) in rows.iter().zip(accounts) {
        let (id, balance, currency): (String, Decimal, String) = (row.get(0), row.get(1), row.get(2));
        assert_eq!(account["accountId"], *id);
        assert_eq!(account["balance"].as_str().unwrap().parse::<Decimal>().unwrap(), balance, "{id}");
        assert_eq!(account["currency"], *currency);
        assert_eq!(account["version"].as_i64().unwrap(), row.get::<i64, _>(3), "{id}");
    }
    let sum = "SELECT sum(balance) FROM projections.account_balance";
    let sum: Decimal = sqlx::query_scalar(sum).fetch_one(&mut connection).await.unwrap();
    assert!(sum.is_zero(), "{sum}");
    // Every version of every stripe has a row whose time ends where the next one's begins.
    let broken = "SELECT count(*) FROM (
                      SELECT valid_from, valid_to, lead(valid_from) OVER stripe AS next
                      FROM projections.balance_history WINDOW stripe AS (PARTITION BY account_id, shard ORDER BY version)
                  ) AS rows WHERE valid_to IS DISTINCT FROM next OR valid_to < valid_from";
    let broken: i64 = sqlx::query_scalar(broken).fetch_one(&mut connection).await.unwrap();
    assert_eq!(broken, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_writes_go_on_and_queries_that_look_back_wait() {
    let (database, folder) = (Database::planned(), tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "late", &database).await;
    engine.until_open().await;
    accounts(&engine).await;
    assert_eq!(engine.transact("topup", "k", "world", "user-0", "5").await.status, 200);
    assert_eq!(engine.read("/accounts/user-0/balance").await["balance"], "5");
    let looks_back = "/accounts/user-0/balance?at=2100-01-01T00:00:00Z";
    assert_eq!(engine.get(looks_back).await.status, 503);
    assert_eq!(engine.get(&format!("{looks_back}&stale=true")).await.status, 503);
    assert_eq!(engine.get("/readyz").await.status, 200, "it writes");
    let listed = engine.control(http::Method::GET, "/internal/projections").await;
    let said = String::from_utf8_lossy(&listed.body).into_owned();
    assert!(listed.status == 503 && said.contains("cannot connect") && said.contains("does not exist"), "{said}");
    database.create().await;
    let found = async {
        while engine.get(looks_back).await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), found).await.expect("the database is found");
    assert_eq!(engine.read(looks_back).await["balance"], "5");
    engine.stop().await;
    database.drop_it().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_connections_and_says_nothing_does_not_keep_an_engine_from_starting() {
    let silent = host::net::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = format!("postgres://u:p@{}/d", silent.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start_on(folder.path(), "silent", Database::config_of(&url)).await;
    engine.until_open().await;
    accounts(&engine).await;
    assert_eq!(engine.transact("topup", "k", "world", "user-0", "5").await.status, 200);
    assert_eq!(engine.get("/accounts/user-0/balance?at=2100-01-01T00:00:00Z").await.status, 503);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_newer_program_or_another_ledger_is_refused() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let store = Store::new(&database.config()).unwrap();
    let pending: Vec<i64> = store.pending().await.unwrap().into_iter().map(|(version, _)| version).collect();
    assert_eq!(pending, [1, 2, 3, 4], "every file of migrations/");
    let engine = Engine::start(folder.path(), "one", &database).await;
    engine.until_open().await;
    engine.stop().await;
    assert_eq!(store.pending().await.unwrap(), []);
    let other = tempfile::tempdir().unwrap();
    let refused = Engine::start(other.path(), "other", &database).await.ended().await;
    assert!(matches!(refused, Err(engine::Error::Database(Error::OtherLedger { .. }))), "{refused:?}");
    let newer = "INSERT INTO migrations_of_crossfade (version, description, success, checksum, execution_time)
                 VALUES (9999, 'from the future', true, '', 0)";
    sqlx::query(newer).execute(&mut database.connect().await).await.unwrap();
    let refused = Engine::start(folder.path(), "one", &database).await.ended().await;
    assert!(matches!(refused, Err(engine::Error::Database(Error::Newer(9999)))), "{refused:?}");
    database.drop_it().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_made_from_another_journal_is_never_asked() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "lost", &database).await;
    engine.until_open().await;
    accounts(&engine).await;
    for number in 0..5 {
        engine.transact("topup", &format!("k{number}"), "world", "user-0", "5").await;
    }
    let looks_back = "/accounts/user-0/balance?at=2100-01-01T00:00:00Z";
    assert_eq!(engine.read(looks_back).await["balance"], "25");
    engine.stop().await;
    // The same ledger by name, with a shorter journal, and then with one that has grown past it.
    let other = tempfile::tempdir().unwrap();
    let engine = Engine::start(other.path(), "lost", &database).await;
    engine.until_open().await;
    accounts(&engine).await;
    for number in 0..20 {
        engine.transact("topup", &format!("other-{number}"), "world", "user-0", "1").await;
        if number % 10 == 0 {
            let answer = engine.get(looks_back).await;
            assert_eq!(answer.status, 503, "{number}: {}", String::from_utf8_lossy(&answer.body));
            assert_eq!(engine.get(&format!("{looks_back}&stale=true")).await.status, 503, "{number}");
        }
    }
    engine.stop().await;
    let engine = Engine::start(other.path(), "lost", &database).await;
    engine.until_open().await;
    assert_eq!(engine.get(looks_back).await.status, 503);
    assert_eq!(engine.read("/accounts/user-0/balance").await["balance"], "20");
    engine.stop().await;
    database.drop_it().await;
}

/// The drill of docs/operations.md: projections need no backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_database_is_made_again_from_the_log() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "drilled", &database).await;
    engine.until_open().await;
    accounts(&engine).await;
    traffic(&engine, "before", 200).await;
    let questions =
        ["/transactions?limit=1000", "/accounts/user-1/transactions?limit=1000", "/analytics/daily?currency=EUR"];
    let mut before = Vec::new();
    for question in questions {
        before.push(engine.read(question).await);
    }
    lose_all(&mut database.connect().await).await;
    assert_eq!(engine.transact("topup", "meanwhile", "world", "user-0", "5").await.status, 200, "writes go on");
    assert_eq!(engine.get(questions[0]).await.status, 503, "and nothing is invented");
    engine.stop().await;
    let engine = Engine::start(folder.path(), "drilled", &database).await;
    engine.until_open().await;
    let all = engine.read(questions[0]).await;
    let (all, earlier) = (all["transactions"].as_array().unwrap(), before[0]["transactions"].as_array().unwrap());
    assert_eq!((all[..earlier.len()].to_vec(), all.len()), (earlier.clone(), earlier.len() + 1));
    assert_eq!(engine.read(questions[1]).await, before[1]);
    engine.stop().await;
    database.drop_it().await;
}

/// Drops all tables at once, under load and with what was kept open. Whoever reads or writes just then locks them in
/// another order: if PostgreSQL breaks a deadlock here, nothing was dropped yet.
async fn lose_all(connection: &mut PgConnection) {
    const DEADLOCK_DETECTED: &str = "40P01";
    let drop = "DROP SCHEMA projections CASCADE; DROP SCHEMA projections_shape CASCADE; DROP SCHEMA balance_1 CASCADE;
         DROP SCHEMA history_1 CASCADE; DROP TABLE migrations_of_crossfade";
    while let Err(error) = sqlx::raw_sql(drop).execute(&mut *connection).await {
        let code = error.as_database_error().and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some(DEADLOCK_DETECTED), "{error}");
    }
}

/// Waits until somebody waits for the table of balances in this mode.
async fn until_one_waits(looking: &mut PgConnection, mode: &str) {
    let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = $1
                     AND relation = 'balance_1.balance_history'::regclass)";
    let waits =
        async { while !sqlx::query_scalar::<_, bool>(waits).bind(mode).fetch_one(&mut *looking).await.unwrap() {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), waits).await.expect("it waits");
}

/// As after a failover to a standby that lacks what came last: nothing comes any more, and the engine runs on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_knows_less_than_before_is_brought_up_again_and_not_believed() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "standby", &database).await;
    engine.until_open().await;
    engine.account("world", "EXTERNAL").await;
    engine.account("alice", "USER").await;
    let now = "/accounts/alice/balance?at=2100-01-01T00:00:00Z";
    assert_eq!(engine.transact("topup", "k1", "world", "alice", "1").await.status, 200);
    assert_eq!(engine.read(now).await["balance"], "1");
    let mut connection = database.connect().await;
    let tables = ["projections.checkpoint", "balance_1.account_balance", "balance_1.balance_history"];
    for (number, table) in tables.iter().enumerate() {
        let keep = format!("CREATE TABLE kept_{number} AS SELECT * FROM {table}");
        sqlx::raw_sql(AssertSqlSafe(keep)).execute(&mut connection).await.unwrap();
    }
    assert_eq!(engine.transact("topup", "k2", "world", "alice", "2").await.status, 200);
    assert_eq!(engine.read(now).await["balance"], "3");
    let back = tables.iter().enumerate().map(|(number, table)| {
        let which = if number == 0 { "WHERE projection = 'balance'" } else { "" };
        format!("DELETE FROM {table} {which}; INSERT INTO {table} SELECT * FROM kept_{number} {which};")
    });
    let back = format!("BEGIN; {}", back.collect::<String>());
    sqlx::raw_sql(AssertSqlSafe(back)).execute(&mut connection).await.unwrap();
    // Whoever projects is kept from bringing it up again: it waits behind this one, who waits behind the one above.
    let (mut holding, mut looking) = (database.connect().await, database.connect().await);
    let hold = sqlx::raw_sql("BEGIN; LOCK TABLE balance_1.balance_history IN SHARE MODE").execute(&mut holding);
    let known_less = async {
        until_one_waits(&mut looking, "ShareLock").await;
        sqlx::raw_sql("COMMIT").execute(&mut connection).await.unwrap();
    };
    tokio::join!(hold, known_less).0.unwrap();
    let stale = format!("{now}&stale=true");
    let is_refused = async |engine: &Engine| {
        for path in [stale.as_str(), now] {
            assert_eq!(engine.get(path).await.status, 503, "{path}");
        }
    };
    is_refused(&engine).await;
    until_one_waits(&mut looking, "RowExclusiveLock").await;
    is_refused(&engine).await;
    engine.stop().await;
    // Nor by one who has just started and never knew better.
    let engine = Engine::start(folder.path(), "standby", &database).await;
    engine.until_open().await;
    is_refused(&engine).await;
    until_one_waits(&mut looking, "RowExclusiveLock").await;
    is_refused(&engine).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut holding).await.unwrap();
    assert_eq!(until_answered(&engine, &stale).await["balance"], "3");
    assert_eq!(until_answered(&engine, now).await["balance"], "3");
    let job = engine.job("balance", "verify").await;
    assert_eq!((&job["state"], &job["differences"]), (&serde_json::json!("done"), &serde_json::json!(0)), "{job}");
    // Before all times there is nothing, as in memory.
    assert_eq!(engine.get("/accounts/alice/balance?at=-005000-01-02T00:00:00Z").await.status, 404);
    let all = engine.read("/transactions?since=-005000-01-02T00:00:00Z").await;
    assert_eq!(all["transactions"].as_array().unwrap().len(), 2);
    engine.read("/analytics/daily?currency=EUR&from=-005000-01-01&to=-005000-01-02").await;
    engine.stop().await;
    database.drop_it().await;
}

/// The engine's address of the database leads to another one: of another ledger, or of this one as its journal went elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_database_is_neither_believed_nor_written() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "foreign", &database).await;
    engine.until_open().await;
    engine.account("world", "EXTERNAL").await;
    engine.account("alice", "USER").await;
    assert_eq!(engine.transact("topup", "k1", "world", "alice", "1").await.status, 200);
    let now = "/accounts/alice/balance?at=2100-01-01T00:00:00Z";
    let looks = [now, "/accounts/alice/transactions", "/transactions", "/analytics/daily?currency=EUR"];
    for path in looks {
        engine.read(path).await;
    }
    let mut connection = database.connect().await;
    let named = |ledger| AssertSqlSafe(format!("UPDATE projections.generation SET ledger = '{ledger}'"));
    sqlx::raw_sql(named("another")).execute(&mut connection).await.unwrap();
    for path in looks {
        for stale in ["", "stale=true"] {
            let path = format!("{path}{}{stale}", if path.contains('?') { "&" } else { "?" });
            assert_eq!(engine.get(&path).await.status, 503, "{path}");
        }
    }
    sqlx::raw_sql(named("foreign")).execute(&mut connection).await.unwrap();
    assert_eq!(engine.read(now).await["balance"], "1");
    // As far as this journal, and another one: in its notes the last outcome has another digest.
    let elsewhere = "CREATE TABLE kept AS SELECT * FROM projections.checkpoint;
                     UPDATE projections.checkpoint SET note = regexp_replace(note, '[^ ]+$', repeat('a', 64))";
    sqlx::raw_sql(elsewhere).execute(&mut connection).await.unwrap();
    let rows = "SELECT count(*) FROM balance_1.balance_history";
    let before: i64 = sqlx::query_scalar(rows).fetch_one(&mut connection).await.unwrap();
    assert_eq!(engine.transact("topup", "k2", "world", "alice", "2").await.status, 200);
    assert_eq!(engine.get(now).await.status, 503);
    assert_eq!(sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut connection).await.unwrap(), before);
    sqlx::raw_sql(
        "UPDATE projections.checkpoint SET note = kept.note FROM kept
                   WHERE (kept.projection, kept.shard) = (checkpoint.projection, checkpoint.shard)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    assert_eq!(until_answered(&engine, now).await["balance"], "3");
    engine.stop().await;
    database.drop_it().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_cannot_be_are_refused() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let engine = Engine::start(folder.path(), "checked", &database).await;
    engine.until_open().await;
    engine.account("world", "EXTERNAL").await;
    engine.account("alice", "USER").await;
    assert_eq!(engine.transact("topup", "k", "world", "alice", "1").await.status, 200);
    engine.read("/accounts/alice/balance?at=2100-01-01T00:00:00Z").await;
    engine.read("/transactions").await;
    let mut connection = database.connect().await;
    for column in [
        "balance_1.account_balance SET balance",
        "balance_1.account_balance SET reserved",
        "balance_1.balance_history SET balance",
        "balance_1.balance_history SET reserved",
        "history_1.transaction_history SET amount",
        "history_1.daily_totals SET sum",
    ] {
        for value in ["'NaN'", "'Infinity'", "1e30", "0.000000001"] {
            let update = AssertSqlSafe(format!("UPDATE {column} = {value}"));
            let refused = sqlx::raw_sql(update).execute(&mut connection).await.expect_err(column);
            let code = refused.as_database_error().and_then(|error| error.code()).unwrap().into_owned();
            assert_eq!(code, "23514", "{column} = {value}: {refused}");
        }
    }
    engine.stop().await;
    database.drop_it().await;
}
