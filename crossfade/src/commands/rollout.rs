//! `crossfade rollout …`: the dial.

use super::exchanges::escaped;
use crate::cli::{Output, RolloutCommand};
use crate::client::{Exit, Part, Parts};
use crate::render;
use serde::Serialize;
use wire::control::{
    CrossCohort, CrossCohortMoney, Effective, EffectiveMoney, FrontView, PinAccount, Reason, RolloutChange,
    RolloutHistory, RolloutView, SetRollout,
};
use wire::rollout::{GateReading, Setting};
use wire::words::System;

/// Runs one of the dial's verbs.
pub async fn run(parts: &Parts, command: RolloutCommand, output: Output) -> anyhow::Result<Exit> {
    let change = async |path: &str, reason: String| -> anyhow::Result<RolloutView> {
        parts.post(Part::Comparator, &format!("/api/rollout/{path}"), &Reason { reason }).await
    };
    let view = match command {
        RolloutCommand::Show => parts.get(Part::Comparator, "/api/rollout").await?,
        RolloutCommand::Set { to, reason, force, dry_run } => {
            if dry_run {
                return dry_run_of(parts, to, output).await;
            }
            // The command line asks for one; a blank one is refused by the comparator.
            let set = SetRollout { to, reason: reason.unwrap_or_default(), force };
            parts.post(Part::Comparator, "/api/rollout/set", &set).await?
        }
        RolloutCommand::Rollback { reason } => change("rollback", reason.reason).await?,
        RolloutCommand::Freeze { reason } => change("freeze", reason.reason).await?,
        RolloutCommand::Unfreeze { reason } => change("unfreeze", reason.reason).await?,
        RolloutCommand::Pin { account, system, reason, force } => {
            let pin = PinAccount { account, system: system.into(), reason: reason.reason, force };
            parts.post(Part::Comparator, "/api/rollout/pin", &pin).await?
        }
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

/// A move that was not made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DryRun {
    from: Setting,
    to: String,
    /// Whether it would be made without force.
    allowed: bool,
    /// The gates that it would meet; none on the way down.
    gates: Vec<GateReading>,
}

/// Says what `set` would say, without setting anything; what is refused for another reason than a gate is so here.
async fn dry_run_of(parts: &Parts, to: String, output: Output) -> anyhow::Result<Exit> {
    let gates: Vec<GateReading> =
        parts.get(Part::Comparator, &format!("/api/rollout/gates?to={}", escaped(&to))).await?;
    let view: RolloutView = parts.get(Part::Comparator, "/api/rollout").await?;
    let allowed = gates.iter().all(|gate| gate.open);
    let run = DryRun { from: view.setting, to, allowed, gates };
    render::show(output, &run, dry_run_page)?;
    Ok(if allowed { Exit::Done } else { Exit::Unmet })
}

fn dry_run_page(run: &DryRun) -> String {
    let mut page = format!("From {} at {} % to {}. Nothing was changed.\n", run.from.stage, run.from.percent, run.to);
    page.push_str(match (run.allowed, run.gates.is_empty()) {
        (true, true) => "It would be made at once: no gate stands on the way down.\n",
        (true, false) => "It would be made: its gates are open.\n",
        (false, _) => "It would be refused: a gate is closed (an approver may force it).\n",
    });
    if !run.gates.is_empty() {
        page.push('\n');
        page.push_str(&gates_table(&run.gates));
    }
    page
}

async fn gates(parts: &Parts, output: Output) -> anyhow::Result<Exit> {
    let gates: Vec<GateReading> = parts.get(Part::Comparator, "/api/rollout/gates").await?;
    render::show(output, &gates, |gates| gates_table(gates))?;
    Ok(if gates.iter().all(|gate| gate.open) { Exit::Done } else { Exit::Unmet })
}

fn page(view: &RolloutView) -> String {
    let mut page = "Set\n".to_owned();
    page.push_str(&render::facts([
        ("stage", view.setting.stage.to_string()),
        ("percent", view.setting.percent.to_string()),
        ("version", view.version.to_string()),
        ("since", view.since.to_string()),
        ("frozen", if view.frozen { "yes".to_owned() } else { "no".to_owned() }),
        ("under way", view.pending.map_or("nothing".to_owned(), |to| format!("to {} at {} %", to.stage, to.percent))),
        ("accounts held back", view.held_back.to_string()),
        ("accounts pinned", pins(view)),
    ]));
    page.push_str(&effective(view));
    page.push_str(&cross_cohort(view));
    if !view.fronts.is_empty() {
        page.push_str(&format!("\nFronts\n{}\n", fronts(&view.fronts)));
    }
    page.push_str(&format!("\nGates\n{}\n\nNext:\n", gates_table(&view.gates)));
    for step in &view.next_steps {
        page.push_str(&format!("  {step}\n"));
    }
    page
}

/// What was decided since the dial last moved, in words, and the money of it.
fn effective(view: &RolloutView) -> String {
    let Effective { since, exchanges, engine, engine_percent, money } = &view.effective;
    let mut text = format!(
        "\nEffective since {since}\n{} exchanges decided, {} of them by the engine ({engine_percent} %)\n",
        render::count(*exchanges),
        render::count(*engine)
    );
    if !money.is_empty() {
        let row = |money: &EffectiveMoney| {
            let (total, engine) = (money.total.to_string(), money.engine.to_string());
            [money.currency.clone(), total, engine, format!("{} %", money.engine_percent)]
        };
        let head = ["currency", "moved", "by the engine", "share"];
        text.push_str(&format!("{}\n", render::table(head, &[1, 2, 3], money.iter().map(row))));
    }
    text
}

/// What of it went from cohort to cohort.
fn cross_cohort(view: &RolloutView) -> String {
    let CrossCohort { exchanges, percent, money, overtaken } = &view.cross_cohort;
    let mut text = format!(
        "\nCross-cohort\n{} exchanges between accounts of different cohorts ({percent} %); {} sent before the handover \
         of their account was finished\n",
        render::count(*exchanges),
        render::count(*overtaken)
    );
    if !money.is_empty() {
        let row = |money: &CrossCohortMoney| {
            [money.currency.clone(), money.amount.to_string(), format!("{} %", money.percent)]
        };
        let head = ["currency", "moved", "share of all"];
        text.push_str(&format!("{}\n", render::table(head, &[1, 2], money.iter().map(row))));
    }
    text
}

fn fronts(fronts: &[FrontView]) -> String {
    let row = |front: &FrontView| {
        [
            front.front.front.clone(),
            front.front.boot.to_string(),
            if front.connected { "connected" } else { "GONE" }.to_owned(),
            front.version.map_or_else(|| "none yet".to_owned(), |version| version.to_string()),
            front.overridden.as_ref().map_or_else(String::new, |by| format!("OVERRIDDEN to 0 %: {}", by.reason)),
        ]
    };
    render::table(["front", "boot", "", "last exchange by version", ""], &[1, 3], fronts.iter().map(row))
}

/// How many are pinned where; who, says `-o json`.
fn pins(view: &RolloutView) -> String {
    let to = |system| view.pinned_accounts.values().filter(|pinned| **pinned == system).count();
    match (to(System::Legacy), to(System::Engine)) {
        (0, 0) => "0".to_owned(),
        (legacy, engine) => format!("{} ({legacy} to the legacy, {engine} to the engine)", view.pins),
    }
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
        let to = change.to.map_or_else(|| pinned(change), |to| format!("{} {} %", to.stage, to.percent));
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

/// Of a pin: the account, and where to.
fn pinned(change: &RolloutChange) -> String {
    change.evidence["account"].as_str().map_or_else(String::new, |account| {
        format!("{account}: {}", change.evidence["system"].as_str().unwrap_or("none"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;
    use wire::control::FrontOverride;
    use wire::rollout::Rollout;
    use wire::scalar::Timestamp;

    #[test]
    fn pins_are_shown_with_their_account_and_system() {
        let change = |account: &str, system: Option<&str>| RolloutChange {
            offset: 0,
            at: Timestamp(0),
            actor: "anna".into(),
            reason: "test".into(),
            change: "pin".into(),
            version: Some(2),
            to: None,
            forced: false,
            evidence: json!({ "account": account, "system": system }),
        };
        let history = RolloutHistory { changes: vec![change("alice", Some("engine")), change("bob", None)] };
        let table = history_table(&history);
        assert!(table.contains("alice: engine") && table.contains("bob: none"), "{table}");
        let pins = BTreeMap::from([("alice".into(), System::Engine), ("bob".into(), System::Legacy)]);
        let shown = page(&RolloutView::of(&Rollout { pins, ..Rollout::genesis("ledger") }));
        assert!(shown.contains("2 (1 to the legacy, 1 to the engine)"), "{shown}");
    }

    #[test]
    fn the_page_says_what_is_set_and_what_came_of_it() {
        let money = |text: &str| text.parse().unwrap();
        let by_engine = EffectiveMoney {
            currency: "EUR".into(),
            total: money("1000"),
            engine: money("250.5"),
            engine_percent: "25.05".parse().unwrap(),
        };
        let effective = Effective {
            since: Timestamp(0),
            exchanges: 12_345,
            engine: 3_000,
            engine_percent: "24.3".parse().unwrap(),
            money: vec![by_engine],
        };
        let between = CrossCohortMoney { currency: "EUR".into(), amount: money("7"), percent: "0.7".parse().unwrap() };
        let cross_cohort =
            CrossCohort { exchanges: 42, percent: "0.34".parse().unwrap(), money: vec![between], overtaken: 3 };
        let front = |name: &str, overridden| FrontView {
            front: wire::rollout::FrontBoot { front: name.into(), boot: 4 },
            connected: true,
            version: Some(9),
            overridden,
        };
        let burns = FrontOverride { reason: "the engine burns".into(), since: Timestamp(0) };
        let fronts = vec![front("front-a", None), front("front-b", Some(burns))];
        let view = RolloutView { effective, cross_cohort, fronts, ..RolloutView::of(&Rollout::genesis("ledger")) };
        let page = page(&view);
        for said in [
            "Set\nstage",
            "12,345 exchanges decided, 3,000 of them by the engine (24.3 %)",
            "250.5",
            "25.05 %",
            "42 exchanges between accounts of different cohorts (0.34 %); 3 sent before",
            "0.7 %",
            "front-a",
            "OVERRIDDEN to 0 %: the engine burns",
            "Next:",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
    }
}
