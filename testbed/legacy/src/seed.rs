//! Fills an empty store with what very many requests come to, without sending them: the same rows, many at a time.
//!
//! Everything is written in one transaction of the store: one that was killed has written nothing.

use crate::Config;
use crate::execute::{Asked, Command, Executor, Reply};
use crate::faults::FaultSwitch;
use crate::request;
use crate::shapes::Kind;
use crate::store::{self, filling::Filling};
use bytes::Bytes;
use std::sync::Arc;

/// A POST as a client would send it: `/accounts`, or `/transactions/` and `topup`, `withdraw` or `transfer`.
#[derive(Debug, Clone)]
pub struct Request {
    /// The path.
    pub path: &'static str,
    /// The body.
    pub body: Bytes,
}

/// Why a store was not filled. Nothing was written, unless a database does not say whether it committed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be read or written, or is not empty.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A request would not have been answered with success.
    #[error("request {number} would be answered {status}: {answer}")]
    Refused {
        /// Which one, from 1 on.
        number: u64,
        /// The status of the answer.
        status: u16,
        /// Its body.
        answer: String,
    },
}

/// Fills the store of `config` with `requests`, all of which have to succeed, no two with one key; tells `done` how many
/// there were so far. Blocks, inside of a runtime.
///
/// # Errors
/// [`Error`].
pub fn seed(
    config: &Config,
    requests: impl IntoIterator<Item = Request>,
    mut done: impl FnMut(u64),
) -> Result<(), Error> {
    let mut opened = store::open(config)?;
    let (accounts, transactions) = (opened.reading.accounts(None, 1)?, opened.reading.transactions(0, None, 1)?);
    if !accounts.is_empty() || !transactions.is_empty() {
        return Err(store::Error::NotEmpty.into());
    }
    let mut filling = Filling::of(opened.store.begin()?);
    let faults = Arc::new(FaultSwitch::new(config.fault_seed));
    let mut executor = Executor::new(Box::new(&mut filling), 0, faults, Arc::default(), config);
    for (number, request) in (1..).zip(requests) {
        execute(&mut executor, number, &request)?;
        done(number);
    }
    drop(executor);
    Ok(filling.finish()?)
}

fn execute(executor: &mut Executor<'_>, number: u64, request: &Request) -> Result<(), Error> {
    let refused = |status, answer: &[u8]| {
        let answer = String::from_utf8_lossy(answer).into_owned();
        Error::Refused { number, status, answer }
    };
    let read = match Kind::of(request.path.trim_start_matches("/transactions/")) {
        Some(kind) => request::transaction(kind, None, &request.body)
            .map(|(key, transaction)| Command::Transaction { key, transaction }),
        None => request::new_account(String::new, &request.body).map(|account| Command::Account { key: None, account }),
    };
    let command = read.map_err(|problem| {
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        refused(problem.status(), &body)
    })?;
    let asked = Asked { tenant: String::new(), correlation_id: format!("seed-{number}"), command };
    match executor.execute(&asked)? {
        Some(Reply::Answer(answer)) if (200..300).contains(&answer.status) => Ok(()),
        Some(Reply::Answer(answer) | Reply::Slow(answer)) => Err(refused(answer.status, &answer.body)),
        Some(Reply::Hang | Reply::Fail | Reply::Drop | Reply::Unavailable) | None => Err(refused(500, b"")),
    }
}
