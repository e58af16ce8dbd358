//! Listening to the dial: the comparator's event stream, picked up again where it broke off.

use super::sse::Events;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use host::clock;
use host::http::{Client, request};
use host::secret::Secret;
use host::task::Shutdown;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::sync::mpsc;
use wire::control::StreamEvent;
use wire::rollout::FrontBoot;

/// The comparator says every second that it lives; a stream silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(5);
/// When the comparator says something it is told that this is heard, unless it was told so shortly before.
const SAID_LATELY: Duration = Duration::from_millis(500);
/// How long it may take to tell it.
const SAYING: Duration = Duration::from_secs(2);
/// How long the stream may take to begin.
const OPENING: Duration = Duration::from_secs(2);
/// Before the first attempt to pick a broken stream up again; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next record of the rollout.
    Record {
        /// Its offset.
        offset: u64,
        /// Its stored bytes.
        bytes: Vec<u8>,
    },
    /// That was everything so far.
    CaughtUp,
    /// A mark is asked for.
    Mark(String),
}

/// Whom to listen to, and as whom.
#[derive(Debug)]
pub struct Listener {
    /// Base URL of the comparator.
    pub comparator: String,
    /// The service token.
    pub token: Secret,
    /// Who listens.
    pub me: FrontBoot,
    /// The offset to ask for next.
    pub next: u64,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Send(#[from] host::http::SendError),
    #[error("status {0}{hint}", hint = hint(*.0))]
    Status(StatusCode),
    #[error("it says nothing any more")]
    Silent,
    #[error("it broke off: {0}")]
    Broken(String),
    #[error("what it says cannot be read: {0}")]
    Unreadable(String),
    #[error("record {found} came where {expected} was due")]
    Hole { expected: u64, found: u64 },
    #[error("it was closed")]
    Closed,
}

/// What to look at for a status.
fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ": `front.service_token` is not one that the comparator knows with the permission `service`"
        }
        StatusCode::NOT_FOUND => ": `front.comparator` is not the address of a comparator",
        _ => "",
    }
}

/// Listens until `shutdown`, or until nobody wants to hear any more.
pub async fn listen(mut listener: Listener, heard: mpsc::Sender<Heard>, shutdown: Shutdown) {
    let client = Client::new(OPENING, 0);
    let mut pause = FIRST_PAUSE;
    let mut quiet = false;
    loop {
        let ended = tokio::select! {
            ended = follow(&client, &mut listener, &heard, &mut quiet) => ended,
            () = shutdown.stopped() => return,
        };
        if heard.is_closed() {
            return;
        }
        // Once per outage: the attempts in between all fail for the same reason.
        if std::mem::replace(&mut quiet, true) {
            pause = (pause * 2).min(MAX_PAUSE);
        } else {
            pause = FIRST_PAUSE;
            tracing::warn!(why = %ended, "the comparator's stream ended: the dial stays where it was last heard");
        }
        tokio::select! {
            () = clock::sleep(pause) => {}
            () = shutdown.stopped() => return,
        }
    }
}

async fn follow(client: &Client, listener: &mut Listener, heard: &mpsc::Sender<Heard>, quiet: &mut bool) -> Ended {
    match try_follow(client, listener, heard, quiet).await {
        Ok(()) => Ended::Closed,
        Err(ended) => ended,
    }
}

async fn try_follow(
    client: &Client,
    listener: &mut Listener,
    heard: &mpsc::Sender<Heard>,
    quiet: &mut bool,
) -> Result<(), Ended> {
    let url = format!(
        "{}/api/rollout/stream?front={}&boot={}&from={}",
        listener.comparator.trim_end_matches('/'),
        listener.me.front,
        listener.me.boot,
        listener.next
    );
    let request = request(Method::GET, &url, Some(listener.token.reveal()), Bytes::new())?;
    let response = clock::timeout(OPENING, client.open(request)).await.map_err(|_| Ended::Silent)??;
    if response.status() != StatusCode::OK {
        return Err(Ended::Status(response.status()));
    }
    let mut body = response.into_body();
    let mut events = Events::default();
    let mut said = clock::now();
    loop {
        let frame = match clock::timeout(SILENCE, body.frame()).await {
            Err(clock::TimedOut) => return Err(Ended::Silent),
            Ok(None) => return Ok(()),
            Ok(Some(frame)) => frame.map_err(|error| Ended::Broken(error.to_string()))?,
        };
        let Ok(data) = frame.into_data() else { continue };
        if said.elapsed() >= SAID_LATELY {
            said = clock::now();
            host::task::spawn(say_that_it_hears(
                client.clone(),
                listener.comparator.clone(),
                listener.token.clone(),
                listener.me.clone(),
            ));
        }
        for event in events.take(&data).map_err(|error| Ended::Unreadable(error.to_string()))? {
            let event = serde_json::from_slice(&event).map_err(|error| Ended::Unreadable(error.to_string()))?;
            let Some(event) = take(event, &mut listener.next)? else { continue };
            if event == Heard::CaughtUp && std::mem::take(quiet) {
                tracing::info!("listening to the dial again");
            }
            if heard.send(event).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Without it the comparator takes this front to be cut off after a while; what became of it shows in the stream.
async fn say_that_it_hears(client: Client, comparator: String, token: Secret, me: FrontBoot) {
    let url = format!("{}/internal/rollout/hears", comparator.trim_end_matches('/'));
    if let Err(error) = client.post(&url, Some(token.reveal()), &me, SAYING).await {
        tracing::debug!(%error, "the comparator could not be told that this front hears it");
    }
}

/// What an event says, if it is news.
fn take(event: StreamEvent, next: &mut u64) -> Result<Option<Heard>, Ended> {
    match event {
        StreamEvent::CaughtUp => Ok(Some(Heard::CaughtUp)),
        StreamEvent::Mark { id } => Ok(Some(Heard::Mark(id))),
        StreamEvent::Record { offset, .. } if offset < *next => Ok(None),
        StreamEvent::Record { offset, .. } if offset > *next => Err(Ended::Hole { expected: *next, found: offset }),
        StreamEvent::Record { offset, bytes } => {
            let bytes = STANDARD.decode(bytes).map_err(|error| Ended::Unreadable(error.to_string()))?;
            *next = offset + 1;
            Ok(Some(Heard::Record { offset, bytes }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_once_and_without_holes() {
        let record = |offset| StreamEvent::Record { offset, bytes: STANDARD.encode(b"x") };
        let mut next = 3;
        assert!(matches!(take(record(2), &mut next), Ok(None)));
        assert!(matches!(take(record(4), &mut next), Err(Ended::Hole { expected: 3, found: 4 })));
        assert!(matches!(take(record(3), &mut next), Ok(Some(Heard::Record { offset: 3, .. }))));
        assert!(matches!(take(record(3), &mut next), Ok(None)));
        let garbled = StreamEvent::Record { offset: 4, bytes: "?".into() };
        assert!(matches!(take(garbled, &mut next), Err(Ended::Unreadable(_))));
        assert_eq!(next, 4);
    }
}
