//! One record in bytes: `u32 length, u32 checksum` (little endian), then the stored bytes. Pure.
//!
//! The checksum is the lower half of `xxh3_64` over the stored bytes, seeded with a number that each boot draws for itself
//! and keeps on its disk ([`super::Boot::seed`]): it tells a record that was written whole from one that was not, also from
//! the body of a request, which a client chooses, in which somebody searches for the next record behind a damaged one. It
//! is no proof against who can write here; he can also talk to the relay.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes in front of each record.
pub const HEADER: usize = 8;

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A record.
    Record {
        /// Its stored bytes.
        stored: &'a [u8],
        /// How many bytes it takes up.
        length: usize,
    },
    /// A record that was whole once, because another one follows: the disk has changed it.
    Damaged {
        /// How many bytes it takes up.
        length: usize,
    },
    /// The bytes end here.
    End,
    /// A record that was never written whole.
    Torn,
}

/// Appends a record.
pub fn append(to: &mut Vec<u8>, stored: &[u8], seed: u64) {
    // A body is at most a few MiB, so a record never comes near 4 GiB.
    let length = u32::try_from(stored.len()).expect("a record is shorter than 4 GiB");
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&checksum(stored, seed).to_le_bytes());
    to.extend_from_slice(stored);
}

/// Looks at the beginning of `bytes`.
pub fn next(bytes: &[u8], seed: u64) -> Next<'_> {
    if bytes.is_empty() {
        return Next::End;
    }
    match (whole(bytes, seed), claimed(bytes)) {
        (Some(stored), _) => Next::Record { stored, length: HEADER + stored.len() },
        (None, Some(length)) if bytes.get(length..).is_some_and(|rest| whole(rest, seed).is_some()) => {
            Next::Damaged { length }
        }
        (None, _) => Next::Torn,
    }
}

/// The record at the beginning of `bytes`, if it is whole.
pub(super) fn whole(bytes: &[u8], seed: u64) -> Option<&[u8]> {
    let stored = bytes.get(HEADER..claimed(bytes)?)?;
    let expected = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    (checksum(stored, seed) == expected).then_some(stored)
}

/// How many bytes the record at the beginning of `bytes` says it takes up; empty records do not exist, so a
/// stretch of zeros, which a crash may leave, is none.
pub(super) fn claimed(bytes: &[u8]) -> Option<usize> {
    match usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)) {
        Ok(length) if length > 0 => length.checked_add(HEADER),
        _ => None,
    }
}

fn checksum(stored: &[u8], seed: u64) -> u32 {
    // The lower half, as said above.
    (xxh3_64_with_seed(stored, seed) & u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEED: u64 = 7;

    fn written(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| append(&mut bytes, record, SEED));
        bytes
    }

    /// The records in order (`None` for a damaged one), and how many bytes they take up.
    fn read(bytes: &[u8]) -> (Vec<Option<Vec<u8>>>, usize) {
        let (mut records, mut at) = (Vec::new(), 0);
        loop {
            match next(&bytes[at..], SEED) {
                Next::Record { stored, length } => {
                    records.push(Some(stored.to_vec()));
                    at += length;
                }
                Next::Damaged { length } => {
                    records.push(None);
                    at += length;
                }
                Next::End | Next::Torn => return (records, at),
            }
        }
    }

    #[test]
    fn a_tail_of_zeros_is_torn() {
        let mut bytes = written(&[b"one"]);
        let whole = bytes.len();
        bytes.extend_from_slice(&[0; 64]);
        assert_eq!(read(&bytes), (vec![Some(b"one".to_vec())], whole));
    }

    #[test]
    fn a_changed_record_between_others_is_damaged_and_a_changed_last_one_torn() {
        let mut bytes = written(&[b"one", b"two", b"three"]);
        let second = HEADER + 3 + HEADER;
        bytes[second] ^= 1;
        assert_eq!(read(&bytes).0, [Some(b"one".to_vec()), None, Some(b"three".to_vec())]);
        let last = bytes.len() - 1;
        bytes[second] ^= 1;
        bytes[last] ^= 1;
        assert_eq!(read(&bytes).0, [Some(b"one".to_vec()), Some(b"two".to_vec())]);
    }

    #[test]
    fn what_another_boot_wrote_is_no_record() {
        assert_eq!(next(&written(&[b"one"]), SEED + 1), Next::Torn);
    }

    proptest! {
        /// Cut anywhere, what was whole before the cut is read, and nothing else.
        #[test]
        fn a_cut_loses_only_what_it_cuts(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let bytes = written(&slices);
            let cut = cut.index(bytes.len() + 1);
            let (read, length) = read(&bytes[..cut]);
            let whole: Vec<_> = read.into_iter().flatten().collect();
            prop_assert_eq!(&whole[..], &records[..whole.len()]);
            prop_assert!(length <= cut);
            let next_one = records.get(whole.len()).map_or(0, |record| record.len() + HEADER);
            prop_assert!(cut < length + next_one || whole.len() == records.len());
        }

        /// No bytes make it panic or read a record that is not there.
        #[test]
        fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            prop_assert!(read(&bytes).1 <= bytes.len());
        }
    }
}
