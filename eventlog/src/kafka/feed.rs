//! The feed: one consumer and one thread that bring the new records of all followed partitions into memory, once,
//! whoever waits for them.
//!
//! A consumer feeds for one [`Turn`]. It ends for all partitions at once, whoever finds that it has to, and no consumer
//! gets a second one: so a partition that is not followed is never one that the consumer at work was given already.

use super::connection::Connection;
use super::queries::{PATIENCE, Queries};
use super::ring::{RECENT_RECORDS, Ring};
use super::worker::{Consumer, Stopping, Worker};
use super::{partition_number, record_of};
use crate::port::ReadError;
use host::clock;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// How long the thread waits for a record before it looks whether it is to stop.
const POLL: Duration = Duration::from_millis(100);
/// Records taken before those who wait are told.
const DRAIN: usize = 1_000;

/// By topic and number.
type Rings = HashMap<Box<str>, HashMap<u32, Arc<Ring>>>;

/// The feed of a log.
pub(super) struct Feed {
    connection: Connection,
    rings: Arc<RwLock<Rings>>,
    /// Locked when a partition begins, and while one consumer takes the place of another; before the lock of a turn.
    current: Mutex<Current>,
}

/// The newest consumer, and its thread, which ends before the consumer is closed.
struct Current {
    _thread: Worker,
    source: Arc<Source>,
}

/// A consumer, and when it feeds.
struct Source {
    consumer: Consumer,
    turn: Arc<Turn>,
}

/// The time in which a consumer feeds. Kept apart from the consumer, so that nobody who holds it has to close that.
pub(super) struct Turn {
    rings: Arc<RwLock<Rings>>,
    /// Locked while anything is done to the rings in this turn's name, so that nothing is once it is over.
    over: Mutex<bool>,
}

impl Feed {
    /// A feed that follows nothing yet.
    ///
    /// # Errors
    /// When the library refuses the configuration, or no thread can be started.
    pub(super) fn start(connection: &Connection) -> Result<Self, String> {
        let rings = Arc::default();
        let current = Mutex::new(Current::begin(connection, &rings)?);
        Ok(Self { connection: connection.clone(), rings, current })
    }

    /// The partition, followed or not.
    pub(super) fn ring(&self, topic: &str, number: u32) -> Arc<Ring> {
        let known = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = known.get(topic).and_then(|numbers| numbers.get(&number)) {
            return Arc::clone(ring);
        }
        drop(known);
        let mut known = self.rings.write().unwrap_or_else(PoisonError::into_inner);
        let numbers = known.entry(topic.into()).or_default();
        Arc::clone(numbers.entry(number).or_insert_with(|| Arc::new(Ring::new(topic.into(), number))))
    }

    /// Every partition that anybody asked for.
    pub(super) fn rings(&self) -> Vec<Arc<Ring>> {
        all(&self.rings)
    }

    /// Follows a partition from now on: from `wanted` on, if what lies behind it fits into memory, else from the end.
    ///
    /// # Errors
    /// When the cluster does not say where the partition begins and ends.
    pub(super) async fn follow(&self, ring: &Ring, wanted: u64, queries: &Queries) -> Result<(), ReadError> {
        let _beginning = ring.beginning.lock().await;
        if ring.is_fed() {
            return Ok(());
        }
        let (begin, end) = queries.span(ring).await?;
        let near = wanted >= begin && wanted <= end && end - wanted < RECENT_RECORDS as u64;
        let begun = self.begin(ring, begin, if near { wanted } else { end }).await;
        begun.map_err(|why| ReadError::Failed(format!("cannot follow {}/{}: {why}", ring.topic, ring.number)))
    }

    /// Gives a consumer the partition, which begins at `begin`, from `from` on.
    ///
    /// # Errors
    /// Why there is none, or why it does not take it: then its turn is over, because nobody knows what it follows.
    async fn begin(&self, ring: &Ring, begin: u64, from: u64) -> Result<(), String> {
        let list = place(ring, from).map_err(|error| error.to_string())?;
        let source = self.feeding(ring, begin, from)?;
        let turn = Arc::clone(&source.turn);
        // If the turn ends meanwhile, a consumer that feeds nothing any more gets the partition.
        let assigning = host::task::spawn_blocking(move || source.consumer.incremental_assign(&list));
        let why = match clock::timeout(PATIENCE, assigning).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(panic)) => panic.to_string(),
            Err(_) => "the consumer hangs".to_owned(),
        };
        turn.end();
        Err(why)
    }

    /// The consumer whose turn it is, which feeds the ring from now on: a new one, if that of the newest is over.
    ///
    /// # Errors
    /// As [`Feed::start`].
    fn feeding(&self, ring: &Ring, begin: u64, from: u64) -> Result<Arc<Source>, String> {
        let mut current = self.current();
        while !current.source.turn.begins(ring, begin, from) {
            let new = Current::begin(&self.connection, &self.rings)?;
            close(std::mem::replace(&mut *current, new));
        }
        Ok(Arc::clone(&current.source))
    }

    /// The turn of the newest consumer.
    pub(super) fn turn(&self) -> Arc<Turn> {
        Arc::clone(&self.current().source.turn)
    }

    /// For trials: follows nothing any more without saying so.
    ///
    /// # Errors
    /// When the library refuses.
    pub(super) fn stall(&self) -> Result<(), KafkaError> {
        let source = Arc::clone(&self.current().source);
        source.consumer.pause(&source.consumer.assignment()?)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn begin(connection: &Connection, rings: &Arc<RwLock<Rings>>) -> Result<Self, String> {
        let consumer = Consumer::new(connection, &connection.consumer()).map_err(|error| error.to_string())?;
        let turn = Arc::new(Turn { rings: Arc::clone(rings), over: Mutex::new(false) });
        let source = Arc::new(Source { consumer, turn });
        let fed = Arc::clone(&source);
        let thread = Worker::start("log-feed", move |stopping| fed.run(stopping))?;
        Ok(Self { _thread: thread, source })
    }
}

/// Closes a consumer whose turn is over beside the caller, who may be a task: one that hangs takes seconds.
fn close(old: Current) {
    if let Err(error) = host::task::thread("log-feed-close", move || drop(old)) {
        tracing::warn!(%error, "a consumer of the feed was closed on the spot");
    }
}

fn all(rings: &RwLock<Rings>) -> Vec<Arc<Ring>> {
    let rings = rings.read().unwrap_or_else(PoisonError::into_inner);
    rings.values().flat_map(HashMap::values).cloned().collect()
}

/// The partition, from an offset on.
fn place(ring: &Ring, from: u64) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    // An offset of Kafka is an i64 that is not negative.
    let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
    list.add_partition_offset(&ring.topic, partition_number(ring.number), offset)?;
    Ok(list)
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.turn().end();
    }
}

impl Turn {
    fn over(&self) -> MutexGuard<'_, bool> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ring is fed in this turn from now on; false if it is over.
    fn begins(&self, ring: &Ring, begin: u64, from: u64) -> bool {
        let over = self.over();
        if !*over {
            ring.fed_from(begin, from);
        }
        !*over
    }

    /// Ends it: every partition begins again with a new consumer, from where its readers want it. False if it was over
    /// already, and then nothing happens to those that a new consumer feeds by now.
    pub(super) fn end(&self) -> bool {
        let mut over = self.over();
        if !*over {
            all(&self.rings).iter().for_each(|ring| ring.starve());
        }
        !std::mem::replace(&mut *over, true)
    }
}

impl Source {
    fn run(&self, stopping: &Stopping) {
        let mut touched: Vec<Arc<Ring>> = Vec::new();
        loop {
            let mut polled = self.consumer.poll(POLL);
            if stopping.now() || *self.turn.over() {
                return;
            }
            for _ in 0..DRAIN {
                match polled {
                    Some(Ok(message)) => self.take(&message, &mut touched),
                    Some(Err(error)) => self.trouble(&error),
                    None => break,
                }
                polled = self.consumer.poll(Duration::ZERO);
            }
            if let Some(Ok(message)) = polled {
                self.take(&message, &mut touched);
            }
            touched.drain(..).for_each(|ring| ring.wake());
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>, touched: &mut Vec<Arc<Ring>>) {
        let over = self.turn.over();
        if *over {
            return;
        }
        let rings = self.turn.rings.read().unwrap_or_else(PoisonError::into_inner);
        let number = u32::try_from(message.partition()).unwrap_or(u32::MAX);
        let Some(ring) = rings.get(message.topic()).and_then(|numbers| numbers.get(&number)) else { return };
        ring.take(record_of(message));
        // Records come in runs of one partition.
        if touched.last().is_none_or(|last| !Arc::ptr_eq(last, ring)) {
            touched.push(Arc::clone(ring));
        }
    }

    /// The library mends connections by itself. A lost place it cannot mend, and it does not say whose: the turn is
    /// over.
    fn trouble(&self, error: &KafkaError) {
        let lost = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
        );
        if !lost && !matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            tracing::debug!(%error, "the feed has trouble");
            return;
        }
        if self.turn.end() {
            tracing::error!(%error, "the feed has lost its place; every partition begins again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// Of a cluster that is not there: a consumer takes partitions all the same.
    fn feed() -> Feed {
        Feed::start(&Connection::plain("127.0.0.1:1")).unwrap()
    }

    fn source(feed: &Feed) -> Arc<Source> {
        Arc::clone(&feed.current().source)
    }

    fn lost() -> KafkaError {
        KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)
    }

    #[tokio::test]
    async fn a_place_lost_while_a_partition_begins_leaves_it_to_the_next_consumer() {
        let feed = feed();
        let ring = feed.ring("t", 0);
        let old = feed.feeding(&ring, 0, 5).unwrap();
        assert_eq!(ring.fed_up_to(), Some(5));
        old.trouble(&lost());
        assert!(!ring.is_fed());
        old.consumer.incremental_assign(&place(&ring, 5).unwrap()).unwrap();
        assert_eq!(feed.begin(&ring, 0, 5).await, Ok(()));
        assert!(ring.is_fed());
        assert!(!Arc::ptr_eq(&old, &source(&feed)));
    }

    #[tokio::test]
    async fn a_consumer_whose_turn_is_over_can_do_nothing_to_the_next() {
        let feed = feed();
        let ring = feed.ring("t", 0);
        let old = source(&feed);
        assert!(old.turn.end());
        assert_eq!(feed.begin(&ring, 0, 5).await, Ok(()));
        old.trouble(&lost());
        assert!(!old.turn.end());
        assert!(ring.is_fed());
        assert!(!old.turn.begins(&ring, 0, 9));
        assert_eq!(ring.fed_up_to(), Some(5));
    }

    #[tokio::test]
    async fn trouble_that_the_library_mends_ends_no_turn() {
        let feed = feed();
        let ring = feed.ring("t", 0);
        assert_eq!(feed.begin(&ring, 0, 0).await, Ok(()));
        let first = source(&feed);
        first.trouble(&KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure));
        assert!(ring.is_fed());
        first.trouble(&KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::Fatal));
        assert!(!ring.is_fed());
    }

    #[tokio::test]
    async fn a_partition_that_the_consumer_refuses_is_taken_by_the_next() {
        let feed = feed();
        let [ring, other] = [0, 1].map(|number| feed.ring("t", number));
        assert_eq!(feed.begin(&other, 0, 0).await, Ok(()));
        source(&feed).consumer.incremental_assign(&place(&ring, 0).unwrap()).unwrap();
        let refused = feed.begin(&ring, 0, 0).await.unwrap_err();
        assert!(refused.contains("CONFLICT"), "{refused}");
        assert!(!ring.is_fed() && !other.is_fed(), "all begin again");
        assert_eq!(feed.begin(&ring, 0, 0).await, Ok(()));
        assert_eq!(feed.begin(&other, 0, 0).await, Ok(()));
    }

    #[tokio::test]
    async fn one_that_hangs_is_replaced_once_and_not_waited_for() {
        let feed = feed();
        let ring = feed.ring("t", 0);
        let (let_go, hangs) = channel::<()>();
        let hanging = Worker::start("test", move |_| {
            let _ = hangs.recv();
        });
        feed.current()._thread = hanging.unwrap();
        // As many as wait for the same consumer when it begins to hang.
        let waiting: Vec<_> = (0..20).map(|_| feed.turn()).collect();
        assert!(waiting[0].end());
        let asked = clock::now();
        assert_eq!(feed.begin(&ring, 0, 0).await, Ok(()));
        // A thread that hangs is waited for 2 s, by somebody else.
        assert!(clock::now() - asked < Duration::from_secs(2));
        let healthy = source(&feed);
        assert!(waiting.iter().all(|turn| !turn.end()));
        assert!(ring.is_fed());
        assert!(Arc::ptr_eq(&healthy, &source(&feed)));
        assert_eq!(let_go.send(()), Ok(()), "it still hangs");
    }

    /// Whatever meets whatever: what is fed was given to the consumer at work, and what is not can be given to it.
    #[tokio::test(flavor = "multi_thread")]
    async fn no_partition_is_lost_between_those_who_begin_and_those_who_end() {
        let feed = Arc::new(feed());
        let rings = [0, 1, 2].map(|number| feed.ring("t", number));
        let troubled = Arc::clone(&feed);
        let trouble = host::task::spawn(async move {
            for _ in 0..100 {
                while troubled.rings().iter().all(|ring| !ring.is_fed()) {
                    host::task::yield_now().await;
                }
                source(&troubled).trouble(&lost());
            }
        });
        while !trouble.is_finished() {
            let begun = rings.iter().filter(|ring| !ring.is_fed()).map(|ring| feed.begin(ring, 0, 0));
            assert_eq!(futures_util::future::join_all(begun).await.into_iter().collect::<Result<(), _>>(), Ok(()));
            host::task::yield_now().await;
        }
        trouble.await.unwrap();
        for ring in &rings {
            assert!(ring.is_fed() || feed.begin(ring, 0, 0).await == Ok(()));
        }
        assert_eq!(source(&feed).consumer.assignment().unwrap().count(), rings.len());
    }
}
