//! What a shard's part of the view keeps, taken out for a snapshot and put back from one.

use super::View;
use super::fold::{OpenedSaga, ShardView};
use super::rows::{AccountRow, TransactionRow};
use engine_domain::saga::Saga;
use engine_domain::{AccountId, SagaId, Timestamp};

/// All that cannot be derived from the rest.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) accounts: Vec<(AccountId, AccountRow)>,
    /// In the order in which they were asked for.
    pub(crate) transactions: Vec<TransactionRow>,
    /// Each with when it began.
    pub(crate) sagas: Vec<(SagaId, Saga, Timestamp)>,
    /// The newest outcome: its time, and the command it decided.
    pub(crate) at: Timestamp,
    pub(crate) last_source: Option<u64>,
    /// Events, and those of them whose envelope is complete.
    pub(crate) audited: (u64, u64),
}

impl View {
    /// The row of an account, or of the stripe of one, on this shard.
    pub(crate) fn account_row(&self, shard: u32, id: &AccountId) -> Option<AccountRow> {
        self.read(shard).accounts.get(id).cloned()
    }

    /// Calls `show` with all transactions that were asked for on this shard, in order.
    pub(crate) fn each_transaction(&self, shard: u32, show: impl FnMut(&TransactionRow)) {
        self.read(shard).transactions.iter().for_each(show);
    }

    /// When a saga under way began.
    pub(crate) fn saga_since(&self, id: SagaId) -> Option<Timestamp> {
        self.read(id.shard).sagas.get(&id).map(|opened| opened.since)
    }

    /// From now on a shard's part is this.
    pub(crate) fn restore(&self, shard: u32, kept: Kept) {
        *self.write(shard) = ShardView::of(kept);
    }
}

impl ShardView {
    fn of(kept: Kept) -> Self {
        let mut view = Self::default();
        for (id, row) in kept.accounts {
            let sum = view.sums.entry(row.state.currency).or_default();
            *sum = sum.plus(row.state.balance);
            view.ids.insert(id.as_str().into());
            view.accounts.insert(id, row);
        }
        kept.transactions.into_iter().for_each(|row| view.put_back(row));
        for (id, saga, since) in kept.sagas {
            view.sagas.insert(id, OpenedSaga { saga, since });
        }
        (view.at, view.last_source, view.audited) = (kept.at, kept.last_source, kept.audited);
        view
    }
}
