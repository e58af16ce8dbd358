//! The tasks behind a ledger: per shard an owner, a sender of follow-ups and a follower of the view.

use super::Settings;
use super::duties::Duties;
use super::waiters::Waiters;
use crate::dead_letters::DeadLetters;
use crate::metrics;
use crate::shard::follow_up;
use crate::shard::health::Health;
use crate::shard::owner::{Owner, Stopped};
use crate::shard::round::by_the_rules;
use crate::snapshot::fold::{Fold, Went};
use crate::snapshot::keeper::Keeper;
use crate::view::follow::Follower;
use crate::view::{SAGA_KINDS, View};
use engine_domain::{Currency, Money};
use eventlog::{Log, ReadError};
use futures_util::future::join_all;
use host::task::Shutdown;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use wire::journal::{COMMANDS, JOURNAL};
use wire::snapshot::Complete;

/// After a log that could not be read.
const READ_AGAIN: Duration = Duration::from_millis(500);
/// How often the gauges over all shards are set.
const MEASURED_EVERY: Duration = Duration::from_secs(1);

/// A ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What has to be read was deleted.
    #[error(transparent)]
    Gone(ReadError),
    /// A journal has the first outcome of another ledger, and none of this one.
    #[error(
        "the journal of shard {shard} ({records} records) was begun by another ledger, or by one with another number of \
         shards than {shards}: check `ledger` and `shards` in the configuration, or use another data directory"
    )]
    OtherLedger {
        /// The shard.
        shard: u32,
        /// Records in its journal.
        records: u64,
        /// Shards of this ledger.
        shards: u32,
    },
    /// Outcomes stand in the journal for commands that are not there: new ones would be taken for decided.
    #[error(
        "the commands of shard {shard} end at offset {end}, and the journal has decided up to {decided}: the topic \
         {COMMANDS} was made anew or lost records; bring it back, or begin a new ledger"
    )]
    CommandsLost {
        /// The shard.
        shard: u32,
        /// Where its commands end.
        end: u64,
        /// The offset of the command to be decided next.
        decided: u64,
    },
}

/// What runs for one shard.
pub(super) struct Worker {
    pub(super) owner: Owner,
    follow_ups: mpsc::UnboundedReceiver<engine_domain::outcome::FollowUp>,
    follower: Follower,
}

/// Folds the journals of all shards side by side, and makes the workers of those that can go on.
pub(super) async fn fold(
    log: &Arc<dyn Log>,
    settings: &Settings,
    view: &View,
    waiters: &[Arc<Waiters>],
    health: &Arc<Health>,
    duties: &Duties,
    dead_letters: &DeadLetters,
) -> Result<(Vec<Worker>, Keeper), OpenError> {
    let folds = (0..settings.shards).map(|number| {
        let (log, ledger) = (Arc::clone(log), settings.ledger.clone());
        host::task::spawn(fold_shard(log, ledger, number, view.clone(), Arc::clone(health), dead_letters.clone()))
    });
    let (mut workers, mut outcomes, mut from_snapshots) = (Vec::new(), 0, 0);
    let mut snapshots: Vec<Option<Complete>> = vec![None; settings.shards as usize];
    for (number, folded) in (0..settings.shards).zip(join_all(folds).await) {
        let Fold { shard, reader, from, .. } = match folded {
            Ok(Ok(folded)) => folded,
            Ok(Err(Stopped::Gone(error))) => return Err(OpenError::Gone(error)),
            Ok(Err(stopped @ (Stopped::Unreadable(_) | Stopped::Newer { .. } | Stopped::NotConserved(_)))) => {
                health.stopped(number, stopped.to_string());
                continue;
            }
            Err(panic) => {
                health.stopped(number, format!("its history contradicts itself: {panic}"));
                continue;
            }
        };
        if reader.is_of_another() {
            return Err(OpenError::OtherLedger { shard: number, records: reader.next(), shards: settings.shards });
        }
        let decided = reader.chain().next_source();
        let end = commands_end(log, number, health).await?;
        if end < decided {
            return Err(OpenError::CommandsLost { shard: number, end, decided });
        }
        let (sender, follow_ups) = mpsc::unbounded_channel();
        let follower = Follower {
            shard: number,
            log: Arc::clone(log),
            reader: reader.clone(),
            view: view.clone(),
            waiters: Arc::clone(&waiters[number as usize]),
            dead_letters: dead_letters.clone(),
        };
        let owner = Owner {
            log: Arc::clone(log),
            shard,
            reader,
            follow_ups: sender,
            health: Arc::clone(health),
            on_duty: duties.of(number),
            ask_again: settings.ask_again,
            decides: by_the_rules,
            #[cfg(feature = "planted")]
            early: crate::planted::Early { waiters: Arc::clone(&waiters[number as usize]) },
        };
        from_snapshots += from.as_ref().map_or(0, |complete| complete.next_source);
        snapshots[number as usize] = from;
        outcomes += owner.reader.chain().next_source();
        workers.push(Worker { owner, follow_ups, follower });
    }
    let (ledger, shards) = (&settings.ledger, settings.shards);
    tracing::info!(ledger, shards, outcomes, from_snapshots, "folded the journal");
    let keeper = Keeper {
        log: Arc::clone(log),
        ledger: ledger.clone(),
        view: view.clone(),
        duties: duties.clone(),
        dead_letters: dead_letters.clone(),
        after: settings.snapshot_after_outcomes,
        last: snapshots,
        not_before: BTreeMap::new(),
    };
    Ok((workers, keeper))
}

/// Folds a shard's journal up to its end. Waits while the log cannot be read.
async fn fold_shard(
    log: Arc<dyn Log>,
    ledger: String,
    number: u32,
    view: View,
    health: Arc<Health>,
    dead_letters: DeadLetters,
) -> Result<Fold, Stopped> {
    let mut fold = loop {
        match Fold::begin(&log, &ledger, number, view.clone(), Some(dead_letters.clone())).await {
            Ok(fold) => break fold,
            Err(error) => wait(&health, number, &error).await,
        }
    };
    loop {
        match fold.go_on().await? {
            Went::On => {
                health.well(number);
                // One shard's history is not to keep the others from being read.
                host::task::yield_now().await;
            }
            Went::ToTheEnd => {
                health.well(number);
                return Ok(fold);
            }
            Went::Nowhere(error) => wait(&health, number, &error).await,
        }
    }
}

async fn wait(health: &Health, number: u32, error: &ReadError) {
    health.troubled(number, error.to_string());
    host::clock::sleep(READ_AGAIN).await;
}

/// Where a shard's commands end; waits while the log cannot be read.
async fn commands_end(log: &Arc<dyn Log>, number: u32, health: &Health) -> Result<u64, OpenError> {
    loop {
        match log.end(COMMANDS, number).await {
            Ok(end) => return Ok(end),
            Err(error @ ReadError::Gone { .. }) => return Err(OpenError::Gone(error)),
            Err(error @ ReadError::Failed(_)) => health.troubled(number, error.to_string()),
        }
        host::clock::sleep(READ_AGAIN).await;
        health.well(number);
    }
}

/// Runs the workers until `shutdown` and until all have stopped.
pub(super) async fn run(
    workers: Vec<Worker>,
    keeper: Option<Keeper>,
    log: &Arc<dyn Log>,
    view: &View,
    health: &Arc<Health>,
    shutdown: Shutdown,
) {
    let shards = workers.into_iter().map(|Worker { owner, follow_ups, follower }| {
        let number = follower.shard;
        // A shard whose one half stops must not go on with the other.
        let shutdown = shutdown.child();
        let health = Arc::clone(health);
        let sender = host::task::spawn(follow_up::send(Arc::clone(log), number, follow_ups, shutdown.clone()));
        let halves =
            [host::task::spawn(owner.run(shutdown.clone())), host::task::spawn(follower.run(shutdown.clone()))];
        let halves = halves.map(|half| {
            let (shutdown, health) = (shutdown.clone(), Arc::clone(&health));
            async move {
                match half.await {
                    Ok(Ok(())) => {}
                    Ok(Err(stopped)) => health.stopped(number, stopped.to_string()),
                    Err(panic) => health.stopped(number, format!("a broken invariant: {panic}")),
                }
                shutdown.stop();
            }
        });
        async move {
            join_all(halves).await;
            if let Err(panic) = sender.await {
                tracing::error!(shard = number, %panic, "the sender of follow-ups ended badly");
            }
        }
    });
    let measures = measure(log, view, health, shutdown.clone());
    // Beside the shards: what goes wrong with a snapshot is no reason to stop deciding.
    let keeping = keeper.map(|keeper| host::task::spawn(keeper.run(shutdown.clone())));
    futures_util::future::join(join_all(shards), measures).await;
    if let Some(Err(panic)) = futures_util::future::OptionFuture::from(keeping).await {
        tracing::error!(%panic, "the keeper of snapshots ended badly");
    }
}

/// Sets the gauges over all shards, and sees to it that nothing is stranded between them.
async fn measure(log: &Arc<dyn Log>, view: &View, health: &Health, shutdown: Shutdown) {
    let mut ticks = host::clock::interval(MEASURED_EVERY);
    let mut kinds: BTreeMap<&'static str, u64> = SAGA_KINDS.iter().map(|kind| (*kind, 0)).collect();
    let mut stranded = Stranded::default();
    loop {
        tokio::select! {
            biased;
            () = shutdown.stopped() => return,
            _ = ticks.tick() => {}
        }
        let mut errors: BTreeMap<Currency, Money> = BTreeMap::new();
        for sum in view.conservation() {
            let error = errors.entry(sum.currency).or_default();
            *error = error.plus(absolute(sum.sum));
        }
        let between = view.stranded();
        // The view of a shard that stands still proves nothing.
        let proven = between.is_empty()
            || tokio::select! {
                biased;
                () = shutdown.stopped() => return,
                at_the_ends = is_at_the_ends(log, view) => at_the_ends,
            };
        let between = if proven { between } else { BTreeMap::new() };
        for (currency, sum) in stranded.look(between, health) {
            let error = errors.entry(currency).or_default();
            *error = error.plus(absolute(sum));
        }
        for (currency, error) in errors {
            // Only whether it is zero counts; a gauge is no place for exact money.
            let error: f64 = error.to_string().parse().unwrap_or(f64::NAN);
            ::metrics::gauge!(metrics::CONSERVATION_ERROR, "currency" => currency.to_string()).set(error);
        }
        let (events, complete) = view.audited();
        let ratio = if events == 0 { 1.0 } else { complete as f64 / events as f64 };
        ::metrics::gauge!(metrics::AUDIT_COMPLETE_RATIO).set(ratio);
        kinds.values_mut().for_each(|count| *count = 0);
        for saga in view.open_sagas() {
            *kinds.entry(saga.kind).or_default() += 1;
        }
        for (kind, count) in &kinds {
            ::metrics::gauge!(metrics::SAGAS_OPEN, "type" => *kind).set(*count as f64);
        }
    }
}

/// Whether the view includes everything that is in the journals.
async fn is_at_the_ends(log: &Arc<dyn Log>, view: &View) -> bool {
    for shard in 0..view.shards() {
        let included = view.progress(shard).get().journal_next;
        if !log.end(JOURNAL, shard).await.is_ok_and(|end| end <= included) {
            return false;
        }
    }
    true
}

fn absolute(sum: Money) -> Money {
    if sum < Money::ZERO { sum.negated() } else { sum }
}

/// Money that is on its way between shards although no saga is open.
///
/// The view of one shard may be ahead of another's, so for a moment that is nothing strange; the same sum in a row of
/// looks is. While sagas come and go all the time there is no such row: this looks when it is quiet.
#[derive(Debug, Default)]
struct Stranded {
    last: BTreeMap<Currency, Money>,
    seen: u32,
}

/// So many looks in a row, a second apart.
const STRANDED_AFTER: u32 = 5;

impl Stranded {
    /// What is stranded for certain, and says so.
    fn look(&mut self, now: BTreeMap<Currency, Money>, health: &Health) -> BTreeMap<Currency, Money> {
        self.seen = if now == self.last { self.seen + 1 } else { 1 };
        self.last = now;
        if self.last.is_empty() || self.seen < STRANDED_AFTER {
            health.conserved();
            return BTreeMap::new();
        }
        let sums: Vec<String> = self.last.iter().map(|(currency, sum)| format!("{sum} {currency}")).collect();
        health.not_conserved(format!("no saga is open, and {} are between the shards", sums.join(", ")));
        self.last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::ops::Readiness;

    #[test]
    fn what_stays_between_the_shards_is_stranded_and_what_passes_is_not() {
        let readiness = Readiness::new();
        let health = Health::new(readiness.clone());
        let mut stranded = Stranded::default();
        let euros = |amount: u32| BTreeMap::from([(Currency::new("EUR").unwrap(), Money::new(amount.into()).unwrap())]);
        for amount in 10..30 {
            assert_eq!(stranded.look(euros(amount), &health), BTreeMap::new(), "it moves");
        }
        for _ in 1..STRANDED_AFTER {
            assert_eq!(stranded.look(euros(7), &health), BTreeMap::new());
        }
        assert_eq!(readiness.reasons(), Vec::<String>::new());
        assert_eq!(stranded.look(euros(7), &health), euros(7));
        assert_eq!(readiness.reasons(), ["conservation: no saga is open, and 7 EUR are between the shards"]);
        assert_eq!(stranded.look(BTreeMap::new(), &health), BTreeMap::new());
        assert_eq!(readiness.reasons(), Vec::<String>::new());
    }
}
