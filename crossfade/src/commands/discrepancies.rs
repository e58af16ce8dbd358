//! `crossfade discrepancies …`: the roots that somebody has to settle.

use super::exchanges::escaped;
use crate::cli::{DiscrepanciesCommand, Output};
use crate::client::{Exit, Part, Parts};
use crate::render;
use wire::control::{Discrepancy, DiscrepancyChanged, DiscrepancyPage, Gap, Reason, Subject};
use wire::decision::Offset;

/// Lists, shows, settles or reopens discrepancies and gaps; a list with open ones exits with 3.
pub async fn run(parts: &Parts, command: DiscrepanciesCommand, output: Output) -> anyhow::Result<Exit> {
    let change = async |id: String, verb: &str, reason: String| -> anyhow::Result<Exit> {
        let path = format!("/api/discrepancies/{}/{verb}", escaped(&id));
        let changed: DiscrepancyChanged = parts.post(Part::Comparator, &path, &Reason { reason }).await?;
        render::show(output, &changed, changed_page)?;
        Ok(Exit::Done)
    };
    match command {
        DiscrepanciesCommand::List { all } => {
            let path = if all { "/api/discrepancies" } else { "/api/discrepancies?status=open" };
            let page: DiscrepancyPage = parts.get(Part::Comparator, path).await?;
            render::show(output, &page, list)?;
            let open = page.discrepancies.iter().any(|discrepancy| discrepancy.status == "open");
            Ok(if open || !page.gaps.is_empty() { Exit::Unmet } else { Exit::Done })
        }
        DiscrepanciesCommand::Show { id } => {
            let subject: Subject = parts.get(Part::Comparator, &format!("/api/discrepancies/{}", escaped(&id))).await?;
            render::show(output, &subject, one)?;
            Ok(Exit::Done)
        }
        DiscrepanciesCommand::Settle { id, reason } => change(id, "settle", reason.reason).await,
        DiscrepanciesCommand::Reopen { id, reason } => change(id, "reopen", reason.reason).await,
    }
}

fn offsets(offsets: &[Offset]) -> String {
    let one = |offset: &Offset| format!("{} {} {}", offset.account, offset.amount, offset.currency);
    offsets.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn list(page: &DiscrepancyPage) -> String {
    let mut parts = Vec::new();
    if !page.discrepancies.is_empty() || page.gaps.is_empty() {
        parts.push(discrepancy_table(&page.discrepancies));
    }
    if !page.gaps.is_empty() {
        let row = |gap: &Gap| [gap.id.clone(), gap.exchanges.to_string(), gap.at.to_string(), gap.what.clone()];
        parts.push(render::table(["gap", "exchanges", "noticed", "what happened"], &[1], page.gaps.iter().map(row)));
    }
    parts.join("\n\n")
}

fn discrepancy_table(discrepancies: &[Discrepancy]) -> String {
    if discrepancies.is_empty() {
        return "no discrepancies".to_owned();
    }
    let row = |discrepancy: &Discrepancy| {
        [
            discrepancy.id.clone(),
            discrepancy.cause.to_string(),
            discrepancy.status.clone(),
            discrepancy.system.map_or_else(String::new, |system| system.to_string()),
            offsets(&discrepancy.offsets),
            discrepancy.carried.to_string(),
        ]
    };
    render::table(
        ["discrepancy", "cause", "status", "system", "legacy less engine", "carried"],
        &[5],
        discrepancies.iter().map(row),
    )
}

fn changed_page(changed: &DiscrepancyChanged) -> String {
    let steps = changed.next_steps.iter().map(|step| format!("  {step}\n"));
    format!("{}\n\nNext:\n{}", one(&changed.subject), steps.collect::<String>())
}

fn one(subject: &Subject) -> String {
    match subject {
        Subject::Discrepancy(discrepancy) => discrepancy_facts(discrepancy),
        Subject::Gap(gap) => render::facts([
            ("gap", gap.id.clone()),
            ("status", gap.status.clone()),
            ("exchanges", gap.exchanges.to_string()),
            ("noticed", gap.at.to_string()),
            ("what happened", gap.what.clone()),
        ]),
    }
}

fn discrepancy_facts(discrepancy: &Discrepancy) -> String {
    let settled = discrepancy.settled.as_ref().map_or_else(String::new, |settlement| {
        format!("by {} at {}: {}", settlement.actor, settlement.at, settlement.reason)
    });
    render::facts([
        ("discrepancy", discrepancy.id.clone()),
        ("cause", discrepancy.cause.to_string()),
        ("status", discrepancy.status.clone()),
        ("settled", settled),
        ("found", discrepancy.found_at.to_string()),
        ("key", discrepancy.key.clone().unwrap_or_default()),
        ("system", discrepancy.system.map_or_else(String::new, |system| system.to_string())),
        ("legacy less engine", offsets(&discrepancy.offsets)),
        ("explains", format!("{} later exchanges", discrepancy.carried)),
        ("detail", discrepancy.detail.clone()),
    ])
}
