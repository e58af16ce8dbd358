//! How often what went wrong, so that a run cannot pass by having seen nothing.

use eventlog::simulated::Fault;
use std::collections::BTreeMap;
use std::fmt;

/// Something that goes wrong, or happens seldom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A fault of the log.
    Log(Fault),
    /// A process dies.
    Killed,
    /// A process stops in good order, and starts again.
    Restarted,
    /// A process stands still, and goes on when nobody expects it any more.
    Paused,
    /// Shards are given to other processes.
    Reassigned,
    /// A shard is given to several processes at once.
    SharedDuty,
    /// A shard is given to nobody.
    NobodysDuty,
    /// The log's clock jumps ahead.
    ClockAhead,
    /// The log's clock is set back.
    ClockBack,
    /// An outcome of an owner that decides otherwise is the accepted one.
    DivergentAccepted,
    /// An outcome is in the log that does not count.
    OutcomeIgnored,
    /// A saga is compensated.
    Compensated,
    /// A shard is begun at a snapshot.
    SnapshotUsed,
    /// A record of a snapshot is no longer what was written.
    SnapshotRotten,
    /// Somebody else writes among the commands, or into the journal, what is no record.
    Garbage,
    /// A client asks for many transactions at once.
    Batch,
    /// A client does not hear what became of its request.
    AnswerLost,
    /// A client is answered that its request is being worked on.
    StillProcessing,
}

impl What {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let others = [
            Self::Killed,
            Self::Restarted,
            Self::Paused,
            Self::Reassigned,
            Self::SharedDuty,
            Self::NobodysDuty,
            Self::ClockAhead,
            Self::ClockBack,
            Self::DivergentAccepted,
            Self::OutcomeIgnored,
            Self::Compensated,
            Self::SnapshotUsed,
            Self::SnapshotRotten,
            Self::Garbage,
            Self::Batch,
            Self::AnswerLost,
            Self::StillProcessing,
        ];
        Fault::ALL.map(Self::Log).into_iter().chain(others).collect()
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(fault) => write!(f, "{fault:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fired(pub BTreeMap<What, u64>);

impl Fired {
    /// One more.
    pub fn note(&mut self, what: What) {
        self.add(what, 1);
    }

    /// So many more.
    pub fn add(&mut self, what: What, times: u64) {
        *self.0.entry(what).or_default() += times;
    }

    /// Those of another world as well.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(what, times)| self.add(*what, *times));
    }

    /// How often something happened.
    pub fn times(&self, what: What) -> u64 {
        self.0.get(&what).copied().unwrap_or(0)
    }

    /// What happened less often than `least` times.
    pub fn rarer_than(&self, least: u64) -> Vec<(What, u64)> {
        let counted = What::all().into_iter().map(|what| (what, self.times(what)));
        counted.filter(|(_, times)| *times < least).collect()
    }
}
