//! `crossfade rollout …`: the dial.

use crate::cli::{Output, RolloutCommand};
use crate::client::{Exit, Part, Parts};
use crate::render;
use wire::control::{Reason, RolloutChange, RolloutHistory, RolloutView, SetRollout};
use wire::rollout::GateReading;

/// Runs one of the dial's verbs.
pub async fn run(parts: &Parts, command: RolloutCommand, output: Output) -> anyhow::Result<Exit> {
    let change = async |path: &str, reason: String| -> anyhow::Result<RolloutView> {
        parts.post(Part::Comparator, &format!("/api/rollout/{path}"), &Reason { reason }).await
    };
    let view = match command {
        RolloutCommand::Show => parts.get(Part::Comparator, "/api/rollout").await?,
        RolloutCommand::Set { to, reason, force, dry_run } => {
            if dry_run {
                return dry_run_of(parts, &to, output).await;
            }
            let set = SetRollout { to, reason: reason.reason, force };
            parts.post(Part::Comparator, "/api/rollout/set", &set).await?
        }
        RolloutCommand::Rollback { reason } => change("rollback", reason.reason).await?,
        RolloutCommand::Freeze { reason } => change("freeze", reason.reason).await?,
        RolloutCommand::Unfreeze { reason } => change("unfreeze", reason.reason).await?,
        RolloutCommand::Gates => return gates(parts, output).await,
        RolloutCommand::History => {
            let history: RolloutHistory = parts.get(Part::Comparator, "/api/rollout/history").await?;
            render::show(output, &history, history_table)?;
            return Ok(Exit::Done);
        }
    };
    render::show(output, &view, page)?;
    Ok(Exit::Done)
}

/// Says what `set` would meet, without asking for it.
async fn dry_run_of(parts: &Parts, to: &str, output: Output) -> anyhow::Result<Exit> {
    let view: RolloutView = parts.get(Part::Comparator, "/api/rollout").await?;
    let open = view.gates.iter().all(|gate| gate.open) && !view.frozen;
    render::show(output, &view, |view| {
        let now = format!("{} at {} %", view.setting.stage, view.setting.percent);
        let gates = gates_table(&view.gates);
        let frozen = if view.frozen { "The dial is frozen: nothing goes up.\n" } else { "" };
        format!("From {now} to {to}. Nothing was changed.\n{frozen}\n{gates}\n")
    })?;
    Ok(if open { Exit::Done } else { Exit::Unmet })
}

async fn gates(parts: &Parts, output: Output) -> anyhow::Result<Exit> {
    let gates: Vec<GateReading> = parts.get(Part::Comparator, "/api/rollout/gates").await?;
    render::show(output, &gates, |gates| gates_table(gates))?;
    Ok(if gates.iter().all(|gate| gate.open) { Exit::Done } else { Exit::Unmet })
}

fn page(view: &RolloutView) -> String {
    let mut page = render::facts([
        ("stage", view.setting.stage.to_string()),
        ("percent", view.setting.percent.to_string()),
        ("version", view.version.to_string()),
        ("since", view.since.to_string()),
        ("frozen", if view.frozen { "yes".to_owned() } else { "no".to_owned() }),
        ("under way", view.pending.map_or("nothing".to_owned(), |to| format!("to {} at {} %", to.stage, to.percent))),
        ("accounts held back", view.held_back.to_string()),
        ("accounts pinned", view.pins.to_string()),
    ]);
    page.push('\n');
    page.push_str(&gates_table(&view.gates));
    page.push_str("\n\nNext:\n");
    for step in &view.next_steps {
        page.push_str(&format!("  {step}\n"));
    }
    page
}

/// The gates, a line each.
pub fn gates_table(gates: &[GateReading]) -> String {
    let row = |gate: &GateReading| {
        [gate.gate.clone(), if gate.open { "open".to_owned() } else { "CLOSED".to_owned() }, gate.seen.clone()]
    };
    render::table(["gate", "", "seen"], &[], gates.iter().map(row))
}

fn history_table(history: &RolloutHistory) -> String {
    let row = |change: &RolloutChange| {
        let to = change.to.map_or_else(String::new, |to| format!("{} {} %", to.stage, to.percent));
        let what = if change.forced { format!("{} (forced)", change.change) } else { change.change.clone() };
        [
            change.at.to_string(),
            change.version.map_or_else(String::new, |version| version.to_string()),
            what,
            to,
            change.actor.clone(),
            change.reason.clone(),
        ]
    };
    render::table(["at", "version", "change", "to", "who", "why"], &[1], history.changes.iter().map(row))
}
