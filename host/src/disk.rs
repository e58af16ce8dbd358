//! Files and directories. Errors name the path, because "permission denied" alone helps nobody.

use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use std::fs::File;

fn named(path: &Path, what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

/// Makes a directory and its parents, and proves that it can be written.
pub fn create_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path).map_err(|error| named(path, "create the directory", error))?;
    let probe = path.join(".writable");
    File::create(&probe).map_err(|error| named(path, "write into the directory", error))?;
    fs::remove_file(&probe).map_err(|error| named(path, "write into the directory", error))
}

/// What says that a process is there, not what it keeps.
pub const LOCK: &str = "LOCK";

/// A data directory held by this process alone, until dropped.
#[derive(Debug)]
pub struct DirLock {
    // Dropped before the file is: what goes with it is still held.
    _made: Option<Made>,
    _file: File,
}

/// What was made to hold a directory that is only borrowed; gone when dropped.
#[derive(Debug)]
struct Made {
    lock: Option<PathBuf>,
    /// The innermost first.
    directories: Vec<PathBuf>,
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            let _ = fs::remove_file(lock);
        }
        for directory in &self.directories {
            // One that somebody has put something into stays.
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Where the data of a directory stands while it is restored: beside it, until all directories of the installation have theirs.
pub fn restoring(path: &Path) -> PathBuf {
    // Without a slash at its end, which would put it inside.
    let mut name = path.components().collect::<PathBuf>().into_os_string();
    name.push(".restoring");
    PathBuf::from(name)
}

/// Claims a data directory for this process.
///
/// # Errors
/// When the directory cannot be made or written, another living process holds it, or a restore into it was not finished:
/// nothing is to begin on what is empty only because of that.
pub fn lock_dir(path: &Path) -> io::Result<DirLock> {
    Ok(DirLock { _made: None, _file: lock(path)? })
}

/// Claims a data directory for a while: as [`lock_dir`], but what was not there before is gone again when it is dropped.
/// Directories with one parent that is not there are given back in reverse, or the parent stays.
pub fn borrow_dir(path: &Path) -> io::Result<DirLock> {
    let is_missing = |part: &&Path| !part.as_os_str().is_empty() && fs::symlink_metadata(part).is_err();
    let directories = path.ancestors().take_while(is_missing).map(Path::to_owned).collect();
    let name = path.join(LOCK);
    let is_new = is_missing(&name.as_path());
    let mut made = Made { lock: None, directories };
    let file = lock(path)?;
    // Not before: as long as it is not held, it may be another process's.
    made.lock = is_new.then_some(name);
    Ok(DirLock { _made: Some(made), _file: file })
}

/// Nothing is being restored there.
fn is_restored(path: &Path) -> io::Result<()> {
    let draft = restoring(path);
    if !draft.exists() {
        return Ok(());
    }
    let (path, draft) = (path.display(), draft.display());
    Err(io::Error::other(format!(
        "a restore into {path} was not finished: remove {draft}, and what the same restore has put into other data \
         directories, then restore again"
    )))
}

fn lock(path: &Path) -> io::Result<File> {
    is_restored(path)?;
    create_dir(path)?;
    let name = path.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|error| named(&name, "open", error))?;
    match file.try_lock() {
        // Whoever had only borrowed the directory may have removed the file since it was opened.
        Ok(()) if is_at(&file, &name).map_err(|error| named(&name, "look at", error))? => {
            // Also not by one that held the directory until now.
            is_restored(path).map(|()| file)
        }
        Ok(()) | Err(fs::TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another process uses the data directory {}: stop it, or choose another directory", path.display()),
        )),
        Err(fs::TryLockError::Error(error)) => Err(named(&name, "lock", error)),
    }
}

/// Whether this file is what others find under that name.
fn is_at(file: &File, name: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let found = match fs::metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        about => about?,
    };
    let opened = file.metadata()?;
    Ok((found.dev(), found.ino()) == (opened.dev(), opened.ino()))
}

/// Reads a whole file; `None` when there is none.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, "read", error)),
    }
}

/// Replaces a file as a whole: after a crash there is the old content or the new one, never a mixture.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let write = || -> io::Result<()> {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        sync_parent(path)
    };
    write().map_err(|error| named(path, "write", error))
}

/// Makes the entry of `path` in its directory durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(here) if here.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Opens a file for appending, making it if absent.
pub fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|error| named(path, "open", error))
}

/// Opens a file for reading.
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| named(path, "open", error))
}

/// How long a file is; `None` when there is none.
pub fn length(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(about) => Ok(Some(about.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, "look at", error)),
    }
}

/// Shortens a file to `length` bytes: what a torn write left behind is cut off.
pub fn truncate(path: &Path, length: u64) -> io::Result<()> {
    let cut = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_all()
    };
    cut().map_err(|error| named(path, "truncate", error))
}

/// Removes a file; one that is not there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(path, "remove", error)),
        _ => Ok(()),
    }
}

/// Removes an empty directory; one that is not there is no error.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(path, "remove", error)),
        _ => Ok(()),
    }
}

/// Whether there is such a directory.
pub fn is_dir(path: &Path) -> bool {
    path.is_dir()
}

/// Where a path leads to, links followed as far as it is there.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let there = path.ancestors().find_map(|part| fs::canonicalize(part).ok().map(|real| (part, real)));
    Ok(match there {
        Some((part, real)) => real.join(path.strip_prefix(part).unwrap_or(Path::new(""))),
        None => path,
    })
}

/// The entries of a directory, sorted by name.
pub fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(path)
        .map_err(|error| named(path, "list", error))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

/// All files below a directory, as paths from there, sorted; nothing where there is no such directory.
pub fn files_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![path.to_owned()];
    while let Some(directory) = left.pop() {
        match fs::metadata(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            about => about.map_err(|error| named(&directory, "look at", error))?,
        };
        for entry in list(&directory)? {
            if entry.is_dir() {
                left.push(entry);
            } else if let Ok(below) = entry.strip_prefix(path) {
                found.push(below.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a file from its beginning to its end, a piece at a time, and writes it to another one, if one is given, durably.
/// Says how many bytes that were, and their SHA-256.
pub fn copy(from: &Path, to: Option<&Path>, mut done: impl FnMut(u64)) -> io::Result<(u64, [u8; 32])> {
    use io::Read as _;
    let mut source = open(from)?;
    let mut target = to.map(|to| File::create(to).map_err(|error| named(to, "create", error))).transpose()?;
    let mut hash = Sha256::new();
    let mut length = 0;
    let mut piece = vec![0; 1 << 20];
    loop {
        let read = source.read(&mut piece).map_err(|error| named(from, "read", error))?;
        if read == 0 {
            break;
        }
        hash.update(&piece[..read]);
        if let (Some(target), Some(to)) = (&mut target, to) {
            target.write_all(&piece[..read]).map_err(|error| named(to, "write", error))?;
        }
        length += read as u64;
        done(read as u64);
    }
    if let (Some(target), Some(to)) = (target, to) {
        target.sync_all().and_then(|()| sync_parent(to)).map_err(|error| named(to, "write", error))?;
    }
    Ok((length, hash.finalize().into()))
}

/// Makes the entries of a directory, and of all below it, durable.
pub fn sync_dirs(path: &Path) -> io::Result<()> {
    let mut left = vec![path.to_owned()];
    while let Some(directory) = left.pop() {
        left.extend(list(&directory)?.into_iter().filter(|entry| entry.is_dir()));
        File::open(&directory)
            .and_then(|opened| opened.sync_all())
            .map_err(|error| named(&directory, "sync", error))?;
    }
    sync_parent(path)
}

/// Whether this is a directory of the file system that it is in, by what can be seen: neither a link nor another file system. A
/// directory of the same one that is mounted here is not told from one.
pub fn is_plain(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let path = std::path::absolute(path)?.components().collect::<PathBuf>();
    let looked_at = |path: &Path| fs::symlink_metadata(path).map_err(|error| named(path, "look at", error));
    let (about, parent) = (looked_at(&path)?, looked_at(path.parent().unwrap_or(&path))?);
    // A parent that is a link leads to wherever the directory is.
    Ok(about.is_dir() && (parent.is_symlink() || about.dev() == parent.dev()))
}

/// Whether another directory can be put in the place of this one: it is neither a link nor a mount point. It is renamed and
/// renamed back for that; who is killed in between leaves what an unfinished restore would leave.
pub fn is_replaceable(path: &Path) -> io::Result<bool> {
    let path = path.components().collect::<PathBuf>();
    let about = fs::symlink_metadata(&path).map_err(|error| named(&path, "look at", error))?;
    let draft = restoring(&path);
    if !about.is_dir() {
        return Ok(false);
    }
    match fs::rename(&path, &draft) {
        Ok(()) => rename_dir(&draft, &path).map(|()| true),
        Err(error) if matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices) => Ok(false),
        Err(error) => Err(named(&path, "rename", error)),
    }
}

/// Gives a file another name, durably; what had that name is gone.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).and_then(|()| sync_parent(to)).map_err(|error| named(from, "rename", error))
}

/// Gives a directory another name; the new one must not be there, or be an empty directory.
pub fn rename_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).and_then(|()| sync_parent(to)).map_err(|error| named(from, "rename", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test alone, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("host-disk-{}", crate::random::token()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_borrowed_is_given_back_as_it_was() {
        let scratch = Scratch::new();
        let [parent, one, other] = ["a", "a/b", "a/c"].map(|name| scratch.0.join(name));
        let first = borrow_dir(&one).unwrap();
        let second = borrow_dir(&other).unwrap();
        assert_eq!(borrow_dir(&one).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(one.join(LOCK).exists(), "who was refused has removed it");
        drop(second);
        drop(first);
        assert!(!parent.exists());
        fs::create_dir_all(&one).unwrap();
        drop(borrow_dir(&one).unwrap());
        assert_eq!(list(&one).unwrap(), Vec::<PathBuf>::new());
        drop(lock_dir(&one).unwrap());
        drop(borrow_dir(&one).unwrap());
        assert_eq!(list(&one).unwrap(), [one.join(LOCK)]);
        let borrowed = borrow_dir(&other).unwrap();
        fs::write(other.join("of-somebody-else"), "").unwrap();
        drop(borrowed);
        assert_eq!(list(&other).unwrap(), [other.join("of-somebody-else")]);
    }

    #[test]
    fn a_lock_that_others_do_not_find_is_none() {
        let scratch = Scratch::new();
        let name = scratch.0.join(LOCK);
        let file = File::create(&name).unwrap();
        assert!(is_at(&file, &name).unwrap());
        remove(&name).unwrap();
        assert!(!is_at(&file, &name).unwrap());
        File::create(&name).unwrap();
        assert!(!is_at(&file, &name).unwrap());
    }
}
