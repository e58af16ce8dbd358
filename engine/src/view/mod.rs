//! The read model in memory: what the accepted outcomes of all shards add up to, and the queries on it.
//!
//! | module | what |
//! |---|---|
//! | [`fold`] | one shard's part, and what an outcome does to it |
//! | [`kept`] | what of a shard's part goes into a snapshot, and comes back from one |
//! | [`rows`] | what is kept of an account and of a transaction |
//! | [`render`] | rows as clients see them |
//! | [`lists`] | pages over all shards |
//! | [`cursor`] | where a page ended |
//! | [`follow`] | tails a shard's journal, folds it, answers who waits |
//! | [`read_model`] | the port through which queries look back |
//! | [`trail`] | the audit trail of an account, read back from the journal |
//! | [`timeline`] | the saga of a transaction, likewise |
//!
//! Invariants: only accepted outcomes come in; a shard's part is behind its own lock, held for one batch or one
//! query, never across an await, and a writer holds one lock only. The view is separate from the owners' states,
//! which may be ahead of what was accepted.

mod cursor;
mod fold;
pub(crate) mod follow;
pub(crate) mod kept;
mod lists;
pub mod read_model;
pub(crate) mod render;
pub(crate) mod rows;
pub(crate) mod timeline;
pub(crate) mod trail;

pub use cursor::{Cursor, NotACursor};
pub(crate) use kept::Kept;

use crate::analytics::{Daily, Day};
use crate::shard::reader::Reader;
use engine_domain::transaction::Original;
use engine_domain::{AccountId, Currency, Money, Outcome, Position, SagaId, Text, Timestamp, TransactionId};
use fold::ShardView;
use host::watched::Watched;
use read_model::Standing;
use render::Total;
use rows::{AccountRow, State, TransactionRow};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use wire::billing;

/// The read model. Clones share it.
#[derive(Clone)]
pub struct View(Arc<Vec<Part>>);

/// One shard's part.
struct Part {
    view: RwLock<ShardView>,
    progress: Arc<Watched<Progress>>,
}

/// How far a part has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The offset of the journal's next record.
    pub(crate) journal_next: u64,
    /// The offset of the next command whose outcome will be accepted.
    pub(crate) source_next: u64,
}

impl Progress {
    /// That of a reader.
    pub(crate) fn of(reader: &Reader) -> Self {
        Self { journal_next: reader.next(), source_next: reader.chain().next_source() }
    }
}

/// What of a history is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Only transactions of this kind.
    pub kind: Option<engine_domain::Kind>,
    /// Only transactions in this state.
    pub status: Option<Status>,
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// A saga waits for another shard.
    Processing,
    /// It moved money.
    Completed,
    /// A rule refused it.
    Failed,
}

impl Status {
    /// As clients see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Processing => "processing",
            Status::Completed => "completed",
            Status::Failed => "failed",
        }
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Status::Processing, Status::Completed, Status::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(())
    }
}

/// What is found under a tracking id.
#[derive(Debug, Clone, PartialEq)]
pub enum ByKey {
    /// Nothing.
    Absent,
    /// One transaction.
    One(Box<billing::TransactionResult>),
    /// Several deciding accounts used the key: the account has to be named.
    Ambiguous,
}

/// A transaction with what only whoever waits for it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The transaction.
    pub result: billing::TransactionResult,
    /// Under force: the rule that was overruled.
    pub would_refuse: Option<engine_domain::Rejection>,
    /// The other system's answer, if that one refused it as authority.
    pub elsewhere: Option<engine_domain::command::Refusal>,
    /// The outcomes that touched it.
    pub position: Vec<Position>,
}

/// What the balances of a shard sum to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSum {
    /// The shard.
    pub shard: u32,
    /// The currency.
    pub currency: Currency,
    /// Zero, or money came from nowhere.
    pub sum: Money,
}

/// Where somebody is who looks at all changes of all accounts: those before `index` of this account were looked at, and all of
/// the accounts before it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChangePlace {
    shard: u32,
    account: Option<AccountId>,
    index: usize,
}

/// The balances of a shard do not sum to zero: money came from nowhere, or is gone (Law 3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("behind the outcome at offset {offset} the balances of shard {shard} sum to {sum} {currency} instead of 0")]
pub struct NotConserved {
    /// The shard.
    pub shard: u32,
    /// Where the outcome stands in the journal.
    pub offset: u64,
    /// The currency.
    pub currency: Currency,
    /// What they sum to.
    pub sum: Money,
}

/// What sagas do, as metrics name it.
pub(crate) const SAGA_KINDS: [&str; 6] = ["topup", "withdraw", "transfer", "refund", "open-stripes", "set-stripes"];

/// A saga under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSaga {
    /// Its id.
    pub saga: SagaId,
    /// What it does: one of `SAGA_KINDS`.
    pub kind: &'static str,
    /// When it began.
    pub since: Timestamp,
    /// The shard that it waits for, and the step.
    pub awaits: (u32, engine_domain::saga::Stage),
}

impl View {
    /// The empty view of a ledger.
    pub(crate) fn new(shards: u32) -> Self {
        let part = || Part { view: RwLock::default(), progress: Arc::default() };
        Self(Arc::new((0..shards).map(|_| part()).collect()))
    }

    /// How many shards the ledger has.
    pub fn shards(&self) -> u32 {
        // Made from a u32.
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn part(&self, shard: u32) -> &Part {
        &self.0[shard as usize]
    }

    fn read(&self, shard: u32) -> RwLockReadGuard<'_, ShardView> {
        self.part(shard).view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, shard: u32) -> RwLockWriteGuard<'_, ShardView> {
        self.part(shard).view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes accepted outcomes of a shard, each with its offset in the journal.
    ///
    /// # Errors
    /// [`NotConserved`] after the first outcome behind which the shard's balances do not sum to zero; it is included.
    pub(crate) fn fold(
        &self,
        shard: u32,
        outcomes: impl IntoIterator<Item = (u64, Box<Outcome>)>,
    ) -> Result<(), NotConserved> {
        let mut view = self.write(shard);
        for (offset, outcome) in outcomes {
            view.fold(*outcome, offset);
            if let Some((&currency, &sum)) = view.sums.iter().find(|(_, sum)| !sum.is_zero()) {
                return Err(NotConserved { shard, offset, currency, sum });
            }
        }
        Ok(())
    }

    /// Says how far a shard's part has come.
    pub(crate) fn advance(&self, shard: u32, progress: Progress) {
        self.part(shard).progress.set(progress);
    }

    /// How far a shard's part has come, and what follows.
    pub(crate) fn progress(&self, shard: u32) -> Arc<Watched<Progress>> {
        Arc::clone(&self.part(shard).progress)
    }

    /// The newest outcome of a shard that the view includes.
    pub fn position(&self, shard: u32) -> Option<Position> {
        self.read(shard).last_source.map(|offset| Position { shard, offset })
    }

    /// Calls `show` with the account's row and what its stripes add up to.
    fn with_account<T>(&self, id: &AccountId, show: impl FnOnce(&AccountRow, Total) -> T) -> Option<T> {
        let home = id.shard(self.shards());
        {
            let view = self.read(home);
            match view.accounts.get(id) {
                Some(row) if !row.state.is_striped() => return Some(show(row, total(row))),
                None if !id.is_in_transit() => return None,
                Some(_) | None => {}
            }
        }
        let mut sum: Option<Total> = None;
        // In-transit accounts have no home: any stripe shows what they are.
        let mut shown_by = home;
        for shard in 0..self.shards() {
            if let Some(row) = self.read(shard).accounts.get(id) {
                if sum.is_none() {
                    shown_by = shard;
                }
                sum = Some(sum.map_or(total(row), |sum| sum.with(total(row))));
            }
        }
        let view = self.read(if id.is_in_transit() { shown_by } else { home });
        Some(show(view.accounts.get(id)?, sum?))
    }

    /// An account, stripes summed; in-transit accounts as well.
    pub fn account(&self, id: &str) -> Option<billing::Account> {
        let id = AccountId::new(id)?;
        self.with_account(&id, |row, total| render::account(&id, row, total))
    }

    /// An account as it was made: what its creation was answered with.
    pub fn account_as_made(&self, id: &str) -> Option<billing::Account> {
        let id = AccountId::new(id)?;
        self.with_account(&id, |row, _| render::account_as_made(&id, row))
    }

    /// A balance, stripes summed, as of the newest outcome of the account's shard. The position is the caller's to
    /// add: it knows what it waited for.
    pub fn balance(&self, id: &str) -> Option<billing::Balance> {
        let id = AccountId::new(id)?;
        let as_of = self.read(id.shard(self.shards())).at;
        self.with_account(&id, |row, total| render::balance(&id, row, total, as_of.max(row.created_at)))
    }

    /// When an account was made; `None` if there is no such account.
    pub fn made_at(&self, id: &AccountId) -> Option<Timestamp> {
        self.with_account(id, |row, _| row.created_at)
    }

    /// An account's currency; `None` if there is no such account.
    pub(crate) fn currency_of(&self, id: &AccountId) -> Option<Currency> {
        self.with_account(id, |row, _| row.state.currency)
    }

    /// The next changes of accounts behind a place, which moves on; after the last one of a shard it goes on with the next
    /// shard, and after the last shard with the first one.
    pub(crate) fn changes_behind(&self, place: &mut ChangePlace, most: usize) -> Vec<(AccountId, Timestamp)> {
        let mut found = Vec::new();
        let view = self.read(place.shard);
        let from = place.account.as_ref().map_or(Bound::Unbounded, |id| Bound::Included(id.as_str()));
        for id in view.ids.range::<str, _>((from, Bound::Unbounded)) {
            let Some((id, row)) = AccountId::new(id).and_then(|id| view.accounts.get_key_value(&id)) else { continue };
            let first = if place.account.as_ref() == Some(id) { place.index } else { 0 };
            let room = most - found.len();
            found.extend(row.changes.iter().skip(first).take(room).map(|change| (id.clone(), change.at)));
            if found.len() == most {
                (place.account, place.index) = (Some(id.clone()), (first + room).min(row.changes.len()));
                return found;
            }
        }
        *place = ChangePlace { shard: (place.shard + 1) % self.shards(), ..ChangePlace::default() };
        found
    }

    /// How many transactions were asked for, per shard.
    pub(crate) fn requests(&self) -> Vec<usize> {
        (0..self.shards()).map(|shard| self.read(shard).transactions.len()).collect()
    }

    /// How many events there are, and how many of them say by whom, why and when they happened: all that the envelope of
    /// an audit trail has.
    pub(crate) fn audited(&self) -> (u64, u64) {
        let counts = (0..self.shards()).map(|shard| self.read(shard).audited);
        counts.fold((0, 0), |(all, complete), counts| (all + counts.0, complete + counts.1))
    }

    /// The shards that an account is kept on; `None` if there is no such account.
    pub fn shards_of(&self, id: &AccountId) -> Option<Vec<u32>> {
        let striped = self.with_account(id, |row, _| row.state.is_striped())?;
        let home = id.shard(self.shards());
        Some(if striped { (0..self.shards()).collect() } else { vec![home] })
    }

    /// How the stripes of an account on these shards stood at a point in time.
    fn stood(&self, id: &AccountId, shards: &[u32], at: Timestamp) -> Vec<Standing> {
        let stood = shards.iter().filter_map(|&shard| {
            let view = self.read(shard);
            let change = view.accounts.get(id)?.as_of(at)?;
            Some(Standing { balance: change.balance, reserved: change.reserved, version: change.version })
        });
        stood.collect()
    }

    /// A balance that an account had at `at`, by how its stripes stood then; `None` if none was there yet.
    pub fn balance_of(
        &self,
        id: &AccountId,
        stood: &[Standing],
        at: wire::scalar::Timestamp,
    ) -> Option<billing::Balance> {
        let totals = stood.iter().map(|stood| Total::of(stood.balance, stood.reserved, stood.version));
        let sum = totals.reduce(Total::with)?;
        self.with_account(id, |row, _| render::balance(id, row, sum, Timestamp(at.0)))
    }

    /// Whether an account has a rule for its balance; `None` if there is no such account.
    pub fn is_limited(&self, id: &AccountId) -> Option<bool> {
        self.with_account(id, |row, _| !row.state.is_striped())
    }

    /// Calls `show` with the transaction of this id: the engine's own, or the other system's.
    fn with_transaction<T>(&self, id: &str, show: impl FnOnce(&TransactionRow) -> T) -> Option<T> {
        if let Some(id) = TransactionId::parse(id) {
            return self.read(id.shard(self.shards())).by_id(id).map(show);
        }
        for shard in 0..self.shards() {
            if let Some(row) = self.read(shard).by_alias(id) {
                return Some(show(row));
            }
        }
        None
    }

    /// A transaction, by the engine's id or by the other system's.
    pub fn transaction(&self, id: &str) -> Option<billing::TransactionResult> {
        self.with_transaction(id, render::transaction)?
    }

    /// A transaction with what only whoever waits for it is told.
    pub fn shown(&self, id: TransactionId) -> Option<Shown> {
        let view = self.read(id.shard(self.shards()));
        let row = view.by_id(id)?;
        let result = render::transaction(row)?;
        Some(match &row.state {
            State::Completed(completed) => Shown {
                result,
                would_refuse: completed.would_refuse,
                elsewhere: None,
                position: completed.position.clone(),
            },
            State::Failed(failed) => Shown {
                result,
                would_refuse: None,
                elsewhere: failed.elsewhere.clone(),
                position: failed.position.clone(),
            },
            State::Processing | State::Forgotten => {
                Shown { result, would_refuse: None, elsewhere: None, position: vec![row.requested_in] }
            }
        })
    }

    /// What a refund refers to, by either system's id, and the account that decides on the refund: the one it
    /// debits if that is limited, else the one it credits.
    pub fn original(&self, named: &str) -> Option<(Original, AccountId)> {
        let original = self.with_transaction(named, |row| {
            Some(Original {
                id: row.id,
                source: row.source.clone()?,
                destination: row.destination.clone()?,
                currency: row.currency?,
            })
        })??;
        // One that is not there is refused wherever it is decided.
        let debited_decides = self.is_limited(&original.destination).unwrap_or(true);
        let deciding = if debited_decides { &original.destination } else { &original.source }.clone();
        Some((original, deciding))
    }

    /// The transaction under a tracking id, in the scope of a tenant and, if named, of a deciding account.
    pub fn by_key(&self, tenant: &str, key: &str, account: Option<&str>) -> ByKey {
        let shards = match account {
            Some(account) => {
                let shard = engine_domain::ids::shard_of_text(account, self.shards());
                shard..shard + 1
            }
            None => 0..self.shards(),
        };
        let mut found: Option<(Text, billing::TransactionResult)> = None;
        for shard in shards {
            for row in self.read(shard).by_key(tenant, key) {
                if account.is_some_and(|account| *row.deciding_account != *account) {
                    continue;
                }
                match &found {
                    Some((deciding, _)) if *deciding != row.deciding_account => return ByKey::Ambiguous,
                    Some(_) | None => {
                        found = render::transaction(row).map(|result| (row.deciding_account.clone(), result)).or(found);
                    }
                }
            }
        }
        found.map_or(ByKey::Absent, |(_, result)| ByKey::One(Box::new(result)))
    }

    /// What became of transactions in a currency, per day from `first` to `last`.
    pub fn daily(&self, currency: Currency, first: Day, last: Day) -> Daily {
        let mut all = Daily::new();
        for shard in 0..self.shards() {
            for (&(day, series), total) in self.read(shard).daily.get(&currency).into_iter().flatten() {
                if (first..=last).contains(&day) {
                    let sum = all.entry((day, series)).or_default();
                    *sum = sum.plus(*total);
                }
            }
        }
        // What was counted and forgotten again.
        all.retain(|_, total| total.count > 0);
        all
    }

    /// The sum of all balances, per shard and currency, as it is kept up with every movement.
    pub fn conservation(&self) -> Vec<ShardSum> {
        let mut sums = Vec::new();
        for shard in 0..self.shards() {
            let view = self.read(shard);
            sums.extend(view.sums.iter().map(|(&currency, &sum)| ShardSum { shard, currency, sum }));
        }
        sums
    }

    /// The same, added up from every account: slow, for audits and tests.
    pub fn recount(&self) -> Vec<ShardSum> {
        let mut all = Vec::new();
        for shard in 0..self.shards() {
            let mut sums: BTreeMap<Currency, Money> = BTreeMap::new();
            for row in self.read(shard).accounts.values() {
                let sum = sums.entry(row.state.currency).or_default();
                *sum = sum.plus(row.state.balance);
            }
            all.extend(sums.into_iter().map(|(currency, sum)| ShardSum { shard, currency, sum }));
        }
        all
    }

    /// What is on its way between shards, per currency, as long as no saga says why: with no saga open it is nothing
    /// (Law 3). Answers nothing while a saga is open.
    pub(crate) fn stranded(&self) -> BTreeMap<Currency, Money> {
        let views: Vec<_> = (0..self.shards()).map(|shard| self.read(shard)).collect();
        let mut stranded: BTreeMap<Currency, Money> = BTreeMap::new();
        if views.iter().any(|view| !view.sagas.is_empty()) {
            return stranded;
        }
        for view in &views {
            for currency in view.sums.keys() {
                if let Some(row) = view.accounts.get(&AccountId::in_transit(*currency)) {
                    let sum = stranded.entry(*currency).or_default();
                    *sum = sum.plus(row.state.balance);
                }
            }
        }
        stranded.retain(|_, sum| !sum.is_zero());
        stranded
    }

    /// The sagas under way, by home and age.
    pub fn open_sagas(&self) -> Vec<OpenSaga> {
        let mut sagas = Vec::new();
        for shard in 0..self.shards() {
            sagas.extend(self.read(shard).sagas.values().map(|opened| OpenSaga {
                saga: opened.saga.id,
                kind: opened.kind(),
                since: opened.since,
                awaits: (opened.saga.awaited.shard, opened.saga.awaited.action.stage()),
            }));
        }
        sagas
    }
}

/// One piece of an account.
fn total(row: &AccountRow) -> Total {
    Total::of(row.state.balance, row.state.reserved, row.state.version)
}
