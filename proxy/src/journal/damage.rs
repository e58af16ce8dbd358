//! Looking for damage in an earlier boot: in each of its files, and between them.

use super::examine::{Contents, Run, examine};
use super::{Boot, Error, boot, salvage};
use host::disk;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A stretch of the journal that cannot be read although something stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file in which it is, or at the end of which something is missing.
    pub path: PathBuf,
    /// Its bytes; none when a file is missing.
    pub bytes: Range<u64>,
    /// The numbers of the records that are missing; none when what stands there is too much.
    pub numbers: Range<u64>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, Range { start, end }) = (self.path.display(), self.bytes.clone());
        if start == end {
            write!(f, "{path} at byte {start}: ")?;
        } else {
            write!(f, "{path} from byte {start} to byte {end}: ")?;
        }
        match self.numbers.end.saturating_sub(self.numbers.start) {
            0 => write!(f, "no record is missing, but what stands there does not belong there"),
            1 => write!(f, "record {} is missing", self.numbers.start),
            _ => write!(f, "records {} to {} are missing", self.numbers.start, self.numbers.end - 1),
        }
    }
}

/// An earlier boot as it is on disk.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) boot: Boot,
    pub(super) dir: PathBuf,
    /// In order.
    pub(super) files: Vec<File>,
    /// What is damaged and was not known to be.
    pub(super) damage: Vec<Damage>,
}

/// One of its files.
#[derive(Debug)]
pub(super) struct File {
    /// The number that its name says.
    pub(super) first: u64,
    pub(super) path: PathBuf,
    /// How many bytes it has.
    pub(super) length: u64,
    /// Its whole records, as in [`Contents::runs`].
    pub(super) runs: Vec<Run>,
    /// Bytes of a record at the end of the newest file that was never written whole.
    pub(super) torn: u64,
    /// Whether its last record is the end of the boot.
    pub(super) ended: bool,
    /// Whether it has bytes that are damaged.
    pub(super) is_damaged: bool,
}

impl File {
    /// The number behind its last record.
    pub(super) fn next(&self) -> u64 {
        self.runs.last().map_or(self.first, |run| run.numbers.end)
    }
}

/// Reads all files of a boot, one after the other.
///
/// # Errors
/// When one cannot be read; damage is none.
pub(super) fn look(boot: Boot, dir: PathBuf) -> Result<Found, Error> {
    let known = salvage::known(&dir)?;
    let firsts = boot::segments(&dir)?;
    let (mut files, mut damage) = (Vec::new(), Vec::new());
    for (index, first) in firsts.iter().enumerate() {
        let path = boot::segment(&dir, *first);
        let next = firsts.get(index + 1).copied();
        let bytes = disk::read(&path)?.unwrap_or_default();
        let contents = examine(&bytes, *first..next.unwrap_or(u64::MAX), &boot);
        let found = damage_in(&path, &contents, bytes.len(), next, &known);
        files.push(file(*first, path, contents, bytes.len(), next.is_none(), &found));
        damage.extend(found);
    }
    Ok(Found { boot, dir, files, damage })
}

fn file(first: u64, path: PathBuf, contents: Contents, length: usize, is_newest: bool, found: &[Damage]) -> File {
    let Contents { runs, stray, ended } = contents;
    let whole = runs.last().map_or(0, |run| run.bytes.end);
    let torn = if is_newest && !stray { length - whole } else { 0 };
    let is_damaged = found.iter().any(|one| !one.bytes.is_empty()) || runs.len() > 1;
    File { first, path, length: length as u64, runs, torn: torn as u64, ended, is_damaged }
}

fn damage_in(
    path: &Path,
    contents: &Contents,
    length: usize,
    next: Option<u64>,
    known: &salvage::Known,
) -> Vec<Damage> {
    let damage = |bytes: Range<usize>, numbers| {
        let bytes = bytes.start as u64..bytes.end as u64;
        Damage { path: path.to_owned(), bytes, numbers }
    };
    let pairs = contents.runs.windows(2);
    let between = pairs.filter_map(|pair| match pair {
        [before, behind] => {
            Some(damage(before.bytes.end..behind.bytes.start, before.numbers.end..behind.numbers.start))
        }
        _ => None,
    });
    let mut found: Vec<Damage> = between.collect();
    let Some(last) = contents.runs.last() else { return found };
    let (rest, expected) = (last.bytes.end..length, last.numbers.end);
    // Behind the newest file nothing is missing that anybody could know of.
    let missing = expected..next.unwrap_or(expected);
    if contents.stray || (!missing.is_empty() && !known.covers(&missing)) {
        found.push(damage(rest, missing));
    }
    found
}
