//! Pins: recorded, handed over, late, refused.

use crate::dial::moved;
use crate::front::{Front, Manners, relay};
use crate::world::{APPROVER, OPERATOR, VIEWER, World, code, eventually};
use http::StatusCode;
use serde_json::{Value, json};
use wire::rollout::RolloutBody;
use wire::words::{Stage, System};

/// A world whose dial stands somewhere, with open gates once a front is there.
async fn standing_at(stage: Stage, percent: u16, handover_ms: u64) -> World {
    let mut world = World::without_comparator(|config| config.handover_ms = handover_ms).await;
    world.append(moved(1, stage, percent)).await;
    world.append(RolloutBody::Drained { version: 1 }).await;
    world.start().await;
    world
}

async fn pin(world: &World, account: &str, system: Option<&str>) -> (StatusCode, Value) {
    let body = json!({ "account": account, "system": system, "reason": "test" });
    world.post(OPERATOR, "/api/rollout/pin", body).await
}

async fn names(world: &World) -> Vec<String> {
    world.bodies().await.iter().map(|body| comparator::rollout::state::name(body).into()).collect()
}

#[tokio::test]
async fn a_pin_is_recorded_and_its_account_handed_over() {
    let world = standing_at(Stage::Shadow, 0, 5_000).await;
    let front = Front::polite(&world, "a").await;
    let _relay = relay(&world);
    world.gates_open().await;
    let (status, view) = pin(&world, "alice", Some("engine")).await;
    assert_eq!(status, StatusCode::OK, "{view}");
    assert_eq!((&view["pins"], &view["heldBack"], &view["version"]), (&json!(1), &json!(0), &json!(3)), "{view}");
    assert_eq!(view["pinnedAccounts"], json!({ "alice": "engine" }));
    assert!(view["nextSteps"].to_string().contains("1 accounts are pinned to the engine"), "{view}");
    assert_eq!(names(&world).await[2..], ["pin", "prepare", "prepared", "drained", "commit"]);
    front.hears("alice at the engine", |rollout| rollout.authority("alice") == System::Engine).await;
    let (_, history) = world.get("/api/rollout/history").await;
    let recorded = &history["changes"][2];
    assert_eq!((&recorded["change"], &recorded["actor"]), (&json!("pin"), &json!("otto")));
    assert_eq!(recorded["evidence"], json!({ "account": "alice", "system": "engine" }));
    assert_eq!(history["changes"][3]["evidence"]["gates"].as_array().map(Vec::len), Some(5), "the evidence");
    let (status, problem) = pin(&world, "alice", Some("engine")).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "NothingToDo"));
    // Let go, it comes back in the same way.
    let (status, view) = pin(&world, "alice", None).await;
    assert_eq!((status, &view["pins"], &view["heldBack"]), (StatusCode::OK, &json!(0), &json!(0)), "{view}");
    front.hears("alice at the legacy", |rollout| rollout.authority("alice") == System::Legacy).await;
    assert_eq!(names(&world).await[7..], ["pin", "prepare", "prepared", "drained", "commit"]);
}

#[tokio::test]
async fn a_late_handover_leaves_the_account_held_back_and_the_same_setting_takes_it_along() {
    let world = standing_at(Stage::Engine, 100, 200).await;
    let silent = Front::connect(&world, "b", 7, Manners { no_prepared: true, ..Manners::default() }).await;
    let _relay = relay(&world);
    world.caught_up().await;
    let (status, problem) = pin(&world, "alice", Some("legacy")).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "HandoverLate"), "{problem}");
    assert_eq!(problem["errors"][0]["detail"], "b (boot 7)");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("alice is pinned, but held back at the engine: ") && detail.contains("set 100"),
        "{detail}"
    );
    let (_, view) = world.get("/api/rollout").await;
    assert_eq!((&view["pins"], &view["heldBack"]), (&json!(1), &json!(1)), "{view}");
    assert_eq!(view["heldBackAccounts"], json!({ "alice": "engine" }));
    assert!(view["nextSteps"].to_string().contains("rollout set 100"), "{view}");
    assert_eq!(world.rollout().await.authority("alice"), System::Engine, "it stays where it was");
    drop(silent);
    eventually("b is gone", async || world.get("/api/summary").await.1["fronts"].as_array().unwrap().is_empty()).await;
    let front = Front::polite(&world, "a").await;
    // To the legacy, whatever the gates say: somebody has frozen the dial.
    assert_eq!(world.post(OPERATOR, "/api/rollout/freeze", json!({ "reason": "test" })).await.0, StatusCode::OK);
    let (status, view) = world.set("100").await;
    assert_eq!((status, &view["heldBack"]), (StatusCode::OK, &json!(0)), "{view}");
    front.hears("alice at the legacy", |rollout| rollout.authority("alice") == System::Legacy).await;
}

#[tokio::test]
async fn to_the_engine_a_pin_goes_through_the_gates_and_to_the_legacy_through_none() {
    let world = standing_at(Stage::Ramp, 100, 5_000).await;
    world.caught_up().await;
    // Without a front the account's move is part of the next one.
    let (status, view) = pin(&world, "alice", Some("legacy")).await;
    assert_eq!((status, &view["heldBack"]), (StatusCode::OK, &json!(1)), "{view}");
    assert_eq!(pin(&world, "bob", Some("engine")).await.0, StatusCode::OK, "it is there already");
    assert_eq!(world.post(OPERATOR, "/api/rollout/rollback", json!({ "reason": "test" })).await.0, StatusCode::OK);
    assert_eq!(world.rollout().await.authority("alice"), System::Legacy);
    assert_eq!(world.rollout().await.authority("bob"), System::Engine, "rolled back it stays where it is pinned");
    let (status, problem) = pin(&world, "carol", Some("engine")).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "GatesNotMet"));
    assert_eq!(problem["errors"][0]["pointer"], "/gates/fronts", "{problem}");
    let force = json!({ "account": "carol", "system": "engine", "reason": "drill", "force": true });
    assert_eq!(world.post(OPERATOR, "/api/rollout/pin", force.clone()).await.0, StatusCode::FORBIDDEN);
    let (status, view) = world.post(APPROVER, "/api/rollout/pin", force).await;
    assert_eq!((status, &view["heldBackAccounts"]), (StatusCode::OK, &json!({ "carol": "legacy" })), "{view}");
    assert_eq!(world.rollout().await.authority("carol"), System::Legacy);
}

#[tokio::test]
async fn a_rollback_takes_along_at_once_who_is_held_back_at_the_engine() {
    let world = standing_at(Stage::Engine, 100, 5_000).await;
    world.caught_up().await;
    let rollback = async || world.post(OPERATOR, "/api/rollout/rollback", json!({ "reason": "test" })).await;
    assert_eq!(pin(&world, "alice", Some("engine")).await.0, StatusCode::OK);
    assert_eq!(rollback().await.0, StatusCode::OK);
    assert_eq!(code(&rollback().await.1), "NothingToDo", "alice is pinned to the engine, and stays there");
    // Without a front nobody is handed over.
    let (_, view) = pin(&world, "alice", None).await;
    assert_eq!(view["heldBackAccounts"], json!({ "alice": "engine" }), "{view}");
    let (status, view) = rollback().await;
    assert_eq!((status, &view["heldBack"]), (StatusCode::OK, &json!(0)), "{view}");
    assert_eq!(world.rollout().await.authority("alice"), System::Legacy);
    assert_eq!(code(&rollback().await.1), "NothingToDo");
}

#[tokio::test]
async fn frozen_nobody_is_pinned_to_the_engine_and_whoever_is_pinned_to_the_legacy_goes_alone() {
    let world = standing_at(Stage::Shadow, 0, 300).await;
    let front = Front::polite(&world, "a").await;
    world.gates_open().await;
    // Without a relay the first one is late; it stays held back at the legacy.
    let (status, problem) = pin(&world, "alice", Some("engine")).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "HandoverLate"), "{problem}");
    let _relay = relay(&world);
    let (status, view) = pin(&world, "bob", Some("engine")).await;
    assert_eq!((status, &view["heldBack"]), (StatusCode::OK, &json!(0)), "it takes the first along: {view}");
    assert_eq!(pin(&world, "alice", None).await.0, StatusCode::OK);
    world.append(RolloutBody::Pin { version: 90, account: "carol".into(), system: Some(System::Engine) }).await;
    assert_eq!(world.post(OPERATOR, "/api/rollout/freeze", json!({ "reason": "test" })).await.0, StatusCode::OK);
    let (status, problem) = pin(&world, "dave", Some("engine")).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "Frozen"));
    let (status, view) = pin(&world, "bob", Some("legacy")).await;
    assert_eq!((status, &view["heldBackAccounts"]), (StatusCode::OK, &json!({ "carol": "legacy" })), "{view}");
    front.hears("bob at the legacy", |rollout| rollout.authority("bob") == System::Legacy).await;
    assert_eq!(world.rollout().await.authority("carol"), System::Legacy, "no gate was asked for it");
}

#[tokio::test]
async fn out_of_capture_pinned_accounts_follow_by_a_handover() {
    let world = World::new().await;
    let front = Front::polite(&world, "a").await;
    let _relay = relay(&world);
    world.gates_open().await;
    let (status, view) = pin(&world, "alice", Some("engine")).await;
    assert_eq!((status, &view["heldBack"]), (StatusCode::OK, &json!(0)), "{view}");
    assert_eq!(world.rollout().await.authority("alice"), System::Legacy, "the engine follows nobody yet");
    let (status, view) = world.set("shadow").await;
    assert_eq!((status, &view["heldBackAccounts"]), (StatusCode::OK, &json!({ "alice": "legacy" })), "{view}");
    let (status, view) = world.set("shadow").await;
    assert_eq!((status, &view["heldBack"]), (StatusCode::OK, &json!(0)), "{view}");
    front.hears("alice at the engine", |rollout| rollout.authority("alice") == System::Engine).await;
    assert_eq!(names(&world).await, ["pin", "moved", "prepare", "prepared", "drained", "commit"]);
    let (status, problem) = world.post(OPERATOR, "/api/rollout/rollback", json!({ "reason": "test" })).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "NothingToDo"));
    assert!(problem["detail"].as_str().unwrap().contains("1 accounts that are pinned"), "{problem}");
    // Down it goes in one phase, and fronts and relay are told of it.
    assert_eq!(world.set("capture").await.0, StatusCode::OK);
    assert_eq!(world.rollout().await.authority("alice"), System::Legacy);
    let mark = json!({ "version": 4, "front": "a", "boot": 1, "mark": 0, "unknownAccounts": [] });
    let told = world.post(crate::world::SERVICE, "/internal/rollout/prepared", mark).await.0;
    assert_eq!(told, StatusCode::NO_CONTENT, "the relay waits for the front's mark");
}

#[tokio::test]
async fn a_pin_says_which_account_goes_where_and_why() {
    let world = World::new().await;
    world.caught_up().await;
    for (token, body, expected) in [
        (VIEWER, json!({ "account": "alice", "system": "legacy", "reason": "x" }), StatusCode::FORBIDDEN),
        (OPERATOR, json!({ "account": "alice", "reason": "x" }), StatusCode::BAD_REQUEST),
        (OPERATOR, json!({ "account": "alice", "system": "both", "reason": "x" }), StatusCode::BAD_REQUEST),
        (OPERATOR, json!({ "account": "a b", "system": "legacy", "reason": "x" }), StatusCode::BAD_REQUEST),
        (OPERATOR, json!({ "account": "alice", "system": "legacy", "reason": " " }), StatusCode::BAD_REQUEST),
        (OPERATOR, json!({ "account": "alice", "system": null, "reason": "x" }), StatusCode::CONFLICT),
        (OPERATOR, json!({ "account": "alice", "system": "legacy", "reason": "x" }), StatusCode::OK),
    ] {
        let (status, answer) = world.post(token, "/api/rollout/pin", body.clone()).await;
        assert_eq!(status, expected, "{body}: {answer}");
    }
    assert_eq!(names(&world).await, ["pin"]);
}
