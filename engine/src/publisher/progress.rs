//! How far a shard's publishing has come, and how far it is behind the journal: measured beside it, because whoever
//! waits cannot say so.

use crate::metrics;
use eventlog::Log;
use eventlog::kafka::outbox::Outbox;
use host::clock::{self, Instant};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wire::journal::JOURNAL;

/// Between two measurements.
const MEASURED_EVERY: Duration = Duration::from_secs(5);
/// What is on its way for so long waits for the cluster: a leader that dies is replaced in less.
const LONG: Duration = Duration::from_secs(10);

/// How far a shard's publishing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// The journal's offset before which everything is published.
    pub(super) published: u64,
    /// When the oldest event that is on its way was handed over, if any is.
    pub(super) oldest: Option<Instant>,
}

/// Measures one shard.
pub(super) struct Measuring {
    pub(super) number: u32,
    pub(super) log: Arc<dyn Log>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) on_duty: watch::Receiver<bool>,
    /// Nothing while publishing has not begun: then the checkpoint says how far it has come.
    pub(super) progress: watch::Receiver<Option<Progress>>,
}

/// Whether it was said that events wait.
#[derive(Debug, Default)]
struct Waiting(bool);

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Waits,
    GoesOn,
}

impl Measuring {
    /// Sets the gauge, and says when events wait for long and when they go on. Never ends.
    pub(super) async fn run(self) {
        let mut ticks = clock::interval(MEASURED_EVERY);
        let mut waiting = Waiting::default();
        loop {
            ticks.tick().await;
            let on_duty = *self.on_duty.borrow();
            let progress = *self.progress.borrow();
            if !on_duty {
                waiting = Waiting::default();
                self.set(0);
                continue;
            }
            if let Some(progress) = progress {
                self.say(waiting.look(progress.oldest, clock::now()));
            }
            if let Some(lag) = self.lag(progress).await {
                self.set(lag);
            }
        }
    }

    /// Journal records that are not published; nothing while the cluster does not say where the journal ends.
    async fn lag(&self, progress: Option<Progress>) -> Option<u64> {
        let published = match progress {
            Some(progress) => progress.published,
            None => self.outbox.checkpoint(JOURNAL, self.number).await.ok()?.map_or(0, |kept| kept.next),
        };
        let end = self.log.end(JOURNAL, self.number).await.ok()?;
        Some(end.saturating_sub(published))
    }

    fn set(&self, lag: u64) {
        let labels = [("topic", JOURNAL.to_owned()), ("partition", self.number.to_string())];
        ::metrics::gauge!(metrics::CONSUMER_LAG_RECORDS, &labels).set(lag as f64);
    }

    fn say(&self, news: Option<News>) {
        let shard = self.number;
        match news {
            Some(News::Waits) => {
                tracing::warn!(shard, "public events of a shard wait: the cluster has not taken them for {LONG:?}");
            }
            Some(News::GoesOn) => tracing::info!(shard, "public events of a shard go on"),
            None => {}
        }
    }
}

impl Waiting {
    /// What there is to say now, once.
    fn look(&mut self, oldest: Option<Instant>, now: Instant) -> Option<News> {
        let long = oldest.is_some_and(|since| now.saturating_duration_since(since) >= LONG);
        let said = std::mem::replace(&mut self.0, long);
        (said != long).then_some(if long { News::Waits } else { News::GoesOn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_said_once_and_so_is_its_end() {
        let begin = clock::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut waiting = Waiting::default();
        for (oldest, now, news) in [
            (None, 0, None),
            (Some(0), 9, None),
            (Some(0), 10, Some(News::Waits)),
            (Some(0), 600, None),
            // It moves, but what is on its way is still old.
            (Some(580), 600, None),
            (Some(599), 600, Some(News::GoesOn)),
            (None, 700, None),
            (Some(700), 711, Some(News::Waits)),
            (None, 712, Some(News::GoesOn)),
        ] {
            assert_eq!(waiting.look(oldest.map(at), at(now)), news, "{oldest:?} {now}");
        }
    }
}
