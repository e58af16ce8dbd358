//! What can only be seen from inside: a disk that fails.

use super::EmbeddedLog;
use super::store::Store;
use crate::port::{Log, NewRecord};
use redb::backends::FileBackend;
use redb::{Database, StorageBackend};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A file whose fsync fails when told to, and whose disk is full after so many writes.
#[derive(Debug)]
struct FailingDisk {
    file: FileBackend,
    fails: Arc<AtomicBool>,
    /// Writes and changes of the length that still go well.
    room: Arc<AtomicU64>,
}

impl FailingDisk {
    fn new(path: &Path, room: &Arc<AtomicU64>) -> Self {
        let options = std::fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = FileBackend::new(options.expect("a file")).expect("a disk");
        Self { file, fails: Arc::new(AtomicBool::new(false)), room: Arc::clone(room) }
    }

    /// A disk that is full stays so.
    fn takes(&self) -> bool {
        self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |room| room.checked_sub(1)).is_ok()
    }
}

fn full() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::StorageFull)
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        if self.takes() { self.file.set_len(len) } else { Err(full()) }
    }

    fn sync_data(&self) -> std::io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("the disk is broken"));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        if self.takes() {
            return self.file.write(offset, data);
        }
        // What there was room for is there.
        self.file.write(offset, &data[..data.len() / 2])?;
        Err(full())
    }

    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

/// Set for the child process: the file to write.
const CHILD: &str = "EVENTLOG_TEST_BROKEN_DISK";
/// Set for the child process: how many writes the disk takes.
const ROOM: &str = "EVENTLOG_TEST_ROOM";
/// What a child with little room appends, one after the other; the third takes several pages.
const RECORDS: [&str; 3] = ["first", "second", LONG];
const LONG: &str = match std::str::from_utf8(&[b'x'; 20_000]) {
    Ok(long) => long,
    Err(_) => "",
};

/// Runs one of the children below on the log in a directory: what it said, and how it ended.
fn run_child(name: &str, directory: &Path, room: u64) -> (String, std::process::ExitStatus) {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("embedded::tests::{name}"), "--nocapture", "--test-threads=1"])
        .env(CHILD, directory.join(super::FILE))
        .env(ROOM, room.to_string())
        .stderr(Stdio::null())
        .output()
        .expect("the child ran");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status)
}

/// Not a test of its own: what the child process of the next test runs.
#[tokio::test]
async fn child_whose_disk_fails() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let disk = FailingDisk::new(Path::new(&path), &Arc::new(AtomicU64::new(u64::MAX)));
    let fails = Arc::clone(&disk.fails);
    let store = Store::over(Database::builder().create_with_backend(disk).expect("a database")).expect("a store");
    let log = EmbeddedLog::start(store, None).expect("a log");
    log.append("t", 0, vec![NewRecord::of("good")]).await.expect("append");
    println!("acknowledged good .");
    fails.store(true, Ordering::SeqCst);
    let _ = log.append("t", 0, vec![NewRecord::of("bad")]).await;
    println!("answered bad .");
}

#[tokio::test]
async fn a_failed_fsync_aborts_the_process_and_acknowledges_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (said, status) = run_child("child_whose_disk_fails", directory.path(), 0);
    assert!(said.contains("acknowledged good ."), "{said}");
    assert!(!said.contains("answered bad ."), "{said}");
    assert_eq!(status.signal(), Some(6), "SIGABRT");
    let log = EmbeddedLog::open(directory.path()).expect("the log opens again");
    let first = log.read("t", 0, 0, 1).await.expect("read");
    assert_eq!(first[0].value, "good");
}

/// Not a test of its own: what the child process of the next test runs. It says what was acknowledged, and whether it could
/// begin at all.
#[tokio::test]
async fn child_whose_disk_is_full() {
    let (Ok(path), Ok(room)) = (std::env::var(CHILD), std::env::var(ROOM)) else { return };
    let room = Arc::new(AtomicU64::new(room.parse().expect("a number")));
    let open = |path: &Path| Store::over(Database::builder().create_with_backend(FailingDisk::new(path, &room))?);
    let Ok(store) = Store::at(Path::new(&path), open) else { return };
    let Ok(log) = EmbeddedLog::start(store, None) else { return };
    println!("\nbegun .");
    for (offset, record) in RECORDS.into_iter().enumerate() {
        match log.append("t", 0, vec![NewRecord::of(record)]).await {
            Ok(_) => println!("\nacknowledged {offset} ."),
            Err(error) => println!("\nnot appended: {error}"),
        }
    }
    log.delete_before("t", 0, 1).await.expect("delete");
    println!("\ndone .");
}

/// The disk is full at each write of a small life, one after the other: whoever was begun aborts, and what was acknowledged is
/// there when there is room again, in its order, and nothing of what was not is there in part.
#[tokio::test]
async fn a_disk_that_is_full_at_any_write_costs_nothing_that_was_acknowledged() {
    let (mut refused, mut aborted) = (0, 0);
    for room in 0.. {
        assert!(room < 1_000, "it never gets through");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (said, status) = run_child("child_whose_disk_is_full", directory.path(), room);
        let acknowledged = said.matches("acknowledged ").count();
        assert!(!said.contains("not appended"), "{said}");
        let is_done = said.contains("done .");
        match said.contains("begun .") {
            false => refused += 1,
            // Closing the file may fail as well, after everything was answered.
            true if is_done => {}
            true => {
                assert_eq!(status.signal(), Some(6), "SIGABRT after {room} writes: {said}");
                aborted += 1;
            }
        }
        let log = EmbeddedLog::open(directory.path()).unwrap_or_else(|error| panic!("after {room} writes: {error}"));
        let end = log.end("t", 0).await.expect("end") as usize;
        assert!((acknowledged..=RECORDS.len()).contains(&end), "after {room} writes {end} of {acknowledged} are there");
        let begin = match log.read("t", 0, 0, 1).await {
            Err(_) => 1,
            Ok(_) => 0,
        };
        assert!(begin == 0 || acknowledged == RECORDS.len(), "deleted after {room} writes");
        let records = if end > begin { log.read("t", 0, begin as u64, 9).await.expect("read") } else { Vec::new() };
        let values: Vec<&[u8]> = records.iter().map(|record| &record.value[..]).collect();
        assert!(values.iter().zip(&RECORDS[begin..end]).all(|(found, record)| *found == record.as_bytes()));
        assert_eq!(values.len(), end - begin);
        // And it goes on.
        assert_eq!(log.append("t", 0, vec![NewRecord::of("more")]).await.expect("append"), end as u64);
        if is_done && status.success() {
            break;
        }
    }
    assert!(refused > 3 && aborted > 6, "{refused} refused, {aborted} aborted: these are too few to prove anything");
}

/// Who has removed the file that says that the directory is held does not get at the log in it.
#[test]
fn the_file_itself_has_one_owner_too() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let first = EmbeddedLog::open(directory.path()).expect("the log opens");
    std::fs::remove_file(directory.path().join(host::disk::LOCK)).expect("removed");
    let refused = EmbeddedLog::open(directory.path()).expect_err("the file is taken").to_string();
    let path = directory.path().join(super::FILE).display().to_string();
    assert!(refused.contains(&path) && refused.contains("another process uses it: stop it"), "{refused}");
    drop(first);
}
