//! What a file of an earlier boot holds: records that follow one another, and what follows behind a damaged place. Pure.
//!
//! What a crash leaves is torn: a last record that is not whole, or zeros. Whatever has a whole record of the same boot
//! behind it was written once and is damaged.

use super::Boot;
use super::record::{self, HEADER};
use std::ops::Range;
use wire::exchange::{ExchangeBody, ExchangeRecord, Head};
use wire::stored::{TAG, decode};

/// Whole records that follow one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// Their numbers.
    pub(super) numbers: Range<u64>,
    /// Where they stand in the file.
    pub(super) bytes: Range<usize>,
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// At least one, in order. The first stands at the beginning of the file, has the number in the file's name, and may be
    /// empty; in front of each other one the file is damaged.
    pub(super) runs: Vec<Run>,
    /// Whether behind the last of them stands a whole record of the boot all the same, with a number that does not follow.
    pub(super) stray: bool,
    /// Whether the last record of the last run is the end of the boot.
    pub(super) ended: bool,
}

/// Looks through a file whose name says that it begins with `numbers.start`, when the next file begins with `numbers.end`.
///
/// Each byte is looked at once, whatever is damaged, apart from what looks like the beginning of a record of this boot; a
/// client who sends as many of those as go into one body, of which the disk then damages just that record, costs a minute.
pub(super) fn examine(bytes: &[u8], numbers: Range<u64>, boot: &Boot) -> Contents {
    let file = File { bytes, until: numbers.end, boot };
    let mut runs = Vec::new();
    let (mut at, mut number) = (0, numbers.start);
    loop {
        let (run, ended) = file.run(at, number);
        let behind = file.behind(run.bytes.end, run.numbers.end);
        runs.push(run);
        match behind {
            Behind::Follows { at: found, number: its } => (at, number) = (found, its),
            Behind::Stray => return Contents { runs, stray: true, ended },
            Behind::Nothing => return Contents { runs, stray: false, ended },
        }
    }
}

struct File<'f> {
    bytes: &'f [u8],
    /// The number that the next file begins with.
    until: u64,
    boot: &'f Boot,
}

/// What stands behind a place that cannot be read.
enum Behind {
    /// A record, the next or a later one.
    Follows {
        at: usize,
        number: u64,
    },
    /// Nothing but records that do not follow.
    Stray,
    Nothing,
}

impl File<'_> {
    /// The records from a place on, the first of which has to be `number`; whether the last one is the end of the boot.
    fn run(&self, from: usize, first: u64) -> (Run, bool) {
        let (mut at, mut number, mut last) = (from, first, None);
        while let Some(stored) = record::whole(&self.bytes[at..], self.boot.seed)
            && self.is(stored, number)
        {
            at += HEADER + stored.len();
            number += 1;
            last = Some(stored);
        }
        let is_end = |record: ExchangeRecord| matches!(record.body, ExchangeBody::Ended { .. });
        let ended = last.is_some_and(|stored| decode(stored).is_ok_and(is_end));
        (Run { numbers: first..number, bytes: from..at }, ended)
    }

    /// Whether a whole record in its place has this number. One of a newer program does not say which it has.
    fn is(&self, stored: &[u8], number: u64) -> bool {
        let expected = Head { front: &self.boot.front, boot: self.boot.boot, sequence: number };
        number < self.until && Head::of(stored).map_or(true, |head| head == expected)
    }

    /// Searches behind a place where record `expected` cannot be read.
    fn behind(&self, from: usize, expected: u64) -> Behind {
        let follows = |number: u64| {
            // No file has more records than bytes: a number far off is none of this file.
            (expected..self.until).contains(&number) && number - expected <= self.bytes.len() as u64
        };
        // Usually only the record itself is damaged, and what it says of its length is right.
        let neighbour = record::claimed(&self.bytes[from..]).and_then(|length| from.checked_add(length));
        if let Some(at) = neighbour
            && let Some(number) = self.record(at)
            && number.checked_sub(1) == Some(expected)
            && follows(number)
        {
            return Behind::Follows { at, number };
        }
        let mut stray = false;
        for at in from..self.bytes.len() {
            match self.record(at) {
                Some(number) if follows(number) => return Behind::Follows { at, number },
                Some(_) => stray = true,
                None => {}
            }
        }
        if stray { Behind::Stray } else { Behind::Nothing }
    }

    /// The number of the record of this boot that stands at a place, if one does.
    fn record(&self, at: usize) -> Option<u64> {
        let rest = self.bytes.get(at..)?;
        let stored = rest.get(HEADER..)?;
        // Nearly everywhere this is all that is looked at. A front's name has at most 32 bytes, so its length takes one.
        if usize::from(*stored.get(TAG)?) != self.boot.front.len() {
            return None;
        }
        let head = Head::of(stored).ok()?;
        if (head.front, head.boot) != (self.boot.front.as_str(), self.boot.boot) {
            return None;
        }
        let whole = record::whole(rest, self.boot.seed)?;
        decode::<ExchangeRecord>(whole).is_ok().then_some(head.sequence)
    }
}
