//! The rules of billing, pure: which requests are refused, and why, in order of precedence.

use crate::money::Money;
use crate::refusal::Code;
use crate::request::AccountChange;
use crate::shapes::{Account, AccountStatus, AccountType, Kind, Outcome, TransactionResult};

/// A topup, withdrawal or transfer between two different accounts: refused?
///
/// # Errors
/// The first rule that refuses it: the source's before the destination's.
pub fn check_move(
    kind: Kind,
    source: Option<&Account>,
    destination: Option<&Account>,
    amount: Money,
    currency: &str,
) -> Result<(), Code> {
    let source = takes_part(source, may_be_source(kind), currency)?;
    check_debit(source, amount)?;
    let destination = takes_part(destination, may_be_destination(kind), currency)?;
    check_credit(destination, amount)
}

/// A refund: how much is to be refunded.
///
/// `original` is the transaction and how much of it was refunded before; `debited` is its destination, `credited`
/// its source.
///
/// # Errors
/// The first rule that refuses it.
pub fn check_refund(
    original: Option<(&TransactionResult, Money)>,
    amount: Option<Money>,
    debited: Option<&Account>,
    credited: Option<&Account>,
) -> Result<Money, Code> {
    let (original, refunded) = original.ok_or(Code::OriginalNotFound)?;
    if original.status != Outcome::Completed || original.kind == Kind::Refund {
        return Err(Code::NotRefundable);
    }
    let left = original.amount - refunded;
    let amount = amount.unwrap_or(left);
    if amount > left || amount <= Money::ZERO {
        return Err(Code::RefundExceedsOriginal);
    }
    // Accounts are never removed, so those of a completed transaction are there.
    let debited = debited.ok_or(Code::AccountNotFound)?;
    check_status(debited)?;
    check_debit(debited, amount)?;
    let credited = credited.ok_or(Code::AccountNotFound)?;
    check_status(credited)?;
    check_credit(credited, amount)?;
    Ok(amount)
}

/// Whether an account id is taken, whatever accounts there are: clients cannot have what would collide with the
/// accounts by which the system that comes after this one carries money from shard to shard.
pub fn is_reserved(account_id: &str) -> bool {
    account_id.starts_with("in-transit:")
}

/// The limits of an account: refused?
///
/// # Errors
/// [`Code::InvalidLimits`].
pub fn check_limits(account_type: AccountType, min: Option<Money>, max: Option<Money>) -> Result<(), Code> {
    let below_zero = account_type == AccountType::User && min.is_some_and(|min| min < Money::ZERO);
    let crossed = matches!((min, max), (Some(min), Some(max)) if min > max);
    if below_zero || crossed { Err(Code::InvalidLimits) } else { Ok(()) }
}

/// A change of an account: the account after it.
///
/// # Errors
/// The first rule that refuses it.
pub fn change(account: &Account, change: &AccountChange) -> Result<Account, Code> {
    if account.status == AccountStatus::Closed {
        return Err(Code::AccountClosed);
    }
    let mut changed = account.clone();
    changed.min_balance = change.min_balance.unwrap_or(account.min_balance);
    changed.max_balance = change.max_balance.unwrap_or(account.max_balance);
    changed.status = change.status.unwrap_or(account.status);
    check_limits(changed.account_type, changed.min_balance, changed.max_balance)?;
    if changed.is_limited() != account.is_limited() {
        return Err(Code::LimitsFixed);
    }
    if changed.status == AccountStatus::Closed && changed.balance != Money::ZERO {
        return Err(Code::AccountNotEmpty);
    }
    changed.version += 1;
    Ok(changed)
}

fn may_be_source(kind: Kind) -> fn(AccountType) -> bool {
    match kind {
        Kind::Topup => |kind| kind != AccountType::User,
        Kind::Withdraw | Kind::Transfer => |kind| kind == AccountType::User,
        Kind::Refund => |_| true,
    }
}

fn may_be_destination(kind: Kind) -> fn(AccountType) -> bool {
    match kind {
        Kind::Topup => |kind| kind == AccountType::User,
        Kind::Withdraw => |kind| kind != AccountType::User,
        Kind::Transfer | Kind::Refund => |_| true,
    }
}

/// The account, if it may stand on its side of a movement in this currency.
fn takes_part<'a>(
    account: Option<&'a Account>,
    allowed: fn(AccountType) -> bool,
    currency: &str,
) -> Result<&'a Account, Code> {
    let account = account.ok_or(Code::AccountNotFound)?;
    if !allowed(account.account_type) {
        return Err(Code::AccountTypeNotAllowed);
    }
    check_status(account)?;
    if account.currency != currency { Err(Code::CurrencyMismatch) } else { Ok(account) }
}

fn check_status(account: &Account) -> Result<(), Code> {
    match account.status {
        AccountStatus::Active => Ok(()),
        AccountStatus::Frozen => Err(Code::AccountFrozen),
        AccountStatus::Closed => Err(Code::AccountClosed),
    }
}

fn check_debit(account: &Account, amount: Money) -> Result<(), Code> {
    let after = account.balance - amount;
    let floor = match account.account_type {
        AccountType::User => Some(account.min_balance.unwrap_or_default().max(Money::ZERO)),
        AccountType::External | AccountType::System => account.min_balance,
    };
    if floor.is_some_and(|floor| after < floor) {
        return Err(Code::InsufficientBalance);
    }
    if account.is_limited() && after <= -Money::SHARED_BOUND { Err(Code::BalanceOverflow) } else { Ok(()) }
}

fn check_credit(account: &Account, amount: Money) -> Result<(), Code> {
    let after = account.balance + amount;
    if account.max_balance.is_some_and(|max| after > max) {
        return Err(Code::BalanceLimitExceeded);
    }
    let bound = match account.account_type {
        AccountType::User => Money::USER_BOUND,
        AccountType::External | AccountType::System => Money::SHARED_BOUND,
    };
    if account.is_limited() && after >= bound { Err(Code::BalanceOverflow) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(account_type: AccountType, balance: &str, min: Option<&str>, max: Option<&str>) -> Account {
        let money = |text: &str| Money::parse_balance(text).unwrap();
        Account {
            account_id: "a".into(),
            owner_id: "o".into(),
            owner_type: "t".into(),
            account_type,
            currency: "CZK".into(),
            status: AccountStatus::Active,
            min_balance: min.map(money),
            max_balance: max.map(money),
            balance: money(balance),
            version: 1,
            metadata: None,
            created_at: 0,
        }
    }

    /// Nineteen digits are out of reach of requests, so the bounds of shared accounts are tried here.
    #[test]
    fn a_limited_shared_account_overflows_and_an_unlimited_one_does_not() {
        const LAST: &str = "9999999999999999999.99999999";
        let smallest = Money::parse_amount("0.00000001").unwrap();
        let full = account(AccountType::External, LAST, Some("0"), None);
        assert_eq!(check_credit(&full, smallest), Err(Code::BalanceOverflow));
        assert_eq!(check_debit(&full, smallest), Ok(()));
        let low = account(AccountType::System, &format!("-{LAST}"), None, Some("0"));
        assert_eq!(check_debit(&low, smallest), Err(Code::BalanceOverflow));
        assert_eq!(check_credit(&low, smallest), Ok(()));
        let free = account(AccountType::External, LAST, None, None);
        assert_eq!(check_credit(&free, smallest), Ok(()));
        let free = account(AccountType::External, &format!("-{LAST}"), None, None);
        assert_eq!(check_debit(&free, smallest), Ok(()));
    }
}
