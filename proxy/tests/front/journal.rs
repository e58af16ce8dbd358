//! The journal by itself: numbering, its bound, a disk that does not take it.

use crate::support::{eventually, topup};
use host::ops::Readiness;
use proxy::journal::read::Reader;
use proxy::journal::{Boot, Error, Fsync, Journal, Opened, Options, Recorded, Ticket};
use std::path::Path;
use std::time::Duration;
use wire::exchange::{AuthorityResult, ExchangeBody, ExchangeRecord, GapReason, Intent};
use wire::scalar::{Body, Percent};
use wire::stored::decode;
use wire::words::{Class, Operation, Stage, System};

pub fn options(dir: &Path) -> Options {
    Options {
        dir: dir.to_owned(),
        front: "front-a".into(),
        lost_boot: 0,
        wait: Duration::from_secs(10),
        max_bytes: 1 << 30,
        fsync: Fsync::Interval(Duration::from_millis(1)),
        salvage: false,
        readiness: Readiness::new(),
    }
}

pub fn intent(key: &str) -> Intent {
    Intent {
        route: "topup".into(),
        operation: Operation::Topup,
        method: "POST".into(),
        path: "/transactions/topup".into(),
        headers: Vec::new(),
        body: Body(topup("alice", key).to_string().into_bytes()),
        tenant: String::new(),
        key: Some(key.to_owned()),
        account: Some("alice".into()),
        accounts: vec!["alice".into(), "bank".into()],
        original: None,
        authority: System::Legacy,
        stage: Stage::Shadow,
        percent: Percent::NONE,
        version: 0,
        cross_cohort: false,
        overtaken: false,
    }
}

pub fn applied() -> AuthorityResult {
    AuthorityResult {
        intent: 0,
        class: Class::Applied,
        status: 200,
        headers: Vec::new(),
        body: Body(vec![b'x'; 100]),
        duration_micros: 1,
        replayed: false,
        failure: None,
    }
}

/// Every record of one boot, which has to be whole.
pub fn read_all(dir: &Path, last: u64) -> Vec<ExchangeRecord> {
    let mut reader = Reader::new(dir, &Boot::read(dir).unwrap().unwrap(), 1);
    let mut records: Vec<ExchangeRecord> = Vec::new();
    while (records.len() as u64) < last {
        let batch = reader.read(last, 1 << 20).unwrap();
        assert_eq!(batch.unreadable, 0);
        records.extend(batch.records.iter().map(|stored| decode(stored).unwrap()));
    }
    let numbers: Vec<u64> = records.iter().map(|record| record.sequence).collect();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    assert!(records.is_sorted_by_key(|record| record.at), "time never goes back");
    records
}

pub fn gaps(records: &[ExchangeRecord]) -> Vec<(GapReason, u64)> {
    let gap = |record: &ExchangeRecord| match record.body {
        ExchangeBody::Gap { exchanges, reason } => Some((reason, exchanges)),
        _ => None,
    };
    records.iter().filter_map(gap).collect()
}

pub async fn recorded(journal: &Journal, key: &str) -> Ticket {
    match journal.intent(intent(key)).await {
        Recorded::Yes(ticket) => ticket,
        Recorded::Gap(reason) => panic!("{key}: {reason:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_numbered_in_order_and_results_name_their_intents() {
    for fsync in [Fsync::Each, Fsync::Interval(Duration::from_millis(1))] {
        let dir = tempfile::tempdir().unwrap();
        let Opened { journal, old } = Journal::open(Options { fsync, ..options(dir.path()) }).unwrap();
        assert!(old.is_empty());
        let workers = (0..8).map(|worker| {
            let journal = journal.clone();
            tokio::spawn(async move {
                for number in 0..50 {
                    recorded(&journal, &format!("{worker}-{number}")).await.finish(applied()).await;
                }
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
        journal.mark("m".into());
        let barrier = journal.barrier().await.unwrap();
        assert_eq!(barrier.sequence, 8 * 50 * 2 + 1);
        let mut durable = journal.durable();
        durable.wait_for(|durable| *durable >= barrier.sequence).await.unwrap();
        let records = read_all(journal.dir(), barrier.sequence);
        assert!(records.iter().all(|record| record.at <= barrier.at));
        assert_eq!(records.last().unwrap().body, ExchangeBody::Mark { id: "m".into() });
        let mut answered = 0;
        for record in &records {
            if let ExchangeBody::Result(result) = &record.body {
                let intent = &records[result.intent as usize - 1];
                assert!(matches!(intent.body, ExchangeBody::Intent(_)) && intent.sequence < record.sequence);
                answered += 1;
            }
        }
        assert_eq!(answered, 400);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_whose_caller_breaks_down_gets_an_unknown_result() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { journal, .. } = Journal::open(options(dir.path())).unwrap();
    drop(recorded(&journal, "k").await);
    let last = journal.barrier().await.unwrap().sequence;
    let records = read_all(journal.dir(), last);
    assert!(matches!(&records[1].body, ExchangeBody::Result(result) if result.class == Class::Unknown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_its_bound_it_takes_results_but_no_intents_until_something_was_shipped() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { journal, .. } = Journal::open(Options { max_bytes: 8_000, ..options(dir.path()) }).unwrap();
    let mut open = Vec::new();
    while !journal.is_full() {
        open.push(recorded(&journal, "k").await);
    }
    for _ in 0..3 {
        assert!(matches!(journal.intent(intent("k")).await, Recorded::Gap(GapReason::Full)));
    }
    let intents = open.len() as u64;
    for ticket in open {
        ticket.finish(applied()).await;
    }
    let last = journal.barrier().await.unwrap().sequence;
    assert_eq!(last, 2 * intents, "every result is there, and nothing else");
    journal.shipped(last);
    assert!(!journal.is_full(), "{} bytes are left", journal.bytes());
    // Now the gap can be told, and things go on.
    recorded(&journal, "k").await.finish(applied()).await;
    eventually("the gap is told", || journal.written() == last + 3).await;
    let records: Vec<ExchangeRecord> = Reader::new(journal.dir(), journal.boot(), last + 1)
        .read(last + 3, 1 << 20)
        .unwrap()
        .records
        .iter()
        .map(|stored| decode(stored).unwrap())
        .collect();
    assert_eq!(gaps(&records), [(GapReason::Full, 3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_end_at_its_bound_tells_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { journal, .. } = Journal::open(Options { max_bytes: 2_000, ..options(dir.path()) }).unwrap();
    while !journal.is_full() {
        recorded(&journal, "k").await.finish(applied()).await;
    }
    assert!(matches!(journal.intent(intent("k")).await, Recorded::Gap(GapReason::Full)));
    journal.end(true).await;
    let records = read_all(journal.dir(), journal.written());
    assert_eq!(gaps(&records), [(GapReason::Full, 1)]);
    assert_eq!(records.last().map(|record| &record.body), Some(&ExchangeBody::Ended { clean: true }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_below_what_one_batch_takes_is_left_again_once_all_is_shipped() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { journal, .. } = Journal::open(Options { max_bytes: 100, ..options(dir.path()) }).unwrap();
    recorded(&journal, "k").await.finish(applied()).await;
    assert!(journal.is_full());
    let last = journal.written();
    journal.shipped(last);
    eventually("there is room again", || !journal.is_full()).await;
    recorded(&journal, "k").await.finish(applied()).await;
    let records = Reader::new(journal.dir(), journal.boot(), last + 1).read(last + 2, 1 << 20).unwrap().records;
    assert_eq!(records.len(), 2, "numbers go on where they stood");
    journal.end(true).await;
    let written = journal.written();
    drop(journal);
    // Its threads let go of the directory a moment later.
    let mut reopened = None;
    eventually("the directory is free", || {
        reopened = Journal::open(options(dir.path())).ok();
        reopened.is_some()
    })
    .await;
    let old = reopened.unwrap().old;
    assert_eq!((old.len(), old[0].last), (1, written));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_wait_is_recorded_or_counted_never_both() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { journal, .. } = Journal::open(Options { wait: Duration::ZERO, ..options(dir.path()) }).unwrap();
    let workers = (0..4).map(|worker| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let (mut taken, mut gaps) = (Vec::new(), 0);
            for number in 0..500 {
                let key = format!("{worker}-{number}");
                match journal.intent(intent(&key)).await {
                    Recorded::Yes(ticket) => {
                        ticket.finish(applied()).await;
                        taken.push(key);
                    }
                    Recorded::Gap(reason) => {
                        assert_eq!(reason, GapReason::Slow);
                        gaps += 1;
                    }
                }
            }
            (taken, gaps)
        })
    });
    let (mut taken, mut missed) = (Vec::new(), 0);
    for worker in workers.collect::<Vec<_>>() {
        let (keys, gaps) = worker.await.unwrap();
        taken.extend(keys);
        missed += gaps;
    }
    journal.end(true).await;
    let records = read_all(journal.dir(), journal.written());
    let mut keys: Vec<String> = records
        .iter()
        .filter_map(|record| match &record.body {
            ExchangeBody::Intent(intent) => intent.key.clone(),
            _ => None,
        })
        .collect();
    keys.sort();
    taken.sort();
    assert_eq!(keys, taken, "exactly what was not counted as a gap is there");
    assert_eq!(gaps(&records).iter().map(|(_, exchanges)| exchanges).sum::<u64>(), missed);
    let results = records.iter().filter(|record| matches!(record.body, ExchangeBody::Result(_))).count();
    assert_eq!(results, keys.len(), "a late result is there all the same");
    assert_eq!(records.last().unwrap().body, ExchangeBody::Ended { clean: true });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_costs_records_but_no_results() {
    let dir = tempfile::tempdir().unwrap();
    let readiness = Readiness::new();
    let small = Options { max_bytes: 100_000, readiness: readiness.clone(), ..options(dir.path()) };
    let Opened { journal, .. } = Journal::open(small).unwrap();
    let early = recorded(&journal, "early").await;
    // No further file can be made: in place of each there is a directory.
    let blocked: Vec<_> = (2..200).map(|first| journal.dir().join(format!("{first:020}.journal"))).collect();
    blocked.iter().for_each(|path| std::fs::create_dir(path).unwrap());
    let mut written = 0;
    let failed = loop {
        match journal.intent(intent("k")).await {
            Recorded::Yes(ticket) => {
                ticket.finish(applied()).await;
                written += 1;
                assert!(written < 200, "it never went on to another file");
            }
            Recorded::Gap(reason) => break reason,
        }
    };
    assert_eq!(failed, GapReason::Failed);
    assert!(readiness.reasons()[0].starts_with("journal: cannot write"), "{:?}", readiness.reasons());
    let finishing = tokio::spawn(early.finish(applied()));
    assert!(matches!(journal.intent(intent("k")).await, Recorded::Gap(GapReason::Failed)));
    blocked.iter().for_each(|path| std::fs::remove_dir(path).unwrap());
    finishing.await.unwrap();
    recorded(&journal, "late").await.finish(applied()).await;
    let last = journal.barrier().await.unwrap().sequence;
    let records = read_all(journal.dir(), last);
    assert_eq!(gaps(&records).iter().map(|(_, exchanges)| exchanges).sum::<u64>(), 2);
    let of_early =
        |record: &&ExchangeRecord| matches!(&record.body, ExchangeBody::Result(result) if result.intent == 1);
    assert_eq!(records.iter().filter(of_early).count(), 1, "the result waited for the disk");
    assert_eq!(readiness.reasons(), Vec::<String>::new());
}

#[tokio::test]
async fn a_directory_is_used_by_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let held = Journal::open(options(dir.path())).unwrap();
    let error = Journal::open(options(dir.path())).unwrap_err();
    assert!(error.to_string().contains("another process uses the data directory"), "{error}");
    drop(held);
    let mut again = Journal::open(options(dir.path()));
    eventually("the directory is let go of", || {
        again = Journal::open(options(dir.path()));
        again.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = Journal::open(options(&file.join("journal"))).unwrap_err();
    assert!(matches!(&error, Error::Disk(_)) && error.to_string().contains("file/journal"), "{error}");
}
