//! The ledger: N shards behind one handle. Submits commands, answers from accepted outcomes, reads linearizably.
//!
//! | module | what |
//! |---|---|
//! | [`Duties`] | which shards this process decides on |
//! | `answer` | what whoever submitted a command is told |
//! | `waiters` | who waits for which answer |
//! | `workers` | the tasks behind the handle: owners, follow-ups, followers |

mod answer;
mod duties;
pub(crate) mod waiters;
mod workers;

pub use answer::{Answered, Submitted};
pub use duties::Duties;
pub use workers::OpenError;

use crate::dead_letters::DeadLetters;
use crate::shard::health::Health;
use crate::snapshot::keeper::Keeper;
use crate::view::{Progress, View, timeline, trail};
use crate::{codec, metrics};
use engine_domain::{Body, Command, Position, TransactionId};
use eventlog::{AppendError, Log, NewRecord, ReadError};
use futures_util::future::{join_all, try_join_all};
use host::clock::Instant;
use host::moment;
use host::ops::Readiness;
use host::task::Shutdown;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use waiters::Waiters;
use wire::billing::{AccountEventPage, TransactionSaga};
use wire::journal::{COMMANDS, JOURNAL};
use wire::{dead_letter, snapshot};
use workers::Worker;

/// What a ledger is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The ledger's id. Part of every chain's beginning, so it cannot change for a log that is there.
    pub ledger: String,
    /// How many shards; at least one. Part of every chain's beginning as well.
    pub shards: u32,
    /// A step of a saga that has been awaited for this long is asked for again.
    pub ask_again: Duration,
    /// After so many outcomes of a shard there is a snapshot of it, or later: never more often than after a quarter as many as
    /// the last one has entries. 0 for never.
    pub snapshot_after_outcomes: u64,
}

/// A ledger. Clones share it.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    log: Arc<dyn Log>,
    view: View,
    /// Per shard.
    waiters: Vec<Arc<Waiters>>,
    health: Arc<Health>,
    /// Kept, because owners listen to it.
    _duties: Duties,
    dead_letters: DeadLetters,
    /// What [`Ledger::run`] runs.
    workers: Mutex<Vec<Worker>>,
    keeper: Mutex<Option<Keeper>>,
    begun_from_snapshots: usize,
}

/// The view does not include what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    /// Not by the deadline.
    #[error("the view of shard {shard} does not catch up")]
    TimedOut {
        /// The shard that is behind.
        shard: u32,
    },
    /// Not before a restart, or another program.
    #[error("shard {shard} stopped: {why}")]
    Stopped {
        /// The shard.
        shard: u32,
        /// Why.
        why: String,
    },
    /// The log does not say what there is to include.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The engine's topics with their numbers of partitions.
pub fn topics(shards: u32) -> Vec<(String, u32)> {
    [(COMMANDS, shards), (JOURNAL, shards), (snapshot::TOPIC, shards), (dead_letter::TOPIC, 1)]
        .map(|(name, count)| (name.to_owned(), count))
        .into()
}

impl Ledger {
    /// Folds the journal of every shard; waits while the log cannot be read. While a shard cannot go on, `readiness` is
    /// blocked under the name `shards`; the others serve all the same.
    ///
    /// # Errors
    /// When the log has lost its beginning, or holds another ledger, or one of another number of shards.
    pub async fn open(
        log: Arc<dyn Log>,
        settings: Settings,
        readiness: Readiness,
        duties: Duties,
    ) -> Result<Self, OpenError> {
        let view = View::new(settings.shards);
        let waiters: Vec<Arc<Waiters>> = (0..settings.shards).map(|_| Arc::default()).collect();
        let health = Arc::new(Health::new(readiness));
        let dead_letters = DeadLetters::of(Arc::clone(&log));
        let (workers, keeper) =
            workers::fold(&log, &settings, &view, &waiters, &health, &duties, &dead_letters).await?;
        let inner = Inner {
            log,
            view,
            waiters,
            health,
            _duties: duties,
            dead_letters,
            workers: Mutex::new(workers),
            begun_from_snapshots: keeper.last.iter().flatten().count(),
            keeper: Mutex::new(Some(keeper)),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// From its start on, this ledger's owners decide otherwise than those of other programs.
    #[cfg(feature = "planted")]
    pub fn diverge(&self) {
        let mut workers = self.0.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter_mut().for_each(|worker| worker.owner.decides = crate::planted::decide_otherwise);
    }

    /// How many shards began at a snapshot, not at the beginning of their journals.
    pub fn begun_from_snapshots(&self) -> usize {
        self.0.begun_from_snapshots
    }

    /// What could not be processed.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.0.dead_letters
    }

    /// Runs owners, follow-ups and the view's followers until `shutdown` is given and all of them have stopped. Runs
    /// once: a second call returns at once.
    pub async fn run(&self, shutdown: Shutdown) {
        let workers = std::mem::take(&mut *self.0.workers.lock().unwrap_or_else(PoisonError::into_inner));
        let keeper = self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        workers::run(workers, keeper, &self.0.log, &self.0.view, &self.0.health, shutdown).await;
    }

    /// Appends a command to its home and waits until `deadline` for its answer. `Pending` says that it is in the log, or
    /// that it may be.
    pub async fn submit(&self, command: Command, deadline: Instant) -> Submitted {
        let started = host::clock::now();
        let operation = crate::shard::operation(&command);
        let (shard, record) = match self.prepare(&command) {
            Ok(prepared) => prepared,
            Err(why) => return Submitted::NotAppended(why),
        };
        let mut wait = self.0.waiters[shard as usize].wait_for(command.id);
        let submitted = match self.append(shard, record, deadline).await {
            Ok(()) => {
                let answered = by(deadline, wait.answer()).await.flatten();
                answered.map_or(Submitted::Pending, |answered| Submitted::Answered(Box::new(answered)))
            }
            Err(why) => Submitted::NotAppended(why),
        };
        let seconds = host::clock::now().saturating_duration_since(started).as_secs_f64();
        ::metrics::histogram!(metrics::COMMAND_DURATION_SECONDS, "type" => operation).record(seconds);
        submitted
    }

    /// Appends a command to its home and does not wait for its answer: `Pending` says that it is in the log, or, when
    /// the log did not answer by `deadline`, that it may be.
    pub async fn submit_only(&self, command: Command, deadline: Instant) -> Submitted {
        let (shard, record) = match self.prepare(&command) {
            Ok(prepared) => prepared,
            Err(why) => return Submitted::NotAppended(why),
        };
        match self.append(shard, record, deadline).await {
            Err(why) => Submitted::NotAppended(why),
            Ok(()) => Submitted::Pending,
        }
    }

    /// Appends many commands to their homes, those of one home together and in their order, and waits until `deadline`
    /// for their answers, or not at all. What became of each, in the order given.
    pub async fn submit_all(&self, commands: Vec<Command>, deadline: Instant, waits: bool) -> Vec<Submitted> {
        let started = host::clock::now();
        let mut submitted: Vec<Submitted> = Vec::with_capacity(commands.len());
        let mut by_home: BTreeMap<u32, (Vec<usize>, Vec<NewRecord>)> = BTreeMap::new();
        let mut waiting = Vec::with_capacity(commands.len());
        for (index, command) in commands.iter().enumerate() {
            submitted.push(match self.prepare(command) {
                Ok((shard, record)) => {
                    let (indices, records) = by_home.entry(shard).or_default();
                    indices.push(index);
                    records.push(record);
                    if waits {
                        waiting.push((index, self.0.waiters[shard as usize].wait_for(command.id)));
                    }
                    Submitted::Pending
                }
                Err(why) => Submitted::NotAppended(why),
            });
        }
        let appends = by_home.into_iter().map(|(shard, (indices, records))| async move {
            (indices, self.append_records(shard, records, deadline).await)
        });
        for (indices, appended) in join_all(appends).await {
            if let Err(why) = appended {
                indices.into_iter().for_each(|index| submitted[index] = Submitted::NotAppended(why.clone()));
            }
        }
        for (index, mut wait) in waiting {
            if submitted[index] != Submitted::Pending {
                continue;
            }
            // Answers that are there already are taken even when the deadline is over.
            let Some(answered) = by(deadline, wait.answer()).await.flatten() else { continue };
            submitted[index] = Submitted::Answered(Box::new(answered));
            let seconds = host::clock::now().saturating_duration_since(started).as_secs_f64();
            let operation = crate::shard::operation(&commands[index]);
            ::metrics::histogram!(metrics::COMMAND_DURATION_SECONDS, "type" => operation).record(seconds);
        }
        submitted
    }

    fn prepare(&self, command: &Command) -> Result<(u32, NewRecord), String> {
        let shard = self.home(command).ok_or("only shards send steps to each other")?;
        match self.0.health.why_stopped(shard) {
            Some(why) => Err(format!("shard {shard} stopped: {why}")),
            None => Ok((shard, NewRecord::of(codec::encode_command(command)))),
        }
    }

    async fn append(&self, shard: u32, record: NewRecord, deadline: Instant) -> Result<(), String> {
        self.append_records(shard, vec![record], deadline).await
    }

    async fn append_records(&self, shard: u32, records: Vec<NewRecord>, deadline: Instant) -> Result<(), String> {
        match self.0.log.append_by(COMMANDS, shard, records, deadline).await {
            Ok(_) => {
                moment::passes("command-appended");
                Ok(())
            }
            Err(AppendError::NotAppended(why)) => Err(why),
            Err(AppendError::Unknown(why)) => {
                tracing::warn!(shard, why, "a command is perhaps in the log; its outcome will tell");
                Ok(())
            }
        }
    }

    /// The shard that decides on a command; `None` for what only shards send.
    fn home(&self, command: &Command) -> Option<u32> {
        let shards = self.shards();
        match &command.body {
            Body::CreateAccount(create) => Some(create.account.shard(shards)),
            Body::ChangeAccount(change) => Some(change.account.shard(shards)),
            Body::Move(request) => Some(request.deciding_account().shard(shards)),
            Body::Refund(refund) => Some(self.shard_of(&refund.deciding_account)),
            Body::Aliases(aliases) => aliases.first().map(|alias| alias.transaction.shard(shards)),
            Body::Step(_) | Body::StepDone(_) | Body::Unreadable { .. } => None,
        }
    }

    /// How many shards there are.
    pub fn shards(&self) -> u32 {
        self.0.view.shards()
    }

    /// The home of an account, or of what takes an account's place.
    pub fn shard_of(&self, account: &str) -> u32 {
        engine_domain::ids::shard_of_text(account, self.shards())
    }

    /// The home of a transaction, by the engine's id of it; `None` for any other id.
    pub fn shard_of_transaction(&self, id: &str) -> Option<u32> {
        TransactionId::parse(id).map(|id| id.shard(self.shards()))
    }

    /// The read model.
    pub fn view(&self) -> &View {
        &self.0.view
    }

    /// Waits until the view includes all outcomes of these shards that were durable when called, so everything that
    /// was answered before. Tells the newest outcome of each that the view includes then.
    ///
    /// # Errors
    /// [`BarrierError`] when it does not come to that by `deadline`.
    pub async fn read_barrier(&self, shards: &[u32], deadline: Instant) -> Result<Vec<Position>, BarrierError> {
        self.barrier(shards, deadline, JOURNAL, |progress| progress.journal_next).await
    }

    /// Waits until the view includes the outcomes of all commands of these shards that were durable when called. For
    /// reads whose *absent* has to mean absent: a command that is in the log will have its effect.
    ///
    /// # Errors
    /// As [`Ledger::read_barrier`].
    pub async fn settled_barrier(&self, shards: &[u32], deadline: Instant) -> Result<Vec<Position>, BarrierError> {
        self.barrier(shards, deadline, COMMANDS, |progress| progress.source_next).await
    }

    async fn barrier(
        &self,
        shards: &[u32],
        deadline: Instant,
        topic: &str,
        reached: impl Fn(&Progress) -> u64,
    ) -> Result<Vec<Position>, BarrierError> {
        let ends = try_join_all(shards.iter().map(|&shard| self.0.log.end(topic, shard)));
        let late = || ReadError::Failed("it does not say in time how far it reaches".to_owned());
        let ends = by(deadline, ends).await.ok_or_else(late)??;
        for (&shard, end) in shards.iter().zip(ends) {
            let progress = self.0.view.progress(shard);
            if reached(&progress.get()) >= end {
                continue;
            }
            if let Some(why) = self.0.health.why_stopped(shard) {
                return Err(BarrierError::Stopped { shard, why });
            }
            let caught_up = progress.wait_for(|progress| reached(&progress) >= end);
            by(deadline, caught_up).await.ok_or(BarrierError::TimedOut { shard })?;
        }
        Ok(shards.iter().filter_map(|&shard| self.0.view.position(shard)).collect())
    }

    /// A page of an account's audit trail from `from_version` on, read back from the journal; `None` if there is no
    /// such account.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn account_events(
        &self,
        account: &str,
        from_version: u64,
        limit: usize,
    ) -> Result<Option<AccountEventPage>, ReadError> {
        trail::page(&self.0.view, &*self.0.log, account, from_version, limit).await
    }

    /// The saga of a transaction, by either system's id, from the journal; `None` if there is no such transaction.
    ///
    /// # Errors
    /// When the journal cannot be read back.
    pub async fn transaction_saga(&self, id: &str) -> Result<Option<TransactionSaga>, ReadError> {
        timeline::of(&self.0.view, &*self.0.log, id).await
    }
}

/// What a future comes to by a deadline.
async fn by<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = host::clock::sleep_until(deadline) => None,
    }
}
