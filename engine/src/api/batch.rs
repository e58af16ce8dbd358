//! Many transactions in one request. Each stands alone: it is answered as a request of its own would be, and none waits
//! for another. Only those of one deciding account keep their order.

use super::Api;
use super::caller::Caller;
use super::findings::{Findings, Flaw};
use super::incoming::{Incoming, Many, too_large};
use super::openapi::{Tenant, WriteProblems};
use super::problem::{REPLAYED, Refusal};
use super::requests::{self, Batch, Item};
use super::submit::{Write, json};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use engine_domain::{Mode, Text};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::sync::Arc;
use utoipa::ToSchema;

/// The answers to a batch.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// One per transaction, in the order of the request.
    results: Vec<ItemAnswer>,
}

/// What a request of its own would have been answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemAnswer {
    /// The status: 200 completed, 202 not decided yet, 4xx refused, 503 nothing was written.
    status: u16,
    /// Whether this answer was given before.
    replayed: bool,
    /// A `TransactionResult` with 200, a `Processing` with 202, else a `Problem`. Pointers begin at the transaction.
    #[schema(value_type = Object)]
    body: Box<RawValue>,
}

/// Many topups, withdrawals, transfers and refunds in one request, each on its own.
#[utoipa::path(
    post, path = "/transactions/batch", tag = "transactions", operation_id = "batch", request_body = Batch,
    params(Tenant),
    responses((status = 200, description = "one answer per transaction", body = BatchAnswer), WriteProblems),
)]
pub async fn batch(State(api): State<Arc<Api>>, Many(request): Many) -> Result<Response, Refusal> {
    let Incoming { head, body } = request;
    let mut findings = Findings::new();
    let caller = Caller::of(&head.headers, head.correlation_id.clone(), &api.trust, &mut findings);
    if caller.mode != Mode::Authority || caller.alias.is_some() {
        findings.note(Flaw::InvalidValue, wire::leg::MODE, "a batch is no leg: legs are sent one by one");
    }
    let asked = requests::read::<Batch>(&body, &mut findings);
    let Batch { transactions } = findings.conclude(asked)?;
    let may_be_large = body.len() > api.max_body_bytes;
    let read = |item: Value| {
        if may_be_large && item.to_string().len() > api.max_body_bytes {
            return Err(too_large(api.max_body_bytes));
        }
        let mut findings = Findings::new();
        let read = requests::read_item(item, &mut findings);
        findings.conclude(read)
    };
    let items: Vec<Result<(Item, Text), Refusal>> = transactions.into_iter().map(read).collect();
    let originals = items.iter().filter_map(|item| match item {
        Ok((Item::Refund(refund), _)) => Some(&*refund.transaction_id),
        _ => None,
    });
    api.see_originals(&Vec::from_iter(originals)).await?;
    let write = |(item, key): (Item, Text)| match item {
        Item::Move(kind, asked) => api.movement(caller.clone(), kind, asked, key),
        Item::Refund(asked) => api.refund(caller.clone(), asked, key),
    };
    let writes: Vec<Result<Write, Refusal>> = items.into_iter().map(|item| item.map(write)).collect();
    let answers = api.answer_all(&head, writes).await;
    let mut results = Vec::with_capacity(answers.len());
    for answer in answers {
        let answer = answer.unwrap_or_else(|refusal| refusal.render(&head.correlation_id));
        results.push(item_answer(answer).await);
    }
    Ok(json(StatusCode::OK, &BatchAnswer { results }))
}

/// An answer as a part of a larger one.
async fn item_answer(answer: Response) -> ItemAnswer {
    let status = answer.status().as_u16();
    let replayed = answer.headers().contains_key(REPLAYED);
    // It was made here, in one piece.
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    // The other system's refusal is repeated as it was, and that may be no JSON.
    let body = RawValue::from_string(text.clone())
        .or_else(|_| serde_json::value::to_raw_value(&text))
        .expect("text is JSON as a string");
    ItemAnswer { status, replayed, body }
}
