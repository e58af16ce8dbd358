//! Outcomes of version 1, as journals of before have them: the end of a saga did not say its transaction.

use super::event::{
    AccountCreated, AccountLimitsChanged, AccountStatusChanged, AliasLearnt, BalanceChanged, Event, FundsReserved,
    RefundHeld, RefundHoldReleased, ReservationReleased, SagaEnded, SagaStepCompleted, SagaStepFailed, SagaStepTaken,
    TransactionCompleted, TransactionFailed, TransactionRequested,
};
use super::saga::Saga;
use super::{Answer, FollowUp, Outcome, Position};
use crate::scalar::{Digest, Timestamp};
use crate::words::Mode;
use serde::Deserialize;
use uuid::Uuid;

/// See [`Outcome`].
#[derive(Deserialize)]
pub(super) struct OutcomeV1 {
    parent: Digest,
    shard: u32,
    source_offset: u64,
    command: Uuid,
    correlation_id: String,
    actor: String,
    mode: Mode,
    at: Timestamp,
    feature: u32,
    events: Vec<EventV1>,
    sends: Vec<FollowUp>,
    answer: Answer,
}

/// See [`Event`]: the variants stand in the same order.
#[derive(Deserialize)]
enum EventV1 {
    AccountCreated(AccountCreated),
    AccountStatusChanged(AccountStatusChanged),
    AccountLimitsChanged(AccountLimitsChanged),
    BalanceChanged(BalanceChanged),
    FundsReserved(FundsReserved),
    ReservationReleased(ReservationReleased),
    TransactionRequested(Box<TransactionRequested>),
    TransactionCompleted(Box<TransactionCompleted>),
    TransactionFailed(TransactionFailed),
    RefundHeld(RefundHeld),
    RefundHoldReleased(RefundHoldReleased),
    AliasLearnt(AliasLearnt),
    SagaStarted(Box<Saga>),
    SagaStepCompleted(SagaStepCompleted),
    SagaStepFailed(SagaStepFailed),
    SagaCompensated(SagaEndedV1),
    SagaCompleted(SagaEndedV1),
    SagaStepTaken(SagaStepTaken),
}

/// See [`SagaEnded`].
#[derive(Deserialize)]
struct SagaEndedV1 {
    saga: Position,
    version: u64,
}

impl From<OutcomeV1> for Outcome {
    fn from(old: OutcomeV1) -> Self {
        let OutcomeV1 {
            parent,
            shard,
            source_offset,
            command,
            correlation_id,
            actor,
            mode,
            at,
            feature,
            events,
            sends,
            answer,
        } = old;
        let events = events.into_iter().map(Event::from).collect();
        Self { parent, shard, source_offset, command, correlation_id, actor, mode, at, feature, events, sends, answer }
    }
}

impl From<EventV1> for Event {
    fn from(old: EventV1) -> Self {
        match old {
            EventV1::AccountCreated(event) => Self::AccountCreated(event),
            EventV1::AccountStatusChanged(event) => Self::AccountStatusChanged(event),
            EventV1::AccountLimitsChanged(event) => Self::AccountLimitsChanged(event),
            EventV1::BalanceChanged(event) => Self::BalanceChanged(event),
            EventV1::FundsReserved(event) => Self::FundsReserved(event),
            EventV1::ReservationReleased(event) => Self::ReservationReleased(event),
            EventV1::TransactionRequested(event) => Self::TransactionRequested(event),
            EventV1::TransactionCompleted(event) => Self::TransactionCompleted(event),
            EventV1::TransactionFailed(event) => Self::TransactionFailed(event),
            EventV1::RefundHeld(event) => Self::RefundHeld(event),
            EventV1::RefundHoldReleased(event) => Self::RefundHoldReleased(event),
            EventV1::AliasLearnt(event) => Self::AliasLearnt(event),
            EventV1::SagaStarted(event) => Self::SagaStarted(event),
            EventV1::SagaStepCompleted(event) => Self::SagaStepCompleted(event),
            EventV1::SagaStepFailed(event) => Self::SagaStepFailed(event),
            EventV1::SagaCompensated(event) => Self::SagaCompensated(event.into()),
            EventV1::SagaCompleted(event) => Self::SagaCompleted(event.into()),
            EventV1::SagaStepTaken(event) => Self::SagaStepTaken(event),
        }
    }
}

impl From<SagaEndedV1> for SagaEnded {
    fn from(old: SagaEndedV1) -> Self {
        Self { saga: old.saga, version: old.version, transaction: None }
    }
}
