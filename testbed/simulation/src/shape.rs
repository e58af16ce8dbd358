//! How large the world of a seed is, and what goes wrong in it.

use eventlog::simulated::Faults;
use fastrand::Rng;
use std::time::Duration;

/// The shape of a world.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Shards of the ledger.
    pub shards: u32,
    /// Engine processes.
    pub processes: usize,
    /// Clients at once.
    pub clients: usize,
    /// What they ask for, all together.
    pub asks: usize,
    /// What goes wrong in the log.
    pub faults: Faults,
    /// The longest pause between two blows to the processes.
    pub calm: Duration,
    /// The process whose engine decides otherwise than the others.
    pub divergent: Option<usize>,
    /// After so many outcomes there is a snapshot.
    pub snapshot_after_outcomes: u64,
    /// Whether the log's times fall when its clock is set back.
    pub times_fall: bool,
}

impl Shape {
    /// Draws one.
    pub fn draw(random: &mut Rng) -> Self {
        const OFTEN: [u32; 5] = [0, 10, 40, 120, 300];
        const LONG: [u64; 4] = [20, 200, 1_000, 7_000];
        const CALM: [u64; 4] = [100, 400, 1_500, 5_000];
        let processes = random.usize(1..=4);
        let divergent = random.u8(..4) == 0 && processes > 1;
        Self {
            shards: random.u32(1..=4),
            processes,
            clients: random.usize(2..=8),
            asks: random.usize(40..=140),
            faults: Faults {
                appends_permille: OFTEN[random.usize(..OFTEN.len())],
                reads_permille: OFTEN[random.usize(..OFTEN.len())] / 2,
                longest: Duration::from_millis(LONG[random.usize(..LONG.len())]),
                only_slow: random.u8(..10) == 0,
            },
            calm: Duration::from_millis(CALM[random.usize(..CALM.len())]),
            divergent: divergent.then(|| random.usize(..processes)),
            snapshot_after_outcomes: random.u64(3..40),
            times_fall: random.bool(),
        }
    }
}
