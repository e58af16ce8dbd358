//! The port through which queries look back: in memory ([`View`]) or in a database ([`crate::postgres`]).

use super::cursor::Cursor;
use super::{HistoryFilter, View};
use crate::analytics::{Daily, Day};
use engine_domain::{AccountId, Currency, Money, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use wire::billing::TransactionPage;

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

/// What is kept apart, and may be behind or missing apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Projection {
    /// How accounts stand and stood.
    Balance,
    /// Transactions, and what became of them per day.
    History,
}

impl Projection {
    /// All of them.
    pub const ALL: [Projection; 2] = [Projection::Balance, Projection::History];

    /// As operators name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Projection::Balance => "balance",
            Projection::History => "history",
        }
    }
}

impl std::str::FromStr for Projection {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Projection::ALL.into_iter().find(|projection| projection.as_str() == text).ok_or(())
    }
}

/// A page of an account's history.
#[derive(Debug)]
pub struct HistoryQuery<'a> {
    /// Whose.
    pub account: &'a AccountId,
    /// When it was made: a refusal before that names an account that was not there.
    pub made_at: Timestamp,
    /// Where the page before ended.
    pub before: Option<&'a Cursor>,
    /// Entries at most.
    pub limit: usize,
    /// Which of them.
    pub filter: HistoryFilter,
}

/// A query cannot be answered now.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unanswered {
    /// Why not.
    pub why: String,
    /// What is kept is not what was written: asking again does not help.
    pub is_wrong: bool,
}

/// The answer to a query.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Unanswered>>;

/// What the accepted outcomes add up to, for queries that look back.
pub trait ReadModel: Send + Sync {
    /// Waits until everything before `journal_next` of a shard's journal is included. Whoever waits has a deadline.
    fn includes(&self, projection: Projection, shard: u32, journal_next: u64) -> BoxFuture<'_, ()>;

    /// How an account stood at a point in time: one entry per stripe that was there, of those on `shards`.
    ///
    /// # Errors
    /// [`Unanswered`].
    fn standings_at<'a>(
        &'a self,
        account: &'a AccountId,
        shards: &'a [u32],
        at: Timestamp,
    ) -> Answer<'a, Vec<Standing>>;

    /// The history of an account, newest first.
    ///
    /// # Errors
    /// [`Unanswered`].
    fn history<'a>(&'a self, query: &'a HistoryQuery<'a>) -> Answer<'a, TransactionPage>;

    /// All transactions, oldest first: from `since` on, behind `after`.
    ///
    /// # Errors
    /// [`Unanswered`].
    fn transactions<'a>(
        &'a self,
        since: Option<Timestamp>,
        after: Option<&'a Cursor>,
        limit: usize,
    ) -> Answer<'a, TransactionPage>;

    /// What became of transactions in a currency, per day from `first` to `last`.
    ///
    /// # Errors
    /// [`Unanswered`].
    fn daily(&self, currency: Currency, first: Day, last: Day) -> Answer<'_, Daily>;
}

impl ReadModel for View {
    fn includes(&self, _: Projection, shard: u32, journal_next: u64) -> BoxFuture<'_, ()> {
        async move {
            self.progress(shard).wait_for(|progress| progress.journal_next >= journal_next).await;
        }
        .boxed()
    }

    fn standings_at<'a>(
        &'a self,
        account: &'a AccountId,
        shards: &'a [u32],
        at: Timestamp,
    ) -> Answer<'a, Vec<Standing>> {
        answered(self.stood(account, shards, at))
    }

    fn history<'a>(&'a self, query: &'a HistoryQuery<'a>) -> Answer<'a, TransactionPage> {
        answered(View::history(self, query))
    }

    fn transactions<'a>(
        &'a self,
        since: Option<Timestamp>,
        after: Option<&'a Cursor>,
        limit: usize,
    ) -> Answer<'a, TransactionPage> {
        answered(View::transactions(self, since, after, limit))
    }

    fn daily(&self, currency: Currency, first: Day, last: Day) -> Answer<'_, Daily> {
        answered(View::daily(self, currency, first, last))
    }
}

/// Memory answers at once.
fn answered<'a, T: Send + 'a>(answer: T) -> Answer<'a, T> {
    std::future::ready(Ok(answer)).boxed()
}
