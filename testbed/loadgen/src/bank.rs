//! A real bank's year of transactions (PKDD'99, 1993) as requests of the billing API.
//!
//! | row | request |
//! |---|---|
//! | cash-in, interest | topup from the EXTERNAL account [`BANK`] |
//! | cash-out, card-out | withdrawal to it |
//! | transfer-in | topup from the counterparty, an EXTERNAL account |
//! | transfer-out | transfer to the counterparty |
//!
//! The key is the row's transaction id. Rows of one account keep their order; accounts know nothing of each other.

use crate::call::Call;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::Method;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use testbed_auditor::{Ledger, Money};

/// The account on the other side of cash and interest.
pub const BANK: &str = "bank";
/// The currency of the data.
const CURRENCY: &str = "CZK";

/// Why the data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("there is no file {0}")]
    Absent(PathBuf),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is no gzipped CSV with the columns expected.
    #[error("the bank's data: {0}")]
    Csv(#[from] csv::Error),
    /// A row means nothing here.
    #[error("the bank's data: transaction {transaction}: {reason}")]
    Row {
        /// Its id.
        transaction: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A row as it stands in the file.
#[derive(Debug, Deserialize)]
struct Row {
    transaction_id: String,
    account_id: String,
    direction: String,
    operation: String,
    amount: String,
    counterparty_bank: String,
    counterparty_account: String,
}

/// A row as a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the file, from 0.
    pub index: usize,
    /// The bank's transaction id, and the key of the request.
    pub transaction: String,
    /// The USER account.
    pub account: String,
    /// The request.
    pub call: Call,
}

/// The data, read.
#[derive(Debug, Clone)]
pub struct Bank {
    entries: Vec<Entry>,
    externals: BTreeSet<String>,
}

/// What must come of the data, by the auditor alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The bank's ids of the transactions that are refused, in the order of the file.
    pub refused: Vec<String>,
    /// The balances of all accounts in the end.
    pub balances: BTreeMap<String, Money>,
}

impl Bank {
    /// Reads `bank-1993.csv.gz`.
    ///
    /// # Errors
    /// When the file is not there, cannot be read, or is something else.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = host::disk::read(path)?.ok_or_else(|| Error::Absent(path.to_owned()))?;
        Self::parse(&bytes)
    }

    /// Reads the bytes of the file.
    ///
    /// # Errors
    /// When they are something else.
    pub fn parse(gzipped: &[u8]) -> Result<Self, Error> {
        let mut text = Vec::new();
        GzDecoder::new(gzipped).read_to_end(&mut text)?;
        let mut bank = Self { entries: Vec::new(), externals: BTreeSet::from([BANK.to_owned()]) };
        for (index, row) in csv::Reader::from_reader(text.as_slice()).deserialize::<Row>().enumerate() {
            let entry = bank.entry(index, row?)?;
            bank.entries.push(entry);
        }
        Ok(bank)
    }

    /// The first `count` rows only.
    pub fn shortened(mut self, count: usize) -> Self {
        self.entries.truncate(count);
        self
    }

    /// All rows, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The rows of each account, in order.
    pub fn lanes(&self) -> BTreeMap<&str, Vec<&Entry>> {
        let mut lanes: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.entries {
            lanes.entry(&entry.account).or_default().push(entry);
        }
        lanes
    }

    /// The calls that make all accounts; to be answered before the first row.
    pub fn accounts(&self) -> Vec<Call> {
        let users: BTreeSet<&str> = self.entries.iter().map(|entry| entry.account.as_str()).collect();
        let externals = self.externals.iter().map(|id| new_account(id, "EXTERNAL"));
        externals.chain(users.into_iter().map(|id| new_account(id, "USER"))).collect()
    }

    /// What must come of it. `refusal_keeps_key` changes nothing here, since no key is used twice.
    pub fn audit(&self) -> Audit {
        let mut ledger = Ledger::new(true);
        let read = |call: &Call| call.read().expect("calls are made readable when the rows are read");
        for call in self.accounts() {
            ledger.predict(&read(&call));
        }
        let refused = self.entries.iter().filter(|entry| ledger.predict(&read(&entry.call)).is_refused());
        let refused = refused.map(|entry| entry.transaction.clone()).collect();
        Audit { refused, balances: ledger.balances() }
    }

    /// The balance of each row's account after that row, as the auditor adds it up.
    pub fn standings(&self) -> Vec<Money> {
        let mut ledger = Ledger::new(true);
        let read = |call: &Call| call.read().expect("calls are made readable when the rows are read");
        for call in self.accounts() {
            ledger.predict(&read(&call));
        }
        let after = self.entries.iter().map(|entry| {
            ledger.predict(&read(&entry.call));
            ledger.balance(&entry.account).expect("every account was made")
        });
        after.collect()
    }

    fn entry(&mut self, index: usize, row: Row) -> Result<Entry, Error> {
        let wrong = |reason: String| Error::Row { transaction: row.transaction_id.clone(), reason };
        let account = format!("account-{}", row.account_id);
        let counterparty = || match (row.counterparty_bank.as_str(), row.counterparty_account.as_str()) {
            ("", _) | (_, "") => Err(wrong("a transfer without counterparty".into())),
            (bank, account) => Ok(format!("cp-{bank}-{account}")),
        };
        let (kind, other) = match (row.direction.as_str(), row.operation.as_str()) {
            ("credit", "cash-in" | "interest") => ("topup", BANK.to_owned()),
            ("credit", "transfer-in") => ("topup", counterparty()?),
            ("debit", "cash-out" | "card-out") => ("withdraw", BANK.to_owned()),
            ("debit", "transfer-out") => ("transfer", counterparty()?),
            (direction, operation) => return Err(wrong(format!("a {direction} by {operation}"))),
        };
        let (source, destination) = if kind == "topup" { (&other, &account) } else { (&account, &other) };
        let body = json!({
            "idempotencyKey": row.transaction_id, "sourceAccountId": source, "destinationAccountId": destination,
            "amount": row.amount, "currency": CURRENCY, "reference": row.operation,
        });
        let call = call(&format!("/transactions/{kind}"), None, &body);
        call.read().map_err(|error| wrong(error.to_string()))?;
        self.externals.insert(other);
        Ok(Entry { index, transaction: row.transaction_id, account, call })
    }
}

fn new_account(id: &str, kind: &str) -> Call {
    let body = json!({
        "accountId": id, "ownerId": id, "ownerType": "bank-1993", "accountType": kind, "currency": CURRENCY,
    });
    call("/accounts", Some(format!("make-{id}")), &body)
}

fn call(path: &str, header_key: Option<String>, body: &serde_json::Value) -> Call {
    let body = Bytes::from(body.to_string());
    Call { method: Method::POST, path: path.to_owned(), tenant: String::new(), header_key, body }
}
