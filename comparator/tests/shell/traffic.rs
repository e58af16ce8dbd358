//! Exchanges as fronts and the relay write them down.

use crate::front::Journal;
use crate::system::money;
use crate::world::{LEDGER, World};
use eventlog::{Log, NewRecord};
use std::sync::Arc;
use wire::billing::{Side, TransactionResult};
use wire::chain::genesis;
use wire::exchange::{AuthorityResult, ExchangeBody, Intent};
use wire::ids::ExchangeNumber;
use wire::scalar::{Body, Digest, Percent, Timestamp};
use wire::shadow::{LegResult, ShadowBody, ShadowRecord, TOPIC};
use wire::stored::encode;
use wire::words::{Class, Mode, Operation, Stage, System};

/// The account that top-ups come from.
pub const CASH: &str = "cash";

/// The relay's chain.
pub struct Shadows {
    log: Arc<dyn Log>,
    head: Digest,
}

impl Shadows {
    pub fn new(world: &World) -> Self {
        Self { log: world.log.clone(), head: genesis(LEDGER, TOPIC) }
    }

    pub async fn write(&mut self, body: ShadowBody) {
        let at = Timestamp(host::clock::unix_micros());
        let bytes = encode(&ShadowRecord { parent: self.head, at, body });
        self.head = Digest::of(&bytes);
        self.log.append(TOPIC, 0, vec![NewRecord::of(bytes)]).await.unwrap();
    }
}

/// A top-up as a system answers it.
pub fn topup(system: System, key: &str, account: &str, amount: &str, before: &str) -> TransactionResult {
    let after = wire::scalar::Money(money(before).0 + money(amount).0);
    let at = Timestamp(host::clock::unix_micros());
    TransactionResult {
        transaction_id: format!("{system}-{key}"),
        tracking_id: key.to_owned(),
        kind: "topup".to_owned(),
        status: "completed".to_owned(),
        amount: money(amount),
        currency: "EUR".to_owned(),
        source: Side {
            account_id: CASH.to_owned(),
            balance_before: None,
            balance_after: None,
            version: None,
            movement: money(amount).negated(),
        },
        destination: Side {
            account_id: account.to_owned(),
            balance_before: Some(money(before)),
            balance_after: Some(after),
            version: Some(1),
            movement: money(amount),
        },
        original_transaction_id: None,
        reference: None,
        metadata: None,
        error_code: None,
        reason: None,
        correlation_id: format!("correlation-{key}"),
        created_at: at,
        completed_at: Some(at),
        position: None,
    }
}

fn intent(key: &str, account: &str, amount: &str) -> Intent {
    let body = serde_json::json!({
        "idempotencyKey": key, "sourceAccountId": CASH, "destinationAccountId": account,
        "amount": amount, "currency": "EUR",
    });
    Intent {
        route: "topup".into(),
        operation: Operation::Topup,
        method: "POST".into(),
        path: "/transactions/topup".into(),
        headers: Vec::new(),
        body: Body(serde_json::to_vec(&body).unwrap()),
        tenant: String::new(),
        key: Some(key.into()),
        account: Some(account.into()),
        accounts: vec![CASH.into(), account.into()],
        original: None,
        authority: System::Legacy,
        stage: Stage::Shadow,
        percent: Percent::NONE,
        version: 1,
        cross_cohort: false,
        overtaken: false,
    }
}

/// A top-up that is about to be sent; nothing else is known.
pub async fn begin(journal: &Journal, key: &str, account: &str, amount: &str) -> ExchangeNumber {
    let sequence = journal.write(ExchangeBody::Intent(intent(key, account, amount))).await;
    journal.number(sequence)
}

/// A top-up from the intent to the last result of the shadow leg, as both systems answered it.
pub async fn complete(
    journal: &Journal,
    shadows: &mut Shadows,
    legacy: &TransactionResult,
    engine: &TransactionResult,
) -> ExchangeNumber {
    let (key, account) = (&legacy.tracking_id, &legacy.destination.account_id);
    let exchange = begin(journal, key, account, &legacy.amount.to_string()).await;
    finish(journal, shadows, &exchange, legacy, engine).await;
    exchange
}

/// The authority's answer to a top-up that was begun; its shadow leg is not delivered yet.
pub async fn answer(journal: &Journal, exchange: &ExchangeNumber, legacy: &TransactionResult) {
    let result = AuthorityResult {
        intent: exchange.sequence,
        class: Class::Applied,
        status: 200,
        headers: Vec::new(),
        body: Body(serde_json::to_vec(legacy).unwrap()),
        duration_micros: 100,
        replayed: false,
        failure: None,
    };
    journal.write(ExchangeBody::Result(result)).await;
}

/// The rest of a top-up that was begun.
pub async fn finish(
    journal: &Journal,
    shadows: &mut Shadows,
    exchange: &ExchangeNumber,
    legacy: &TransactionResult,
    engine: &TransactionResult,
) {
    answer(journal, exchange, legacy).await;
    let (exchange, system, mode) = (exchange.clone(), System::Engine, Mode::Shadow);
    shadows.write(ShadowBody::Sending { exchange: exchange.clone(), system, mode, attempt: 1 }).await;
    let leg = LegResult {
        exchange,
        system,
        mode,
        attempt: 1,
        class: Class::Applied,
        status: 200,
        headers: Vec::new(),
        body: Body(serde_json::to_vec(engine).unwrap()),
        duration_micros: 100,
        replayed: false,
        last: true,
    };
    shadows.write(ShadowBody::Result(leg)).await;
}
