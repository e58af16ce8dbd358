//! `./dev replay FILE`: a real bank's year at 0 %, 37 % and 100 %.

#![allow(clippy::print_stdout, reason = "its figures are its result")]

use anyhow::Context;
use std::path::PathBuf;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = PathBuf::from(std::env::args().nth(1).context("usage: replay FILE")?);
    let binary = std::env::current_exe()?.with_file_name("crossfade-under-test");
    anyhow::ensure!(binary.exists(), "{} is not built: cargo build -p testbed-e2e", binary.display());
    for percent in ["0", "37", "100"] {
        let outcome = testbed_e2e::replay::run(&binary, &file, percent).await?;
        println!("{outcome}");
        outcome.check()?;
    }
    Ok(())
}
