//! Where the dial stands and how it came there, for people.

use super::{Dial, moves, state::DialState};
use crate::index::Index;
use wire::control::{FrontView, RolloutChange, RolloutHistory, RolloutView};

impl Dial {
    /// Where the dial stands.
    pub fn view(&self, state: &DialState) -> RolloutView {
        let gates = self.gates(state, None);
        let (discrepancies_open, effective, cross_cohort) =
            self.ingest.look(|index| (Index::discrepancies_open(index), index.effective(), index.cross_cohort()));
        RolloutView {
            next_steps: moves::next_steps(&state.rollout, &gates, discrepancies_open),
            gates,
            effective,
            cross_cohort,
            fronts: self.front_views(),
            ..RolloutView::of(&state.rollout)
        }
    }

    /// Fronts that listen, and those that should.
    pub fn front_views(&self) -> Vec<FrontView> {
        let connected = self.fronts.connected();
        self.ingest.look(|index| {
            let serving = index.gates_inputs().serving;
            let missing = serving.into_iter().filter(|front| !connected.iter().any(|other| other.front == front.front));
            let listening = connected.iter().cloned().map(|front| (front, true));
            let mut fronts: Vec<FrontView> = listening
                .chain(missing.map(|front| (front, false)))
                .map(|(front, connected)| FrontView {
                    connected,
                    version: index.front_version(&front),
                    overridden: index.overridden(&front),
                    front,
                })
                .collect();
            fronts.sort_by(|left, right| left.front.cmp(&right.front));
            fronts
        })
    }

    /// The dial's history with the overrides of fronts, which went past it, oldest first.
    pub fn history(&self, state: &DialState) -> RolloutHistory {
        let overrides = self.ingest.look(|index| index.overrides().to_vec());
        RolloutHistory { changes: merged(state.history().changes, overrides) }
    }
}

/// Both in their own order, taken together by time: relay and comparator write by clocks of their own.
fn merged(chain: Vec<RolloutChange>, overrides: Vec<RolloutChange>) -> Vec<RolloutChange> {
    let mut merged = Vec::with_capacity(chain.len() + overrides.len());
    let mut overrides = overrides.into_iter().peekable();
    for change in chain {
        while let Some(earlier) = overrides.next_if(|one| one.at < change.at) {
            merged.push(earlier);
        }
        merged.push(change);
    }
    merged.extend(overrides);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::scalar::Timestamp;

    #[test]
    fn overrides_stand_between_the_dials_own_changes() {
        let change = |at: i64, change: &str| RolloutChange {
            offset: 0,
            at: Timestamp(at),
            actor: "anna".into(),
            reason: "test".into(),
            change: change.into(),
            version: None,
            to: None,
            forced: false,
            evidence: serde_json::Value::Null,
        };
        // The relay's clock is behind: its record stays where it is in the chain.
        let chain = vec![change(10, "prepare"), change(9, "drained"), change(20, "commit")];
        let merged = merged(chain, vec![change(15, "on"), change(16, "off"), change(30, "on")]);
        let names: Vec<&str> = merged.iter().map(|change| change.change.as_str()).collect();
        assert_eq!(names, ["prepare", "drained", "on", "off", "commit", "on"]);
    }
}
