//! One step on one account or original: checked by the rules, and posted. The same at home and for other shards.

use super::draft::Draft;
use crate::account::{Account, Objections, Ruling, Status};
use crate::command::Mode;
use crate::event::{Event, FundsReserved, Guard, Reason, RefundHeld, RefundHoldReleased, ReservationReleased};
use crate::ids::{AccountId, TransactionId};
use crate::money::{Amount, Money};
use crate::planted::{Mistake, planted};
use crate::rejection::Rejection;
use crate::saga::{Action, Posting, StepAnswer};
use crate::transaction::{Applied, Fate, Kind};

/// Does a step, if the rules allow it. In mode shadow-refused it only says whether it would be done.
pub(super) fn perform(draft: &mut Draft<'_>, mode: Mode, action: &Action) -> StepAnswer {
    match action {
        Action::Hold { original, refund, amount } => hold(draft, mode, *original, *refund, *amount),
        Action::Reserve(posting) => reserve(draft, mode, posting),
        Action::Debit { posting, reserved: false } => debit(draft, mode, posting),
        Action::Debit { posting, reserved: true } => {
            let account = existing(draft, posting);
            let drawn = posting.amount.money().negated();
            let side = draft.post(&posting.account, &account, drawn, drawn, Reason::Debit, posting.transaction);
            StepAnswer::Moved { side, would_refuse: None }
        }
        Action::Credit(posting) => credit(draft, mode, posting),
        Action::GiveBack { posting, reserved } => {
            let account = existing(draft, posting);
            if let Some(refused) = refused_by_mistake(&account, posting) {
                return refused;
            }
            let amount = posting.amount.money();
            let reserving = if *reserved { amount } else { Money::ZERO };
            let reason = Reason::Compensation;
            let side = draft.post(&posting.account, &account, amount, reserving, reason, posting.transaction);
            StepAnswer::Moved { side, would_refuse: None }
        }
        Action::Release { transaction, account: id, left } => {
            if let Some(left) = *left {
                let account = draft.account(id).expect("the account of a reservation cannot go away");
                draft.emit(Event::ReservationReleased(ReservationReleased {
                    aggregate: draft.aggregate(id, &account),
                    version: account.version + 1,
                    transaction: *transaction,
                    amount: left,
                    reserved_after: account.reserved.minus(left),
                }));
            }
            StepAnswer::Done
        }
        Action::Unhold { original, refund, amount } => unhold(draft, *original, *refund, *amount),
        Action::OpenStripe(create) => {
            draft.open_account(create, None);
            StepAnswer::Done
        }
        Action::BlockStripe(id) => {
            let account = stripe(draft, id);
            // A closed one can come here only under force, and is as good as frozen.
            let blocked = if account.status == Status::Active { Status::Frozen } else { account.status };
            draft.set_status(id, &account, blocked);
            StepAnswer::Blocked { balance: account.balance, open: account.open_steps > 0 }
        }
        Action::AskStripe(id) => {
            let account = stripe(draft, id);
            StepAnswer::Blocked { balance: account.balance, open: account.open_steps > 0 }
        }
        Action::SetStripe { account: id, status } | Action::UnblockStripe { account: id, status } => {
            if mode != Mode::ShadowRefused {
                let account = stripe(draft, id);
                draft.set_status(id, &account, *status);
            }
            StepAnswer::Done
        }
    }
}

/// Undoing is never refused, but by a planted mistake.
fn refused_by_mistake(account: &Account, posting: &Posting) -> Option<StepAnswer> {
    let rules = || account.objections_to_credit(posting.kind, posting.currency, posting.amount).ruling(false);
    match planted(Mistake::CompensationRefused).then(rules)? {
        Ruling::Refused(rejection) => Some(StepAnswer::Refused(rejection)),
        Ruling::Allowed { .. } => None,
    }
}

/// Whether a step done for another shard leaves an account open for what may come back to it, or ends that.
pub(super) fn guard(action: &Action, answer: &StepAnswer) -> Option<Guard> {
    match (action, answer) {
        (Action::Debit { posting, .. }, StepAnswer::Moved { .. }) => Some(Guard::Raised(posting.account.clone())),
        (Action::GiveBack { posting, .. }, _) => Some(Guard::Lowered(posting.account.clone())),
        (Action::Release { account, .. }, _) => Some(Guard::Lowered(account.clone())),
        _ => None,
    }
}

/// A stripe of an account that is being changed.
fn stripe(draft: &Draft<'_>, id: &AccountId) -> Account {
    draft.account(id).expect("all stripes are there once an account can be changed")
}

/// The account of a posting that was checked before.
fn existing(draft: &Draft<'_>, posting: &Posting) -> Account {
    draft.account(&posting.account).expect("an account with open steps cannot go away")
}

/// What the rules say of a posting, and the account it would go to.
fn ruled(
    draft: &Draft<'_>,
    mode: Mode,
    posting: &Posting,
    objections: impl Fn(&Account, Kind) -> Objections<6>,
) -> Result<(Account, Option<Rejection>), Rejection> {
    let account = draft.find(&posting.account).ok_or(Rejection::AccountNotFound)?;
    match objections(&account, posting.kind).ruling(mode == Mode::Forced) {
        Ruling::Refused(rejection) => Err(rejection),
        Ruling::Allowed { would_refuse } => Ok((account, would_refuse)),
    }
}

fn reserve(draft: &mut Draft<'_>, mode: Mode, posting: &Posting) -> StepAnswer {
    let objections = |account: &Account, kind| account.objections_to_debit(kind, posting.currency, posting.amount);
    match ruled(draft, mode, posting, objections) {
        Err(rejection) => StepAnswer::Refused(rejection),
        Ok(_) if mode == Mode::ShadowRefused => StepAnswer::Done,
        Ok((account, would_refuse)) => {
            draft.emit(Event::FundsReserved(FundsReserved {
                aggregate: draft.aggregate(&posting.account, &account),
                version: account.version + 1,
                transaction: posting.transaction,
                amount: posting.amount,
                reserved_after: account.reserved.plus(posting.amount.money()),
            }));
            StepAnswer::Reserved { would_refuse }
        }
    }
}

fn debit(draft: &mut Draft<'_>, mode: Mode, posting: &Posting) -> StepAnswer {
    let objections = |account: &Account, kind| account.objections_to_debit(kind, posting.currency, posting.amount);
    let movement = posting.amount.money().negated();
    post(draft, mode, posting, ruled(draft, mode, posting, objections), movement, Reason::Debit)
}

fn credit(draft: &mut Draft<'_>, mode: Mode, posting: &Posting) -> StepAnswer {
    let objections = |account: &Account, kind| account.objections_to_credit(kind, posting.currency, posting.amount);
    let movement = posting.amount.money();
    post(draft, mode, posting, ruled(draft, mode, posting, objections), movement, Reason::Credit)
}

fn post(
    draft: &mut Draft<'_>,
    mode: Mode,
    posting: &Posting,
    ruled: Result<(Account, Option<Rejection>), Rejection>,
    movement: Money,
    reason: Reason,
) -> StepAnswer {
    match ruled {
        Err(rejection) => StepAnswer::Refused(rejection),
        Ok(_) if mode == Mode::ShadowRefused => StepAnswer::Done,
        Ok((account, would_refuse)) => {
            let side = draft.post(&posting.account, &account, movement, Money::ZERO, reason, posting.transaction);
            StepAnswer::Moved { side, would_refuse }
        }
    }
}

/// Sets a part of the original aside. Under force more than is left may be held, and even an original that did not
/// complete refunded; but without an amount there has to be something left, else nobody could say how much.
fn hold(
    draft: &mut Draft<'_>,
    mode: Mode,
    original: TransactionId,
    refund: TransactionId,
    amount: Option<Amount>,
) -> StepAnswer {
    let known = match draft.shard.transaction(original) {
        None => return StepAnswer::Refused(Rejection::OriginalNotFound),
        Some(known) => known,
    };
    let (applied, objections) = match &known.fate {
        Fate::AccountCreated(_) | Fate::Free => return StepAnswer::Refused(Rejection::OriginalNotFound),
        Fate::Applied(applied) => (Some(applied), objections_to_refund(applied, amount)),
        Fate::Running { .. } | Fate::Refused { .. } => {
            (None, Objections([(true, Rejection::NotRefundable), (false, Rejection::RefundExceedsOriginal)]))
        }
    };
    let would_refuse = match objections.ruling(mode == Mode::Forced) {
        Ruling::Refused(rejection) => return StepAnswer::Refused(rejection),
        Ruling::Allowed { would_refuse } => would_refuse,
    };
    let left = applied.and_then(|applied| Amount::new(applied.amount.money().minus(applied.refunded)));
    let Some(amount) = amount.or(left) else {
        return StepAnswer::Refused(would_refuse.unwrap_or(Rejection::RefundExceedsOriginal));
    };
    let counted = applied.filter(|_| mode != Mode::ShadowRefused);
    if let Some(applied) = counted {
        draft.emit(Event::RefundHeld(RefundHeld {
            transaction: original,
            version: known.version + 1,
            refund,
            amount,
            refunded_after: applied.refunded.plus(amount.money()),
        }));
    }
    StepAnswer::Held { amount, counted: counted.is_some(), would_refuse }
}

fn objections_to_refund(applied: &Applied, amount: Option<Amount>) -> Objections<2> {
    let left = applied.amount.money().minus(applied.refunded);
    let exceeds = amount.map_or(left <= Money::ZERO, |amount| amount.money() > left);
    Objections([(applied.kind == Kind::Refund, Rejection::NotRefundable), (exceeds, Rejection::RefundExceedsOriginal)])
}

fn unhold(draft: &mut Draft<'_>, original: TransactionId, refund: TransactionId, amount: Amount) -> StepAnswer {
    let known = draft.shard.transaction(original).expect("an original that was held is remembered");
    let Fate::Applied(applied) = &known.fate else { panic!("only what was applied is held") };
    draft.emit(Event::RefundHoldReleased(RefundHoldReleased {
        transaction: original,
        version: known.version + 1,
        refund,
        amount,
        refunded_after: applied.refunded.minus(amount.money()),
    }));
    StepAnswer::Done
}
