//! Gates: what has to be true before the dial goes up. Pure.
//!
//! A gate that cannot be read is closed: nothing goes up for want of evidence against it.

use super::moves;
use crate::stream::not_listening;
use wire::rollout::{FrontBoot, GateReading, Setting};
use wire::words::Stage;

/// No leg's effect is unknown.
pub const UNKNOWN: &str = "unknown";
/// No exchange went on without a record.
pub const GAP: &str = "gap";
/// Every front that may be serving listens to the dial, and goes by it.
pub const FRONTS: &str = "fronts";
/// The shadow legs follow closely.
pub const DRAINED: &str = "drained";

/// The engine is ready: no shard stands still, and no money came from nowhere or is gone.
pub const ENGINE: &str = "engine";

/// Every gate of this version, in the order in which they are shown.
pub const ALL: [&str; 5] = [UNKNOWN, GAP, FRONTS, DRAINED, ENGINE];

/// Gaps that are named: somebody settles them one by one, by their ids.
const MOST_NAMED: usize = 5;

/// What the gates look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Why the rest cannot be believed yet; `None` once the index has caught up with the log.
    pub behind: Option<String>,
    /// Exchanges with a leg whose effect is unknown.
    pub unknown: u64,
    /// The ids of gaps nobody has settled: exchanges without a record, holes, unclean boots.
    pub gaps: Vec<String>,
    /// Fronts that listen to the dial.
    pub connected: Vec<FrontBoot>,
    /// Connected fronts that go by an override, with its reason.
    pub overridden: Vec<(String, String)>,
    /// Fronts whose newest boot has not ended, as the log has it.
    pub serving: Vec<FrontBoot>,
    /// The age of the oldest shadow leg that is not delivered.
    pub oldest_undelivered_micros: Option<i64>,
    /// How old it may be.
    pub drained_within_ms: u64,
    /// Why the engine is not ready; `None` if it is.
    pub engine: Option<String>,
}

/// Reads all gates for a move from `from` to `to` (`None`: as they would stand for the next move).
pub fn read(figures: &Figures, from: Setting, to: Option<Setting>) -> Vec<GateReading> {
    if let Some(why) = &figures.behind {
        return ALL.iter().map(|gate| reading(gate, false, why.clone())).collect();
    }
    vec![
        unknown(figures, from, to),
        gaps(figures),
        fronts(figures),
        drained(figures, from, to),
        engine(figures, from, to),
    ]
}

/// The gates that are closed.
pub fn closed(readings: &[GateReading]) -> Vec<GateReading> {
    readings.iter().filter(|reading| !reading.open).cloned().collect()
}

fn reading(gate: &str, open: bool, seen: String) -> GateReading {
    GateReading { gate: gate.to_owned(), open, seen }
}

fn only_lets_legs_go(from: Setting, to: Option<Setting>) -> bool {
    moves::only_lets_legs_go(from, to.unwrap_or(Setting { stage: Stage::Shadow, ..from }))
}

fn unknown(figures: &Figures, from: Setting, to: Option<Setting>) -> GateReading {
    let mut seen = format!("{} exchanges with a leg of unknown effect", figures.unknown);
    // With more held than the relay keeps, it reads no further before the dial has left capture: an unknown may
    // stay one until then.
    let open = figures.unknown == 0 || only_lets_legs_go(from, to);
    if open && figures.unknown > 0 {
        seen = format!("{seen}; no account moves");
    }
    reading(UNKNOWN, open, seen)
}

fn gaps(figures: &Figures) -> GateReading {
    let all = figures.gaps.len();
    let mut seen = format!("{all} gaps nobody has settled");
    if all > 0 {
        let named = figures.gaps.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
        seen = format!("{seen}: {named}{}", if all > MOST_NAMED { ", …" } else { "" });
    }
    reading(GAP, all == 0, seen)
}

fn fronts(figures: &Figures) -> GateReading {
    let deaf: Vec<String> = not_listening(&figures.serving, &figures.connected)
        .iter()
        .map(|front| format!("{} (boot {})", front.front, front.boot))
        .collect();
    if figures.connected.is_empty() {
        return reading(FRONTS, false, "no front is connected".to_owned());
    }
    if !deaf.is_empty() {
        return reading(FRONTS, false, format!("not connected: {}", deaf.join(", ")));
    }
    // It would neither hold the accounts that move nor send them to the engine.
    if !figures.overridden.is_empty() {
        let named = figures.overridden.iter().map(|(front, why)| format!("{front} ({why})"));
        return reading(FRONTS, false, format!("overridden to 0 %: {}", named.collect::<Vec<_>>().join(", ")));
    }
    reading(FRONTS, true, format!("{} connected", figures.connected.len()))
}

fn drained(figures: &Figures, from: Setting, to: Option<Setting>) -> GateReading {
    if only_lets_legs_go(from, to) {
        return reading(DRAINED, true, format!("legs are held in {}; no account moves", from.stage));
    }
    match figures.oldest_undelivered_micros {
        None => reading(DRAINED, true, "every shadow leg is delivered".to_owned()),
        Some(age) => {
            let millis = u64::try_from(age / 1_000).unwrap_or(0);
            let limit = figures.drained_within_ms;
            reading(
                DRAINED,
                millis <= limit,
                format!("the oldest undelivered shadow leg waits for {millis} ms (at most {limit} ms)"),
            )
        }
    }
}

fn engine(figures: &Figures, from: Setting, to: Option<Setting>) -> GateReading {
    match &figures.engine {
        None => reading(ENGINE, true, "the engine is ready".to_owned()),
        Some(why) if only_lets_legs_go(from, to) => reading(ENGINE, true, format!("{why}; no account moves")),
        Some(why) => reading(ENGINE, false, why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::scalar::Percent;

    fn front(name: &str, boot: u64) -> FrontBoot {
        FrontBoot { front: name.to_owned(), boot }
    }

    fn at(stage: Stage, percent: u16) -> Setting {
        Setting { stage, percent: Percent::whole(percent) }
    }

    fn fine() -> Figures {
        Figures {
            behind: None,
            unknown: 0,
            gaps: Vec::new(),
            connected: vec![front("a", 1)],
            overridden: Vec::new(),
            serving: vec![front("a", 1)],
            oldest_undelivered_micros: None,
            drained_within_ms: 100,
            engine: None,
        }
    }

    fn closed_by(change: impl FnOnce(&mut Figures)) -> Vec<String> {
        let mut figures = fine();
        change(&mut figures);
        let readings = read(&figures, at(Stage::Shadow, 0), Some(at(Stage::Ramp, 1)));
        assert_eq!(readings.iter().map(|reading| reading.gate.as_str()).collect::<Vec<_>>(), ALL);
        closed(&readings).into_iter().map(|reading| reading.gate).collect()
    }

    #[test]
    fn each_gate_closes_for_its_own_reason() {
        assert_eq!(closed_by(|_| {}), Vec::<String>::new());
        assert_eq!(closed_by(|figures| figures.unknown = 1), [UNKNOWN]);
        assert_eq!(closed_by(|figures| figures.gaps.push("gap:a.1.7".into())), [GAP]);
        assert_eq!(closed_by(|figures| figures.connected.clear()), [FRONTS]);
        assert_eq!(closed_by(|figures| figures.serving.push(front("b", 7))), [FRONTS]);
        assert_eq!(closed_by(|figures| figures.overridden.push(("a".into(), "it burns".into()))), [FRONTS]);
        assert_eq!(closed_by(|figures| figures.oldest_undelivered_micros = Some(101_000)), [DRAINED]);
        assert_eq!(closed_by(|figures| figures.oldest_undelivered_micros = Some(100_999)), Vec::<String>::new());
        assert_eq!(closed_by(|figures| figures.engine = Some("conservation: 7 EUR are gone".into())), [ENGINE]);
    }

    #[test]
    fn behind_the_log_every_gate_is_closed() {
        assert_eq!(closed_by(|figures| figures.behind = Some("reading".into())), ALL);
    }

    #[test]
    fn a_front_heard_under_a_newer_boot_is_not_missed_under_its_old_one() {
        assert_eq!(closed_by(|figures| figures.connected = vec![front("a", 2)]), Vec::<String>::new());
        assert_eq!(
            closed_by(|figures| figures.serving = vec![front("a", 2)]),
            [FRONTS],
            "the old boot's stream says nothing of the new one"
        );
    }

    #[test]
    fn legs_held_in_capture_and_unknowns_do_not_keep_the_dial_in_capture() {
        let engine = Some("not reachable".to_owned());
        let figures = Figures { unknown: 1, oldest_undelivered_micros: Some(i64::MAX), engine, ..fine() };
        let open = |from, to| closed(&read(&figures, from, to)).is_empty();
        assert!(open(at(Stage::Capture, 0), Some(at(Stage::Shadow, 0))));
        assert!(open(at(Stage::Passthrough, 0), Some(at(Stage::Capture, 0))));
        assert!(!open(at(Stage::Capture, 0), Some(at(Stage::Ramp, 1))), "held legs are undelivered legs");
        assert!(!open(at(Stage::Shadow, 0), Some(at(Stage::Ramp, 1))));
        let unknown = Figures { unknown: 1, ..fine() };
        let closed = closed(&read(&unknown, at(Stage::Capture, 0), Some(at(Stage::Ramp, 1))));
        assert_eq!(closed.iter().map(|reading| reading.gate.as_str()).collect::<Vec<_>>(), [UNKNOWN]);
    }
}
