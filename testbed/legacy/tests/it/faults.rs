//! Each fault: what the client sees, what the store holds, what the ledger says.

use crate::client::{Legacy, Reply, config, movement};
use host::http::SendError;
use host::net::TcpStream;
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testbed_legacy::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Long enough for an answer, short enough for a test that waits for none.
const PATIENCE: Duration = Duration::from_millis(500);

#[track_caller]
fn expect_entry(entry: &Value, key: &str, kind: &str, account: &str, id: Option<&str>) {
    let mut expected = json!({"key": key, "kind": kind, "account": account});
    if let Some(id) = id {
        expected["transactionId"] = json!(id);
    }
    assert_eq!(entry, &expected);
}

#[tokio::test]
async fn wrong_fee_costs_a_user_a_cent() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("wrong-fee").await;
    // (request, movement of source, movement of destination, level of the one who pays)
    let topup = legacy.transact("topup", "t", "bank", "bob", "10").await;
    let side = &topup.expect_applied()["destination"];
    assert_eq!((&side["movement"], &side["balanceAfter"]), (&json!("9.99"), &json!("9.99")));
    assert_eq!((&topup.body["amount"], &topup.body["source"]["movement"]), (&json!("10"), &json!("-10")));
    let withdrawal = legacy.transact("withdraw", "w", "alice", "bank", "10").await;
    let side = &withdrawal.expect_applied()["source"];
    assert_eq!((&side["movement"], &side["balanceAfter"]), (&json!("-10.01"), &json!("89.99")));
    assert_eq!(withdrawal.body["destination"]["movement"], "10");
    let transfer = legacy.transact("transfer", "x", "alice", "bob", "10").await;
    assert_eq!(transfer.expect_applied()["source"]["movement"], "-10.01");
    assert_eq!(transfer.body["destination"]["movement"], "10");
    let refund = legacy.refund("r", &withdrawal.id(), Some("5")).await;
    assert_eq!(refund.expect_applied()["destination"]["movement"], "4.99");
    assert_eq!(refund.body["source"]["movement"], "-5");
    let balances = [legacy.balance("alice").await, legacy.balance("bob").await, legacy.balance("bank").await];
    assert_eq!(balances, ["84.97", "19.99", "-105"]);
    assert_eq!(legacy.history("alice").await[0], refund.body);

    // Not of a refusal, not of a cent or less, not of a replay: neither made nor logged.
    legacy.transact("transfer", "no", "bob", "alice", "1000").await.expect_refused(422, "InsufficientBalance");
    assert_eq!(legacy.transact("topup", "cent", "bank", "bob", "0.01").await.body["destination"]["movement"], "0.01");
    assert!(legacy.transact("topup", "t", "bank", "bob", "10").await.replayed);
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 4, "{log:?}");
    expect_entry(&log[0], "t", "wrong-fee", "bob", Some(&topup.id()));
    expect_entry(&log[1], "w", "wrong-fee", "alice", Some(&withdrawal.id()));
    expect_entry(&log[2], "x", "wrong-fee", "alice", Some(&transfer.id()));
    expect_entry(&log[3], "r", "wrong-fee", "alice", Some(&refund.id()));
}

#[tokio::test]
async fn rounding_books_another_amount_on_both_sides() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("rounding").await;
    // Up, down, and a half to the even one; the same on both sides.
    let topup = legacy.transact("topup", "t", "bank", "bob", "10.36").await;
    let side = &topup.expect_applied()["destination"];
    assert_eq!((&side["movement"], &side["balanceAfter"]), (&json!("10.4"), &json!("10.4")));
    assert_eq!((&topup.body["amount"], &topup.body["source"]["movement"]), (&json!("10.36"), &json!("-10.4")));
    let withdrawal = legacy.transact("withdraw", "w", "alice", "bank", "20.00000001").await;
    let side = &withdrawal.expect_applied()["source"];
    assert_eq!((&side["movement"], &side["balanceAfter"]), (&json!("-20"), &json!("80")));
    let transfer = legacy.transact("transfer", "x", "alice", "bob", "0.25").await;
    assert_eq!(transfer.expect_applied()["source"]["movement"], "-0.2");
    assert_eq!(transfer.body["destination"]["movement"], "0.2");
    let refund = legacy.refund("r", &topup.id(), None).await;
    assert_eq!(
        (&refund.expect_applied()["amount"], &refund.body["source"]["movement"]),
        (&json!("10.36"), &json!("-10.4"))
    );
    let balances = [legacy.balance("alice").await, legacy.balance("bob").await, legacy.balance("bank").await];
    assert_eq!(balances, ["79.8", "0.2", "-80"], "they sum to nothing");
    assert_eq!(legacy.history("bob").await[0], refund.body);
    // What was refunded is what was asked for.
    legacy.refund("r2", &topup.id(), Some("0.01")).await.expect_refused(422, "RefundExceedsOriginal");

    // Not where rounding changes nothing, not down to nothing, not of a refusal or a replay: neither made nor logged.
    assert_eq!(legacy.transact("topup", "whole", "bank", "bob", "7.0").await.body["destination"]["movement"], "7");
    assert_eq!(legacy.transact("topup", "small", "bank", "bob", "0.05").await.body["destination"]["movement"], "0.05");
    legacy.transact("transfer", "no", "bob", "alice", "1000.5").await.expect_refused(422, "InsufficientBalance");
    let again = legacy.transact("topup", "t", "bank", "bob", "10.36").await;
    assert_eq!((again.replayed, &again.text), (true, &topup.text));
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 4, "{log:?}");
    expect_entry(&log[0], "t", "rounding", "bob", Some(&topup.id()));
    expect_entry(&log[1], "w", "rounding", "alice", Some(&withdrawal.id()));
    expect_entry(&log[2], "x", "rounding", "alice", Some(&transfer.id()));
    expect_entry(&log[3], "r", "rounding", "bob", Some(&refund.id()));
}

#[tokio::test]
async fn lost_write_answers_and_books_nothing() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("lost-write").await;
    let lost = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    let side = &lost.expect_applied()["source"];
    assert_eq!(
        (&side["balanceBefore"], &side["balanceAfter"], &side["version"]),
        (&json!("100"), &json!("90"), &json!(3))
    );
    legacy.transact("transfer", "no", "alice", "bob", "1000").await.expect_refused(422, "InsufficientBalance");
    legacy.no_faults().await;
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["100", "0"]);
    assert_eq!(legacy.history("alice").await.len(), 2, "the topup and the refusal");
    assert_eq!(legacy.get("/accounts/alice").await.body["version"], 2);
    legacy.get(&format!("/transactions/{}", lost.id())).await.expect_refused(404, "TransactionNotFound");
    legacy.refund("r", &lost.id(), None).await.expect_refused(404, "OriginalNotFound");
    // Key and answer are kept.
    let again = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    assert_eq!((again.replayed, &again.text), (true, &lost.text));
    assert_eq!(legacy.get("/transactions/status/k").await.body, lost.body);
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 1);
    expect_entry(&log[0], "k", "lost-write", "alice", Some(&lost.id()));
}

#[tokio::test]
async fn a_lost_refund_still_counts_against_its_original() {
    let legacy = Legacy::start().await.with_people().await;
    let transfer = legacy.transact("transfer", "t", "alice", "bob", "10").await.id();
    legacy.fault("lost-write").await;
    legacy.refund("r1", &transfer, Some("8")).await.expect_applied();
    legacy.no_faults().await;
    legacy.refund("r2", &transfer, Some("3")).await.expect_refused(422, "RefundExceedsOriginal");
    legacy.refund("r3", &transfer, Some("2")).await.expect_applied();
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["92", "8"]);
}

#[tokio::test]
async fn double_apply_books_twice_and_shows_one() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("double-apply").await;
    let double = legacy.transact("transfer", "k", "alice", "bob", "60").await;
    let side = &double.expect_applied()["source"];
    assert_eq!((&side["balanceAfter"], &side["movement"]), (&json!("40"), &json!("-60")));
    legacy.transact("transfer", "no", "alice", "bob", "1000").await.expect_refused(422, "InsufficientBalance");
    legacy.no_faults().await;
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["-20", "120"], "it may overdraw");
    for account in ["alice", "bob"] {
        let rows = legacy.history(account).await;
        let rows = rows.iter().filter(|row| row["trackingId"] == "k").collect::<Vec<_>>();
        assert_eq!(rows.len(), 2, "{account}");
        assert_eq!(rows[1], &double.body, "the first one is the answer");
        assert_ne!(rows[0]["transactionId"], rows[1]["transactionId"]);
        assert_eq!(rows[0]["source"]["balanceAfter"], "-20");
    }
    assert_eq!(legacy.get("/transactions/status/k").await.body, double.body);
    let again = legacy.transact("transfer", "k", "alice", "bob", "60").await;
    assert_eq!((again.replayed, &again.text), (true, &double.text));
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 1);
    expect_entry(&log[0], "k", "double-apply", "alice", Some(&double.id()));
    legacy.refund("r", &double.id(), None).await.expect_applied();
    legacy.refund("r2", &double.id(), None).await.expect_refused(422, "RefundExceedsOriginal");
}

/// Balance and version of an account, as three reads show them.
async fn shown(legacy: &Legacy, id: &str) -> [(Value, Value); 3] {
    let of = |body: &Value| (body["balance"].clone(), body["version"].clone());
    let list = legacy.get("/accounts").await.body;
    let in_list = list["accounts"].as_array().unwrap().iter().find(|account| account["accountId"] == id).unwrap();
    let alone = legacy.get(&format!("/accounts/{id}")).await.body;
    let balance = legacy.get(&format!("/accounts/{id}/balance")).await.body;
    assert_eq!((&alone["available"], &balance["available"]), (&alone["balance"], &balance["balance"]));
    [of(&alone), of(&balance), of(in_list)]
}

fn all(balance: &str, version: u64) -> [(Value, Value); 3] {
    [(); 3].map(|()| (json!(balance), json!(version)))
}

#[tokio::test]
async fn a_stale_balance_is_shown_until_the_next_change() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("stale-balance").await;
    let transfer = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    let side = &transfer.expect_applied()["source"];
    assert_eq!((&side["balanceAfter"], &side["version"]), (&json!("90"), &json!(3)), "the answer is right");
    // However often it is read; of the deciding account alone.
    for _ in 0..2 {
        assert_eq!(shown(&legacy, "alice").await, all("100", 2));
    }
    assert_eq!(shown(&legacy, "bob").await, all("10", 2));
    assert_eq!(legacy.history("alice").await[0], transfer.body, "what was booked is no secret");
    // Neither a refusal, which is decided on the balance as it is, nor a replay is a change.
    legacy.transact("withdraw", "no", "alice", "bank", "95").await.expect_refused(422, "InsufficientBalance");
    let again = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    assert_eq!((again.replayed, &again.text), (true, &transfer.text));
    assert_eq!(shown(&legacy, "alice").await, all("100", 2));
    // The next fault shows the state before the next change.
    let withdrawal = legacy.transact("withdraw", "w", "alice", "bank", "5").await;
    assert_eq!(withdrawal.expect_applied()["source"]["balanceBefore"], "90");
    assert_eq!(shown(&legacy, "alice").await, all("90", 3));
    legacy.no_faults().await;
    assert_eq!(shown(&legacy, "alice").await, all("90", 3));
    // A credit is a change, too, although another account decides on it.
    legacy.transact("transfer", "back", "bob", "alice", "1").await.expect_applied();
    assert_eq!(shown(&legacy, "alice").await, all("86", 5));
    assert_eq!(
        [legacy.balance("alice").await, legacy.balance("bob").await, legacy.balance("bank").await],
        ["86", "9", "-95"]
    );
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 2, "{log:?}");
    expect_entry(&log[0], "k", "stale-balance", "alice", Some(&transfer.id()));
    expect_entry(&log[1], "w", "stale-balance", "alice", Some(&withdrawal.id()));
}

#[tokio::test]
async fn a_stale_balance_ends_with_a_change_of_the_account_and_with_a_restart() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("stale-balance").await;
    legacy.transact("topup", "t", "bank", "bob", "7").await.expect_applied();
    assert_eq!(shown(&legacy, "bob").await, all("0", 1));
    let changed = legacy.patch("bob", json!({"maxBalance": "50"})).await;
    assert_eq!((&changed.body["balance"], &changed.body["version"]), (&json!("7"), &json!(3)));
    assert_eq!(shown(&legacy, "bob").await, all("7", 3));
    legacy.transact("topup", "t2", "bank", "bob", "1").await.expect_applied();
    assert_eq!(shown(&legacy, "bob").await, all("7", 3));
    let legacy = legacy.restart().await;
    assert_eq!(shown(&legacy, "bob").await, all("8", 4));
    assert_eq!(legacy.fault_log().await.len(), 2);
}

/// Long enough for whatever is to overtake.
fn patient() -> Config {
    Config { reorder_ms: 3_600_000, ..config() }
}

#[tokio::test]
async fn reorder_lets_the_next_request_of_the_account_go_first() {
    let legacy = Legacy::start_with(patient()).await.with_people().await;
    legacy.fault("reorder").await;
    // Whichever of the two comes first waits for the other one.
    let send = |key, amount| legacy.transact("withdraw", key, "alice", "bank", amount);
    let (one, other) = tokio::join!(send("one", "10"), send("other", "20"));
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 1, "{log:?}");
    let late_is_one = log[0]["key"] == "one";
    let (early, late, key) = if late_is_one { (&other, &one, "one") } else { (&one, &other, "other") };
    expect_entry(&log[0], key, "reorder", "alice", Some(&late.id()));
    assert_eq!([early.id(), late.id()], ["L-000000000002", "L-000000000003"]);
    assert_eq!(early.expect_applied()["source"]["balanceBefore"], "100");
    assert_eq!(late.expect_applied()["source"]["balanceAfter"], "70");
    assert_eq!([legacy.balance("alice").await, legacy.balance("bank").await], ["70", "-70"]);
    for (key, amount, first) in [("one", "10", &one), ("other", "20", &other)] {
        let again = send(key, amount).await;
        assert_eq!((again.replayed, &again.text), (true, &first.text));
    }
    assert_eq!(legacy.fault_log().await.len(), 1);
}

#[tokio::test]
async fn what_nothing_overtakes_is_answered_all_the_same() {
    let legacy = Legacy::start_with(Config { reorder_ms: 0, ..config() }).await.with_people().await;
    legacy.fault("reorder").await;
    legacy.transact("withdraw", "k", "alice", "bank", "10").await.expect_applied();
    legacy.transact("withdraw", "no", "alice", "bank", "100").await.expect_refused(422, "InsufficientBalance");
    assert_eq!(legacy.balance("alice").await, "90");
    assert!(legacy.fault_log().await.is_empty());
}

#[tokio::test]
async fn what_is_put_off_is_executed_before_the_legacy_stops() {
    let legacy = Legacy::start_with(patient()).await.with_people().await;
    legacy.fault("reorder").await;
    let send = |user: &'static str| {
        let body = movement(user, "bank", user, "1").to_string();
        let url = format!("{}/transactions/topup", legacy.url);
        Box::pin(async move {
            let client = host::http::Client::new(PATIENCE, 1 << 20);
            let request = host::http::request(Method::POST, &url, None, body.into()).unwrap();
            (user, Reply::of(client.send(request, Duration::from_secs(30)).await.unwrap()))
        })
    };
    let sent = ["alice", "bob"].map(|user| host::task::spawn(send(user)));
    // The one that comes first is put off, and nothing of its account follows.
    let (passed, _, mut put_off) = futures_util::future::select_all(sent).await;
    passed.unwrap().1.expect_applied();
    let legacy = legacy.restart().await;
    let (account, late) = put_off.remove(0).await.unwrap();
    late.expect_applied();
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["101", "1"]);
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 1, "{log:?}");
    expect_entry(&log[0], account, "reorder", account, Some(&late.id()));
}

#[tokio::test]
async fn slow_takes_its_time() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("slow").await;
    let started = Instant::now();
    let slow = legacy.transact("topup", "k", "bank", "bob", "1").await;
    slow.expect_applied();
    assert!(started.elapsed() >= Duration::from_millis(legacy.config.slow_ms));
    legacy.transact("transfer", "no", "alice", "bob", "1000").await.expect_refused(422, "InsufficientBalance");
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 2, "a refusal is slow as well");
    expect_entry(&log[0], "k", "slow", "bob", Some(&slow.id()));
}

#[tokio::test]
async fn hang_before_never_executes() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("hang-before").await;
    let body = movement("k", "bank", "bob", "1").to_string();
    let send = || legacy.try_send(Method::POST, "/transactions/topup", &[], body.as_bytes(), PATIENCE);
    assert_eq!(send().await.unwrap_err(), host::http::SendError::TimedOut);
    legacy.get("/transactions/status/k").await.expect_refused(404, "TransactionNotFound");
    assert_eq!(legacy.balance("bob").await, "0");
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 1);
    expect_entry(&log[0], "k", "hang-before", "bob", None);
    // The retry is a first execution still.
    legacy.no_faults().await;
    let retry = legacy.transact("topup", "k", "bank", "bob", "1").await;
    retry.expect_applied();
    assert!(!retry.replayed);
}

#[tokio::test]
async fn hang_after_executes_and_says_nothing() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("hang-after").await;
    let body = movement("k", "bank", "bob", "1").to_string();
    let sent = legacy.try_send(Method::POST, "/transactions/topup", &[], body.as_bytes(), PATIENCE).await;
    assert_eq!(sent.unwrap_err(), host::http::SendError::TimedOut);
    let found = legacy.get("/transactions/status/k").await;
    assert_eq!((found.status, &found.body["status"]), (200, &json!("completed")));
    assert_eq!(legacy.balance("bob").await, "1");
    // A retry is not hit: it is no first execution.
    let retry = legacy.transact("topup", "k", "bank", "bob", "1").await;
    assert_eq!((retry.replayed, &retry.body), (true, &found.body));
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 1);
    expect_entry(&log[0], "k", "hang-after", "bob", Some(&retry.id()));
}

#[tokio::test]
async fn a_hang_ends_by_itself() {
    let legacy = Legacy::start_with(Config { hang_seconds: 0, ..config() }).await.with_people().await;
    legacy.fault("hang-after").await;
    legacy.transact("topup", "k", "bank", "bob", "1").await.expect_refused(500, "InternalError");
}

#[tokio::test]
async fn a_hang_does_not_keep_the_legacy_from_stopping() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("hang-before").await;
    let body = movement("k", "bank", "bob", "1").to_string();
    let url = legacy.url.clone();
    let hanging = host::task::spawn(async move {
        let client = host::http::Client::new(PATIENCE, 1 << 20);
        let request =
            host::http::request(Method::POST, &format!("{url}/transactions/topup"), None, body.into()).unwrap();
        client.send(request, Duration::from_secs(30)).await
    });
    // It hangs once the ledger knows of it.
    let deadline = Instant::now() + Duration::from_secs(10);
    while legacy.fault_log().await.is_empty() {
        assert!(Instant::now() < deadline, "the fault was never made");
    }
    legacy.stop().await.unwrap();
    assert_eq!(hanging.await.unwrap().unwrap().status, 500);
}

#[tokio::test]
async fn errors_before_and_after_the_commit() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("5xx").await;
    for (key, balance) in [("before", "0"), ("after", "1")] {
        let failed = legacy.transact("topup", key, "bank", "bob", "1").await;
        failed.expect_refused(500, "InternalError");
        assert_eq!(failed.body.get("result"), None);
        assert_eq!(legacy.balance("bob").await, balance, "{key}");
    }
    legacy.get("/transactions/status/before").await.expect_refused(404, "TransactionNotFound");
    let found = legacy.get("/transactions/status/after").await;
    assert_eq!(found.status, 200);
    // A refusal is committed as well.
    legacy.fault("5xx-after").await;
    legacy.transact("transfer", "no", "alice", "bob", "1000").await.expect_refused(500, "InternalError");
    assert_eq!(legacy.get("/transactions/status/no").await.body["errorCode"], "InsufficientBalance");
    let log = legacy.fault_log().await;
    expect_entry(&log[0], "before", "5xx-before", "bob", None);
    expect_entry(&log[1], "after", "5xx-after", "bob", found.body["transactionId"].as_str());
    assert_eq!((&log[2]["key"], &log[2]["kind"]), (&json!("no"), &json!("5xx-after")));
    assert_eq!(log.len(), 3);
}

#[tokio::test]
async fn a_connection_is_closed_before_and_after_the_commit() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("drop-connection").await;
    for (key, balance) in [("before", "0"), ("after", "1")] {
        let body = movement(key, "bank", "bob", "1").to_string();
        let sent = legacy.try_send(Method::POST, "/transactions/topup", &[], body.as_bytes(), PATIENCE).await;
        assert!(matches!(sent, Err(SendError::Broken(_))), "{key}: {sent:?}");
        assert_eq!(legacy.balance("bob").await, balance, "{key}");
    }
    legacy.get("/transactions/status/before").await.expect_refused(404, "TransactionNotFound");
    let found = legacy.get("/transactions/status/after").await;
    assert_eq!((found.status, &found.body["status"]), (200, &json!("completed")));
    let log = legacy.fault_log().await;
    assert_eq!(log.len(), 2);
    expect_entry(&log[0], "before", "drop-connection-before", "bob", None);
    expect_entry(&log[1], "after", "drop-connection-after", "bob", found.body["transactionId"].as_str());
    // What was executed is no first execution any more, and what was not is one still.
    let retry = legacy.transact("topup", "after", "bank", "bob", "1").await;
    assert_eq!((retry.replayed, &retry.body), (true, &found.body));
    legacy.no_faults().await;
    let retry = legacy.transact("topup", "before", "bank", "bob", "1").await;
    retry.expect_applied();
    assert!(!retry.replayed);
    assert_eq!([legacy.balance("bob").await, legacy.balance("bank").await], ["2", "-102"]);
}

/// Sends a request over a connection that is kept, and reads what comes back: an answer of this API, or nothing.
async fn say(connection: &mut TcpStream, method: Method, path: &str, body: &str) -> std::io::Result<String> {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: legacy\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") && connection.read_buf(&mut answer).await? > 0 {}
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_connection_is_closed_without_a_byte_and_no_other_one_is() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("drop-connection-after").await;
    let address = legacy.url.trim_start_matches("http://");
    let mut hit = host::net::connect(address).await.unwrap();
    let mut other = host::net::connect(address).await.unwrap();
    for connection in [&mut hit, &mut other] {
        assert!(say(connection, Method::GET, "/accounts/bob", "").await.unwrap().starts_with("HTTP/1.1 200 "));
    }
    let body = movement("k", "bank", "bob", "1").to_string();
    assert_eq!(say(&mut hit, Method::POST, "/transactions/topup", &body).await.unwrap(), "");
    let replayed = say(&mut other, Method::POST, "/transactions/topup", &body).await.unwrap();
    assert!(replayed.starts_with("HTTP/1.1 200 ") && replayed.contains("idempotency-replayed: true"), "{replayed}");
}

#[tokio::test]
async fn only_first_executions_of_transactions_are_hit() {
    let legacy = Legacy::start().await.with_people().await;
    let kept = legacy.transact("topup", "k", "bank", "bob", "1").await;
    legacy.fault("5xx-before").await;
    let again = legacy.transact("topup", "k", "bank", "bob", "1").await;
    assert_eq!((again.replayed, again.text), (true, kept.text));
    legacy.transact("topup", "k", "bank", "bob", "2").await.expect_refused(422, "DuplicateKey");
    legacy.transact("topup", "k2", "bank", "bob", "0").await.expect_refused(422, "InvalidAmount");
    legacy.account("carol", "USER", json!({})).await;
    assert_eq!(legacy.patch("carol", json!({"status": "FROZEN"})).await.status, 200);
    assert!(legacy.fault_log().await.is_empty());
}

#[tokio::test]
async fn a_rate_hits_some_and_the_ledger_names_them_all() {
    let legacy = Legacy::start().await.with_people().await;
    let body = json!({"faults": [{"kind": "lost-write", "rate": 0.2, "seed": 11}]}).to_string();
    let put = Reply::of(legacy.send_bytes(Method::PUT, "/faults", &[], body.as_bytes()).await);
    assert_eq!(put.body, json!({"faults": [{"kind": "lost-write", "rate": 0.2, "seed": 11}]}));
    assert_eq!(legacy.get("/faults").await.body, put.body);
    let requests = 100;
    for index in 0..requests {
        legacy.transact("topup", &format!("k-{index}"), "bank", "bob", "1").await.expect_applied();
    }
    let log = legacy.fault_log().await;
    assert!((5..40).contains(&log.len()), "{} hits in {requests} at 20 %", log.len());
    assert_eq!(legacy.balance("bob").await, (requests - log.len()).to_string());
    let rows = legacy.get("/accounts/bob/transactions?limit=1000").await.body;
    let booked: Vec<_> = rows["transactions"].as_array().unwrap().iter().map(|row| row["trackingId"].clone()).collect();
    assert!(log.iter().all(|entry| !booked.contains(&entry["key"])));
    assert_eq!(booked.len() + log.len(), requests);
}

#[tokio::test]
async fn a_switch_that_cannot_be_is_refused() {
    let legacy = Legacy::start().await;
    for body in ["", "{\"faults\":[{\"kind\":\"x\",\"rate\":1}]}", "{\"faults\":[{\"kind\":\"slow\",\"rate\":2}]}"] {
        let reply = Reply::of(legacy.send_bytes(Method::PUT, "/faults", &[], body.as_bytes()).await);
        reply.expect_refused(400, "MalformedRequest");
    }
    assert_eq!(legacy.get("/faults").await.body, json!({"faults": []}));
}

#[tokio::test]
async fn the_ledger_names_the_tenant() {
    let legacy = Legacy::start().await.with_people().await;
    legacy.fault("lost-write").await;
    legacy.post_with("/transactions/topup", &[("X-Tenant", "t1")], movement("k", "bank", "bob", "1")).await;
    assert_eq!(legacy.fault_log().await[0]["tenant"], "t1");
}
