//! Fronts: how far each has shipped.
//!
//! A front's heartbeat says that everything it wrote before a time was sent. It counts once the relay has folded
//! what the log held when the heartbeat arrived, so that "shipped past" means "seen here".

use std::collections::{BTreeMap, VecDeque};
use wire::numbers::{Follows, Numbers};
use wire::rollout::FrontBoot;
use wire::scalar::Timestamp;

/// The fronts seen in the log and on the wire.
#[derive(Debug, Default)]
pub(crate) struct Fronts {
    fronts: BTreeMap<String, Front>,
    /// Whether the topic was read from its first record on.
    from_start: bool,
}

#[derive(Debug, Default)]
struct Front {
    /// The boot of its newest record.
    boot: u64,
    /// The sequences of that boot that were folded.
    numbers: Numbers,
    /// Whether that boot has said that nothing of it follows.
    ended: bool,
    /// The newest boot in which it has connected.
    greeted: u64,
    /// Everything written before this point, by its own clock, was folded.
    shipped: Timestamp,
    /// Heartbeats that count once the log was folded up to an offset.
    pending: VecDeque<(Timestamp, u64)>,
    /// How it stands with its connection.
    link: Link,
    /// The last one it told.
    mark: Option<Mark>,
}

/// A front's word that nothing of it was running or unshipped any more, up to a record, that was sent to a system
/// which no longer is the authority under a version or any before it. It binds the front's later boots as well.
#[derive(Debug)]
struct Mark {
    version: u64,
    boot: u64,
    sequence: u64,
}

#[derive(Debug, Default)]
enum Link {
    /// Known from the log only.
    #[default]
    Silent,
    /// Connected.
    Up,
    /// Lost at this point.
    Lost(Timestamp),
}

impl Fronts {
    /// The topic is read from its first record on.
    pub fn begin_at_the_start(&mut self) {
        self.from_start = true;
    }

    /// Whether a record is the next one of its front, a later one, or one that was missing; anything else is a repeat.
    pub fn take(&mut self, front: &str, boot: u64, sequence: u64) -> bool {
        let from_start = self.from_start;
        let seen = self.entry(front);
        if boot < seen.boot {
            return false;
        }
        if boot > seen.boot {
            // Of a front's first boot here, retention may have taken the beginning.
            let first = if seen.boot > 0 || from_start { 1 } else { sequence };
            (seen.boot, seen.numbers, seen.ended) = (boot, Numbers::from(first), false);
        }
        seen.numbers.take(sequence) != Follows::Repeat
    }

    /// The boot of a front's newest record; 0 when there is none.
    pub fn boot(&self, front: &str) -> u64 {
        self.fronts.get(front).map_or(0, |seen| seen.boot)
    }

    /// Nothing of the front's newest boot follows.
    pub fn ended(&mut self, front: &str) {
        self.entry(front).ended = true;
    }

    /// The fold has reached the present: fronts that have not ended may be on their way back.
    pub fn begin(&mut self, now: Timestamp) {
        for seen in self.fronts.values_mut().filter(|seen| !seen.ended) {
            if matches!(seen.link, Link::Silent) {
                seen.link = Link::Lost(now);
            }
        }
    }

    /// A front has connected, in this boot, of which there may be no record yet.
    pub fn connected(&mut self, front: &str, boot: u64) {
        let seen = self.entry(front);
        seen.link = Link::Up;
        seen.greeted = seen.greeted.max(boot);
    }

    /// A front's connection is gone.
    pub fn lost(&mut self, front: &str, now: Timestamp) {
        let seen = self.entry(front);
        seen.link = if seen.has_ended() { Link::Silent } else { Link::Lost(now) };
    }

    /// A front has shipped everything it wrote before `at`, and the log's end was `end` then.
    pub fn heartbeat(&mut self, front: &str, at: Timestamp, end: u64, folded: u64) {
        let seen = self.entry(front);
        match seen.pending.back_mut() {
            Some(last) if last.1 == end => last.0 = at,
            _ => seen.pending.push_back((at, end)),
        }
        seen.settle(folded);
    }

    /// The log was folded up to an offset.
    pub fn folded(&mut self, folded: u64) {
        for seen in self.fronts.values_mut().filter(|seen| !seen.pending.is_empty()) {
            seen.settle(folded);
        }
    }

    /// Whether every front that is connected, or was until less than `grace_micros` ago, has shipped past `point`.
    pub fn shipped_past(&self, point: Timestamp, now: Timestamp, grace_micros: i64) -> bool {
        self.fronts.values().all(|seen| match seen.link {
            Link::Silent => true,
            Link::Up => seen.shipped > point,
            Link::Lost(since) => seen.shipped > point || now.since_micros(since) > grace_micros,
        })
    }

    /// Whether any other front may still ship something.
    pub fn any_but(&self, front: &str) -> bool {
        self.fronts.iter().any(|(name, seen)| name != front && !matches!(seen.link, Link::Silent))
    }

    /// Whether every front that was ever heard of is connected.
    pub fn all_are_connected(&self) -> bool {
        self.fronts.values().all(|seen| matches!(seen.link, Link::Up))
    }

    /// A front has told its mark.
    pub fn marked(&mut self, front: &FrontBoot, version: u64, sequence: u64) {
        let seen = self.entry(&front.front);
        if seen.mark.as_ref().is_none_or(|known| known.version <= version) {
            seen.mark = Some(Mark { version, boot: front.boot, sequence });
        }
    }

    /// Whether every front that may be serving, connected or not, has left behind what was before a version, and
    /// everything up to its mark was folded.
    pub fn all_left_behind(&self, version: u64) -> bool {
        self.fronts.values().filter(|seen| seen.may_serve()).all(|seen| {
            let mark = seen.mark.as_ref().filter(|mark| mark.version >= version);
            mark.is_some_and(|mark| seen.reached(mark.boot, mark.sequence))
        })
    }

    /// Whether a front's record of this boot and sequence, or a later one, was folded.
    pub fn reached(&self, front: &str, boot: u64, sequence: u64) -> bool {
        self.fronts.get(front).is_some_and(|seen| seen.reached(boot, sequence))
    }

    /// Whether a front's record was folded, or is of an earlier boot than what is folded now.
    pub fn has(&self, front: &str, boot: u64, sequence: u64) -> bool {
        let has = |seen: &Front| boot < seen.boot || boot == seen.boot && seen.numbers.has(sequence);
        self.fronts.get(front).is_some_and(has)
    }

    /// How far a front has shipped, by its own clock.
    pub fn shipped(&self, front: &str) -> Timestamp {
        self.fronts.get(front).map_or(Timestamp::default(), |seen| seen.shipped)
    }

    fn entry(&mut self, front: &str) -> &mut Front {
        if !self.fronts.contains_key(front) {
            self.fronts.insert(front.to_owned(), Front::default());
        }
        self.fronts.get_mut(front).expect("it was inserted if it was absent")
    }
}

impl Front {
    /// Whether requests may be running there: a boot that has ended runs none, unless the next one has connected.
    fn may_serve(&self) -> bool {
        !self.has_ended() || matches!(self.link, Link::Up)
    }

    /// Whether its newest boot has ended, and no later one has been heard of.
    fn has_ended(&self) -> bool {
        self.ended && self.greeted <= self.boot
    }

    fn reached(&self, boot: u64, sequence: u64) -> bool {
        (self.boot, self.numbers.last()) >= (boot, sequence)
    }

    fn settle(&mut self, folded: u64) {
        while let Some(&(at, end)) = self.pending.front() {
            if end > folded {
                break;
            }
            self.shipped = self.shipped.max(at);
            self.pending.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: i64 = 100;

    fn at(micros: i64) -> Timestamp {
        Timestamp(micros)
    }

    #[test]
    fn repeats_are_told_from_news() {
        let mut fronts = Fronts::default();
        assert!(fronts.take("a", 1, 1));
        assert!(!fronts.take("a", 1, 1));
        assert!(fronts.take("a", 1, 3), "a hole is news, too");
        assert!(fronts.has("a", 1, 1) && !fronts.has("a", 1, 2) && fronts.has("a", 1, 3) && fronts.reached("a", 1, 2));
        assert!(fronts.take("a", 1, 2), "it was missing");
        assert!(!fronts.take("a", 1, 2));
        assert!(fronts.take("a", 2, 3));
        assert!(
            fronts.take("a", 2, 1),
            "the beginning of a boot that follows another one is missing like anything else"
        );
        assert!(!fronts.take("a", 1, 9));
        assert!(fronts.take("b", 1, 1));
        assert!(fronts.reached("a", 2, 1) && fronts.reached("a", 1, 9) && !fronts.reached("a", 2, 4));
        assert!(!fronts.reached("a", 3, 0), "the boot before may not have been seen to its end");
    }

    #[test]
    fn a_heartbeat_counts_when_the_log_was_folded_that_far() {
        let mut fronts = Fronts::default();
        fronts.connected("a", 1);
        assert!(!fronts.shipped_past(at(10), at(0), GRACE));
        fronts.heartbeat("a", at(20), 5, 3);
        assert!(!fronts.shipped_past(at(10), at(0), GRACE));
        fronts.heartbeat("a", at(30), 9, 4);
        fronts.folded(5);
        assert!(fronts.shipped_past(at(19), at(0), GRACE) && !fronts.shipped_past(at(20), at(0), GRACE));
        fronts.folded(9);
        assert!(fronts.shipped_past(at(29), at(0), GRACE));
    }

    #[test]
    fn every_front_counts_that_may_still_ship() {
        let mut fronts = Fronts::default();
        assert!(fronts.shipped_past(at(10), at(0), GRACE), "there is none");
        fronts.connected("a", 1);
        fronts.connected("b", 1);
        fronts.heartbeat("a", at(20), 0, 0);
        assert!(!fronts.shipped_past(at(10), at(0), GRACE), "b has not");
        fronts.lost("b", at(50));
        assert!(!fronts.shipped_past(at(10), at(150), GRACE), "b may come back");
        assert!(fronts.shipped_past(at(10), at(151), GRACE), "b is gone");
        fronts.connected("b", 1);
        assert!(!fronts.shipped_past(at(10), at(152), GRACE), "b is back");
    }

    #[test]
    fn after_a_restart_fronts_that_have_not_ended_are_waited_for() {
        let mut fronts = Fronts::default();
        fronts.take("a", 1, 7);
        fronts.take("b", 1, 7);
        fronts.ended("b");
        fronts.begin(at(1_000));
        assert!(!fronts.shipped_past(at(10), at(1_050), GRACE), "a may come back");
        assert!(fronts.shipped_past(at(10), at(1_101), GRACE));
    }

    #[test]
    fn a_version_is_left_behind_once_every_front_that_may_serve_has_said_so() {
        let mark = |fronts: &mut Fronts, front: &str, version, sequence| {
            fronts.marked(&FrontBoot { front: front.to_owned(), boot: 1 }, version, sequence);
        };
        let mut fronts = Fronts::default();
        assert!(fronts.all_left_behind(5), "there is none");
        fronts.take("a", 1, 7);
        fronts.take("b", 1, 7);
        fronts.lost("b", at(0));
        mark(&mut fronts, "a", 5, 7);
        assert!(!fronts.all_left_behind(5), "b is out of reach, and may be serving");
        mark(&mut fronts, "b", 4, 7);
        assert!(!fronts.all_left_behind(5), "that was an earlier version");
        mark(&mut fronts, "b", 6, 8);
        assert!(!fronts.all_left_behind(5), "a record is missing");
        fronts.take("b", 1, 8);
        assert!(fronts.all_left_behind(5));
        fronts.take("b", 2, 1);
        assert!(fronts.all_left_behind(5), "a later boot does not go back");
        fronts.take("c", 1, 1);
        assert!(!fronts.all_left_behind(5));
        fronts.ended("c");
        assert!(fronts.all_left_behind(5), "nothing runs there");
        fronts.connected("c", 2);
        assert!(!fronts.all_left_behind(5), "its next boot is there");
        fronts.lost("c", at(9));
        assert!(!fronts.all_left_behind(5), "and goes on, although nothing of it was read");
    }
}
