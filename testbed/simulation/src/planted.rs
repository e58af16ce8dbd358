//! Mistakes planted into the engine, to see that they are found.

use std::fmt;
use std::str::FromStr;

/// A mistake of the domain or of the engine around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// What is decided.
    Domain(engine_domain::planted::Mistake),
    /// What is made of decisions.
    Engine(engine::planted::Mistake),
}

use engine::planted::Mistake::{
    AcceptedByOffset, AnsweredBeforeReadBack, NotRewound, SentOnAcknowledgement, SnapshotBeforeLetters,
    SnapshotOfDrafts, SnapshotOffByOne, StepsForgottenAtRestart, TimeFalls,
};
use engine_domain::planted::Mistake::{CompensationRefused, ReplyCachedBeforeAcceptance, ReservationReleasedTwice};

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Engine(AnsweredBeforeReadBack),
        Self::Engine(AcceptedByOffset),
        Self::Engine(SentOnAcknowledgement),
        Self::Engine(NotRewound),
        Self::Engine(StepsForgottenAtRestart),
        Self::Engine(SnapshotOfDrafts),
        Self::Engine(SnapshotOffByOne),
        Self::Engine(SnapshotBeforeLetters),
        Self::Engine(TimeFalls),
        Self::Domain(CompensationRefused),
        Self::Domain(ReplyCachedBeforeAcceptance),
        Self::Domain(ReservationReleasedTwice),
    ];

    /// Plants it in this thread, or nothing.
    pub fn plant(mistake: Option<Self>) {
        let (domain, engine) = match mistake {
            None => (None, None),
            Some(Self::Domain(mistake)) => (Some(mistake), None),
            Some(Self::Engine(mistake)) => (None, Some(mistake)),
        };
        engine_domain::planted::plant(domain);
        engine::planted::plant(engine);
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(mistake) => write!(f, "{mistake:?}"),
            Self::Engine(mistake) => write!(f, "{mistake:?}"),
        }
    }
}

impl FromStr for Mistake {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(|mistake| mistake.to_string()).join(", ");
        let found = Self::ALL.into_iter().find(|mistake| mistake.to_string() == text);
        found.ok_or_else(|| format!("no such mistake; there are {}", known()))
    }
}
