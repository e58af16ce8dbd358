//! What must be true of every state.

use super::front::Admission;
use super::world::{Phase, Request, World};
use super::{Bug, Handover};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Law 9: "No system answers as authority for an account before all legs decided on that account by the other system,
    /// at connected fronts, have been applied to it, except after `handover_ms`, counted as `overtaken`."
    AnsweredTooEarly,
    /// DESIGN 4: "… and counts those requests `overtaken` if `commit` shows up": the commit was heard, and they were not.
    NotCounted,
    /// Law 1: "for accounts that a dial move takes along, the handover (≤ `handover_ms`)": a client that no timer frees.
    HeldForEver,
    /// DESIGN 4, rollout state: "an exchange keeps the version it began with".
    TwoVersions,
    /// DESIGN 4: "A higher version always wins": a front went back, or stays behind although it has heard everything.
    LowerVersion,
    /// Everything is heard, and the fronts differ in who answers (without an override).
    FrontsDiffer,
}

/// Whether Law 9 allows that this request is executed now. Answers the front that has to count a request once it hears of the
/// commit, if that is the excuse.
///
/// # Errors
/// When the other system has decided on the account, that is not applied here, and neither request is counted.
pub fn may_be_executed(world: &World, executed: usize) -> Result<Option<u8>, Violation> {
    let excused = |request: &Request| request.overtaken || request.apart;
    let Some(this) = &world.requests[executed] else { return Ok(None) };
    let mut owes = None;
    for (index, other) in world.requests.iter().enumerate() {
        let Some(other) = other.as_ref().filter(|other| index != executed && other.executed) else { continue };
        if other.at == this.at || excused(this) || excused(other) {
            continue;
        }
        // Counted once the front hears of the commit.
        match [this, other].iter().find(|request| request.silent) {
            Some(silent) => owes = Some(silent.front),
            None => return Err(Violation::AnsweredTooEarly),
        }
    }
    Ok(owes)
}

/// What is wrong with a state.
pub fn wrong(model: &Handover, world: &World) -> Option<Violation> {
    let everything_heard = world.fronts.iter().all(|front| front.connected && front.heard == world.tail_len());
    for (index, front) in world.fronts.iter().enumerate() {
        let heard = world.heard(index);
        // As time goes on and nothing else happens, every timer that there is fires.
        let mut later = *front;
        later.waited = true;
        if let Some(preparing) = later.preparing.as_mut() {
            preparing.silent |= !model.has(Bug::NoSilence);
        }
        later.moves.iter_mut().flatten().for_each(|one| one.held = false);
        if later.admit(model, &heard) == Admission::Hold {
            return Some(Violation::HeldForEver);
        }
        if everything_heard && heard.version != world.end.version {
            return Some(Violation::LowerVersion);
        }
        if everything_heard && front.owes_count {
            return Some(Violation::NotCounted);
        }
    }
    if everything_heard && !world.fronts.iter().any(|front| front.overridden) {
        let authority = world.end.authority();
        if (0..world.fronts.len()).any(|front| world.fronts[front].in_force(&world.heard(front)) != authority) {
            return Some(Violation::FrontsDiffer);
        }
    }
    let two_versions = |request: &Request| request.phase != Phase::Routed && request.version != request.recorded;
    world.requests.iter().flatten().any(two_versions).then_some(Violation::TwoVersions)
}
