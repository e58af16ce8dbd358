//! The writer of `cutover.shadows`: the one place where the chain is built.
//!
//! Whatever waits when the last append is durable goes into the next one, so that the number of fsyncs does not
//! grow with the number of legs under way.

use super::Error;
use super::appending::Appending;
use bytes::Bytes;
use eventlog::{NewRecord, Record};
use host::clock;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use wire::scalar::{Digest, Timestamp};
use wire::shadow::{ShadowBody, ShadowRecord};
use wire::stored::{decode, encode};

/// Records in one append: far more than can be under way at the same time.
const MAX_BATCH: usize = 1_024;

/// Records that this relay has written and not read back. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Written(Arc<Mutex<BTreeSet<Digest>>>);

impl Written {
    /// A record is about to be appended.
    fn note(&self, digest: Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
    }

    /// Whether a record that was read back is one of them; it is none any more then.
    pub(super) fn take(&self, bytes: &[u8]) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&Digest::of(bytes))
    }
}

/// Appends what it is handed, in order, until nobody can hand it anything any more.
///
/// # Errors
/// [`Error::AnotherRelay`] when somebody else extends the chain.
pub(super) async fn run(
    mut appending: Appending,
    mut head: Digest,
    written: Written,
    mut queue: mpsc::UnboundedReceiver<ShadowBody>,
) -> Result<(), Error> {
    let mut bodies = Vec::new();
    while queue.recv_many(&mut bodies, MAX_BATCH).await > 0 {
        let parent = head;
        let batch: Vec<NewRecord> = bodies
            .drain(..)
            .map(|body| {
                let at = Timestamp(clock::unix_micros());
                let bytes = encode(&ShadowRecord { parent: head, at, body });
                head = Digest::of(&bytes);
                written.note(head);
                NewRecord::of(Bytes::from(bytes))
            })
            .collect();
        let links: Vec<Digest> =
            std::iter::once(parent).chain(batch.iter().map(|record| Digest::of(&record.value))).collect();
        // Whoever extends the chain at one of our links without being us is another relay.
        let is_foreign = |record: &Record| {
            let ours = links.contains(&Digest::of(&record.value));
            !ours && decode::<ShadowRecord>(&record.value).map_or(true, |record| links.contains(&record.parent))
        };
        appending.append(batch, is_foreign).await?;
    }
    Ok(())
}
