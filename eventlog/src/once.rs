//! Appends that happen once per key and that nobody waits for.

use crate::port::{AppendError, Log, NewRecord, ReadError};
use bytes::Bytes;
use host::clock;
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc;

/// The partition that is written.
const PARTITION: u32 = 0;
/// After a log that could not be used.
const AGAIN: Duration = Duration::from_secs(1);
/// Records read at once.
const PAGE: usize = 1_000;

/// Appends to the one partition of a topic what is not there yet, by key, in the background. Clones share it.
#[derive(Clone)]
pub struct Once {
    queue: mpsc::UnboundedSender<NewRecord>,
    /// The task that appends has it only while it appends: a log is closed when the last of these is dropped.
    _log: Arc<dyn Log>,
}

impl Once {
    /// Begins; `appended` is told the key of each record that was appended. Ends when the last clone is dropped, with what
    /// waits then. If others append too, a key can be there more than once: readers take the first.
    pub fn begin(log: Arc<dyn Log>, topic: &'static str, appended: impl Fn(&[u8]) + Send + 'static) -> Self {
        let (sender, queue) = mpsc::unbounded_channel();
        host::task::spawn(work(Arc::downgrade(&log), topic, queue, appended));
        Self { queue: sender, _log: log }
    }

    /// Appends a record, later, unless its key is there already.
    pub fn append(&self, record: NewRecord) {
        // The other end goes only when the process ends; whoever met the record meets it again then.
        let _ = self.queue.send(record);
    }
}

async fn work(
    log: Weak<dyn Log>,
    topic: &'static str,
    mut queue: mpsc::UnboundedReceiver<NewRecord>,
    appended: impl Fn(&[u8]),
) {
    let mut known = Known { keys: HashSet::new(), next: 0 };
    while let Some(record) = queue.recv().await {
        loop {
            let Some(in_use) = log.upgrade() else { return };
            let outcome = known.look_and_append(&*in_use, topic, &record).await;
            drop(in_use);
            match outcome {
                Ok(true) => appended(&record.key),
                Ok(false) => {}
                Err(why) => {
                    tracing::warn!(topic, why, "a record waits to be appended");
                    clock::sleep(AGAIN).await;
                    continue;
                }
            }
            break;
        }
    }
}

/// The keys that are there.
struct Known {
    keys: HashSet<Bytes>,
    next: u64,
}

impl Known {
    /// Whether it was appended now.
    async fn look_and_append(&mut self, log: &dyn Log, topic: &str, record: &NewRecord) -> Result<bool, String> {
        self.read_on(log, topic).await.map_err(|error| error.to_string())?;
        if self.keys.contains(&record.key) {
            return Ok(false);
        }
        match log.append(topic, PARTITION, vec![record.clone()]).await {
            Ok(_) => Ok(true),
            // Either is found out by reading on.
            Err(AppendError::NotAppended(why) | AppendError::Unknown(why)) => Err(why),
        }
    }

    async fn read_on(&mut self, log: &dyn Log, topic: &str) -> Result<(), ReadError> {
        loop {
            match log.read(topic, PARTITION, self.next, PAGE).await {
                Ok(records) if records.is_empty() => return Ok(()),
                Ok(records) => {
                    for record in records {
                        self.next = record.offset + 1;
                        self.keys.insert(record.key);
                    }
                }
                Err(ReadError::Gone { begin, .. }) => self.next = begin,
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EmbeddedLog;

    fn record(key: &'static str) -> NewRecord {
        NewRecord { key: Bytes::from_static(key.as_bytes()), value: Bytes::from_static(b"v") }
    }

    /// Appends and waits until so many were appended; their keys.
    async fn appended(log: &Arc<EmbeddedLog>, keys: &[&'static str], count: usize) -> Vec<String> {
        let (said, mut heard) = mpsc::unbounded_channel();
        let told = move |key: &[u8]| said.send(String::from_utf8(key.to_vec()).unwrap()).unwrap();
        let once = Once::begin(Arc::clone(log) as Arc<dyn Log>, "t", told);
        keys.iter().for_each(|key| once.append(record(key)));
        let mut all = Vec::new();
        while all.len() < count {
            all.push(heard.recv().await.unwrap());
        }
        all
    }

    #[tokio::test]
    async fn what_is_there_is_not_appended_again_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(directory.path()).unwrap();
        assert_eq!(appended(&log, &["a", "b", "a"], 2).await, ["a", "b"]);
        assert_eq!(appended(&log, &["b", "a", "c"], 1).await, ["c"]);
        assert_eq!(log.end("t", 0).await, Ok(3));
    }

    #[tokio::test]
    async fn the_log_is_free_as_soon_as_nobody_wants_to_append() {
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(directory.path()).unwrap();
        let before = Arc::strong_count(&log);
        drop(Once::begin(Arc::clone(&log) as Arc<dyn Log>, "t", |_| {}));
        assert_eq!(Arc::strong_count(&log), before);
    }
}
