//! The worlds of many seeds, some at once.

use crate::fired::Fired;
use crate::planted::Mistake;
use crate::world::run;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use wire::scalar::Digest;

/// The name of threads that run worlds.
const THREAD: &str = "simulated world";

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seeds.
    pub seeds: Range<u64>,
    /// A mistake to be planted: the first seed that finds it ends the run.
    pub plant: Option<Mistake>,
    /// Seeds that run at once.
    pub threads: usize,
    /// Whether everything that happens is printed.
    pub says: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Total {
    /// Seeds that were run, each with the digest of all that happened.
    pub traces: BTreeMap<u64, Digest>,
    /// Seeds that went wrong, and what.
    pub wrong: BTreeMap<u64, Vec<String>>,
    /// What went wrong in the worlds, how often.
    pub fired: Fired,
    /// Requests that were sent.
    pub requests: u64,
}

impl Total {
    /// A digest of everything that happened in all worlds.
    pub fn trace(&self) -> Digest {
        Digest::of(self.traces.values().map(ToString::to_string).collect::<String>().as_bytes())
    }
}

/// Runs a plan; `done` is called after each seed.
pub fn run_all(plan: &Plan, done: impl Fn() + Sync) -> Total {
    if !plan.says {
        be_silent();
    }
    let next = AtomicU64::new(plan.seeds.start);
    let total = Mutex::new(Total::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !plan.seeds.contains(&seed) {
                return;
            }
            let ran = run(seed, plan.plant, plan.says);
            let mut total = total.lock().expect("nobody panics with it");
            total.fired.merge(&ran.fired);
            total.requests += ran.requests;
            total.traces.insert(seed, ran.trace);
            if !ran.violations.is_empty() {
                total.wrong.insert(seed, ran.violations);
                if plan.plant.is_some() {
                    next.store(plan.seeds.end, Ordering::Relaxed);
                }
            }
            done();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.max(1) {
            let thread = std::thread::Builder::new().name(THREAD.to_owned());
            thread.spawn_scoped(scope, work).expect("a thread can be started");
        }
    });
    total.into_inner().expect("nobody panics with it")
}

/// An owner that meets what contradicts its drafts panics, and catches it: not worth a word for each seed.
fn be_silent() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(THREAD) {
                loud(panic);
            }
        }));
    });
}
