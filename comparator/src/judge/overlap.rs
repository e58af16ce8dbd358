//! Overlap: whether two exchanges on one account ran at the same time in either system, so that the levels they
//! show, and what they were refused for, may differ without anything being wrong.
//!
//! All positions are log times, which grow along the whole log. What the log shows brackets what happened: an intent
//! is written before the first byte is sent, a result after the last one came, `sending` and the leg's result
//! likewise. Between exchanges of one front that holds to the microsecond. It does not where positions of the two
//! systems are mixed, because a front's records reach the log later than they were written: there, [`View::Wide`]
//! also counts the time by the front's clock.

/// Clocks of fronts may be wrong by this much, each against the log's (FORMATS, "Order, overlap, lanes").
pub const CLOCK_ERROR_MICROS: i64 = 1_000_000;

/// When an exchange ran where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The front, as a number of the index's own.
    pub front: u32,
    /// Whether the legacy was the authority.
    pub legacy_decides: bool,
    /// When the log took the intent.
    pub intent: i64,
    /// When the front wrote the intent, by its clock.
    pub intent_at: i64,
    /// When the log took the result, or what the relay found out instead; `None`: not known yet.
    pub end: Option<i64>,
    /// When the front wrote the result, by its clock (or the relay, what it found out).
    pub end_at: Option<i64>,
    /// When the log took the first `sending` of the shadow leg; `None`: not sent yet, or never to be.
    pub sent: Option<i64>,
    /// When the log took the last result of the shadow leg.
    pub last: Option<i64>,
    /// Whether by rule there is no shadow leg.
    pub skipped: bool,
}

/// How carefully different authorities are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// By the log alone: enough to see that two levels are equal.
    Narrow,
    /// Also by the fronts' clocks: before a difference is called a discrepancy.
    Wide,
}

/// With what an exchange overlapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overlap {
    /// With one that the same system decided.
    pub same_cohort: bool,
    /// With one that the other system decided.
    pub cross_cohort: bool,
}

impl Overlap {
    /// Whether it overlapped at all.
    pub fn any(self) -> bool {
        self.same_cohort || self.cross_cohort
    }

    /// Both together.
    pub fn and(self, other: Overlap) -> Overlap {
        Overlap {
            same_cohort: self.same_cohort || other.same_cohort,
            cross_cohort: self.cross_cohort || other.cross_cohort,
        }
    }
}

/// Whether `one` and `other` overlapped.
pub fn overlap(one: &Span, other: &Span, view: View) -> Overlap {
    if one.legacy_decides == other.legacy_decides {
        let same_cohort = at_authority(one, other) || at_shadow(one, other) || turned_round(one, other);
        Overlap { same_cohort, cross_cohort: false }
    } else {
        let begin = |span: &Span| match view {
            View::Narrow => span.intent,
            View::Wide => span.intent.min(span.intent_at) - CLOCK_ERROR_MICROS,
        };
        let cross_cohort = meets((begin(one), one.last_trace()), (begin(other), other.last_trace()));
        Overlap { same_cohort: false, cross_cohort }
    }
}

/// Whether two closed intervals have a point in common; an end of `None` lies in the future.
fn meets(one: (i64, Option<i64>), other: (i64, Option<i64>)) -> bool {
    one.1.is_none_or(|end| other.0 <= end) && other.1.is_none_or(|end| one.0 <= end)
}

fn at_authority(one: &Span, other: &Span) -> bool {
    if meets((one.intent, one.end), (other.intent, other.end)) {
        return true;
    }
    // Two fronts' records stand in the log as they were shipped, so only their clocks tell what came first.
    let early = |span: &Span| span.intent_at - CLOCK_ERROR_MICROS;
    one.front != other.front && meets((early(one), one.end_at), (early(other), other.end_at))
}

fn at_shadow(one: &Span, other: &Span) -> bool {
    match (one.sent, other.sent) {
        (Some(first), Some(second)) => meets((first, one.last), (second, other.last)),
        _ => false,
    }
}

/// Whether the shadow had them in the other order than the authority, one wholly after the other in both.
///
/// Of two fronts' records those come first that were shipped first, which may be seconds later than others: their order
/// in the log says nothing, where their clocks say it beyond doubt.
fn turned_round(one: &Span, other: &Span) -> bool {
    let before_at_authority = |a: &Span, b: &Span| match a.front == b.front {
        true => a.end.is_some_and(|end| end < b.intent),
        false => a.end_at.is_some_and(|end_at| end_at < b.intent_at - CLOCK_ERROR_MICROS),
    };
    let behind_at_shadow =
        |a: &Span, b: &Span| !a.skipped && b.last.is_some_and(|last| a.sent.is_none_or(|sent| sent > last));
    (before_at_authority(one, other) && behind_at_shadow(one, other))
        || (before_at_authority(other, one) && behind_at_shadow(other, one))
}

impl Span {
    /// When the last of both legs ended.
    fn last_trace(&self) -> Option<i64> {
        if self.skipped { self.end } else { self.last }
    }

    /// Before this point of log time nothing of the exchange ran, whatever the clocks say.
    pub fn earliest(&self) -> i64 {
        self.intent.min(self.intent_at) - CLOCK_ERROR_MICROS
    }

    /// After this point of log time nothing of it ran; `None` while it runs.
    pub fn latest(&self) -> Option<i64> {
        self.last_trace().map(|last| last.max(self.end.unwrap_or(last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(intent: i64, end: i64, sent: i64, last: i64) -> Span {
        Span {
            front: 0,
            legacy_decides: true,
            intent,
            intent_at: intent,
            end: Some(end),
            end_at: Some(end),
            sent: Some(sent),
            last: Some(last),
            skipped: false,
        }
    }

    #[test]
    fn overlap_by_table() {
        let base = span(10, 20, 30, 40);
        let open = Span { end: None, end_at: None, sent: None, last: None, ..span(15, 0, 0, 0) };
        let later = Span { end: None, end_at: None, sent: None, last: None, ..span(25, 0, 0, 0) };
        let unsent = Span { sent: None, last: None, ..span(1, 5, 0, 0) };
        let repeat = Span { skipped: true, ..unsent };
        let far = |front: u32| Span {
            front,
            intent_at: 10 + CLOCK_ERROR_MICROS,
            end_at: Some(20 + CLOCK_ERROR_MICROS),
            ..span(41, 42, 43, 44)
        };
        for (name, other, expected) in [
            ("wholly before", span(1, 5, 6, 9), false),
            ("wholly after", span(41, 45, 46, 49), false),
            ("between the legs of the other", span(21, 22, 41, 42), false),
            ("at the authority", span(15, 25, 41, 45), true),
            ("at the shadow", span(21, 25, 35, 45), true),
            ("offered again all the time", span(1, 5, 6, 35), true),
            ("turned round", span(1, 5, 41, 45), true),
            ("not sent although it came first", unsent, true),
            ("a repeat before", repeat, false),
            ("still running at the authority", open, true),
            ("began after the result", later, false),
            ("of one front, whatever its clock says", far(0), false),
            ("of another front, within the clock error", far(1), true),
        ] {
            for view in [View::Narrow, View::Wide] {
                assert_eq!(overlap(&base, &other, view).any(), expected, "{name}");
                assert_eq!(overlap(&base, &other, view), overlap(&other, &base, view), "{name}: symmetric");
                assert!(!overlap(&base, &other, view).cross_cohort, "{name}");
            }
        }
    }

    #[test]
    fn fronts_that_ship_late_are_told_by_their_clocks() {
        const SECOND: i64 = 1_000_000;
        let base = span(20 * SECOND, 20 * SECOND + 20, 21 * SECOND, 21 * SECOND + 20);
        // Written at 10 s or at 30 s, read after the base.
        let other = |front: u32, at: i64, sent: i64| Span {
            front,
            intent_at: at * SECOND,
            end_at: Some(at * SECOND + 20),
            ..span(22 * SECOND, 22 * SECOND + 20, sent * SECOND, sent * SECOND + 20)
        };
        for (name, other, expected) in [
            ("decided before, delivered behind", other(1, 10, 23), true),
            ("decided before, delivered before", other(1, 10, 19), false),
            ("decided behind, delivered behind", other(1, 30, 31), false),
            ("decided behind, delivered before", other(1, 30, 19), true),
            ("of one front the log says it", other(0, 10, 23), false),
        ] {
            assert_eq!(overlap(&base, &other, View::Wide).any(), expected, "{name}");
            assert_eq!(overlap(&other, &base, View::Wide).any(), expected, "{name}: symmetric");
        }
    }

    #[test]
    fn across_cohorts_by_table() {
        let base = span(10_000_000, 10_000_020, 10_000_030, 10_000_040);
        let other = |intent, at, last| Span {
            legacy_decides: false,
            intent_at: at,
            end: last,
            ..Span { last, ..span(intent, 0, intent + 1, 0) }
        };
        for (name, other, narrow, wide) in [
            ("long before", other(1, 1, Some(5)), false, false),
            ("shortly before", other(9_500_000, 9_500_000, Some(9_600_000)), false, true),
            ("between the legs", other(10_000_025, 10_000_025, Some(10_000_050)), true, true),
            ("shipped late", other(10_000_050, 10_000_035, Some(10_000_060)), false, true),
            ("long after", other(20_000_000, 20_000_000, Some(20_000_001)), false, false),
            ("not ended", other(5, 5, None), true, true),
        ] {
            assert_eq!(overlap(&base, &other, View::Narrow).cross_cohort, narrow, "{name}");
            assert_eq!(overlap(&base, &other, View::Wide).cross_cohort, wide, "{name}");
        }
    }
}
