//! The front's side of a move of the dial: who is held, who goes on, who was overtaken. Pure: records and time go
//! in, a [`View`] for requests and [`Effect`]s for the shell come out.
//!
//! Up, in two phases: *prepare* holds the accounts that move; *commit* releases them to the new authority, *abort*
//! to the old one; silence releases them to the old one, and those requests were overtaken if a commit shows up.
//! Down, in one phase: the new authority holds at once; the accounts that move are held until everything decided
//! by the old one is delivered, but not for long; then they go on, marked as overtaken until it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use wire::rollout::{FrontBoot, Rollout, RolloutBody, Setting};
use wire::scalar::Percent;
use wire::stored::DecodeError;
use wire::words::{Stage, System};

/// Moves whose end is awaited at most; of more, the oldest is no longer.
const MAX_UNFINISHED: usize = 8;

/// The state machine. `now` is any clock that never goes back.
#[derive(Debug)]
pub struct Handover {
    me: FrontBoot,
    /// How long a handover may take (`handover_ms`).
    patience: Duration,
    /// As the log has it.
    rollout: Arc<Rollout>,
    /// Whether an operator of this front has overruled it to 0 %.
    overridden: bool,
    /// What requests go by: the rollout, or the override of it.
    in_force: Arc<Rollout>,
    preparing: Option<Preparing>,
    unfinished: Vec<Unfinished>,
    /// Moves in one phase that the relay has not called drained, with what held before them, oldest first. An
    /// override hides them from requests, not from the relay, which waits for this front too.
    undrained: Vec<(u64, Arc<Rollout>)>,
    moves: u64,
}

#[derive(Debug)]
struct Preparing {
    version: u64,
    to: Setting,
    since: Duration,
    /// Whether this front has to answer: without that the move is not made.
    asked: bool,
    /// Whether this front's answer arrived.
    answered: bool,
    /// Whether it took too long, and everybody goes on.
    silent: bool,
}

/// A move made whose accounts may still have decisions of the old authority on their way.
#[derive(Debug, Clone)]
struct Unfinished {
    id: u64,
    version: u64,
    from: Arc<Rollout>,
    /// Only these accounts; `None`: all that moved.
    only: Option<Arc<BTreeSet<String>>>,
    /// Whether an override made it: what runs here at the old authority holds back its accounts, and nothing else does.
    by_override: bool,
    since: Duration,
    /// Whether the accounts are held.
    held: bool,
    /// Whether what this front had begun has ended and was shipped.
    settled: bool,
    drained: Drained,
}

/// What is known of the delivery of what the old authority decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    /// The relay will say so.
    Awaited,
    /// The relay has said so.
    Seen,
    /// Nobody will say so: the accounts count as overtaken until the dial moves again.
    Untold,
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Wait until nothing runs on accounts that would move by this, ship, and answer the comparator.
    Answer {
        /// The version being prepared.
        version: u64,
        /// The setting that would hold.
        to: Setting,
    },
    /// Wait until nothing runs at the old authority on accounts of this move, ship, and call [`Handover::settled`].
    Settle {
        /// The move.
        id: u64,
    },
    /// So many requests were sent to an authority that no longer was one.
    Overtook {
        /// How many.
        requests: u64,
    },
}

/// Accounts that this front has sent to the old authority although they were about to move.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exposed {
    /// Those of requests that run at this moment.
    pub running: BTreeSet<String>,
    /// Those of requests that went on in silence.
    pub silent: BTreeSet<String>,
    /// How many requests went on in silence.
    pub requests: u64,
}

/// What requests go by at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// The rollout in force.
    pub rollout: Arc<Rollout>,
    /// The rollout as the log has it, where an operator of this front has overruled it.
    overruled: Option<Arc<Rollout>>,
    /// Nobody knows where the dial stands: whatever goes on may be overtaken.
    unknown: bool,
    /// Accounts that move by this are held, or noted when nobody was heard in time or an override outranks the move.
    preparing: Option<(Setting, bool)>,
    unfinished: Vec<Unfinished>,
}

/// The accounts of an unfinished move.
#[derive(Debug, Clone)]
pub struct Scope {
    unfinished: Unfinished,
    now: Arc<Rollout>,
}

/// Whether a request for an account may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// To this system.
    Go {
        /// The system.
        authority: System,
        /// A handover of the account is not finished, or an override sends it elsewhere than the dial.
        overtaken: bool,
        /// It is if the move that nobody hears of was made: to be told to [`Handover::fold`].
        silent: bool,
    },
    /// Not yet: ask again when the view has changed.
    Hold,
}

impl Handover {
    /// Begins where the log stood when it was last heard, with the moves that were not finished then, oldest first.
    pub fn new(
        me: FrontBoot,
        patience: Duration,
        rollout: Rollout,
        overridden: bool,
        unfinished: Vec<(u64, Rollout)>,
        now: Duration,
    ) -> Self {
        let rollout = Arc::new(rollout);
        let preparing = rollout.pending.as_ref().map(|pending| Preparing {
            version: pending.version,
            to: pending.to,
            since: now,
            asked: pending.fronts.contains(&me),
            answered: false,
            silent: false,
        });
        let in_force = in_force(&rollout, overridden);
        let (none, undrained) = (Vec::new(), Vec::new());
        let mut this =
            Self { me, patience, rollout, overridden, in_force, preparing, unfinished: none, undrained, moves: 0 };
        for (version, from) in unfinished {
            let from = Arc::new(from);
            this.undrained.push((version, Arc::clone(&from)));
            this.begin_move(version, from, None, Drained::Awaited, now);
        }
        this
    }

    /// The rollout as the log has it.
    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    /// The moves that the relay has still to say are drained, and what held before each, oldest first.
    pub fn awaited(&self) -> impl DoubleEndedIterator<Item = (u64, &Rollout)> {
        self.undrained.iter().map(|(version, from)| (*version, &**from))
    }

    /// What requests go by now.
    pub fn view(&self) -> View {
        let preparing = self.preparing.as_ref().map(|one| (one.to, one.silent || self.overridden));
        let overruled = self.overridden.then(|| self.rollout.clone());
        let unfinished = self.unfinished.clone();
        View { rollout: self.in_force.clone(), overruled, unknown: false, preparing, unfinished }
    }

    /// Folds the next stored record of the rollout; one that extends another chain changes nothing.
    ///
    /// # Errors
    /// When the bytes cannot be read: nothing may be folded any more.
    pub fn fold(&mut self, bytes: &[u8], exposed: &Exposed, now: Duration) -> Result<Vec<Effect>, DecodeError> {
        let mut rollout = (*self.rollout).clone();
        let Some(record) = rollout.take(bytes)? else { return Ok(Vec::new()) };
        let (before, stood) = (self.in_force.clone(), self.rollout.clone());
        let entered = rollout.version != self.rollout.version;
        self.rollout = Arc::new(rollout);
        self.in_force = in_force(&self.rollout, self.overridden);
        let mut effects = Vec::new();
        match record.body {
            RolloutBody::Prepare { version, to, fronts, .. } => {
                let asked = fronts.contains(&self.me);
                self.preparing = Some(Preparing { version, to, since: now, asked, answered: false, silent: false });
                // An override outranks the move: without this front's answer it is called off.
                if asked && !self.overridden {
                    effects.push(Effect::Answer { version, to });
                }
            }
            RolloutBody::Moved { version, .. } => {
                self.preparing = None;
                self.forget_untold_by_the_dial();
                if stood.may_differ(&self.rollout) {
                    self.undrained.push((version, stood.clone()));
                    if self.undrained.len() > MAX_UNFINISHED {
                        self.undrained.remove(0);
                    }
                    // From where the dial stood, also if an override had sent them elsewhere: what other fronts have
                    // decided there is on its way all the same.
                    effects.extend(self.begin_move(version, stood, None, Drained::Awaited, now));
                }
            }
            RolloutBody::Commit { version, .. } if entered => {
                let preparing = self.preparing.take();
                self.forget_untold_by_the_dial();
                effects.extend(self.commit(version, before, preparing, exposed, now));
            }
            // Nobody moves by it; what was prepared without it is called off.
            RolloutBody::Pin { .. } => self.preparing = None,
            RolloutBody::Abort { version, .. } => {
                self.preparing.take_if(|preparing| preparing.version == version);
            }
            RolloutBody::Drained { version } => {
                self.undrained.retain(|(undrained, _)| *undrained != version);
                for one in self.unfinished.iter_mut().filter(|one| one.version == version) {
                    if one.drained == Drained::Awaited {
                        one.drained = Drained::Seen;
                    }
                }
                self.drop_finished();
            }
            RolloutBody::Commit { .. } | RolloutBody::Prepared { .. } | RolloutBody::Freeze | RolloutBody::Unfreeze => {
            }
        }
        Ok(effects)
    }

    /// Whoever was held from before the marks goes on. A front that did not hold, or no longer does, has accounts
    /// whose last decisions nobody waited for.
    fn commit(
        &mut self,
        version: u64,
        before: Arc<Rollout>,
        preparing: Option<Preparing>,
        exposed: &Exposed,
        now: Duration,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let silent = preparing.as_ref().is_some_and(|preparing| preparing.silent) || !exposed.silent.is_empty();
        let asked = preparing.as_ref().is_some_and(|preparing| preparing.asked);
        if preparing.is_some_and(|preparing| preparing.answered) && !silent {
            return effects;
        }
        if exposed.requests > 0 {
            effects.push(Effect::Overtook { requests: exposed.requests });
        }
        if !asked && before.may_differ(&self.in_force) {
            // The move was made without this front, which has decided on the accounts until now: nobody goes on before
            // that is shipped.
            effects.extend(self.begin_move(version, before.clone(), None, Drained::Seen, now));
        }
        let mut only = exposed.running.clone();
        if silent {
            only.extend(exposed.silent.iter().cloned());
        }
        effects.extend(self.begin_move(version, before, Some(only), Drained::Untold, now));
        effects
    }

    /// An operator of this front sets everything to 0 %, or no longer does.
    pub fn set_override(&mut self, on: bool, now: Duration) -> Vec<Effect> {
        let before = self.in_force.clone();
        self.overridden = on;
        self.in_force = in_force(&self.rollout, on);
        if !on {
            self.forget_untold();
        }
        if !before.may_differ(&self.in_force) {
            return Vec::new();
        }
        self.forget_untold();
        let begun = self.begin_move(self.rollout.version, before, None, Drained::Untold, now);
        if let Some(one) = self.unfinished.last_mut().filter(|_| begun.is_some()) {
            one.by_override = on;
        }
        begun.into_iter().collect()
    }

    /// The comparator has this front's answer.
    pub fn answered(&mut self, version: u64) {
        if let Some(preparing) = self.preparing.as_mut().filter(|preparing| preparing.version == version) {
            preparing.answered = true;
        }
    }

    /// What this front had begun at the old authority on accounts of this move has ended and was shipped.
    pub fn settled(&mut self, id: u64) {
        for one in self.unfinished.iter_mut().filter(|one| one.id == id) {
            one.settled = true;
            if one.drained == Drained::Untold {
                one.held = false;
            }
        }
        self.drop_finished();
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        if let Some(preparing) = self.preparing.as_mut() {
            preparing.silent |= now >= preparing.since + 2 * self.patience;
        }
        for one in &mut self.unfinished {
            one.held &= now < one.since + self.patience;
        }
    }

    /// When [`Handover::tick`] would change something next.
    pub fn wake_at(&self) -> Option<Duration> {
        let silence = self.preparing.iter().filter(|one| !one.silent).map(|one| one.since + 2 * self.patience);
        let release = self.unfinished.iter().filter(|one| one.held).map(|one| one.since + self.patience);
        silence.chain(release).min()
    }

    /// Whether a move is prepared, and neither made nor called off.
    pub fn is_preparing(&self) -> bool {
        self.preparing.is_some()
    }

    /// What has to be done for moves that were unfinished when it began.
    pub fn resume(&self) -> Vec<Effect> {
        self.unfinished.iter().map(|one| Effect::Settle { id: one.id }).collect()
    }

    /// The accounts of an unfinished move.
    pub fn scope(&self, id: u64) -> Option<Scope> {
        let unfinished = self.unfinished.iter().find(|one| one.id == id)?.clone();
        Some(Scope { unfinished, now: self.in_force.clone() })
    }

    fn begin_move(
        &mut self,
        version: u64,
        from: Arc<Rollout>,
        only: Option<BTreeSet<String>>,
        drained: Drained,
        now: Duration,
    ) -> Option<Effect> {
        let moves = |account: &String| from.authority(account) != self.in_force.authority(account);
        let only = only.map(|only| only.into_iter().filter(moves).collect::<BTreeSet<_>>());
        if only.as_ref().is_some_and(BTreeSet::is_empty) {
            return None;
        }
        self.moves += 1;
        let id = self.moves;
        let only = only.map(Arc::new);
        let (by_override, held, settled) = (false, true, false);
        self.unfinished.push(Unfinished { id, version, from, only, by_override, since: now, held, settled, drained });
        if self.unfinished.len() > MAX_UNFINISHED {
            self.unfinished.remove(0);
        }
        Some(Effect::Settle { id })
    }

    /// The dial has moved: from now on it tells what is overtaken, but for what still runs here, or is not shipped.
    fn forget_untold_by_the_dial(&mut self) {
        for one in self.unfinished.iter_mut().filter(|one| one.drained == Drained::Untold && !one.settled) {
            one.drained = Drained::Seen;
        }
        self.forget_untold();
    }

    fn forget_untold(&mut self) {
        self.unfinished.retain(|one| one.drained != Drained::Untold);
    }

    fn drop_finished(&mut self) {
        self.unfinished.retain(|one| !(one.settled && one.drained == Drained::Seen));
    }
}

impl Unfinished {
    fn concerns(&self, now: &Rollout, account: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(account))
            && self.from.authority(account) != now.authority(account)
    }
}

impl Scope {
    /// The old authority of an account, if the move takes it along.
    pub fn moved_from(&self, account: &str) -> Option<System> {
        self.unfinished.concerns(&self.now, account).then(|| self.unfinished.from.authority(account))
    }
}

impl View {
    /// The same, with everybody held who was let go because nobody had heard of the move's end: it is heard of now. Not if
    /// an override outranks the move.
    #[must_use]
    pub fn holding_the_silent(mut self) -> Self {
        if self.overruled.is_none() {
            self.preparing = self.preparing.map(|(to, _)| (to, false));
        }
        self
    }

    /// A view in which nothing is under way.
    pub fn steady(rollout: Rollout) -> Self {
        let rollout = Arc::new(rollout);
        Self { rollout, overruled: None, unknown: false, preparing: None, unfinished: Vec::new() }
    }

    /// The same, where nobody knows where the dial stands.
    #[must_use]
    pub fn of_an_unknown_dial(self) -> Self {
        Self { unknown: true, ..self }
    }

    /// The move that is prepared, and neither made nor called off.
    pub fn preparing(&self) -> Option<Setting> {
        self.preparing.map(|(to, _)| to)
    }

    /// Whether a request for this account may go on, and where to.
    pub fn admit(&self, account: &str) -> Admission {
        let authority = self.rollout.authority(account);
        let mut silent = false;
        if let Some((to, is_silent)) = self.preparing
            && self.overruled.as_ref().unwrap_or(&self.rollout).moves(to, account)
        {
            if !is_silent {
                return Admission::Hold;
            }
            silent = true;
        }
        // Whoever else hears of the dial sends the account elsewhere, and nobody hands it over.
        let elsewhere = |rollout: &Arc<Rollout>| rollout.authority(account) != authority;
        let mut overtaken = self.unknown || self.overruled.as_ref().is_some_and(elsewhere);
        for one in self.unfinished.iter().filter(|one| one.concerns(&self.rollout, account)) {
            // What the dial does meanwhile holds nobody whom an override has let go.
            if one.held && (one.by_override || self.overruled.is_none()) {
                return Admission::Hold;
            }
            overtaken = true;
        }
        Admission::Go { authority, overtaken, silent }
    }
}

/// What an override makes of a rollout: the legacy answers everything; the version stays.
fn in_force(rollout: &Arc<Rollout>, overridden: bool) -> Arc<Rollout> {
    if !overridden {
        return rollout.clone();
    }
    let mut legacy = (**rollout).clone();
    legacy.setting.stage = legacy.setting.stage.min(Stage::Shadow);
    legacy.setting.percent = Percent::NONE;
    legacy.pins.retain(|_, system| *system == System::Legacy);
    legacy.held_back.clear();
    Arc::new(legacy)
}
