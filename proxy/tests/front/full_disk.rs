//! The journal on a disk that is full at any byte of a write: a child process may let its file grow by so many bytes and no
//! more, which the kernel answers as it answers on a full disk: what there is room for is written, the rest is not.

use crate::journal::{applied, gaps, intent, options, read_all, recorded};
use host::ops::Readiness;
use proxy::journal::{Journal, Opened, Options, Recorded};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::path::Path;
use std::process::Command;
use wire::exchange::{ExchangeBody, ExchangeRecord, GapReason};

const DIR: &str = "CROSSFADE_TEST_FULL_DISK";

/// From now on no file of this process grows beyond so many bytes.
fn limit(bytes: Option<u64>) {
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// What a start would make of the directory as it is now.
fn after_a_crash(bytes: &[u8], boot: &[u8]) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("boot-1");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("boot"), boot).unwrap();
    std::fs::write(own.join("00000000000000000001.journal"), bytes).unwrap();
    let old = Journal::open(options(dir.path())).unwrap().old;
    read_all(&old[0].dir, old[0].last);
    old[0].last
}

/// Not a test by itself: it may not run beside others, which write files too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below in a process of its own"]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let readiness = Readiness::new();
    let Opened { journal, .. } =
        Journal::open(Options { readiness: readiness.clone(), ..options(Path::new(&dir)) }).unwrap();
    let path = journal.dir().join("00000000000000000001.journal");
    let boot = std::fs::read(journal.dir().join("boot")).unwrap();
    let (mut missed, mut open) = (0, recorded(&journal, "first").await);
    for room in 0.. {
        assert!(room < 5_000, "no room is enough");
        let (length, written) = (std::fs::metadata(&path).unwrap().len(), journal.written());
        limit(Some(length + room));
        let finishing = tokio::spawn(open.finish(applied()));
        let tried = journal.intent(intent(&format!("tried {room}"))).await;
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() as u64 <= length + room, "the limit does not hold");
        // What comes after the intent may be shorter and find room: then the journal can be written again.
        let is_told = !readiness.reasons().is_empty() || journal.written() > written;
        limit(None);
        if room % 16 == 0 {
            assert!(after_a_crash(&bytes, &boot) > written, "with room for {room} bytes");
        }
        finishing.await.unwrap();
        match tried {
            Recorded::Gap(reason) => {
                assert_eq!(reason, GapReason::Failed);
                assert!(is_told, "with room for {room} bytes nobody was told");
                missed += 1;
            }
            Recorded::Yes(ticket) if room > 900 => {
                ticket.finish(applied()).await;
                break;
            }
            Recorded::Yes(ticket) => ticket.finish(applied()).await,
        }
        open = recorded(&journal, &format!("open {room}")).await;
        assert_eq!(readiness.reasons(), Vec::<String>::new());
    }
    assert!(missed > 200, "{missed}");
    journal.end(true).await;
    assert_whole(&read_all(journal.dir(), journal.written()), missed);
}

/// Everything that was answered as recorded is there once, with its result; the rest is told as a gap.
fn assert_whole(records: &[ExchangeRecord], missed: u64) {
    assert_eq!(gaps(records).iter().map(|(_, exchanges)| exchanges).sum::<u64>(), missed);
    let (mut intents, mut results) = (Vec::new(), Vec::new());
    for record in records {
        match &record.body {
            ExchangeBody::Intent(_) => intents.push(record.sequence),
            ExchangeBody::Result(result) => results.push(result.intent),
            _ => {}
        }
    }
    results.sort_unstable();
    assert_eq!(results, intents);
}

#[test]
fn a_disk_that_is_full_at_any_byte_of_a_write_leaves_no_half_record() {
    let dir = tempfile::tempdir().unwrap();
    // Without the trap the kernel would kill whoever goes beyond the limit.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["full_disk::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}
