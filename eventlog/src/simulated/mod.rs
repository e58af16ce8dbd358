//! A log in memory whose faults come from a seed: for simulations, with many processes in one.
//!
//! The [`Broker`] keeps what is durable. Each simulated process reaches it through a [`Client`] of its own, which can be
//! paused and killed: what it has on its way then arrives later, or by chance. On one thread and a paused clock everything
//! that happens is a function of the seed.

mod client;
mod faults;

pub use client::Client;
pub use faults::{Fault, Faults};

use crate::port::{NewRecord, ReadError, Record};
use faults::Dice;
use host::clock::{self, Instant};
use host::watched::Watched;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The time of a broker that has just begun: 2030-01-01, in microseconds since 1970.
const EPOCH_MICROS: i64 = 1_893_456_000_000_000;

/// A topic and one of its partitions.
type Name = (String, u32);

/// Keeps the records.
#[derive(Debug)]
pub struct Broker {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    /// How far its clock is ahead of the time since it began.
    ahead_micros: i64,
    /// Whether times may fall within a partition.
    times_fall: bool,
    partitions: BTreeMap<Name, Partition>,
    /// Batches that were sent, and whose fate is open.
    on_the_way: usize,
    /// Where records landed, in that order.
    landed: Vec<(Name, u64)>,
}

#[derive(Debug, Default)]
struct Partition {
    /// The offset of the first record that was not deleted.
    begin: u64,
    records: Vec<Record>,
    /// Where it begins and ends, for those who wait.
    extent: Arc<Watched<Extent>>,
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    begin: u64,
    end: u64,
}

impl Partition {
    fn end(&self) -> u64 {
        self.begin + self.records.len() as u64
    }

    fn tell(&self) {
        self.extent.set(Extent { begin: self.begin, end: self.end() });
    }
}

impl Broker {
    /// One without records.
    pub fn new(seed: u64, faults: Faults) -> Arc<Self> {
        let state = State {
            dice: Dice::new(seed, faults),
            ahead_micros: 0,
            times_fall: false,
            partitions: BTreeMap::new(),
            on_the_way: 0,
            landed: Vec::new(),
        };
        Arc::new(Self { began: clock::now(), state: Mutex::new(state) })
    }

    /// A process that reaches it.
    pub fn client(self: &Arc<Self>) -> Arc<Client> {
        Client::new(Arc::clone(self))
    }

    /// From now on so much goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.state().dice.faults = faults;
    }

    /// How often what went wrong.
    pub fn fired(&self) -> BTreeMap<Fault, u64> {
        self.state().dice.fired.clone()
    }

    /// Sets the broker's clock ahead, or back. The times of one partition stand still then until they are reached again.
    pub fn move_clock(&self, micros: i64) {
        self.state().ahead_micros += micros;
    }

    /// From now on the times of a partition fall when the clock does: as in Kafka, when another broker leads.
    pub fn let_times_fall(&self) {
        self.state().times_fall = true;
    }

    /// Batches that were sent, by whomever, and that still may land.
    pub fn on_the_way(&self) -> usize {
        self.state().on_the_way
    }

    /// All records, in the order in which they landed, with their topics and partitions. What was deleted is missing.
    pub fn landed(&self) -> Vec<(String, u32, Record)> {
        let state = self.state();
        let record = |(name, offset): &(Name, u64)| {
            let partition = state.partitions.get(name)?;
            let index = usize::try_from(offset.checked_sub(partition.begin)?).ok()?;
            Some((name.0.clone(), name.1, partition.records.get(index)?.clone()))
        };
        state.landed.iter().filter_map(record).collect()
    }

    /// Somebody appends who is none of the clients; the offset.
    pub fn put(&self, topic: &str, partition: u32, value: impl Into<bytes::Bytes>) -> u64 {
        self.land(&(topic.to_owned(), partition), &[NewRecord::of(value)])
    }

    /// A bit of one of a partition's records is another one from now on, wherever `draw` (below a bound) says; not if there
    /// is none.
    pub fn rot(&self, topic: &str, partition: u32, mut draw: impl FnMut(usize) -> usize) -> bool {
        let mut state = self.state();
        let records = state.partitions.get_mut(&(topic.to_owned(), partition)).map(|partition| &mut partition.records);
        let Some(records) = records.filter(|records| !records.is_empty()) else { return false };
        let index = draw(records.len());
        let mut value = records[index].value.to_vec();
        if value.is_empty() {
            return false;
        }
        let byte = draw(value.len());
        value[byte] ^= 1 << draw(8);
        records[index].value = value.into();
        true
    }

    /// The broker's clock, in microseconds since 1970.
    pub fn unix_micros(&self) -> i64 {
        self.micros(&self.state())
    }

    fn micros(&self, state: &State) -> i64 {
        let since = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        EPOCH_MICROS.saturating_add(since).saturating_add(state.ahead_micros)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, name: &Name) -> u64 {
        self.state().partitions.get(name).map_or(0, Partition::end)
    }

    /// Appends for good; the offset of the first record.
    fn land(&self, name: &Name, batch: &[NewRecord]) -> u64 {
        let mut state = self.state();
        let now = self.micros(&state);
        let State { partitions, landed, times_fall, .. } = &mut *state;
        let partition = partitions.entry(name.clone()).or_default();
        let first = partition.end();
        let last = partition.records.last().filter(|_| !*times_fall);
        let at_micros = last.map_or(now, |last| last.at_micros.max(now));
        landed.extend((0..batch.len() as u64).map(|index| (name.clone(), first + index)));
        partition.records.extend(batch.iter().zip(first..).map(|(record, offset)| Record {
            offset,
            at_micros,
            key: record.key.clone(),
            value: record.value.clone(),
        }));
        partition.tell();
        first
    }

    fn read(&self, name: &Name, from: u64, max: usize) -> Result<Vec<Record>, ReadError> {
        let state = self.state();
        let Some(partition) = state.partitions.get(name) else { return Ok(Vec::new()) };
        let Some(skip) = from.checked_sub(partition.begin) else {
            let (topic, begin) = (name.0.clone(), partition.begin);
            return Err(ReadError::Gone { topic, partition: name.1, begin, wanted: from });
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Ok(partition.records.iter().skip(skip).take(max).cloned().collect())
    }

    fn extent(&self, name: &Name) -> Arc<Watched<Extent>> {
        Arc::clone(&self.state().partitions.entry(name.clone()).or_default().extent)
    }

    fn delete_before(&self, name: &Name, before: u64) {
        let mut state = self.state();
        let Some(partition) = state.partitions.get_mut(name) else { return };
        let before = before.clamp(partition.begin, partition.end());
        let gone = usize::try_from(before - partition.begin).unwrap_or(usize::MAX);
        partition.records.drain(..gone);
        partition.begin = before;
        partition.tell();
    }
}
