//! Reads: what is committed, as it is answered.

use crate::ids::Ids;
use crate::money::Money;
use crate::refusal::{Code, Problem};
use crate::shapes::{AccountPage, AccountView, Balance, FaultEntry, TransactionPage, rfc3339};
use crate::stale::Stale;
use crate::store::{Error, Filter, Reading, Row, Scope};
use serde::Serialize;
use serde_json::Value;

/// The body of an answer, or the problem instead of one.
pub(crate) type Found = Result<Vec<u8>, Problem>;

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// The cursor: a sequence.
    pub(crate) from: Option<u64>,
    pub(crate) limit: usize,
}

pub(crate) fn account(store: &dyn Reading, stale: &Stale, id: &str) -> Result<Found, Error> {
    store.account(id)?.map_or(not_found(), |account| body(&AccountView::of(&stale.shown(account))))
}

pub(crate) fn balance(store: &dyn Reading, stale: &Stale, id: &str) -> Result<Found, Error> {
    let found = store.account(id)?.map(|account| stale.shown(account)).map(|account| Balance {
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
pub(crate) fn accounts(store: &dyn Reading, stale: &Stale, after: Option<&str>, limit: usize) -> Result<Found, Error> {
    let mut accounts = store.accounts(after, limit + 1)?;
    let more = cut(&mut accounts, limit);
    let accounts: Vec<_> = accounts.into_iter().map(|account| stale.shown(account)).collect();
    let next = accounts.last().filter(|_| more).map(|account| account.account_id.clone());
    body(&AccountPage { accounts: accounts.iter().map(AccountView::of).collect(), next })
}

/// The history of an account, newest first, from before the cursor. Without a filter nothing fits: what is asked for
/// never is.
pub(crate) fn history(store: &dyn Reading, account: &str, page: Page, filter: Option<Filter>) -> Result<Found, Error> {
    if store.account(account)?.is_none() {
        return not_found();
    }
    let rows = match filter {
        Some(filter) => store.history(account, page.from.unwrap_or(u64::MAX), filter, page.limit + 1)?,
        None => Vec::new(),
    };
    transaction_page(rows, page.limit)
}

/// All transactions, oldest first, from behind the cursor and not before `since` (microseconds since 1970).
pub(crate) fn transactions(store: &dyn Reading, since: Option<i64>, page: Page) -> Result<Found, Error> {
    let first = page.from.map_or(0, |cursor| cursor.saturating_add(1));
    transaction_page(store.transactions(first, since, page.limit + 1)?, page.limit)
}

pub(crate) fn transaction(store: &dyn Reading, ids: Ids, id: &str) -> Result<Found, Error> {
    let Some(sequence) = ids.sequence(id) else { return transaction_not_found() };
    store.transaction(sequence)?.map_or(transaction_not_found(), |result| body(&result))
}

/// The transaction with this tracking id, as it was answered: also one whose effect was lost since. The first that was
/// applied, if the key was executed several times.
pub(crate) fn status(store: &dyn Reading, tenant: &str, key: &str, account: Option<&str>) -> Result<Found, Error> {
    let account = match account {
        Some(account) => account.to_owned(),
        None => {
            let mut accounts = store.tracked(tenant, key)?;
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
    let kept = store.kept(Scope { tenant, account: &account, key })?;
    match kept.filter(|kept| kept.transaction_id.is_some()) {
        None => transaction_not_found(),
        Some(kept) if kept.is_applied() => Ok(Ok(kept.body.into_bytes())),
        Some(kept) => {
            let mut problem: Value = serde_json::from_str(&kept.body)?;
            body(&problem["result"].take())
        }
    }
}

/// The whole fault ledger, oldest first.
pub(crate) fn fault_log(store: &dyn Reading) -> Result<Found, Error> {
    #[derive(Serialize)]
    struct FaultLog {
        faults: Vec<FaultEntry>,
    }
    body(&FaultLog { faults: store.faults()? })
}

/// How often keys were executed.
pub(crate) fn executions(store: &dyn Reading) -> Result<Found, Error> {
    body(&store.executions()?)
}

fn transaction_page(mut rows: Vec<Row>, limit: usize) -> Result<Found, Error> {
    let more = cut(&mut rows, limit);
    let next = rows.last().filter(|_| more).map(|(sequence, _)| sequence.to_string());
    body(&TransactionPage { transactions: rows.into_iter().map(|(_, result)| result).collect(), next })
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
