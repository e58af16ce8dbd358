//! `crossfade discrepancies …`: the roots that somebody has to settle.

use super::exchanges::escaped;
use crate::cli::{Became, DiscrepanciesCommand, Output};
use crate::client::{Exit, Part, Parts};
use crate::render;
use serde::Serialize;
use wire::control::{
    Discrepancy, DiscrepancyChanged, DiscrepancyPage, Gap, Reason, Settle, Subject, Told, UnknownEffect,
};
use wire::decision::Offset;

/// Lists, shows, settles or reopens discrepancies, gaps and unknown effects; a list with open ones exits with 3.
pub async fn run(parts: &Parts, command: DiscrepanciesCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        DiscrepanciesCommand::List { all } => {
            let path = if all { "/api/discrepancies" } else { "/api/discrepancies?status=open" };
            let page: DiscrepancyPage = parts.get(Part::Comparator, path).await?;
            render::show(output, &page, list)?;
            let open = page.discrepancies.iter().any(|discrepancy| discrepancy.status == "open");
            let nothing = !open && page.gaps.is_empty() && page.unknowns.is_empty();
            Ok(if nothing { Exit::Done } else { Exit::Unmet })
        }
        DiscrepanciesCommand::Show { id } => {
            let subject: Subject = parts.get(Part::Comparator, &format!("/api/discrepancies/{}", escaped(&id))).await?;
            render::show(output, &subject, one)?;
            Ok(Exit::Done)
        }
        DiscrepanciesCommand::Settle { id, told, reason } => {
            let told = told.map(|became| match became {
                Became::Applied => Told::Applied,
                Became::NotExecuted => Told::NotExecuted,
            });
            change(parts, &id, "settle", &Settle { reason: reason.reason, told }, output).await
        }
        DiscrepanciesCommand::Reopen { id, reason } => {
            change(parts, &id, "reopen", &Reason { reason: reason.reason }, output).await
        }
    }
}

async fn change(parts: &Parts, id: &str, verb: &str, body: &impl Serialize, output: Output) -> anyhow::Result<Exit> {
    let path = format!("/api/discrepancies/{}/{verb}", escaped(id));
    let changed: DiscrepancyChanged = parts.post(Part::Comparator, &path, body).await?;
    render::show(output, &changed, changed_page)?;
    Ok(Exit::Done)
}

fn offsets(offsets: &[Offset]) -> String {
    let one = |offset: &Offset| format!("{} {} {}", offset.account, offset.amount, offset.currency);
    offsets.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn list(page: &DiscrepancyPage) -> String {
    let mut parts = Vec::new();
    if !page.discrepancies.is_empty() || (page.gaps.is_empty() && page.unknowns.is_empty()) {
        parts.push(discrepancy_table(&page.discrepancies));
    }
    if !page.gaps.is_empty() {
        let row = |gap: &Gap| [gap.id.clone(), gap.exchanges.to_string(), gap.at.to_string(), gap.what.clone()];
        parts.push(render::table(["gap", "exchanges", "noticed", "what happened"], &[1], page.gaps.iter().map(row)));
    }
    if !page.unknowns.is_empty() {
        parts.push(render::table(
            ["unknown effect", "", "system", "route", "account", "key", "since"],
            &[],
            page.unknowns.iter().map(unknown_row),
        ));
    }
    parts.join("\n\n")
}

fn unknown_row(unknown: &UnknownEffect) -> [String; 7] {
    let role = if unknown.is_authority { "as authority" } else { "as shadow" };
    [
        unknown.id.clone(),
        role.to_owned(),
        unknown.system.to_string(),
        unknown.route.clone(),
        unknown.account.clone().unwrap_or_default(),
        unknown.key.clone().unwrap_or_default(),
        unknown.at.to_string(),
    ]
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
        Subject::Unknown(unknown) => unknown_facts(unknown),
        Subject::Gap(gap) => render::facts([
            ("gap", gap.id.clone()),
            ("status", gap.status.clone()),
            ("exchanges", gap.exchanges.to_string()),
            ("noticed", gap.at.to_string()),
            ("what happened", gap.what.clone()),
        ]),
    }
}

fn unknown_facts(unknown: &UnknownEffect) -> String {
    let told = unknown.told.as_ref().map(|told| format!("by {} at {}: {}", told.actor, told.at, told.reason));
    let role =
        if unknown.is_authority { "the client waited for its answer" } else { "its shadow leg was not answered" };
    render::facts([
        ("unknown effect", unknown.id.clone()),
        ("of the system", format!("{}: {role}", unknown.system)),
        ("since", unknown.at.to_string()),
        ("route", unknown.route.clone()),
        ("account", unknown.account.clone().unwrap_or_default()),
        ("key", unknown.key.clone().unwrap_or_default()),
        ("said", told.unwrap_or_else(|| "nothing yet: discrepancies settle … --as applied|not-executed".to_owned())),
    ])
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
