//! Which step of a work comes next, from what was done so far; forwards, or after a refusal back.

use crate::account::Status;
use crate::event::Side;
use crate::ids::{AccountId, Position};
use crate::money::{Amount, Money};
use crate::planted::{Mistake, planted};
use crate::rejection::Rejection;
use crate::saga::{Action, Awaited, Movement, Place, Posting, Stage, StepAnswer, Taken, Work};
use crate::transaction::Kind;

/// Where and how a work is carried out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// The shard that keeps the saga.
    pub(super) home: u32,
    /// How many shards there are.
    pub(super) shards: u32,
    /// Whether nothing is to move: then every step only says whether it would be done.
    pub(super) dry: bool,
}

impl Work {
    /// The next step; `None` when all is done, or all is undone.
    pub(super) fn next(&self, setting: Setting, taken: &[Taken]) -> Option<Awaited> {
        match self {
            Work::Transaction(movement) if refusal(taken).is_none() => movement.forward(setting, taken),
            Work::Transaction(_) if setting.dry => None,
            Work::Transaction(movement) => movement.back(setting, taken),
            Work::OpenStripes { account, .. } => {
                on_each_shard(setting, taken, Stage::OpenStripe, || Action::OpenStripe(account.clone()))
            }
            Work::SetStripes { account, from, to, .. } => set_stripes(account, *from, *to, setting, taken),
        }
    }
}

/// The refusal that turned a work back.
pub(super) fn refusal(taken: &[Taken]) -> Option<Rejection> {
    taken.iter().find_map(|step| step.answer.rejection())
}

/// The first rule that was overruled, under force.
pub(super) fn would_refuse(taken: &[Taken]) -> Option<Rejection> {
    taken.iter().find_map(|step| step.answer.would_refuse())
}

/// The answer to a stage that was done, wherever; `None` if it was not asked for, or refused.
fn done(taken: &[Taken], stage: Stage) -> Option<&StepAnswer> {
    let step = taken.iter().find(|step| step.stage == stage)?;
    step.answer.rejection().is_none().then_some(&step.answer)
}

impl Movement {
    /// Whether it needs another shard than its home.
    fn crosses(&self, home: u32) -> bool {
        let original = self.original.map_or(home, |original| original.shard);
        [self.source.shard, self.destination.shard, original].iter().any(|shard| *shard != home)
    }

    /// Whether money is set aside before it is debited: a transfer that will have to wait.
    fn reserves(&self, setting: Setting) -> bool {
        self.kind == Kind::Transfer && self.crosses(setting.home) && !setting.dry
    }

    fn forward(&self, setting: Setting, taken: &[Taken]) -> Option<Awaited> {
        let missing = |stage| done(taken, stage).is_none();
        let reserved = self.reserves(setting);
        if let Some(original) = self.original.filter(|_| missing(Stage::Hold)) {
            let (original, shard) = (original.transaction, original.shard);
            let action = Action::Hold { original, refund: self.transaction, amount: self.amount };
            return Some(Awaited { shard, action });
        }
        if reserved && missing(Stage::Reserve) {
            return Some(at(&self.source, Action::Reserve(self.posting(&self.source, taken))));
        }
        if missing(Stage::Debit) {
            return Some(at(&self.source, Action::Debit { posting: self.posting(&self.source, taken), reserved }));
        }
        if missing(Stage::Credit) {
            return Some(at(&self.destination, Action::Credit(self.posting(&self.destination, taken))));
        }
        // A debit at home is guarded by the saga itself, one elsewhere until it is released.
        let holds_on = reserved || self.source.shard != setting.home;
        let again = planted(Mistake::ReservationReleasedTwice);
        let left = if again { self.amount(taken).money() } else { Money::ZERO };
        (holds_on && !setting.dry && missing(Stage::Release)).then(|| self.release(reserved.then_some(left)))
    }

    fn back(&self, setting: Setting, taken: &[Taken]) -> Option<Awaited> {
        let refused = |undo| planted(Mistake::CompensationRefused) && taken.iter().any(|step| step.stage == undo);
        let to_undo = |stage, undo| done(taken, stage).is_some() && done(taken, undo).is_none() && !refused(undo);
        let reserved = self.reserves(setting);
        if to_undo(Stage::Debit, Stage::GiveBack) {
            let posting = self.posting(&self.source, taken);
            return Some(at(&self.source, Action::GiveBack { posting, reserved }));
        }
        if to_undo(Stage::Reserve, Stage::Release) {
            return Some(self.release(Some(self.amount(taken).money())));
        }
        let original = self.original.filter(|_| to_undo(Stage::Hold, Stage::Unhold))?;
        match done(taken, Stage::Hold) {
            Some(StepAnswer::Held { amount, counted: true, .. }) => {
                let (refund, amount) = (self.transaction, *amount);
                let action = Action::Unhold { original: original.transaction, refund, amount };
                Some(Awaited { shard: original.shard, action })
            }
            _ => None,
        }
    }

    fn release(&self, left: Option<Money>) -> Awaited {
        let account = self.source.account.clone();
        at(&self.source, Action::Release { transaction: self.transaction, account, left })
    }

    fn posting(&self, place: &Place, taken: &[Taken]) -> Posting {
        Posting {
            transaction: self.transaction,
            kind: self.kind,
            account: place.account.clone(),
            amount: self.amount(taken),
            currency: self.currency,
        }
    }

    /// How much moves.
    pub(super) fn amount(&self, taken: &[Taken]) -> Amount {
        match done(taken, Stage::Hold) {
            Some(StepAnswer::Held { amount, .. }) => *amount,
            _ => self.amount.expect("without an amount there is a hold before anything else"),
        }
    }

    /// What moved on the side of `stage`, once it did.
    pub(super) fn side(taken: &[Taken], stage: Stage) -> Option<Side> {
        match done(taken, stage) {
            Some(StepAnswer::Moved { side, .. }) => Some(side.clone()),
            _ => None,
        }
    }

    /// The outcomes that touched it, one per shard: first the one that moved the deciding account, because the order
    /// of these is the order in which that account was decided on.
    pub(super) fn position(&self, taken: &[Taken]) -> Vec<Position> {
        let deciding = if self.kind == Kind::Topup { Stage::Credit } else { Stage::Debit };
        let mut positions: Vec<Position> = Vec::with_capacity(1);
        let first = taken.iter().filter(|step| step.stage == deciding);
        for step in first.chain(taken.iter().rev()) {
            if positions.iter().all(|position| position.shard != step.done_at.shard) {
                positions.push(step.done_at);
            }
        }
        positions
    }
}

fn at(place: &Place, action: Action) -> Awaited {
    Awaited { shard: place.shard, action }
}

/// The step on the first shard that has not done it: home first, then in order.
fn on_each_shard(setting: Setting, taken: &[Taken], stage: Stage, action: impl FnOnce() -> Action) -> Option<Awaited> {
    let others = (0..setting.shards).filter(|shard| *shard != setting.home);
    let missing = |shard: &u32| !taken.iter().any(|step| step.stage == stage && step.done_at.shard == *shard);
    let shard = std::iter::once(setting.home).chain(others).find(missing)?;
    Some(Awaited { shard, action: action() })
}

fn set_stripes(account: &AccountId, from: Status, to: Status, setting: Setting, taken: &[Taken]) -> Option<Awaited> {
    if refusal(taken).is_some() {
        let blocked = done(taken, Stage::BlockStripe).is_some();
        let unblock = || Action::UnblockStripe { account: account.clone(), status: from };
        return on_each_shard(setting, taken, Stage::UnblockStripe, unblock).filter(|_| blocked && !setting.dry);
    }
    if to == Status::Closed {
        let ask = || on_each_shard(setting, taken, Stage::AskStripe, || Action::AskStripe(account.clone()));
        let block = || on_each_shard(setting, taken, Stage::BlockStripe, || Action::BlockStripe(account.clone()));
        if let Some(next) = ask().or_else(|| block().filter(|_| !setting.dry)) {
            return Some(next);
        }
    }
    let set = || Action::SetStripe { account: account.clone(), status: to };
    // Decided dry, the decision falls at home.
    on_each_shard(setting, taken, Stage::SetStripe, set).filter(|next| !setting.dry || next.shard == setting.home)
}

/// Whether a shared account can be closed, from what its stripes answered in one round: only when they are empty
/// together, and nothing can come back.
pub(super) fn refusal_to_close(taken: &[Taken], round: Stage) -> Option<Rejection> {
    let mut sum = Money::ZERO;
    let mut any_open = false;
    for step in taken.iter().filter(|step| step.stage == round) {
        if let StepAnswer::Blocked { balance, open } = step.answer {
            sum = sum.plus(balance);
            any_open |= open;
        }
    }
    match (sum.is_zero(), any_open) {
        (false, _) => Some(Rejection::AccountNotEmpty),
        (true, true) => Some(Rejection::OpenSteps),
        (true, false) => None,
    }
}
