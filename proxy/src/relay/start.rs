//! The start: folds the rollout, then exchanges and the relay's own records in the order of their times, but nothing
//! before what it follows from, up to where they end now.

use super::appending::PARTITION;
use super::dead_letters::DeadLetters;
use super::delivery::{Delivery, Rules};
use super::ingest::Shipped;
use super::{Config, Error};
use eventlog::place::LOG;
use eventlog::{Log, Place, ReadError, Record};
use host::ops::Readiness;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use wire::chain::Head;
use wire::scalar::Timestamp;
use wire::shadow::ShadowRecord;
use wire::stored::{DecodeError, decode};
use wire::{decision, exchange, rollout, shadow};

/// After a log that could not be read.
const BEGIN_AGAIN: Duration = Duration::from_secs(1);
/// Records read at once.
const PAGE: usize = 1_000;

/// Where the fold of the past ended.
pub(super) struct Start {
    /// The state.
    pub delivery: Delivery,
    /// The end of the chain of `cutover.shadows`.
    pub head: Head,
    /// The next offset of `cutover.exchanges`.
    pub exchanges: u64,
    /// The next offset of `cutover.shadows`.
    pub shadows: u64,
    /// The next offset of `cutover.rollout`.
    pub rollout: u64,
    /// The end of the chain of `cutover.decisions`, which is read from its beginning.
    pub decisions: Head,
    /// How far each front has shipped.
    pub shipped: Shipped,
    /// Keeps what is no exchange.
    pub dead_letters: DeadLetters,
}

/// A record that the relay cannot do without stops it: it is never skipped.
pub(super) fn unreadable(topic: &'static str, offset: u64) -> impl FnOnce(DecodeError) -> Error {
    move |reason| Error::Unreadable { topic, offset, reason }
}

/// A topic that is read page by page up to a fixed end.
struct Pages {
    topic: &'static str,
    next: u64,
    end: u64,
    page: VecDeque<Record>,
}

impl Pages {
    async fn to_the_end(log: &dyn Log, topic: &'static str) -> Result<Self, Error> {
        let end = log.end(topic, PARTITION).await.map_err(Error::Log)?;
        Ok(Self { topic, next: 0, end, page: VecDeque::new() })
    }

    /// The time of the next record, which is read if it was not.
    async fn peek(&mut self, log: &dyn Log) -> Result<Option<i64>, Error> {
        while self.page.is_empty() && self.next < self.end {
            match log.read(self.topic, PARTITION, self.next, PAGE).await {
                Ok(page) => self.page = page.into(),
                // Retention has taken the beginning; what it took is concluded.
                Err(ReadError::Gone { begin, .. }) if self.next == 0 => self.next = begin,
                Err(error) => return Err(Error::Log(error)),
            }
            if let Some(last) = self.page.back() {
                self.next = last.offset + 1;
            }
        }
        Ok(self.page.front().map(|record| record.at_micros))
    }
}

/// Folds the past as soon as the log can be used.
///
/// # Errors
/// When a record cannot be read, or the log will never be usable.
pub(super) async fn begin(place: &Place, ledger: &str, config: &Config, readiness: &Readiness) -> Result<Start, Error> {
    loop {
        place.until_usable(readiness).await?;
        readiness.blocked(LOG, "the past is being folded");
        match fold(&place.log(), ledger, config.rules()).await {
            Err(Error::Log(error @ ReadError::Failed(_))) => {
                tracing::warn!(%error, "cannot fold the past; beginning again");
                readiness.blocked(LOG, error.to_string());
                host::clock::sleep(BEGIN_AGAIN).await;
            }
            folded => return folded,
        }
    }
}

/// Folds the past.
///
/// # Errors
/// When the log, or a record in it, cannot be read.
async fn fold(log: &Arc<dyn Log>, ledger: &str, rules: Rules) -> Result<Start, Error> {
    let mut start = Start {
        delivery: Delivery::new(ledger, rules),
        head: Head::genesis(ledger, shadow::TOPIC),
        exchanges: 0,
        shadows: 0,
        rollout: 0,
        decisions: Head::genesis(ledger, decision::TOPIC),
        shipped: Shipped::new(),
        dead_letters: DeadLetters::of(log),
    };
    let mut changes = Pages::to_the_end(&**log, rollout::TOPIC).await?;
    while changes.peek(&**log).await?.is_some() {
        let Some(record) = changes.page.pop_front() else { break };
        let unreadable = unreadable(rollout::TOPIC, record.offset);
        start.delivery.take_rollout(record.offset, &record.value).map_err(unreadable)?;
        start.rollout = record.offset + 1;
    }
    // Whatever a record of a shadow follows from is there when that is: asked for in this order, it is before the end.
    let mut shadows = Pages::to_the_end(&**log, shadow::TOPIC).await?;
    let mut exchanges = Pages::to_the_end(&**log, exchange::TOPIC).await?;
    loop {
        match (exchanges.peek(&**log).await?, shadows.peek(&**log).await?) {
            (None, None) => return Ok(start),
            (Some(exchange), shadow)
                if shadow.is_none_or(|shadow| exchange <= shadow) || !start.may_follow(shadows.page.front()) =>
            {
                let Some(record) = exchanges.page.pop_front() else { return Ok(start) };
                start.take_exchange(&record)?;
            }
            _ => {
                let Some(record) = shadows.page.pop_front() else { return Ok(start) };
                start.take_shadow(&record)?;
            }
        }
    }
}

impl Start {
    /// Whether everything that a shadow's record follows from was taken; what cannot be read is found out by taking it.
    fn may_follow(&self, record: Option<&Record>) -> bool {
        let shadow = record.and_then(|record| decode::<ShadowRecord>(&record.value).ok());
        shadow.is_none_or(|shadow| self.delivery.may_follow(&shadow.body))
    }

    fn take_exchange(&mut self, record: &Record) -> Result<(), Error> {
        let exchange = self.dead_letters.exchange(record)?;
        if let Some(exchange) = &exchange {
            let last = self.shipped.entry(exchange.front.clone()).or_default();
            *last = (*last).max((exchange.boot, exchange.sequence));
        }
        self.exchanges = record.offset + 1;
        self.delivery.take_exchange(record.offset, Timestamp(record.at_micros), exchange);
        Ok(())
    }

    fn take_shadow(&mut self, record: &Record) -> Result<(), Error> {
        self.shadows = record.offset + 1;
        let taken = self.head.take::<ShadowRecord>(&record.value);
        if let Some(shadow) = taken.map_err(unreadable(shadow::TOPIC, record.offset))? {
            self.delivery.take_shadow(record.offset, Timestamp(record.at_micros), shadow, false);
        }
        Ok(())
    }
}
