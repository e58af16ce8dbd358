//! What is asked of the projections: as [`ReadModel`], and what only the samples ask.

use super::projector::{Applied, Seen};
use super::queries::About;
use super::store::{Error, Store, number, offset};
use crate::analytics::{Daily, Day};
use crate::view::Cursor;
use crate::view::read_model::{Answer, HistoryQuery, Projection, ReadModel, Standing, Unanswered};
use engine_domain::{AccountId, Currency, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use host::clock;
use tokio::sync::watch;
use wire::billing::TransactionPage;

/// The projections, for queries.
#[derive(Debug, Clone)]
pub struct Projections {
    pub(super) store: Store,
    pub(super) ledger: String,
    pub(super) shards: u32,
    pub(super) progress: Seen,
}

impl Projections {
    fn progress(&self, projection: Projection, shard: u32) -> &watch::Receiver<Applied> {
        &self.progress[&projection][shard as usize]
    }

    /// A question about these shards, whose answer has to include what is known to have been applied.
    fn about<'a>(
        &'a self,
        projection: Projection,
        account: Option<&'a AccountId>,
        shards: impl Iterator<Item = u32>,
    ) -> Result<About<'a>, Unanswered> {
        let ledger = self.ledger.as_str();
        let mut about = About { projection, ledger, account, shards: Vec::new(), applied: Vec::new() };
        for shard in shards {
            let Some(known) = self.progress(projection, shard).borrow().known else {
                let name = projection.as_str();
                let behind = format!("the projection `{name}` of shard {shard} has not begun, or not caught up since");
                return Err(Unanswered { why: behind, is_wrong: false });
            };
            about.shards.push(number(shard));
            about.applied.push(offset(known));
        }
        Ok(about)
    }

    /// What the database answers in time.
    async fn answered<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        clock::timeout(self.store.answer_within(), asked).await.unwrap_or(Err(Error::Silent))
    }

    /// Whether what is said of now is what was said last, of each of these accounts.
    pub(super) async fn is_current(&self, accounts: &[(AccountId, u32)]) -> Result<bool, Error> {
        self.answered(self.store.is_current(accounts)).await
    }

    /// How many rows of the live build of a projection are known to be wrong.
    pub(super) async fn known_wrong(&self, projection: Projection) -> Result<u64, Error> {
        self.answered(self.store.known_wrong(projection)).await
    }
}

impl ReadModel for Projections {
    fn includes(&self, projection: Projection, shard: u32, journal_next: u64) -> BoxFuture<'_, ()> {
        async move {
            let mut progress = self.progress(projection, shard).clone();
            let includes = |applied: &Applied| applied.known.is_some_and(|known| known >= journal_next);
            if progress.wait_for(includes).await.is_err() {
                // Nobody projects any more: whoever waits has a deadline.
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }

    fn standings_at<'a>(
        &'a self,
        account: &'a AccountId,
        shards: &'a [u32],
        at: Timestamp,
    ) -> Answer<'a, Vec<Standing>> {
        async move {
            let about = self.about(Projection::Balance, Some(account), shards.iter().copied())?;
            Ok(self.answered(self.store.standings_at(&about, at)).await?)
        }
        .boxed()
    }

    fn history<'a>(&'a self, query: &'a HistoryQuery<'a>) -> Answer<'a, TransactionPage> {
        async move {
            let about = self.about(Projection::History, Some(query.account), 0..self.shards)?;
            Ok(self.answered(self.store.history(&about, query)).await?)
        }
        .boxed()
    }

    fn transactions<'a>(
        &'a self,
        since: Option<Timestamp>,
        after: Option<&'a Cursor>,
        limit: usize,
    ) -> Answer<'a, TransactionPage> {
        async move {
            let about = self.about(Projection::History, None, 0..self.shards)?;
            Ok(self.answered(self.store.transactions(&about, since, after, limit)).await?)
        }
        .boxed()
    }

    fn daily(&self, currency: Currency, first: Day, last: Day) -> Answer<'_, Daily> {
        async move {
            let about = self.about(Projection::History, None, 0..self.shards)?;
            Ok(self.answered(self.store.daily(&about, currency, first, last)).await?)
        }
        .boxed()
    }
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Unanswered { why: error.to_string(), is_wrong: error.is_wrong_row() }
    }
}
