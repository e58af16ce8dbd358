//! `crossfade backup` and `crossfade restore`: what the parts of a configuration keep in their data directories.
//!
//! All directories are held while they are copied, so no part runs meanwhile and all copies are of one moment: a log of the
//! cutover that is older or newer than a front's journal is none. A backup is whole once its manifest is there.
//!
//! A dry run makes every check that changes nothing, and leaves nothing behind. A manifest comes from a disk as well: it names files of the data
//! directories, all that the backup has and no others, or nothing is restored.

use crate::cli::Output;
use crate::client::{Exit, Failure};
use crate::config::File;
use crate::render;
use host::disk;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use wire::scalar::{Digest, Timestamp};

const MANIFEST: &str = "manifest.json";

/// What a backup consists of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    ledger: String,
    at: Timestamp,
    /// The keys of the directories, also of those without files.
    directories: Vec<String>,
    files: Vec<Kept>,
}

/// A file of it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The key of its directory in the configuration; in the backup it is below a directory of that name.
    directory: String,
    path: PathBuf,
    bytes: u64,
    /// Not of a dry run, which reads no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Digest>,
}

impl Kept {
    /// Where it is in the backup.
    fn place(&self) -> PathBuf {
        Path::new(&self.directory).join(&self.path)
    }

    /// Whether it is inside of its directory, wherever that is.
    fn is_below(&self) -> bool {
        let mut parts = self.path.components().peekable();
        parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
    }
}

impl Manifest {
    fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

/// Copies all data directories of the configuration to a new directory.
pub fn backup(file: &File, to: &Path, dry_run: bool, output: Output) -> anyhow::Result<Exit> {
    file.check()?;
    let directories = directories(file)?;
    can_be_copied(&directories, to)?;
    let _held = hold(&directories)?;
    let mut manifest = Manifest {
        ledger: file.ledger.clone(),
        at: Timestamp(host::clock::unix_micros()),
        directories: directories.iter().map(|(key, _)| (*key).to_owned()).collect(),
        files: Vec::new(),
    };
    for (key, directory) in &directories {
        for path in data_files(directory)? {
            let bytes = disk::length(&directory.join(&path))?.unwrap_or(0);
            manifest.files.push(Kept { directory: (*key).to_owned(), path, bytes, sha256: None });
        }
    }
    if !dry_run {
        let bar = bar("backup", manifest.bytes())?;
        for key in &manifest.directories {
            disk::create_dir(&to.join(key))?;
        }
        for kept in &mut manifest.files {
            let from = root(&directories, &kept.directory)?.join(&kept.path);
            let target = to.join(kept.place());
            make_parent(&target)?;
            let (bytes, sha256) = disk::copy(&from, Some(&target), |bytes| bar.inc(bytes))?;
            (kept.bytes, kept.sha256) = (bytes, Some(Digest(sha256)));
        }
        disk::sync_dirs(to)?;
        disk::replace(&to.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
        bar.finish_and_clear();
    }
    said(&manifest, dry_run, "to be copied", "copied", output)?;
    let elsewhere = elsewhere(file);
    if !elsewhere.is_empty() {
        let elsewhere = elsewhere.join(", ");
        render::note(&format!("not in the backup: {elsewhere}. docs/operations.md says how that is kept"));
    }
    Ok(Exit::Done)
}

/// What the parts of the configuration keep in no directory.
fn elsewhere(file: &File) -> Vec<&'static str> {
    let mut all = Vec::new();
    all.extend(file.kafka.as_ref().map(|_| "the log in Kafka ([kafka])"));
    all.extend(file.postgres.as_ref().map(|_| "the projections in PostgreSQL ([postgres])"));
    #[cfg(feature = "demo")]
    {
        let legacy = file.legacy.as_ref().and_then(|legacy| legacy.postgres.as_ref());
        all.extend(legacy.map(|_| "the legacy's data in PostgreSQL ([legacy.postgres])"));
    }
    all
}

fn can_be_copied(directories: &[(&str, PathBuf)], to: &Path) -> anyhow::Result<()> {
    for (key, directory) in directories {
        if !disk::is_dir(directory) {
            let message = format!("{key} ({}) is not there: is it the right path?", directory.display());
            return Err(Failure::new(Exit::Unmet, message).into());
        }
        if disk::resolved(to)?.starts_with(disk::resolved(directory)?) {
            let message = format!("{} is inside of {key}: a backup is kept elsewhere", to.display());
            return Err(Failure::new(Exit::Usage, message).into());
        }
    }
    if !disk::files_below(to)?.is_empty() {
        let message = format!("{} is not empty: give a directory that is not there yet", to.display());
        return Err(Failure::new(Exit::Usage, message).into());
    }
    Ok(())
}

/// Copies a backup into the data directories of the configuration, which have to be empty; nothing is changed unless every
/// file of the backup is as it was.
pub fn restore(file: &File, from: &Path, dry_run: bool, output: Output) -> anyhow::Result<Exit> {
    file.check()?;
    let directories = directories(file)?;
    let manifest = read_manifest(file, &directories, from)?;
    is_whole(&manifest, &directories, from)?;
    let held = hold(&directories)?;
    are_empty(&directories)?;
    are_replaceable(&directories, dry_run)?;
    // A dry run has nothing to keep from others while it reads. Killed then, it leaves nothing behind either.
    let held = (!dry_run).then_some(held);
    let checking = bar("checking", manifest.bytes())?;
    for kept in &manifest.files {
        check(kept, &from.join(kept.place()), None, &checking)?;
    }
    checking.finish_and_clear();
    if let Some(held) = held {
        copy_back(&manifest, &directories, from, held)?;
    }
    said(&manifest, dry_run, "to be restored", "restored", output)?;
    Ok(Exit::Done)
}

/// The manifest of a backup, which has to be of all parts of the configuration.
fn read_manifest(file: &File, directories: &[(&'static str, PathBuf)], from: &Path) -> anyhow::Result<Manifest> {
    let path = from.join(MANIFEST);
    let bytes = disk::read(&path)?.ok_or_else(|| {
        let message = format!("{} is not there: this is no backup, or one that was not finished", path.display());
        Failure::new(Exit::Usage, message)
    })?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(&format!("{} cannot be read: {error}", path.display())))?;
    if manifest.ledger != file.ledger {
        let message =
            format!("the backup is of the ledger `{}`, the configuration of `{}`", manifest.ledger, file.ledger);
        return Err(Failure::new(Exit::Usage, message).into());
    }
    let keys: Vec<&str> = directories.iter().map(|(key, _)| *key).collect();
    if manifest.directories != keys {
        let message = format!(
            "the backup is of {}, the configuration has {}: restore all parts together",
            manifest.directories.join(", "),
            keys.join(", ")
        );
        return Err(Failure::new(Exit::Usage, message).into());
    }
    Ok(manifest)
}

/// That the manifest names files of the data directories, and just those that the backup has.
fn is_whole(manifest: &Manifest, directories: &[(&'static str, PathBuf)], from: &Path) -> anyhow::Result<()> {
    let mut named = BTreeSet::from([PathBuf::from(MANIFEST)]);
    for kept in &manifest.files {
        root(directories, &kept.directory)?;
        if !kept.is_below() {
            let (path, directory) = (kept.path.display(), &kept.directory);
            return Err(damaged(&format!("the manifest names `{path}`, which is no file of {directory}")).into());
        }
        named.insert(kept.place());
    }
    let there = BTreeSet::from_iter(disk::files_below(from)?);
    if let Some(path) = there.difference(&named).next() {
        let message = format!(
            "the backup has {}, which its manifest does not name: move it away if it is not of the backup, or take another one",
            path.display()
        );
        return Err(Failure::new(Exit::Unmet, message).into());
    }
    if let Some(path) = named.difference(&there).next() {
        return Err(damaged(&format!("the backup lacks {}, which its manifest names", path.display())).into());
    }
    Ok(())
}

fn damaged(what: &str) -> Failure {
    Failure::new(Exit::Unmet, format!("{what}: take another backup"))
}

/// Puts every file of the backup into drafts of the directories, and then those in the directories' places.
fn copy_back(
    manifest: &Manifest,
    directories: &[(&'static str, PathBuf)],
    from: &Path,
    held: Vec<disk::DirLock>,
) -> anyhow::Result<()> {
    let restoring = bar("restore", manifest.bytes())?;
    // All of them before anything is copied: from here on no part begins on a directory that is still empty.
    for (_, directory) in directories {
        let draft = disk::restoring(directory);
        disk::create_dir(&draft)?;
        disk::sync_parent(&draft)?;
    }
    for (key, directory) in directories {
        let draft = disk::restoring(directory);
        for kept in manifest.files.iter().filter(|kept| kept.directory == *key) {
            let target = draft.join(&kept.path);
            make_parent(&target)?;
            check(kept, &from.join(kept.place()), Some(&target), &restoring)?;
        }
        disk::sync_dirs(&draft)?;
    }
    // Everything is there: now all of it takes its place. A part whose data is not in place yet does not start.
    drop(held);
    for (_, directory) in directories {
        disk::remove(&directory.join(disk::LOCK))?;
        disk::rename_dir(&disk::restoring(directory), directory)?;
    }
    restoring.finish_and_clear();
    Ok(())
}

fn are_empty(directories: &[(&str, PathBuf)]) -> anyhow::Result<()> {
    for (key, directory) in directories {
        if disk::list(directory)?.iter().any(|entry| *entry != directory.join(disk::LOCK)) {
            let message = format!("{key} ({}) holds data: move it away first", directory.display());
            return Err(Failure::new(Exit::Unmet, message).into());
        }
    }
    Ok(())
}

/// A dry run looks only: what it renamed to find out, it would leave so if it was killed then.
fn are_replaceable(directories: &[(&str, PathBuf)], dry_run: bool) -> anyhow::Result<()> {
    for (key, directory) in directories {
        if !(if dry_run { disk::is_plain(directory)? } else { disk::is_replaceable(directory)? }) {
            let message = format!(
                "{key} ({}) is a link, or a file system of its own, in whose place nothing can be put: name a directory in it",
                directory.display()
            );
            return Err(Failure::new(Exit::Unmet, message).into());
        }
    }
    Ok(())
}

fn check(kept: &Kept, from: &Path, to: Option<&Path>, bar: &ProgressBar) -> anyhow::Result<()> {
    let (bytes, sha256) = disk::copy(from, to, |bytes| bar.inc(bytes))?;
    if (bytes, Some(Digest(sha256))) != (kept.bytes, kept.sha256) {
        return Err(damaged(&format!("{} is not what was written there", from.display())).into());
    }
    Ok(())
}

fn directories(file: &File) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let all: Vec<(&str, PathBuf)> = file.directories().into_iter().map(|(key, path)| (key, path.to_owned())).collect();
    if all.is_empty() {
        let message = "the configuration names no data directory: what is in Kafka and PostgreSQL is kept with their own means (docs/operations.md)";
        return Err(Failure::new(Exit::Usage, message).into());
    }
    for (key, directory) in &all {
        if let Some((outer, _)) = all.iter().find(|(other, path)| other != key && directory.starts_with(path)) {
            let message = format!("{key} is inside of {outer}: give each part a directory of its own");
            return Err(Failure::new(Exit::Usage, message).into());
        }
    }
    Ok(all)
}

/// Holds all of them, so that no part uses them. Nothing of that is left once they are let go.
fn hold(directories: &[(&'static str, PathBuf)]) -> anyhow::Result<Vec<disk::DirLock>> {
    let mut held = Vec::new();
    for (_, directory) in directories {
        // The last one first: they are let go in this order, and it may have been put where one before it had to be made.
        held.insert(0, disk::borrow_dir(directory)?);
    }
    Ok(held)
}

fn root<'a>(directories: &'a [(&'static str, PathBuf)], key: &str) -> anyhow::Result<&'a Path> {
    let found = directories.iter().find(|(known, _)| *known == key).map(|(_, directory)| directory.as_path());
    let message =
        || format!("the backup has `{key}`, which the configuration does not name: restore all parts together");
    found.ok_or_else(|| Failure::new(Exit::Usage, message()).into())
}

fn data_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let files = disk::files_below(directory)?;
    Ok(files.into_iter().filter(|path| path != Path::new(disk::LOCK)).collect())
}

fn make_parent(path: &Path) -> anyhow::Result<()> {
    Ok(path.parent().map_or(Ok(()), disk::create_dir)?)
}

fn bar(what: &str, bytes: u64) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr()).with_message(what.to_owned());
    bar.set_style(ProgressStyle::with_template("{msg}: {bar:30} {bytes} of {total_bytes}, {eta} left")?);
    Ok(bar)
}

fn said(manifest: &Manifest, dry_run: bool, to_come: &str, done: &str, output: Output) -> anyhow::Result<()> {
    render::show(output, manifest, |manifest| {
        let rows = manifest
            .files
            .iter()
            .map(|kept| [kept.directory.clone(), kept.path.display().to_string(), render::count(kept.bytes)]);
        let what = if dry_run { to_come } else { done };
        format!(
            "ledger {}, {}\n{}\n{what}: {} files, {} bytes",
            manifest.ledger,
            manifest.at,
            render::table(["directory", "file", "bytes"], &[2], rows),
            render::count(manifest.files.len() as u64),
            render::count(manifest.bytes())
        )
    })
}
