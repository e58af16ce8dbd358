//! Transactions: asked for, read.

use super::caller::Caller;
use super::fields::shortened;
use super::findings::Findings;
use super::incoming::{Head, Incoming, Segment};
use super::openapi::{Conflict, Limit, NotFound, ReadProblems, Stale, Tenant, WriteHeaders, WriteProblems};
use super::problem::Refusal;
use super::query::Query;
use super::requests::{self, Move, Refund};
use super::submit::{Write, json};
use super::{Api, unreadable};
use crate::view::ByKey;
use crate::view::read_model::Projection;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use engine_domain::command::{self, MoveKind};
use engine_domain::{Body, Text, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use wire::billing::{Processing, TransactionPage, TransactionResult, TransactionSaga};

/// From EXTERNAL or SYSTEM to USER.
#[utoipa::path(
    post, path = "/transactions/topup", tag = "transactions", operation_id = "topup", request_body = Move,
    params(WriteHeaders),
    responses(
        (status = 200, description = "completed", body = TransactionResult),
        (status = 202, description = "not decided yet", body = Processing),
        WriteProblems, NotFound,
    ),
)]
pub async fn topup(State(api): State<Arc<Api>>, request: Incoming) -> Result<Response, Refusal> {
    move_money(&api, MoveKind::Topup, request).await
}

/// From USER to EXTERNAL or SYSTEM.
#[utoipa::path(
    post, path = "/transactions/withdraw", tag = "transactions", operation_id = "withdraw", request_body = Move,
    params(WriteHeaders),
    responses(
        (status = 200, description = "completed", body = TransactionResult),
        (status = 202, description = "not decided yet", body = Processing),
        WriteProblems, NotFound,
    ),
)]
pub async fn withdraw(State(api): State<Arc<Api>>, request: Incoming) -> Result<Response, Refusal> {
    move_money(&api, MoveKind::Withdraw, request).await
}

/// From USER to any account.
#[utoipa::path(
    post, path = "/transactions/transfer", tag = "transactions", operation_id = "transfer", request_body = Move,
    params(WriteHeaders),
    responses(
        (status = 200, description = "completed", body = TransactionResult),
        (status = 202, description = "not decided yet", body = Processing),
        WriteProblems, NotFound,
    ),
)]
pub async fn transfer(State(api): State<Arc<Api>>, request: Incoming) -> Result<Response, Refusal> {
    move_money(&api, MoveKind::Transfer, request).await
}

async fn move_money(api: &Api, kind: MoveKind, request: Incoming) -> Result<Response, Refusal> {
    let Incoming { head, body } = request;
    let mut findings = Findings::new();
    let caller = Caller::of(&head.headers, head.correlation_id.clone(), &api.trust, &mut findings);
    let asked = requests::read_keyed::<Move>(&body, &head.headers, &mut findings);
    let (asked, key) = findings.conclude(asked)?;
    api.answer(&head, api.movement(caller, kind, asked, key)).await
}

/// Back along an earlier transaction, in whole or in part.
#[utoipa::path(
    post, path = "/transactions/refund", tag = "transactions", operation_id = "refund", request_body = Refund,
    params(WriteHeaders),
    responses(
        (status = 200, description = "completed", body = TransactionResult),
        (status = 202, description = "not decided yet", body = Processing),
        WriteProblems, NotFound,
    ),
)]
pub async fn refund(State(api): State<Arc<Api>>, request: Incoming) -> Result<Response, Refusal> {
    let Incoming { head, body } = request;
    let mut findings = Findings::new();
    let caller = Caller::of(&head.headers, head.correlation_id.clone(), &api.trust, &mut findings);
    let asked = requests::read_keyed::<Refund>(&body, &head.headers, &mut findings);
    let (asked, key) = findings.conclude(asked)?;
    api.see_originals(&[&asked.transaction_id]).await?;
    api.answer(&head, api.refund(caller, asked, key)).await
}

/// A transaction, by the id of either system.
#[utoipa::path(
    get, path = "/transactions/{id}", tag = "transactions", operation_id = "getTransaction",
    params(("id" = String, Path, description = "the engine's id of it, or the legacy's")),
    responses(
        (status = 200, description = "the transaction", body = TransactionResult),
        ReadProblems, NotFound,
    ),
)]
pub async fn get(State(api): State<Arc<Api>>, Segment(id): Segment) -> Result<Response, Refusal> {
    let _timer = api.timer("transaction");
    match api.transaction(&id).await? {
        Some(found) => Ok(json(StatusCode::OK, &found)),
        None => Err(no_such(&id)),
    }
}

/// What a transaction took on several shards, step by step; one that a single shard did at once has no steps.
#[utoipa::path(
    get, path = "/transactions/{id}/saga", tag = "transactions", operation_id = "getTransactionSaga",
    params(("id" = String, Path, description = "the engine's id of it, or the legacy's")),
    responses(
        (status = 200, description = "its saga", body = TransactionSaga),
        ReadProblems, NotFound,
    ),
)]
pub async fn saga(State(api): State<Arc<Api>>, Segment(id): Segment) -> Result<Response, Refusal> {
    let _timer = api.timer("transaction-saga");
    // Also waits for what was answered before.
    let found = api.transaction(&id).await?.map(|found| found.transaction_id);
    let saga = match &found {
        Some(own_id) => api.ledger.transaction_saga(own_id).await.map_err(|error| unreadable(&error))?,
        None => None,
    };
    saga.map(|saga| json(StatusCode::OK, &saga)).ok_or_else(|| no_such(&id))
}

/// The result of a request, by its idempotency key.
#[utoipa::path(
    get, path = "/transactions/status/{trackingId}", tag = "transactions", operation_id = "getStatus",
    params(
        ("trackingId" = String, Path, description = "the idempotency key"),
        ("account" = Option<String>, Query, description = "the deciding account, where the key was used for several"),
        Tenant,
    ),
    responses(
        (status = 200, description = "the transaction", body = TransactionResult),
        ReadProblems, NotFound, Conflict,
    ),
)]
pub async fn status(State(api): State<Arc<Api>>, Segment(key): Segment, head: Head) -> Result<Response, Refusal> {
    let _timer = api.timer("transaction-status");
    let mut findings = Findings::new();
    let caller = Caller::of(&head.headers, head.correlation_id.clone(), &api.trust, &mut findings);
    let account = Query::of(&head.uri, &mut findings).text("account");
    findings.conclude(Some(()))?;
    let shards = match &account {
        Some(account) => vec![api.ledger.shard_of(account)],
        None => api.all_shards(),
    };
    // Absent has to mean absent: who asks may send the request again, or book it elsewhere.
    api.settle(&shards).await?;
    match api.ledger.view().by_key(&caller.tenant, &key, account.as_deref()) {
        ByKey::One(found) => Ok(json(StatusCode::OK, &found)),
        ByKey::Absent => {
            Err(not_found(&format!("no transaction has the key `{}` here: check key and tenant", shortened(&key))))
        }
        ByKey::Ambiguous => {
            let detail = format!(
                "the key `{}` was used for several accounts: name the deciding one by ?account=",
                shortened(&key)
            );
            Err(Refusal::new(StatusCode::CONFLICT, "AmbiguousKey", detail))
        }
    }
}

/// All transactions, oldest first.
#[utoipa::path(
    get, path = "/transactions", tag = "transactions", operation_id = "listTransactions",
    params(
        ("since" = Option<String>, Query, description = "not before this time (RFC 3339)"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        Limit,
        Stale,
    ),
    responses(
        (status = 200, description = "a page", body = TransactionPage),
        ReadProblems,
    ),
)]
pub async fn list(State(api): State<Arc<Api>>, head: Head) -> Result<Response, Refusal> {
    let _timer = api.timer("transactions");
    let mut findings = Findings::new();
    let mut query = Query::of(&head.uri, &mut findings);
    let (since, after) = (query.time("since"), api.cursor(&mut query, "after"));
    let (limit, stale) = (query.limit(), query.flag("stale"));
    findings.conclude(Some(()))?;
    if !stale {
        api.include(&api.all_shards()).await?;
        api.look_back_includes(Projection::History, &api.all_shards()).await?;
    }
    let since = since.map(|since| Timestamp(since.0));
    let page = api.look_back.transactions(since, after.as_ref(), limit).await;
    Ok(json(StatusCode::OK, &page.map_err(|error| unreadable(&error))?))
}

impl Api {
    /// A transaction by either id, with everything answered before; `None` means that there is none.
    async fn transaction(&self, id: &str) -> Result<Option<TransactionResult>, Refusal> {
        let shards = self.shards_of_transaction(id);
        self.include(&shards).await?;
        if let Some(found) = self.ledger.view().transaction(id) {
            return Ok(Some(found));
        }
        self.settle(&shards).await?;
        Ok(self.ledger.view().transaction(id))
    }

    /// A topup, withdrawal or transfer, ready to be submitted.
    pub(super) fn movement(&self, caller: Caller, kind: MoveKind, asked: Move, key: Text) -> Write {
        let asked = command::Move {
            kind,
            key: Text::clone(&key),
            source: asked.source_account_id,
            destination: asked.destination_account_id,
            amount: asked.amount,
            currency: asked.currency,
            reference: asked.reference,
            metadata: asked.metadata,
        };
        Write {
            location: status_location(&key, asked.deciding_account().as_str()),
            tracking_id: key,
            command: self.command(caller, Body::Move(asked)),
            original_amount: None,
        }
    }

    /// A refund, ready to be submitted; what it refers to has been looked for ([`Api::see_originals`]).
    pub(super) fn refund(&self, caller: Caller, asked: Refund, key: Text) -> Write {
        let (original, deciding_account) = match self.ledger.view().original(&asked.transaction_id) {
            Some((original, deciding)) => (Some(original), deciding.as_str().into()),
            None => (None, Text::clone(&asked.transaction_id)),
        };
        let taken = caller.taken.filter(|_| asked.amount.is_none());
        let original_amount = match asked.amount.or(taken) {
            Some(_) => None,
            None => self.ledger.view().transaction(&asked.transaction_id).map(|found| found.amount),
        };
        let refund = command::Refund {
            key: Text::clone(&key),
            named: asked.transaction_id,
            original,
            deciding_account: Text::clone(&deciding_account),
            amount: asked.amount,
            taken,
            reason: asked.reason,
        };
        Write {
            location: status_location(&key, &deciding_account),
            tracking_id: key,
            command: self.command(caller, Body::Refund(refund)),
            original_amount,
        }
    }

    /// Waits until the view shows what refunds refer to, by either id, and which account decides on each: then what is not
    /// there is no transaction, or none that ever named accounts.
    pub(super) async fn see_originals(&self, named: &[&str]) -> Result<(), Refusal> {
        let view = self.ledger.view();
        let unseen = named.iter().filter(|named| view.original(named).is_none());
        let homes: BTreeSet<u32> = unseen.flat_map(|named| self.shards_of_transaction(named)).collect();
        self.settle(&Vec::from_iter(homes)).await?;
        // Whether the debited account is limited decides where the refund is decided: its shard has to be seen too.
        let debited = named.iter().filter_map(|named| Some(view.original(named)?.0.destination));
        let unknown = debited.filter(|account| view.is_limited(account).is_none());
        let homes: BTreeSet<u32> = unknown.map(|account| self.ledger.shard_of(account.as_str())).collect();
        self.include(&Vec::from_iter(homes)).await?;
        Ok(())
    }

    fn shards_of_transaction(&self, id: &str) -> Vec<u32> {
        match self.ledger.shard_of_transaction(id) {
            Some(shard) => vec![shard],
            None => self.all_shards(),
        }
    }
}

/// Where the result of a key can be asked for.
fn status_location(key: &str, account: &str) -> String {
    format!("/transactions/status/{}?account={}", percent_encoded(key), percent_encoded(account))
}

/// Text as one segment of a path or one value of a query.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn no_such(id: &str) -> Refusal {
    not_found(&format!("there is no transaction of the id `{}`: check it", shortened(id)))
}

fn not_found(detail: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "TransactionNotFound", detail)
}
