//! A front: what it heard, whom it holds, whom it counts as overtaken.
//!
//! The same state machine as the product's, for one account: a move that is prepared, and moves that were made and are
//! not finished.

use super::rollout::{Record, Rollout};
use super::{Bug, Handover, System};

/// Unfinished moves that a front remembers.
const UNFINISHED: usize = 4;

/// A front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Front {
    /// Which start of it this is.
    pub boot: u8,
    /// Whether the comparator has its connection.
    pub connected: bool,
    /// Whether it has heard everything there was since it started.
    pub caught_up: bool,
    /// Whether it has heard everything there was since it has its connection.
    pub abreast: bool,
    /// Whether it serves because it has waited long enough for the comparator: "a restarted one its last known good
    /// after 1 s" (FORMATS).
    pub waited: bool,
    /// Records heard, of those that are still kept.
    pub heard: u8,
    /// Records whose sum is on its disk.
    pub kept: u8,
    /// The move that it prepares.
    pub preparing: Option<Preparing>,
    /// Moves made whose accounts may have decisions of the old authority on their way.
    pub moves: [Option<Unfinished>; UNFINISHED],
    /// Whether an operator has set it to the legacy.
    pub overridden: bool,
    /// The mistake that it knows no account that was left behind.
    pub forgets_held_back: bool,
    /// Whether the relay knows that there is such a front.
    pub relay_knows: bool,
    /// Requests that it would have to count if the commit it does not hear was made.
    pub noted_silent: bool,
    /// A request ended unknown while a move was prepared.
    pub noted_unknown: bool,
    /// Requests that went on in silence were sent to an authority that no longer was one, and are not counted yet.
    pub owes_count: bool,
}

/// A move that is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Preparing {
    /// Its version.
    pub version: u8,
    /// Whether this boot is asked, and has not answered.
    pub asked: bool,
    /// Whether the front knows that its answer has arrived.
    pub answered: bool,
    /// Whether it took too long: "A front that hears neither by 2 × `handover_ms` goes on with the old authority".
    pub silent: bool,
}

/// What is known of the delivery of what the old authority decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Drained {
    /// The relay will say so.
    Awaited,
    /// It has.
    Seen,
    /// Nobody will: overtaken until the dial moves again.
    Untold,
}

/// A move that is made and not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unfinished {
    /// Its version.
    pub version: u8,
    /// The authority before.
    pub from: System,
    /// Whether an override made it.
    pub by_override: bool,
    /// Whether the account is held.
    pub held: bool,
    /// Whether what this front had begun has ended and was shipped.
    pub settled: bool,
    /// Whether everything is delivered.
    pub drained: Drained,
}

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It goes to this system.
    Go {
        /// The system.
        authority: System,
        /// It is counted as overtaken.
        overtaken: bool,
        /// It is counted if the commit that nobody hears was made.
        silent: bool,
    },
    /// It waits.
    Hold,
}

impl Front {
    /// One that has heard everything.
    pub fn new(relay_knows: bool) -> Self {
        Self {
            boot: 1,
            connected: true,
            caught_up: true,
            abreast: true,
            waited: true,
            heard: 0,
            kept: 0,
            preparing: None,
            moves: [None; UNFINISHED],
            overridden: false,
            forgets_held_back: false,
            relay_knows,
            noted_silent: false,
            noted_unknown: false,
            owes_count: false,
        }
    }

    /// A new start of it, with what its disk says.
    pub fn restarted(&self, model: &Handover, kept: &Rollout) -> Self {
        let remembers = !model.has(Bug::SilenceForgotten);
        let (noted_silent, owes_count) = (self.noted_silent && remembers, self.owes_count);
        let preparing = kept.pending.map(|pending| Preparing {
            version: pending.version,
            asked: false,
            answered: false,
            silent: noted_silent,
        });
        let mut this = Self {
            boot: self.boot + 1,
            connected: false,
            caught_up: false,
            abreast: false,
            waited: false,
            heard: self.kept,
            overridden: self.overridden,
            forgets_held_back: self.forgets_held_back,
            noted_silent,
            owes_count,
            preparing,
            ..Self::new(self.relay_knows)
        };
        this.kept = self.kept;
        if let Some(awaited) = kept.awaited() {
            this.begin_move(awaited.version, awaited.from, this.in_force(kept), Drained::Awaited);
        }
        this
    }

    /// What it goes by: "an emergency override to 0 % … outranks every version until cleared".
    pub fn in_force(&self, rollout: &Rollout) -> System {
        match self.overridden {
            true => System::Legacy,
            false if self.forgets_held_back => rollout.setting,
            false => rollout.authority(),
        }
    }

    /// "at connected fronts": it hears the comparator, and nothing that was said before is still to be heard.
    pub fn is_apart(&self) -> bool {
        !(self.connected && self.abreast)
    }

    /// Whether requests are answered at all.
    pub fn serves(&self) -> bool {
        self.caught_up || self.waited
    }

    /// Whether a request may go on, and where to. `rollout` is what it has heard.
    pub fn admit(&self, model: &Handover, rollout: &Rollout) -> Admission {
        let authority = self.in_force(rollout);
        let counted = !model.has(Bug::OverrideNotCounted);
        let mut silent = false;
        if let Some(preparing) = self.preparing.filter(|_| !self.overridden || counted)
            && rollout.pending_moves()
        {
            // An override outranks the move that this front may have answered for.
            if !preparing.silent && !self.overridden {
                return Admission::Hold;
            }
            silent = true;
        }
        let mut overtaken = self.overridden && counted && rollout.authority() != authority;
        for unfinished in self.moves.iter().flatten().filter(|unfinished| unfinished.from != authority) {
            // What the dial does meanwhile holds nobody whom an override has let go.
            if unfinished.held && (unfinished.by_override || !self.overridden) {
                return Admission::Hold;
            }
            overtaken = true;
        }
        Admission::Go { authority, overtaken, silent }
    }

    /// Folds the next record. `rollout` is what it had heard before, `running` whether a request runs here. Answers
    /// whether the requests that went on in silence are counted now.
    pub fn hear(&mut self, model: &Handover, rollout: &mut Rollout, record: Record, running: bool, me: usize) -> bool {
        let mut counts = false;
        let (before, by_the_dial) = (self.in_force(rollout), rollout.authority());
        let (stood, share) = (rollout.version, (rollout.setting, rollout.held_back));
        rollout.fold(record);
        let now = self.in_force(rollout);
        match record {
            Record::Prepare { version, fronts } => {
                let asked = fronts[me] == self.boot && !self.overridden;
                self.preparing = Some(Preparing { version, asked, answered: false, silent: false });
            }
            Record::Moved { version, differs, .. } => {
                self.preparing = None;
                self.forget_untold_by_the_dial();
                let differs = differs || share != (rollout.setting, rollout.held_back);
                let counted = !(self.overridden && model.has(Bug::OverrideNotCounted));
                if differs && counted && !model.has(Bug::NoHoldOnTheWayDown) {
                    self.begin_move(version, by_the_dial, now, Drained::Awaited);
                }
            }
            Record::Commit { version, .. } if rollout.version != stood => {
                let preparing = self.preparing.take();
                self.forget_untold_by_the_dial();
                counts = self.commit(model, version, (before, now), preparing, running);
            }
            Record::Abort { version } => {
                self.preparing.take_if(|preparing| preparing.version == version);
            }
            Record::Drained { version } => {
                for one in self.moves.iter_mut().flatten().filter(|one| one.version == version) {
                    if one.drained == Drained::Awaited {
                        one.drained = Drained::Seen;
                    }
                }
                self.drop_finished();
            }
            Record::Commit { .. } | Record::Prepared { .. } => {}
        }
        if self.preparing.is_none() {
            (self.noted_silent, self.noted_unknown) = (false, false);
        }
        counts
    }

    /// "… and counts those requests `overtaken` if `commit` shows up". A front that did not hold, or no longer does,
    /// has decisions that nobody waited for.
    fn commit(
        &mut self,
        model: &Handover,
        version: u8,
        (before, now): (System, System),
        preparing: Option<Preparing>,
        running: bool,
    ) -> bool {
        let counts = self.noted_silent;
        let held = preparing.is_some_and(|preparing| preparing.answered && !preparing.silent) && !counts;
        if held || model.has(Bug::LostCommitIgnored) {
            return false;
        }
        if counts {
            self.owes_count = false;
        }
        if running || counts {
            self.begin_move(version, before, now, Drained::Untold);
        }
        counts
    }

    /// An operator overrules the dial, or lets it hold again.
    pub fn set_override(&mut self, rollout: &Rollout, on: bool) {
        let before = self.in_force(rollout);
        self.overridden = on;
        let now = self.in_force(rollout);
        self.forget_untold();
        self.begin_move(rollout.version, before, now, Drained::Untold);
        for one in self.moves.iter_mut().flatten().filter(|one| one.drained == Drained::Untold) {
            one.by_override = on;
        }
    }

    fn begin_move(&mut self, version: u8, from: System, now: System, drained: Drained) {
        // One that does not concern the account may come to, when the dial moves on.
        if from == now && drained != Drained::Awaited {
            return;
        }
        let free = self.moves.iter_mut().find(|place| place.is_none());
        *free.expect("a scenario has fewer moves than there are places") =
            Some(Unfinished { version, from, by_override: false, held: true, settled: false, drained });
    }

    /// What this front had begun at the old authority of a move has ended and was shipped, if nothing of it `runs` there.
    pub fn settle(&mut self, runs: impl Fn(System) -> bool) {
        for one in self.moves.iter_mut().flatten().filter(|one| !one.settled && !runs(one.from)) {
            one.settled = true;
            one.held &= one.drained != Drained::Untold;
        }
        self.drop_finished();
    }

    /// What an override still holds the dial does not let go.
    fn forget_untold_by_the_dial(&mut self) {
        for one in self.moves.iter_mut().flatten().filter(|one| one.by_override && one.held) {
            one.drained = Drained::Seen;
        }
        self.forget_untold();
    }

    fn forget_untold(&mut self) {
        self.moves.iter_mut().for_each(|place| {
            place.take_if(|one| one.drained == Drained::Untold);
        });
        self.close_ranks();
    }

    fn drop_finished(&mut self) {
        self.moves.iter_mut().for_each(|place| {
            place.take_if(|one| one.settled && one.drained == Drained::Seen);
        });
        self.close_ranks();
    }

    fn close_ranks(&mut self) {
        let mut left = self.moves.into_iter().flatten();
        self.moves = std::array::from_fn(|_| left.next());
    }
}
