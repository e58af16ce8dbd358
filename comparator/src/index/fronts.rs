//! The fronts as the log shows them: numbers without holes, boots that ended, marks; and what is missing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::control::FrontOverride;
use wire::numbers::{Follows, Numbers};
use wire::rollout::FrontBoot;
use wire::scalar::Timestamp;

/// Marks remembered; each reconciliation and each inquiry asks for one or two.
const MAX_MARKS: usize = 1_000;

/// All fronts.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    boots: BTreeMap<(String, u64), Boot>,
    numbers: BTreeMap<String, u32>,
    marks: BTreeMap<String, BTreeMap<String, Mark>>,
    mark_order: VecDeque<String>,
    gaps: BTreeMap<String, Gap>,
    /// Overrides in force, by the front and the boot that last said so.
    overrides: BTreeMap<String, (u64, FrontOverride)>,
    /// Missing exchanges and records, unreadable records and unclean boots, settled or not.
    pub(super) missing: u64,
}

/// A boot of a front.
#[derive(Debug, Default)]
pub(super) struct Boot {
    numbers: Numbers,
    /// The latest time of a record.
    at: Timestamp,
    pub(super) ended: bool,
    /// The rollout version that its last intent went by.
    pub(super) version: Option<u64>,
    /// Intents without result: the number, and the exchange.
    pub(super) pending: BTreeMap<u64, u64>,
}

/// A mark as a front wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The offset of the record.
    pub(super) offset: u64,
    /// When the log took it.
    pub(super) log: i64,
}

#[derive(Debug)]
struct Gap {
    exchanges: u64,
    what: String,
    at: Timestamp,
    settled: bool,
}

impl Gap {
    fn view(&self, id: &str) -> wire::control::Gap {
        wire::control::Gap {
            id: id.to_owned(),
            status: if self.settled { "settled" } else { "open" }.to_owned(),
            exchanges: self.exchanges,
            what: self.what.clone(),
            at: self.at,
        }
    }
}

impl Fronts {
    /// Takes a number. A hole before the first number of a boot counts only when the topic is read from its beginning
    /// (`from_start`): otherwise retention has taken what was there.
    pub(super) fn take(&mut self, front: &str, boot: u64, sequence: u64, at: Timestamp, from_start: bool) -> Follows {
        let next = self.numbers.len() as u32;
        self.numbers.entry(front.to_owned()).or_insert(next);
        let first = if from_start { 1 } else { sequence };
        let begin = || Boot { numbers: Numbers::from(first), ..Boot::default() };
        let known = self.boots.entry((front.to_owned(), boot)).or_insert_with(begin);
        known.at = known.at.max(at);
        known.numbers.take(sequence)
    }

    /// A front as a number of the index's own.
    pub(super) fn number(&self, front: &str) -> u32 {
        self.numbers.get(front).copied().unwrap_or(0)
    }

    /// Whether more than one front has written.
    pub(super) fn several(&self) -> bool {
        self.numbers.len() > 1
    }

    /// A boot, if it has written.
    pub(super) fn boot(&mut self, front: &str, boot: u64) -> Option<&mut Boot> {
        self.boots.get_mut(&(front.to_owned(), boot))
    }

    /// Earlier boots of a front that have not ended: when a later one writes, they never will.
    pub(super) fn left_behind(&self, front: &str, boot: u64) -> Vec<(u64, u64)> {
        let earlier = self.boots.range((front.to_owned(), 0)..(front.to_owned(), boot));
        earlier.filter(|(_, boot)| !boot.ended).map(|((_, number), boot)| (*number, boot.numbers.last())).collect()
    }

    /// The earliest time, by their clocks, that fronts may still write; `None` when no front is running.
    pub(super) fn clocks(&self) -> Option<i64> {
        let running = self.boots.values().filter(|boot| !boot.ended);
        running.map(|boot| boot.at.0 - crate::judge::overlap::CLOCK_ERROR_MICROS).min()
    }

    /// Fronts whose newest boot has not ended.
    pub(super) fn serving(&self) -> Vec<FrontBoot> {
        let mut newest: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
        for ((front, boot), state) in &self.boots {
            newest.insert(front, (*boot, state.ended));
        }
        let running = newest.into_iter().filter(|(_, (_, ended))| !ended);
        running.map(|(front, (boot, _))| FrontBoot { front: front.to_owned(), boot }).collect()
    }

    /// The rollout version that the last exchange of a front's boot went by.
    pub(super) fn version(&self, front: &FrontBoot) -> Option<u64> {
        self.boots.get(&(front.front.clone(), front.boot))?.version
    }

    /// Takes what a front says of its override; whether that is new. A boot that begins overruled says so again.
    pub(super) fn overruled(&mut self, front: &FrontBoot, on: bool, by: FrontOverride) -> bool {
        if !on {
            self.overrides.remove(&front.front);
            return true;
        }
        let before = self.overrides.insert(front.front.clone(), (front.boot, by.clone()));
        before.is_none_or(|(_, before)| before != by)
    }

    /// The override by which a front goes in this boot. Of a boot that said nothing of it, its first record says enough:
    /// it is in force no more.
    pub(super) fn overridden(&self, front: &FrontBoot) -> Option<&FrontOverride> {
        let newest = self.boots.range((front.front.clone(), 0)..=(front.front.clone(), u64::MAX)).next_back();
        let (said, by) = self.overrides.get(&front.front)?;
        newest.is_some_and(|((_, newest), _)| newest == said).then_some(by)
    }

    /// Remembers a mark.
    pub(super) fn mark(&mut self, id: &str, front: &str, mark: Mark) {
        if !self.marks.contains_key(id) {
            self.mark_order.push_back(id.to_owned());
        }
        self.marks.entry(id.to_owned()).or_default().entry(front.to_owned()).or_insert(mark);
        if self.mark_order.len() > MAX_MARKS
            && let Some(oldest) = self.mark_order.pop_front()
        {
            self.marks.remove(&oldest);
        }
    }

    /// Fronts that have written a mark.
    pub(super) fn marked(&self, id: &str) -> BTreeSet<String> {
        self.marks.get(id).map(|fronts| fronts.keys().cloned().collect()).unwrap_or_default()
    }

    /// When the last front wrote a mark, by the log.
    pub(super) fn mark_log(&self, id: &str) -> Option<i64> {
        self.marks.get(id)?.values().map(|mark| mark.log).max()
    }

    /// Where the mark stands, by the index's number of the front.
    pub(super) fn mark_offsets(&self, id: &str) -> BTreeMap<u32, u64> {
        let fronts = self.marks.get(id).into_iter().flatten();
        fronts.map(|(front, mark)| (self.number(front), mark.offset)).collect()
    }

    /// Counts a gap.
    pub(super) fn gap(&mut self, id: String, exchanges: u64, what: String, at: Timestamp) {
        self.missing += exchanges;
        self.gaps.entry(id).or_insert(Gap { exchanges, what, at, settled: false });
    }

    /// Settles a gap or opens it again; `false` when there is none.
    pub(super) fn settle(&mut self, id: &str, settled: bool) -> bool {
        self.gaps.get_mut(id).map(|gap| gap.settled = settled).is_some()
    }

    /// A gap, settled or not.
    pub(super) fn gap_view(&self, id: &str) -> Option<wire::control::Gap> {
        self.gaps.get(id).map(|gap| gap.view(id))
    }

    /// Gaps that nobody has settled.
    pub(super) fn open_gaps(&self) -> Vec<wire::control::Gap> {
        self.gaps.iter().filter(|(_, gap)| !gap.settled).map(|(id, gap)| gap.view(id)).collect()
    }
}
