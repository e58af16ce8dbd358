//! Shipping: the journal goes to the relay over one connection, in order, and is kept until it is acknowledged.
//!
//! Earlier boots go first, one after the other, each until its end is durable at the relay. Then this boot's records
//! follow as they become durable here, with a heartbeat that says up to what time nothing is missing. After a broken
//! connection the relay says what it has, and the rest is sent again; it drops what it gets twice.

use crate::journal::{Barrier, Boot, Error, Journal, OldBoot, read::Reader};
use host::clock::{self, Instant};
use host::net;
use host::ops::Readiness;
use host::secret::Secret;
use host::task::Shutdown;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use wire::ingest::{IngestFrame, MAX_FRAME_BYTES};
use wire::scalar::Body;
use wire::stored::{decode, encode};

/// DESIGN 4: the relay hears at least so often up to what time nothing is missing.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Records sent in one frame, in bytes.
const FRAME_BYTES: usize = 1024 * 1024;
/// The relay may be so many records behind before nothing more is sent.
const WINDOW: u64 = 100_000;
/// A relay that takes, answers or acknowledges nothing for so long is dead.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before the first attempt to connect again; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// What a stopping front still tries to ship, for so long at most; the rest goes at its next start.
const FAREWELL: Duration = Duration::from_secs(1);
/// What keeps the front from being ready when the relay does not want its records.
const SHIPPING: &str = "shipping";

/// What is to be shipped, and where to.
pub(super) struct Shipping {
    pub(super) ingest: String,
    pub(super) token: Secret,
    pub(super) journal: Journal,
    pub(super) old: Vec<OldBoot>,
    /// The last record of this boot that is durable in the log; `None` until everything of earlier boots is, too.
    pub(super) shipped: watch::Sender<Option<u64>>,
    /// Records of earlier boots that are not.
    pub(super) old_records: Arc<AtomicU64>,
    pub(super) readiness: Readiness,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it does not answer")]
    Silent,
    #[error("the relay does not want the records: {0}")]
    Refused(String),
    #[error("the relay does not follow the protocol: {0}")]
    Protocol(String),
    #[error("{0}")]
    Journal(#[from] Error),
    #[error("stopping")]
    Stopping,
}

/// The records of one boot.
struct Source {
    boot: Boot,
    dir: PathBuf,
    /// Grows while the boot lives.
    durable: watch::Receiver<u64>,
    /// Of this boot.
    live: Option<Journal>,
}

impl Shipping {
    /// Ships until `shutdown`; then what is left, if it goes quickly.
    pub(super) async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            () = self.ship_all(&shutdown) => {}
            () = farewell(&shutdown) => {}
        }
    }

    async fn ship_all(&self, shutdown: &Shutdown) {
        let mut pause = Pause::default();
        for old in &self.old {
            let (last, durable) = watch::channel(old.last);
            let source = Source { boot: old.boot.clone(), dir: old.dir.clone(), durable, live: None };
            if !self.ship(source, &mut pause, shutdown).await {
                return;
            }
            drop(last);
            // While it can still be taken for one that is to be shipped, no later boot may be: the next start would
            // offer it behind that one, which the relay refuses for good.
            while !self.forget(old).await {
                pause.wait().await;
            }
            self.readiness.cleared(SHIPPING);
            self.old_records.fetch_sub(old.records, Ordering::Relaxed);
        }
        let source = Source {
            boot: self.journal.boot().clone(),
            dir: self.journal.dir().to_owned(),
            durable: self.journal.durable(),
            live: Some(self.journal.clone()),
        };
        self.ship(source, &mut pause, shutdown).await;
    }

    /// Ships a boot, over as many connections as it takes; `false` when the front stops first.
    async fn ship(&self, source: Source, pause: &mut Pause, shutdown: &Shutdown) -> bool {
        loop {
            let ended = match self.connection(&source, pause, shutdown).await {
                Ok(()) => return true,
                Err(Ended::Stopping) => return false,
                Err(ended) => ended,
            };
            if let Ended::Refused(_) | Ended::Protocol(_) | Ended::Journal(_) = &ended {
                self.readiness.blocked(SHIPPING, ended.to_string());
            }
            if pause.is_first_failure() {
                let boot = source.boot.boot;
                tracing::warn!(relay = self.ingest, boot, why = %ended, "cannot ship the journal: it is kept");
            }
            pause.wait().await;
        }
    }

    async fn connection(&self, source: &Source, pause: &mut Pause, shutdown: &Shutdown) -> Result<(), Ended> {
        let mut stream = patiently(net::connect(&self.ingest)).await?;
        let (input, mut output) = stream.split();
        let mut frames = Frames { input, buffer: Vec::new() };
        let hello = IngestFrame::Hello {
            front: source.boot.front.clone(),
            boot: source.boot.boot,
            instance: source.boot.instance,
            token: self.token.reveal().to_owned(),
        };
        send(&mut output, &hello).await?;
        let has = match patiently(frames.next()).await? {
            IngestFrame::Welcome { durable } => durable,
            IngestFrame::Refused { reason } => return Err(Ended::Refused(reason)),
            other => return Err(Ended::Protocol(format!("{} instead of a welcome", name(&other)))),
        };
        let last = *source.durable.borrow();
        if has > last {
            return Err(Ended::Protocol(format!(
                "it has record {has} of boot {}, but this journal ends at {last}: if it was restored from a copy, give \
                 the front a new name and a new directory",
                source.boot.boot
            )));
        }
        if pause.over() {
            tracing::info!(relay = self.ingest, boot = source.boot.boot, "shipping the journal again");
        }
        self.readiness.cleared(SHIPPING);
        let connection = Connection {
            shipping: self,
            live: source.live.clone(),
            durable: source.durable.clone(),
            frames,
            output,
            reader: Some(Reader::new(&source.dir, &source.boot, has + 1)),
            sent: has,
            acknowledged: has,
            progress: clock::now(),
        };
        connection.run(shutdown).await
    }

    /// An earlier boot is durable in the log as a whole; whether its directory says so.
    async fn forget(&self, old: &OldBoot) -> bool {
        let (journal, boot) = (self.journal.clone(), old.clone());
        let removing = host::task::spawn_blocking(move || {
            let removed = journal.forget(&boot);
            (removed, boot.is_named())
        });
        match removing.await {
            Ok((Ok(()), _)) => true,
            Ok((Err(error), false)) => {
                tracing::warn!(%error, boot = old.boot.boot, "cannot remove what was shipped: the next start does");
                true
            }
            Ok((Err(error), true)) => {
                self.readiness.blocked(SHIPPING, format!("cannot forget boot {}: {error}", old.boot.boot));
                false
            }
            Err(_) => false,
        }
    }
}

/// One connection, after the welcome.
struct Connection<'s, I, O> {
    shipping: &'s Shipping,
    live: Option<Journal>,
    durable: watch::Receiver<u64>,
    frames: Frames<I>,
    output: O,
    /// Away while it reads on another thread.
    reader: Option<Reader>,
    sent: u64,
    acknowledged: u64,
    /// When something was last acknowledged, or nothing was due.
    progress: Instant,
}

impl<I: AsyncRead + Unpin, O: AsyncWrite + Unpin> Connection<'_, I, O> {
    async fn run(mut self, shutdown: &Shutdown) -> Result<(), Ended> {
        let mut beat = clock::interval(HEARTBEAT);
        let mut barrier: Option<Pin<Box<dyn Future<Output = Option<Barrier>> + Send>>> = None;
        let mut due: Option<Barrier> = None;
        self.acknowledge(self.acknowledged).await?;
        loop {
            let durable = *self.durable.borrow_and_update();
            let may_send = self.sent < durable && self.sent - self.acknowledged < WINDOW;
            if may_send {
                self.send_records(durable).await?;
            }
            if let Some(heartbeat) = due.take_if(|due| due.sequence <= self.sent) {
                let frame = IngestFrame::Heartbeat { at: heartbeat.at, sequence: self.sent };
                send(&mut self.output, &frame).await?;
            }
            let nothing_missing = self.acknowledged >= *self.durable.borrow();
            if nothing_missing && self.live.is_none() {
                return Ok(());
            }
            if nothing_missing && shutdown.is_stopping() {
                return Err(Ended::Stopping);
            }
            if self.acknowledged >= self.sent {
                self.progress = clock::now();
            } else if clock::now() > self.progress + PATIENCE {
                return Err(Ended::Silent);
            }
            let more = self.sent < *self.durable.borrow() && self.sent - self.acknowledged < WINDOW;
            tokio::select! {
                biased;
                frame = self.frames.next() => match frame? {
                    IngestFrame::Ack { durable } => self.acknowledge(durable).await?,
                    IngestFrame::Refused { reason } => return Err(Ended::Refused(reason)),
                    other => return Err(Ended::Protocol(format!("{} instead of an ack", name(&other)))),
                },
                () = std::future::ready(()), if more => {}
                reached = wait_for(&mut barrier), if barrier.is_some() => {
                    barrier = None;
                    due = reached;
                }
                changed = self.durable.changed(), if self.live.is_some() => {
                    if changed.is_err() {
                        return Err(Ended::Stopping);
                    }
                }
                _ = beat.tick() => {
                    if let Some(journal) = self.live.clone().filter(|_| barrier.is_none() && due.is_none()) {
                        barrier = Some(Box::pin(async move { journal.barrier().await }));
                    }
                }
            }
        }
    }

    async fn send_records(&mut self, last: u64) -> Result<(), Ended> {
        let Some(mut reader) = self.reader.take() else { return Err(Ended::Stopping) };
        let reading = host::task::spawn_blocking(move || {
            let batch = reader.read(last, FRAME_BYTES);
            (reader, batch)
        });
        let (reader, batch) = reading.await.map_err(io::Error::other)?;
        self.reader = Some(reader);
        let batch = batch?;
        if batch.unreadable > 0 {
            let (records, next) = (batch.unreadable, batch.next);
            tracing::error!(records, next, "journal records cannot be read: they are missing in the log");
        }
        if !batch.records.is_empty() {
            let records = batch.records.into_iter().map(Body).collect();
            send(&mut self.output, &IngestFrame::Records { records }).await?;
        }
        self.sent = batch.next - 1;
        Ok(())
    }

    async fn acknowledge(&mut self, durable: u64) -> Result<(), Ended> {
        if durable > self.sent {
            return Err(Ended::Protocol(format!("it acknowledges {durable}, {} was the last sent", self.sent)));
        }
        // The same again, or less: it has said so before.
        if durable > self.acknowledged {
            self.acknowledged = durable;
            self.progress = clock::now();
        }
        if let Some(journal) = &self.live {
            self.shipping.shipped.send_replace(Some(self.acknowledged));
            if journal.can_give_back(self.acknowledged) {
                let (journal, acknowledged) = (journal.clone(), self.acknowledged);
                let _ = host::task::spawn_blocking(move || journal.shipped(acknowledged)).await;
            }
        }
        Ok(())
    }
}

async fn wait_for<T>(future: &mut Option<Pin<Box<dyn Future<Output = Option<T>> + Send>>>) -> Option<T> {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Frames from the relay, put together from whatever the network gives out.
struct Frames<I> {
    input: I,
    buffer: Vec<u8>,
}

impl<I: AsyncRead + Unpin> Frames<I> {
    /// The next frame. Dropped half-way, nothing is lost: what was read stays in the buffer.
    async fn next(&mut self) -> Result<IngestFrame, Ended> {
        loop {
            if let Some(length) = self.buffer.first_chunk::<4>() {
                let length = u32::from_le_bytes(*length);
                if length > MAX_FRAME_BYTES {
                    return Err(Ended::Protocol(format!("a frame of {length} bytes")));
                }
                let end = 4 + length as usize;
                if let Some(frame) = self.buffer.get(4..end) {
                    let frame = decode(frame).map_err(|error| Ended::Protocol(error.to_string()))?;
                    self.buffer.drain(..end);
                    return Ok(frame);
                }
            }
            if self.input.read_buf(&mut self.buffer).await? == 0 {
                return Err(Ended::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")));
            }
        }
    }
}

async fn send(output: &mut (impl AsyncWrite + Unpin), frame: &IngestFrame) -> Result<(), Ended> {
    let stored = encode(frame);
    // A frame is at most a record longer than FRAME_BYTES.
    let length = u32::try_from(stored.len()).map_err(io::Error::other)?;
    patiently(async {
        output.write_all(&length.to_le_bytes()).await?;
        output.write_all(&stored).await?;
        output.flush().await
    })
    .await
}

async fn patiently<T, E>(future: impl Future<Output = Result<T, E>>) -> Result<T, Ended>
where
    Ended: From<E>,
{
    Ok(clock::timeout(PATIENCE, future).await.map_err(|_| Ended::Silent)??)
}

fn name(frame: &IngestFrame) -> &'static str {
    match frame {
        IngestFrame::Hello { .. } => "hello",
        IngestFrame::Welcome { .. } => "welcome",
        IngestFrame::Refused { .. } => "refused",
        IngestFrame::Records { .. } => "records",
        IngestFrame::Heartbeat { .. } => "heartbeat",
        IngestFrame::Ack { .. } => "ack",
    }
}

async fn farewell(shutdown: &Shutdown) {
    shutdown.stopped().await;
    clock::sleep(FAREWELL).await;
}

/// How long to wait before connecting again.
struct Pause {
    next: Duration,
    failing: bool,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: FIRST_PAUSE, failing: false }
    }
}

impl Pause {
    async fn wait(&mut self) {
        clock::sleep(self.next).await;
        self.next = (self.next * 2).min(MAX_PAUSE);
    }

    /// Said once per outage: the attempts in between all fail for the same reason.
    fn is_first_failure(&mut self) -> bool {
        !std::mem::replace(&mut self.failing, true)
    }

    /// It works; answers whether it did not before.
    fn over(&mut self) -> bool {
        self.next = FIRST_PAUSE;
        std::mem::take(&mut self.failing)
    }
}
