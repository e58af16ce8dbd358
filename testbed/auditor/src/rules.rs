//! The rules of the contract, for the ledger that predicts: the code of the first one that refuses.

use crate::money::Money;
use crate::request::{AccountKind, Change, Move, MoveKind, Status};

/// A refusal, by its code.
pub(crate) type Refusal = &'static str;

/// The first balance of a USER account that has too many digits.
const USER_BOUND: Money = Money::units(1_000_000_000_000);
/// The same for a limited EXTERNAL or SYSTEM account.
const SHARED_BOUND: Money = Money::units(10_000_000_000_000_000_000);

/// An account, as far as rules look at it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Account {
    pub(crate) kind: AccountKind,
    pub(crate) currency: String,
    pub(crate) status: Status,
    pub(crate) min: Option<Money>,
    pub(crate) max: Option<Money>,
    pub(crate) balance: Money,
}

impl Account {
    pub(crate) fn is_user(&self) -> bool {
        self.kind == AccountKind::User
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.is_user() || self.min.is_some() || self.max.is_some()
    }

    /// The lowest balance that a debit may leave.
    pub(crate) fn floor(&self) -> Option<Money> {
        if self.is_user() { Some(self.min.unwrap_or_default().max(Money::ZERO)) } else { self.min }
    }

    fn check_status(&self) -> Result<(), Refusal> {
        match self.status {
            Status::Active => Ok(()),
            Status::Frozen => Err("AccountFrozen"),
            Status::Closed => Err("AccountClosed"),
        }
    }

    fn check_debit(&self, amount: Money) -> Result<(), Refusal> {
        let after = self.balance - amount;
        if self.floor().is_some_and(|floor| after < floor) {
            return Err("InsufficientBalance");
        }
        if self.is_limited() && after <= -SHARED_BOUND {
            return Err("BalanceOverflow");
        }
        Ok(())
    }

    fn check_credit(&self, amount: Money) -> Result<(), Refusal> {
        let after = self.balance + amount;
        if self.max.is_some_and(|max| after > max) {
            return Err("BalanceLimitExceeded");
        }
        let bound = if self.is_user() { USER_BOUND } else { SHARED_BOUND };
        if self.is_limited() && after >= bound {
            return Err("BalanceOverflow");
        }
        Ok(())
    }
}

/// Whether an account of this type may be the source of a movement.
pub(crate) fn may_give(kind: MoveKind, account: AccountKind) -> bool {
    (account == AccountKind::User) != (kind == MoveKind::Topup)
}

/// Whether an account of this type may be its destination.
pub(crate) fn may_take(kind: MoveKind, account: AccountKind) -> bool {
    match kind {
        MoveKind::Topup => account == AccountKind::User,
        MoveKind::Withdraw => account != AccountKind::User,
        MoveKind::Transfer => true,
    }
}

pub(crate) fn check_move(asked: &Move, source: Option<&Account>, destination: Option<&Account>) -> Result<(), Refusal> {
    if asked.source == asked.destination {
        return Err("SameAccount");
    }
    let side = |account: Option<&Account>, allowed: fn(MoveKind, AccountKind) -> bool| {
        let account = account.ok_or("AccountNotFound")?;
        if !allowed(asked.kind, account.kind) {
            return Err("AccountTypeNotAllowed");
        }
        account.check_status()?;
        if account.currency == asked.currency { Ok(()) } else { Err("CurrencyMismatch") }
    };
    side(source, may_give)?;
    source.map_or(Ok(()), |source| source.check_debit(asked.amount))?;
    side(destination, may_take)?;
    destination.map_or(Ok(()), |destination| destination.check_credit(asked.amount))
}

/// A refund of something that can be refunded and has that much left.
pub(crate) fn check_refund(amount: Money, debited: &Account, credited: &Account) -> Result<(), Refusal> {
    debited.check_status()?;
    debited.check_debit(amount)?;
    credited.check_status()?;
    credited.check_credit(amount)
}

pub(crate) fn check_limits(kind: AccountKind, min: Option<Money>, max: Option<Money>) -> Result<(), Refusal> {
    let overdraft = kind == AccountKind::User && min.is_some_and(|min| min < Money::ZERO);
    let crossed = min.zip(max).is_some_and(|(min, max)| min > max);
    if overdraft || crossed { Err("InvalidLimits") } else { Ok(()) }
}

/// The account after a change.
pub(crate) fn change(account: &Account, asked: &Change) -> Result<Account, Refusal> {
    if account.status == Status::Closed {
        return Err("AccountClosed");
    }
    let changed = Account {
        status: asked.status.unwrap_or(account.status),
        min: asked.min.unwrap_or(account.min),
        max: asked.max.unwrap_or(account.max),
        ..account.clone()
    };
    check_limits(changed.kind, changed.min, changed.max)?;
    if changed.is_limited() != account.is_limited() {
        return Err("LimitsFixed");
    }
    if changed.status == Status::Closed && changed.balance != Money::ZERO {
        return Err("AccountNotEmpty");
    }
    Ok(changed)
}
