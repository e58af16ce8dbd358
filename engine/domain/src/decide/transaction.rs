//! Transactions are asked for: what the key already stands for, what the mode changes, what a refusal leaves behind.

use super::draft::Draft;
use super::plan::would_refuse;
use super::saga;
use crate::command::{Command, Mode, Move, Refund};
use crate::event::{Event, TransactionCompleted, TransactionFailed, TransactionRequested};
use crate::ids::{AccountId, TransactionId};
use crate::outcome::Answer;
use crate::rejection::Rejection;
use crate::saga::{Movement, OriginalPlace, Place, Request, Stage, Taken, Work};
use crate::transaction::{Content, Fate, Kind, Remembered};

/// Topup, withdraw or transfer.
pub(super) fn request_move(draft: &mut Draft<'_>, command: &Command, request: &Move) -> Answer {
    let kind = request.kind.kind();
    let deciding_account = request.deciding_account().as_str();
    let transaction = TransactionId::derive(&command.tenant, deciding_account, &request.key);
    let content = request.content();
    let same_account = request.source == request.destination;
    if let Some(answer) = known(draft, command, transaction, content, same_account) {
        return answer;
    }
    let requested = TransactionRequested {
        transaction,
        version: 1,
        kind,
        tenant: command.tenant.clone(),
        deciding_account: deciding_account.into(),
        key: request.key.clone(),
        content,
        source: Some(request.source.clone()),
        destination: Some(request.destination.clone()),
        amount: Some(request.amount),
        currency: Some(request.currency),
        reference: request.reference.clone(),
        metadata: request.metadata.clone(),
        original_named: None,
        original: None,
        reason: None,
        alias: command.alias.clone(),
    };
    let movement = Movement {
        transaction,
        kind,
        source: place(draft, &request.source),
        destination: place(draft, &request.destination),
        amount: Some(request.amount),
        currency: request.currency,
        original: None,
    };
    begin(draft, command, requested, if same_account { Err(Rejection::SameAccount) } else { Ok(movement) })
}

/// Money back along an earlier transaction.
pub(super) fn request_refund(draft: &mut Draft<'_>, command: &Command, refund: &Refund) -> Answer {
    let transaction = TransactionId::derive(&command.tenant, &refund.deciding_account, &refund.key);
    let content = refund.content();
    if let Some(answer) = known(draft, command, transaction, content, false) {
        return answer;
    }
    let original = refund.original.as_ref();
    let amount = refund.amount.or(refund.taken);
    let requested = TransactionRequested {
        transaction,
        version: 1,
        kind: Kind::Refund,
        tenant: command.tenant.clone(),
        deciding_account: refund.deciding_account.clone(),
        key: refund.key.clone(),
        content,
        source: original.map(|original| original.destination.clone()),
        destination: original.map(|original| original.source.clone()),
        amount,
        currency: original.map(|original| original.currency),
        reference: None,
        metadata: None,
        original_named: Some(refund.named.clone()),
        original: original.map(|original| original.id),
        reason: refund.reason.clone(),
        alias: command.alias.clone(),
    };
    let movement = original.map(|original| Movement {
        transaction,
        kind: Kind::Refund,
        source: place(draft, &original.destination),
        destination: place(draft, &original.source),
        amount,
        currency: original.currency,
        original: Some(OriginalPlace { transaction: original.id, shard: original.id.shard(draft.shard.shards()) }),
    });
    begin(draft, command, requested, movement.ok_or(Rejection::OriginalNotFound))
}

/// What a request is answered with when its key already stands for something.
fn known(
    draft: &Draft<'_>,
    command: &Command,
    transaction: TransactionId,
    content: Content,
    same_account: bool,
) -> Option<Answer> {
    let known = draft.shard.transaction(transaction)?;
    let to = command.id;
    let free_at_the_authority = command.mode != Mode::Authority && known.is_unheard_of_elsewhere();
    if known.content != content {
        if free_at_the_authority {
            return None;
        }
        let rejection = if same_account { Rejection::SameAccount } else { Rejection::DuplicateKey };
        return Some(refused(command, Some(transaction), rejection));
    }
    match known.fate {
        Fate::Free => None,
        Fate::Running { .. } => Some(Answer::Running { to, transaction: Some(transaction) }),
        // What is kept is the authority's refusal: a repeated leg asks again what this system would have decided.
        Fate::Refused { elsewhere: true, .. } if command.mode == Mode::ShadowRefused => None,
        // The state has changed since, or the authority sees another one. A refusal of the authority's own takes the
        // place of this one in any case: from now on it is what the key stands for.
        Fate::Refused { rejection, .. }
            if free_at_the_authority && (command.mode == Mode::ShadowRefused || rejection.is_reason_of_state()) =>
        {
            None
        }
        Fate::Applied(_) | Fate::Refused { .. } | Fate::AccountCreated(_) => {
            Some(Answer::Final { to, transaction, replay: true })
        }
    }
}

/// Begins a transaction, or refuses it at once.
fn begin(
    draft: &mut Draft<'_>,
    command: &Command,
    mut requested: TransactionRequested,
    movement: Result<Movement, Rejection>,
) -> Answer {
    let request = Request::of(command);
    let (transaction, kind) = (requested.transaction, requested.kind);
    // A refusal that is decided on anew has used up some versions, also one that was not kept.
    requested.version = draft.shard.last_version(transaction) + 1;
    let version = requested.version + 1;
    if command.mode == Mode::ShadowRefused {
        keep_refusal(draft, command, requested);
    } else {
        draft.emit(Event::TransactionRequested(Box::new(requested)));
    }
    let begun = movement.and_then(|movement| saga::begin(draft, &request, Work::Transaction(movement)));
    match begun {
        Ok(answer) => answer,
        Err(rejection) if keeps(&request, rejection) => {
            emit_failed(draft, transaction, version, kind, rejection, true);
            Answer::Final { to: command.id, transaction, replay: false }
        }
        Err(rejection) => {
            if command.mode != Mode::ShadowRefused {
                draft.rewind_to(0);
            }
            refused(command, Some(transaction), rejection)
        }
    }
}

/// The authority's refusal is kept under the key, so that a retry is answered alike whoever answers it then.
fn keep_refusal(draft: &mut Draft<'_>, command: &Command, requested: TransactionRequested) {
    let Some(refusal) = command.refusal.clone().filter(|_| command.keeps_refusals) else { return };
    let (transaction, kind) = (requested.transaction, requested.kind);
    // A `DuplicateKey` belongs to a key that stands for something else; a code that is no rule's was not decided on.
    let rejection = Rejection::from_code(&refusal.code).filter(|rejection| *rejection != Rejection::DuplicateKey);
    let free = draft.shard.transaction(transaction).is_none_or(Remembered::is_unheard_of_elsewhere);
    let Some(rejection) = rejection.filter(|_| free) else { return };
    let version = requested.version + 1;
    draft.emit(Event::TransactionRequested(Box::new(requested)));
    draft.emit(Event::TransactionFailed(TransactionFailed {
        transaction,
        version,
        kind,
        rejection,
        kept: true,
        elsewhere: Some(refusal),
        position: vec![draft.position],
        completed_at: draft.at,
    }));
}

/// Whether a refusal keeps its key and its place in the history.
fn keeps(request: &Request, rejection: Rejection) -> bool {
    match request.mode {
        Mode::Authority => request.keeps_refusals,
        Mode::Shadow | Mode::Forced => request.keeps_refusals && !rejection.is_reason_of_state(),
        Mode::ShadowRefused => false,
    }
}

/// The answer to a refusal that nothing is kept of.
pub(super) fn refused(command: &Command, transaction: Option<TransactionId>, rejection: Rejection) -> Answer {
    let to = command.id;
    match command.mode {
        Mode::ShadowRefused => Answer::Dry { to, transaction, would_refuse: Some(rejection) },
        Mode::Authority | Mode::Shadow | Mode::Forced => Answer::Refused { to, transaction, rejection },
    }
}

/// Everything moved.
pub(super) fn complete(draft: &mut Draft<'_>, request: &Request, movement: &Movement, taken: &[Taken]) -> Answer {
    let transaction = movement.transaction;
    let side = |stage| Movement::side(taken, stage).expect("both sides moved before the end");
    let completed = TransactionCompleted {
        transaction,
        version: next_version(draft, transaction),
        kind: movement.kind,
        amount: movement.amount(taken),
        currency: movement.currency,
        source: side(Stage::Debit),
        destination: side(Stage::Credit),
        original: movement.original.map(|original| original.transaction),
        would_refuse: would_refuse(taken),
        position: movement.position(taken),
        completed_at: draft.at,
    };
    draft.emit(Event::TransactionCompleted(Box::new(completed)));
    Answer::Final { to: request.command, transaction, replay: false }
}

/// Refused after the saga had waited, and everything is undone.
pub(super) fn fail(draft: &mut Draft<'_>, request: &Request, movement: &Movement, rejection: Rejection) -> Answer {
    let transaction = movement.transaction;
    let to = request.command;
    let kept = keeps(request, rejection);
    let version = next_version(draft, transaction);
    emit_failed(draft, transaction, version, movement.kind, rejection, kept);
    if kept {
        Answer::Final { to, transaction, replay: false }
    } else {
        Answer::Refused { to, transaction: Some(transaction), rejection }
    }
}

fn emit_failed(
    draft: &mut Draft<'_>,
    transaction: TransactionId,
    version: u64,
    kind: Kind,
    rejection: Rejection,
    kept: bool,
) {
    draft.emit(Event::TransactionFailed(TransactionFailed {
        transaction,
        version,
        kind,
        rejection,
        kept,
        elsewhere: None,
        position: vec![draft.position],
        completed_at: draft.at,
    }));
}

/// The version of a transaction's next event; the one that asked for it may be part of this very decision.
fn next_version(draft: &Draft<'_>, transaction: TransactionId) -> u64 {
    let last = draft.shard.last_version(transaction);
    match draft.shard.transaction(transaction).map(|known| &known.fate) {
        Some(Fate::Running { .. }) => last + 1,
        Some(_) | None => last + 2,
    }
}

/// Where a transaction meets an account: here, if the account or a stripe of it is here, else at the account's home.
fn place(draft: &Draft<'_>, account: &AccountId) -> Place {
    let here = draft.shard.account(account).is_some();
    let shard = if here { draft.position.shard } else { account.shard(draft.shard.shards()) };
    Place { account: account.clone(), shard }
}
