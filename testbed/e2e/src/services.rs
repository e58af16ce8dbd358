//! The trial services, to be treated badly: see `./dev services help`.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::path::PathBuf;
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

/// Starts or stops the schema registry; it forgets everything.
///
/// # Errors
/// As [`broker`].
pub fn registry(action: &str) -> anyhow::Result<()> {
    run(&["registry", action])
}

/// Runs a program of `testbed/services/consumer/`, which knows nothing of Crossfade; the JSON that it prints.
///
/// # Errors
/// When the services were not started by `./dev services up`, or the program fails: says what it said.
pub fn consumer(program: &str, arguments: &[&str]) -> anyhow::Result<Value> {
    let services = PathBuf::from(variable("CROSSFADE_TRIAL_SERVICES")?);
    let ended = Command::new("python3")
        .env("PYTHONPATH", variable("CROSSFADE_TRIAL_PYTHONPATH")?)
        .arg(services.with_file_name("consumer").join(program))
        .args(arguments)
        .output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{program}: {said}");
    serde_json::from_slice(&ended.stdout).with_context(|| format!("{program} prints no JSON"))
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: run `./dev services up`, then `. .services/env`"))
}

fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let ended = Command::new(variable("CROSSFADE_TRIAL_SERVICES")?).args(arguments).output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "services {}: {said}", arguments.join(" "));
    Ok(())
}
