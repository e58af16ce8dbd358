//! A real bank's year 1993 through the front, at 0 %, 37 % and 100 %.
//!
//! The data is not part of the repository: `CROSSFADE_BANK_DATA` names the file, by default
//! `../shared/data/bank-1993.csv.gz` beside the checkout. Without it the test says so, loudly.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use std::path::{Path, PathBuf};
use testbed_e2e::replay;

const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");

fn data() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/bank-1993.csv.gz");
    let path = std::env::var_os("CROSSFADE_BANK_DATA").map_or(default, PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    println!("\n*** NOT TESTED: the bank's data is not at {} (CROSSFADE_BANK_DATA names it) ***\n", path.display());
    None
}

async fn replayed(percent: &str) -> anyhow::Result<()> {
    let Some(path) = data() else { return Ok(()) };
    let outcome = replay::run(Path::new(BINARY), &path, percent).await?;
    println!("{outcome}");
    outcome.check()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_in_shadow() -> anyhow::Result<()> {
    replayed("0").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_at_37_percent() -> anyhow::Result<()> {
    replayed("37").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bank_at_100_percent() -> anyhow::Result<()> {
    replayed("100").await
}
