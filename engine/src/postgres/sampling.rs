//! Compares the projections with what this process has folded itself, all the time: a few changes of accounts and a page of
//! transactions at each look, one after the other until all were looked at, and histories and days at random.
//!
//! What the database says of now is compared with what it said last of each account that was looked at.
//!
//! Memory is asked before and after the database, and the database only once it includes all that memory did: what memory
//! answers twice in the same way, the database has to answer so too.

use super::mismatches::Mismatches;
use super::projections::Projections;
use crate::analytics::day_at;
use crate::view::read_model::{HistoryQuery, Projection, ReadModel, Standing, Unanswered};
use crate::view::{ChangePlace, Cursor, HistoryFilter, View};
use engine_domain::{AccountId, Timestamp};
use host::clock;
use host::task::Shutdown;
use std::collections::BTreeSet;
use std::time::Duration;
use wire::billing::TransactionPage;

/// How often samples are taken.
const EVERY: Duration = Duration::from_secs(1);
/// The database is waited for so long.
const INCLUDED_WITHIN: Duration = Duration::from_secs(5);
/// A sample that changes all the time is left for another one.
const TRIES: usize = 3;
/// Changes of accounts that are looked at each time.
const CHANGES: usize = 40;
/// Entries of a history or list that are compared at once.
const LIMIT: usize = 50;
/// So often a sample has to be wrong.
const WRONG_IN_LOOKS: u32 = 2;
/// Wrong samples that are looked at again, until they are right.
const KEPT: usize = 100;

/// Takes samples.
pub(crate) struct Sampling {
    pub(crate) view: View,
    pub(crate) projections: Projections,
    pub(crate) mismatches: Mismatches,
}

/// How far the looks at everything are.
struct Round {
    change: ChangePlace,
    /// Behind this one; `None` at the beginning.
    transaction: Option<Cursor>,
}

/// A question that both are asked.
#[derive(Debug, Clone)]
enum Sample {
    Standings {
        account: AccountId,
        at: Timestamp,
    },
    History {
        account: AccountId,
        before: Cursor,
    },
    Transactions {
        after: Cursor,
    },
    Daily {
        at: Timestamp,
        account: AccountId,
    },
    /// Not of both: whether the database says of now what it said last, which the standings compare.
    Current {
        accounts: BTreeSet<AccountId>,
    },
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
            Sample::Standings { .. } | Sample::Current { .. } => Projection::Balance,
            Sample::History { .. } | Sample::Transactions { .. } | Sample::Daily { .. } => Projection::History,
        }
    }
}

impl Sampling {
    /// Takes samples until `shutdown`.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut ticks = clock::interval(EVERY);
        let mut round = Round { change: ChangePlace::default(), transaction: None };
        let mut wrong = Vec::new();
        loop {
            tokio::select! {
                () = shutdown.stopped() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.stopped() => return,
                () = self.look(&mut round, &mut wrong) => {}
            }
        }
    }

    /// Looks at what was wrong, and at new samples. The database may be ahead of memory for a moment: what counts is what
    /// is wrong in two looks.
    async fn look(&self, round: &mut Round, wrong: &mut Vec<(Sample, u32)>) {
        let again = std::mem::take(wrong);
        let new = self.samples(round).into_iter().map(|sample| (sample, 0));
        for (sample, looks) in again.into_iter().chain(new) {
            match self.differs(&sample).await {
                Some(true) => {
                    if looks + 1 == WRONG_IN_LOOKS {
                        tracing::error!(?sample, "a projection says something else than the log");
                    }
                    wrong.push((sample, looks.saturating_add(1)));
                }
                // Not known: what was wrong stays so.
                None if looks > 0 => wrong.push((sample, looks)),
                Some(false) | None => {}
            }
        }
        wrong.truncate(KEPT);
        for projection in Projection::ALL {
            let rows = wrong
                .iter()
                .filter(|(sample, looks)| sample.projection() == projection && *looks >= WRONG_IN_LOOKS)
                .count();
            self.mismatches.sampled(projection, rows as u64);
            if let Ok(rows) = self.projections.known_wrong(projection).await {
                self.mismatches.kept(projection, rows);
            }
        }
    }

    fn samples(&self, round: &mut Round) -> Vec<Sample> {
        let changes = self.view.changes_behind(&mut round.change, CHANGES);
        let after = round.transaction.take().unwrap_or_else(|| self.beginning());
        let page = self.view.transactions(None, Some(&after), LIMIT);
        round.transaction = page.next.and_then(|next| self.view.cursor(&next).ok());
        let mut samples = vec![Sample::Transactions { after }];
        if let Some((account, at)) = changes.get(below(changes.len())) {
            let before = self.place();
            samples.push(Sample::History { account: account.clone(), before });
            samples.push(Sample::Daily { at: *at, account: account.clone() });
        }
        samples.push(Sample::Current { accounts: changes.iter().map(|(account, _)| account.clone()).collect() });
        samples.extend(changes.into_iter().map(|(account, at)| Sample::Standings { account, at }));
        samples
    }

    fn beginning(&self) -> Cursor {
        Cursor::new(vec![0; self.view.requests().len()])
    }

    /// Somewhere among all transactions.
    fn place(&self) -> Cursor {
        Cursor::new(self.view.requests().into_iter().map(|count| below(count + 1)).collect())
    }

    /// Whether the database says something else; `None` if that cannot be told now.
    async fn differs(&self, sample: &Sample) -> Option<bool> {
        if let Sample::Current { accounts } = sample {
            let shards = |account: &AccountId| self.view.shards_of(account).unwrap_or_default();
            let everywhere =
                accounts.iter().flat_map(|id| shards(id).into_iter().map(move |shard| (id.clone(), shard)));
            return match self.projections.is_current(&Vec::from_iter(everywhere)).await {
                Ok(is_current) => Some(!is_current),
                Err(error) => error.is_wrong_row().then_some(true),
            };
        }
        for _ in 0..TRIES {
            let before = self.ask(&self.view, sample).await.ok()?;
            for shard in 0..self.view.shards() {
                let included = self.view.progress(shard).get().journal_next;
                let catches_up = self.projections.includes(sample.projection(), shard, included);
                clock::timeout(INCLUDED_WITHIN, catches_up).await.ok()?;
            }
            let said = match self.ask(&self.projections, sample).await {
                Ok(said) => said,
                // A row that no projector writes is wrong, whatever memory says.
                Err(unanswered) => return unanswered.is_wrong.then_some(true),
            };
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
            // Asked of the database alone.
            Sample::Current { .. } => Said::Nothing,
            Sample::Daily { at, account } => {
                let Some(currency) = self.view.currency_of(account) else { return Ok(Said::Nothing) };
                let day = day_at(at.0);
                Said::Daily(model.daily(currency, day, day).await?)
            }
        })
    }
}

/// A random number below that one; 0 if there is none.
fn below(end: usize) -> usize {
    usize::try_from(host::random::u64() % (end.max(1) as u64)).unwrap_or(0)
}

/// Where a page ends is a matter of what was skipped: the same place can be written in several ways.
fn without_next(page: TransactionPage) -> TransactionPage {
    TransactionPage { next: None, ..page }
}
