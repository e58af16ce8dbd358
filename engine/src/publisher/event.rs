//! Events as they are published: one record of a topic's schema each, from an accepted outcome.

use crate::view::trail::event_id;
use apache_avro::Decimal;
use apache_avro::types::Value;
use engine_domain::event::{
    AccountCreated, BalanceChanged, Event, FundsReserved, ReservationReleased, TransactionCompleted, TransactionFailed,
    TransactionRequested,
};
use engine_domain::saga::{Saga, Stage, Work};
use engine_domain::{Limits, Money, Outcome, Position, SagaId, Timestamp, TransactionId};
use wire::avro::{ACCOUNT_EVENTS, SAGA_EVENTS, TRANSACTION_EVENTS};

/// The scale of every amount in a schema: as many decimals as money has (DESIGN 3.2).
const SCALE: u32 = 8;

/// An event, ready to be encoded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Published {
    pub(crate) topic: &'static str,
    pub(crate) event_id: String,
    pub(crate) event_type: &'static str,
    pub(crate) aggregate_id: String,
    pub(crate) correlation_id: String,
    pub(crate) position: String,
    pub(crate) record: Value,
}

/// The events of an outcome, in its order.
pub(crate) fn published(outcome: &Outcome) -> Vec<Published> {
    let position = Position { shard: outcome.shard, offset: outcome.source_offset };
    outcome.events.iter().enumerate().map(|(index, event)| one(outcome, position, index, event)).collect()
}

fn one(outcome: &Outcome, position: Position, index: usize, event: &Event) -> Published {
    let (aggregate, version) = event.aggregate();
    let (topic, place, data, metadata) = detail(event);
    let event_id = event_id(position, index);
    let record = Value::Record(vec![
        ("eventId".to_owned(), Value::Uuid(event_id)),
        field("eventType", event.name()),
        field("aggregateId", &aggregate.to_string()),
        ("aggregateVersion".to_owned(), Value::Long(i64::try_from(version).unwrap_or(i64::MAX))),
        time("timestamp", outcome.at),
        field("correlationId", &outcome.correlation_id),
        field("causationId", &outcome.command.to_string()),
        field("actorId", &outcome.actor),
        field("position", &position.to_string()),
        optional("metadata", metadata),
        ("data".to_owned(), Value::Union(place, Box::new(Value::Record(data)))),
    ]);
    Published {
        topic,
        event_id: event_id.to_string(),
        event_type: event.name(),
        aggregate_id: aggregate.to_string(),
        correlation_id: outcome.correlation_id.to_string(),
        position: position.to_string(),
        record,
    }
}

type Fields = Vec<(String, Value)>;

/// The topic, the place of the record in the union `data` of its schema, the record's fields, the client's data.
fn detail(event: &Event) -> (&'static str, u32, Fields, Option<&str>) {
    match event {
        Event::AccountCreated(created) => (ACCOUNT_EVENTS, 0, account_created(created), created.metadata.as_deref()),
        Event::AccountStatusChanged(changed) => {
            let fields = vec![field("from", changed.from.as_str()), field("to", changed.to.as_str())];
            (ACCOUNT_EVENTS, 1, fields, None)
        }
        Event::AccountLimitsChanged(changed) => (ACCOUNT_EVENTS, 2, limits(&changed.to), None),
        Event::BalanceChanged(changed) => (ACCOUNT_EVENTS, 3, balance_changed(changed), None),
        Event::FundsReserved(reserved) => (ACCOUNT_EVENTS, 4, funds_reserved(reserved), None),
        Event::ReservationReleased(released) => (ACCOUNT_EVENTS, 5, released_fields(released), None),
        Event::TransactionRequested(requested) => {
            (TRANSACTION_EVENTS, 0, transaction_requested(requested), requested.metadata.as_deref())
        }
        Event::TransactionCompleted(completed) => (TRANSACTION_EVENTS, 1, transaction_completed(completed), None),
        Event::TransactionFailed(failed) => (TRANSACTION_EVENTS, 2, transaction_failed(failed), None),
        Event::RefundHeld(held) => {
            let fields = refund_hold(&held.refund, held.amount.money(), held.refunded_after);
            (TRANSACTION_EVENTS, 3, fields, None)
        }
        Event::RefundHoldReleased(released) => {
            let fields = refund_hold(&released.refund, released.amount.money(), released.refunded_after);
            (TRANSACTION_EVENTS, 3, fields, None)
        }
        Event::AliasLearnt(learnt) => (TRANSACTION_EVENTS, 4, vec![field("alias", &learnt.alias)], None),
        Event::SagaStarted(saga) => {
            let mut fields = vec![field("sagaType", saga_type(saga))];
            fields.extend(saga_of(&saga.id, saga.work.transaction()));
            (SAGA_EVENTS, 0, fields, None)
        }
        Event::SagaStepCompleted(step) => {
            let awaited = step.awaited.as_ref().map(|awaited| awaited.action.stage());
            (SAGA_EVENTS, 1, saga_step(step.taken.stage, awaited), None)
        }
        Event::SagaStepFailed(step) => {
            let awaited = step.awaited.as_ref().map(|awaited| awaited.action.stage());
            (SAGA_EVENTS, 1, saga_step(step.taken.stage, awaited), None)
        }
        Event::SagaStepTaken(step) => (SAGA_EVENTS, 1, saga_step(step.stage, None), None),
        Event::SagaCompleted(ended) | Event::SagaCompensated(ended) => {
            (SAGA_EVENTS, 2, saga_of(&ended.saga, ended.transaction), None)
        }
    }
}

fn account_created(created: &AccountCreated) -> Fields {
    let mut fields = vec![
        field("accountId", created.aggregate.id.as_str()),
        field("ownerId", &created.owner_id),
        field("ownerType", &created.owner_type),
        field("accountType", created.account_type.as_str()),
        field("currency", created.currency.as_str()),
    ];
    fields.extend(limits(&created.limits));
    fields
}

fn limits(limits: &Limits) -> Fields {
    vec![maybe_money("minBalance", limits.min), maybe_money("maxBalance", limits.max)]
}

fn balance_changed(changed: &BalanceChanged) -> Fields {
    vec![
        field("currency", changed.currency.as_str()),
        money("balanceBefore", changed.balance_before),
        money("balanceAfter", changed.balance_after),
        field("reason", changed.reason.as_str()),
        field("transactionId", &changed.transaction.to_string()),
        maybe_money("reserved", Some(changed.reserved_after)),
    ]
}

fn funds_reserved(reserved: &FundsReserved) -> Fields {
    vec![
        field("transactionId", &reserved.transaction.to_string()),
        money("amount", reserved.amount.money()),
        money("reserved", reserved.reserved_after),
    ]
}

fn released_fields(released: &ReservationReleased) -> Fields {
    vec![
        field("transactionId", &released.transaction.to_string()),
        money("amount", released.amount),
        money("reserved", released.reserved_after),
    ]
}

fn transaction_requested(requested: &TransactionRequested) -> Fields {
    vec![
        field("idempotencyKey", &requested.key),
        field("tenant", &requested.tenant),
        optional("sourceAccountId", requested.source.as_ref().map(|account| account.as_str())),
        optional("destinationAccountId", requested.destination.as_ref().map(|account| account.as_str())),
        maybe_money("amount", requested.amount.map(|amount| amount.money())),
        optional("currency", requested.currency.as_ref().map(|currency| currency.as_str())),
        optional("reference", requested.reference.as_deref()),
        optional("originalTransactionId", requested.original_named.as_deref()),
        optional("reason", requested.reason.as_deref()),
    ]
}

fn transaction_completed(completed: &TransactionCompleted) -> Fields {
    let original = completed.original.map(|original| original.to_string());
    vec![
        field("transactionId", &completed.transaction.to_string()),
        money("amount", completed.amount.money()),
        field("currency", completed.currency.as_str()),
        field("sourceAccountId", completed.source.account.as_str()),
        money("sourceBalanceBefore", completed.source.balance_before),
        money("sourceBalanceAfter", completed.source.balance_after),
        field("destinationAccountId", completed.destination.account.as_str()),
        money("destinationBalanceBefore", completed.destination.balance_before),
        money("destinationBalanceAfter", completed.destination.balance_after),
        optional("originalTransactionId", original.as_deref()),
        time("completedAt", completed.completed_at),
    ]
}

fn transaction_failed(failed: &TransactionFailed) -> Fields {
    vec![
        field("errorCode", failed.rejection.code()),
        field("reason", failed.rejection.reason()),
        time("completedAt", failed.completed_at),
    ]
}

fn refund_hold(refund: &TransactionId, amount: Money, refunded: Money) -> Fields {
    vec![field("refundId", &refund.to_string()), money("amount", amount), money("refunded", refunded)]
}

fn saga_type(saga: &Saga) -> &'static str {
    match &saga.work {
        Work::Transaction(movement) => movement.kind.as_str(),
        Work::OpenStripes { .. } => "open-stripes",
        Work::SetStripes { .. } => "set-stripes",
    }
}

fn saga_step(step: Stage, awaited: Option<Stage>) -> Fields {
    let name = |stage: Stage| format!("{stage:?}");
    vec![field("step", &name(step)), optional("awaited", awaited.map(name).as_deref())]
}

fn saga_of(id: &SagaId, transaction: Option<TransactionId>) -> Fields {
    let transaction = transaction.map(|transaction| transaction.to_string());
    vec![field("sagaId", &id.to_string()), optional("transactionId", transaction.as_deref())]
}

fn field(name: &str, text: &str) -> (String, Value) {
    (name.to_owned(), Value::String(text.to_owned()))
}

fn optional(name: &str, text: Option<&str>) -> (String, Value) {
    let value = text.map(|text| Value::String(text.to_owned()));
    (name.to_owned(), in_union(value))
}

fn money(name: &str, amount: Money) -> (String, Value) {
    (name.to_owned(), decimal(amount))
}

fn maybe_money(name: &str, amount: Option<Money>) -> (String, Value) {
    (name.to_owned(), in_union(amount.map(decimal)))
}

fn time(name: &str, at: Timestamp) -> (String, Value) {
    (name.to_owned(), Value::TimestampMicros(at.0))
}

/// The place of a value in a union of null and something.
fn in_union(value: Option<Value>) -> Value {
    match value {
        None => Value::Union(0, Box::new(Value::Null)),
        Some(value) => Value::Union(1, Box::new(value)),
    }
}

/// Exact: money never has more decimals than the schemas.
fn decimal(amount: Money) -> Value {
    let mut decimal = amount.decimal();
    decimal.rescale(SCALE);
    Value::Decimal(Decimal::from(minimal(decimal.mantissa())))
}

/// The fewest bytes that say the number in two's complement, the highest first.
fn minimal(number: i128) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let sign = if number < 0 { 0xFF } else { 0x00 };
    let redundant =
        bytes.windows(2).take_while(|pair| pair[0] == sign && (pair[1] & 0x80 != 0) == (sign == 0xFF)).count();
    bytes[redundant..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_takes_as_few_bytes_as_it_can() {
        for (number, bytes) in [
            (0, vec![0]),
            (1, vec![1]),
            (-1, vec![0xFF]),
            (127, vec![0x7F]),
            (128, vec![0, 0x80]),
            (-128, vec![0x80]),
            (-129, vec![0xFF, 0x7F]),
            (1_000_000_000, vec![0x3B, 0x9A, 0xCA, 0]),
        ] {
            assert_eq!(minimal(number), bytes, "{number}");
        }
    }
}
