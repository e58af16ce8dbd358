//! Moves of the dial: what was asked for, whether that is up or down, and whom it takes along. Pure.

use wire::rollout::{GateReading, Rollout, Setting};
use wire::scalar::Percent;
use wire::words::Stage;

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
    let (from, to) = (rank(rollout.setting), rank(to));
    if to < from {
        return Direction::Down;
    }
    // The same setting once more takes those along whom the last move had to leave behind.
    if to == from && rollout.held_back.is_empty() {
        return Direction::Nowhere;
    }
    Direction::Up { moves_accounts: engine_share(to) > engine_share(from) || !rollout.held_back.is_empty() }
}

/// Whether going from the setting in force to `to` changes the authority of any account.
pub fn takes_along(rollout: &Rollout, to: Setting) -> bool {
    engine_share(rank(to)) != engine_share(rank(rollout.setting)) || !rollout.held_back.is_empty()
}

type Rank = (Stage, Percent);

fn rank(setting: Setting) -> Rank {
    (setting.stage, setting.percent)
}

/// Buckets that the engine answers, whatever the percentage says outside of `ramp`.
fn engine_share((stage, percent): Rank) -> Percent {
    match stage {
        Stage::Passthrough | Stage::Capture | Stage::Shadow => Percent::NONE,
        Stage::Ramp => percent,
        Stage::Engine | Stage::Complete => Percent::ALL,
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
    // Nothing goes up while the dial is frozen.
    if !rollout.frozen {
        steps.extend(held_back(rollout));
        steps.extend(next_up(rollout.setting));
    }
    if rollout.setting.stage > Stage::Shadow && rollout.setting.stage != Stage::Complete {
        steps.push("rollout rollback --reason …: back to shadow at 0 %, at once".to_owned());
    }
    steps
}

fn held_back(rollout: &Rollout) -> Option<String> {
    let accounts = rollout.held_back.len();
    (accounts > 0).then(|| {
        format!(
            "rollout set {} --reason …: take along the {accounts} accounts that were held back, once their unknown \
             legs are resolved",
            rollout.setting.percent
        )
    })
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

    #[test]
    fn the_same_setting_once_more_takes_held_back_accounts_along() {
        let mut rollout = standing("25");
        rollout.held_back.insert("alice".into(), System::Legacy);
        assert_eq!(direction(&rollout, at("25")), Direction::Up { moves_accounts: true });
        assert_eq!(direction(&rollout, at("10")), Direction::Down);
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
        rollout.held_back.insert("alice".into(), System::Legacy);
        let steps = next_steps(&rollout, &[], 0);
        assert!(steps[0].starts_with("rollout unfreeze --reason"), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("rollout set")), "{steps:?}");
        assert!(steps.iter().any(|step| step.starts_with("rollout rollback")), "{steps:?}");
    }
}
