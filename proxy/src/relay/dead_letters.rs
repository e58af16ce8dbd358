//! Records of `cutover.exchanges` that are none: kept as dead letters and passed over, so that nobody waits for them.
//!
//! The comparator counts each of them as a gap, which blocks the dial until a person has settled it (Law 5).

use super::Error;
use super::appending::{PARTITION, keyed};
use super::start::unreadable;
use crate::metrics::DEAD_LETTERS;
use eventlog::{Log, Once, Record};
use metrics::counter;
use std::sync::Arc;
use wire::dead_letter::{DeadLetter, Origin, TOPIC};
use wire::exchange::{self, ExchangeRecord};
use wire::stored::{decode, encode};

/// Keeps what is no exchange.
pub(super) struct DeadLetters(Once);

impl DeadLetters {
    /// Keeps them in this log.
    pub fn of(log: &Arc<dyn Log>) -> Self {
        Self(Once::begin(Arc::clone(log), TOPIC, |_| counter!(DEAD_LETTERS, "source" => "exchanges").increment(1)))
    }

    /// Reads an exchange's record; `None` is none, and is kept.
    ///
    /// # Errors
    /// [`Error::Unreadable`], when a newer program wrote it: that one knows what it means.
    pub fn exchange(&self, record: &Record) -> Result<Option<ExchangeRecord>, Error> {
        match decode(&record.value) {
            Ok(exchange) => Ok(Some(exchange)),
            Err(error) if error.is_newer() => Err(unreadable(exchange::TOPIC, record.offset)(error)),
            Err(reason) => {
                tracing::error!(offset = record.offset, %reason, "a record is no exchange; it is passed over");
                let origin = Origin { topic: exchange::TOPIC.to_owned(), partition: PARTITION, offset: record.offset };
                let key = origin.to_string();
                let letter = DeadLetter::found(origin, &reason, Some(record.value.to_vec()));
                self.0.append(keyed(&key, encode(&letter).into()));
                Ok(None)
            }
        }
    }
}
