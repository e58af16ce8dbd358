//! How long each system took, from the records of the cutover: every leg, not a sample.

use crate::client::Parts;
use crate::commands::log;
use hdrhistogram::Histogram;
use serde::Serialize;
use wire::exchange::{ExchangeBody, ExchangeRecord};
use wire::shadow::{ShadowBody, ShadowRecord};
use wire::words::System;

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// Who was timed.
    pub who: String,
    /// How many requests.
    pub requests: u64,
    /// Half were faster.
    pub p50_ms: f64,
    /// 90 of 100 were faster.
    pub p90_ms: f64,
    /// 99 of 100 were faster.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Percentiles {
    fn of(who: &str, histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            who: who.to_owned(),
            requests: histogram.len(),
            p50_ms: at(0.50),
            p90_ms: at(0.90),
            p99_ms: at(0.99),
            max_ms: histogram.max() as f64 / 1000.0,
        }
    }
}

/// What the clients measured.
impl From<(&str, testbed_loadgen::report::Percentiles)> for Percentiles {
    fn from((who, measured): (&str, testbed_loadgen::report::Percentiles)) -> Self {
        let ms = |micros: u64| micros as f64 / 1000.0;
        Self {
            who: who.to_owned(),
            requests: measured.count,
            p50_ms: ms(measured.p50_micros),
            p90_ms: ms(measured.p90_micros),
            p99_ms: ms(measured.p99_micros),
            max_ms: ms(measured.max_micros),
        }
    }
}

/// Legs up to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

/// Reads both topics and times legacy and engine, as authority and as shadow together.
///
/// # Errors
/// When the comparator does not hand out its log.
pub async fn of_both_systems(parts: &Parts) -> anyhow::Result<[Percentiles; 2]> {
    let mut legacy = histogram();
    let mut engine = histogram();
    let mut authorities = std::collections::HashMap::new();
    let mut note = |system: System, micros: u64| {
        let histogram = if system == System::Legacy { &mut legacy } else { &mut engine };
        histogram.saturating_record(micros.max(1));
    };
    log::each(parts, wire::exchange::TOPIC, 0, 0, false, |stored| {
        let record: ExchangeRecord = wire::stored::decode(&stored.bytes)?;
        let number = record.exchange();
        match record.body {
            ExchangeBody::Intent(intent) => {
                authorities.insert(number, intent.authority);
            }
            ExchangeBody::Result(result) if result.status != 0 => {
                if let Some(system) = authorities.remove(&number) {
                    note(system, result.duration_micros);
                }
            }
            _ => {}
        }
        Ok(())
    })
    .await?;
    log::each(parts, wire::shadow::TOPIC, 0, 0, false, |stored| {
        let record: ShadowRecord = wire::stored::decode(&stored.bytes)?;
        if let ShadowBody::Result(result) = record.body
            && result.status != 0
        {
            note(result.system, result.duration_micros);
        }
        Ok(())
    })
    .await?;
    Ok([Percentiles::of("legacy", &legacy), Percentiles::of("engine", &engine)])
}
