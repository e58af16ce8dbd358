//! Works are carried out: as far as this shard can go at once, then again whenever an awaited step is done.

use super::draft::Draft;
use super::plan::{Setting, refusal, refusal_to_close};
use super::step::{guard, perform};
use super::transaction;
use crate::account::Status;
use crate::command::{Body, Command, Mode, Step, StepDone};
use crate::event::{Event, SagaEnded, SagaStepCompleted, SagaStepFailed, SagaStepTaken};
use crate::ids::{AccountId, CommandId, Timestamp, TransactionId};
use crate::outcome::{Answer, FollowUp};
use crate::rejection::Rejection;
use crate::saga::{Action, Awaited, Request, Saga, Stage, StepAnswer, Taken, Work};

/// Begins a work. If it needs this shard only, it ends in this outcome, and there is no saga.
///
/// # Errors
/// When it is refused within this outcome: then nothing of it happened.
pub(super) fn begin(draft: &mut Draft<'_>, request: &Request, work: Work) -> Result<Answer, Rejection> {
    let before = draft.events();
    let mut taken = Vec::with_capacity(4);
    let Some(awaited) = advance(draft, request, &work, draft.position.shard, &mut taken) else {
        if let Some(rejection) = refusal(&taken) {
            draft.rewind_to(before);
            return Err(rejection);
        }
        draft.balance();
        return Ok(conclude(draft, request, work, &taken));
    };
    draft.balance();
    let answer = Answer::Running { to: request.command, transaction: running(request, &work) };
    let guarded = guarded(draft, request, &work);
    let saga = Saga { id: draft.position, version: 1, request: request.clone(), work, guarded, taken, awaited };
    draft.send(saga.ask(draft.at));
    draft.emit(Event::SagaStarted(Box::new(saga)));
    Ok(answer)
}

/// Goes on with a saga whose awaited step is done. An answer that is not awaited, any longer or at all, is a repeat.
pub(super) fn go_on(draft: &mut Draft<'_>, done: &StepDone) -> Answer {
    let Some(saga) = draft.shard.saga(done.saga).filter(|saga| saga.awaits(done)) else { return Answer::None };
    let (request, work) = (&saga.request, &saga.work);
    let mut taken = saga.taken.clone();
    taken.push(Taken { stage: done.stage, done_at: done.done_at, answer: done.answer.clone() });
    let awaited = advance(draft, request, work, saga.id.shard, &mut taken);
    draft.balance();
    let version = report(draft, saga, &taken[saga.taken.len()..], awaited.clone());
    if let Some(awaited) = awaited {
        draft.send(Saga { awaited, ..saga.clone() }.ask(draft.at));
        return Answer::None;
    }
    let ended = SagaEnded { saga: saga.id, version, transaction: work.transaction() };
    draft.emit(match refusal(&taken) {
        Some(_) if request.mode != Mode::ShadowRefused => Event::SagaCompensated(ended),
        _ => Event::SagaCompleted(ended),
    });
    conclude(draft, request, work.clone(), &taken)
}

/// Does a step for a saga of another shard. Asked again, it is not done again: the answer is repeated.
pub(super) fn take_step(draft: &mut Draft<'_>, command: &Command, step: &Step) -> Answer {
    let stage = step.action.stage();
    let (done_at, answer) = match draft.shard.step(step.saga, stage) {
        Some(before) => (before.done_at, before.answer.clone()),
        None => {
            let answer = perform(draft, command.mode, &step.action);
            draft.balance();
            let done_at = draft.position;
            if command.mode != Mode::ShadowRefused {
                let guard = guard(&step.action, &answer);
                let answer = answer.clone();
                draft.emit(Event::SagaStepTaken(SagaStepTaken { saga: step.saga, stage, done_at, answer, guard }));
            }
            (done_at, answer)
        }
    };
    let body = Body::StepDone(StepDone { saga: step.saga, stage, done_at, answer });
    let id = CommandId::of_follow_up("done", step.saga, stage, draft.position.shard);
    let command = Request::of(command).follow_up(id, draft.at, body);
    draft.send(FollowUp { shard: step.saga.shard, command });
    Answer::None
}

/// Takes the steps that can be taken here and now, and returns the one that has to be waited for.
fn advance(
    draft: &mut Draft<'_>,
    request: &Request,
    work: &Work,
    home: u32,
    taken: &mut Vec<Taken>,
) -> Option<Awaited> {
    let setting = Setting { home, shards: draft.shard.shards(), dry: request.mode == Mode::ShadowRefused };
    loop {
        let next = work.next(setting, taken)?;
        if next.shard != home {
            return Some(next);
        }
        let answer = take_at_home(draft, request, work, &next.action, taken);
        taken.push(Taken { stage: next.action.stage(), done_at: draft.position, answer });
    }
}

/// A step at home. What concerns an account as a whole is decided here, where all its stripes have answered.
fn take_at_home(draft: &mut Draft<'_>, request: &Request, work: &Work, action: &Action, taken: &[Taken]) -> StepAnswer {
    let mut unless_refused = |refusal: Option<Rejection>| match refusal {
        Some(rejection) => StepAnswer::Refused(rejection),
        None => perform(draft, request.mode, action),
    };
    match (action, work) {
        // Twice: before anybody is kept off, and for good when nothing can move any more.
        (Action::BlockStripe(_), _) => unless_refused(refusal_to_close(taken, Stage::AskStripe)),
        (Action::SetStripe { status: Status::Closed, .. }, _) => {
            let last = if request.mode == Mode::ShadowRefused { Stage::AskStripe } else { Stage::BlockStripe };
            unless_refused(refusal_to_close(taken, last))
        }
        (Action::OpenStripe(create), Work::OpenStripes { key, .. }) => {
            draft.open_account(create, key.clone());
            StepAnswer::Done
        }
        _ => perform(draft, request.mode, action),
    }
}

/// Reports the steps taken since the saga last waited; returns the version that the next event of it has.
fn report(draft: &mut Draft<'_>, saga: &Saga, new: &[Taken], awaited: Option<Awaited>) -> u64 {
    let mut version = saga.version;
    for (index, taken) in new.iter().enumerate() {
        version += 1;
        let (saga, taken) = (saga.id, taken.clone());
        let awaited = awaited.clone().filter(|_| index + 1 == new.len());
        draft.emit(match taken.answer {
            StepAnswer::Refused(_) => Event::SagaStepFailed(SagaStepFailed { saga, version, taken, awaited }),
            _ => Event::SagaStepCompleted(SagaStepCompleted { saga, version, taken, awaited }),
        });
    }
    version + 1
}

/// The work is done, or undone: says so.
fn conclude(draft: &mut Draft<'_>, request: &Request, work: Work, taken: &[Taken]) -> Answer {
    let to = request.command;
    if request.mode == Mode::ShadowRefused {
        return Answer::Dry { to, transaction: work.transaction(), would_refuse: refusal(taken) };
    }
    match (work, refusal(taken)) {
        (Work::Transaction(movement), None) => transaction::complete(draft, request, &movement, taken),
        (Work::Transaction(movement), Some(rejection)) => transaction::fail(draft, request, &movement, rejection),
        (Work::OpenStripes { account, key }, _) => Answer::Account {
            to,
            transaction: key.map(|key| key.transaction),
            account: account.account,
            replay: false,
            would_refuse: None,
        },
        (Work::SetStripes { account, would_refuse, .. }, None) => {
            Answer::Account { to, transaction: None, account, replay: false, would_refuse }
        }
        (Work::SetStripes { .. }, Some(rejection)) => Answer::Refused { to, transaction: None, rejection },
    }
}

/// The transaction under which the answer of a running saga can be waited for.
fn running(request: &Request, work: &Work) -> Option<TransactionId> {
    work.transaction().filter(|_| request.mode != Mode::ShadowRefused)
}

/// The accounts of this shard that a saga may still come back to.
fn guarded(draft: &Draft<'_>, request: &Request, work: &Work) -> Vec<AccountId> {
    match work {
        Work::Transaction(movement) if request.mode != Mode::ShadowRefused => {
            [&movement.source.account, &movement.destination.account]
                .into_iter()
                .filter(|id| draft.find(id).is_some())
                .cloned()
                .collect()
        }
        Work::Transaction(_) | Work::OpenStripes { .. } | Work::SetStripes { .. } => Vec::new(),
    }
}

impl Work {
    /// The id that the key of the request stands for: that of the transaction, or of a new shared account's key.
    pub fn transaction(&self) -> Option<TransactionId> {
        match self {
            Work::Transaction(movement) => Some(movement.transaction),
            Work::OpenStripes { key, .. } => key.as_ref().map(|key| key.transaction),
            Work::SetStripes { .. } => None,
        }
    }
}

impl Saga {
    /// The command that asks for the awaited step: the same however often it is sent.
    pub(crate) fn ask(&self, at: Timestamp) -> FollowUp {
        let Awaited { shard, action } = &self.awaited;
        let id = CommandId::of_follow_up("step", self.id, action.stage(), *shard);
        let body = Body::Step(Step { saga: self.id, action: action.clone() });
        FollowUp { shard: *shard, command: self.request.follow_up(id, at, body) }
    }

    /// Whether an answer is the one that the saga waits for.
    fn awaits(&self, done: &StepDone) -> bool {
        let Awaited { shard, action } = &self.awaited;
        (action.stage(), *shard) == (done.stage, done.done_at.shard)
    }

    /// Whether it is about to make that account.
    pub(super) fn opens(&self, id: &AccountId) -> bool {
        matches!(&self.work, Work::OpenStripes { account, .. } if account.account == *id)
    }

    /// Whether it is about to change that account.
    pub(super) fn changes(&self, id: &AccountId) -> bool {
        matches!(&self.work, Work::SetStripes { account, .. } if account == id)
    }
}

impl Request {
    /// A command to another shard on behalf of this request.
    fn follow_up(&self, id: CommandId, at: Timestamp, body: Body) -> Command {
        Command {
            id,
            at,
            correlation_id: self.correlation_id.clone(),
            actor: self.actor.clone(),
            mode: self.mode,
            tenant: "".into(),
            keeps_refusals: self.keeps_refusals,
            alias: None,
            refusal: None,
            body,
        }
    }
}
