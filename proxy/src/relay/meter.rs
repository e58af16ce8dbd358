//! What the relay counts.

use super::delivery::Delivery;
use crate::metrics as names;
use metrics::{counter, gauge};
use wire::scalar::Timestamp;
use wire::shadow::ShadowBody;
use wire::words::{Class, Mode, System};

/// Counts what an accepted record says. Called for new records only.
pub(super) fn count(body: &ShadowBody) {
    let ShadowBody::Result(result) = body else { return };
    if !result.last && result.class != Class::Unknown {
        return;
    }
    let (system, class) = (result.system.as_str(), result.class.as_str());
    counter!(names::LEG_RESULTS, "system" => system, "role" => "shadow", "class" => class).increment(1);
    if result.last && (result.attempt > 1 || result.mode == Mode::Forced) {
        let end = if result.mode == Mode::Forced { "forced" } else { "order" };
        counter!(names::LEGS_REOFFERED, "end" => end).increment(1);
    }
}

/// Shows how far the deliveries are behind.
pub(super) fn gauges(delivery: &Delivery, now: Timestamp) {
    for system in System::ALL.iter().copied() {
        let lag = delivery.oldest_undelivered(system).map_or(0, |oldest| now.since_micros(oldest).max(0));
        gauge!(names::RELAY_LAG, "system" => system.as_str()).set(lag as f64 / 1e6);
        gauge!(names::UNKNOWN_UNRESOLVED, "system" => system.as_str()).set(delivery.unknown(system) as f64);
    }
}
