//! Exchanges and records as fronts, authorities and the relay write them.

use super::super::Rules;
use super::super::exchanges::{Decided, Exchange, ExchangeId, Leg, Phase, Step};
use super::super::keys::{content_of, key_of};
use super::super::order::{Place, Position, Topic};
use super::super::reading::Reading;
use std::sync::Arc;
use wire::exchange::{AuthorityResult, ExchangeBody, ExchangeRecord, Intent};
use wire::ids::ExchangeNumber;
use wire::rollout::{RolloutBody, Setting};
use wire::scalar::{Body, Digest, Percent, Timestamp};
use wire::shadow::{ShadowBody, ShadowRecord};
use wire::words::{Class, Mode, Operation, Stage, System};

/// The only front, unless a test names others.
pub(crate) const FRONT: &str = "front-a";

/// Times that make every wait one that a test has to step over.
pub(crate) fn rules() -> Rules {
    Rules {
        concurrency: 64,
        questions: 8,
        retry_min_micros: 100,
        retry_max_micros: 1_000,
        ask_again_micros: 200,
        ask_again_max_micros: 5_000_000,
        legacy_longest_request_micros: 10_000,
        engine_request_timeout_micros: 5_000,
        reoffer_micros: 1_000_000,
        front_grace_micros: 2_000_000,
        abandoned_micros: 60_000_000,
        legacy_deduplicates: true,
        cursor_every_micros: 1,
        max_kept: 100_000,
        transaction_pointers: vec!["/transactionId".to_owned()],
    }
}

pub(crate) fn number(sequence: u64) -> ExchangeNumber {
    ExchangeNumber { front: FRONT.to_owned(), boot: 1, sequence }
}

/// A request that names these accounts, the deciding one first.
pub(crate) fn intent(operation: Operation, authority: System, accounts: &[&str], body: &str) -> Intent {
    let (method, path) = match operation {
        Operation::CreateAccount => ("POST", "/accounts".to_owned()),
        Operation::ChangeAccount => ("PATCH", format!("/accounts/{}", accounts[0])),
        _ => ("POST", format!("/transactions/{operation}")),
    };
    Intent {
        route: operation.to_string(),
        operation,
        method: method.to_owned(),
        path,
        headers: vec![("idempotency-key".to_owned(), "key".to_owned())],
        body: Body(body.as_bytes().to_vec()),
        tenant: String::new(),
        key: Some("key".to_owned()),
        account: accounts.first().map(|account| (*account).to_owned()),
        accounts: accounts.iter().map(|account| (*account).to_owned()).collect(),
        original: None,
        authority,
        stage: if authority == System::Legacy { Stage::Shadow } else { Stage::Engine },
        percent: Percent::NONE,
        version: 1,
        cross_cohort: false,
        overtaken: false,
    }
}

/// The body of an applied transaction.
pub(crate) fn applied(id: &str, source: &str, destination: &str, position: Option<&str>) -> String {
    let position = position.map(|position| format!(r#","position":["{position}"]"#)).unwrap_or_default();
    format!(
        r#"{{"transactionId":"{id}","status":"completed","source":{{"accountId":"{source}","movement":"-1"}},
           "destination":{{"accountId":"{destination}","movement":"1"}}{position}}}"#
    )
}

/// The body of a refusal.
pub(crate) fn refused(code: &str) -> String {
    format!(r#"{{"type":"urn:crossfade:problem:{code}","title":"","status":422,"code":"{code}","detail":""}}"#)
}

/// The document of a failed transaction.
pub(crate) fn failed_result(id: &str, source: &str, destination: &str, code: &str) -> String {
    format!(
        r#"{{"transactionId":"{id}","trackingId":"key","type":"withdraw","status":"failed","amount":"5","currency":"EUR",
           "source":{{"accountId":"{source}","movement":"0"}},"destination":{{"accountId":"{destination}","movement":"0"}},
           "errorCode":"{code}","correlationId":"c","createdAt":"2026-11-01T00:00:00Z"}}"#
    )
}

pub(crate) fn record(sequence: u64, at: Timestamp, body: ExchangeBody) -> ExchangeRecord {
    ExchangeRecord { front: FRONT.to_owned(), boot: 1, sequence, at, body }
}

pub(crate) fn result(intent: u64, class: Class, status: u16, body: &str) -> AuthorityResult {
    AuthorityResult {
        intent,
        class,
        status,
        headers: Vec::new(),
        body: Body(body.as_bytes().to_vec()),
        duration_micros: 10,
        replayed: false,
        failure: None,
    }
}

/// An exchange that its authority has decided.
pub(crate) fn decided(authority: System, operation: Operation, class: Class, status: u16, body: &str) -> Exchange {
    let intent = intent(operation, authority, &["alice"], "{}");
    let position = Position { at: Timestamp(1), topic: Topic::Exchanges, offset: 1 };
    Exchange {
        number: number(1),
        began: position,
        written: Timestamp(1),
        account: Some("alice".into()),
        accounts: vec!["alice".into()],
        key: key_of(&intent),
        content: content_of(&intent),
        named: None,
        decided: Some(Arc::new(Decided {
            position,
            class,
            status,
            body: Body(body.as_bytes().to_vec()),
            reading: Reading::of(body.as_bytes()),
            replayed: false,
            resolved: false,
        })),
        phase: Phase::Open,
        intent: Arc::new(intent),
    }
}

/// A leg of such an exchange.
pub(crate) fn leg(exchange: &Exchange, mode: Mode) -> Leg {
    Leg {
        target: exchange.shadow(),
        mode,
        attempt: 1,
        step: Step::Due(0),
        place: Place::of(exchange.began, ExchangeId(1)),
        claims: exchange.claims(|_| None),
        complete: false,
        announced: Timestamp::default(),
        unanswered: false,
        doubt: None,
        refusal: None,
    }
}

/// A move of the dial in one phase.
pub(crate) fn moved(version: u64, stage: &str, percent: u16) -> RolloutBody {
    RolloutBody::Moved { version, to: setting(stage, percent), forced: false, evidence: Vec::new() }
}

pub(crate) fn setting(stage: &str, percent: u16) -> Setting {
    Setting { stage: stage.parse().expect("it is a stage"), percent: Percent::whole(percent) }
}

/// A top-up of a USER account from an EXTERNAL one.
pub(crate) fn topup(authority: System, account: &str) -> Intent {
    intent(Operation::Topup, authority, &[account, "bank"], "{}")
}

/// A withdrawal from a USER account to an EXTERNAL one.
pub(crate) fn withdraw(authority: System, account: &str) -> Intent {
    intent(Operation::Withdraw, authority, &[account, "bank"], "{}")
}

pub(crate) fn shadow(at: i64, body: ShadowBody) -> ShadowRecord {
    ShadowRecord { parent: Digest::default(), at: Timestamp(at), body }
}

pub(crate) fn sending(exchange: u64) -> ShadowBody {
    ShadowBody::Sending { exchange: number(exchange), system: System::Engine, mode: Mode::Shadow, attempt: 1 }
}
