//! Pages over all shards.
//!
//! Shards write independently, so a list over all of them is merged by time as far as it goes, and a cursor holds
//! one place per shard: a page continues exactly where the last one ended, whatever was written in between.

use super::cursor::{Cursor, NotACursor};
use super::fold::ShardView;
use super::read_model::HistoryQuery;
use super::rows::TransactionRow;
use super::{HistoryFilter, View, render};
use engine_domain::{Text, Timestamp};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::RwLockReadGuard;
use wire::billing;

/// Entries looked at for one page: a filter that matches nearly nothing ends the page early, with a cursor.
const LOOKED_AT: usize = 20_000;

impl View {
    /// Reads the text form of a cursor.
    ///
    /// # Errors
    /// When no page of this ledger ended with it.
    pub fn cursor(&self, text: &str) -> Result<Cursor, NotACursor> {
        Cursor::parse(text, self.0.len())
    }

    /// Accounts in the order of their ids, behind `after`; in-transit accounts as well.
    pub fn accounts(&self, after: Option<&str>, limit: usize) -> billing::AccountPage {
        let mut ids: BTreeSet<Text> = BTreeSet::new();
        for shard in 0..self.shards() {
            let view = self.read(shard);
            // One more than fits says whether there is a next page.
            let behind = view.ids.range::<str, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
            ids.extend(behind.take(limit + 1).cloned());
        }
        let more = ids.len() > limit;
        let accounts: Vec<_> = ids.iter().take(limit).filter_map(|id| self.account(id)).collect();
        let next = accounts.last().filter(|_| more).map(|account| account.account_id.clone());
        billing::AccountPage { accounts, next }
    }

    /// The history of an account, newest first.
    pub fn history(&self, query: &HistoryQuery<'_>) -> billing::TransactionPage {
        let HistoryQuery { account, made_at, before, limit, filter } = query;
        let views = self.read_all();
        let histories: Vec<&[usize]> = views.iter().map(|view| view.history(account)).collect();
        // Per shard: what is still to be shown has a lower number than this, and how many entries these are.
        let mut places: Vec<usize> = (0..views.len())
            .map(|shard| {
                let all = views[shard].transactions.len();
                before.map_or(all, |cursor| cursor.place(shard).min(all))
            })
            .collect();
        let mut left: Vec<usize> =
            histories.iter().zip(&places).map(|(history, place)| history.partition_point(|it| it < place)).collect();
        let row = |shard: usize, left: usize| &views[shard].transactions[histories[shard][left - 1]];
        let mut page = Page::new(*limit);
        loop {
            let newest = (0..left.len()).filter(|&shard| left[shard] > 0);
            let Some(shard) = newest.max_by_key(|&shard| row(shard, left[shard]).created_at) else { break };
            let row = row(shard, left[shard]);
            // A refusal names accounts that are not there; it is not in the history of one made later.
            let fits = filter.fits(row) && row.created_at >= *made_at;
            if page.ends_before(fits) {
                page.next = Some(Cursor::new(places));
                break;
            }
            left[shard] -= 1;
            places[shard] = histories[shard][left[shard]];
            page.take(row, fits);
        }
        page.finish()
    }

    /// All transactions, oldest first: from `since` on, behind `after`.
    pub fn transactions(
        &self,
        since: Option<Timestamp>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> billing::TransactionPage {
        let views = self.read_all();
        let since = since.unwrap_or(Timestamp(i64::MIN));
        let mut places: Vec<usize> = views
            .iter()
            .enumerate()
            .map(|(shard, view)| {
                let begin = view.transactions.partition_point(|row| row.created_at < since);
                after.map_or(begin, |cursor| cursor.place(shard).max(begin))
            })
            .collect();
        let mut page = Page::new(limit);
        loop {
            let open =
                (0..places.len()).filter_map(|shard| Some((shard, views[shard].transactions.get(places[shard])?)));
            let Some((shard, row)) = open.min_by_key(|(_, row)| row.created_at) else { break };
            let fits = row.status().is_some();
            if page.ends_before(fits) {
                page.next = Some(Cursor::new(places));
                break;
            }
            places[shard] += 1;
            page.take(row, fits);
        }
        page.finish()
    }

    /// All parts at once. A writer holds one lock and waits for none, so readers may hold all.
    fn read_all(&self) -> Vec<RwLockReadGuard<'_, ShardView>> {
        (0..self.shards()).map(|shard| self.read(shard)).collect()
    }
}

impl HistoryFilter {
    fn fits(&self, row: &TransactionRow) -> bool {
        row.status().is_some_and(|status| {
            self.kind.is_none_or(|kind| kind == row.kind) && self.status.is_none_or(|wanted| wanted == status)
        })
    }
}

/// A page being filled.
struct Page {
    limit: usize,
    looked_at: usize,
    transactions: Vec<billing::TransactionResult>,
    next: Option<Cursor>,
}

impl Page {
    fn new(limit: usize) -> Self {
        Self { limit, looked_at: 0, transactions: Vec::new(), next: None }
    }

    /// Whether an entry belongs on the next page.
    fn ends_before(&self, fits: bool) -> bool {
        (fits && self.transactions.len() == self.limit) || self.looked_at == LOOKED_AT
    }

    fn take(&mut self, row: &TransactionRow, fits: bool) {
        self.looked_at += 1;
        if fits {
            self.transactions.extend(render::transaction(row));
        }
    }

    fn finish(self) -> billing::TransactionPage {
        billing::TransactionPage { transactions: self.transactions, next: self.next.map(|next| next.to_string()) }
    }
}
