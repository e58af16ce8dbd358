//! A move that takes accounts along: wait until every front holds them and every leg on them is delivered, then
//! commit; or call it off in time. What a comparator that died left half-way is called off by the next one.

use super::{COMPARATOR, Dial, Refusal, Request, moves, state::DialState};
use host::clock::{self, Instant};
use host::task::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use wire::rollout::{FrontBoot, RolloutBody};

/// After a failed append, before the next attempt to call a move off.
const PAUSE: Duration = Duration::from_millis(200);
/// This part of the handover's time is left for the last record, commit or abort, to be written and to reach the fronts:
/// they hold their requests until then, and that is to be within the handover's time whatever comes of the move.
const LAST_WORD_SHARE: u32 = 4;
/// Named as late when every front is ready and legs are still undelivered.
const RELAY: &str = "relay";

/// Whom a prepared move takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Along {
    /// Everybody who moves: its gates were met.
    Everybody,
    /// Only who goes to the legacy, for which no gate was asked; also while the dial is frozen.
    OnlyToTheLegacy,
}

/// How a prepared move stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It is no longer under way.
    Over,
    /// Somebody froze the dial meanwhile.
    Frozen,
    /// Fronts that were not asked have come: they would serve moved accounts without having held them.
    Joined(Vec<String>),
    /// Not everybody is ready.
    Waiting(Vec<String>),
    /// Everybody is ready; these accounts stay behind.
    Ready(Vec<String>),
}

fn standing(state: &DialState, version: u64, connected: &[FrontBoot], along: Along) -> Standing {
    let Some(pending) = state.rollout.pending.as_ref().filter(|pending| pending.version == version) else {
        return Standing::Over;
    };
    if state.rollout.frozen && along == Along::Everybody {
        return Standing::Frozen;
    }
    let joined: Vec<String> = connected.iter().filter(|front| !pending.fronts.contains(front)).map(label).collect();
    if !joined.is_empty() {
        return Standing::Joined(joined);
    }
    let ready = |front: &FrontBoot| pending.prepared.contains_key(&front.front) && connected.contains(front);
    let mut late: Vec<String> = pending.fronts.iter().filter(|front| !ready(front)).map(label).collect();
    if late.is_empty() && !pending.drained {
        late.push(RELAY.to_owned());
    }
    if late.is_empty() {
        let mut behind = pending.unknown_accounts.clone();
        if along == Along::OnlyToTheLegacy {
            behind.extend(moves::held_at_the_legacy(&state.rollout).cloned());
        }
        Standing::Ready(behind.into_iter().collect())
    } else {
        Standing::Waiting(late)
    }
}

fn label(front: &FrontBoot) -> String {
    format!("{} (boot {})", front.front, front.boot)
}

/// Brings the prepared move `version`, which began at `begun`, to its end within the handover's time.
pub(super) async fn run(
    dial: &Dial,
    version: u64,
    begun: Instant,
    by: &Request,
    along: Along,
) -> Result<Arc<DialState>, Refusal> {
    let deadline = begun + dial.handover - dial.handover / LAST_WORD_SHARE;
    let mut changes = dial.chain.watch();
    let mut fronts = dial.fronts.watch();
    loop {
        let state = changes.borrow_and_update().clone();
        fronts.borrow_and_update();
        let late = match standing(&state, version, &dial.fronts.connected(), along) {
            Standing::Over => return Err(overruled(&state)),
            Standing::Frozen => {
                call_off(dial, version, vec!["frozen meanwhile".to_owned()]).await?;
                return Err(Refusal::Frozen);
            }
            Standing::Joined(joined) => {
                call_off(dial, version, joined.clone()).await?;
                return Err(Refusal::HandoverLate(joined));
            }
            Standing::Ready(_) => match commit(dial, version, by, along, deadline).await {
                Ok(state) => return Ok(state),
                // It stands otherwise than a moment ago: look again. If nothing has changed but the time, it is too late.
                Err(Refusal::NotPending(_)) => vec![COMPARATOR.to_owned()],
                Err(refusal) => return Err(refusal),
            },
            Standing::Waiting(late) => late,
        };
        if clock::now() >= deadline {
            call_off(dial, version, late.clone()).await?;
            return Err(Refusal::HandoverLate(late));
        }
        tokio::select! {
            _ = changes.changed() => {}
            _ = fronts.changed() => {}
            () = clock::sleep_until(deadline) => {}
        }
    }
}

async fn commit(
    dial: &Dial,
    version: u64,
    by: &Request,
    along: Along,
    deadline: Instant,
) -> Result<Arc<DialState>, Refusal> {
    dial.insist(by, |now| match standing(now, version, &dial.fronts.connected(), along) {
        // Fronts go on with the old authority by themselves some time after the deadline: never commit behind it.
        Standing::Ready(held_back) if clock::now() < deadline => Ok(RolloutBody::Commit { version, held_back }),
        _ => Err(Refusal::NotPending(version)),
    })
    .await
}

/// Calls the move off; that it is over already is as good.
async fn call_off(dial: &Dial, version: u64, late: Vec<String>) -> Result<(), Refusal> {
    let reason = format!("called off: {}", late.join(", "));
    let by = Request { actor: COMPARATOR.to_owned(), reason };
    let outcome = dial
        .insist(&by, |now| match &now.rollout.pending {
            Some(pending) if pending.version == version => Ok(RolloutBody::Abort { version, late: late.clone() }),
            _ => Err(Refusal::NotPending(version)),
        })
        .await;
    match outcome {
        Ok(_) | Err(Refusal::NotPending(_)) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

fn overruled(state: &DialState) -> Refusal {
    let by = state.changes.last().map_or("somebody else", |change| change.record.actor.as_str());
    Refusal::LostRace(format!(
        "{by} changed the dial during the handover; it stands at {}",
        moves::describe(state.rollout.setting)
    ))
}

impl Dial {
    /// Calls off every move that is still pending when twice the handover's time has passed since it began: the
    /// comparator that began it has died, or could not write. By then the fronts go on with the old authority.
    pub async fn watch_pending(&self, shutdown: &Shutdown) {
        let mut changes = self.chain.watch();
        let mut due: Option<(u64, Instant)> = None;
        loop {
            let state = changes.borrow_and_update().clone();
            due = match state.pending() {
                None => None,
                Some((pending, begun)) => match due {
                    Some((version, due)) if version == pending.version => Some((version, due)),
                    _ => Some((pending.version, clock::now() + self.patience(begun.0))),
                },
            };
            let Some((version, at)) = due else {
                tokio::select! {
                    _ = changes.changed() => continue,
                    () = shutdown.stopped() => return,
                }
            };
            tokio::select! {
                _ = changes.changed() => continue,
                () = shutdown.stopped() => return,
                () = clock::sleep_until(at) => {}
            }
            let late = match standing(&state, version, &self.fronts.connected(), Along::Everybody) {
                Standing::Waiting(late) | Standing::Joined(late) => late,
                Standing::Over | Standing::Frozen | Standing::Ready(_) => vec![COMPARATOR.to_owned()],
            };
            if let Err(error) = call_off(self, version, late).await {
                tracing::error!(version, %error, "cannot call off a move that was left half-way");
                clock::sleep(PAUSE).await;
            }
        }
    }

    /// What is left of twice the handover's time since `begun`; all of it when the clock has gone backwards.
    fn patience(&self, begun_micros: i64) -> Duration {
        let whole = 2 * self.handover;
        match u64::try_from(clock::unix_micros().saturating_sub(begun_micros)) {
            Ok(passed) => whole.saturating_sub(Duration::from_micros(passed)),
            Err(_) => whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use wire::rollout::Pending;
    use wire::scalar::Percent;
    use wire::words::{Stage, System};

    fn front(name: &str, boot: u64) -> FrontBoot {
        FrontBoot { front: name.to_owned(), boot }
    }

    fn stands(state: &DialState, version: u64, connected: &[FrontBoot]) -> Standing {
        standing(state, version, connected, Along::Everybody)
    }

    fn prepared(by: &[&str], drained: bool) -> DialState {
        let mut state = DialState::genesis("ledger");
        state.rollout.pending = Some(Pending {
            version: 7,
            to: wire::rollout::Setting { stage: Stage::Ramp, percent: Percent::whole(1) },
            fronts: vec![front("a", 1), front("b", 4)],
            prepared: by.iter().map(|front| ((*front).to_owned(), 10)).collect::<BTreeMap<_, _>>(),
            unknown_accounts: BTreeSet::from(["alice".to_owned()]),
            drained,
        });
        state
    }

    #[test]
    fn a_move_waits_for_every_front_then_for_the_relay() {
        let both = [front("a", 1), front("b", 4)];
        assert_eq!(stands(&prepared(&["a"], false), 7, &both), Standing::Waiting(vec!["b (boot 4)".into()]));
        assert_eq!(stands(&prepared(&["a", "b"], false), 7, &both), Standing::Waiting(vec!["relay".into()]));
        assert_eq!(stands(&prepared(&["a", "b"], true), 7, &both), Standing::Ready(vec!["alice".into()]));
        assert_eq!(stands(&prepared(&["a", "b"], true), 8, &both), Standing::Over);
    }

    #[test]
    fn a_front_that_would_not_hear_the_commit_is_waited_for() {
        let state = prepared(&["a", "b"], true);
        assert_eq!(stands(&state, 7, &[front("a", 1)]), Standing::Waiting(vec!["b (boot 4)".into()]));
    }

    #[test]
    fn a_front_that_was_not_asked_spoils_the_move() {
        let state = prepared(&["a", "b"], true);
        let restarted = [front("a", 2), front("b", 4)];
        assert_eq!(stands(&state, 7, &restarted), Standing::Joined(vec!["a (boot 2)".into()]));
    }

    #[test]
    fn a_freeze_stops_a_move_that_is_ready() {
        let mut state = prepared(&["a", "b"], true);
        state.rollout.frozen = true;
        assert_eq!(stands(&state, 7, &[front("a", 1), front("b", 4)]), Standing::Frozen);
    }

    #[test]
    fn who_goes_to_the_legacy_goes_also_from_a_frozen_dial_and_alone() {
        let mut state = prepared(&["a", "b"], true);
        state.rollout.frozen = true;
        state.rollout.setting = wire::rollout::Setting { stage: Stage::Ramp, percent: Percent::whole(1) };
        for (account, pinned) in [("bob", System::Engine), ("carol", System::Legacy)] {
            state.rollout.pins.insert(account.into(), pinned);
            state.rollout.held_back.insert(account.into(), pinned.other());
        }
        let both = [front("a", 1), front("b", 4)];
        let ready = Standing::Ready(vec!["alice".into(), "bob".into()]);
        assert_eq!(standing(&state, 7, &both, Along::OnlyToTheLegacy), ready, "carol goes to the legacy");
    }
}
