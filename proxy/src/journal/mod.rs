//! The front's record of exchanges on its own disk: what survives the front, whatever happens to it.
//!
//! | module | what |
//! |---|---|
//! | [`record`] | pure: one record in bytes, and what a torn one looks like |
//! | [`boot`] | the counter of boots, and which directory belongs to which |
//! | [`recover`] | what earlier boots left behind, completed with its end |
//! | [`damage`], [`examine`] | what in it cannot be read although something stands behind it |
//! | [`salvage`] | what is left of a damaged boot, made readable on request |
//! | [`append`] | what callers ask for: append, wait at most so long, go on |
//! | [`writer`] | the thread that numbers and writes, many records at a time |
//! | [`sync`] | the thread that makes durable what was written |
//! | [`read`] | records by number, for shipping |
//!
//! ```text
//! data_dir/LOCK                                   held by the process that uses it
//! data_dir/boot                                   the last boot begun
//! data_dir/boot-3/boot                            who wrote it; absent once everything in it was shipped
//! data_dir/boot-3/00000000000000000001.journal    records from number 1 on
//! data_dir/damaged/boot-3/…                       what was skipped of it, and its damaged files as they were
//! ```
//!
//! Invariants: numbers have no holes within a boot; a record is acknowledged to its caller when it is written
//! (it then survives the process), and shipped when it is durable (it then survives the machine), so that the log
//! never knows a record that the journal forgot; an intent whose result is lost is never sent again; a front does not begin
//! on a damaged journal unless it is told to.

pub mod append;
pub mod boot;
mod damage;
mod examine;
pub mod read;
pub mod record;
pub mod recover;
mod salvage;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

pub use append::{Barrier, Journal, Overruled, Recorded, Ticket};
pub use boot::Boot;
pub use damage::Damage;
pub use recover::OldBoot;

use host::ops::Readiness;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// When a written record is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Every so often, many records together. Until then a record survives the process, not the machine.
    Interval(Duration),
    /// Before its caller goes on.
    Each,
}

/// How to open a journal.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its directory, used by one process at a time.
    pub dir: PathBuf,
    /// The name of the front.
    pub front: String,
    /// The last boot in a directory that was lost; 0 when none was. This one comes after it.
    pub lost_boot: u64,
    /// How long a caller waits for a record to be written.
    pub wait: Duration,
    /// From this size on no further exchange is recorded until something was shipped.
    pub max_bytes: u64,
    /// When a written record is made durable.
    pub fsync: Fsync,
    /// Whether it goes on without what cannot be read of earlier boots.
    pub salvage: bool,
    /// Where it says that it cannot write.
    pub readiness: Readiness,
}

/// A journal opened, with what earlier boots left in its directory.
#[derive(Debug)]
pub struct Opened {
    /// The journal of this boot.
    pub journal: Journal,
    /// Earlier boots whose records may not all have been shipped, oldest first.
    pub old: Vec<OldBoot>,
}

/// Why a journal cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory or a file in it cannot be used.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// The file that counts the boots makes no sense: going on could use a number twice.
    #[error(
        "{path} is damaged ({problem}): give the front a new name and a new, empty directory, and keep this one until \
         its exchanges are accounted for"
    )]
    BootFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Earlier boots left what cannot be read.
    #[error("{}", refused(.damage, .folder))]
    Refused {
        /// All of it.
        damage: Vec<Damage>,
        /// Where copies of the damaged files would be kept.
        folder: PathBuf,
    },
    /// A file does not hold what it must: the disk has lost or changed bytes.
    #[error("{path} is damaged at byte {offset}: records from number {sequence} on cannot be read")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// The first record that cannot be read.
        sequence: u64,
    },
}

/// Places named in one error: a disk that loses much loses it everywhere.
const NAMED: usize = 8;

fn refused(damage: &[Damage], folder: &Path) -> String {
    let mut places: Vec<String> = damage.iter().take(NAMED).map(Damage::to_string).collect();
    if damage.len() > NAMED {
        places.push(format!("and {} more places", damage.len() - NAMED));
    }
    format!(
        "the journal is damaged: {}. Put back the files if there are whole copies of them; otherwise start once with \
         --salvage (`crossfade front --salvage`, or `up --salvage`): what is missing is counted as a gap, the rest is \
         shipped, and {} keeps the damaged files as they are",
        places.join("; "),
        folder.display()
    )
}
