//! The owner of a shard: decides on commands and appends outcomes, up to [`PIPELINE`] ahead of what it has read back.
//!
//! Owning is for economy, not for safety. Several owners of one shard write identical outcomes, or lose to whoever
//! was first; what counts is settled by [`super::acceptance`] alone. So an owner that is not on duty stands by: it
//! follows, and decides only on what nobody has decided on for [`STANDBY`].

use super::follow_up::Reminder;
use super::health::Health;
use super::pipeline::Pipeline;
use super::reader::{Reader, Unreadable};
use super::round::{Asked, Decides, ReadBack};
use crate::planted::{Mistake, planted};
use crate::view::NotConserved;
use crate::{codec, metrics};
use engine_domain::outcome::FollowUp;
use engine_domain::{Answer, Shard, Timestamp};
use eventlog::{Log, ReadError, Record, Tail};
use futures_util::StreamExt;
use host::clock::Instant;
use host::task::{JoinHandle, Shutdown};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use wire::journal::{COMMANDS, JOURNAL};
use wire::stored::DecodeError;

/// Outcomes that may be speculative at the same time (DESIGN 3.1).
const PIPELINE: usize = 256;
/// Journal records read together at most.
const READ_BACK: usize = 512;
/// How long a command may be without outcome before an owner that is not on duty decides on it (DESIGN 3.1).
const STANDBY: Duration = Duration::from_millis(500);
/// How often an owner that is not on duty looks for such a command.
const LOOK: Duration = Duration::from_millis(50);
/// Rounds in a row that did not come through before this owner waits.
const PATIENCE: u32 = 3;
/// How long it waits then; doubled with every further round, up to the bound.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After a log that could not be read.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// Why an owner cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// The journal holds what this program does not know.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// What has to be read was deleted.
    #[error(transparent)]
    Gone(ReadError),
    /// Money came from nowhere, or is gone.
    #[error(transparent)]
    NotConserved(#[from] NotConserved),
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
    /// What was accepted, and behind it this owner's drafts.
    pub(crate) shard: Shard,
    pub(crate) reader: Reader,
    pub(crate) follow_ups: mpsc::UnboundedSender<FollowUp>,
    pub(crate) health: Arc<Health>,
    /// Whether this process has been given the shard.
    pub(crate) on_duty: watch::Receiver<bool>,
    /// Awaited steps are asked again when they have been awaited for this long.
    pub(crate) ask_again: Duration,
    /// The rules it decides by.
    pub(crate) decides: Decides,
    #[cfg(feature = "planted")]
    pub(crate) early: crate::planted::Early,
}

/// An owner at work.
pub(super) struct Working {
    pub(super) owner: Owner,
    /// Commands that were read and not decided on.
    backlog: VecDeque<Record>,
    /// When the first of them was first seen as such, if this owner is not on duty.
    seen_at: Option<(u64, Instant)>,
    /// Not on duty, and deciding all the same.
    acting: bool,
    pipeline: Pipeline,
    /// Whether nobody says any more who is on duty.
    orphaned: bool,
    /// Why what was speculative is lost.
    lost: Option<String>,
    /// Rounds in a row that did not come through.
    lost_rounds: u32,
    /// Asks how much waits.
    measuring: Option<JoinHandle<()>>,
}

/// Where an owner reads.
struct Tails {
    commands: Box<dyn Tail>,
    journal: Box<dyn Tail>,
}

impl Owner {
    /// Decides until `shutdown`.
    ///
    /// # Errors
    /// [`Stopped`] when it must not go on: then the shard stands still, nothing is skipped.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), Stopped> {
        let mut working = Working {
            owner: self,
            backlog: VecDeque::new(),
            seen_at: None,
            acting: false,
            orphaned: false,
            pipeline: Pipeline::default(),
            lost: None,
            lost_rounds: 0,
            measuring: None,
        };
        working.run(shutdown).await
    }

    fn number(&self) -> u32 {
        self.shard.number()
    }

    fn tails(&self) -> Tails {
        let number = self.number();
        Tails {
            commands: self.log.tail(COMMANDS, number, self.reader.chain().next_source()),
            journal: self.log.tail(JOURNAL, number, self.reader.next()),
        }
    }
}

impl Working {
    async fn run(&mut self, shutdown: Shutdown) -> Result<(), Stopped> {
        let mut reminder = Reminder::default();
        let mut asking = host::clock::interval(self.owner.ask_again);
        let mut looking = host::clock::interval(LOOK);
        let mut tails = self.owner.tails();
        if self.decides() {
            self.take_over();
        }
        loop {
            if self.lost.is_some() && self.pipeline.is_landed() {
                self.begin_again(&shutdown).await?;
                let ahead = planted(Mistake::NotRewound).then_some(tails.commands);
                tails = self.owner.tails();
                tails.commands = ahead.unwrap_or(tails.commands);
            }
            let wanted = PIPELINE.saturating_sub(self.pipeline.open().max(self.backlog.len()));
            let failed = tokio::select! {
                biased;
                () = shutdown.stopped() => return Ok(()),
                Some(appended) = self.pipeline.appends.next() => {
                    self.appended(appended);
                    None
                }
                read = tails.journal.next(READ_BACK) => self.read_back(read)?,
                changed = self.owner.on_duty.changed(), if !self.orphaned => {
                    self.orphaned = changed.is_err();
                    if self.decides() {
                        self.take_over();
                    }
                    None
                }
                read = tails.commands.next(wanted.max(1)), if wanted > 0 => self.queue(read)?,
                _ = asking.tick() => {
                    let due = reminder.due(&self.owner.shard, self.owner.reader.at());
                    // Steps of drafts are not awaited yet.
                    if self.decides() && self.pipeline.open() == 0 {
                        self.ask(due);
                    }
                    self.measure();
                    None
                }
                _ = looking.tick(), if !self.is_on_duty() => {
                    self.look();
                    None
                }
            };
            if let Some(error) = failed {
                self.wait_for_the_log(error, &shutdown).await;
                tails = self.owner.tails();
                self.backlog.clear();
            }
            self.decide().await?;
        }
    }

    fn is_on_duty(&self) -> bool {
        *self.owner.on_duty.borrow()
    }

    fn decides(&self) -> bool {
        self.acting || self.is_on_duty()
    }

    /// Whatever is awaited now: perhaps whoever decided until now never sent it.
    fn take_over(&mut self) {
        if self.pipeline.open() == 0 {
            self.ask(self.owner.shard.open_steps(self.owner.reader.at()));
        }
    }

    /// Takes commands; answers what keeps them from being read.
    fn queue(&mut self, read: Result<Vec<Record>, ReadError>) -> Result<Option<ReadError>, Stopped> {
        match read {
            Ok(records) => {
                self.backlog.extend(records);
                Ok(None)
            }
            Err(error) => later(error),
        }
    }

    /// Takes records of the journal; answers what keeps them from being read.
    fn read_back(&mut self, read: Result<Vec<Record>, ReadError>) -> Result<Option<ReadError>, Stopped> {
        let records = match read {
            Ok(records) => records,
            Err(error) => return later(error),
        };
        for record in &records {
            self.take(record)?;
        }
        self.see_whether_passed_over();
        let shard = &mut self.owner.shard;
        // Nothing before the first draft is speculative any more.
        let settled = self.pipeline.first_mark().unwrap_or_else(|| shard.mark());
        shard.forget_before(settled);
        Ok(None)
    }

    fn take(&mut self, record: &Record) -> Result<(), Stopped> {
        let Owner { shard, reader, .. } = &mut self.owner;
        let sends = match self.pipeline.round.read_back(shard, reader, record)? {
            ReadBack::Own { sends, operation, answer } => {
                let result = result(&answer);
                ::metrics::counter!(metrics::COMMANDS_TOTAL, "type" => operation, "result" => result).increment(1);
                if self.lost_rounds > 0 {
                    self.lost_rounds = 0;
                    self.owner.health.well(self.owner.number());
                }
                host::moment::passes("outcome-read-back");
                sends
            }
            ReadBack::Foreign { sends, source_offset, differs } => {
                if differs {
                    // Two programs of one feature number decide differently: one of them is wrong.
                    let shard = self.owner.number();
                    tracing::error!(shard, source_offset, "the accepted outcome differs from what this owner decided");
                }
                if self.pipeline.has_dropped() {
                    self.lost.get_or_insert_with(|| "another owner was first".to_owned());
                }
                self.acting = false;
                sends
            }
            ReadBack::Ignored => {
                ::metrics::counter!(metrics::REJECTED_OUTCOMES_TOTAL).increment(1);
                // Somebody else decides on the same commands.
                self.acting = false;
                return Ok(());
            }
        };
        if self.decides() {
            self.ask(sends);
        }
        Ok(())
    }

    /// What became of an append.
    fn appended(&mut self, failed: Option<String>) {
        if let Some(why) = failed {
            self.lost.get_or_insert_with(|| format!("its outcomes cannot be appended: {why}"));
        } else {
            #[cfg(feature = "planted")]
            if planted(Mistake::SentOnAcknowledgement) {
                self.ask(self.pipeline.round.drafts().flat_map(|draft| draft.sends.clone()).collect());
            }
            self.see_whether_passed_over();
        }
    }

    /// Drafts that are in the log, were read and did not count, never will.
    fn see_whether_passed_over(&mut self) {
        if self.pipeline.passed_over(self.owner.reader.next()) {
            self.lost.get_or_insert_with(|| "another owner was first".to_owned());
        }
    }

    /// Decides on what waits, if it is this owner's to decide, and appends it.
    async fn decide(&mut self) -> Result<(), Stopped> {
        let next = self.pipeline.next_source(&self.owner.reader);
        while self.backlog.front().is_some_and(|record| record.offset < next) {
            self.backlog.pop_front();
        }
        if self.lost.is_some() || !self.decides() {
            return Ok(());
        }
        let number = self.owner.number();
        let mut asked = Vec::new();
        while self.pipeline.open() + asked.len() < PIPELINE
            && let Some(record) = self.backlog.front()
        {
            match self::asked(number, record) {
                Ok(command) => asked.push(command),
                // What stands before it is decided, and read back, first.
                Err(_) if !asked.is_empty() || self.pipeline.open() > 0 => break,
                Err(newer) => return Err(newer),
            }
            self.backlog.pop_front();
        }
        if !asked.is_empty() {
            let Owner { log, shard, reader, decides, .. } = &mut self.owner;
            self.pipeline.decide(log, *decides, shard, reader, &asked).await;
            if self.pipeline.round.is_contradicted() {
                self.lost.get_or_insert_with(|| "a command contradicts what was decided and not accepted".to_owned());
            }
            #[cfg(feature = "planted")]
            {
                let drafts = self.pipeline.round.drafts().rev().take(asked.len()).cloned().collect::<Vec<_>>();
                self.owner.early.answer(drafts.into_iter().rev().collect(), self.owner.shard.shards());
            }
        }
        Ok(())
    }

    /// Drops what was speculative, reads what counts, and goes on behind it.
    async fn begin_again(&mut self, shutdown: &Shutdown) -> Result<(), Stopped> {
        let Some(why) = self.lost.take() else { return Ok(()) };
        let number = self.owner.number();
        loop {
            let next = self.owner.reader.next();
            match self.owner.log.read(JOURNAL, number, next, READ_BACK).await {
                Ok(records) if records.is_empty() => break,
                read => {
                    if let Some(error) = self.read_back(read)? {
                        self.wait_for_the_log(error, shutdown).await;
                        if shutdown.is_stopping() {
                            return Ok(());
                        }
                    }
                }
            }
        }
        let dropped = self.pipeline.drop_all(&mut self.owner.shard);
        // What was read back after all came through.
        self.lost = None;
        self.backlog.clear();
        if dropped > 0 {
            self.lost_rounds += 1;
            tracing::warn!(shard = number, dropped, rounds = self.lost_rounds, why, "a round was lost");
            if self.lost_rounds >= PATIENCE {
                self.owner.health.troubled(number, why);
            }
        }
        let Some(excess) = self.lost_rounds.checked_sub(PATIENCE) else { return Ok(()) };
        // Competing owners are not to keep each other from coming forward.
        let pause = FIRST_PAUSE.saturating_mul(1 << excess.min(16)).min(LONGEST_PAUSE);
        tokio::select! {
            biased;
            () = shutdown.stopped() => {}
            () = host::clock::sleep(pause) => {}
        }
        Ok(())
    }

    /// Not on duty: decides all the same once a command has waited for too long.
    fn look(&mut self) {
        let Some(first) = self.backlog.front().map(|record| record.offset) else {
            self.seen_at = None;
            return;
        };
        let now = host::clock::now();
        match self.seen_at {
            Some((seen, since)) if seen == first => {
                if !self.acting && now.saturating_duration_since(since) >= STANDBY {
                    tracing::warn!(shard = self.owner.number(), offset = first, "nobody decides: standing in");
                    self.acting = true;
                    self.take_over();
                }
            }
            _ => self.seen_at = Some((first, now)),
        }
    }

    async fn wait_for_the_log(&mut self, error: ReadError, shutdown: &Shutdown) {
        let shard = self.owner.number();
        tracing::warn!(shard, %error, "the log cannot be read; trying again");
        self.owner.health.troubled(shard, error.to_string());
        // Cleared by the next outcome that comes through, or by the next look that finds nothing to do.
        self.lost_rounds = self.lost_rounds.max(1);
        tokio::select! {
            biased;
            () = shutdown.stopped() => {}
            () = host::clock::sleep(READ_AGAIN) => {}
        }
    }

    fn ask(&self, follow_ups: Vec<FollowUp>) {
        for follow_up in follow_ups {
            // Nobody receives any more only when the ledger stops; the next start asks again.
            let _ = self.owner.follow_ups.send(follow_up);
        }
    }

    /// Sets the gauge of what waits to be decided, beside the deciding: the log may take its time to answer.
    fn measure(&mut self) {
        let (log, number) = (Arc::clone(&self.owner.log), self.owner.number());
        let decided = self.owner.reader.chain().next_source();
        if self.lost_rounds > 0 && self.backlog.is_empty() && self.pipeline.open() == 0 && self.lost.is_none() {
            // The last round came through after all, or somebody else did the work.
            self.lost_rounds = 0;
            self.owner.health.well(number);
        }
        // A log that does not answer is asked once, not every second anew.
        if self.measuring.as_ref().is_some_and(|measuring| !measuring.is_finished()) {
            return;
        }
        self.measuring = Some(host::task::spawn(async move {
            let Ok(end) = log.end(COMMANDS, number).await else { return };
            let labels = [("topic", COMMANDS.to_owned()), ("partition", number.to_string())];
            ::metrics::gauge!(metrics::CONSUMER_LAG_RECORDS, &labels).set(end.saturating_sub(decided) as f64);
        }));
    }
}

/// Whether a read may succeed later, or never again.
fn later(error: ReadError) -> Result<Option<ReadError>, Stopped> {
    match error {
        ReadError::Failed(_) => Ok(Some(error)),
        ReadError::Gone { .. } => Err(Stopped::Gone(error)),
    }
}

/// A record of the commands as a command: what cannot be read is one that says so.
fn asked(shard: u32, record: &Record) -> Result<Asked, Stopped> {
    let command = match codec::decode_command(&record.value) {
        Ok(command) => command,
        Err(codec::Error::Decode(reason)) if reason.is_newer() => {
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
