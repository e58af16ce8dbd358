//! One seed from its beginning to its end.

use crate::asks::Asks;
use crate::clients::Told;
use crate::fired::{Fired, What};
use crate::planted::Mistake;
use crate::process::{Process, Reply};
use crate::shape::Shape;
use crate::{chaos, checks, clients};
use eventlog::simulated::{Broker, Client, Faults};
use fastrand::Rng;
use host::clock;
use host::simulated::Simulated;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed_auditor::{Expectations, Observer};
use wire::scalar::Digest;

/// Once nothing goes wrong any more, everything that was begun ends within this time: the longest pause of an owner that
/// lost its rounds is two seconds, and a client's patience a few times eight.
const HEALED_WITHIN: Duration = Duration::from_secs(180);

/// What came of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The digest of all that happened, in order.
    pub trace: Digest,
    /// What must not be.
    pub violations: Vec<String>,
    /// What went wrong, how often.
    pub fired: Fired,
    /// Requests that were sent.
    pub requests: u64,
}

/// A simulated world.
pub struct World {
    /// How large it is.
    pub shape: Shape,
    /// The log.
    pub broker: Arc<Broker>,
    /// The engines.
    pub processes: Vec<Process>,
    /// The one who watches.
    pub observer: Mutex<Observer>,
    /// What was told of versions and levels.
    pub told: Mutex<Told>,
    /// The ways to the log of all engines that ever ran.
    pub clients: Mutex<Vec<Arc<Client>>>,
    /// What is asked for.
    pub asks: Mutex<Asks>,
    random: Mutex<Rng>,
    state: Mutex<State>,
}

struct State {
    trace: Digest,
    violations: Vec<String>,
    fired: Fired,
    requests: u64,
    says: bool,
    heals: bool,
}

/// Runs the world of a seed, with a mistake planted into its engines or none; `says` prints what happens.
pub fn run(seed: u64, planted: Option<Mistake>, says: bool) -> Ran {
    let mut random = Rng::with_seed(seed);
    let (ids, clock_seed) = (Mutex::new(random.fork()), random.u64(..));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing");
    Mistake::plant(planted);
    let ran = runtime.block_on(async {
        let shape = Shape::draw(&mut random);
        let broker = Broker::new(clock_seed, shape.faults.clone());
        if shape.times_fall {
            broker.let_times_fall();
        }
        let wall = Arc::clone(&broker);
        let _entered = host::simulated::enter(Simulated {
            random_bytes: Box::new(move || ids.lock().expect("nobody panics with it").u128(..).to_le_bytes()),
            unix_micros: Box::new(move || wall.unix_micros()),
        });
        World::new(seed, shape, broker, random, says).live().await
    });
    Mistake::plant(None);
    ran
}

impl World {
    fn new(seed: u64, shape: Shape, broker: Arc<Broker>, random: Rng, says: bool) -> Arc<Self> {
        let state = State {
            trace: Digest::of(&seed.to_le_bytes()),
            violations: Vec::new(),
            fired: Fired::default(),
            requests: 0,
            says,
            heals: false,
        };
        Arc::new(Self {
            processes: (0..shape.processes).map(Process::new).collect(),
            observer: Mutex::new(Observer::new(Expectations::default())),
            told: Mutex::default(),
            clients: Mutex::default(),
            asks: Mutex::new(Asks::new(seed, shape.asks)),
            random: Mutex::new(random),
            state: Mutex::new(state),
            shape,
            broker,
        })
    }

    async fn live(self: Arc<Self>) -> Ran {
        self.note(&format!("{:?}", self.shape));
        for process in &self.processes {
            process.start(&self);
        }
        chaos::reassign(&self);
        let asking = clients::run(&self);
        let blows = host::task::spawn(chaos::run(Arc::clone(&self)));
        let asked = clock::timeout(Duration::from_secs(3_600), asking).await;
        if asked.is_err() {
            self.violation("clients were not done within an hour".to_owned());
        }
        blows.abort();
        self.heal().await;
        checks::run(&self).await;
        self.restart().await;
        self.ran()
    }

    /// Nothing goes wrong any more: waits until everything that was begun has ended.
    async fn heal(&self) {
        self.note("healing");
        self.state.lock().expect("nobody panics with it").heals = true;
        self.broker.set_faults(Faults::NONE);
        // Also those that were stopped while they stood still.
        self.clients.lock().expect("nobody panics with it").iter().for_each(|client| client.resume());
        for process in &self.processes {
            process.start(self);
        }
        for process in &self.processes {
            let number = process.number as u32;
            let shards = (0..self.shape.shards).filter(|shard| shard % self.shape.processes as u32 == number);
            process.assign(&shards.collect::<BTreeSet<u32>>());
        }
        if clock::timeout(HEALED_WITHIN, checks::quiet(self)).await.is_err() {
            let why = checks::why_not_quiet(self).await;
            self.violation(format!("not quiet within {HEALED_WITHIN:?} of the last fault: {why}"));
        }
    }

    /// Whatever runs begins anew, from snapshots where there are some, and shows the same.
    async fn restart(&self) {
        for process in &self.processes {
            process.kill();
            process.start(self);
        }
        if clock::timeout(HEALED_WITHIN, checks::quiet(self)).await.is_err() {
            let why = checks::why_not_quiet(self).await;
            return self.violation(format!("not quiet within {HEALED_WITHIN:?} of a restart: {why}"));
        }
        for running in self.processes.iter().filter_map(Process::running) {
            let begun = running.from_snapshots.get().copied().unwrap_or(0);
            (0..begun).for_each(|_| self.happened(What::SnapshotUsed, ""));
        }
        checks::run(self).await;
    }

    fn ran(&self) -> Ran {
        for (topic, partition, record) in self.broker.landed() {
            let place = format!("{topic} {partition} {} {}", record.offset, record.at_micros);
            self.note(&format!("{place} {}", Digest::of(&record.value)));
        }
        let state = self.state.lock().expect("nobody panics with it");
        let mut fired = state.fired.clone();
        self.broker.fired().into_iter().for_each(|(fault, times)| fired.add(What::Log(fault), times));
        Ran { trace: state.trace, violations: state.violations.clone(), fired, requests: state.requests }
    }

    /// Draws from the seed.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.random.lock().expect("nobody panics with it"))
    }

    /// Whether nothing goes wrong any more.
    pub fn heals(&self) -> bool {
        self.state.lock().expect("nobody panics with it").heals
    }

    /// Whether a process decides otherwise than the others.
    pub fn diverges(&self, process: usize) -> bool {
        self.shape.divergent == Some(process)
    }

    /// Something happened.
    pub fn note(&self, what: &str) {
        let mut state = self.state.lock().expect("nobody panics with it");
        let line = format!("{} {what}", self.broker.unix_micros());
        if state.says {
            #[allow(clippy::print_stderr, reason = "this is what it was asked for")]
            {
                eprintln!("{line}");
            }
        }
        state.trace = Digest::of(&[state.trace.to_string().as_bytes(), line.as_bytes()].concat());
    }

    /// Something happened that is counted.
    pub fn happened(&self, what: What, to: &str) {
        self.note(&format!("{what} {to}"));
        self.state.lock().expect("nobody panics with it").fired.note(what);
    }

    /// A request was sent, and came back like this.
    pub fn sent(&self, process: usize, what: &str, reply: &Reply) {
        self.note(&format!("{process}: {what}: {reply:?}"));
        let mut state = self.state.lock().expect("nobody panics with it");
        state.requests += 1;
        match reply {
            Reply::Lost => state.fired.note(What::AnswerLost),
            Reply::Answered { status: 202, .. } => state.fired.note(What::StillProcessing),
            Reply::Answered { .. } | Reply::NotSent => {}
        }
    }

    /// Something must not be.
    pub fn violation(&self, what: String) {
        self.note(&format!("VIOLATION {what}"));
        self.state.lock().expect("nobody panics with it").violations.push(what);
    }
}
