//! What earlier boots left behind: the torn end is cut off, and the end of the boot is written, once.

use super::record::{self, Next};
use super::{Boot, Error, boot};
use host::disk;
use std::io::Write;
use std::path::{Path, PathBuf};
use wire::exchange::{ExchangeBody, ExchangeRecord};
use wire::scalar::Timestamp;
use wire::stored::{decode, encode};

/// An earlier boot that has ended, with all its records not known to be shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldBoot {
    /// Whose records these are.
    pub boot: Boot,
    /// Its directory.
    pub dir: PathBuf,
    /// The number of its last record, which is its end.
    pub last: u64,
    /// How many records stand on disk, at most.
    pub records: u64,
    /// How many bytes they take up.
    pub bytes: u64,
}

impl OldBoot {
    /// Forgets it: everything was shipped.
    ///
    /// # Errors
    /// When something cannot be removed; what is left is removed at the next start.
    pub fn remove(&self) -> Result<(), Error> {
        boot::remove(&self.dir)
    }

    /// Whether the next start would take it for one that is to be shipped.
    pub fn is_named(&self) -> bool {
        !matches!(Boot::read(&self.dir), Ok(None))
    }
}

/// Completes every earlier boot in `dir`, oldest first, at the time `at`.
///
/// # Errors
/// When a file cannot be read or written.
pub(super) fn all(dir: &Path, at: Timestamp) -> Result<Vec<OldBoot>, Error> {
    let mut old = Vec::new();
    for (_, dir) in boot::directories(dir)? {
        match Boot::read(&dir)? {
            Some(boot) => old.push(complete(boot, dir, at)?),
            None => boot::remove(&dir)?,
        }
    }
    Ok(old)
}

fn complete(boot: Boot, dir: PathBuf, at: Timestamp) -> Result<OldBoot, Error> {
    let segments = boot::segments(&dir)?;
    let newest = segments.last().copied().unwrap_or(1);
    let path = boot::segment(&dir, newest);
    let found = examine(&disk::read(&path)?.unwrap_or_default());
    if found.torn > 0 {
        tracing::warn!(path = %path.display(), bytes = found.torn, "cut off a record that was not written whole");
        disk::truncate(&path, found.whole)?;
    }
    let mut last = newest + found.records - 1;
    if !found.ended {
        last += 1;
        end(&boot, &path, last, at)?;
        tracing::warn!(
            front = boot.front,
            boot = boot.boot,
            records = last,
            "an earlier boot of this front did not stop in order: what it had begun is unknown"
        );
    }
    let mut bytes = 0;
    for first in &segments {
        bytes += disk::length(&boot::segment(&dir, *first))?.unwrap_or(0);
    }
    let records = last + 1 - segments.first().copied().unwrap_or(1);
    Ok(OldBoot { boot, dir, last, records, bytes })
}

fn end(boot: &Boot, path: &Path, sequence: u64, at: Timestamp) -> Result<(), Error> {
    let body = ExchangeBody::Ended { clean: false };
    let ended = ExchangeRecord { front: boot.front.clone(), boot: boot.boot, sequence, at, body };
    let mut bytes = Vec::new();
    record::append(&mut bytes, &encode(&ended));
    let mut file = disk::append_to(path)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok(disk::sync_parent(path)?)
}

/// What the newest file of a boot holds.
#[derive(Debug, PartialEq, Eq, Default)]
struct Found {
    /// Records, damaged ones included: their numbers are used up.
    records: u64,
    /// Bytes of whole records.
    whole: u64,
    /// Bytes behind them.
    torn: u64,
    /// Whether the last record is the end of the boot.
    ended: bool,
}

fn examine(bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mut at = 0;
    let mut last = None;
    loop {
        match record::next(&bytes[at..]) {
            Next::Record { stored, length } => {
                at += length;
                found.records += 1;
                last = Some(stored);
            }
            Next::Damaged { length } => {
                at += length;
                found.records += 1;
                last = None;
            }
            Next::End | Next::Torn => break,
        }
    }
    found.whole = at as u64;
    found.torn = (bytes.len() - at) as u64;
    found.ended = last.is_some_and(|stored| {
        decode::<ExchangeRecord>(stored).is_ok_and(|record| matches!(record.body, ExchangeBody::Ended { .. }))
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1);

    fn mark(sequence: u64) -> ExchangeRecord {
        let body = ExchangeBody::Mark { id: format!("m{sequence}") };
        ExchangeRecord { front: "a".into(), boot: 1, sequence, at: Timestamp(0), body }
    }

    /// A boot that wrote these numbers, `per_file` to a file, and then died.
    fn died(dir: &Path, numbers: std::ops::RangeInclusive<u64>, per_file: u64) -> PathBuf {
        let (_, own) = boot::begin(dir, "a", 5, 0).unwrap();
        let mut path = PathBuf::new();
        for (index, sequence) in numbers.enumerate() {
            if (index as u64).is_multiple_of(per_file) {
                path = boot::segment(&own, sequence);
            }
            let mut bytes = Vec::new();
            record::append(&mut bytes, &encode(&mark(sequence)));
            disk::append_to(&path).unwrap().write_all(&bytes).unwrap();
        }
        own
    }

    fn bodies(dir: &Path) -> Vec<ExchangeRecord> {
        let files = boot::segments(dir).unwrap().into_iter().map(|first| boot::segment(dir, first));
        let bytes = files.flat_map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
        let mut at = 0;
        let mut records = Vec::new();
        while let Next::Record { stored, length } = record::next(&bytes[at..]) {
            records.push(decode(stored).unwrap());
            at += length;
        }
        assert_eq!(at, bytes.len(), "nothing torn is left");
        records
    }

    #[test]
    fn the_end_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=5, 2);
        for _ in 0..2 {
            let old = all(dir.path(), AT).unwrap();
            assert_eq!((old[0].last, old[0].records), (6, 6));
        }
        let records = bodies(&own);
        assert_eq!(records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(records[5].body, ExchangeBody::Ended { clean: false });
    }

    #[test]
    fn a_torn_end_is_cut_also_when_it_is_the_end_mark_itself() {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=3, 100);
        all(dir.path(), AT).unwrap();
        let path = boot::segment(&own, 1);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let old = all(dir.path(), AT).unwrap();
            let records = bodies(&own);
            assert_eq!(records.len() as u64, old[0].last, "cut at {cut}");
            assert_eq!(records.last().unwrap().body, ExchangeBody::Ended { clean: false });
        }
    }

    #[test]
    fn bytes_behind_the_end_do_not_make_a_second_one() {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=3, 100);
        all(dir.path(), AT).unwrap();
        disk::append_to(&boot::segment(&own, 1)).unwrap().write_all(&[0; 5]).unwrap();
        assert_eq!(all(dir.path(), AT).unwrap()[0].last, 4);
    }

    #[test]
    fn a_boot_without_records_ends_with_number_one_and_an_empty_new_file_counts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        boot::begin(dir.path(), "a", 5, 0).unwrap();
        let own = died(dir.path(), 1..=4, 100);
        disk::append_to(&boot::segment(&own, 5)).unwrap();
        let old = all(dir.path(), AT).unwrap();
        assert_eq!(old.iter().map(|boot| (boot.boot.boot, boot.last)).collect::<Vec<_>>(), [(1, 1), (2, 5)]);
    }

    #[test]
    fn what_was_shipped_whole_is_removed_however_far_the_removal_got() {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=4, 2);
        disk::remove(&own.join(boot::FILE)).unwrap();
        disk::remove(&boot::segment(&own, 1)).unwrap();
        assert_eq!(all(dir.path(), AT).unwrap(), []);
        assert!(!own.exists());
    }

    #[test]
    fn files_already_shipped_do_not_shift_the_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=6, 2);
        disk::remove(&boot::segment(&own, 1)).unwrap();
        let old = all(dir.path(), AT).unwrap();
        assert_eq!((old[0].last, old[0].records), (7, 5));
    }
}
