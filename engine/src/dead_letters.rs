//! Dead letters of the engine: commands and journal records that are none, kept with the reason; nothing waits for them.
//!
//! A command that cannot be read has an outcome that says so; a journal record that is no outcome is no part of the
//! chain. Both are found by folding the journal, so a letter that was not written before a crash is written after it; and no
//! snapshot, at which a fold may begin, goes beyond what has its letter.

use crate::view::read_model::Projection;
use crate::{codec, metrics};
use engine_domain::{Answer, Outcome};
use eventlog::{AppendError, Log, NewRecord, Once, ReadError, Record};
use std::sync::Arc;
use std::time::Duration;
use wire::dead_letter::{DeadLetter, DeadLetterEvent, Letter, Letters, Origin, TOPIC};
use wire::journal::{COMMANDS, JOURNAL};
use wire::scalar::Timestamp;
use wire::stored::{DecodeError, encode};

/// After a log that could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Records read at once.
const PAGE: usize = 1_000;

/// The engine's dead letters. Clones share them.
#[derive(Clone)]
pub struct DeadLetters {
    log: Arc<dyn Log>,
    once: Once,
}

/// What is to become of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It is put into its topic once more.
    Redrive,
    /// Nothing.
    Drop,
}

/// Why nothing became of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such letter.
    #[error("there is no dead letter {0}")]
    NotFound(Origin),
    /// It can be done no more.
    #[error("{0} is settled already")]
    Settled(Origin),
    /// It would be a dead letter again.
    #[error("{origin} cannot be redriven: {why}")]
    NotRedrivable {
        /// Which one.
        origin: Origin,
        /// Why not.
        why: String,
    },
    /// A newer program wrote about some letter, perhaps about this one.
    #[error("{TOPIC} has a record of a newer program at offset {offset}, which may be about this letter: {reason}")]
    Newer {
        /// Where in the topic.
        offset: u64,
        /// What it is.
        reason: DecodeError,
    },
    /// The log cannot be used now; trying again is harmless.
    #[error("the log cannot be used: {0}")]
    Log(String),
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        Self::Log(error.to_string())
    }
}

impl From<AppendError> for Refused {
    fn from(error: AppendError) -> Self {
        Self::Log(error.to_string())
    }
}

impl DeadLetters {
    /// Those of this log.
    pub(crate) fn of(log: Arc<dyn Log>) -> Self {
        // Whatever counts them knows where they come from.
        let count = |key: &[u8]| {
            let source = if key.starts_with(COMMANDS.as_bytes()) { "commands" } else { "journal" };
            ::metrics::counter!(metrics::DEAD_LETTERS_TOTAL, "source" => source).increment(1);
        };
        Self { once: Once::begin(Arc::clone(&log), TOPIC, count), log }
    }

    /// A journal record that is no outcome.
    pub(crate) fn outcome(&self, shard: u32, record: &Record, reason: &dyn std::fmt::Display) {
        tracing::error!(shard, offset = record.offset, %reason, "a journal record is no outcome; it is ignored");
        let origin = Origin { topic: JOURNAL.to_owned(), partition: shard, offset: record.offset };
        self.found(&DeadLetter::found(origin, reason, Some(record.value.to_vec())));
    }

    /// An outcome that a projection cannot take; it counts all the same. A letter of its own for each projection: one may be
    /// mended, and dropped, without the other.
    pub(crate) fn unprojected(
        &self,
        projection: Projection,
        shard: u32,
        record: &Record,
        reason: &dyn std::fmt::Display,
    ) {
        let name = projection.as_str();
        let origin = Origin { topic: format!("{JOURNAL}.{name}"), partition: shard, offset: record.offset };
        let reason = format!("the projection `{name}` leaves it out: {reason}");
        self.found(&DeadLetter::found(origin, &reason, Some(record.value.to_vec())));
    }

    /// Its bytes are looked for beside whatever the caller does.
    fn command(&self, shard: u32, offset: u64) {
        let letters = self.clone();
        host::task::spawn(async move {
            let bytes = letters.command_bytes(shard, offset).await;
            let reason = match &bytes {
                None => "its bytes were deleted".to_owned(),
                Some(bytes) => codec::decode_command(bytes)
                    .map_or_else(|error| error.to_string(), |_| "an earlier program could not read it".to_owned()),
            };
            let origin = Origin { topic: COMMANDS.to_owned(), partition: shard, offset };
            letters.found(&DeadLetter::found(origin, &reason, bytes));
        });
    }

    /// The commands of these outcomes that cannot be read.
    pub(crate) fn among<'a>(&self, outcomes: impl Iterator<Item = &'a Outcome>) {
        for outcome in outcomes.filter(|outcome| outcome.answer == Answer::Unreadable) {
            self.command(outcome.shard, outcome.source_offset);
        }
    }

    async fn command_bytes(&self, shard: u32, offset: u64) -> Option<Vec<u8>> {
        loop {
            match self.log.read(COMMANDS, shard, offset, 1).await {
                Ok(records) => return records.first().map(|record| record.value.to_vec()),
                Err(ReadError::Gone { .. }) => return None,
                Err(ReadError::Failed(_)) => host::clock::sleep(READ_AGAIN).await,
            }
        }
    }

    /// Whether all of these are there.
    ///
    /// # Errors
    /// As [`DeadLetters::all`].
    pub(crate) async fn has(&self, origins: &[Origin]) -> Result<bool, Refused> {
        if origins.is_empty() {
            return Ok(true);
        }
        let letters = self.all().await?;
        Ok(origins.iter().all(|origin| letters.get(origin).is_some()))
    }

    fn found(&self, letter: &DeadLetter) {
        self.once.append(record_of(letter));
    }

    /// All of them, as the log has them now; what is no letter is passed over, as `dlq list` says.
    ///
    /// # Errors
    /// When the log cannot be read, or holds a letter of a newer program.
    pub(crate) async fn all(&self) -> Result<Letters, Refused> {
        let (mut letters, mut next) = (Letters::default(), 0);
        loop {
            match self.log.read(TOPIC, 0, next, PAGE).await {
                Ok(records) if records.is_empty() => return Ok(letters),
                Ok(records) => {
                    for record in records {
                        next = record.offset + 1;
                        let newer = |reason| Refused::Newer { offset: record.offset, reason };
                        letters.take_stored(Timestamp(record.at_micros), &record.value).map_err(newer)?;
                    }
                }
                Err(ReadError::Gone { begin, .. }) => next = begin,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Settles a letter. A redriven command is decided like any other; done twice, its key meets itself.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn settle(
        &self,
        origin: &Origin,
        settlement: Settlement,
        actor: String,
        reason: String,
    ) -> Result<Letter, Refused> {
        let letters = self.all().await?;
        let letter = letters.get(origin).ok_or_else(|| Refused::NotFound(origin.clone()))?;
        if letter.settled.is_some() {
            return Err(Refused::Settled(origin.clone()));
        }
        let event = match settlement {
            Settlement::Drop => DeadLetterEvent::Dropped { actor, reason },
            Settlement::Redrive => {
                let bytes = redrivable(origin, letter)?;
                let offset = self.log.append(COMMANDS, origin.partition, vec![NewRecord::of(bytes)]).await?;
                DeadLetterEvent::Redriven { actor, reason, offset }
            }
        };
        let settled = DeadLetter { origin: origin.clone(), event };
        self.log.append(TOPIC, 0, vec![record_of(&settled)]).await?;
        let letters = self.all().await?;
        letters.get(origin).cloned().ok_or_else(|| Refused::NotFound(origin.clone()))
    }
}

fn record_of(letter: &DeadLetter) -> NewRecord {
    NewRecord { key: letter.origin.to_string().into(), value: encode(letter).into() }
}

/// The bytes of a command that this program can read.
fn redrivable(origin: &Origin, letter: &Letter) -> Result<Vec<u8>, Refused> {
    let not = |why: String| Refused::NotRedrivable { origin: origin.clone(), why };
    if origin.topic != COMMANDS {
        return Err(not(
            "only commands can be: an outcome that was ignored had its command decided by another one, and \
             one that a projection leaves out comes back with `crossfade projection rebuild` once its cause is mended"
                .to_owned(),
        ));
    }
    let without = if letter.was_too_large() { "it has too many bytes to be kept" } else { "its bytes are gone" };
    let bytes = letter.bytes.as_ref().ok_or_else(|| not(without.to_owned()))?;
    codec::decode_command(&bytes.0).map_err(|error| not(format!("this program cannot read it either ({error})")))?;
    Ok(bytes.0.clone())
}
