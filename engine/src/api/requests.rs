//! The bodies of the billing API's writes: how they are read, and what the API document says of them.

use super::caller;
use super::fields::Fields;
use super::findings::{Findings, Flaw};
use super::strict;
use axum::http::HeaderMap;
use engine_domain::command::{LimitChange, MoveKind};
use engine_domain::{AccountId, AccountType, Amount, Currency, Limits, Status, Text};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

/// The types of accounts, as clients write them.
const ACCOUNT_TYPES: [(&str, AccountType); 3] = [
    (AccountType::User.as_str(), AccountType::User),
    (AccountType::External.as_str(), AccountType::External),
    (AccountType::System.as_str(), AccountType::System),
];
/// The states of accounts, as clients write them.
const STATUSES: [(&str, Status); 3] = [
    (Status::Active.as_str(), Status::Active),
    (Status::Frozen.as_str(), Status::Frozen),
    (Status::Closed.as_str(), Status::Closed),
];

/// A body that can be read from the fields of a JSON object.
pub trait Request: Sized {
    /// Takes its fields; `None` when one was wrong or missing, which is then among the findings.
    fn take(fields: &mut Fields<'_>) -> Option<Self>;
}

/// Reads a body; `None` when anything is wrong with it, which is then among the findings.
pub fn read<T: Request>(body: &[u8], findings: &mut Findings) -> Option<T> {
    let value = strict::read(body, findings)?;
    let mut fields = Fields::of(value, findings)?;
    let request = T::take(&mut fields);
    fields.finish();
    request
}

/// Reads the body of a transaction, and its key from the body or the headers; `None` as [`read`].
pub fn read_keyed<T: Request>(body: &[u8], headers: &HeaderMap, findings: &mut Findings) -> Option<(T, Text)> {
    keyed(strict::read(body, findings)?, headers, findings)
}

/// Reads one transaction of a batch, and its key; `None` as [`read`].
pub fn read_item(item: Value, findings: &mut Findings) -> Option<(Item, Text)> {
    keyed(item, &HeaderMap::new(), findings)
}

fn keyed<T: Request>(value: Value, headers: &HeaderMap, findings: &mut Findings) -> Option<(T, Text)> {
    let in_body = value.get(KEY).and_then(Value::as_str).map(str::to_owned);
    let mut fields = Fields::of(value, findings)?;
    let request = T::take(&mut fields);
    fields.finish();
    request.zip(caller::required_key(headers, in_body, findings))
}

/// A new account.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct CreateAccount {
    /// Its id; made by the engine when absent.
    #[schema(schema_with = account_id_schema, required = false)]
    pub account_id: Option<AccountId>,
    /// Who owns it.
    #[schema(value_type = String, max_length = 255)]
    pub owner_id: Text,
    /// What kind of owner that is.
    #[schema(value_type = String, max_length = 255)]
    pub owner_type: Text,
    /// `USER`, `EXTERNAL` or `SYSTEM`.
    #[schema(value_type = String, pattern = "^(USER|EXTERNAL|SYSTEM)$")]
    pub account_type: AccountType,
    /// The currency of its balance.
    #[schema(schema_with = currency_schema)]
    pub currency: Currency,
    /// The balance may not fall below it.
    #[schema(schema_with = limit_schema, required = false)]
    pub min_balance: LimitChange,
    /// The balance may not rise above it.
    #[schema(schema_with = limit_schema, required = false)]
    pub max_balance: LimitChange,
    /// Free data of the owner.
    #[schema(schema_with = object_schema, required = false)]
    pub metadata: Option<Text>,
}

impl CreateAccount {
    /// Its limits.
    pub fn limits(&self) -> Limits {
        Limits { min: self.min_balance.applied_to(None), max: self.max_balance.applied_to(None) }
    }
}

impl Request for CreateAccount {
    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let account_id = fields.optional_account("accountId");
        let owner_id = fields.required_short_text("ownerId");
        let owner_type = fields.required_short_text("ownerType");
        let account_type = fields.word("accountType", &ACCOUNT_TYPES);
        let currency = fields.currency("currency");
        let min_balance = fields.limit("minBalance");
        let max_balance = fields.limit("maxBalance");
        let metadata = fields.object("metadata");
        Some(Self {
            account_id,
            owner_id: owner_id?,
            owner_type: owner_type?,
            account_type: account_type?,
            currency: currency?,
            min_balance,
            max_balance,
            metadata,
        })
    }
}

/// A change of an account; at least one field.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ChangeAccount {
    /// `ACTIVE`, `FROZEN` or `CLOSED`.
    #[schema(value_type = Option<String>, pattern = "^(ACTIVE|FROZEN|CLOSED)$")]
    pub status: Option<Status>,
    /// The new lower limit; `null` removes it.
    #[schema(schema_with = limit_schema, required = false)]
    pub min_balance: LimitChange,
    /// The new upper limit; `null` removes it.
    #[schema(schema_with = limit_schema, required = false)]
    pub max_balance: LimitChange,
}

impl Request for ChangeAccount {
    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        if fields.is_empty() {
            fields.note_whole(Flaw::MissingField, "nothing to change: send status, minBalance or maxBalance");
        }
        Some(Self {
            status: fields.optional_word("status", &STATUSES),
            min_balance: fields.limit("minBalance"),
            max_balance: fields.limit("maxBalance"),
        })
    }
}

/// A topup, withdrawal or transfer.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct Move {
    /// 1 to 255 printable ASCII characters; may come as header `Idempotency-Key` instead.
    #[schema(max_length = 255)]
    pub idempotency_key: Option<String>,
    /// Where it comes from.
    #[schema(schema_with = account_id_schema)]
    pub source_account_id: AccountId,
    /// Where it goes.
    #[schema(schema_with = account_id_schema)]
    pub destination_account_id: AccountId,
    /// How much: above zero, a string.
    #[schema(schema_with = amount_schema)]
    pub amount: Amount,
    /// The currency of the amount.
    #[schema(schema_with = currency_schema)]
    pub currency: Currency,
    /// The client's reference.
    #[schema(value_type = Option<String>, max_length = 255)]
    pub reference: Option<Text>,
    /// The client's data.
    #[schema(schema_with = object_schema, required = false)]
    pub metadata: Option<Text>,
}

impl Request for Move {
    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let idempotency_key = fields.non_null_text(KEY);
        let source = fields.account("sourceAccountId");
        let destination = fields.account("destinationAccountId");
        let amount = fields.amount("amount");
        let currency = fields.currency("currency");
        let reference = fields.short_text("reference");
        let metadata = fields.object("metadata");
        Some(Self {
            idempotency_key,
            source_account_id: source?,
            destination_account_id: destination?,
            amount: amount?,
            currency: currency?,
            reference,
            metadata,
        })
    }
}

/// A refund.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct Refund {
    /// 1 to 255 printable ASCII characters; may come as header `Idempotency-Key` instead.
    #[schema(max_length = 255)]
    pub idempotency_key: Option<String>,
    /// The transaction to be refunded, by the id of either system.
    #[schema(value_type = String, max_length = 255)]
    pub transaction_id: Text,
    /// How much; everything that is left when absent.
    #[schema(schema_with = amount_schema, required = false)]
    pub amount: Option<Amount>,
    /// Why.
    #[schema(value_type = Option<String>)]
    pub reason: Option<Text>,
}

impl Request for Refund {
    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        let idempotency_key = fields.non_null_text(KEY);
        let transaction_id = fields.required_short_text("transactionId");
        let amount = fields.optional_amount("amount");
        let reason = fields.text("reason").map(Text::from);
        Some(Self { idempotency_key, transaction_id: transaction_id?, amount, reason })
    }
}

/// One transaction of a batch: what would be the body of a request of its own, and which request that would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A topup, withdrawal or transfer.
    Move(MoveKind, Move),
    /// A refund.
    Refund(Refund),
}

/// The types of transactions in a batch; `None` is a refund.
const ITEM_TYPES: [(&str, Option<MoveKind>); 4] = [
    ("topup", Some(MoveKind::Topup)),
    ("withdraw", Some(MoveKind::Withdraw)),
    ("transfer", Some(MoveKind::Transfer)),
    ("refund", None),
];

impl Request for Item {
    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        match fields.word("type", &ITEM_TYPES) {
            Some(Some(kind)) => Move::take(fields).map(|asked| Self::Move(kind, asked)),
            Some(None) => Refund::take(fields).map(Self::Refund),
            None => {
                // Which fields there are depends on the type.
                fields.leave_rest();
                None
            }
        }
    }
}

/// Transactions to be executed together, each on its own.
#[derive(Debug, Clone, PartialEq, ToSchema)]
pub struct Batch {
    /// 1 to 10,000: the body of a topup, withdrawal, transfer or refund each, with its `type` and its key in it.
    #[schema(value_type = Vec<Object>, min_items = 1, max_items = 10_000)]
    pub transactions: Vec<Value>,
}

/// Transactions in a batch at most (CONTRACT).
pub const MAX_BATCH: usize = 10_000;

impl Request for Batch {
    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { transactions: fields.list("transactions", MAX_BATCH)? })
    }
}

fn account_id_schema() -> Object {
    text_schema(r"^[A-Za-z0-9._:-]{1,64}$", "1 to 64 characters")
}

fn currency_schema() -> Object {
    text_schema("^[A-Z]{3,10}$", "3 to 10 capital letters")
}

fn amount_schema() -> Object {
    text_schema(r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,8})?$", "above zero; a string, never a number")
}

fn limit_schema() -> Object {
    let mut schema = text_schema(r"^-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,8})?$", "a string, or `null` for no limit");
    schema.schema_type = SchemaType::from_iter([Type::String, Type::Null]);
    schema
}

fn object_schema() -> Object {
    let mut schema = ObjectBuilder::new().description(Some("free data: an object of any content")).build();
    schema.schema_type = SchemaType::from_iter([Type::Object, Type::Null]);
    schema
}

fn text_schema(pattern: &str, description: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).description(Some(description)).build()
}

/// The field of a body that a key may stand in.
const KEY: &str = "idempotencyKey";
