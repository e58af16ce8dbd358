//! `GET /internal/log/{topic}/{partition}?from=&follow=`: a log over HTTP, one line per record.
//!
//! The owner of an embedded log serves it on its control listener, so that the command line can read it
//! (`log tail`, `audit verify`). How a record becomes a line is the caller's, because this crate does not know
//! what a record means; so is the token: put it in front with `route_layer`.

use crate::port::{Log, ReadError, Record};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use host::task::Shutdown;
use std::io;
use std::sync::Arc;

/// Records read and sent at once: some tens of KB, so that a slow reader holds little of the log in memory.
const BATCH: usize = 256;

/// What is served.
#[derive(Clone)]
pub struct Served {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Its topics, with their numbers of partitions; any other is 404.
    pub topics: Vec<(String, u32)>,
    /// A record as one line, without the line break.
    pub line: fn(&Record) -> Vec<u8>,
    /// Ends the streams of those who follow.
    pub shutdown: Shutdown,
}

/// The route. Answers `application/x-ndjson`: without `follow` the records from `from` (0) up to the present
/// end, with `follow=true` on and on as the log grows.
///
/// 400 for a query it does not understand, 404 for a topic or partition that is not there, 410 when the records
/// at `from` were deleted, 503 when the log cannot be read; each as one line of text.
pub fn log_router<S: Clone + Send + Sync + 'static>(served: Served) -> Router<S> {
    let served = Arc::new(served);
    Router::new().route(
        "/internal/log/{topic}/{partition}",
        get(move |Path((topic, partition)): Path<(String, String)>, RawQuery(query): RawQuery| {
            let served = Arc::clone(&served);
            async move {
                match open(&served, topic, &partition, query.as_deref().unwrap_or_default()).await {
                    Ok(body) => ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response(),
                    Err(refused) => refused,
                }
            }
        }),
    )
}

/// What is asked for by the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    from: u64,
    follow: bool,
}

fn asked(query: &str) -> Result<Asked, String> {
    let mut asked = Asked { from: 0, follow: false };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("from", offset) => {
                asked.from = offset.parse().map_err(|_| format!("from={offset} is no offset: give a whole number"))?;
            }
            ("follow", "true") => asked.follow = true,
            ("follow", "false") => asked.follow = false,
            ("follow", other) => return Err(format!("follow={other} is neither true nor false")),
            (other, _) => return Err(format!("there is no parameter {other}: there are from and follow")),
        }
    }
    Ok(asked)
}

async fn open(served: &Served, topic: String, partition: &str, query: &str) -> Result<Body, Response> {
    let refuse = |status: StatusCode, text: String| (status, text + "\n").into_response();
    let asked = asked(query).map_err(|text| refuse(StatusCode::BAD_REQUEST, text))?;
    let Some((_, partitions)) = served.topics.iter().find(|(name, _)| *name == topic) else {
        let names = served.topics.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(refuse(StatusCode::NOT_FOUND, format!("there is no topic {topic} here: there are {names}")));
    };
    let Some(partition) = partition.parse().ok().filter(|partition| partition < partitions) else {
        let last = partitions.saturating_sub(1);
        return Err(refuse(StatusCode::NOT_FOUND, format!("{topic} has no partition {partition}: it has 0 to {last}")));
    };
    // The first read comes before the head of the answer, so that what is gone is an error and no empty stream.
    let failed = |error: ReadError| match error {
        ReadError::Gone { .. } => refuse(StatusCode::GONE, error.to_string()),
        ReadError::Failed(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    let end = served.log.end(&topic, partition).await.map_err(failed)?;
    let first = served.log.read(&topic, partition, asked.from, BATCH).await.map_err(failed)?;
    let place = Place { topic, partition, line: served.line };
    Ok(if asked.follow {
        Body::from_stream(follow(served, place, asked.from))
    } else {
        Body::from_stream(up_to(served, place, end, first))
    })
}

/// What is read, and how it is written.
struct Place {
    topic: String,
    partition: u32,
    line: fn(&Record) -> Vec<u8>,
}

impl Place {
    fn lines(&self, records: &[Record]) -> Bytes {
        let mut bytes = Vec::new();
        for record in records {
            bytes.extend_from_slice(&(self.line)(record));
            bytes.push(b'\n');
        }
        Bytes::from(bytes)
    }
}

/// `first` and what follows it, below `end`.
fn up_to(
    served: &Served,
    place: Place,
    end: u64,
    first: Vec<Record>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let log = Arc::clone(&served.log);
    stream::try_unfold((log, place, first), move |(log, place, mut batch)| async move {
        batch.retain(|record| record.offset < end);
        let Some(last) = batch.last() else { return Ok(None) };
        let next = last.offset + 1;
        let lines = place.lines(&batch);
        let batch = if next < end {
            log.read(&place.topic, place.partition, next, BATCH).await.map_err(io::Error::other)?
        } else {
            Vec::new()
        };
        Ok(Some((lines, (log, place, batch))))
    })
}

/// From `from` on until the reader or this process goes.
fn follow(served: &Served, place: Place, from: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let tail = served.log.tail(&place.topic, place.partition, from);
    let shutdown = served.shutdown.clone();
    stream::try_unfold((tail, place, shutdown), |(mut tail, place, shutdown)| async move {
        let batch = tokio::select! {
            batch = tail.next(BATCH) => batch.map_err(io::Error::other)?,
            () = shutdown.stopped() => return Ok(None),
        };
        let lines = place.lines(&batch);
        Ok(Some((lines, (tail, place, shutdown))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmbeddedLog, NewRecord};
    use host::http::{Answer, Client};
    use std::time::Duration;

    const TOPIC: &str = "topic";
    const PATIENCE: Duration = Duration::from_secs(30);

    /// What a server of that log answers.
    async fn get(log: Arc<dyn Log>, path: &str) -> Answer {
        let listener = host::net::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let line = |record: &Record| format!("{}={}", record.offset, record.value.len()).into_bytes();
        let served = Served { log, topics: vec![(TOPIC.to_owned(), 2)], line, shutdown: shutdown.clone() };
        let serving = host::task::spawn(host::http::serve_router(listener, log_router(served), shutdown.clone()));
        let answer = Client::new(PATIENCE, 1 << 20).get(&url, None, PATIENCE).await.unwrap();
        shutdown.stop();
        serving.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn many_batches_are_served_whole_and_what_is_gone_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path()).unwrap();
        let count = BATCH * 3 + 7;
        let records = (0..count).map(|index| NewRecord::of(vec![b'x'; index % 5])).collect();
        log.append(TOPIC, 1, records).await.unwrap();
        let expected: Vec<String> = (0..count).map(|index| format!("{index}={}", index % 5)).collect();
        for (from, path) in [(0, "/internal/log/topic/1"), (300, "/internal/log/topic/1?from=300")] {
            let answer = get(log.clone(), path).await;
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            assert_eq!(text.lines().collect::<Vec<_>>(), expected[from..], "{path}");
        }
        assert!(get(log.clone(), "/internal/log/topic/0").await.body.is_empty());
        assert_eq!(get(log.clone(), "/internal/log/topic/2").await.status, StatusCode::NOT_FOUND);
        log.delete_before(TOPIC, 1, 10).await.unwrap();
        for (path, status) in
            [("?from=9", StatusCode::GONE), ("?from=9&follow=true", StatusCode::GONE), ("?from=10", StatusCode::OK)]
        {
            assert_eq!(get(log.clone(), &format!("/internal/log/topic/1{path}")).await.status, status, "{path}");
        }
    }
}
