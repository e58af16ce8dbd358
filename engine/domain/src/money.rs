//! Money: exact decimals of at most eight places. Nothing here ever rounds.

use rust_decimal::Decimal;
use std::fmt;
use std::iter::Sum;

/// Digits behind the point.
const DECIMALS: u32 = 8;

/// A balance or a movement; may be negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(Decimal);

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(Decimal::ZERO);

    /// Money of at most eight decimals (trailing zeros do not count), or `None`.
    pub fn new(value: Decimal) -> Option<Self> {
        let value = if value.scale() > DECIMALS { value.normalize() } else { value };
        (value.scale() <= DECIMALS).then_some(Self(value))
    }

    /// The decimal.
    pub fn decimal(self) -> Decimal {
        self.0
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The sum, or `None` when it cannot be held exactly.
    pub fn checked_add(self, other: Money) -> Option<Money> {
        let sum = self.0.checked_add(other.0)?;
        // When 96 bits do not suffice, `Decimal` drops decimals silently: that would be rounding.
        let exact = sum.scale() >= self.0.scale().max(other.0.scale()) || sum.checked_sub(self.0) == Some(other.0);
        exact.then_some(Money(sum))
    }

    /// The sum. Balances that rules bound to 19 digits are far from the 20 that fit beside eight decimals; only a
    /// stripe without any rule could come there, after 10⁸ of the largest amounts in one direction.
    ///
    /// # Panics
    /// When the sum cannot be held exactly: the shard has to stop, because a rounded balance is a wrong one.
    #[must_use]
    pub fn plus(self, other: Money) -> Money {
        self.checked_add(other).expect("a balance stays within 20 digits")
    }

    /// The difference; panics as [`Money::plus`].
    #[must_use]
    pub fn minus(self, other: Money) -> Money {
        self.plus(other.negated())
    }

    /// With the sign turned.
    #[must_use]
    pub fn negated(self) -> Money {
        if self.is_zero() { Money::ZERO } else { Money(-self.0) }
    }

    /// Whether its whole part has more than `digits` digits.
    pub(crate) fn exceeds_digits(self, digits: u32) -> bool {
        self.0.abs() >= Decimal::from_i128_with_scale(10_i128.pow(digits), 0)
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Money>>(parts: I) -> Money {
        parts.fold(Money::ZERO, Money::plus)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.is_zero() { Decimal::ZERO } else { self.0.normalize() };
        f.pad(&value.to_string())
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An amount that somebody asks to be moved: above zero, at most 12 digits before the point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(Money);

/// Digits before the point of an amount, and of a USER's balance.
pub(crate) const USER_DIGITS: u32 = 12;
/// Digits before the point of the balance of a limited EXTERNAL or SYSTEM account.
pub(crate) const SHARED_DIGITS: u32 = 19;

impl Amount {
    /// An amount within the bounds, or `None`.
    pub fn new(money: Money) -> Option<Self> {
        (money > Money::ZERO && !money.exceeds_digits(USER_DIGITS)).then_some(Self(money))
    }

    /// As money.
    pub fn money(self) -> Money {
        self.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
