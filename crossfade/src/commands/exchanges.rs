//! `crossfade exchanges …`: what clients asked, what both systems did, what the comparator says.

use crate::cli::{ExchangesCommand, Output};
use crate::client::{Exit, Part, Parts};
use crate::render;
use wire::control::{ExchangePage, ExchangeView, Verdict};

/// Lists exchanges or shows one.
pub async fn run(parts: &Parts, command: ExchangesCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        ExchangesCommand::List { verdict, account, since, limit } => {
            let mut path = format!("/api/exchanges?limit={limit}");
            for (name, value) in [("verdict", verdict), ("account", account), ("since", since)] {
                if let Some(value) = value {
                    path.push_str(&format!("&{name}={}", escaped(&value)));
                }
            }
            let page: ExchangePage = parts.get(Part::Comparator, &path).await?;
            render::show(output, &page, list)?;
        }
        ExchangesCommand::Show { id } => {
            let exchange: ExchangeView =
                parts.get(Part::Comparator, &format!("/api/exchanges/{}", escaped(&id))).await?;
            render::show(output, &exchange, one)?;
        }
    }
    Ok(Exit::Done)
}

/// Escapes what a query or a segment of a path may not hold as it is: `+` and `&` come up in times, and an id that
/// is none must not lead elsewhere.
pub fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// A verdict in one cell: `mismatch(amount)`, `carried(front.1.7)`.
pub fn verdict(verdict: &Verdict) -> String {
    let detail = verdict
        .cause
        .map(|cause| cause.to_string())
        .or_else(|| verdict.single.map(|single| single.to_string()))
        .or_else(|| verdict.system.map(|system| system.to_string()))
        .or_else(|| verdict.rule.clone())
        .or_else(|| (!verdict.roots.is_empty()).then(|| verdict.roots.join(", ")));
    detail.map_or_else(|| verdict.verdict.to_string(), |detail| format!("{}({detail})", verdict.verdict))
}

fn list(page: &ExchangePage) -> String {
    let row = |exchange: &ExchangeView| {
        [
            exchange.id.clone(),
            exchange.at.to_string(),
            exchange.route.clone(),
            exchange.account.clone().unwrap_or_default(),
            exchange.authority.to_string(),
            verdict(&exchange.verdict),
        ]
    };
    render::table(["exchange", "at", "route", "account", "authority", "verdict"], &[], page.exchanges.iter().map(row))
}

fn one(exchange: &ExchangeView) -> String {
    let mut page = render::facts([
        ("exchange", exchange.id.clone()),
        ("at", exchange.at.to_string()),
        ("route", exchange.route.clone()),
        ("account", exchange.account.clone().unwrap_or_default()),
        ("key", exchange.key.clone().unwrap_or_default()),
        ("authority", exchange.authority.to_string()),
        ("stage", format!("{}, rollout version {}", exchange.stage, exchange.rollout_version)),
        ("verdict", verdict(&exchange.verdict)),
    ]);
    if !exchange.differences.is_empty() {
        let row = |difference: &wire::control::DifferenceView| {
            [difference.field.clone(), difference.legacy.clone(), difference.engine.clone()]
        };
        page.push('\n');
        page.push_str(&render::table(["field", "legacy", "engine"], &[], exchange.differences.iter().map(row)));
        page.push('\n');
    }
    for leg in &exchange.legs {
        page.push_str(&format!(
            "\n{} as {}: {} ({}){}, {} µs, offered {} times\n{}\n",
            leg.system,
            leg.mode,
            leg.class,
            leg.status,
            if leg.was_unknown { ", unknown at first" } else { "" },
            leg.duration_micros,
            leg.attempts,
            serde_json::to_string_pretty(&leg.body).unwrap_or_default(),
        ));
    }
    page
}
