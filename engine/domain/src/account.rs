//! Accounts as a shard keeps them, and the rules of a single debit or credit.

use crate::ids::Currency;
use crate::money::{Amount, Money, SHARED_DIGITS, USER_DIGITS};
use crate::rejection::Rejection;
use crate::transaction::Kind;

/// What kind of account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountType {
    /// A customer's: never below zero.
    User,
    /// The outside world: may go negative.
    External,
    /// The house's own: may go negative.
    System,
}

impl AccountType {
    /// As it is written everywhere: `USER`, `EXTERNAL`, `SYSTEM`.
    pub const fn as_str(self) -> &'static str {
        match self {
            AccountType::User => "USER",
            AccountType::External => "EXTERNAL",
            AccountType::System => "SYSTEM",
        }
    }

    /// The type written so.
    pub fn parse(text: &str) -> Option<Self> {
        [AccountType::User, AccountType::External, AccountType::System].into_iter().find(|known| known.as_str() == text)
    }
}

/// What may be done with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Everything.
    Active,
    /// No debit and no credit.
    Frozen,
    /// Nothing, ever again.
    Closed,
}

impl Status {
    /// As it is written everywhere: `ACTIVE`, `FROZEN`, `CLOSED`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Active => "ACTIVE",
            Status::Frozen => "FROZEN",
            Status::Closed => "CLOSED",
        }
    }

    /// The status written so.
    pub fn parse(text: &str) -> Option<Self> {
        [Status::Active, Status::Frozen, Status::Closed].into_iter().find(|known| known.as_str() == text)
    }
}

/// Between what an account's balance has to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Limits {
    /// Not below it.
    pub min: Option<Money>,
    /// Not above it.
    pub max: Option<Money>,
}

impl Limits {
    /// Whether there is none.
    pub fn are_none(&self) -> bool {
        self.min.is_none() && self.max.is_none()
    }

    /// Whether an account of that type can have them.
    pub fn are_valid_for(&self, account_type: AccountType) -> bool {
        let contradictory = matches!((self.min, self.max), (Some(min), Some(max)) if min > max);
        let user_overdraft = account_type == AccountType::User && self.min.is_some_and(|min| min < Money::ZERO);
        !contradictory && !user_overdraft
    }
}

/// Whether an account of that type and with those limits has a stripe on every shard instead of a home on one.
pub fn is_striped(account_type: AccountType, limits: &Limits) -> bool {
    account_type != AccountType::User && limits.are_none()
}

/// An account, or a stripe of one, as its shard keeps it: what decisions need, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Its type.
    pub account_type: AccountType,
    /// Its currency.
    pub currency: Currency,
    /// Its status.
    pub status: Status,
    /// Its limits.
    pub limits: Limits,
    /// The ledger balance.
    pub balance: Money,
    /// The part of it that is set aside.
    pub reserved: Money,
    /// Sagas under way that may still come back to it.
    pub open_steps: u32,
    /// Counts its events.
    pub version: u64,
}

impl Account {
    /// What can be spent.
    pub fn available(&self) -> Money {
        self.balance.minus(self.reserved)
    }

    /// Whether this is a stripe.
    pub fn is_striped(&self) -> bool {
        is_striped(self.account_type, &self.limits)
    }

    /// Everything that speaks against debiting `amount`, most important first.
    pub(crate) fn objections_to_debit(&self, kind: Kind, currency: Currency, amount: Amount) -> Objections<6> {
        let left = self.available().minus(amount.money());
        let floor = match self.account_type {
            AccountType::User => Some(self.limits.min.unwrap_or_default().max(Money::ZERO)),
            AccountType::External | AccountType::System => self.limits.min,
        };
        Objections([
            (!kind.may_debit(self.account_type), Rejection::AccountTypeNotAllowed),
            (self.status == Status::Frozen, Rejection::AccountFrozen),
            (self.status == Status::Closed, Rejection::AccountClosed),
            (self.currency != currency, Rejection::CurrencyMismatch),
            (floor.is_some_and(|floor| left < floor), Rejection::InsufficientBalance),
            (self.overflows_below(self.balance.minus(amount.money())), Rejection::BalanceOverflow),
        ])
    }

    /// Everything that speaks against crediting `amount`, most important first.
    pub(crate) fn objections_to_credit(&self, kind: Kind, currency: Currency, amount: Amount) -> Objections<6> {
        let after = self.balance.plus(amount.money());
        Objections([
            (!kind.may_credit(self.account_type), Rejection::AccountTypeNotAllowed),
            (self.status == Status::Frozen, Rejection::AccountFrozen),
            (self.status == Status::Closed, Rejection::AccountClosed),
            (self.currency != currency, Rejection::CurrencyMismatch),
            (self.limits.max.is_some_and(|max| after > max), Rejection::BalanceLimitExceeded),
            (self.overflows_above(after), Rejection::BalanceOverflow),
        ])
    }

    /// Whether a debit leads below what this account can show. What is above it already (a forced leg led there) can
    /// always be debited: that leads back.
    fn overflows_below(&self, after: Money) -> bool {
        after < Money::ZERO && self.overflows_at(after)
    }

    /// The same for a credit, above.
    fn overflows_above(&self, after: Money) -> bool {
        after > Money::ZERO && self.overflows_at(after)
    }

    /// Whether a balance has more digits than this account may show; a stripe never does.
    fn overflows_at(&self, balance: Money) -> bool {
        match self.account_type {
            AccountType::User => balance.exceeds_digits(USER_DIGITS),
            AccountType::External | AccountType::System => !self.is_striped() && balance.exceeds_digits(SHARED_DIGITS),
        }
    }
}

/// Rules in order of precedence, each with whether it objects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Objections<const N: usize>(pub(crate) [(bool, Rejection); N]);

impl<const N: usize> Objections<N> {
    /// What follows: the first objection refuses. Under force, the first one that cannot be overruled refuses, and
    /// if there is none, the first one is named as what it would have been.
    pub(crate) fn ruling(&self, forced: bool) -> Ruling {
        let mut objections = self.0.iter().filter(|(objects, _)| *objects).map(|(_, rejection)| *rejection);
        let first = objections.clone().next();
        match first {
            Some(first) if !forced => Ruling::Refused(first),
            would_refuse => match objections.find(|rejection| !rejection.can_be_forced()) {
                Some(rejection) => Ruling::Refused(rejection),
                None => Ruling::Allowed { would_refuse },
            },
        }
    }
}

/// What the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It is not done.
    Refused(Rejection),
    /// It is done; under force, perhaps in spite of a rule.
    Allowed {
        /// The rule that was overruled.
        would_refuse: Option<Rejection>,
    },
}
