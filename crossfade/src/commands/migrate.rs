//! `crossfade migrate`: brings the database of the projections to what this program expects. An engine does so itself when
//! it starts; this is for whoever wants it done before.

use crate::cli::Output;
use crate::client::{Exit, Failure};
use crate::config::File;
use crate::render;
use engine::postgres::{Error, Store};
use serde_json::json;
use std::time::Duration;

/// Runs it.
pub async fn run(file: File, dry_run: bool, timeout: Duration, output: Output) -> anyhow::Result<Exit> {
    file.check()?;
    let missing = "the configuration has no section [postgres]: there is no database to migrate";
    let config = file.postgres.ok_or_else(|| Failure::new(Exit::Usage, missing))?;
    let store = Store::new(&config)?;
    let silent = || Failure::new(Exit::TimedOut, format!("postgres.url: the database says nothing for {timeout:?}"));
    let pending = match host::clock::timeout(timeout, store.pending()).await {
        Err(_) | Ok(Err(Error::Silent)) => return Err(silent().into()),
        Ok(pending) => pending?,
    };
    if !dry_run {
        store.migrate().await?;
    }
    let value = json!({
        "done": !dry_run,
        "migrations": pending.iter().map(|(version, description)| json!({
            "version": version, "description": description,
        })).collect::<Vec<_>>(),
    });
    render::show(output, &value, |_| {
        if pending.is_empty() {
            return "the database is as this program expects it".to_owned();
        }
        let what = if dry_run { "to come" } else { "done" };
        let rows = pending.iter().map(|(version, description)| [version.to_string(), description.clone()]);
        format!("{what}:\n{}", render::table(["migration", "what"], &[0], rows))
    })?;
    Ok(Exit::Done)
}
