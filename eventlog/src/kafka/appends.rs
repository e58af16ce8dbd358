//! Appends: one producer per topic, so that appends to one do not wait for those to another at the broker.

use super::client::Client;
use super::connection::{Connection, DELIVERY_TIMEOUT};
use super::partition_number;
use super::queries::said;
use crate::metrics::LOG_APPEND_SECONDS;
use crate::port::{AppendError, NewRecord, by};
use futures_util::future::join_all;
use host::clock::{self, Instant};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::OwnedDeliveryResult;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The appends of a log.
pub(super) struct Appends {
    connection: Connection,
    writers: Mutex<HashMap<Box<str>, Arc<Writer>>>,
}

/// Appends to one topic.
struct Writer {
    topic: Box<str>,
    /// Held while batches are handed over, so that those of this process stay whole and in order.
    state: Mutex<State>,
}

struct State {
    producer: FutureProducer<Client>,
    lanes: HashMap<u32, Lane>,
}

/// What is under way to one partition.
///
/// The library sends nothing more to a partition while [`MAX_UNDER_WAY`] messages or more are, and until then its thread
/// looks without a pause whether it may. So what it could not send is not handed to it, and goes as one request later.
#[derive(Default)]
struct Lane {
    under_way: usize,
    waiting: VecDeque<Waiting>,
}

/// librdkafka's `RD_KAFKA_IDEMP_MAX_INFLIGHT`, which it compares with messages.
const MAX_UNDER_WAY: usize = 5;

/// A batch that is not handed over yet, and who waits for it.
struct Waiting {
    batch: Vec<NewRecord>,
    told: oneshot::Sender<HandedOver>,
}

/// The deliveries of a batch, and the refusal that ended it early.
struct HandedOver {
    deliveries: Vec<DeliveryFuture>,
    refused: Option<KafkaError>,
    /// Counts them until they are delivered, or nobody waits for them any more.
    under_way: UnderWay,
}

/// Messages of a partition that count as under way as long as this lives.
struct UnderWay {
    writer: Arc<Writer>,
    partition: u32,
    messages: usize,
}

impl Appends {
    /// Nothing is connected yet.
    pub(super) fn new(connection: &Connection) -> Self {
        Self { connection: connection.clone(), writers: Mutex::default() }
    }

    /// Appends a batch; the offset of its first record once all of it is acknowledged by all replicas in sync. With a
    /// deadline, it says by then how it stands.
    ///
    /// # Errors
    /// [`AppendError::NotAppended`] only when the cluster, or we, refused every record of it for good.
    pub(super) async fn append(
        &self,
        topic: &str,
        partition: u32,
        batch: &[NewRecord],
        deadline: Option<Instant>,
    ) -> Result<u64, AppendError> {
        let since = clock::now();
        let send_by = deadline.unwrap_or(since + DELIVERY_TIMEOUT);
        let writer = self.writer(topic).map_err(|error| AppendError::NotAppended(error.to_string()))?;
        let Some(handed_over) = writer.hand_over(partition, batch.to_vec(), send_by).await else {
            let why = format!("{topic}/{partition}: those before it are not acknowledged");
            return Err(AppendError::NotAppended(why));
        };
        let HandedOver { deliveries, refused, under_way } = handed_over;
        let delivered = async { Ok(join_all(deliveries).await) };
        let delivered = match deadline {
            Some(deadline) => by(deadline, delivered).await,
            None => delivered.await,
        };
        drop(under_way);
        let outcome = delivered.and_then(|delivered| judge(topic, delivered, refused));
        let seconds = clock::now().saturating_duration_since(since).as_secs_f64();
        ::metrics::histogram!(LOG_APPEND_SECONDS).record(seconds);
        if outcome.is_err() {
            self.replace_broken(&writer);
        }
        outcome
    }

    fn writer(&self, topic: &str) -> Result<Arc<Writer>, KafkaError> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writers.get(topic) {
            return Ok(Arc::clone(writer));
        }
        let producer = self.producer()?;
        let state = Mutex::new(State { producer, lanes: HashMap::new() });
        let writer = Arc::new(Writer { topic: topic.into(), state });
        writers.insert(topic.into(), Arc::clone(&writer));
        Ok(writer)
    }

    fn producer(&self) -> Result<FutureProducer<Client>, KafkaError> {
        self.connection.producer().create_with_context(self.connection.client())
    }

    /// An idempotent producer that met an impossible sequence never appends again; a new one does.
    fn replace_broken(&self, writer: &Writer) {
        let mut state = writer.lock();
        let Some((code, reason)) = state.producer.client().fatal_error() else { return };
        match self.producer() {
            Ok(new) => {
                tracing::warn!(topic = %writer.topic, %code, reason, "a producer broke; a new one takes its place");
                state.producer = new;
            }
            Err(error) => tracing::error!(topic = %writer.topic, %error, "a producer broke and cannot be replaced"),
        }
    }
}

impl Writer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a batch to the library, as soon as that can send it; `None` when it could not by then, and never will.
    async fn hand_over(
        self: &Arc<Self>,
        partition: u32,
        batch: Vec<NewRecord>,
        send_by: Instant,
    ) -> Option<HandedOver> {
        let (told, mut handed_over) = oneshot::channel();
        self.go_on(partition, |lane| lane.waiting.push_back(Waiting { batch, told }));
        match clock::timeout(send_by.saturating_duration_since(clock::now()), &mut handed_over).await {
            Ok(told) => told.ok(),
            Err(_) => {
                // Nothing is handed over while this is held: it either was, or will be passed over.
                let _state = self.lock();
                handed_over.close();
                handed_over.try_recv().ok()
            }
        }
    }

    /// Changes a lane, then hands over all that waits in it if the library can send it.
    fn go_on(self: &Arc<Self>, partition: u32, change: impl FnOnce(&mut Lane)) {
        let mut state = self.lock();
        let State { producer, lanes } = &mut *state;
        let lane = lanes.entry(partition).or_default();
        change(lane);
        let mut unwanted = Vec::new();
        if lane.under_way < MAX_UNDER_WAY {
            // Nobody waits any more for what is closed, and nobody was told that it was appended.
            for Waiting { batch, told } in lane.waiting.drain(..).filter(|waiting| !waiting.told.is_closed()) {
                let (deliveries, refused) = send(producer, &self.topic, partition, &batch);
                lane.under_way += deliveries.len();
                let under_way = UnderWay { writer: Arc::clone(self), partition, messages: deliveries.len() };
                unwanted.extend(told.send(HandedOver { deliveries, refused, under_way }).err());
            }
        }
        // Whoever gave up this moment: dropping what he was to be told changes the lane again.
        drop(state);
        drop(unwanted);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.writer.go_on(self.partition, |lane| lane.under_way -= self.messages);
    }
}

/// Hands a batch to the library, in one piece; the rest of it is refused with the first record that is.
fn send(
    producer: &FutureProducer<Client>,
    topic: &str,
    partition: u32,
    batch: &[NewRecord],
) -> (Vec<DeliveryFuture>, Option<KafkaError>) {
    let mut handed_over = Vec::with_capacity(batch.len());
    for NewRecord { key, value } in batch {
        let record = FutureRecord::<[u8], [u8]>::to(topic).partition(partition_number(partition));
        let record = if key.is_empty() { record } else { record.key(key) };
        match producer.send_result(record.payload(value)) {
            Ok(delivery) => handed_over.push(delivery),
            Err((error, _)) => return (handed_over, Some(error)),
        }
    }
    (handed_over, None)
}

/// Whether a record that failed so is certainly not in the log: it was refused, not lost sight of.
fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::QueueFull
                | Code::MessageSizeTooLarge
                | Code::InvalidMessageSize
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::InvalidTopic
        )
    )
}

/// What the deliveries of a batch add up to.
fn judge<E>(
    topic: &str,
    delivered: Vec<Result<OwnedDeliveryResult, E>>,
    refused: Option<KafkaError>,
) -> Result<u64, AppendError> {
    let mut first = None;
    let (mut in_log, mut refusals) = (0_u64, 0_usize);
    let mut trouble = refused.clone();
    let handed_over = delivered.len();
    for (index, delivery) in (0_u64..).zip(delivered) {
        match delivery {
            Ok(Ok(place)) => {
                in_log += 1;
                let expected = first.map(|first: u64| first + index);
                // A broker that finds a repeat behind a newer one acknowledges it without saying where it is.
                let Ok(offset) = u64::try_from(place.offset) else {
                    return Err(AppendError::Unknown(format!("{topic}: a record is there, but not said where")));
                };
                first.get_or_insert(offset.saturating_sub(index));
                if expected.is_some_and(|expected| expected != offset) {
                    let why = format!("{topic}: somebody else appended between the records of a batch");
                    return Err(AppendError::Unknown(why));
                }
            }
            Ok(Err((error, _))) => {
                refusals += usize::from(is_refusal(&error));
                trouble.get_or_insert(error);
            }
            Err(_) => {
                trouble.get_or_insert(KafkaError::Canceled);
            }
        }
    }
    match (trouble, first) {
        (None, Some(first)) => Ok(first),
        (trouble, _) => {
            let error = trouble.unwrap_or(KafkaError::Canceled);
            let why = said(topic, &error, None);
            let certain = in_log == 0 && refusals == handed_over;
            Err(if certain { AppendError::NotAppended(why) } else { AppendError::Unknown(why) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Timestamp;
    use rdkafka::producer::future_producer::Delivery;

    /// The cluster is not there: what the library takes stays under way, and the rest waits behind it.
    #[tokio::test]
    async fn what_is_not_on_its_way_by_the_deadline_is_not_appended_and_never_sent() {
        let appends = Appends::new(&Connection::plain("127.0.0.1:1"));
        let batch = [NewRecord::of("x")];
        let under_way = join_all((0..MAX_UNDER_WAY).map(|_| appends.append("t", 0, &batch, None)));
        let late = appends.append("t", 0, &batch, Some(clock::now()));
        let outcome = tokio::select! {
            biased;
            early = under_way => panic!("{early:?}"),
            outcome = late => outcome,
        };
        assert!(matches!(outcome, Err(AppendError::NotAppended(_))), "{outcome:?}");
        // Nobody waits for the first ones any more, so that the next could be sent: there is none.
        let writer = appends.writer("t").unwrap();
        let state = writer.lock();
        assert_eq!((state.lanes[&0].under_way, state.lanes[&0].waiting.len()), (0, 0));
    }

    #[tokio::test]
    async fn what_is_on_its_way_by_the_deadline_is_unknown() {
        let appends = Appends::new(&Connection::plain("127.0.0.1:1"));
        let outcome = appends.append("t", 0, &[NewRecord::of("x")], Some(clock::now())).await;
        assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
    }

    #[test]
    fn a_record_of_which_nobody_says_where_it_is_is_unknown() {
        let at = |offset| Ok::<_, ()>(Ok(Delivery { partition: 0, offset, timestamp: Timestamp::NotAvailable }));
        assert_eq!(judge("t", vec![at(7), at(8)], None), Ok(7));
        for delivered in [vec![at(-1)], vec![at(7), at(-1)]] {
            let outcome = judge("t", delivered, None);
            assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
        }
    }
}
