//! The fold of the past, whatever the clocks of the topics say.

use super::log::MemoryLog;
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

/// A front's records of the first exchange.
fn exchange_done() -> Vec<NewRecord> {
    let exchange =
        [ExchangeBody::Intent(transfer(System::Legacy, 1)), ExchangeBody::Result(result(1, Class::Applied, 200, "{}"))];
    (1..).zip(exchange).map(|(sequence, body)| NewRecord::of(record("front-a", 1, sequence, body))).collect()
}

/// Of two relays for a moment: the one announces a leg while the other one finds out where the topics end.
#[tokio::test]
async fn nothing_is_taken_of_an_exchange_that_is_behind_the_end() {
    for topic in [exchange::TOPIC, shadow::TOPIC] {
        let log = MemoryLog::new();
        let number = ExchangeNumber { front: "front-a".to_owned(), boot: 1, sequence: 1 };
        let sending = leg_done(&number).into_iter().take(1).collect();
        log.put_behind_the_end(topic, vec![(exchange::TOPIC, exchange_done()), (shadow::TOPIC, sending)]);
        let config = config("http://127.0.0.1:1", "http://127.0.0.1:1");
        let start = start::begin(&Place::here(Arc::new(log)), LEDGER, &config, &Readiness::new()).await.unwrap();
        assert!(start.exchanges == 2 || start.shadows == 0, "{}, {}: sent again", start.exchanges, start.shadows);
    }
}

#[tokio::test]
async fn a_concluded_leg_stays_concluded_although_its_records_seem_older_than_its_exchange() {
    let directory = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(directory.path()).unwrap();
    // As another leader's clock may have it: what followed stands in the log with the earlier times.
    let number = ExchangeNumber { front: "front-a".to_owned(), boot: 1, sequence: 1 };
    log.append(shadow::TOPIC, PARTITION, leg_done(&number)).await.unwrap();
    log.append(exchange::TOPIC, PARTITION, exchange_done()).await.unwrap();

    let place = Place::here(log as Arc<dyn Log>);
    let config = config("http://127.0.0.1:1", "http://127.0.0.1:1");
    let start = start::begin(&place, LEDGER, &config, &Readiness::new()).await.unwrap();
    assert_eq!((start.exchanges, start.shadows), (2, 2));
    assert_eq!(start.delivery.oldest_undelivered(System::Engine), None, "it would be sent once more");
}
