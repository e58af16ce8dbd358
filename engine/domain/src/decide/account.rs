//! Accounts are made and changed: at their home at once, shared ones on every shard.

use super::draft::Draft;
use super::saga;
use super::transaction::refused;
use crate::account::{Account, Limits, Objections, Ruling, Status, is_striped};
use crate::command::{ChangeAccount, Command, CreateAccount, Mode};
use crate::event::AccountKey;
use crate::ids::AccountId;
use crate::outcome::Answer;
use crate::rejection::Rejection;
use crate::saga::{Request, Work};
use crate::transaction::Fate;

/// A new account. Refusals take no key.
pub(super) fn create(draft: &mut Draft<'_>, command: &Command, create: &CreateAccount) -> Answer {
    let key = command.transaction_id().zip(create.key.clone()).map(|(transaction, key)| AccountKey {
        tenant: command.tenant.clone(),
        key,
        transaction,
        content: create.content(),
    });
    if let Some(answer) = key.as_ref().and_then(|key| known(draft, command, key)) {
        return answer;
    }
    let objections = Objections([
        (create.account.is_in_transit() || draft.account(&create.account).is_some(), Rejection::AccountExists),
        (!create.limits.are_valid_for(create.account_type), Rejection::InvalidLimits),
    ]);
    let transaction = key.as_ref().map(|key| key.transaction);
    if let Ruling::Refused(rejection) = objections.ruling(false) {
        return refused(command, transaction, rejection);
    }
    if is_dry(command) {
        return Answer::Dry { to: command.id, transaction, would_refuse: None };
    }
    if is_striped(create.account_type, &create.limits) {
        return saga_answer(draft, command, Work::OpenStripes { account: create.clone(), key });
    }
    draft.open_account(create, key);
    let account = create.account.clone();
    Answer::Account { to: command.id, transaction, account, replay: false, would_refuse: None }
}

/// What a creation is answered with when its key already stands for something.
fn known(draft: &Draft<'_>, command: &Command, key: &AccountKey) -> Option<Answer> {
    let known = draft.shard.transaction(key.transaction)?;
    let (to, transaction) = (command.id, Some(key.transaction));
    match &known.fate {
        Fate::AccountCreated(account) if known.content == key.content => {
            let still_opening = draft.shard.sagas().any(|saga| saga.opens(account));
            let made = Answer::Account { to, transaction, account: account.clone(), replay: true, would_refuse: None };
            Some(if still_opening { Answer::Running { to, transaction } } else { made })
        }
        // As the authority sees it, the key is free.
        _ if command.mode != Mode::Authority && known.is_unheard_of_elsewhere() => None,
        _ => Some(refused(command, transaction, Rejection::DuplicateKey)),
    }
}

/// Another status, other limits, or both; all or nothing.
pub(super) fn change(draft: &mut Draft<'_>, command: &Command, change: &ChangeAccount) -> Answer {
    let id = &change.account;
    let Some(account) = draft.find(id) else { return refused(command, None, Rejection::AccountNotFound) };
    // The same command again, which the log may bring twice: it is under way, and what becomes of it is its answer.
    if draft.shard.sagas().any(|saga| saga.changes(id) && saga.request.command == command.id) {
        return Answer::Running { to: command.id, transaction: None };
    }
    let limits =
        Limits { min: change.min.applied_to(account.limits.min), max: change.max.applied_to(account.limits.max) };
    let status = change.status.unwrap_or(account.status);
    let objections = objections(draft, id, &account, status, limits);
    let would_refuse = match objections.ruling(command.mode == Mode::Forced) {
        Ruling::Refused(rejection) => return refused(command, None, rejection),
        Ruling::Allowed { would_refuse } => would_refuse,
    };
    if account.is_striped() && status != account.status {
        let (account_id, from) = (id.clone(), account.status);
        return saga_answer(draft, command, Work::SetStripes { account: account_id, from, to: status, would_refuse });
    }
    let (to, transaction) = (command.id, None);
    if is_dry(command) {
        return Answer::Dry { to, transaction, would_refuse: None };
    }
    draft.set_limits(id, &account, limits);
    let account = draft.account(id).expect("it was there before");
    draft.set_status(id, &account, status);
    Answer::Account { to, transaction, account: id.clone(), replay: false, would_refuse }
}

/// Everything that speaks against a change, most important first. Whether a shared account is empty is asked of its
/// stripes later.
fn objections(draft: &Draft<'_>, id: &AccountId, account: &Account, status: Status, limits: Limits) -> Objections<5> {
    let striped = account.is_striped();
    let closes = status == Status::Closed && account.status != Status::Closed;
    let empty = account.balance.is_zero() && account.reserved.is_zero();
    let open = if striped { is_changing(draft, id) } else { closes && account.open_steps > 0 };
    Objections([
        (account.status == Status::Closed, Rejection::AccountClosed),
        (!limits.are_valid_for(account.account_type), Rejection::InvalidLimits),
        (is_striped(account.account_type, &limits) != striped, Rejection::LimitsFixed),
        (closes && !striped && !empty, Rejection::AccountNotEmpty),
        (open, Rejection::OpenSteps),
    ])
}

/// Whether a shared account is just being made or changed on all shards.
fn is_changing(draft: &Draft<'_>, id: &AccountId) -> bool {
    draft.shard.sagas().any(|saga| saga.opens(id) || saga.changes(id))
}

fn is_dry(command: &Command) -> bool {
    command.mode == Mode::ShadowRefused
}

fn saga_answer(draft: &mut Draft<'_>, command: &Command, work: Work) -> Answer {
    saga::begin(draft, &Request::of(command), work).unwrap_or_else(|rejection| refused(command, None, rejection))
}
