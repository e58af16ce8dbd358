//! Moves of the dial: what was asked for, whether that is up or down, and whom it takes along. Pure.

use std::cmp::Ordering;
use wire::rollout::{GateReading, Rollout, Setting};
use wire::scalar::Percent;
use wire::words::{Stage, System};

/// Where a rollback goes: the engine keeps following, the legacy answers everything.
pub const ROLLBACK: Setting = Setting { stage: Stage::Shadow, percent: Percent::NONE };

/// Reads what the dial is to be set to: `passthrough`, `capture`, `shadow`, or a percentage.
///
/// # Errors
/// In words, what could have been given.
pub fn parse_target(text: &str) -> Result<Setting, String> {
    let stage = match text {
        "passthrough" => Stage::Passthrough,
        "capture" => Stage::Capture,
        "shadow" => Stage::Shadow,
        _ => {
            let percent: Percent = text
                .trim_end_matches('%')
                .parse()
                .map_err(|_| format!("`{text}` is not passthrough, capture, shadow, or a percentage from 0 to 100"))?;
            return Ok(at_percent(percent));
        }
    };
    Ok(Setting { stage, percent: Percent::NONE })
}

/// The setting with this share: none of the buckets is `shadow`, all of them `engine`.
fn at_percent(percent: Percent) -> Setting {
    let stage = if percent == Percent::NONE {
        Stage::Shadow
    } else if percent == Percent::ALL {
        Stage::Engine
    } else {
        Stage::Ramp
    };
    Setting { stage, percent }
}

/// What a move would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The dial stands there already, and takes nobody along.
    Nowhere,
    /// More for the engine, or a higher stage.
    Up {
        /// Whether accounts change their authority.
        moves_accounts: bool,
    },
    /// The same setting once more, for accounts held back at the engine: they go to the legacy.
    Back,
    /// Less for the engine, or a lower stage.
    Down,
    /// The cutover is complete, and there is no way from there.
    Never,
}

/// What going from the setting in force to `to` would be.
pub fn direction(rollout: &Rollout, to: Setting) -> Direction {
    if rollout.setting.stage == Stage::Complete {
        return Direction::Never;
    }
    match rank(to).cmp(&rank(rollout.setting)) {
        Ordering::Less => Direction::Down,
        // The same setting once more takes those along whom the last move had to leave behind.
        Ordering::Equal if !rollout.takes_along(to) => Direction::Nowhere,
        Ordering::Equal if held_at_the_legacy(rollout).next().is_none() => Direction::Back,
        // Who is pinned to the engine is held back until the legs have gone out that were held in capture.
        Ordering::Equal | Ordering::Greater => {
            Direction::Up { moves_accounts: rollout.takes_along(to) && !only_lets_legs_go(rollout.setting, to) }
        }
    }
}

/// Whether no leg goes out before the move and no account moves with it: in capture the legs to the engine are held on
/// purpose, and they go out only once the dial has left it.
pub fn only_lets_legs_go(from: Setting, to: Setting) -> bool {
    from.stage <= Stage::Capture && to.stage <= Stage::Shadow
}

/// Accounts that the setting in force would take to the engine, and that are still at the legacy.
pub fn held_at_the_legacy(rollout: &Rollout) -> impl Iterator<Item = &String> {
    let goes_up =
        |account: &&String| rollout.authority(account) == System::Legacy && rollout.moves(rollout.setting, account);
    rollout.held_back.keys().filter(goes_up)
}

/// Accounts that the setting in force would take to the legacy, and that are still at the engine.
pub fn held_at_the_engine(rollout: &Rollout) -> impl Iterator<Item = &String> {
    let goes_back =
        |account: &&String| rollout.authority(account) == System::Engine && rollout.moves(rollout.setting, account);
    rollout.held_back.keys().filter(goes_back)
}

type Rank = (Stage, Percent);

fn rank(setting: Setting) -> Rank {
    (setting.stage, setting.percent)
}

/// The dial as [`parse_target`] takes it.
pub fn name(setting: Setting) -> String {
    match setting.stage {
        Stage::Ramp | Stage::Engine => setting.percent.to_string(),
        stage => stage.to_string(),
    }
}

/// The dial in words: the stage, with the percentage where it says more.
pub fn describe(setting: Setting) -> String {
    match setting.stage {
        Stage::Ramp => format!("{} %", setting.percent),
        Stage::Engine => "100 %".to_owned(),
        stage => stage.to_string(),
    }
}

/// What an operator can do next, most useful first: verbs of the command line, and what they are for.
pub fn next_steps(rollout: &Rollout, gates: &[GateReading], discrepancies_open: u64) -> Vec<String> {
    let mut steps = Vec::new();
    if let Some(pending) = &rollout.pending {
        steps.push(format!("wait: the move to {} is being handed over", describe(pending.to)));
        steps.push("rollout rollback --reason …: call it off".to_owned());
        return steps;
    }
    if rollout.frozen {
        steps.push("rollout unfreeze --reason …: allow moves up again".to_owned());
    }
    for gate in gates.iter().filter(|gate| !gate.open) {
        steps.push(format!("open the gate `{}`: {}", gate.gate, gate.seen));
    }
    if discrepancies_open > 0 {
        steps.push(format!(
            "discrepancies list: {discrepancies_open} open; no gate closes for them, so look before the dial goes up"
        ));
    }
    steps.extend(held_back(rollout));
    // Nothing goes up while the dial is frozen.
    if !rollout.frozen {
        steps.extend(next_up(rollout.setting));
    }
    steps.extend(pinned_to_the_engine(rollout));
    if rollout.setting.stage > Stage::Shadow && rollout.setting.stage != Stage::Complete {
        steps.push("rollout rollback --reason …: back to shadow at 0 %, at once".to_owned());
    }
    steps
}

fn held_back(rollout: &Rollout) -> Option<String> {
    let accounts = rollout.held_back.len();
    let what = match direction(rollout, rollout.setting) {
        Direction::Up { .. } if !rollout.frozen => {
            format!("take along the {accounts} accounts that are held back, once their unknown legs are resolved")
        }
        Direction::Back => format!("take the {accounts} accounts to the legacy that are held back at the engine"),
        _ => return None,
    };
    Some(format!("rollout set {} --reason …: {what}", name(rollout.setting)))
}

/// Down in shadow the engine still answers for those whom somebody has pinned to it.
fn pinned_to_the_engine(rollout: &Rollout) -> Option<String> {
    let pinned = pins_to(rollout, System::Engine);
    (rollout.setting.stage == Stage::Shadow && pinned > 0).then(|| {
        format!(
            "rollout pin ACCOUNT none --reason …: {pinned} accounts are pinned to the engine, which answers for them"
        )
    })
}

/// How many accounts are pinned to a system.
pub fn pins_to(rollout: &Rollout, system: System) -> usize {
    rollout.pins.values().filter(|pinned| **pinned == system).count()
}

fn next_up(setting: Setting) -> Option<String> {
    let (to, why) = match setting.stage {
        Stage::Passthrough => {
            let why = "record exchanges (what passes until then is in no record: reconcile afterwards)";
            ("capture".to_owned(), why)
        }
        Stage::Capture => ("shadow".to_owned(), "let the engine follow"),
        Stage::Shadow => ("1".to_owned(), "let the engine answer 1 % of the accounts"),
        // The plan of steps of DESIGN 5.
        Stage::Ramp => {
            let plan = [1, 5, 10, 25, 50, 100].map(Percent::whole);
            (plan.into_iter().find(|step| *step > setting.percent)?.to_string(), "go on")
        }
        Stage::Engine => return Some("reconcile run --reason …: compare all balances".to_owned()),
        Stage::Complete => return None,
    };
    Some(format!("rollout set {to} --reason …: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::words::System;

    fn at(text: &str) -> Setting {
        parse_target(text).unwrap()
    }

    fn standing(text: &str) -> Rollout {
        Rollout { setting: at(text), ..Rollout::genesis("ledger") }
    }

    #[test]
    fn targets_are_stages_or_percentages() {
        assert_eq!(at("0"), ROLLBACK);
        assert_eq!(at("shadow"), ROLLBACK);
        assert_eq!(at("0.5").stage, Stage::Ramp);
        assert_eq!(at("37%").percent, Percent::whole(37));
        assert_eq!(at("100").stage, Stage::Engine);
        for wrong in ["", "ramp", "engine", "complete", "101", "-1", "0.005", "half"] {
            assert!(parse_target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn up_and_down_are_a_total_order() {
        let ladder = ["passthrough", "capture", "shadow", "0.01", "1", "25", "99.99", "100"];
        for (low, from) in ladder.iter().enumerate() {
            for (high, to) in ladder.iter().enumerate() {
                let expected = match low.cmp(&high) {
                    std::cmp::Ordering::Equal => Direction::Nowhere,
                    std::cmp::Ordering::Greater => Direction::Down,
                    std::cmp::Ordering::Less => Direction::Up { moves_accounts: high > 2 },
                };
                assert_eq!(direction(&standing(from), at(to)), expected, "{from} to {to}");
            }
        }
    }

    #[test]
    fn there_is_no_way_from_complete() {
        let setting = Setting { stage: Stage::Complete, percent: Percent::ALL };
        let rollout = Rollout { setting, ..Rollout::genesis("ledger") };
        for to in ["passthrough", "shadow", "25", "100"] {
            assert_eq!(direction(&rollout, at(to)), Direction::Never, "{to}");
        }
        assert_eq!(next_steps(&rollout, &[], 0), Vec::<String>::new());
    }

    /// Pinned to `system`, and not gone there yet.
    fn held_back_from(rollout: &mut Rollout, account: &str, system: System) {
        rollout.pins.insert(account.into(), system);
        rollout.held_back.insert(account.into(), system.other());
    }

    #[test]
    fn the_same_setting_once_more_takes_held_back_accounts_along() {
        let mut rollout = standing("25");
        held_back_from(&mut rollout, "alice", System::Legacy);
        assert_eq!(direction(&rollout, at("25")), Direction::Back);
        held_back_from(&mut rollout, "bob", System::Engine);
        assert_eq!(direction(&rollout, at("25")), Direction::Up { moves_accounts: true });
        assert_eq!(direction(&rollout, at("10")), Direction::Down);
        assert_eq!(held_at_the_legacy(&rollout).collect::<Vec<_>>(), ["bob"]);
    }

    #[test]
    fn pinned_accounts_do_not_move_with_the_step_out_of_capture() {
        let mut rollout = standing("capture");
        rollout.pins.insert("alice".into(), System::Engine);
        assert_eq!(direction(&rollout, at("shadow")), Direction::Up { moves_accounts: false });
        assert_eq!(direction(&rollout, at("25")), Direction::Up { moves_accounts: true });
        let mut rollout = standing("shadow");
        held_back_from(&mut rollout, "alice", System::Engine);
        assert_eq!(direction(&rollout, at("shadow")), Direction::Up { moves_accounts: true });
        let steps = next_steps(&rollout, &[], 0);
        assert!(steps[0].starts_with("rollout set shadow --reason …: take along the 1 accounts"), "{steps:?}");
        assert!(steps.iter().any(|step| step.starts_with("rollout pin ACCOUNT none")), "{steps:?}");
    }

    #[test]
    fn next_steps_name_what_is_in_the_way() {
        let gates = vec![GateReading { gate: "gap".into(), open: false, seen: "1 gap".into() }];
        let steps = next_steps(&standing("5"), &gates, 3);
        let begin =
            ["open the gate `gap`", "discrepancies list: 3 open", "rollout set 10 --reason", "rollout rollback"];
        assert_eq!(steps.len(), begin.len(), "{steps:?}");
        for (step, begin) in steps.iter().zip(begin) {
            assert!(step.starts_with(begin), "{steps:?}");
        }
    }

    #[test]
    fn a_frozen_dial_is_not_offered_a_way_up() {
        let mut rollout = standing("5");
        rollout.frozen = true;
        held_back_from(&mut rollout, "alice", System::Engine);
        let steps = next_steps(&rollout, &[], 0);
        assert!(steps[0].starts_with("rollout unfreeze --reason"), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("rollout set")), "{steps:?}");
        assert!(steps.iter().any(|step| step.starts_with("rollout rollback")), "{steps:?}");
        // To the legacy somebody may go all the same.
        held_back_from(&mut rollout, "alice", System::Legacy);
        let steps = next_steps(&rollout, &[], 0);
        assert!(
            steps.iter().any(|step| step.starts_with("rollout set 5 --reason …: take the 1 accounts to")),
            "{steps:?}"
        );
    }
}
