//! The whole state: the log, the fronts, the requests, and what is left of the scenario's bounds.

use super::front::Front;
use super::rollout::{FRONTS, Record, Rollout};
use super::{Scenario, System};

/// Requests that are under way or undelivered at one time.
pub const SLOTS: usize = 2;
/// Records that some front has not heard, or does not have on disk.
const TAIL: usize = 12;

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct World {
    /// What fronts may have heard at least; everybody has it on disk.
    base: Rollout,
    /// What follows it, as far as it means anything to fronts.
    tail: [Option<Record>; TAIL],
    /// What the whole log adds up to.
    pub end: Rollout,
    /// The comparator has decided to commit, and the record is on its way: it gets in if nothing else does before it.
    pub committing: Option<Record>,
    /// `handover_ms` have passed since the move under way was prepared.
    pub deadline: bool,
    /// The fronts.
    pub fronts: [Front; FRONTS],
    /// The requests that matter still.
    pub requests: [Option<Request>; SLOTS],
    /// What may still happen.
    pub left: Left,
}

/// What is left of a scenario's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Left {
    /// Moves up.
    pub ups: u8,
    /// Moves down.
    pub downs: u8,
    /// Moves of others.
    pub others: u8,
    /// Requests.
    pub requests: u8,
    /// Lost connections.
    pub cuts: u8,
    /// Restarts.
    pub restarts: u8,
    /// Overrides, set or lifted.
    pub overrides: u8,
    /// Unknown results.
    pub unknowns: u8,
}

/// How far a request has come at its front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Routed, and not recorded: only with the mistake that reads the rollout twice.
    Routed,
    /// Its intent is in the journal, and it was sent.
    Running,
    /// It was answered, and the result is in the journal.
    Answered,
    /// It was not answered, and a result that says so is in the journal.
    Unknown,
    /// Its front died, and left an intent.
    Orphan,
}

/// What of a request is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shipped {
    /// Nothing.
    Nothing,
    /// The intent.
    Intent,
    /// The result; of an orphan, the beginning of its front's next boot.
    Result,
}

/// A request on the account that the other system does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// Its front.
    pub front: u8,
    /// How far it has come.
    pub phase: Phase,
    /// Who decides.
    pub at: System,
    /// The version it was routed by.
    pub version: u8,
    /// The version its intent says.
    pub recorded: u8,
    /// It is counted as overtaken.
    pub overtaken: bool,
    /// It went on because its front heard nothing.
    pub silent: bool,
    /// Its front had no connection when it began, or when the dial began to move: "at connected fronts".
    pub apart: bool,
    /// Whether the system has executed it.
    pub executed: bool,
    /// What is in the log.
    pub shipped: Shipped,
}

impl Request {
    /// Whether its front waits for it.
    pub fn runs(&self) -> bool {
        matches!(self.phase, Phase::Routed | Phase::Running)
    }

    /// Whether everything that its front has written of it is in the log.
    pub fn is_shipped(&self) -> bool {
        match self.phase {
            Phase::Routed => true,
            Phase::Running => self.shipped == Shipped::Intent,
            Phase::Answered | Phase::Unknown | Phase::Orphan => self.shipped == Shipped::Result,
        }
    }
}

impl World {
    /// Before anything has happened.
    pub fn new(scenario: &Scenario) -> Self {
        let rollout = Rollout::new(scenario.start);
        let &Scenario { ups, downs, others, requests, cuts, restarts, overrides, unknowns, .. } = scenario;
        Self {
            base: rollout,
            tail: [None; TAIL],
            end: rollout,
            committing: None,
            deadline: false,
            fronts: [Front::new(true), Front::new(scenario.relay_knows_second)],
            requests: [None; SLOTS],
            left: Left { ups, downs, others, requests, cuts, restarts, overrides, unknowns },
        }
    }

    /// Appends a record. "The first wins": a commit that was on its way is none.
    pub fn append(&mut self, record: Record) {
        self.end.fold(record);
        self.committing = None;
        let drained_up = |version| self.end.version < version || self.end.pending.is_some_and(|p| p.version == version);
        match record {
            // Fronts have nothing to do with these.
            Record::Prepared { .. } => return,
            Record::Drained { version } if drained_up(version) => return,
            Record::Prepare { .. } | Record::Moved { .. } => {
                self.deadline = false;
                self.note_who_is_apart();
            }
            _ => {}
        }
        let free = self.tail.iter_mut().find(|place| place.is_none());
        *free.expect("a scenario has fewer records than there are places") = Some(record);
    }

    /// What is decided at fronts without a connection is not what a move waits for ("at connected fronts; others are
    /// named").
    fn note_who_is_apart(&mut self) {
        let apart = self.fronts.map(|front| front.is_apart());
        for request in self.requests.iter_mut().flatten() {
            request.apart |= apart[usize::from(request.front)];
        }
    }

    /// How many records there are that not everybody has.
    pub fn tail_len(&self) -> u8 {
        self.tail.iter().flatten().count() as u8
    }

    /// What a front has heard so far.
    pub fn heard(&self, front: usize) -> Rollout {
        self.up_to(self.fronts[front].heard)
    }

    /// What a front has on disk.
    pub fn kept(&self, front: usize) -> Rollout {
        self.up_to(self.fronts[front].kept)
    }

    fn up_to(&self, records: u8) -> Rollout {
        let mut rollout = self.base;
        self.tail.iter().take(usize::from(records)).flatten().for_each(|record| rollout.fold(*record));
        rollout
    }

    /// The next record for a front.
    pub fn next_for(&self, front: usize) -> Option<Record> {
        self.tail.get(usize::from(self.fronts[front].heard)).copied().flatten()
    }

    /// Whether a front waits for a request.
    pub fn runs_at(&self, front: usize) -> bool {
        self.requests.iter().flatten().any(|request| usize::from(request.front) == front && request.runs())
    }

    /// Whether nothing can be executed any more, so that whatever follows is only about timers and records.
    pub fn is_spent(&self) -> bool {
        let executed = |request: &Request| request.executed;
        self.left.requests == 0
            && self.requests.iter().flatten().all(executed)
            && !self.fronts.iter().any(|front| front.owes_count)
    }

    /// Fronts notice at once that what they had begun has ended: later, they would hold or count for longer.
    fn settle(&mut self) {
        for index in 0..FRONTS {
            let now = self.fronts[index].in_force(&self.heard(index));
            let mine: Vec<Request> =
                self.requests.iter().flatten().filter(|request| usize::from(request.front) == index).copied().collect();
            if mine.iter().all(Request::is_shipped) {
                let runs = |from| from != now && mine.iter().any(|request| request.runs() && request.at == from);
                self.fronts[index].settle(runs);
            }
        }
    }

    /// Forgets what can make no difference any more, so that states which differ in nothing else are one.
    pub fn tidy(&mut self) {
        if self.fronts.iter().any(|front| front.moves[0].is_some()) {
            self.settle();
        }
        if self.end.undrained[0].is_none() {
            // A later move needs later marks.
            self.end.marks = [0; FRONTS];
        }
        self.fronts.iter_mut().for_each(|front| front.waited |= front.caught_up);
        if self.left.restarts == 0 {
            // Nobody will ever look at a disk.
            self.fronts.iter_mut().for_each(|front| front.kept = front.heard);
        }
        while self.fronts.iter().all(|front| front.heard > 0 && front.kept > 0)
            && let Some(first) = self.tail[0]
        {
            self.base.fold(first);
            self.tail.rotate_left(1);
            self.tail[TAIL - 1] = None;
            self.fronts.iter_mut().for_each(|front| (front.heard, front.kept) = (front.heard - 1, front.kept - 1));
        }
        if self.requests[0].is_none() {
            self.requests.rotate_left(1);
        }
    }
}
