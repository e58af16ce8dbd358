//! The saga of a transaction, as its home's journal tells it.

use crate::faulty::Fate;
use crate::support::*;
use engine_domain::{Body, Status};
use wire::billing::TransactionSaga;
use wire::journal::JOURNAL;

async fn saga(running: &Running, id: &str) -> TransactionSaga {
    running.ledger.transaction_saga(id).await.unwrap().expect("it is there")
}

/// Step, shard and status of each, with the reason of a refusal.
fn steps(saga: &TransactionSaga) -> Vec<(&str, u32, &str)> {
    saga.steps
        .iter()
        .map(|step| (&*step.step, step.shard, step.error_code.as_deref().unwrap_or(&step.status)))
        .collect()
}

#[tokio::test]
async fn every_step_stands_where_it_was_done() {
    let running = Bed::new().start_alone().await;
    let (from, to) = payer_and_payee(&running).await;
    let sent = running.transact(transfer("t", &from, &to, "30")).await;
    let shown = saga(&running, &sent.transaction_id).await;
    let whole = [("Reserve", 2, "done"), ("Debit", 2, "done"), ("Credit", 5, "done"), ("Release", 2, "done")];
    assert_eq!(steps(&shown), whole);
    assert_eq!((&*shown.status, shown.ended_at), ("completed", sent.completed_at));
    assert_eq!(shown.saga_id.as_ref(), Some(&sent.position.as_ref().unwrap()[0]), "the command that asked for it");
    assert_eq!(shown.steps[0].position, shown.saga_id);
    let accounts: Vec<_> = shown.steps.iter().map(|step| step.account_id.as_deref()).collect();
    assert_eq!(accounts, [Some(&*from), Some(&from), Some(&to), Some(&from)]);
    assert!(shown.steps.is_sorted_by_key(|step| step.at) && shown.started_at <= shown.steps[0].at);

    let back = running.transact(refund(&running, "back", &sent.transaction_id, Some("10"))).await;
    let back = saga(&running, &back.transaction_id).await;
    let names: Vec<&str> = back.steps.iter().map(|step| &*step.step).collect();
    assert_eq!((names, &*back.status), (vec!["Hold", "Debit", "Credit"], "completed"));
    running.stop().await;
}

#[tokio::test]
async fn what_was_refused_shows_how_it_was_undone() {
    let running = Bed::new().start_alone().await;
    let (from, to) = payer_and_payee(&running).await;
    let frozen = engine_domain::command::ChangeAccount { status: Some(Status::Frozen), ..change(&to) };
    running.create(command(Body::ChangeAccount(frozen))).await;
    let refused = running.answered(transfer("t", &from, &to, "30")).await.transaction.unwrap();
    let shown = saga(&running, &refused.transaction_id).await;
    let undone = [
        ("Reserve", 2, "done"),
        ("Debit", 2, "done"),
        ("Credit", 5, "AccountFrozen"),
        ("GiveBack", 2, "done"),
        ("Release", 2, "done"),
    ];
    assert_eq!((steps(&shown), &*shown.status), (undone.to_vec(), "compensated"));
    assert_eq!(shown.steps[2].status, "refused");
    running.stop().await;
}

#[tokio::test]
async fn what_runs_shows_what_it_waits_for() {
    let running = Bed::new().start_alone().await;
    let (from, to) = payer_and_payee(&running).await;
    running.log.rule(|topic, partition, _| if (topic, partition) == (JOURNAL, 5) { Fate::Hold } else { Fate::Pass });
    let asked = transfer("t", &from, &to, "30");
    let id = asked.transaction_id().expect("it has a key").to_string();
    pending(&running, asked).await;
    saga_waits_for(&running, 5).await;
    let shown = saga(&running, &id).await;
    assert_eq!(steps(&shown), [("Reserve", 2, "done"), ("Debit", 2, "done"), ("Credit", 5, "waiting")]);
    assert_eq!((&*shown.status, shown.ended_at), ("running", None));
    running.log.release();
    running.quiet().await;
    assert_eq!(steps(&saga(&running, &id).await)[2], ("Credit", 5, "done"));
    running.stop().await;
}

#[tokio::test]
async fn what_one_shard_did_has_no_saga() {
    let running = Bed::new().start_alone().await;
    let (from, _) = payer_and_payee(&running).await;
    let at_once = running.transact(topup("more", "world", &from, "1")).await;
    let shown = saga(&running, &at_once.transaction_id).await;
    assert_eq!((shown.saga_id, shown.steps, &*shown.status), (None, Vec::new(), "completed"));
    assert_eq!(running.ledger.transaction_saga("nobody knows").await, Ok(None));
    running.stop().await;
}
