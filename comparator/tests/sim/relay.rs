//! A model of the relay: delivers shadow legs in the order of results, per account, with everything that can happen
//! to a leg.

use super::ledger::Request;
use std::collections::BTreeSet;
use wire::words::{Mode, System};

/// What a leg excludes while it runs or waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Account(String),
    Original(String),
    Key(String, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In its place in the order.
    Queued,
    Running,
    /// Refused for a reason of state, out of its lanes.
    Waiting,
    Done,
}

/// A shadow leg.
#[derive(Debug, Clone)]
pub struct Leg {
    /// The exchange, as an index into the world's.
    pub exchange: usize,
    pub to: System,
    pub mode: Mode,
    pub request: Request,
    pub lanes: Vec<Lane>,
    pub state: State,
    pub attempt: u32,
    /// When it was refused first, for a reason of state.
    pub refused_at: Option<i64>,
    /// Whether a leg of its accounts was applied since it was offered last.
    pub poked: bool,
    /// Of an exchange that the engine decided: its place in the engine's order, and where its intent stands.
    pub position: Option<u64>,
}

/// All legs, in order.
#[derive(Debug, Default)]
pub struct Relay {
    pub legs: Vec<Leg>,
    /// Legs before this one are done.
    begin: usize,
}

/// Legs under way at most.
const AT_ONCE: usize = 64;
/// A leg is forced when every front has shipped this far past its first refusal.
pub const FORCE_AFTER_MICROS: i64 = 1_000_000;

impl Relay {
    /// Takes its place in the order: behind all others, but of engine-decided ones that share a lane and have not
    /// begun, before those that the engine decided later.
    pub fn enqueue(&mut self, leg: Leg) {
        let behind = |other: &Leg| {
            other.state == State::Queued
                && other.attempt == 0
                && matches!((leg.position, other.position), (Some(mine), Some(theirs)) if mine < theirs)
                && other.lanes.iter().any(|lane| leg.lanes.contains(lane))
        };
        let place = self.legs[self.begin..].iter().position(behind).map_or(self.legs.len(), |place| self.begin + place);
        self.legs.insert(place, leg);
    }

    /// Legs that may be sent now. `blocked`: accounts of exchanges whose result is unknown; `shipped`: every front has
    /// shipped what it wrote up to then.
    pub fn ready(&mut self, blocked: &BTreeSet<String>, now: i64, shipped: i64) -> Vec<usize> {
        while self.legs.get(self.begin).is_some_and(|leg| leg.state == State::Done) {
            self.begin += 1;
        }
        let live = || self.legs[self.begin..].iter();
        let mut running: BTreeSet<Lane> =
            live().filter(|leg| leg.state == State::Running).flat_map(|leg| leg.lanes.clone()).collect();
        let queued: BTreeSet<Lane> =
            live().filter(|leg| leg.state == State::Queued).flat_map(|leg| leg.lanes.clone()).collect();
        running.extend(blocked.iter().cloned().map(Lane::Account));
        let mut at_once = live().filter(|leg| leg.state == State::Running).count();
        let mut taken = running.clone();
        let mut ready = Vec::new();
        for (index, leg) in self.legs.iter_mut().enumerate().skip(self.begin) {
            if at_once >= AT_ONCE {
                break;
            }
            let free = |taken: &BTreeSet<Lane>| !leg.lanes.iter().any(|lane| taken.contains(lane));
            match leg.state {
                State::Done | State::Running => continue,
                State::Queued if free(&taken) => {}
                State::Queued => {
                    taken.extend(leg.lanes.iter().cloned());
                    continue;
                }
                State::Waiting => {
                    let over = leg.refused_at.is_some_and(|at| now.min(shipped) >= at + FORCE_AFTER_MICROS);
                    if over && free(&running) && free(&queued) && free(&taken) {
                        leg.mode = Mode::Forced;
                    } else if !(leg.poked && free(&taken)) {
                        continue;
                    }
                }
            }
            taken.extend(leg.lanes.iter().cloned());
            leg.state = State::Running;
            leg.attempt += 1;
            leg.poked = false;
            at_once += 1;
            ready.push(index);
        }
        ready
    }

    /// A leg was applied: what waits on its accounts is offered again.
    pub fn poke(&mut self, applied: usize) {
        let lanes = self.legs[applied].lanes.clone();
        for leg in self.legs[self.begin..].iter_mut().filter(|leg| leg.state == State::Waiting) {
            leg.poked |= leg.lanes.iter().any(|lane| lanes.contains(lane));
        }
    }

    /// The leg of an exchange.
    pub fn of(&self, exchange: usize) -> Option<usize> {
        self.legs.iter().rposition(|leg| leg.exchange == exchange)
    }

    pub fn is_idle(&self) -> bool {
        self.legs[self.begin..].iter().all(|leg| leg.state == State::Done)
    }
}
