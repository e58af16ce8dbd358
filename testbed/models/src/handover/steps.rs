//! What can happen, with the sentence of the design that says so.

use super::front::{Admission, Front};
use super::laws::{self, Violation};
use super::rollout::{FRONTS, Record};
use super::world::{Phase, Request, SLOTS, Shipped, World};
use super::{Bug, Handover, System};

/// Something happens. Fronts and requests by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The comparator prepares a move up: "`prepare(v, moved buckets)`", with the boots of the connected fronts.
    Prepare,
    /// "all of it within `handover_ms` (250) → `commit(v)`": the comparator has everything and decides in time. The
    /// record is on its way; a log may take longer than that.
    DecideCommit,
    /// The commit's record is in the log.
    CommitLands,
    /// `handover_ms` have passed since the prepare.
    Deadline,
    /// "Anything else → `abort(v)`": late, or a front has come that was not asked. A comparator that is down does not.
    Abort,
    /// "Handover, down (one phase)"; "Down during prepare = abort + down". Without any front, also up.
    Move(System),
    /// The dial moves down, and the account stays where it is.
    MoveOthers,
    /// The relay says that everything decided on the account that moves is delivered.
    SayDrained(u8),
    /// A front hears the next record ("versions of a verified chain streamed from the comparator").
    Hear(u8),
    /// What a front has heard is on its disk ("kept on disk as last known good").
    Keep(u8),
    /// A front answers a prepare: what runs has ended, or is named as unknown, and everything is shipped.
    Answer(u8),
    /// "A front that hears neither by 2 × `handover_ms`".
    Silence(u8),
    /// "at most `handover_ms`, then go, counted": a front lets go of whom it holds for a move made.
    LetGo(u8),
    /// A front tells its mark: nothing of it is on its way from an authority of the past.
    TellMark(u8),
    /// A front loses the comparator.
    Cut(u8),
    /// And finds it again.
    Connect(u8),
    /// A front dies and starts again with what its disk says.
    Restart(u8),
    /// It serves without having heard the comparator ("a restarted one its last known good after 1 s").
    ServeAnyway(u8),
    /// The relay gets to know a front.
    ReachRelay(u8),
    /// "An emergency override to 0 % through a local admin listener", or its end.
    Override(u8),
    /// A client's request is let through, and its intent is in the journal.
    Ask(u8),
    /// Its intent is written, after the rollout was read once more.
    RecordLate(u8),
    /// The authority executes it.
    Execute(u8),
    /// It is answered.
    Reply(u8),
    /// It is not; it may still be executed.
    TimeOut(u8),
    /// The next of its records is in the log, and the relay has read it.
    Ship(u8),
    /// The relay has its result ("resolve first", of an unknown one) and has applied it to the other system.
    Deliver(u8),
}

type Found = Vec<(Action, Result<World, Violation>)>;

/// Everything that can happen next.
pub fn steps(model: &Handover, world: &World, found: &mut Found) {
    if world.is_spent() {
        return;
    }
    comparator(model, world, found);
    relay(model, world, found);
    for front in 0..FRONTS {
        hearing(model, world, front, found);
        telling(model, world, front, found);
        faults(model, world, front, found);
        ask(model, world, front, found);
    }
    for request in 0..SLOTS {
        requests(world, request, found);
    }
}

/// Adds a step that is always right by itself.
fn step(world: &World, action: Action, found: &mut Found, change: impl FnOnce(&mut World)) {
    let mut next = *world;
    change(&mut next);
    next.tidy();
    found.push((action, Ok(next)));
}

fn comparator(model: &Handover, world: &World, found: &mut Found) {
    let end = &world.end;
    let version = end.last_version + 1;
    let connected = world.fronts.map(|front| if front.connected { front.boot } else { 0 });
    if let Some(pending) = &end.pending {
        let joined = (0..FRONTS).any(|front| connected[front] != 0 && connected[front] != pending.fronts[front]);
        if !joined && !world.deadline && world.committing.is_none() && is_ready(model, world) {
            let held_back = pending.unknown && !model.has(Bug::HeldBackMoved);
            let commit = Record::Commit { version: pending.version, held_back };
            step(world, Action::DecideCommit, found, |next| next.committing = Some(commit));
        }
        if !world.deadline {
            step(world, Action::Deadline, found, |next| next.deadline = true);
        }
        if joined || world.deadline {
            let abort = Record::Abort { version: pending.version };
            step(world, Action::Abort, found, |next| next.append(abort));
        }
    }
    if let Some(commit) = world.committing {
        let landed = match commit {
            Record::Commit { version, .. } if version < end.version => {
                Record::Moved { version, to: System::Engine, differs: true }
            }
            _ => commit,
        };
        step(world, Action::CommitLands, found, |next| {
            next.append(landed);
            next.committing = None;
        });
    }
    let moves_somebody = end.setting == System::Legacy || end.held_back.is_some();
    if world.left.ups > 0 && end.pending.is_none() && moves_somebody {
        if connected == [0; FRONTS] {
            let moved = Record::Moved { version, to: System::Engine, differs: true };
            step(world, Action::Move(System::Engine), found, |next| {
                next.left.ups -= 1;
                next.append(moved);
            });
        } else {
            step(world, Action::Prepare, found, |next| {
                next.left.ups -= 1;
                next.append(Record::Prepare { version, fronts: connected });
            });
        }
    }
    if world.left.downs > 0 && (end.setting == System::Engine || end.pending.is_some()) {
        let moved = Record::Moved { version, to: System::Legacy, differs: end.setting == System::Engine };
        step(world, Action::Move(System::Legacy), found, |next| {
            next.left.downs -= 1;
            next.append(moved);
            next.committing = world.committing.filter(|_| model.has(Bug::CommitAfterRollback));
        });
    }
    if world.left.others > 0 {
        step(world, Action::MoveOthers, found, |next| {
            next.left.others -= 1;
            next.append(Record::Moved { version, to: end.setting, differs: true });
        });
    }
}

/// Whether everybody is ready: "each front holds … answers `prepared` …; the relay answers `drained(v)`".
fn is_ready(model: &Handover, world: &World) -> bool {
    let Some(pending) = &world.end.pending else { return false };
    let ready = |front: usize| pending.fronts[front] == 0 || pending.prepared[front] && world.fronts[front].connected;
    let ready = match model.has(Bug::NoBarrier) {
        true => pending.prepared.contains(&true),
        false => (0..FRONTS).all(ready),
    };
    ready && (pending.drained || model.has(Bug::DrainedNotAwaited))
}

/// The relay: "answers `drained(v)` when nothing decided on a moved account is undelivered up to all marks".
fn relay(model: &Handover, world: &World, found: &mut Found) {
    let end = &world.end;
    let undelivered = |version: u8, only: Option<usize>| {
        world.requests.iter().flatten().any(|request| {
            request.shipped >= Shipped::Intent
                && request.recorded < version
                && only.is_none_or(|front| front == usize::from(request.front))
        })
    };
    if let Some(pending) = end.pending.filter(|pending| !pending.drained) {
        let answered = |front: usize| pending.fronts[front] == 0 || pending.prepared[front];
        let is_drained = match model.has(Bug::NoBarrier) {
            true => (0..FRONTS).any(|front| {
                pending.prepared[front] && (pending.unknown || !undelivered(pending.version, Some(front)))
            }),
            false => {
                // Accounts named as unknown stay behind and are not waited for; an account that does not move is not either.
                let waits = end.pending_moves() && !pending.unknown;
                (0..FRONTS).all(answered) && !(waits && undelivered(pending.version, None))
            }
        };
        if is_drained {
            let drained = Record::Drained { version: pending.version };
            step(world, Action::SayDrained(pending.version), found, |next| next.append(drained));
        }
    }
    for undrained in end.undrained.iter().flatten() {
        let left_behind = |front: usize| {
            let unknown = !world.fronts[front].relay_knows && model.has(Bug::UnknownFrontNotAwaited);
            unknown || end.marks[front] >= undrained.version
        };
        let moves = undrained.from != undrained.to;
        if (0..FRONTS).all(left_behind) && !(moves && undelivered(undrained.version, None)) {
            let drained = Record::Drained { version: undrained.version };
            step(world, Action::SayDrained(undrained.version), found, |next| next.append(drained));
        }
    }
}

/// What a front does with what it hears.
fn hearing(model: &Handover, world: &World, index: usize, found: &mut Found) {
    let (front, me) = (&world.fronts[index], index as u8);
    if front.connected
        && let Some(record) = world.next_for(index)
    {
        let mut rollout = world.heard(index);
        let version = rollout.version;
        let mut next = *world;
        let running = world.runs_at(index);
        let front = &mut next.fronts[index];
        let counts = front.hear(model, &mut rollout, record, running, index);
        front.heard += 1;
        // "a front that restarts without the comparator must not go back": a commit is on disk before it is in force.
        if front.caught_up && matches!(record, Record::Commit { .. }) {
            front.kept = front.heard;
        }
        let everything = front.heard == world.tail_len();
        (front.caught_up, front.abreast) = (front.caught_up || everything, front.abreast || everything);
        if counts {
            let silent = |request: &&mut Request| request.silent && request.front == me;
            next.requests.iter_mut().flatten().filter(silent).for_each(|request| request.overtaken = true);
        }
        next.tidy();
        let result = if rollout.version < version { Err(Violation::LowerVersion) } else { Ok(next) };
        found.push((Action::Hear(me), result));
    }
    if front.kept < front.heard && front.caught_up && world.left.restarts > 0 {
        step(world, Action::Keep(me), found, |next| next.fronts[index].kept = next.fronts[index].heard);
    }
    if let Some(preparing) = front.preparing {
        let passed = world.deadline || world.end.pending.is_none_or(|pending| pending.version != preparing.version);
        if passed && !preparing.silent && !model.has(Bug::NoSilence) {
            step(world, Action::Silence(me), found, |next| {
                next.fronts[index].preparing.iter_mut().for_each(|preparing| preparing.silent = true);
            });
        }
    }
    if front.moves.iter().flatten().any(|one| one.held) {
        step(world, Action::LetGo(me), found, |next| {
            next.fronts[index].moves.iter_mut().flatten().for_each(|one| one.held = false);
        });
    }
}

/// What a front says of itself.
fn telling(model: &Handover, world: &World, index: usize, found: &mut Found) {
    let (front, me, end) = (&world.fronts[index], index as u8, &world.end);
    let mine = || world.requests.iter().flatten().filter(|request| usize::from(request.front) == index);
    let shipped = mine().all(Request::is_shipped);
    let heard = world.heard(index);
    if let Some(preparing) = front.preparing.filter(|preparing| front.connected && !preparing.answered) {
        let version = preparing.version;
        let wanted =
            end.pending.is_some_and(|pending| pending.version == version && pending.fronts[index] == front.boot);
        if preparing.asked && !preparing.silent && shipped && wanted {
            let unknown = (world.runs_at(index) || front.noted_unknown) && !model.has(Bug::UnknownNotNamed);
            step(world, Action::Answer(me), found, |next| {
                next.append(Record::Prepared { version, front: me, unknown });
                next.fronts[index].preparing.iter_mut().for_each(|preparing| preparing.answered = true);
            });
        }
    }
    let now = front.in_force(&heard);
    let quiet = mine().all(|request| !request.runs() || request.at == now);
    let tells = front.connected && heard.awaited().is_some() && end.marks[index] < heard.version;
    // What was heard in this version is on disk.
    let kept = front.kept == front.heard || model.has(Bug::MarkBeforeKept);
    if tells
        && kept
        && (quiet || model.has(Bug::MarkBeforeEnded))
        && (shipped || model.has(Bug::MarkBeforeShipped))
        && end.pending.is_none_or(|pending| pending.version != heard.version)
        && end.awaits_mark(heard.version)
    {
        let mark = Record::Prepared { version: heard.version, front: me, unknown: false };
        step(world, Action::TellMark(me), found, |next| next.append(mark));
    }
}

/// What befalls a front.
fn faults(model: &Handover, world: &World, index: usize, found: &mut Found) {
    let (front, me) = (&world.fronts[index], index as u8);
    if front.connected && world.left.cuts > 0 {
        step(world, Action::Cut(me), found, |next| {
            next.left.cuts -= 1;
            (next.fronts[index].connected, next.fronts[index].abreast) = (false, false);
        });
    }
    if !front.connected {
        step(world, Action::Connect(me), found, |next| {
            let everything = front.heard == world.tail_len();
            let caught_up = front.caught_up || everything;
            next.fronts[index] = Front { connected: true, caught_up, abreast: everything, ..*front };
        });
    }
    if world.left.restarts > 0 {
        step(world, Action::Restart(me), found, |next| {
            next.left.restarts -= 1;
            next.fronts[index] = front.restarted(model, &world.kept(index));
            for request in next.requests.iter_mut().flatten().filter(|request| usize::from(request.front) == index) {
                if request.runs() {
                    request.phase = Phase::Orphan;
                }
            }
        });
    }
    if !front.serves() {
        step(world, Action::ServeAnyway(me), found, |next| next.fronts[index].waited = true);
    }
    if !front.relay_knows {
        step(world, Action::ReachRelay(me), found, |next| next.fronts[index].relay_knows = true);
    }
    if world.left.overrides > 0 {
        step(world, Action::Override(me), found, |next| {
            next.left.overrides -= 1;
            next.fronts[index].set_override(&world.heard(index), !front.overridden);
        });
    }
}

fn ask(model: &Handover, world: &World, index: usize, found: &mut Found) {
    let front = &world.fronts[index];
    let Some(free) = world.requests.iter().position(Option::is_none) else { return };
    // Of two fronts that begin alike, the first request comes to the first one.
    let mirrored = index > 0 && world.left.requests == model.scenario.requests && model.scenario.relay_knows_second;
    if world.left.requests == 0 || !front.serves() || mirrored {
        return;
    }
    let heard = world.heard(index);
    let Admission::Go { authority, overtaken, silent } = front.admit(model, &heard) else { return };
    let phase = if model.has(Bug::RolloutReadTwice) { Phase::Routed } else { Phase::Running };
    let request = Request {
        front: index as u8,
        phase,
        at: authority,
        version: heard.version,
        recorded: heard.version,
        overtaken: overtaken && !model.has(Bug::OvertakenNotCounted),
        silent,
        apart: front.is_apart(),
        executed: false,
        shipped: Shipped::Nothing,
    };
    step(world, Action::Ask(index as u8), found, |next| {
        next.left.requests -= 1;
        next.requests[free] = Some(request);
        next.fronts[index].noted_silent |= silent;
    });
}

fn requests(world: &World, index: usize, found: &mut Found) {
    let Some(request) = world.requests[index] else { return };
    let (me, home) = (index as u8, usize::from(request.front));
    let change = |action, found: &mut Found, change: &dyn Fn(&mut Request)| {
        step(world, action, found, |next| next.requests[index].iter_mut().for_each(change));
    };
    if request.phase == Phase::Routed {
        let version = world.heard(home).version;
        change(Action::RecordLate(me), found, &|request| {
            (request.phase, request.recorded) = (Phase::Running, version);
        });
        return;
    }
    if !request.executed {
        let mut next = *world;
        next.requests[index] = Some(Request { executed: true, ..request });
        let result = laws::may_be_executed(&next, index).map(|owes| {
            owes.into_iter().for_each(|front| next.fronts[usize::from(front)].owes_count = true);
            next
        });
        found.push((Action::Execute(me), result));
    }
    if request.phase == Phase::Running {
        if request.executed {
            change(Action::Reply(me), found, &|request| request.phase = Phase::Answered);
        }
        if world.left.unknowns > 0 {
            step(world, Action::TimeOut(me), found, |next| {
                next.left.unknowns -= 1;
                next.requests[index] = Some(Request { phase: Phase::Unknown, ..request });
                next.fronts[home].noted_unknown |= next.fronts[home].preparing.is_some();
            });
        }
    }
    if !request.is_shipped() {
        let further = if request.shipped == Shipped::Nothing { Shipped::Intent } else { Shipped::Result };
        step(world, Action::Ship(me), found, |next| {
            next.requests[index] = Some(Request { shipped: further, ..request });
            next.fronts[home].relay_knows = true;
        });
    }
    // A request that was never executed by now never is: the relay has waited for longer than a request can take.
    if request.shipped == Shipped::Result && (request.executed || request.phase != Phase::Answered) {
        step(world, Action::Deliver(me), found, |next| next.requests[index] = None);
    }
}
