//! What every part serves for its operators: `/metrics`, `/healthz`, `/readyz`.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::{Arc, Mutex, OnceLock};

/// Histogram bounds in seconds, from 0.1 ms to 10 s: below lies the noise of the machine, above every time-out.
const SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The recorder of this process; parts that share a process share it.
fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // Somebody else's recorder (an embedding test) is respected; ours then renders nothing.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

/// Records metrics from now on. [`router`] does so too; whoever measures before it serves calls this first.
pub fn record_metrics() {
    recorder();
}

/// Why a part is not ready; empty means ready. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Vec<(&'static str, String)>>>);

impl Readiness {
    /// A part that is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that `what` keeps the part from being ready, and why.
    pub fn blocked(&self, what: &'static str, why: impl Into<String>) {
        let mut reasons = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        reasons.retain(|(other, _)| *other != what);
        reasons.push((what, why.into()));
    }

    /// Says that `what` is in order.
    pub fn cleared(&self, what: &'static str) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).retain(|(other, _)| *other != what);
    }

    /// One line per reason; empty when ready.
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        reasons.iter().map(|(what, why)| format!("{what}: {why}")).collect()
    }
}

/// The three operator routes, to be merged into a part's router.
///
/// `/healthz` answers 200 while the process lives; `/readyz` 200 when `readiness` has no reason against it,
/// else 503 with one reason a line.
pub fn router<S: Clone + Send + Sync + 'static>(readiness: Readiness) -> Router<S> {
    recorder();
    Router::new()
        .route("/metrics", get(|| async { recorder().render() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || {
                let reasons = readiness.reasons();
                async move {
                    if reasons.is_empty() {
                        (StatusCode::OK, "ready\n".to_owned())
                    } else {
                        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
                    }
                }
            }),
        )
}
