//! Time, money, digests and bodies: compact in stored bytes, readable in JSON.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A point in time: microseconds since 1970-01-01T00:00:00Z. RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => f.pad(&format!("{time:.6}")),
            Err(_) => write!(f, "{}µs", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_microsecond()))
    }
}

impl Timestamp {
    /// Microseconds from `earlier` to this point; negative when it lies before.
    pub fn since_micros(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

/// An exact amount or balance, written without trailing zeros and without `-0`. A string in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(pub Decimal);

/// The text is no amount or balance in the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a decimal number with up to 19 integer digits and up to 8 decimals")]
pub struct NotMoney(pub String);

/// Digits before the point that a balance of an EXTERNAL or SYSTEM account may have.
const BALANCE_DIGITS: usize = 19;
/// Digits before the point that a requested amount may have.
const AMOUNT_DIGITS: usize = 12;
/// Digits behind the point.
const DECIMALS: usize = 8;

/// Whether `text` is `(0|[1-9][0-9]{0,max-1})(\.[0-9]{1,8})?`.
fn follows_grammar(text: &str, max_digits: usize) -> bool {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && whole.len() <= max_digits
        && fraction.is_none_or(|fraction| digits(fraction) && fraction.len() <= DECIMALS)
}

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(Decimal::ZERO);

    /// Parses a requested amount: `(0|[1-9][0-9]{0,11})(\.[0-9]{1,8})?`, above zero.
    pub fn parse_amount(text: &str) -> Result<Self, NotMoney> {
        let wrong = || NotMoney(text.to_owned());
        if !follows_grammar(text, AMOUNT_DIGITS) {
            return Err(wrong());
        }
        let amount = Decimal::from_str_exact(text).map_err(|_| wrong())?;
        if amount.is_zero() { Err(wrong()) } else { Ok(Self(amount.normalize())) }
    }

    /// The balance or movement with the sign turned.
    pub fn negated(self) -> Self {
        Self(-self.0)
    }

    /// What share it is of `whole`, as [`Percent::share`].
    pub fn share_of(self, whole: Self) -> Percent {
        let share = self.0.checked_div(whole.0).and_then(|share| share.checked_mul(Decimal::from(10_000)));
        let hundredths = share.map_or(0, |share| u16::try_from(share.floor()).unwrap_or(10_000));
        Percent(hundredths.min(10_000))
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Money {
    type Err = NotMoney;

    /// Parses a balance or movement: the grammar of amounts with up to 19 digits, zero and a leading `-` allowed.
    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let wrong = || NotMoney(text.to_owned());
        if !follows_grammar(text.strip_prefix('-').unwrap_or(text), BALANCE_DIGITS) {
            return Err(wrong());
        }
        Decimal::from_str_exact(text).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0.normalize();
        if value.is_zero() {
            value = Decimal::ZERO;
        }
        f.pad(&value.to_string())
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            let value = self.0.normalize();
            (value.mantissa(), value.scale()).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            let (mantissa, scale) = <(i128, u32)>::deserialize(deserializer)?;
            Decimal::try_from_i128_with_scale(mantissa, scale).map(Self).map_err(D::Error::custom)
        }
    }
}

/// A SHA-256. Hexadecimal in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a SHA-256 in hexadecimal");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// The bytes of a request or an answer. In JSON the text, or `base64:…` when they are no UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Body(pub Vec<u8>);

/// Marks a body in JSON that is not text.
const BASE64_MARK: &str = "base64:";

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(&self.0);
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.starts_with(BASE64_MARK) => serializer.serialize_str(text),
            _ => serializer
                .serialize_str(&format!("{BASE64_MARK}{}", base64::engine::general_purpose::STANDARD.encode(&self.0))),
        }
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        if !deserializer.is_human_readable() {
            return <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()));
        }
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix(BASE64_MARK) {
            None => Ok(Self(text.into_bytes())),
            Some(coded) => {
                base64::engine::general_purpose::STANDARD.decode(coded).map(Self).map_err(serde::de::Error::custom)
            }
        }
    }
}

/// A share of the buckets, in hundredths of a percent (0 to 10 000); written as a percentage, such as `37` or `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u16);

impl Percent {
    /// No bucket.
    pub const NONE: Percent = Percent(0);
    /// Every bucket.
    pub const ALL: Percent = Percent(10_000);

    /// A whole percentage; more than 100 is 100.
    pub const fn whole(percent: u16) -> Self {
        if percent > 100 { Self::ALL } else { Self(percent * 100) }
    }

    /// What share `part` is of `whole`, rounded down: it is all only if nothing is missing. Of nothing it is none.
    pub fn share(part: u64, whole: u64) -> Self {
        let hundredths = (u128::from(part) * 10_000).checked_div(u128::from(whole)).unwrap_or(0);
        Self(u16::try_from(hundredths).map_or(10_000, |hundredths| hundredths.min(10_000)))
    }

    /// Hundredths of a percent: buckets below this number are in the cohort.
    pub const fn hundredths(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Decimal::new(i64::from(self.0), 2).normalize().to_string())
    }
}

impl FromStr for Percent {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a percentage between 0 and 100 with at most two decimals");
        let value = Decimal::from_str_exact(text).map_err(|_| wrong())?;
        // Checked: the operator of the decimal type panics on an overflow, and this text comes from outside.
        let value = value.checked_mul(Decimal::ONE_HUNDRED).ok_or_else(wrong)?;
        if !value.fract().is_zero() {
            return Err(wrong());
        }
        match u16::try_from(value) {
            Ok(hundredths) if hundredths <= 10_000 => Ok(Self(hundredths)),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            u16::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_follow_the_grammar() {
        for good in ["1", "0.00000001", "10.00", "999999999999.99999999", "0.5"] {
            assert!(Money::parse_amount(good).is_ok(), "{good}");
        }
        for bad in
            ["", "0", "0.0", "-1", "+1", ".5", "5.", "1e5", "1_000", "01", "1.123456789", "1000000000000", "NaN", " 1"]
        {
            assert!(Money::parse_amount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_is_rounded_down_and_of_nothing_none() {
        for (part, whole, share) in [
            (0, 0, "0"),
            (1, 3, "33.33"),
            (2, 3, "66.66"),
            (9_999_999, 10_000_000, "99.99"),
            (5, 5, "100"),
            (7, 0, "0"),
        ] {
            assert_eq!(Percent::share(part, whole).to_string(), share, "{part} of {whole}");
            let money = |number: u64| Money(Decimal::from(number));
            assert_eq!(money(part).share_of(money(whole)).to_string(), share, "{part} of {whole}");
        }
        assert_eq!(Percent::share(u64::MAX, u64::MAX), Percent::ALL);
    }

    #[test]
    fn balances_are_written_normalised() {
        for (text, written) in
            [("10.00", "10"), ("-0", "0"), ("-0.50", "-0.5"), ("9999999999999999999", "9999999999999999999")]
        {
            assert_eq!(text.parse::<Money>().map(|money| money.to_string()), Ok(written.to_owned()));
        }
    }

    #[test]
    fn percentages_are_exact() {
        for (text, hundredths) in [("0", 0), ("37", 3700), ("0.5", 50), ("99.99", 9999), ("100", 10_000)] {
            assert_eq!(text.parse::<Percent>().map(Percent::hundredths), Ok(hundredths));
            assert_eq!(text.parse::<Percent>().map(|percent| percent.to_string()), Ok(text.to_owned()));
        }
        let enormous = "9999999999999999999999999999";
        for bad in ["-1", "100.01", "0.005", "x", "", enormous, &format!("-{enormous}"), &format!("{enormous}9999")] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }
}
