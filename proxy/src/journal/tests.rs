//! Boots that died and whose files were damaged afterwards.

use super::record::{self, HEADER};
use super::salvage::{self, FOLDER};
use super::{Boot, Damage, Error, boot, damage, read::Reader, recover};
use host::disk;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use wire::exchange::{ExchangeBody, ExchangeRecord};
use wire::scalar::Timestamp;
use wire::stored::{decode, encode};

/// When the next start was.
pub(super) const AT: Timestamp = Timestamp(1);

/// A record whose length differs from that of its neighbours.
fn record_of(boot: &Boot, sequence: u64) -> Vec<u8> {
    let body = ExchangeBody::Mark { id: "m".repeat(1 + (sequence * 7 % 13) as usize) };
    let (front, boot, at) = (boot.front.clone(), boot.boot, Timestamp(0));
    encode(&ExchangeRecord { front, boot, sequence, at, body })
}

/// A boot that wrote these numbers, `per_file` to a file, and then died.
pub(super) fn died(dir: &Path, numbers: RangeInclusive<u64>, per_file: u64) -> PathBuf {
    let (boot, own) = boot::begin(dir, "a", 5, 0).unwrap();
    let mut path = PathBuf::new();
    for (index, sequence) in numbers.enumerate() {
        if (index as u64).is_multiple_of(per_file) {
            path = boot::segment(&own, sequence);
        }
        let mut bytes = Vec::new();
        record::append(&mut bytes, &record_of(&boot, sequence), boot.seed);
        disk::append_to(&path).unwrap().write_all(&bytes).unwrap();
    }
    own
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Where each record of a file begins, before anything was damaged, and where the file ends.
fn places(own: &Path, numbers: RangeInclusive<u64>) -> Vec<usize> {
    let boot = Boot::read(own).unwrap().unwrap();
    let mut places = vec![0];
    for number in numbers {
        places.push(places[places.len() - 1] + HEADER + record_of(&boot, number).len());
    }
    places
}

/// What a start finds damaged; nothing when it begins.
fn refused(dir: &Path) -> Vec<Damage> {
    match recover::all(dir, AT, false) {
        Ok(_) => Vec::new(),
        Err(Error::Refused { damage, .. }) => damage,
        Err(other) => panic!("{other}"),
    }
}

/// The numbers that are shipped of the first boot once it is completed, and how many are a gap.
fn shipped(dir: &Path, salvage: bool) -> (Vec<u64>, u64) {
    let old = recover::all(dir, AT, salvage).unwrap().remove(0);
    let first = boot::segments(&old.dir).unwrap()[0];
    let mut reader = Reader::new(&old.dir, &old.boot, first);
    let (mut numbers, mut unreadable, mut next) = (Vec::new(), 0, first);
    while next <= old.last {
        let batch = reader.read(old.last, 1 << 20).unwrap();
        for stored in batch.records {
            let record: ExchangeRecord = decode(&stored).unwrap();
            if !matches!(record.body, ExchangeBody::Ended { .. }) {
                assert_eq!(stored, record_of(&old.boot, record.sequence), "it was changed");
            } else {
                assert_eq!(record.sequence, old.last);
            }
            numbers.push(record.sequence);
        }
        (unreadable, next) = (unreadable + batch.unreadable, batch.next);
    }
    assert_eq!(numbers.len() as u64 + unreadable, old.last + 1 - first);
    assert!(numbers.is_sorted_by(|one, other| one < other));
    (numbers, unreadable)
}

/// Every file below a directory.
fn all_files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = disk::files_below(dir).unwrap();
    files.into_iter().map(|path| (path.clone(), std::fs::read(dir.join(path)).unwrap())).collect()
}

/// A file of nine records is damaged; the first start refuses because of these stretches, and one that is to go on ships all
/// records but these.
#[track_caller]
fn check(damaged: impl FnOnce(&mut Vec<u8>, &[usize]), expected: &[(usize, usize, &str)], missing: &[u64]) {
    let dir = tempfile::tempdir().unwrap();
    let own = died(dir.path(), 1..=9, 100);
    let (path, places) = (boot::segment(&own, 1), places(&own, 1..=9));
    change(&path, |bytes| damaged(bytes, &places));
    let before = all_files(dir.path());
    let damage: Vec<String> = refused(dir.path()).iter().map(Damage::to_string).collect();
    let of = |(from, to, what): &(usize, usize, &str)| match from == to {
        true => format!("{} at byte {from}: {what}", path.display()),
        false => format!("{} from byte {from} to byte {to}: {what}", path.display()),
    };
    assert_eq!(damage, expected.iter().map(of).collect::<Vec<_>>());
    assert_eq!(all_files(dir.path()), before, "it was refused and changed all the same");
    let (numbers, unreadable) = shipped(dir.path(), true);
    assert_eq!(numbers, (1..=10).filter(|number| !missing.contains(number)).collect::<Vec<_>>());
    assert_eq!(unreadable, missing.len() as u64);
    let copy = dir.path().join(FOLDER).join("boot-1/00000000000000000001.journal.damaged");
    assert_eq!(std::fs::read(copy).unwrap(), before[&PathBuf::from("boot-1/00000000000000000001.journal")]);
    assert_eq!(shipped(dir.path(), false).0, numbers, "the next start needs no permission");
}

#[test]
fn a_damaged_record_in_the_middle_is_refused() {
    let offsets = |at: &[usize]| (at[3], at[4]);
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = offsets(&places(&died(dir.path(), 1..=1, 1), 1..=9));
    check(|bytes, at| bytes[at[4] - 1] ^= 1, &[(from, to, "record 4 is missing")], &[4]);
}

#[test]
fn a_damaged_length_in_the_middle_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = places(&died(dir.path(), 1..=1, 1), 1..=9);
    for damaged in [0, 1, 2, 3] {
        let expected = [(at[3], at[4], "record 4 is missing")];
        check(|bytes, at| bytes[at[3] + damaged] ^= 0x10, &expected, &[4]);
    }
    check(|bytes, at| bytes[at[0] + 1] = 1, &[(0, at[1], "record 1 is missing")], &[1]);
}

#[test]
fn several_damaged_records_in_a_row_and_apart_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = places(&died(dir.path(), 1..=1, 1), 1..=9);
    let expected = [(at[1], at[4], "records 2 to 4 are missing"), (at[6], at[7], "record 7 is missing")];
    let zeros = |bytes: &mut Vec<u8>, at: &[usize]| {
        bytes[at[1]..at[4]].fill(0);
        bytes[at[6] + HEADER] ^= 1;
    };
    check(zeros, &expected, &[2, 3, 4, 7]);
}

#[test]
fn bytes_that_are_gone_or_too_many_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = places(&died(dir.path(), 1..=1, 1), 1..=9);
    let gone = |bytes: &mut Vec<u8>, at: &[usize]| drop(bytes.drain(at[2]..at[5]));
    check(gone, &[(at[2], at[2], "records 3 to 5 are missing")], &[3, 4, 5]);
    let too_much = "no record is missing, but what stands there does not belong there";
    let longer = |bytes: &mut Vec<u8>, at: &[usize]| drop(bytes.splice(at[2]..at[2], [7; 30]));
    check(longer, &[(at[2], at[2] + 30, too_much)], &[]);
    let repeat = at[9] - at[8];
    let twice = |bytes: &mut Vec<u8>, at: &[usize]| bytes.extend_from_within(at[8]..);
    check(twice, &[(at[9], at[9] + repeat, too_much)], &[]);
}

/// A torn record whose body, which a client chose, holds what looks like the record behind it.
#[test]
fn what_a_client_wrote_is_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let (boot, own) = boot::begin(dir.path(), "a", 5, 0).unwrap();
    for (seed, is_one) in [(0, false), (boot.instance, false), (boot.seed, true)] {
        let mut torn = 1_000_u32.to_le_bytes().to_vec();
        torn.extend_from_slice(b"checksum, and a body: ");
        record::append(&mut torn, &record_of(&boot, 2), seed);
        torn.extend_from_slice(b" and so on");
        std::fs::write(boot::segment(&own, 1), &torn).unwrap();
        assert_eq!(!refused(dir.path()).is_empty(), is_one, "with {seed}");
    }
}

#[test]
fn what_a_crash_leaves_is_cut_off_and_nothing_is_refused() {
    for tail in [&[0; 300][..], &[0xff; 5], &[1], b"\x0a\0\0\0nothing of this front"] {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=9, 4);
        change(&boot::segment(&own, 9), |bytes| bytes.extend_from_slice(tail));
        assert_eq!(shipped(dir.path(), false).0, (1..=10).collect::<Vec<_>>());
        assert!(!dir.path().join(FOLDER).exists());
    }
    // The last record, and an empty newest file.
    let dir = tempfile::tempdir().unwrap();
    let own = died(dir.path(), 1..=8, 4);
    change(&boot::segment(&own, 5), |bytes| *bytes.last_mut().unwrap() ^= 1);
    assert_eq!(shipped(dir.path(), false).0, (1..=8).collect::<Vec<_>>());
    let dir = tempfile::tempdir().unwrap();
    let own = died(dir.path(), 1..=8, 4);
    std::fs::write(boot::segment(&own, 9), b"").unwrap();
    assert_eq!(shipped(dir.path(), false).0, (1..=9).collect::<Vec<_>>());
}

#[test]
fn a_missing_or_damaged_older_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let own = died(dir.path(), 1..=12, 3);
    let (second, third) = (boot::segment(&own, 4), boot::segment(&own, 7));
    std::fs::remove_file(&third).unwrap();
    change(&second, |bytes| bytes.truncate(bytes.len() - 2));
    let first = std::fs::metadata(boot::segment(&own, 1)).unwrap().len();
    let damage = refused(dir.path());
    assert_eq!(damage.len(), 1);
    assert_eq!((&damage[0].path, damage[0].numbers.clone()), (&second, 6..10));
    let (numbers, unreadable) = shipped(dir.path(), true);
    assert_eq!((numbers, unreadable), ([1, 2, 3, 4, 5, 10, 11, 12, 13].to_vec(), 4));
    // A file that is missing leaves nothing to copy.
    std::fs::remove_file(&second).unwrap();
    let damage = refused(dir.path());
    assert_eq!(
        damage[0].to_string(),
        format!("{} at byte {first}: records 4 to 9 are missing", boot::segment(&own, 1).display())
    );
    assert_eq!(shipped(dir.path(), true).1, 6);
    assert_eq!(shipped(dir.path(), false).1, 6, "it is known now");
}

#[test]
fn the_error_names_the_places_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let own = died(dir.path(), 1..=40, 2);
    for first in (1..40).step_by(2) {
        change(&boot::segment(&own, first), |bytes| bytes[HEADER] ^= 1);
    }
    let error = recover::all(dir.path(), AT, false).unwrap_err().to_string();
    let first = boot::segment(&own, 1);
    assert!(error.starts_with(&format!("the journal is damaged: {} from byte 0 to byte ", first.display())), "{error}");
    assert!(error.contains(": record 1 is missing; ") && error.contains("; and 12 more places. "), "{error}");
    assert!(error.contains("`crossfade front --salvage`"), "{error}");
}

#[test]
fn with_nothing_damaged_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    died(dir.path(), 1..=9, 3);
    recover::all(dir.path(), AT, false).unwrap();
    let before = all_files(dir.path());
    recover::all(dir.path(), AT, true).unwrap();
    assert_eq!(all_files(dir.path()), before);
}

#[test]
fn a_file_damaged_a_second_time_does_not_cost_the_first_copy() {
    let dir = tempfile::tempdir().unwrap();
    let own = died(dir.path(), 1..=9, 100);
    let (path, at) = (boot::segment(&own, 1), places(&own, 1..=9));
    change(&path, |bytes| bytes[at[6]] ^= 1);
    assert_eq!(shipped(dir.path(), true).1, 1);
    change(&path, |bytes| bytes[at[2]] ^= 1);
    assert_eq!(refused(dir.path()).len(), 1);
    let (numbers, unreadable) = shipped(dir.path(), true);
    assert_eq!((numbers, unreadable), ([1, 2, 4, 5, 6, 8, 9, 10].to_vec(), 2));
    let copies = std::fs::read_dir(dir.path().join(FOLDER).join("boot-1")).unwrap().count();
    assert_eq!(copies, 3, "two copies and the list");
}

#[test]
fn what_is_skipped_is_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let own = died(dir.path(), 1..=9, 100);
    let at = places(&own, 1..=9);
    change(&boot::segment(&own, 1), |bytes| bytes[at[3]..at[5]].fill(0));
    recover::all(dir.path(), AT, true).unwrap();
    let folder = dir.path().join(FOLDER).join("boot-1");
    let list: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("skipped.json")).unwrap()).unwrap();
    let name = "00000000000000000001.journal";
    let copy = folder.join(format!("{name}.damaged"));
    let one = serde_json::json!({
        "file": name, "from_byte": at[3], "to_byte": at[5], "first_record": 4, "records": 2, "copy": copy,
    });
    assert_eq!(list, serde_json::json!([one]));
    // It outlives the boot that it speaks of.
    recover::all(dir.path(), AT, false).unwrap()[0].remove().unwrap();
    assert!(!own.exists() && copy.exists());
    assert_eq!(recover::all(dir.path(), AT, false).unwrap(), []);
}

/// A boot with every kind of damage.
fn much_damaged(dir: &Path) {
    let own = died(dir, 1..=30, 10);
    let at = places(&own, 1..=10);
    change(&boot::segment(&own, 1), |bytes| {
        bytes[at[9]..].fill(0);
        bytes[at[5]] ^= 1;
        bytes[at[2]..at[4]].fill(0xff);
        bytes[0] ^= 1;
    });
    change(&boot::segment(&own, 21), |bytes| {
        bytes[at[1] + HEADER] ^= 1;
        bytes.truncate(bytes.len() - 3);
    });
    std::fs::remove_file(boot::segment(&own, 11)).unwrap();
}

#[test]
fn who_dies_while_salvaging_begins_again_and_comes_to_the_same() {
    let steps = |dir: &Path, count: usize| {
        let own = dir.join("boot-1");
        let found = damage::look(Boot::read(&own).unwrap().unwrap(), own).unwrap();
        salvage::first_steps(&found, count)
    };
    let whole = tempfile::tempdir().unwrap();
    much_damaged(whole.path());
    let all = steps(whole.path(), 0);
    let expected = shipped(whole.path(), true);
    assert!(all > 8 && expected.1 > 10, "{all} steps, {expected:?}");
    for once in 0..=all {
        for twice in 0..=all {
            let dir = tempfile::tempdir().unwrap();
            much_damaged(dir.path());
            let before = all_files(dir.path());
            steps(dir.path(), once);
            steps(dir.path(), twice);
            let known = refused(dir.path()).is_empty();
            let reached = shipped(dir.path(), !known);
            assert_eq!(reached, expected, "dead after {once} steps and after {twice}");
            for name in ["00000000000000000001.journal", "00000000000000000021.journal"] {
                let copy = dir.path().join(FOLDER).join(format!("boot-1/{name}.damaged"));
                assert_eq!(std::fs::read(copy).unwrap(), before[&Path::new("boot-1").join(name)]);
            }
            assert_eq!(shipped(dir.path(), false), expected);
        }
    }
}

/// What may happen to a file.
#[derive(Debug, Clone)]
enum Harm {
    Flip(prop::sample::Index),
    Fill(prop::sample::Index, usize, u8),
    Cut(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
}

fn harm() -> impl Strategy<Value = Harm> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        at().prop_map(Harm::Flip),
        (at(), 1..60_usize, prop_oneof![Just(0), any::<u8>()])
            .prop_map(|(at, length, with)| Harm::Fill(at, length, with)),
        (at(), 1..60_usize).prop_map(|(at, length)| Harm::Cut(at, length)),
        (at(), prop::collection::vec(any::<u8>(), 1..60)).prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
    ]
}

fn do_harm(bytes: &mut Vec<u8>, harm: &Harm) {
    if bytes.is_empty() {
        return;
    }
    let until = |at: usize, length: usize| (at + length).min(bytes.len());
    match harm {
        Harm::Flip(at) => {
            let at = at.index(bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
        }
        Harm::Fill(at, length, with) => {
            let at = at.index(bytes.len());
            let until = until(at, *length);
            bytes[at..until].fill(*with);
        }
        Harm::Cut(at, length) => {
            let at = at.index(bytes.len());
            drop(bytes.drain(at..until(at, *length)));
        }
        Harm::Insert(at, new) => {
            let at = at.index(bytes.len());
            drop(bytes.splice(at..at, new.iter().copied()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens to the files: who starts has lost the end at most, or is refused; who is told to go on has every
    /// record that is still there as it was.
    #[test]
    fn nothing_that_can_be_read_is_lost(harms in prop::collection::vec((0..3_u64, harm()), 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        let own = died(dir.path(), 1..=18, 6);
        let boot = Boot::read(&own).unwrap().unwrap();
        for (file, harm) in &harms {
            change(&boot::segment(&own, 1 + 6 * file), |bytes| do_harm(bytes, harm));
        }
        let everything: Vec<u8> = [1, 7, 13].iter().flat_map(|first| std::fs::read(boot::segment(&own, *first)).unwrap()).collect();
        let left = (1..=18).filter(|number| {
            let mut bytes = Vec::new();
            record::append(&mut bytes, &record_of(&boot, *number), boot.seed);
            everything.windows(bytes.len()).any(|window| window == bytes)
        });
        let left: Vec<u64> = left.collect();
        let is_refused = !refused(dir.path()).is_empty();
        let (mut numbers, _) = shipped(dir.path(), is_refused);
        prop_assert_eq!(shipped(dir.path(), false).0, &numbers[..]);
        let end = numbers.pop();
        prop_assert_eq!(&numbers, &left);
        if !is_refused {
            prop_assert_eq!(end, Some(left.len() as u64 + 1), "more than the end is missing");
        }
    }
}
