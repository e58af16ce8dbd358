//! The saga of a transaction, step by step: read back from the journal of its home instead of being kept in memory.

use super::View;
use super::render::time;
use super::rows::{State, TransactionRow};
use super::trail::outcome_at;
use engine_domain::saga::{Awaited, Movement, Stage, StepAnswer, Taken, Work};
use engine_domain::{Event, SagaId, Timestamp};
use eventlog::{Log, ReadError};
use wire::billing::{SagaStep, TransactionSaga};

/// The saga of a transaction, by the engine's id of it or the other system's; `None` if there is no such transaction. One
/// that a single shard did at once has no steps.
///
/// # Errors
/// When the journal cannot be read back.
pub(crate) async fn of(view: &View, log: &dyn Log, id: &str) -> Result<Option<TransactionSaga>, ReadError> {
    let Some((mut shown, saga, offsets)) = view.with_transaction(id, begun).flatten() else { return Ok(None) };
    let mut steps = Steps::default();
    for offset in offsets {
        let outcome = outcome_at(log, saga.shard, offset).await?;
        outcome.events.iter().for_each(|event| steps.take(event, saga, outcome.at));
    }
    shown.saga_id = steps.movement.is_some().then(|| saga.to_string());
    shown.steps = steps.shown();
    Ok(Some(shown))
}

/// What the row says of it, the saga that it would have, and where the outcomes of that are.
fn begun(row: &TransactionRow) -> Option<(TransactionSaga, SagaId, Vec<u64>)> {
    let (status, ended_at) = match &row.state {
        State::Processing => ("running", None),
        State::Completed(completed) => ("completed", Some(time(completed.at))),
        State::Failed(failed) => ("compensated", Some(time(failed.at))),
        State::Forgotten => return None,
    };
    let shown = TransactionSaga {
        transaction_id: row.id.to_string(),
        saga_id: None,
        status: status.to_owned(),
        started_at: time(row.created_at),
        ended_at,
        steps: Vec::new(),
    };
    Some((shown, row.requested_in, row.saga.clone()))
}

/// The steps of one saga, as its events come.
#[derive(Default)]
struct Steps {
    movement: Option<Movement>,
    taken: Vec<(Taken, Timestamp)>,
    awaited: Option<(Awaited, Timestamp)>,
}

impl Steps {
    fn take(&mut self, event: &Event, id: SagaId, at: Timestamp) {
        match event {
            Event::SagaStarted(saga) if saga.id == id => {
                if let Work::Transaction(movement) = &saga.work {
                    self.movement = Some(movement.clone());
                }
                self.taken.extend(saga.taken.iter().map(|taken| (taken.clone(), at)));
                self.awaited = Some((saga.awaited.clone(), at));
            }
            Event::SagaStepCompleted(step) if step.saga == id => self.step(&step.taken, step.awaited.as_ref(), at),
            Event::SagaStepFailed(step) if step.saga == id => self.step(&step.taken, step.awaited.as_ref(), at),
            _ => {}
        }
    }

    fn step(&mut self, taken: &Taken, awaited: Option<&Awaited>, at: Timestamp) {
        self.taken.push((taken.clone(), at));
        self.awaited = awaited.map(|awaited| (awaited.clone(), at));
    }

    fn shown(&self) -> Vec<SagaStep> {
        let step = |stage: Stage, shard, status: &str, at| SagaStep {
            step: format!("{stage:?}"),
            shard,
            account_id: self.account(stage),
            status: status.to_owned(),
            at: time(at),
            position: None,
            error_code: None,
        };
        let taken = self.taken.iter().map(|(taken, at)| {
            let position = Some(taken.done_at.to_string());
            let done = step(taken.stage, taken.done_at.shard, "done", *at);
            match &taken.answer {
                StepAnswer::Refused(rejection) => {
                    let (status, error_code) = ("refused".to_owned(), Some(rejection.code().to_owned()));
                    SagaStep { status, error_code, position, ..done }
                }
                _ => SagaStep { position, ..done },
            }
        });
        let awaited =
            self.awaited.iter().map(|(awaited, at)| step(awaited.action.stage(), awaited.shard, "waiting", *at));
        taken.chain(awaited).collect()
    }

    /// The account that a step of a transaction is about.
    fn account(&self, stage: Stage) -> Option<String> {
        let movement = self.movement.as_ref()?;
        let place = match stage {
            Stage::Credit => &movement.destination,
            Stage::Reserve | Stage::Debit | Stage::Release | Stage::GiveBack => &movement.source,
            // About an original; the others are no steps of transactions.
            Stage::Hold
            | Stage::Unhold
            | Stage::OpenStripe
            | Stage::BlockStripe
            | Stage::SetStripe
            | Stage::UnblockStripe
            | Stage::AskStripe => return None,
        };
        Some(place.account.to_string())
    }
}
