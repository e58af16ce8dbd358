//! The relay: shadow legs in the authority's order, each at most once, whatever dies or is late.
//!
//! Two fronts with journals that are shipped late, an authority, a shadow, the two topics, one relay (for a while two),
//! and clients near the bounds of their balances; a seed decides what happens next.
//!
//! | module | what |
//! |---|---|
//! | [`ledger`] | a billing system: balances, keys, transactions, modes of a leg |
//! | [`records`] | what stands in the two topics |
//! | [`exchanges`] | an exchange as the relay knows it, its leg, what there is to do |
//! | [`delivery`] | the relay: records in, one thing to do at a time out |
//! | [`places`] | which leg goes when, and which of several with one key is one |
//! | [`world`] | clients, fronts, the authority, faults, time |
//! | [`shells`] | relays as processes, and their legs under way |
//! | [`audit`] | what must be true, at once and at rest |
//!
//! What is left out: accounts that are made or changed, the stage `capture`, learning what an account is (the model's relay
//! knows), cursors, the engine's shards (one order for all of it). The relay of the model works on one thing at a time, in
//! an order that the seed chooses: that is more interleavings than the product has, not fewer.

pub mod audit;
pub mod delivery;
pub mod exchanges;
pub mod ledger;
pub mod places;
pub mod records;
pub mod shells;
pub mod world;

use audit::Violation;

/// Who decides and who follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// The legacy decides, the engine follows: it deduplicates, and what it refuses for a reason of state is offered again.
    ToEngine,
    /// The engine decides, a legacy follows that deduplicates and keeps what it refuses.
    ToLegacy,
    /// The engine decides, a legacy follows that executes whatever it gets, as often as it gets it.
    ToPlainLegacy,
}

impl Pairing {
    /// All of them.
    pub const ALL: [Pairing; 3] = [Pairing::ToEngine, Pairing::ToLegacy, Pairing::ToPlainLegacy];
}

/// A mistake planted into the model, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// What the authority refused is sent to the engine like what it applied.
    RefusedExecuted,
    /// A refused leg is forced when one front has shipped past it.
    ForcedEarly,
    /// A leg is sent before the record that announces it is written.
    SendingNotRecorded,
    /// A leg waits for earlier ones of its first account alone.
    SecondLaneIgnored,
    /// An exchange that nobody knows about is taken for one that was not executed.
    UnknownIsAbsent,
    /// A refund names the original by the id that the authority gave it.
    AliasOfTheAuthority,
    /// What was begun at a system that does not deduplicate is sent again when no answer comes.
    BegunSentAgain,
    /// A repeated answer has a leg of its own.
    RepeatHasALeg,
    /// A leg to the legacy does not wait for what the engine may have decided before.
    UndecidedNotAwaited,
    /// Legs to the legacy go in the order of the results, not of the engine.
    ResultsOrder,
    /// Legs do not wait for an unknown exchange on their account.
    UnknownNotAwaited,
    /// Only what was found out by asking waits, on its way to a legacy, for what other fronts have still to ship.
    OtherFrontsNotAwaited,
    /// A refused leg is forced beside one that its front wrote before the refusal, because the log took that one later.
    ExplainedByLogTime,
    /// A refund whose original is not there is given up although the original is refused itself and will be forced.
    GivenUpBesideParked,
    /// "Absent" counts from the intent on, although the request may have been sent long after it.
    AbsentFromIntent,
    /// A relay that was paused sends what it had announced, however long ago that was.
    SentLongAfter,
}

/// What one seed came to.
#[derive(Debug, Clone)]
pub struct Run {
    /// What was wrong, if anything was.
    pub violation: Option<Violation>,
    /// What happened, one line each.
    pub story: Vec<String>,
    /// How often what happened that the model is for.
    pub seen: audit::Seen,
}

/// Lets one world run from its beginning until it rests.
pub fn run(seed: u64, pairing: Pairing, bug: Option<Bug>) -> Run {
    world::World::new(seed, pairing, bug).run()
}
