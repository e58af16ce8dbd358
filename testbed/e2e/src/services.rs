//! The trial services, to be treated badly: see `./dev services help`.

use anyhow::{Context, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Longer than any reading here takes, so that a reader that hangs is not waited for until the whole run is ended.
const CONSUMER_SECONDS: &str = "180";

/// Starts, stops, kills, pauses or resumes a broker.
///
/// # Errors
/// When the services were not started by `./dev services up`, or the action fails.
pub fn broker(action: &str, number: usize) -> anyhow::Result<()> {
    run(&["broker", action, &number.to_string()])
}

/// Makes sure that every broker runs. All are started at once: none is ready before most of them are there.
///
/// # Errors
/// As [`broker`].
pub fn all_brokers() -> anyhow::Result<()> {
    let starts = ["1", "2", "3"].map(|number| ["broker", "start", number]);
    let begun = starts.map(|arguments| begin(&arguments));
    starts.iter().zip(begun).try_for_each(|(arguments, begun)| end(begun?, arguments))
}

/// Starts or stops the schema registry; it forgets everything.
///
/// # Errors
/// As [`broker`].
pub fn registry(action: &str) -> anyhow::Result<()> {
    run(&["registry", action])
}

/// Starts or kills PostgreSQL.
///
/// # Errors
/// As [`broker`].
pub fn postgres(action: &str) -> anyhow::Result<()> {
    run(&["postgres", action])
}

/// Runs a program of `testbed/services/consumer/`, which knows nothing of Crossfade; the JSON that it prints.
///
/// # Errors
/// When the services were not started by `./dev services up`, the program fails or takes too long: says what it said.
pub fn consumer(program: &str, arguments: &[&str]) -> anyhow::Result<Value> {
    let services = PathBuf::from(variable("CROSSFADE_TRIAL_SERVICES")?);
    let ended = Command::new("timeout")
        .args([CONSUMER_SECONDS, "python3"])
        .env("PYTHONPATH", variable("CROSSFADE_TRIAL_PYTHONPATH")?)
        .arg(services.with_file_name("consumer").join(program))
        .args(arguments)
        .output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.code() != Some(124), "{program} took longer than {CONSUMER_SECONDS} s: {said}");
    ensure!(ended.status.success(), "{program}: {said}");
    serde_json::from_slice(&ended.stdout).with_context(|| format!("{program} prints no JSON"))
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: run `./dev services up`, then `. .services/env`"))
}

fn run(arguments: &[&str]) -> anyhow::Result<()> {
    end(begin(arguments)?, arguments)
}

fn begin(arguments: &[&str]) -> anyhow::Result<Child> {
    let mut command = Command::new(variable("CROSSFADE_TRIAL_SERVICES")?);
    Ok(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?)
}

fn end(begun: Child, arguments: &[&str]) -> anyhow::Result<()> {
    let ended = begun.wait_with_output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "services {}: {said}", arguments.join(" "));
    Ok(())
}
