//! The audit trail of an account: its events, read back from the journal instead of being kept in memory.

use super::View;
use super::render::{money, time};
use crate::codec;
use engine_domain::event::{AccountCreated, Event};
use engine_domain::{AccountId, Limits, Money, Outcome, Position};
use eventlog::{Log, ReadError};
use serde_json::{Value, json};
use uuid::Uuid;
use wire::billing::{AccountEvent, AccountEventPage};
use wire::journal::{self, JOURNAL};

/// The namespace of event ids: UUIDv5 of the name `shard:source offset:index` within it. Never to be changed:
/// consumers recognise repeated events by their ids.
pub const EVENT_NAMESPACE: Uuid = Uuid::from_u128(0x8f1d_3c52_5a0e_5b7c_9d64_c07f_ade0_e7e1);

/// The id of an event: that of its place, so the same however often it is read or published.
pub fn event_id(position: Position, index: usize) -> Uuid {
    Uuid::new_v5(&EVENT_NAMESPACE, format!("{position}:{index}").as_bytes())
}

/// An outcome that touched the account, or one of its stripes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Touched {
    /// The version of its first event of that account or stripe.
    first_version: u64,
    shard: u32,
    offset: u64,
}

impl View {
    /// Where the account's events from `from_version` on are, in order: enough outcomes for `limit` events, and one
    /// more of each stripe to say whether there is a next page.
    fn touched(&self, id: &AccountId, from_version: u64, limit: usize) -> Option<Vec<Touched>> {
        let mut found = false;
        let mut touched = Vec::new();
        for shard in 0..self.shards() {
            let view = self.read(shard);
            let Some(row) = view.accounts.get(id) else { continue };
            found = true;
            let begin = row.changes.partition_point(|change| change.version < from_version);
            let mut first_version = begin.checked_sub(1).map_or(1, |before| row.changes[before].version + 1);
            for change in row.changes[begin..].iter().take(limit.saturating_add(1)) {
                touched.push(Touched { first_version, shard, offset: change.offset });
                first_version = change.version + 1;
            }
        }
        touched.sort_unstable();
        found.then_some(touched)
    }
}

/// A page of the audit trail, in the order of versions (of a shared account: of the stripes' versions, side by
/// side); `None` if there is no such account. A page may hold some events more than `limit`: all of one version of
/// all stripes stay together, so that the next page can begin with a version.
///
/// # Errors
/// When the journal cannot be read back.
pub(crate) async fn page(
    view: &View,
    log: &dyn Log,
    id: &str,
    from_version: u64,
    limit: usize,
) -> Result<Option<AccountEventPage>, ReadError> {
    let Some(id) = AccountId::new(id) else { return Ok(None) };
    let Some(touched) = view.touched(&id, from_version, limit) else { return Ok(None) };
    let mut events: Vec<AccountEvent> = Vec::new();
    let mut not_read = None;
    for place in touched {
        // Nothing that follows comes before this version.
        if events.iter().filter(|event| event.aggregate_version < place.first_version).count() > limit {
            not_read = Some(place.first_version);
            break;
        }
        let read = read_back(log, place, &id).await?;
        events.extend(read.into_iter().filter(|event| event.aggregate_version >= from_version));
    }
    events.sort_by(|a, b| (a.aggregate_version, &a.aggregate_id).cmp(&(b.aggregate_version, &b.aggregate_id)));
    let last = events.get(limit.saturating_sub(1)).map_or(u64::MAX, |event| event.aggregate_version);
    let end = events.partition_point(|event| event.aggregate_version <= last);
    let next = events.get(end).map(|event| event.aggregate_version).into_iter().chain(not_read).min();
    events.truncate(end);
    Ok(Some(AccountEventPage { events, next }))
}

/// The account's events in one outcome.
async fn read_back(log: &dyn Log, place: Touched, id: &AccountId) -> Result<Vec<AccountEvent>, ReadError> {
    let outcome = outcome_at(log, place.shard, place.offset).await?;
    Ok(outcome
        .events
        .iter()
        .enumerate()
        .filter(|(_, event)| event.account().is_some_and(|account| account == id))
        .map(|(index, event)| shown(&outcome, index, event))
        .collect())
}

/// The outcome at an offset of a shard's journal, where the view has seen an accepted one.
///
/// # Errors
/// When it cannot be read back.
pub(super) async fn outcome_at(log: &dyn Log, shard: u32, offset: u64) -> Result<Outcome, ReadError> {
    let failed = |why: String| ReadError::Failed(format!("outcome at {shard}/{offset}: {why}"));
    let records = log.read(JOURNAL, shard, offset, 1).await?;
    let record = records.first().ok_or_else(|| failed("it is not there".to_owned()))?;
    let stored: journal::Outcome = wire::stored::decode(&record.value).map_err(|error| failed(error.to_string()))?;
    codec::outcome_from_wire(stored).map_err(|error| failed(error.to_string()))
}

fn shown(outcome: &Outcome, index: usize, event: &Event) -> AccountEvent {
    let position = Position { shard: outcome.shard, offset: outcome.source_offset };
    let (aggregate, version) = event.aggregate();
    AccountEvent {
        event_type: event.name().to_owned(),
        aggregate_id: aggregate.to_string(),
        aggregate_version: version,
        event_id: event_id(position, index).to_string(),
        timestamp: time(outcome.at),
        correlation_id: outcome.correlation_id.to_string(),
        causation_id: outcome.command.to_string(),
        actor_id: outcome.actor.to_string(),
        position: position.to_string(),
        data: data(event),
    }
}

/// The event's own fields, as the roadmap names them.
fn data(event: &Event) -> Value {
    match event {
        Event::AccountCreated(created) => account_created(created),
        Event::AccountStatusChanged(changed) => json!({ "from": changed.from.as_str(), "to": changed.to.as_str() }),
        Event::AccountLimitsChanged(changed) => json!({ "from": limits(&changed.from), "to": limits(&changed.to) }),
        Event::BalanceChanged(changed) => json!({
            "currency": changed.currency.as_str(),
            "balanceBefore": text(changed.balance_before),
            "balanceAfter": text(changed.balance_after),
            "reserved": text(changed.reserved_after),
            "reason": changed.reason.as_str(),
            "transactionId": changed.transaction.to_string(),
        }),
        Event::FundsReserved(reserved) => json!({
            "amount": text(reserved.amount.money()),
            "reserved": text(reserved.reserved_after),
            "transactionId": reserved.transaction.to_string(),
        }),
        Event::ReservationReleased(released) => json!({
            "amount": text(released.amount),
            "reserved": text(released.reserved_after),
            "transactionId": released.transaction.to_string(),
        }),
        // Events of other aggregates are in no account's trail.
        Event::TransactionRequested(_)
        | Event::TransactionCompleted(_)
        | Event::TransactionFailed(_)
        | Event::RefundHeld(_)
        | Event::RefundHoldReleased(_)
        | Event::AliasLearnt(_)
        | Event::SagaStarted(_)
        | Event::SagaStepCompleted(_)
        | Event::SagaStepFailed(_)
        | Event::SagaCompensated(_)
        | Event::SagaCompleted(_)
        | Event::SagaStepTaken(_) => Value::Null,
    }
}

fn account_created(created: &AccountCreated) -> Value {
    let mut data = json!({
        "accountId": created.aggregate.id.as_str(),
        "ownerId": &*created.owner_id,
        "ownerType": &*created.owner_type,
        "accountType": created.account_type.as_str(),
        "currency": created.currency.as_str(),
    });
    for (name, limit) in [("minBalance", created.limits.min), ("maxBalance", created.limits.max)] {
        if let Some(limit) = limit {
            data[name] = Value::String(text(limit));
        }
    }
    data
}

fn limits(limits: &Limits) -> Value {
    json!({ "minBalance": limits.min.map(text), "maxBalance": limits.max.map(text) })
}

fn text(amount: Money) -> String {
    money(amount).to_string()
}
