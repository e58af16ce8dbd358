//! `crossfade discrepancies …`: the roots that somebody has to settle.

use crate::cli::{DiscrepanciesCommand, Output};
use crate::client::{Exit, Part, Parts};
use crate::render;
use wire::control::{Discrepancy, DiscrepancyPage, Reason};
use wire::decision::Offset;

/// Lists, shows, settles or reopens discrepancies; a list with open ones exits with 3.
pub async fn run(parts: &Parts, command: DiscrepanciesCommand, output: Output) -> anyhow::Result<Exit> {
    let change = async |id: String, verb: &str, reason: String| -> anyhow::Result<Discrepancy> {
        parts.post(Part::Comparator, &format!("/api/discrepancies/{id}/{verb}"), &Reason { reason }).await
    };
    let discrepancy = match command {
        DiscrepanciesCommand::List { all } => {
            let path = if all { "/api/discrepancies" } else { "/api/discrepancies?status=open" };
            let page: DiscrepancyPage = parts.get(Part::Comparator, path).await?;
            render::show(output, &page, list)?;
            let open = page.discrepancies.iter().any(|discrepancy| discrepancy.status == "open");
            return Ok(if open { Exit::Unmet } else { Exit::Done });
        }
        DiscrepanciesCommand::Show { id } => parts.get(Part::Comparator, &format!("/api/discrepancies/{id}")).await?,
        DiscrepanciesCommand::Settle { id, reason } => change(id, "settle", reason.reason).await?,
        DiscrepanciesCommand::Reopen { id, reason } => change(id, "reopen", reason.reason).await?,
    };
    render::show(output, &discrepancy, one)?;
    Ok(Exit::Done)
}

fn offsets(offsets: &[Offset]) -> String {
    let one = |offset: &Offset| format!("{} {} {}", offset.account, offset.amount, offset.currency);
    offsets.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn list(page: &DiscrepancyPage) -> String {
    if page.discrepancies.is_empty() {
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
        page.discrepancies.iter().map(row),
    )
}

fn one(discrepancy: &Discrepancy) -> String {
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
