//! Finds the newest generation that can be trusted.

use super::entries::Gathered;
use crate::codec::{self, snapshot::entry_from_wire};
use crate::view::View;
use engine_domain::{FEATURE, Shard};
use eventlog::{Log, ReadError, Record};
use wire::journal::{JOURNAL, Outcome};
use wire::scalar::Digest;
use wire::snapshot::{Complete, Entry, SnapshotBody, SnapshotRecord, TOPIC};

/// Records read together: each has up to [`super::write::PART_BYTES`].
const TOGETHER: usize = 16;

/// Why a generation is not believed.
#[derive(Debug, thiserror::Error)]
enum Distrusted {
    #[error("it is of ledger `{ledger}`, shard {shard} of {shards}")]
    OfAnother { ledger: String, shard: u32, shards: u32 },
    #[error("feature {0} is newer than this program")]
    Newer(u32),
    #[error("part {0} is missing")]
    Missing(u32),
    #[error("the record at offset {offset} cannot be read: {why}")]
    Unreadable { offset: u64, why: String },
    #[error("it has {found} entries, {expected} are said")]
    Entries { found: u64, expected: u64 },
    #[error("its digest is {found}, {expected} is said")]
    Digest { found: Digest, expected: Digest },
    #[error("its balances add up to something else than is said, or not to zero")]
    Sums,
    #[error("the journal has another outcome at offset {0}, or none")]
    OtherJournal(u64),
    #[error(transparent)]
    Log(#[from] ReadError),
}

/// The shard of the newest generation that can be trusted, with what it says of itself; its part of the view goes into `view`.
///
/// # Errors
/// When the log cannot be read.
pub(crate) async fn newest(
    log: &dyn Log,
    ledger: &str,
    number: u32,
    view: &View,
) -> Result<Option<(Shard, Complete)>, ReadError> {
    let mut before = log.end(TOPIC, number).await?;
    while let Some((offset, complete)) = last_complete(log, number, before).await? {
        match read(log, (ledger, number), offset, &complete, view).await {
            Ok(shard) => return Ok(Some((shard, complete))),
            Err(Distrusted::Log(error @ ReadError::Failed(_))) => return Err(error),
            Err(why) => {
                tracing::warn!(shard = number, offset, %why, "a snapshot is not used; the one before is looked for")
            }
        }
        before = offset;
    }
    Ok(None)
}

/// What the newest generation says of itself, whether or not it can be trusted.
///
/// # Errors
/// When the log cannot be read.
pub(super) async fn last(log: &dyn Log, number: u32) -> Result<Option<Complete>, ReadError> {
    let end = log.end(TOPIC, number).await?;
    Ok(last_complete(log, number, end).await?.map(|(_, complete)| complete))
}

/// The last end of a generation before an offset, with its own offset.
async fn last_complete(log: &dyn Log, number: u32, mut before: u64) -> Result<Option<(u64, Complete)>, ReadError> {
    while before > 0 {
        let from = before.saturating_sub(TOGETHER as u64);
        let records = match read_all(log, TOPIC, number, from, before).await {
            Ok(records) => records,
            // Older generations are taken away.
            Err(ReadError::Gone { begin, .. }) if begin < before => read_all(log, TOPIC, number, begin, before).await?,
            Err(ReadError::Gone { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        for record in records.iter().rev() {
            // Whatever cannot be read is missing in its generation.
            if let Ok(SnapshotRecord { body: SnapshotBody::Complete(complete), .. }) =
                wire::stored::decode(&record.value)
            {
                return Ok(Some((record.offset, *complete)));
            }
        }
        let first = records.first().map_or(from, |record| record.offset);
        if first == before {
            return Ok(None);
        }
        before = first;
    }
    Ok(None)
}

/// Reads from one offset up to another.
async fn read_all(log: &dyn Log, topic: &str, number: u32, from: u64, to: u64) -> Result<Vec<Record>, ReadError> {
    let mut all: Vec<Record> = Vec::new();
    loop {
        let next = all.last().map_or(from, |record| record.offset + 1);
        let left = usize::try_from(to.saturating_sub(next)).unwrap_or(usize::MAX);
        let records = if left == 0 { Vec::new() } else { log.read(topic, number, next, left).await? };
        if records.is_empty() {
            return Ok(all);
        }
        all.extend(records.into_iter().filter(|record| record.offset < to));
    }
}

/// The shard of a generation whose end is at `offset`.
async fn read(
    log: &dyn Log,
    (ledger, number): (&str, u32),
    offset: u64,
    complete: &Complete,
    view: &View,
) -> Result<Shard, Distrusted> {
    let Complete { shard, shards, feature, .. } = *complete;
    if (complete.ledger.as_str(), shard, shards) != (ledger, number, view.shards()) {
        return Err(Distrusted::OfAnother { ledger: complete.ledger.clone(), shard, shards });
    }
    if feature > FEATURE {
        return Err(Distrusted::Newer(feature));
    }
    has_outcome(log, complete).await?;
    let mut gathered = Gathered::of(number, shards);
    parts(log, offset, complete, |entries| {
        entries.into_iter().try_for_each(|entry| entry_from_wire(entry).map(|entry| gathered.take(entry)))
    })
    .await?;
    let sums = gathered.sums();
    if sums != complete.sums || sums.iter().any(|sum| !sum.all.0.is_zero()) {
        return Err(Distrusted::Sums);
    }
    Ok(gathered.restore(complete, view))
}

/// Whether a generation whose end is at `offset` can be read back, every byte of it.
///
/// # Errors
/// When the log cannot be read.
pub(super) async fn is_intact(log: &dyn Log, offset: u64, complete: &Complete) -> Result<bool, ReadError> {
    match parts(log, offset, complete, |_| Ok(())).await {
        Ok(()) => Ok(true),
        Err(Distrusted::Log(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Calls `take` with the parts of a generation, all of which have to be there as they were written.
async fn parts(
    log: &dyn Log,
    offset: u64,
    complete: &Complete,
    mut take: impl FnMut(Vec<Entry>) -> Result<(), codec::Error>,
) -> Result<(), Distrusted> {
    let number = complete.shard;
    let generation = generation_at(log, number, offset).await?;
    let (mut digest, mut wanted, mut found) = (Digest([0; 32]), 0, 0);
    let mut next = complete.begins_at;
    while next < offset {
        let records = log.read(TOPIC, number, next, TOGETHER).await?;
        let Some(last) = records.last() else { break };
        next = last.offset + 1;
        for record in records.iter().take_while(|record| record.offset < offset) {
            let unreadable = |why: String| Distrusted::Unreadable { offset: record.offset, why };
            let stored: SnapshotRecord =
                wire::stored::decode(&record.value).map_err(|error| unreadable(error.to_string()))?;
            // Another generation's, or a repeat.
            if stored.generation != generation || stored.number < wanted {
                continue;
            }
            let SnapshotBody::Part(entries) = stored.body else { continue };
            if stored.number > wanted {
                return Err(Distrusted::Missing(wanted));
            }
            wanted += 1;
            digest = Complete::chained(digest, &record.value);
            found += entries.len() as u64;
            take(entries).map_err(|error| unreadable(error.to_string()))?;
            // One shard's snapshot is not to keep others from being served.
            host::task::yield_now().await;
        }
    }
    if found != complete.entries {
        return Err(Distrusted::Entries { found, expected: complete.entries });
    }
    let sealed = complete.clone().sealed(digest).digest;
    if sealed != complete.digest {
        return Err(Distrusted::Digest { found: sealed, expected: complete.digest });
    }
    Ok(())
}

async fn generation_at(log: &dyn Log, number: u32, offset: u64) -> Result<uuid::Uuid, Distrusted> {
    let records = log.read(TOPIC, number, offset, 1).await?;
    let unreadable = |why: String| Distrusted::Unreadable { offset, why };
    let record = records.first().ok_or_else(|| unreadable("it is gone".to_owned()))?;
    let stored: SnapshotRecord = wire::stored::decode(&record.value).map_err(|error| unreadable(error.to_string()))?;
    Ok(stored.generation)
}

/// The journal has the last outcome that a generation includes.
async fn has_outcome(log: &dyn Log, complete: &Complete) -> Result<(), Distrusted> {
    let records = log.read(JOURNAL, complete.shard, complete.outcome_offset, 1).await?;
    let stands = records.first().is_some_and(|record| {
        record.offset == complete.outcome_offset
            && Digest::of(&record.value) == complete.outcome_hash
            && wire::stored::decode::<Outcome>(&record.value)
                .is_ok_and(|outcome| outcome.source_offset + 1 == complete.next_source)
    });
    if stands { Ok(()) } else { Err(Distrusted::OtherJournal(complete.outcome_offset)) }
}
