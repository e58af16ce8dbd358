//! `crossfade log tail`: any topic as JSON, one object a line.

use super::exchanges::escaped;
use crate::cli::LogCommand;
use crate::client::{Exit, Failure, Part, Parts};
use crate::render;
use anyhow::Context;
use base64::Engine as _;
use http_body_util::BodyExt;
use serde_json::json;
use wire::control::LogLine;

/// A stored record on its way through the command line.
pub struct Stored {
    /// The line it came in.
    pub line: LogLine,
    /// The stored bytes.
    pub bytes: Vec<u8>,
}

/// Prints the records of a partition.
pub async fn run(parts: &Parts, command: LogCommand) -> anyhow::Result<Exit> {
    let LogCommand::Tail { topic, partition, from, follow } = command;
    each(parts, &topic, partition, from, follow, |stored| {
        let record = wire::stored::to_json(&stored.bytes)
            .unwrap_or_else(|error| json!({ "unreadable": error.to_string(), "bytes": stored.line.bytes }));
        let at = stored.line.at.to_string();
        render::line(&json!({ "offset": stored.line.offset, "at": at, "record": record }).to_string())
    })
    .await?;
    Ok(Exit::Done)
}

/// Which part keeps a topic.
fn keeper(topic: &str) -> anyhow::Result<Part> {
    match topic.split('.').next() {
        Some("billing") => Ok(Part::EngineControl),
        Some("cutover") => Ok(Part::Comparator),
        _ => {
            Err(Failure::new(Exit::Usage, format!("there is no topic `{topic}`: they begin with billing. or cutover."))
                .into())
        }
    }
}

/// Hands every record of a partition to `visit`, as it arrives.
///
/// # Errors
/// When the part does not answer in time, the stream breaks or, unless followed, stands still, or `visit` fails.
pub async fn each(
    parts: &Parts,
    topic: &str,
    partition: u32,
    from: u64,
    follow: bool,
    visit: impl FnMut(Stored) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    each_of(parts, keeper(topic)?, topic, partition, from, follow, visit).await
}

/// As [`each`], from the part that is named: some topics have more than one keeper.
pub async fn each_of(
    parts: &Parts,
    keeper: Part,
    topic: &str,
    partition: u32,
    from: u64,
    follow: bool,
    mut visit: impl FnMut(Stored) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let path = format!("/internal/log/{}/{partition}?from={from}&follow={follow}", escaped(topic));
    let mut body = parts.open(keeper, &path).await?.into_body();
    let mut pending = Vec::new();
    loop {
        let frame = body.frame();
        // Whoever follows waits for what is yet to happen; else the records are there already.
        let frame = if follow { Ok(frame.await) } else { host::clock::timeout(parts.timeout(), frame).await };
        let frame = frame.map_err(|_| Failure::new(Exit::TimedOut, format!("{topic}/{partition} stands still")))?;
        let Some(frame) = frame else { break };
        let Ok(data) = frame.context("the log's stream broke")?.into_data() else { continue };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line: LogLine = serde_json::from_slice(&line).context("the log's stream is not what it should be")?;
            let bytes = base64::engine::general_purpose::STANDARD.decode(&line.bytes)?;
            visit(Stored { line, bytes })?;
        }
    }
    anyhow::ensure!(pending.is_empty(), "the log's stream ended in the middle of a record");
    Ok(())
}
