//! Ingest: fronts ship their journals over TCP; what is durable in the log is acknowledged.
//!
//! | module | what |
//! |---|---|
//! | [`frames`] | frames on a connection |
//! | [`registry`] | who ships, and how far |
//! | [`appender`] | the one writer of `cutover.exchanges` |
//!
//! Invariants: a record is acknowledged only when it and all before it of its boot are durable; records of one
//! boot stand in the log in the order of their numbers, each once.

mod appender;
mod frames;
mod registry;

pub(super) use appender::Shipped;

use super::Error;
use super::appending::Appending;
use bytes::Bytes;
use frames::{FrameError, FrameReader};
use host::clock;
use host::net::{TcpListener, TcpStream};
use host::secret::Secret;
use host::task::{self, JoinHandle, Shutdown};
use registry::{Registry, Session};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::WriteHalf;
use tokio::sync::mpsc;
use wire::exchange::ExchangeRecord;
use wire::ingest::IngestFrame;
use wire::scalar::{Body, Timestamp};
use wire::stored::decode;

/// Shipments that may wait for the log; more of them wait in their connections, and in the end at the fronts.
const QUEUE: usize = 64;
/// How long whoever connects may take to say who it is.
const GREETING: Duration = Duration::from_secs(5);

/// A front goes on with its next boot as soon as the earlier one is shipped; the relay may see that connection end
/// a moment later.
const PASSING: Duration = Duration::from_millis(300);
/// Between two looks whether it has.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What the deliveries hear of fronts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FrontEvent {
    /// A front has connected, in this boot.
    Connected {
        /// The front.
        front: String,
        /// The boot.
        boot: u64,
    },
    /// Its connection is gone.
    Lost(String),
    /// It has shipped everything it wrote before `at`; the log ended at `end` then.
    Heartbeat {
        /// The front.
        front: String,
        /// By its clock.
        at: Timestamp,
        /// The offset.
        end: u64,
    },
}

/// What a connection hands to the appender.
#[derive(Debug)]
enum Shipment {
    /// Records of one boot: number and stored bytes.
    Records { front: String, boot: u64, records: Vec<(u64, Bytes)> },
    /// Everything written before `at` was shipped.
    Heartbeat { front: String, at: Timestamp },
}

/// The ingest, before it takes connections.
pub(super) struct Ingest {
    pub listener: TcpListener,
    pub token: Secret,
    /// A front that says nothing for so long is cut off.
    pub silence: Duration,
    pub shipped: Shipped,
    pub appending: Appending,
    pub events: mpsc::UnboundedSender<FrontEvent>,
}

/// What every connection needs.
struct Shared {
    token: Secret,
    silence: Duration,
    registry: Arc<Registry>,
    shipments: mpsc::Sender<Shipment>,
}

impl Ingest {
    /// Takes connections until `shutdown`, then appends what was read and ends.
    ///
    /// # Errors
    /// [`Error::AnotherRelay`].
    pub(super) async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let (shipments, queue) = mpsc::channel(QUEUE);
        let registry = Arc::new(Registry::of(&self.shipped, self.events.clone()));
        let appender =
            task::spawn(appender::run(self.appending, self.shipped, Arc::clone(&registry), queue, self.events));
        let shared = Arc::new(Shared { token: self.token, silence: self.silence, registry, shipments });
        accept(self.listener, shared, &shutdown, appender).await
    }
}

/// Accepts until `shutdown` or until the appender fails.
async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: &Shutdown,
    mut appender: JoinHandle<Result<(), Error>>,
) -> Result<(), Error> {
    let mut connections = 0_u64;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.stopped() => break,
            ended = &mut appender => return ended.map_err(|error| Error::Died(error.to_string()))?,
        };
        match accepted {
            Ok((stream, _)) => {
                connections += 1;
                let connection = Connection { id: connections, shared: Arc::clone(&shared), cut: shutdown.child() };
                task::spawn(connection.serve(stream));
            }
            Err(error) => {
                // Out of file descriptors, mostly: others will be closed, so wait instead of spinning.
                tracing::warn!(%error, "cannot accept a front's connection");
                clock::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // The connections are stopping, too; the appender ends when the last of them has let go of the queue.
    drop(shared);
    appender.await.map_err(|error| Error::Died(error.to_string()))?
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum Ending {
    #[error("the front closed it")]
    Closed,
    #[error("another connection has taken its place, or the relay stops")]
    Cut,
    #[error("the front said nothing")]
    Silence,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

struct Connection {
    id: u64,
    shared: Arc<Shared>,
    cut: Shutdown,
}

/// A front, as it has named itself on a connection.
struct Greeted {
    front: String,
    boot: u64,
    session: Session,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        // Acknowledgements are latency-bound; without this option they are only slower.
        let _ = stream.set_nodelay(true);
        let (reading, mut writing) = tokio::io::split(stream);
        let mut reader = FrameReader::new(reading);
        let mut greeted = None;
        let ending = match self.talk(&mut reader, &mut writing, &mut greeted).await {
            Ok(never) => match never {},
            Err(ending) => ending,
        };
        if let Ending::Refused(reason) = &ending {
            let refused = IngestFrame::Refused { reason: reason.clone() };
            // It is told why if it still listens.
            let _ = clock::timeout(GREETING, frames::write(&mut writing, &refused)).await;
        }
        let front = greeted.map(|greeted| greeted.front).unwrap_or_default();
        match ending {
            Ending::Closed | Ending::Cut => tracing::info!(front, reason = %ending, "a front's connection ended"),
            _ => tracing::warn!(front, reason = %ending, "a front's connection ended"),
        }
        self.shared.registry.gone(&front, self.id);
    }

    async fn talk(
        &self,
        reader: &mut FrameReader<impl tokio::io::AsyncRead + Unpin>,
        writing: &mut WriteHalf<TcpStream>,
        greeted: &mut Option<Greeted>,
    ) -> Result<std::convert::Infallible, Ending> {
        loop {
            let patience = if greeted.is_some() { self.shared.silence } else { GREETING };
            tokio::select! {
                frame = clock::timeout(patience, reader.next()) => {
                    let frame = frame.map_err(|_| Ending::Silence)??.ok_or(Ending::Closed)?;
                    if let Some(answer) = self.take(frame, greeted).await? {
                        reader.trust();
                        frames::write(writing, &answer).await?;
                    }
                }
                durable = next_durable(greeted) => {
                    let ack = IngestFrame::Ack { durable };
                    clock::timeout(self.shared.silence, frames::write(writing, &ack))
                        .await
                        .map_err(|_| Ending::Silence)??;
                }
                () = self.cut.stopped() => return Err(Ending::Cut),
            }
        }
    }

    /// Takes a frame; answers what is to be said at once.
    async fn take(&self, frame: IngestFrame, greeted: &mut Option<Greeted>) -> Result<Option<IngestFrame>, Ending> {
        let now = clock::unix_micros();
        match (frame, greeted.as_ref()) {
            (IngestFrame::Hello { front, boot, instance, token }, _) => {
                let earlier = greeted.as_ref().map(|greeted| greeted.front.clone());
                *greeted = Some(self.greet(front, boot, instance, &token, earlier).await?);
                let durable = greeted.as_ref().map_or(0, |greeted| greeted.session.durable);
                Ok(Some(IngestFrame::Welcome { durable }))
            }
            (IngestFrame::Records { records }, Some(Greeted { front, boot, .. })) => {
                self.shared.registry.heard(front, self.id, now);
                let records = read(front, *boot, records)?;
                self.ship(Shipment::Records { front: front.clone(), boot: *boot, records }).await?;
                Ok(None)
            }
            (IngestFrame::Heartbeat { at, .. }, Some(Greeted { front, .. })) => {
                self.shared.registry.heard(front, self.id, now);
                self.ship(Shipment::Heartbeat { front: front.clone(), at }).await?;
                Ok(None)
            }
            (_, None) => Err(Ending::Refused("say who you are first".to_owned())),
            (IngestFrame::Welcome { .. } | IngestFrame::Refused { .. } | IngestFrame::Ack { .. }, _) => {
                Err(Ending::Refused("only the relay says that".to_owned()))
            }
        }
    }

    async fn greet(
        &self,
        front: String,
        boot: u64,
        instance: u64,
        token: &str,
        earlier: Option<String>,
    ) -> Result<Greeted, Ending> {
        if !self.shared.token.matches(token) {
            return Err(Ending::Refused("wrong token".to_owned()));
        }
        if earlier.is_some_and(|earlier| earlier != front) {
            return Err(Ending::Refused("a connection belongs to one front".to_owned()));
        }
        let deadline = clock::now() + PASSING;
        let session = loop {
            let now = clock::unix_micros();
            match self.shared.registry.greet(&front, boot, instance, self.id, self.cut.clone(), now) {
                Ok(session) => break session,
                Err(unwelcome) if unwelcome.passing && clock::now() < deadline => clock::sleep(LOOK_AGAIN).await,
                Err(unwelcome) => return Err(Ending::Refused(unwelcome.reason)),
            }
        };
        tracing::info!(front, boot, durable = session.durable, "a front is connected");
        Ok(Greeted { front, boot, session })
    }

    async fn ship(&self, shipment: Shipment) -> Result<(), Ending> {
        tokio::select! {
            sent = self.shared.shipments.send(shipment) => sent.map_err(|_| Ending::Cut),
            () = self.cut.stopped() => Err(Ending::Cut),
        }
    }
}

/// The next sequence to be acknowledged; waits for ever before a front is known.
async fn next_durable(greeted: &mut Option<Greeted>) -> u64 {
    if let Some(greeted) = greeted
        && greeted.session.acks.changed().await.is_ok()
    {
        return *greeted.session.acks.borrow_and_update();
    }
    std::future::pending().await
}

/// Reads records far enough to know their numbers. They belong to the front and boot of the connection.
fn read(front: &str, boot: u64, records: Vec<Body>) -> Result<Vec<(u64, Bytes)>, Ending> {
    records
        .into_iter()
        .map(|bytes| {
            let record: ExchangeRecord =
                decode(&bytes.0).map_err(|error| Ending::Refused(format!("a record cannot be read: {error}")))?;
            if record.front != front || record.boot != boot {
                let of = format!("{}.{}", record.front, record.boot);
                return Err(Ending::Refused(format!("a record of {of} on the connection of {front}.{boot}")));
            }
            Ok((record.sequence, Bytes::from(bytes.0)))
        })
        .collect()
}
