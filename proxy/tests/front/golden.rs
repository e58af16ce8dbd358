//! The bytes of what this crate keeps on disk. A change of them is a new version, never an edit.

use proxy::front::last_known::LastKnown;
use std::path::PathBuf;
use wire::rollout::Rollout;
use wire::stored::{Stored, decode, encode};
use wire::words::System;

/// Bytes of version 1, which knew of one unfinished move at most.
#[test]
fn golden_last_known_rollout_of_before() {
    let golden = std::fs::read(golden(1)).unwrap();
    let state = decode::<LastKnown>(&golden).unwrap();
    assert_eq!((state.next, state.rollout.version), (12, 7));
    assert_eq!(state.unfinished, [(7, Rollout::genesis("ledger"))]);
}

fn golden(version: u16) -> PathBuf {
    let name = format!("last-known-{:04x}-v{version}.bin", LastKnown::TYPE);
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn golden_last_known_rollout() {
    let mut rollout = Rollout::genesis("ledger");
    rollout.version = 7;
    rollout.last_version = 8;
    rollout.pins.insert("alice".into(), System::Engine);
    let from = Rollout::genesis("ledger");
    let state =
        LastKnown { ledger: "ledger".into(), next: 12, rollout, unfinished: vec![(7, from.clone()), (8, from)] };
    let path = golden(LastKnown::VERSION);
    if std::env::var_os("CROSSFADE_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, encode(&state)).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    assert_eq!(encode(&state), golden, "the bytes have changed");
    assert_eq!(decode::<LastKnown>(&golden), Ok(state));
}
