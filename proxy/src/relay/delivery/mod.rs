//! The relay's decisions: records in, actions out. Pure: time is an argument, nothing is read or sent here.
//!
//! | module | what |
//! |---|---|
//! | [`exchanges`] | the exchanges that are not concluded, and where each stands |
//! | [`fold`] | what records of the three topics do to them |
//! | [`ruling`] | which of the exchanges with one key has a leg |
//! | [`act`] | what is to be done now |
//! | [`report`] | what came of it |
//! | [`doubt`] | legs that may have been executed |
//! | [`offers`] | legs that were refused for a reason of state: offered again, in the end forced |
//! | [`order`], [`lanes`] | which leg goes when, and beside which others |
//! | [`keys`], [`accounts`], [`levels`], [`aliases`], [`fronts`] | what is known of keys, accounts, transactions, fronts |
//! | [`handover`] | when everything decided on accounts that move is delivered |
//! | [`told`] | what persons say of effects that nobody knows |
//! | [`answer`], [`reading`], [`request`], [`resolve`] | what legs and questions say and mean |
//!
//! Invariants: whatever is decided here is a function of records and their times, so that a relay that starts
//! anew comes to the same conclusions; what a record says goes before what would have been decided; a leg is sent
//! only after the record that announces it was read back; a leg is concluded only by a record.

mod accounts;
mod act;
pub(crate) mod aliases;
pub(crate) mod answer;
mod doubt;
pub(crate) mod exchanges;
mod fold;
mod fronts;
mod handover;
mod keys;
mod lanes;
mod levels;
mod offers;
mod order;
mod reading;
mod report;
pub(crate) mod request;
pub(crate) mod resolve;
mod ruling;
#[cfg(test)]
mod tests;
mod told;

pub(crate) use accounts::Facts;
pub(crate) use reading::Reading;

use accounts::Accounts;
use aliases::Aliases;
use exchanges::{Exchange, ExchangeId, Exchanges, Undecided};
use fronts::Fronts;
use handover::Handover;
use keys::Keys;
use lanes::Lanes;
use levels::Levels;
use offers::ParkingLot;
use order::{EngineOrder, Place};
use request::LegRequest;
use resolve::Question;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::control::{Alias, KnownTransaction};
use wire::ids::ExchangeNumber;
use wire::rollout::{Rollout, RolloutRecord};
use wire::scalar::Timestamp;
use wire::shadow::ShadowBody;
use wire::words::System;

/// Bounds and durations, in microseconds where they are durations.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Legs under way at the same time, per system.
    pub concurrency: usize,
    /// Questions under way at the same time.
    pub questions: usize,
    /// The first pause before a leg is sent again; it doubles with each try.
    pub retry_min_micros: i64,
    /// The longest pause before a leg is sent again.
    pub retry_max_micros: i64,
    /// The first pause between two questions about the same unknown result; it doubles with each.
    pub ask_again_micros: i64,
    /// The longest pause between two questions.
    pub ask_again_max_micros: i64,
    /// After which the legacy certainly no longer works on a request.
    pub legacy_longest_request_micros: i64,
    /// After which the engine certainly no longer works on a request.
    pub engine_request_timeout_micros: i64,
    /// How long after its first refusal everything shipped until then may still explain it.
    pub reoffer_micros: i64,
    /// How long a front whose connection was lost is waited for.
    pub front_grace_micros: i64,
    /// After which an intent whose result was never shipped counts as unknown.
    pub abandoned_micros: i64,
    /// Whether the legacy recognises a request that it has executed, and executes it once.
    pub legacy_deduplicates: bool,
    /// How often the cursor is written at most.
    pub cursor_every_micros: i64,
    /// So many exchanges may be kept before no more are read.
    pub max_kept: usize,
    /// Where bodies refer to earlier transactions.
    pub transaction_pointers: Vec<String>,
}

impl Rules {
    /// Whether a request may be sent to a system again.
    fn deduplicates(&self, system: System) -> bool {
        system == System::Engine || self.legacy_deduplicates
    }
}

/// What is to be done outside.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Append to `cutover.shadows`, in this order.
    Append(ShadowBody),
    /// Send a leg, then call [`Delivery::answered`].
    Send(Box<LegRequest>),
    /// Ask an authority, then call [`Delivery::found`].
    Ask(Question),
    /// Ask the target of a leg that may have been executed whether it was, then call [`Delivery::looked`].
    Look {
        /// Which offer of the leg.
        attempt: u32,
        /// The question.
        question: Question,
    },
    /// Ask what an account is, then call [`Delivery::learnt`].
    Learn(Arc<str>),
    /// Tell the engine these aliases, then call [`Delivery::posted`].
    Post(Vec<Alias>),
    /// Append to `cutover.rollout`, then call [`Delivery::drained_written`].
    Drained(RolloutRecord),
}

/// One of something per system.
#[derive(Debug, Default)]
struct Each<T> {
    legacy: T,
    engine: T,
}

impl<T> Each<T> {
    fn of(&self, system: System) -> &T {
        match system {
            System::Legacy => &self.legacy,
            System::Engine => &self.engine,
        }
    }

    fn of_mut(&mut self, system: System) -> &mut T {
        match system {
            System::Legacy => &mut self.legacy,
            System::Engine => &mut self.engine,
        }
    }
}

/// The state of the relay: the fold of the exchanges, its own records and the rollout.
#[derive(Debug)]
pub(crate) struct Delivery {
    rules: Rules,
    exchanges: Exchanges,
    undecided: Undecided,
    /// Exchanges without a result, in the order of their intents.
    open: BTreeSet<ExchangeId>,
    lanes: Lanes,
    order: EngineOrder,
    keys: Keys,
    accounts: Accounts,
    levels: Levels,
    aliases: Aliases,
    fronts: Fronts,
    rollout: Rollout,
    /// The next offset of `cutover.rollout`.
    rollout_folded: u64,
    /// When the fold had reached the present.
    present_since: Timestamp,
    /// Moves of the dial that are not drained, oldest first.
    handovers: Vec<Handover>,
    parked: ParkingLot,
    /// Legs that something not read yet may have to go before.
    early: BTreeSet<ExchangeId>,
    /// The next offset of `cutover.exchanges`.
    folded: u64,
    /// The latest times seen in `cutover.exchanges` and `cutover.shadows`.
    exchange_at: Timestamp,
    shadow_at: Timestamp,
    /// The last cursor that was written.
    cursor: u64,
    /// A cursor was handed over and is not read back yet.
    cursor_requested: bool,
    /// When the cursor may be written again.
    cursor_after: Timestamp,
    /// Repeats that wait until the leg of another exchange is announced.
    behind: BTreeMap<ExchangeId, Vec<ExchangeId>>,
    /// Exchanges that may have something to be done.
    todo: BTreeSet<ExchangeId>,
    /// Legs that may be able to start.
    ready: Each<BTreeSet<Place>>,
    /// How many legs are under way.
    running: Each<usize>,
    /// Those of them that wait for an answer of a system which is not sent anything twice: they take nobody's place.
    set_aside: Each<BTreeSet<ExchangeId>>,
    /// Undelivered legs by the time of their result.
    undelivered: Each<BTreeSet<(Timestamp, ExchangeId)>>,
    /// Unknown results by authority.
    unknown: Each<BTreeSet<ExchangeId>>,
    /// Unknown exchanges whose authority is to be asked now.
    to_ask: BTreeSet<ExchangeId>,
    /// How many questions are under way.
    asking: usize,
    /// When which exchange is to be looked at again.
    timers: BTreeSet<(Timestamp, ExchangeId)>,
    /// Aliases that the engine has not been told, by exchange.
    unposted: BTreeMap<ExchangeId, Alias>,
    /// Those of them that it is being told.
    posting: Option<Vec<ExchangeId>>,
    /// When it may be told again.
    post_after: Timestamp,
    /// When exchanges without result are looked through again.
    look_through_after: Timestamp,
    /// When parked legs are looked through again.
    settle_after: Timestamp,
    /// What persons have said of unknown effects, until it is taken up.
    words: BTreeMap<ExchangeNumber, told::Word>,
    /// No leg is begun any more.
    stopping: bool,
    outbox: Vec<Action>,
}

impl Delivery {
    /// The state before any record.
    pub fn new(ledger: &str, rules: Rules) -> Self {
        Self {
            rules,
            exchanges: Exchanges::default(),
            undecided: Undecided::default(),
            open: BTreeSet::new(),
            lanes: Lanes::default(),
            order: EngineOrder::default(),
            keys: Keys::default(),
            accounts: Accounts::default(),
            levels: Levels::default(),
            aliases: Aliases::default(),
            fronts: Fronts::default(),
            rollout: Rollout::genesis(ledger),
            rollout_folded: 0,
            present_since: Timestamp(i64::MIN),
            handovers: Vec::new(),
            parked: ParkingLot::default(),
            early: BTreeSet::new(),
            folded: 0,
            exchange_at: Timestamp::default(),
            shadow_at: Timestamp::default(),
            cursor: 0,
            cursor_requested: false,
            cursor_after: Timestamp::default(),
            behind: BTreeMap::new(),
            todo: BTreeSet::new(),
            ready: Each::default(),
            running: Each::default(),
            set_aside: Each::default(),
            undelivered: Each::default(),
            unknown: Each::default(),
            to_ask: BTreeSet::new(),
            asking: 0,
            timers: BTreeSet::new(),
            unposted: BTreeMap::new(),
            posting: None,
            post_after: Timestamp::default(),
            look_through_after: Timestamp::default(),
            settle_after: Timestamp::default(),
            words: BTreeMap::new(),
            stopping: false,
            outbox: Vec::new(),
        }
    }

    /// Whether no more exchanges should be read for the time being.
    ///
    /// Only while something is under way that will make room without them: legs that wait for nothing but the
    /// results of other exchanges would wait for ever.
    pub fn is_full(&self) -> bool {
        let active = self.active(System::Legacy) + self.active(System::Engine) + self.asking;
        let waits_for_others = active == 0 && !self.holds_engine();
        self.exchanges.len() >= self.rules.max_kept && !waits_for_others
    }

    /// When something is due that no record announces.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Begins no further leg; those under way go on.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// How many legs to a system take a place among those under way.
    fn active(&self, system: System) -> usize {
        self.running.of(system).saturating_sub(self.set_aside.of(system).len())
    }

    /// How many legs are under way.
    pub fn under_way(&self) -> usize {
        self.running.legacy + self.running.engine
    }

    /// When the result of the oldest undelivered leg to a system stood in the log.
    pub fn oldest_undelivered(&self, system: System) -> Option<Timestamp> {
        self.undelivered.of(system).first().map(|(at, _)| *at)
    }

    /// How many results of a system are unknown: of its own, as authority, and of legs that it has not answered.
    pub fn unknown(&self, system: System) -> usize {
        let unanswered = |exchange: &Exchange| exchange.leg().is_some_and(|leg| leg.target == system && leg.unanswered);
        self.unknown.of(system).len() + self.exchanges.iter().filter(|(_, exchange)| unanswered(exchange)).count()
    }

    /// What is known of a transaction, by either id.
    pub fn known_transaction(&self, id: &str) -> Option<KnownTransaction> {
        self.aliases.known(id)
    }
}
