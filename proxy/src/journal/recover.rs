//! What earlier boots left behind: the torn end is cut off, and the end of the boot is written, once. Damage in front of it is
//! left to whoever runs the front: what is missing was money.

use super::damage::{self, Damage, File, Found};
use super::{Boot, Error, boot, record, salvage};
use host::disk;
use std::io::Write;
use std::path::{Path, PathBuf};
use wire::exchange::{ExchangeBody, ExchangeRecord};
use wire::scalar::Timestamp;
use wire::stored::encode;

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

/// Completes every earlier boot in `dir`, oldest first, at the time `at`. With `salvage` one that is damaged is mended first.
///
/// # Errors
/// When a file cannot be read or written, or one is damaged: then no record has been touched.
pub(super) fn all(dir: &Path, at: Timestamp, salvage: bool) -> Result<Vec<OldBoot>, Error> {
    let mut found = Vec::new();
    for (_, own) in boot::directories(dir)? {
        match Boot::read(&own)? {
            Some(boot) => found.push(damage::look(boot, own)?),
            None => boot::remove(&own)?,
        }
    }
    if salvage && found.iter().all(|boot| boot.damage.is_empty()) {
        tracing::info!(dir = %dir.display(), "nothing in the journal is damaged: --salvage has changed nothing");
    }
    if salvage {
        found = found.into_iter().map(mended).collect::<Result<_, _>>()?;
    }
    let damage: Vec<Damage> = found.iter().flat_map(|boot| boot.damage.clone()).collect();
    if !damage.is_empty() {
        return Err(Error::Refused { damage, folder: dir.join(salvage::FOLDER) });
    }
    found.iter().map(|found| complete(found, at)).collect()
}

fn mended(found: Found) -> Result<Found, Error> {
    if found.damage.is_empty() {
        return Ok(found);
    }
    salvage::mend(&found)?;
    damage::look(found.boot, found.dir)
}

fn complete(found: &Found, at: Timestamp) -> Result<OldBoot, Error> {
    let Found { boot, dir, files, .. } = found;
    let (boot, dir) = (boot.clone(), dir.clone());
    let newest = files.last();
    if let Some(File { path, torn, length, .. }) = newest.filter(|newest| newest.torn > 0) {
        tracing::warn!(path = %path.display(), bytes = torn, "cut off a record that was not written whole");
        disk::truncate(path, length - torn)?;
    }
    // Without a file it died before it wrote one.
    let next = newest.map_or(1, File::next);
    let mut last = next.saturating_sub(1);
    if !newest.is_some_and(|newest| newest.ended) {
        last = next;
        let path = newest.map_or_else(|| boot::segment(&dir, next), |newest| newest.path.clone());
        end(&boot, &path, last, at)?;
        tracing::warn!(
            front = boot.front,
            boot = boot.boot,
            records = last,
            "an earlier boot of this front did not stop in order: what it had begun is unknown"
        );
    }
    let mut bytes = 0;
    for first in boot::segments(&dir)? {
        bytes += disk::length(&boot::segment(&dir, first))?.unwrap_or(0);
    }
    let records = last + 1 - files.first().map_or(1, |file| file.first);
    Ok(OldBoot { boot, dir, last, records, bytes })
}

fn end(boot: &Boot, path: &Path, sequence: u64, at: Timestamp) -> Result<(), Error> {
    let body = ExchangeBody::Ended { clean: false };
    let ended = ExchangeRecord { front: boot.front.clone(), boot: boot.boot, sequence, at, body };
    let mut bytes = Vec::new();
    record::append(&mut bytes, &encode(&ended), boot.seed);
    let mut file = disk::append_to(path)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    Ok(disk::sync_parent(path)?)
}

#[cfg(test)]
mod tests {
    use super::super::record::Next;
    use super::super::tests::{AT, died};
    use super::*;
    use wire::stored::decode;

    fn bodies(dir: &Path) -> Vec<ExchangeRecord> {
        let seed = Boot::read(dir).unwrap().unwrap().seed;
        let files = boot::segments(dir).unwrap().into_iter().map(|first| boot::segment(dir, first));
        let bytes = files.flat_map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
        let mut at = 0;
        let mut records = Vec::new();
        while let Next::Record { stored, length } = record::next(&bytes[at..], seed) {
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
            let old = all(dir.path(), AT, false).unwrap();
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
        all(dir.path(), AT, false).unwrap();
        let path = boot::segment(&own, 1);
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let old = all(dir.path(), AT, false).unwrap();
            let records = bodies(&own);
            assert_eq!(records.len() as u64, old[0].last, "cut at {cut}");
            assert_eq!(records.last().unwrap().body, ExchangeBody::Ended { clean: false });
        }
    }

    #[test]
    fn bytes_behind_the_end_do_not_make_a_second_one() {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=3, 100);
        all(dir.path(), AT, false).unwrap();
        disk::append_to(&boot::segment(&own, 1)).unwrap().write_all(&[0; 5]).unwrap();
        assert_eq!(all(dir.path(), AT, false).unwrap()[0].last, 4);
    }

    #[test]
    fn a_boot_without_records_ends_with_number_one_and_an_empty_new_file_counts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        boot::begin(dir.path(), "a", 5, 0).unwrap();
        let own = died(dir.path(), 1..=4, 100);
        disk::append_to(&boot::segment(&own, 5)).unwrap();
        let old = all(dir.path(), AT, false).unwrap();
        assert_eq!(old.iter().map(|boot| (boot.boot.boot, boot.last)).collect::<Vec<_>>(), [(1, 1), (2, 5)]);
    }

    #[test]
    fn what_was_shipped_whole_is_removed_however_far_the_removal_got() {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=4, 2);
        disk::remove(&own.join(boot::FILE)).unwrap();
        disk::remove(&boot::segment(&own, 1)).unwrap();
        assert_eq!(all(dir.path(), AT, false).unwrap(), []);
        assert!(!own.exists());
    }

    #[test]
    fn what_somebody_was_writing_when_he_died_does_not_keep_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=4, 2);
        std::fs::write(own.join("00000000000000000003.draft"), b"half of").unwrap();
        all(dir.path(), AT, false).unwrap()[0].remove().unwrap();
        assert!(!own.exists());
    }

    #[test]
    fn files_already_shipped_do_not_shift_the_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=6, 2);
        disk::remove(&boot::segment(&own, 1)).unwrap();
        let old = all(dir.path(), AT, false).unwrap();
        assert_eq!((old[0].last, old[0].records), (7, 5));
    }
}
