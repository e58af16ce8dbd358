//! Writes generations, and takes old ones away.

use super::entries::{self, Sums};
use super::fold::{Fold, Went};
use super::load;
use crate::codec::snapshot::entry_to_wire;
use crate::dead_letters::{DeadLetters, Refused};
use crate::planted::{Mistake, planted};
use crate::shard::owner::Stopped;
use crate::view::View;
use engine_domain::{FEATURE, evolve};
use eventlog::{AppendError, Log, NewRecord, ReadError};
use host::moment;
use std::sync::Arc;
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
    #[error("something that could not be processed is not among the dead letters yet")]
    LettersWait,
    #[error(transparent)]
    Letters(#[from] Refused),
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
    dead_letters: &DeadLetters,
) -> Result<Option<Complete>, Abandoned> {
    let view = View::new(shards);
    let mut fold = Fold::begin(log, ledger, number, view.clone(), None).await?;
    while let Went::On = fold.go_on().await?.or_failed()? {
        // One shard's history is not to keep others from being served.
        host::task::yield_now().await;
    }
    let drafts = fold.drafts.iter().flat_map(|draft| &draft.events);
    drafts.for_each(|event| evolve(&mut fold.shard, event));
    if fold.reader.chain().next_source() == fold.from.as_ref().map_or(0, |complete| complete.next_source) {
        return Ok(None);
    }
    // Who begins at the snapshot does not meet again what could not be processed.
    if !planted(Mistake::SnapshotBeforeLetters) && !dead_letters.has(&fold.unprocessed).await? {
        return Err(Abandoned::LettersWait);
    }
    let (offset, complete) = write(&**log, ledger, &fold, &view).await?;
    moment::passes("snapshot-written");
    if !load::is_intact(&**log, offset, &complete).await? {
        return Err(Abandoned::NotReadBack);
    }
    moment::passes("snapshot-read-back");
    if let Some(before) = &fold.from {
        log.delete_before(TOPIC, number, before.begins_at).await?;
        moment::passes("old-snapshot-deleted");
    }
    Ok(Some(complete))
}

/// Writes it, part by part; where its end is, and what that says.
async fn write(log: &dyn Log, ledger: &str, fold: &Fold, view: &View) -> Result<(u64, Complete), Abandoned> {
    let (number, generation) = (fold.shard.number(), host::random::uuid());
    let (mut entries, mut sums) = (entries::of(&fold.shard, view), Sums::default());
    let (mut first, mut digest, mut count) = (None, Digest([0; 32]), 0);
    for part in 0.. {
        let entries = next_part(&mut entries, &mut sums);
        if entries.is_empty() {
            break;
        }
        count += entries.len() as u64;
        let record = encode(&SnapshotRecord { generation, number: part, body: SnapshotBody::Part(entries) });
        digest = Complete::chained(digest, &record);
        let offset = log.append(TOPIC, number, vec![NewRecord::of(record)]).await?;
        first.get_or_insert(offset);
        moment::passes("snapshot-part-written");
        host::task::yield_now().await;
    }
    let reader = fold.before_last.as_ref().unwrap_or(&fold.reader);
    let (events, complete_events) = view.audited();
    let complete = Complete {
        ledger: ledger.to_owned(),
        shard: number,
        shards: fold.shard.shards(),
        begins_at: first.unwrap_or_default(),
        outcome_offset: reader.last().unwrap_or_default(),
        outcome_hash: reader.chain().parent(),
        next_source: reader.chain().next_source(),
        at: Timestamp(reader.at().0),
        feature: FEATURE,
        entries: count,
        digest,
        sums: sums.shown(),
        events,
        complete_events,
    }
    .sealed(digest);
    let body = SnapshotBody::Complete(Box::new(complete.clone()));
    let last = encode(&SnapshotRecord { generation, number: u32::MAX, body });
    Ok((log.append(TOPIC, number, vec![NewRecord::of(last)]).await?, complete))
}

/// The next entries that make a part; none at the end.
fn next_part(entries: &mut impl Iterator<Item = crate::codec::snapshot::Entry>, sums: &mut Sums) -> Vec<Entry> {
    let (mut part, mut bytes) = (Vec::new(), 0);
    while bytes < PART_BYTES
        && let Some(entry) = entries.next()
    {
        sums.take(&entry);
        let entry = entry_to_wire(&entry);
        bytes += size(&entry);
        part.push(entry);
    }
    part
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
