//! Reads: each from one consistent view of what is committed.

use crate::money::Money;
use crate::refusal::{Code, Problem};
use crate::shapes::{
    Account, AccountPage, AccountView, Balance, FaultEntry, Kind, Outcome, TransactionPage, TransactionResult, rfc3339,
};
use crate::store::{self, ACCOUNTS, Booked, Error, FAULTS, HISTORY, KEYS, Kept, Scope, TRACKING, TRANSACTIONS};
use redb::{Database, ReadTransaction, ReadableTable};
use serde::Serialize;
use serde_json::Value;
use std::ops::Bound;

/// The body of an answer, or the problem instead of one.
pub(crate) type Found = Result<Vec<u8>, Problem>;

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// The cursor: a sequence.
    pub(crate) from: Option<u64>,
    pub(crate) limit: usize,
}

/// Which transactions of an account are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    pub(crate) kind: Option<Kind>,
    /// Inner `None`: an outcome that the legacy never has, so nothing fits.
    pub(crate) outcome: Option<Option<Outcome>>,
}

pub(crate) fn account(database: &Database, id: &str) -> Result<Found, Error> {
    find_account(&store::read(database)?, id)?.map_or(not_found(), |account| body(&AccountView::of(&account)))
}

pub(crate) fn balance(database: &Database, id: &str) -> Result<Found, Error> {
    let found = find_account(&store::read(database)?, id)?.map(|account| Balance {
        account_id: account.account_id,
        balance: account.balance,
        reserved: Money::ZERO,
        available: account.balance,
        currency: account.currency,
        version: account.version,
        as_of: rfc3339(host::clock::unix_micros()),
    });
    found.map_or(not_found(), |balance| body(&balance))
}

/// Accounts in order of their ids, from behind `after`.
pub(crate) fn accounts(database: &Database, after: Option<&str>, limit: usize) -> Result<Found, Error> {
    let table = store::read(database)?.open_table(ACCOUNTS)?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut accounts: Vec<Account> = Vec::new();
    for entry in table.range::<&str>((from, Bound::Unbounded))?.take(limit + 1) {
        accounts.push(store::row(entry?.1.value())?);
    }
    let more = cut(&mut accounts, limit);
    let next = accounts.last().filter(|_| more).map(|account| account.account_id.clone());
    body(&AccountPage { accounts: accounts.iter().map(AccountView::of).collect(), next })
}

/// The history of an account, newest first, from before the cursor.
pub(crate) fn history(database: &Database, account: &str, page: Page, filter: Filter) -> Result<Found, Error> {
    let view = store::read(database)?;
    if find_account(&view, account)?.is_none() {
        return not_found();
    }
    let Filter { kind, outcome } = filter;
    if outcome == Some(None) {
        return body(&TransactionPage { transactions: Vec::new(), next: None });
    }
    let (history, rows) = (view.open_table(HISTORY)?, view.open_table(TRANSACTIONS)?);
    let mut found: Vec<(u64, TransactionResult)> = Vec::new();
    for entry in history.range((account, 0)..(account, page.from.unwrap_or(u64::MAX)))?.rev() {
        let (key, tags) = entry?;
        let (sequence, tags) = (key.value().1, tags.value());
        let fits = kind.is_none_or(|kind| tags.0 == store::history_tags(kind, Outcome::Completed).0)
            && outcome.flatten().is_none_or(|outcome| tags.1 == store::history_tags(Kind::Topup, outcome).1);
        if let (true, Some(bytes)) = (fits, rows.get(sequence)?) {
            found.push((sequence, store::row::<Booked>(bytes.value())?.result));
            if found.len() > page.limit {
                break;
            }
        }
    }
    transaction_page(found, page.limit)
}

/// All transactions, oldest first, from behind the cursor and not before `since` (microseconds since 1970).
pub(crate) fn transactions(database: &Database, since: Option<i64>, page: Page) -> Result<Found, Error> {
    let rows = store::read(database)?.open_table(TRANSACTIONS)?;
    let after = page.from.map_or(0, |cursor| cursor.saturating_add(1));
    let first = match since {
        Some(since) => first_since(&rows, since)?.max(after),
        None => after,
    };
    let mut found = Vec::new();
    for entry in rows.range(first..)?.take(page.limit + 1) {
        let (sequence, bytes) = entry?;
        found.push((sequence.value(), store::row::<Booked>(bytes.value())?.result));
    }
    transaction_page(found, page.limit)
}

/// The first sequence decided at `since` or later: times never go back along the sequences, so halving finds it.
fn first_since(rows: &impl ReadableTable<u64, &'static [u8]>, since: i64) -> Result<u64, Error> {
    let mut low = 0;
    let mut high = rows.last()?.map_or(0, |(sequence, _)| sequence.value() + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match rows.range(middle..high)?.next().transpose()? {
            None => high = middle,
            Some((sequence, bytes)) => {
                if store::decided(&store::row::<Booked>(bytes.value())?.result) < since {
                    low = sequence.value() + 1;
                } else {
                    high = middle;
                }
            }
        }
    }
    Ok(low)
}

pub(crate) fn transaction(database: &Database, id: &str) -> Result<Found, Error> {
    let rows = store::read(database)?.open_table(TRANSACTIONS)?;
    let found = store::sequence_of(id).map(|sequence| rows.get(sequence)).transpose()?.flatten();
    match found {
        Some(bytes) => body(&store::row::<Booked>(bytes.value())?.result),
        None => transaction_not_found(),
    }
}

/// The transaction with this tracking id, as it was answered: also one whose effect was lost since.
pub(crate) fn status(database: &Database, tenant: &str, key: &str, account: Option<&str>) -> Result<Found, Error> {
    let view = store::read(database)?;
    let account = match account {
        Some(account) => account.to_owned(),
        None => {
            let tracking = view.open_table(TRACKING)?;
            let mut accounts = Vec::new();
            for entry in tracking.range((tenant, key, "")..)? {
                let scope = entry?.0;
                let (in_tenant, with_key, account) = scope.value();
                if (in_tenant, with_key) != (tenant, key) || accounts.len() > 1 {
                    break;
                }
                accounts.push(account.to_owned());
            }
            match (accounts.pop(), accounts.is_empty()) {
                (Some(account), true) => account,
                (Some(_), false) => {
                    let detail = "the key was used for several deciding accounts: name one as ?account=";
                    return Ok(Err(Problem::new(409, "AmbiguousKey", detail)));
                }
                (None, _) => return transaction_not_found(),
            }
        }
    };
    let kept = find_kept(&view, Scope { tenant, account: &account, key })?;
    match kept.filter(|kept| kept.transaction_id.is_some()) {
        None => transaction_not_found(),
        Some(kept) if kept.status == 200 => Ok(Ok(kept.body.into_bytes())),
        Some(kept) => {
            let mut problem: Value = serde_json::from_str(&kept.body)?;
            body(&problem["result"].take())
        }
    }
}

/// The whole fault ledger, oldest first.
pub(crate) fn fault_log(database: &Database) -> Result<Found, Error> {
    #[derive(Serialize)]
    struct FaultLog {
        faults: Vec<FaultEntry>,
    }
    let mut faults = Vec::new();
    for entry in store::read(database)?.open_table(FAULTS)?.iter()? {
        faults.push(store::row(entry?.1.value())?);
    }
    body(&FaultLog { faults })
}

fn find_account(view: &ReadTransaction, id: &str) -> Result<Option<Account>, Error> {
    view.open_table(ACCOUNTS)?.get(id)?.map(|bytes| store::row(bytes.value())).transpose()
}

fn find_kept(view: &ReadTransaction, scope: Scope<'_>) -> Result<Option<Kept>, Error> {
    let keys = view.open_table(KEYS)?;
    keys.get((scope.tenant, scope.account, scope.key))?.map(|bytes| store::row(bytes.value())).transpose()
}

fn transaction_page(mut found: Vec<(u64, TransactionResult)>, limit: usize) -> Result<Found, Error> {
    let more = cut(&mut found, limit);
    let next = found.last().filter(|_| more).map(|(sequence, _)| sequence.to_string());
    body(&TransactionPage { transactions: found.into_iter().map(|(_, result)| result).collect(), next })
}

/// Cuts a list that was read one longer than asked for; says whether there was more.
fn cut<T>(list: &mut Vec<T>, limit: usize) -> bool {
    let more = list.len() > limit;
    list.truncate(limit);
    more
}

fn body(value: &impl Serialize) -> Result<Found, Error> {
    Ok(Ok(serde_json::to_vec(value)?))
}

fn not_found() -> Result<Found, Error> {
    Ok(Err(Problem::refused(Code::AccountNotFound)))
}

fn transaction_not_found() -> Result<Found, Error> {
    Ok(Err(Problem::new(404, "TransactionNotFound", "no transaction with this id or key")))
}
