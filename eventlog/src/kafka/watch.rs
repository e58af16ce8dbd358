//! Looks whether the feed comes forward, and gives it a new consumer when it does not: see [`super::worker`] for why it
//! may stand still.

use super::Reading;
use super::ring::Ring;
use super::worker::Worker;
use host::clock::{self, Instant};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often it looks: a question to each broker.
const EVERY: Duration = Duration::from_secs(2);
/// A partition that has more, and of which nothing came for so long, is taken for one that is not followed. If it only
/// waits for a new leader (a dead broker is given up after 9 s by default), a new consumer costs no more than a connection.
const STILL: Duration = Duration::from_secs(6);

/// Watches the feed of a log until this is dropped.
///
/// # Errors
/// When no thread can be started.
pub(super) fn watch(reading: Arc<Reading>) -> Result<Worker, String> {
    Worker::start("log-watch", move |stopping| {
        let mut standing = Standing::default();
        let mut turn = reading.feed.turn();
        while !stopping.within(EVERY) {
            // Where the last consumer stood says nothing of the next, which may just have begun there.
            let last = std::mem::replace(&mut turn, reading.feed.turn());
            if !Arc::ptr_eq(&last, &turn) {
                standing = Standing::default();
            }
            let rings = reading.feed.rings();
            reading.queries.look_for_ends(&rings);
            if let Some(ring) = standing.look(clock::now(), &rings)
                && turn.end()
            {
                tracing::warn!(
                    topic = %ring.topic, partition = ring.number, known_end = ring.known_end(),
                    "the feed stands still; a new consumer takes its place"
                );
            }
        }
    })
}

/// Where partitions stand that have more, and since when.
#[derive(Default)]
struct Standing(HashMap<(Box<str>, u32), (u64, Instant)>);

impl Standing {
    /// A partition that has been standing for too long.
    fn look<'a>(&mut self, now: Instant, rings: &'a [Arc<Ring>]) -> Option<&'a Arc<Ring>> {
        let mut found = None;
        for ring in rings {
            let place = (ring.topic.clone(), ring.number);
            match ring.fed_up_to() {
                Some(next) if next < ring.known_end() => {
                    let (stands_at, since) = self.0.entry(place).or_insert((next, now));
                    if *stands_at != next {
                        (*stands_at, *since) = (next, now);
                    } else if now.saturating_duration_since(*since) >= STILL {
                        found = Some(ring);
                    }
                }
                _ => {
                    self.0.remove(&place);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Record;

    fn take(ring: &Ring, offset: u64) {
        ring.take(Record { offset, at_micros: 0, key: Default::default(), value: Default::default() });
    }

    #[test]
    fn only_who_has_more_and_gets_nothing_stands_still() {
        let ring = Arc::new(Ring::new("t".into(), 0));
        let rings = [Arc::clone(&ring)];
        let mut standing = Standing::default();
        let begin = clock::now();
        let mut stands = |seconds| standing.look(begin + Duration::from_secs(seconds), &rings).is_some();
        ring.reaches(10);
        assert!(!stands(0), "nobody follows it");
        ring.fed_from(0, 0);
        assert!(!stands(1));
        assert!(!stands(6));
        assert!(stands(7), "6 s without a record");
        take(&ring, 0);
        assert!(!stands(8), "one came");
        assert!(!stands(13));
        for offset in 1..10 {
            take(&ring, offset);
        }
        assert!(!stands(14), "there is no more");
        assert!(!stands(60));
        ring.reaches(11);
        assert!(!stands(61), "only now there is more");
        assert!(stands(67));
        ring.starve();
        assert!(!stands(99), "it is to be followed anew");
    }
}
