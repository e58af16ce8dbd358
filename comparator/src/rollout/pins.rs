//! Pins: accounts that stay with one system whatever the dial says.
//!
//! The record of a pin moves nobody (`wire::rollout`). An account that it would move is held back where it is, and a
//! handover to the same setting takes it along: to the engine through the gates of a move up, to the legacy at any time.

use super::handover::Along;
use super::{Dial, NO_WAY_BACK, Refusal, Request, interrupted, moves, not_under_way, state::DialState};
use std::sync::Arc;
use wire::rollout::{Rollout, RolloutBody};
use wire::words::{Stage, System};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The account.
    pub account: String,
    /// The system that it stays with; `None`: the bucket says so again.
    pub system: Option<System>,
}

/// What has to be done for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    /// Whether it is to be recorded: it may be already, and the handover was late.
    record: bool,
    /// Where its account goes, if it does not stay.
    towards: Option<System>,
}

fn plan(rollout: &Rollout, pin: &Pin) -> Result<Plan, Refusal> {
    if rollout.setting.stage == Stage::Complete {
        return Err(Refusal::NothingToDo(NO_WAY_BACK.to_owned()));
    }
    not_under_way(rollout)?;
    let mut pins = rollout.pins.clone();
    let before = match pin.system {
        Some(system) => pins.insert(pin.account.clone(), system),
        None => pins.remove(&pin.account),
    };
    let pinned = Rollout { pins, ..rollout.clone() };
    let towards = Some(pinned.authority_under(rollout.setting, &pin.account))
        .filter(|authority| *authority != rollout.authority(&pin.account));
    if rollout.frozen && (towards == Some(System::Engine) || pin.system == Some(System::Engine)) {
        return Err(Refusal::Frozen);
    }
    let record = before != pin.system;
    if !record && towards.is_none() {
        return Err(Refusal::NothingToDo(match pin.system {
            Some(system) => format!("{} is pinned to the {system} already", pin.account),
            None => format!("{} is not pinned", pin.account),
        }));
    }
    Ok(Plan { record, towards })
}

impl Dial {
    /// Pins an account to a system or lets it go, and takes it along if it has to move. Without a connected front, which
    /// would hold its requests, the next move takes it along.
    ///
    /// # Errors
    /// [`Refusal`]; with [`Refusal::HeldBack`] the pin is recorded all the same. Whether `force` may be used is for the
    /// caller to know.
    pub async fn pin(self: &Arc<Self>, by: Request, pin: Pin, force: bool) -> Result<Arc<DialState>, Refusal> {
        // One task to its end: a client that hangs up does not leave an account half-way.
        let dial = self.clone();
        let task = host::task::spawn(async move { dial.pin_and_take_along(&by, &pin, force).await });
        task.await.unwrap_or_else(|error| Err(interrupted(&error)))
    }

    async fn pin_and_take_along(&self, by: &Request, pin: &Pin, force: bool) -> Result<Arc<DialState>, Refusal> {
        let mut seen = self.state().await?;
        let plan = plan(&seen.rollout, pin)?;
        let setting = seen.rollout.setting;
        let (forced, evidence, along) = match plan.towards {
            Some(System::Engine) => (force, self.evidence(&seen, setting, force).await?, Along::Everybody),
            Some(System::Legacy) | None => (false, self.gates(&seen, Some(setting)), Along::OnlyToTheLegacy),
        };
        if plan.record {
            let body = |now: &DialState| {
                let (version, account) = (now.rollout.last_version + 1, pin.account.clone());
                Ok(RolloutBody::Pin { version, account, system: pin.system })
            };
            seen = self.change(&seen, by, body).await?;
            host::moment::passes("pin-recorded");
        }
        if plan.towards.is_none() || self.fronts.connected().is_empty() {
            return Ok(seen);
        }
        self.hand_over(&seen, by, setting, forced, evidence, along).await.map_err(|because| Refusal::HeldBack {
            account: pin.account.clone(),
            at: seen.rollout.authority(&pin.account),
            because: Box::new(because),
            again: moves::name(setting),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use System::{Engine, Legacy};
    use std::collections::BTreeMap;
    use wire::rollout::Setting;
    use wire::scalar::Percent;

    /// What is recorded, and where the account goes; or what is refused.
    type Said = Result<(bool, Option<System>), &'static str>;

    #[test]
    fn what_a_pin_does_depends_on_where_its_account_is() {
        let ramp = |percent| Setting { stage: Stage::Ramp, percent: Percent::whole(percent) };
        let stage = |stage| Setting { stage, percent: Percent::NONE };
        // The dial, how the account is pinned, and the pin that is asked for.
        let cases: [(Setting, Option<System>, Option<System>, Said); 14] = [
            (ramp(100), None, Some(Legacy), Ok((true, Some(Legacy)))),
            (ramp(100), None, Some(Engine), Ok((true, None))),
            (ramp(100), None, None, Err("alice is not pinned")),
            (ramp(100), Some(Legacy), None, Ok((true, Some(Engine)))),
            (ramp(100), Some(Legacy), Some(Engine), Ok((true, Some(Engine)))),
            (ramp(100), Some(Legacy), Some(Legacy), Err("alice is pinned to the legacy already")),
            (ramp(0), None, Some(Engine), Ok((true, Some(Engine)))),
            (ramp(0), Some(Engine), None, Ok((true, Some(Legacy)))),
            (stage(Stage::Shadow), None, Some(Engine), Ok((true, Some(Engine)))),
            (stage(Stage::Capture), None, Some(Engine), Ok((true, None))),
            (stage(Stage::Capture), Some(Engine), None, Ok((true, None))),
            (stage(Stage::Passthrough), None, Some(Legacy), Ok((true, None))),
            (stage(Stage::Complete), None, Some(Legacy), Err(NO_WAY_BACK)),
            (stage(Stage::Engine), None, Some(Legacy), Ok((true, Some(Legacy)))),
        ];
        for (setting, pinned, system, expected) in cases {
            let pins = pinned.map(|system| ("alice".to_owned(), system)).into_iter().collect::<BTreeMap<_, _>>();
            let rollout = Rollout { setting, pins, ..Rollout::genesis("ledger") };
            let said = plan(&rollout, &Pin { account: "alice".into(), system });
            let said = said.map(|plan| (plan.record, plan.towards)).map_err(|refusal| refusal.to_string());
            assert_eq!(said, expected.map_err(str::to_owned), "{setting:?} {pinned:?} {system:?}");
        }
    }

    #[test]
    fn a_pin_whose_handover_was_late_is_handed_over_and_not_recorded_again() {
        let mut rollout = Rollout::genesis("ledger");
        rollout.setting.stage = Stage::Engine;
        rollout.pins.insert("alice".into(), Legacy);
        rollout.held_back.insert("alice".into(), Engine);
        let again = plan(&rollout, &Pin { account: "alice".into(), system: Some(Legacy) });
        assert_eq!(again, Ok(Plan { record: false, towards: Some(Legacy) }));
        let let_go = plan(&rollout, &Pin { account: "alice".into(), system: None });
        assert_eq!(let_go, Ok(Plan { record: true, towards: None }), "it never went");
    }

    #[test]
    fn a_frozen_dial_pins_nobody_to_the_engine() {
        let mut rollout = Rollout { frozen: true, ..Rollout::genesis("ledger") };
        rollout.setting.stage = Stage::Engine;
        rollout.pins.insert("bob".into(), Legacy);
        let asked = |account: &str, system| plan(&rollout, &Pin { account: account.into(), system });
        assert_eq!(asked("alice", Some(Engine)), Err(Refusal::Frozen));
        assert_eq!(asked("bob", None), Err(Refusal::Frozen), "it would go up");
        assert_eq!(asked("alice", Some(Legacy)).map(|plan| plan.towards), Ok(Some(Legacy)));
    }
}
