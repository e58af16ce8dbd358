//! What a shard's part of the view keeps, taken out for a snapshot and put back from one.

use super::View;
use super::fold::{OpenedSaga, ShardView};
use super::rows::{AccountRow, TransactionRow};
use engine_domain::saga::Saga;
use engine_domain::{AccountId, SagaId, Timestamp};
use wire::snapshot::Complete;

/// A part of the view that is being put together. What can be derived from the rest comes by itself.
#[derive(Debug, Default)]
pub(crate) struct Kept(ShardView);

impl Kept {
    /// An account; each comes once.
    pub(crate) fn account(&mut self, id: AccountId, row: AccountRow) {
        let sum = self.0.sums.entry(row.state.currency).or_default();
        *sum = sum.plus(row.state.balance);
        self.0.ids.insert(id.as_str().into());
        self.0.accounts.insert(id, row);
    }

    /// The next transaction, in the order in which they were asked for.
    pub(crate) fn transaction(&mut self, row: TransactionRow) {
        self.0.put_back(row);
    }

    /// A saga under way, and when it began.
    pub(crate) fn saga(&mut self, saga: Saga, since: Timestamp) {
        self.0.sagas.insert(saga.id, OpenedSaga { saga, since });
    }
}

impl View {
    /// The row of an account, or of the stripe of one, on this shard.
    pub(crate) fn account_row(&self, shard: u32, id: &AccountId) -> Option<AccountRow> {
        self.read(shard).accounts.get(id).cloned()
    }

    /// The transaction of this number, in the order in which they were asked for.
    pub(crate) fn transaction_row(&self, shard: u32, number: usize) -> Option<TransactionRow> {
        self.read(shard).transactions.get(number).cloned()
    }

    /// When a saga under way began.
    pub(crate) fn saga_since(&self, id: SagaId) -> Option<Timestamp> {
        self.read(id.shard).sagas.get(&id).map(|opened| opened.since)
    }

    /// From now on a shard's part is what a snapshot has of it.
    pub(crate) fn restore(&self, Kept(mut kept): Kept, snapshot: &Complete) {
        kept.at = Timestamp(snapshot.at.0);
        kept.last_source = snapshot.next_source.checked_sub(1);
        kept.audited = (snapshot.events, snapshot.complete_events);
        *self.write(snapshot.shard) = kept;
    }
}
