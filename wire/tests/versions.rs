//! What older programs wrote is read as if it had been written today; what a newer one wrote is not taken for anything else.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::path::PathBuf;
use uuid::Uuid;
use wire::journal::event::{Event, SagaEnded};
use wire::journal::{Command, Outcome};
use wire::stored::{self, DecodeError, Stored};

/// The names of the golden files of a version of a type, with their bytes.
fn files<T: Stored>(version: u16) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let tag = [T::TYPE.to_le_bytes(), version.to_le_bytes()].concat();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let hex = std::fs::read_to_string(&path).unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.trim().len()).step_by(2).map(byte).collect();
        if bytes.starts_with(&tag) {
            let name = path.file_name().unwrap().to_str().unwrap();
            files.push((name.split('.').next().unwrap().to_owned(), bytes));
        }
    }
    files.sort();
    files
}

/// Every file of version 1 is read, and written anew as the file of version 2; but for those that `differs` tells.
fn upcast<T: Stored>(differs: impl Fn(&str, T) -> bool) -> usize {
    let (old, new) = (files::<T>(1), files::<T>(2));
    for (name, bytes) in &old {
        let read = stored::decode::<T>(bytes).unwrap();
        let anew = stored::encode(&read);
        let (_, expected) = new.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("{name}.v2.hex"));
        assert!(anew == *expected || differs(name, read), "{name}");
        for length in 4..bytes.len() {
            assert!(stored::decode::<T>(&bytes[..length]).is_err(), "{name}: {length} of {} bytes", bytes.len());
        }
    }
    old.len()
}

#[test]
fn golden_commands_of_version_1_are_read() {
    assert_eq!(upcast::<Command>(|_, _| false), 28, "the files of version 1 stay for good");
}

/// The end of a saga is all that changed its shape: it said nothing of the transaction.
#[test]
fn golden_outcomes_of_version_1_are_upcast() {
    let ends = |name: &str, read: Outcome| {
        let [Event::SagaCompleted(SagaEnded { transaction: None, version: 2, .. })] = &read.events[..] else {
            return false;
        };
        name == "event-saga-completed"
    };
    assert_eq!(upcast::<Outcome>(ends), 37, "the files of version 1 stay for good");
    let (_, newest) = files::<Outcome>(2).into_iter().find(|(name, _)| name == "event-saga-completed").unwrap();
    let read = stored::decode::<Outcome>(&newest).unwrap();
    let [Event::SagaCompleted(ended)] = &read.events[..] else { panic!("{read:?}") };
    assert_eq!(ended.transaction, Some(Uuid::from_u128(0xCF00_0000_0000_8000_8000_0000_0000_0001)));
}

#[test]
fn what_a_newer_program_wrote_is_told_from_what_nobody_did() {
    let read = |record_type: u16, version: u16| {
        let bytes = [&record_type.to_le_bytes()[..], &version.to_le_bytes(), b"whatever"].concat();
        stored::decode::<Outcome>(&bytes).unwrap_err()
    };
    for newer in [0x0004, 0x0107, 0x0FFF] {
        assert_eq!(read(newer, 1), DecodeError::UnknownType(newer));
        assert!(read(newer, 1).is_newer());
    }
    assert!(read(Outcome::TYPE, Outcome::VERSION + 1).is_newer());
    // Another type of ours, no type at all, and how a text or JSON begins.
    for other in [Command::TYPE, 0, u16::from_le_bytes(*b"a "), u16::from_le_bytes(*b"{\""), 0x1000] {
        assert_eq!(read(other, 1), DecodeError::OtherType { found: other, expected: Outcome::TYPE });
        assert!(!read(other, 1).is_newer());
    }
}
