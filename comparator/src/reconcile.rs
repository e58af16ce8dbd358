//! Reconciliation: the balances of all accounts in both systems, compared as a sorted merge between two marks.
//!
//! An account counts only if no exchange on it was under way between the marks, which the index knows once it has
//! seen both from every front. What open discrepancies do not explain is looked for in the histories; what is left
//! then is a discrepancy of its own, `account@id of the reconciliation`.

mod tally;

use crate::decisions::Decisions;
use crate::index::AccountState;
use crate::ingest::Ingest;
use crate::inquiry::{self, Inquirer};
use crate::marks::{Marks, NoMark, new_id};
use crate::merge::DECISIONS;
use crate::rollout::Request;
use crate::systems::{Accounts, ReadFailed, Systems};
use host::clock;
use std::sync::Arc;
use std::time::Duration;
use tally::{Different, Kind, Tally};
use wire::billing::Account;
use wire::decision::{DecisionBody, Reconciliation};
use wire::rollout::FrontBoot;
use wire::scalar::Timestamp;
use wire::words::System;

/// The owner of accounts that the engine keeps for itself.
const ENGINE_OWNER: &str = "crossfade";
/// How long the index may take to fold what was just appended, or to catch up before a run.
const FOLDED_WITHIN: Duration = Duration::from_secs(10);
/// Progress is logged after so many accounts.
const PROGRESS_EVERY: usize = 50_000;
/// Accounts whose state is looked up while the index stands still.
const LOOK: usize = 1_000;

/// A reconciliation did not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another one runs.
    #[error("another reconciliation runs: wait for its end")]
    UnderWay,
    /// The index does not know what is in the log yet.
    #[error("the index has not caught up with the log")]
    Behind,
    /// It took too long.
    #[error("the reconciliation was given up after {0} ms (comparator.reconcile_timeout_ms)")]
    TimedOut(u128),
    /// A system could not be read.
    #[error(transparent)]
    Reading(#[from] ReadFailed),
    /// The log did not take it.
    #[error("cannot write down the result: {0}")]
    Writing(String),
}

impl From<inquiry::Error> for Error {
    fn from(error: inquiry::Error) -> Self {
        match error {
            inquiry::Error::Reading(failed) => Error::Reading(failed),
            inquiry::Error::Writing(why) => Error::Writing(why),
        }
    }
}

/// Runs reconciliations, one at a time.
pub struct Reconciler {
    ingest: Arc<Ingest>,
    decisions: Arc<Decisions>,
    marks: Arc<Marks>,
    inquirer: Arc<Inquirer>,
    systems: Systems,
    timeout: Duration,
    running: tokio::sync::Mutex<()>,
}

/// The two marks of a run, and why the run says nothing when they are missing.
struct Between {
    first: String,
    second: String,
    not_comparable_because: Option<String>,
}

impl Reconciler {
    /// Compares what `systems` say.
    pub fn new(
        ingest: Arc<Ingest>,
        decisions: Arc<Decisions>,
        marks: Arc<Marks>,
        inquirer: Arc<Inquirer>,
        systems: Systems,
        timeout: Duration,
    ) -> Self {
        Self { ingest, decisions, marks, inquirer, systems, timeout, running: tokio::sync::Mutex::new(()) }
    }

    /// Compares all accounts, and answers once the result is in the log. Goes on when its caller goes away.
    ///
    /// # Errors
    /// [`Error`]; the result is not in the log then.
    pub async fn run(self: &Arc<Self>, by: Request) -> Result<Reconciliation, Error> {
        let reconciler = self.clone();
        let task = host::task::spawn(async move {
            let Ok(_running) = reconciler.running.try_lock() else { return Err(Error::UnderWay) };
            let id = new_id();
            tracing::info!(id, actor = by.actor, "a reconciliation begins");
            let outcome = clock::timeout(reconciler.timeout, reconciler.compare(&id, &by)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(Error::TimedOut(reconciler.timeout.as_millis())));
            if let Err(error) = &outcome {
                tracing::error!(id, %error, "a reconciliation did not come to an end");
            }
            outcome
        });
        task.await.unwrap_or_else(|error| Err(Error::Writing(format!("the run was interrupted: {error}"))))
    }

    async fn compare(&self, id: &str, by: &Request) -> Result<Reconciliation, Error> {
        let started_at = Timestamp(clock::unix_micros());
        if !self.ingest.settle(FOLDED_WITHIN).await {
            return Err(Error::Behind);
        }
        let (first, second) = (format!("{id}.first"), format!("{id}.second"));
        let before = self.marks.ask(&first).await;
        let mut tally = self.read_both(id).await?;
        let after = self.marks.ask(&second).await;
        let between = Between { first, second, not_comparable_because: silence(before, after) };
        self.set_aside_what_was_busy(&mut tally, &between);
        if between.not_comparable_because.is_none() {
            self.explain(id, &mut tally, &between).await?;
        }
        let result = tally.conclude(id, started_at, Timestamp(clock::unix_micros()), between.not_comparable_because);
        tracing::info!(
            id,
            compared = result.compared,
            equal = result.equal,
            different = result.different,
            explained = result.explained,
            not_comparable = result.not_comparable,
            "a reconciliation has ended"
        );
        let body = DecisionBody::Reconciled(result.clone());
        let offset = self.decisions.append(&by.actor, &by.reason, body).await.map_err(Error::Writing)?;
        self.ingest.folded(DECISIONS, offset, FOLDED_WITHIN).await;
        crate::metrics::count_reconciled(&result);
        Ok(result)
    }

    /// Merges the accounts of both systems in order of their ids; a page of each is in memory.
    async fn read_both(&self, id: &str) -> Result<Tally, ReadFailed> {
        let mut legacy = Accounts::new(&self.systems, System::Legacy);
        let mut engine = Accounts::new(&self.systems, System::Engine);
        let mut tally = Tally::default();
        loop {
            let (left, right) = tokio::try_join!(legacy.peek(), engine.peek())?;
            let order = match (left, right) {
                (None, None) => return Ok(tally),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(left), Some(right)) => left.account_id.cmp(&right.account_id),
            };
            let left = if order.is_le() { legacy.take() } else { None };
            let right =
                if order.is_ge() { engine.take().filter(|right| left.is_some() || !is_internal(right)) } else { None };
            tally.add(left, right);
            if tally.seen().is_multiple_of(PROGRESS_EVERY) && tally.seen() > 0 {
                tracing::info!(id, accounts = tally.seen(), "a reconciliation goes on");
            }
        }
    }

    fn set_aside_what_was_busy(&self, tally: &mut Tally, between: &Between) {
        if between.not_comparable_because.is_some() {
            tally.set_aside_all();
            return;
        }
        tally.for_chunks(LOOK, |accounts| {
            self.ingest.look(|index| {
                let state = |account: &str| index.account_state(account, &between.first, &between.second);
                accounts.iter().map(|account| state(account).comparable).collect()
            })
        });
    }

    /// Looks for what open discrepancies do not explain, one account at a time, USER accounts first: one lost
    /// effect shows on two accounts, and is found on the first.
    async fn explain(&self, id: &str, tally: &mut Tally, between: &Between) -> Result<(), Error> {
        let order = tally.different_users_first();
        for place in order {
            let different = tally.different_at(place).clone();
            let state = self.state_of(&different, between);
            if !state.comparable {
                tally.set_aside(place);
                continue;
            }
            tally.explained_by(place, &state.explained);
            if tally.different_at(place).unexplained().is_zero() {
                continue;
            }
            let inquiry = self
                .ingest
                .look(|index| index.reconciliation_inquiry(&tally.different_at(place).difference, &between.second));
            let reason = format!("reconciliation {id} found a difference on {}", different.difference.account);
            let (offset, findings) = self.inquirer.answer(&inquiry, Some(id), &reason).await?;
            if !self.ingest.folded(DECISIONS, offset, FOLDED_WITHIN).await {
                return Err(Error::Behind);
            }
            tally.left_over(&findings);
        }
        // What was found on one account may explain another one that was looked at before.
        for place in tally.different_users_first() {
            let state = self.state_of(tally.different_at(place), between);
            tally.explained_by(place, &state.explained);
        }
        Ok(())
    }

    fn state_of(&self, different: &Different, between: &Between) -> AccountState {
        let account = &different.difference.account;
        self.ingest.look(|index| index.account_state(account, &between.first, &between.second))
    }
}

/// Why two marks say nothing of what was between them.
fn silence(before: Result<Vec<FrontBoot>, NoMark>, after: Result<Vec<FrontBoot>, NoMark>) -> Option<String> {
    match (before, after) {
        (Err(error), _) | (_, Err(error)) => Some(error.to_string()),
        (Ok(before), Ok(after)) if before != after => Some("fronts came or went meanwhile".to_owned()),
        (Ok(_), Ok(_)) => None,
    }
}

/// Whether the engine keeps this account for itself (in-transit accounts).
fn is_internal(account: &Account) -> bool {
    account.account_type == "SYSTEM" && account.owner_id == ENGINE_OWNER
}

impl Kind {
    fn of(left: Option<&Account>, right: Option<&Account>) -> Option<Self> {
        match (left, right) {
            (None, None) => None,
            (Some(_), None) => Some(Kind::OnlyLegacy),
            (None, Some(_)) => Some(Kind::OnlyEngine),
            (Some(left), Some(right)) => {
                let equal = left.balance == right.balance && left.currency == right.currency;
                Some(if equal { Kind::Equal } else { Kind::Different })
            }
        }
    }
}
