//! `crossfade dlq …`: what could not be processed, and what became of it.

use super::log;
use crate::cli::{DlqCommand, Output, SettleArgs};
use crate::client::{Exit, Failure, Part, Parts};
use crate::render;
use anyhow::Context;
use base64::Engine as _;
use serde::Serialize;
use wire::control::{LogLine, SettleDeadLetter};
use wire::dead_letter::{DeadLetterEvent, Letter, Letters, Origin, TOPIC};
use wire::journal::COMMANDS;

/// Bytes of a record that are shown to people.
const SHOWN_BYTES: usize = 64;
/// Offsets of records that are no letters: as many as fit a line.
const SHOWN_OFFSETS: usize = 10;

/// Lists, shows or settles dead letters; a list with open ones exits with 3.
pub async fn run(parts: &Parts, command: DlqCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        DlqCommand::List { all } => {
            let letters = letters(parts).await?;
            let views: Vec<_> = letters.iter().map(|(origin, letter)| View::of(origin, letter)).collect();
            let open = views.iter().any(|view| view.status == Status::Open);
            let shown: Vec<_> = views.into_iter().filter(|view| all || view.status == Status::Open).collect();
            render::show(output, &shown, |views| table(views))?;
            Ok(if open { Exit::Unmet } else { Exit::Done })
        }
        DlqCommand::Show { id } => {
            let letters = letters(parts).await?;
            render::show(output, &View::of(&id, one(&letters, &id)?), one_page)?;
            Ok(Exit::Done)
        }
        DlqCommand::Redrive(args) => settle(parts, "redrive", args, output).await,
        DlqCommand::Drop(args) => settle(parts, "drop", args, output).await,
    }
}

/// All letters, of whichever part found them.
async fn letters(parts: &Parts) -> anyhow::Result<Letters> {
    let mut letters = Letters::default();
    let mut keepers = [Part::EngineControl, Part::Comparator].into_iter().filter(|part| parts.knows(*part)).peekable();
    if keepers.peek().is_none() {
        let message = "where are the parts? Give --engine-control URL and --comparator URL, or --config FILE";
        return Err(Failure::new(Exit::Usage, message).into());
    }
    while let Some(keeper) = keepers.next() {
        match take_from(parts, keeper, &mut letters).await {
            // Both show the same topic there.
            Ok(()) if parts.in_cluster() => break,
            Err(failed) if parts.in_cluster() && keepers.peek().is_some() => {
                render::note(&format!("{failed:#}; the other part that shows {TOPIC} is asked instead"));
            }
            taken => taken?,
        }
    }
    Ok(letters)
}

/// Takes the letters that one part shows, and says what else is in their topic. What is found twice counts once, and what
/// was settled stays settled.
async fn take_from(parts: &Parts, keeper: Part, letters: &mut Letters) -> anyhow::Result<()> {
    let mut strays = Vec::new();
    log::each_of(parts, keeper, TOPIC, 0, 0, false, |stored| {
        let LogLine { at, offset, .. } = stored.line;
        let newer = || format!("offset {offset} of {TOPIC} may be about any of the letters");
        if !letters.take_stored(at, &stored.bytes).with_context(newer)? {
            strays.push(offset);
        }
        Ok(())
    })
    .await?;
    if !strays.is_empty() {
        render::note(&passed_over(keeper, &strays));
    }
    Ok(())
}

/// What is said of records that are no letters.
fn passed_over(keeper: Part, offsets: &[u64]) -> String {
    let shown: Vec<_> = offsets.iter().take(SHOWN_OFFSETS).map(ToString::to_string).collect();
    let more = if offsets.len() > SHOWN_OFFSETS { ", …" } else { "" };
    let place = if keeper == Part::EngineControl { "the engine's log" } else { "the cutover's log" };
    let (are, at) = match offsets.len() {
        1 => ("record is no letter and is", "offset"),
        _ => ("records are no letters and are", "offsets"),
    };
    format!("{TOPIC} in {place}: {} {are} passed over, at {at} {}{more}", offsets.len(), shown.join(", "))
}

fn one<'a>(letters: &'a Letters, id: &Origin) -> anyhow::Result<&'a Letter> {
    let none = || Failure::new(Exit::Error, format!("there is no dead letter {id}: `crossfade dlq list` names them"));
    Ok(letters.get(id).ok_or_else(none)?)
}

async fn settle(parts: &Parts, verb: &str, args: SettleArgs, output: Output) -> anyhow::Result<Exit> {
    let SettleArgs { id, reason, actor, dry_run } = args;
    if id.topic == wire::exchange::TOPIC {
        let message = format!("{id} is a gap: see `crossfade discrepancies list`, and settle it there");
        return Err(Failure::new(Exit::Usage, message).into());
    }
    if dry_run {
        let letters = letters(parts).await?;
        let view = View::of(&id, one(&letters, &id)?);
        render::show(output, &view, |view| format!("{}\n{}", one_page(view), would(verb, view)))?;
        return Ok(Exit::Done);
    }
    let asked = SettleDeadLetter { origin: id.to_string(), actor, reason: reason.unwrap_or_default() };
    let path = format!("/internal/dead-letters/{verb}");
    let letter: Letter = parts.post(Part::EngineControl, &path, &asked).await?;
    render::show(output, &View::of(&id, &letter), one_page)?;
    Ok(Exit::Done)
}

/// What would happen.
fn would(verb: &str, View { id, status, bytes, record, .. }: &View) -> String {
    match (status, verb, record) {
        (Status::Open, "drop", _) => format!("{id} would be dropped"),
        // As the engine says: any other record was decided on, and has its place.
        (Status::Open, ..) if id.split('/').next() != Some(COMMANDS) => {
            format!("{id} could not be redriven: only a command can be")
        }
        (Status::Open, _, Some(_)) => format!("{id} would be decided as the newest command of its partition"),
        (Status::Open, _, None) if bytes.is_none() => format!("{id} could not be redriven: its bytes were not kept"),
        (Status::Open, _, None) => format!("{id} could not be redriven: it is still not readable"),
        _ => format!("nothing would happen: {id} is settled"),
    }
}

/// Where a letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    /// Nobody has settled it.
    Open,
    /// It was put into its topic once more.
    Redriven,
    /// Nothing is to be done about it.
    Dropped,
    /// The comparator counts it as a gap, which is settled there.
    Gap,
}

/// A letter, for people and programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: String,
    status: Status,
    found_at: String,
    reason: String,
    /// Who settled it, when and why.
    settled: Option<String>,
    /// Its bytes in base64, if they were still there and not too many.
    bytes: Option<String>,
    /// Whether it has no bytes because they were too many.
    too_large: bool,
    /// Its bytes as this program reads them, if it can.
    record: Option<serde_json::Value>,
}

impl View {
    fn of(origin: &Origin, letter: &Letter) -> Self {
        let (status, settled) = match &letter.settled {
            Some((at, DeadLetterEvent::Redriven { actor, reason, offset })) => {
                (Status::Redriven, Some(format!("by {actor} at {at}, as offset {offset}: {reason}")))
            }
            Some((at, DeadLetterEvent::Dropped { actor, reason })) => {
                (Status::Dropped, Some(format!("by {actor} at {at}: {reason}")))
            }
            Some((_, DeadLetterEvent::Found { .. })) | None if origin.topic == wire::exchange::TOPIC => {
                (Status::Gap, None)
            }
            Some((_, DeadLetterEvent::Found { .. })) | None => (Status::Open, None),
        };
        let bytes = letter.bytes.as_ref().map(|bytes| &bytes.0);
        Self {
            id: origin.to_string(),
            status,
            found_at: letter.found_at.to_string(),
            reason: letter.reason.clone(),
            settled,
            bytes: bytes.map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes)),
            too_large: letter.was_too_large(),
            record: bytes.and_then(|bytes| wire::stored::to_json(bytes).ok()),
        }
    }

    fn status(&self) -> String {
        serde_json::to_value(self.status).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

fn table(views: &[View]) -> String {
    if views.is_empty() {
        return "no dead letters".to_owned();
    }
    let row = |view: &View| [view.id.clone(), view.status(), view.found_at.clone(), view.reason.clone()];
    render::table(["dead letter", "status", "found", "reason"], &[], views.iter().map(row))
}

fn one_page(view: &View) -> String {
    let bytes = match &view.bytes {
        Some(bytes) if bytes.len() > SHOWN_BYTES => format!("{}…", &bytes[..SHOWN_BYTES]),
        Some(bytes) => bytes.clone(),
        None if view.too_large => "too many to be kept: they are only where the record came from".to_owned(),
        None => "deleted before anybody could keep them".to_owned(),
    };
    render::facts([
        ("dead letter", view.id.clone()),
        ("status", view.status()),
        ("found", view.found_at.clone()),
        ("reason", view.reason.clone()),
        ("settled", view.settled.clone().unwrap_or_default()),
        ("bytes (base64)", bytes),
        ("as JSON", view.record.as_ref().map_or_else(|| "not readable".to_owned(), ToString::to_string)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;
    use eventlog::serve::{Served, log_router};
    use eventlog::{EmbeddedLog, Log, NewRecord, Record};
    use host::task::Shutdown;
    use std::sync::Arc;
    use wire::dead_letter::{DeadLetter, MAX_KEPT_BYTES};
    use wire::stored::encode;

    /// A section that says that the log is in a cluster.
    const CLUSTER: &str = "[kafka]\nbootstrap = \"127.0.0.1:1\"\n";
    /// Where nobody listens.
    const NOBODY: &str = "http://127.0.0.1:1";

    fn origin(offset: u64) -> Origin {
        Origin { topic: COMMANDS.to_owned(), partition: 0, offset }
    }

    fn found(offset: u64) -> Vec<u8> {
        encode(&DeadLetter::found(origin(offset), &"why", None))
    }

    fn line(record: &Record) -> Vec<u8> {
        let bytes = base64::engine::general_purpose::STANDARD.encode(&record.value);
        let line = LogLine { offset: record.offset, at: wire::scalar::Timestamp(record.at_micros), bytes };
        serde_json::to_vec(&line).unwrap()
    }

    /// A part that shows these records in the letters' topic: its URL.
    async fn keeper(folder: &std::path::Path, records: &[Vec<u8>]) -> String {
        let log: Arc<dyn Log> = EmbeddedLog::open(folder).unwrap();
        log.append(TOPIC, 0, records.iter().cloned().map(NewRecord::of).collect()).await.unwrap();
        let shutdown = Shutdown::new();
        let served = Served { log, topics: vec![(TOPIC.to_owned(), 1)], line, shutdown: shutdown.clone() };
        let listener = host::net::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        host::task::spawn(host::http::serve_router(listener, log_router(served), shutdown));
        url
    }

    /// The engine's and the comparator's addresses, in a file that says where the log is.
    fn parts(folder: &std::path::Path, section: &str, engine: &str, comparator: &str) -> Parts {
        let config = folder.join("crossfade.toml");
        let text = format!(
            "ledger = \"x\"\n{section}[client]\nengine_control = \"{engine}\"\ncomparator = \"{comparator}\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let arguments = ["crossfade", "dlq", "list", "--config", config.to_str().unwrap()];
        Parts::new(&Cli::try_parse_from(arguments).unwrap().global).unwrap()
    }

    #[test]
    fn a_dry_run_says_what_a_run_would_do() {
        let letter = |topic: &str| {
            let origin = Origin { topic: topic.to_owned(), partition: 3, offset: 1 };
            // Bytes that this program can read.
            let found = DeadLetter::found(origin.clone(), &"why", Some(found(1)));
            let mut letters = Letters::default();
            letters.take(wire::scalar::Timestamp(1), found);
            View::of(&origin, letters.get(&origin).unwrap())
        };
        for (topic, verb, said) in [
            (COMMANDS, "redrive", "would be decided as the newest"),
            (COMMANDS, "drop", "would be dropped"),
            ("billing.journal", "redrive", "only a command can be"),
            ("billing.journal.balance", "redrive", "only a command can be"),
            ("billing.journal.balance", "drop", "would be dropped"),
        ] {
            assert!(would(verb, &letter(topic)).contains(said), "{topic} {verb}: {}", would(verb, &letter(topic)));
        }
    }

    #[tokio::test]
    async fn in_a_cluster_one_part_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let one = keeper(&folder.path().join("one"), &[found(1)]).await;
        for (section, engine, comparator, enough) in [
            (CLUSTER, &*one, NOBODY, true),
            (CLUSTER, NOBODY, &*one, true),
            (CLUSTER, NOBODY, NOBODY, false),
            ("", &*one, NOBODY, false),
            ("", NOBODY, &*one, false),
            ("", &*one, &*one, true),
        ] {
            let letters = letters(&parts(folder.path(), section, engine, comparator)).await;
            let shown = letters.as_ref().map(|letters| letters.get(&origin(1)).is_some());
            assert_eq!(shown.unwrap_or(false), enough, "{section} {engine} {comparator}: {letters:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_letter_hides_none_and_a_newer_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut newer = found(3);
        newer[2] += 1;
        let strayed = keeper(&folder.path().join("one"), &[b"abc".to_vec(), found(1), Vec::new(), found(2)]).await;
        let parts_with = |url: &str| parts(folder.path(), "", url, url);
        assert_eq!(letters(&parts_with(&strayed)).await.unwrap().iter().count(), 2);
        let newer = keeper(&folder.path().join("two"), &[found(1), newer]).await;
        let refused = format!("{:#}", letters(&parts_with(&newer)).await.unwrap_err());
        assert!(refused.contains("offset 1 of billing.dead-letter") && refused.contains("version 2"), "{refused}");
    }

    #[test]
    fn records_that_are_no_letters_are_counted_and_the_first_are_named() {
        let said = passed_over(Part::EngineControl, &[4]);
        assert!(said.contains("1 record is no letter") && said.ends_with("at offset 4"), "{said}");
        let said = passed_over(Part::Comparator, &(0..1_000).collect::<Vec<_>>());
        assert!(said.contains("1000 records are no letters") && said.ends_with("8, 9, …"), "{said}");
    }

    #[test]
    fn a_page_says_why_there_are_no_bytes() {
        for (bytes, said) in [(None, "deleted before"), (Some(vec![7; MAX_KEPT_BYTES + 1]), "too many to be kept:")] {
            let mut letters = Letters::default();
            letters.take(wire::scalar::Timestamp(0), DeadLetter::found(origin(1), &"why", bytes));
            let view = View::of(&origin(1), letters.get(&origin(1)).unwrap());
            assert!(one_page(&view).contains(said), "{}", one_page(&view));
            assert!(would("redrive", &view).contains("were not kept"), "{}", would("redrive", &view));
        }
    }
}
