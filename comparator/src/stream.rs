//! The fronts that listen to the dial: one event stream each, which carries the records of `cutover.rollout` as
//! they stand in the log, and the marks that the front is asked to write into its journal. A front says all the time that
//! it hears them: a connection alone can be dead for long before anybody notices.

use axum::response::sse::{Event, KeepAlive, Sse};
use eventlog::{Log, Tail};
use futures_util::Stream;
use host::clock::{self, Instant};
use host::task::Shutdown;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use wire::control::StreamEvent;
use wire::rollout::{FrontBoot, TOPIC};

/// Records read at once.
const PAGE: usize = 256;
/// A silent stream says that it lives this often, so that either side notices a dead other one.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// A front that has not said for so long that it hears is cut off. It says so every second.
const HEARS_WITHIN: Duration = Duration::from_secs(5);
/// What was said while this process stood still is read within so long once it goes on.
const GRACE: Duration = Duration::from_secs(1);

/// The fronts that listen to the dial. Clones share the list.
#[derive(Clone, Default)]
pub struct Fronts(Arc<Shared>);

#[derive(Default)]
struct Shared {
    list: Mutex<List>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct List {
    /// Numbers streams, so that one which ends late does not take a newer one of the same front with it.
    streams: u64,
    listening: BTreeMap<String, Listening>,
}

struct Listening {
    stream: u64,
    boot: u64,
    marks: mpsc::UnboundedSender<String>,
    /// When it last said that it hears.
    hears: watch::Sender<Instant>,
}

impl Listening {
    /// Whether it has said of late that it hears: a stream whose other side is gone may stand for long, if it is full.
    fn is_hearing(&self) -> bool {
        self.hears.borrow().elapsed() <= HEARS_WITHIN + GRACE
    }
}

/// Those of `serving` that do not listen: nobody knows what they are doing. A front that has just restarted listens
/// under its new boot before the old one's end is in the log.
pub fn not_listening(serving: &[FrontBoot], connected: &[FrontBoot]) -> Vec<FrontBoot> {
    let listens =
        |front: &FrontBoot| connected.iter().any(|other| other.front == front.front && other.boot >= front.boot);
    serving.iter().filter(|front| !listens(front)).cloned().collect()
}

/// A newer boot of the same front listens already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("boot {newer} of front {front} listens already")]
pub struct StaleBoot {
    /// The front.
    pub front: String,
    /// The boot that listens.
    pub newer: u64,
}

impl Fronts {
    /// Nobody listens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those who listen now, in order of their names.
    pub fn connected(&self) -> Vec<FrontBoot> {
        let list = self.lock();
        let hearing = list.listening.iter().filter(|(_, on)| on.is_hearing());
        hearing.map(|(front, on)| FrontBoot { front: front.clone(), boot: on.boot }).collect()
    }

    /// Is told whenever somebody begins or ceases to listen.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Asks everybody who listens for a mark; answers whom.
    pub fn ask_for_mark(&self, id: &str) -> Vec<FrontBoot> {
        let list = self.lock();
        let asked = list.listening.iter().filter(|(_, on)| on.is_hearing() && on.marks.send(id.to_owned()).is_ok());
        asked.map(|(front, on)| FrontBoot { front: front.clone(), boot: on.boot }).collect()
    }

    /// Enters a front; an older stream of the same front ends with it.
    ///
    /// # Errors
    /// [`StaleBoot`], when a process of that name that started later is there already.
    pub fn enter(&self, front: FrontBoot) -> Result<Seat, StaleBoot> {
        let mut list = self.lock();
        if let Some(other) = list.listening.get(&front.front).filter(|other| other.boot > front.boot) {
            return Err(StaleBoot { front: front.front, newer: other.boot });
        }
        list.streams += 1;
        let stream = list.streams;
        let (marks, asked) = mpsc::unbounded_channel();
        let (said, hears) = watch::channel(clock::now());
        list.listening.insert(front.front.clone(), Listening { stream, boot: front.boot, marks, hears: said });
        drop(list);
        self.0.changed.send_replace(());
        tracing::info!(front = front.front, boot = front.boot, "a front listens to the dial");
        Ok(Seat { fronts: self.clone(), front, stream, asked, hears })
    }

    /// A front says that it hears; whether it has a stream.
    pub fn hears(&self, front: &FrontBoot) -> bool {
        let list = self.lock();
        let listening = list.listening.get(&front.front).filter(|on| on.boot == front.boot);
        listening.map(|on| on.hears.send_replace(clock::now())).is_some()
    }

    fn leave(&self, front: &FrontBoot, stream: u64) {
        let mut list = self.lock();
        if list.listening.get(&front.front).is_some_and(|on| on.stream == stream) {
            list.listening.remove(&front.front);
            drop(list);
            self.0.changed.send_replace(());
            tracing::warn!(front = front.front, boot = front.boot, "a front no longer listens to the dial");
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A front's place among those who listen, until dropped.
pub struct Seat {
    fronts: Fronts,
    front: FrontBoot,
    stream: u64,
    asked: mpsc::UnboundedReceiver<String>,
    hears: watch::Receiver<Instant>,
}

/// Waits until a front has not said for so long that it hears.
async fn silence(hears: &mut watch::Receiver<Instant>, for_long: Duration, grace: Duration) {
    loop {
        let said = *hears.borrow_and_update();
        tokio::select! {
            () = clock::sleep_until(said + for_long) => {}
            again = hears.changed() => match again {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        // Not at once: this process may have stood still, and have more to read than it knows.
        if !clock::timeout(grace, hears.changed()).await.is_ok_and(|again| again.is_ok()) {
            return;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.fronts.leave(&self.front, self.stream);
    }
}

/// The events for one front: every record from `from` on, then what comes.
pub fn events(
    log: Arc<dyn Log>,
    from: u64,
    seat: Seat,
    shutdown: Shutdown,
) -> Sse<axum::response::sse::KeepAliveStream<impl Stream<Item = Result<Event, Infallible>>>> {
    let feed = Feed { log, next: from, seat, shutdown, ready: VecDeque::new(), caught_up: false };
    let stream = futures_util::stream::unfold(feed, |mut feed| async move {
        let event = feed.next_event().await?;
        // The type is plain data, for which JSON has no way to fail.
        let data = serde_json::to_string(&event).expect("a stream event is plain data");
        Some((Ok(Event::default().data(data)), feed))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct Feed {
    log: Arc<dyn Log>,
    next: u64,
    seat: Seat,
    shutdown: Shutdown,
    ready: VecDeque<StreamEvent>,
    caught_up: bool,
}

impl Feed {
    /// The next event; `None` when the stream is to end: shutting down, replaced by a newer stream, the log cannot be
    /// read, or the front does not say that it hears. The front comes back with the offset it has got to.
    async fn next_event(&mut self) -> Option<StreamEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.log.read(TOPIC, crate::chain::PARTITION, self.next, PAGE).await {
                Ok(records) if !records.is_empty() => {
                    self.take(records);
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(topic = TOPIC, %error, "cannot read the topic for a front");
                    return None;
                }
            }
            if !self.caught_up {
                self.caught_up = true;
                return Some(StreamEvent::CaughtUp);
            }
            let mut tail: Box<dyn Tail> = self.log.tail(TOPIC, crate::chain::PARTITION, self.next);
            tokio::select! {
                // What is there now is read at the top of the loop.
                outcome = tail.next(1) => if let Err(error) = outcome {
                    tracing::error!(topic = TOPIC, %error, "cannot follow the topic for a front");
                    return None;
                },
                () = silence(&mut self.seat.hears, HEARS_WITHIN, GRACE) => return None,
                mark = self.seat.asked.recv() => return mark.map(|id| StreamEvent::Mark { id }),
                () = self.shutdown.stopped() => return None,
            }
        }
    }

    fn take(&mut self, records: Vec<eventlog::Record>) {
        use base64::Engine as _;
        for record in records {
            self.next = record.offset + 1;
            let bytes = base64::engine::general_purpose::STANDARD.encode(&record.value);
            self.ready.push_back(StreamEvent::Record { offset: record.offset, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(boot: u64) -> FrontBoot {
        FrontBoot { front: "a".into(), boot }
    }

    #[test]
    fn a_newer_stream_of_a_front_takes_the_place_of_the_older_one() {
        let fronts = Fronts::new();
        let mut old = fronts.enter(front(1)).unwrap();
        let again = fronts.enter(front(1)).unwrap();
        assert!(old.asked.try_recv() == Err(mpsc::error::TryRecvError::Disconnected), "the old stream ends");
        drop(old);
        assert_eq!(fronts.connected(), [front(1)], "its end does not take the newer one with it");
        drop(again);
        assert_eq!(fronts.connected(), []);
    }

    #[test]
    fn an_older_boot_is_turned_away() {
        let fronts = Fronts::new();
        let _seat = fronts.enter(front(3)).unwrap();
        assert_eq!(fronts.enter(front(2)).err(), Some(StaleBoot { front: "a".into(), newer: 3 }));
        assert_eq!(fronts.connected(), [front(3)]);
    }

    #[tokio::test]
    async fn a_front_is_cut_off_some_time_after_it_has_last_said_that_it_hears() {
        let for_long = Duration::from_millis(20);
        let fronts = Fronts::new();
        let mut seat = fronts.enter(front(1)).unwrap();
        assert!(!fronts.hears(&front(2)), "another boot");
        for _ in 0..3 {
            let said = clock::now();
            assert!(fronts.hears(&front(1)));
            silence(&mut seat.hears, for_long, for_long / 2).await;
            assert!(said.elapsed() >= for_long);
        }
        drop(seat);
        assert!(!fronts.hears(&front(1)), "it has to open a stream again");
    }

    #[test]
    fn a_mark_goes_to_everybody_who_listens() {
        let fronts = Fronts::new();
        let mut seat = fronts.enter(front(1)).unwrap();
        assert_eq!(fronts.ask_for_mark("m"), [front(1)]);
        assert_eq!(seat.asked.try_recv().as_deref(), Ok("m"));
        drop(seat);
        assert_eq!(fronts.ask_for_mark("m"), []);
    }
}
