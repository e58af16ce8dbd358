//! The tables in the file.
//!
//! A row holds neighbouring records of one partition, so that a commit costs a few insertions instead of one per
//! record. Row: per record `i64 time, u32 key length, u32 value length` (little endian), key, value.

use super::partition::Span;
use crate::port::Record;
use bytes::Bytes;
use host::disk;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;

/// (partition's number in the file, offset of the first record) → the records of the row.
const ROWS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("rows");
/// (topic, partition) → its number in the file.
const PARTITIONS: TableDefinition<(&str, u32), u32> = TableDefinition::new("partitions");
/// Number in the file → the first offset that was not deleted; absent: 0.
const BEGINS: TableDefinition<u32, u64> = TableDefinition::new("begins");
/// Facts about the whole file.
const FACTS: TableDefinition<&str, i64> = TableDefinition::new("facts");

/// The version of this layout, under [`FACTS`].
const LAYOUT: &str = "layout";
const LAYOUT_VERSION: i64 = 1;
/// A time at or above that of every deleted record, under [`FACTS`]: times rise even if all records are gone.
const LAST_AT: &str = "last-at-micros";

/// Bytes of a record in a row besides key and value.
const FRAME: usize = 16;
/// A row ends behind the record that reaches this size: a read decodes little that it does not want.
const ROW_BYTES: usize = 16 << 10;
/// The log is written at its end and read in order: pages further back are of no use in memory.
const CACHE_BYTES: usize = 64 << 20;

/// The open file.
pub(super) struct Store(Database);

/// What the file holds.
pub(super) struct Contents {
    /// Every partition that was ever appended to.
    pub(super) partitions: Vec<((String, u32), Span)>,
    /// The time of the newest record, or 0.
    pub(super) last_at_micros: i64,
}

/// What a commit adds to one partition.
pub(super) struct Addition<'a> {
    /// Topic and partition.
    pub(super) name: (&'a str, u32),
    /// Its number in the file, if it has one.
    pub(super) id: Option<u32>,
    /// At least one.
    pub(super) records: &'a [Record],
}

impl Store {
    /// Opens the file with `open`. One that is not there is made under another name first: whoever dies meanwhile, or has no
    /// room for it, would leave a file that is no log.
    pub(super) fn at(path: &Path, open: impl Fn(&Path) -> Result<Self, redb::Error>) -> Result<Self, redb::Error> {
        if disk::length(path)?.is_none() {
            let draft = path.with_extension("draft");
            disk::remove(&draft)?;
            drop(open(&draft)?);
            disk::rename(&draft, path)?;
        }
        open(path)
    }

    /// Opens the file, making it if absent, and repairs it after a crash.
    pub(super) fn open(path: &Path) -> Result<Self, redb::Error> {
        let name = path.display().to_string();
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_repair_callback(move |repair| {
                tracing::info!(file = name, progress = repair.progress(), "checking the log after a crash");
            })
            .create(path)?;
        Self::over(database)
    }

    /// Takes an open database.
    pub(super) fn over(database: Database) -> Result<Self, redb::Error> {
        let transaction = database.begin_write()?;
        {
            transaction.open_table(ROWS)?;
            transaction.open_table(PARTITIONS)?;
            transaction.open_table(BEGINS)?;
            let mut facts = transaction.open_table(FACTS)?;
            let found = facts.get(LAYOUT)?.map(|version| version.value());
            match found {
                None => {
                    facts.insert(LAYOUT, LAYOUT_VERSION)?;
                }
                Some(LAYOUT_VERSION) => {}
                Some(other) => {
                    return Err(redb::Error::Corrupted(format!(
                        "its layout is version {other}, this program knows version {LAYOUT_VERSION}"
                    )));
                }
            }
        }
        transaction.commit()?;
        Ok(Self(database))
    }

    /// What the file holds.
    pub(super) fn contents(&self) -> Result<Contents, redb::Error> {
        let transaction = self.0.begin_read()?;
        let rows = transaction.open_table(ROWS)?;
        let begins = transaction.open_table(BEGINS)?;
        let facts = transaction.open_table(FACTS)?;
        let mut last_at_micros = facts.get(LAST_AT)?.map_or(0, |at| at.value());
        let mut partitions = Vec::new();
        for entry in transaction.open_table(PARTITIONS)?.iter()? {
            let (name, id) = entry?;
            let (topic, number) = name.value();
            let id = id.value();
            let begin = begins.get(id)?.map_or(0, |begin| begin.value());
            let mut end = begin;
            if let Some(row) = rows.range((id, 0)..=(id, u64::MAX))?.next_back() {
                let (key, row) = row?;
                for record in Frames::new(row.value(), key.value().1) {
                    let record = record?;
                    end = record.offset + 1;
                    last_at_micros = last_at_micros.max(record.at_micros);
                }
            }
            partitions.push(((topic.to_owned(), number), Span { id, begin, end }));
        }
        Ok(Contents { partitions, last_at_micros })
    }

    /// Appends to several partitions in one durable commit; answers their numbers in the file.
    pub(super) fn append<'a>(&self, additions: impl Iterator<Item = Addition<'a>>) -> Result<Vec<u32>, redb::Error> {
        let transaction = self.0.begin_write()?;
        let mut ids = Vec::new();
        {
            let mut rows = transaction.open_table(ROWS)?;
            for addition in additions {
                let id = match addition.id {
                    Some(id) => id,
                    None => {
                        let mut partitions = transaction.open_table(PARTITIONS)?;
                        let known = partitions.get(addition.name)?.map(|id| id.value());
                        // Partitions are never removed, so their count is the next free number.
                        let next = u32::try_from(redb::ReadableTableMetadata::len(&partitions)?).unwrap_or(u32::MAX);
                        let id = known.unwrap_or(next);
                        partitions.insert(addition.name, id)?;
                        id
                    }
                };
                for row in split(addition.records) {
                    let first = row.first().map_or(0, |record| record.offset);
                    let mut place = rows.insert_reserve((id, first), row.iter().map(frame_bytes).sum())?;
                    write_row(place.as_mut(), row);
                }
                ids.push(id);
            }
        }
        transaction.commit()?;
        Ok(ids)
    }

    /// Records of a partition in `from..end`: at most `max`, and no more than `max_bytes` of payload after the
    /// first.
    pub(super) fn read(
        &self,
        id: u32,
        from: u64,
        end: u64,
        max: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, redb::Error> {
        let transaction = self.0.begin_read()?;
        let rows = transaction.open_table(ROWS)?;
        let Some(first) = rows.range((id, 0)..=(id, from))?.next_back() else { return Ok(Vec::new()) };
        let start = first?.0.value();
        let (mut records, mut bytes) = (Vec::new(), 0);
        for row in rows.range(start..(id, end))? {
            let (key, row) = row?;
            for record in Frames::new(row.value(), key.value().1) {
                let record = record?;
                if record.offset < from {
                    continue;
                }
                bytes += record.key.len() + record.value.len();
                if record.offset >= end || records.len() == max || (bytes > max_bytes && !records.is_empty()) {
                    return Ok(records);
                }
                records.push(record.own());
            }
        }
        Ok(records)
    }

    /// Deletes the rows below `before` that hold nothing else, and remembers where the partition begins.
    pub(super) fn delete_before(&self, id: u32, before: u64, last_at_micros: i64) -> Result<(), redb::Error> {
        let transaction = self.0.begin_write()?;
        {
            let mut rows = transaction.open_table(ROWS)?;
            // The row that holds `before` may begin earlier; the end of the partition is below no row.
            let keep = match rows.range((id, 0)..=(id, before))?.next_back() {
                Some(row) => {
                    let (key, row) = row?;
                    let (first, count) = (key.value().1, Frames::new(row.value(), 0).count() as u64);
                    if first + count > before { first } else { before }
                }
                None => before,
            };
            rows.retain_in((id, 0)..(id, keep), |_, _| false)?;
            transaction.open_table(BEGINS)?.insert(id, before)?;
            let mut facts = transaction.open_table(FACTS)?;
            let known = facts.get(LAST_AT)?.map_or(0, |at| at.value());
            facts.insert(LAST_AT, known.max(last_at_micros))?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn frame_bytes(record: &Record) -> usize {
    FRAME + record.key.len() + record.value.len()
}

/// Cuts neighbouring records into rows.
fn split(mut records: &[Record]) -> impl Iterator<Item = &[Record]> {
    std::iter::from_fn(move || {
        if records.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let full = records.iter().position(|record| {
            bytes += frame_bytes(record);
            bytes >= ROW_BYTES
        });
        let (row, rest) = records.split_at(full.map_or(records.len(), |index| index + 1));
        records = rest;
        Some(row)
    })
}

fn write_row(mut place: &mut [u8], row: &[Record]) {
    let mut put = |bytes: &[u8]| {
        let (head, tail) = std::mem::take(&mut place).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        place = tail;
    };
    for record in row {
        // The port's records are far below 4 GiB: they come from bounded bodies and batches.
        let length = |bytes: &Bytes| u32::try_from(bytes.len()).expect("a record is smaller than 4 GiB").to_le_bytes();
        put(&record.at_micros.to_le_bytes());
        put(&length(&record.key));
        put(&length(&record.value));
        put(&record.key);
        put(&record.value);
    }
}

/// The records of a row, not copied yet.
struct Frames<'a> {
    rest: &'a [u8],
    offset: u64,
}

struct Frame<'a> {
    offset: u64,
    at_micros: i64,
    key: &'a [u8],
    value: &'a [u8],
}

impl Frame<'_> {
    fn own(&self) -> Record {
        Record {
            offset: self.offset,
            at_micros: self.at_micros,
            key: Bytes::copy_from_slice(self.key),
            value: Bytes::copy_from_slice(self.value),
        }
    }
}

impl<'a> Frames<'a> {
    fn new(row: &'a [u8], first_offset: u64) -> Self {
        Self { rest: row, offset: first_offset }
    }

    fn cut(&mut self) -> Option<Frame<'a>> {
        let (at_micros, rest) = self.rest.split_first_chunk::<8>()?;
        let (key, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let length = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).unwrap_or(usize::MAX);
        let (key, rest) = rest.split_at_checked(length(key))?;
        let (value, rest) = rest.split_at_checked(length(value))?;
        let frame = Frame { offset: self.offset, at_micros: i64::from_le_bytes(*at_micros), key, value };
        (self.rest, self.offset) = (rest, self.offset + 1);
        Some(frame)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, redb::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = self.cut();
        if frame.is_none() {
            self.rest = &[];
        }
        let damaged = || redb::Error::Corrupted(format!("the row of offset {} is damaged", self.offset));
        Some(frame.ok_or_else(damaged))
    }
}
