//! Compares samples of the projections with what this process has folded itself, all the time.
//!
//! Memory is asked before and after the database, and the database only once it includes all that memory did: what memory
//! answers twice in the same way, the database has to answer so too.

use super::mismatches::Mismatches;
use super::projector::Projections;
use crate::analytics::day_at;
use crate::view::read_model::{HistoryQuery, Projection, ReadModel, Standing, Unanswered};
use crate::view::{Cursor, HistoryFilter, View};
use engine_domain::{AccountId, Timestamp};
use host::clock;
use host::task::Shutdown;
use std::time::Duration;
use wire::billing::TransactionPage;

/// How often samples are taken.
const EVERY: Duration = Duration::from_secs(1);
/// The database is waited for so long.
const INCLUDED_WITHIN: Duration = Duration::from_secs(5);
/// A sample that changes all the time is left for another one.
const TRIES: usize = 3;
/// Accounts that are looked at each time,
const ACCOUNTS: usize = 3;
/// and changes of each.
const CHANGES: usize = 12;
/// Entries of a history or list that are compared at once.
const LIMIT: usize = 50;
/// Wrong samples that are looked at again, until they are right.
const KEPT: usize = 100;

/// Takes samples.
pub(crate) struct Sampling {
    pub(crate) view: View,
    pub(crate) projections: Projections,
    pub(crate) mismatches: Mismatches,
}

/// A question that both are asked.
#[derive(Debug, Clone)]
enum Sample {
    Standings { account: AccountId, at: Timestamp },
    History { account: AccountId, before: Cursor },
    Transactions { after: Cursor },
    Daily { at: Timestamp, account: AccountId },
}

/// The answer to one of them.
#[derive(Debug, PartialEq)]
enum Said {
    Standings(Vec<Standing>),
    Page(TransactionPage),
    Daily(crate::analytics::Daily),
    /// There is no such account.
    Nothing,
}

impl Sample {
    fn projection(&self) -> Projection {
        match self {
            Sample::Standings { .. } => Projection::Balance,
            Sample::History { .. } | Sample::Transactions { .. } | Sample::Daily { .. } => Projection::History,
        }
    }
}

impl Sampling {
    /// Takes samples until `shutdown`.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut random = fastrand::Rng::with_seed(host::random::u64());
        let mut ticks = clock::interval(EVERY);
        let mut wrong: Vec<Sample> = Vec::new();
        loop {
            tokio::select! {
                () = shutdown.stopped() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.stopped() => return,
                () = self.look(&mut random, &mut wrong) => {}
            }
        }
    }

    /// Looks at what was wrong, and at new samples.
    async fn look(&self, random: &mut fastrand::Rng, wrong: &mut Vec<Sample>) {
        let known = wrong.len();
        let samples = std::mem::take(wrong).into_iter().chain(self.samples(random));
        for (index, sample) in samples.enumerate() {
            match self.differs(&sample).await {
                Some(true) => {
                    if index >= known {
                        tracing::error!(?sample, "a projection says something else than the log");
                    }
                    wrong.push(sample);
                }
                // Not known: what was wrong stays so.
                None if index < known => wrong.push(sample),
                Some(false) | None => {}
            }
        }
        wrong.truncate(KEPT);
        for projection in Projection::ALL {
            let rows = wrong.iter().filter(|sample| sample.projection() == projection).count();
            self.mismatches.sampled(projection, rows as u64);
        }
    }

    fn samples(&self, random: &mut fastrand::Rng) -> Vec<Sample> {
        let mut samples = Vec::new();
        for _ in 0..ACCOUNTS {
            let Some((account, changes)) = self.view.some_changes(random, CHANGES) else { continue };
            let before = self.place(random);
            samples.extend(changes.first().map(|at| Sample::Daily { at: *at, account: account.clone() }));
            samples.push(Sample::History { account: account.clone(), before });
            samples.push(Sample::Transactions { after: self.place(random) });
            samples.extend(changes.into_iter().map(|at| Sample::Standings { account: account.clone(), at }));
        }
        samples
    }

    /// Somewhere among all transactions.
    fn place(&self, random: &mut fastrand::Rng) -> Cursor {
        Cursor::new(self.view.requests().into_iter().map(|count| random.usize(..=count)).collect())
    }

    /// Whether the database says something else; `None` if that cannot be told now.
    async fn differs(&self, sample: &Sample) -> Option<bool> {
        for _ in 0..TRIES {
            let before = self.ask(&self.view, sample).await.ok()?;
            for shard in 0..self.view.shards() {
                let included = self.view.progress(shard).borrow().journal_next;
                let catches_up = self.projections.includes(sample.projection(), shard, included);
                clock::timeout(INCLUDED_WITHIN, catches_up).await.ok()?;
            }
            let said = self.ask(&self.projections, sample).await.ok()?;
            if self.ask(&self.view, sample).await.ok()? == before {
                return Some(said != before);
            }
        }
        None
    }

    async fn ask(&self, model: &dyn ReadModel, sample: &Sample) -> Result<Said, Unanswered> {
        Ok(match sample {
            Sample::Standings { account, at } => {
                let Some(shards) = self.view.shards_of(account) else { return Ok(Said::Nothing) };
                Said::Standings(model.standings_at(account, &shards, *at).await?)
            }
            Sample::History { account, before } => {
                let Some(made_at) = self.view.made_at(account) else { return Ok(Said::Nothing) };
                let filter = HistoryFilter::default();
                let query = HistoryQuery { account, made_at, before: Some(before), limit: LIMIT, filter };
                Said::Page(without_next(model.history(&query).await?))
            }
            Sample::Transactions { after } => {
                Said::Page(without_next(model.transactions(None, Some(after), LIMIT).await?))
            }
            Sample::Daily { at, account } => {
                let Some(currency) = self.view.currency_of(account) else { return Ok(Said::Nothing) };
                let day = day_at(at.0);
                Said::Daily(model.daily(currency, day, day).await?)
            }
        })
    }
}

/// Where a page ends is a matter of what was skipped: the same place can be written in several ways.
fn without_next(page: TransactionPage) -> TransactionPage {
    TransactionPage { next: None, ..page }
}
