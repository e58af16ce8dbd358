//! The owner of a shard: decides on commands and appends outcomes, batch by batch, each read back before the next.
//!
//! Owning is for economy, not for safety. Several owners of one shard write identical outcomes, or lose to whoever
//! was first; what counts is settled by [`super::acceptance`] alone.

use super::follow_up::Reminder;
use super::health::Health;
use super::reader::{Reader, Unreadable};
use super::round::{Asked, ReadBack, Round};
use crate::{codec, metrics};
use engine_domain::outcome::FollowUp;
use engine_domain::{Answer, Shard, Timestamp};
use eventlog::{AppendError, Log, NewRecord, ReadError, Record};
use host::task::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use wire::journal::{COMMANDS, JOURNAL};
use wire::stored::DecodeError;

/// Commands decided together at most (DESIGN 3.1).
const BATCH: usize = 256;
/// Journal records read together at most: a batch, and as much again from a competing owner.
const READ_BACK: usize = 512;
/// Rounds in a row that did not come through before this owner waits.
const PATIENCE: u32 = 3;
/// How long it waits then; doubled with every further round, up to the bound.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why an owner cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// The journal holds what this program does not know.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A command was written by a newer program, which has to decide on it: refusing it here would be final.
    #[error("the command at offset {offset} is newer than this program: {reason}")]
    Newer {
        /// Its place among the shard's commands.
        offset: u64,
        /// What is not known.
        reason: DecodeError,
    },
}

/// The owner of a shard.
pub(crate) struct Owner {
    pub(crate) log: Arc<dyn Log>,
    /// Speculative during a round, accepted between rounds.
    pub(crate) shard: Shard,
    pub(crate) reader: Reader,
    pub(crate) follow_ups: mpsc::UnboundedSender<FollowUp>,
    pub(crate) health: Arc<Health>,
    /// Awaited steps are asked again when they have been awaited for this long.
    pub(crate) ask_again: Duration,
    /// Rounds in a row that did not come through.
    pub(crate) lost_rounds: u32,
}

impl Owner {
    /// Decides until `shutdown`.
    ///
    /// # Errors
    /// [`Stopped`] when the journal or the log cannot be read: then the shard stands still, nothing is skipped.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), Stopped> {
        // Whatever was awaited before the restart: perhaps it was never sent.
        self.ask(self.shard.open_steps(self.reader.at()));
        let mut reminder = Reminder::default();
        let mut looks = host::clock::interval(self.ask_again);
        let (log, number) = (Arc::clone(&self.log), self.shard.number());
        let mut commands = log.tail(COMMANDS, number, self.reader.chain().next_source());
        loop {
            let records = tokio::select! {
                biased;
                () = shutdown.stopped() => return Ok(()),
                _ = looks.tick() => {
                    self.read_journal(&mut Round::default(), 0).await?;
                    self.ask(reminder.due(&self.shard, self.reader.at()));
                    self.measure().await?;
                    continue;
                }
                records = commands.next(BATCH) => records?,
            };
            let decided_up_to = records.last().map_or(0, |record| record.offset + 1);
            self.round(records).await?;
            if self.reader.chain().next_source() != decided_up_to {
                commands = log.tail(COMMANDS, number, self.reader.chain().next_source());
            }
            self.pause(&shutdown).await;
        }
    }

    /// Decides on a batch, appends the outcomes and reads them back. Afterwards the state is what was accepted.
    async fn round(&mut self, records: Vec<Record>) -> Result<(), Stopped> {
        // What others wrote meanwhile counts first.
        self.read_journal(&mut Round::default(), 0).await?;
        let next = self.reader.chain().next_source();
        let number = self.shard.number();
        let mut asked = Vec::with_capacity(records.len());
        for record in records.iter().filter(|record| record.offset >= next) {
            match self::asked(number, record) {
                Ok(command) => asked.push(command),
                Err(newer) if asked.is_empty() => return Err(newer),
                // What stands before it is decided first; then it comes first itself.
                Err(_) => break,
            }
        }
        if asked.first().is_none_or(|first| first.source_offset != next) {
            return Ok(());
        }
        let mut round = Round::decide(&mut self.shard, &self.reader, &asked);
        let batch = round.records().map(NewRecord::of).collect();
        let appended = self.log.append(JOURNAL, number, batch).await;
        let up_to = match &appended {
            Ok(first) => first + round.open() as u64,
            // It may be there, or may come later: what counts is what can be read now.
            Err(AppendError::Unknown(_) | AppendError::NotAppended(_)) => 0,
        };
        self.read_journal(&mut round, up_to).await?;
        round.drop_drafts(&mut self.shard);
        match (appended, round.dropped()) {
            (Ok(_), 0) => {
                self.lost_rounds = 0;
                self.health.well(number);
            }
            (Ok(_), dropped) => self.lost(dropped, "another owner was first".to_owned()),
            (Err(error), dropped) => self.lost(dropped, format!("its outcomes cannot be appended: {error}")),
        }
        // Nothing before this moment is speculative any more.
        let now = self.shard.mark();
        self.shard.forget_before(now);
        Ok(())
    }

    fn lost(&mut self, dropped: usize, why: String) {
        let shard = self.shard.number();
        self.lost_rounds += 1;
        tracing::warn!(shard, dropped, rounds = self.lost_rounds, why, "a round was lost");
        if self.lost_rounds >= PATIENCE {
            self.health.troubled(shard, why);
        }
    }

    /// Reads the journal to its end, and at least up to the offset `up_to`.
    async fn read_journal(&mut self, round: &mut Round, up_to: u64) -> Result<(), Stopped> {
        loop {
            let next = self.reader.next();
            let records = self.log.read(JOURNAL, self.shard.number(), next, READ_BACK).await?;
            if records.is_empty() {
                if next >= up_to {
                    return Ok(());
                }
                let offset = next;
                let failed = format!("the log acknowledged offset {} and ends at {offset}", up_to - 1);
                return Err(Stopped::Read(ReadError::Failed(failed)));
            }
            for record in &records {
                self.take(round, record)?;
            }
        }
    }

    fn take(&mut self, round: &mut Round, record: &Record) -> Result<(), Stopped> {
        let sends = match round.read_back(&mut self.shard, &mut self.reader, record)? {
            ReadBack::Own { sends, operation, answer } => {
                let result = result(&answer);
                ::metrics::counter!(metrics::COMMANDS_TOTAL, "type" => operation, "result" => result).increment(1);
                sends
            }
            ReadBack::Foreign { sends, source_offset, differs } => {
                if differs {
                    // Two programs of one feature number decide differently: one of them is wrong.
                    let shard = self.shard.number();
                    tracing::error!(shard, source_offset, "the accepted outcome differs from what this owner decided");
                }
                sends
            }
            ReadBack::Ignored => {
                ::metrics::counter!(metrics::REJECTED_OUTCOMES_TOTAL).increment(1);
                return Ok(());
            }
        };
        self.ask(sends);
        Ok(())
    }

    fn ask(&self, follow_ups: Vec<FollowUp>) {
        for follow_up in follow_ups {
            // Nobody receives any more only when the ledger stops; the next start asks again.
            let _ = self.follow_ups.send(follow_up);
        }
    }

    /// Waits after several lost rounds, so that competing owners do not keep each other from coming forward.
    async fn pause(&self, shutdown: &Shutdown) {
        let Some(excess) = self.lost_rounds.checked_sub(PATIENCE) else { return };
        let pause = FIRST_PAUSE.saturating_mul(1 << excess.min(16)).min(LONGEST_PAUSE);
        tokio::select! {
            () = host::clock::sleep(pause) => {}
            () = shutdown.stopped() => {}
        }
    }

    async fn measure(&mut self) -> Result<(), Stopped> {
        let number = self.shard.number();
        let end = self.log.end(COMMANDS, number).await?;
        let lag = end.saturating_sub(self.reader.chain().next_source());
        if lag == 0 && self.lost_rounds > 0 {
            // The last round came through after all, or somebody else did the work.
            self.lost_rounds = 0;
            self.health.well(number);
        }
        let labels = [("topic", COMMANDS.to_owned()), ("partition", number.to_string())];
        ::metrics::gauge!(metrics::CONSUMER_LAG_RECORDS, &labels).set(lag as f64);
        Ok(())
    }
}

/// A record of the commands as a command: what cannot be read is one that says so.
fn asked(shard: u32, record: &Record) -> Result<Asked, Stopped> {
    let command = match codec::decode_command(&record.value) {
        Ok(command) => command,
        Err(codec::Error::Decode(reason @ DecodeError::UnknownVersion { .. })) => {
            return Err(Stopped::Newer { offset: record.offset, reason });
        }
        Err(error) => {
            tracing::error!(shard, offset = record.offset, %error, "a command cannot be read; its outcome says so");
            codec::unreadable(&record.value, shard, record.offset)
        }
    };
    Ok(Asked { source_offset: record.offset, logged_at: Timestamp(record.at_micros), command })
}

/// What became of a command, as metrics name it.
fn result(answer: &Answer) -> &'static str {
    match answer {
        Answer::None => "step",
        Answer::Final { replay: true, .. } | Answer::Account { replay: true, .. } => "replayed",
        Answer::Final { replay: false, .. } => "final",
        Answer::Account { replay: false, .. } => "account",
        Answer::Running { .. } => "running",
        Answer::Refused { .. } => "refused",
        Answer::Dry { .. } => "dry",
        Answer::Noted { .. } => "noted",
        Answer::Unreadable => "unreadable",
    }
}
