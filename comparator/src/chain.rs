//! A chained topic as its writer sees it: append, read back, believe what was read back.
//!
//! Every record names the digest of the record before it, so of two records that extend the same one every
//! reader takes the first. The same bytes may therefore be appended again after an append of unknown outcome:
//! whichever copy comes first is taken, the other one extends a chain that has moved on.

use eventlog::{Log, NewRecord, ReadError, Record};
use host::task::Shutdown;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use wire::chain::Chained;
use wire::scalar::Digest;
use wire::stored::{DecodeError, encode};

/// All chained topics have one partition.
pub const PARTITION: u32 = 0;
/// Records read at once; the topics of people's decisions are short.
const PAGE: usize = 1_000;
/// How often an append of unknown outcome is tried before the caller is told that it is unknown.
const ATTEMPTS: u32 = 3;
/// Between two attempts, and after a failed read.
const PAUSE: Duration = Duration::from_millis(50);

/// What a chained topic adds up to.
pub trait Fold: Clone + Send + Sync + 'static {
    /// What the topic holds.
    type Record: Chained + Send;
    /// The topic.
    const TOPIC: &'static str;

    /// The digest that the next record has to name.
    fn head(&self) -> Digest;

    /// Folds the next record; `None` when it extends another chain and is to be ignored.
    ///
    /// # Errors
    /// When the bytes cannot be read: nothing behind them may be believed.
    fn take(&mut self, record: &Record) -> Result<Option<Self::Record>, DecodeError>;
}

/// Why an append did not end in an accepted record.
#[derive(Debug, thiserror::Error)]
pub enum Failure<R> {
    /// The state did not allow it.
    #[error("refused")]
    Refused(R),
    /// Somebody else's record extended the chain first.
    #[error("another record extended the chain first")]
    Lost,
    /// The log did not take it: nothing happened.
    #[error("the log did not take the record: {0}")]
    NotAppended(String),
    /// It may show up yet.
    #[error("it is unknown whether the log took the record: {0}")]
    Unknown(String),
    /// The topic cannot be read now.
    #[error("{0}")]
    NotRead(String),
    /// A record, or the beginning of the topic, will never be readable.
    #[error("{0}")]
    Unreadable(String),
}

impl<R> Failure<R> {
    /// Why a read failed, if another one may not.
    pub fn may_pass(&self) -> Option<String> {
        match self {
            Self::NotRead(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// The same for whoever cannot be refused otherwise.
    fn of_reading(failure: Failure<Infallible>) -> Self {
        match failure {
            Failure::NotRead(why) => Self::NotRead(why),
            other => Self::Unreadable(other.to_string()),
        }
    }
}

/// A record that was read back as accepted.
#[derive(Debug)]
pub struct Accepted<F> {
    /// Its offset.
    pub offset: u64,
    /// What the topic adds up to with it.
    pub state: Arc<F>,
}

/// The topic, with what it adds up to so far. Appends of one process take turns.
pub struct Chain<F> {
    log: Arc<dyn Log>,
    /// The next offset to be read; whoever holds it may read on and append.
    next: Mutex<u64>,
    state: watch::Sender<Arc<F>>,
}

impl<F: Fold> Chain<F> {
    /// The topic before its first record; call [`Chain::catch_up`] before believing it.
    pub fn new(log: Arc<dyn Log>, genesis: F) -> Self {
        Self { log, next: Mutex::new(0), state: watch::Sender::new(Arc::new(genesis)) }
    }

    /// What the records read so far add up to.
    pub fn state(&self) -> Arc<F> {
        self.state.borrow().clone()
    }

    /// Is told of every change of the state.
    pub fn watch(&self) -> watch::Receiver<Arc<F>> {
        self.state.subscribe()
    }

    /// Reads up to the end of the topic.
    ///
    /// # Errors
    /// [`Failure::Unreadable`], when the log or a record in it cannot be read.
    pub async fn catch_up(&self) -> Result<Arc<F>, Failure<Infallible>> {
        let mut next = self.next.lock().await;
        self.advance(&mut next, None).await?;
        Ok(self.state())
    }

    /// Decides on the newest state, appends, and reads back.
    ///
    /// # Errors
    /// [`Failure`]; only [`Failure::Unknown`] leaves it open whether the record will be found in the chain.
    pub async fn append<R>(&self, decide: impl FnOnce(&F) -> Result<F::Record, R>) -> Result<Accepted<F>, Failure<R>> {
        let mut next = self.next.lock().await;
        self.advance(&mut next, None).await.map_err(Failure::of_reading)?;
        let state = self.state();
        let record = decide(&state).map_err(Failure::Refused)?;
        let parent = record.parent();
        let bytes = encode(&record);
        let ours = Digest::of(&bytes);
        let mut failure = Failure::NotAppended(String::new());
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                host::clock::sleep(PAUSE).await;
            }
            match self.log.append(F::TOPIC, PARTITION, vec![NewRecord::of(bytes.clone())]).await {
                Ok(_) => failure = Failure::Unknown("appended, but not read back".to_owned()),
                Err(eventlog::AppendError::Unknown(why)) => failure = Failure::Unknown(why),
                // A copy of unknown outcome stays one, whatever becomes of the next copy.
                Err(eventlog::AppendError::NotAppended(why)) if !matches!(failure, Failure::Unknown(_)) => {
                    failure = Failure::NotAppended(why);
                }
                Err(eventlog::AppendError::NotAppended(_)) => {}
            }
            match self.advance(&mut next, Some(ours)).await {
                Ok(Some(offset)) => return Ok(Accepted { offset, state: self.state() }),
                Ok(None) if self.state().head() != parent => return Err(Failure::Lost),
                Ok(None) => {}
                Err(why) => failure = Failure::Unknown(why.to_string()),
            }
        }
        Err(failure)
    }

    /// Folds everything up to the end; answers the offset of the record with digest `wanted`, if it was taken.
    async fn advance(&self, next: &mut u64, wanted: Option<Digest>) -> Result<Option<u64>, Failure<Infallible>> {
        let mut found = None;
        loop {
            let records = self.log.read(F::TOPIC, PARTITION, *next, PAGE).await.map_err(|error| match error {
                ReadError::Failed(_) => Failure::NotRead(error.to_string()),
                ReadError::Gone { .. } => Failure::Unreadable(error.to_string()),
            })?;
            if records.is_empty() {
                return Ok(found);
            }
            let mut state = F::clone(&self.state.borrow());
            let mut taken = false;
            let mut unreadable = None;
            for record in &records {
                match state.take(record) {
                    Ok(accepted) => {
                        taken |= accepted.is_some();
                        if accepted.is_some() && wanted == Some(state.head()) {
                            found = Some(record.offset);
                        }
                        *next = record.offset + 1;
                    }
                    Err(error) => {
                        unreadable = Some(format!(
                            "{}/{PARTITION} cannot be read at offset {}: {error}",
                            F::TOPIC,
                            record.offset
                        ));
                        break;
                    }
                }
            }
            if taken {
                self.state.send_replace(Arc::new(state));
            }
            if let Some(why) = unreadable {
                return Err(Failure::Unreadable(why));
            }
        }
    }

    /// Follows the topic until `shutdown`, so that what others append is seen without being asked for.
    pub async fn follow(&self, shutdown: &Shutdown) {
        while !shutdown.is_stopping() {
            let from = *self.next.lock().await;
            let mut tail = self.log.tail(F::TOPIC, PARTITION, from);
            let outcome = tokio::select! {
                outcome = tail.next(1) => outcome,
                () = shutdown.stopped() => return,
            };
            let failed = match outcome {
                Ok(_) => self.catch_up().await.err().map(|error| error.to_string()),
                Err(error @ (ReadError::Gone { .. } | ReadError::Failed(_))) => Some(error.to_string()),
            };
            if let Some(error) = failed {
                tracing::error!(topic = F::TOPIC, %error, "cannot follow the topic");
                tokio::select! {
                    () = host::clock::sleep(Duration::from_secs(1)) => {}
                    () = shutdown.stopped() => return,
                }
            }
        }
    }
}
