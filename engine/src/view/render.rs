//! Rows as clients see them.

use super::rows::{AccountRow, Completed, Failed, State, TransactionRow};
use engine_domain::event::Side;
use engine_domain::{AccountId, AccountType, Limits, Money, Position, Status, Text, Timestamp};
use wire::billing;

/// Money as it is written.
pub(crate) fn money(money: Money) -> wire::scalar::Money {
    wire::scalar::Money(money.decimal())
}

/// A time as it is written.
pub(super) fn time(at: Timestamp) -> wire::scalar::Timestamp {
    wire::scalar::Timestamp(at.0)
}

/// Free data as JSON. What is no JSON was never taken in; should it be there all the same, it is shown as text.
fn json(text: &Text) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::String(text.to_string()))
}

/// What the stripes of an account add up to; of an account in one piece, that piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Total {
    pub(super) balance: Money,
    pub(super) reserved: Money,
    pub(super) version: u64,
}

impl Total {
    /// Of one piece.
    pub(super) fn of(balance: Money, reserved: Money, version: u64) -> Self {
        Self { balance, reserved, version }
    }

    /// With another stripe. A new stripe has version 1 and changes nothing, so it adds nothing.
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            balance: self.balance.plus(other.balance),
            reserved: self.reserved.plus(other.reserved),
            version: self.version + other.version.saturating_sub(1),
        }
    }

    fn available(&self) -> Money {
        self.balance.minus(self.reserved)
    }
}

/// An account as it is now.
pub(super) fn account(id: &AccountId, row: &AccountRow, total: Total) -> billing::Account {
    shown(id, row, row.state.status, row.state.limits, total)
}

/// An account as it was made.
pub(super) fn account_as_made(id: &AccountId, row: &AccountRow) -> billing::Account {
    shown(id, row, Status::Active, row.first_limits, Total::of(Money::ZERO, Money::ZERO, 1))
}

fn shown(id: &AccountId, row: &AccountRow, status: Status, limits: Limits, total: Total) -> billing::Account {
    billing::Account {
        account_id: id.to_string(),
        owner_id: row.owner_id.to_string(),
        owner_type: row.owner_type.to_string(),
        account_type: row.state.account_type.as_str().to_owned(),
        currency: row.state.currency.to_string(),
        status: status.as_str().to_owned(),
        min_balance: limits.min.map(money),
        max_balance: limits.max.map(money),
        balance: money(total.balance),
        reserved: money(total.reserved),
        available: money(total.available()),
        version: total.version,
        metadata: row.metadata.as_ref().map(json),
        created_at: time(row.created_at),
    }
}

/// A balance.
pub(super) fn balance(id: &AccountId, row: &AccountRow, total: Total, as_of: Timestamp) -> billing::Balance {
    billing::Balance {
        account_id: id.to_string(),
        balance: money(total.balance),
        reserved: money(total.reserved),
        available: money(total.available()),
        currency: row.state.currency.to_string(),
        version: total.version,
        as_of: time(as_of),
        position: None,
    }
}

/// A side that shows no levels; nothing moved there.
fn unmoved(account: Option<&AccountId>) -> billing::Side {
    billing::Side {
        account_id: account.map(AccountId::to_string).unwrap_or_default(),
        balance_before: None,
        balance_after: None,
        version: None,
        movement: money(Money::ZERO),
    }
}

/// A side of a completed transaction: only a USER's shows levels.
fn moved(side: &Side) -> billing::Side {
    let levels = side.account_type == AccountType::User;
    billing::Side {
        account_id: side.account.to_string(),
        balance_before: levels.then(|| money(side.balance_before)),
        balance_after: levels.then(|| money(side.balance_after)),
        version: levels.then_some(side.version),
        movement: money(side.movement()),
    }
}

/// A transaction; `None` for one that is as if it had never been asked for.
pub(super) fn transaction(row: &TransactionRow) -> Option<billing::TransactionResult> {
    let mut result = requested(row);
    match &row.state {
        State::Processing => {}
        State::Completed(completed) => complete(&mut result, completed),
        State::Failed(failed) => fail(&mut result, failed),
        State::Forgotten => return None,
    }
    Some(result)
}

/// A transaction that was asked for, as long as nothing came of it.
pub(crate) fn requested(row: &TransactionRow) -> billing::TransactionResult {
    billing::TransactionResult {
        transaction_id: row.id.to_string(),
        tracking_id: row.key.to_string(),
        kind: row.kind.as_str().to_owned(),
        status: super::Status::Processing.as_str().to_owned(),
        amount: money(row.amount.map_or(Money::ZERO, |amount| amount.money())),
        currency: row.currency.map(|currency| currency.to_string()).unwrap_or_default(),
        source: unmoved(row.source.as_ref()),
        destination: unmoved(row.destination.as_ref()),
        original_transaction_id: match &row.original {
            Some(original) => Some(original.to_string()),
            None => row.original_named.as_ref().map(Text::to_string),
        },
        reference: row.reference.as_ref().map(Text::to_string),
        metadata: row.metadata.as_ref().map(json),
        error_code: None,
        reason: row.client_reason.as_ref().map(Text::to_string),
        correlation_id: row.correlation_id.to_string(),
        created_at: time(row.created_at),
        completed_at: None,
        position: Some(vec![row.requested_in.to_string()]),
    }
}

/// The same once money moved: as much as it says.
pub(crate) fn complete(result: &mut billing::TransactionResult, completed: &Completed) {
    super::Status::Completed.as_str().clone_into(&mut result.status);
    result.source = moved(&completed.source);
    result.destination = moved(&completed.destination);
    result.completed_at = Some(time(completed.at));
    result.position = Some(completed.position.iter().map(Position::to_string).collect());
}

/// The same once it was refused.
pub(crate) fn fail(result: &mut billing::TransactionResult, failed: &Failed) {
    super::Status::Failed.as_str().clone_into(&mut result.status);
    let code = failed.elsewhere.as_ref().map_or(failed.rejection.code(), |refusal| &refusal.code);
    result.error_code = Some(code.to_owned());
    result.reason = Some(failed.rejection.reason().to_owned());
    result.completed_at = Some(time(failed.at));
    result.position = Some(failed.position.iter().map(Position::to_string).collect());
}
