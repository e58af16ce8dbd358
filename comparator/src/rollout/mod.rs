//! The dial: who may move it when, and how a move becomes true.
//!
//! | module | what |
//! |---|---|
//! | [`gates`] | pure: what has to be true before the dial goes up |
//! | [`moves`] | pure: what was asked for, up or down, whom it takes along |
//! | [`state`] | what the topic adds up to, with its history |
//! | [`handover`] | the two phases of a move that takes accounts along |
//! | [`pins`] | accounts that stay with one system whatever the dial says |
//! | [`view`] | where the dial stands, for people |
//!
//! Every change is appended to the chain and answered once it was read back. A change decided on a state that
//! somebody else has changed meanwhile loses (409), except a rollback: that one insists.

pub mod gates;
pub mod handover;
pub mod moves;
pub mod pins;
pub mod state;
pub mod view;

use crate::chain::{Accepted, Chain, Failure};
use crate::ingest::Ingest;
use crate::stream::Fronts;
use crate::systems::EngineWatch;
use gates::Figures;
use handover::Along;
use host::clock;
use moves::Direction;
use state::DialState;
use std::sync::Arc;
use std::time::Duration;
use wire::control::Prepared;
use wire::rollout::{FrontBoot, GateReading, Rollout, RolloutBody, RolloutRecord, Setting};
use wire::scalar::Timestamp;
use wire::words::System;

/// Who a record names when no person asked for it.
pub const COMPARATOR: &str = "comparator";
/// How often a change that lost to a step of a handover, or a rollback that lost to anything, is tried again.
const RETRIES: u32 = 16;
/// A move up is decided on evidence that includes everything logged before it was asked for; if reading that
/// takes longer, the gates are closed.
const EVIDENCE_WITHIN: Duration = Duration::from_secs(2);

/// What is said once the legacy no longer follows.
const NO_WAY_BACK: &str = "the cutover is complete: the legacy no longer follows, and there is no way back to it";

/// Who asks for a change, and why.
#[derive(Debug, Clone)]
pub struct Request {
    /// The name of the token.
    pub actor: String,
    /// The reason given.
    pub reason: String,
}

/// Why a change of the dial did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Gates are closed.
    #[error("the gates {} are closed", names(.0))]
    GatesNotMet(Vec<GateReading>),
    /// A move was called off because not everybody was ready in time.
    #[error("the move was called off; late: {}", .0.join(", "))]
    HandoverLate(Vec<String>),
    /// The dial stands there already.
    #[error("{0}")]
    NothingToDo(String),
    /// Somebody else moved the dial first.
    #[error("{0}")]
    LostRace(String),
    /// Moves up are frozen.
    #[error("the dial is frozen: nothing moves up until somebody unfreezes it")]
    Frozen,
    /// A pin is recorded, but its account is where it was.
    #[error("{account} is pinned, but held back at the {at}: {because}; `rollout set {again}` takes it along")]
    HeldBack {
        /// The account.
        account: String,
        /// Where it is.
        at: System,
        /// Why the handover did not come off.
        because: Box<Refusal>,
        /// The setting in force, as it can be set.
        again: String,
    },
    /// A front answered for a move that does not wait for it.
    #[error("version {0} is not waiting for this front")]
    NotPending(u64),
    /// The log cannot be read or written.
    #[error("{0}")]
    Unavailable(String),
}

fn names(gates: &[GateReading]) -> String {
    gates.iter().map(|gate| gate.gate.as_str()).collect::<Vec<_>>().join(", ")
}

impl From<Failure<Refusal>> for Refusal {
    fn from(failure: Failure<Refusal>) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Lost => Refusal::LostRace("somebody else's change came first: look, and decide again".to_owned()),
            other => Refusal::Unavailable(other.to_string()),
        }
    }
}

/// The dial.
pub struct Dial {
    chain: Chain<DialState>,
    ingest: Arc<Ingest>,
    fronts: Fronts,
    engine: Arc<EngineWatch>,
    handover: Duration,
    drained_within_ms: u64,
}

impl Dial {
    /// The dial of a ledger; `chain` has been read to its end.
    pub fn new(
        chain: Chain<DialState>,
        ingest: Arc<Ingest>,
        fronts: Fronts,
        engine: Arc<EngineWatch>,
        handover: Duration,
        drained_within_ms: u64,
    ) -> Self {
        Self { chain, ingest, fronts, engine, handover, drained_within_ms }
    }

    /// The chain behind it.
    pub fn chain(&self) -> &Chain<DialState> {
        &self.chain
    }

    /// Where the dial stands, as the log has it now.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn state(&self) -> Result<Arc<DialState>, Refusal> {
        self.chain.catch_up().await.map_err(|error| Refusal::Unavailable(error.to_string()))
    }

    /// The gates as they stand for a move to `to`, by what is known at this moment.
    pub fn gates(&self, state: &DialState, to: Option<Setting>) -> Vec<GateReading> {
        gates::read(&self.figures(), state.rollout.setting, to)
    }

    /// The gates that a move to `to` would meet, by what is known at this moment: none on the way down.
    ///
    /// # Errors
    /// [`Refusal`], when [`Dial::set`] would refuse the move for another reason than its gates.
    pub fn gates_met(&self, state: &DialState, to: Setting) -> Result<Vec<GateReading>, Refusal> {
        match way(&state.rollout, to)? {
            Way::Down | Way::Back => Ok(Vec::new()),
            Way::Up { .. } => Ok(self.gates(state, Some(to))),
        }
    }

    fn figures(&self) -> Figures {
        let now = Timestamp(clock::unix_micros());
        self.ingest.figures(now, self.fronts.connected(), self.drained_within_ms, self.engine.seen())
    }

    /// Sets the dial. Down it goes at once; up when the gates are open, or `force` overrules them.
    ///
    /// # Errors
    /// [`Refusal`]; whether `force` may be used is for the caller to know.
    pub async fn set(self: &Arc<Self>, by: Request, to: Setting, force: bool) -> Result<Arc<DialState>, Refusal> {
        let seen = self.state().await?;
        let (force, evidence, along) = match way(&seen.rollout, to)? {
            Way::Down => return self.move_down(&seen, &by, to).await,
            Way::Back => (false, self.gates(&seen, Some(to)), Along::OnlyToTheLegacy),
            Way::Up { moves_accounts: false } => {
                let evidence = self.evidence(&seen, to, force).await?;
                return self.move_in_one_phase(&seen, &by, to, force, evidence).await;
            }
            Way::Up { moves_accounts: true } => (force, self.evidence(&seen, to, force).await?, Along::Everybody),
        };
        // A handover needs a front to hold requests. Without any, the move is recorded as made in one phase.
        if self.fronts.connected().is_empty() {
            return self.move_in_one_phase(&seen, &by, to, force, evidence).await;
        }
        // One task from the first phase to the last: a client that hangs up does not leave a handover half-way.
        let dial = self.clone();
        let task = host::task::spawn(async move { dial.hand_over(&seen, &by, to, force, evidence, along).await });
        task.await.unwrap_or_else(|error| Err(interrupted(&error)))
    }

    /// The gates with everything that was logged until now; an error when one is closed and nobody forces.
    async fn evidence(&self, seen: &DialState, to: Setting, force: bool) -> Result<Vec<GateReading>, Refusal> {
        let (settled, ()) = futures_util::future::join(self.ingest.settle(EVIDENCE_WITHIN), self.engine.look()).await;
        let mut figures = self.figures();
        if !settled && figures.behind.is_none() {
            figures.behind = Some("the index does not follow the log closely enough to be asked".to_owned());
        }
        let readings = gates::read(&figures, seen.rollout.setting, Some(to));
        let closed = gates::closed(&readings);
        if closed.is_empty() || force { Ok(readings) } else { Err(Refusal::GatesNotMet(closed)) }
    }

    async fn move_down(&self, seen: &DialState, by: &Request, to: Setting) -> Result<Arc<DialState>, Refusal> {
        let evidence = self.gates(seen, Some(to));
        self.move_in_one_phase(seen, by, to, false, evidence).await
    }

    async fn move_in_one_phase(
        &self,
        seen: &DialState,
        by: &Request,
        to: Setting,
        forced: bool,
        evidence: Vec<GateReading>,
    ) -> Result<Arc<DialState>, Refusal> {
        let moved = |now: &DialState| {
            let (version, evidence) = (now.rollout.last_version + 1, evidence.clone());
            Ok(RolloutBody::Moved { version, to, forced, evidence })
        };
        self.change(seen, by, moved).await
    }

    /// Both phases of a move.
    async fn hand_over(
        &self,
        seen: &DialState,
        by: &Request,
        to: Setting,
        forced: bool,
        evidence: Vec<GateReading>,
        along: Along,
    ) -> Result<Arc<DialState>, Refusal> {
        // Fronts may hear of it as soon as it is handed over to the log.
        let (begun, fronts) = (clock::now(), self.fronts.connected());
        let prepare = |now: &DialState| {
            let (version, evidence, fronts) = (now.rollout.last_version + 1, evidence.clone(), fronts.clone());
            Ok(RolloutBody::Prepare { version, to, forced, evidence, fronts })
        };
        let prepared = self.change(seen, by, prepare).await?;
        handover::run(self, prepared.rollout.last_version, begun, by, along).await
    }

    /// Back to shadow at 0 %, whatever is frozen or under way. Insists when others change the dial meanwhile.
    ///
    /// # Errors
    /// [`Refusal::NothingToDo`] when the engine answers nothing and no move is under way.
    pub async fn rollback(&self, by: &Request) -> Result<Arc<DialState>, Refusal> {
        self.insist(by, |now| {
            let rollout = &now.rollout;
            let lower = match moves::direction(rollout, moves::ROLLBACK) {
                Direction::Down => moves::ROLLBACK,
                Direction::Never => return Err(Refusal::NothingToDo(NO_WAY_BACK.to_owned())),
                // Nothing moves, but a move that is being handed over is called off by a higher version.
                _ if rollout.pending.is_some() => rollout.setting,
                // The dial stands there already, and some are still at the engine: at once, without a handover.
                _ if moves::held_at_the_engine(rollout).next().is_some() => rollout.setting,
                _ => return Err(Refusal::NothingToDo(nothing_to_roll_back(rollout))),
            };
            let evidence = self.gates(now, Some(lower));
            Ok(RolloutBody::Moved { version: rollout.last_version + 1, to: lower, forced: false, evidence })
        })
        .await
    }

    /// Forbids moves up, or allows them again.
    ///
    /// # Errors
    /// [`Refusal::NothingToDo`] when it is so already.
    pub async fn freeze(&self, by: &Request, frozen: bool) -> Result<Arc<DialState>, Refusal> {
        let seen = self.state().await?;
        let body = |now: &DialState| match (now.rollout.frozen, frozen) {
            (false, true) => Ok(RolloutBody::Freeze),
            (true, false) => Ok(RolloutBody::Unfreeze),
            (true, true) => Err(Refusal::NothingToDo("the dial is frozen already".to_owned())),
            (false, false) => Err(Refusal::NothingToDo("the dial is not frozen".to_owned())),
        };
        self.change(&seen, by, body).await
    }

    /// Records that a front holds the accounts that move; of a move made in one phase, that nothing is on its way
    /// any more from the front to authorities that were before it.
    ///
    /// # Errors
    /// [`Refusal::NotPending`] when no move waits for this boot of this front.
    pub async fn prepared(&self, answer: &Prepared) -> Result<(), Refusal> {
        let front = FrontBoot { front: answer.front.clone(), boot: answer.boot };
        let reason = "nothing it began before the move is under way or unshipped".to_owned();
        let by = Request { actor: answer.front.clone(), reason };
        let body = |now: &DialState| {
            let pending = now.rollout.pending.as_ref().filter(|pending| pending.version == answer.version);
            let told = match pending {
                Some(pending) if pending.fronts.contains(&front) => pending.prepared.contains_key(&front.front),
                None if now.awaits_mark(answer.version) => now.has_mark(&front, answer.version),
                _ => return Err(Refusal::NotPending(answer.version)),
            };
            if told {
                return Err(Refusal::NothingToDo("answered before".to_owned()));
            }
            Ok(RolloutBody::Prepared {
                version: answer.version,
                front: front.clone(),
                mark: answer.mark,
                unknown_accounts: answer.unknown_accounts.clone(),
            })
        };
        match self.insist(&by, body).await {
            Ok(_) | Err(Refusal::NothingToDo(_)) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// Appends what `body` makes of the newest state, as long as nobody has changed the dial since `seen`.
    async fn change(
        &self,
        seen: &DialState,
        by: &Request,
        body: impl Fn(&DialState) -> Result<RolloutBody, Refusal>,
    ) -> Result<Arc<DialState>, Refusal> {
        self.insist(by, |now| {
            if same_ground(seen, now) {
                body(now)
            } else {
                Err(Refusal::LostRace("somebody else changed the dial meanwhile: look, and decide again".to_owned()))
            }
        })
        .await
    }

    /// Appends what `body` makes of the newest state, again and again while other records come first.
    async fn insist(
        &self,
        by: &Request,
        body: impl Fn(&DialState) -> Result<RolloutBody, Refusal>,
    ) -> Result<Arc<DialState>, Refusal> {
        let mut failure = Failure::Lost;
        for _ in 0..RETRIES {
            let record = |now: &DialState| body(now).map(|body| record(now, by, body));
            match self.chain.append(record).await {
                Ok(Accepted { offset, state }) => {
                    announce(offset, &state, by);
                    return Ok(state);
                }
                Err(Failure::Lost) => {}
                Err(other) => {
                    failure = other;
                    break;
                }
            }
        }
        Err(failure.into())
    }
}

fn nothing_to_roll_back(rollout: &Rollout) -> String {
    match moves::pins_to(rollout, System::Engine) {
        0 => "no account is answered by the engine".to_owned(),
        pinned => {
            format!("the engine answers only for {pinned} accounts that are pinned to it: unpin them, or set capture")
        }
    }
}

fn interrupted(error: &impl std::fmt::Display) -> Refusal {
    Refusal::Unavailable(format!("the handover was interrupted: {error}"))
}

/// A move that may be asked for, gates aside.
enum Way {
    /// At once, whatever the gates say.
    Down,
    /// In two phases, whatever the gates say: accounts that were held back go to the legacy.
    Back,
    /// Through the gates.
    Up {
        /// Whether accounts change their authority.
        moves_accounts: bool,
    },
}

/// Whether the dial can be set to `to` at all, gates aside.
fn way(rollout: &Rollout, to: Setting) -> Result<Way, Refusal> {
    let direction = moves::direction(rollout, to);
    match direction {
        Direction::Down => return Ok(Way::Down),
        Direction::Never => return Err(Refusal::NothingToDo(NO_WAY_BACK.to_owned())),
        Direction::Nowhere if rollout.pending.is_none() => {
            return Err(Refusal::NothingToDo(format!("the dial stands at {} already", moves::describe(to))));
        }
        Direction::Nowhere | Direction::Back | Direction::Up { .. } => {}
    }
    not_under_way(rollout)?;
    match direction {
        Direction::Back => Ok(Way::Back),
        _ if rollout.frozen => Err(Refusal::Frozen),
        Direction::Up { moves_accounts } => Ok(Way::Up { moves_accounts }),
        Direction::Nowhere | Direction::Down | Direction::Never => Ok(Way::Up { moves_accounts: false }),
    }
}

/// Whether nothing is being handed over.
fn not_under_way(rollout: &Rollout) -> Result<(), Refusal> {
    rollout.pending.as_ref().map_or(Ok(()), |pending| {
        Err(Refusal::LostRace(format!(
            "the move to {} is being handed over: wait, or roll back",
            moves::describe(pending.to)
        )))
    })
}

fn record(now: &DialState, by: &Request, body: RolloutBody) -> RolloutRecord {
    RolloutRecord {
        parent: now.rollout.head,
        at: Timestamp(clock::unix_micros()),
        actor: by.actor.clone(),
        reason: by.reason.clone(),
        body,
    }
}

/// Whether a decision made on `seen` still stands: steps of an older handover do not matter, changes do.
fn same_ground(seen: &DialState, now: &DialState) -> bool {
    let ground = |state: &DialState| {
        let rollout = &state.rollout;
        (rollout.version, rollout.last_version, rollout.frozen, rollout.pending.as_ref().map(|pending| pending.version))
    };
    ground(seen) == ground(now)
}

fn announce(offset: u64, state: &DialState, by: &Request) {
    let rollout = &state.rollout;
    let change = state.changes.iter().rev().find(|change| change.offset == offset);
    tracing::info!(
        offset,
        version = rollout.version,
        dial = moves::describe(rollout.setting),
        pending = rollout.pending.as_ref().map(|pending| pending.version),
        actor = by.actor,
        change = change.map(|change| state::name(&change.record.body)),
        "the dial's chain has a new record"
    );
}
