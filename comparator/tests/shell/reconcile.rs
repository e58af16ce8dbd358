//! Reconciliation over pages of three, between marks.

use crate::front::{Front, Manners};
use crate::system::account;
use crate::traffic::{Shadows, begin, complete, topup};
use crate::world::{OPERATOR, World, code, eventually};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use wire::words::System;

async fn run(world: &World) -> (StatusCode, Value) {
    world.post(OPERATOR, "/api/reconciliations", json!({ "reason": "test" })).await
}

/// A run that goes on while the test does something else.
fn run_beside(world: &World) -> tokio::task::JoinHandle<(StatusCode, Value)> {
    let (client, url) = (world.client.clone(), world.url("/api/reconciliations"));
    tokio::spawn(async move {
        let body = Some(json!({ "reason": "test" }));
        let answer = crate::world::ask(&client, Method::POST, &url, Some(OPERATOR), body).await;
        (answer.status, answer.json().unwrap())
    })
}

fn both(world: &World, id: &str, account_type: &str, balance: &str) {
    world.legacy.set(id, account_type, balance);
    world.engine.set(id, account_type, balance);
}

/// Ten equal accounts, so that there are several pages.
async fn equal() -> World {
    let world = World::new().await;
    for number in 0..10 {
        both(&world, &format!("user-{number}"), "USER", "5.50");
    }
    world
}

#[tokio::test]
async fn equal_balances_are_equal() {
    let world = equal().await;
    let _front = Front::polite(&world, "a").await;
    // Of the engine's own accounts nobody expects the legacy to have them.
    let mut internal = account("in-transit:EUR", "SYSTEM", "-3");
    internal.owner_id = "crossfade".into();
    world.engine.with(|books| books.accounts.insert(internal.account_id.clone(), internal));
    let (status, result) = run(&world).await;
    assert_eq!(status, StatusCode::OK, "{result}");
    for (field, expected) in
        [("compared", 10), ("equal", 10), ("different", 0), ("onlyLegacy", 0), ("onlyEngine", 0), ("notComparable", 0)]
    {
        assert_eq!(result[field], expected, "{field}: {result}");
    }
    let (_, page) = world.get("/api/reconciliations").await;
    assert_eq!(page["reconciliations"], json!([result]), "it is in the log, and the index has it");
    let (status, one) = world.get(&format!("/api/reconciliations/{}", result["id"].as_str().unwrap())).await;
    assert_eq!((status, one), (StatusCode::OK, result));
}

#[tokio::test]
async fn a_difference_that_nothing_explains_becomes_a_discrepancy_once() {
    let world = equal().await;
    let _front = Front::polite(&world, "a").await;
    world.legacy.set("user-3", "USER", "7.25");
    let (_, first) = run(&world).await;
    assert_eq!((&first["different"], &first["explained"]), (&1.into(), &0.into()), "{first}");
    assert_eq!(first["variance"], json!([{ "currency": "EUR", "total": "1.75", "unexplained": "1.75" }]));
    assert_eq!(first["differences"][0]["account"], "user-3");
    let id = format!("user-3@{}", first["id"].as_str().unwrap());
    let (status, discrepancy) = world.get(&format!("/api/discrepancies/{id}")).await;
    assert_eq!((status, &discrepancy["cause"]), (StatusCode::OK, &"source-balance".into()), "{discrepancy}");
    assert_eq!(discrepancy["offsets"], json!([{ "account": "user-3", "currency": "EUR", "amount": "1.75" }]));
    let (_, second) = run(&world).await;
    assert_eq!((&second["different"], &second["explained"]), (&1.into(), &1.into()), "{second}");
    assert_eq!(second["variance"], json!([{ "currency": "EUR", "total": "1.75", "unexplained": "0" }]));
    assert_eq!(world.get("/api/discrepancies").await.1["discrepancies"].as_array().unwrap().len(), 1);
    // Settled, it still explains the difference or is found anew; it is never forgotten.
    let reason = json!({ "reason": "written off" });
    let (status, settled) = world.post(OPERATOR, &format!("/api/discrepancies/{id}/settle"), reason.clone()).await;
    assert_eq!((status, &settled["status"]), (StatusCode::OK, &"settled".into()), "{settled}");
    assert_eq!(settled["settled"]["actor"], "otto");
    assert!(settled["nextSteps"].is_array());
    let (status, problem) = world.post(OPERATOR, &format!("/api/discrepancies/{id}/settle"), reason.clone()).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "NothingToDo"));
    let (status, open) = world.post(OPERATOR, &format!("/api/discrepancies/{id}/reopen"), reason).await;
    assert_eq!((status, &open["status"]), (StatusCode::OK, &"open".into()), "{open}");
}

#[tokio::test]
async fn a_lost_effect_that_no_later_exchange_showed_is_found_in_the_histories() {
    let world = equal().await;
    let front = Front::polite(&world, "a").await;
    let mut shadows = Shadows::new(&world);
    let answers = [System::Legacy, System::Engine].map(|system| topup(system, "k1", "user-3", "100", "5.5"));
    both(&world, crate::traffic::CASH, "EXTERNAL", "0");
    world.engine.set(crate::traffic::CASH, "EXTERNAL", "-100");
    world.engine.set("user-3", "USER", "105.5");
    world.engine.with(|books| books.history = vec![answers[1].clone()]);
    let lost = complete(front.journal(), &mut shadows, &answers[0], &answers[1]).await;
    let is = |view: &Value| view["verdict"]["verdict"] == "match";
    world.until(&format!("/api/exchanges/{lost}"), "match", is).await;
    let (_, result) = run(&world).await;
    assert_eq!((&result["different"], &result["explained"]), (&2.into(), &2.into()), "{result}");
    assert_eq!(result["variance"], json!([{ "currency": "EUR", "total": "100", "unexplained": "0" }]));
    let (_, page) = world.get("/api/discrepancies").await;
    let [discrepancy] = page["discrepancies"].as_array().unwrap().as_slice() else { panic!("{page}") };
    assert_eq!((&discrepancy["id"], &discrepancy["cause"]), (&lost.to_string().into(), &"lost".into()));
}

#[tokio::test]
async fn accounts_that_only_one_system_has_are_counted() {
    let world = equal().await;
    let _front = Front::polite(&world, "a").await;
    world.legacy.set("aaa", "USER", "0");
    world.engine.set("zzz", "USER", "0");
    world.engine.set("user-55", "USER", "0");
    let (_, result) = run(&world).await;
    assert_eq!((&result["onlyLegacy"], &result["onlyEngine"], &result["equal"]), (&1.into(), &2.into(), &10.into()));
}

#[tokio::test]
async fn an_account_with_an_exchange_under_way_does_not_count() {
    let world = equal().await;
    let front = Front::polite(&world, "a").await;
    both(&world, crate::traffic::CASH, "EXTERNAL", "0");
    begin(front.journal(), "open", "user-1", "1").await;
    world.legacy.set("user-1", "USER", "6.50");
    // One that begins between the marks: the legacy's accounts are read while it passes.
    let reading = world.legacy.gate.clone().write_owned().await;
    let result = run_beside(&world);
    eventually("the first mark", async || front.has(|event| matches!(event, wire::control::StreamEvent::Mark { .. })))
        .await;
    eventually("it was written", async || world.get("/api/audit").await.1["exchanges"]["records"] == 2).await;
    let answers = [System::Legacy, System::Engine].map(|system| topup(system, "k", "user-2", "1", "5.5"));
    complete(front.journal(), &mut Shadows::new(&world), &answers[0], &answers[1]).await;
    drop(reading);
    let (status, result) = result.await.unwrap();
    assert_eq!(status, StatusCode::OK, "{result}");
    // The two users and the account that both top-ups come from.
    assert_eq!((&result["notComparable"], &result["equal"], &result["different"]), (&3.into(), &8.into(), &0.into()));
    assert_eq!(world.get("/api/discrepancies").await.1["discrepancies"], json!([]));
}

#[tokio::test]
async fn without_an_answer_of_every_front_nothing_counts() {
    let world = World::with(|config| config.mark_wait_ms = 200).await;
    both(&world, "alice", "USER", "1");
    world.legacy.set("bob", "USER", "2");
    let (_, nobody) = run(&world).await;
    assert_eq!((&nobody["notComparable"], &nobody["compared"]), (&2.into(), &0.into()), "{nobody}");
    assert_eq!(nobody["notComparableBecause"], "no front is connected");
    let _polite = Front::polite(&world, "a").await;
    let _silent = Front::connect(&world, "b", 1, Manners { no_marks: true, ..Manners::default() }).await;
    let (status, silent) = run(&world).await;
    assert_eq!((status, &silent["notComparable"]), (StatusCode::OK, &2.into()), "{silent}");
    assert_eq!(silent["notComparableBecause"], "no mark in time from b");
    assert_eq!(world.get("/api/discrepancies").await.1["discrepancies"], json!([]));
}

#[tokio::test]
async fn a_front_that_comes_between_the_marks_makes_the_result_say_nothing() {
    let world = equal().await;
    let front = Front::polite(&world, "a").await;
    let reading = world.legacy.gate.clone().write_owned().await;
    let result = run_beside(&world);
    eventually("the first mark", async || front.has(|event| matches!(event, wire::control::StreamEvent::Mark { .. })))
        .await;
    let _other = Front::polite(&world, "b").await;
    drop(reading);
    let (_, result) = result.await.unwrap();
    assert_eq!(result["notComparableBecause"], "fronts came or went meanwhile", "{result}");
    assert_eq!(result["notComparable"], 10);
}

#[tokio::test]
async fn one_run_at_a_time_and_none_for_ever() {
    let world = World::with(|config| config.reconcile_timeout_ms = 2_000).await;
    let front = Front::polite(&world, "a").await;
    let reading = world.legacy.gate.clone().write_owned().await;
    let first = run_beside(&world);
    eventually("the first mark", async || front.has(|event| matches!(event, wire::control::StreamEvent::Mark { .. })))
        .await;
    let (status, problem) = run(&world).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "UnderWay"));
    let (status, problem) = first.await.unwrap();
    assert_eq!((status, code(&problem)), (StatusCode::GATEWAY_TIMEOUT, "TimedOut"));
    drop(reading);
    assert_eq!(world.get("/api/reconciliations").await.1["reconciliations"], json!([]));
    assert_eq!(run(&world).await.0, StatusCode::OK, "the next one may begin");
}

#[tokio::test]
async fn a_system_that_cannot_be_read_is_named() {
    let world = equal().await;
    let _front = Front::polite(&world, "a").await;
    world.engine.with(|books| books.down = true);
    let (status, problem) = run(&world).await;
    assert_eq!((status, code(&problem)), (StatusCode::BAD_GATEWAY, "SystemUnreadable"));
    assert!(problem["detail"].as_str().unwrap().contains("engine"), "{problem}");
    world.engine.with(|books| books.down = false);
    world.legacy.with(|books| books.unsorted = true);
    let (status, problem) = run(&world).await;
    assert_eq!((status, code(&problem)), (StatusCode::BAD_GATEWAY, "SystemUnreadable"));
    assert!(problem["detail"].as_str().unwrap().contains("comes after"), "a merge of it would mean nothing: {problem}");
}

#[tokio::test]
async fn two_currencies_under_one_id_are_a_difference() {
    let world = equal().await;
    let _front = Front::polite(&world, "a").await;
    world.engine.with(|books| books.accounts.get_mut("user-0").unwrap().currency = "USD".into());
    let (_, result) = run(&world).await;
    assert_eq!((&result["different"], &result["equal"]), (&1.into(), &9.into()), "{result}");
    assert_eq!(result["differences"][0]["engine"], Value::Null, "it has nothing in the legacy's currency");
}

#[tokio::test]
async fn a_front_that_may_be_serving_unheard_makes_the_result_say_nothing() {
    let world = equal().await;
    let _front = Front::polite(&world, "a").await;
    // The log has records of another front, which does not listen.
    crate::front::Journal::new("b", 1, world.log.clone())
        .write(wire::exchange::ExchangeBody::Mark { id: "m".into() })
        .await;
    let (_, result) = run(&world).await;
    assert_eq!(result["notComparableBecause"], "not connected, and may be serving: b", "{result}");
    let (_, gates) = world.get("/api/rollout/gates").await;
    assert_eq!(gates[2]["open"], false, "{gates}");
}
