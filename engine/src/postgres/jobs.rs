//! Builds that somebody asked for: one at a time per projection, how far it is, and what came of the last one.

use super::building::{Builder, Counted, Found};
use super::mismatches::Mismatches;
use super::store::{Error, Store};
use crate::dead_letters::DeadLetters;
use crate::view::read_model::Projection;
use eventlog::Log;
use host::clock;
use host::task::Shutdown;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wire::journal::JOURNAL;
use wire::projection::{ProjectionJob, ProjectionJobState, ProjectionJobView, ProjectionShard, ProjectionView};
use wire::scalar::Timestamp;

/// What can be done with projections. Clones share it.
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

struct Shared {
    /// Where the live projections are asked about.
    store: Store,
    builder: Builder,
    mismatches: Mismatches,
    jobs: Mutex<BTreeMap<Projection, Job>>,
    shutdown: Shutdown,
}

struct Job {
    job: ProjectionJob,
    begun_at: Timestamp,
    counted: Arc<Counted>,
    /// When it ended, and what came of it.
    ended: Option<(Timestamp, Result<Found, String>)>,
}

impl Jobs {
    /// For a ledger; what runs when `shutdown` comes is given up.
    pub(crate) fn new(
        store: Store,
        log: Arc<dyn Log>,
        dead_letters: DeadLetters,
        ledger: String,
        shards: u32,
        mismatches: Mismatches,
        shutdown: Shutdown,
    ) -> Self {
        let builder = Builder { store: store.for_building(), log, dead_letters, ledger, shards };
        Self(Arc::new(Shared { store, builder, mismatches, jobs: Mutex::default(), shutdown }))
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<Projection, Job>> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one.
    ///
    /// # Errors
    /// [`Error::Busy`] while one runs here for the same projection. While one runs in another process, this one begins and is
    /// given up at once.
    pub fn begin(&self, projection: Projection, job: ProjectionJob) -> Result<(), Error> {
        let counted = Arc::new(Counted::default());
        {
            let mut jobs = self.jobs();
            if jobs.get(&projection).is_some_and(|job| job.ended.is_none()) {
                return Err(Error::Busy(projection.as_str()));
            }
            let begun_at = Timestamp(clock::unix_micros());
            jobs.insert(projection, Job { job, begun_at, counted: Arc::clone(&counted), ended: None });
        }
        let this = self.clone();
        drop(host::task::spawn(async move {
            let outcome = tokio::select! {
                () = this.0.shutdown.stopped() => Err("the engine was stopped".to_owned()),
                built = this.0.builder.build(projection, job, &counted) => built.map_err(|error| error.to_string()),
            };
            this.ended(projection, job, outcome);
        }));
        Ok(())
    }

    fn ended(&self, projection: Projection, job: ProjectionJob, outcome: Result<Found, String>) {
        let (name, job) = (projection.as_str(), job.as_str());
        match &outcome {
            Ok(found) => {
                tracing::info!(projection = name, job, differences = found.differences, "done");
                self.0.mismatches.kept(projection, found.differences);
            }
            Err(error) => tracing::error!(projection = name, job, error, "not done"),
        }
        if let Some(job) = self.jobs().get_mut(&projection) {
            job.ended = Some((Timestamp(clock::unix_micros()), outcome));
        }
    }

    /// All projections as they are.
    ///
    /// # Errors
    /// When the database or the log does not answer.
    pub async fn list(&self) -> Result<Vec<ProjectionView>, Error> {
        match self.listed().await {
            Err(error) => Err(self.0.store.reason_of(error).await),
            listed => listed,
        }
    }

    async fn listed(&self) -> Result<Vec<ProjectionView>, Error> {
        let Builder { log, shards, .. } = &self.0.builder;
        let ends = futures_util::future::try_join_all((0..*shards).map(|shard| log.end(JOURNAL, shard))).await?;
        let mut all = Vec::new();
        for projection in Projection::ALL {
            let store = &self.0.store;
            let live = clock::timeout(store.answer_within(), store.live_one(projection.as_str(), *shards)).await;
            let (generation, begun_at, nexts) = live.unwrap_or(Err(Error::Silent))?;
            let shard = |((shard, next), end): ((u32, u64), &u64)| ProjectionShard {
                shard,
                journal_next: next,
                journal_end: *end,
                lag_records: end.saturating_sub(next),
            };
            let shards: Vec<ProjectionShard> = (0_u32..).zip(nexts).zip(&ends).map(shard).collect();
            all.push(ProjectionView {
                name: projection.as_str().to_owned(),
                generation,
                begun_at: Timestamp(begun_at),
                lag_records: shards.iter().map(|shard| shard.lag_records).sum(),
                mismatched_rows: self.0.mismatches.of(projection),
                shards,
                job: self.job(projection),
            });
        }
        Ok(all)
    }

    /// The job of a projection that runs, or ran last.
    pub fn job(&self, projection: Projection) -> Option<ProjectionJobView> {
        let jobs = self.jobs();
        let Job { job, begun_at, counted, ended } = jobs.get(&projection)?;
        let (state, error, found) = match ended {
            None => (ProjectionJobState::Running, None, Found::default()),
            Some((_, Ok(found))) => (ProjectionJobState::Done, None, found.clone()),
            Some((_, Err(error))) => (ProjectionJobState::Failed, Some(error.clone()), Found::default()),
        };
        Some(ProjectionJobView {
            job: *job,
            state,
            begun_at: *begun_at,
            ended_at: ended.as_ref().map(|(at, _)| *at),
            records_done: counted.done.load(Ordering::Relaxed),
            records_total: counted.total.load(Ordering::Relaxed),
            differences: found.differences,
            shown: found.shown,
            error,
        })
    }
}
