//! Counters that can be read while they count, latencies, and the final report.

use crate::call::Sent;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use testbed_auditor::Class;

/// The longest latency told apart, in microseconds: two minutes, longer than every time-out.
const LONGEST_MICROS: u64 = 120_000_000;
/// Significant decimal digits of a latency.
const DIGITS: u8 = 3;

/// What happened so far; readable from other tasks while a run goes on.
#[derive(Debug, Default)]
pub struct Counters {
    sent: AtomicU64,
    ok: AtomicU64,
    refused: AtomicU64,
    rejected: AtomicU64,
    replayed: AtomicU64,
    errors: AtomicU64,
    unknown: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counted {
    /// Requests sent, retries and duplicates included.
    pub sent: u64,
    /// Answered as applied.
    pub ok: u64,
    /// Answered as refused by a rule.
    pub refused: u64,
    /// Turned away before anything was decided (400, 413, 422 `InvalidAmount`, …).
    pub rejected: u64,
    /// Answers of any kind that said they repeated an earlier one.
    pub replayed: u64,
    /// Not answered, or with 5xx: what a client calls an error.
    pub errors: u64,
    /// Errors that leave open whether the request had its effect.
    pub unknown: u64,
}

impl Counters {
    /// The counters now.
    pub fn read(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            sent: read(&self.sent),
            ok: read(&self.ok),
            refused: read(&self.refused),
            rejected: read(&self.rejected),
            replayed: read(&self.replayed),
            errors: read(&self.errors),
            unknown: read(&self.unknown),
        }
    }

    /// Counts one request and what came of it.
    pub fn count(&self, sent: &Sent) {
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        add(&self.sent);
        match sent {
            Sent::NotSent(_) => {
                add(&self.errors);
            }
            Sent::Lost(_) => {
                add(&self.errors);
                add(&self.unknown);
            }
            Sent::Answered(answer) => {
                if answer.replayed {
                    add(&self.replayed);
                }
                match answer.class() {
                    Class::Applied => add(&self.ok),
                    Class::Refused => add(&self.refused),
                    Class::NotExecuted | Class::Unexpected => add(&self.rejected),
                    Class::Unknown => {
                        add(&self.unknown);
                        add(&self.errors)
                    }
                };
            }
        }
    }
}

/// Latencies of requests, from the moment they were due.
#[derive(Debug)]
pub struct Latencies(Mutex<Histogram<u64>>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).expect("the bounds are constants in range");
        Self(Mutex::new(histogram))
    }
}

impl Latencies {
    /// Takes note of one.
    pub fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_MICROS);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }

    /// Percentiles of all noted so far.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles::of(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Percentiles of all noted so far, and forgets them: the next ones are of the next stretch.
    pub fn take(&self) -> Percentiles {
        let mut histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let percentiles = Percentiles::of(&histogram);
        histogram.reset();
        percentiles
    }
}

/// Percentiles of latencies, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// Of how many.
    pub count: u64,
    /// The mean.
    pub mean_micros: f64,
    /// Half are at most that.
    pub p50_micros: u64,
    /// Nine in ten are at most that.
    pub p90_micros: u64,
    /// 99 in 100 are at most that.
    pub p99_micros: u64,
    /// 999 in 1,000 are at most that.
    pub p999_micros: u64,
    /// The longest.
    pub max_micros: u64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            mean_micros: histogram.mean(),
            p50_micros: histogram.value_at_quantile(0.5),
            p90_micros: histogram.value_at_quantile(0.9),
            p99_micros: histogram.value_at_quantile(0.99),
            p999_micros: histogram.value_at_quantile(0.999),
            max_micros: histogram.max(),
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The counters in the end.
    #[serde(flatten)]
    pub counted: Counted,
    /// Keys of which the auditor does not know in the end whether they had their effect.
    pub unknown_keys: usize,
    /// How long it took, in milliseconds.
    pub elapsed_millis: u64,
    /// Requests a second.
    pub per_second: f64,
    /// Latencies of all requests.
    pub latency: Percentiles,
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::http::SendError;
    use testbed_auditor::Answer;

    #[test]
    fn each_end_is_counted_once() {
        let counters = Counters::default();
        let answered =
            |status: u16, replayed: bool, body: &str| Sent::Answered(Answer::read(status, replayed, body.as_bytes()));
        for sent in [
            answered(200, false, "{}"),
            answered(201, true, "{}"),
            answered(422, false, r#"{"code":"InsufficientBalance"}"#),
            answered(422, false, r#"{"code":"InvalidAmount"}"#),
            answered(400, false, "{}"),
            answered(500, false, ""),
            answered(504, false, ""),
            Sent::Lost(SendError::TimedOut),
            Sent::NotSent("refused".into()),
        ] {
            counters.count(&sent);
        }
        let expected = Counted { sent: 9, ok: 2, refused: 1, rejected: 2, replayed: 1, errors: 4, unknown: 3 };
        assert_eq!(counters.read(), expected);
    }

    #[test]
    fn percentiles_are_of_what_was_noted() {
        let latencies = Latencies::default();
        for millis in 1..=100 {
            latencies.record(Duration::from_millis(millis));
        }
        latencies.record(Duration::from_secs(3600));
        let taken = latencies.take();
        let near = |found: u64, expected: u64| found.abs_diff(expected) <= expected / 500;
        assert!(near(taken.p50_micros, 51_000) && near(taken.p90_micros, 91_000), "{taken:?}");
        assert!((taken.count, true) == (101, near(taken.max_micros, LONGEST_MICROS)), "{taken:?}");
        assert_eq!(latencies.percentiles().count, 0, "taken");
    }
}
