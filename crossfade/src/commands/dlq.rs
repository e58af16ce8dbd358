//! `crossfade dlq …`: what could not be processed, and what became of it.

use super::log;
use crate::cli::{DlqCommand, Output, SettleArgs};
use crate::client::{Exit, Failure, Part, Parts};
use crate::render;
use base64::Engine as _;
use serde::Serialize;
use wire::control::SettleDeadLetter;
use wire::dead_letter::{DeadLetterEvent, Letter, Letters, Origin, TOPIC};

/// Bytes of a record that are shown to people.
const SHOWN_BYTES: usize = 64;

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
    let keepers = [Part::EngineControl, Part::Comparator].into_iter().filter(|part| parts.knows(*part));
    let mut asked = false;
    // In a cluster both show the same topic: what is found twice counts once, and what was settled stays settled.
    for keeper in keepers {
        asked = true;
        log::each_of(parts, keeper, TOPIC, 0, 0, false, |stored| {
            letters.take(stored.line.at, wire::stored::decode(&stored.bytes)?);
            Ok(())
        })
        .await?;
    }
    if !asked {
        let message = "where are the parts? Give --engine-control URL and --comparator URL, or --config FILE";
        return Err(Failure::new(Exit::Usage, message).into());
    }
    Ok(letters)
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
fn would(verb: &str, View { id, status, record, .. }: &View) -> String {
    match (status, verb, record) {
        (Status::Open, "drop", _) => format!("{id} would be dropped"),
        (Status::Open, _, Some(_)) => format!("{id} would be decided as the newest command of its partition"),
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
    /// Its bytes in base64, if they were still there.
    bytes: Option<String>,
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
    let bytes = view.bytes.as_ref().map_or_else(
        || "deleted before anybody could keep them".to_owned(),
        |bytes| if bytes.len() <= SHOWN_BYTES { bytes.clone() } else { format!("{}…", &bytes[..SHOWN_BYTES]) },
    );
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
