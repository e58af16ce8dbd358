//! Counts of verdicts, and match rates by route and window.

use super::exchange::Exchange;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::control::{MatchRate, Verdict, VerdictCount};
use wire::scalar::Timestamp;
use wire::words::{Stage, System, VerdictKind};

const SECOND_MICROS: i64 = 1_000_000;
/// Seconds of the two sliding windows.
const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;

/// What metrics tell apart.
pub(super) type Labels = (Arc<str>, Stage, System, VerdictKind);

/// A rate in the making.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Rate {
    exchanges: u64,
    raw: u64,
    adjusted: u64,
}

type Rates = BTreeMap<Arc<str>, Rate>;

/// All counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    verdicts: BTreeMap<(VerdictKind, Option<String>), u64>,
    labels: BTreeMap<Labels, u64>,
    all: Rates,
    /// By rollout version, for the window `step`.
    steps: BTreeMap<u64, Rates>,
    /// By second of the log's clock, for the sliding windows.
    seconds: BTreeMap<i64, Rates>,
    newest: i64,
}

impl Tally {
    /// Counts the verdict of an exchange (`more`), or takes it back before it changes.
    pub(super) fn count(&mut self, exchange: &Exchange, more: bool) {
        let verdict = &exchange.verdict;
        change(self.verdicts.entry((verdict.verdict, detail(verdict))).or_default(), more);
        if verdict.verdict != VerdictKind::Open {
            let labels = (exchange.route.clone(), exchange.stage, exchange.authority, verdict.verdict);
            change(self.labels.entry(labels).or_default(), more);
        }
        let Some(rate) = Rate::of(verdict.verdict) else { return };
        self.rate(exchange.route.clone(), exchange.version, exchange.intent, rate, more);
    }

    /// Counts records that cannot be read.
    pub(super) fn unreadable(&mut self, system: System) {
        *self.verdicts.entry((VerdictKind::Unreadable, Some(system.to_string()))).or_default() += 1;
    }

    /// Counts exchanges without a record: misses of no route.
    pub(super) fn missed(&mut self, exchanges: u64, version: u64, log: i64) {
        self.rate(Arc::from(""), version, log, Rate { exchanges, raw: 0, adjusted: 0 }, true);
    }

    fn rate(&mut self, route: Arc<str>, version: u64, log: i64, rate: Rate, more: bool) {
        self.all.entry(route.clone()).or_default().change(rate, more);
        self.steps.entry(version).or_default().entry(route.clone()).or_default().change(rate, more);
        let second = log.div_euclid(SECOND_MICROS);
        self.newest = self.newest.max(second);
        // What is older than the longest window was dropped, and is not to come back by a change of verdict.
        if second > self.newest - HOUR {
            self.seconds.entry(second).or_default().entry(route).or_default().change(rate, more);
        }
        while let Some((second, _)) = self.seconds.first_key_value()
            && *second <= self.newest - HOUR
        {
            self.seconds.pop_first();
        }
    }

    /// Rates by window and route, `total` first; `step` is the rollout's version `first` and those after it.
    pub(super) fn rates(&self, now: Timestamp, first: u64) -> Vec<MatchRate> {
        let second = now.0.div_euclid(SECOND_MICROS);
        let sliding = |length: i64| sum(self.seconds.range(second - length + 1..).map(|(_, rates)| rates));
        let step = sum(self.steps.range(first..).map(|(_, rates)| rates));
        let windows = [("1m", sliding(MINUTE)), ("1h", sliding(HOUR)), ("step", step), ("all", self.all.clone())];
        windows.into_iter().flat_map(|(window, rates)| shown(window, &rates)).collect()
    }

    /// Exchanges by verdict and its detail.
    pub(super) fn verdicts(&self) -> Vec<VerdictCount> {
        let counted = self.verdicts.iter().filter(|(_, exchanges)| **exchanges > 0);
        counted
            .map(|((verdict, detail), exchanges)| VerdictCount {
                verdict: *verdict,
                detail: detail.clone(),
                exchanges: *exchanges,
            })
            .collect()
    }

    /// Exchanges with one verdict.
    pub(super) fn of(&self, verdict: VerdictKind) -> u64 {
        self.verdicts.iter().filter(|((kind, _), _)| *kind == verdict).map(|(_, exchanges)| exchanges).sum()
    }

    /// Exchanges by what metrics tell apart.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&Labels, u64)> {
        self.labels.iter().map(|(labels, exchanges)| (labels, *exchanges))
    }
}

impl Rate {
    /// What one exchange with this verdict adds; `None`: it stands outside.
    fn of(verdict: VerdictKind) -> Option<Self> {
        let (raw, adjusted) = match verdict {
            VerdictKind::Match => (1, 1),
            VerdictKind::Order | VerdictKind::Ignored => (0, 1),
            VerdictKind::Mismatch
            | VerdictKind::Carried
            | VerdictKind::Unknown
            | VerdictKind::Missing
            | VerdictKind::Unreadable => (0, 0),
            VerdictKind::Single | VerdictKind::Open => return None,
        };
        Some(Self { exchanges: 1, raw, adjusted })
    }

    fn change(&mut self, other: Rate, more: bool) {
        for (mine, theirs) in
            [(&mut self.exchanges, other.exchanges), (&mut self.raw, other.raw), (&mut self.adjusted, other.adjusted)]
        {
            *mine = if more { *mine + theirs } else { mine.saturating_sub(theirs) };
        }
    }
}

fn sum<'a>(all: impl Iterator<Item = &'a Rates>) -> Rates {
    let mut sum = Rates::new();
    for (route, rate) in all.flatten() {
        sum.entry(route.clone()).or_default().change(*rate, true);
    }
    sum
}

fn change(count: &mut u64, more: bool) {
    *count = if more { *count + 1 } else { count.saturating_sub(1) };
}

fn shown(window: &str, rates: &Rates) -> Vec<MatchRate> {
    let mut total = Rate::default();
    for rate in rates.values() {
        total.change(*rate, true);
    }
    // A share for people and gauges; nothing is decided by it here.
    let share = |part: u64, whole: u64| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
    let view = |route: &str, rate: &Rate| MatchRate {
        route: route.to_owned(),
        window: window.to_owned(),
        exchanges: rate.exchanges,
        raw: share(rate.raw, rate.exchanges),
        adjusted: share(rate.adjusted, rate.exchanges),
    };
    let routes = rates.iter().filter(|(route, rate)| !route.is_empty() && rate.exchanges > 0);
    std::iter::once(view("total", &total)).chain(routes.map(|(route, rate)| view(route, rate))).collect()
}

/// What stands beside a verdict in counts: its cause, reason, rule or system.
fn detail(verdict: &Verdict) -> Option<String> {
    let cause = verdict.cause.map(|cause| cause.to_string());
    let single = verdict.single.map(|single| single.to_string());
    let system = verdict.system.map(|system| system.to_string());
    cause.or(single).or_else(|| verdict.rule.clone()).or(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate<'a>(rates: &'a [MatchRate], window: &str, route: &str) -> &'a MatchRate {
        rates.iter().find(|rate| rate.window == window && rate.route == route).unwrap()
    }

    #[test]
    fn rates_by_window_and_route() {
        let mut tally = Tally::default();
        let route: Arc<str> = Arc::from("topup");
        let one = |verdict| Rate::of(verdict).unwrap();
        for (second, version, verdict) in [
            (10, 1, VerdictKind::Match),
            (3_500, 1, VerdictKind::Order),
            (3_590, 2, VerdictKind::Mismatch),
            (3_599, 2, VerdictKind::Match),
        ] {
            tally.rate(route.clone(), version, second * SECOND_MICROS, one(verdict), true);
        }
        tally.missed(2, 2, 3_599 * SECOND_MICROS);
        let rates = tally.rates(Timestamp(3_600 * SECOND_MICROS), 2);
        assert_eq!((rate(&rates, "1m", "topup").exchanges, rate(&rates, "1m", "total").exchanges), (2, 4));
        assert_eq!(rate(&rates, "1h", "topup").exchanges, 4, "{rates:?}");
        assert_eq!(
            rate(&tally.rates(Timestamp(0), 1), "step", "total").exchanges,
            6,
            "the later version goes on with it"
        );
        assert_eq!((rate(&rates, "step", "topup").raw, rate(&rates, "step", "total").raw), (0.5, 0.25));
        assert_eq!((rate(&rates, "all", "topup").raw, rate(&rates, "all", "topup").adjusted), (0.5, 0.75));
        assert_eq!(rates.first().map(|rate| rate.route.as_str()), Some("total"));
        tally.rate(route, 1, 10 * SECOND_MICROS, one(VerdictKind::Match), false);
        assert_eq!(rate(&tally.rates(Timestamp(0), 9), "all", "topup").exchanges, 3);
        assert_eq!(rate(&tally.rates(Timestamp(0), 9), "step", "total").raw, 1.0, "nothing yet is no miss");
    }

    #[test]
    fn what_left_the_window_does_not_come_back() {
        let mut tally = Tally::default();
        let route: Arc<str> = Arc::from("r");
        let one = Rate::of(VerdictKind::Match).unwrap();
        tally.rate(route.clone(), 1, 0, one, true);
        tally.rate(route.clone(), 1, 2 * HOUR * SECOND_MICROS, one, true);
        tally.rate(route.clone(), 1, 0, one, false);
        tally.rate(route, 1, 0, Rate::of(VerdictKind::Mismatch).unwrap(), true);
        assert_eq!(tally.seconds.len(), 1);
        assert_eq!(tally.all.values().map(|rate| (rate.exchanges, rate.raw)).collect::<Vec<_>>(), [(2, 1)]);
    }
}
