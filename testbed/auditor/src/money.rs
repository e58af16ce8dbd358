//! Exact money: hundred-millionths in an `i128`.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};

const UNIT: u128 = 100_000_000;

/// An amount, a balance or a movement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i128);

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);

    /// So many whole units.
    pub const fn units(units: i128) -> Self {
        Self(units * UNIT as i128)
    }

    /// So many hundred-millionths.
    pub const fn parts(parts: i128) -> Self {
        Self(parts)
    }

    /// The hundred-millionths.
    pub const fn as_parts(self) -> i128 {
        self.0
    }

    /// Reads an amount of a request: up to 12 digits, up to 8 decimals, above zero, nothing else.
    pub fn amount(text: &str) -> Option<Self> {
        Self::read(text, 12).filter(|money| money.0 > 0)
    }

    /// Reads a balance, a movement or a limit: as written by a system, so up to 19 digits (more for an unlimited
    /// account), perhaps with a `-`, but never `-0`.
    pub fn level(text: &str) -> Option<Self> {
        match text.strip_prefix('-') {
            Some(rest) => Self::read(rest, 28).filter(|money| money.0 > 0).map(|money| -money),
            None => Self::read(text, 28),
        }
    }

    fn read(text: &str, max_digits: usize) -> Option<Self> {
        let mut parts: i128 = 0;
        let (mut digits, mut decimals) = (0, None::<usize>);
        for letter in text.chars() {
            match (letter, decimals) {
                ('.', None) if digits > 0 => decimals = Some(0),
                ('0'..='9', _) => {
                    match &mut decimals {
                        Some(decimals) => *decimals += 1,
                        None => digits += 1,
                    }
                    if digits > max_digits || decimals.is_some_and(|decimals| decimals > 8) {
                        return None;
                    }
                    parts = parts * 10 + i128::from(letter as u8 - b'0');
                }
                _ => return None,
            }
        }
        let leading_zero = digits > 1 && text.starts_with('0');
        if digits == 0 || decimals == Some(0) || leading_zero {
            return None;
        }
        let missing = 8 - u32::try_from(decimals.unwrap_or(0)).ok()?;
        Some(Self(parts * 10_i128.pow(missing)))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, parts) = (self.0.unsigned_abs() / UNIT, self.0.unsigned_abs() % UNIT);
        let sign = if self.0 < 0 { "-" } else { "" };
        let text = format!("{sign}{units}.{parts:08}");
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Add for Money {
    type Output = Money;
    fn add(self, other: Money) -> Money {
        Money(self.0 + other.0)
    }
}

impl Sub for Money {
    type Output = Money;
    fn sub(self, other: Money) -> Money {
        Money(self.0 - other.0)
    }
}

impl Neg for Money {
    type Output = Money;
    fn neg(self) -> Money {
        Money(-self.0)
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Money) {
        self.0 += other.0;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Money>>(items: I) -> Money {
        items.fold(Money::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, parts) in [
            ("1", 100_000_000),
            ("0.00000001", 1),
            ("10.50", 1_050_000_000),
            ("999999999999.99999999", 99_999_999_999_999_999_999),
        ] {
            assert_eq!(Money::amount(text), Some(Money(parts)), "{text}");
        }
        for text in
            ["", "0", "0.0", ".", ".5", "5.", "-1", "+1", "01", "1e3", "1_0", "1.000000001", "1000000000000", "1 "]
        {
            assert_eq!(Money::amount(text), None, "{text}");
        }
    }

    #[test]
    fn levels_read_back_as_written() {
        for text in ["0", "-1", "0.5", "-0.00000001", "12345678901234567890.1", "100"] {
            assert_eq!(Money::level(text).map(|level| level.to_string()).as_deref(), Some(text));
        }
        for text in ["-0", "-0.0", "--1", "-"] {
            assert_eq!(Money::level(text), None, "{text}");
        }
    }
}
