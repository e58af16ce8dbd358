//! The fold of the past, whatever the clocks of the topics say.

use super::rig::{LEDGER, config, record, result, transfer};
use crate::relay::appending::PARTITION;
use crate::relay::start;
use eventlog::{EmbeddedLog, Log, NewRecord, Place};
use host::ops::Readiness;
use std::sync::Arc;
use wire::chain::Head;
use wire::exchange::{self, ExchangeBody};
use wire::ids::ExchangeNumber;
use wire::scalar::{Body, Digest, Timestamp};
use wire::shadow::{self, LegResult, ShadowBody, ShadowRecord};
use wire::stored::encode;
use wire::words::{Class, Mode, System};

/// The relay's records of a leg that was sent and came back.
fn leg_done(number: &ExchangeNumber) -> Vec<NewRecord> {
    let (system, mode, attempt) = (System::Engine, Mode::Shadow, 1);
    let sending = ShadowBody::Sending { exchange: number.clone(), system, mode, attempt };
    let done = ShadowBody::Result(LegResult {
        exchange: number.clone(),
        system,
        mode,
        attempt,
        class: Class::Applied,
        status: 200,
        headers: Vec::new(),
        body: Body::default(),
        duration_micros: 10,
        replayed: false,
        last: true,
    });
    let mut parent = Head::genesis(LEDGER, shadow::TOPIC).digest();
    let records = [sending, done].map(|body| {
        let bytes = encode(&ShadowRecord { parent, at: Timestamp(1), body });
        parent = Digest::of(&bytes);
        NewRecord::of(bytes)
    });
    records.into()
}

#[tokio::test]
async fn a_concluded_leg_stays_concluded_although_its_records_seem_older_than_its_exchange() {
    let directory = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(directory.path()).unwrap();
    // As another leader's clock may have it: what followed stands in the log with the earlier times.
    let number = ExchangeNumber { front: "front-a".to_owned(), boot: 1, sequence: 1 };
    log.append(shadow::TOPIC, PARTITION, leg_done(&number)).await.unwrap();
    let exchange =
        [ExchangeBody::Intent(transfer(System::Legacy, 1)), ExchangeBody::Result(result(1, Class::Applied, 200, "{}"))];
    let exchange = (1..).zip(exchange).map(|(sequence, body)| NewRecord::of(record("front-a", 1, sequence, body)));
    log.append(exchange::TOPIC, PARTITION, exchange.collect()).await.unwrap();

    let place = Place::here(log as Arc<dyn Log>);
    let config = config("http://127.0.0.1:1", "http://127.0.0.1:1");
    let start = start::begin(&place, LEDGER, &config, &Readiness::new()).await.unwrap();
    assert_eq!((start.exchanges, start.shadows), (2, 2));
    assert_eq!(start.delivery.oldest_undelivered(System::Engine), None, "it would be sent once more");
}
