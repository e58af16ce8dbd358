//! JSON of the billing API (CONTRACT): the same shapes from either system.

use crate::scalar::{Money, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Its id.
    pub account_id: String,
    /// Who owns it.
    pub owner_id: String,
    /// What kind of owner that is.
    pub owner_type: String,
    /// `USER`, `EXTERNAL` or `SYSTEM`.
    pub account_type: String,
    /// The currency of its balance.
    pub currency: String,
    /// `ACTIVE`, `FROZEN` or `CLOSED`.
    pub status: String,
    /// The balance may not fall below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub min_balance: Option<Money>,
    /// The balance may not rise above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub max_balance: Option<Money>,
    /// The ledger balance.
    #[schema(value_type = String)]
    pub balance: Money,
    /// The part of it that is set aside.
    #[schema(value_type = String)]
    pub reserved: Money,
    /// The part of it that can be spent.
    #[schema(value_type = String)]
    pub available: Money,
    /// Counts its changes; differs between the systems.
    pub version: u64,
    /// Free data of the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    /// When it was made; differs between the systems.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

/// A page of accounts, in order of their ids.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountPage {
    /// The accounts.
    pub accounts: Vec<Account>,
    /// Pass it as `after` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A balance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// The account.
    pub account_id: String,
    /// The ledger balance.
    #[schema(value_type = String)]
    pub balance: Money,
    /// The part of it that is set aside.
    #[schema(value_type = String)]
    pub reserved: Money,
    /// The part of it that can be spent.
    #[schema(value_type = String)]
    pub available: Money,
    /// Its currency.
    pub currency: String,
    /// Counts the account's changes.
    pub version: u64,
    /// The moment the balance belongs to.
    #[schema(value_type = String)]
    pub as_of: Timestamp,
    /// What the reading includes, one `shard:offset` per shard; the legacy has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Vec<String>>,
}

/// One side of a transaction. EXTERNAL and SYSTEM sides show their movement only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// The account.
    pub account_id: String,
    /// The level before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub balance_before: Option<Money>,
    /// The level after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub balance_after: Option<Money>,
    /// The account's version after; differs between the systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// What moved: negative for a debit, `0` when refused.
    #[schema(value_type = String)]
    pub movement: Money,
}

/// The result of a transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransactionResult {
    /// The id given by the system that decided.
    pub transaction_id: String,
    /// The idempotency key.
    pub tracking_id: String,
    /// `topup`, `withdraw`, `transfer` or `refund`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `completed`, `failed` or `processing`.
    pub status: String,
    /// The amount asked for.
    #[schema(value_type = String)]
    pub amount: Money,
    /// Its currency.
    pub currency: String,
    /// Where it comes from.
    pub source: Side,
    /// Where it goes.
    pub destination: Side,
    /// For a refund: the transaction it refers to, by this system's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_transaction_id: Option<String>,
    /// The client's reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The client's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The same for people; for a refund also the client's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Follows the request everywhere.
    pub correlation_id: String,
    /// When it was decided; differs between the systems.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// When it was completed; differs between the systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub completed_at: Option<Timestamp>,
    /// Where the engine decided, `shard:offset` per shard; the legacy has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Vec<String>>,
}

/// A page of transactions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransactionPage {
    /// The transactions.
    pub transactions: Vec<TransactionResult>,
    /// Pass it as `before` (history of an account) or `after` (list of all) for the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What became of transactions in one stretch of time, by type and status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalyticsRow {
    /// The first day of the day, week (Monday) or month: `2026-11-23`, in UTC.
    pub bucket: String,
    /// `topup`, `withdraw`, `transfer` or `refund`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `completed` or `failed`.
    pub status: String,
    /// Transactions that became so in that time.
    pub count: u64,
    /// Their amounts; of refused ones, those asked for.
    #[schema(value_type = String)]
    pub sum: Money,
    /// `sum / count`, to 8 decimals; 0 where there is none.
    #[schema(value_type = String)]
    pub average: Money,
    /// The mean of `sum` over seven buckets, this one the last, to 8 decimals.
    #[schema(value_type = String)]
    pub moving_average7: Money,
    /// By which part of it `sum` has grown since the bucket before, to 4 decimals; absent when that one is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub change: Option<Money>,
}

/// Figures of all transactions in one currency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Analytics {
    /// The currency.
    pub currency: String,
    /// By bucket, type and status.
    pub rows: Vec<AnalyticsRow>,
}

/// What an asynchronous request is answered with (202).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Processing {
    /// `processing`.
    pub status: String,
    /// Ask `/transactions/status/{trackingId}` for the result.
    pub tracking_id: String,
    /// Follows the request everywhere.
    pub correlation_id: String,
    /// For people.
    pub message: String,
}

/// An error (RFC 9457), `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:crossfade:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The code, for programs.
    pub code: String,
    /// What, where, what to do.
    pub detail: String,
    /// Follows the request everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Each thing that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemItem>,
    /// The failed transaction, when a rule refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TransactionResult>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemItem {
    /// JSON pointer to it.
    pub pointer: String,
    /// The code, for programs.
    pub code: String,
    /// What is wrong there.
    pub detail: String,
}

impl Problem {
    /// A problem without items.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:crossfade:problem:{code}"),
            title: title_of(code),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            correlation_id: None,
            errors: Vec::new(),
            result: None,
        }
    }
}

/// `InsufficientBalance` → `Insufficient balance`.
fn title_of(code: &str) -> String {
    let mut title = String::with_capacity(code.len() + 4);
    for (index, letter) in code.chars().enumerate() {
        if index > 0 && letter.is_ascii_uppercase() {
            title.push(' ');
            title.push(letter.to_ascii_lowercase());
        } else {
            title.push(letter);
        }
    }
    title
}

/// One event of an account's audit trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountEvent {
    /// The name of the event.
    pub event_type: String,
    /// The account, or `account#shard` for a stripe of a shared one.
    pub aggregate_id: String,
    /// The account's version with this event.
    pub aggregate_version: u64,
    /// The event's id: UUIDv5 of shard, source offset and index.
    pub event_id: String,
    /// When it was decided.
    #[schema(value_type = String)]
    pub timestamp: Timestamp,
    /// Follows the request everywhere.
    pub correlation_id: String,
    /// The command that caused it.
    pub causation_id: String,
    /// Who asked.
    pub actor_id: String,
    /// Where it stands: `shard:offset`.
    pub position: String,
    /// The event's own fields.
    pub data: serde_json::Value,
}

/// A page of an account's audit trail, in version order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountEventPage {
    /// The events.
    pub events: Vec<AccountEvent>,
    /// Pass it as `fromVersion` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What a transaction took on several shards, step by step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransactionSaga {
    /// The transaction.
    pub transaction_id: String,
    /// The saga, named by the command that began it: `shard:offset`. Absent when one shard did all of it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saga_id: Option<String>,
    /// `running`, `completed`, or `compensated`: refused, and what was done is undone.
    pub status: String,
    /// When the transaction was asked for.
    #[schema(value_type = String)]
    pub started_at: Timestamp,
    /// When it was final; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<Timestamp>,
    /// The steps, in the order in which its home took note of them; last, while it runs, the one that it waits for.
    pub steps: Vec<SagaStep>,
}

/// A step of a saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SagaStep {
    /// Its name: `Reserve`, `Debit`, `Credit`, …
    pub step: String,
    /// The shard that does it.
    pub shard: u32,
    /// The account that it is about; absent where it is about the original of a refund.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// `done`, `refused`, or `waiting`.
    pub status: String,
    /// When the saga's home took note of it; since when it waits for it.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The outcome that did or refused it: `shard:offset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
}
