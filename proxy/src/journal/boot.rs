//! The counter of boots. A boot's number is on disk before the boot does anything, so it is never used twice.

use super::Error;
use host::disk;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Counts the boots; also, in a boot's own directory, says who wrote it.
pub(super) const FILE: &str = "boot";
/// Ends the name of a file with records.
const ENDING: &str = "journal";

/// One start of a front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// The front.
    pub front: String,
    /// The how-manieth start in this directory.
    pub boot: u64,
    /// Drawn when it began: tells it from another process that uses the same name and number.
    pub instance: u64,
    /// Of the checksums of its records, drawn too and told to nobody; 0 in boots that had none.
    #[serde(default)]
    pub seed: u64,
}

impl Boot {
    /// The boot whose directory this is; `None` when the directory was never begun, or was shipped whole.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        let Some(bytes) = disk::read(&path)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(boot) => Ok(Some(boot)),
            Err(error) => Err(Error::BootFile { path, problem: error.to_string() }),
        }
    }

    fn write(&self, dir: &Path) -> Result<(), Error> {
        // A struct of one string and two numbers always has a JSON form.
        let bytes = serde_json::to_vec(self).expect("a boot has a JSON form");
        Ok(disk::replace(&dir.join(FILE), &bytes)?)
    }
}

/// Counts one up, from `lost` at least, and makes the new boot's directory.
///
/// # Errors
/// When the directory cannot be written, or the counter makes no sense.
pub(super) fn begin(dir: &Path, front: &str, instance: u64, lost: u64) -> Result<(Boot, PathBuf), Error> {
    let counted = Boot::read(dir)?.map_or(0, |last| last.boot);
    // A counter that was lost alone (restored from a backup, say) is made good by the directories.
    let seen = directories(dir)?.last().map_or(0, |(boot, _)| *boot);
    let (boot, seed) = (counted.max(seen).max(lost) + 1, host::random::u64());
    let boot = Boot { front: front.to_owned(), boot, instance, seed };
    boot.write(dir)?;
    let own = dir.join(format!("boot-{}", boot.boot));
    disk::create_dir(&own)?;
    disk::sync_parent(&own)?;
    boot.write(&own)?;
    Ok((boot, own))
}

/// The directories of all boots, in order of their numbers.
pub(super) fn directories(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("boot-")?.parse::<u64>().ok();
    let mut boots: Vec<_> = disk::list(dir)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    boots.sort();
    Ok(boots)
}

/// The file that begins with record `first`.
pub(super) fn segment(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.{ENDING}"))
}

/// The first record of each file of a boot, in order.
pub(super) fn segments(dir: &Path) -> Result<Vec<u64>, Error> {
    let first = |path: &Path| path.file_name()?.to_str()?.strip_suffix(ENDING)?.strip_suffix('.')?.parse::<u64>().ok();
    // Names are padded with zeros, so the order of names is the order of numbers.
    Ok(disk::list(dir)?.iter().filter_map(|path| first(path)).collect())
}

/// Removes a boot's directory. The file that says who wrote it goes first: without it the rest has been shipped.
///
/// # Errors
/// When something cannot be removed; what is left is removed at the next start.
pub(super) fn remove(dir: &Path) -> Result<(), Error> {
    disk::remove(&dir.join(FILE))?;
    for path in disk::list(dir)? {
        // What was being written when somebody died is nobody's.
        if path.extension().is_some_and(|ending| ending == ENDING || ending == "draft") {
            disk::remove(&path)?;
        }
    }
    Ok(disk::remove_dir(dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_count_up_and_a_half_written_counter_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = begin(dir.path(), "front-a", 7, 0).unwrap();
        assert_eq!(first, Boot { front: "front-a".into(), boot: 1, instance: 7, seed: first.seed });
        std::fs::write(dir.path().join("boot.draft"), b"{\"front\":\"fro").unwrap();
        let (second, own) = begin(dir.path(), "front-a", 8, 0).unwrap();
        assert_eq!((second.boot, second.instance), (2, 8));
        assert_eq!(Boot::read(&own).unwrap(), Some(second));
    }

    #[test]
    fn a_boot_without_a_seed_has_checksums_without_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), br#"{"front":"a","boot":3,"instance":9}"#).unwrap();
        assert_eq!(Boot::read(dir.path()).unwrap(), Some(Boot { front: "a".into(), boot: 3, instance: 9, seed: 0 }));
    }

    #[test]
    fn a_lost_counter_is_made_good_by_the_directories() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..11 {
            begin(dir.path(), "a", 1, 0).unwrap();
        }
        std::fs::remove_file(dir.path().join("boot")).unwrap();
        assert_eq!(begin(dir.path(), "a", 1, 0).unwrap().0.boot, 12);
    }

    #[test]
    fn a_lost_directory_is_made_good_by_whoever_knows_its_last_boot() {
        let dir = tempfile::tempdir().unwrap();
        for (lost, boot) in [(41, 42), (41, 43), (0, 44), (7, 45), (50, 51)] {
            assert_eq!(begin(dir.path(), "a", 1, lost).unwrap().0.boot, boot);
        }
    }

    #[test]
    fn a_damaged_counter_stops_the_front() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("boot"), b"").unwrap();
        let error = begin(dir.path(), "a", 1, 0).unwrap_err();
        assert!(matches!(error, Error::BootFile { .. }), "{error}");
    }
}
