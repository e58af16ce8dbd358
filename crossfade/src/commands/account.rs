//! `crossfade account …` and `crossfade transaction …`: what the engine knows.

use super::exchanges::escaped;
use crate::cli::{AccountCommand, Output, TransactionCommand};
use crate::client::{Exit, Part, Parts};
use crate::render;
use serde::Serialize;
use wire::billing::{
    Account, AccountEvent, AccountEventPage, Balance, SagaStep, Side, TransactionResult, TransactionSaga,
};

/// Shows an account, its audit trail, or its balance.
pub async fn run(parts: &Parts, command: AccountCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        AccountCommand::Show { id } => {
            let account: Account = parts.get(Part::Engine, &format!("/accounts/{}", escaped(&id))).await?;
            render::show(output, &account, account_page)?;
        }
        AccountCommand::Balance { id, at } => {
            let at = at.map_or_else(String::new, |at| format!("?at={}", escaped(&at)));
            let balance: Balance = parts.get(Part::Engine, &format!("/accounts/{}/balance{at}", escaped(&id))).await?;
            render::show(output, &balance, balance_page)?;
        }
        AccountCommand::Events { id, from_version } => {
            let page = events(parts, &id, from_version).await?;
            render::show(output, &page, |page| events_table(&page.events))?;
        }
    }
    Ok(Exit::Done)
}

/// Shows a transaction by either system's id.
pub async fn transaction(parts: &Parts, command: TransactionCommand, output: Output) -> anyhow::Result<Exit> {
    let TransactionCommand::Show { id } = command;
    let path = format!("/transactions/{}", escaped(&id));
    // The timeline first: a transaction that ends meanwhile may be shown further than its steps, never behind them.
    let saga: TransactionSaga = parts.get(Part::Engine, &format!("{path}/saga")).await?;
    let transaction: TransactionResult = parts.get(Part::Engine, &path).await?;
    render::show(output, &Shown { transaction, saga }, |shown| {
        let mut page = transaction_page(&shown.transaction);
        if shown.saga.saga_id.is_some() {
            page.push('\n');
            page.push_str(&timeline(&shown.saga));
        }
        page
    })?;
    Ok(Exit::Done)
}

/// A transaction, with what it took on other shards.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    transaction: TransactionResult,
    saga: TransactionSaga,
}

/// Every step with how long after the request its saga took note of it.
fn timeline(saga: &TransactionSaga) -> String {
    let row = |step: &SagaStep| {
        let micros = step.at.since_micros(saga.started_at);
        [
            format!("+{}.{:03} ms", micros / 1_000, micros % 1_000),
            step.step.clone(),
            step.account_id.clone().unwrap_or_default(),
            step.shard.to_string(),
            step.status.clone(),
            step.error_code.clone().unwrap_or_default(),
            step.position.clone().unwrap_or_default(),
        ]
    };
    render::table(
        ["at", "step", "account", "shard", "became", "because", "position"],
        &[0, 3],
        saga.steps.iter().map(row),
    )
}

/// All pages of the audit trail from a version on.
async fn events(parts: &Parts, id: &str, from_version: u64) -> anyhow::Result<AccountEventPage> {
    let mut all = AccountEventPage { events: Vec::new(), next: Some(from_version) };
    while let Some(from) = all.next {
        let page: AccountEventPage =
            parts.get(Part::Engine, &format!("/accounts/{}/events?fromVersion={from}", escaped(id))).await?;
        all.events.extend(page.events);
        all.next = page.next;
    }
    Ok(all)
}

fn account_page(account: &Account) -> String {
    let limit = |limit: Option<wire::scalar::Money>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    render::facts([
        ("account", account.account_id.clone()),
        ("owner", format!("{} ({})", account.owner_id, account.owner_type)),
        ("type", account.account_type.clone()),
        ("status", account.status.clone()),
        ("balance", format!("{} {}", account.balance, account.currency)),
        ("reserved", account.reserved.to_string()),
        ("available", account.available.to_string()),
        ("at least", limit(account.min_balance)),
        ("at most", limit(account.max_balance)),
        ("version", account.version.to_string()),
        ("created", account.created_at.to_string()),
    ])
}

fn balance_page(balance: &Balance) -> String {
    render::facts([
        ("account", balance.account_id.clone()),
        ("balance", format!("{} {}", balance.balance, balance.currency)),
        ("reserved", balance.reserved.to_string()),
        ("available", balance.available.to_string()),
        ("as of", balance.as_of.to_string()),
        ("version", balance.version.to_string()),
        ("position", balance.position.clone().unwrap_or_default().join(", ")),
    ])
}

fn events_table(events: &[AccountEvent]) -> String {
    let row = |event: &AccountEvent| {
        [
            event.aggregate_version.to_string(),
            event.timestamp.to_string(),
            event.event_type.clone(),
            event.data.to_string(),
            event.actor_id.clone(),
        ]
    };
    render::table(["version", "at", "event", "what", "who"], &[0], events.iter().map(row))
}

fn side(side: &Side) -> String {
    match (side.balance_before, side.balance_after) {
        (Some(before), Some(after)) => format!("{}: {} ({before} → {after})", side.account_id, side.movement),
        _ => format!("{}: {}", side.account_id, side.movement),
    }
}

fn transaction_page(result: &TransactionResult) -> String {
    render::facts([
        ("transaction", result.transaction_id.clone()),
        ("type", result.kind.clone()),
        ("status", result.status.clone()),
        ("refused because", result.error_code.clone().unwrap_or_default()),
        ("amount", format!("{} {}", result.amount, result.currency)),
        ("source", side(&result.source)),
        ("destination", side(&result.destination)),
        ("refund of", result.original_transaction_id.clone().unwrap_or_default()),
        ("key", result.tracking_id.clone()),
        ("reference", result.reference.clone().unwrap_or_default()),
        ("correlation", result.correlation_id.clone()),
        ("created", result.created_at.to_string()),
        ("position", result.position.clone().unwrap_or_default().join(", ")),
    ])
}
