//! The metrics that every exchange touches, looked up once.

use crate::metrics::{CROSS_COHORT, FRONT_ADDED, LEG_DURATION, LEG_RESULTS, OVERTAKEN};
use crate::routes::{Route, Routes};
use metrics::{Counter, Histogram};
use std::time::Duration;
use wire::words::{Class, System};

/// Handles of the metrics. Made after the process has its recorder.
pub struct Instruments {
    /// By the route's index, then by system.
    durations: Vec<[Histogram; 2]>,
    /// By system, then by class.
    results: [[Counter; 4]; 2],
    added: Histogram,
    overtaken: Counter,
    cross_cohort: Counter,
}

impl std::fmt::Debug for Instruments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Instruments")
    }
}

impl Instruments {
    /// The handles for these routes.
    pub fn new(routes: &Routes) -> Self {
        crate::metrics::describe_front();
        let mut by_index: Vec<&Route> = routes.iter().collect();
        by_index.sort_by_key(|route| route.index);
        let duration = |route: &Route, system: System| metrics::histogram!(LEG_DURATION, "system" => system.as_str(), "role" => "authority", "route" => route.config.name.clone());
        let result = |system: System, class: Class| metrics::counter!(LEG_RESULTS, "system" => system.as_str(), "role" => "authority", "class" => class.as_str());
        let results = |system: System| {
            [Class::Applied, Class::Refused, Class::NotExecuted, Class::Unknown].map(|class| result(system, class))
        };
        Self {
            durations: by_index
                .into_iter()
                .map(|route| [duration(route, System::Legacy), duration(route, System::Engine)])
                .collect(),
            results: [results(System::Legacy), results(System::Engine)],
            added: metrics::histogram!(FRONT_ADDED),
            overtaken: metrics::counter!(OVERTAKEN),
            cross_cohort: metrics::counter!(CROSS_COHORT),
        }
    }

    /// The authority's leg has ended.
    pub fn leg(&self, route: &Route, system: System, class: Class, took: Duration) {
        self.durations[route.index][system as usize].record(took.as_secs_f64());
        self.results[system as usize][class as usize].increment(1);
    }

    /// What the front itself took.
    pub fn added(&self, took: Duration) {
        self.added.record(took.as_secs_f64());
    }

    /// Requests went to an authority although a handover was not finished.
    pub fn overtaken(&self, requests: u64) {
        self.overtaken.increment(requests);
    }

    /// An exchange names accounts of different cohorts.
    pub fn cross_cohort(&self) {
        self.cross_cohort.increment(1);
    }
}
