//! Money of the legacy: whole hundred-millionths in an `i128`, so that it shares no arithmetic with the engine.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Add, Neg, Sub};

/// Decimals behind the point.
const DECIMALS: usize = 8;
/// Hundred-millionths in a whole unit.
const UNIT: i128 = 100_000_000;
/// Digits before the point of a requested amount (CONTRACT).
const AMOUNT_DIGITS: usize = 12;
/// Digits before the point of a balance or a limit (FORMATS).
const BALANCE_DIGITS: usize = 19;

/// An amount or a balance. A string in JSON, without trailing zeros and without `-0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Money(i128);

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);
    /// A hundredth of a unit.
    pub const CENT: Money = Money(UNIT / 100);
    /// The first balance that a USER account cannot have: 12 digits before the point are all.
    pub const USER_BOUND: Money = Money(10_i128.pow(12) * UNIT);
    /// The first balance that a limited EXTERNAL or SYSTEM account cannot have: 19 digits are all.
    pub const SHARED_BOUND: Money = Money(10_i128.pow(19) * UNIT);

    /// Parses a requested amount: `(0|[1-9][0-9]{0,11})(\.[0-9]{1,8})?`, above zero.
    pub fn parse_amount(text: &str) -> Option<Self> {
        parse_unsigned(text, AMOUNT_DIGITS).filter(|amount| *amount > Money::ZERO)
    }

    /// Parses a limit: as an amount, but with up to 19 digits, zero, and a leading `-` before what is not zero.
    pub fn parse_balance(text: &str) -> Option<Self> {
        match text.strip_prefix('-') {
            Some(digits) => parse_unsigned(digits, BALANCE_DIGITS).filter(|money| *money > Money::ZERO).map(Neg::neg),
            None => parse_unsigned(text, BALANCE_DIGITS),
        }
    }

    /// Without its last decimal, if it has any: to the nearest with one decimal fewer, of two equally near ones to the even
    /// one.
    pub fn rounded(self) -> Self {
        let is_whole_in = |parts: i128| self.0 % parts == 0;
        let step = (1..=DECIMALS as u32).map(|decimals| 10_i128.pow(decimals)).find(|step| !is_whole_in(*step));
        let Some(step) = step else { return self };
        let (below, rest) = (self.0.div_euclid(step), self.0.rem_euclid(step));
        let up = rest * 2 > step || (rest * 2 == step && below % 2 != 0);
        Money((below + i128::from(up)) * step)
    }

    /// Reads what a store keeps: any balance, also of an unlimited account with more than 19 digits.
    pub(crate) fn parse_stored(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let money = parse_unsigned(unsigned, 30)?;
        Some(if unsigned.len() < text.len() { -money } else { money })
    }
}

fn parse_unsigned(text: &str, max_digits: usize) -> Option<Money> {
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || whole.len() > max_digits || leading_zero || fraction.len() > DECIMALS {
        return None;
    }
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let fraction: i128 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
    Some(Money(whole.parse::<i128>().ok()? * UNIT + fraction))
}

impl Add for Money {
    type Output = Money;
    /// Balances stay below 10^27 hundred-millionths of the bounds, or grow by at most 10^20 a request: an `i128`
    /// takes more requests than a ledger will ever see.
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

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) =
            (self.0.unsigned_abs() / UNIT.unsigned_abs(), self.0.unsigned_abs() % UNIT.unsigned_abs());
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{fraction:0>DECIMALS$}");
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    /// Reads what [`Money`] wrote.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_stored(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not an amount of money")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_follow_the_grammar() {
        for (text, written) in [
            ("1", "1"),
            ("10.00", "10"),
            ("0.5", "0.5"),
            ("0.00000001", "0.00000001"),
            ("999999999999.99999999", "999999999999.99999999"),
            ("123.45000", "123.45"),
        ] {
            assert_eq!(Money::parse_amount(text).map(|amount| amount.to_string()).as_deref(), Some(written), "{text}");
        }
        for text in [
            "",
            "0",
            "0.0",
            "-1",
            "+1",
            "01",
            "00.1",
            ".5",
            "5.",
            "1.",
            "1e5",
            "1E5",
            "1_000",
            "1,5",
            " 1",
            "1 ",
            "NaN",
            "Infinity",
            "0.000000001",
            "1000000000000",
            "٣",
            "0x1",
            "1.2.3",
            "-0",
        ] {
            assert_eq!(Money::parse_amount(text), None, "{text}");
        }
    }

    #[test]
    fn limits_may_be_zero_and_negative() {
        for (text, written) in
            [("0", "0"), ("-5.50", "-5.5"), ("9999999999999999999", "9999999999999999999"), ("0.0", "0")]
        {
            assert_eq!(Money::parse_balance(text).map(|limit| limit.to_string()).as_deref(), Some(written), "{text}");
        }
        for text in ["-0", "-0.0", "--1", "-", "10000000000000000000", "1e3", "-.5"] {
            assert_eq!(Money::parse_balance(text), None, "{text}");
        }
    }

    #[test]
    fn the_last_decimal_is_rounded_away_half_to_even() {
        for (given, rounded) in [
            ("10", "10"),
            ("1200", "1200"),
            ("10.4", "10"),
            ("10.6", "11"),
            ("10.5", "10"),
            ("11.5", "12"),
            ("10.50", "10"),
            ("0.25", "0.2"),
            ("0.35", "0.4"),
            ("-0.25", "-0.2"),
            ("-0.35", "-0.4"),
            ("-0.36", "-0.4"),
            ("99.99", "100"),
            ("1.00000005", "1"),
            ("1.00000015", "1.0000002"),
            ("1.00000014", "1.0000001"),
            ("0.00000005", "0"),
            ("0.00000006", "0.0000001"),
            ("0", "0"),
        ] {
            assert_eq!(Money::parse_balance(given).unwrap().rounded().to_string(), rounded, "{given}");
        }
    }

    #[test]
    fn what_was_written_reads_back() {
        for money in [Money(0), Money(1), Money(-1), Money(UNIT), Money(-UNIT / 2), Money(10_i128.pow(33))] {
            let json = serde_json::to_string(&money).unwrap();
            assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money, "{json}");
        }
        assert_eq!((Money(UNIT) - Money::CENT).to_string(), "0.99");
    }
}
