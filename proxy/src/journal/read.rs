//! Records by number, for shipping. Reads from the disk's cache what the writer wrote a moment ago.

use super::record::{self, Next};
use super::{Boot, Error, boot};
use host::disk::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Read at once.
const CHUNK: usize = 256 * 1024;

/// Records in order, as they were written.
#[derive(Debug, Default)]
pub struct Batch {
    /// Their stored bytes.
    pub records: Vec<Vec<u8>>,
    /// The number after the last one read.
    pub next: u64,
    /// Numbers on the way that cannot be read: a gap.
    pub unreadable: u64,
}

/// A position in the journal of one boot. Its calls block.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    /// Of the checksums.
    seed: u64,
    /// The number of the record that comes next.
    next: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    first: u64,
    file: File,
    /// Where the next record begins in the file.
    offset: u64,
    /// Bytes read from `offset - start` on.
    pending: Vec<u8>,
    /// How many of them are used up.
    start: usize,
}

impl Reader {
    /// Reads the boot in `dir` from record `next` on.
    pub fn new(dir: &Path, boot: &Boot, next: u64) -> Self {
        Self { dir: dir.to_owned(), seed: boot.seed, next, open: None }
    }

    /// The next records up to number `last`, at least one if there is one, until they make `max_bytes`.
    ///
    /// `last` has to be written already: what stands before it is whole.
    ///
    /// # Errors
    /// When a file cannot be read, or is damaged so that nobody can tell where the next record begins.
    pub fn read(&mut self, last: u64, max_bytes: usize) -> Result<Batch, Error> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        while self.next <= last && bytes < max_bytes {
            match self.step(&mut batch) {
                Ok(length) => bytes += length,
                // What was read before it counts; the next call meets the error again.
                Err(_) if !batch.records.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        // What was read ahead may be a write that failed and will be written differently.
        if let Some(open) = self.open.as_mut() {
            open.pending.clear();
            open.start = 0;
        }
        batch.next = self.next;
        Ok(batch)
    }

    /// Takes one record, or gets nearer to it; answers how many bytes it took.
    fn step(&mut self, batch: &mut Batch) -> Result<usize, Error> {
        let before = self.next;
        let Some(open) = self.open.as_mut() else {
            self.open_file()?;
            batch.unreadable += self.next - before;
            return Ok(0);
        };
        match record::next(&open.pending[open.start..], self.seed) {
            Next::Record { stored, length } => {
                batch.records.push(stored.to_vec());
                open.advance(length);
                self.next += 1;
                Ok(length)
            }
            Next::Damaged { length } => {
                batch.unreadable += 1;
                open.advance(length);
                self.next += 1;
                Ok(0)
            }
            // Perhaps only read in part so far.
            Next::End | Next::Torn => {
                if open.more()? == 0 {
                    self.leave_file()?;
                    batch.unreadable += self.next - before;
                }
                Ok(0)
            }
        }
    }

    /// Opens the file that holds `next`, or else the first one behind it.
    fn open_file(&mut self) -> Result<(), Error> {
        let segments = boot::segments(&self.dir)?;
        let holding = segments.iter().rev().find(|first| **first <= self.next);
        let Some(first) = holding.or(segments.first()).copied() else {
            return Err(Error::Damaged { path: self.dir.clone(), offset: 0, sequence: self.next });
        };
        let mut open = Open::new(&self.dir, first)?;
        let mut at = first;
        while at < self.next {
            match record::next(&open.pending[open.start..], self.seed) {
                Next::Record { length, .. } | Next::Damaged { length } => {
                    open.advance(length);
                    at += 1;
                }
                Next::End | Next::Torn => {
                    if open.more()? == 0 {
                        break;
                    }
                }
            }
        }
        self.next = self.next.max(first);
        self.open = Some(open);
        Ok(())
    }

    /// Goes from the end of this file to the next one.
    fn leave_file(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let next = boot::segments(&self.dir)?.into_iter().find(|first| *first > open.first);
        match next {
            // Usually `next`; more when the end of the file before is gone: the numbers between are a gap.
            Some(first) if first >= self.next => {
                self.open = Some(Open::new(&self.dir, first)?);
                self.next = first;
                Ok(())
            }
            _ => {
                let (path, offset) = (boot::segment(&self.dir, open.first), open.offset);
                // Kept, so that asking again answers the same.
                self.open = Some(open);
                Err(Error::Damaged { path, offset, sequence: self.next })
            }
        }
    }
}

impl Open {
    fn new(dir: &Path, first: u64) -> Result<Self, Error> {
        let file = disk::open(&boot::segment(dir, first))?;
        Ok(Self { first, file, offset: 0, pending: Vec::new(), start: 0 })
    }

    fn advance(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
    }

    /// Reads on; answers how many bytes there were.
    fn more(&mut self) -> Result<usize, Error> {
        self.pending.drain(..self.start);
        self.start = 0;
        let from = self.offset + self.pending.len() as u64;
        self.file.seek(SeekFrom::Start(from))?;
        Ok((&mut self.file).take(CHUNK as u64).read_to_end(&mut self.pending)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::HEADER;
    use super::*;
    use std::io::Write;

    const SEED: u64 = 7;

    fn stored(number: u64) -> Vec<u8> {
        format!("record {number} {}", "x".repeat((number % 7) as usize)).into_bytes()
    }

    fn reader(dir: &Path, next: u64) -> Reader {
        Reader::new(dir, &Boot { front: "a".into(), boot: 1, instance: 5, seed: SEED }, next)
    }

    fn write(dir: &Path, first: u64, numbers: std::ops::Range<u64>) {
        let mut bytes = Vec::new();
        numbers.for_each(|number| record::append(&mut bytes, &stored(number), SEED));
        disk::append_to(&boot::segment(dir, first)).unwrap().write_all(&bytes).unwrap();
    }

    fn read_all(reader: &mut Reader, last: u64, max_bytes: usize) -> (Vec<Vec<u8>>, u64) {
        let (mut records, mut unreadable) = (Vec::new(), 0);
        while reader.next <= last {
            let batch = reader.read(last, max_bytes).unwrap();
            assert_eq!(batch.next, reader.next);
            records.extend(batch.records);
            unreadable += batch.unreadable;
        }
        (records, unreadable)
    }

    #[test]
    fn reads_across_files_from_any_number() {
        let dir = tempfile::tempdir().unwrap();
        for first in [1, 11, 21] {
            write(dir.path(), first, first..first + 10);
        }
        for from in 1..=30 {
            for max_bytes in [1, 100, 1 << 20] {
                let (records, unreadable) = read_all(&mut reader(dir.path(), from), 30, max_bytes);
                assert_eq!(records, (from..=30).map(stored).collect::<Vec<_>>(), "from {from}, {max_bytes} at once");
                assert_eq!(unreadable, 0);
            }
        }
    }

    #[test]
    fn reads_no_further_than_asked_and_goes_on_when_more_is_there() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, 1..6);
        let mut reader = reader(dir.path(), 1);
        assert_eq!(read_all(&mut reader, 3, 1 << 20).0.len(), 3);
        // The rest was a write that failed: it is cut off and written differently.
        let three: usize = (1..4).map(|number| stored(number).len() + HEADER).sum();
        disk::truncate(&boot::segment(dir.path(), 1), three as u64).unwrap();
        write(dir.path(), 1, 4..5);
        write(dir.path(), 5, 5..9);
        assert_eq!(read_all(&mut reader, 8, 1 << 20).0, (4..9).map(stored).collect::<Vec<_>>());
    }

    #[test]
    fn a_hole_is_counted_and_what_lies_behind_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, 1..6);
        write(dir.path(), 9, 9..12);
        let (records, unreadable) = read_all(&mut reader(dir.path(), 1), 11, 1 << 20);
        assert_eq!(records.len(), 8);
        assert_eq!(unreadable, 3, "6, 7 and 8");
    }

    #[test]
    fn a_damaged_record_is_counted_and_the_next_one_read() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, 1..6);
        let path = boot::segment(dir.path(), 1);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[stored(1).len() + HEADER + HEADER] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (records, unreadable) = read_all(&mut reader(dir.path(), 1), 5, 1 << 20);
        assert_eq!((records.len(), unreadable), (4, 1));
    }

    #[test]
    fn a_record_larger_than_a_chunk_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let large = vec![7; 3 * CHUNK];
        let mut bytes = Vec::new();
        record::append(&mut bytes, &large, SEED);
        std::fs::write(boot::segment(dir.path(), 1), bytes).unwrap();
        assert_eq!(read_all(&mut reader(dir.path(), 1), 1, 10).0, [large]);
    }

    #[test]
    fn a_missing_end_is_an_error_not_a_wait() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 1, 1..3);
        let mut reader = reader(dir.path(), 1);
        assert_eq!(reader.read(5, 1 << 20).unwrap().records.len(), 2, "what is there is given out first");
        assert!(matches!(reader.read(5, 1 << 20), Err(Error::Damaged { sequence: 3, .. })));
    }
}
