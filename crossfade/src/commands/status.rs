//! `crossfade status`: the whole cutover on one page.

use crate::cli::{Output, StatusArgs};
use crate::client::{Exit, Part, Parts};
use crate::render;
use std::time::Duration;
use wire::control::{MatchRate, Summary};

/// Shows the summary, once or again every second.
pub async fn run(parts: &Parts, args: StatusArgs, output: Output) -> anyhow::Result<Exit> {
    loop {
        let summary: Summary = parts.get(Part::Comparator, "/api/summary").await?;
        if args.watch && output == Output::Table {
            // Clears the screen, so that the page stands still while its figures change.
            render::line("\x1b[2J\x1b[H")?;
        }
        render::show(output, &summary, page)?;
        if !args.watch {
            return Ok(Exit::Done);
        }
        host::clock::sleep(Duration::from_secs(1)).await;
    }
}

/// The page.
pub fn page(summary: &Summary) -> String {
    let rollout = &summary.rollout;
    let mut page = render::facts([
        ("ledger", summary.ledger.clone()),
        ("stage", format!("{} at {} %, version {}", rollout.setting.stage, rollout.setting.percent, rollout.version)),
        ("dial", if rollout.frozen { "frozen".to_owned() } else { "free".to_owned() }),
        ("fronts", fronts(summary)),
        ("exchanges", format!("{} ({} not judged yet)", render::count(summary.exchanges), summary.open)),
        ("discrepancies", format!("{} open", summary.discrepancies_open)),
        ("unknown", summary.unknown.to_string()),
        ("gaps", summary.gaps.to_string()),
        ("money at variance", money(summary)),
        ("last reconciliation", last_reconciliation(summary)),
    ]);
    if !summary.caught_up {
        page.push_str(
            "\nThe comparator is still reading the log: the figures are not complete, the dial cannot go up.\n",
        );
    }
    page.push('\n');
    page.push_str(&rates(&summary.rates));
    page.push_str("\n\n");
    page.push_str(&verdicts(summary));
    page.push_str("\n\n");
    page.push_str(&super::rollout::gates_table(&rollout.gates));
    page.push('\n');
    page
}

fn fronts(summary: &Summary) -> String {
    if summary.fronts.is_empty() {
        return "none has ever connected".to_owned();
    }
    let one = |front: &wire::control::FrontView| {
        let there = if front.connected { "connected" } else { "gone" };
        let overridden = front.overridden.as_ref().map(|by| format!(", OVERRIDDEN to 0 %: {}", by.reason));
        format!("{} {there}{}", front.front.front, overridden.unwrap_or_default())
    };
    summary.fronts.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn money(summary: &Summary) -> String {
    let open: Vec<_> = summary.money_at_variance.iter().filter(|money| !money.amount.is_zero()).collect();
    if open.is_empty() {
        return "none".to_owned();
    }
    open.iter().map(|money| format!("{} {}", money.amount, money.currency)).collect::<Vec<_>>().join(", ")
}

fn last_reconciliation(summary: &Summary) -> String {
    summary.last_reconciliation.as_ref().map_or_else(
        || "none yet: crossfade reconcile run --reason …".to_owned(),
        |last| format!("{}: {} compared, {} different", last.id, render::count(last.compared), last.different),
    )
}

/// Match rates, a line per route and window.
pub fn rates(rates: &[MatchRate]) -> String {
    let row = |rate: &MatchRate| {
        [
            rate.route.clone(),
            rate.window.clone(),
            render::count(rate.exchanges),
            render::percent(rate.raw),
            render::percent(rate.adjusted),
        ]
    };
    render::table(["route", "window", "exchanges", "raw", "adjusted"], &[2, 3, 4], rates.iter().map(row))
}

fn verdicts(summary: &Summary) -> String {
    let row = |count: &wire::control::VerdictCount| {
        [count.verdict.to_string(), count.detail.clone().unwrap_or_default(), render::count(count.exchanges)]
    };
    render::table(["verdict", "why", "exchanges"], &[2], summary.verdicts.iter().map(row))
}
