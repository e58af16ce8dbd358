//! The trial services, to be treated badly: see `./dev services help`.

use anyhow::{Context, ensure};
use std::process::Command;

/// Starts, stops, kills, pauses or resumes a broker.
///
/// # Errors
/// When the services were not started by `./dev services up`, or the action fails.
pub fn broker(action: &str, number: usize) -> anyhow::Result<()> {
    run(&["broker", action, &number.to_string()])
}

/// Makes sure that every broker runs.
///
/// # Errors
/// As [`broker`].
pub fn all_brokers() -> anyhow::Result<()> {
    (1..=3).try_for_each(|number| broker("start", number))
}

fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let program = std::env::var("CROSSFADE_TRIAL_SERVICES")
        .context("CROSSFADE_TRIAL_SERVICES is not set: run `./dev services up`, then `. .services/env`")?;
    let ended = Command::new(program).args(arguments).output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "services {}: {said}", arguments.join(" "));
    Ok(())
}
