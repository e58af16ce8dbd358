//! One suite of queries for every read model: a database has to answer each as memory does, from the same journal.

use crate::database::{Database, Engine};
use http::Method;
use serde_json::{Value, json};

const USERS: usize = 9;
const REFERENCES: [&str; 3] = ["plain", "zero\0byte", "back\\slash\\0"];

fn user(random: &mut fastrand::Rng) -> String {
    format!("user-{}", random.usize(..USERS))
}

/// Traffic in which everything happens that changes what a history shows: refusals whose key is used again by a leg, legs
/// that are refused for a while and leave no trace, accounts made under a refused key, refunds of the known and the unknown.
async fn traffic(engine: &Engine, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    engine.account("world", "EXTERNAL").await;
    for number in 0..USERS {
        engine.account(&format!("user-{number}"), "USER").await;
    }
    let mut done: Vec<String> = Vec::new();
    for number in 0..400 {
        let (one, other) = (user(&mut random), user(&mut random));
        let body = json!({
            "idempotencyKey": format!("k-{number}"), "sourceAccountId": one, "destinationAccountId": other,
            "amount": format!("{}.{:02}", random.u32(0..60), random.u32(1..100)), "currency": "EUR",
            "reference": REFERENCES[number % 3], "metadata": { "n\0": number },
        });
        let topup = || {
            json!({ "idempotencyKey": format!("k-{number}"), "sourceAccountId": "world",
            "destinationAccountId": one, "amount": "25", "currency": "EUR" })
        };
        let answer = match random.usize(0..10) {
            0..4 => engine.send(Method::POST, "/transactions/topup", &topup()).await,
            4..7 => engine.send(Method::POST, "/transactions/transfer", &body).await,
            7 => {
                // Refused here or there, then used by the other system: in vain, and for less.
                let mut body = body;
                body["amount"] = json!("1000");
                engine.send(Method::POST, "/transactions/transfer", &body).await;
                body["amount"] = json!("900");
                engine.leg("shadow", "/transactions/transfer", &body).await;
                body["amount"] = json!("0.5");
                engine.leg("shadow", "/transactions/transfer", &body).await
            }
            8 => {
                let named = if done.is_empty() || random.bool() {
                    "no\0thing\\".to_owned()
                } else {
                    random.choice(&done).unwrap().clone()
                };
                let body = json!({ "idempotencyKey": format!("k-{number}"), "transactionId": named, "reason": "r\0" });
                engine.send(Method::POST, "/transactions/refund", &body).await
            }
            _ => {
                let late = format!("late-{number}");
                let mut body = body;
                body["sourceAccountId"] = json!(late);
                engine.send(Method::POST, "/transactions/transfer", &body).await;
                let made = json!({ "idempotencyKey": format!("k-{number}"), "accountId": late, "ownerId": "o",
                    "ownerType": "person", "accountType": "USER", "currency": "EUR" });
                engine.leg("shadow", "/accounts", &made).await
            }
        };
        if let Some(id) =
            answer.json::<Value>().ok().and_then(|answer| Some(answer["transactionId"].as_str()?.to_owned()))
        {
            done.push(id);
        }
    }
}

/// Everything in all pages of a list, and how long each page is.
async fn pages(engine: &Engine, path: &str, cursor: &str, rows: &str) -> Vec<Value> {
    let mut pages = Vec::new();
    let mut next = String::new();
    loop {
        let mut page = engine.read(&format!("{path}{next}")).await;
        pages.push(page[rows].take());
        match page["next"].as_str() {
            Some(place) => next = format!("&{cursor}={place}"),
            None => return pages,
        }
    }
}

/// What an engine answers to the whole suite.
async fn suite(engine: &Engine, times: &[String]) -> Vec<(String, Value)> {
    let mut answers = Vec::new();
    let accounts: Vec<String> = (0..USERS).map(|number| format!("user-{number}")).collect();
    for account in accounts.iter().map(String::as_str).chain(["world"]) {
        for limit in [1, 7, 1000] {
            for filter in ["", "&status=failed", "&type=topup", "&type=transfer&status=completed", "&status=processing"]
            {
                let path = format!("/accounts/{account}/transactions?limit={limit}{filter}");
                let all = pages(engine, &path, "before", "transactions").await;
                answers.push((path, all.into()));
            }
        }
        for at in times {
            let path = format!("/accounts/{account}/balance?at={at}");
            let answer = engine.get(&path).await;
            answers.push((path, json!([answer.status.as_u16(), answer.json::<Value>().unwrap()["balance"]])));
        }
    }
    for since in times.iter().map(|at| format!("&since={at}")).chain([String::new()]) {
        for limit in [13, 1000] {
            let path = format!("/transactions?limit={limit}{since}");
            let all = pages(engine, &path, "after", "transactions").await;
            answers.push((path, all.into()));
        }
    }
    for path in [
        "daily?currency=EUR",
        "daily?currency=USD",
        "trends?currency=EUR&bucket=day",
        "trends?currency=EUR&bucket=month",
    ] {
        let path = format!("/analytics/{path}");
        answers.push((path.clone(), engine.read(&path).await));
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_answers_every_query_as_memory_does() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    let seed =
        std::env::var("CROSSFADE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("replay: CROSSFADE_SEED={seed} cargo test --workspace --test services every_query");
    let engine = Engine::start(folder.path(), "alike", &database).await;
    engine.until_open().await;
    traffic(&engine, seed).await;
    let all = engine.read("/transactions?limit=1000").await;
    let all = all["transactions"].as_array().unwrap();
    let times: Vec<String> = all.iter().step_by(40).map(|row| row["createdAt"].as_str().unwrap().to_owned()).collect();
    let in_database = suite(&engine, &times).await;
    let first = engine.read("/accounts/user-0/transactions?limit=5").await;
    engine.stop().await;
    let engine = Engine::start_on(folder.path(), "alike", None).await;
    engine.until_open().await;
    let in_memory = suite(&engine, &times).await;
    for (database, memory) in in_database.iter().zip(&in_memory) {
        assert_eq!(database, memory);
    }
    assert!(all.len() > 300 && in_memory.len() > 200, "{} {}", all.len(), in_memory.len());
    // And everything happened that is hard to follow.
    let hidden = "SELECT count(*) FILTER (WHERE hidden), count(*) FILTER (WHERE instead_of IS NOT NULL)
                  FROM projections.transaction_history_rows";
    let hidden: (i64, i64) = sqlx::query_as(hidden).fetch_one(&mut database.connect().await).await.unwrap();
    assert!(hidden.0 > 20 && hidden.1 > 10, "{hidden:?}");
    // A cursor means the same to both.
    let rest = format!("&before={}", first["next"].as_str().unwrap());
    let whole = engine.read("/accounts/user-0/transactions?limit=1000").await;
    let rest = engine.read(&format!("/accounts/user-0/transactions?limit=1000{rest}")).await;
    assert_eq!(whole["transactions"].as_array().unwrap()[5..], rest["transactions"].as_array().unwrap()[..]);
    engine.stop().await;
    database.drop_it().await;
}
