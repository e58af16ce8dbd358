//! The checks. A backend passes all of them or is none.

use bytes::Bytes;
use eventlog::{Log, NewRecord, ReadError, Record};
use futures_util::future::{join_all, poll_immediate};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A place where a backend keeps a log.
pub trait Bed: Send + Sync + Sized {
    /// A place without records; the checks use partitions 0 to 7 of the topics in [`TOPICS`].
    fn new() -> impl Future<Output = Self> + Send;

    /// Opens it, or opens it again after every handle was dropped.
    fn open(&self) -> Arc<dyn Log>;

    /// Gives back what the place took.
    fn close(self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The topics of the checks, for backends that want to know them beforehand.
#[allow(dead_code, reason = "not every backend does")]
pub const TOPICS: [&str; 4] = ["t", "u", "v", "new"];

/// No check takes longer on the slowest machine; one that does hangs.
const DEADLINE: Duration = Duration::from_secs(60);

pub async fn within<T>(check: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, check).await.expect("the check did not end in time")
}

/// Makes one test of every check for one backend: `conforms! { name, Bed }`.
macro_rules! conforms {
    ($backend:ident, $bed:ty) => {
        conforms! { $backend, $bed:
            offsets_are_contiguous_and_records_come_back_as_they_were
            an_empty_batch_answers_the_end
            topics_and_partitions_are_apart
            batches_of_concurrent_appenders_stay_whole_and_in_order
            everything_acknowledged_survives_reopening
            reading_keeps_to_its_bounds
            a_tail_sees_everything_once_in_order
            a_tail_passes_from_old_records_to_new_ones
            a_tail_from_the_future_waits_for_it
            a_dropped_wait_loses_no_record
            times_never_fall
            what_is_deleted_is_gone_and_the_rest_stays
            everything_can_be_deleted_and_offsets_go_on
        }
    };
    ($backend:ident, $bed:ty: $($check:ident)+) => {
        mod $backend {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let bed = <$bed as crate::suite::Bed>::new().await;
                crate::suite::within(crate::suite::$check(&bed)).await;
                crate::suite::Bed::close(bed).await;
            })+
        }
    };
}

fn text(record: &Record) -> &str {
    std::str::from_utf8(&record.value).expect("the checks write text")
}

fn batch(texts: impl IntoIterator<Item = String>) -> Vec<NewRecord> {
    texts.into_iter().map(NewRecord::of).collect()
}

async fn append(log: &dyn Log, topic: &str, partition: u32, texts: &[&str]) -> u64 {
    let batch = batch(texts.iter().map(|text| (*text).to_owned()));
    log.append(topic, partition, batch).await.expect("the append works")
}

/// Everything in a partition, by reads of at most `max`.
pub async fn read_all(log: &dyn Log, topic: &str, partition: u32, from: u64, max: usize) -> Vec<Record> {
    let (mut all, mut from) = (Vec::new(), from);
    loop {
        let records = log.read(topic, partition, from, max).await.expect("the read works");
        assert!(records.len() <= max, "a read keeps to its bound");
        let Some(last) = records.last() else { return all };
        from = last.offset + 1;
        all.extend(records);
    }
}

pub async fn offsets_are_contiguous_and_records_come_back_as_they_were(bed: &impl Bed) {
    let log = bed.open();
    assert_eq!(log.end("t", 0).await, Ok(0));
    assert_eq!(append(&*log, "t", 0, &["a", "b"]).await, 0);
    let keyed = NewRecord { key: Bytes::from_static(b"k\0\xff"), value: Bytes::new() };
    assert_eq!(log.append("t", 0, vec![keyed.clone()]).await, Ok(2));
    assert_eq!(append(&*log, "t", 0, &["d"]).await, 3);
    assert_eq!(log.end("t", 0).await, Ok(4));
    let records = log.read("t", 0, 0, 100).await.expect("read");
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(records.iter().map(text).collect::<Vec<_>>(), ["a", "b", "", "d"]);
    assert_eq!((&records[2].key, &records[2].value), (&keyed.key, &keyed.value));
}

pub async fn an_empty_batch_answers_the_end(bed: &impl Bed) {
    let log = bed.open();
    assert_eq!(log.append("t", 0, Vec::new()).await, Ok(0));
    append(&*log, "t", 0, &["a", "b", "c"]).await;
    assert_eq!(log.append("t", 0, Vec::new()).await, Ok(3));
    assert_eq!(log.end("t", 0).await, Ok(3));
    assert_eq!(log.read("t", 0, 3, 10).await, Ok(Vec::new()));
}

pub async fn topics_and_partitions_are_apart(bed: &impl Bed) {
    let log = bed.open();
    append(&*log, "t", 0, &["t0"]).await;
    append(&*log, "t", 7, &["t7", "t7 again"]).await;
    append(&*log, "u", 0, &["u0"]).await;
    for (topic, partition, expected) in [
        ("t", 0, vec!["t0"]),
        ("t", 7, vec!["t7", "t7 again"]),
        ("u", 0, vec!["u0"]),
        ("t", 1, vec![]),
        ("v", 0, vec![]),
    ] {
        let records = read_all(&*log, topic, partition, 0, 10).await;
        assert_eq!(records.iter().map(text).collect::<Vec<_>>(), expected, "{topic}/{partition}");
    }
}

pub async fn batches_of_concurrent_appenders_stay_whole_and_in_order(bed: &impl Bed) {
    const APPENDERS: usize = 8;
    const BATCHES: usize = 60;
    let log = bed.open();
    let appenders = (0..APPENDERS).map(|appender| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for number in 0..BATCHES {
                let partition = (number % 2) as u32;
                let size = 1 + (appender + number) % 5;
                let texts = (0..size).map(|index| format!("{appender} {number} {index} {size}"));
                let first = log.append("t", partition, batch(texts)).await.expect("append");
                let mine = log.read("t", partition, first, size).await.expect("read back");
                assert_eq!(text(&mine[0]), format!("{appender} {number} 0 {size}"), "the offset is that of the batch");
            }
        })
    });
    for appender in join_all(appenders).await {
        appender.expect("no appender fails");
    }
    for partition in 0..2 {
        let records = read_all(&*log, "t", partition, 0, 64).await;
        let mut last_batch = [None; APPENDERS];
        let mut rest = &records[..];
        let mut expected = 0;
        while let Some(first) = rest.first() {
            let fields: Vec<usize> = text(first).split(' ').map(|field| field.parse().expect("a number")).collect();
            let [appender, number, 0, size] = fields[..] else { panic!("a batch begins at {first:?}") };
            for (index, record) in rest[..size].iter().enumerate() {
                assert_eq!(text(record), format!("{appender} {number} {index} {size}"), "a batch was interleaved");
                assert_eq!(record.offset, expected);
                expected += 1;
            }
            assert!(last_batch[appender] < Some(number), "one appender's batches stay in order");
            last_batch[appender] = Some(number);
            rest = &rest[size..];
        }
        assert!(last_batch.iter().all(|last| *last >= Some(BATCHES - 2)), "every batch is there");
    }
}

pub async fn everything_acknowledged_survives_reopening(bed: &impl Bed) {
    let log = bed.open();
    for round in 0..20 {
        append(&*log, "t", round % 3, &[&format!("round {round}"), &"x".repeat(20_000)]).await;
    }
    let before = [read_all(&*log, "t", 0, 0, 3).await, read_all(&*log, "t", 1, 0, 3).await];
    drop(log);
    let log = bed.open();
    assert_eq!([read_all(&*log, "t", 0, 0, 3).await, read_all(&*log, "t", 1, 0, 1000).await], before);
    assert_eq!(log.end("t", 2).await, Ok(12));
    assert_eq!(append(&*log, "t", 2, &["after"]).await, 12, "offsets go on where they were");
    assert_eq!(append(&*log, "new", 2, &["after"]).await, 0, "a new partition begins at 0");
    assert_eq!(read_all(&*log, "t", 2, 11, 10).await.iter().map(text).map(str::len).collect::<Vec<_>>(), [20_000, 5]);
}

pub async fn reading_keeps_to_its_bounds(bed: &impl Bed) {
    let log = bed.open();
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    log.append("t", 0, batch(texts)).await.expect("append");
    let texts = |records: Vec<Record>| records.iter().map(|record| text(record).to_owned()).collect::<Vec<_>>();
    let mut open = Some(log);
    // The second round reads from what was stored.
    for _ in 0..2 {
        let log = open.take().unwrap_or_else(|| bed.open());
        assert_eq!(texts(log.read("t", 0, 97, 10).await.expect("read")), ["97", "98", "99"]);
        assert_eq!(texts(log.read("t", 0, 41, 2).await.expect("read")), ["41", "42"]);
        assert_eq!(log.read("t", 0, 41, 0).await, Ok(Vec::new()));
        assert_eq!(log.read("t", 0, 100, 10).await, Ok(Vec::new()));
        assert_eq!(log.read("t", 0, 1000, 10).await, Ok(Vec::new()), "behind the end there is nothing yet");
    }
}

pub async fn a_tail_sees_everything_once_in_order(bed: &impl Bed) {
    const RECORDS: u64 = 3_000;
    let log = bed.open();
    let tails = (0..3).map(|reader| {
        let mut tail = log.tail("t", 0, 0);
        tokio::spawn(async move {
            let mut seen = 0;
            while seen < RECORDS {
                let records = tail.next(1 + 50 * reader).await.expect("the tail goes on");
                assert!(!records.is_empty() && records.len() <= 1 + 50 * reader);
                for record in records {
                    assert_eq!((record.offset, text(&record).parse()), (seen, Ok(seen)));
                    seen += 1;
                }
            }
        })
    });
    let tails: Vec<_> = tails.collect();
    let mut written = 0;
    while written < RECORDS {
        let size = 1 + written % 40;
        let texts = (written..RECORDS.min(written + size)).map(|number| number.to_string());
        let first = log.append("t", 0, batch(texts)).await.expect("append");
        assert_eq!(first, written);
        written = RECORDS.min(written + size);
    }
    for tail in join_all(tails).await {
        tail.expect("every tail sees everything");
    }
}

pub async fn a_tail_passes_from_old_records_to_new_ones(bed: &impl Bed) {
    let log = bed.open();
    for number in 0..50 {
        append(&*log, "t", 0, &[&number.to_string()]).await;
    }
    drop(log);
    let log = bed.open();
    let mut tail = log.tail("t", 0, 40);
    append(&*log, "t", 0, &["50"]).await;
    let mut seen = Vec::new();
    while seen.len() < 11 {
        seen.extend(tail.next(4).await.expect("tail").iter().map(|record| text(record).to_owned()));
    }
    append(&*log, "t", 0, &["51"]).await;
    seen.extend(tail.next(4).await.expect("tail").iter().map(|record| text(record).to_owned()));
    assert_eq!(seen, (40..52).map(|number| number.to_string()).collect::<Vec<_>>());
}

pub async fn a_tail_from_the_future_waits_for_it(bed: &impl Bed) {
    let log = bed.open();
    let mut tail = log.tail("t", 0, 2);
    append(&*log, "t", 0, &["0", "1"]).await;
    assert!(poll_immediate(tail.next(10)).await.is_none(), "what it waits for is not there yet");
    append(&*log, "t", 0, &["2", "3"]).await;
    let records = tail.next(10).await.expect("tail");
    assert_eq!(records.iter().map(text).collect::<Vec<_>>(), ["2", "3"]);
}

pub async fn a_dropped_wait_loses_no_record(bed: &impl Bed) {
    let log = bed.open();
    let mut tail = log.tail("t", 0, 0);
    let mut seen = 0;
    for number in 0..200_u64 {
        let appended = tokio::spawn({
            let log = Arc::clone(&log);
            async move { append(&*log, "t", 0, &[&number.to_string()]).await }
        });
        // Waits that are given up, at every stage of the append.
        while !appended.is_finished() {
            if let Some(records) = poll_immediate(tail.next(10)).await {
                seen = check_next(records.expect("tail"), seen);
            }
            tokio::task::yield_now().await;
        }
        appended.await.expect("append");
    }
    while seen < 200 {
        seen = check_next(tail.next(10).await.expect("tail"), seen);
    }
}

fn check_next(records: Vec<Record>, mut seen: u64) -> u64 {
    for record in records {
        assert_eq!(record.offset, seen);
        seen += 1;
    }
    seen
}

pub async fn times_never_fall(bed: &impl Bed) {
    let log = bed.open();
    for _ in 0..30 {
        append(&*log, "t", 0, &["a", "b"]).await;
    }
    drop(log);
    let log = bed.open();
    append(&*log, "t", 0, &["c"]).await;
    let times: Vec<i64> = read_all(&*log, "t", 0, 0, 7).await.iter().map(|record| record.at_micros).collect();
    assert_eq!(times.len(), 61);
    assert!(times.is_sorted(), "{times:?}");
    assert!(times[0] > 1_500_000_000_000_000, "microseconds since 1970");
}

pub async fn what_is_deleted_is_gone_and_the_rest_stays(bed: &impl Bed) {
    let log = bed.open();
    for round in 0..10 {
        let texts: Vec<String> = (0..10).map(|number| (10 * round + number).to_string()).collect();
        log.append("t", 0, batch(texts)).await.expect("append");
        append(&*log, "t", 1, &["other"]).await;
    }
    let mut behind = log.tail("t", 0, 3);
    log.delete_before("t", 0, 34).await.expect("delete");
    log.delete_before("t", 0, 12).await.expect("deleting what is deleted is no error");
    let mut open = Some(log);
    for reopened in [false, true] {
        let log = open.take().unwrap_or_else(|| bed.open());
        for from in [0, 33] {
            let gone = log.read("t", 0, from, 10).await;
            assert!(matches!(&gone, Err(ReadError::Gone { begin: 34, wanted, .. }) if *wanted == from), "{gone:?}");
        }
        if !reopened {
            assert!(matches!(behind.next(10).await, Err(ReadError::Gone { begin: 34, .. })), "never a silent gap");
        }
        let rest = read_all(&*log, "t", 0, 34, 9).await;
        assert_eq!(rest.iter().map(text).collect::<Vec<_>>(), (34..100).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(read_all(&*log, "t", 1, 0, 9).await.len(), 10, "the other partition is untouched");
        assert_eq!(log.end("t", 0).await, Ok(100));
    }
}

pub async fn everything_can_be_deleted_and_offsets_go_on(bed: &impl Bed) {
    let log = bed.open();
    append(&*log, "t", 0, &["a", "b", "c"]).await;
    let last = read_all(&*log, "t", 0, 2, 1).await[0].at_micros;
    log.delete_before("t", 0, 1_000).await.expect("delete: all there is");
    drop(log);
    let log = bed.open();
    assert_eq!(log.end("t", 0).await, Ok(3));
    assert_eq!(append(&*log, "t", 0, &["d"]).await, 3);
    let rest = read_all(&*log, "t", 0, 3, 10).await;
    assert_eq!(rest.iter().map(text).collect::<Vec<_>>(), ["d"]);
    assert!(rest[0].at_micros >= last);
}
