//! Figures over time: from what became of transactions per day to rows with averages and trends. Pure.

use crate::view::Status;
use engine_domain::{Kind, Money};
use jiff::ToSpan;
use jiff::civil::{Date, Weekday, date};
use rust_decimal::{Decimal, RoundingStrategy};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use wire::billing::AnalyticsRow;

/// Days since 1970-01-01, in UTC.
pub type Day = i32;

/// Microseconds of a day: UTC as it is counted here has no leap seconds.
const DAY_MICROS: i64 = 86_400_000_000;
/// Buckets that a moving average looks at.
const AVERAGED: i32 = 7;
/// Decimals of amounts; a mean is rounded to them, half to even.
const DECIMALS: u32 = 8;
/// Decimals of a change.
const CHANGE_DECIMALS: u32 = 4;

/// What is counted apart: by type, and by whether it moved money or was refused.
pub type Series = (Kind, Status);

/// How many, and what their amounts add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// How many.
    pub count: u64,
    /// What they add up to.
    pub sum: Money,
}

impl Total {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { count: self.count + other.count, sum: self.sum.plus(other.sum) }
    }

    /// Without what was counted before.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { count: self.count.saturating_sub(other.count), sum: self.sum.minus(other.sum) }
    }
}

/// Totals per day.
pub type Daily = BTreeMap<(Day, Series), Total>;

/// How days are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    /// Each for itself.
    Day,
    /// From Monday on.
    Week,
    /// From the first on.
    Month,
}

impl Bucket {
    /// As clients write them.
    pub const WORDS: [(&'static str, Bucket); 3] =
        [("day", Bucket::Day), ("week", Bucket::Week), ("month", Bucket::Month)];

    /// The first day of the bucket that a day is in.
    fn begin(self, day: Date) -> Date {
        match self {
            Bucket::Day => day,
            Bucket::Week => day.saturating_sub(i64::from(day.weekday().since(Weekday::Monday)).days()),
            Bucket::Month => day.first_of_month(),
        }
    }

    /// The first day of the bucket so many later, from the first day of one.
    fn later(self, begin: Date, buckets: i32) -> Date {
        match self {
            Bucket::Day => begin.saturating_add(buckets.days()),
            Bucket::Week => begin.saturating_add(buckets.weeks()),
            Bucket::Month => begin.saturating_add(buckets.months()),
        }
    }
}

/// A stretch of days to be shown, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first day.
    pub from: Date,
    /// The last day.
    pub to: Date,
}

impl Range {
    /// The first and the last day that rows of this range are made from: averages look back, and buckets are whole.
    pub fn needed(self, bucket: Bucket) -> (Day, Day) {
        let first = bucket.later(bucket.begin(self.from), 1 - AVERAGED);
        let behind = bucket.later(bucket.begin(self.to), 1);
        (day_of(first), day_of(behind) - 1)
    }
}

/// The day of a point in time (microseconds since 1970-01-01T00:00:00Z).
pub fn day_at(micros: i64) -> Day {
    // Within an i32 for half a million years.
    i32::try_from(micros.div_euclid(DAY_MICROS)).unwrap_or(i32::MAX)
}

/// The date of a day.
fn date_of(day: Day) -> Date {
    date(1970, 1, 1).saturating_add(day.days())
}

/// The day of a date.
pub fn day_of(date_: Date) -> Day {
    date(1970, 1, 1).until(date_).map(|span| span.get_days()).unwrap_or_default()
}

/// A day as clients write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written(pub Date);

impl FromStr for Written {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let read: Date = text.parse().map_err(|_| ())?;
        // Only this form: others, of weeks or with times, would leave open what was meant.
        if read.to_string() == text { Ok(Self(read)) } else { Err(()) }
    }
}

/// The rows of a range, by bucket, type and status. `every`: also where nothing happened, of series in which anything did.
pub fn rows(daily: &Daily, bucket: Bucket, range: Range, every: bool) -> Vec<AnalyticsRow> {
    let mut totals: BTreeMap<(Date, Series), Total> = BTreeMap::new();
    for (&(day, series), &total) in daily {
        let sum = totals.entry((bucket.begin(date_of(day)), series)).or_default();
        *sum = sum.plus(total);
    }
    let series: BTreeSet<Series> = totals.keys().map(|(_, series)| *series).collect();
    let total = |begin: Date, series: Series| totals.get(&(begin, series)).copied().unwrap_or_default();
    let mut rows = Vec::new();
    let mut begin = bucket.begin(range.from);
    while begin <= range.to {
        for &series in &series {
            let here = total(begin, series);
            if here.count > 0 || every {
                let before = |buckets: i32| total(bucket.later(begin, -buckets), series).sum;
                let seven = (0..AVERAGED).map(before).fold(Money::ZERO, Money::plus);
                rows.push(row(begin, series, here, before(1), seven));
            }
        }
        let next = bucket.later(begin, 1);
        if next == begin {
            // The calendar ends here.
            break;
        }
        begin = next;
    }
    rows
}

fn row(begin: Date, (kind, status): Series, total: Total, before: Money, seven: Money) -> AnalyticsRow {
    let shown = |value: Decimal, decimals| {
        wire::scalar::Money(value.round_dp_with_strategy(decimals, RoundingStrategy::MidpointNearestEven).normalize())
    };
    let sum = total.sum.decimal();
    let mean = |sum: Decimal, count: Decimal| sum.checked_div(count).unwrap_or_default();
    AnalyticsRow {
        bucket: begin.to_string(),
        kind: kind.as_str().to_owned(),
        status: status.as_str().to_owned(),
        count: total.count,
        sum: shown(sum, DECIMALS),
        average: shown(mean(sum, total.count.into()), DECIMALS),
        moving_average7: shown(mean(seven.decimal(), AVERAGED.into()), DECIMALS),
        change: (!before.is_zero()).then(|| shown(mean(sum - before.decimal(), before.decimal()), CHANGE_DECIMALS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daily(entries: &[(&str, Series, u64, &str)]) -> Daily {
        let mut daily = Daily::new();
        for (day, series, count, sum) in entries {
            let sum = Money::new(sum.parse().unwrap()).unwrap();
            let total = daily.entry((day_of(day.parse().unwrap()), *series)).or_default();
            *total = total.plus(Total { count: *count, sum });
        }
        daily
    }

    const TOPUPS: Series = (Kind::Topup, Status::Completed);
    const REFUSED: Series = (Kind::Topup, Status::Failed);

    fn check(entries: &[(&str, Series, u64, &str)], bucket: Bucket, range: [&str; 2], every: bool, expected: &[&str]) {
        let [from, to] = range.map(|day| day.parse().unwrap());
        let rows = rows(&daily(entries), bucket, Range { from, to }, every);
        let shown: Vec<String> = rows
            .iter()
            .map(|row| {
                let change = row.change.map_or("-".to_owned(), |change| change.to_string());
                let AnalyticsRow { bucket, status, count, sum, average, moving_average7, .. } = row;
                format!("{bucket} {status} {count} {sum} {average} {moving_average7} {change}")
            })
            .collect();
        assert_eq!(shown, expected, "{entries:?} by {bucket:?}");
    }

    #[test]
    fn days_are_shown_with_their_means_and_changes() {
        let entries = [
            ("2026-10-31", TOPUPS, 1, "7"),
            ("2026-11-01", TOPUPS, 3, "10"),
            ("2026-11-01", REFUSED, 1, "0.00000001"),
            ("2026-11-03", TOPUPS, 2, "4"),
        ];
        check(
            &entries,
            Bucket::Day,
            ["2026-11-01", "2026-11-30"],
            false,
            &[
                "2026-11-01 completed 3 10 3.33333333 2.42857143 0.4286",
                "2026-11-01 failed 1 0.00000001 0.00000001 0 -",
                "2026-11-03 completed 2 4 2 3 -",
            ],
        );
        check(
            &entries[..1],
            Bucket::Day,
            ["2026-10-30", "2026-11-01"],
            true,
            &["2026-10-30 completed 0 0 0 0 -", "2026-10-31 completed 1 7 7 1 -", "2026-11-01 completed 0 0 0 1 -1"],
        );
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let entries = [
            ("2026-11-01", TOPUPS, 1, "1"), // a Sunday
            ("2026-11-02", TOPUPS, 1, "2"),
            ("2026-11-08", TOPUPS, 1, "4"),
            ("2026-12-31", TOPUPS, 1, "8"),
        ];
        let weeks = ["2026-10-26 completed 1 1 1 0.14285714 -", "2026-11-02 completed 2 6 3 1 5"];
        check(&entries, Bucket::Week, ["2026-10-28", "2026-11-30"], false, &weeks);
        let months = ["2026-11-01 completed 3 7 2.33333333 1 -", "2026-12-01 completed 1 8 8 2.14285714 0.1429"];
        check(&entries, Bucket::Month, ["2026-11-15", "2026-12-15"], false, &months);
    }

    #[test]
    fn a_range_needs_the_buckets_that_its_averages_look_back_on() {
        let range = Range { from: date(2026, 3, 31), to: date(2026, 4, 2) };
        let needed = |bucket| {
            let (from, to) = range.needed(bucket);
            (date_of(from).to_string(), date_of(to).to_string())
        };
        assert_eq!(needed(Bucket::Day), ("2026-03-25".into(), "2026-04-02".into()));
        assert_eq!(needed(Bucket::Week), ("2026-02-16".into(), "2026-04-05".into()));
        assert_eq!(needed(Bucket::Month), ("2025-09-01".into(), "2026-04-30".into()));
    }

    #[test]
    fn times_before_1970_and_ends_of_days_are_on_their_own_days() {
        for (micros, day) in [(0, 0), (DAY_MICROS - 1, 0), (DAY_MICROS, 1), (-1, -1)] {
            assert_eq!(day_at(micros), day, "{micros}");
        }
        assert_eq!((day_of(date(1970, 1, 2)), date_of(-1)), (1, date(1969, 12, 31)));
        assert!("2026-11-01".parse::<Written>().is_ok());
        for other in ["2026-11-1", "20261101", "2026-11-01T00:00", "yesterday", "2026-02-30"] {
            assert!(other.parse::<Written>().is_err(), "{other}");
        }
    }
}
