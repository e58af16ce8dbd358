//! What goes wrong in a simulated log, how often, and how often it did.

use std::collections::BTreeMap;
use std::time::Duration;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing is appended, and whoever appends is told so.
    Refused,
    /// Nothing is appended, and nobody knows.
    Lost,
    /// The same, while later batches of the same process are on their way and get through.
    LostOneOfSeveral,
    /// The batch is appended, and nobody knows.
    Hidden,
    /// Nobody knows, and the batch is appended later, behind others.
    Late,
    /// The batch is appended twice.
    Duplicated,
    /// Only the beginning of a batch is appended, and nobody knows.
    Torn,
    /// An append takes long; what the process appends behind it waits.
    Slow,
    /// A tail shows nothing new for a while.
    StalledReader,
    /// A read fails.
    FailedRead,
    /// What a killed process had on its way is appended.
    LandedAtCrash,
    /// What a killed process had on its way is lost.
    LostAtCrash,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Refused,
        Self::Lost,
        Self::LostOneOfSeveral,
        Self::Hidden,
        Self::Late,
        Self::Duplicated,
        Self::Torn,
        Self::Slow,
        Self::StalledReader,
        Self::FailedRead,
        Self::LandedAtCrash,
        Self::LostAtCrash,
    ];
}

/// Those that a draw for an append chooses among.
const OF_APPENDS: [Fault; 7] =
    [Fault::Refused, Fault::Lost, Fault::Hidden, Fault::Late, Fault::Duplicated, Fault::Torn, Fault::Slow];
/// Those that a draw for a read chooses among.
const OF_TAILS: [Fault; 2] = [Fault::StalledReader, Fault::FailedRead];

/// How often something goes wrong, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// Of a thousand appends so many meet a fault.
    pub appends_permille: u32,
    /// Of a thousand reads so many.
    pub reads_permille: u32,
    /// What takes long takes up to this long.
    pub longest: Duration,
    /// Whether only time is lost: nothing fails, nothing comes twice.
    pub only_slow: bool,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self { appends_permille: 0, reads_permille: 0, longest: Duration::ZERO, only_slow: true };

    fn may_happen(&self, fault: Fault) -> bool {
        !self.only_slow || matches!(fault, Fault::Slow | Fault::StalledReader)
    }
}

/// Draws from a seed.
#[derive(Debug)]
pub(super) struct Dice {
    random: fastrand::Rng,
    pub(super) faults: Faults,
    pub(super) fired: BTreeMap<Fault, u64>,
}

impl Dice {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), faults, fired: BTreeMap::new() }
    }

    /// The fault of an append.
    pub(super) fn of_append(&mut self) -> Option<Fault> {
        self.draw(self.faults.appends_permille, &OF_APPENDS)
    }

    /// The fault of a read that waits for more.
    pub(super) fn of_tail(&mut self) -> Option<Fault> {
        self.draw(self.faults.reads_permille, &OF_TAILS)
    }

    /// Whether a read at one place fails.
    pub(super) fn read_fails(&mut self) -> bool {
        self.draw(self.faults.reads_permille, &[Fault::FailedRead]).is_some()
    }

    /// Counts a fault.
    pub(super) fn note(&mut self, fault: Fault) {
        *self.fired.entry(fault).or_default() += 1;
    }

    /// A number below `bound`; 0 for 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.random.usize(..bound) }
    }

    /// How long an append takes that takes no longer than usual.
    pub(super) fn latency(&mut self) -> Duration {
        Duration::from_millis(self.random.u64(..3))
    }

    /// How long something takes that takes long.
    pub(super) fn long(&mut self) -> Duration {
        let most = u64::try_from(self.faults.longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.random.u64(..=most))
    }

    fn draw(&mut self, permille: u32, among: &[Fault]) -> Option<Fault> {
        // Every draw takes as much from the seed, whatever comes of it.
        let (whether, which) = (self.random.u32(..1_000), self.random.usize(..among.len()));
        let fault = among[which];
        let fires = whether < permille && self.faults.may_happen(fault);
        fires.then(|| {
            self.note(fault);
            fault
        })
    }
}
