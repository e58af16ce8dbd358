//! Moves in one phase, refusals, races on the chain, and what the log does to them.

use crate::front::{Front, Manners};
use crate::meddler::Mishap;
use crate::traffic::{answer, begin, topup};
use crate::world::{APPROVER, OPERATOR, World, code};
use eventlog::Log;
use http::StatusCode;
use serde_json::{Value, json};
use wire::rollout::{RolloutBody, Setting, TOPIC};
use wire::scalar::Percent;
use wire::words::{Stage, System};

pub fn moved(version: u64, stage: Stage, percent: u16) -> RolloutBody {
    let to = Setting { stage, percent: Percent::whole(percent) };
    RolloutBody::Moved { version, to, forced: false, evidence: Vec::new() }
}

async fn rollback(world: &World) -> (StatusCode, Value) {
    world.post(OPERATOR, "/api/rollout/rollback", json!({ "reason": "test" })).await
}

#[tokio::test]
async fn a_move_that_takes_nobody_along_is_made_in_one_phase() {
    let world = World::new().await;
    let front = Front::polite(&world, "a").await;
    world.gates_open().await;
    let (status, view) = world.set("shadow").await;
    assert_eq!(status, StatusCode::OK, "{view}");
    assert_eq!((&view["stage"], &view["version"]), (&json!("shadow"), &json!(1)));
    assert!(
        view["nextSteps"].as_array().unwrap().iter().any(|step| step.as_str().unwrap().contains("set 1")),
        "{view}"
    );
    front.hears("shadow", |rollout| rollout.setting.stage == Stage::Shadow).await;
    let (_, history) = world.get("/api/rollout/history").await;
    let change = &history["changes"][0];
    assert_eq!((&change["actor"], &change["reason"]), (&json!("otto"), &json!("test")));
    assert_eq!((&change["change"], &change["forced"]), (&json!("moved"), &json!(false)));
    assert_eq!(change["evidence"]["gates"].as_array().unwrap().len(), 5, "the evidence stands beside the move");
}

#[tokio::test]
async fn up_through_closed_gates_takes_an_approver_who_forces() {
    let world = World::new().await;
    world.caught_up().await;
    let (status, problem) = world.set("shadow").await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "GatesNotMet"));
    assert_eq!(problem["errors"][0]["pointer"], "/gates/fronts", "{problem}");
    let force = json!({ "to": "25", "reason": "drill", "force": true });
    let (status, problem) = world.post(OPERATOR, "/api/rollout/set", force.clone()).await;
    assert_eq!((status, code(&problem)), (StatusCode::FORBIDDEN, "NotAuthorised"));
    let (status, view) = world.post(APPROVER, "/api/rollout/set", force).await;
    assert_eq!((status, &view["percent"]), (StatusCode::OK, &json!("25")), "{view}");
    // Nobody is there to hold requests: one phase, and recorded as forced, with the closed gate.
    let bodies = world.bodies().await;
    let [RolloutBody::Moved { forced: true, evidence, .. }] = bodies.as_slice() else { panic!("{bodies:?}") };
    assert!(evidence.iter().any(|gate| gate.gate == "fronts" && !gate.open));
}

#[tokio::test]
async fn an_engine_that_is_not_ready_holds_the_dial() {
    let world = World::new().await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    assert_eq!(world.set("shadow").await.0, StatusCode::OK);
    world.engine.with(|books| books.not_ready = Some("conservation: 7 EUR are between the shards".to_owned()));
    // Asked anew for the move, however shortly before it was ready.
    let (status, problem) = world.set("25").await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "GatesNotMet"));
    assert_eq!(problem["errors"][0]["pointer"], "/gates/engine", "{problem}");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("7 EUR"), "{problem}");
    assert_eq!(world.set("passthrough").await.0, StatusCode::OK, "down it goes all the same");
    assert_eq!(world.set("shadow").await.0, StatusCode::OK, "no account moves");
    world.engine.with(|books| books.not_ready = None);
    let open = |gates: &Value| gates.as_array().unwrap().iter().all(|gate| gate["open"] == true);
    world.until("/api/rollout/gates?to=25", "it is ready again", open).await;
}

/// What `set` would answer, asked without setting: 200 with open gates, or the code of the refusal.
async fn would(world: &World, to: &str) -> String {
    let (status, body) = world.get(&format!("/api/rollout/gates?to={to}")).await;
    match body.as_array() {
        Some(gates) if gates.iter().all(|gate| gate["open"] == true) => format!("{}", status.as_u16()),
        Some(_) => "409 GatesNotMet".to_owned(),
        None => format!("{} {}", status.as_u16(), code(&body)),
    }
}

async fn does(world: &World, to: &str) -> String {
    let (status, body) = world.set(to).await;
    if status == StatusCode::OK { "200".to_owned() } else { format!("{} {}", status.as_u16(), code(&body)) }
}

#[tokio::test]
async fn the_gates_of_a_move_say_what_setting_it_would_say() {
    let mut world = World::without_comparator(|_| {}).await;
    world.append(moved(1, Stage::Ramp, 25)).await;
    world.start().await;
    world.caught_up().await;
    // No front is connected: up is closed, down always goes.
    for (to, said) in [
        ("banana", "400 MalformedRequest"),
        ("101", "400 MalformedRequest"),
        ("9999999999999999999999999999", "400 MalformedRequest"),
        ("50", "409 GatesNotMet"),
        ("25", "409 NothingToDo"),
        ("10", "200"),
        ("0", "200"),
        ("capture", "200"),
    ] {
        assert_eq!(would(&world, to).await, said, "{to}");
        assert_eq!(does(&world, to).await, said, "{to}");
    }
    assert_eq!(world.post(OPERATOR, "/api/rollout/freeze", json!({ "reason": "test" })).await.0, StatusCode::OK);
    for (to, said) in [("shadow", "409 Frozen"), ("passthrough", "200")] {
        assert_eq!(would(&world, to).await, said, "{to}");
        assert_eq!(does(&world, to).await, said, "{to}");
    }
    let (_, gates) = world.get("/api/rollout/gates").await;
    assert_eq!(gates.as_array().map(Vec::len), Some(5), "without a target: as for the next move");
}

#[tokio::test]
async fn held_legs_close_the_gates_from_capture_to_a_percentage_and_not_to_shadow() {
    let world = World::with(|config| config.drained_within_ms = 1).await;
    let front = Front::polite(&world, "a").await;
    world.gates_open().await;
    let held = begin(front.journal(), "held", "alice", "5").await;
    answer(front.journal(), &held, &topup(System::Legacy, "held", "alice", "5", "0")).await;
    let closed = |gates: &Value| gates.as_array().unwrap().iter().any(|gate| gate["open"] == false);
    world.until("/api/rollout/gates?to=25", "held legs are undelivered legs", closed).await;
    assert_eq!((would(&world, "shadow").await, does(&world, "25").await), ("200".into(), "409 GatesNotMet".into()));
}

#[tokio::test]
async fn nothing_to_do_is_said() {
    let world = World::new().await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    for (what, (status, problem)) in [("set", world.set("capture").await), ("rollback", rollback(&world).await)] {
        assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "NothingToDo"), "{what}");
    }
    let reason = json!({ "reason": "test" });
    let (status, problem) = world.post(OPERATOR, "/api/rollout/unfreeze", reason.clone()).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "NothingToDo"));
    assert_eq!(world.post(OPERATOR, "/api/rollout/freeze", reason.clone()).await.0, StatusCode::OK);
    let (status, problem) = world.post(OPERATOR, "/api/rollout/freeze", reason).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "NothingToDo"));
}

#[tokio::test]
async fn frozen_it_goes_down_and_not_up() {
    let world = World::without_comparator(|_| {}).await;
    world.append(moved(1, Stage::Ramp, 25)).await;
    let mut world = world;
    world.start().await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    let (status, view) = world.post(OPERATOR, "/api/rollout/freeze", json!({ "reason": "doubt" })).await;
    assert_eq!((status, &view["frozen"]), (StatusCode::OK, &json!(true)));
    let force = json!({ "to": "50", "reason": "test", "force": true });
    let (status, problem) = world.post(APPROVER, "/api/rollout/set", force).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "Frozen"), "force overrules gates, not people");
    assert_eq!(world.set("10").await.0, StatusCode::OK, "down by setting");
    let (status, view) = rollback(&world).await;
    assert_eq!((status, &view["stage"], &view["frozen"]), (StatusCode::OK, &json!("shadow"), &json!(true)));
    let (status, view) = world.post(OPERATOR, "/api/rollout/unfreeze", json!({ "reason": "fine" })).await;
    assert_eq!((status, &view["frozen"]), (StatusCode::OK, &json!(false)));
    assert_eq!(world.set("capture").await.0, StatusCode::OK);
    assert_eq!(world.set("shadow").await.0, StatusCode::OK, "up again");
}

#[tokio::test]
async fn of_two_changes_that_extend_one_record_the_second_loses() {
    let world = World::new().await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    let rival = world.next_record(moved(1, Stage::Passthrough, 0)).await;
    world.log.plan(TOPIC, [Mishap::Rival(rival)]);
    let (status, problem) = world.set("shadow").await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "LostRace"));
    assert_eq!(world.bodies().await, [moved(1, Stage::Passthrough, 0)], "the loser's record is ignored by everybody");
    assert_eq!(world.log.end(TOPIC, 0).await, Ok(2));
    let (_, view) = world.get("/api/rollout").await;
    assert_eq!(view["stage"], "passthrough");
}

#[tokio::test]
async fn a_freeze_that_lost_to_another_freeze_is_told_so() {
    let world = World::new().await;
    let rival = world.next_record(RolloutBody::Freeze).await;
    world.log.plan(TOPIC, [Mishap::Rival(rival)]);
    let (status, problem) = world.post(OPERATOR, "/api/rollout/freeze", json!({ "reason": "test" })).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "LostRace"));
}

#[tokio::test]
async fn a_rollback_insists() {
    let mut world = World::without_comparator(|_| {}).await;
    world.append(moved(1, Stage::Ramp, 25)).await;
    world.start().await;
    let rival = world.next_record(moved(2, Stage::Ramp, 50)).await;
    world.log.plan(TOPIC, [Mishap::Rival(rival)]);
    let (status, view) = rollback(&world).await;
    assert_eq!((status, &view["stage"], &view["version"]), (StatusCode::OK, &json!("shadow"), &json!(3)), "{view}");
}

#[tokio::test]
async fn two_comparators_that_set_at_once_make_one_move() {
    let world = World::new().await;
    let other = world.another().await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    // The other one has no front: it forces.
    let body = json!({ "to": "passthrough", "reason": "test" });
    let url = format!("http://{}/api/rollout/set", other.address);
    let theirs = crate::world::ask(&world.client, http::Method::POST, &url, Some(OPERATOR), Some(body));
    let (ours, theirs) = tokio::join!(world.set("shadow"), theirs);
    let (ours, theirs) = (ours.0, theirs.status);
    let won = [ours, theirs].iter().filter(|status| **status == StatusCode::OK).count();
    let bodies = world.bodies().await;
    assert_eq!(won, bodies.len(), "{ours} {theirs} {bodies:?}");
    assert!(won >= 1);
    // Whatever the interleaving, no version was given twice.
    let mut versions: Vec<u64> =
        bodies.iter().map(|body| if let RolloutBody::Moved { version, .. } = body { *version } else { 0 }).collect();
    versions.dedup();
    assert_eq!(versions.len(), bodies.len());
    other.stop().await;
}

#[tokio::test]
async fn an_append_of_unknown_outcome_is_read_back() {
    let world = World::new().await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    world.log.plan(TOPIC, [Mishap::AnswerLost]);
    assert_eq!(world.set("shadow").await.0, StatusCode::OK, "it is in the log, whatever the answer was");
    assert_eq!(world.log.end(TOPIC, 0).await, Ok(1), "and not appended twice");
    world.log.plan(TOPIC, [Mishap::Lost]);
    assert_eq!(world.set("capture").await.0, StatusCode::OK, "the same bytes can be appended again");
    world.log.plan(TOPIC, [Mishap::Refused, Mishap::Refused, Mishap::Refused]);
    let (status, problem) = world.set("passthrough").await;
    assert_eq!((status, code(&problem)), (StatusCode::SERVICE_UNAVAILABLE, "LogUnavailable"));
    assert_eq!(world.log.planned(TOPIC), 0);
    assert_eq!(world.rollout().await.setting.stage, Stage::Capture);
}

#[tokio::test]
async fn until_caught_up_after_a_restart_every_gate_is_closed() {
    let mut world = World::new().await;
    world.caught_up().await;
    // Something has to be in the topic, or there is nothing to catch up with.
    crate::front::Journal::new("a", 1, world.log.clone())
        .write(wire::exchange::ExchangeBody::Mark { id: "m".into() })
        .await;
    world.log.stall(wire::exchange::TOPIC);
    world.restart().await;
    let _front = Front::polite(&world, "a").await;
    let (_, gates) = world.get("/api/rollout/gates").await;
    let gates = gates.as_array().unwrap();
    assert_eq!(gates.len(), 5);
    assert!(gates.iter().all(|gate| gate["open"] == false), "{gates:?}");
    assert!(gates[0]["seen"].as_str().unwrap().contains("caught up"), "{gates:?}");
    let (status, problem) = world.set("shadow").await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "GatesNotMet"));
    assert_eq!(problem["errors"].as_array().unwrap().len(), 5);
    let ready = world.ask(http::Method::GET, "/readyz", None, None).await.0;
    assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE);
    world.log.release();
    world.gates_open().await;
    assert_eq!(world.set("shadow").await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_index_that_stands_still_closes_the_gates_and_lets_the_dial_go_down() {
    let mut world = World::without_comparator(|_| {}).await;
    world.append(moved(1, Stage::Ramp, 25)).await;
    world.start().await;
    let _front = Front::connect(&world, "a", 1, Manners::default()).await;
    world.gates_open().await;
    // A record that nobody may skip and this program cannot read.
    world.log.append(wire::shadow::TOPIC, 0, vec![eventlog::NewRecord::of(b"nonsense".to_vec())]).await.unwrap();
    let closed = |body: &Value| body[0]["seen"].as_str().unwrap().contains("stands still");
    world.until("/api/rollout/gates", "stands still", closed).await;
    assert_eq!(code(&world.set("50").await.1), "GatesNotMet");
    let (status, view) = rollback(&world).await;
    assert_eq!((status, &view["stage"]), (StatusCode::OK, &json!("shadow")));
}

#[tokio::test]
async fn from_complete_there_is_no_way_back() {
    let mut world = World::without_comparator(|_| {}).await;
    world.append(moved(1, Stage::Complete, 100)).await;
    world.start().await;
    for (status, problem) in [rollback(&world).await, world.set("25").await] {
        assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "NothingToDo"));
        assert!(problem["detail"].as_str().unwrap().contains("no way back"), "{problem}");
    }
}

#[tokio::test]
async fn a_chain_that_cannot_be_read_keeps_the_comparator_from_starting() {
    let world = World::without_comparator(|_| {}).await;
    world.append(moved(1, Stage::Shadow, 0)).await;
    world.log.append(TOPIC, 0, vec![eventlog::NewRecord::of(b"nonsense".to_vec())]).await.unwrap();
    let bound = comparator::bind("test", world.config.clone(), world.place()).await.unwrap();
    let refused = bound.run(host::task::Shutdown::new()).await.unwrap_err().to_string();
    assert!(refused.contains("cutover.rollout/0") && refused.contains("offset 1"), "{refused}");
}

#[tokio::test]
async fn a_chain_that_becomes_unreadable_is_said_and_does_not_undo_what_was_read() {
    let world = World::new().await;
    world.append(moved(1, Stage::Shadow, 0)).await;
    world.until("/api/rollout", "shadow", |view| view["stage"] == "shadow").await;
    world.log.append(TOPIC, 0, vec![eventlog::NewRecord::of(b"nonsense".to_vec())]).await.unwrap();
    let (status, problem) = world.post(OPERATOR, "/api/rollout/freeze", json!({ "reason": "test" })).await;
    assert_eq!((status, code(&problem)), (StatusCode::SERVICE_UNAVAILABLE, "LogUnavailable"));
    assert!(problem["detail"].as_str().unwrap().contains("offset 1"), "{problem}");
}

#[tokio::test]
async fn evidence_that_is_behind_the_log_closes_the_gates() {
    let world = World::new().await;
    let _front = Front::polite(&world, "a").await;
    world.gates_open().await;
    world.log.stall(wire::exchange::TOPIC);
    crate::front::Journal::new("a", 1, world.log.clone())
        .write(wire::exchange::ExchangeBody::Mark { id: "m".into() })
        .await;
    let (status, problem) = world.set("shadow").await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "GatesNotMet"));
    assert_eq!(problem["errors"].as_array().unwrap().len(), 5, "{problem}");
    world.log.release();
    assert_eq!(world.set("shadow").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_gap_closes_its_gate_until_somebody_settles_it() {
    let world = World::new().await;
    let front = Front::polite(&world, "a").await;
    let mark = || wire::exchange::ExchangeBody::Mark { id: "m".into() };
    front.journal().write(mark()).await;
    front.journal().skip(3);
    front.journal().write(mark()).await;
    let named = |gates: &Value| gates[1]["seen"].as_str().unwrap().contains("gap:a.1.");
    let gates = world.until("/api/rollout/gates", "the gap", named).await;
    let (status, problem) = world.set("shadow").await;
    assert_eq!(
        (status, code(&problem), &problem["errors"][0]["code"]),
        (StatusCode::CONFLICT, "GatesNotMet", &json!("gap"))
    );
    let id = gates[1]["seen"].as_str().unwrap().rsplit(' ').next().unwrap();
    let (path, reason) = (format!("/api/discrepancies/{id}"), json!({ "reason": "three marks, no money" }));
    let (status, settled) = world.post(OPERATOR, &format!("{path}/settle"), reason.clone()).await;
    assert_eq!(
        (status, &settled["id"], &settled["status"]),
        (StatusCode::OK, &json!(id), &json!("settled")),
        "{settled}"
    );
    world.gates_open().await;
    let (status, problem) = world.post(OPERATOR, &format!("{path}/settle"), reason.clone()).await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "NothingToDo"));
    let (status, open) = world.post(OPERATOR, &format!("{path}/reopen"), reason).await;
    assert_eq!((status, &open["status"]), (StatusCode::OK, &json!("open")));
    assert_eq!(code(&world.set("shadow").await.1), "GatesNotMet");
}

#[tokio::test]
async fn a_front_that_goes_by_an_override_closes_a_gate_and_is_named() {
    let world = World::new().await;
    let front = Front::polite(&world, "a").await;
    world.gates_open().await;
    assert_eq!(world.set("shadow").await.0, StatusCode::OK);
    let overruled = |on: bool, reason: &str| wire::exchange::ExchangeBody::Override {
        on,
        reason: reason.into(),
        since: wire::scalar::Timestamp(5_000_000),
    };
    front.journal().write(overruled(true, "the engine burns")).await;
    let named = |view: &Value| view["fronts"][0]["override"]["reason"] == "the engine burns";
    world.until("/api/rollout", "the override", named).await;
    assert!(named(&world.get("/api/summary").await.1));
    let (status, problem) = world.set("25").await;
    assert_eq!((status, code(&problem)), (StatusCode::CONFLICT, "GatesNotMet"));
    assert_eq!(problem["errors"][0]["pointer"], "/gates/fronts", "{problem}");
    assert_eq!(problem["errors"][0]["detail"], "overridden to 0 %: a (the engine burns)");
    front.journal().write(overruled(false, "it was put out")).await;
    world.gates_open().await;
    let (_, history) = world.get("/api/rollout/history").await;
    let changes = history["changes"].as_array().unwrap();
    let said = |change: &Value| (change["change"].clone(), change["actor"].clone(), change["reason"].clone());
    assert_eq!(said(&changes[0]), (json!("moved"), json!("otto"), json!("test")));
    assert_eq!(said(&changes[1]), (json!("override"), json!("front a"), json!("the engine burns")));
    assert_eq!(said(&changes[2]), (json!("override"), json!("front a"), json!("it was put out")));
    assert_eq!(changes[1]["evidence"]["since"], "1970-01-01T00:00:05.000000Z");
}

#[tokio::test]
async fn what_came_of_a_setting_is_shown_beside_it() {
    let world = World::new().await;
    let front = Front::polite(&world, "a").await;
    let deposit = begin(front.journal(), "k1", "alice", "5").await;
    answer(front.journal(), &deposit, &topup(System::Legacy, "k1", "alice", "5", "0")).await;
    let counted = |view: &Value| view["effective"]["exchanges"] == 1;
    let view = world.until("/api/rollout", "the exchange", counted).await;
    assert_eq!(
        view["effective"]["money"],
        json!([{ "currency": "EUR", "total": "5", "engine": "0", "enginePercent": "0" }])
    );
    assert_eq!(view["crossCohort"], json!({ "exchanges": 0, "percent": "0", "money": [], "overtaken": 0 }));
    assert_eq!(view["fronts"], json!([{ "front": "a", "boot": 1, "connected": true, "version": 1 }]));
    let (_, summary) = world.get("/api/summary").await;
    assert_eq!((&summary["rollout"]["effective"], &summary["fronts"]), (&view["effective"], &view["fronts"]));
    // Of the exchange's version 1, and not of the step that begins with version 2.
    world.append(moved(2, Stage::Passthrough, 0)).await;
    world.until("/api/rollout", "another step", |view| view["effective"]["exchanges"] == 0).await;
}

#[tokio::test]
async fn the_dial_and_its_gates_are_measured() {
    let world = World::new().await;
    world.caught_up().await;
    let read = async || {
        let url = world.url("/metrics");
        let answer = crate::world::ask(&world.client, http::Method::GET, &url, None, None).await;
        String::from_utf8(answer.body.to_vec()).unwrap()
    };
    // All comparators of this process share the recorder: names and labels are looked at, not values.
    let wanted = [
        "crossfade_rollout_percent ",
        "crossfade_rollout_stage{stage=\"capture\"} ",
        "crossfade_gate_ok{gate=\"fronts\"} ",
        "crossfade_discrepancies_open{cause=\"lost\"} ",
        "crossfade_match_ratio{route=\"total\",window=\"all\",kind=\"raw\"} ",
    ];
    crate::world::eventually("measured", async || {
        let text = read().await;
        wanted.iter().all(|name| text.contains(name))
    })
    .await;
}
