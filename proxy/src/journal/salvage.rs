//! Going on with a damaged journal, because somebody said so: what cannot be read is skipped and written down, what can be
//! read keeps its numbers.
//!
//! ```text
//! data_dir/damaged/boot-3/00000000000000000001.journal.damaged    a copy of a damaged file as it was
//! data_dir/damaged/boot-3/skipped.json                            what was skipped of that boot
//! ```
//!
//! A damaged file is rewritten as several, each of which holds records that follow one another and is named by the first:
//! so readers need not know about damage, only about numbers that are missing between two files. They are missing for good
//! reason if `skipped.json` says so.
//!
//! Whoever dies between two steps, or in the midst of one, finds the file as damaged as before and does all of it again, with
//! the same result: the copies come first, then the list, then the new files from the last one to the first, and the damaged
//! file itself is replaced at the very end. Nothing here is removed by the product.

use super::damage::{Damage, File, Found};
use super::{Error, boot};
use host::disk;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Beside the boots: what became of those that were damaged.
pub(super) const FOLDER: &str = "damaged";
const LIST: &str = "skipped.json";

/// A stretch that was skipped, as people and the next start read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Skipped {
    /// The file in which it was, or at the end of which something was missing.
    file: String,
    from_byte: u64,
    /// The first byte behind it.
    to_byte: u64,
    first_record: u64,
    /// So many, from that one on, are missing in the log.
    records: u64,
    /// The untouched copy of the file; none when the file was not changed.
    copy: Option<PathBuf>,
}

/// What was skipped so far of a boot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known(Vec<Skipped>);

impl Known {
    /// Whether somebody has already been told that all these records are missing.
    pub(super) fn covers(&self, numbers: &Range<u64>) -> bool {
        let mut next = numbers.start;
        let told = |skipped: &&Skipped, number: u64| {
            number >= skipped.first_record && number - skipped.first_record < skipped.records
        };
        while next < numbers.end {
            match self.0.iter().find(|skipped| told(skipped, next)) {
                Some(skipped) => next = skipped.first_record.saturating_add(skipped.records),
                None => return false,
            }
        }
        true
    }
}

/// What was skipped so far of the boot in `dir`.
///
/// # Errors
/// When the list is there but cannot be read as a file. One that makes no sense is none: what it said is found again.
pub(super) fn known(dir: &Path) -> Result<Known, Error> {
    let path = folder(dir).join(LIST);
    let Some(bytes) = disk::read(&path)? else { return Ok(Known::default()) };
    let list = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "the list of what was skipped makes no sense");
        Vec::new()
    });
    Ok(Known(list))
}

/// Makes readable what is left of a damaged boot.
///
/// # Errors
/// When something cannot be written: the boot is as damaged as before.
pub(super) fn mend(found: &Found) -> Result<(), Error> {
    for step in steps(found)? {
        step.take(found)?;
    }
    Ok(())
}

/// Dies after so many steps; says how many there were.
#[cfg(test)]
pub(super) fn first_steps(found: &Found, count: usize) -> usize {
    let steps = steps(found).unwrap();
    steps.iter().take(count).for_each(|step| step.take(found).unwrap());
    steps.len()
}

/// One step; wholly done or not at all.
#[derive(Debug)]
enum Step<'f> {
    /// The file is copied as it is.
    Keep { file: &'f File, copy: PathBuf },
    /// What is skipped is written down.
    List(Vec<Skipped>),
    /// A part of the file becomes a file of this name; the damaged one has it last.
    Write { file: &'f File, bytes: Range<usize>, path: PathBuf },
}

/// What has to be done, in this order.
fn steps(found: &Found) -> Result<Vec<Step<'_>>, Error> {
    let (mut keep, mut skipped, mut write) = (Vec::new(), known(&found.dir)?.0, Vec::new());
    for file in &found.files {
        let copy = if file.is_damaged { Some(copy_of(file, &folder(&found.dir))?) } else { None };
        for damage in found.damage.iter().filter(|damage| damage.path == file.path) {
            if !skipped.iter().any(|known| known.is(damage)) {
                skipped.push(Skipped::new(damage, copy.clone()));
            }
        }
        if let Some(copy) = copy {
            keep.push(Step::Keep { file, copy });
            write.extend(parts(file, &found.dir));
        }
    }
    keep.push(Step::List(skipped));
    keep.extend(write);
    Ok(keep)
}

/// The files that a damaged one becomes, itself last: until then all of it is there.
fn parts<'f>(file: &'f File, dir: &Path) -> Vec<Step<'f>> {
    let mut parts: Vec<(u64, Range<usize>)> = file
        .runs
        .iter()
        .filter(|run| !run.numbers.is_empty())
        .map(|run| (run.numbers.start, run.bytes.clone()))
        .collect();
    if let Some((_, bytes)) = parts.last_mut() {
        // What was never written whole is no damage: the boot's completion cuts it off.
        bytes.end += file.torn as usize;
    }
    if parts.first().is_none_or(|(first, _)| *first != file.first) {
        // Nothing of its beginning is left; without the file nobody would miss it.
        parts.insert(0, (file.first, 0..0));
    }
    let step = |(first, bytes)| Step::Write { file, bytes, path: boot::segment(dir, first) };
    parts.into_iter().rev().map(step).collect()
}

impl Step<'_> {
    fn take(&self, found: &Found) -> Result<(), Error> {
        match self {
            Self::Keep { file, copy } => keep(file, copy),
            Self::List(skipped) => {
                tell(&found.damage, skipped);
                let bytes = serde_json::to_vec_pretty(skipped).map_err(std::io::Error::other)?;
                let folder = folder(&found.dir);
                make(&folder)?;
                Ok(disk::replace(&folder.join(LIST), &bytes)?)
            }
            Self::Write { file, bytes, path } => {
                let whole = disk::read(&file.path)?.unwrap_or_default();
                // It was as long a moment ago, and nobody else writes here.
                Ok(disk::replace(path, whole.get(bytes.clone()).unwrap_or_default())?)
            }
        }
    }
}

impl Skipped {
    fn new(damage: &Damage, copy: Option<PathBuf>) -> Self {
        let name = damage.path.file_name().unwrap_or_default();
        Self {
            file: name.to_string_lossy().into_owned(),
            from_byte: damage.bytes.start,
            to_byte: damage.bytes.end,
            first_record: damage.numbers.start,
            records: damage.numbers.end.saturating_sub(damage.numbers.start),
            copy,
        }
    }

    /// Whether it is this stretch. Where it ends is found elsewhere once a part of what stands behind it has a file.
    fn is(&self, damage: &Damage) -> bool {
        let other = Self::new(damage, self.copy.clone());
        Self { to_byte: other.to_byte, ..self.clone() } == other
    }
}

/// Once for each stretch, in words that read alone.
fn tell(damage: &[Damage], skipped: &[Skipped]) {
    for one in damage {
        let copy = skipped.iter().find(|skipped| skipped.is(one)).and_then(|skipped| skipped.copy.as_deref());
        match copy.map(Path::display) {
            Some(copy) => tracing::warn!("skipped in the journal: {one}; the file as it was is kept as {copy}"),
            None => tracing::warn!("skipped in the journal: {one}"),
        }
    }
}

fn keep(file: &File, copy: &Path) -> Result<(), Error> {
    if let Some(folder) = copy.parent() {
        make(folder)?;
    }
    let bytes = disk::read(&file.path)?.unwrap_or_default();
    Ok(disk::replace(copy, &bytes)?)
}

/// Where a copy of the file is to be kept, or is already: a file of that name can be damaged a second time.
fn copy_of(file: &File, folder: &Path) -> Result<PathBuf, Error> {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = disk::read(&file.path)?;
    let mut path = folder.join(format!("{name}.damaged"));
    let mut number = 1;
    loop {
        match disk::read(&path)? {
            Some(other) if bytes.as_ref() != Some(&other) => number += 1,
            _ => return Ok(path),
        }
        path = folder.join(format!("{name}.damaged-{number}"));
    }
}

/// A folder that is there after a loss of power too.
fn make(folder: &Path) -> Result<(), Error> {
    disk::create_dir(folder)?;
    disk::sync_parent(folder)?;
    if let Some(parent) = folder.parent() {
        disk::sync_parent(parent)?;
    }
    Ok(())
}

/// Where the copies and the list of the boot in `dir` are.
fn folder(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default();
    dir.parent().unwrap_or(dir).join(FOLDER).join(name)
}
