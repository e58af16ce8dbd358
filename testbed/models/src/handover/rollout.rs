//! The records of `cutover.rollout`, and what they add up to for one account.

use super::System;

/// Moves in one phase of which `drained` is awaited at most.
const UNDRAINED: usize = 4;
/// How many fronts there are.
pub const FRONTS: usize = 2;

/// A record of the chain. The first that extends it wins, so that every step is taken on the newest state (DESIGN 5:
/// "Records extending a chain: the first wins").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Record {
    /// Up, first phase: "`prepare(v, moved buckets)`".
    Prepare {
        /// The version that it would make.
        version: u8,
        /// Whose answer is awaited: the boot of each connected front, 0 for the others.
        fronts: [u8; FRONTS],
    },
    /// "each front holds …, lets running ones end, ships, answers `prepared(v, boot, mark, unknown accounts)`"; also a
    /// front's mark for moves in one phase.
    Prepared {
        /// The version.
        version: u8,
        /// Who.
        front: u8,
        /// Whether the account has a leg that nobody knows about.
        unknown: bool,
    },
    /// "the relay answers `drained(v)`".
    Drained {
        /// The version.
        version: u8,
    },
    /// Up, second phase.
    Commit {
        /// The version.
        version: u8,
        /// "accounts with unknowns stay pinned to the old authority".
        held_back: bool,
    },
    /// "Anything else → `abort(v)`".
    Abort {
        /// The version.
        version: u8,
    },
    /// "Handover, down (one phase)". Also up, when no front is there to hold anything.
    Moved {
        /// The version.
        version: u8,
        /// The authority from now on.
        to: System,
        /// Whether the share of the engine changes: not if it only calls a prepared move off.
        differs: bool,
    },
}

/// A move under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pending {
    /// Its version.
    pub version: u8,
    /// Whose answer is awaited.
    pub fronts: [u8; FRONTS],
    /// Who has answered.
    pub prepared: [bool; FRONTS],
    /// Whether somebody has named the account as unknown.
    pub unknown: bool,
    /// Whether the relay has answered.
    pub drained: bool,
}

/// A move in one phase that is not drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Undrained {
    /// Its version.
    pub version: u8,
    /// The account's authority before.
    pub from: System,
    /// And after.
    pub to: System,
}

/// What the records add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rollout {
    /// In force.
    pub version: u8,
    /// The highest given out.
    pub last_version: u8,
    /// The authority by the dial alone.
    pub setting: System,
    /// The authority of an account that was left behind.
    pub held_back: Option<System>,
    /// The move under way.
    pub pending: Option<Pending>,
    /// Moves that are not drained, oldest first.
    pub undrained: [Option<Undrained>; UNDRAINED],
    /// The version that each front has left everything before behind.
    pub marks: [u8; FRONTS],
}

impl Rollout {
    /// Where the dial stands before anything has happened.
    pub fn new(setting: System) -> Self {
        Self {
            version: 1,
            last_version: 1,
            setting,
            held_back: None,
            pending: None,
            undrained: [None; UNDRAINED],
            marks: [0; FRONTS],
        }
    }

    /// The account's authority.
    pub fn authority(&self) -> System {
        self.held_back.unwrap_or(self.setting)
    }

    /// Whether the move under way would take the account along.
    pub fn pending_moves(&self) -> bool {
        self.pending.is_some() && self.authority() != System::Engine
    }

    /// The newest move whose end is awaited.
    pub fn awaited(&self) -> Option<Undrained> {
        self.undrained.iter().rev().copied().flatten().next()
    }

    /// Whether the relay may wait to hear that a front has left everything before `version` behind.
    pub fn awaits_mark(&self, version: u8) -> bool {
        version <= self.version && self.undrained.iter().flatten().any(|undrained| undrained.version <= version)
    }

    /// Folds a record.
    pub fn fold(&mut self, record: Record) {
        match record {
            Record::Prepare { version, fronts } => {
                self.last_version = self.last_version.max(version);
                let (prepared, unknown, drained) = ([false; FRONTS], false, false);
                self.pending = Some(Pending { version, fronts, prepared, unknown, drained });
            }
            Record::Prepared { version, front, unknown } => {
                match self.pending.as_mut().filter(|pending| pending.version == version) {
                    Some(pending) => {
                        pending.prepared[usize::from(front)] = true;
                        pending.unknown |= unknown;
                    }
                    None => self.marks[usize::from(front)] = version,
                }
            }
            Record::Drained { version } => {
                if let Some(pending) = self.pending.as_mut().filter(|pending| pending.version == version) {
                    pending.drained = true;
                }
                self.forget_undrained(version);
            }
            Record::Commit { version, held_back } => {
                if self.pending.take_if(|pending| pending.version == version).is_some() {
                    self.held_back = held_back.then(|| self.authority());
                    self.enter(version, System::Engine);
                }
            }
            Record::Abort { version } => {
                self.pending.take_if(|pending| pending.version == version);
            }
            Record::Moved { version, to, differs } => {
                self.pending = None;
                let from = self.authority();
                let differs = differs || self.held_back.is_some_and(|stays| stays == to);
                // One phase moves nobody to where an account was not let go because of a leg nobody knows about.
                self.held_back = self.held_back.filter(|stays| *stays != to);
                self.enter(version, to);
                if differs {
                    self.remember_undrained(Undrained { version, from, to: self.authority() });
                }
            }
        }
    }

    fn enter(&mut self, version: u8, setting: System) {
        self.version = version;
        self.last_version = self.last_version.max(version);
        self.setting = setting;
    }

    fn remember_undrained(&mut self, undrained: Undrained) {
        let free = self.undrained.iter_mut().find(|place| place.is_none());
        *free.expect("a scenario has fewer moves than there are places") = Some(undrained);
    }

    fn forget_undrained(&mut self, version: u8) {
        let mut left = self.undrained.into_iter().flatten().filter(|undrained| undrained.version != version);
        self.undrained = std::array::from_fn(|_| left.next());
    }
}
