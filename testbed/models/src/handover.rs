//! The handover: who answers for an account while the dial moves.
//!
//! Two fronts, the comparator's chain of rollout records, the relay's word that everything is delivered, one account
//! that moves between the two systems, and every interleaving of them within the bounds of a [`Scenario`].
//!
//! | module | what |
//! |---|---|
//! | [`rollout`] | the records of `cutover.rollout` and what they add up to |
//! | [`front`] | a front: what it heard, whom it holds, whom it counts as overtaken |
//! | [`world`] | the whole state, the log, the requests |
//! | [`steps`] | what can happen, with the sentence of the design that says so |
//! | [`laws`] | what must be true of every state |
//!
//! What is left out, because it changes nothing for one account: buckets and percentages (the account either moves or
//! does not), the gates, freezing, the contents of requests (each is applied), lanes (model [`crate::relay`]). How far a
//! record was shipped and how far the relay has folded it are one step: the relay says `drained` only of marks that it
//! has reached. Time is an order of events: the comparator's deadline (`handover_ms`) always comes before the silence
//! of a front (twice that, from a later beginning), and everything else may come at any time.

pub mod front;
pub mod laws;
pub mod rollout;
pub mod steps;
pub mod world;

use crate::search::{self, Report};
use laws::Violation;
use steps::Action;
use world::World;

/// One of the two systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum System {
    /// The one that is to be replaced.
    Legacy,
    /// The one that replaces it.
    Engine,
}

impl System {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            System::Legacy => System::Engine,
            System::Engine => System::Legacy,
        }
    }
}

/// A mistake planted into the model, to see that the search finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The comparator commits when one front has answered; the relay waits for that front's records alone.
    NoBarrier,
    /// The comparator commits when the fronts have answered, whatever the relay has still to deliver.
    DrainedNotAwaited,
    /// A front that has gone on in silence takes a commit as if it had held.
    LostCommitIgnored,
    /// The commit takes along accounts that a front named as unknown.
    HeldBackMoved,
    /// One of the fronts does not know that an account was left behind.
    HeldBackForgotten,
    /// A front does not name the account of a request that still runs.
    UnknownNotNamed,
    /// The version is read once to route an exchange and once more to record it.
    RolloutReadTwice,
    /// A front goes by a move in one phase without holding the accounts that it takes along.
    NoHoldOnTheWayDown,
    /// A front that let go of its accounts after `handover_ms` does not count what follows as overtaken.
    OvertakenNotCounted,
    /// A front tells its mark before its records are shipped.
    MarkBeforeShipped,
    /// A front tells its mark while requests run at the authority of before.
    MarkBeforeEnded,
    /// A front that hears nothing after a prepare waits on.
    NoSilence,
    /// The first record that extends the chain does not win: a commit that was decided on before a rollback is taken after
    /// it.
    CommitAfterRollback,
    /// A front tells its mark before the version is on disk, and goes back behind it when it restarts.
    MarkBeforeKept,
    /// The relay says that a move in one phase is drained when the fronts that it has heard of have told their marks; one
    /// that serves and has never reached the relay is not waited for. **The product does so** for a move that is made before
    /// such a front has reached it for the first time.
    UnknownFrontNotAwaited,
    /// A front that restarts forgets which requests went on in silence. **The product does so.**
    SilenceForgotten,
    /// What a front sends to the legacy because of an override is counted as overtaken from the override to the next move of
    /// the dial alone: not after that, not after a restart, and not if a commit follows that the front had answered for.
    OverrideNotCounted,
}

/// What may happen how often: the bounds of a search.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// The authority of the account at the start.
    pub start: System,
    /// Moves up that are asked for.
    pub ups: u8,
    /// Moves down, or rollbacks of a move under way.
    pub downs: u8,
    /// Moves down that take other accounts along, but not this one.
    pub others: u8,
    /// Requests on the account.
    pub requests: u8,
    /// How often a front loses the comparator; it may come back whenever it likes.
    pub cuts: u8,
    /// How often a front dies and starts again.
    pub restarts: u8,
    /// How often an operator overrules the dial at a front, or lets it hold again.
    pub overrides: u8,
    /// Requests whose answer is never known to their front.
    pub unknowns: u8,
    /// Whether the relay has heard of the second front: it has a record in the log, or a connection.
    pub relay_knows_second: bool,
}

impl Scenario {
    /// Nothing happens.
    pub const fn quiet(start: System) -> Self {
        Self {
            start,
            ups: 0,
            downs: 0,
            others: 0,
            requests: 0,
            cuts: 0,
            restarts: 0,
            overrides: 0,
            unknowns: 0,
            relay_knows_second: true,
        }
    }
}

/// The model: a scenario with or without a mistake.
#[derive(Debug, Clone, Copy)]
pub struct Handover {
    /// The bounds.
    pub scenario: Scenario,
    /// The mistake.
    pub bug: Option<Bug>,
}

impl Handover {
    /// Whether this mistake is made.
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Looks at every interleaving.
    pub fn search(&self, bound: usize) -> Report<Action, Violation> {
        search::search(self, bound)
    }
}

impl search::Model for Handover {
    type State = World;
    type Action = Action;
    type Violation = Violation;

    fn initial(&self) -> World {
        let mut world = World::new(&self.scenario);
        world.fronts[1].forgets_held_back = self.has(Bug::HeldBackForgotten);
        world
    }

    fn steps(&self, world: &World, found: &mut Vec<(Action, Result<World, Violation>)>) {
        steps::steps(self, world, found);
    }

    fn wrong(&self, world: &World) -> Option<Violation> {
        laws::wrong(self, world)
    }
}
