//! Both phases of a move that takes accounts along, and every way in which it does not come off.

use crate::dial::moved;
use crate::front::{Front, Manners, relay};
use crate::meddler::Mishap;
use crate::world::{DEADLINE, LEDGER, OPERATOR, SERVICE, World, code, eventually};
use eventlog::Log as _;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use wire::rollout::{FrontBoot, RolloutBody, Setting, TOPIC};
use wire::scalar::Percent;
use wire::words::{Stage, System};

/// A world in shadow with open gates.
async fn in_shadow(handover_ms: u64) -> World {
    let mut world = World::without_comparator(|config| config.handover_ms = handover_ms).await;
    world.append(moved(1, Stage::Shadow, 0)).await;
    world.start().await;
    world
}

async fn pending(world: &World) -> u64 {
    eventually("a move is pending", async || world.rollout().await.pending.is_some()).await;
    world.rollout().await.pending.unwrap().version
}

fn prepare(version: u64, fronts: &[(&str, u64)]) -> RolloutBody {
    RolloutBody::Prepare {
        version,
        to: Setting { stage: Stage::Ramp, percent: Percent::whole(10) },
        forced: false,
        evidence: Vec::new(),
        fronts: fronts.iter().map(|(front, boot)| FrontBoot { front: (*front).into(), boot: *boot }).collect(),
    }
}

/// The late ones of the last record, which is an abort.
async fn aborted(world: &World, version: u64) -> Vec<String> {
    match world.bodies().await.pop() {
        Some(RolloutBody::Abort { version: aborted, late }) if aborted == version => late,
        other => panic!("no abort of {version}: {other:?}"),
    }
}

/// A request that runs while the test does something else.
fn set_beside(world: &World, to: &str) -> tokio::task::JoinHandle<(StatusCode, Value)> {
    let (client, url) = (world.client.clone(), world.url("/api/rollout/set"));
    let body = json!({ "to": to, "reason": "test" });
    tokio::spawn(async move {
        let answer = crate::world::ask(&client, Method::POST, &url, Some(OPERATOR), Some(body)).await;
        (answer.status, answer.json().unwrap())
    })
}

#[tokio::test]
async fn every_front_holds_the_relay_drains_and_the_move_is_committed() {
    let world = in_shadow(5_000).await;
    let moves = |name: &String| wire::ids::bucket(LEDGER, name) < 2_500;
    let moving = (0..).map(|n| format!("user-{n}")).find(moves).unwrap();
    let unknown = Manners { unknown: vec![moving.clone()], ..Manners::default() };
    let (one, two) = (Front::connect(&world, "a", 3, unknown).await, Front::polite(&world, "b").await);
    let _relay = relay(&world);
    world.gates_open().await;
    let (status, view) = world.set("25").await;
    assert_eq!(status, StatusCode::OK, "{view}");
    assert_eq!((&view["percent"], &view["version"], &view["heldBack"]), (&json!("25"), &json!(2), &json!(1)));
    for front in [&one, &two] {
        front.hears("the commit", |rollout| rollout.version == 2 && rollout.pending.is_none()).await;
    }
    assert_eq!(two.rollout.lock().unwrap().held_back.get(&moving), Some(&System::Legacy), "unknown accounts stay");
    let names: Vec<String> =
        world.bodies().await.iter().map(|body| comparator::rollout::state::name(body).into()).collect();
    assert_eq!(names, ["moved", "prepare", "prepared", "prepared", "drained", "commit"]);
    // The same setting once more takes the one along that was held back; nobody calls it unknown any more.
    drop(one);
    let _one = Front::connect(&world, "a", 4, Manners::default()).await;
    world.gates_open().await;
    let (status, view) = world.set("25").await;
    assert_eq!((status, &view["heldBack"]), (StatusCode::OK, &json!(0)), "{view}");
}

#[tokio::test]
async fn a_front_that_stays_silent_is_named_and_nothing_moves() {
    let world = in_shadow(600).await;
    let _polite = Front::polite(&world, "a").await;
    let silent = Front::connect(&world, "b", 7, Manners { no_prepared: true, ..Manners::default() }).await;
    let _relay = relay(&world);
    world.gates_open().await;
    let (status, problem) = world.set("10").await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "HandoverLate"), "{problem}");
    assert_eq!(problem["errors"][0]["detail"], "b (boot 7)");
    assert_eq!(aborted(&world, 2).await, ["b (boot 7)"]);
    silent.hears("the abort", |rollout| rollout.last_version == 2 && rollout.pending.is_none()).await;
    let rollout = world.rollout().await;
    assert_eq!((rollout.version, rollout.setting.stage), (1, Stage::Shadow));
    // The version of an aborted move is not used again.
    drop(silent);
    eventually("b is gone", async || world.get("/api/summary").await.1["fronts"].as_array().unwrap().len() == 1).await;
    let (status, view) = world.set("10").await;
    assert_eq!((status, &view["version"]), (StatusCode::OK, &json!(3)), "{view}");
}

#[tokio::test]
async fn a_relay_that_does_not_drain_is_named() {
    let world = in_shadow(200).await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    let (status, problem) = world.set("10").await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "HandoverLate"));
    assert_eq!(aborted(&world, 2).await, ["relay"]);
}

#[tokio::test]
async fn a_move_is_called_off_while_there_is_time_for_the_fronts_to_hear_it() {
    let handover_ms = 2_000;
    let world = in_shadow(handover_ms).await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    assert_eq!(world.set("10").await.0, StatusCode::CONFLICT);
    let changes = world.changes().await;
    let begun = changes.iter().find(|change| matches!(change.body, RolloutBody::Prepare { .. })).unwrap().at;
    let called_off = changes.last().unwrap();
    assert!(matches!(called_off.body, RolloutBody::Abort { .. }), "{called_off:?}");
    // Half a second is left for this machine to be slow in.
    let micros = called_off.at.since_micros(begun);
    assert!(micros < i64::try_from(handover_ms).unwrap() * 1_000, "held for {micros} µs, and then it is written");
}

#[tokio::test]
async fn a_rollback_during_a_prepare_wins() {
    let world = in_shadow(20_000).await;
    let front = Front::polite(&world, "a").await;
    world.gates_open().await;
    // Without a relay the move waits.
    let set = set_beside(&world, "10");
    let version = pending(&world).await;
    let (status, view) = world.post(OPERATOR, "/api/rollout/rollback", json!({ "reason": "stop" })).await;
    assert_eq!((status, &view["stage"], &view["pending"]), (StatusCode::OK, &json!("shadow"), &Value::Null), "{view}");
    let (status, problem) = tokio::time::timeout(DEADLINE, set).await.unwrap().unwrap();
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "LostRace"), "{problem}");
    front.hears("the higher version", |rollout| rollout.version == version + 1 && rollout.pending.is_none()).await;
}

#[tokio::test]
async fn a_rollback_that_comes_between_ready_and_commit_wins() {
    let world = in_shadow(20_000).await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    let set = set_beside(&world, "10");
    let version = pending(&world).await;
    eventually("prepared", async || world.rollout().await.pending.is_some_and(|pending| !pending.prepared.is_empty()))
        .await;
    // The drained record makes the move ready; the commit that follows finds the rival's rollback before it.
    let drained = RolloutBody::Drained { version };
    let mut after = world.rollout().await;
    let bytes = world.next_record(drained).await;
    after.take(&bytes).unwrap();
    let rival = wire::rollout::RolloutRecord {
        parent: after.head,
        at: wire::scalar::Timestamp(host::clock::unix_micros()),
        actor: "rival".into(),
        reason: "stop".into(),
        body: moved(version + 1, Stage::Shadow, 0),
    };
    // The first mishap is for the record that the test appends itself, the second for the commit.
    world.log.plan(TOPIC, [Mishap::AnswerLost, Mishap::Rival(wire::stored::encode(&rival))]);
    let drained = world.log.append(TOPIC, 0, vec![eventlog::NewRecord::of(bytes)]).await;
    assert!(drained.is_err(), "its answer is lost, the record is in the log");
    let (status, problem) = tokio::time::timeout(DEADLINE, set).await.unwrap().unwrap();
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "LostRace"), "{problem}");
    let rollout = world.rollout().await;
    assert_eq!((rollout.version, rollout.setting.stage), (version + 1, Stage::Shadow));
    assert!(!world.bodies().await.iter().any(|body| matches!(body, RolloutBody::Commit { .. })));
}

#[tokio::test]
async fn a_freeze_during_a_prepare_calls_it_off() {
    let world = in_shadow(20_000).await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    let set = set_beside(&world, "10");
    let version = pending(&world).await;
    assert_eq!(world.post(OPERATOR, "/api/rollout/freeze", json!({ "reason": "stop" })).await.0, StatusCode::OK);
    let (status, problem) = tokio::time::timeout(DEADLINE, set).await.unwrap().unwrap();
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "Frozen"), "{problem}");
    aborted(&world, version).await;
}

#[tokio::test]
async fn a_front_that_comes_during_a_prepare_spoils_it() {
    let world = in_shadow(20_000).await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    let set = set_beside(&world, "10");
    let version = pending(&world).await;
    let _late_comer = Front::polite(&world, "z").await;
    let (status, problem) = tokio::time::timeout(DEADLINE, set).await.unwrap().unwrap();
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "HandoverLate"), "{problem}");
    assert_eq!(aborted(&world, version).await, ["z (boot 1)"]);
}

#[tokio::test]
async fn a_second_move_waits_for_the_end_of_the_first() {
    let world = in_shadow(20_000).await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    let first = set_beside(&world, "10");
    pending(&world).await;
    for to in ["20", "shadow"] {
        let (status, problem) = world.set(to).await;
        assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "LostRace"), "{to}: {problem}");
    }
    let _relay = relay(&world);
    assert_eq!(tokio::time::timeout(DEADLINE, first).await.unwrap().unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_no_handover_half_way() {
    let world = in_shadow(20_000).await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    let set = set_beside(&world, "10");
    pending(&world).await;
    set.abort();
    let _relay = relay(&world);
    eventually("committed", async || world.rollout().await.setting.percent == Percent::whole(10)).await;
}

#[tokio::test]
async fn a_pending_move_of_a_dead_comparator_is_called_off_at_the_next_start() {
    let mut world = World::without_comparator(|config| config.handover_ms = 100).await;
    world.append(moved(1, Stage::Shadow, 0)).await;
    world.append(prepare(2, &[("a", 1), ("b", 1)])).await;
    let by = RolloutBody::Prepared {
        version: 2,
        front: FrontBoot { front: "a".into(), boot: 1 },
        mark: 4,
        unknown_accounts: Vec::new(),
    };
    world.append(by).await;
    world.start().await;
    eventually("called off", async || world.rollout().await.pending.is_none()).await;
    let late = aborted(&world, 2).await;
    assert!(late.contains(&"b (boot 1)".to_owned()), "{late:?}");
}

#[tokio::test]
async fn a_comparator_that_dies_in_each_place_of_a_handover_leaves_a_dial_that_works() {
    let front = FrontBoot { front: "a".into(), boot: 1 };
    let prepared = RolloutBody::Prepared { version: 2, front, mark: 4, unknown_accounts: Vec::new() };
    let steps = [prepare(2, &[("a", 1)]), prepared, RolloutBody::Drained { version: 2 }];
    for died_after in 1..=steps.len() {
        let mut world = World::without_comparator(|config| config.handover_ms = 1_000).await;
        world.append(moved(1, Stage::Shadow, 0)).await;
        for step in &steps[..died_after] {
            world.append(step.clone()).await;
        }
        world.start().await;
        let _front = Front::polite(&world, "a").await;
        let _relay = relay(&world);
        eventually("called off", async || world.rollout().await.pending.is_none()).await;
        aborted(&world, 2).await;
        world.gates_open().await;
        let (status, view) = world.set("10").await;
        assert_eq!((status, &view["version"]), (StatusCode::OK, &json!(3)), "died after {died_after}: {view}");
    }
}

#[tokio::test]
async fn calling_off_is_tried_until_the_log_takes_it() {
    let mut world = World::without_comparator(|config| config.handover_ms = 50).await;
    world.append(prepare(1, &[("a", 1)])).await;
    world.log.plan(TOPIC, vec![Mishap::Refused; 4]);
    world.start().await;
    eventually("called off", async || world.rollout().await.pending.is_none()).await;
    assert_eq!(world.log.planned(TOPIC), 0);
}

#[tokio::test]
async fn only_a_front_that_is_waited_for_may_answer() {
    let world = in_shadow(20_000).await;
    let front = Front::connect(&world, "a", 2, Manners { no_prepared: true, ..Manners::default() }).await;
    world.gates_open().await;
    let answer = |version: u64, front: &str, boot: u64| json!({ "version": version, "front": front, "boot": boot, "mark": 1, "unknownAccounts": [] });
    let say = async |body: Value| world.post(SERVICE, "/internal/rollout/prepared", body).await;
    let (status, problem) = say(answer(2, "a", 2)).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "NotPending"), "nothing is pending");
    let set = set_beside(&world, "10");
    let version = pending(&world).await;
    for wrong in [answer(version + 1, "a", 2), answer(version, "b", 2), answer(version, "a", 1)] {
        let (status, problem) = say(wrong.clone()).await;
        assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "NotPending"), "{wrong}");
    }
    for time in ["once", "again: the first answer was lost"] {
        assert_eq!(say(answer(version, "a", 2)).await.0, StatusCode::NO_CONTENT, "{time}");
    }
    let prepared = world.bodies().await.iter().filter(|body| matches!(body, RolloutBody::Prepared { .. })).count();
    assert_eq!(prepared, 1);
    let _relay = relay(&world);
    assert_eq!(tokio::time::timeout(DEADLINE, set).await.unwrap().unwrap().0, StatusCode::OK);
    drop(front);
}

#[tokio::test]
async fn the_relays_record_in_between_does_not_make_a_front_s_answer_lose() {
    let world = in_shadow(20_000).await;
    let _front = Front::connect(&world, "a", 1, Manners { no_prepared: true, ..Manners::default() }).await;
    world.gates_open().await;
    let set = set_beside(&world, "10");
    let version = pending(&world).await;
    let rival = world.next_record(RolloutBody::Drained { version }).await;
    world.log.plan(TOPIC, [Mishap::Rival(rival)]);
    let answer = json!({ "version": version, "front": "a", "boot": 1, "mark": 1, "unknownAccounts": [] });
    assert_eq!(world.post(SERVICE, "/internal/rollout/prepared", answer).await.0, StatusCode::NO_CONTENT);
    assert_eq!(tokio::time::timeout(DEADLINE, set).await.unwrap().unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn down_goes_at_once_with_a_front_that_does_not_listen_to_prepares() {
    let mut world = World::without_comparator(|config| config.handover_ms = 60_000).await;
    world.append(moved(1, Stage::Engine, 100)).await;
    world.start().await;
    let front = Front::connect(&world, "a", 1, Manners { no_prepared: true, ..Manners::default() }).await;
    let began = std::time::Instant::now();
    let (status, view) = world.set("25").await;
    assert_eq!((status, &view["percent"]), (StatusCode::OK, &json!("25")));
    front.hears("25 %", |rollout| rollout.setting.percent == Percent::whole(25)).await;
    assert!(began.elapsed() < Duration::from_secs(30), "one phase waits for nobody");
}

#[tokio::test]
async fn of_a_move_down_every_front_may_tell_its_mark_until_it_is_drained() {
    let mut world = World::without_comparator(|config| config.handover_ms = 60_000).await;
    world.append(moved(1, Stage::Engine, 100)).await;
    world.append(RolloutBody::Drained { version: 1 }).await;
    world.append(moved(2, Stage::Shadow, 0)).await;
    world.start().await;
    let mark = |version: u64, front: &str| json!({ "version": version, "front": front, "boot": 1, "mark": 7, "unknownAccounts": [] });
    let say = async |body: Value| world.post(SERVICE, "/internal/rollout/prepared", body).await.0;
    let told = async || world.bodies().await.iter().filter(|body| matches!(body, RolloutBody::Prepared { .. })).count();
    for wrong in [mark(1, "a"), mark(3, "a")] {
        assert_eq!(say(wrong).await, StatusCode::CONFLICT);
    }
    for (front, expected) in [("a", 1), ("a", 1), ("b", 2)] {
        assert_eq!((say(mark(2, front)).await, told().await), (StatusCode::NO_CONTENT, expected));
    }
    assert_eq!(world.rollout().await.pending, None, "it is nobody's answer");
    world.append(RolloutBody::Drained { version: 2 }).await;
    eventually("it is drained", async || say(mark(2, "c")).await == StatusCode::CONFLICT).await;
}
