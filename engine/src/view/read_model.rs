//! The port through which queries look back: in memory ([`View`]) or in a database ([`crate::postgres`]).

use super::View;
use engine_domain::{AccountId, Money, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// How an account, or a stripe of one, stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its balance.
    pub balance: Money,
    /// The part of it that is set aside.
    pub reserved: Money,
    /// Its version.
    pub version: u64,
}

/// A query cannot be answered now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// What the accepted outcomes add up to, for queries that look back.
pub trait ReadModel: Send + Sync {
    /// Waits until everything before `journal_next` of a shard's journal is included. Whoever waits has a deadline.
    fn includes(&self, shard: u32, journal_next: u64) -> BoxFuture<'_, ()>;

    /// How an account stood at a point in time: one entry per stripe that was there, of those on `shards`.
    ///
    /// # Errors
    /// [`Unanswered`].
    fn standings_at<'a>(
        &'a self,
        account: &'a AccountId,
        shards: &'a [u32],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Standing>, Unanswered>>;
}

impl ReadModel for View {
    fn includes(&self, shard: u32, journal_next: u64) -> BoxFuture<'_, ()> {
        async move {
            let mut progress = self.progress(shard);
            // The sender lives as long as the view.
            let _ = progress.wait_for(|progress| progress.journal_next >= journal_next).await;
        }
        .boxed()
    }

    fn standings_at<'a>(
        &'a self,
        account: &'a AccountId,
        shards: &'a [u32],
        at: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Standing>, Unanswered>> {
        let stood = self.stood(account, shards, at);
        std::future::ready(Ok(stood)).boxed()
    }
}
