//! The clock. Nothing else in the workspace asks the operating system for the time.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock, for measuring and for deadlines.
pub use tokio::time::Instant;

/// The wall clock, in microseconds since 1970-01-01T00:00:00Z.
pub fn unix_micros() -> i64 {
    #[cfg(feature = "simulated")]
    if let Some(micros) = crate::simulated::unix_micros() {
        return micros;
    }
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    }
}

/// The monotonic clock, now.
pub fn now() -> Instant {
    Instant::now()
}

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `deadline`.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline).await;
}

/// The deadline passed before the future was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct TimedOut;

/// Runs `future` for at most `duration`; what it did until then stands.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, TimedOut> {
    tokio::time::timeout(duration, future).await.map_err(|_| TimedOut)
}

/// Ticks every `period`, first at once; a late tick delays the following ones instead of bunching them.
pub fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}
