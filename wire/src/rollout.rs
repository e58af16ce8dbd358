//! `cutover.rollout`: changes of the dial, and the state they add up to.
//!
//! The fold stands here because three parts have to agree on it to the bit: the comparator that writes it, the
//! fronts that route by it and the relay that answers for drained accounts.

use crate::chain::{Chained, Head};
use crate::ids::{BUCKETS, bucket};
use crate::scalar::{Digest, Percent, Timestamp};
use crate::stored::{DecodeError, Stored};
use crate::words::{Stage, System};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// The topic.
pub const TOPIC: &str = "cutover.rollout";

/// One change, or one step of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// The digest of the record before it.
    pub parent: Digest,
    /// When it was written.
    pub at: Timestamp,
    /// Who asked for it (the name of the token, or the part).
    pub actor: String,
    /// Why, in the actor's words.
    pub reason: String,
    /// What changed.
    pub body: RolloutBody,
}

impl Stored for RolloutRecord {
    const TYPE: u16 = 0x0103;
    const VERSION: u16 = 1;
}

impl Chained for RolloutRecord {
    fn parent(&self) -> Digest {
        self.parent
    }
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutBody {
    /// A move in one phase: down, or one that takes no account along.
    Moved {
        /// The new version.
        version: u64,
        /// The new setting.
        to: Setting,
        /// Whether gates were overruled.
        forced: bool,
        /// The gates as they stood.
        evidence: Vec<GateReading>,
    },
    /// First phase of a move up: hold the accounts that move.
    Prepare {
        /// The version that a commit would make.
        version: u64,
        /// The new setting.
        to: Setting,
        /// Whether gates were overruled.
        forced: bool,
        /// The gates as they stood.
        evidence: Vec<GateReading>,
        /// The fronts that have to answer.
        fronts: Vec<FrontBoot>,
    },
    /// A front holds the moved accounts and has shipped everything up to its mark.
    Prepared {
        /// The version being prepared.
        version: u64,
        /// The front.
        front: FrontBoot,
        /// The last sequence it wrote before.
        mark: u64,
        /// Moved accounts with a leg that did not end in time.
        unknown_accounts: Vec<String>,
    },
    /// The relay has delivered everything decided on moved accounts up to all marks.
    Drained {
        /// The version being prepared.
        version: u64,
    },
    /// Second phase: the setting holds.
    Commit {
        /// The version.
        version: u64,
        /// Moved accounts that stay with their old authority, because a leg on them is unknown.
        held_back: Vec<String>,
    },
    /// The move is off: everything stays.
    Abort {
        /// The version that will not be.
        version: u64,
        /// Who was late, or why.
        late: Vec<String>,
    },
    /// No move up until unfrozen.
    Freeze,
    /// Moves up are possible again.
    Unfreeze,
    /// An account is to stay with one system whatever the dial says; `None` lets it go.
    ///
    /// It moves nobody by itself: an account that would change its authority is held back where it is, and a handover
    /// to the same setting takes it along.
    Pin {
        /// The new version.
        version: u64,
        /// The account.
        account: String,
        /// The system.
        system: Option<System>,
    },
}

/// Where the dial stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Setting {
    /// The stage.
    pub stage: Stage,
    /// The share of buckets that the engine answers.
    #[schema(value_type = String)]
    pub percent: Percent,
}

/// A front in one of its boots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct FrontBoot {
    /// The front.
    pub front: String,
    /// The boot.
    pub boot: u64,
}

/// How a gate stood when somebody wanted to go up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GateReading {
    /// The name of the gate.
    pub gate: String,
    /// Whether it was open.
    pub open: bool,
    /// What was seen, in words and figures.
    pub seen: String,
}

/// A prepared move that is neither committed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The version that a commit would make.
    pub version: u64,
    /// The setting that would hold.
    pub to: Setting,
    /// The fronts that have to answer.
    pub fronts: Vec<FrontBoot>,
    /// The fronts that did, with their marks.
    pub prepared: BTreeMap<String, u64>,
    /// Accounts that the fronts named as unknown.
    pub unknown_accounts: BTreeSet<String>,
    /// Whether the relay has delivered everything up to the marks.
    pub drained: bool,
}

/// The state of the rollout: the fold of the topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Scatters the buckets; the id of the ledger.
    pub salt: String,
    /// The digest of the last record folded.
    pub head: Digest,
    /// The version in force; 0 before the first change.
    pub version: u64,
    /// The highest version ever named, so that an aborted one is not used again.
    pub last_version: u64,
    /// The setting in force.
    pub setting: Setting,
    /// Whether moves up are frozen.
    pub frozen: bool,
    /// Accounts that stay with one system.
    pub pins: BTreeMap<String, System>,
    /// Accounts that are still with another system than pins and setting say: by the last commit because of a leg nobody
    /// knows about, by a pin, or by a move in one phase until a handover takes them along.
    pub held_back: BTreeMap<String, System>,
    /// The move under way, if any.
    pub pending: Option<Pending>,
    /// When the version in force began.
    pub since: Timestamp,
}

impl Stored for Rollout {
    const TYPE: u16 = 0x0302;
    const VERSION: u16 = 1;
}

impl Rollout {
    /// Before any record: everything is captured, the legacy answers.
    pub fn genesis(ledger: &str) -> Self {
        Self {
            salt: ledger.to_owned(),
            head: crate::chain::genesis(ledger, TOPIC),
            version: 0,
            last_version: 0,
            setting: Setting { stage: Stage::Capture, percent: Percent::NONE },
            frozen: false,
            pins: BTreeMap::new(),
            held_back: BTreeMap::new(),
            pending: None,
            since: Timestamp::default(),
        }
    }

    /// Folds the next stored record; `Ok(None)` when it extends another chain and is to be ignored.
    ///
    /// # Errors
    /// When the bytes cannot be read: the caller must stop, not skip.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<RolloutRecord>, DecodeError> {
        let mut head = Head::at(self.head);
        let Some(record) = head.take::<RolloutRecord>(bytes)? else { return Ok(None) };
        self.head = head.digest();
        self.apply(&record);
        Ok(Some(record))
    }

    fn apply(&mut self, record: &RolloutRecord) {
        match &record.body {
            RolloutBody::Moved { version, to, .. } => {
                self.pending = None;
                self.held_back = self.left_at_the_legacy(*to);
                self.enter(*version, *to, record.at);
            }
            RolloutBody::Prepare { version, to, fronts, .. } => {
                self.last_version = self.last_version.max(*version);
                self.pending = Some(Pending {
                    version: *version,
                    to: *to,
                    fronts: fronts.clone(),
                    prepared: BTreeMap::new(),
                    unknown_accounts: BTreeSet::new(),
                    drained: false,
                });
            }
            RolloutBody::Prepared { version, front, mark, unknown_accounts } => {
                if let Some(pending) = self.pending.as_mut().filter(|pending| pending.version == *version) {
                    pending.prepared.insert(front.front.clone(), *mark);
                    pending.unknown_accounts.extend(unknown_accounts.iter().cloned());
                }
            }
            RolloutBody::Drained { version } => {
                if let Some(pending) = self.pending.as_mut().filter(|pending| pending.version == *version) {
                    pending.drained = true;
                }
            }
            RolloutBody::Commit { version, held_back } => {
                if let Some(pending) = self.pending.take_if(|pending| pending.version == *version) {
                    // Whom the move does not take along is where it belongs.
                    let stay = held_back.iter().filter(|account| self.moves(pending.to, account));
                    self.held_back = stay.map(|account| (account.clone(), self.authority(account))).collect();
                    self.enter(*version, pending.to, record.at);
                }
            }
            RolloutBody::Abort { version, .. } => {
                self.pending.take_if(|pending| pending.version == *version);
            }
            RolloutBody::Freeze => self.frozen = true,
            RolloutBody::Unfreeze => self.frozen = false,
            RolloutBody::Pin { version, account, system } => {
                // What is prepared was prepared without it; a higher version always wins.
                self.pending = None;
                self.pin(account, *system);
                self.enter(*version, self.setting, record.at);
            }
        }
    }

    /// Records a pin and leaves its account where it is.
    fn pin(&mut self, account: &str, system: Option<System>) {
        let authority = self.authority(account);
        match system {
            Some(system) => self.pins.insert(account.to_owned(), system),
            None => self.pins.remove(account),
        };
        if self.authority_under(self.setting, account) == authority {
            self.held_back.remove(account);
        } else {
            self.held_back.insert(account.to_owned(), authority);
        }
    }

    /// Whom a move to `to` in one phase leaves at the legacy: it takes nobody to the engine by name, neither whom a leg
    /// of unknown effect held back nor whom a pin sends there. The way to the legacy is open to all, at once.
    fn left_at_the_legacy(&self, to: Setting) -> BTreeMap<String, System> {
        let stays = |account: &&String| {
            self.authority(account) == System::Legacy && self.authority_under(to, account) == System::Engine
        };
        let named = self.held_back.keys().chain(self.pins.keys());
        named.filter(stays).map(|account| (account.clone(), System::Legacy)).collect()
    }

    fn enter(&mut self, version: u64, setting: Setting, at: Timestamp) {
        self.version = version;
        self.last_version = self.last_version.max(version);
        self.setting = setting;
        self.since = at;
    }

    /// The system that decides on `account` now: where it is held back, else where pins and setting say.
    pub fn authority(&self, account: &str) -> System {
        match self.held_back.get(account) {
            Some(system) => *system,
            None => self.authority_under(self.setting, account),
        }
    }

    /// The system that would decide on `account` under another setting: the pin's, else the bucket's.
    ///
    /// Until `shadow` the engine follows nobody, so no pin makes it an authority; once `complete`, the legacy follows
    /// nobody any more.
    pub fn authority_under(&self, setting: Setting, account: &str) -> System {
        match (setting.stage, self.pins.get(account)) {
            (Stage::Passthrough | Stage::Capture, _) => System::Legacy,
            (Stage::Complete, _) => System::Engine,
            (Stage::Shadow | Stage::Ramp | Stage::Engine, Some(system)) => *system,
            (Stage::Shadow, None) => System::Legacy,
            (Stage::Engine, None) => System::Engine,
            (Stage::Ramp, None) if bucket(&self.salt, account) < setting.engine_buckets() => System::Engine,
            (Stage::Ramp, None) => System::Legacy,
        }
    }

    /// The system that decides where no account is known: the legacy until everything has moved.
    pub fn default_authority(&self) -> System {
        match self.setting.stage {
            Stage::Engine | Stage::Complete => System::Engine,
            _ => System::Legacy,
        }
    }

    /// Whether `account` would change its authority by a handover from the setting in force to `to`.
    pub fn moves(&self, to: Setting, account: &str) -> bool {
        self.authority(account) != self.authority_under(to, account)
    }

    /// This rollout after a handover to `to` that leaves nobody behind.
    #[must_use]
    pub fn handed_over(&self, to: Setting) -> Self {
        Self { setting: to, held_back: BTreeMap::new(), ..self.clone() }
    }

    /// Whether a handover to `to` takes any account along.
    pub fn takes_along(&self, to: Setting) -> bool {
        self.may_differ(&self.handed_over(to))
    }

    /// Whether any account may have another authority under `other` than under this one. Comparator, fronts and relay
    /// have to agree on it: it says of which moves fronts tell their marks, and the relay that they are drained.
    pub fn may_differ(&self, other: &Self) -> bool {
        let mut named = [self, other].into_iter().flat_map(|one| one.pins.keys().chain(one.held_back.keys()));
        self.setting.engine_buckets() != other.setting.engine_buckets()
            || named.any(|account| self.authority(account) != other.authority(account))
    }
}

impl Setting {
    /// The buckets that the engine answers (of [`BUCKETS`]), pins aside; the percentage counts only in `ramp`.
    pub fn engine_buckets(self) -> u16 {
        match self.stage {
            Stage::Passthrough | Stage::Capture | Stage::Shadow => 0,
            Stage::Ramp => self.percent.hundredths(),
            Stage::Engine | Stage::Complete => BUCKETS,
        }
    }
}

#[cfg(test)]
mod tests;
