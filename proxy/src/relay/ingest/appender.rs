//! The writer of `cutover.exchanges`: takes what the connections read, drops repeats by number, appends the rest
//! as it came, and says what is durable.

use super::registry::Registry;
use super::{FrontEvent, Shipment};
use crate::relay::Error;
use crate::relay::appending::{Appending, keyed};
use bytes::Bytes;
use eventlog::{NewRecord, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use wire::exchange::ExchangeRecord;
use wire::scalar::Timestamp;
use wire::stored::decode;

/// Shipments in one append: more than that many connections cannot be ahead of the log.
const MAX_SHIPMENTS: usize = 256;

/// Per front its last boot in the log, and that boot's last sequence.
pub(crate) type Shipped = BTreeMap<String, (u64, u64)>;

/// Appends shipments in order until nobody can hand over any more.
///
/// # Errors
/// [`Error::AnotherRelay`] when somebody else writes into the topic.
pub(super) async fn run(
    mut appending: Appending,
    mut shipped: Shipped,
    registry: Arc<Registry>,
    mut queue: mpsc::Receiver<Shipment>,
    events: mpsc::UnboundedSender<FrontEvent>,
) -> Result<(), Error> {
    let mut shipments = Vec::new();
    while queue.recv_many(&mut shipments, MAX_SHIPMENTS).await > 0 {
        let mut batch: Vec<NewRecord> = Vec::new();
        let mut touched: BTreeSet<String> = BTreeSet::new();
        let mut heartbeats: Vec<(String, Timestamp)> = Vec::new();
        for shipment in shipments.drain(..) {
            match shipment {
                Shipment::Records { front, boot, records } => {
                    take_new(&mut shipped, &front, boot, records, &mut batch);
                    touched.insert(front);
                }
                Shipment::Heartbeat { front, at } => heartbeats.push((front, at)),
            }
        }
        let is_foreign = |record: &Record| !is_known(&shipped, record);
        appending.append(batch, is_foreign).await?;
        for front in touched {
            if let Some((boot, sequence)) = shipped.get(&front) {
                registry.durable(&front, *boot, *sequence);
            }
        }
        for (front, at) in heartbeats {
            // Whoever listens has stopped only when this task is about to stop, too.
            let _ = events.send(FrontEvent::Heartbeat { front, at, end: appending.end() });
        }
    }
    Ok(())
}

/// Takes the records that are not repeats.
fn take_new(shipped: &mut Shipped, front: &str, boot: u64, records: Vec<(u64, Bytes)>, batch: &mut Vec<NewRecord>) {
    let last = shipped.entry(front.to_owned()).or_insert((boot, 0));
    if boot > last.0 {
        *last = (boot, 0);
    }
    for (sequence, bytes) in records {
        if (boot, sequence) <= *last {
            continue;
        }
        if sequence > last.1 + 1 {
            tracing::error!(front, boot, from = last.1 + 1, to = sequence - 1, "records are missing: a gap");
        }
        *last = (boot, sequence);
        batch.push(keyed(front, bytes));
    }
}

/// Whether a record cannot be another relay's: it is of a front and number that this one has taken, or no exchange.
fn is_known(shipped: &Shipped, record: &Record) -> bool {
    match decode::<ExchangeRecord>(&record.value) {
        Ok(record) => shipped.get(&record.front).is_some_and(|last| (record.boot, record.sequence) <= *last),
        Err(error) => !error.is_newer(),
    }
}
