//! The fold by examples: who is whose account's authority after which change.

use super::*;
use System::{Engine, Legacy};

/// The dial at a stage, or at a percentage of the ramp.
fn at(text: &str) -> Setting {
    match text.parse() {
        Ok(stage) => Setting { stage, percent: Percent::NONE },
        Err(_) => Setting { stage: Stage::Ramp, percent: text.parse().unwrap() },
    }
}

fn standing(text: &str) -> Rollout {
    Rollout { setting: at(text), ..Rollout::genesis("ledger") }
}

fn after(rollout: &Rollout, body: RolloutBody) -> Rollout {
    let mut rollout = rollout.clone();
    let (actor, reason) = ("anna".into(), "test".into());
    rollout.apply(&RolloutRecord { parent: rollout.head, at: Timestamp::default(), actor, reason, body });
    rollout
}

fn moved(rollout: &Rollout, to: &str) -> Rollout {
    let (version, to) = (rollout.last_version + 1, at(to));
    after(rollout, RolloutBody::Moved { version, to, forced: false, evidence: Vec::new() })
}

fn pinned(rollout: &Rollout, account: &str, system: Option<System>) -> Rollout {
    let version = rollout.last_version + 1;
    after(rollout, RolloutBody::Pin { version, account: account.into(), system })
}

/// Both phases of a move to `to`.
fn handed_over(rollout: &Rollout, to: &str, held_back: &[&str]) -> Rollout {
    let (version, to) = (rollout.last_version + 1, at(to));
    let (evidence, fronts) = (Vec::new(), Vec::new());
    let prepared = after(rollout, RolloutBody::Prepare { version, to, forced: false, evidence, fronts });
    let held_back = held_back.iter().map(|account| (*account).to_owned()).collect();
    after(&prepared, RolloutBody::Commit { version, held_back })
}

/// An account of a bucket in this range.
fn account(from: u16, to: u16) -> String {
    (0..).map(|n| format!("user-{n}")).find(|name| (from..to).contains(&bucket("ledger", name))).unwrap()
}

#[test]
fn a_move_down_takes_nobody_up_who_was_held_back() {
    let account = account(0, 1_000);
    let held_back = BTreeMap::from([(account.clone(), Legacy)]);
    let rollout = Rollout { held_back, ..standing("50") };
    assert_eq!(rollout.authority(&account), Legacy);
    let lower = moved(&rollout, "25");
    assert_eq!(lower.authority(&account), Legacy, "its unknown leg still runs there");
    assert_eq!(moved(&lower, "shadow").held_back.len(), 0, "it is where it belongs");
}

#[test]
fn a_pin_says_where_an_account_belongs_in_every_stage() {
    let (early, late) = (account(0, 1_000), account(9_000, 10_000));
    for (stage, early_pinned_to_legacy, late_pinned_to_engine) in [
        ("passthrough", Legacy, Legacy),
        ("capture", Legacy, Legacy),
        ("shadow", Legacy, Engine),
        ("50", Legacy, Engine),
        ("engine", Legacy, Engine),
        ("complete", Engine, Engine),
    ] {
        let pins = BTreeMap::from([(early.clone(), Legacy), (late.clone(), Engine)]);
        let rollout = Rollout { pins, ..standing(stage) };
        assert_eq!(rollout.authority(&early), early_pinned_to_legacy, "{stage}");
        assert_eq!(rollout.authority(&late), late_pinned_to_engine, "{stage}");
    }
}

#[test]
fn a_pin_moves_nobody_and_a_handover_takes_its_account_along() {
    let (early, late) = (account(0, 1_000), account(9_000, 10_000));
    for (name, pin, from, to) in [
        (&early, Some(Legacy), Engine, Legacy),
        (&early, Some(Engine), Engine, Engine),
        (&late, Some(Engine), Legacy, Engine),
        (&late, Some(Legacy), Legacy, Legacy),
    ] {
        let rollout = standing("50");
        let recorded = pinned(&rollout, name, pin);
        assert_eq!((recorded.version, recorded.authority(name)), (1, from), "{pin:?}");
        assert_eq!(recorded.held_back.get(name), (from != to).then_some(&from), "{pin:?}");
        assert!(!rollout.may_differ(&recorded), "it moves nobody");
        assert_eq!(recorded.takes_along(recorded.setting), from != to, "{pin:?}");
        let along = handed_over(&recorded, "50", &[]);
        assert_eq!((along.authority(name), along.held_back.len()), (to, 0), "{pin:?}");
        let late = handed_over(&recorded, "50", &[name]);
        assert_eq!(late.authority(name), from, "held back once more");
        // Unpinned it goes back in the same way; an account that has not gone yet has nowhere to come back from.
        let unpinned = pinned(&along, name, None);
        assert_eq!((unpinned.authority(name), unpinned.pins.len()), (to, 0), "{pin:?}");
        assert_eq!(handed_over(&unpinned, "50", &[]).authority(name), from, "{pin:?}");
        assert_eq!(pinned(&recorded, name, None).held_back.len(), 0, "{pin:?}");
    }
}

#[test]
fn a_pin_calls_off_what_was_prepared_without_it() {
    let early = account(0, 1_000);
    let rollout = standing("50");
    let (evidence, fronts) = (Vec::new(), Vec::new());
    let prepare = RolloutBody::Prepare { version: 1, to: at("shadow"), forced: false, evidence, fronts };
    let recorded = pinned(&after(&rollout, prepare), &early, Some(Legacy));
    assert_eq!((recorded.version, &recorded.pending), (2, &None));
    let commit = after(&recorded, RolloutBody::Commit { version: 1, held_back: Vec::new() });
    assert_eq!((commit.setting, commit.authority(&early)), (at("50"), Engine));
}

#[test]
fn leaving_capture_leaves_pinned_accounts_to_a_handover() {
    let late = account(9_000, 10_000);
    let capture = pinned(&standing("capture"), &late, Some(Engine));
    assert_eq!((capture.authority(&late), capture.held_back.len()), (Legacy, 0));
    let shadow = moved(&capture, "shadow");
    assert_eq!(shadow.authority(&late), Legacy, "its legs were held until now");
    assert_eq!(shadow.held_back.get(&late), Some(&Legacy));
    assert!(!capture.may_differ(&shadow));
    assert_eq!(handed_over(&shadow, "shadow", &[]).authority(&late), Engine);
    let back = moved(&handed_over(&shadow, "shadow", &[]), "capture");
    assert_eq!((back.authority(&late), back.held_back.len()), (Legacy, 0), "down it goes at once");
    assert!(handed_over(&shadow, "shadow", &[]).may_differ(&back));
}

#[test]
fn a_rollback_lets_nobody_stay_at_the_engine_who_was_held_back_there() {
    let early = account(0, 1_000);
    let recorded = pinned(&standing("50"), &early, Some(Legacy));
    assert_eq!(recorded.authority(&early), Engine, "the handover was late");
    let back = moved(&recorded, "shadow");
    assert_eq!((back.authority(&early), back.held_back.len()), (Legacy, 0));
}

#[test]
fn what_may_differ_is_what_does() {
    let names: Vec<String> = (0..300).map(|n| format!("user-{n}")).collect();
    let stages = ["passthrough", "capture", "shadow", "1", "50", "engine", "complete"];
    let (early, late) = (account(0, 100), account(9_000, 10_000));
    let pins = BTreeMap::from([(early, Legacy), (late, Engine)]);
    let rollouts: Vec<Rollout> =
        stages.iter().flat_map(|stage| [standing(stage), Rollout { pins: pins.clone(), ..standing(stage) }]).collect();
    for one in &rollouts {
        for other in &rollouts {
            let named = one.pins.keys().chain(other.pins.keys());
            let mut all = names.iter().chain(named);
            let differs = all.any(|account| one.authority(account) != other.authority(account));
            let pins = (one.pins.len(), other.pins.len());
            assert_eq!(one.may_differ(other), differs, "{:?} {:?} {pins:?}", one.setting, other.setting);
        }
    }
}

#[test]
fn only_who_would_move_is_held_back() {
    let (early, late) = (account(0, 1_000), account(9_000, 10_000));
    let rollout = handed_over(&standing("shadow"), "50", &[&early, &late]);
    assert_eq!(rollout.held_back, BTreeMap::from([(early, Legacy)]));
}
