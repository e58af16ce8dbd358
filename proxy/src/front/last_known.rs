//! Where the dial stood when it was last heard: what a restarted front serves by when the comparator is away.

use host::disk;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use wire::rollout::Rollout;
use wire::scalar::Digest;
use wire::stored::{Stored, decode, encode};

/// The file, beside the journal.
const FILE: &str = "rollout.state";

/// The last state of the rollout that this front has heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastKnown {
    /// The ledger it belongs to.
    pub ledger: String,
    /// The offset to ask for next.
    pub next: u64,
    /// The state.
    pub rollout: Rollout,
    /// The moves that the relay had still to say were drained, oldest first: the version of each, and the state before it.
    pub unfinished: Vec<(u64, Rollout)>,
}

impl Stored for LastKnown {
    const TYPE: u16 = 0x0303;
    /// 2: any number of unfinished moves. The bytes of none and of one are those of version 1.
    const VERSION: u16 = 2;
    const OLDEST: u16 = 1;
}

/// What the disk says.
#[derive(Debug, PartialEq, Eq)]
pub enum Remembered {
    /// This front has never heard of a rollout.
    Nothing,
    /// The last one.
    State(Box<LastKnown>),
    /// Something that is not what was written: nobody can tell who answers for which account until the comparator
    /// is heard.
    Damaged(String),
}

/// Where the file stands in a data directory.
pub fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Reads what was written last.
///
/// # Errors
/// When the file is there but cannot be read at all.
pub fn read(dir: &Path, ledger: &str) -> io::Result<Remembered> {
    let Some(bytes) = disk::read(&path(dir))? else { return Ok(Remembered::Nothing) };
    let Some((digest, stored)) = bytes.split_first_chunk::<32>() else {
        return Ok(Remembered::Damaged(format!("{} bytes are too few", bytes.len())));
    };
    if Digest::of(stored) != Digest(*digest) {
        return Ok(Remembered::Damaged("its checksum does not fit".to_owned()));
    }
    Ok(match decode::<LastKnown>(stored) {
        Ok(state) if state.ledger == ledger => Remembered::State(Box::new(state)),
        Ok(state) => Remembered::Damaged(format!("it belongs to the ledger `{}`, not `{ledger}`", state.ledger)),
        Err(error) => Remembered::Damaged(error.to_string()),
    })
}

/// Replaces what was written last: a SHA-256, then the stored bytes.
///
/// # Errors
/// When the disk does not take it; the old state is then still there.
pub fn write(dir: &Path, state: &LastKnown) -> io::Result<()> {
    let stored = encode(state);
    disk::replace(&path(dir), &[&Digest::of(&stored).0[..], &stored].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_written_and_never_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), "l").unwrap(), Remembered::Nothing);
        let rollout = Rollout::genesis("l");
        let state = LastKnown { ledger: "l".into(), next: 7, rollout: rollout.clone(), unfinished: vec![(3, rollout)] };
        write(dir.path(), &state).unwrap();
        assert_eq!(read(dir.path(), "l").unwrap(), Remembered::State(Box::new(state)));
        assert!(matches!(read(dir.path(), "other").unwrap(), Remembered::Damaged(_)));
        let whole = std::fs::read(path(dir.path())).unwrap();
        for index in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[index] ^= 0x10;
            std::fs::write(path(dir.path()), &bytes).unwrap();
            assert!(matches!(read(dir.path(), "l").unwrap(), Remembered::Damaged(_)), "byte {index} changed");
            std::fs::write(path(dir.path()), &whole[..index]).unwrap();
            assert!(matches!(read(dir.path(), "l").unwrap(), Remembered::Damaged(_)), "cut at {index}");
        }
    }
}
