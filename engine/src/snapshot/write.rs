//! Writes generations, and takes old ones away.

use super::{Fold, entries, load};
use crate::codec::snapshot::entry_to_wire;
use crate::shard::owner::Stopped;
use crate::shard::reader::Reader;
use crate::view::View;
use engine_domain::{FEATURE, evolve};
use eventlog::{AppendError, Log, NewRecord, ReadError};
use host::moment;
use std::sync::Arc;
use uuid::Uuid;
use wire::scalar::{Digest, Timestamp};
use wire::snapshot::{Complete, Entry, SnapshotBody, SnapshotRecord, TOPIC};
use wire::stored::encode;

/// A part has about so many bytes: a few fit into one batch of a cluster, whose records have 8 MiB at most.
pub(super) const PART_BYTES: usize = 256 * 1024;

/// A generation was not finished; the next one will be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Abandoned {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("it cannot be read back as it was written")]
    NotReadBack,
}

/// Makes a generation of all that is accepted, and takes away what is older than the one before. `None` when there is
/// nothing new.
///
/// # Errors
/// [`Abandoned`]
pub(crate) async fn generation(
    log: &Arc<dyn Log>,
    ledger: &str,
    number: u32,
    shards: u32,
) -> Result<Option<Complete>, Abandoned> {
    let view = View::new(shards);
    let mut fold = Fold::begin(log, ledger, number, view.clone(), None).await?;
    while fold.go_on().await?? {
        // One shard's history is not to keep others from being served.
        host::task::yield_now().await;
    }
    for event in fold.drafts.iter().flat_map(|draft| &draft.events) {
        evolve(&mut fold.shard, event);
    }
    let before = fold.from.as_ref();
    if fold.reader.chain().next_source() == before.map_or(0, |complete| complete.next_source) {
        return Ok(None);
    }
    let reader = fold.before_last.as_ref().unwrap_or(&fold.reader);
    let complete = write(&**log, ledger, &fold, reader, &view).await?;
    moment::passes("snapshot-written");
    let again = View::new(shards);
    match load::newest(&**log, ledger, number, &again).await? {
        Some((shard, read)) if read.digest == complete.digest && shard == fold.shard => {}
        _ => return Err(Abandoned::NotReadBack),
    }
    moment::passes("snapshot-read-back");
    if let Some(before) = before {
        log.delete_before(TOPIC, number, before.begins_at).await?;
        moment::passes("old-snapshot-deleted");
    }
    Ok(Some(complete))
}

async fn write(log: &dyn Log, ledger: &str, fold: &Fold, reader: &Reader, view: &View) -> Result<Complete, Abandoned> {
    let (number, generation) = (fold.shard.number(), host::random::uuid());
    let (events, complete_events) = view.audited();
    let mut complete = Complete {
        ledger: ledger.to_owned(),
        shard: number,
        shards: fold.shard.shards(),
        begins_at: 0,
        outcome_offset: reader.last().unwrap_or_default(),
        outcome_hash: reader.chain().parent(),
        next_source: reader.chain().next_source(),
        at: Timestamp(reader.at().0),
        feature: FEATURE,
        entries: 0,
        digest: Digest([0; 32]),
        sums: entries::of_shard(&fold.shard),
        events,
        complete_events,
    };
    let mut first = None;
    for part in parts(fold, view, generation, &mut complete) {
        let offset = log.append(TOPIC, number, vec![NewRecord::of(part)]).await?;
        first.get_or_insert(offset);
        moment::passes("snapshot-part-written");
    }
    complete.begins_at = first.unwrap_or_default();
    let parts = complete.digest;
    complete = complete.sealed(parts);
    let last =
        SnapshotRecord { generation, number: u32::MAX, body: SnapshotBody::Complete(Box::new(complete.clone())) };
    log.append(TOPIC, number, vec![NewRecord::of(encode(&last))]).await?;
    Ok(complete)
}

/// The stored parts; `complete` counts their entries and has their digest then.
fn parts(fold: &Fold, view: &View, generation: Uuid, complete: &mut Complete) -> Vec<Vec<u8>> {
    let (mut parts, mut pending, mut bytes) = (Vec::new(), Vec::<Entry>::new(), 0);
    let mut end = |pending: &mut Vec<Entry>| {
        let number = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let part = encode(&SnapshotRecord { generation, number, body: SnapshotBody::Part(std::mem::take(pending)) });
        complete.digest = Complete::chained(complete.digest, &part);
        parts.push(part);
    };
    entries::of(&fold.shard, view, |entry| {
        complete.entries += 1;
        let entry = entry_to_wire(&entry);
        bytes += size(&entry);
        pending.push(entry);
        if bytes >= PART_BYTES {
            end(&mut pending);
            bytes = 0;
        }
    });
    if !pending.is_empty() {
        end(&mut pending);
    }
    parts
}

/// About how many bytes an entry takes.
fn size(entry: &Entry) -> usize {
    match entry {
        Entry::Account(account) => 200 + account.metadata.as_ref().map_or(0, String::len) + 40 * account.changes.len(),
        Entry::Transaction(row) => 400 + row.metadata.as_ref().map_or(0, String::len),
        Entry::Key(_) => 80,
        Entry::Saga(_) | Entry::Step(_) => 400,
    }
}
