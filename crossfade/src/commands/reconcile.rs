//! `crossfade reconcile …`: the balances of all accounts, compared.

use super::exchanges::escaped;
use crate::cli::{Output, ReconcileCommand};
use crate::client::{Exit, Failure, Part, Parts};
use crate::render;
use wire::control::{ReconciliationPage, RunReconciliation};
use wire::decision::{BalanceDifference, Reconciliation};

/// Runs or shows a reconciliation; one with differences exits with 3.
pub async fn run(parts: &Parts, command: ReconcileCommand, output: Output) -> anyhow::Result<Exit> {
    let reconciliation: Reconciliation = match command {
        ReconcileCommand::Run { reason } => {
            let body = RunReconciliation { reason: reason.reason };
            parts.post(Part::Comparator, "/api/reconciliations", &body).await?
        }
        ReconcileCommand::Show { id: Some(id) } => {
            parts.get(Part::Comparator, &format!("/api/reconciliations/{}", escaped(&id))).await?
        }
        ReconcileCommand::Show { id: None } => {
            let page: ReconciliationPage = parts.get(Part::Comparator, "/api/reconciliations").await?;
            page.reconciliations
                .into_iter()
                .next()
                .ok_or_else(|| Failure::new(Exit::Error, "there is none yet: crossfade reconcile run --reason …"))?
        }
    };
    render::show(output, &reconciliation, page)?;
    Ok(if clean(&reconciliation) { Exit::Done } else { Exit::Unmet })
}

fn clean(reconciliation: &Reconciliation) -> bool {
    reconciliation.different + reconciliation.only_legacy + reconciliation.only_engine == 0
        && reconciliation.not_comparable_because.is_none()
}

/// A reconciliation for people.
pub fn page(reconciliation: &Reconciliation) -> String {
    let mut page = render::facts([
        ("reconciliation", reconciliation.id.clone()),
        ("from", reconciliation.started_at.to_string()),
        ("to", reconciliation.ended_at.to_string()),
        ("compared", render::count(reconciliation.compared)),
        ("equal", render::count(reconciliation.equal)),
        ("different", format!("{} ({} explained)", reconciliation.different, reconciliation.explained)),
        ("only in the legacy", reconciliation.only_legacy.to_string()),
        ("only in the engine", reconciliation.only_engine.to_string()),
        ("not comparable", render::count(reconciliation.not_comparable)),
    ]);
    if let Some(reason) = &reconciliation.not_comparable_because {
        page.push_str(&format!("\nNothing could be compared: {reason}\n"));
    }
    for variance in &reconciliation.variance {
        page.push_str(&format!(
            "at variance: {} {}, of which unexplained {}\n",
            variance.total, variance.currency, variance.unexplained
        ));
    }
    if !reconciliation.differences.is_empty() {
        page.push('\n');
        page.push_str(&differences(&reconciliation.differences));
    }
    page
}

fn differences(differences: &[BalanceDifference]) -> String {
    let money = |money: Option<wire::scalar::Money>| money.map_or_else(|| "—".to_owned(), |money| money.to_string());
    let row = |difference: &BalanceDifference| {
        [
            difference.account.clone(),
            difference.currency.clone(),
            money(difference.legacy),
            money(difference.engine),
            difference.explained.to_string(),
        ]
    };
    render::table(
        ["account", "currency", "legacy", "engine", "explained difference"],
        &[2, 3, 4],
        differences.iter().map(row),
    )
}
